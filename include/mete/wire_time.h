/* Durations on the wire (protocol.md, section 2.1): 32 bits and a unit. Never shorter than what was
 * meant; below 2^32 us exact to the microsecond. Part of wire.h. Any thread. */
#ifndef METE_WIRE_TIME_H
#define METE_WIRE_TIME_H

#include <stdint.h>

#include "mete/registry.h"

/* A duration in the finest unit in which it fits below NEVER, rounded up; what fits in none, as
 * UINT64_MAX, is NEVER (with unit 0). */
static inline uint32_t mete_wire_time(uint64_t ns, enum mete_unit *ret_unit)
{
    /* by constants, which are multiplications, each only if the finer one does not fit */
    uint64_t count = ns / 1000 + (ns % 1000 != 0);
    *ret_unit = METE_UNIT_US;
    if (count < METE_WIRE_NEVER)
        return (uint32_t)count;
    count = ns / 1000000 + (ns % 1000000 != 0);
    if (count < METE_WIRE_NEVER) {
        *ret_unit = METE_UNIT_MS;
        return (uint32_t)count;
    }
    count = ns / 1000000000 + (ns % 1000000000 != 0);
    if (count < METE_WIRE_NEVER) {
        *ret_unit = METE_UNIT_S;
        return (uint32_t)count;
    }
    return METE_WIRE_NEVER;
}

/* And back to nanoseconds; NEVER is UINT64_MAX. A unit that is no time counts as NEVER. */
static inline uint64_t mete_wire_time_ns(uint32_t count, unsigned unit)
{
    static const uint64_t unit_ns[3] = {1000, 1000000, 1000000000};
    return count == METE_WIRE_NEVER || unit > METE_UNIT_S ? UINT64_MAX : count * unit_ns[unit];
}

#endif
