/* What a node makes of a merged value: a state of its own table. adopt.c says how. */
#ifndef METE_REPLICA_ADOPT_H
#define METE_REPLICA_ADOPT_H

#include <stdint.h>

#include "core/limit.h"

/* The state with a view (of delta_look()) of that window in it; unchanged if the window has
 * passed. */
uint64_t adopt_state(const struct limit *limit, uint64_t state, uint64_t window, uint64_t view);

#endif
