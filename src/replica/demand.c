/* One word per cell, written by one thread with plain relaxed stores; whoever drains exchanges it
 * for 0. A store that meets the exchange brings the old units back, once more. */
#include "replica/demand.h"

#include "obs/assert.h"

void demand_init(struct demand *demand, _Atomic uint64_t *cells, uint32_t cell_count)
{
    ASSERT(cell_count > 0 && (cell_count & (cell_count - 1)) == 0);
    *demand = (struct demand){.cells = cells, .mask = cell_count - 1};
}

static uint64_t capped(uint64_t units)
{
    return units < DEMAND_UNITS_MAX ? units : DEMAND_UNITS_MAX;
}

void demand_add(struct demand *demand, uint64_t index, uint32_t units)
{
    _Atomic uint64_t *cell = &demand->cells[index & demand->mask];
    const uint64_t word = atomic_load_explicit(cell, memory_order_relaxed);
    const uint64_t there = word & DEMAND_UNITS_MAX;

    if (word >> DEMAND_UNIT_BITS == index)
        atomic_store_explicit(cell, index << DEMAND_UNIT_BITS | capped(there + units),
                              memory_order_relaxed);
    else if (there <= units)
        atomic_store_explicit(cell, index << DEMAND_UNIT_BITS | capped(units),
                              memory_order_relaxed);
}

bool demand_drain(struct demand *demand, uint32_t *cursor, uint64_t *ret_index, uint32_t *ret_units)
{
    while (*cursor <= demand->mask) {
        _Atomic uint64_t *cell = &demand->cells[(*cursor)++];

        if (atomic_load_explicit(cell, memory_order_relaxed) == 0)
            continue;
        const uint64_t word = atomic_exchange_explicit(cell, 0, memory_order_relaxed);

        *ret_index = word >> DEMAND_UNIT_BITS;
        *ret_units = word & DEMAND_UNITS_MAX;
        if (*ret_units > 0)
            return true;
    }
    return false;
}
