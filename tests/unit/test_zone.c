/* TZif files made by hand, byte by byte, and the rules in their footers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/zone.h"
#include "core/zone_rule.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define HEADER(version, leaps, times, types, chars)                                                \
    "TZif" version "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"                                                \
    "\0\0\0\0\0\0\0\0\0\0\0" leaps "\0\0\0" times "\0\0\0" types "\0\0\0" chars
#define NO_V1 HEADER("2", "\0", "\0", "\1", "\1") "\0\0\0\0\0\0\0" /* one type, one character */
#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"

/* Two changes, at 100 to type 1 (+7200) and at 200 to type 0 (+3600). */
#define V1                                                                                         \
    HEADER("\0", "\0", "\2", "\2", "\1")                                                           \
    "\0\0\0\144"                                                                                   \
    "\0\0\0\310"                                                                                   \
    "\1\0"                                                                                         \
    "\0\0\16\20\0\0"                                                                               \
    "\0\0\34\40\1\0"                                                                               \
    "\0"
#define V2(footer)                                                                                 \
    NO_V1 HEADER("2", "\0", "\1", "\2", "\1") "\0\0\0\0\0\0\0\144"                                 \
                                              "\1"                                                 \
                                              "\0\0\16\20\0\0"                                     \
                                              "\0\0\34\40\1\0"                                     \
                                              "\0" footer

#define BYTES(text) text, sizeof(text) - 1

static enum zone_error parse(const char *bytes, size_t len, struct zone *zone)
{
    char *exact = malloc(len + !len); /* so that a sanitizer sees a byte too many */
    assert_non_null(exact);
    memcpy(exact, bytes, len);
    const enum zone_error error = zone_parse(exact, len, zone);
    free(exact);
    return error;
}

static struct zone zone;

static void expect_change(uint32_t i, int64_t at_s, int32_t offset_s)
{
    assert_true(zone.changes[i].at_s == at_s);
    assert_int_equal(zone.changes[i].offset_s, offset_s);
}

static void test_first_version(void **state)
{
    (void)state;
    assert_int_equal(parse(BYTES(V1), &zone), ZONE_OK);
    assert_int_equal(zone.count, 3);
    expect_change(0, INT64_MIN, 3600);
    expect_change(1, 100, 7200);
    expect_change(2, 200, 3600);
}

static void test_second_version(void **state)
{
    (void)state;
    assert_int_equal(parse(BYTES(V2("\n\n")), &zone), ZONE_OK);
    assert_int_equal(zone.count, 2);
    expect_change(1, 100, 7200);
    assert_int_equal(parse(BYTES(V2("\nCET-1\n")), &zone), ZONE_OK);
    assert_int_equal(zone.count, 2);
    assert_int_equal(parse(BYTES(V2("\n" BERLIN "\n")), &zone), ZONE_OK);
    assert_int_equal(zone.count, 2 + 2 * (ZONE_LAST_YEAR - 1970 + 1));
    expect_change(2, 7520400, 7200); /* 1970-03-29 01:00 UTC */
    expect_change(3, 25664400, 3600);
    expect_change(zone.count - 1, 4317930000, 3600);
}

static void test_only_a_rule(void **state)
{
    (void)state;
    static const char bytes[] = NO_V1 HEADER("2", "\0", "\0", "\1", "\1") "\0\0\0\0\0\0\0"
                                                                          "\n<+0545>-5:45\n";
    assert_int_equal(parse(BYTES(bytes), &zone), ZONE_OK);
    assert_int_equal(zone.count, 1);
    expect_change(0, INT64_MIN, 20700);
}

static void test_damaged(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        enum zone_error error;
    } rows[] = {
        {BYTES(""), ZONE_CUT_SHORT},
        {BYTES("TZif"), ZONE_CUT_SHORT},
        {BYTES("# tzdb timezone descriptions, and more of it"), ZONE_NOT_TZIF},
        {BYTES(HEADER("\0", "\0", "\0", "\0", "\1") "\0"), ZONE_BAD_COUNTS},
        {BYTES(HEADER("\0", "\0", "\0", "\1", "\0") "\0\0\0\0\0\0"), ZONE_BAD_COUNTS},
        {BYTES(HEADER("\0", "\1", "\0", "\1", "\1") "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"),
         ZONE_HAS_LEAP_SECONDS},
        {BYTES(V2("")), ZONE_CUT_SHORT},
        {BYTES(V2("\n")), ZONE_CUT_SHORT},
        {BYTES(V2("\nCET-1")), ZONE_CUT_SHORT},
        {BYTES(V2("CET-1\n")), ZONE_BAD_FOOTER},
        {BYTES(V2("\nCET\n")), ZONE_BAD_FOOTER},
        {BYTES(V2("\nCET-1CEST\n")), ZONE_BAD_FOOTER},
        {BYTES(NO_V1), ZONE_CUT_SHORT},
        {BYTES(NO_V1 "XZif2"), ZONE_CUT_SHORT},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const enum zone_error error = parse(rows[i].bytes, rows[i].len, &zone);
        if (error != rows[i].error)
            fail_msg("row %zu: %d (%s)", i, error, zone_error_text(error));
    }
    /* Cut anywhere. */
    for (size_t len = 0; len < sizeof(V2("\nCET-1\n")) - 1; len++)
        assert_int_equal(parse(V2("\nCET-1\n"), len, &zone), ZONE_CUT_SHORT);
    char bytes[] = V1;
    const size_t data = 44;
    bytes[data] = 127; /* the first change after the second */
    assert_int_equal(parse(BYTES(bytes), &zone), ZONE_BAD_TIMES);
    memcpy(bytes, V1, sizeof(bytes));
    memcpy(bytes + data, bytes + data + 4, 4); /* twice the same */
    assert_int_equal(parse(BYTES(bytes), &zone), ZONE_BAD_TIMES);
    memcpy(bytes, V1, sizeof(bytes));
    bytes[data + 8] = 2; /* no such type */
    assert_int_equal(parse(BYTES(bytes), &zone), ZONE_BAD_TYPES);
    memcpy(bytes, V1, sizeof(bytes));
    bytes[data + 10 + 1] = 2; /* 131,072 s and more */
    assert_int_equal(parse(BYTES(bytes), &zone), ZONE_BAD_TYPES);
    memcpy(bytes, V1, sizeof(bytes));
    bytes[34] = 8; /* 2050 changes */
    assert_int_equal(parse(BYTES(bytes), &zone), ZONE_TOO_LARGE);
    for (unsigned error = ZONE_OK; error <= ZONE_TOO_LARGE; error++)
        assert_true(strlen(zone_error_text((enum zone_error)error)) > 0);
}

static void test_rules(void **state)
{
    (void)state;
    /* The changes of 2024 and 2025, as date -u -d @N says them; begin, then end. */
    static const struct {
        const char *text;
        int32_t standard_s, daylight_s;
        int64_t at_s[4];
    } rows[] = {
        {BERLIN, 3600, 7200, {1711846800, 1729990800, 1743296400, 1761440400}},
        {"EST5EDT,M3.2.0,M11.1.0",
         -18000,
         -14400,
         {1710054000, 1730613600, 1741503600, 1762063200}},
        /* named in signs, half an hour, minutes */
        {"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
         37800,
         39600,
         {1728142200, 1712415600, 1759591800, 1743865200}},
        /* negative daylight saving time, negative and large times */
        {"IST-1GMT0,M10.5.0,M3.5.0/1", 3600, 0, {1729990800, 1711846800, 1761440400, 1743296400}},
        {"<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
         -7200,
         -3600,
         {1711846800, 1729990800, 1743296400, 1761440400}},
        {"EET-2EEST,M3.4.4/50,M10.4.4/50",
         7200,
         10800,
         {1711756800, 1729897200, 1743206400, 1761346800}},
        /* J60 is 1 March in every year, 59 is 29 February in a leap year */
        {"AAA0BBB,J60/0,59/0", 0, 3600, {1709251200, 1709161200, 1740787200, 1740783600}},
        {"AAA0BBB,J59/0,J60/0", 0, 3600, {1709078400, 1709247600, 1740700800, 1740783600}},
        /* for ever: it ends as it begins */
        {"XXX3EDT4,0/0,J365/23", -10800, -14400, {1704078000, 1735700400, 1735700400, 1767236400}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct zone_rule rule;
        assert_true(zone_rule_parse(rows[i].text, strlen(rows[i].text), &rule));
        assert_true(rule.has_daylight);
        assert_int_equal(rule.standard_s, rows[i].standard_s);
        assert_int_equal(rule.daylight_s, rows[i].daylight_s);
        for (unsigned year = 0; year < 2; year++) {
            const int64_t begin_s = zone_rule_at(&rule.begin, 2024 + year, rule.standard_s);
            const int64_t end_s = zone_rule_at(&rule.end, 2024 + year, rule.daylight_s);
            if (begin_s != rows[i].at_s[2 * year] || end_s != rows[i].at_s[2 * year + 1])
                fail_msg("%s: %lld %lld", rows[i].text, (long long)begin_s, (long long)end_s);
        }
    }
}

static void test_no_rules(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "CE-1",
        "CET",
        "CET-",
        "CET-25",
        "CET-1:60",
        "CET-1:00:60",
        "CET--1",
        "<CET-1",
        "<>-1",
        "C3T-1",
        "CET-1 ",
        "CET-1CEST",
        "CET-1CE,M3.5.0,M10.5.0",
        "CET-1CEST,M3.5.0",
        "CET-1CEST,M3.5.0,",
        "CET-1CEST,M3.5.0,M10.5.0/",
        "CET-1CEST,M3.5.0,M10.5.0/168",
        "CET-1CEST,M3.5.0,M10.5.0x",
        "CET-1CEST,M0.5.0,M10.5.0",
        "CET-1CEST,M13.5.0,M10.5.0",
        "CET-1CEST,M3.6.0,M10.5.0",
        "CET-1CEST,M3.0.0,M10.5.0",
        "CET-1CEST,M3.5.7,M10.5.0",
        "CET-1CEST,M3.5,M10.5.0",
        "CET-1CEST,J0,J365",
        "CET-1CEST,J1,J366",
        "CET-1CEST,0,366",
        "CET-1CEST,M3.5.0,99999999999999999999",
        "CET-99999999999999999999",
        "CET-1CEST-2M3.5.0,M10.5.0",
    };
    struct zone_rule rule = {.standard_s = 77};
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (zone_rule_parse(texts[i], strlen(texts[i]), &rule))
            fail_msg("'%s' is taken for a rule", texts[i]);
    assert_int_equal(rule.standard_s, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_version), cmocka_unit_test(test_second_version),
        cmocka_unit_test(test_only_a_rule),   cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_rules),         cmocka_unit_test(test_no_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
