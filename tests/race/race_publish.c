/* Publication and owner rows under load: readers charge entries under the policy of the moment
 * while a writer publishes the next, frees the one before, purges its rows and hands them out
 * again.
 *
 *     race_publish [THREADS] [SECONDS] [SEED]
 *
 * Judged: a reader never sees a policy that was freed (its mark is wiped first; the thread
 * sanitizer sees the rest), no entry of a purged row is left or comes back, a row never holds an
 * entry of its former owner, and a bucket shared by all lets its burst pass, and no more. With and
 * without membarrier(2). */
#include <inttypes.h>
#include <stdatomic.h>

#include "config/publish.h"
#include "engine/quota.h"
#include "race/race.h"
#include "table/owners.h"

#define MAX_THREADS 16u
#define ROWS 8u
#define ENTRIES 256u
#define KEYS 64u
#define QUOTA_BURST 1000u
#define GOOD 0x600dC0deu

struct policy {
    uint32_t mark; /* GOOD until it is freed */
    uint32_t kind; /* of its second row's owner: the low bits of every state there */
    uint32_t rows[2];
    struct limit limit;
};

struct race {
    struct table *table;
    struct publish *publish;
    atomic_bool stop;
    atomic_uint failures;
    _Atomic uint64_t batches;
    _Atomic uint64_t admitted;
    struct quota_word word;
    struct limit quota;
    unsigned threads;
    uint64_t seed;
};

struct reader {
    struct race *race;
    unsigned self;
    uint64_t random;
};

static void fail(struct race *race, const char *what)
{
    if (atomic_fetch_add(&race->failures, 1) < 5)
        fprintf(stderr, "race_publish: %s; seed %" PRIu64 "\n", what, race->seed);
}

/* The states are far from rest. Those of the first row are cut now and then; none of the second is.
 */
static void charge(struct race *race, const struct policy *policy, uint64_t random)
{
    const struct instant now = {.now_ns = 1000, .wall_ns = 1000};
    uint64_t key = random % KEYS;
    bool is_second = random >> 63;
    struct table_probe probe =
        table_probe(race->table, (struct key){.low = key, .high = ~key}, policy->rows[is_second]);
    struct table_ref ref;

    for (;;) {
        enum table_result found = table_find_or_claim(race->table, &probe, TABLE_EVICT, &now, &ref);
        if (found == TABLE_FULL)
            return;
        if (found == TABLE_FOUND && is_second && (ref.state & 0xff) != policy->kind)
            fail(race, "an entry of a former owner is found under its row");
        if (found == TABLE_CLAIMED && random & 1 << 20) {
            table_withdraw(race->table, &ref);
            return;
        }
        if (table_swap(race->table, &ref, 1ull << 62 | (random & 0xffff) << 8 | policy->kind))
            return;
    }
}

static void *read_policies(void *argument)
{
    struct reader *reader = argument;
    struct race *race = reader->race;
    struct quota_credit credit = {.until_ns = 0};
    struct quota quota = {&race->word, &credit, race->threads};
    uint64_t batches = 0, admitted = 0;

    while (!atomic_load_explicit(&race->stop, memory_order_relaxed)) {
        const struct policy *policy = publish_enter(race->publish, reader->self);
        uint64_t random = random_next(&reader->random);

        for (unsigned i = random % 8; i; i--)
            charge(race, policy, random_next(&reader->random));
        admitted += quota_take(&quota, 0, &race->quota, 1, 1000);
        if (random % 512 == 0)
            sched_yield(); /* put aside in the middle of a batch */
        if (policy->mark != GOOD)
            fail(race, "a policy was freed while it was used");
        publish_leave(race->publish, reader->self);
        if (random >> 8 & 1)
            sched_yield();
        batches++;
    }
    publish_quit(race->publish, reader->self);
    atomic_fetch_add(&race->batches, batches);
    atomic_fetch_add(&race->admitted, admitted);
    return NULL;
}

static uint64_t fixed_clock(void *context)
{
    (void)context;
    return 1000;
}

/* The first row stays and gets other numbers, the second is another owner's each time. */
static struct policy *bind(struct race *race, uint32_t generation)
{
    struct policy *policy = calloc(1, sizeof *policy);
    struct owners_change *change;
    struct limit_spec spec = {ALGORITHM_TOKEN_BUCKET, 1 + generation % 7, 1000000000, 5};

    if (!policy || owners_begin(race->table, &change) || limit_compile(&spec, &policy->limit))
        abort();
    policy->mark = GOOD;
    policy->kind = generation & 0xff;
    for (uint32_t i = 0; i < 2; i++) {
        struct table_owner owner = {
            .tenant_id = 1,
            .rule_id = 1 + i * generation,
            .limit = policy->limit,
            .region = table_region_shared(race->table),
        };
        if (owners_take(change, &owner, &policy->rows[i]))
            abort();
    }
    owners_commit(change);
    return policy;
}

/* Between two quiet points a purged row is empty and stays so. */
static void check_emptied(void *context, uint32_t row, uint32_t successor)
{
    struct race *race = context;
    uint64_t live[ROWS] = {0};

    (void)successor;
    table_count_owners(race->table, live);
    if (live[row])
        fail(race, "an entry of a purged row is left");
}

static uint64_t write_policies(struct race *race, struct policy *policy, double seconds)
{
    const uint64_t end_at_ns = clock_boot_ns() + (uint64_t)(seconds * 1e9);
    uint64_t generation = 2;

    for (; clock_boot_ns() < end_at_ns && !atomic_load(&race->failures); generation++) {
        struct policy *next = bind(race, (uint32_t)generation);

        publish_swap(race->publish, next);
        publish_wait(race->publish);
        policy->mark = 0;
        free(policy);
        policy = next;
        owners_settle(race->table, NULL, NULL);
        /* more often than not a change comes before the round is over */
        for (unsigned i = random_next(&race->seed) % 20; i; i--)
            owners_upkeep(race->table, 5, fixed_clock, NULL);
        if (owners_free_count(race->table) < 2)
            while (owners_upkeep(race->table, 16, fixed_clock, NULL))
                ;
        if (owners_has_emptied(race->table)) {
            publish_wait(race->publish);
            owners_reclaim(race->table, check_emptied, race);
        }
    }
    atomic_store(&race->stop, true);
    return generation;
}

static bool run(unsigned threads, double seconds, uint64_t seed, bool has_barrier)
{
    struct race race = {.threads = threads, .seed = seed};
    struct table_options options = {
        .entries = ENTRIES, .owner_rows = ROWS, .index_secret = {seed, ~seed}, .boot_id = 1};
    struct limit_spec spec = {ALGORITHM_TOKEN_BUCKET, 100000, 1000000000, QUOTA_BURST};
    struct reader readers[MAX_THREADS];
    struct race_threads started;

    if (table_create(&options, &race.table) || limit_compile(&spec, &race.quota))
        abort();
    struct policy *first = bind(&race, 1);
    if (publish_create(threads, first, &race.publish))
        abort();
    if (!has_barrier) { /* as publish_create() does where the system refuses it */
        race.publish->has_barrier = false;
        for (unsigned i = 0; i < threads; i++)
            atomic_store(&race.publish->readers[i].seen, 1);
    }
    for (unsigned i = 0; i < threads; i++)
        readers[i] = (struct reader){.race = &race, .self = i, .random = seed + i};
    race_start(&started, threads, readers, sizeof *readers, read_policies);
    uint64_t published = write_policies(&race, first, seconds);
    race_join(&started);
    uint64_t admitted = atomic_load(&race.admitted);
    if (admitted > QUOTA_BURST)
        fail(&race, "more checks passed than the burst");
    if (atomic_load(&race.batches) > 10 * QUOTA_BURST &&
        admitted + threads * QUOTA_CHUNK < QUOTA_BURST)
        fail(&race, "fewer checks passed than the burst, less what may be in hand");
    free((struct policy *)atomic_load(&race.publish->current));
    publish_destroy(race.publish);
    table_destroy(race.table);
    printf("race_publish: %u threads, %s membarrier: %" PRIu64 " policies, %" PRIu64 " batches\n",
           threads, has_barrier ? "with" : "without", published, atomic_load(&race.batches));
    return !atomic_load(&race.failures);
}

int main(int argc, char **argv)
{
    struct race_options options = {.threads = 3, .fewest = 1, .most = MAX_THREADS, .seconds = 1};

    if (!race_options_read(&options, argc, argv))
        return 2;
    bool good = run(options.threads, options.seconds / 2, options.seed, true);
    return run(options.threads, options.seconds / 2, options.seed, false) && good ? 0 : 1;
}
