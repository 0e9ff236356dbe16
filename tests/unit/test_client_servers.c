/* The C client and several servers: who is asked, who is asked next, and who is asked again. */
#include "unit/client_trio.h"

#include <errno.h>
#include <poll.h>
#include <sys/wait.h>

#define SUBJECTS 300u

/* All clients choose alike, whatever order the addresses are given in, before and after HELLO; and
 * each server gets its part. */
static void test_choice(void **state)
{
    (void)state;
    struct trio trio;
    begin(&trio, (struct mete_client_options){0});
    unsigned counts[8] = {0};
    unsigned homes[SUBJECTS];
    struct seen seen;
    char subject[16];
    for (unsigned i = 0; i < SUBJECTS; i++) {
        snprintf(subject, sizeof(subject), "user %u", i);
        homes[i] = ask_one(&trio, subject, 7, &seen);
        assert_int_equal(seen.answer.source, METE_SOURCE_SERVER);
        counts[homes[i]]++;
    }
    assert_true(counts[1] + counts[2] + counts[4] == SUBJECTS);
    assert_true(counts[1] > SUBJECTS / 5 && counts[2] > SUBJECTS / 5 && counts[4] > SUBJECTS / 5);
    mete_client_close(trio.client);
    char text[128];
    snprintf(text, sizeof(text), "%s,%s,%s", trio.addresses[2], trio.addresses[0],
             trio.addresses[1]);
    struct mete_client_options options = {.server = text, .timeout_us = 60000000};
    assert_int_equal(mete_client_open(&options, &trio.client), 0);
    for (unsigned i = 0; i < SUBJECTS; i++) {
        snprintf(subject, sizeof(subject), "user %u", i);
        assert_int_equal(ask_one(&trio, subject, 7, &seen), homes[i]);
    }
    end(&trio);
}

/* One server less moves its keys and no other's. */
static void test_only_its_keys_move(void **state)
{
    (void)state;
    struct trio trio;
    begin(&trio, (struct mete_client_options){0});
    unsigned homes[SUBJECTS];
    struct seen seen;
    char subject[16];
    for (unsigned i = 0; i < SUBJECTS; i++) {
        snprintf(subject, sizeof(subject), "user %u", i);
        homes[i] = ask_one(&trio, subject, 7, &seen);
    }
    mete_client_close(trio.client);
    struct mete_client_options options = {
        .servers = trio.addresses, .server_count = 2, .timeout_us = 60000000};
    assert_int_equal(mete_client_open(&options, &trio.client), 0);
    for (unsigned i = 0; i < SUBJECTS; i++) {
        snprintf(subject, sizeof(subject), "user %u", i);
        unsigned home = ask_one(&trio, subject, 7, &seen);
        assert_true(homes[i] == 4 ? home == 1 || home == 2 : home == homes[i]);
    }
    end(&trio);
}

/* One is stopped, one answers late: every check has a server's answer inside the deadline, and
 * after some silence the stopped one is left alone. */
static void test_stopped_and_late(void **state)
{
    (void)state;
    struct trio trio;
    begin(&trio, (struct mete_client_options){.timeout_us = 4000000});
    struct seen seen;
    char subject[16];
    unsigned late = 0;
    close(trio.fakes[0].fd); /* nobody listens: the kernel says so */
    fake_open(&trio.fakes[0]);
    for (unsigned i = 0; i < 60; i++) {
        struct taken taken, first;
        snprintf(subject, sizeof(subject), "user %u", i);
        seen = (struct seen){0};
        assert_int_equal(submit(trio.client, subject, i, 0, &seen), 0);
        mete_client_flush(trio.client);
        bool is_late = false;
        while (!seen.count) {
            mete_client_process(trio.client);
            if (!is_late && take_check(&trio.fakes[1], &first)) /* it answers, when nobody waits */
                is_late = true;
            while (take_check(&trio.fakes[2], &taken))
                fake_allow(&trio.fakes[2], &taken);
        }
        if (is_late)
            fake_allow(&trio.fakes[1], &first);
        late += is_late;
        assert_int_equal(seen.answer.source, METE_SOURCE_SERVER);
        assert_int_equal(seen.answer.remaining, i);
    }
    assert_true(late >= 1);
    assert_true(mete_client_stats(trio.client).fail_overs >= 2);
    assert_int_equal(mete_client_stats(trio.client).timeouts, 0);
    assert_int_equal(stats_of(trio.client, 0).share_percent, 0);
    assert_int_equal(stats_of(trio.client, 2).share_percent, 100);
    end(&trio);
}

/* The first server answers after the next one was asked: that counts, and is told once. */
static void test_late_answer_counts(void **state)
{
    (void)state;
    struct trio trio;
    struct taken first, second;
    struct seen seen = {0};
    char subject[16];
    begin(&trio, (struct mete_client_options){.timeout_us = 1000000});
    find_subject(&trio, 1, subject, sizeof(subject));
    submit(trio.client, subject, 9, 0, &seen);
    mete_client_flush(trio.client);
    fake_take_type(&trio.fakes[1], &first, METE_CHECK);
    bool is_moved = false;
    while (!is_moved) {
        assert_int_equal(seen.count, 0);
        mete_client_process(trio.client);
        is_moved = take_check(&trio.fakes[0], &second) || take_check(&trio.fakes[2], &second);
    }
    assert_true(second.header.sequence != first.header.sequence);
    fake_allow(&trio.fakes[1], &first);
    while (!seen.count)
        mete_client_process(trio.client);
    assert_int_equal(seen.answer.source, METE_SOURCE_SERVER);
    assert_int_equal(seen.answer.remaining, 9);
    uint64_t dropped = mete_client_stats(trio.client).dropped;
    fake_allow(&trio.fakes[0], &second); /* whoever it was: from the wrong or the right one */
    fake_allow(&trio.fakes[2], &second);
    while (mete_client_stats(trio.client).dropped == dropped)
        mete_client_process(trio.client);
    assert_int_equal(seen.count, 1);
    end(&trio);
}

/* One server's answer to another's request is none: it may have seen it, but was not asked. */
static void test_answer_of_another(void **state)
{
    (void)state;
    struct trio trio;
    struct taken taken, others;
    struct seen seen = {0};
    char subject[16], other[16];
    begin(&trio, (struct mete_client_options){0});
    find_subject(&trio, 1, subject, sizeof(subject));
    find_subject(&trio, 2, other, sizeof(other));
    submit(trio.client, subject, 9, 0, &seen);
    submit(trio.client, other, 8, 0, &seen);
    mete_client_flush(trio.client);
    fake_take_type(&trio.fakes[1], &taken, METE_CHECK);
    fake_take_type(&trio.fakes[2], &others, METE_CHECK);
    struct taken copy = taken;
    copy.from = others.from;
    fake_allow(&trio.fakes[2], &copy);
    assert_int_equal(mete_client_process(trio.client), 0);
    assert_int_equal(mete_client_stats(trio.client).dropped, 1);
    fake_allow(&trio.fakes[1], &taken);
    fake_allow(&trio.fakes[2], &others);
    while (seen.count < 2)
        mete_client_process(trio.client);
    end(&trio);
}

/* Silent, suspect, back: a probe finds it, and its keys come back part by part. */
static void test_return(void **state)
{
    (void)state;
    struct trio trio;
    struct seen seen;
    char subject[16], all[SUBJECTS][16];
    unsigned count = 0;
    begin(&trio, (struct mete_client_options){.timeout_us = 100000});
    for (unsigned i = 0; i < SUBJECTS; i++) {
        snprintf(subject, sizeof(subject), "user %u", i);
        if (ask_one(&trio, subject, 7, &seen) == 1)
            memcpy(all[count++], subject, sizeof(subject));
    }
    struct fake silent = trio.fakes[0];
    fake_open(&trio.fakes[0]);
    for (unsigned i = 0; stats_of(trio.client, 0).share_percent; i++)
        ask_one(&trio, all[i % count], 6, &seen);
    assert_true(stats_of(trio.client, 0).misses >= 3);
    assert_int_equal(ask_one(&trio, all[0], 6, &seen) & 1, 0);
    close(trio.fakes[0].fd);
    trio.fakes[0] = silent;
    unsigned partial = 0;
    while (stats_of(trio.client, 0).share_percent < 100) {
        unsigned back = 0;
        for (unsigned i = 0; i < count; i++)
            back += ask_one(&trio, all[i], 7, &seen) & 1;
        unsigned share = stats_of(trio.client, 0).share_percent;
        partial += share > 0 && share < 100 && back > 0 && back < count;
    }
    assert_true(partial > 0);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(ask_one(&trio, all[i], 7, &seen), 1);
    end(&trio);
}

/* ALL_OR_NOTHING is one datagram at one server; without it each goes to its own. */
static void test_together(void **state)
{
    (void)state;
    for (unsigned whole = 0; whole < 2; whole++) {
        struct trio trio;
        struct taken taken;
        struct mete_request requests[20];
        struct mete_answer answers[20];
        char subjects[20][8];
        begin(&trio, (struct mete_client_options){.timeout_us = 1000});
        for (unsigned i = 0; i < 20; i++) {
            int len = snprintf(subjects[i], sizeof(subjects[i]), "%u", 100 + i);
            requests[i] = (struct mete_request){.rule = "demo",
                                                .subject = subjects[i],
                                                .subject_len = (size_t)len,
                                                .cost = 1,
                                                .flags = whole ? METE_FLAG_ALL_OR_NOTHING : 0};
        }
        mete_client_check_many(trio.client, requests, 20, answers);
        unsigned servers = 0, entries = 0;
        for (unsigned i = 0; i < COUNT; i++) {
            bool is_asked = false;
            while (take_check(&trio.fakes[i], &taken)) {
                is_asked = true;
                entries += taken.header.n;
                if (whole)
                    assert_int_equal(taken.header.n, 20);
            }
            servers += is_asked;
        }
        if (whole)
            assert_int_equal(entries, 20 * servers);
        else
            assert_true(entries >= 20 && servers == COUNT);
        end(&trio);
    }
}

/* The descriptor becomes readable for any of them; a child has its own. */
static void test_descriptor_and_fork(void **state)
{
    if (getenv("METE_EMULATED"))
        skip(); /* an emulator passes neither madvise() nor socket filters on */
    (void)state;
    struct trio trio;
    struct taken taken;
    struct seen seen = {0}, childs = {0};
    char subject[16];
    begin(&trio, (struct mete_client_options){0});
    find_subject(&trio, 2, subject, sizeof(subject));
    submit(trio.client, subject, 5, 0, &seen);
    mete_client_flush(trio.client);
    fake_take_type(&trio.fakes[2], &taken, METE_CHECK);
    pid_t pid = fork();
    if (pid == 0) {
        bool good = mete_client_process(trio.client) == 0 && !seen.count &&
                    ask_one(&trio, subject, 4, &childs) == 4 && childs.answer.remaining == 7;
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    struct pollfd readable = {.fd = mete_client_fd(trio.client), .events = POLLIN};
    assert_int_equal(poll(&readable, 1, 0), 0);
    fake_allow(&trio.fakes[2], &taken);
    assert_int_equal(poll(&readable, 1, 10000), 1);
    assert_int_equal(mete_client_process(trio.client), 1);
    assert_int_equal(seen.answer.remaining, 5);
    end(&trio);
}

static void test_options(void **state)
{
    (void)state;
    struct mete_client *client;
    const char *const same[] = {"127.0.0.1", "127.0.0.1:6383"};
    const char *const many[17] = {"127.0.0.1:1",  "127.0.0.1:2",  "127.0.0.1:3",  "127.0.0.1:4",
                                  "127.0.0.1:5",  "127.0.0.1:6",  "127.0.0.1:7",  "127.0.0.1:8",
                                  "127.0.0.1:9",  "127.0.0.1:10", "127.0.0.1:11", "127.0.0.1:12",
                                  "127.0.0.1:13", "127.0.0.1:14", "127.0.0.1:15", "127.0.0.1:16",
                                  "127.0.0.1:17"};
    const struct mete_client_options bad[] = {
        {.servers = same, .server_count = 2}, {.servers = many, .server_count = 17},
        {.servers = many, .server_count = 0}, {.servers = many, .server_count = 1, .server = "x"},
        {.server = "127.0.0.1:1,"},           {.server = ",127.0.0.1:1"},
        {.server = "127.0.0.1:1,127.0.0.1:1"}};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(mete_client_open(&bad[i], &client), -EINVAL);
    struct mete_client_options good = {.servers = many, .server_count = 16};
    assert_int_equal(mete_client_open(&good, &client), 0);
    struct mete_server_stats stats;
    assert_int_equal(mete_client_server_stats(client, 15, &stats), 0);
    assert_string_equal(stats.address, "127.0.0.1:16");
    assert_int_equal(stats.share_percent, 100);
    assert_int_equal(mete_client_server_stats(client, 16, &stats), -EINVAL);
    mete_client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_only_its_keys_move),
        cmocka_unit_test(test_stopped_and_late),
        cmocka_unit_test(test_late_answer_counts),
        cmocka_unit_test(test_answer_of_another),
        cmocka_unit_test(test_return),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_descriptor_and_fork),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
