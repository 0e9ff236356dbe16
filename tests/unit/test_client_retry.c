/* The C client and silence: the same bytes again where the server recognises repeats, nowhere else,
 * and never much more than was asked for. */
#include "unit/client_fake.h"

#include <pthread.h>
#include <stdlib.h>

#define WINDOW_MS 60000u /* long, so that no slow machine falls out of it */
#define MANY 1500u

/* Has met a server that recognises repeats. */
static struct mete_client *meet(struct fake *fake, struct mete_client_options options)
{
    fake_open(fake);
    fake->repeat_ms = WINDOW_MS;
    struct mete_client *client = fake_client(fake, options);
    fake_meet(fake, client);
    return client;
}

static void end(struct fake *fake, struct mete_client *client)
{
    mete_client_close(client);
    close(fake->fd);
}

/* The next datagram, however long the client waits with it. False: it gave up. */
static bool take_patiently(struct fake *fake, struct mete_client *client, struct taken *ret_taken,
                           const struct seen *seen)
{
    while (!fake_take(fake, ret_taken, MSG_DONTWAIT)) {
        mete_client_process(client);
        if (seen->count)
            return false;
    }
    return true;
}

/* Again and again the same bytes, and the answer to any of them is the answer. */
static void test_same_bytes(void **state)
{
    (void)state;
    struct fake fake;
    struct taken first, taken;
    struct seen seen[3] = {0};
    /* A machine that stands still for 100 ms lets the time for retries pass: asked anew then. */
    for (unsigned tries = 0; tries < 20; tries++) {
        struct mete_client *client =
            meet(&fake, (struct mete_client_options){.timeout_us = 400000});
        memset(seen, 0, sizeof(seen));
        for (unsigned i = 0; i < 3; i++)
            submit(client, i ? "bob" : "alice", 10 + i, i == 2 ? METE_FLAG_PEEK : 0, &seen[i]);
        mete_client_flush(client);
        fake_take(&fake, &first, 0);
        assert_int_equal(first.header.n, 2);
        fake_take(&fake, &taken, 0);
        assert_int_equal(taken.header.flags, METE_FLAG_PEEK);
        fake_allow(&fake, &taken);
        bool is_again = take_patiently(&fake, client, &taken, &seen[0]);
        if (!is_again) {
            end(&fake, client);
            continue;
        }
        assert_int_equal(taken.len, first.len);
        assert_memory_equal(taken.bytes, first.bytes, first.len);
        assert_true(mete_client_stats(client).retries >= 1);
        struct mete_verdict verdicts[2] = {
            {.flags = METE_VERDICT_ALLOW | METE_VERDICT_REPEAT, .remaining = 10},
            {.flags = METE_VERDICT_ALLOW | METE_VERDICT_REPEAT, .remaining = 11}};
        fake_answer(&fake, &taken, verdicts);
        fake_answer(&fake, &first, verdicts);
        while (!seen[0].count)
            mete_client_process(client);
        if (seen[0].answer.source == METE_SOURCE_SERVER) {
            assert_int_equal(seen[0].answer.remaining, 10);
            assert_int_equal(seen[1].answer.remaining, 11);
            assert_int_equal(seen[2].answer.remaining, 12);
            end(&fake, client);
            return;
        }
        end(&fake, client);
    }
    fail_msg("no retry in any try");
}

/* Under a secret, raw subjects and an inline limit: the bytes are made again to the last. */
static void test_same_bytes_of_all_forms(void **state)
{
    (void)state;
    static const char secret[] = "a secret of the tenant";
    for (unsigned form = 0; form < 4; form++) {
        struct fake fake;
        struct taken first, taken;
        struct seen seen = {0};
        fake_open(&fake);
        fake.repeat_ms = WINDOW_MS;
        fake.secret = form & 1 ? secret : NULL;
        struct mete_client_options options = {.timeout_us = 90000};
        if (form & 1) {
            options.secret = secret;
            options.secret_len = strlen(secret);
        }
        struct mete_client *client = fake_client(&fake, options);
        struct mete_request request = {.rule = "demo",
                                       .subject = "a longer subject, which is odd",
                                       .subject_len = 30,
                                       .cost = 5,
                                       .flags = form & 2 ? METE_FLAG_INLINE_LIMIT : 0,
                                       .limit_count = 7,
                                       .limit_burst = 9,
                                       .limit_period_ns = 1000000000};
        bool is_first = true, is_again = false;
        for (unsigned tries = 0; !is_again && tries < 50; tries++) {
            seen.count = 0;
            assert_int_equal(mete_client_submit(client, &request, on_seen, &seen), 0);
            for (is_first = true; !seen.count && !is_again;) {
                mete_client_process(client);
                if (!fake_take(&fake, &taken, MSG_DONTWAIT))
                    continue;
                if (taken.header.type == METE_HELLO) {
                    fake_hello(&fake, &taken);
                } else if (is_first) {
                    first = taken;
                    is_first = false;
                } else {
                    assert_int_equal(taken.len, first.len);
                    assert_memory_equal(taken.bytes, first.bytes, first.len);
                    is_again = true;
                }
            }
        }
        assert_true(is_again);
        end(&fake, client);
    }
}

/* W = 0, or nothing known of it yet: nothing is ever sent twice. */
static void test_never_without_a_window(void **state)
{
    (void)state;
    for (unsigned is_met = 0; is_met < 2; is_met++) {
        struct fake fake;
        struct taken taken;
        struct seen seen[20] = {0};
        fake_open(&fake);
        struct mete_client *client =
            fake_client(&fake, (struct mete_client_options){.timeout_us = 30000});
        if (is_met)
            fake_meet(&fake, client);
        uint64_t before = mete_client_stats(client).sent_datagrams;
        for (unsigned i = 0; i < 20; i++) {
            submit(client, "alice", i, 0, &seen[i]);
            mete_client_flush(client);
        }
        while (!seen[19].count)
            mete_client_process(client);
        uint64_t hellos = is_met ? 0 : mete_client_stats(client).hellos;
        assert_int_equal(mete_client_stats(client).sent_datagrams - before, 20 + hellos);
        assert_int_equal(mete_client_stats(client).retries, 0);
        while (fake_take(&fake, &taken, MSG_DONTWAIT))
            ;
        end(&fake, client);
    }
}

/* Nothing comes back for a while: a tenth more than was asked for, and the ten that were saved. */
static void test_storm(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken;
    static struct seen seen[MANY];
    struct mete_client *client =
        meet(&fake, (struct mete_client_options){.timeout_us = 60000, .max_in_flight = MANY});
    struct mete_client_stats before = mete_client_stats(client);
    unsigned firsts = 0, seconds = 0;
    uint32_t newest = 0;
    memset(seen, 0, sizeof(seen));
    for (unsigned i = 0; i < MANY || !seen[MANY - 1].count;) {
        if (i < MANY) {
            assert_int_equal(submit(client, "alice", i, 0, &seen[i]), 0);
            mete_client_flush(client);
            i++;
        }
        mete_client_process(client);
        while (fake_take(&fake, &taken, MSG_DONTWAIT)) {
            bool is_first = !firsts || (int32_t)(taken.header.sequence - newest) > 0;
            newest = is_first ? taken.header.sequence : newest;
            firsts += is_first;
            seconds += !is_first;
        }
    }
    struct mete_client_stats after = mete_client_stats(client);
    assert_int_equal(firsts, MANY);
    assert_int_equal(seconds, after.retries - before.retries);
    assert_true(seconds > 0);
    assert_true(seconds <= MANY / 10 + 10);
    assert_int_equal(after.sent_datagrams - before.sent_datagrams, firsts + seconds);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(seen[i].count, 1);
    end(&fake, client);
}

/* HELLO is lost as well: its retries are paid from the same account. */
static void test_storm_of_hellos(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken;
    struct seen seen;
    fake_open(&fake);
    fake.secret = "x";
    struct mete_client *client = fake_client(
        &fake, (struct mete_client_options){.secret = "x", .secret_len = 1, .timeout_us = 10000});
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (unsigned i = 0; i < 30; i++) {
        seen.count = 0;
        submit(client, "alice", i, 0, &seen);
        while (!seen.count)
            mete_client_process(client);
        while (fake_take(&fake, &taken, MSG_DONTWAIT))
            assert_int_equal(taken.header.type, METE_HELLO);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    /* A round of HELLO takes as long as a deadline, so there are no more of them than deadlines
     * that have passed, but for one that begins while the last check waits. */
    uint64_t passed_ms =
        (uint64_t)((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000);
    assert_true(mete_client_stats(client).hellos <= 1 + 10 + passed_ms / 10 + 1);
    end(&fake, client);
}

struct lossy {
    struct fake fake;
    unsigned drops;
    uint64_t sequences[8];
};

/* Hears only the second time each datagram comes, and answers as a server that knows repeats. */
static void *serve_lossy(void *argument)
{
    struct lossy *lossy = argument;
    struct taken taken;
    uint32_t last = 0;
    for (;;) {
        fake_take(&lossy->fake, &taken, 0);
        if (taken.header.tenant == mete_name_id("stop", 4))
            return NULL;
        if (taken.header.type == METE_HELLO) {
            fake_hello(&lossy->fake, &taken);
        } else if (lossy->drops && taken.header.sequence != last) {
            last = taken.header.sequence;
            lossy->drops--;
        } else {
            fake_allow(&lossy->fake, &taken);
        }
    }
}

/* Five of 20 first datagrams are lost. Does a new client get at least 18 answers, by retries? */
static bool asks_again(struct lossy *lossy)
{
    struct mete_answer answer;
    struct mete_server_stats stats;
    struct mete_client *client =
        fake_client(&lossy->fake, (struct mete_client_options){.timeout_us = 300000});
    do {
        mete_client_check(client, "demo", "alice", 5, 1, &answer);
        assert_int_equal(mete_client_server_stats(client, 0, &stats), 0);
    } while (!stats.is_known);
    lossy->drops = 5; /* the account has ten */
    unsigned answered = 0;
    for (uint32_t i = 0; i < 20; i++) {
        mete_client_check(client, "demo", "alice", 5, i, &answer);
        if (answer.source == METE_SOURCE_SERVER) {
            assert_int_equal(answer.remaining, i);
            answered++;
        }
    }
    bool asked = mete_client_stats(client).retries >= 3;
    mete_client_close(client);
    return answered >= 15 + 3 && asked;
}

/* The blocking form gets its answer though the first datagram is lost. Retries end 100 ms after the
 * first send, so a machine that stands still may need another round. */
static void test_blocking(void **state)
{
    (void)state;
    struct lossy lossy = {0};
    pthread_t thread;
    struct mete_answer answer;
    fake_open(&lossy.fake);
    lossy.fake.repeat_ms = WINDOW_MS;
    pthread_create(&thread, NULL, serve_lossy, &lossy);
    unsigned rounds = 1;
    while (!asks_again(&lossy))
        assert_true(rounds++ < 10);
    struct mete_client *stopper = fake_client(
        &lossy.fake, (struct mete_client_options){.tenant = "stop", .timeout_us = 1000});
    mete_client_check(stopper, "demo", "a", 1, 1, &answer);
    pthread_join(thread, NULL);
    end(&lossy.fake, stopper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_same_bytes_of_all_forms),
        cmocka_unit_test(test_never_without_a_window),
        cmocka_unit_test(test_storm),
        cmocka_unit_test(test_storm_of_hellos),
        cmocka_unit_test(test_blocking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
