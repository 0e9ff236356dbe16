/* Limits without numbers: everything passes, nothing does. */
#ifndef METE_CORE_CONSTANT_H
#define METE_CORE_CONSTANT_H

#include "core/limit.h"

/* limit_apply() for ALGORITHM_UNLIMITED. */
struct step constant_allow(uint64_t state, enum operation operation, uint32_t cost);

/* limit_apply() for ALGORITHM_DENY, and for what is not an algorithm. */
struct step constant_deny(uint64_t state, enum operation operation);

#endif
