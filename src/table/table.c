/* The fast half of the table: probe, find, swap.
 *
 * A check that finds its key costs one hash, the two cache lines of its home group and one
 * compare-and-swap; one that is denied stops before the last. Only a group that ran over (its mark
 * says so) sends a reader further. What happens to a new key stands in claim.c.
 *
 * Any thread may call anything here. */
#include "table/table.h"

#include "table/claim.h"
#include "table/doubts.h"
#include "table/mapping.h"
#include "table/pair.h"

#define CACHE_LINE 64u

static inline void prefetch_group(const struct table_entry *group)
{
    __builtin_prefetch(group);
    __builtin_prefetch((const char *)group + CACHE_LINE);
}

struct table_probe table_probe(const struct table *table, struct key key, uint32_t owner)
{
    struct table_probe probe = {
        .key = key,
        .region = table->rows[owner].owner.region,
        .owner = owner,
    };

    probe.home_group = mapping_home(table, key, owner, probe.region);
    return probe;
}

void table_prefetch(const struct table *table, const struct table_probe *probe)
{
    const struct table_entry *group = home_group(table, probe->home_group);

    prefetch_group(group);
    __asm__("" : : "r"(group)); /* else gcc finds a function without effect, and drops its calls */
}

/* Is this a live entry of the key? Then *ret_ref is a pair that was there at one instant, together
 * with the key. */
static inline bool find_entry(struct table_entry *entry, const struct table_probe *probe,
                              struct table_ref *ret_ref)
{
    for (;;) {
        uint64_t meta = pair_meta(entry);

        if (!meta_is_found(meta) || meta_owner(meta) != probe->owner)
            return false;
        bool same = pair_key_low(entry) == probe->key.low;
        same = same && pair_key_high(entry) == probe->key.high;
        uint64_t state = same ? pair_state(entry) : 0;

        if (!pair_still(entry, meta))
            continue;
        *ret_ref = (struct table_ref){.entry = entry, .state = state, .meta = meta};
        return same;
    }
}

/* The four low key words are compared without a branch: which of the entries has the key is a coin
 * toss that no predictor wins. A word read here proves nothing; find_entry() looks properly. To
 * miss a key is right only if it is not there: an entry that was live before this call began had
 * its key words before, and they stay while it is. */
static inline bool find_in_group(struct table_entry *group, const struct table_probe *probe,
                                 struct table_ref *ret_ref)
{
    unsigned candidates = 0;

#pragma GCC unroll 4
    for (unsigned i = 0; i < TABLE_GROUP_ENTRIES; i++)
        candidates |= (unsigned)(pair_key_low(&group[i]) == probe->key.low) << i;
    for (; candidates; candidates &= candidates - 1) {
        if (find_entry(&group[__builtin_ctz(candidates)], probe, ret_ref))
            return true;
    }
    return false;
}

/* Some key of the home group stands past it; maybe this one. */
static __attribute__((noinline)) enum table_result find_past_home(const struct table *table,
                                                                  const struct table_probe *probe,
                                                                  struct table_ref *ret_ref)
{
    for (uint32_t i = 1; i < TABLE_WINDOW_GROUPS; i++) /* their misses overlap, too */
        prefetch_group(window_group(table, probe->region, probe->home_group, i));
    for (uint32_t i = 1; i < TABLE_WINDOW_GROUPS; i++) {
        if (find_in_group(window_group(table, probe->region, probe->home_group, i), probe, ret_ref))
            return TABLE_FOUND;
    }
    return TABLE_ABSENT;
}

/* The same of entries that are not trusted yet. */
static __attribute__((noinline, cold)) enum table_result
find_doubted(struct table *table, const struct table_probe *probe, struct table_ref *ret_ref)
{
    doubts_trust_window(table, probe);
    if (find_in_group(home_group(table, probe->home_group), probe, ret_ref))
        return TABLE_FOUND;
    return find_past_home(table, probe, ret_ref);
}

/* Behind neither call is anything left to do: a call in the midst would cost the usual case, which
 * makes none, the registers that have to be saved for it. */
static inline enum table_result find(struct table *table, const struct table_probe *probe,
                                     struct table_ref *ret_ref)
{
    struct table_entry *home = home_group(table, probe->home_group);

    if (__builtin_expect(table_has_doubts(table), 0))
        return find_doubted(table, probe, ret_ref);
    if (find_in_group(home, probe, ret_ref))
        return TABLE_FOUND;
    if (meta_mark(pair_meta(home)) == MARK_NONE)
        return TABLE_ABSENT;
    return find_past_home(table, probe, ret_ref);
}

enum table_result table_find(struct table *table, const struct table_probe *probe,
                             struct table_ref *ret_ref)
{
    return find(table, probe, ret_ref);
}

enum table_result table_find_or_claim_by(struct table *table, const struct table_probe *probe,
                                         const struct table_taker *taker, const struct instant *now,
                                         struct table_ref *ret_ref)
{
    if (find(table, probe, ret_ref) == TABLE_FOUND)
        return TABLE_FOUND;
    return claim_entry(table, probe, taker, now, ret_ref);
}

bool table_swap(struct table *table, const struct table_ref *ref, uint64_t state)
{
    struct pair seen = {.state = ref->state, .meta = ref->meta};
    struct pair next = {.state = state, .meta = ref->meta};

    (void)table;
    if (state == 0)
        next.meta = meta_empty(ref->meta);
    else if (meta_kind(ref->meta) == ENTRY_BUSY)
        next.meta = meta_live(ref->meta); /* whoever wins this decided the key's first charge */
    return pair_cas(ref->entry, seen, next);
}
