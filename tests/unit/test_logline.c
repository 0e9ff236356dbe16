/* Lines of access logs as tables: what is taken from a good one, why a bad one is refused. Each
 * line is parsed from a copy of exactly its length, so that the sanitizers see a read past its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cmd/logline.h"
#include "cmd/logtime.h"

#define S 1000000000ull
#define AT (1431857103 * S) /* 2015-05-17 10:05:03 UTC */
#define TIME "[17/May/2015:10:05:03 +0000]"
#define REST " \"GET /a/b?c=d HTTP/1.1\" 200 12 \"http://from/\" \"Agent \\\"7\\\" x\""
#define LINE "1.2.3.4 - ann " TIME REST

static struct logline parsed;

static enum logline_result parse(const char *text, size_t len, const char *by, const char *time)
{
    const struct logline_fields fields = {by, time};
    char *copy = malloc(len + (len == 0));
    assert_non_null(copy);
    memcpy(copy, text, len);
    const enum logline_result result = logline_parse(copy, len, &fields, &parsed);
    free(copy);
    return result;
}

static void expect(const char *text, const char *by, uint64_t at_ns, const char *subject)
{
    const enum logline_result result = parse(text, strlen(text), by, NULL);
    if (result != LOGLINE_OK || parsed.at_ns != at_ns || parsed.subject_len != strlen(subject) ||
        memcmp(parsed.subject, subject, parsed.subject_len) != 0)
        fail_msg("%s: result %d, at %llu, subject %.*s", text, (int)result,
                 (unsigned long long)parsed.at_ns, (int)parsed.subject_len, parsed.subject);
}

static void expect_refused(const char *text, const char *by, enum logline_result why)
{
    const enum logline_result result = parse(text, strlen(text), by, NULL);
    if (result != why)
        fail_msg("%s: result %d, not %d", text, (int)result, (int)why);
}

static void takes_fields_of_clf(void **state)
{
    (void)state;
    expect(LINE, NULL, AT, "1.2.3.4");
    expect(LINE, "ip", AT, "1.2.3.4");
    expect(LINE, "user", AT, "ann");
    expect(LINE, "method", AT, "GET");
    expect(LINE, "path", AT, "/a/b");
    expect(LINE, "status", AT, "200");
    expect(LINE, "referer", AT, "http://from/");
    expect(LINE, "agent", AT, "Agent \\\"7\\\" x");
    expect("  " LINE, NULL, AT, "1.2.3.4");
    expect_refused(LINE, "bytes", LOGLINE_UNKNOWN_FIELD);
    expect_refused(LINE, "", LOGLINE_UNKNOWN_FIELD);
}

static void takes_nasty_clf(void **state)
{
    (void)state;
    expect("2001:db8::1 - - " TIME " \"-\" 408 -", NULL, AT, "2001:db8::1");
    expect("h - - " TIME " \"GET / HTTP/1.0\" 200", NULL, AT, "h");
    expect("h - - " TIME " \"\" 400 0", NULL, AT, "h");
    expect("h - - " TIME " \"\\x16\\x03\\\\\" 400 0 \"-\" \"-\"", "agent", AT, "-");
    expect("h - a b [c] " TIME " \"-\" 200 1", "user", AT, "a b [c]");
    expect("h - [17/May/2015 " TIME " \"-\" 200 1", "user", AT, "[17/May/2015");
    expect("h - - " TIME " \"GET / HTTP/1.1\" 200 1 \"unclosed", NULL, AT, "h");
    expect("\x1b[31m\xff - - " TIME " \"-\" 200 1", NULL, AT, "\x1b[31m\xff");
    expect_refused("h - - " TIME " \"-\" 408 -", "path", LOGLINE_NO_FIELD);
    expect_refused("h - - " TIME " \"GET /a b HTTP/1.1\" 400 -", "path", LOGLINE_NO_FIELD);
    expect_refused("h - - " TIME " \"GET ?q HTTP/1.1\" 400 -", "path", LOGLINE_NO_FIELD);
    expect_refused("h - - " TIME " \"GET / HTTP/1.1\" 200 1", "agent", LOGLINE_NO_FIELD);
    expect_refused("h - - " TIME " \"GET / HTTP/1.1\" 200 1 \"r\" \"unclosed", "agent",
                   LOGLINE_NO_FIELD);
}

static void refuses_what_is_no_clf(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "x",
        "1.2.3.4",
        "1.2.3.4 ",
        "1.2.3.4 - ",
        "1.2.3.4 - -",
        "1.2.3.4 - - ",
        "hello world, I am",
        "h - - " TIME,
        "h - - " TIME " ",
        "h - - " TIME " \"GET /",
        "h - - " TIME " \"GET /\\\"",
        "h - - " TIME " \"a\" ",
        "h - - " TIME " \"a\" 20",
        "h - - " TIME " \"a\" 2000",
        "h - - " TIME " \"a\" abc",
        "h - - " TIME "\"a\" 200",
        "\"",
        "\\",
        "[",
        "- - [",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        expect_refused(lines[i], NULL, LOGLINE_UNKNOWN);
    expect_refused("h - - [" REST, NULL, LOGLINE_BAD_TIME);
    expect_refused("h - - [17/May/2015:10:05:03 +0000" REST, NULL, LOGLINE_BAD_TIME);
    expect_refused("h - - [17/May/2015:10:05:03 +0000", NULL, LOGLINE_BAD_TIME);
    expect_refused("", NULL, LOGLINE_BLANK);
    expect_refused(" \t\r", NULL, LOGLINE_BLANK);
}

static void bounds_a_line(void **state)
{
    (void)state;
    char *line = malloc(LOGLINE_MAX + 1);
    const size_t tail_len = sizeof(LINE) - sizeof("1.2.3.4");
    assert_non_null(line);
    memset(line, 'a', LOGLINE_MAX + 1);
    assert_int_equal(parse(line, LOGLINE_MAX + 1, NULL, NULL), LOGLINE_TOO_LONG);
    assert_int_equal(parse(line, LOGLINE_MAX, NULL, NULL), LOGLINE_UNKNOWN);
    memcpy(line + LOGLINE_MAX - tail_len, &LINE[7], tail_len);
    assert_int_equal(parse(line, LOGLINE_MAX, NULL, NULL), LOGLINE_OK);
    assert_int_equal(parsed.subject_len, LOGLINE_MAX - tail_len);
    memset(line, '[', LOGLINE_MAX);
    memcpy(line, "{\"a\":", 5);
    assert_int_equal(parse(line, LOGLINE_MAX, NULL, NULL), LOGLINE_BAD_JSON);
    free(line);
}

static void takes_json(void **state)
{
    (void)state;
    expect("{\"time\":1431857103,\"ip\":\"h\"}", NULL, AT, "h");
    expect(" {\"ts\":1431857103.25,\"remote_addr\":\"h\"} ", NULL, AT + S / 4, "h");
    expect("{\"@timestamp\":\"2015-05-17T10:05:03Z\",\"client\":{\"ip\":\"h\"}}", NULL, AT, "h");
    expect("{\"timestamp\":\"1431857103\",\"request\":{\"remote_ip\":\"h\"}}", "ip", AT, "h");
    expect("{\"time\":null,\"ts\":\"1431857103.5\",\"ip\":\"h\"}", NULL, AT + S / 2, "h");
    expect("{\"time\":1431857103123,\"a\":{\"b\":{\"c\":7}}}", "a.b.c", AT + 123000000, "7");
    expect("{\"time\":1431857103,\"a.b\":\"x\",\"a\":{\"b\":\"y\"}}", "a.b", AT, "x");
    expect("{\"time\":1431857103,\"a\":{\"b.c\":\"y\"}}", "a.b.c", AT, "y");
    expect("{\"time\":1431857103,\"u\":true}", "u", AT, "true");
    expect("{\"time\":1431857103,\"u\":0.1}", "u", AT, "0.1");
    expect("{\"time\":1431857103,\"u\":9223372036854775807}", "u", AT, "9223372036854775807");
    expect("{\"time\":1431857103,\"u\":\"\\u00e9\\n\"}", "u", AT, "\xc3\xa9\n");
    expect("{\"time\":1431857103,\"u\":\"x\",\"trace\":18446744073709551615}", "u", AT, "x");
    const struct logline_fields fields = {"u", "when.at"};
    const char *text = "{\"time\":5,\"when\":{\"at\":1431857103},\"u\":\"a\\u0000b\"}";
    assert_int_equal(logline_parse(text, strlen(text), &fields, &parsed), LOGLINE_OK);
    assert_int_equal(parsed.at_ns, AT);
    assert_int_equal(parsed.subject_len, 3);
    assert_memory_equal(parsed.subject, "a\0b", 3);
}

static void refuses_bad_json(void **state)
{
    (void)state;
    expect_refused("{", NULL, LOGLINE_BAD_JSON);
    expect_refused("{\"time\":1,\"ip\":\"h\"} x", NULL, LOGLINE_BAD_JSON);
    expect_refused("{\"time\":1e999,\"ip\":\"h\"}", NULL, LOGLINE_BAD_JSON);
    expect_refused("{\"time\":1,\"ip\":\"\xff\"}", NULL, LOGLINE_BAD_JSON);
    expect_refused("{}", NULL, LOGLINE_NO_TIME);
    expect_refused("{\"ip\":\"h\",\"time\":null}", NULL, LOGLINE_NO_TIME);
    expect_refused("{\"ip\":\"h\",\"time\":true}", NULL, LOGLINE_BAD_TIME);
    expect_refused("{\"ip\":\"h\",\"time\":\"\"}", NULL, LOGLINE_BAD_TIME);
    expect_refused("{\"ip\":\"h\",\"time\":\".\"}", NULL, LOGLINE_BAD_TIME);
    expect_refused("{\"ip\":\"h\",\"time\":\"1.2.3\"}", NULL, LOGLINE_BAD_TIME);
    expect_refused("{\"ip\":\"h\",\"time\":\"1\\u0000\"}", NULL, LOGLINE_BAD_TIME);
    expect_refused("{\"ip\":\"h\",\"time\":-1}", NULL, LOGLINE_BAD_TIME);
    expect_refused("{\"time\":1}", NULL, LOGLINE_NO_FIELD);
    expect_refused("{\"time\":1,\"ip\":\"\"}", NULL, LOGLINE_NO_FIELD);
    expect_refused("{\"time\":1,\"u\":[1]}", "u", LOGLINE_BAD_FIELD);
    expect_refused("{\"time\":1,\"u\":{}}", "u", LOGLINE_BAD_FIELD);
    expect_refused("{\"time\":1,\"u\":18446744073709551615}", "u", LOGLINE_BAD_FIELD);
    expect_refused("{\"time\":1,\"a\":{}}", "a..b.", LOGLINE_NO_FIELD);
}

struct instant_row {
    const char *text;
    uint64_t at_ns; /* UINT64_MAX: refused */
};

#define NONE UINT64_MAX

static void reads_times_of_clf(void **state)
{
    (void)state;
    static const struct instant_row rows[] = {
        {"17/May/2015:10:05:03 +0000", AT},
        {"17/May/2015:12:35:03 +0230", AT},
        {"16/May/2015:22:05:03 -1200", AT},
        {"01/Jan/1970:00:00:00 +0000", 0},
        {"01/Jan/1970:00:59:59 +0100", NONE},
        {"29/Feb/2000:00:00:00 +0000", 951782400 * S},
        {"01/Mar/2100:00:00:00 +0000", 4107542400 * S},
        {"31/Dec/2260:23:59:59 +0000", 9183110399 * S},
        {"31/Dec/2016:23:59:60 +0000", 1483228800 * S},
        {"01/Jan/2261:00:00:00 +0000", NONE},
        {"29/Feb/2100:00:00:00 +0000", NONE},
        {"31/Apr/2015:00:00:00 +0000", NONE},
        {"00/May/2015:00:00:00 +0000", NONE},
        {"17/may/2015:10:05:03 +0000", NONE},
        {"17/ayJ/2015:10:05:03 +0000", NONE},
        {"17/May/2015:24:05:03 +0000", NONE},
        {"17/May/2015:10:60:03 +0000", NONE},
        {"17/May/2015:10:05:61 +0000", NONE},
        {"17/May/2015:10:05:03  0000", NONE},
        {"17/May/2015:10:05:03 +2400", NONE},
        {"17/May/2015:10:05:03 +0060", NONE},
        {"1a/May/2015:10:05:03 +0000", NONE},
        {"17/May/2015:10:05:03 +000", NONE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t at_ns = NONE;
        logtime_parse_clf(rows[i].text, strlen(rows[i].text), &at_ns);
        if (at_ns != rows[i].at_ns)
            fail_msg("%s: %llu", rows[i].text, (unsigned long long)at_ns);
    }
}

static void reads_times_of_rfc3339(void **state)
{
    (void)state;
    static const struct instant_row rows[] = {
        {"2015-05-17T10:05:03Z", AT},
        {"2015-05-17t10:05:03z", AT},
        {"2015-05-17 12:05:03+02:00", AT},
        {"2015-05-17T12:05:03+0200", AT},
        {"2015-05-17T10:05:03.5Z", AT + S / 2},
        {"2015-05-17T10:05:03.000000001-00:00", AT + 1},
        {"2015-05-17T10:05:03.0000000019999Z", AT + 1},
        {"2015-05-17T10:05:03", NONE},
        {"2015-05-17T10:05:03.Z", NONE},
        {"2015-05-17T10:05:03.5", NONE},
        {"2015-05-17T10:05:03+2:00", NONE},
        {"2015-05-17T10:05:03Zx", NONE},
        {"2015-05-17_10:05:03Z", NONE},
        {"2015-13-17T10:05:03Z", NONE},
        {"1969-12-31T23:59:59Z", NONE},
        {"", NONE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t at_ns = NONE;
        logtime_parse_rfc3339(rows[i].text, strlen(rows[i].text), &at_ns);
        if (at_ns != rows[i].at_ns)
            fail_msg("%s: %llu", rows[i].text, (unsigned long long)at_ns);
    }
}

static void reads_numbers_by_size(void **state)
{
    (void)state;
    uint64_t at_ns = NONE;
    assert_true(logtime_from_integer(1431857103, &at_ns) && at_ns == AT);
    assert_true(logtime_from_integer(1431857103001, &at_ns) && at_ns == AT + 1000000);
    assert_true(logtime_from_integer(1431857103000001, &at_ns) && at_ns == AT + 1000);
    assert_true(logtime_from_integer(1431857103000000001, &at_ns) && at_ns == AT + 1);
    assert_true(logtime_from_integer(0, &at_ns) && at_ns == 0);
    assert_true(logtime_from_real(1431857103.123456, &at_ns) && at_ns == AT + 123456000);
    assert_true(logtime_from_real(1431857103123.456, &at_ns) && at_ns == AT + 123456000);
    assert_false(logtime_from_integer(-1, &at_ns));
    assert_false(logtime_from_integer(9183110400, &at_ns));
    assert_false(logtime_from_integer(INT64_MAX, &at_ns));
    assert_false(logtime_from_real(-0.5, &at_ns));
    assert_false(logtime_from_real(1e300, &at_ns));
    assert_false(logtime_from_real(__builtin_nan(""), &at_ns));
}

static void explains_each_result(void **state)
{
    (void)state;
    const struct logline_fields fields = {"who", "when"};
    char buffer[160];
    for (int result = LOGLINE_OK; result <= LOGLINE_BAD_FIELD; result++) {
        const char *text = logline_explain((enum logline_result)result, &fields, buffer, 160);
        assert_string_not_equal(text, "unknown");
        assert_int_equal(strstr(text, "'who'") != NULL, result >= LOGLINE_UNKNOWN_FIELD);
        assert_int_equal(strstr(text, "'when'") != NULL, result == LOGLINE_NO_TIME);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_fields_of_clf),
        cmocka_unit_test(takes_nasty_clf),
        cmocka_unit_test(refuses_what_is_no_clf),
        cmocka_unit_test(bounds_a_line),
        cmocka_unit_test(takes_json),
        cmocka_unit_test(refuses_bad_json),
        cmocka_unit_test(reads_times_of_clf),
        cmocka_unit_test(reads_times_of_rfc3339),
        cmocka_unit_test(reads_numbers_by_size),
        cmocka_unit_test(explains_each_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
