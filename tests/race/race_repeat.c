/* Threads that meet the same datagrams on the real repeat set: none is charged twice, whatever is
 * forgotten meanwhile, and where nothing is forgotten each is charged once.
 *
 *   race_repeat [THREADS] [SECONDS | ROUNDSr] [SEED]      4 2 1
 *
 * Every thread submits the same stream of datagrams, in about the same order, many of them several
 * times, each by a clock of its own that follows the stream: clocks of two threads differ by how
 * far one is ahead, so what one forgets as old the other may just meet. A datagram that gets no
 * answer (open) is sent again. The results are added up by one thread while the others wait. */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/repeat.h"

#define MAX_THREADS 64u
#define STREAM 3000u
#define BATCH 6u
#define W 200u
#define AHEAD 20u

struct mode {
    const char *name;
    size_t buckets;
    unsigned per_ms;    /* datagrams of the stream to a millisecond */
    uint32_t bit_count; /* of each decision */
    bool has_stamps;
    bool has_room; /* nothing needs to be forgotten */
};

static const struct mode modes[] = {
    {"room for all", 1u << 17, 100, 1, true, true},
    {"room for all, long", 1u << 18, 100, 40, true, true},
    {"one bucket", 1, 1, 1, true, false},
    {"four buckets, long", 4, 1, 40, true, false},
    {"four buckets, no stamps", 4, 1, 1, false, false},
    {"64 buckets", 64, 4, 1, true, false},
};

struct race {
    const struct mode *mode;
    struct repeat_set set;
    unsigned threads;
    uint64_t end_at_ns; /* 0: count rounds */
    uint64_t max_rounds;
    uint64_t seed;
    uint64_t round;
    bool stop;
    bool failed;
    uint8_t (*charged)[STREAM]; /* by thread */
    pthread_barrier_t barrier;
};

struct racer {
    struct race *race;
    unsigned self;
    uint64_t random;
    unsigned wrong_bits;
    unsigned charges;
    pthread_t thread;
};

static uint64_t next_random(uint64_t *state) /* splitmix64, Sebastiano Vigna */
{
    uint64_t x = *state += 0x9e3779b97f4a7c15ull;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static uint64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint32_t stream_ms(const struct race *race, unsigned number)
{
    return (uint32_t)(race->round * (STREAM + W + 10 * AHEAD) + number / race->mode->per_ms);
}

static void make_claim(const struct race *race, unsigned number, uint32_t now_ms,
                       struct repeat_claim *claim)
{
    uint64_t state = race->seed ^ (race->round << 20 | number);
    uint32_t sent_ms = stream_ms(race, number);

    claim->tag = next_random(&state);
    claim->sent_ms = !race->mode->has_stamps ? 0 : sent_ms ? sent_ms : 1;
    claim->now_ms = now_ms;
    claim->bit_count = race->mode->bit_count;
}

static uint64_t bits_of(const struct race *race, unsigned number)
{
    uint64_t state = race->seed ^ (race->round << 20 | number);

    next_random(&state);
    return next_random(&state) & ((1ull << race->mode->bit_count) - 1);
}

/* Charges what is new, or gives it back; true if it got an answer of any kind. */
static bool conclude(struct racer *racer, unsigned number, enum repeat_result result,
                     const struct repeat_claim *claim, uint64_t known)
{
    struct race *race = racer->race;
    const uint64_t bits = bits_of(race, number);

    switch (result) {
    case REPEAT_NEW:
        if (next_random(&racer->random) % 8 == 0) {
            repeat_withdraw(&race->set, claim);
            return false;
        }
        race->charged[racer->self][number]++;
        racer->charges++;
        repeat_finish(&race->set, claim, &bits);
        return true;
    case REPEAT_KNOWN:
        racer->wrong_bits += known != bits;
        return true;
    case REPEAT_STALE:
        return true;
    case REPEAT_OPEN:
    default:
        return false;
    }
}

static bool submit(struct racer *racer, unsigned number, uint32_t now_ms)
{
    struct repeat_claim claim;
    uint64_t known = 0;

    make_claim(racer->race, number, now_ms, &claim);
    enum repeat_result result = repeat_claim(&racer->race->set, &claim, &known);

    return conclude(racer, number, result, &claim, known);
}

/* What follows in the stream as one batch, now and then a datagram of it twice. Unanswered ones
 * come again by themselves. */
static void submit_batch(struct racer *racer, unsigned first, uint32_t now_ms)
{
    struct repeat_claim claims[BATCH];
    unsigned numbers[BATCH];
    uint64_t known[BATCH];

    for (unsigned i = 0; i < BATCH; i++) {
        numbers[i] = first + (i && next_random(&racer->random) % 8 == 0 ? i - 1 : i);
        make_claim(racer->race, numbers[i], now_ms, &claims[i]);
    }
    repeat_claim_all(&racer->race->set, claims, BATCH, known);
    for (unsigned i = 0; i < BATCH; i++)
        conclude(racer, numbers[i], claims[i].result, &claims[i], known[claims[i].first_word]);
}

static void play_round(struct racer *racer)
{
    const struct race *race = racer->race;

    for (unsigned next = 0; next < STREAM; next++) {
        uint32_t now_ms = stream_ms(race, next);
        unsigned back = (unsigned)(next_random(&racer->random) % 16);

        if (next_random(&racer->random) % 8 == 0 && next + BATCH <= STREAM)
            submit_batch(racer, next, now_ms);
        for (unsigned tries = 0; !submit(racer, next, now_ms) && tries < 100; tries++)
            ;
        if (back <= next) /* a duplicate that is late */
            submit(racer, next - back, now_ms);
        if (next % 64 == 0 && next_random(&racer->random) % 4 == 0)
            sched_yield(); /* or threads on few cores hardly meet */
    }
}

/* While all others wait. */
static void judge_round(struct race *race, struct racer *racers)
{
    unsigned wrong_bits = 0;

    for (unsigned i = 0; i < race->threads; i++)
        wrong_bits += racers[i].wrong_bits;
    for (unsigned number = 0; number < STREAM && !race->failed; number++) {
        unsigned charged = 0;

        for (unsigned i = 0; i < race->threads; i++)
            charged += race->charged[i][number];
        if (charged > 1 || (race->mode->has_room && charged == 0) || wrong_bits) {
            printf("race_repeat: seed %" PRIu64 ", %s, round %" PRIu64
                   ": datagram %u charged %u times, %u with wrong decisions\n",
                   race->seed, race->mode->name, race->round, number, charged, wrong_bits);
            race->failed = true;
        }
    }
    memset(race->charged, 0, race->threads * sizeof *race->charged);
    race->round++;
    race->stop = race->failed || (race->end_at_ns ? clock_ns() >= race->end_at_ns
                                                  : race->round >= race->max_rounds);
}

static void *racer_run(void *argument)
{
    struct racer *racer = argument;
    struct race *race = racer->race;

    while (!race->stop) {
        pthread_barrier_wait(&race->barrier);
        play_round(racer);
        pthread_barrier_wait(&race->barrier);
        if (racer->self == 0)
            judge_round(race, racer);
        pthread_barrier_wait(&race->barrier);
    }
    return NULL;
}

static bool run_mode(const struct mode *mode, unsigned threads, double seconds, uint64_t rounds,
                     uint64_t seed)
{
    struct race race = {
        .mode = mode,
        .threads = threads,
        .end_at_ns = rounds ? 0 : clock_ns() + (uint64_t)(seconds * 1e9),
        .max_rounds = rounds,
        .seed = seed,
        .charged = calloc(threads, sizeof *race.charged),
    };
    struct repeat_options options = {
        .size = mode->buckets * REPEAT_BUCKET_BYTES,
        .memory = aligned_alloc(REPEAT_BUCKET_BYTES, mode->buckets * REPEAT_BUCKET_BYTES),
        .window_ms = W,
        .ahead_ms = AHEAD,
        .is_shared = true,
        .secret = {next_random(&seed), next_random(&seed)},
    };
    struct racer racers[MAX_THREADS] = {0};
    uint64_t charges = 0;

    if (!race.charged || repeat_init(&race.set, &options) ||
        pthread_barrier_init(&race.barrier, NULL, threads))
        abort();
    for (unsigned i = 0; i < threads; i++) {
        racers[i] = (struct racer){.race = &race, .self = i, .random = seed + i};
        if (pthread_create(&racers[i].thread, NULL, racer_run, &racers[i]))
            abort();
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(racers[i].thread, NULL);
        charges += racers[i].charges;
    }
    if (!race.failed)
        printf("race_repeat: %u threads, %-24s %7" PRIu64 " rounds, %9" PRIu64
               " charged, none twice\n",
               threads, mode->name, race.round, charges);
    pthread_barrier_destroy(&race.barrier);
    free(options.memory);
    free(race.charged);
    return !race.failed && charges > 0;
}

int main(int argc, char **argv)
{
    unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 4;
    const char *length = argc > 2 ? argv[2] : "2";
    const char *seed_text = argc > 3 ? argv[3] : getenv("METE_SEED");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : 1;
    unsigned count = sizeof modes / sizeof *modes;
    bool counts = strchr(length, 'r') != NULL;
    bool good = true;

    if (threads < 1 || threads > MAX_THREADS || strtod(length, NULL) <= 0) {
        fprintf(stderr, "usage: race_repeat [THREADS] [SECONDS | ROUNDSr] [SEED]\n");
        return 2;
    }
    for (unsigned i = 0; i < count; i++)
        good = run_mode(&modes[i], threads, strtod(length, NULL) / count,
                        counts ? strtoull(length, NULL, 10) : 0, seed) &&
               good;
    return good ? 0 : 1;
}
