/* Step 1 of a claim (repeat.c): what a bucket says, and the place to take, in few instructions for
 * the usual case that it is silent: nothing in it is open, told or forgotten too recently.
 *
 * Ages are counted back from LEAD_MS in the future, so that they are never negative. Only repeat.c
 * and repeat_lanes.c include this. */
#ifndef METE_ENGINE_REPEAT_LOOK_H
#define METE_ENGINE_REPEAT_LOOK_H

#include "engine/repeat.h"
#include "engine/repeat_record.h"

#define LEAD_MS 8192u
#define LOOK_MULTIPLIER 0xd1b54a32d192ed03ull
#define LOOK_CHUNK 32u /* claims that do each step together */
#define LOOK_LANES 8u  /* of them, those that are looked at together */

/* The bits below an arrival in a meta. Subtracted from ones they do not borrow. */
#define LOOK_ONES ((1u << RECORD_TIME_SHIFT) - 1)

/* A keyed permutation. Its high bits choose the bucket, its low 58 are the record's tag; together
 * (64 buckets or more) they are the whole tag, so no two tags are ever taken for one. Tags may be
 * chosen by a stranger; without the secret their buckets may not. */
static inline uint64_t look_mix(const struct repeat_set *set, uint64_t tag)
{
    tag = (tag ^ set->secret[0]) * set->multiplier;
    tag = (tag ^ tag >> 32) * LOOK_MULTIPLIER;
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

/* Claims of a chunk whose lines were asked for. */
struct look_lines {
    uint64_t mixed[LOOK_CHUNK]; /* the tags, as the set has them */
    struct repeat_bucket *bucket[LOOK_CHUNK];
};

/* What was seen for the claims of a chunk, by their numbers in it. */
struct look {
    uint64_t seen[RECORD_PLACES][LOOK_CHUNK]; /* the names, but of the place to take the new one */
    struct record *place[LOOK_CHUNK];         /* to take; NULL: not silent, or not fresh */
    uint64_t old[LOOK_CHUNK], name[LOOK_CHUNK]; /* of that place, now and then */
    uint64_t meta[LOOK_CHUNK];                  /* that the name gets when it is closed */
    struct look_lines lines[2];                 /* of this chunk and of the next */
    uint32_t now_ms;
} __attribute__((aligned(64)));

static inline void look_prepare(const struct repeat_set *set, struct look_lines *lines, uint32_t i,
                                uint64_t tag)
{
    uint64_t mixed = look_mix(set, tag);
    struct repeat_bucket *bucket = look_bucket(set, mixed);

    __builtin_prefetch(bucket, 1);
    lines->mixed[i] = mixed;
    lines->bucket[i] = bucket;
}

/* Claim i is to take this place; seen[] holds what was there. */
static inline void look_choose(const struct repeat_set *set, struct look *look,
                               const struct look_lines *lines, uint32_t i, uint32_t index,
                               uint32_t forgotten)
{
    uint64_t old = look->seen[index][i], name = record_name(lines->mixed[i], old);

    look->place[i] = &lines->bucket[i]->place[index];
    look->old[i] = old;
    look->name[i] = look->seen[index][i] = name;
    look->meta[i] = look_meta_over(set, name, forgotten, look->now_ms);
}

/* The oldest place, the first of equals, or none: something is told, or a place is open. A score is
 * the age with the place in the bits that give way to it, so that a maximum finds both. */
static inline void look_words(const struct repeat_set *set, struct look *look,
                              const struct look_lines *lines, uint32_t i, uint32_t reach_ms)
{
    uint32_t from = (look->now_ms + LEAD_MS) << RECORD_TIME_SHIFT | LOOK_ONES;
    uint64_t oldest = (uint64_t)(LEAD_MS + reach_ms) << RECORD_TIME_SHIFT | LOOK_ONES;
    uint32_t shift = set->gap_shift + RECORD_TIME_SHIFT, best = 0;
    const struct record *place = lines->bucket[i]->place;
    uint64_t mixed = lines->mixed[i], differ = 0;
    bool is_told = reach_ms > look_span_ms(set);

#pragma GCC unroll 4
    for (unsigned at = 0; at < RECORD_PLACES; at++) {
        struct record seen = record_read(&place[at]);
        uint32_t age = from - (uint32_t)seen.meta;
        uint32_t score = (age & ~LOOK_ONES) | (RECORD_PLACES - 1 - at);

        is_told |= look_is_named(seen.name, mixed) | (age + ((seen.meta >> 56) << shift) <= oldest);
        differ |= seen.name ^ seen.meta;
        best = score > best ? score : best;
        look->seen[at][i] = seen.name;
    }
    if (!is_told && !(differ & (RECORD_GENERATIONS - 1)))
        look_choose(set, look, lines, i, ~best & (RECORD_PLACES - 1), best >> RECORD_TIME_SHIFT);
    else
        look->place[i] = NULL;
}

/* Did a name change since, but for the own one? */
static inline bool look_is_changed(const struct look *look, const struct look_lines *lines,
                                   uint32_t i)
{
    const struct record *place = lines->bucket[i]->place;
    uint64_t changed = 0;

#pragma GCC unroll 4
    for (unsigned at = 0; at < RECORD_PLACES; at++)
        changed |= record_read_name(&place[at]) ^ look->seen[at][i];
    return changed;
}

#endif
