/* Step 1 of a claim (repeat.c): what a bucket says, and the place to take, in few instructions for
 * the usual case that it is silent: nothing in it is open, told or forgotten too recently.
 *
 * Ages are counted back from LEAD_MS in the future, so that they are never negative. Only repeat.c
 * and repeat_lanes.c include this. */
#ifndef METE_ENGINE_REPEAT_LOOK_H
#define METE_ENGINE_REPEAT_LOOK_H

#include "engine/repeat.h"
#include "engine/repeat_record.h"

_Static_assert(REPEAT_NO_PLACE == RECORD_PLACES, "behind the last place");

#define LEAD_MS 8192u
#define LOOK_AHEAD 16u /* as many lines as a core waits for at a time */
#define LOOK_CHUNK 32u /* claims that do each step together */

/* The bits below an arrival in a meta. Subtracted from ones they do not borrow. */
#define LOOK_ONES ((1u << RECORD_TIME_SHIFT) - 1)

/* A keyed permutation. Its high bits choose the bucket, its low 58 are the record's tag; together
 * (64 buckets or more) they are the whole tag, so no two tags are ever taken for one. Tags may be
 * chosen by a stranger; without the secret their buckets may not. */
static inline uint64_t look_mix(const struct repeat_set *set, uint64_t tag)
{
    tag = (tag ^ set->secret[0]) * set->multiplier;
    tag = (tag ^ tag >> 32) * 0xd1b54a32d192ed03ull;
    return tag ^ tag >> 29;
}

static inline struct repeat_bucket *look_bucket(const struct repeat_set *set, uint64_t mixed)
{
    return set->buckets + (uint64_t)((unsigned __int128)mixed * set->bucket_count >> 64);
}

static inline uint32_t look_span_ms(const struct repeat_set *set)
{
    return set->window_ms + set->ahead_ms;
}

/* How far back the datagram may have been here; more than the span: it is not fresh (unsigned, so
 * too far ahead as well). */
static inline uint32_t look_reach_ms(const struct repeat_set *set, const struct repeat_claim *claim)
{
    return claim->sent_ms ? claim->now_ms - claim->sent_ms + set->ahead_ms : set->window_ms;
}

static inline uint32_t look_age(uint64_t meta, uint32_t now_ms)
{
    return (now_ms + LEAD_MS - record_arrival_ms(meta)) & RECORD_TIME_MASK;
}

static inline bool look_is_named(uint64_t name, uint64_t mixed)
{
    return (name ^ mixed << RECORD_TAG_SHIFT) < RECORD_GENERATIONS;
}

/* The meta of the record `name` that takes the place of one that is `forgotten` old at now_ms. */
static inline uint64_t look_meta_over(const struct repeat_set *set, uint64_t name,
                                      uint32_t forgotten, uint32_t now_ms)
{
    if (__builtin_expect(forgotten < LEAD_MS, 0)) /* it does not arrive before what it forgot */
        return record_meta(name, RECORD_DONE, now_ms + LEAD_MS - forgotten, 0);
    uint32_t gap = (forgotten - LEAD_MS) >> set->gap_shift;

    return record_meta(name, RECORD_DONE, now_ms, gap < RECORD_GAP_MAX ? gap : RECORD_GAP_MAX);
}

/* The claim is to take this place; seen[] holds what was there. */
static inline void look_choose(const struct repeat_set *set, struct repeat_claim *claim,
                               uint32_t index, uint32_t forgotten)
{
    claim->index = index;
    claim->old = claim->seen[index];
    claim->name = record_name(claim->mixed, claim->old);
    claim->meta = look_meta_over(set, claim->name, forgotten, claim->now_ms);
    claim->seen[index] = claim->name;
}

/* Step 2; false: the place is another's by now. */
static inline bool look_swap(const struct repeat_set *set, const struct repeat_claim *claim)
{
    return record_claim(&claim->bucket->place[claim->index], claim->old, claim->name,
                        set->is_shared);
}

/* What is looked at together. */
struct look {
    uint32_t from; /* ages are counted back from it */
    uint32_t shift;
    uint32_t first, end; /* of the claims; not included */
    uint32_t count;      /* of all claims */
};

/* The oldest place, the first of equals, or none: something is told, or a place is open. A score is
 * the age with the place in the bits that give way to it, so that a maximum finds both. */
static inline void look_words(const struct repeat_set *set, const struct look *look,
                              struct repeat_claim *claim, uint32_t reach_ms)
{
    uint64_t oldest = (uint64_t)(LEAD_MS + reach_ms) << RECORD_TIME_SHIFT | LOOK_ONES;
    const struct record *place = claim->bucket->place;
    uint64_t mixed = claim->mixed, differ = 0;
    uint32_t best = 0;
    bool is_told = false;

#pragma GCC unroll 4
    for (unsigned i = 0; i < RECORD_PLACES; i++) {
        struct record seen = record_read(&place[i]);
        uint32_t age = look->from - (uint32_t)seen.meta;
        uint32_t score = (age & ~LOOK_ONES) | (RECORD_PLACES - 1 - i);

        is_told |=
            look_is_named(seen.name, mixed) | (age + ((seen.meta >> 56) << look->shift) <= oldest);
        differ |= seen.name ^ seen.meta;
        best = score > best ? score : best;
        claim->seen[i] = seen.name;
    }
    if (!is_told && !(differ & (RECORD_GENERATIONS - 1)))
        look_choose(set, claim, ~best & (RECORD_PLACES - 1), best >> RECORD_TIME_SHIFT);
    else
        claim->index = REPEAT_NO_PLACE;
}

static inline void look_prepare(const struct repeat_set *set, struct repeat_claim *claim)
{
    uint64_t mixed = look_mix(set, claim->tag);
    struct repeat_bucket *bucket = look_bucket(set, mixed);

    __builtin_prefetch(bucket, 1);
    claim->mixed = mixed;
    claim->bucket = bucket;
}

typedef void look_fn(const struct repeat_set *set, const struct look *look,
                     struct repeat_claim *claim, uint32_t reach_ms);

/* Claims `first` to `end` of `count`, whose lines were asked for LOOK_AHEAD claims ago. `one` is
 * known to the compiler, and inlined. */
static inline __attribute__((always_inline)) void look_chunk(const struct repeat_set *set,
                                                             struct repeat_claim *claims,
                                                             const struct look *look, look_fn *one)
{
    const uint32_t span_ms = look_span_ms(set);

    for (uint32_t i = look->first; i < look->end; i++) {
        uint32_t reach_ms = look_reach_ms(set, &claims[i]);

        if (i + LOOK_AHEAD < look->count)
            look_prepare(set, &claims[i + LOOK_AHEAD]);
        if (reach_ms <= span_ms)
            one(set, look, &claims[i], reach_ms);
        else
            claims[i].index = REPEAT_NO_PLACE;
    }
}

#endif
