/* Threads on one hot key, and what each was told: is it what a bucket would have said that does one
 * thing at a time?
 *
 *   race_linear [THREADS] [SECONDS | ROUNDSr] [SEED]      4 2 1
 *
 * A history, or round, is a new key, on which all threads start at once: checks, grants of at most
 * so much, refunds, resets and peeks through the engine, with stamps of one counter before and
 * after each; a sweep now and then. linear.h looks for an order. The judge is tried on the same,
 * where what table_swap() says is not looked at: it must find one that has no order. */
#include <inttypes.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "race/linear.h"
#include "race/race.h"

#define MAX_THREADS 8u
#define OPERATIONS 7u /* of each thread in a history */
#define BURST 9u
#define PATIENCE 1000000u /* histories until the mistake must be seen */

static const char text[] =
    "tenants:\n"
    "  - name: default\n"
    "    rules: [{name: hot, algorithm: token_bucket, rate: 1/m, burst: 9}]\n";

struct race {
    struct race_rounds rounds; /* a history each */
    bool is_wrong;             /* the deliberate mistake */
    struct config *config;
    struct table *table;
    const struct tenant *tenant;
    struct instant now;
    uint64_t seed;
    _Atomic uint64_t stamp;
    struct linear linear;
};

struct racer {
    struct race *race;
    unsigned self;
    uint64_t random;
    struct engine engine;
    struct counters *counters;
    struct rule_counters *rule_counters;
    uint32_t cursor;
};

static struct key key_of(const struct race *race)
{
    uint64_t state = race->seed ^ race->rounds.round << 8;

    return (struct key){.low = random_next(&state), .high = random_next(&state)};
}

static void ask_engine(struct racer *racer, struct linear_op *op)
{
    static const enum operation operations[] = {
        [LINEAR_CHECK] = OPERATION_CHECK,   [LINEAR_AT_MOST] = OPERATION_AT_MOST,
        [LINEAR_REFUND] = OPERATION_REFUND, [LINEAR_RESET] = OPERATION_RESET,
        [LINEAR_PEEK] = OPERATION_PEEK,
    };
    const struct race *race = racer->race;
    struct check check = {.tenant = race->tenant,
                          .key = key_of(race),
                          .rule_id = race->tenant->rules[0].id,
                          .cost = op->cost,
                          .operation = operations[op->kind]};
    struct answer answer;

    engine_check_batch(&racer->engine, &check, 1, &race->now, &answer);
    op->remaining = answer.remaining;
    if (op->kind == LINEAR_CHECK)
        op->granted = answer.flags & METE_VERDICT_ALLOW ? op->cost : 0;
    else if (op->kind == LINEAR_AT_MOST)
        op->granted = answer.granted;
}

/* The engine's way with a check, but for what may be lost between the look and the swap. */
static void ask_wrongly(struct racer *racer, struct linear_op *op)
{
    struct race *race = racer->race;
    const struct rule *rule = &race->tenant->rules[0];
    struct table_probe probe = table_probe(race->table, key_of(race), rule->index);
    struct table_ref ref;

    op->kind = LINEAR_CHECK;
    if (table_find_or_claim(race->table, &probe, TABLE_REFUSE, &race->now, &ref) == TABLE_FULL)
        abort();
    struct step step =
        limit_apply(&rule->limit, ref.state, OPERATION_CHECK, op->cost, race->now.now_ns);
    if (random_next(&racer->random) % 4 == 0)
        sched_yield();
    if (step.state != ref.state)
        (void)table_swap(race->table, &ref, step.state);
    op->granted = step.verdict.decision == DECISION_ALLOW ? op->cost : 0;
    op->remaining = step.verdict.remaining;
}

static void play(void *argument)
{
    static const enum linear_kind kinds[] = {LINEAR_CHECK, LINEAR_CHECK,  LINEAR_CHECK,
                                             LINEAR_CHECK, LINEAR_PEEK,   LINEAR_REFUND,
                                             LINEAR_RESET, LINEAR_AT_MOST};
    struct racer *racer = argument;
    struct race *race = racer->race;

    for (unsigned i = 0; i < OPERATIONS; i++) {
        struct linear_op *op = &race->linear.ops[racer->self * OPERATIONS + i];
        uint64_t random = random_next(&racer->random);

        *op = (struct linear_op){
            .kind = kinds[random % 8], .cost = 1 + random / 8 % 3, .has_numbers = true};
        op->asked = atomic_fetch_add(&race->stamp, 1);
        if (race->is_wrong)
            ask_wrongly(racer, op);
        else
            ask_engine(racer, op);
        op->answered = atomic_fetch_add(&race->stamp, 1);
        if (random / 64 % 32 == 0)
            table_sweep(race->table, &racer->cursor, 4, &race->now);
        if (random / 4096 % 8 == 0)
            sched_yield(); /* or threads on few cores hardly meet */
    }
}

/* While all others wait. */
static void judge(void *racers)
{
    struct race *race = ((struct racer *)racers)->race;

    race->linear.count = race->rounds.threads * OPERATIONS;
    race->linear.burst = BURST;
    if (!linear_judge(&race->linear)) {
        race->rounds.failed = true;
        if (!race->is_wrong) {
            printf("race_linear: seed %" PRIu64 ", history %" PRIu64 " has no order:\n", race->seed,
                   race->rounds.round);
            linear_print(&race->linear);
        }
    }
    /* All is at rest, and the next key is another. Instants end after 36 years: two million times.
     */
    race->now.now_ns += 600 * 1000000000ull;
}

static void *racer_run(void *argument)
{
    struct racer *racer = argument;

    race_play(&racer->race->rounds, racer, racer->self == 0, play, judge);
    return NULL;
}

static void make_table(struct race *race)
{
    char error[256];
    struct table_options options = {.entries = 256, .index_secret = {race->seed, 7}, .boot_id = 1};

    race->config = config_parse("race", text, strlen(text), error, sizeof error);
    if (!race->config)
        abort();
    options.owner_rows = race->config->index_count;
    if (table_create(&options, &race->table) || engine_bind_owners(race->table, race->config))
        abort();
    race->tenant = &race->config->tenants[0];
    race->now = (struct instant){.now_ns = 3600 * 1000000000ull};
}

static void make_racer(struct racer *racer)
{
    struct race *race = racer->race;

    racer->counters = aligned_alloc(_Alignof(struct counters), sizeof *racer->counters);
    racer->rule_counters = calloc(race->config->index_count, sizeof *racer->rule_counters);
    if (!racer->counters || !racer->rule_counters)
        abort();
    memset(racer->counters, 0, sizeof *racer->counters);
    engine_init(&racer->engine, race->config, race->table, racer->self, race->rounds.threads);
    racer->engine.counters = racer->counters;
    racer->engine.rule_counters = racer->rule_counters;
}

/* Histories until the time is over, or one has no order. */
static void run(struct race *race)
{
    static struct racer racers[MAX_THREADS];
    struct race_threads threads;

    make_table(race);
    for (unsigned i = 0; i < race->rounds.threads; i++) {
        racers[i] = (struct racer){.race = race, .self = i, .random = race->seed + i};
        make_racer(&racers[i]);
    }
    race_start(&threads, race->rounds.threads, racers, sizeof *racers, racer_run);
    race_join(&threads);
    for (unsigned i = 0; i < race->rounds.threads; i++) {
        free(racers[i].counters);
        free(racers[i].rule_counters);
    }
    table_destroy(race->table);
    config_destroy(race->config);
}

int main(int argc, char **argv)
{
    static struct race race, wrong;
    struct race_options options = {.threads = 4, .fewest = 2, .most = MAX_THREADS, .seconds = 2};

    if (!race_options_read(&options, argc, argv))
        return 2;
    race.seed = wrong.seed = options.seed;
    race.rounds = race_rounds_of(&options, 1);
    run(&race);
    if (!race.rounds.failed)
        printf("race_linear: %u threads, %" PRIu64
               " histories of %u operations, an order for each\n",
               options.threads, race.rounds.round, options.threads * OPERATIONS);
    wrong.is_wrong = true;
    wrong.rounds = (struct race_rounds){.threads = options.threads, .most = PATIENCE};
    run(&wrong);
    if (wrong.rounds.failed)
        printf("race_linear: a swap that is not looked at: seen in history %" PRIu64 "\n",
               wrong.rounds.round);
    else
        printf("race_linear: a swap that is not looked at is not seen\n");
    return !race.rounds.failed && wrong.rounds.failed ? 0 : 1;
}
