/* Which row belongs to whom. A change looks its owners up in an index of its own, made for it and
 * thrown away: reloads are rare, and between them nobody looks for an owner by name. */
#include "table/owners.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "table/mapping.h"
#include "table/owners_state.h"

struct owners_change {
    struct table *table;
    uint32_t *slots; /* rows in use by their owner: open addressing, OWNERS_NONE is empty */
    uint64_t mask;
    struct limit *limits; /* per row: the new ones of those that are taken and not fresh */
    uint8_t *namings;     /* per row: enum naming */
    uint32_t *replaces;   /* per fresh row: the row its owner had, or OWNERS_NONE */
    uint32_t next_free;   /* rows below are not free */
};

enum naming { UNNAMED, KEPT, FRESH };

int owners_create(uint32_t row_count, struct owners **ret_owners)
{
    struct owners *owners = calloc(1, sizeof *owners);

    if (!owners)
        return -ENOMEM;
    owners->row_count = row_count;
    owners->until = calloc(row_count, sizeof *owners->until);
    owners->successors = calloc(row_count, sizeof *owners->successors);
    owners->states = calloc(row_count, sizeof *owners->states);
    if (!owners->until || !owners->successors || !owners->states) {
        owners_destroy(owners);
        return -ENOMEM;
    }
    *ret_owners = owners;
    return 0;
}

void owners_destroy(struct owners *owners)
{
    if (!owners)
        return;
    free(owners->until);
    free(owners->successors);
    free(owners->states);
    free(owners);
}

static uint64_t hash_of(const struct table_owner *owner)
{
    uint64_t hash = ((uint64_t)owner->tenant_id << 32 | owner->rule_id) * 0x9E3779B97F4A7C15ull;

    hash = (hash ^ hash >> 32 ^ owner->override) * 0xD6E8FEB86659FD93ull;
    return hash ^ hash >> 32;
}

static bool is_same_owner(const struct table_owner *a, const struct table_owner *b)
{
    return a->tenant_id == b->tenant_id && a->rule_id == b->rule_id && a->override == b->override;
}

bool owners_is_same_kind(const struct limit *a, const struct limit *b)
{
    return a->algorithm == b->algorithm && a->keeps_tat == b->keeps_tat &&
           (a->sync == SYNC_EXACT) == (b->sync == SYNC_EXACT) &&
           (!limit_is_wall(a) || a->interval == b->interval);
}

/* The slot of an owner's row, or the empty one where it would be. */
static uint32_t *find_slot(struct owners_change *change, const struct table_owner *owner)
{
    uint64_t at = hash_of(owner) & change->mask;

    while (change->slots[at] != OWNERS_NONE &&
           !is_same_owner(&change->table->rows[change->slots[at]].owner, owner))
        at = (at + 1) & change->mask;
    return &change->slots[at];
}

int owners_begin(struct table *table, struct owners_change **ret_change)
{
    const struct owners *owners = table->owners;
    const uint32_t count = owners->row_count;
    struct owners_change *change = calloc(1, sizeof *change);
    uint64_t size = 4;

    if (!change)
        return -ENOMEM;
    while (size < 2ull * count)
        size *= 2;
    change->table = table;
    change->mask = size - 1;
    change->slots = malloc(size * sizeof *change->slots);
    change->limits = malloc(count * sizeof *change->limits);
    change->namings = calloc(count, sizeof *change->namings);
    change->replaces = malloc(count * sizeof *change->replaces);
    if (!change->slots || !change->limits || !change->namings || !change->replaces) {
        owners_abort(change);
        return -ENOMEM;
    }
    memset(change->slots, 0xff, size * sizeof *change->slots);
    for (uint32_t row = 0; row < count; row++) {
        if (owner_is_used(owners->states[row]))
            *find_slot(change, &table->rows[row].owner) = row;
    }
    *ret_change = change;
    return 0;
}

int owners_take(struct owners_change *change, const struct table_owner *owner, uint32_t *ret_row)
{
    struct table *table = change->table;
    const struct owners *owners = table->owners;
    const uint32_t known = *find_slot(change, owner);

    if (known != OWNERS_NONE &&
        owners_is_same_kind(&table->rows[known].owner.limit, &owner->limit)) {
        change->namings[known] = KEPT;
        change->limits[known] = owner->limit;
        *ret_row = known;
        return 0;
    }
    uint32_t row = change->next_free;

    while (row < owners->row_count && owners->states[row] != OWNER_FREE)
        row++;
    if (row == owners->row_count)
        return -ENOSPC;
    /* nobody has the number of a free row: it may be written while others check */
    int result = table_owner_set(table, row, owner);

    if (result)
        return result;
    change->namings[row] = FRESH;
    change->replaces[row] = known;
    change->next_free = row + 1;
    *ret_row = row;
    return 0;
}

void owners_abort(struct owners_change *change)
{
    free(change->slots);
    free(change->limits);
    free(change->namings);
    free(change->replaces);
    free(change);
}

/* Others read these words while they are stored: mapping_limit() says why that is well. The rest of
 * the limit is the same. */
static void store_numbers(struct limit *row, const struct limit *limit)
{
    __atomic_store_n(&row->interval, limit->interval, __ATOMIC_RELAXED);
    __atomic_store_n(&row->tolerance, limit->tolerance, __ATOMIC_RELAXED);
    __atomic_store_n(&row->burst, limit->burst, __ATOMIC_RELAXED);
}

static void store_sync(struct limit *row, const struct limit *limit)
{
    __atomic_store_n(&row->sync, limit->sync, __ATOMIC_RELAXED);
    __atomic_store_n(&row->on_loss, limit->on_loss, __ATOMIC_RELAXED);
}

static bool has_same_numbers(const struct limit *a, const struct limit *b)
{
    return a->interval == b->interval && a->tolerance == b->tolerance && a->burst == b->burst;
}

void owners_commit(struct owners_change *change)
{
    struct table *table = change->table;
    struct owners *owners = table->owners;

    for (uint32_t row = 0; row < owners->row_count; row++) {
        struct limit *limit = &table->rows[row].owner.limit;
        const enum naming naming = change->namings[row];

        if (naming == KEPT) {
            mapping_set_most(&table->rows[row], &change->limits[row], true);
            store_sync(limit, &change->limits[row]);
        }
        if (naming == UNNAMED && owner_is_used(owners->states[row])) {
            owners->pending_count -= owners->states[row] == OWNER_CUTTING;
            owners->states[row] = OWNER_LEFT;
            owners->successors[row] = OWNERS_NONE;
            table->rows[row].use = ROW_LEFT;
        } else if (naming == KEPT && !has_same_numbers(limit, &change->limits[row])) {
            store_numbers(limit, &change->limits[row]);
            owners->pending_count -= owners->states[row] == OWNER_CUTTING;
            owners->states[row] = limit_is_bucket(limit) ? OWNER_CHANGED : OWNER_USED;
        } else if (naming == FRESH) {
            owners->states[row] = OWNER_USED;
            table->rows[row].use = ROW_USED;
        }
    }
    for (uint32_t row = 0; row < owners->row_count; row++) {
        if (change->namings[row] == FRESH && change->replaces[row] != OWNERS_NONE)
            owners->successors[change->replaces[row]] = row;
    }
    owners_abort(change);
}

uint32_t owners_free_count(const struct table *table)
{
    uint32_t count = 0;

    for (uint32_t row = 0; row < table->owners->row_count; row++)
        count += table->owners->states[row] == OWNER_FREE;
    return count;
}

int owners_reserve_region(struct table *table, uint32_t tenant_id, uint64_t entries)
{
    uint32_t *tenants = table->region_tenants;
    struct table_region region;

    if (tenant_id <= tenants[table->header->region_count - 1])
        return -EINVAL;
    int result = table_region_reserve(table, entries, &region);

    if (result == 0)
        tenants[table->header->region_count - 1] = tenant_id;
    return result;
}

struct table_region owners_region(const struct table *table, uint32_t tenant_id)
{
    const uint32_t *tenants = table->region_tenants;
    uint32_t low = 0, high = table->header->region_count;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (tenant_id < tenants[middle])
            high = middle;
        else
            low = middle;
    }
    return table->regions[tenants[low] == tenant_id ? low : 0];
}

bool owners_is_region(const struct table *table, uint32_t index, uint32_t tenant_id,
                      uint64_t entries)
{
    return index < table->header->region_count && table->region_tenants[index] == tenant_id &&
           table->regions[index].group_count == mapping_region_groups(entries);
}

uint32_t owners_region_count(const struct table *table)
{
    return table->header->region_count;
}
