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
 * place. Who claims a place raises F to the arrival of the record that stood there, and gives its
 * own record an arrival of at least F; so F never falls, and rounding only raises it. While the
 * place is open its meta is still that record's, and F is read from there.
 *
 * The rules. A bucket *tells* a datagram when one of its places holds its tag, open or with an
 * arrival >= horizon, or has F >= horizon. A claim
 *   1. reads the bucket; told: known, open or stale, nothing written;
 *   2. swaps its name into a place that is not open;
 *   3. reads the other places again; told: withdraws.
 * Only then the caller charges, and finish or withdraw close the place.
 *
 * Why it is safe. Let X have charged and Y claim the same bytes; X's claim arrived at a >= horizon
 * of Y. From X's swap on, its place tells Y for ever: it holds the tag, open and then with arrival
 * a, until another swaps in its name, and from that instant on F >= a. Reading it as two words, the
 * name before the meta, does not hide that: with X's name the meta is of the generation before
 * (open), X's own (arrival a), or later (taken for open); with a later name the meta is X's own
 * (open, F = a) or later (F >= a). The swaps are full barriers, so they and the reads behind them
 * stand in one order.
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

#include "engine/repeat_record.h"
#include "obs/assert.h"

#define LEAD_MS 8192u
#define CLAIM_AGAIN ((enum repeat_result) - 1)

/* Ages are counted back from LEAD_MS in the future, so that they are never negative. */
struct view {
    struct repeat_bucket *bucket;
    uint64_t tag; /* mixed */
    uint32_t now_ms;
    uint32_t oldest_age; /* of the horizon */
    struct record seen[RECORD_PLACES];
};

/* A keyed permutation. Its high bits choose the bucket, its low 58 are the record's tag; together
 * (64 buckets or more) they are the whole tag, so no two tags are ever taken for one. Tags may be
 * chosen by a stranger; without the secret their buckets may not. */
static inline uint64_t tag_mix(const struct repeat_set *set, uint64_t tag)
{
    tag = (tag ^ set->secret[0]) * (set->secret[1] | 1);
    tag = (tag ^ tag >> 32) * 0xd1b54a32d192ed03ull;
    return tag ^ tag >> 29;
}

static inline uint64_t tag_of_part(const struct repeat_set *set, uint64_t tag, uint32_t part)
{
    return tag_mix(set, tag_mix(set, tag) + part); /* nobody without the secret can name it */
}

static inline struct repeat_bucket *bucket_of(const struct repeat_set *set, uint64_t mixed)
{
    return set->buckets + (uint64_t)((unsigned __int128)mixed * set->bucket_count >> 64);
}

static inline uint32_t span_ms(const struct repeat_set *set)
{
    return set->window_ms + set->ahead_ms;
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
        .window_ms = options->window_ms,
        .ahead_ms = options->ahead_ms,
    };
    /* The largest gap must reach past every horizon, else what is long forgotten would tell. */
    while (RECORD_GAP_MAX << set->gap_shift <= span_ms(set))
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

void repeat_prefetch(const struct repeat_set *set, uint64_t tag)
{
    const struct repeat_bucket *bucket = bucket_of(set, tag_mix(set, tag));

    __builtin_prefetch(bucket, 1);
    __asm__("" : : "r"(bucket)); /* else gcc finds a function without effect, and drops its calls */
}

/* ---- one bucket ---- */

static inline uint32_t age_of(uint64_t meta, uint32_t now_ms)
{
    return (now_ms + LEAD_MS - record_arrival_ms(meta)) & RECORD_TIME_MASK;
}

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
    return (view->seen[i].name ^ view->tag << RECORD_TAG_SHIFT) < RECORD_GENERATIONS;
}

/* Bits of places: which hold the tag; *ret_forgot: which forgot something too young. */
static unsigned bucket_tells(const struct repeat_set *set, const struct view *view,
                             unsigned *ret_forgot)
{
    unsigned known = 0, forgot = 0;

    for (unsigned i = 0; i < RECORD_PLACES; i++) {
        struct record seen = view->seen[i];
        bool is_open = record_is_open(seen);
        uint32_t age = age_of(seen.meta, view->now_ms);
        uint32_t gap = is_open ? 0 : record_gap(seen.meta) << set->gap_shift;
        bool is_young = record_is_done(seen.meta) && age <= view->oldest_age;

        known |= (unsigned)(is_named(view, i) && (is_open || is_young)) << i;
        forgot |= (unsigned)(age + gap <= view->oldest_age) << i;
    }
    *ret_forgot = forgot;
    return known;
}

/* The place to claim, or -1 if something is told or a place is open: bucket_tells() and
 * choose_place() in few instructions, for the usual case. The bits below an arrival are subtracted
 * from ones, so they do not borrow; for choosing they give way to the place's number. */
static inline int choose_silent_place(const struct repeat_set *set, const struct view *view)
{
    const uint32_t ones = (1u << RECORD_TIME_SHIFT) - 1;
    uint32_t from = (view->now_ms + LEAD_MS) << RECORD_TIME_SHIFT | ones;
    uint64_t oldest = (uint64_t)view->oldest_age << RECORD_TIME_SHIFT | ones;
    uint32_t shift = set->gap_shift + RECORD_TIME_SHIFT, best = 0;
    uint64_t differ = 0;

#pragma GCC unroll 4
    for (unsigned i = 0; i < RECORD_PLACES; i++) {
        uint64_t meta = view->seen[i].meta;
        uint32_t age = from - (uint32_t)meta;
        uint32_t score = (age & ~ones) | (RECORD_PLACES - 1 - i);

        if (is_named(view, i) || age + ((meta >> 56) << shift) <= oldest)
            return -1;
        differ |= view->seen[i].name ^ meta;
        best = score > best ? score : best;
    }
    return differ & (RECORD_GENERATIONS - 1) ? -1 : (int)(RECORD_PLACES - 1 - (best & 3));
}

/* The place to claim: the oldest (the first of equals), but none that is open. -1: all are. The
 * score is the age with the place behind it, so that a maximum finds both. */
static int choose_place(const struct view *view)
{
    uint32_t score[RECORD_PLACES];

#pragma GCC unroll 4
    for (unsigned i = 0; i < RECORD_PLACES; i++) {
        uint32_t age = age_of(view->seen[i].meta, view->now_ms) + 1;
        bool is_open = record_is_open(view->seen[i]);

        score[i] = is_open ? 0 : age << 2 | (RECORD_PLACES - 1 - i);
    }
    uint32_t left = score[0] > score[1] ? score[0] : score[1];
    uint32_t right = score[2] > score[3] ? score[2] : score[3];
    uint32_t best = left > right ? left : right;

    return best ? (int)(RECORD_PLACES - 1 - (best & 3)) : -1;
}

/* The meta of the record `name` that takes the place of one with the meta `old` at now_ms. */
static inline uint64_t meta_over(const struct repeat_set *set, uint64_t name, uint64_t old,
                                 uint32_t now_ms)
{
    uint32_t forgotten = age_of(old, now_ms);
    uint32_t age = forgotten < LEAD_MS ? forgotten : LEAD_MS; /* not before what it forgot */
    uint32_t gap = (forgotten - age) >> set->gap_shift;

    return record_meta(name, RECORD_DONE, now_ms + LEAD_MS - age,
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

static bool part_find(const struct repeat_set *set, const struct view *first, uint64_t tag,
                      uint32_t *ret_payload)
{
    struct view view = *first;
    unsigned forgot;

    view.tag = tag;
    view.bucket = bucket_of(set, tag);
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

    view.bucket = bucket_of(set, view.tag);
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

        if (record_claim(&view.bucket->place[place], seen.name, name)) {
            uint64_t meta = meta_over(set, name, seen.meta, view.now_ms);

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
    part_put(ret_bits, bit_count, 0, payload);
    for (uint32_t part = 1; part * RECORD_PAYLOAD_BITS < bit_count; part++) {
        if (!part_find(set, view, tag_of_part(set, claim->tag, part), &payload))
            return REPEAT_STALE;
        part_put(ret_bits, bit_count, part, payload);
    }
    return REPEAT_KNOWN;
}

/* ---- claim, finish, withdraw ---- */

/* Puts the name into a place; then step 3. Where no name changed since step 1, nothing is told that
 * was not told then: who closes a place adds nothing to it but what its name said already. */
static inline enum repeat_result claim_place(struct repeat_set *set, struct repeat_claim *claim,
                                             struct view *view, unsigned place)
{
    struct repeat_bucket *bucket = view->bucket;
    uint64_t old_name = view->seen[place].name;
    /* Between the two loads, so that gcc does not make one of 16 bytes out of them: no store of 8
     * bytes can be forwarded to that, and it would wait for both to reach the cache. */
    __asm__("" : "+r"(old_name));
    uint64_t old_meta = view->seen[place].meta;
    uint64_t name = record_name(view->tag, old_name), changed = 0;
    unsigned forgot;

    if (!record_claim(&bucket->place[place], old_name, name))
        return CLAIM_AGAIN;
    claim->bucket = bucket;
    claim->index = place;
    claim->meta = meta_over(set, name, old_meta, view->now_ms);
    view->seen[place].name = name;
#pragma GCC unroll 4
    for (unsigned i = 0; i < RECORD_PLACES; i++)
        changed |= record_read_name(&bucket->place[i]) ^ view->seen[i].name;
    if (__builtin_expect(!changed, 1))
        return REPEAT_NEW;
    do
        bucket_read(view);
    while (bucket_is_torn(view)); /* again only if somebody else got on */
    view->seen[place] = (struct record){old_name, old_meta}; /* it was judged */
    unsigned known = bucket_tells(set, view, &forgot);

    if (!known && !forgot)
        return REPEAT_NEW;
    repeat_withdraw(set, claim);
    return known ? REPEAT_OPEN : REPEAT_STALE;
}

/* A bucket that is not silent: told, or with open places. */
static __attribute__((noinline)) enum repeat_result claim_slowly(struct repeat_set *set,
                                                                 struct repeat_claim *claim,
                                                                 struct view *view,
                                                                 uint64_t *ret_bits)
{
    unsigned forgot, known = bucket_tells(set, view, &forgot);

    if (bucket_is_torn(view))
        return CLAIM_AGAIN;
    if (known) {
        struct record seen = view->seen[__builtin_ctz(known)];

        return record_is_open(seen)
                   ? REPEAT_OPEN
                   : give_bits(set, view, claim, record_payload(seen.meta), ret_bits);
    }
    int place = forgot ? -1 : choose_place(view);

    return place < 0 ? REPEAT_STALE : claim_place(set, claim, view, (unsigned)place);
}

enum repeat_result repeat_claim(struct repeat_set *set, struct repeat_claim *claim,
                                uint64_t *ret_bits)
{
    uint64_t tag = tag_mix(set, claim->tag);
    struct view view; /* not cleared: bucket_read() fills what is left */
    uint32_t reach_ms =
        claim->sent_ms ? claim->now_ms - claim->sent_ms + set->ahead_ms : set->window_ms;
    enum repeat_result result;

    if (reach_ms > span_ms(set)) /* not fresh; unsigned, so too far ahead as well */
        return REPEAT_STALE;
    view.bucket = bucket_of(set, tag);
    view.tag = tag;
    view.now_ms = claim->now_ms;
    view.oldest_age = LEAD_MS + reach_ms;
    do {
        bucket_read(&view);
        int place = choose_silent_place(set, &view);

        if (__builtin_expect(place >= 0, 1))
            result = claim_place(set, claim, &view, (unsigned)place);
        else
            result = claim_slowly(set, claim, &view, ret_bits);
    } while (result == CLAIM_AGAIN); /* somebody else got on */
    return result;
}

void repeat_finish(struct repeat_set *set, const struct repeat_claim *claim, const uint64_t *bits)
{
    ASSERT(claim->bit_count <= REPEAT_MAX_BITS);
    for (uint32_t part = 1; part * RECORD_PAYLOAD_BITS < claim->bit_count; part++)
        part_store(set, claim, part, part_bits(bits, claim->bit_count, part));
    record_close(&claim->bucket->place[claim->index],
                 record_with_payload(claim->meta, part_bits(bits, claim->bit_count, 0)));
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
                age_of(seen.meta, now_ms) > LEAD_MS + REPEAT_SWEEP_AFTER_MS &&
                record_claim(&bucket->place[i], seen.name, name))
                record_close(&bucket->place[i], meta_old(name, now_ms));
        }
        *cursor = (*cursor + 1) % set->bucket_count;
    }
}
