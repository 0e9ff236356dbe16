/* Which subject is asked next. Two sources: made keys, drawn at random (uniformly, by Zipf's law,
 * or one of them more often than all others) or each only once; or the lines of a file, in their
 * order. A subject is a number here; traffic_key() is what stands for it on the wire.
 *
 * With `exclusive` (for --verify) a subject is never handed out again before traffic_return(): one
 * whose turn comes too early waits, and is the first to go when it is back. So a subject belongs to
 * one thread; each draws from its own part of them by the same law.
 *
 * Threads: what was opened is only read; a share belongs to one. */
#ifndef METE_CMD_BENCH_TRAFFIC_H
#define METE_CMD_BENCH_TRAFFIC_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/bench.h"
#include "cmd/subjects.h"
#include "core/key.h"

/* Rank k in [1, n] with probability proportional to k^-s. */
struct zipf {
    double exponent;
    double from, to; /* the integral of x^-s, at the ends of the range that is drawn from */
    double squeeze;
};

struct traffic {
    uint32_t subject_count; /* different ones */
    uint32_t part, parts;   /* exclusive: this thread's are those with subject % parts == part */
    uint64_t random;        /* state */
    struct zipf zipf;       /* of made keys; exponent 0: uniform */
    uint64_t hot_below;     /* random numbers below this mean subject 0 */
    bool unique;            /* subjects in their order, from line_at in steps of line_step */
    uint64_t salt;          /* of made keys */
    /* of a file */
    struct key *keys; /* of each subject; NULL: made keys */
    uint32_t *lines;  /* the subject of each line */
    uint64_t line_count;
    uint64_t line_at;
    uint64_t line_step;      /* threads share the lines out (unless exclusive) */
    bool wraps;              /* start again at the end */
    uint64_t unparsed_count; /* lines of an access log that are none */
    uint64_t left;           /* checks that may still be drawn */
    /* exclusive; the arrays are the share's own, by subject / parts */
    bool exclusive;
    uint32_t own_count; /* subjects of this part */
    bool *is_out;
    uint32_t *waiting; /* checks of a subject whose turn came while it was out */
    uint32_t *ready;   /* ring of subjects that are back and have some waiting */
    uint32_t ready_begin, ready_count;
    uint64_t waiting_count; /* over all */
};

/* Reads the file, if there is one. 0, or EXIT_USAGE after saying what is wrong. seed is the
 * tenant's; salt, if salted, makes the subjects new to the server. */
int traffic_open(const struct bench_options *options, uint64_t seed, bool salted,
                 struct traffic *ret_traffic);
void traffic_close(struct traffic *traffic);

/* Part `index` of `count` of what was opened, which must live longer. 0, or -1: not enough memory.
 */
int traffic_share(const struct traffic *traffic, unsigned index, unsigned count,
                  struct traffic *ret_share);
void traffic_unshare(struct traffic *share);

/* Up to n subjects to ask now; 0 when all are used up or, exclusive, none may go now. */
unsigned traffic_draw(struct traffic *traffic, unsigned n, uint32_t *ret_subjects);

/* Exclusive: the subject's answer is there, or given up. */
void traffic_return(struct traffic *traffic, uint32_t subject);

/* Nothing left to draw, now or later. */
bool traffic_is_over(const struct traffic *traffic);

/* The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection that mixes well. */
static inline uint64_t traffic_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

/* Three multiplications: drawn keys are made anew each time, because a table of a million of them
 * does not stay in a core's own cache, and fetching costs more than making. */
static inline struct key traffic_key(const struct traffic *traffic, uint32_t subject)
{
    if (traffic->keys)
        return traffic->keys[subject];
    const uint64_t low = traffic_mix(traffic->salt + subject * 0x9e3779b97f4a7c15ull);
    const uint64_t high = low * 0xd6e8feb86659fd93ull;
    return (struct key){.low = low, .high = high ^ (high >> 32)};
}

/* Rejection-inversion (Hoermann, Derflinger: Rejection-inversion to generate variates from monotone
 * discrete distributions, 1996): no table, about one draw for each rank. */
struct zipf zipf_make(double exponent, uint32_t count);
uint32_t zipf_draw(const struct zipf *zipf, uint32_t count, uint64_t *random);

static inline uint64_t traffic_random(uint64_t *state)
{
    return traffic_mix(*state += 0x9e3779b97f4a7c15ull);
}

#endif
