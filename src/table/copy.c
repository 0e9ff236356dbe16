#include "table/copy.h"

#include <string.h>

#include "table/doubts.h"
#include "table/lease.h"
#include "table/mapping.h"
#include "table/pair.h"
#include "table/shared.h"

_Static_assert(sizeof(struct table_copied) == 32, "a record of snapshot/format.h");
_Static_assert(sizeof(struct table_copied_lease) == 48, "a record of snapshot/format.h");

/* A live entry with something to remember. */
static bool copy_live(const struct table *table, const struct table_entry *entry,
                      const struct instant *now, struct table_copied *ret_copied)
{
    for (;;) { /* again only if somebody else got on */
        const struct pair pair = pair_load(entry);

        if (meta_kind(pair.meta) != ENTRY_LIVE || meta_is_grant(pair.meta))
            return false;
        const struct key key = {.low = pair_key_low(entry), .high = pair_key_high(entry)};

        if (!pair_still(entry, pair.meta))
            continue;
        if (mapping_debt(table, pair, now) == 0)
            return false;
        *ret_copied = (struct table_copied){
            .key = key,
            .state = pair.state,
            .owner = meta_owner(pair.meta),
            .share = meta_share(pair.meta),
        };
        return true;
    }
}

bool table_copy(struct table *table, uint64_t *cursor, uint32_t groups, const struct instant *now,
                struct table_copies *copies)
{
    const uint64_t group_count = table->header->entry_count / TABLE_GROUP_ENTRIES;

    for (; groups && *cursor < group_count; groups--, ++*cursor) {
        const struct table_entry *group = table->entries + *cursor * TABLE_GROUP_ENTRIES;

        if (copies->entry_count + TABLE_GROUP_ENTRIES > copies->entry_size ||
            copies->lease_count + TABLE_GROUP_ENTRIES > copies->lease_size)
            return true;
        table_trust_group(table, (uint32_t)*cursor);
        for (uint32_t i = 0; i < TABLE_GROUP_ENTRIES; i++) {
            const enum entry_kind kind = meta_kind(pair_meta(&group[i]));

            if (kind == ENTRY_LIVE)
                copies->entry_count +=
                    copy_live(table, &group[i], now, &copies->entries[copies->entry_count]);
            else if (kind == ENTRY_LEASE)
                copies->lease_count +=
                    table_copy_lease(table, &group[i], &copies->leases[copies->lease_count]);
        }
    }
    return *cursor < group_count;
}

enum table_put table_put(struct table *table, const struct table_copied *copied,
                         const struct instant *now)
{
    const struct table_probe probe = table_probe(table, copied->key, copied->owner);
    struct table_ref ref;
    const enum table_result found = table_find_or_claim(table, &probe, TABLE_EVICT, now, &ref);

    if (found == TABLE_FULL || (found == TABLE_FOUND && meta_kind(ref.meta) != ENTRY_LIVE))
        return TABLE_PUT_FULL;
    if (found == TABLE_FOUND) {
        const struct pair old = {.state = ref.state, .meta = ref.meta};
        const struct pair new = {.state = copied->state, .meta = ref.meta};

        if (mapping_debt(table, new, now) <= mapping_debt(table, old, now))
            return TABLE_PUT_AGAIN;
    }
    table_adopt(table, &ref, copied->state, copied->share);
    return found == TABLE_FOUND ? TABLE_PUT_AGAIN : TABLE_PUT;
}

enum table_put table_put_lease(struct table *table, const struct table_copied_lease *copied,
                               const struct instant *now)
{
    const struct table_probe key = table_probe(table, copied->of, copied->owner);
    const struct table_probe own = table_probe(table, copied->key, copied->owner);
    struct table_ref count;
    struct table_lease lease = {.expires_ms = copied->expires_ms, .slots = copied->slots};

    if (table_find_or_claim(table, &key, TABLE_EVICT, now, &count) == TABLE_FULL)
        return TABLE_PUT_FULL;
    const uint64_t position = table_position(table, &count);
    const uint64_t taken = table_count_of(&count);

    if (taken + copied->slots > LIMIT_SLOTS_MAX) /* or it is a lease, of a made-up key */
        return TABLE_PUT_FULL;
    table_swap_count(table, &count, taken + copied->slots);
    lease.position = position;
    switch (table_find_or_claim(table, &own, TABLE_EVICT, now, &lease.ref)) {
    case TABLE_CLAIMED:
        table_swap_lease(table, &lease);
        return TABLE_PUT;
    case TABLE_FOUND:
        table_return_slots(table, position, copied->owner, copied->slots);
        return TABLE_PUT_AGAIN;
    default:
        table_return_slots(table, position, copied->owner, copied->slots);
        return TABLE_PUT_FULL;
    }
}
