/* See shared.h. Everything here is one compare-and-swap of a pair that was seen, as table_swap();
 * what a drain or a spill took is therefore nobody else's.
 *
 * The key words of a live entry are read between its pair and the compare-and-swap that proves that
 * the pair still stands: until then they are of its key (pair.h). */
#include "table/shared.h"

#include "table/doubts.h"
#include "table/mapping.h"
#include "table/pair.h"

_Static_assert(TABLE_SHARE_GRANT == (1u << META_SHARE_BITS) - 1, "the last of the shares");
_Static_assert(TABLE_PENDING_MAX == (1 << (META_PENDING_BITS - 1)) - 1, "what its bits hold");
_Static_assert(SHARE_MAX < TABLE_SHARE_GRANT, "a share is no grant");

uint8_t table_share(const struct table_ref *ref)
{
    return meta_share(ref->meta);
}

int32_t table_pending(const struct table_ref *ref)
{
    return meta_pending(ref->meta);
}

bool table_is_dirty(const struct table_ref *ref)
{
    return ref->meta & META_DIRTY;
}

bool table_pending_fits(const struct table_ref *ref, int64_t units)
{
    const int64_t pending =
        (meta_kind(ref->meta) == ENTRY_BUSY ? 0 : meta_pending(ref->meta)) + units;

    return pending <= TABLE_PENDING_MAX && pending >= -TABLE_PENDING_MAX;
}

bool table_swap_charged(struct table *table, const struct table_ref *ref,
                        const struct table_charge *charge)
{
    const bool is_claim = meta_kind(ref->meta) == ENTRY_BUSY;
    const struct pair seen = {.state = ref->state, .meta = ref->meta};
    const int32_t kept = is_claim || charge->drops_pending ? 0 : meta_pending(ref->meta);
    uint64_t meta = is_claim ? meta_live(ref->meta) : ref->meta;

    (void)table;
    meta = meta_with_pending(meta, kept + charge->units);
    meta = meta_with_share(meta, charge->share);
    if (charge->marks_dirty)
        meta |= META_DIRTY;
    return pair_cas(ref->entry, seen, (struct pair){.state = charge->state, .meta = meta});
}

bool table_swap_more(const struct table_ref *ref, uint64_t state, uint32_t units, bool marks_dirty)
{
    const struct pair seen = {.state = ref->state, .meta = ref->meta};
    const uint64_t more = (uint64_t)units << META_PENDING_SHIFT; /* nothing stands above it */

    return pair_cas(
        ref->entry, seen,
        (struct pair){.state = state, .meta = (ref->meta + more) | (marks_dirty ? META_DIRTY : 0)});
}

bool table_swap_forget(struct table *table, const struct table_ref *ref)
{
    const struct pair seen = {.state = ref->state, .meta = ref->meta};

    (void)table;
    return pair_cas(ref->entry, seen, (struct pair){.state = 0, .meta = meta_empty(ref->meta)});
}

uint64_t table_index(const struct table *table, const struct table_ref *ref)
{
    return (uint64_t)(ref->entry - table->entries);
}

bool table_drain(struct table *table, uint64_t index, struct table_drained *ret_drained)
{
    struct table_entry *entry = &table->entries[index];

    table_trust_group(table, (uint32_t)(index / TABLE_GROUP_ENTRIES));
    for (;;) { /* again only if somebody else got on */
        const struct pair pair = pair_load(entry);

        if (meta_kind(pair.meta) != ENTRY_LIVE)
            return false;
        const struct key key = {.low = pair_key_low(entry), .high = pair_key_high(entry)};
        const int32_t units = meta_pending(pair.meta);
        struct pair next = pair;

        if (units != 0 || pair.meta & META_DIRTY) {
            next.meta = meta_with_pending(pair.meta, 0) & ~META_DIRTY;
            next.meta ^= META_PARITY;
            if (!pair_cas(entry, pair, next))
                continue;
        } else if (!pair_still(entry, pair.meta)) {
            continue;
        }
        *ret_drained = (struct table_drained){
            .key = key,
            .owner = meta_owner(pair.meta),
            .units = units,
            .state = pair.state,
            .share = meta_share(pair.meta),
            .parity = next.meta & META_PARITY,
        };
        return true;
    }
}

bool table_look(const struct table *table, uint64_t index, struct table_drained *ret_look)
{
    const struct table_entry *entry = &table->entries[index];

    for (;;) {
        const struct pair pair = pair_load(entry);

        if (meta_kind(pair.meta) != ENTRY_LIVE)
            return false;
        const struct key key = {.low = pair_key_low(entry), .high = pair_key_high(entry)};
        if (!pair_still(entry, pair.meta))
            continue;
        *ret_look = (struct table_drained){
            .key = key,
            .owner = meta_owner(pair.meta),
            .units = meta_pending(pair.meta),
            .state = pair.state,
            .share = meta_share(pair.meta),
            .parity = pair.meta & META_PARITY,
        };
        return true;
    }
}

bool table_adopt(struct table *table, const struct table_ref *ref, uint64_t state, uint8_t share)
{
    const bool is_claim = meta_kind(ref->meta) == ENTRY_BUSY;
    const struct pair seen = {.state = ref->state, .meta = ref->meta};
    const uint64_t meta = is_claim ? meta_live(ref->meta) : ref->meta;

    if (is_claim && state == 0) {
        table_withdraw(table, ref);
        return true;
    }
    return pair_cas(ref->entry, seen,
                    (struct pair){.state = state, .meta = meta_with_share(meta, share)});
}

uint32_t table_sweep_pending(struct table *table, uint64_t *cursor, uint32_t groups, bool all,
                             uint64_t *ret_indices, uint32_t size)
{
    const uint64_t group_count = table->header->entry_count / TABLE_GROUP_ENTRIES;
    uint32_t count = 0;

    for (; groups && count + TABLE_GROUP_ENTRIES <= size; groups--) {
        const uint64_t group = *cursor < group_count ? *cursor : 0;

        table_trust_group(table, (uint32_t)group);
        for (uint32_t i = 0; i < TABLE_GROUP_ENTRIES; i++) {
            const uint64_t index = group * TABLE_GROUP_ENTRIES + i;
            const uint64_t meta = pair_meta(&table->entries[index]);

            if (meta_kind(meta) == ENTRY_LIVE && meta_pending(meta) != 0 &&
                (all || !(meta & META_DIRTY)))
                ret_indices[count++] = index;
        }
        *cursor = group + 1 < group_count ? group + 1 : 0;
    }
    return count;
}
