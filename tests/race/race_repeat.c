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

#include "engine/repeat.h"
#include "race/race.h"

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
#define MODES (sizeof modes / sizeof *modes)

struct race {
    const struct mode *mode;
    struct repeat_set set;
    struct race_rounds rounds;
    uint64_t seed;
    uint8_t (*charged)[STREAM]; /* by thread */
};

struct racer {
    struct race *race;
    unsigned self;
    uint64_t random;
    unsigned wrong_bits;
    unsigned charges;
};

static uint32_t stream_ms(const struct race *race, unsigned number)
{
    return (uint32_t)(race->rounds.round * (STREAM + W + 10 * AHEAD) + number / race->mode->per_ms);
}

static void make_claim(const struct race *race, unsigned number, uint32_t now_ms,
                       struct repeat_claim *claim)
{
    uint64_t state = race->seed ^ (race->rounds.round << 20 | number);
    uint32_t sent_ms = stream_ms(race, number);

    claim->tag = random_next(&state);
    claim->sent_ms = !race->mode->has_stamps ? 0 : sent_ms ? sent_ms : 1;
    claim->now_ms = now_ms;
    claim->bit_count = race->mode->bit_count;
}

static uint64_t bits_of(const struct race *race, unsigned number)
{
    uint64_t state = race->seed ^ (race->rounds.round << 20 | number);

    random_next(&state);
    return random_next(&state) & ((1ull << race->mode->bit_count) - 1);
}

/* Charges what is new, or gives it back; true if it got an answer of any kind. */
static bool conclude(struct racer *racer, unsigned number, enum repeat_result result,
                     const struct repeat_claim *claim, uint64_t known)
{
    struct race *race = racer->race;
    const uint64_t bits = bits_of(race, number);

    switch (result) {
    case REPEAT_NEW:
        if (random_next(&racer->random) % 8 == 0) {
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
        numbers[i] = first + (i && random_next(&racer->random) % 8 == 0 ? i - 1 : i);
        make_claim(racer->race, numbers[i], now_ms, &claims[i]);
    }
    repeat_claim_all(&racer->race->set, claims, BATCH, known);
    for (unsigned i = 0; i < BATCH; i++)
        conclude(racer, numbers[i], claims[i].result, &claims[i], known[claims[i].first_word]);
}

static void play_round(void *argument)
{
    struct racer *racer = argument;
    const struct race *race = racer->race;

    for (unsigned next = 0; next < STREAM; next++) {
        uint32_t now_ms = stream_ms(race, next);
        unsigned back = (unsigned)(random_next(&racer->random) % 16);

        if (random_next(&racer->random) % 8 == 0 && next + BATCH <= STREAM)
            submit_batch(racer, next, now_ms);
        for (unsigned tries = 0; !submit(racer, next, now_ms) && tries < 100; tries++)
            ;
        if (back <= next) /* a duplicate that is late */
            submit(racer, next - back, now_ms);
        if (next % 64 == 0 && random_next(&racer->random) % 4 == 0)
            sched_yield(); /* or threads on few cores hardly meet */
    }
}

/* While all others wait. */
static void judge_round(void *argument)
{
    struct racer *racers = argument;
    struct race *race = racers->race;
    struct race_rounds *rounds = &race->rounds;
    unsigned wrong_bits = 0;

    for (unsigned i = 0; i < rounds->threads; i++)
        wrong_bits += racers[i].wrong_bits;
    for (unsigned number = 0; number < STREAM && !rounds->failed; number++) {
        unsigned charged = 0;

        for (unsigned i = 0; i < rounds->threads; i++)
            charged += race->charged[i][number];
        if (charged > 1 || (race->mode->has_room && charged == 0) || wrong_bits) {
            printf("race_repeat: seed %" PRIu64 ", %s, round %" PRIu64
                   ": datagram %u charged %u times, %u with wrong decisions\n",
                   race->seed, race->mode->name, rounds->round, number, charged, wrong_bits);
            rounds->failed = true;
        }
    }
    memset(race->charged, 0, rounds->threads * sizeof *race->charged);
}

static void *racer_run(void *argument)
{
    struct racer *racer = argument;

    race_play(&racer->race->rounds, racer, racer->self == 0, play_round, judge_round);
    return NULL;
}

static bool run_mode(const struct mode *mode, const struct race_options *asked)
{
    struct race race = {
        .mode = mode,
        .rounds = race_rounds_of(asked, MODES),
        .seed = asked->seed,
        .charged = calloc(asked->threads, sizeof *race.charged),
    };
    uint64_t seed = asked->seed, charges = 0;
    struct repeat_options options = {
        .size = mode->buckets * REPEAT_BUCKET_BYTES,
        .memory = aligned_alloc(REPEAT_BUCKET_BYTES, mode->buckets * REPEAT_BUCKET_BYTES),
        .window_ms = W,
        .ahead_ms = AHEAD,
        .is_shared = true,
        .secret = {random_next(&seed), random_next(&seed)},
    };
    struct racer racers[RACE_MOST_THREADS];
    struct race_threads threads;

    if (!race.charged || repeat_init(&race.set, &options))
        abort();
    for (unsigned i = 0; i < asked->threads; i++)
        racers[i] = (struct racer){.race = &race, .self = i, .random = seed + i};
    race_start(&threads, asked->threads, racers, sizeof *racers, racer_run);
    race_join(&threads);
    for (unsigned i = 0; i < asked->threads; i++)
        charges += racers[i].charges;
    if (!race.rounds.failed)
        printf("race_repeat: %u threads, %-24s %7" PRIu64 " rounds, %9" PRIu64
               " charged, none twice\n",
               asked->threads, mode->name, race.rounds.round, charges);
    free(options.memory);
    free(race.charged);
    return !race.rounds.failed && charges > 0;
}

int main(int argc, char **argv)
{
    struct race_options options = {
        .threads = 4, .fewest = 1, .most = RACE_MOST_THREADS, .seconds = 2};
    bool good = true;

    if (!race_options_read(&options, argc, argv))
        return 2;
    for (unsigned i = 0; i < MODES; i++)
        good = run_mode(&modes[i], &options) && good;
    return good ? 0 : 1;
}
