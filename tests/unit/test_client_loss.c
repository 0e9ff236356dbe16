/* The C client and several servers that lose datagrams, or all are gone: what it sends then, and
 * that each check is called back once. */
#include "lib/random.h"
#include "unit/client_trio.h"

#include <errno.h>
#include <stdlib.h>

/* All are gone: the fallback at once, and no datagram more than one for each check. */
static void test_all_refuse(void **state)
{
    (void)state;
    struct trio trio;
    struct mete_answer answer;
    begin(&trio, (struct mete_client_options){0});
    for (unsigned i = 0; i < COUNT; i++)
        close(trio.fakes[i].fd);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(mete_client_check(trio.client, "demo", &i, sizeof(i), 1, &answer), 0);
        assert_int_equal(answer.source, METE_SOURCE_SEND);
        assert_int_equal(answer.mete_errno, ECONNREFUSED);
    }
    struct mete_client_stats stats = mete_client_stats(trio.client);
    assert_true(stats.sent_datagrams <= 20 + stats.hellos + stats.fail_overs);
    assert_true(stats.fail_overs <= COUNT);
    mete_client_close(trio.client);
}

/* Everything is lost at all of them: what is sent beyond the first is a tenth, ten, and what was in
 * flight when each became suspect. */
static void test_storm(void **state)
{
    (void)state;
    struct trio trio;
    struct taken taken;
    static struct seen seen[1000];
    begin(&trio, (struct mete_client_options){.timeout_us = 20000});
    for (unsigned i = 0; i < 1000; i++) {
        char subject[16];
        seen[i] = (struct seen){0};
        snprintf(subject, sizeof(subject), "user %u", i);
        submit(trio.client, subject, 1, 0, &seen[i]);
        mete_client_flush(trio.client);
        if (i % 10 == 9) /* ten in flight at a time */
            while (!seen[i].count)
                mete_client_process(trio.client);
        for (unsigned j = 0; j < COUNT; j++)
            while (fake_take(&trio.fakes[j], &taken, MSG_DONTWAIT))
                ;
    }
    struct mete_client_stats stats = mete_client_stats(trio.client);
    uint64_t extra = stats.sent_datagrams - stats.hellos - 1000;
    assert_true(extra <= 100 + 10 + COUNT * 10);
    end(&trio);
}

/* Every other datagram is lost, so none of them is suspect for long: asking the next one is paid
 * for like a retry. */
static void test_loss(void **state)
{
    (void)state;
    struct trio trio;
    struct taken taken;
    static struct seen seen[300];
    unsigned heard = 0;
    begin(&trio, (struct mete_client_options){.timeout_us = 20000});
    for (unsigned i = 0; i < 300; i++) {
        char subject[16];
        seen[i] = (struct seen){0};
        snprintf(subject, sizeof(subject), "user %u", i);
        submit(trio.client, subject, 1, 0, &seen[i]);
        mete_client_flush(trio.client);
        if (i % 10 < 9)
            continue;
        for (bool is_done = false; !is_done;) {
            for (unsigned j = 0; j < COUNT; j++)
                while (take_check(&trio.fakes[j], &taken))
                    if (heard++ % 2)
                        fake_allow(&trio.fakes[j], &taken);
            mete_client_process(trio.client);
            is_done = true;
            for (unsigned j = i - 9; j <= i; j++)
                is_done &= seen[j].count == 1;
        }
    }
    struct mete_client_stats stats = mete_client_stats(trio.client);
    assert_true(stats.fail_overs > 0);
    assert_true(stats.sent_datagrams - stats.hellos - 300 <= 30 + 10 + COUNT * 10);
    end(&trio);
}

/* Whatever is answered, doubled or lost, by whichever server: each check is called back once, with
 * its own answer. METE_SEED and METE_COUNT choose. */
static void test_random(void **state)
{
    (void)state;
    unsigned seed = (unsigned)random_seed(now_us());
    unsigned steps = (unsigned)random_count(4000);
    print_message("METE_SEED=%u METE_COUNT=%u\n", seed, steps);
    static struct seen seen[100000];
    static struct taken held[COUNT][16];
    unsigned held_count[COUNT] = {0}, submitted = 0, answered = 0;
    struct trio trio;
    struct mete_answer answer;
    memset(seen, 0, sizeof(seen));
    struct mete_client_options options = {
        .timeout_us = 8000, .join_us = seed % 2 ? 0 : 100, .max_in_flight = 200};
    if (seed % 4 < 2) {
        options.secret = "a secret";
        options.secret_len = 8;
    }
    begin(&trio, options);
    for (unsigned i = 0; i < COUNT; i++) {
        trio.fakes[i].repeat_ms = i * 100;
        trio.fakes[i].secret = options.secret;
    }
    for (unsigned step = 0; step < steps; step++) {
        unsigned at = (unsigned)rand_r(&seed) % COUNT, what = (unsigned)rand_r(&seed) % 10;
        char subject[16];
        snprintf(subject, sizeof(subject), "%03u", (unsigned)rand_r(&seed) % 1000);
        if (what < 4 && submitted < 100000) {
            submitted += submit(trio.client, subject, submitted, 0, &seen[submitted]) == 0;
        }
        if (what == 4)
            mete_client_process(trio.client);
        if (step % 400 == 399) /* nobody answers while it waits, so others get their fallback */
            mete_client_check(trio.client, "demo", subject, 3, UINT32_MAX, &answer);
        if (held_count[at] < 16 &&
            fake_take(&trio.fakes[at], &held[at][held_count[at]], MSG_DONTWAIT))
            held_count[at]++;
        if (what < 7 || !held_count[at] || (step / 500 % 4 == at && what))
            continue; /* each is silent for a while, now and then */
        unsigned chosen = (unsigned)rand_r(&seed) % held_count[at];
        struct taken *taken = &held[at][chosen];
        if (options.secret && rand_r(&seed) % 128 == 0)
            trio.fakes[at].boot++; /* what it holds is of its last life */
        if (taken->header.type == METE_HELLO)
            fake_hello(&trio.fakes[at], taken);
        else if (options.secret && taken->header.boot != trio.fakes[at].boot)
            fake_restarted(&trio.fakes[at], taken);
        else if (rand_r(&seed) % 16 == 0)
            fake_status(&trio.fakes[at], taken, METE_STATUS_STALE);
        else if (rand_r(&seed) % 16 == 0)
            fake_deny_with(&trio.fakes[at], taken, METE_STATUS_NEED_SUBJECT);
        else
            fake_allow(&trio.fakes[at], taken);
        if (rand_r(&seed) % 8)
            held[at][chosen] = held[at][--held_count[at]];
    }
    while (mete_client_next_deadline_us(trio.client) >= 0)
        mete_client_process(trio.client);
    for (unsigned i = 0; i < submitted; i++) {
        assert_int_equal(seen[i].count, 1);
        answered += seen[i].answer.source == METE_SOURCE_SERVER;
        if (seen[i].answer.source == METE_SOURCE_SERVER)
            assert_int_equal(seen[i].answer.remaining, i);
    }
    assert_true(answered > 0);
    end(&trio);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_refuse),
        cmocka_unit_test(test_storm),
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
