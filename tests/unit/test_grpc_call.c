/* A gRPC call out of its pieces: headers by tables, messages cut after every byte, timeouts and
 * trace contexts by the edges of their grammars. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "doors/grpc_call.h"

static struct grpc_text text(const char *string)
{
    return (struct grpc_text){string, strlen(string)};
}

static void test_timeouts(void **state)
{
    static const struct {
        const char *text;
        uint64_t ns; /* UINT64_MAX: none */
    } cases[] = {
        {"1n", 1},
        {"99999999n", 99999999},
        {"3u", 3000},
        {"1m", 1000000},
        {"2S", 2000000000},
        {"1M", 60000000000},
        {"1H", 3600ull * 1000000000},
        {"99999999H", UINT64_MAX - 1},
        {"0S", 0},
        {"00000001S", 1000000000},
        {"", UINT64_MAX},
        {"S", UINT64_MAX},
        {"1", UINT64_MAX},
        {"100000000S", UINT64_MAX},
        {"1s", UINT64_MAX},
        {"-1S", UINT64_MAX},
        {"+1S", UINT64_MAX},
        {"1 S", UINT64_MAX},
        {"1.0S", UINT64_MAX},
        {"1S ", UINT64_MAX},
        {"1h", UINT64_MAX},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t ns = 7;
        const bool is_good = grpc_parse_timeout(text(cases[i].text), &ns);
        assert_int_equal(is_good, cases[i].ns != UINT64_MAX);
        assert_int_equal(ns, is_good ? cases[i].ns : 7);
    }
}

static void test_traces(void **state)
{
    static const char good[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    static struct grpc_call call;
    char bad[64];
    (void)state;
    grpc_call_init(&call, 1);
    assert_true(grpc_parse_trace(text(good), &call));
    assert_true(call.has_trace && call.is_sampled);
    assert_int_equal(call.trace_id[0], 0x4b);
    assert_int_equal(call.parent_id[7], 0xb7);
    for (size_t i = 0; i < sizeof(good) - 1; i++) { /* no place takes any other kind of byte */
        memcpy(bad, good, sizeof(good));
        bad[i] = good[i] == '-' ? '0' : 'G';
        assert_false(grpc_parse_trace(text(bad), &call));
        bad[i] = '\0';
        assert_false(grpc_parse_trace(text(bad), &call)); /* cut */
    }
    assert_false(
        grpc_parse_trace(text("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), &call));
    assert_false(
        grpc_parse_trace(text("00-00000000000000000000000000000000-00f067aa0ba902b7-01"), &call));
    assert_false(
        grpc_parse_trace(text("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"), &call));
    assert_true(grpc_parse_trace(text("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-x"),
                                 &call)); /* of a later version */
    assert_false(call.is_sampled);
}

/* Three messages and their end, in parts of every length. */
static void test_pieces(void **state)
{
    static const uint8_t bytes[] = "\0\0\0\0\3abc\0\0\0\0\0\0\0\0\0\2de";
    static const char *const wanted[] = {"abc", "", "de"};
    static struct grpc_call call;
    (void)state;
    for (size_t part = 1; part < sizeof(bytes); part++) {
        unsigned found = 0;
        grpc_call_init(&call, 1);
        for (size_t at = 0; at < sizeof(bytes) - 1; at += part) {
            const uint8_t *from = bytes + at;
            size_t len = sizeof(bytes) - 1 - at < part ? sizeof(bytes) - 1 - at : part;
            while (grpc_call_take_data(&call, &from, &len)) {
                assert_int_equal(call.in.len, strlen(wanted[found]));
                assert_memory_equal(call.in.bytes, wanted[found], call.in.len);
                found++;
            }
            assert_int_equal(len, 0);
        }
        grpc_call_end(&call);
        assert_null(call.why);
        assert_int_equal(found, 3);
        assert_int_equal(call.message_count, 3);
        grpc_call_deinit(&call);
    }
}

static void test_bad_messages(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        int status; /* after the end */
    } cases[] = {{"\0\0\0\0", 4, GRPC_INTERNAL},
                 {"\0\0\0\0\2x", 6, GRPC_INTERNAL},
                 {"\1\0\0\0\1x", 6, GRPC_INTERNAL},
                 {"\2\0\0\0\1x", 6, GRPC_INTERNAL},
                 {"\0\0\0\x40\1", 5, GRPC_RESOURCE_EXHAUSTED},
                 {"\0\xff\xff\xff\xff", 5, GRPC_RESOURCE_EXHAUSTED}};
    static struct grpc_call call;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const uint8_t *bytes = (const uint8_t *)cases[i].bytes;
        size_t len = cases[i].len;
        grpc_call_init(&call, 1);
        assert_int_equal(grpc_call_take_data(&call, &bytes, &len), 0);
        grpc_call_end(&call);
        assert_non_null(call.why);
        assert_int_equal(call.status, cases[i].status);
        grpc_call_deinit(&call);
    }
}

/* The largest message fits, and answers grow up to their bound and no further. */
static void test_sizes(void **state)
{
    static struct grpc_call call;
    static uint8_t bytes[5 + GRPC_MAX_MESSAGE] = {0, 0, 0, 0x40, 0};
    const uint8_t *from = bytes;
    size_t len = sizeof(bytes);
    uint32_t put = 0;
    (void)state;
    grpc_call_init(&call, 1);
    assert_int_equal(grpc_call_take_data(&call, &from, &len), 1);
    assert_int_equal(call.in.len, GRPC_MAX_MESSAGE);
    while (grpc_call_put(&call, 1000))
        put++;
    assert_int_equal(put, GRPC_MAX_OUT / 1005);
    assert_int_equal(call.out.bytes[3], 1000 >> 8);
    call.out_sent = call.out.len; /* all is sent: room again */
    assert_non_null(grpc_call_put(&call, 1000));
    assert_int_equal(call.out.len, 1005);
    grpc_call_deinit(&call);
}

static void test_headers(void **state)
{
    static const struct {
        const char *name, *value;
        int status; /* GRPC_OK: nothing is wrong */
        int http;
    } cases[] = {
        {"x", "y", GRPC_OK, 200},
        {":method", "GET", GRPC_UNKNOWN, 405},
        {"content-type", "application/grpc", GRPC_UNKNOWN, 415}, /* twice */
        {":path", "/mete.v1.Limiter/check", GRPC_UNIMPLEMENTED, 200},
        {"grpc-encoding", "gzip", GRPC_UNIMPLEMENTED, 200},
        {"grpc-encoding", "identity", GRPC_OK, 200},
        {"grpc-timeout", "x", GRPC_INVALID_ARGUMENT, 200},
        {"grpc-timeout", "0S", GRPC_DEADLINE_EXCEEDED, 200},
        {"authorization", "Basic x", GRPC_UNAUTHENTICATED, 200},
        {"authorization", "Bearer ", GRPC_UNAUTHENTICATED, 200},
        {"x-api-key", "", GRPC_UNAUTHENTICATED, 200},
    };
    static struct grpc_call call;
    struct grpc_text key;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        grpc_call_init(&call, 1);
        grpc_call_take_header(&call, text(":method"), text("POST"), &key);
        grpc_call_take_header(&call, text(":path"), text("/mete.v1.Limiter/Check"), &key);
        grpc_call_take_header(&call, text("content-type"), text("application/grpc"), &key);
        assert_true(grpc_call_take_header(&call, text(cases[i].name), text(cases[i].value), &key));
        grpc_call_judge_headers(&call);
        assert_int_equal(call.why ? call.status : GRPC_OK, cases[i].status);
        assert_int_equal(call.http_status, cases[i].http);
        grpc_call_deinit(&call);
    }
    grpc_call_init(&call, 1);
    assert_false(grpc_call_take_header(&call, text("authorization"), text("Bearer k"), &key));
    assert_int_equal(key.len, 1);
    assert_true(call.has_key);
    grpc_call_take_header(&call, text("x-api-key"), text("k"), &key);
    assert_true(call.is_bad_key); /* which one would it be? */
    grpc_call_deinit(&call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timeouts), cmocka_unit_test(test_traces),
        cmocka_unit_test(test_pieces),   cmocka_unit_test(test_bad_messages),
        cmocka_unit_test(test_sizes),    cmocka_unit_test(test_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
