/* Random limits and random operations on them, as fixed binary records on stdout, for the model in
 * model_limits.py to judge: core_feed SEED COUNT ALGORITHM [MODE], where ALGORITHM is one of the
 * names in KINDS, or "compile" for records of limit_compile() alone. One seed gives one stream.
 *
 * MODE `judge`: exact_limits.h judges them here, and only the number of differences and the first
 * few are printed; status 1 if there are any. `spoiled`: as without, but one number of each record
 * is one too high or too low; `judge-spoiled`: those judged here.
 *
 * States are chained, so that real ones are judged; now and then the limit changes under a live
 * state or the state is foreign. Numbers are drawn where the edges are: costs of 0, 1, burst and
 * burst + 1, steps of exactly the reported wait and one nanosecond less, instants near the end of
 * the range. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/calendar.h"
#include "core/limit.h"
#include "core/zone.h"
#include "lib/random.h"
#include "property/exact_limits.h"

#define SECOND_NS 1000000000ull
#define DAY_NS (86400 * SECOND_NS)
#define GCRA_END_NS (1ull << 60)

/* model_limits.py unpacks it as COMPILED. */
struct compiled {
    uint64_t count, period_ns, spec_burst, interval, tolerance;
    uint32_t burst;
    uint8_t algorithm, error, compiled_algorithm, zero;
};
_Static_assert(sizeof(struct compiled) == 48, "48 bytes each");

static const struct {
    const char *name;
    enum algorithm algorithm;
} KINDS[] = {
    {"token_bucket", ALGORITHM_TOKEN_BUCKET},     {"leaky_meter", ALGORITHM_LEAKY_METER},
    {"leaky_queue", ALGORITHM_LEAKY_QUEUE},       {"fixed_window", ALGORITHM_FIXED_WINDOW},
    {"sliding_window", ALGORITHM_SLIDING_WINDOW}, {"calendar", ALGORITHM_CALENDAR},
};

static uint64_t below(uint64_t *random, uint64_t bound)
{
    return random_next(random) % bound;
}

static bool one_in(uint64_t *random, uint64_t n)
{
    return below(random, n) == 0;
}

/* 0 .. 2^bits - 1, every magnitude about as likely. */
static uint64_t draw_magnitude(uint64_t *random, unsigned bits)
{
    const unsigned length = (unsigned)below(random, bits + 1);
    return length == 0 ? 0 : random_next(random) >> (64 - length);
}

static uint64_t draw_period(uint64_t *random)
{
    static const uint64_t PERIODS[] = {1,           1000,           1000000,          10000000,
                                       SECOND_NS,   60 * SECOND_NS, 3600 * SECOND_NS, DAY_NS,
                                       LIMIT_MAX_NS};
    if (one_in(random, 4))
        return 1 + draw_magnitude(random, 59);
    return PERIODS[below(random, sizeof(PERIODS) / sizeof(PERIODS[0]))];
}

static uint64_t draw_count(uint64_t *random)
{
    if (one_in(random, 2))
        return 1 + below(random, 20);
    if (one_in(random, 8))
        return UINT32_MAX - below(random, 2);
    return 1 + draw_magnitude(random, 32);
}

/* Zones of one offset, named by it: what an edge is in a real one is prop_calendar.py's to judge.
 */
static const int32_t OFFSETS_S[] = {0, 3600, -12 * 3600, 14 * 3600, 20700, -9052};
#define OFFSET_COUNT (sizeof(OFFSETS_S) / sizeof(OFFSETS_S[0]))

static const struct calendar *draw_calendar(uint64_t *random)
{
    static struct calendar *calendars[CALENDAR_PER_COUNT][OFFSET_COUNT];
    const unsigned per = (unsigned)below(random, CALENDAR_PER_COUNT);
    const unsigned place = (unsigned)below(random, OFFSET_COUNT);
    struct calendar **calendar = &calendars[per][place];
    static struct zone zone;
    char name[64];

    if (!*calendar) {
        *calendar = malloc(calendar_size_bytes((enum calendar_per)per));
        if (!*calendar)
            exit(1);
        zone_init_utc(&zone);
        zone.changes[0].offset_s = OFFSETS_S[place];
        snprintf(name, sizeof(name), "%d", OFFSETS_S[place]);
        calendar_init(*calendar, (enum calendar_per)per, name, &zone);
    }
    return *calendar;
}

/* A window's length, a calendar's mean one, or what a unit of a bucket takes. */
static uint64_t unit_of(const struct limit *limit)
{
    if (limit->algorithm == ALGORITHM_CALENDAR)
        return limit->calendar->period_s * SECOND_NS;
    return limit_is_wall(limit) ? limit->interval : limit->interval / LIMIT_TICKS_PER_NS;
}

/* A limit that compiles; most draws do. */
static struct limit draw_limit(uint64_t *random, enum algorithm algorithm)
{
    for (;;) {
        struct limit_spec spec = {.algorithm = algorithm,
                                  .count = draw_count(random),
                                  .period_ns = draw_period(random),
                                  .burst = one_in(random, 3) ? 0 : draw_count(random)};
        struct limit limit;
        if (algorithm == ALGORITHM_CALENDAR &&
            !calendar_compile(draw_calendar(random), spec.count, &limit))
            return limit;
        if (algorithm == ALGORITHM_SLIDING_WINDOW && one_in(random, 4))
            spec.count = LIMIT_SLIDING_MAX - below(random, 2);
        if (limit_compile(&spec, &limit) != LIMIT_OK)
            continue;
        limit.keeps_tat = !limit_is_wall(&limit) && one_in(random, 3);
        return limit;
    }
}

static uint32_t draw_cost(uint64_t *random, const struct limit *limit)
{
    switch (below(random, 10)) {
    case 0:
        return 0;
    case 1:
        return limit->burst;
    case 2:
        return limit->burst + (limit->burst < UINT32_MAX);
    case 3:
        return (uint32_t)draw_magnitude(random, 32);
    case 4:
    case 5:
        return (uint32_t)below(random, (uint64_t)limit->burst + 1);
    case 6:
        return limit->burst / 4;
    default:
        return 1;
    }
}

static enum operation draw_operation(uint64_t *random)
{
    static const enum operation OPERATIONS[] = {
        OPERATION_CHECK, OPERATION_CHECK,   OPERATION_CHECK,  OPERATION_CHECK,
        OPERATION_CHECK, OPERATION_CHECK,   OPERATION_CHECK,  OPERATION_CHECK,
        OPERATION_PEEK,  OPERATION_AT_MOST, OPERATION_REFUND, OPERATION_REFUND};
    if (one_in(random, 40))
        return OPERATION_RESET;
    return OPERATIONS[below(random, sizeof(OPERATIONS) / sizeof(OPERATIONS[0]))];
}

/* Where a subject's life begins. */
static uint64_t draw_base(uint64_t *random, const struct limit *limit)
{
    const uint64_t near = 3 * unit_of(limit) + SECOND_NS;

    if (limit->algorithm == ALGORITHM_CALENDAR) {
        const uint64_t last_ns = UINT32_MAX * SECOND_NS;
        switch (below(random, 5)) {
        case 0: /* before an edge */
            return limit->calendar->ends_s[below(random, limit->calendar->count)] * SECOND_NS -
                   below(random, SECOND_NS);
        case 1:
            return draw_magnitude(random, 57);
        case 2:
            return last_ns + DAY_NS - below(random, near);
        default:
            return below(random, last_ns);
        }
    }
    if (limit_is_wall(limit)) {
        const unsigned bits = limit->algorithm == ALGORITHM_FIXED_WINDOW ? 32 : 16;
        const unsigned __int128 wrap = (unsigned __int128)limit->interval << bits;
        switch (below(random, 4)) {
        case 0:
            return draw_magnitude(random, 40);
        case 1: /* just before the index wraps */
            if (wrap < UINT64_MAX)
                return UINT64_MAX / (uint64_t)wrap * (uint64_t)wrap - 1 - below(random, near);
            /* fall through */
        case 2:
            return UINT64_MAX - below(random, near);
        default:
            return 1790000000 * SECOND_NS + draw_magnitude(random, 58);
        }
    }
    if (one_in(random, 4))
        return GCRA_END_NS + DAY_NS - below(random, 3 * DAY_NS);
    if (one_in(random, 8))
        return GCRA_END_NS - draw_magnitude(random, 20);
    return draw_magnitude(random, 57);
}

/* A state that some other limit, worker or bit of bad luck left. */
static uint64_t draw_state(uint64_t *random, const struct limit *limit, uint64_t now_ns)
{
    if (one_in(random, 8))
        return random_next(random);
    if (limit->algorithm == ALGORITHM_CALENDAR)
        return (uint64_t)(uint32_t)((now_ns + below(random, 2 * unit_of(limit))) / SECOND_NS)
                   << 32 |
               below(random, (uint64_t)limit->burst + 3);
    if (limit->algorithm == ALGORITHM_FIXED_WINDOW)
        return (uint64_t)(uint32_t)(now_ns / limit->interval + below(random, 6) - 3) << 32 |
               below(random, (uint64_t)limit->burst + 3);
    if (limit->algorithm == ALGORITHM_SLIDING_WINDOW)
        return (uint64_t)(uint16_t)(now_ns / limit->interval + below(random, 6) - 3) << 48 |
               below(random, (uint64_t)limit->burst + 1) << 24 |
               below(random, (uint64_t)limit->burst + 1);
    if (one_in(random, 4)) /* a tat at the end of its range */
        return UINT64_MAX - draw_magnitude(random, 60);
    return now_ns * LIMIT_TICKS_PER_NS + below(random, 2 * limit->tolerance + 2);
}

static uint64_t draw_step_ns(uint64_t *random, const struct limit *limit,
                             const struct verdict *last)
{
    const uint64_t unit_ns = unit_of(limit);
    switch (below(random, 16)) {
    case 0:
        return unit_ns;
    case 1:
        return unit_ns - (unit_ns > 0);
    case 2:
        return unit_ns + 1;
    case 3:
    case 4:
        return unit_ns == 0 ? 1 : below(random, unit_ns + 1);
    case 5:
        return limit_is_wall(limit) ? below(random, 4) * unit_ns
                                    : below(random, limit->tolerance / LIMIT_TICKS_PER_NS + 2);
    case 6:
        return last->retry_after_ns == NEVER ? 1 : last->retry_after_ns;
    case 7:
        return last->retry_after_ns == NEVER || last->retry_after_ns == 0
                   ? 0
                   : last->retry_after_ns - 1;
    case 8:
        return last->reset_after_ns == NEVER ? 1 : last->reset_after_ns;
    case 9:
        return one_in(random, 10) ? draw_magnitude(random, 50) : draw_magnitude(random, 20);
    default:
        return one_in(random, 2) ? 0 : below(random, unit_ns / 8 + 2);
    }
}

/* Mostly on; sometimes a little back, as between workers; rarely past the end, where it stands. */
static uint64_t advance(uint64_t *random, uint64_t now_ns, const struct limit *limit,
                        const struct verdict *last)
{
    if (one_in(random, 20)) {
        const uint64_t back = draw_magnitude(random, 20);
        return now_ns > back ? now_ns - back : 0;
    }
    uint64_t next;
    const bool over = __builtin_add_overflow(now_ns, draw_step_ns(random, limit, last), &next);
    return over ? UINT64_MAX : next;
}

static void put(const void *record, size_t size)
{
    if (fwrite(record, size, 1, stdout) != 1)
        exit(1);
}

static struct {
    bool judges, spoils;
    uint64_t random; /* of what is spoiled, apart from that of the operations */
    uint64_t done, differences;
} mode;

#define SHOWN 5u

/* One number of what came out, by one. */
static void spoil(struct record *record)
{
    const bool is_up = one_in(&mode.random, 2);
    uint64_t *const longs[] = {&record->next_state, &record->retry_after_ns,
                               &record->reset_after_ns, &record->rest_after_ns, &record->wrap_ns};
    uint32_t *const shorts[] = {&record->granted, &record->remaining};
    const uint64_t place = below(&mode.random, 8);

    if (place < 5)
        *longs[place] += is_up ? 1 : UINT64_MAX;
    else if (place < 7)
        *shorts[place - 5] += is_up ? 1 : UINT32_MAX;
    else
        record->decision ^= 1;
}

static void give(struct record *record)
{
    if (mode.spoils)
        spoil(record);
    if (!mode.judges) {
        put(record, sizeof *record);
        return;
    }
    const char *wrong = exact_judge(record);

    if (wrong && mode.differences++ < SHOWN && !mode.spoils)
        printf("operation %llu: %s: state %llx, operation %u of %u at %llu\n",
               (unsigned long long)mode.done, wrong, (unsigned long long)record->state,
               record->operation, record->cost, (unsigned long long)record->now_ns);
    mode.done++;
}

static void feed_operations(uint64_t *random, uint64_t count, enum algorithm algorithm)
{
    struct limit limit = draw_limit(random, algorithm);
    uint64_t now_ns = draw_base(random, &limit);
    uint64_t state = 0;
    struct verdict last = {0};

    for (uint64_t i = 0; i < count; i++) {
        if (one_in(random, 60)) { /* another subject */
            limit = draw_limit(random, algorithm);
            now_ns = draw_base(random, &limit);
            state = one_in(random, 4) ? draw_state(random, &limit, now_ns) : 0;
        } else if (one_in(random, 30)) { /* another limit for the same one */
            const struct limit former = limit;
            limit = draw_limit(random, algorithm);
            if (algorithm == ALGORITHM_CALENDAR) {
                limit.interval = former.interval;
                limit.calendar = former.calendar;
            } else if (limit_is_wall(&limit) && one_in(random, 2)) {
                limit.interval = former.interval;
            } else if (one_in(random, 2)) {
                limit.interval = former.interval;
                limit.burst = (uint32_t)below(random, former.burst) + 1;
                limit.tolerance = limit_is_wall(&limit) ? 0 : limit.interval * limit.burst;
            }
        }
        now_ns = advance(random, now_ns, &limit, &last);
        const enum operation operation = draw_operation(random);
        const uint32_t cost = draw_cost(random, &limit);
        const struct step step = limit_apply(&limit, state, operation, cost, now_ns);
        last = step.verdict;
        const bool is_calendar = algorithm == ALGORITHM_CALENDAR;
        give(&(struct record){.interval = is_calendar ? limit.calendar->per : limit.interval,
                              .tolerance = is_calendar ? strtoull(limit.calendar->zone, NULL, 10)
                                                       : limit.tolerance,
                              .state = state,
                              .now_ns = now_ns,
                              .next_state = step.state,
                              .retry_after_ns = last.retry_after_ns,
                              .reset_after_ns = last.reset_after_ns,
                              .rest_after_ns = limit_rest_after(&limit, state, now_ns),
                              .wrap_ns = limit_wrap_ns(&limit),
                              .burst = limit.burst,
                              .cost = cost,
                              .granted = last.granted,
                              .remaining = last.remaining,
                              .algorithm = limit.algorithm,
                              .keeps_tat = limit.keeps_tat,
                              .operation = (uint8_t)operation,
                              .decision = (uint8_t)last.decision});
        state = step.state;
    }
}

/* Sizes where the bounds are: any magnitude, and the neighbours of each bound. */
static uint64_t draw_edge(uint64_t *random)
{
    static const uint64_t EDGES[] = {
        1,         LIMIT_FIXED_MIN_NS, LIMIT_SLIDING_MIN_NS, LIMIT_SLIDING_MAX, UINT32_MAX,
        SECOND_NS, LIMIT_MAX_NS,       1ull << 60,           UINT64_MAX - 1};
    switch (below(random, 5)) {
    case 0:
        return EDGES[below(random, sizeof(EDGES) / sizeof(EDGES[0]))] + below(random, 3) - 1;
    case 1:
        return draw_period(random);
    case 2:
        return draw_count(random);
    default:
        return draw_magnitude(random, 64);
    }
}

static void feed_compiled(uint64_t *random, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct limit_spec spec = {.algorithm = (enum algorithm)below(random, 11),
                                  .count = draw_edge(random),
                                  .period_ns = draw_edge(random),
                                  .burst = one_in(random, 3) ? 0 : draw_edge(random)};
        if (spec.burst != 0 && one_in(random, 8)) /* tau beside ten years */
            spec.period_ns = (uint64_t)((unsigned __int128)LIMIT_MAX_NS * spec.count / spec.burst) +
                             below(random, 3) - 1;
        struct limit limit = {.interval = 1, .tolerance = 2, .burst = 3, .algorithm = 4};
        const enum limit_error error = limit_compile(&spec, &limit);
        put(&(struct compiled){.count = spec.count,
                               .period_ns = spec.period_ns,
                               .spec_burst = spec.burst,
                               .interval = limit.interval,
                               .tolerance = limit.tolerance,
                               .burst = limit.burst,
                               .algorithm = (uint8_t)spec.algorithm,
                               .error = (uint8_t)error,
                               .compiled_algorithm = limit.algorithm},
            sizeof(struct compiled));
    }
}

static bool take_mode(const char *name)
{
    mode.judges = strncmp(name, "judge", 5) == 0;
    mode.spoils = strstr(name, "spoiled") != NULL;
    return strcmp(name, "judge") == 0 || strcmp(name, "judge-spoiled") == 0 ||
           strcmp(name, "spoiled") == 0;
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 5 || (argc == 5 && !take_mode(argv[4]))) {
        fprintf(stderr,
                "usage: core_feed SEED COUNT ALGORITHM [judge | spoiled | judge-spoiled]\n");
        return 2;
    }
    uint64_t random = strtoull(argv[1], NULL, 0);
    const uint64_t count = strtoull(argv[2], NULL, 0);

    mode.random = ~random;
    if (strcmp(argv[3], "compile") == 0) {
        feed_compiled(&random, count);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++) {
        if (strcmp(argv[3], KINDS[i].name) == 0) {
            random += (uint64_t)KINDS[i].algorithm << 32; /* no two kinds see the same stream */
            feed_operations(&random, count, KINDS[i].algorithm);
            if (mode.judges)
                printf("%s: seed %s, %llu operations, %llu differences\n", argv[3], argv[1],
                       (unsigned long long)count, (unsigned long long)mode.differences);
            return fflush(stdout) == 0 && !mode.differences ? 0 : 1;
        }
    }
    fprintf(stderr, "core_feed: unknown algorithm %s\n", argv[3]);
    return 2;
}
