/* The repeat set by tables of instants: what is fresh, known, open, stale; what a full bucket
 * forgets and what it says then; long decisions; wrapped clocks. Two threads at once: tests/race.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/repeat.h"

#define W 200u
#define AHEAD 20u
#define NOW 1000000u

struct fixture {
    struct repeat_set set;
    void *memory;
};

static void set_make(struct fixture *fixture, size_t buckets)
{
    size_t size = buckets * REPEAT_BUCKET_BYTES;

    fixture->memory = aligned_alloc(REPEAT_BUCKET_BYTES, size);
    assert_non_null(fixture->memory);
    memset(fixture->memory, 0, size);
    struct repeat_options options = {.memory = fixture->memory,
                                     .size = size,
                                     .window_ms = W,
                                     .ahead_ms = AHEAD,
                                     .now_ms = NOW,
                                     .secret = {0x1234567887654321, 0x55aa55aa12344321}};

    assert_int_equal(repeat_init(&fixture->set, &options), 0);
}

static enum repeat_result ask(struct fixture *fixture, struct repeat_claim *claim)
{
    uint64_t bits[REPEAT_WORDS] = {0};

    if (!claim->bit_count)
        claim->bit_count = 1;
    return repeat_claim(&fixture->set, claim, bits);
}

/* Claims and finishes as `allowed`; any result. */
static enum repeat_result charge(struct fixture *fixture, uint64_t tag, uint32_t sent_ms,
                                 uint32_t now_ms)
{
    struct repeat_claim claim = {.tag = tag, .sent_ms = sent_ms, .now_ms = now_ms};
    enum repeat_result result = ask(fixture, &claim);
    uint64_t allowed = 1;

    if (result == REPEAT_NEW)
        repeat_finish(&fixture->set, &claim, &allowed);
    return result;
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    struct repeat_set set;
    static char memory[4 * REPEAT_BUCKET_BYTES] __attribute__((aligned(REPEAT_BUCKET_BYTES)));
    const struct repeat_options good = {.memory = memory, .size = sizeof memory, .window_ms = W};
    struct repeat_options bad[6];

    assert_int_equal(repeat_init(&set, &good), 0);
    for (unsigned i = 0; i < 6; i++)
        bad[i] = good;
    bad[0].memory = NULL;
    bad[1].memory = memory + 8;
    bad[2].size = REPEAT_BUCKET_BYTES - 1;
    bad[3].window_ms = 0;
    bad[4].ahead_ms = REPEAT_MAX_SPAN_MS - W + 1;
    bad[5].window_ms = UINT32_MAX;
    for (unsigned i = 0; i < 6; i++)
        assert_true(repeat_init(&set, &bad[i]) < 0);
}

static void what_is_fresh(void **state)
{
    static const struct {
        uint32_t sent_ms, now_ms;
        bool is_fresh;
    } rows[] = {
        {0, 5, true},                     /* no stamp */
        {1000, 1000, true},               /* */
        {1000, 1000 + W, true},           /* */
        {1000, 1001 + W, false},          /* too old */
        {1000 + AHEAD, 1000, true},       /* */
        {1001 + AHEAD, 1000, false},      /* too far ahead */
        {UINT32_MAX, W - 1, true},        /* the clock wrapped between */
        {UINT32_MAX, W, false},           /* */
        {AHEAD - 1, UINT32_MAX, true},    /* the client's wrapped first */
        {AHEAD, UINT32_MAX, false},       /* */
        {1000, 1000 + 0x80000000, false}, /* as far away as can be */
    };
    struct fixture fixture;

    (void)state;
    set_make(&fixture, 1);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(repeat_is_fresh(&fixture.set, rows[i].sent_ms, rows[i].now_ms),
                         rows[i].is_fresh);
        assert_int_equal(charge(&fixture, 77 + i, rows[i].sent_ms, rows[i].now_ms) == REPEAT_STALE,
                         !rows[i].is_fresh);
        free(fixture.memory);
        set_make(&fixture, 1);
    }
    free(fixture.memory);
}

static void a_repeat_gets_the_same_decisions(void **state)
{
    static const uint32_t counts[] = {1, 2, 23, 24, 25, 48, 49, 64, 65, 75, 128, 2399, 2400};
    struct fixture fixture;

    (void)state;
    set_make(&fixture, 1024);
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct repeat_claim claim = {
            .tag = 1000 + i, .sent_ms = NOW, .now_ms = NOW, .bit_count = counts[i]};
        struct repeat_claim again = claim;
        uint64_t bits[REPEAT_WORDS], known[REPEAT_WORDS];
        uint64_t random = i + 1;

        for (unsigned word = 0; word < REPEAT_WORDS; word++)
            bits[word] = random = random * 6364136223846793005u + 1442695040888963407u;
        assert_int_equal(repeat_claim(&fixture.set, &claim, known), REPEAT_NEW);
        assert_int_equal(repeat_claim(&fixture.set, &again, known), REPEAT_OPEN);
        repeat_finish(&fixture.set, &claim, bits);
        again.now_ms += W;
        memset(known, 0xaa, sizeof known);
        assert_int_equal(repeat_claim(&fixture.set, &again, known), REPEAT_KNOWN);
        for (uint32_t bit = 0; bit < counts[i]; bit++)
            assert_int_equal(known[bit / 64] >> bit % 64 & 1, bits[bit / 64] >> bit % 64 & 1);
    }
    free(fixture.memory);
}

static void a_withdrawn_claim_is_new_again(void **state)
{
    struct fixture fixture;
    struct repeat_claim claim = {.tag = 5, .sent_ms = NOW, .now_ms = NOW};

    (void)state;
    set_make(&fixture, 1);
    for (unsigned i = 0; i < 10; i++) { /* and leaves the bucket as able as before */
        assert_int_equal(ask(&fixture, &claim), REPEAT_NEW);
        repeat_withdraw(&fixture.set, &claim);
    }
    assert_int_equal(charge(&fixture, 5, NOW, NOW), REPEAT_NEW);
    assert_int_equal(charge(&fixture, 5, NOW, NOW + 1), REPEAT_KNOWN);
    free(fixture.memory);
}

static void without_a_stamp_the_promise_is_one_window(void **state)
{
    struct fixture fixture;

    (void)state;
    set_make(&fixture, 1);
    assert_int_equal(charge(&fixture, 5, 0, NOW), REPEAT_NEW);
    assert_int_equal(charge(&fixture, 5, 0, NOW + W), REPEAT_KNOWN);
    assert_int_equal(charge(&fixture, 5, 0, NOW + W + 1), REPEAT_NEW);
    assert_int_equal(charge(&fixture, 5, 0, NOW + W + 2), REPEAT_KNOWN);
    free(fixture.memory);
}

static void a_full_bucket_forgets_the_oldest_and_says_so(void **state)
{
    struct fixture fixture;

    (void)state;
    set_make(&fixture, 1);
    for (uint32_t i = 0; i < 5; i++) /* tag 10 gives way to tag 14 */
        assert_int_equal(charge(&fixture, 10 + i, NOW + 30 * i, NOW + 30 * i), REPEAT_NEW);
    uint32_t now_ms = NOW + 121;

    assert_int_equal(charge(&fixture, 10, NOW, now_ms), REPEAT_STALE);
    for (uint32_t i = 1; i < 5; i++)
        assert_int_equal(charge(&fixture, 10 + i, NOW + 30 * i, now_ms), REPEAT_KNOWN);
    /* what arrived at NOW may have been stamped NOW + AHEAD at most */
    assert_int_equal(charge(&fixture, 20, NOW + AHEAD, now_ms), REPEAT_STALE);
    assert_int_equal(charge(&fixture, 20, NOW + AHEAD + 1, now_ms), REPEAT_NEW);
    /* tag 11, of NOW + 30, gave way; without a stamp that is one window */
    assert_int_equal(charge(&fixture, 21, 0, NOW + 30 + W), REPEAT_STALE);
    assert_int_equal(charge(&fixture, 21, 0, NOW + 31 + W), REPEAT_NEW);
    free(fixture.memory);
}

static void what_nobody_can_send_again_is_forgotten_in_silence(void **state)
{
    struct fixture fixture;

    (void)state;
    set_make(&fixture, 1);
    for (uint32_t i = 0; i < 1000;
         i++) { /* each place again after W + AHEAD + 1, as late as can be */
        uint32_t now_ms = NOW + i / 4 * (W + AHEAD + 1);

        assert_int_equal(charge(&fixture, 100 + i, i & 1 ? now_ms - W : 0, now_ms), REPEAT_NEW);
    }
    free(fixture.memory);
}

static void open_claims_are_never_forgotten(void **state)
{
    struct fixture fixture;
    struct repeat_claim claims[4];

    (void)state;
    set_make(&fixture, 1);
    for (uint32_t i = 0; i < 4; i++) {
        claims[i] = (struct repeat_claim){.tag = 10 + i, .sent_ms = NOW, .now_ms = NOW};
        assert_int_equal(ask(&fixture, &claims[i]), REPEAT_NEW);
    }
    assert_int_equal(charge(&fixture, 20, NOW + 1000, NOW + 1000), REPEAT_STALE); /* no room */
    for (uint32_t i = 0; i < 4; i++)
        i & 1 ? repeat_withdraw(&fixture.set, &claims[i])
              : repeat_finish(&fixture.set, &claims[i], &(uint64_t){0});
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(charge(&fixture, 10 + i, NOW, NOW + 10),
                         i & 1 ? REPEAT_NEW : REPEAT_KNOWN);
    free(fixture.memory);
}

static void another_workers_clock_may_be_ahead(void **state)
{
    struct fixture fixture;

    (void)state;
    set_make(&fixture, 1);
    assert_int_equal(charge(&fixture, 5, NOW, NOW + 100), REPEAT_NEW);
    assert_int_equal(charge(&fixture, 5, NOW, NOW + 60), REPEAT_KNOWN);
    for (uint32_t i = 0; i < 4; i++) /* forgets it, by a clock that is behind */
        charge(&fixture, 10 + i, NOW + 121 + i, NOW + 110 + i);
    assert_int_equal(charge(&fixture, 5, NOW, NOW + 60), REPEAT_STALE);
    free(fixture.memory);
}

static void the_sweep_clears_before_the_times_wrap(void **state)
{
    const uint32_t wrap_ms = 1u << 25, hour_ms = 3600 * 1000;
    struct fixture fixture;
    uint64_t cursor = 0;

    (void)state;
    set_make(&fixture, 3);
    for (uint64_t tag = 0; tag < 100; tag++)
        charge(&fixture, tag, NOW, NOW);
    repeat_sweep(&fixture.set, &cursor, 3, NOW + REPEAT_SWEEP_AFTER_MS); /* not yet */
    assert_int_equal(cursor, 0);
    for (uint64_t tag = 200; tag < 300; tag++) /* a wrap later they seem young */
        assert_int_equal(charge(&fixture, tag, NOW + wrap_ms, NOW + wrap_ms), REPEAT_STALE);
    repeat_sweep(&fixture.set, &cursor, 4, NOW + REPEAT_SWEEP_AFTER_MS + 1);
    assert_int_equal(cursor, 1);
    /* swept in time, it never happens, whether anybody comes or not */
    for (uint32_t at_ms = REPEAT_SWEEP_AFTER_MS; at_ms < 4 * wrap_ms; at_ms += hour_ms) {
        repeat_sweep(&fixture.set, &cursor, 3, NOW + at_ms);
        for (uint32_t i = 0; i < hour_ms; i += hour_ms / 13)
            assert_int_equal(charge(&fixture, at_ms + i, NOW + at_ms + i, NOW + at_ms + i),
                             REPEAT_NEW);
    }
    free(fixture.memory);
}

/* The same memory, by the process that comes after the one that filled it. */
static void begin_again(struct fixture *fixture, enum repeat_start start, uint32_t now_ms)
{
    struct repeat_options options = {
        .memory = fixture->memory,
        .start = start,
        .size = fixture->set.bucket_count * REPEAT_BUCKET_BYTES,
        .window_ms = W,
        .ahead_ms = AHEAD,
        .now_ms = now_ms,
        .secret = {fixture->set.secret[0], fixture->set.secret[1]},
    };

    assert_int_equal(repeat_init(&fixture->set, &options), 0);
}

/* What was judged is known; what was only claimed may have been charged, and is stale until nobody
 * can send it again; all else is new. */
static void the_next_process_knows_what_was_judged(void **state)
{
    const uint32_t back_ms = NOW + 50;
    struct repeat_claim open = {.tag = 2, .sent_ms = NOW, .now_ms = NOW};
    struct repeat_claim again = {.tag = 2, .sent_ms = NOW, .now_ms = back_ms};
    struct fixture fixture;

    (void)state;
    set_make(&fixture, 64);
    assert_int_equal(charge(&fixture, 1, NOW, NOW), REPEAT_NEW);
    assert_int_equal(ask(&fixture, &open), REPEAT_NEW);
    assert_int_equal(ask(&fixture, &again), REPEAT_OPEN);
    begin_again(&fixture, REPEAT_RESUME, back_ms);
    assert_int_equal(charge(&fixture, 1, NOW, back_ms), REPEAT_KNOWN);
    for (uint32_t at_ms = back_ms; at_ms <= NOW + W; at_ms += 25)
        assert_int_equal(charge(&fixture, 2, NOW, at_ms), REPEAT_STALE);
    assert_int_equal(charge(&fixture, 3, back_ms, back_ms), REPEAT_NEW);
    const uint32_t later_ms = back_ms + AHEAD + W + 1;
    assert_int_equal(charge(&fixture, 2, later_ms, later_ms), REPEAT_NEW); /* other bytes by then */
    free(fixture.memory);
}

/* Where what is there cannot be read, whatever may have been here before is stale. */
static void the_next_process_may_know_nothing(void **state)
{
    struct fixture fixture;

    (void)state;
    set_make(&fixture, 64);
    assert_int_equal(charge(&fixture, 1, NOW, NOW), REPEAT_NEW);
    begin_again(&fixture, REPEAT_FORGOTTEN, NOW + 50);
    assert_int_equal(charge(&fixture, 1, NOW, NOW + 50), REPEAT_STALE);
    assert_int_equal(charge(&fixture, 9, NOW + 50 + AHEAD, NOW + 50 + AHEAD), REPEAT_STALE);
    assert_int_equal(charge(&fixture, 10, NOW + 71 + AHEAD, NOW + 71 + AHEAD), REPEAT_NEW);
    begin_again(&fixture, REPEAT_EMPTY, NOW + 100);
    assert_int_equal(charge(&fixture, 9, NOW + 100, NOW + 100), REPEAT_NEW);
    free(fixture.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(what_is_fresh),
        cmocka_unit_test(a_repeat_gets_the_same_decisions),
        cmocka_unit_test(a_withdrawn_claim_is_new_again),
        cmocka_unit_test(without_a_stamp_the_promise_is_one_window),
        cmocka_unit_test(a_full_bucket_forgets_the_oldest_and_says_so),
        cmocka_unit_test(what_nobody_can_send_again_is_forgotten_in_silence),
        cmocka_unit_test(open_claims_are_never_forgotten),
        cmocka_unit_test(another_workers_clock_may_be_ahead),
        cmocka_unit_test(the_sweep_clears_before_the_times_wrap),
        cmocka_unit_test(the_next_process_knows_what_was_judged),
        cmocka_unit_test(the_next_process_may_know_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
