/* Log lines: their form, whatever a message holds, and how many of a kind pass. */
#include "obs/log.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define WALL_NS (1700000000ull * 1000000000u + 123456789u) /* 2023-11-14T22:13:20.123Z */
#define SECOND 1000000000ull

static char line[LOG_LINE_BYTES];
static const char first_kind, second_kind;

static unsigned render(const void *kind, const char *text, uint64_t boot_ns)
{
    const struct log_message message = {LOG_WARNING, "test", kind, text};
    const struct log_time now = {.boot_ns = boot_ns, .wall_ns = WALL_NS};
    memset(line, 'x', sizeof(line));
    const unsigned len = log_render(&message, &now, line);
    line[len] = '\0';
    return len;
}

/* Each call a time of its own, so that none is left out. */
static const char *rendered(const char *text)
{
    static uint64_t now_ns;
    now_ns += 100 * SECOND;
    assert_true(render(&first_kind, text, now_ns) > 0);
    return line;
}

static void assert_json(const char *text, const char *expected)
{
    json_error_t error;
    json_t *root = json_loads(rendered(text), 0, &error);
    if (!root)
        fail_msg("%s: %s", error.text, line);
    assert_string_equal(json_string_value(json_object_get(root, "message")), expected);
    assert_string_equal(json_string_value(json_object_get(root, "level")), "warning");
    assert_string_equal(json_string_value(json_object_get(root, "event")), "test");
    assert_string_equal(json_string_value(json_object_get(root, "time")),
                        "2023-11-14T22:13:20.123Z");
    json_decref(root);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void test_text(void **state)
{
    (void)state;
    log_set_form(LOG_TEXT);
    assert_string_equal(rendered("plain \"text\" \\"), "mete: plain \"text\" \\\n");
    assert_string_equal(rendered("two\nlines\x1b[2J\x7f"), "mete: two\\x0alines\\x1b[2J\\x7f\n");
    assert_string_equal(rendered("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80"),
                        "mete: gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80\n");
    assert_string_equal(rendered("\xff|\xc3|\xc0\x80|\xed\xa0\x80"),
                        "mete: \xef\xbf\xbd|\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd|"
                        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\n");
}

static void test_json(void **state)
{
    (void)state;
    log_set_form(LOG_JSON);
    assert_json("plain", "plain");
    assert_json("a \"quote\" and \\", "a \"quote\" and \\");
    assert_json("two\nlines\t\x1b[2J", "two\nlines\t\x1b[2J");
    assert_json("\xff\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    assert_json("\xe2\x82\xac", "\xe2\x82\xac");
}

/* However long: one line, in JSON a whole one. */
static void test_long_messages(void **state)
{
    (void)state;
    static char text[3 * LOG_LINE_BYTES];
    memset(text, '\x01', sizeof(text) - 1);
    log_set_form(LOG_TEXT);
    rendered(text);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    log_set_form(LOG_JSON);
    json_t *root = json_loads(rendered(text), 0, NULL);
    assert_non_null(root);
    json_decref(root);
}

static void test_limits(void **state)
{
    (void)state;
    const uint64_t start_ns = 1000000 * SECOND;
    log_set_form(LOG_TEXT);
    unsigned passed = 0;
    for (unsigned i = 0; i < 100; i++)
        passed += render(&second_kind, "again", start_ns + i) > 0;
    assert_int_equal(passed, LOG_BURST);
    assert_true(render(&first_kind, "another kind", start_ns) > 0);
    assert_int_equal(render(&second_kind, "again", start_ns + SECOND / 2), 0);
    assert_true(render(&second_kind, "again", start_ns + SECOND) > 0);
    assert_string_equal(line, "mete: again; left out before it: 81 like it\n");
    assert_int_equal(render(&second_kind, "again", start_ns + SECOND + 1), 0);
    log_set_form(LOG_JSON);
    assert_true(render(&second_kind, "again", start_ns + 2 * SECOND) > 0);
    assert_non_null(strstr(line, "\"message\":\"again\",\"left_out\":1}\n"));
    log_set_form(LOG_TEXT);
    assert_true(render(&second_kind, "again", start_ns + 100 * SECOND) > 0);
    assert_string_equal(line, "mete: again\n");
}

/* More kinds than are told apart share the last bucket: fewer lines, none too many. */
static void test_many_kinds(void **state)
{
    (void)state;
    static const char kinds[1000];
    const uint64_t start_ns = 2000000 * SECOND;
    unsigned passed = 0;
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < sizeof(kinds); i++)
            passed += render(&kinds[i], "some kind", start_ns) > 0;
    assert_in_range(passed, LOG_BURST, 3 * 64 + LOG_BURST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),          cmocka_unit_test(test_json),
        cmocka_unit_test(test_long_messages), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
