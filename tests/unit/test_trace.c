/* Trace contexts by the edges of their grammar; who is sampled; a ring that is full, and read
 * beside its writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>

#include "obs/trace.h"

static bool parse(const char *text, struct trace_context *context)
{
    return trace_parse(text, strlen(text), context);
}

static void test_contexts(void **state)
{
    static const char good[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    struct trace_context context;
    char bad[64];
    (void)state;
    assert_true(parse(good, &context));
    assert_true(context.is_there && context.is_sampled);
    assert_int_equal(context.trace_id[0], 0x4b);
    assert_int_equal(context.parent_id[7], 0xb7);
    for (size_t i = 0; i < sizeof(good) - 1; i++) { /* no place takes any other kind of byte */
        memcpy(bad, good, sizeof(good));
        bad[i] = good[i] == '-' ? '0' : 'G';
        assert_false(parse(bad, &context));
        bad[i] = '\0';
        assert_false(parse(bad, &context)); /* cut */
    }
    assert_false(parse("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", &context));
    assert_false(parse("00-00000000000000000000000000000000-00f067aa0ba902b7-01", &context));
    assert_false(parse("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", &context));
    assert_false(parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", &context));
    assert_false(parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00x", &context));
    assert_true(parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-x", &context));
    assert_false(context.is_sampled);
}

static void test_sampling(void **state)
{
    static struct trace_ring ring;
    const struct trace_context none = {.is_there = false}, no = {.is_there = true},
                               yes = {.is_there = true, .is_sampled = true};
    unsigned wanted = 0;
    (void)state;
    trace_init(&ring, 10, 1);
    for (unsigned i = 0; i < 1000; i++)
        wanted += trace_wants(&ring, &none);
    assert_int_equal(wanted, 100);
    assert_true(trace_wants(&ring, &yes));
    assert_false(trace_wants(&ring, &no));
    assert_false(trace_wants(NULL, &yes));
    trace_init(&ring, 0, 1);
    assert_false(trace_wants(&ring, &none));
    assert_true(trace_wants(&ring, &yes));
}

static void test_full(void **state)
{
    static struct trace_ring ring;
    const struct trace_context none = {.is_there = false};
    struct trace_span span;
    (void)state;
    trace_init(&ring, 1, 1);
    for (unsigned i = 0; i < TRACE_SPANS; i++) {
        assert_non_null(trace_begin(&ring, &none));
        trace_end(&ring);
    }
    assert_null(trace_begin(&ring, &none));
    assert_int_equal(trace_dropped(&ring), 1);
    assert_true(trace_take(&ring, &span));
    assert_non_null(trace_begin(&ring, &none));
    assert_memory_not_equal(span.span_id, span.parent_id, 8); /* an id, and no parent */
    assert_false(span.has_parent);
}

#define SENT 200000u

static void *write_spans(void *argument)
{
    struct trace_ring *ring = argument;
    const struct trace_context none = {.is_there = false};
    for (uint32_t i = 0; i < SENT; i++) {
        struct trace_span *span = trace_begin(ring, &none);
        if (!span)
            continue;
        span->cost = i;
        span->remaining = ~i;
        trace_end(ring);
    }
    return NULL;
}

/* Every span comes whole and in order; what does not come is counted. */
static void test_beside(void **state)
{
    static struct trace_ring ring;
    struct trace_span span;
    pthread_t thread;
    uint64_t got = 0;
    uint32_t next = 0;
    bool is_over = false;
    (void)state;
    trace_init(&ring, 1, 1);
    assert_int_equal(pthread_create(&thread, NULL, write_spans, &ring), 0);
    while (!is_over || got + trace_dropped(&ring) < SENT) {
        if (!trace_take(&ring, &span)) {
            if (!is_over && pthread_tryjoin_np(thread, NULL) == 0)
                is_over = true;
            continue;
        }
        assert_true(span.cost >= next);
        assert_int_equal(span.remaining, ~span.cost);
        next = span.cost + 1;
        got++;
    }
    assert_int_equal(got + trace_dropped(&ring), SENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_beside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
