/* Claiming an entry for a new key, so that two threads never both decide on it.
 *
 * Lock-free and helping: a claim is not a thread's but the key's, and whoever meets one may bring
 * it to an end. A thread goes again only because another one got on; none waits for a particular
 * one.
 *
 * An entry is taken in steps: some free entry -> busy (one winner, generation + 1) -> its key words
 * are written, by that winner alone -> busy and `keyed`. From then on it is a CLAIM of key K. A
 * claim is decided (busy -> live, by table_swap) or ended (busy -> empty, by a withdrawal or a
 * kill); both are a compare-and-swap on this incarnation. Entries of a window have an order, the
 * probe order.
 *
 * The rule. claim_entry() returns a claim E only if the thread, after it had seen E keyed,
 *   (1) made sure that the home group's overflow mark is SET, if E stands past the home group;
 *   (2) scanned the window: the home group, then the rest unless the mark, read then, is NONE;
 *   (3) saw no live entry of K and no claim of K before E;
 *   (4) killed every claim of K behind E that it saw.
 * If (3) or (4) fails it goes again.
 *
 * Why it is enough. Let E stand before F in probe order, both claims of K, keyed at tE and tF (the
 * order of the compare-and-swaps, which are sequentially consistent). They are never both decided
 * while the other is undone:
 *   tE < tF  Who decides F scanned after tF and saw F, so its scan passed every entry up to F, E
 *            included, after tE. It saw E a claim (then F is not returned, by (3)), live (then
 *            FOUND), or ended (then it is no matter).
 *   tF < tE  Who decides E scanned after tE. If the scan passed F, it saw F live (FOUND), ended, or
 *            a claim that it killed, by (4), so that F can never be decided. If the scan did not
 *            pass F, then F is past the home group and the mark was read NONE at some r > tE.
 *            Lemma: a mark made sure of after tF is not NONE while F is a claim or live. So whoever
 *            decides F does (1) after r, scans after it, and meets E, as above.
 * Any number of claims are pairs of two. A claim that nobody has keyed yet is keyed later: tE
 * moves, and the argument with it.
 *
 * The lemma. A sweep clears a mark in three steps: SET -> CLEARING; look for claims and live
 * entries past home; CLEARING -> NONE; and one sweep at a time does so (sweep.c). If the mark was
 * made sure of before the first step, F was keyed before the look and is seen. If it was after the
 * first step, it was not SET and became so; the last step finds no CLEARING and fails.
 *
 * What is live is found: a decided entry past home had its mark made sure of before, by (1).
 *
 * Forgetting by the clock: an entry at rest by one thread's instant is free; a check that another
 * thread judges by an older instant may find it gone, and gains at most the difference of the two.
 *
 * Any thread may call anything here. */
#include "table/claim.h"

#include "core/share.h"
#include "table/mapping.h"
#include "table/pair.h"

#define WINDOW_ENTRIES (TABLE_GROUP_ENTRIES * TABLE_WINDOW_GROUPS)

/* What a pass over the window found of one key. */
struct claim_scan {
    struct table_ref live;                   /* entry NULL: none, and the claims are complete */
    struct table_ref claims[WINDOW_ENTRIES]; /* in probe order */
    unsigned claim_count;
};

static struct table_entry *home_of(const struct table *table, const struct table_probe *probe)
{
    return home_group(table, probe->home_group);
}

static bool is_past_home(const struct table *table, const struct table_probe *probe,
                         const struct table_entry *entry)
{
    const struct table_entry *home = home_of(table, probe);

    return entry < home || entry >= home + TABLE_GROUP_ENTRIES;
}

/* A live entry or a claim of the key? Then *ret_ref is how it stood at one instant. Meta comes
 * first here: who sees a keyed meta sees its key words. */
static bool look(struct table_entry *entry, const struct table_probe *probe,
                 struct table_ref *ret_ref)
{
    for (;;) {
        uint64_t meta = pair_meta(entry);

        if (!(meta_is_found(meta) || meta_is_claim(meta)) || meta_owner(meta) != probe->owner)
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

static void scan_window(const struct table *table, const struct table_probe *probe,
                        struct claim_scan *ret_scan)
{
    ret_scan->live.entry = NULL;
    ret_scan->claim_count = 0;
    for (uint32_t i = 0; i < TABLE_WINDOW_GROUPS; i++) {
        struct table_entry *group = window_group(table, probe->region, probe->home_group, i);

        if (i == 1 && meta_mark(pair_meta(home_of(table, probe))) == MARK_NONE)
            return;
        for (uint32_t j = 0; j < TABLE_GROUP_ENTRIES; j++) {
            struct table_ref ref;

            if (!look(&group[j], probe, &ref))
                continue;
            if (meta_is_found(ref.meta)) {
                ret_scan->live = ref;
                return;
            }
            ret_scan->claims[ret_scan->claim_count++] = ref;
        }
    }
}

/* Makes sure that the home group's mark is SET. */
static void mark_home(const struct table *table, const struct table_probe *probe)
{
    struct table_entry *first = home_of(table, probe);

    for (;;) {
        struct pair pair = pair_load(first);
        struct pair next = {pair.state, meta_with_mark(pair.meta, MARK_SET)};

        if (meta_mark(pair.meta) == MARK_SET || pair_cas(first, pair, next))
            return;
    }
}

/* An entry that may be taken, as it was seen. */
struct place {
    struct table_entry *entry; /* NULL: none */
    struct pair pair;
    uint64_t debt; /* what is lost by taking it */
};

/* Of two that owe the same: the one that has nothing pending to be told. */
static bool is_rather(struct pair pair, struct pair best)
{
    return meta_pending(best.meta) != 0 && meta_pending(pair.meta) == 0;
}

/* The first group in probe order that has a place which costs nothing: an empty one, else one at
 * rest with nothing pending, whose key may well come again. Without such a group the least
 * indebted, if that is wanted.
 */
static struct place find_place(const struct table *table, const struct table_probe *probe,
                               enum table_on_full on_full, const struct instant *now)
{
    struct place best = {.entry = NULL, .debt = UINT64_MAX};

    for (uint32_t i = 0; i < TABLE_WINDOW_GROUPS; i++) {
        struct table_entry *group = window_group(table, probe->region, probe->home_group, i);

        for (uint32_t j = 0; j < TABLE_GROUP_ENTRIES; j++) {
            struct pair pair = pair_load(&group[j]);
            enum entry_kind kind = meta_kind(pair.meta);

            if (kind == ENTRY_EMPTY || mapping_is_dead(table, pair.meta))
                return (struct place){&group[j], pair, 0};
            if (kind != ENTRY_LIVE)
                continue; /* another's claim, or a lease */
            uint64_t debt = mapping_debt(table, pair, now);

            bool may_take = debt == 0 || on_full == TABLE_EVICT;
            if (may_take && (debt < best.debt || (debt == best.debt && is_rather(pair, best.pair))))
                best = (struct place){&group[j], pair, debt};
        }
        if (best.entry && best.debt == 0 && meta_pending(best.pair.meta) == 0)
            break;
    }
    return best;
}

/* What is pending there and nowhere else, less what was granted and not spent (of a calendar, whose
 * periods a row does not know, that is lost). The key is of the pair only if the place is taken. */
static bool find_pending(const struct table *table, const struct place *place,
                         const struct instant *now, struct table_spilled *ret_spilled)
{
    const struct pair pair = place->pair;

    if (meta_kind(pair.meta) != ENTRY_LIVE ||
        (meta_pending(pair.meta) == 0 && !meta_is_grant(pair.meta)))
        return false;
    const struct limit limit = mapping_limit(&table->rows[meta_owner(pair.meta)].owner.limit);

    *ret_spilled = (struct table_spilled){
        .key = {.low = pair_key_low(place->entry), .high = pair_key_high(place->entry)},
        .owner = meta_owner(pair.meta),
        .units = meta_pending(pair.meta),
        .window = share_window(&limit, pair.state),
    };
    if (meta_is_grant(pair.meta)) {
        ret_spilled->window = share_window_at(&limit, now->wall_ns);
        ret_spilled->units -= (int32_t)grant_units_of(&limit, pair.state, ret_spilled->window);
    }
    return ret_spilled->units != 0;
}

/* Takes the place and keys it. False: somebody was faster. */
static bool take_place(struct table *table, const struct table_probe *probe,
                       const struct place *place, const struct table_taker *taker,
                       const struct instant *now, struct table_ref *ret_claim)
{
    struct table_entry *entry = place->entry;
    struct pair busy = {.state = 0, .meta = meta_busy(place->pair.meta, probe->owner, table->life)};
    struct pair keyed;
    struct table_spilled spilled;
    bool spills = taker->on_spill && find_pending(table, place, now, &spilled);

    if (!pair_cas(entry, place->pair, busy))
        return false;
    if (spills)
        taker->on_spill(taker->context, &spilled);
    if (place->debt) /* relaxed: a figure for people, ordered with nothing */
        __atomic_fetch_add(&table->header->eviction_count, 1, __ATOMIC_RELAXED);
    pair_key_store(entry, probe->key);
    for (;;) { /* unkeyed it is ours: only the group's mark may move under us */
        keyed = (struct pair){.state = 0, .meta = busy.meta | META_KEYED};
        if (pair_cas(entry, busy, keyed))
            break;
        busy.meta = pair_meta(entry);
    }
    *ret_claim = (struct table_ref){.entry = entry, .state = 0, .meta = keyed.meta};
    return true;
}

/* Ends every claim behind the first. False: one of them moved. */
static bool kill_later(const struct claim_scan *scan)
{
    for (unsigned i = 1; i < scan->claim_count; i++) {
        struct pair seen = {.state = 0, .meta = scan->claims[i].meta};
        struct pair next = {.state = 0, .meta = meta_empty(seen.meta)};

        if (!pair_cas(scan->claims[i].entry, seen, next))
            return false;
    }
    return true;
}

enum table_result claim_entry(struct table *table, const struct table_probe *probe,
                              const struct table_taker *taker, const struct instant *now,
                              struct table_ref *ret_ref)
{
    struct table_ref known = {.entry = NULL}; /* a claim seen keyed before the scan, mark set */
    struct table_ref mine = {.entry = NULL};  /* the last one that this thread made */

    for (;;) {
        struct claim_scan scan;

        scan_window(table, probe, &scan);
        if (scan.live.entry) {
            if (mine.entry)
                table_withdraw(table, &mine); /* decided elsewhere before it saw this one */
            *ret_ref = scan.live;
            return TABLE_FOUND;
        }
        if (scan.claim_count && scan.claims[0].entry == known.entry &&
            meta_is_same(scan.claims[0].meta, known.meta)) {
            if (!kill_later(&scan))
                continue;
            *ret_ref = scan.claims[0];
            return TABLE_CLAIMED;
        }
        if (scan.claim_count) {
            known = scan.claims[0];
        } else {
            struct place place = find_place(table, probe, taker->on_full, now);

            known.entry = NULL;
            if (!place.entry)
                return TABLE_FULL;
            if (!take_place(table, probe, &place, taker, now, &mine))
                continue;
            known = mine;
        }
        if (is_past_home(table, probe, known.entry))
            mark_home(table, probe);
        pair_fence(); /* keyed before the scan that follows: see above */
    }
}

void table_withdraw(struct table *table, const struct table_ref *ref)
{
    struct pair seen = {.state = 0, .meta = ref->meta};

    (void)table;
    while (meta_is_same(seen.meta, ref->meta)) { /* again only if the group's mark moved */
        struct pair next = {.state = 0, .meta = meta_empty(seen.meta)};

        if (pair_cas(ref->entry, seen, next))
            return;
        seen.meta = pair_meta(ref->entry);
    }
}
