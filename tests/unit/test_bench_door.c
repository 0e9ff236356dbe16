/* What the load hears from a door: every answer whole or cut anywhere, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "cmd/bench.h"
#include "cmd/bench_door.h"

#define OK METE_STATUS_OK
#define OTHER METE_STATUS_COUNT

static const struct door_words rule = {.rule = "demo", .cost = 1};
static const struct door_words cell = {.ask = "CL.THROTTLE {} 1 1 1"};
static const struct door_words get = {.ask = "GET {}"};
static const struct door_words page = {.ask = "/x?{}"};

struct heard {
    const struct door_words *words;
    const char *text;
    enum door_heard heard;
    uint8_t status;
    bool is_allowed;
    uint32_t remaining;
};

static void check(const struct bench_door *door, const struct heard *want)
{
    const size_t len = strlen(want->text);
    struct door_answer answer;
    uint8_t bytes[512];
    size_t used = 0;
    memcpy(bytes, want->text, len);
    memcpy(bytes + len, "*1\r\n", 4); /* the next one begins */
    assert_int_equal(door->hear(want->words, bytes, len + 4, &used, &answer), want->heard);
    if (want->heard != DOOR_WHOLE)
        return;
    assert_int_equal(used, len);
    assert_int_equal(answer.status, want->status);
    assert_int_equal(answer.is_allowed, want->is_allowed);
    assert_int_equal(answer.remaining, want->remaining);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(door->hear(want->words, bytes, cut, &used, &answer), DOOR_HALF);
}

static void resp_answers(void **state)
{
    static const struct heard table[] = {
        {&rule, "*5\r\n:1\r\n:9\r\n:0\r\n:500\r\n$2\r\nok\r\n", DOOR_WHOLE, OK, true, 9},
        {&rule, "*5\r\n:0\r\n:0\r\n:-1\r\n:500\r\n$2\r\nok\r\n", DOOR_WHOLE, OK, false, 0},
        {&rule, "*5\r\n:0\r\n:0\r\n:0\r\n:0\r\n$12\r\nunknown_rule\r\n", DOOR_WHOLE,
         METE_STATUS_UNKNOWN_RULE, false, 0},
        {&rule, "-LIMITED too much\r\n", DOOR_WHOLE, METE_STATUS_LIMITED, false, 0},
        {&rule, "-ERR what\r\n", DOOR_WHOLE, OTHER, false, 0},
        {&rule, "*4\r\n:0\r\n:0\r\n:0\r\n:0\r\n", DOOR_BROKEN, 0, false, 0},
        {&rule, "*9\r\n", DOOR_BROKEN, 0, false, 0},
        {&rule, "*x\r\n", DOOR_BROKEN, 0, false, 0},
        {&rule, "HTTP/1.1 200 OK\r\n", DOOR_BROKEN, 0, false, 0},
        {&cell, "*5\r\n:0\r\n:2\r\n:1\r\n:-1\r\n:1\r\n", DOOR_WHOLE, OK, true, 0},
        {&cell, "*5\r\n:1\r\n:2\r\n:0\r\n:1\r\n:2\r\n", DOOR_WHOLE, OK, false, 0},
        {&get, "$-1\r\n", DOOR_WHOLE, OK, true, 0},
        {&get, "$3\r\na\r\n\r\n", DOOR_WHOLE, OK, true, 0},
        {&get, "+PONG\r\n", DOOR_WHOLE, OK, true, 0},
        {&get, ":7\r\n", DOOR_WHOLE, OK, true, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        check(&bench_door_resp, &table[i]);
}

static void http_answers(void **state)
{
    static const struct heard table[] = {
        {&rule,
         "HTTP/1.1 200 OK\r\nX-RateLimit-Remaining: 9\r\nX-RateLimit-Reset: 2\r\n"
         "Content-Length: 0\r\n\r\n",
         DOOR_WHOLE, OK, true, 9},
        {&rule, "HTTP/1.1 429 No\r\nx-ratelimit-remaining: 0\r\ncontent-length: 2\r\n\r\n{}",
         DOOR_WHOLE, OK, false, 0},
        {&rule, "HTTP/1.1 429 No\r\nContent-Length: 2\r\n\r\n{}", DOOR_WHOLE, METE_STATUS_LIMITED,
         false, UINT32_MAX},
        {&rule, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", DOOR_WHOLE,
         METE_STATUS_UNKNOWN_RULE, false, UINT32_MAX},
        {&rule, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", DOOR_WHOLE, OTHER, false,
         UINT32_MAX},
        {&page, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", DOOR_WHOLE, OK, true,
         UINT32_MAX},
        {&page, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", DOOR_WHOLE, OK, false, UINT32_MAX},
        {&page, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", DOOR_BROKEN, 0, false, 0},
        {&page, "+PONG 345678901\r\n\r\n", DOOR_BROKEN, 0, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        check(&bench_door_http, &table[i]);
}

static void asks(const struct bench_door *door, const struct door_words *words, const char *want)
{
    struct door_request request;
    assert_true(door->ask(words, &request));
    assert_int_equal(request.len, strlen(want));
    assert_memory_equal(request.bytes, want, request.len);
    assert_memory_equal(request.bytes + request.subject_at, "----------------", DOOR_SUBJECT_BYTES);
}

static void requests(void **state)
{
    const struct door_words more = {.rule = "demo", .cost = 3, .key = "k"};
    const struct door_words inside = {.ask = " GET  k:{}:x "}, none = {.ask = "PING"};
    char long_rule[DOOR_REQUEST_BYTES];
    const struct door_words too_long = {.rule = long_rule, .cost = 1};
    struct door_request request;
    (void)state;
    asks(&bench_door_resp, &rule,
         "*3\r\n$10\r\nMETE.CHECK\r\n$4\r\ndemo\r\n$16\r\n----------------\r\n");
    asks(&bench_door_resp, &more,
         "*4\r\n$10\r\nMETE.CHECK\r\n$4\r\ndemo\r\n$16\r\n----------------\r\n$1\r\n3\r\n");
    asks(&bench_door_resp, &inside, "*2\r\n$3\r\nGET\r\n$20\r\nk:----------------:x\r\n");
    asks(&bench_door_http, &more,
         "GET /check?rule=demo&subject=----------------&cost=3 HTTP/1.1\r\nHost: bench\r\n"
         "X-Api-Key: k\r\n\r\n");
    assert_true(bench_door_resp.ask(&none, &request) && request.subject_at == 0);
    assert_true(bench_door_resp.begin(&more, &request) && request.len > 0);
    assert_true(bench_door_http.begin(&more, &request) && request.len == 0);
    memset(long_rule, 'x', sizeof(long_rule) - 1);
    long_rule[sizeof(long_rule) - 1] = 0;
    assert_false(bench_door_resp.ask(&too_long, &request));
    assert_false(bench_door_http.ask(&too_long, &request));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resp_answers),
        cmocka_unit_test(http_answers),
        cmocka_unit_test(requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
