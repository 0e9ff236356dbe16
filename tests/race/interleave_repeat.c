/* Every interleaving of the repeat set's real code on one bucket.
 *
 * The source is compiled into this program with the scheduler of interleave.h at every shared
 * access. Each scenario is 2 or 3 threads that meet the same bytes, while others make the bucket
 * forget, withdraw or sweep. In every state: no datagram is charged twice. At the end: decisions
 * handed out are those of the charge, and no place is left open. */
#include <stdbool.h>
#include <stdint.h>

#include "race/interleave.h"

#define METE_REPEAT_POINT(address, is_write) interleave_point(address, is_write)
#define METE_REPEAT_SEEN(word) interleave_seen((uint64_t)(word))
#include "engine/repeat.c"

#define W 200u
#define AHEAD 20u
#define NOW 1000000u
#define SUBJECT 5u
#define LONG_BITS 40u /* two records */

static struct repeat_bucket bucket;
static struct repeat_set set;
static unsigned charged[4]; /* by tag - SUBJECT */
static unsigned answered[INTERLEAVE_THREADS];
static unsigned wrong_bits;

static uint64_t bits_of(uint64_t tag)
{
    return 0xa5a5a5a5a5a5a5a5ull * (2 * tag + 1) & ((1ull << LONG_BITS) - 1);
}

/* What a worker does with one datagram. */
static enum repeat_result submit(uint64_t tag, uint32_t bit_count, bool gives_back)
{
    struct repeat_claim claim = {
        .tag = tag, .sent_ms = NOW, .now_ms = NOW + 10, .bit_count = bit_count};
    uint64_t bits = bits_of(tag) & ((1ull << bit_count) - 1), known = 0;

    interleave_begin(false);
    enum repeat_result result = repeat_claim(&set, &claim, &known);

    if (result == REPEAT_KNOWN)
        wrong_bits += known != bits;
    if (result == REPEAT_NEW && gives_back) {
        repeat_withdraw(&set, &claim);
    } else if (result == REPEAT_NEW) {
        charged[tag - SUBJECT]++;
        repeat_finish(&set, &claim, &bits);
    }
    return result;
}

/* What a worker does with two datagrams of one batch. */
static void submit_two(uint64_t first, uint64_t second)
{
    const uint64_t tags[2] = {first, second};
    struct repeat_claim claims[2] = {0};
    uint64_t known[2] = {0};

    for (unsigned i = 0; i < 2; i++) {
        claims[i].tag = tags[i];
        claims[i].sent_ms = NOW;
        claims[i].now_ms = NOW + 10;
        claims[i].bit_count = 1;
    }
    interleave_begin(false);
    repeat_claim_all(&set, claims, 2, known);
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t bits = bits_of(tags[i]) & 1;

        if (claims[i].result == REPEAT_KNOWN)
            wrong_bits += known[claims[i].first_word] != bits;
        if (claims[i].result == REPEAT_NEW) {
            charged[tags[i] - SUBJECT]++;
            repeat_finish(&set, &claims[i], &bits);
        }
    }
}

static void setup_old(void)
{
    struct repeat_options options = {.memory = &bucket,
                                     .size = sizeof bucket,
                                     .window_ms = W,
                                     .ahead_ms = AHEAD,
                                     .now_ms = NOW,
                                     .is_shared = true,
                                     .secret = {0x1234567887654321, 0x55aa55aa12344321}};

    if (repeat_init(&set, &options))
        abort();
    set.has_lanes = false;        /* word by word: a read of both at once is one of these orders, */
    set.has_transactions = false; /* and so is a transaction */
    memset(charged, 0, sizeof charged);
    memset(answered, 0, sizeof answered);
    wrong_bits = 0;
}

/* Records of others stand everywhere but in the last `rest` places, and are younger than what is
 * claimed (their workers' clocks are ahead): the next to give way is the subject's. */
static void setup_younger(unsigned rest)
{
    setup_old();
    for (unsigned i = 0; i < RECORD_PLACES - rest; i++) {
        uint64_t name = record_name(0x1111 * (i + 1), 0);

        bucket.place[i] =
            (struct record){name, record_meta(name, RECORD_DONE, NOW + 15, RECORD_GAP_MAX)};
    }
}

static void setup_one_place(void)
{
    setup_younger(1);
}

static void setup_two_places(void)
{
    setup_younger(2);
}

static uint64_t memory(void)
{
    uint64_t hash = interleave_mix(wrong_bits, charged[0]);

    for (unsigned i = 1; i < 4; i++)
        hash = interleave_mix(hash, charged[i]);
    for (unsigned i = 0; i < INTERLEAVE_THREADS; i++)
        hash = interleave_mix(hash, answered[i]);
    for (unsigned i = 0; i < RECORD_PLACES; i++)
        hash = interleave_mix(hash, interleave_mix(bucket.place[i].name, bucket.place[i].meta));
    return hash;
}

static const char *invariant(void)
{
    for (unsigned i = 0; i < 4; i++)
        if (charged[i] > 1)
            return "charged twice";
    return wrong_bits ? "decisions of another charge" : NULL;
}

static const char *outcome(void)
{
    for (unsigned i = 0; i < RECORD_PLACES; i++)
        if (record_is_open(bucket.place[i]))
            return "a place is left open";
    return NULL;
}

/* Charged and known from now on; or both withdrew (or one met only open places), and the next is
 * new. */
static const char *outcome_new_or_known(void)
{
    enum repeat_result expected = charged[0] ? REPEAT_KNOWN : REPEAT_NEW;

    return submit(SUBJECT, 1, false) == expected ? outcome() : "what is left is wrong";
}

static void same(unsigned self)
{
    (void)self;
    submit(SUBJECT, 1, false);
}

static void same_again(unsigned self)
{
    submit(SUBJECT, 1, false);
    if (self == 0)
        submit(SUBJECT, 1, false);
}

static void same_long(unsigned self)
{
    (void)self;
    submit(SUBJECT, LONG_BITS, false);
}

static void same_or_other(unsigned self)
{
    submit(self == 2 ? SUBJECT + 1 : SUBJECT, 1, false);
}

static void same_twice(unsigned self)
{
    if (self == 0)
        submit_two(SUBJECT, SUBJECT);
    else
        submit(SUBJECT, 1, false);
}

static void two_and_same(unsigned self)
{
    if (self == 0)
        submit_two(SUBJECT + 1, SUBJECT);
    else
        submit(SUBJECT, 1, false);
}

static void crossed(unsigned self)
{
    submit_two(SUBJECT + self, SUBJECT + 1 - self);
}

static void one_forgets(unsigned self)
{
    submit(self == 0 ? SUBJECT : SUBJECT + 1, 1, false);
    if (self == 0)
        submit(SUBJECT, 1, false);
}

static void one_gives_back(unsigned self)
{
    submit(SUBJECT, 1, self == 0);
    if (self == 1)
        submit(SUBJECT, 1, false);
}

static void one_sweeps(unsigned self)
{
    uint64_t cursor = 0;

    if (self == 0) {
        interleave_begin(false);
        repeat_sweep(&set, &cursor, 1, NOW + 1);
    } else {
        submit(SUBJECT, 1, false);
    }
}

static const struct interleave_scenario scenarios[] = {
    SCENARIO("the same bytes", 2, 0, setup_old, same, outcome_new_or_known),
    SCENARIO("the same bytes", 3, 3, setup_old, same, outcome_new_or_known),
    SCENARIO("the same bytes, one retries", 2, 0, setup_old, same_again, outcome_new_or_known),
    SCENARIO("the same bytes, one place", 2, 0, setup_one_place, same, outcome),
    SCENARIO("the same bytes, long decisions", 2, 0, setup_old, same_long, outcome),
    SCENARIO("the same bytes, long decisions, two places", 2, 4, setup_two_places, same_long,
             outcome),
    SCENARIO("the same bytes, and another forgets", 3, 3, setup_one_place, same_or_other, outcome),
    SCENARIO("the same bytes, and another forgets", 3, 3, setup_two_places, same_or_other, outcome),
    SCENARIO("twice in a batch, and once more", 2, 0, setup_old, same_twice, outcome_new_or_known),
    SCENARIO("twice in a batch, two places", 2, 0, setup_two_places, same_twice, outcome),
    SCENARIO("behind another in a batch", 2, 0, setup_old, two_and_same, outcome_new_or_known),
    SCENARIO("behind another in a batch, two places", 2, 0, setup_two_places, two_and_same,
             outcome),
    SCENARIO("two batches, crossed", 2, 4, setup_old, crossed, outcome_new_or_known),
    SCENARIO("two batches, crossed, two places", 2, 4, setup_two_places, crossed, outcome),
    SCENARIO("retry against another that forgets", 2, 0, setup_one_place, one_forgets, outcome),
    SCENARIO("claim against withdrawal", 2, 0, setup_old, one_gives_back, outcome_new_or_known),
    SCENARIO("claim against sweep", 2, 0, setup_old, one_sweeps, outcome_new_or_known),
};

int main(int argc, char **argv)
{
    return interleave_all(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);
}
