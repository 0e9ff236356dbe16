/* What is in flight: the state is a count of slots, taken and given back one for one. */
#ifndef METE_CORE_CONCURRENCY_H
#define METE_CORE_CONCURRENCY_H

#include "core/limit.h"

/* limit_apply() for ALGORITHM_CONCURRENCY. */
struct step concurrency_apply(const struct limit *limit, uint64_t state, enum operation operation,
                              uint32_t cost);

#endif
