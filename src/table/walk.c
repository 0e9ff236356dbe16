/* See walk.h. */
#include "table/walk.h"

#include "table/doubts.h"
#include "table/lease_words.h"
#include "table/pair.h"

/* False: nothing that counts stands there. */
static bool look(const struct table *table, struct table_entry *entry, struct table_item *ret_item)
{
    for (;;) { /* again only if somebody else got on */
        const struct pair pair = pair_load(entry);
        const struct key key = {.low = pair_key_low(entry), .high = pair_key_high(entry)};

        if (!meta_is_found(pair.meta))
            return false;
        if (!pair_still(entry, pair.meta))
            continue;
        *ret_item = (struct table_item){
            .key = key,
            .owner = meta_owner(pair.meta),
            .kind = TABLE_ITEM_STATE,
            .state = pair.state,
            .position = (uint64_t)(entry - table->entries),
        };
        if (lease_is(pair)) {
            const struct table_lease lease = lease_unpack(entry, pair);

            ret_item->kind = TABLE_ITEM_LEASE;
            ret_item->expires_ms = lease.expires_ms;
            ret_item->position = lease.position;
            ret_item->slots = lease.slots;
        } else if (meta_kind(pair.meta) == ENTRY_LEASE) {
            ret_item->kind = TABLE_ITEM_COUNT;
        } else {
            ret_item->share = meta_share(pair.meta);
            ret_item->is_grant = meta_is_grant(pair.meta);
            ret_item->pending = meta_pending(pair.meta);
        }
        return true;
    }
}

uint32_t table_walk(struct table *table, uint64_t *cursor, uint32_t groups,
                    struct table_item *ret_items)
{
    uint32_t count = 0;

    for (; groups && !table_walk_is_over(table, *cursor); groups--, ++*cursor) {
        struct table_entry *group = home_group(table, (uint32_t)*cursor);

        table_trust_group(table, (uint32_t)*cursor);
        for (uint32_t i = 0; i < TABLE_GROUP_ENTRIES; i++)
            count += look(table, &group[i], &ret_items[count]);
    }
    return count;
}

bool table_walk_is_over(const struct table *table, uint64_t cursor)
{
    return cursor >= mapping_group_count(table);
}

bool table_owner_is_used(const struct table *table, uint32_t row)
{
    return __atomic_load_n(&table->rows[row].use, __ATOMIC_RELAXED) == ROW_USED;
}
