/* HTTP requests as tables: bytes, and what they are. Each is also cut after every byte: half a
 * request is never taken for a whole one, and what is refused whole is never accepted in part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "doors/http_parse.h"

#define HOST "Host: h\r\n"

static const struct {
    const char *bytes;
    unsigned status; /* 0: whole */
} REQUESTS[] = {
    {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0},
    {"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 0},
    {"GET / HTTP/1.0\r\n\r\n", 0},
    {"POST /check HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", 0},
    {"GET http://h:80/check?rule=a HTTP/1.1\r\nHost: h\r\n\r\n", 0},
    {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\nHost: h\r\nX: a\tb \xc3\xa9 \t\r\n\r\n", 0},
    {"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", 0},
    {"GET / HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.1\nHost: h\n\n", 400},
    {"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: h\r\n\tfolded: x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n: h\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: h\r\nX: a\x01\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: h\r\nX: a\x7f\r\n\r\n", 400},
    {"GET /\x80 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    {"GET /#a HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    {"GET check HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    {"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    {"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    {"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400},
    {"G(T / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    {"/ HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    {"garbage\r\n\r\n", 400},
    {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505},
    {"GET / HTTQ/1.1\r\nHost: h\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\ncontent-length: 3\r\n\r\n{}", 400},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2, 2\r\n\r\n{}", 400},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +2\r\n\r\n{}", 400},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -2\r\n\r\n{}", 400},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x2\r\n\r\n{}", 400},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\n{}", 400},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8193\r\n\r\n", 413},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551617\r\n\r\n", 413},
    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411},
    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
     400},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
     400},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
};

/* Parses from memory that ends where the bytes do, so that a read beyond is seen. */
static enum http_parsed parse(const char *bytes, size_t len, struct http_request *request,
                              size_t *used)
{
    char *copy = malloc(len ? len : 1);
    memcpy(copy, bytes, len);
    enum http_parsed parsed = http_parse(copy, len, request, used);
    free(copy);
    return parsed;
}

static void test_table(void **state)
{
    struct http_request request;
    (void)state;
    for (size_t i = 0; i < sizeof(REQUESTS) / sizeof(REQUESTS[0]); i++) {
        const char *bytes = REQUESTS[i].bytes;
        const size_t len = strlen(bytes);
        size_t used = 0;
        enum http_parsed parsed = parse(bytes, len, &request, &used);
        if (parsed != (REQUESTS[i].status ? HTTP_REFUSED : HTTP_WHOLE) ||
            (REQUESTS[i].status && request.status != REQUESTS[i].status))
            fail_msg("%s: parsed %d, status %u", bytes, parsed, request.status);
        if (parsed == HTTP_WHOLE)
            assert_int_equal(used, len);
        for (size_t cut = 0; cut < len; cut++) {
            parsed = parse(bytes, cut, &request, &used);
            if (parsed == HTTP_WHOLE)
                fail_msg("%s: whole after %zu bytes", bytes, cut);
            if (parsed == HTTP_REFUSED && !REQUESTS[i].status && request.status != 417)
                fail_msg("%s: %s after %zu bytes", bytes, request.why, cut);
        }
    }
}

static void test_parts(void **state)
{
    static const char bytes[] = "POST http://h/check?rule=a&x HTTP/1.1\r\nHOST:h\r\n"
                                "X-Api-Key:\t k \r\nContent-Length: 3\r\n\r\nabcGET";
    struct http_request request;
    struct http_text value;
    size_t used;
    (void)state;
    assert_int_equal(http_parse(bytes, sizeof(bytes) - 1, &request, &used), HTTP_WHOLE);
    assert_int_equal(used, sizeof(bytes) - 1 - 3);
    assert_true(http_is(request.method, "POST") && http_is(request.path, "/check"));
    assert_true(http_is(request.query, "rule=a&x") && http_is(request.body, "abc"));
    assert_int_equal(http_find(&request, "x-api-key", &value), HTTP_FOUND);
    assert_true(http_is(value, "k") && request.keeps_alive);
    assert_int_equal(http_find(&request, "x-none", &value), HTTP_ABSENT);
}

static bool keeps(const char *bytes)
{
    struct http_request request;
    size_t used;
    assert_int_equal(http_parse(bytes, strlen(bytes), &request, &used), HTTP_WHOLE);
    return request.keeps_alive;
}

static void test_keep_alive(void **state)
{
    (void)state;
    assert_true(keeps("GET / HTTP/1.1\r\n" HOST "\r\n"));
    assert_false(keeps("GET / HTTP/1.1\r\n" HOST "Connection: x, Close\r\n\r\n"));
    assert_false(keeps("GET / HTTP/1.0\r\n\r\n"));
    assert_true(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
}

/* One more of anything than may be. */
static void test_limits(void **state)
{
    static char bytes[HTTP_MAX_REQUEST + 100];
    struct http_request request;
    size_t used;
    (void)state;
    memset(bytes, 'a', sizeof(bytes));
    memcpy(bytes, "GET /", 5);
    assert_int_equal(http_parse(bytes, HTTP_MAX_HEAD - 1, &request, &used), HTTP_MORE);
    assert_int_equal(http_parse(bytes, HTTP_MAX_HEAD, &request, &used), HTTP_REFUSED);
    assert_int_equal(request.status, 414);
    memcpy(bytes, "GET / HTTP/1.1\r\nX: ", 19);
    assert_int_equal(http_parse(bytes, HTTP_MAX_HEAD - 1, &request, &used), HTTP_MORE);
    assert_int_equal(http_parse(bytes, sizeof(bytes), &request, &used), HTTP_REFUSED);
    assert_int_equal(request.status, 431);
    for (unsigned count = HTTP_MAX_HEADERS; count <= HTTP_MAX_HEADERS + 1; count++) {
        size_t len = (size_t)snprintf(bytes, sizeof(bytes), "GET / HTTP/1.1\r\n" HOST);
        for (unsigned i = 1; i < count; i++)
            len += (size_t)snprintf(bytes + len, sizeof(bytes) - len, "a: b\r\n");
        memcpy(bytes + len, "\r\n", 2);
        assert_int_equal(http_parse(bytes, len + 2, &request, &used),
                         count > HTTP_MAX_HEADERS ? HTTP_REFUSED : HTTP_WHOLE);
    }
    assert_int_equal(request.status, 431);
}

static void test_nul(void **state)
{
    static const char bytes[] = "GET /\0 HTTP/1.1\r\n" HOST "\r\n";
    struct http_request request;
    size_t used;
    (void)state;
    assert_int_equal(http_parse(bytes, sizeof(bytes) - 1, &request, &used), HTTP_REFUSED);
    assert_int_equal(request.status, 400);
}

static void test_query(void **state)
{
    struct http_text query = {"a=1&&b&=c&d=%41+%2b", 20}, name, value;
    char bytes[8];
    (void)state;
    query.len = strlen(query.at);
    assert_true(http_next_parameter(&query, &name, &value));
    assert_true(http_is(name, "a") && http_is(value, "1"));
    assert_true(http_next_parameter(&query, &name, &value));
    assert_true(http_is(name, "b") && http_is(value, ""));
    assert_true(http_next_parameter(&query, &name, &value));
    assert_true(http_is(name, "") && http_is(value, "c"));
    assert_true(http_next_parameter(&query, &name, &value));
    assert_int_equal(http_decode(value, bytes, sizeof(bytes)), 3);
    assert_memory_equal(bytes, "A +", 3);
    assert_false(http_next_parameter(&query, &name, &value));
    static const char *const bad[] = {"%", "%4", "%g0", "%0g", "abcdefghi", "a%"};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(
            http_decode((struct http_text){bad[i], strlen(bad[i])}, bytes, sizeof(bytes)), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),  cmocka_unit_test(test_parts),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_nul),    cmocka_unit_test(test_query),
    };
    return cmocka_run_group_tests_name("http_parse", tests, NULL, NULL);
}
