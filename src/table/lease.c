#include "table/lease.h"

#include "table/copy.h"
#include "table/doubts.h"
#include "table/lease_words.h"
#include "table/mapping.h"
#include "table/pair.h"

/* For a key different ids, and for an id different keys, never meet. */
struct table_probe table_probe_lease(const struct table *table, const struct table_probe *key,
                                     uint64_t lease_id)
{
    unsigned __int128 product =
        (unsigned __int128)(lease_id ^ 0xA0761D6478BD642Full) * 0xE7037ED1A0B428DBull;
    struct table_probe probe = {
        .key = {.low = key->key.low ^ (uint64_t)product,
                .high = key->key.high ^ (uint64_t)(product >> 64) ^ 0x8EBC6AF09C88C6E3ull},
        .region = key->region,
        .owner = key->owner,
    };

    probe.home_group = mapping_home(table, probe.key, probe.owner, probe.region);
    return probe;
}

bool table_swap_count(struct table *table, const struct table_ref *ref, uint64_t count)
{
    struct pair seen = {.state = ref->state, .meta = ref->meta};
    struct pair next = {.state = count, .meta = ref->meta};

    (void)table;
    if (count == 0)
        next.meta = meta_empty(ref->meta);
    else if (meta_kind(ref->meta) == ENTRY_BUSY)
        next.meta = meta_held(ref->meta);
    return pair_cas(ref->entry, seen, next);
}

uint64_t table_position(const struct table *table, const struct table_ref *ref)
{
    return (uint64_t)(ref->entry - table->entries);
}

enum table_result table_find_lease(struct table *table, const struct table_probe *probe,
                                   struct table_lease *ret_lease)
{
    struct table_ref ref;

    if (table_find(table, probe, &ref) != TABLE_FOUND)
        return TABLE_ABSENT;
    struct pair pair = {.state = ref.state, .meta = ref.meta};

    if (!lease_is(pair))
        return TABLE_FULL;
    *ret_lease = lease_unpack(ref.entry, pair);
    return TABLE_FOUND;
}

/* While the lease stands its key's entry does; so what was read there belongs to it if the lease is
 * the same afterwards. */
bool table_copy_lease(const struct table *table, const struct table_entry *entry,
                      struct table_copied_lease *ret_copied)
{
    for (;;) { /* again only if somebody else got on */
        const struct pair pair = pair_load(entry);

        if (!lease_is(pair) || meta_kind(pair.meta) != ENTRY_LEASE)
            return false;
        const struct table_lease lease = lease_unpack(NULL, pair);
        const struct key key = {.low = pair_key_low(entry), .high = pair_key_high(entry)};

        if (lease.position >= table->header->entry_count)
            return false;
        const struct table_entry *of = &table->entries[lease.position];
        const uint64_t of_meta = pair_meta(of);
        const struct key of_key = {.low = pair_key_low(of), .high = pair_key_high(of)};
        const bool is_read = pair_still(of, of_meta) && pair_still(entry, pair.meta);

        if (!is_read)
            continue;
        if (meta_kind(of_meta) != ENTRY_LEASE || meta_owner(of_meta) != meta_owner(pair.meta))
            return false; /* of an owner that is gone */
        *ret_copied = (struct table_copied_lease){
            .key = key,
            .of = of_key,
            .expires_ms = lease.expires_ms,
            .slots = lease.slots,
            .owner = meta_owner(pair.meta),
        };
        return true;
    }
}

/* ---- the bit of a group: there may be a lease ---- */

static uint64_t bit_of(const struct table *table, const struct table_entry *entry,
                       uint64_t **ret_word)
{
    uint64_t group = (uint64_t)(entry - table->entries) / TABLE_GROUP_ENTRIES;

    *ret_word = &table->lease_bits[group / 64];
    return (uint64_t)1 << group % 64;
}

static uint64_t load_bits(const uint64_t *word)
{
    METE_TABLE_POINT(word, false);
    uint64_t bits = __atomic_load_n(word, __ATOMIC_RELAXED); /* the fences around it order it */

    METE_TABLE_SEEN(bits);
    return bits;
}

/* After the lease stands: see lease.h. */
static void note_lease(const struct table *table, const struct table_entry *entry)
{
    uint64_t *word;
    uint64_t bit = bit_of(table, entry, &word);

    pair_fence(); /* the lease is written before the bit is read */
    if (load_bits(word) & bit)
        return;
    METE_TABLE_POINT(word, true);
    __atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST);
}

bool table_swap_lease(struct table *table, const struct table_lease *lease)
{
    struct pair seen = {.state = lease->ref.state, .meta = lease->ref.meta};

    if (!pair_cas(lease->ref.entry, seen, lease_pack(lease)))
        return false;
    if (meta_kind(seen.meta) == ENTRY_BUSY) /* one that is renewed has its bit already */
        note_lease(table, lease->ref.entry);
    return true;
}

/* ---- the end of a lease ---- */

/* The key's entry at a position, if it is one of this owner. */
static bool load_count(const struct table_entry *entry, uint32_t owner, struct pair *ret_pair)
{
    *ret_pair = pair_load(entry);
    return meta_kind(ret_pair->meta) == ENTRY_LEASE && meta_owner(ret_pair->meta) == owner &&
           !lease_is(*ret_pair);
}

void table_return_slots(struct table *table, uint64_t position, uint32_t owner, uint32_t slots)
{
    struct table_entry *entry = &table->entries[position];
    struct pair seen;

    table_trust_group(table, (uint32_t)(position / TABLE_GROUP_ENTRIES));
    while (load_count(entry, owner, &seen)) { /* again only if somebody else got on */
        struct pair next = {.state = seen.state - slots, .meta = seen.meta};

        if (seen.state <= slots) /* never less: the invariant; but never wrap */
            next = (struct pair){.state = 0, .meta = meta_empty(seen.meta)};
        if (pair_cas(entry, seen, next))
            return;
    }
}

uint64_t table_count_at(const struct table *table, uint64_t position, uint32_t owner)
{
    struct pair pair;

    return load_count(&table->entries[position], owner, &pair) ? pair.state : 0;
}

bool table_end_lease(struct table *table, const struct table_lease *lease)
{
    struct pair seen = {.state = lease->ref.state, .meta = lease->ref.meta};
    struct pair next = {.state = 0, .meta = meta_empty(lease->ref.meta)};

    while (!pair_cas(lease->ref.entry, seen, next)) {
        struct pair pair = pair_load(lease->ref.entry);

        if (pair.state != seen.state || !meta_is_same(pair.meta, seen.meta))
            return false;
        seen.meta = pair.meta; /* only the mark of its group moved */
        next.meta = meta_empty(seen.meta);
    }
    table_return_slots(table, lease->position, meta_owner(seen.meta), lease->slots);
    return true;
}

/* ---- the sweep ---- */

static uint32_t group_count_of(const struct table *table)
{
    return (uint32_t)(table->header->entry_count / TABLE_GROUP_ENTRIES);
}

uint32_t table_lease_piece_count(const struct table *table)
{
    return (group_count_of(table) + 63) / 64;
}

/* Ends what has expired in the group; does a lease remain? */
static bool sweep_group(struct table *table, struct table_entry *group, uint64_t now_ns,
                        uint32_t *ended)
{
    bool remains = false;

    table_trust_group(table, (uint32_t)((uint64_t)(group - table->entries) / TABLE_GROUP_ENTRIES));
    for (unsigned i = 0; i < TABLE_GROUP_ENTRIES; i++) {
        if (meta_kind(pair_meta(&group[i])) != ENTRY_LEASE)
            continue;
        struct pair pair = pair_load(&group[i]);

        if (!lease_is(pair))
            continue;
        struct table_lease lease = lease_unpack(&group[i], pair);

        if (table_lease_is_over(&lease, now_ns) && table_end_lease(table, &lease))
            ++*ended;
        else
            remains = true; /* or was swapped a moment ago: the next pass sees how */
    }
    return remains;
}

/* Who ends between the clearing and the second look leaves a lease without its bit; the looking bit
 * tells the next life that it must look there. */
static void sweep_bit(struct table *table, uint64_t *word, uint64_t bit, struct table_entry *group,
                      uint64_t now_ns, uint32_t *ended)
{
    uint64_t *looking = &table->looking_bits[word - table->lease_bits];

    if (sweep_group(table, group, now_ns, ended))
        return;
    __atomic_fetch_or(looking, bit, __ATOMIC_SEQ_CST); /* before the bit goes */
    METE_TABLE_POINT(word, true);
    __atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST);
    pair_fence(); /* the bit is cleared before the group is read again */
    if (sweep_group(table, group, now_ns, ended)) {
        METE_TABLE_POINT(word, true);
        __atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST);
    }
    __atomic_fetch_and(looking, ~bit, __ATOMIC_SEQ_CST); /* after it is back */
}

uint32_t table_sweep_leases(struct table *table, uint32_t first, uint32_t count, uint64_t now_ns)
{
    uint32_t ended = 0;

    for (uint32_t piece = first; piece < first + count; piece++) {
        uint64_t *word = &table->lease_bits[piece];
        const uint64_t bits = load_bits(word);

        for (uint64_t rest = bits; rest; rest &= rest - 1) {
            struct table_entry *group =
                home_group(table, piece * 64 + (uint32_t)__builtin_ctzll(rest));

            __builtin_prefetch(group);
            __builtin_prefetch(group + TABLE_GROUP_ENTRIES / 2);
        }
        for (uint64_t rest = bits; rest; rest &= rest - 1) {
            uint32_t group = piece * 64 + (uint32_t)__builtin_ctzll(rest);

            sweep_bit(table, word, rest & -rest, home_group(table, group), now_ns, &ended);
        }
    }
    return ended;
}
