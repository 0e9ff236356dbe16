/* How two workers that meet the same bytes never both charge, without a lock. (A set that one
 * thread has to itself needs none of it: its claims come one after the other.)
 *
 * How long is long enough. A stamp s is fresh at t when t - W <= s <= t + ahead. So the bytes of
 * that stamp arrived nowhere before s - ahead and pass nowhere after s + W: what arrived at `a` can
 * come back fresh until a + ahead + W, and a record older than that is of no use. Without a stamp
 * the promise reaches W back. The earliest instant at which a datagram may have been here before,
 *   horizon = s - ahead, or now - W without a stamp,
 * is all that the rules below use; `reach` is now - horizon, at most W + ahead.
 *
 * What a place forgot. Let F be the youngest arrival among all records that ever gave way in this
 * place. Who claims a place raises F to the arrival of the record that stood there, and gives its
 * own record an arrival of at least F; so F never falls, and rounding only raises it. While the
 * place is open its meta is still that record's, and F is read from there.
 *
 * The rules. A bucket *tells* a datagram when one of its places holds its tag, open or with an
 * arrival >= horizon, or has F >= horizon. A claim
 *   1. reads the bucket; told: known, open or stale, nothing written;
 *   2. swaps its name into a place that is not open;
 *   3. reads the other places again; told: withdraws.
 * Only then the caller charges, and finish or withdraw close the place. Step 1 may be as long ago
 * as it likes, within what is assumed of times and generations. A
 * worker mixes the steps of the claims of a batch; to each other they are as claims of
 * two workers, and nothing below counts on what a worker does between two steps of one.
 *
 * Why it is safe. Let X have charged and Y claim the same bytes; X's claim arrived at a >= horizon
 * of Y. From X's swap on, its place tells Y for ever: it holds the tag, open and then with arrival
 * a, until another swaps in its name, and from that instant on F >= a. Reading it as two words, the
 * name before the meta, does not hide that: with X's name the meta is of the generation before
 * (open), X's own (arrival a), or later (taken for open); with a later name the meta is X's own
 * (open, F = a) or later (F >= a). Still less does reading both at once. The swaps are full
 * barriers, so they and the reads behind them stand in one order.
 *   - X's swap first, other places: Y's step 3 reads X's place after X's swap, and is told.
 *   - X's swap first, same place: Y's swap succeeds only on the very name, one generation, that
 *     step 1 read together with a meta, closed, and that did not tell Y. No such name comes after
 *     X's swap.
 *   - Y's swap first: X's step 3 reads Y's place (or X swapped in Y's place, as above) and is told,
 *     unless Y has withdrawn. X charged, so Y had withdrawn and charges nothing.
 * At worst both withdraw; a retry finds the place free.
 *
 * An open place is closed by its owner only: threads do not die alone, and who takes the memory up
 * after its process closes what it left open (begin_place()). Decisions beyond 24 bits stand in
 * further records under tags derived from the first, closed before the first is. If one of them had
 * to give way, a repeat is stale.
 *
 * The 25-bit times: an instant is taken for one of the last 9.3 hours, or of the next 8 seconds
 * (workers read the clock once per batch, so another's may be ahead). The proof assumes that no
 * worker is stopped for 8 seconds between reading the clock and its claim, and that records are
 * swept before they seem young again; if they are not, some answers are STALE without need. */
#include "engine/repeat.h"

#include <errno.h>

#include "engine/repeat_lanes.h"
#include "engine/repeat_look.h"
#include "obs/assert.h"

/* One bucket, as a claim that is not silent looks at it. */
struct view {
    struct repeat_bucket *bucket;
    uint64_t tag; /* mixed */
    uint32_t now_ms;
    uint32_t oldest_age; /* of the horizon */
    struct record seen[RECORD_PLACES];
};

static inline uint64_t tag_of_part(const struct repeat_set *set, uint64_t tag, uint32_t part)
{
    return look_mix(set, look_mix(set, tag) + part); /* nobody without the secret can name it */
}

/* Of a place that holds nothing and forgot nothing for as long as the sweep lets be. */
static inline uint64_t meta_old(uint64_t name, uint32_t now_ms)
{
    return record_meta(name, 0, now_ms - REPEAT_SWEEP_AFTER_MS, 0);
}

/* A place that was open when its process ended may have charged: it forgets a record of now, so
 * that whatever may be a copy is STALE. */
static void begin_place(struct record *place, const struct repeat_options *options)
{
    if (options->start == REPEAT_EMPTY)
        *place = (struct record){.meta = meta_old(0, options->now_ms)};
    else if (options->start == REPEAT_FORGOTTEN || record_is_open(*place))
        place->meta = record_meta(place->name, 0, options->now_ms, 0);
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
        .multiplier = options->secret[1] | 1,
        .window_ms = options->window_ms,
        .ahead_ms = options->ahead_ms,
        .is_shared = options->is_shared,
        .has_lanes = repeat_has_lanes(),
    };
    /* The largest gap must reach past every horizon, else what is long forgotten would tell. */
    while (RECORD_GAP_MAX << set->gap_shift <= look_span_ms(set))
        set->gap_shift++;
    for (uint64_t i = 0; i < set->bucket_count; i++)
        for (unsigned place = 0; place < RECORD_PLACES; place++)
            begin_place(&set->buckets[i].place[place], options);
    return 0;
}

bool repeat_is_fresh(const struct repeat_set *set, uint32_t sent_ms, uint32_t now_ms)
{
    int32_t age_ms = (int32_t)(now_ms - sent_ms); /* signed: clocks wrap */

    return sent_ms == 0 || (age_ms <= (int32_t)set->window_ms && age_ms >= -(int32_t)set->ahead_ms);
}

/* ---- one bucket ---- */

static inline void bucket_read(struct view *view)
{
#pragma GCC unroll 4
    for (unsigned i = 0; i < RECORD_PLACES; i++)
        view->seen[i] = record_read(&view->bucket->place[i]);
}

/* Torn records are taken for open ones; to say open or stale for that reason would be right, but
 * without need. */
static inline bool bucket_is_torn(const struct view *view)
{
    bool is_torn = false;

    for (unsigned i = 0; i < RECORD_PLACES; i++)
        is_torn |= record_is_torn(view->seen[i]);
    return is_torn;
}

static inline bool is_named(const struct view *view, unsigned i)
{
    return look_is_named(view->seen[i].name, view->tag);
}

/* Bits of places: which hold the tag; *ret_forgot: which forgot something too young. */
static unsigned bucket_tells(const struct repeat_set *set, const struct view *view,
                             unsigned *ret_forgot)
{
    unsigned known = 0, forgot = 0;

    for (unsigned i = 0; i < RECORD_PLACES; i++) {
        struct record seen = view->seen[i];
        bool is_open = record_is_open(seen);
        uint32_t age = look_age(seen.meta, view->now_ms);
        uint32_t gap = is_open ? 0 : record_gap(seen.meta) << set->gap_shift;
        bool is_young = record_is_done(seen.meta) && age <= view->oldest_age;

        known |= (unsigned)(is_named(view, i) && (is_open || is_young)) << i;
        forgot |= (unsigned)(age + gap <= view->oldest_age) << i;
    }
    *ret_forgot = forgot;
    return known;
}

/* The place to claim: the oldest (the first of equals), but none that is open. -1: all are. The
 * score is the age with the place behind it, so that a maximum finds both. */
static int choose_place(const struct view *view)
{
    uint32_t score[RECORD_PLACES];

#pragma GCC unroll 4
    for (unsigned i = 0; i < RECORD_PLACES; i++) {
        uint32_t age = look_age(view->seen[i].meta, view->now_ms) + 1;
        bool is_open = record_is_open(view->seen[i]);

        score[i] = is_open ? 0 : age << 2 | (RECORD_PLACES - 1 - i);
    }
    uint32_t left = score[0] > score[1] ? score[0] : score[1];
    uint32_t right = score[2] > score[3] ? score[2] : score[3];
    uint32_t best = left > right ? left : right;

    return best ? (int)(RECORD_PLACES - 1 - (best & 3)) : -1;
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

static bool part_find(const struct repeat_set *set, const struct view *first, uint64_t tag,
                      uint32_t *ret_payload)
{
    struct view view = *first;
    unsigned forgot;

    view.tag = tag;
    view.bucket = look_bucket(set, tag);
    bucket_read(&view);
    unsigned known = bucket_tells(set, &view, &forgot);
    struct record seen = view.seen[known ? __builtin_ctz(known) : 0];

    *ret_payload = record_payload(seen.meta);
    return known && !record_is_open(seen);
}

/* In place of an earlier one of its tag, so that there is never more than one. */
static void part_store(struct repeat_set *set, const struct repeat_claim *claim, uint32_t part,
                       uint32_t payload)
{
    struct view view = {.tag = tag_of_part(set, claim->tag, part), .now_ms = claim->now_ms};

    view.bucket = look_bucket(set, view.tag);
    for (;;) {
        bucket_read(&view);
        int place = choose_place(&view);

        for (int i = 0; i < (int)RECORD_PLACES; i++)
            if (is_named(&view, (unsigned)i) && !record_is_open(view.seen[i]))
                place = i;
        if (place < 0)
            return; /* a repeat will be stale */
        struct record seen = view.seen[place];
        uint64_t name = record_name(view.tag, seen.name);

        if (record_claim(&view.bucket->place[place], seen.name, name, set->is_shared)) {
            uint64_t meta =
                look_meta_over(set, name, look_age(seen.meta, view.now_ms), view.now_ms);

            record_close(&view.bucket->place[place], record_with_payload(meta, payload));
            return;
        }
    }
}

static inline enum repeat_result give_bits(const struct repeat_set *set, const struct view *view,
                                           const struct repeat_claim *claim, uint32_t payload,
                                           uint64_t *ret_bits)
{
    uint32_t bit_count = claim->bit_count;

    for (uint32_t i = 0; i < (bit_count + 63) / 64; i++)
        ret_bits[i] = 0;
    if (bit_count < RECORD_PAYLOAD_BITS) /* the first part was stored with what stood behind it */
        payload &= (1u << bit_count) - 1;
    part_put(ret_bits, bit_count, 0, payload);
    for (uint32_t part = 1; part * RECORD_PAYLOAD_BITS < bit_count; part++) {
        if (!part_find(set, view, tag_of_part(set, claim->tag, part), &payload))
            return REPEAT_STALE;
        part_put(ret_bits, bit_count, part, payload);
    }
    return REPEAT_KNOWN;
}

/* ---- claim, finish, withdraw ---- */

/* A bucket that is not silent, or not any more: told, or with open places. Or the datagram is not
 * fresh. */
static __attribute__((noinline)) enum repeat_result
take_slowly(struct repeat_set *set, struct repeat_claim *claim, uint64_t *ret_bits)
{
    struct view view = {.bucket = claim->bucket, .tag = claim->mixed, .now_ms = claim->now_ms};
    uint32_t reach_ms = look_reach_ms(set, claim);

    if (reach_ms > look_span_ms(set))
        return REPEAT_STALE;
    view.oldest_age = LEAD_MS + reach_ms;
    for (;;) {
        do
            bucket_read(&view);
        while (bucket_is_torn(&view)); /* again only if somebody else got on */
        unsigned forgot, known = bucket_tells(set, &view, &forgot);

        if (known) {
            struct record seen = view.seen[__builtin_ctz(known)];

            return record_is_open(seen)
                       ? REPEAT_OPEN
                       : give_bits(set, &view, claim, record_payload(seen.meta), ret_bits);
        }
        int place = forgot ? -1 : choose_place(&view);

        if (place < 0)
            return REPEAT_STALE;
        for (unsigned i = 0; i < RECORD_PLACES; i++)
            claim->seen[i] = view.seen[i].name;
        look_choose(set, claim, (unsigned)place, look_age(view.seen[place].meta, view.now_ms));
        if (look_swap(set, claim))
            return REPEAT_NEW;
    }
}

static inline enum repeat_result take(struct repeat_set *set, struct repeat_claim *claim,
                                      uint64_t *ret_bits)
{
    if (__builtin_expect(claim->index != REPEAT_NO_PLACE, 1) && look_swap(set, claim))
        return REPEAT_NEW;
    return take_slowly(set, claim, ret_bits);
}

/* Names changed. What the own place told before the swap was judged in step 1. */
static __attribute__((noinline)) enum repeat_result confirm_slowly(struct repeat_set *set,
                                                                   const struct repeat_claim *claim)
{
    struct view view = {.bucket = claim->bucket,
                        .tag = claim->mixed,
                        .now_ms = claim->now_ms,
                        .oldest_age = LEAD_MS + look_reach_ms(set, claim)};
    unsigned forgot;

    do
        bucket_read(&view);
    while (bucket_is_torn(&view)); /* again only if somebody else got on */
    unsigned known = bucket_tells(set, &view, &forgot), own = 1u << claim->index;

    if (!((known | forgot) & ~own))
        return REPEAT_NEW;
    repeat_withdraw(set, claim);
    return known & ~own ? REPEAT_OPEN : REPEAT_STALE;
}

/* Step 3. Where no name changed since step 1, nothing is told that was not told then: who closes a
 * place adds nothing to it but what its name said already. */
static inline enum repeat_result confirm(struct repeat_set *set, const struct repeat_claim *claim)
{
    const struct record *place = claim->bucket->place;
    uint64_t changed = 0;

#pragma GCC unroll 4
    for (unsigned i = 0; i < RECORD_PLACES; i++)
        changed |= record_read_name(&place[i]) ^ claim->seen[i];
    if (__builtin_expect(!changed, 1))
        return REPEAT_NEW;
    return confirm_slowly(set, claim);
}

static uint32_t take_chunk(struct repeat_set *set, struct repeat_claim *claims,
                           const struct look *look, uint32_t words, uint64_t *ret_words)
{
    for (uint32_t i = look->first; i < look->end; i++) {
        struct repeat_claim *claim = &claims[i];

        claim->first_word = (uint16_t)words;
        claim->result = (uint16_t)take(set, claim, &ret_words[words]);
        if (__builtin_expect(claim->result == REPEAT_KNOWN, 0))
            words += (claim->bit_count + 63) / 64;
    }
    return words;
}

uint32_t repeat_claim_all(struct repeat_set *set, struct repeat_claim *claims, uint32_t count,
                          uint64_t *ret_words)
{
    struct look look = {.shift = set->gap_shift + RECORD_TIME_SHIFT, .count = count};
    uint32_t words = 0;

    if (count)
        look.from = (claims[0].now_ms + LEAD_MS) << RECORD_TIME_SHIFT | LOOK_ONES;
    for (uint32_t i = 0; i < LOOK_AHEAD && i < count; i++)
        look_prepare(set, &claims[i]);
    for (; look.first < count; look.first = look.end) {
        const uint32_t left = count - look.first;

        look.end = look.first + (left < LOOK_CHUNK ? left : LOOK_CHUNK);
        if (set->has_lanes)
            repeat_look_lanes(set, claims, &look);
        else
            look_chunk(set, claims, &look, look_words);
        words = take_chunk(set, claims, &look, words, ret_words);
        for (uint32_t i = look.first; i < look.end; i++)
            if (claims[i].result == REPEAT_NEW)
                claims[i].result = (uint16_t)confirm(set, &claims[i]);
    }
    return words;
}

void repeat_prefetch(const struct repeat_set *set, uint64_t tag)
{
    const struct repeat_bucket *bucket = look_bucket(set, look_mix(set, tag));

    __builtin_prefetch(bucket, 1);
    __asm__("" : : "r"(bucket)); /* else gcc finds a function without effect, and drops its calls */
}

enum repeat_result repeat_claim(struct repeat_set *set, struct repeat_claim *claim,
                                uint64_t *ret_bits)
{
    repeat_claim_all(set, claim, 1, ret_bits);
    return claim->result;
}

static __attribute__((noinline)) void
finish_parts(struct repeat_set *set, const struct repeat_claim *claim, const uint64_t *bits)
{
    ASSERT(claim->bit_count <= REPEAT_MAX_BITS);
    for (uint32_t part = 1; part * RECORD_PAYLOAD_BITS < claim->bit_count; part++)
        part_store(set, claim, part, part_bits(bits, claim->bit_count, part));
}

void repeat_finish(struct repeat_set *set, const struct repeat_claim *claim, const uint64_t *bits)
{
    uint32_t payload = (uint32_t)bits[0] & ((1u << RECORD_PAYLOAD_BITS) - 1);

    if (__builtin_expect(claim->bit_count > RECORD_PAYLOAD_BITS, 0))
        finish_parts(set, claim, bits);
    record_close(&claim->bucket->place[claim->index], record_with_payload(claim->meta, payload));
}

void repeat_withdraw(struct repeat_set *set, const struct repeat_claim *claim)
{
    uint32_t forgotten_ms =
        record_arrival_ms(claim->meta) - (record_gap(claim->meta) << set->gap_shift);

    record_close(&claim->bucket->place[claim->index], record_meta(claim->meta, 0, forgotten_ms, 0));
}

void repeat_sweep(struct repeat_set *set, uint64_t *cursor, uint32_t count, uint32_t now_ms)
{
    for (; count; count--) {
        struct repeat_bucket *bucket = &set->buckets[*cursor % set->bucket_count];

        for (unsigned i = 0; i < RECORD_PLACES; i++) {
            struct record seen = record_read(&bucket->place[i]);
            uint64_t name = record_name(0, seen.name);

            if (!record_is_open(seen) &&
                look_age(seen.meta, now_ms) > LEAD_MS + REPEAT_SWEEP_AFTER_MS &&
                record_claim(&bucket->place[i], seen.name, name, set->is_shared))
                record_close(&bucket->place[i], meta_old(name, now_ms));
        }
        *cursor = (*cursor + 1) % set->bucket_count;
    }
}
