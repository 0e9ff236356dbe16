/* One bucket, as a claim that is not silent looks at it (repeat.c): record by record, what it tells
 * of a tag and which place may be taken. Only repeat.c includes this. */
#ifndef METE_ENGINE_REPEAT_VIEW_H
#define METE_ENGINE_REPEAT_VIEW_H

#include "engine/repeat_look.h"

struct view {
    struct repeat_bucket *bucket;
    uint64_t tag; /* mixed */
    uint32_t now_ms;
    uint32_t oldest_age; /* of the horizon */
    struct record seen[RECORD_PLACES];
};

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
static inline unsigned bucket_tells(const struct repeat_set *set, const struct view *view,
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
static inline int choose_place(const struct view *view)
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

#endif
