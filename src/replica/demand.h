/* How many units were asked for and denied, per entry, since somebody looked: one small array per
 * thread that decides, so that a denied check writes nothing shared. What was admitted is pending
 * in the entry; the two together are the demand for a key.
 *
 * An estimate: where two entries meet in a cell the one with more units stays, and an addition at
 * the very moment of a look may be counted twice. It steers shares and is never charged.
 *
 * Threads: one adds, one drains. */
#ifndef METE_REPLICA_DEMAND_H
#define METE_REPLICA_DEMAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define DEMAND_INDEX_BITS 33u /* of TABLE_MAX_ENTRIES */
#define DEMAND_UNIT_BITS 31u
#define DEMAND_UNITS_MAX ((1u << DEMAND_UNIT_BITS) - 1)

struct demand {
    _Atomic uint64_t *cells; /* units | index << DEMAND_UNIT_BITS; 0: empty */
    uint32_t mask;
};

/* cell_count: a power of two; the memory is the caller's and zeroed. */
void demand_init(struct demand *demand, _Atomic uint64_t *cells, uint32_t cell_count);

void demand_add(struct demand *demand, uint64_t index, uint32_t units);

/* Takes the next cell that holds something, from *cursor (0 at first) on. False: none is left. */
bool demand_drain(struct demand *demand, uint32_t *cursor, uint64_t *ret_index,
                  uint32_t *ret_units);

#endif
