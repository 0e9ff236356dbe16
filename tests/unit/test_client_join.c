/* Joining in the non-blocking C client: what waits, for how long, and what leaves with it in one
 * system call. Waiting is as long as the deadline here, so that no test depends on how fast it
 * runs; where time must pass, it is waited for. */
#include "lib/random.h"
#include "unit/client_fake.h"

#include <stdlib.h>
#include <sys/wait.h>

#define LONG_US 60000000u /* the fake client's deadline */
#define MANY 170u
#define HELD 40u /* more than twice what is held back at most */

static struct mete_client *joining(struct fake *fake, uint32_t join_us, uint32_t timeout_us)
{
    fake_open(fake);
    struct mete_client *client =
        fake_client(fake, (struct mete_client_options){
                              .join_us = join_us, .timeout_us = timeout_us, .max_in_flight = 4096});
    fake_meet(fake, client);
    return client;
}

/* So many in flight until the test answers them that what comes next has reason to wait. */
static void hold(struct fake *fake, struct mete_client *client, struct seen *seen,
                 struct taken *ret_taken)
{
    for (unsigned i = 0; i < HELD; i++) {
        assert_int_equal(submit(client, "held", 1, 0, &seen[i]), 0);
        if (i < 2) { /* that little is no reason to wait */
            assert_int_equal(mete_client_next_deadline_us(client), 0);
            assert_int_equal(mete_client_process(client), 0);
        } else {
            assert_int_equal(mete_client_flush(client), 1);
        }
        fake_take(fake, &ret_taken[i], 0);
        assert_int_equal(ret_taken[i].header.n, 1);
    }
}

static void submit_many(struct mete_client *client, struct seen *seen, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char subject[16];
        snprintf(subject, sizeof(subject), "user %u", i);
        assert_int_equal(submit(client, subject, i, 0, &seen[i]), 0);
    }
}

static void answer_next(struct fake *fake, unsigned n)
{
    struct taken taken;
    fake_take(fake, &taken, 0);
    assert_int_equal(taken.header.n, n);
    fake_allow(fake, &taken);
}

static void assert_answered(const struct seen *seen, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(seen[i].count, 1);
        assert_int_equal(seen[i].answer.source, METE_SOURCE_SERVER);
        assert_int_equal(seen[i].answer.remaining, i);
    }
}

static void test_full_ones_leave_together(void **state)
{
    (void)state;
    struct fake fake;
    struct taken held[HELD], none;
    struct seen held_seen[HELD] = {0}, seen[MANY] = {0};
    struct mete_client *client = joining(&fake, LONG_US, 0);
    hold(&fake, client, held_seen, held);
    struct mete_client_stats before = mete_client_stats(client);
    submit_many(client, seen, MANY);
    assert_false(fake_take(&fake, &none, MSG_DONTWAIT));
    assert_int_equal(mete_client_process(client), 0);
    struct mete_client_stats after = mete_client_stats(client);
    assert_int_equal(after.sent_datagrams - before.sent_datagrams, 3);
    assert_int_equal(after.sent_checks - before.sent_checks, 150);
    assert_int_equal(after.sends - before.sends, 1);
    for (unsigned i = 0; i < 3; i++)
        answer_next(&fake, 50);
    assert_false(fake_take(&fake, &none, MSG_DONTWAIT)); /* the other 20 wait */
    assert_int_equal(mete_client_process(client), 150);
    assert_false(fake_take(&fake, &none, MSG_DONTWAIT));
    for (unsigned i = 0; i < HELD - 2; i++)
        fake_allow(&fake, &held[i]);
    while (mete_client_stats(client).answers < 1 + 150 + HELD - 2) /* the first was fake_meet's */
        mete_client_process(client);
    assert_false(fake_take(&fake, &none, MSG_DONTWAIT)); /* two are in flight, */
    fake_allow(&fake, &held[HELD - 2]);
    assert_int_equal(mete_client_process(client), 1); /* one is not enough */
    answer_next(&fake, 20);
    assert_int_equal(mete_client_process(client), 20);
    assert_answered(seen, MANY);
    fake_allow(&fake, &held[HELD - 1]);
    assert_int_equal(mete_client_process(client), 1);
    assert_int_equal(mete_client_next_deadline_us(client), -1);
    mete_client_close(client);
    close(fake.fd);
}

/* Nothing in flight: the first full one is not held back for others. */
static void test_idle_server_gets_the_first(void **state)
{
    (void)state;
    struct fake fake;
    struct seen seen[50] = {0};
    struct mete_client *client = joining(&fake, LONG_US, 0);
    submit_many(client, seen, 50);
    answer_next(&fake, 50);
    assert_int_equal(mete_client_process(client), 50);
    assert_answered(seen, 50);
    mete_client_close(client);
    close(fake.fd);
}

/* flush waits for nothing; the last of a joined send may be smaller. */
static void test_flush_sends_all(void **state)
{
    (void)state;
    struct fake fake;
    struct taken held[HELD];
    struct seen held_seen[HELD] = {0}, seen[MANY] = {0};
    struct mete_client *client = joining(&fake, LONG_US, 0);
    hold(&fake, client, held_seen, held);
    struct mete_client_stats before = mete_client_stats(client);
    submit_many(client, seen, MANY);
    assert_int_equal(mete_client_flush(client), 4);
    assert_int_equal(mete_client_stats(client).sends - before.sends, 1);
    for (unsigned i = 0; i < 3; i++)
        answer_next(&fake, 50);
    answer_next(&fake, 20);
    assert_int_equal(mete_client_process(client), MANY);
    assert_answered(seen, MANY);
    mete_client_close(client);
    close(fake.fd);
}

/* Sixteen full ones do not wait for process. */
static void test_submit_sends_many(void **state)
{
    (void)state;
    struct fake fake;
    struct taken held[HELD];
    struct seen held_seen[HELD] = {0}, seen[800] = {0};
    struct mete_client *client = joining(&fake, LONG_US, 0);
    hold(&fake, client, held_seen, held);
    struct mete_client_stats before = mete_client_stats(client);
    submit_many(client, seen, 799);
    assert_int_equal(mete_client_stats(client).sends, before.sends);
    submit_many(client, seen + 799, 1);
    assert_int_equal(mete_client_stats(client).sends - before.sends, 1);
    for (unsigned i = 0; i < 16; i++)
        answer_next(&fake, 50);
    assert_int_equal(mete_client_process(client), 800);
    assert_answered(seen, 799);
    mete_client_close(client);
    close(fake.fd);
}

/* A socket without checksums is one where the kernel refuses UDP_SEGMENT. */
static void test_refused_by_the_kernel(void **state)
{
    (void)state;
    struct fake fake;
    struct taken held[HELD];
    struct seen held_seen[HELD] = {0}, seen[MANY] = {0};
    int one = 1;
    struct mete_client *client = joining(&fake, LONG_US, 0);
    hold(&fake, client, held_seen, held);
    int fd = mete_client_fd(client);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &one, sizeof(one)), 0);
    for (unsigned round = 0; round < 2; round++) {
        struct mete_client_stats before = mete_client_stats(client);
        memset(seen, 0, sizeof(seen));
        submit_many(client, seen, MANY);
        assert_int_equal(mete_client_flush(client), 4);
        assert_int_equal(mete_client_stats(client).sends - before.sends, 4);
        for (unsigned i = 0; i < 3; i++)
            answer_next(&fake, 50);
        answer_next(&fake, 20);
        assert_int_equal(mete_client_process(client), MANY);
        assert_answered(seen, MANY);
    }
    mete_client_close(client);
    close(fake.fd);
}

/* An open one goes when its time is over, by process as by submit, though something is in flight.
 */
static void test_waits_so_long_at_most(void **state)
{
    (void)state;
    struct fake fake;
    struct taken held[HELD];
    struct seen held_seen[HELD] = {0}, seen[4000] = {0};
    struct mete_client *client = joining(&fake, 50, 0);
    hold(&fake, client, held_seen, held);
    uint64_t before = mete_client_stats(client).sent_datagrams;
    submit_many(client, seen, 1);
    int64_t wait_us = mete_client_next_deadline_us(client);
    assert_in_range(wait_us, 0, 50);
    while (mete_client_stats(client).sent_datagrams == before)
        mete_client_process(client);
    answer_next(&fake, 1);
    int64_t from_us = now_us();
    unsigned count = 0;
    do
        submit_many(client, &seen[1 + count++ % 3999], 1);
    while (mete_client_stats(client).sent_datagrams == before + 1 && count < 3999);
    if (count < 50) /* else it left because it was full */
        assert_true(now_us() - from_us >= 50);
    mete_client_close(client);
    close(fake.fd);
}

/* Past its deadline before it left: the fallback, once, and it is never sent. */
static void test_late_in_the_queue(void **state)
{
    (void)state;
    struct fake fake;
    struct taken none;
    struct seen held_seen = {0}, seen[60] = {0};
    fake_open(&fake);
    struct mete_client *client =
        fake_client(&fake, (struct mete_client_options){.join_us = 20000, .timeout_us = 20000});
    for (unsigned i = 0; i < 4; i++) {
        submit(client, "held", 1, 0, &held_seen);
        mete_client_flush(client);
    }
    while (fake_take(&fake, &none, MSG_DONTWAIT))
        ;
    uint64_t before = mete_client_stats(client).sent_checks;
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(submit(client, "late", i, 0, &seen[i]), 0);
    unsigned sent = (unsigned)(mete_client_stats(client).sent_checks - before);
    usleep(25000); /* the deadline is over after it, whatever else happens */
    assert_int_equal(mete_client_process(client), 64);
    assert_int_equal(mete_client_next_deadline_us(client), -1);
    assert_int_equal(mete_client_process(client), 0);
    assert_int_equal(mete_client_stats(client).sent_checks - before, sent);
    for (unsigned i = 0; i < 60; i++) {
        assert_int_equal(seen[i].count, 1);
        assert_int_equal(seen[i].answer.source, METE_SOURCE_TIMEOUT);
    }
    mete_client_close(client);
    close(fake.fd);
}

static void test_child_forgets_the_queue(void **state)
{
    if (getenv("METE_EMULATED"))
        skip(); /* an emulator passes neither madvise() nor socket filters on */
    (void)state;
    struct fake fake;
    struct seen held_seen[HELD] = {0}, seen[MANY] = {0};
    struct taken held[HELD], none;
    struct mete_client *client = joining(&fake, LONG_US, 0);
    hold(&fake, client, held_seen, held);
    submit_many(client, seen, MANY);
    pid_t child = fork();
    if (child == 0) {
        bool good = mete_client_flush(client) == 0 && mete_client_process(client) == 0 &&
                    mete_client_next_deadline_us(client) == -1;
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_false(fake_take(&fake, &none, MSG_DONTWAIT));
    assert_int_equal(mete_client_flush(client), 4);
    for (unsigned i = 0; i < 4; i++)
        answer_next(&fake, i < 3 ? 50 : 20);
    assert_int_equal(mete_client_process(client), MANY);
    assert_answered(seen, MANY);
    mete_client_close(client);
    close(fake.fd);
}

/* Nobody listens: all are called back, once, with that as the reason. */
static void test_nobody_there(void **state)
{
    (void)state;
    struct fake fake;
    struct seen seen[MANY] = {0};
    struct mete_client *client = joining(&fake, LONG_US, 0);
    close(fake.fd);
    for (unsigned round = 1; round <= 3; round++) {
        submit_many(client, seen, MANY);
        for (unsigned called = 0; called < MANY;)
            called += (unsigned)mete_client_process(client);
        for (unsigned i = 0; i < MANY; i++) {
            assert_int_equal(seen[i].count, round);
            assert_int_equal(seen[i].answer.source, METE_SOURCE_SEND);
        }
    }
    mete_client_close(client);
}

static void test_options(void **state)
{
    (void)state;
    struct mete_client *client = NULL;
    struct mete_client_options options = {.join_us = 20001}; /* the default deadline is 20,000 */
    assert_true(mete_client_open(&options, &client) < 0);
    assert_null(client);
    options.join_us = 20000;
    assert_int_equal(mete_client_open(&options, &client), 0);
    mete_client_close(client);
}

/* Whatever is submitted, in any order of calls, kinds, answers and silence, is called back once. */
static void test_random(void **state)
{
    (void)state;
    unsigned seed = (unsigned)random_seed(now_us());
    print_message("METE_SEED=%u\n", seed);
    static struct seen seen[3000];
    static const uint8_t flags[] = {0, 0, 0, METE_FLAG_PEEK, METE_FLAG_SHADOW, METE_FLAG_AT_MOST};
    struct fake fake;
    struct taken taken;
    unsigned submitted = 0;
    memset(seen, 0, sizeof(seen));
    fake_open(&fake);
    struct mete_client *client =
        fake_client(&fake, (struct mete_client_options){.join_us = 300, .timeout_us = 5000});
    while (submitted < 3000) {
        unsigned what = (unsigned)rand_r(&seed) % 40;
        for (unsigned i = 0; i < what * 4 && submitted < 3000; i++) {
            char subject[40];
            snprintf(subject, sizeof(subject), "%0*u", 1 + rand_r(&seed) % 30, submitted);
            uint8_t flag = flags[(unsigned)rand_r(&seed) % sizeof(flags)];
            submitted += submit(client, subject, 1, flag, &seen[submitted]) == 0;
        }
        while (what % 3 && fake_take(&fake, &taken, MSG_DONTWAIT)) {
            if (taken.header.type == METE_HELLO)
                fake_hello(&fake, &taken);
            else if (rand_r(&seed) % 8 == 0)
                fake_status(&fake, &taken, METE_STATUS_STALE);
            else if (rand_r(&seed) % 8)
                fake_allow(&fake, &taken);
        }
        if (what % 5 == 0)
            mete_client_flush(client);
        mete_client_process(client);
    }
    while (mete_client_next_deadline_us(client) >= 0)
        mete_client_process(client);
    assert_int_equal(mete_client_process(client), 0);
    for (unsigned i = 0; i < 3000; i++)
        assert_int_equal(seen[i].count, 1);
    mete_client_close(client);
    close(fake.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_ones_leave_together),
        cmocka_unit_test(test_idle_server_gets_the_first),
        cmocka_unit_test(test_flush_sends_all),
        cmocka_unit_test(test_submit_sends_many),
        cmocka_unit_test(test_refused_by_the_kernel),
        cmocka_unit_test(test_waits_so_long_at_most),
        cmocka_unit_test(test_late_in_the_queue),
        cmocka_unit_test(test_child_forgets_the_queue),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
