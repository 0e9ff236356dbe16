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
#include "engine/repeat_transaction.h"
#include "engine/repeat_view.h"
#include "obs/assert.h"

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
        .has_transactions = options->is_shared && repeat_has_transactions(),
        .has_lanes = repeat_has_lanes() && options->size / REPEAT_BUCKET_BYTES <= UINT32_MAX,
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

/* ---- further records ---- */

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
    record_part_put(ret_bits, bit_count, 0, payload);
    for (uint32_t part = 1; part * RECORD_PAYLOAD_BITS < bit_count; part++) {
        if (!part_find(set, view, tag_of_part(set, claim->tag, part), &payload))
            return REPEAT_STALE;
        record_part_put(ret_bits, bit_count, part, payload);
    }
    return REPEAT_KNOWN;
}

/* ---- claim, finish, withdraw ---- */

/* Claim i of a chunk. */
struct one {
    struct repeat_set *set;
    struct look *look;
    const struct look_lines *lines; /* of the chunk */
    struct repeat_claim *claim;
    uint32_t i;
};

static struct view view_of(const struct one *one)
{
    return (struct view){.bucket = one->lines->bucket[one->i],
                         .tag = one->lines->mixed[one->i],
                         .now_ms = one->look->now_ms,
                         .oldest_age = LEAD_MS + look_reach_ms(one->set, one->claim)};
}

/* Step 2; false: the place is another's by now. */
static inline bool swap_in(const struct repeat_set *set, const struct look *look, uint32_t i)
{
    return record_claim(look->place[i], look->old[i], look->name[i], set->is_shared);
}

/* A bucket that is not silent, or not any more: told, or with open places. Or the datagram is not
 * fresh. */
static __attribute__((noinline)) enum repeat_result take_slowly(const struct one *one,
                                                                uint64_t *ret_bits)
{
    struct repeat_set *set = one->set;
    struct view view = view_of(one);

    if (look_reach_ms(set, one->claim) > look_span_ms(set))
        return REPEAT_STALE;
    for (;;) {
        do
            bucket_read(&view);
        while (bucket_is_torn(&view)); /* again only if somebody else got on */
        unsigned forgot, known = bucket_tells(set, &view, &forgot);

        if (known) {
            struct record seen = view.seen[__builtin_ctz(known)];

            return record_is_open(seen)
                       ? REPEAT_OPEN
                       : give_bits(set, &view, one->claim, record_payload(seen.meta), ret_bits);
        }
        int place = forgot ? -1 : choose_place(&view);

        if (place < 0)
            return REPEAT_STALE;
        for (unsigned i = 0; i < RECORD_PLACES; i++)
            one->look->seen[i][one->i] = view.seen[i].name;
        look_choose(set, one->look, one->lines, one->i, (unsigned)place,
                    look_age(view.seen[place].meta, view.now_ms));
        if (swap_in(set, one->look, one->i))
            return REPEAT_NEW;
    }
}

/* Names changed. What the own place told before the swap was judged in step 1. */
static __attribute__((noinline)) enum repeat_result confirm_slowly(const struct one *one)
{
    struct view view = view_of(one);
    unsigned forgot, own = 1u << (one->claim->place - view.bucket->place);

    do
        bucket_read(&view);
    while (bucket_is_torn(&view)); /* again only if somebody else got on */
    unsigned known = bucket_tells(one->set, &view, &forgot);

    if (!((known | forgot) & ~own))
        return REPEAT_NEW;
    repeat_withdraw(one->set, one->claim);
    return known & ~own ? REPEAT_OPEN : REPEAT_STALE;
}

/* Few are looked at one by one. */
static inline bool has_lanes_for(const struct repeat_set *set, uint32_t count)
{
    return set->has_lanes && count >= LOOK_LANES / 2;
}

static void prepare_some(const struct repeat_set *set, const struct repeat_claim *claims,
                         uint32_t at, uint32_t end, struct look_lines *lines)
{
    if (at >= end)
        return;
    if (has_lanes_for(set, end - at)) {
        repeat_lanes_prepare(set, claims, at, end, lines);
        return;
    }
    for (uint32_t i = at; i < end && i < at + LOOK_LANES; i++)
        look_prepare(set, lines, i, claims[i].tag);
}

static void look_some(const struct repeat_set *set, const struct repeat_claim *claims, uint32_t at,
                      uint32_t end, const struct look_lines *lines, struct look *look)
{
    if (has_lanes_for(set, end - at)) {
        repeat_lanes_look(set, claims, at, end, lines, look);
        return;
    }
    for (uint32_t i = at; i < end && i < at + LOOK_LANES; i++)
        look_words(set, look, lines, i, look_reach_ms(set, &claims[i]));
}

/* Step 2 of claims that met silence, from i on; the first that could not take its place. A locked
 * operation waits for the stores before it, so there are none between. */
static inline uint32_t swap_some(const struct repeat_set *set, const struct look *look, uint32_t i,
                                 uint32_t count)
{
    while (i < count && look->place[i] && swap_in(set, look, i))
        i++;
    return i;
}

static inline void hand_out(const struct look *look, uint32_t i, struct repeat_claim *claim)
{
    claim->place = look->place[i];
    claim->meta = look->meta[i];
    claim->result = REPEAT_NEW;
    claim->first_word = 0;
}

/* Step 3 of a chunk; bits of those in whose bucket names changed. Where none changed since step 1,
 * nothing is told that was not told then: who closes a place adds nothing to it but what its name
 * said already. */
static inline uint32_t changed_all(const struct repeat_set *set, const struct look *look,
                                   const struct look_lines *lines, uint32_t count)
{
    uint32_t changed = 0;

    for (uint32_t at = 0; at < count; at += LOOK_LANES) {
        if (has_lanes_for(set, count - at)) {
            changed |= repeat_lanes_changed(at, count, lines, look) << at;
            continue;
        }
        for (uint32_t i = at; i < count && i < at + LOOK_LANES; i++)
            changed |= (uint32_t)look_is_changed(look, lines, i) << i;
    }
    return changed;
}

/* take_slowly() of a fresh datagram whose record is closed and young, as most repeats are, with one
 * word of decisions; or false. */
static inline bool take_known(const struct one *one, uint64_t *ret_bits)
{
    const struct record *place = one->lines->bucket[one->i]->place;
    const uint64_t tag = one->lines->mixed[one->i];
    const uint32_t reach_ms = look_reach_ms(one->set, one->claim);
    const uint32_t bit_count = one->claim->bit_count;
    unsigned named = 0;

#pragma GCC unroll 4
    for (unsigned i = 0; i < RECORD_PLACES; i++)
        named |= (unsigned)look_is_named(record_read_name(&place[i]), tag) << i;
    if (!named || bit_count - 1 >= RECORD_PAYLOAD_BITS || reach_ms > look_span_ms(one->set))
        return false;
    const struct record seen = record_read(&place[__builtin_ctz(named)]);

    ret_bits[0] = record_payload(seen.meta) & ((1u << bit_count) - 1);
    return look_is_named(seen.name, tag) && !record_is_open(seen) && record_is_done(seen.meta) &&
           look_age(seen.meta, one->look->now_ms) <= LEAD_MS + reach_ms;
}

/* Steps 2 and 3 of a chunk. */
static uint32_t take_all(struct one *one, struct repeat_claim *claims, uint32_t count,
                         uint32_t words, uint64_t *ret_words)
{
    uint32_t taken = (uint32_t)((1ull << count) - 1);

    if (one->set->has_transactions && count >= REPEAT_TRANSACTION_LEAST &&
        repeat_transaction_swap(one->look, count))
        one->i = count;
    while ((one->i = swap_some(one->set, one->look, one->i, count)) < count) {
        one->claim = &claims[one->i];
        one->claim->first_word = (uint16_t)words;
        one->claim->result = REPEAT_KNOWN;
        if (!take_known(one, &ret_words[words]))
            one->claim->result = (uint16_t)take_slowly(one, &ret_words[words]);
        if (one->claim->result == REPEAT_KNOWN)
            words += (one->claim->bit_count + 63) / 64;
        if (one->claim->result != REPEAT_NEW)
            taken &= ~(1u << one->i);
        one->i++;
    }
    for (uint32_t i = 0; i < count; i++)
        if (__builtin_expect(taken >> i & 1, 1))
            hand_out(one->look, i, &claims[i]);
    if (!taken)
        return words;
    uint32_t left = changed_all(one->set, one->look, one->lines, count) & taken;

    for (; __builtin_expect(left, 0); left &= left - 1) {
        one->i = (uint32_t)__builtin_ctz(left);
        one->claim = &claims[one->i];
        one->claim->result = (uint16_t)confirm_slowly(one);
    }
    return words;
}

uint32_t repeat_claim_all(struct repeat_set *set, struct repeat_claim *claims, uint32_t count,
                          uint64_t *ret_words)
{
    struct look look; /* not cleared: each part is written before it is read */
    struct look_lines *lines = &look.lines[0], *next = &look.lines[1];
    uint32_t words = 0;

    look.now_ms = count ? claims[0].now_ms : 0;
    for (uint32_t at = 0; at < LOOK_CHUNK; at += LOOK_LANES)
        prepare_some(set, claims, at, count < LOOK_CHUNK ? count : LOOK_CHUNK, lines);
    for (uint32_t left = count; left;) {
        const uint32_t end = left < LOOK_CHUNK ? left : LOOK_CHUNK;
        const uint32_t behind = left - end < LOOK_CHUNK ? left - end : LOOK_CHUNK;
        struct one one = {.set = set, .look = &look, .lines = lines};

        for (uint32_t at = 0; at < end; at += LOOK_LANES) {
            prepare_some(set, claims + end, at, behind, next);
            look_some(set, claims, at, end, lines, &look);
        }
        words = take_all(&one, claims, end, words, ret_words);
        claims += end;
        left -= end;
        next = lines;
        lines = &look.lines[lines == &look.lines[0]];
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
        part_store(set, claim, part, record_part_bits(bits, claim->bit_count, part));
}

void repeat_finish(struct repeat_set *set, const struct repeat_claim *claim, const uint64_t *bits)
{
    uint32_t payload = (uint32_t)bits[0] & ((1u << RECORD_PAYLOAD_BITS) - 1);

    if (__builtin_expect(claim->bit_count > RECORD_PAYLOAD_BITS, 0))
        finish_parts(set, claim, bits);
    record_close(claim->place, record_with_payload(claim->meta, payload));
}

void repeat_withdraw(struct repeat_set *set, const struct repeat_claim *claim)
{
    uint32_t forgotten_ms =
        record_arrival_ms(claim->meta) - (record_gap(claim->meta) << set->gap_shift);

    record_close(claim->place, record_meta(claim->meta, 0, forgotten_ms, 0));
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
