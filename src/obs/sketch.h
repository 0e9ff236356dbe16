/* The heaviest subjects of a stream, in fixed memory.
 *
 * Space-Saving (Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements
 * in Data Streams", ICDT 2005), with weights: SKETCH_ITEMS counters; who has none takes over the
 * smallest and inherits its count as a possible error. Counters lie in rows and are searched from
 * end to end: at 128 of them that is two kilobytes in a straight line, faster than lists and heaps.
 *
 * Guarantee, for the weights w of a stream of total weight N:
 *     count - error <= true weight <= count       of every item that is listed
 *     true weight <= the smallest count <= N / SKETCH_ITEMS        of every other
 * so whoever has more than one part in SKETCH_ITEMS of all is listed. Counts are in 1/256, so that
 * sketch_halve(), which forgets, keeps these bounds for halved weights; what came down to less than
 * half of one is dropped, so the second bound is then at least that half.
 *
 * Merging adds counts of equal items; who is listed in one only may have as much as the other's
 * smallest count there (Agarwal et al., "Mergeable Summaries", PODS 2012).
 *
 * Pure. Threads: one at a time. */
#ifndef METE_OBS_SKETCH_H
#define METE_OBS_SKETCH_H

#include <stdint.h>

#define SKETCH_ITEMS 128u
#define SKETCH_SUBJECT 64u /* bytes of a subject that are kept to be shown */
#define SKETCH_ONE 256u    /* the count that a weight of 1 adds */

struct sketch_item { /* what is counted: a subject under a rule */
    uint64_t key_low, key_high;
    uint32_t tenant, rule; /* ids */
    uint32_t subject_len;  /* 0: only its key is known */
    char subject[SKETCH_SUBJECT];
};

struct sketch {
    uint32_t used;
    uint64_t total; /* of all weights, in 1/256 */
    uint64_t mark[SKETCH_ITEMS];
    uint64_t count[SKETCH_ITEMS];
    uint64_t error[SKETCH_ITEMS];
    struct sketch_item items[SKETCH_ITEMS];
};

void sketch_init(struct sketch *sketch);

/* item->subject is read only if there is a subject; subject_len may be more than is kept. */
struct sketch_subject {
    uint64_t key_low, key_high;
    uint32_t tenant, rule;
    const void *subject; /* or NULL */
    uint32_t subject_len;
};
void sketch_add(struct sketch *sketch, const struct sketch_subject *subject, uint64_t weight);

void sketch_halve(struct sketch *sketch);

/* 0 while there is room. */
uint64_t sketch_smallest(const struct sketch *sketch);

struct sketch_top {
    struct sketch_item item;
    uint64_t count, error; /* in 1/256 */
};

/* The heaviest of several sketches together, heaviest first. Returns how many there are, at most
 * `most`. room: count * SKETCH_ITEMS. */
uint32_t sketch_merge_top(const struct sketch *sketches, uint32_t count, struct sketch_top *room,
                          uint32_t most);

#endif
