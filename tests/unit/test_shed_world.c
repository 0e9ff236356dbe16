/* An overload in a world of a worker, its queue and the gate before it, where time is a number and
 * chance has a seed: goodput, ages, shares, what is told, and that it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/random.h"
#include "net/shed.h"

#define MS 1000000ull
#define SECOND 1000000000ull

#define TENANTS 4u
#define STREAMS (2 * TENANTS) /* after those of the tenants those that only name them */
#define QUEUE 65536u
#define ANSWER_NS 2600u /* what an answer costs the worker, and reading and leaving out */
#define LEAVE_NS 700u
#define TURN_NS 1500u
#define BATCH 32u
#define CAPACITY (1e9 / (ANSWER_NS + (double)TURN_NS / BATCH))

struct world {
    struct shed shed;
    uint64_t now_ns, random;
    double due_ns[STREAMS];
    double per_second[STREAMS];
    uint8_t forged_type;
    uint32_t room;           /* of the queue */
    uint64_t off_ns, on_ns;  /* how long another process has the core on average, then the worker */
    uint64_t off_next_at_ns; /* when it is taken again */
    uint32_t head, count;
    uint8_t queue[QUEUE];
    uint64_t came_ns[QUEUE];
    uint64_t answered[TENANTS], forged, told, lost, kept, oldest_ns;
    struct gate gate; /* as the kernel has it */
    bool has_lost;
    uint32_t sets;
};

static uint64_t draw(struct world *world)
{
    uint64_t x = world->random;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return world->random = x;
}

static void arrive(struct world *world, unsigned stream, uint64_t at_ns)
{
    bool is_release = stream >= TENANTS && world->forged_type == METE_RELEASE;
    for (uint32_t i = 0; i < world->gate.count && !is_release; i++)
        if (world->gate.tenants[i].id == stream % TENANTS + 1 &&
            (uint32_t)(draw(world) >> 32) >= world->gate.tenants[i].threshold) {
            world->kept++;
            return;
        }
    if (world->count == world->room) {
        world->lost++;
        world->has_lost = true;
        return;
    }
    uint32_t at = (world->head + world->count++) % QUEUE;
    world->queue[at] = (uint8_t)stream;
    world->came_ns[at] = at_ns;
}

/* Everything that is sent up to now. */
static void arrive_all(struct world *world)
{
    for (;;) {
        unsigned first = STREAMS;
        for (unsigned t = 0; t < STREAMS; t++)
            if (world->per_second[t] > 0 && world->due_ns[t] <= (double)world->now_ns &&
                (first == STREAMS || world->due_ns[t] < world->due_ns[first]))
                first = t;
        if (first == STREAMS)
            return;
        arrive(world, first, (uint64_t)world->due_ns[first]);
        double spread = (double)(draw(world) >> 11) / 9007199254740992.0;
        world->due_ns[first] += 2e9 * spread / world->per_second[first];
    }
}

static void judge(struct world *world)
{
    unsigned tenant = world->queue[world->head] % TENANTS;
    bool is_forged = world->queue[world->head] >= TENANTS;
    uint64_t waited_ns = world->now_ns - world->came_ns[world->head];
    struct mete_header header = {
        .type = is_forged ? world->forged_type : METE_CHECK, .n = 1, .tenant = tenant + 1};
    struct shed_question question = {.header = &header, .row = 7, .has_good_clock = true};
    world->head = (world->head + 1) % QUEUE;
    world->count--;
    enum shed_fate fate = shed_judge(&world->shed, &question, world->now_ns);
    if (is_forged) {
        world->forged++;
        world->now_ns += LEAVE_NS;
        if (fate == SHED_NOT)
            shed_take_forged(&world->shed, &header);
        return;
    }
    world->now_ns += fate == SHED_NOT || fate == SHED_ANSWER ? ANSWER_NS : LEAVE_NS;
    world->answered[tenant] += fate == SHED_NOT;
    world->told += fate == SHED_ANSWER;
    if (fate == SHED_NOT && waited_ns > world->oldest_ns)
        world->oldest_ns = waited_ns;
}

static void turn(struct world *world)
{
    struct shed *shed = &world->shed;
    world->now_ns += TURN_NS;
    if (world->off_ns && world->now_ns >= world->off_next_at_ns) {
        world->now_ns += world->off_ns / 2 + draw(world) % world->off_ns;
        world->off_next_at_ns = world->now_ns + world->on_ns;
    }
    arrive_all(world);
    uint32_t count = world->count < BATCH ? world->count : BATCH;
    if (shed_note(shed, count == BATCH, world->now_ns) && shed_is_due(shed, world->now_ns)) {
        struct shed_look look = {.now_ns = world->now_ns,
                                 .fill_percent = world->count * 100 / world->room,
                                 .has_lost = world->has_lost};
        world->has_lost = false;
        if (shed_take_look(shed, &look)) {
            world->gate = shed->gate;
            world->sets++;
            world->now_ns += 100000; /* what the kernel takes for it */
            shed_gate_is_set(shed, world->now_ns);
        }
    }
    while (count--)
        judge(world);
}

static void run(struct world *world, uint64_t for_ns)
{
    memset(world->answered, 0, sizeof(world->answered));
    world->forged = world->told = world->lost = world->kept = world->oldest_ns = 0;
    world->sets = 0;
    for (uint64_t until_ns = world->now_ns + for_ns; world->now_ns < until_ns;)
        turn(world);
}

static void set_stream(struct world *world, unsigned stream, double times)
{
    world->per_second[stream] = times * CAPACITY;
    world->due_ns[stream] = (double)world->now_ns;
}

static void offer(struct world *world, const double *times)
{
    for (unsigned t = 0; t < TENANTS; t++)
        set_stream(world, t, times[t]);
}

static struct world *make_world(void)
{
    struct world *world = calloc(1, sizeof(*world));
    shed_init(&world->shed, 0);
    world->shed.options = (struct shed_options){
        .budget_ns = 20 * MS, .max_age_ns = 100 * MS, .answers_per_second = 1000};
    world->random = random_seed(1) * 0x9E3779B97F4A7C15ull | 1;
    world->room = 7500; /* the delay budget's */
    world->forged_type = METE_CHECK;
    return world;
}

static double sum_answered(const struct world *world)
{
    uint64_t sum = 0;
    for (unsigned t = 0; t < TENANTS; t++)
        sum += world->answered[t];
    return (double)sum;
}

static void tell(const struct world *world, const char *what)
{
    if (!getenv("METE_TELL"))
        return;
    printf("%s: answered", what);
    for (unsigned t = 0; t < TENANTS; t++)
        printf(" %llu", (unsigned long long)world->answered[t]);
    printf(" = %.3f, forged %llu, told %llu, lost %llu, kept %llu, oldest %.1f ms, sets %u, "
           "capacity %llu\n",
           sum_answered(world), (unsigned long long)world->forged, (unsigned long long)world->told,
           (unsigned long long)world->lost, (unsigned long long)world->kept,
           (double)world->oldest_ns / 1e6, world->sets, (unsigned long long)world->shed.capacity);
}

/* Of the capacity, found by trying: who asks for less gets all. */
static double find_level(const double *times, unsigned count)
{
    double level = 0;
    for (double step = 1; step > 1e-6; step /= 2) {
        double used = 0;
        for (unsigned i = 0; i < count; i++)
            used += times[i] < level + step ? times[i] : level + step;
        level += used <= 1 ? step : 0;
    }
    return level;
}

static void three_times_capacity(void **state)
{
    (void)state;
    static const double times[][TENANTS] = {
        {1, 1, 1, 0},         {0.5, 1, 1.5, 0},   {0.1, 0.9, 2, 0},    {0.05, 0.05, 2.9, 0},
        {0.6, 0.7, 0.8, 0.9}, {0.3, 0.4, 0.5, 0}, {10, 0.2, 0.2, 0.2},
    };
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct world *world = make_world();
        offer(world, (const double[TENANTS]){0.2, 0.2, 0.2, 0});
        run(world, SECOND);
        assert_int_equal(world->lost + world->kept + world->told, 0);
        offer(world, times[i]);
        run(world, SECOND);
        tell(world, "first second");
        run(world, 2 * SECOND);
        tell(world, "two more");
        double level = find_level(times[i], TENANTS);
        assert_true(sum_answered(world) >= 0.95 * 2 * CAPACITY);
        for (unsigned t = 0; t < TENANTS; t++) {
            double fair = 2 * CAPACITY * (times[i][t] < level ? times[i][t] : level);
            if (world->answered[t] < 0.9 * fair || world->answered[t] > 1.1 * fair)
                fail_msg("case %zu tenant %u: %.3f of its fair share", i, t,
                         (double)world->answered[t] / fair);
        }
        assert_true(world->oldest_ns <= 25 * MS);
        assert_true(world->told <= 2000 + 20);
        offer(world, (const double[TENANTS]){0.3, 0.2, 0.3, 0});
        run(world, SECOND); /* within which it is over */
        tell(world, "calm");
        assert_false(world->shed.is_on);
        assert_int_equal(world->gate.count, 0);
        run(world, SECOND);
        assert_int_equal(world->lost + world->kept + world->told, 0);
        free(world);
    }
}

/* Forged datagrams in the first tenant's name. They get what one tenant would, in what reading them
 * costs, a quarter of an answer; so much of that tenant's requests pass with them, and the others
 * do not notice whose name it is. */
static void a_forged_flood_has_one_share(void **state)
{
    (void)state;
    static const struct {
        double times[TENANTS], forged; /* of the capacity */
    } cases[] = {
        {{0.2, 0.2, 0.2, 0.2}, 3}, {{0.2, 1, 1, 1}, 0.5}, {{0.2, 1, 1, 1}, 3},
        {{0.1, 0, 0, 0}, 6},       {{1, 1, 1, 1}, 10},    {{0.1, 0.1, 0.1, 0.1}, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *world = make_world();
        double asked[TENANTS + 1];
        memcpy(asked, cases[i].times, sizeof(cases[i].times));
        asked[TENANTS] = cases[i].forged / 4;
        double level = find_level(asked, TENANTS + 1);
        double passing = 4 * level < cases[i].forged ? 4 * level / cases[i].forged : 1;
        offer(world, cases[i].times);
        set_stream(world, TENANTS, cases[i].forged);
        run(world, SECOND);
        run(world, 2 * SECOND);
        tell(world, "forged");
        for (unsigned t = 0; t < TENANTS; t++) {
            double fair = asked[t] * (t ? 1 : passing);
            fair = 2 * CAPACITY * (fair < level ? fair : level);
            if (world->answered[t] < 0.8 * fair) /* here reading costs more than a quarter */
                fail_msg("case %zu tenant %u: %.3f of its fair share", i, t,
                         (double)world->answered[t] / fair);
        }
        assert_true(world->answered[0] <= 1.1 * 2 * CAPACITY * level);
        assert_true(world->oldest_ns <= 25 * MS);
        set_stream(world, TENANTS, 0);
        offer(world, (const double[TENANTS]){0.3, 0.2, 0.3, 0});
        run(world, SECOND); /* within which it is over */
        assert_false(world->shed.is_on);
        run(world, SECOND);
        assert_int_equal(world->lost + world->kept + world->told, 0);
        free(world);
    }
}

/* Forged RELEASEs pass the gate and are never left out, so their flood is bounded by the queue
 * alone: what it has no room for the kernel drops. Some of the named tenant's requests pass all the
 * same, the others keep more, nobody's answers get old, and it ends with the flood. */
static void a_flood_of_forged_releases_shuts_nobody_out(void **state)
{
    (void)state;
    static const struct {
        double forged;       /* of the capacity */
        double named, other; /* at least so much of what was asked */
    } cases[] = {{0.5, 0.95, 0.95}, {1, 0.6, 0.85}, {2, 0.15, 0.6}, {5, 0.1, 0.4}, {10, 0.08, 0.2}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *world = make_world();
        world->forged_type = METE_RELEASE;
        offer(world, (const double[TENANTS]){0.2, 0.2, 0.2, 0.2});
        set_stream(world, TENANTS, cases[i].forged);
        run(world, SECOND);
        run(world, 2 * SECOND);
        tell(world, "forged releases");
        for (unsigned t = 0; t < TENANTS; t++) {
            double part = (double)world->answered[t] / (2 * CAPACITY * 0.2);
            if (part < (t ? cases[i].other : cases[i].named))
                fail_msg("case %zu tenant %u: %.3f of what it asked", i, t, part);
        }
        assert_true(world->oldest_ns <= 25 * MS);
        set_stream(world, TENANTS, 0);
        run(world, SECOND); /* within which it is over */
        assert_false(world->shed.is_on);
        run(world, SECOND);
        assert_int_equal(world->lost + world->kept + world->told, 0);
        free(world);
    }
}

/* A worker that has a quarter of its core, in turns that are never the same: what it finds comes in
 * lumps. A tenant that asks for just its share must not lose by it. */
static void a_part_of_a_core_is_shared_fairly(void **state)
{
    (void)state;
    static const struct {
        uint64_t on_ns, off_ns;
        double times[TENANTS]; /* of what it can do with its part */
    } cases[] = {
        {4 * MS, 12 * MS, {0.5, 1, 1.5, 0.1}},  {4 * MS, 12 * MS, {0.333, 0.667, 1, 0.1}},
        {3 * MS, 9 * MS, {0.25, 0.25, 0.3, 1}}, {6 * MS, 18 * MS, {0.2, 0.667, 1, 0.3}},
        {1 * MS, 3 * MS, {0.3, 0.667, 1, 0.1}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world *world = make_world();
        world->on_ns = cases[i].on_ns;
        world->off_ns = cases[i].off_ns;
        for (unsigned t = 0; t < TENANTS; t++)
            set_stream(world, t, cases[i].times[t] / 4);
        run(world, SECOND);
        run(world, 3 * SECOND);
        tell(world, "a part");
        double part = sum_answered(world) / (3 * CAPACITY / 4); /* that it could do */
        double asked[TENANTS];
        for (unsigned t = 0; t < TENANTS; t++)
            asked[t] = cases[i].times[t] / part;
        double level = find_level(asked, TENANTS);
        assert_true(part >= 0.9);
        for (unsigned t = 0; t < TENANTS; t++) {
            double fair = sum_answered(world) * (asked[t] < level ? asked[t] : level);
            if (world->answered[t] < 0.9 * fair || world->answered[t] > 1.1 * fair)
                fail_msg("case %zu tenant %u: %.3f of its fair share", i, t,
                         (double)world->answered[t] / fair);
        }
        assert_true(world->oldest_ns <= 100 * MS);
        free(world);
    }
}

/* The worker stood still when its capacity was measured for the first time, or has its core back
 * after it had little of it: what it can do is found again. */
static void a_capacity_too_small_is_found_out(void **state)
{
    (void)state;
    const double times[] = {1, 1, 1, 0};
    for (uint64_t part = 1; part <= 1000; part *= 10) {
        struct world *world = make_world();
        offer(world, times);
        run(world, SECOND);
        assert_true(world->shed.is_on);
        world->shed.capacity = part;
        run(world, SECOND / 2);
        tell(world, "found out");
        run(world, SECOND);
        tell(world, "afterwards");
        assert_true(sum_answered(world) >= 0.95 * CAPACITY);
        assert_true(world->oldest_ns <= 25 * MS);
        free(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_times_capacity),
        cmocka_unit_test(a_forged_flood_has_one_share),
        cmocka_unit_test(a_flood_of_forged_releases_shuts_nobody_out),
        cmocka_unit_test(a_part_of_a_core_is_shared_fairly),
        cmocka_unit_test(a_capacity_too_small_is_found_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
