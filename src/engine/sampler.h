/* Who asks most, and who is denied most: a few of the checks of a thread, drawn at random, go into
 * two sketches of bounded memory. What is counted is what charges or would have: no peeks, no
 * repeats.
 *
 * The past fades: every SAMPLER_HALF_LIFE_NS all counts are halved. `window_ns` ages in the same
 * way, so count / window is the rate of the last half minute or so, the newest weighing most.
 *
 * The cost for the thread that judges is one compare per batch, and some 1,000 times a second
 * about a microsecond, most of it for lines that are not in the cache. It never waits: while
 * somebody copies its sketches, its samples are left out.
 *
 * Threads: sampler_watch() by the one that judges; sampler_copy() by any other. */
#ifndef METE_ENGINE_SAMPLER_H
#define METE_ENGINE_SAMPLER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "obs/sampling.h"
#include "obs/sketch.h"

#define SAMPLER_HALF_LIFE_NS 10000000000ull
#define SAMPLER_PER_LOOK 100u /* samples in a tenth of a second */

struct answer;
struct check;

struct sampler_view { /* of one thread */
    struct sketch hot, denied;
    uint64_t window_ns; /* that counts stand for */
};

struct sampler {
    struct sampling sampling;          /* the thread's own */
    _Alignas(128) atomic_flag is_held; /* what follows: by who has set it */
    uint64_t until_ns;                 /* the window reaches to here */
    uint64_t halve_at_ns;
    struct sampler_view view;
};

void sampler_init(struct sampler *sampler, uint64_t seed, uint64_t now_ns);

/* Goes over a batch that is decided. Not for a batch that nothing of is due. */
void sampler_watch(struct sampler *sampler, const struct check *checks, uint32_t count,
                   const struct answer *answers, uint64_t now_ns);

/* A copy of what is known, as of now_ns. False: its thread was stopped in the middle of a sample
 * for long; nothing is copied. */
bool sampler_copy(struct sampler *sampler, uint64_t now_ns, struct sampler_view *ret_view);

#endif
