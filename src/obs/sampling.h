/* Which of many things are looked at: few enough to cost nothing, often enough to tell.
 *
 * One in `mean` is taken, at random distances (uniform from 1 to 2 mean - 1), so that nothing that
 * repeats itself is met at the same place each time. Whoever is taken stands for `weight` things,
 * the mean distance it was drawn with: sums of weights estimate sums over all. The mean follows the
 * traffic: every SAMPLING_LOOK_NS it is set to what would have given `per_look` samples, and it
 * doubles at once when twice as many came; below that every single one is taken and sums are exact.
 * After a surge from nothing to n in a look that is at most 2 per_look log2(n) samples.
 *
 * The cost for what is not taken is a compare and a subtraction for any number of things. Pure but
 * for its own state; the generator is xorshift64 (Marsaglia 2003). Threads: one. */
#ifndef METE_OBS_SAMPLING_H
#define METE_OBS_SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

#define SAMPLING_LOOK_NS 100000000u

struct sampling {
    uint64_t left;   /* things up to the next one that is taken, itself included */
    uint64_t weight; /* that it will stand for */
    uint64_t mean;
    uint64_t random; /* never 0 */
    uint64_t seen;   /* weight of this look */
    uint32_t taken;  /* since the mean was set */
    uint32_t per_look;
    uint64_t since_ns;
};

static inline void sampling_init(struct sampling *sampling, uint32_t per_look, uint64_t seed,
                                 uint64_t now_ns)
{
    *sampling = (struct sampling){
        .left = 1,
        .weight = 1,
        .mean = 1,
        .random = seed | 1,
        .per_look = per_look,
        .since_ns = now_ns,
    };
}

/* Passes count things by. True: one of them, or more, is to be taken, see sampling_take(). */
static inline bool sampling_is_due(struct sampling *sampling, uint64_t count)
{
    if (__builtin_expect(sampling->left > count, 1)) {
        sampling->left -= count;
        return false;
    }
    return true;
}

/* Takes the next one: returns its number among the things not passed yet, from 0, and what it
 * stands for in *ret_weight. */
uint64_t sampling_take(struct sampling *sampling, uint64_t now_ns, uint64_t *ret_weight);

/* Now and then, when nothing may have been taken for long: a distance drawn in busier times is
 * given up. */
void sampling_refresh(struct sampling *sampling, uint64_t now_ns);

#endif
