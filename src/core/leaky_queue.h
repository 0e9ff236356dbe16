/* Leaky bucket as a queue; leaky_queue.c says how. */
#ifndef METE_CORE_LEAKY_QUEUE_H
#define METE_CORE_LEAKY_QUEUE_H

#include "core/limit.h"

/* limit_apply() for ALGORITHM_LEAKY_QUEUE. */
__attribute__((noinline)) struct step leaky_queue_apply(const struct limit *limit, uint64_t state,
                                                        enum operation operation, uint32_t cost,
                                                        uint64_t now_ns);

#endif
