/* Calendars: edges of hand-made zones, tables of instants, clocks that step, and the table's sweep.
 * All zones of the system are judged by property/prop_calendar.py. */
#include "instants.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/config.h"
#include "core/calendar.h"
#include "core/zone.h"
#include "engine/engine.h"
#include "sys/clock.h"
#include "table/mapping.h"

#define HOUR_S 3600u
#define DAY_S 86400u
#define NO_END UINT32_MAX

/* Seconds since 1970 of an instant in UTC; the C library's opinion. */
static uint32_t utc(int year, int month, int day, int hour, int minute)
{
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = minute};
    return (uint32_t)timegm(&tm);
}

enum place { UTC, BERLIN, SAO_PAULO, ST_JOHNS, APIA, KATHMANDU, PLACE_COUNT };

static void make_zone(enum place place, struct zone *zone)
{
    const struct {
        int32_t first_s;
        struct zone_change changes[2];
        uint32_t count;
    } places[PLACE_COUNT] = {
        [UTC] = {.first_s = 0},
        [BERLIN] = {3600, {{utc(2024, 3, 31, 1, 0), 7200}, {utc(2024, 10, 27, 1, 0), 3600}}, 2},
        /* 00:00 becomes 01:00 */
        [SAO_PAULO] = {-10800, {{utc(2018, 11, 4, 3, 0), -7200}}, 1},
        /* 00:01 becomes 23:01 */
        [ST_JOHNS] = {-9000, {{utc(2010, 11, 7, 2, 31), -12600}}, 1},
        /* the end of 29 December becomes the begin of the 31st */
        [APIA] = {-10 * 3600, {{utc(2011, 12, 30, 10, 0), 14 * 3600}}, 1},
        [KATHMANDU] = {20700, .count = 0},
    };
    zone->count = 1 + places[place].count;
    zone->changes[0] = (struct zone_change){INT64_MIN, places[place].first_s};
    memcpy(zone->changes + 1, places[place].changes, sizeof(places[place].changes));
}

static struct calendar *make(enum place place, enum calendar_per per)
{
    static const char *const names[PLACE_COUNT] = {
        "UTC",          "Europe/Berlin", "America/Sao_Paulo", "America/St_Johns",
        "Pacific/Apia", "Asia/Kathmandu"};
    struct calendar *calendar = malloc(calendar_size_bytes(per));
    struct zone *zone = malloc(sizeof(*zone));
    assert_non_null(calendar);
    assert_non_null(zone);
    make_zone(place, zone);
    calendar_init(calendar, per, names[place], zone);
    free(zone);
    return calendar;
}

static struct limit limit_of(const struct calendar *calendar, uint64_t count)
{
    struct limit limit;
    assert_int_equal(calendar_compile(calendar, count, &limit), LIMIT_OK);
    return limit;
}

/* The period of an instant, and the second before it begins. */
static void test_edges(void **state)
{
    (void)state;
    const struct {
        enum place place;
        enum calendar_per per;
        uint32_t begin_s, end_s;
    } rows[] = {
        {UTC, CALENDAR_DAY, utc(2024, 2, 29, 0, 0), utc(2024, 3, 1, 0, 0)},
        {UTC, CALENDAR_WEEK, utc(2024, 2, 26, 0, 0), utc(2024, 3, 4, 0, 0)},
        {UTC, CALENDAR_MONTH, utc(2024, 2, 1, 0, 0), utc(2024, 3, 1, 0, 0)},
        {UTC, CALENDAR_MONTH, utc(2023, 2, 1, 0, 0), utc(2023, 3, 1, 0, 0)},
        {UTC, CALENDAR_MONTH, utc(2000, 2, 1, 0, 0), utc(2000, 3, 1, 0, 0)},
        {UTC, CALENDAR_MONTH, utc(2100, 2, 1, 0, 0), utc(2100, 3, 1, 0, 0)},
        {UTC, CALENDAR_MONTH, utc(2024, 12, 1, 0, 0), utc(2025, 1, 1, 0, 0)},
        {UTC, CALENDAR_YEAR, utc(2024, 1, 1, 0, 0), utc(2025, 1, 1, 0, 0)},
        {UTC, CALENDAR_YEAR, utc(2000, 1, 1, 0, 0), utc(2001, 1, 1, 0, 0)},
        {UTC, CALENDAR_DAY, utc(1970, 1, 2, 0, 0), utc(1970, 1, 3, 0, 0)},
        {UTC, CALENDAR_DAY, utc(2106, 2, 7, 0, 0), NO_END},
        {UTC, CALENDAR_YEAR, utc(2106, 1, 1, 0, 0), NO_END},
        /* 23 hours, 25 hours, and what is around them */
        {BERLIN, CALENDAR_DAY, utc(2024, 3, 30, 23, 0), utc(2024, 3, 31, 22, 0)},
        {BERLIN, CALENDAR_DAY, utc(2024, 10, 26, 22, 0), utc(2024, 10, 27, 23, 0)},
        {BERLIN, CALENDAR_WEEK, utc(2024, 3, 24, 23, 0), utc(2024, 3, 31, 22, 0)},
        {BERLIN, CALENDAR_MONTH, utc(2024, 2, 29, 23, 0), utc(2024, 3, 31, 22, 0)},
        {BERLIN, CALENDAR_YEAR, utc(2023, 12, 31, 23, 0), utc(2024, 12, 31, 23, 0)},
        {KATHMANDU, CALENDAR_MONTH, utc(2024, 4, 30, 18, 15), utc(2024, 5, 31, 18, 15)},
        {SAO_PAULO, CALENDAR_DAY, utc(2018, 11, 3, 3, 0), utc(2018, 11, 4, 3, 0)},
        {SAO_PAULO, CALENDAR_DAY, utc(2018, 11, 4, 3, 0), utc(2018, 11, 5, 2, 0)},
        {ST_JOHNS, CALENDAR_DAY, utc(2010, 11, 6, 2, 30), utc(2010, 11, 7, 2, 30)},
        {ST_JOHNS, CALENDAR_DAY, utc(2010, 11, 7, 2, 30), utc(2010, 11, 8, 3, 30)},
        {APIA, CALENDAR_DAY, utc(2011, 12, 29, 10, 0), utc(2011, 12, 30, 10, 0)},
        {APIA, CALENDAR_DAY, utc(2011, 12, 30, 10, 0), utc(2011, 12, 31, 10, 0)},
        {APIA, CALENDAR_MONTH, utc(2011, 12, 1, 10, 0), utc(2011, 12, 31, 10, 0)},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct calendar *calendar = make(rows[i].place, rows[i].per);
        const uint32_t begin_s = rows[i].begin_s, end_s = rows[i].end_s;
        const uint32_t got[] = {calendar_end_s(calendar, begin_s - 1),
                                calendar_end_s(calendar, begin_s),
                                calendar_end_s(calendar, (begin_s + (uint64_t)end_s) / 2),
                                calendar_end_s(calendar, end_s - 1)};
        if (got[0] != begin_s || got[1] != end_s || got[2] != end_s || got[3] != end_s)
            fail_msg("row %zu: %u %u %u %u", i, got[0], got[1], got[2], got[3]);
        if (end_s != NO_END)
            assert_true(calendar_end_s(calendar, end_s) > end_s);
        free(calendar);
    }
}

static void test_the_ends_of_time(void **state)
{
    (void)state;
    struct calendar *calendar = make(UTC, CALENDAR_DAY);
    assert_int_equal(calendar_end_s(calendar, 0), DAY_S);
    assert_int_equal(calendar_end_s(calendar, UINT64_MAX), NO_END);
    for (unsigned per = 0; per < CALENDAR_PER_COUNT; per++) { /* the memory is as large as said */
        struct calendar *one = make(APIA, (enum calendar_per)per);
        assert_true(sizeof(*one) + one->count * sizeof(uint32_t) <=
                    calendar_size_bytes((enum calendar_per)per));
        assert_int_equal(one->ends_s[one->count - 1], NO_END);
        free(one);
    }
    static const struct row ROWS[] = {
        {0, 0, CHECK, 3, ALLOWED, 3, 0, 0, NEVER}, /* what is spent stays spent */
        {DAY_S * SEC, 0, CHECK, 1, DENIED, 0, 0, NEVER, NEVER},
        {DAY_S * SEC, 0, REFUND, 3, ALLOWED, 0, 3, 0, 0},
    };
    const struct limit limit = limit_of(calendar, 3);
    run_instants(&limit, ROWS, COUNT_OF(ROWS), (uint64_t)UINT32_MAX * SEC, 0);
    free(calendar);
}

/* A day of 23 hours, from 23:00 UTC. */
static void test_a_day(void **state)
{
    (void)state;
    struct calendar *calendar = make(BERLIN, CALENDAR_DAY);
    const uint64_t end = 23 * HOUR_S * SEC, noon = 12 * HOUR_S * SEC, rest = end - noon;
    const struct row ROWS[] = {
        {noon, 0, CHECK, 11, DENIED, 0, 10, NEVER, 0},
        {noon, 0, PEEK, 10, ALLOWED, 0, 10, 0, 0},
        {noon, 0, CHECK, 4, ALLOWED, 4, 6, 0, rest},
        {noon, 0, CHECK, 6, ALLOWED, 6, 0, 0, rest},
        {noon, 0, CHECK, 1, DENIED, 0, 0, rest, rest},
        {noon, 0, CHECK, 11, DENIED, 0, 0, NEVER, rest},
        {end - 1, 0, CHECK, 1, DENIED, 0, 0, 1, 1},
        {end - 1, 0, REFUND, 4, ALLOWED, 0, 4, 0, 1},
        {end - 1, 0, PEEK, 5, DENIED, 0, 4, 1, 1},
        {end - 1, 0, AT_MOST, 6, ALLOWED, 4, 0, 0, 1},
        {end - 1, 0, AT_MOST, 6, DENIED, 0, 0, 1, 1},
        {end - 1, 0, CHECK, 0, ALLOWED, 0, 0, 0, 1},
        {end - 1, 0, RESET, 0, ALLOWED, 0, 10, 0, 0},
        {end - 1, 0, CHECK, 10, ALLOWED, 10, 0, 0, 1},
        {end, 0, PEEK, 10, ALLOWED, 0, 10, 0, 0},
        {end, 0, CHECK, 3, ALLOWED, 3, 7, 0, DAY_S * SEC},
        {end + DAY_S * SEC, 0, REFUND, 1, ALLOWED, 0, 10, 0, 0}, /* that day has passed */
    };
    const struct limit limit = limit_of(calendar, 10);
    assert_int_equal(run_instants(&limit, ROWS, COUNT_OF(ROWS), utc(2024, 3, 30, 23, 0) * SEC, 0),
                     0);
    free(calendar);
}

/* Another worker has seen the next month begin; and a limit that is lowered under a live state. */
static void test_back_over_an_edge(void **state)
{
    (void)state;
    struct calendar *calendar = make(UTC, CALENDAR_MONTH);
    const uint64_t march = 31ull * DAY_S * SEC;
    const struct row ROWS[] = {
        {1 * SEC, 0, CHECK, 3, ALLOWED, 3, 7, 0, march - 1 * SEC},
        {0, 0, CHECK, 2, ALLOWED, 2, 5, 0, march},
        {5 * SEC, 1, PEEK, 1, DENIED, 0, 0, march - 5 * SEC, march - 5 * SEC},
        {5 * SEC, 0, PEEK, 5, ALLOWED, 0, 5, 0, march - 5 * SEC},
    };
    const struct limit limits[] = {limit_of(calendar, 10), limit_of(calendar, 3)};
    const uint64_t base_ns = utc(2024, 3, 1, 0, 0) * SEC;
    const uint64_t spent = run_instants(limits, ROWS, COUNT_OF(ROWS), base_ns, 0);
    const struct step step = limit_apply(&limits[0], spent, CHECK, 6, base_ns - 1);
    assert_int_equal(step.verdict.decision, DENIED);
    assert_true(step.verdict.retry_after_ns == march + 1);
    free(calendar);
}

/* The host's clock steps: back never opens a spent day again, ahead goes to the new one. */
static void test_clock_steps(void **state)
{
    (void)state;
    struct calendar *calendar = make(BERLIN, CALENDAR_DAY);
    const struct limit limit = limit_of(calendar, 5);
    const uint64_t noon_ns = utc(2024, 6, 12, 10, 0) * SEC, day_ns = DAY_S * SEC;
    uint64_t boot_ns = 50 * SEC;
    struct wall wall;

    wall_init(&wall, boot_ns, noon_ns);
    uint64_t spent = limit_apply(&limit, 0, CHECK, 5, wall_at(&wall, boot_ns)).state;
    for (unsigned i = 0; i < 2000; i++) { /* for a day: as the worker does, on and on */
        boot_ns += 43 * SEC;
        wall_update(&wall, boot_ns, noon_ns - 9 * day_ns + (boot_ns - 50 * SEC));
        const uint64_t now_ns = wall_at(&wall, boot_ns);
        const struct step step = limit_apply(&limit, spent, CHECK, 1, now_ns);
        const uint64_t end_ns = utc(2024, 6, 12, 22, 0) * SEC;
        assert_int_equal(step.verdict.decision, now_ns < end_ns ? DENIED : ALLOWED);
    }
    wall_init(&wall, boot_ns, noon_ns);
    wall_update(&wall, boot_ns, noon_ns + day_ns);
    const struct step next = limit_apply(&limit, spent, CHECK, 5, wall_at(&wall, boot_ns));
    assert_int_equal(next.verdict.decision, ALLOWED);
    wall_update(&wall, boot_ns, noon_ns); /* and back: neither day is open */
    const struct step last = limit_apply(&limit, next.state, CHECK, 1, wall_at(&wall, boot_ns));
    assert_int_equal(last.verdict.decision, DENIED);
    assert_true(last.verdict.retry_after_ns == 12 * HOUR_S * SEC);
    free(calendar);
}

/* An owner row has no calendar: a spent period stays while it lasts, and goes when it is over. */
static void test_sweep(void **state)
{
    (void)state;
    struct calendar *calendar = make(BERLIN, CALENDAR_MONTH);
    const struct limit limit = limit_of(calendar, 5);
    const struct table_options options = {.entries = 16, .owner_rows = 1, .boot_id = 1};
    const uint64_t march_ns = utc(2024, 2, 29, 23, 0) * SEC, end_ns = utc(2024, 3, 31, 22, 0) * SEC;
    struct instant now = {.now_ns = 1, .wall_ns = march_ns};
    struct table *table;
    struct table_ref ref;
    uint32_t cursor = 0;

    assert_int_equal(table_create(&options, &table), 0);
    struct table_owner owner = {.limit = limit_without_calendar(limit),
                                .region = table_region_shared(table)};
    assert_null(owner.limit.calendar);
    assert_int_equal(table_owner_set(table, 0, &owner), 0);
    const struct table_probe probe = table_probe(table, (struct key){1, 2}, 0);
    assert_int_equal(table_find_or_claim(table, &probe, TABLE_REFUSE, &now, &ref), TABLE_CLAIMED);
    assert_true(table_swap(table, &ref, limit_apply(&limit, 0, CHECK, 5, now.wall_ns).state));
    now.now_ns = 400ull * DAY_S * SEC; /* the other clock has no say */
    for (now.wall_ns = march_ns; now.wall_ns < end_ns; now.wall_ns += DAY_S * SEC)
        assert_int_equal(table_sweep(table, &cursor, 4, &now), 0);
    now.wall_ns = end_ns - 1;
    assert_int_equal(table_sweep(table, &cursor, 4, &now), 0);
    assert_int_equal(table_find(table, &probe, &ref), TABLE_FOUND);
    now.wall_ns = end_ns;
    assert_int_equal(table_sweep(table, &cursor, 4, &now), 1);
    assert_int_equal(table_find(table, &probe, &ref), TABLE_ABSENT);
    table_destroy(table);
    free(calendar);
}

/* What the engine binds outlives the configuration: the rule's row and its override's. */
static void test_rows(void **state)
{
    (void)state;
    static const char text[] =
        "tenants: [{name: a, rules: [{name: r, algorithm: calendar, limit: 5, per: day, overrides: "
        "[{subject: b, limit: 7}]}, {name: s, algorithm: calendar, limit: 6, per: day}]}]";
    char error[256] = "";
    struct config *config = config_parse("test", text, sizeof(text) - 1, error, sizeof(error));
    assert_string_equal(error, "");
    assert_int_equal(config->calendars.count, 1); /* shared */
    const struct table_options options = {
        .entries = 16, .owner_rows = config->index_count, .boot_id = 1};
    struct table *table;
    assert_int_equal(table_create(&options, &table), 0);
    assert_int_equal(engine_bind_owners(table, config), 0);
    unsigned calendar_count = 0;
    for (uint32_t row = 0; row < config->index_count; row++) {
        const struct limit *limit = &table->rows[row].owner.limit;
        if (limit->algorithm != ALGORITHM_CALENDAR)
            continue;
        assert_true(limit->interval == config->calendars.items[0]->id);
        assert_true(limit->burst >= 5 && limit->burst <= 7);
        assert_null(limit->calendar);
        calendar_count++;
    }
    assert_int_equal(calendar_count, 3);
    table_destroy(table);
    config_destroy(config);
}

static void test_compile(void **state)
{
    (void)state;
    struct calendar *days = make(BERLIN, CALENDAR_DAY), *months = make(BERLIN, CALENDAR_MONTH);
    struct calendar *elsewhere = make(UTC, CALENDAR_DAY), *again = make(BERLIN, CALENDAR_DAY);
    struct limit limit = {.burst = 7};
    assert_int_equal(calendar_compile(days, 0, &limit), LIMIT_ZERO_COUNT);
    assert_int_equal(calendar_compile(days, 1ull << 32, &limit), LIMIT_BURST_TOO_LARGE);
    assert_int_equal(limit.burst, 7);
    limit = limit_of(days, UINT32_MAX);
    assert_int_equal(limit.burst, UINT32_MAX);
    assert_true(limit.interval == limit_of(again, 1).interval);
    assert_true(limit.interval != limit_of(months, 1).interval);
    assert_true(limit.interval != limit_of(elsewhere, 1).interval);
    assert_true(limit_is_wall(&limit));
    assert_true(limit_wrap_ns(&limit) == NEVER);
    limit = limit_of(days, 86400);
    assert_true(limit_true_rate(&limit) == 1.0);
    limit = limit_without_calendar(limit); /* nothing passes by accident */
    assert_int_equal(limit_apply(&limit, 0, CHECK, 1, 0).verdict.decision, DENIED);
    free(days);
    free(months);
    free(elsewhere);
    free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),       cmocka_unit_test(test_the_ends_of_time),
        cmocka_unit_test(test_a_day),       cmocka_unit_test(test_back_over_an_edge),
        cmocka_unit_test(test_clock_steps), cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_rows),        cmocka_unit_test(test_compile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
