/* What the C client makes of single answers: units charged, the clock that wraps, a group that
 * nobody answers. */
#include "unit/client_fake.h"

struct fixture {
    struct fake fake;
    struct mete_client *client;
};

static void begin(struct fixture *f, struct mete_client_options options)
{
    fake_open(&f->fake);
    f->client = fake_client(&f->fake, options);
    fake_meet(&f->fake, f->client);
}

static void end(struct fixture *f)
{
    mete_client_close(f->client);
    close(f->fake.fd);
}

/* A shadow denial passes but takes nothing: who gives `granted` back must not give what was never
 * taken. */
static void shadow_denial_charged_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct taken taken;
    struct seen seen = {0};
    const struct mete_verdict verdict = {.flags = METE_VERDICT_ALLOW | METE_VERDICT_WOULD_DENY};
    begin(&f, (struct mete_client_options){0});
    assert_int_equal(submit(f.client, "a", 5, METE_FLAG_SHADOW, &seen), 0);
    assert_int_equal(mete_client_flush(f.client), 1);
    fake_take(&f.fake, &taken, 0);
    fake_answer(&f.fake, &taken, &verdict);
    assert_int_equal(mete_client_process(f.client), 1);
    assert_int_equal(seen.answer.source, METE_SOURCE_SERVER);
    assert_int_equal(seen.answer.allowed, 1);
    assert_int_equal(seen.answer.granted, 0);
    end(&f);
}

/* 0 in a request means that the clock is unknown, so a clock that wrapped to it is sent as 1. */
static void clock_is_never_zero(void **state)
{
    (void)state;
    struct fixture f;
    struct taken taken;
    begin(&f, (struct mete_client_options){0});
    for (unsigned i = 0; i < 10; i++) {
        struct seen seen = {0};
        f.fake.clock_ms = 0 - i / 2; /* just before, at, and soon after the wrap */
        for (unsigned j = 0; j < 2; j++) {
            assert_int_equal(submit(f.client, "a", 1, 0, &seen), 0);
            assert_int_equal(mete_client_flush(f.client), 1);
            fake_take(&f.fake, &taken, 0);
            assert_int_not_equal(taken.header.clock_ms, 0);
            fake_allow(&f.fake, &taken);
            assert_int_equal(mete_client_process(f.client), 1);
        }
    }
    end(&f);
}

/* A group without an answer takes all from the local bucket or nothing, as the server would. */
static void local_group_is_whole(void **state)
{
    (void)state;
    struct fixture f;
    struct mete_request requests[4];
    struct mete_answer answers[4];
    begin(&f, (struct mete_client_options){.fallback = METE_FALLBACK_LOCAL,
                                           .local_per_second = 1,
                                           .local_burst = 5,
                                           .jitter_percent = METE_NO_JITTER,
                                           .timeout_us = 20000});
    for (unsigned i = 0; i < 4; i++)
        requests[i] = (struct mete_request){.rule = "demo",
                                            .subject = "a",
                                            .subject_len = 1,
                                            .cost = 2,
                                            .flags = METE_FLAG_ALL_OR_NOTHING};
    assert_int_equal(mete_client_check_many(f.client, requests, 4, answers), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(answers[i].granted, 0);
    assert_int_equal(answers[0].allowed + answers[1].allowed, 2);
    assert_int_equal(answers[2].allowed, 0);
    assert_int_equal(mete_client_check_many(f.client, requests, 2, answers), 0);
    assert_int_equal(answers[0].granted + answers[1].granted, 4);
    assert_int_equal(answers[1].remaining, 1);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shadow_denial_charged_nothing),
        cmocka_unit_test(clock_is_never_zero),
        cmocka_unit_test(local_group_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
