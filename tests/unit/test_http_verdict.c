/* Verdicts as headers and JSON, and the buffer behind them: waits round up, a full buffer is said
 * to be full, bytes that are no UTF-8 become none that break the reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "doors/http_verdict.h"

#define SEC 1000000000ull

static char bytes[1024];

static struct http_out make(size_t size)
{
    return (struct http_out){.bytes = bytes, .size = size};
}

static void expect(const struct http_out *out, const char *text)
{
    assert_false(out->has_overflown);
    assert_int_equal(out->len, strlen(text));
    assert_memory_equal(out->bytes, text, out->len);
}

static void test_seconds(void **state)
{
    static const uint64_t table[][2] = {{0, 0},   {1, 1},       {SEC - 1, 1},
                                        {SEC, 1}, {SEC + 1, 2}, {UINT64_MAX - 1, 18446744074ull}};
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        assert_int_equal(http_seconds(table[i][0]), table[i][1]);
}

static struct rule rule_of(enum algorithm algorithm, uint64_t count, uint64_t period_ns,
                           uint64_t burst)
{
    return (struct rule){
        .name = (char *)(uintptr_t) "api[user:42]",
        .limit = {.burst = (uint32_t)(burst ? burst : count), .algorithm = algorithm},
        .spec = {algorithm, count, period_ns, burst},
    };
}

static void test_headers(void **state)
{
    const struct rule bucket = rule_of(ALGORITHM_TOKEN_BUCKET, 2, SEC, 10);
    const struct rule slow = rule_of(ALGORITHM_TOKEN_BUCKET, 3, SEC, 10);
    const struct rule window = rule_of(ALGORITHM_FIXED_WINDOW, 5, 90 * SEC + 1, 0);
    const struct rule calendar = rule_of(ALGORITHM_CALENDAR, 5, 0, 0);
    const struct rule open = rule_of(ALGORITHM_UNLIMITED, 0, 0, 0);
    const struct {
        const struct rule *rule;
        struct answer answer;
        const char *text;
    } table[] = {
        {&bucket,
         {.flags = METE_VERDICT_ALLOW, .remaining = 9, .reset_after_ns = SEC / 2},
         "X-RateLimit-Limit: 10\r\nX-RateLimit-Remaining: 9\r\nX-RateLimit-Reset: 1\r\n"
         "RateLimit-Policy: \"api\";q=10;w=5\r\nRateLimit: \"api\";r=9;t=1\r\n"},
        {&slow,
         {.retry_after_ns = SEC + 1, .reset_after_ns = 4 * SEC},
         "X-RateLimit-Limit: 10\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 4\r\n"
         "RateLimit-Policy: \"api\";q=10;w=4\r\nRateLimit: \"api\";r=0;t=4\r\n"
         "Retry-After: 2\r\n"},
        {&window,
         {.retry_after_ns = NEVER, .remaining = 5},
         "X-RateLimit-Limit: 5\r\nX-RateLimit-Remaining: 5\r\nX-RateLimit-Reset: 0\r\n"
         "RateLimit-Policy: \"api\";q=5;w=91\r\nRateLimit: \"api\";r=5;t=0\r\n"},
        {&calendar,
         {.flags = METE_VERDICT_ALLOW, .remaining = 4, .reset_after_ns = SEC},
         "X-RateLimit-Limit: 5\r\nX-RateLimit-Remaining: 4\r\nX-RateLimit-Reset: 1\r\n"
         "RateLimit-Policy: \"api\";q=5\r\nRateLimit: \"api\";r=4;t=1\r\n"},
        {&open, {.flags = METE_VERDICT_ALLOW, .remaining = UINT32_MAX}, ""},
        {&bucket, {.status = METE_STATUS_TABLE_FULL}, ""},
        {NULL, {.status = METE_STATUS_UNKNOWN_RULE}, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct check check = {.rule = table[i].rule};
        struct http_out out = make(sizeof(bytes));
        http_put_headers(&out, CONFIG_HEADERS_ALL, &check, &table[i].answer);
        expect(&out, table[i].text);
    }
}

static void test_members(void **state)
{
    const struct rule bucket = rule_of(ALGORITHM_TOKEN_BUCKET, 2, SEC, 10);
    const struct check check = {.rule = &bucket};
    (void)state;
    struct http_out out = make(sizeof(bytes));
    http_put_verdict(&out, &check,
                     &(struct answer){.retry_after_ns = 1001, .reset_after_ns = NEVER});
    expect(&out, "{\"allowed\":false,\"limit\":10,\"remaining\":0,\"granted\":0,"
                 "\"retry_after_us\":2,\"delay_us\":0,\"reset_after_us\":null}");
    out = make(sizeof(bytes));
    http_put_verdict(&out, &check,
                     &(struct answer){.flags = METE_VERDICT_ALLOW | METE_VERDICT_DELAY,
                                      .granted = 1,
                                      .retry_after_ns = SEC});
    expect(&out, "{\"allowed\":true,\"limit\":10,\"remaining\":0,\"granted\":1,"
                 "\"retry_after_us\":0,\"delay_us\":1000000,\"reset_after_us\":0}");
    out = make(sizeof(bytes));
    http_put_verdict(&out, &check, &(struct answer){.status = METE_STATUS_TABLE_FULL});
    expect(&out, "{\"allowed\":false,\"undecided\":\"table_full\"}");
}

static void test_json_text(void **state)
{
    static const char *const table[][2] = {
        {"a\"\\/\n\x01\x7f", "\"a\\\"\\\\/\\u000a\\u0001\\u007f\""},
        {"\xc3\xa9\xf0\x9f\x98\x80", "\"\xc3\xa9\xf0\x9f\x98\x80\""},
        {"\xff", "\"\\ufffd\""},
        {"\xc3", "\"\\ufffd\""},
        {"\xc0\xaf", "\"\\ufffd\\ufffd\""},
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct http_out out = make(sizeof(bytes));
        http_put_json(&out, table[i][0], strlen(table[i][0]));
        expect(&out, table[i][1]);
    }
}

static void test_full(void **state)
{
    (void)state;
    struct http_out out = make(4);
    http_put(&out, "abcd", 4);
    expect(&out, "abcd");
    http_put(&out, "e", 1);
    assert_true(out.has_overflown && out.len == 4);
    out = make(4);
    http_print(&out, "%s", "abcd"); /* its end needs room, too */
    assert_true(out.has_overflown && out.len == 0);
    http_put(&out, "a", 1);
    assert_int_equal(out.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seconds),   cmocka_unit_test(test_headers),
        cmocka_unit_test(test_members),   cmocka_unit_test(test_full),
        cmocka_unit_test(test_json_text),
    };
    return cmocka_run_group_tests_name("http_verdict", tests, NULL, NULL);
}
