/* How two workers that meet the same bytes never both charge, without a lock.
 *
 * How long is long enough. A stamp s is fresh at t when t - W <= s <= t + ahead. So the bytes of
 * that stamp arrived nowhere before s - ahead and pass nowhere after s + W: what arrived at `a` can
 * come back fresh until a + ahead + W, and a record older than that is of no use. Without a stamp
 * the promise reaches W back. The earliest instant at which a datagram may have been here before,
 *   horizon = s - ahead, or now - W without a stamp,
 * is all that the rules below use; `reach` is now - horizon, at most W + ahead.
 *
 * What a place forgot. Let F be the youngest arrival among all records that ever gave way in this
 * place. A claim over a record sets F to that record's arrival, in the same compare-and-swap, and
 * is itself given an arrival of at least F; so F never falls, and rounding only raises it.
 *
 * The rules. A bucket *tells* a datagram when one of its places holds its tag, open or done, with
 * arrival >= horizon, or has F >= horizon. A claim
 *   1. reads the bucket; told: known, open or stale, nothing written;
 *   2. swaps the claim into a place;
 *   3. reads the other places again; told: withdraws.
 *
 * Why it is safe. Let X have charged and Y claim the same bytes; X's claim arrived at a >= horizon
 * of Y. From X's swap on, its place i holds the tag (arrival >= a) until another swap there, and
 * from that on F >= a: place i tells Y for ever. The swaps are full barriers, so they and the reads
 * behind them stand in one order.
 *   - X's swap first, other places: Y's step 3 reads place i after X's swap, and is told.
 *   - X's swap first, same place: Y's swap succeeds only on the very record that step 1 read and
 *     that did not tell Y. After X's swap place i never holds such a record.
 *   - Y's swap first: then X's step 3 reads Y's place (or X swaps in Y's place; as above) and is
 *     told, unless Y has withdrawn. X charged, so Y had withdrawn and charges nothing.
 * At worst both withdraw; a retry finds the place free.
 *
 * A record is read as two words, tag before meta. If the tag is another's, X's record had given way
 * before, and the meta read after it has F >= a. If it is ours, the meta is X's or a later one's:
 * told, or withdrawn by X. What is handed out as decisions is confirmed by a compare-and-swap.
 *
 * Who swaps a record: its owner (finish, withdraw), and anybody once it is done or older than
 * W + ahead. An owner that slept so long finds its record gone and leaves nothing: it is in F.
 *
 * More than 30 bits of decisions stand in further records under tags derived from the first, put
 * there before the first is done. If one of them had to give way, a repeat is stale.
 *
 * The 24-bit times: an instant is taken for one of the last 4.6 hours, or of the next 65 seconds
 * (workers read the clock once per batch, so another's may be ahead). The proof assumes that no
 * worker is stopped for 65 seconds between reading the clock and its claim, and the sweep. */
#include "engine/repeat.h"

#include <errno.h>

#include "engine/repeat_record.h"
#include "obs/assert.h"

#define LEAD_MS 65536u
#define CACHE_LINE 64u

/* Ages are counted back from LEAD_MS in the future, so that they are never negative. */
struct view {
    struct repeat_bucket *bucket;
    uint64_t tag;
    uint32_t now_ms;
    uint32_t oldest_age; /* of the horizon */
    struct record seen[RECORD_PLACES];
};

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* As table/mapping.h places keys: two keyed rounds, then the high half of a product. */
static inline struct repeat_bucket *bucket_of(const struct repeat_set *set, uint64_t tag)
{
    uint64_t hash = fold(tag ^ set->secret[0], set->secret[1] | 1);

    hash = fold(hash ^ set->secret[1], set->secret[0] ^ 0x9e3779b97f4a7c15ull);
    return set->buckets + (uint64_t)((unsigned __int128)hash * set->bucket_count >> 64);
}

static inline uint64_t tag_of_part(const struct repeat_set *set, uint64_t tag, uint32_t part)
{
    return fold(tag ^ set->secret[1], part * 0xd1b54a32d192ed03ull ^ set->secret[0]) + tag;
}

static inline uint32_t span_ms(const struct repeat_set *set)
{
    return set->window_ms + set->ahead_ms;
}

int repeat_init(struct repeat_set *set, const struct repeat_options *options)
{
    bool is_aligned = (uintptr_t)options->memory % REPEAT_BUCKET_BYTES == 0;

    if (!options->memory || !is_aligned || options->size < REPEAT_BUCKET_BYTES)
        return -EINVAL;
    if (!options->window_ms || options->window_ms > REPEAT_MAX_SPAN_MS ||
        options->ahead_ms > REPEAT_MAX_SPAN_MS - options->window_ms)
        return -EINVAL;
    *set = (struct repeat_set){
        .buckets = options->memory,
        .bucket_count = options->size / REPEAT_BUCKET_BYTES,
        .secret = {options->secret[0], options->secret[1]},
        .window_ms = options->window_ms,
        .ahead_ms = options->ahead_ms,
    };
    /* The largest gap must reach past every horizon, else what is long forgotten would tell. */
    while (RECORD_GAP_MAX << set->gap_shift <= span_ms(set))
        set->gap_shift++;
    return 0;
}

bool repeat_is_fresh(const struct repeat_set *set, uint32_t sent_ms, uint32_t now_ms)
{
    int32_t age_ms = (int32_t)(now_ms - sent_ms); /* signed: clocks wrap */

    return sent_ms == 0 || (age_ms <= (int32_t)set->window_ms && age_ms >= -(int32_t)set->ahead_ms);
}

void repeat_prefetch(const struct repeat_set *set, uint64_t tag)
{
    __builtin_prefetch(bucket_of(set, tag), 1);
}

/* ---- one bucket ---- */

static inline uint32_t age_of(uint64_t meta, uint32_t now_ms)
{
    return (now_ms + LEAD_MS - record_arrival_ms(meta)) & RECORD_TIME_MASK;
}

/* Of the youngest record that gave way in this place. Not for an empty one. */
static inline uint32_t forgotten_age(const struct repeat_set *set, uint64_t meta, uint32_t now_ms)
{
    return age_of(meta, now_ms) + (record_gap(meta) << set->gap_shift);
}

static inline void bucket_read(struct view *view)
{
#pragma GCC unroll 4
    for (unsigned i = 0; i < RECORD_PLACES; i++)
        view->seen[i] = record_read(&view->bucket->place[i]);
}

/* Bits of places: which hold the tag; *ret_forgot: which forgot something too young. */
static inline unsigned bucket_tells(const struct repeat_set *set, const struct view *view,
                                    unsigned *ret_forgot)
{
    unsigned known = 0, forgot = 0;

#pragma GCC unroll 4
    for (unsigned i = 0; i < RECORD_PLACES; i++) {
        uint64_t meta = view->seen[i].meta;
        uint32_t age = age_of(meta, view->now_ms);
        uint32_t gap = record_gap(meta) << set->gap_shift;
        unsigned same = (view->seen[i].tag == view->tag) & record_has_tag(meta);

        known |= (same & (age <= view->oldest_age)) << i;
        forgot |= (unsigned)((meta != 0) & (age + gap <= view->oldest_age)) << i;
    }
    *ret_forgot = forgot;
    return known;
}

/* The place to claim: one without a record, else the oldest (the first of equals). -1: all are open
 * and young. */
static inline int choose_place(const struct repeat_set *set, const struct view *view)
{
    uint32_t best_score = 0;
    int best = -1;

#pragma GCC unroll 4
    for (int i = 0; i < (int)RECORD_PLACES; i++) {
        uint64_t meta = view->seen[i].meta;
        uint32_t age = age_of(meta, view->now_ms);
        bool is_held = record_state(meta) == RECORD_OPEN && age <= LEAD_MS + span_ms(set);
        uint32_t score = !record_has_tag(meta) ? UINT32_MAX : is_held ? 0 : age + 1;

        best = score > best_score ? i : best;
        best_score = score > best_score ? score : best_score;
    }
    return best;
}

/* The meta of a record that takes the place of another at now_ms. */
static inline uint64_t meta_over(const struct repeat_set *set, uint64_t old, uint32_t now_ms)
{
    if (record_state(old) == RECORD_EMPTY)
        return record_meta(RECORD_OPEN, now_ms, RECORD_GAP_MAX);
    uint32_t forgotten =
        record_has_tag(old) ? age_of(old, now_ms) : forgotten_age(set, old, now_ms);
    uint32_t age = forgotten < LEAD_MS ? forgotten : LEAD_MS; /* not before what it forgot */
    uint32_t gap = (forgotten - age) >> set->gap_shift;

    return record_meta(RECORD_OPEN, now_ms + LEAD_MS - age,
                       gap < RECORD_GAP_MAX ? gap : RECORD_GAP_MAX);
}

/* ---- further records ---- */

static inline uint32_t part_bits(const uint64_t *bits, uint32_t bit_count, uint32_t part)
{
    uint32_t first = part * RECORD_PAYLOAD_BITS, shift = first % 64;
    uint32_t left = bit_count > first ? bit_count - first : 0;
    uint32_t count = left < RECORD_PAYLOAD_BITS ? left : RECORD_PAYLOAD_BITS;

    if (!count)
        return 0;
    uint64_t word = bits[first / 64] >> shift;

    if (shift + count > 64)
        word |= bits[first / 64 + 1] << (64 - shift);
    return (uint32_t)(word & ((1ull << count) - 1));
}

static inline void part_put(uint64_t *bits, uint32_t bit_count, uint32_t part, uint32_t payload)
{
    uint32_t first = part * RECORD_PAYLOAD_BITS, shift = first % 64;

    if (first >= bit_count)
        return;
    bits[first / 64] |= (uint64_t)payload << shift;
    if (shift + RECORD_PAYLOAD_BITS > 64 && first / 64 + 1 < (bit_count + 63) / 64)
        bits[first / 64 + 1] |= (uint64_t)payload >> (64 - shift);
}

static bool part_find(const struct repeat_set *set, const struct view *first, uint32_t part,
                      uint32_t *ret_payload)
{
    struct view view = *first;
    unsigned known, forgot;

    view.tag = tag_of_part(set, first->tag, part);
    view.bucket = bucket_of(set, view.tag);
    for (;;) {
        bucket_read(&view);
        known = bucket_tells(set, &view, &forgot);
        if (!known)
            return false;
        unsigned i = (unsigned)__builtin_ctz(known);

        *ret_payload = record_payload(view.seen[i].meta);
        if (record_cas(&view.bucket->place[i], view.seen[i], view.seen[i])) /* was one record */
            return true;
    }
}

/* In place of an earlier one of its tag, so that there is never more than one. */
static void part_store(struct repeat_set *set, const struct repeat_claim *claim, uint32_t part,
                       uint32_t payload)
{
    struct view view = {.tag = tag_of_part(set, claim->tag, part), .now_ms = claim->now_ms};
    int place;

    view.bucket = bucket_of(set, view.tag);
    for (;;) {
        bucket_read(&view);
        place = choose_place(set, &view);
        for (int i = 0; i < (int)RECORD_PLACES; i++)
            if (view.seen[i].tag == view.tag && record_has_tag(view.seen[i].meta))
                place = i;
        if (place < 0)
            return; /* a repeat will be stale */
        struct record next = {.tag = view.tag};

        next.meta =
            record_with_payload(meta_over(set, view.seen[place].meta, view.now_ms), payload);
        if (record_cas(&view.bucket->place[place], view.seen[place], next))
            return;
    }
}

static inline enum repeat_result give_bits(const struct repeat_set *set, const struct view *view,
                                           uint32_t payload, uint32_t bit_count, uint64_t *ret_bits)
{
    for (uint32_t i = 0; i < (bit_count + 63) / 64; i++)
        ret_bits[i] = 0;
    part_put(ret_bits, bit_count, 0, payload);
    for (uint32_t part = 1; part * RECORD_PAYLOAD_BITS < bit_count; part++) {
        if (!part_find(set, view, part, &payload))
            return REPEAT_STALE;
        part_put(ret_bits, bit_count, part, payload);
    }
    return REPEAT_KNOWN;
}

/* ---- claim, finish, withdraw ---- */

/* Step 3. What did not change since step 1 would tell no more than it did then. */
static inline enum repeat_result claim_settle(struct repeat_set *set, struct repeat_claim *claim,
                                              struct view *view, unsigned place)
{
    uint64_t changed = 0;
    unsigned forgot;

#pragma GCC unroll 4
    for (unsigned i = 0; i < RECORD_PLACES; i++) {
        if (i == place)
            continue;
        struct record now = record_read(&view->bucket->place[i]);

        changed |= (now.tag ^ view->seen[i].tag) | (now.meta ^ view->seen[i].meta);
        view->seen[i] = now;
    }
    if (__builtin_expect(!changed, 1))
        return REPEAT_NEW;
    unsigned known = bucket_tells(set, view, &forgot);

    if (!known && !forgot)
        return REPEAT_NEW;
    repeat_withdraw(set, claim);
    return known ? REPEAT_OPEN : REPEAT_STALE;
}

enum repeat_result repeat_claim(struct repeat_set *set, struct repeat_claim *claim,
                                uint64_t *ret_bits)
{
    struct view view = {
        .bucket = bucket_of(set, claim->tag),
        .tag = claim->tag,
        .now_ms = claim->now_ms,
    };
    uint32_t reach_ms =
        claim->sent_ms ? claim->now_ms - claim->sent_ms + set->ahead_ms : set->window_ms;

    if (!repeat_is_fresh(set, claim->sent_ms, claim->now_ms))
        return REPEAT_STALE;
    view.oldest_age = LEAD_MS + reach_ms;
    for (;;) {
        unsigned forgot;

        bucket_read(&view);
        unsigned known = bucket_tells(set, &view, &forgot);

        if (known) {
            unsigned i = (unsigned)__builtin_ctz(known);
            struct record seen = view.seen[i];

            if (record_state(seen.meta) == RECORD_OPEN)
                return REPEAT_OPEN;
            if (record_cas(&view.bucket->place[i], seen, seen)) /* was one record */
                return give_bits(set, &view, record_payload(seen.meta), claim->bit_count, ret_bits);
            continue;
        }
        int place = forgot ? -1 : choose_place(set, &view);

        if (place < 0)
            return REPEAT_STALE;
        struct record next = {claim->tag, meta_over(set, view.seen[place].meta, claim->now_ms)};

        if (!record_cas(&view.bucket->place[place], view.seen[place], next))
            continue;
        claim->bucket = view.bucket;
        claim->index = (uint32_t)place;
        claim->meta = next.meta;
        return claim_settle(set, claim, &view, (unsigned)place);
    }
}

void repeat_finish(struct repeat_set *set, const struct repeat_claim *claim, const uint64_t *bits)
{
    struct record open = {claim->tag, claim->meta};
    struct record done = open;

    ASSERT(claim->bit_count <= REPEAT_MAX_BITS);
    for (uint32_t part = 1; part * RECORD_PAYLOAD_BITS < claim->bit_count; part++)
        part_store(set, claim, part, part_bits(bits, claim->bit_count, part));
    done.meta = record_with_payload(open.meta, part_bits(bits, claim->bit_count, 0));
    record_cas(&claim->bucket->place[claim->index], open, done); /* false: it slept too long */
}

void repeat_withdraw(struct repeat_set *set, const struct repeat_claim *claim)
{
    struct record open = {claim->tag, claim->meta};
    struct record none = {0, claim->meta - RECORD_OPEN + RECORD_WITHDRAWN};

    (void)set;
    record_cas(&claim->bucket->place[claim->index], open, none);
}

void repeat_sweep(struct repeat_set *set, uint64_t *cursor, uint32_t count, uint32_t now_ms)
{
    for (; count; count--) {
        struct repeat_bucket *bucket = &set->buckets[*cursor % set->bucket_count];

        for (unsigned i = 0; i < RECORD_PLACES; i++) {
            struct record seen = record_read(&bucket->place[i]);

            if (seen.meta && age_of(seen.meta, now_ms) > LEAD_MS + REPEAT_SWEEP_AFTER_MS)
                record_cas(&bucket->place[i], seen, (struct record){0});
        }
        *cursor = (*cursor + 1) % set->bucket_count;
    }
}
