/* Fixed window; fixed_window.c says how. */
#ifndef METE_CORE_FIXED_WINDOW_H
#define METE_CORE_FIXED_WINDOW_H

#include "core/limit.h"

/* limit_apply() for ALGORITHM_FIXED_WINDOW. now_ns is wall time. */
__attribute__((noinline)) struct step fixed_window_apply(const struct limit *limit, uint64_t state,
                                                         enum operation operation, uint32_t cost,
                                                         uint64_t now_ns);

/* limit_rest_after() of a state. */
uint64_t fixed_window_rest_after(const struct limit *limit, uint64_t state, uint64_t now_ns);

#endif
