#include "net/tags.h"

#include <string.h>

#define LANES 8u
#define FRAMES 1024u
#define LANES_WORTH 3u /* so few that one after the other is as fast */

static uint64_t compute_one(const struct tags_job *job)
{
    if (job->has_request_tag)
        return mete_mac_result(job->key, job->request_tag, job->bytes, job->len);
    return mete_mac(job->key, job->bytes, job->len);
}

#if defined(__x86_64__)

typedef uint64_t lanes __attribute__((vector_size(LANES * sizeof(uint64_t))));

struct lanes_state {
    lanes v0, v1, v2, v3;
};

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define ROTATE(x, bits) ((x) << (bits) | (x) >> (64 - (bits)))

/* mete_mac_round() in every lane. */
ALWAYS_INLINE void lanes_round(struct lanes_state *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = ROTATE(s->v1, 13) ^ s->v0;
    s->v3 = ROTATE(s->v3, 16) ^ s->v2;
    s->v0 = ROTATE(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = ROTATE(s->v1, 17) ^ s->v2;
    s->v3 = ROTATE(s->v3, 21) ^ s->v0;
    s->v2 = ROTATE(s->v2, 32);
}

ALWAYS_INLINE void lanes_word(struct lanes_state *s, const lanes *word)
{
    s->v3 ^= *word;
    lanes_round(s);
    lanes_round(s);
    s->v0 ^= *word;
}

ALWAYS_INLINE void lanes_begin(struct lanes_state *s, const struct tags_job *const jobs[LANES])
{
    for (unsigned i = 0; i < LANES; i++) {
        struct mete_mac_state one = mete_mac_begin(jobs[i]->key);
        s->v0[i] = one.v0;
        s->v1[i] = one.v1;
        s->v2[i] = one.v2;
        s->v3[i] = one.v3;
    }
}

/* All jobs have the length and the form of the first. */
ALWAYS_INLINE void lanes_compute(const struct tags_job *const jobs[LANES], uint64_t tags[LANES])
{
    struct lanes_state s = {.v0 = {0}};
    uint32_t len = jobs[0]->len;
    uint32_t tag_bytes = jobs[0]->has_request_tag ? 8 : 0;
    lanes word = {0};

    lanes_begin(&s, jobs);
    if (tag_bytes) {
        for (unsigned i = 0; i < LANES; i++)
            word[i] = jobs[i]->request_tag;
        lanes_word(&s, &word);
    }
    for (uint32_t at = 0; at < len; at += 8) {
        word = (lanes){mete_mac_load64(jobs[0]->bytes + at), mete_mac_load64(jobs[1]->bytes + at),
                       mete_mac_load64(jobs[2]->bytes + at), mete_mac_load64(jobs[3]->bytes + at),
                       mete_mac_load64(jobs[4]->bytes + at), mete_mac_load64(jobs[5]->bytes + at),
                       mete_mac_load64(jobs[6]->bytes + at), mete_mac_load64(jobs[7]->bytes + at)};
        lanes_word(&s, &word);
    }
    word = (lanes){0} + ((uint64_t)((len + tag_bytes) & 0xff) << 56);
    lanes_word(&s, &word);
    s.v2 ^= 0xff;
    for (unsigned i = 0; i < 4; i++)
        lanes_round(&s);
    word = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    for (unsigned i = 0; i < LANES; i++)
        tags[i] = word[i];
}

__attribute__((target("avx512f"), noinline)) static void
compute_avx512(const struct tags_job *const jobs[LANES], uint64_t tags[LANES])
{
    lanes_compute(jobs, tags);
}

bool tags_has_lanes(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f");
}

static bool is_alike(const struct tags_job *a, const struct tags_job *b)
{
    return a->len == b->len && a->has_request_tag == b->has_request_tag;
}

/* Jobs first..first+count are alike; what is left of the lanes repeats the first. */
static void compute_alike(const struct tags_job *first, unsigned count, uint64_t *ret_tags)
{
    const struct tags_job *jobs[LANES];
    uint64_t tags[LANES];
    for (unsigned i = 0; i < LANES; i++)
        jobs[i] = &first[i < count ? i : 0];
    compute_avx512(jobs, tags);
    for (unsigned i = 0; i < count; i++)
        ret_tags[i] = tags[i];
}

__attribute__((noinline)) static void compute_all(bool has_lanes, const struct tags_job *jobs,
                                                  unsigned count, uint64_t *ret_tags)
{
    for (unsigned at = 0, alike; at < count; at += alike) {
        alike = 1;
        while (alike < LANES && at + alike < count && is_alike(&jobs[at], &jobs[at + alike]))
            alike++;
        if (has_lanes && alike >= LANES_WORTH)
            compute_alike(&jobs[at], alike, &ret_tags[at]);
        else
            for (unsigned i = at; i < at + alike; i++)
                ret_tags[i] = compute_one(&jobs[i]);
    }
}

#else

bool tags_has_lanes(void)
{
    return false;
}

__attribute__((noinline)) static void compute_all(bool has_lanes, const struct tags_job *jobs,
                                                  unsigned count, uint64_t *ret_tags)
{
    (void)has_lanes;
    for (unsigned i = 0; i < count; i++)
        ret_tags[i] = compute_one(&jobs[i]);
}

#endif

/* The state that a tag begins with is the key, and what does not fit into registers goes to the
 * stack: into frames below the caller's, where it would stay for as long as the worker has nothing
 * else to do, and be in a core dump. FRAMES is more than compute_all() and what it calls take
 * (-fstack-usage: 848 without, 304 with optimisation). */
__attribute__((noinline)) static void wipe_frames(void)
{
    uint8_t frames[FRAMES];
    explicit_bzero(frames, sizeof(frames));
}

void tags_compute(bool has_lanes, const struct tags_job *jobs, unsigned count, uint64_t *ret_tags)
{
    if (!count)
        return;
    compute_all(has_lanes, jobs, count, ret_tags);
    wipe_frames();
}
