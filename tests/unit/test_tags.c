/* Tags computed side by side are those computed one by one, whatever stands beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/random.h"
#include "net/tags.h"

#define JOBS 40u
#define BYTES 1232u

static uint8_t bytes[JOBS][BYTES];
static struct mete_mac_key keys[JOBS];
static struct tags_job jobs[JOBS];

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t expected(const struct tags_job *job)
{
    return job->has_request_tag ? mete_mac_result(job->key, job->request_tag, job->bytes, job->len)
                                : mete_mac(job->key, job->bytes, job->len);
}

static void fill(uint64_t *state)
{
    for (unsigned i = 0; i < JOBS; i++) {
        for (unsigned at = 0; at < BYTES; at++)
            bytes[i][at] = (uint8_t)next_random(state);
        keys[i] = (struct mete_mac_key){next_random(state), next_random(state)};
        uint32_t len = 8 * (uint32_t)(next_random(state) % (BYTES / 8 + 1));
        /* mostly as the one before, so that runs of every length come up */
        bool is_alike = i && next_random(state) % 8;
        jobs[i] = (struct tags_job){
            .key = &keys[next_random(state) % (i + 1)],
            .bytes = bytes[i],
            .len = is_alike ? jobs[i - 1].len : len,
            .has_request_tag = is_alike ? jobs[i - 1].has_request_tag : next_random(state) % 2,
            .request_tag = next_random(state),
        };
    }
}

static void compare(bool has_lanes)
{
    const uint64_t seed = random_seed(1);
    uint64_t state = seed * 2 + 1;
    for (unsigned round = 0; round < 500; round++) {
        uint64_t tags[JOBS];
        fill(&state);
        unsigned count = (unsigned)(next_random(&state) % (JOBS + 1));
        tags_compute(has_lanes, jobs, count, tags);
        for (unsigned i = 0; i < count; i++)
            if (tags[i] != expected(&jobs[i]))
                fail_msg("METE_SEED=%llu round %u job %u of %u, %u bytes: another tag",
                         (unsigned long long)seed, round, i, count, jobs[i].len);
    }
}

static void one_by_one(void **unused)
{
    (void)unused;
    compare(false);
}

static void side_by_side(void **unused)
{
    (void)unused;
    if (!tags_has_lanes())
        skip();
    compare(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_by_one),
        cmocka_unit_test(side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
