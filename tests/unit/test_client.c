/* The C client against a server that the test plays itself: joining, forms of the subject, what a
 * request carries, deadlines and fallbacks, fork, threads. Hostile answers: test_client_hostile.c.
 */
#include "unit/client_fake.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "core/key.h"

/* Fifty submitted checks are one datagram of 50 keys, sent when it is full; each callback gets its
 * own entry's answer. */
static void test_fifty_are_one_datagram(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken;
    struct seen seen[50] = {0};
    fake_open(&fake);
    struct mete_client *client = fake_client(&fake, (struct mete_client_options){0});
    fake_meet(&fake, client);
    uint64_t before = mete_client_stats(client).sent_datagrams;
    for (unsigned i = 0; i < 50; i++) {
        char subject[16];
        snprintf(subject, sizeof(subject), "user %u", i);
        assert_int_equal(submit(client, subject, i, 0, &seen[i]), 0);
    }
    assert_int_equal(mete_client_stats(client).sent_datagrams - before, 1);
    assert_int_equal(mete_client_flush(client), 0);
    fake_take(&fake, &taken, 0);
    assert_int_equal(taken.header.n, 50);
    assert_int_equal(taken.len, METE_WIRE_MAX_BYTES);
    struct key key = key_of_subject("user 7", 6, FAKE_SEED);
    struct mete_entry entry = fake_entry(&taken, 7);
    assert_true(entry.key_low == key.low && entry.key_high == key.high);
    assert_int_equal(entry.rule, mete_name_id("demo", 4));
    assert_int_equal(taken.header.tenant, mete_name_id("default", 7));
    assert_int_equal(taken.header.secret, METE_WIRE_NO_SECRET);
    fake_allow(&fake, &taken);
    assert_int_equal(mete_client_process(client), 50);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(seen[i].count, 1);
        assert_int_equal(seen[i].answer.allowed, 1);
        assert_int_equal(seen[i].answer.source, METE_SOURCE_SERVER);
        assert_int_equal(seen[i].answer.remaining, i);
    }
    assert_int_equal(mete_client_next_deadline_us(client), -1);
    mete_client_close(client);
    close(fake.fd);
}

/* Different flags and, before the seed is known, different sizes of entry travel apart. */
static void test_only_what_looks_alike_is_joined(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken;
    struct seen seen = {0};
    fake_open(&fake);
    struct mete_client *client = fake_client(&fake, (struct mete_client_options){0});
    submit(client, "a", 1, 0, &seen);
    submit(client, "b", 1, 0, &seen);
    submit(client, "a subject of thirty-two bytes...", 1, 0, &seen);
    submit(client, "c", 1, METE_FLAG_PEEK, &seen);
    assert_int_equal(mete_client_flush(client), 3);
    unsigned total = 0;
    for (unsigned i = 0; i < 4; i++) {
        fake_take(&fake, &taken, 0);
        if (taken.header.type == METE_HELLO) {
            fake_hello(&fake, &taken);
            continue;
        }
        total += taken.header.n;
        struct mete_entry entry = fake_entry(&taken, taken.header.n - 1u);
        bool is_peek = taken.header.flags & METE_FLAG_PEEK;
        assert_true(taken.header.flags & METE_FLAG_RAW_SUBJECT);
        assert_int_equal(is_peek, entry.subject_len == 1 && entry.subject[0] == 'c');
        assert_int_equal(taken.header.n, entry.subject_len == 1 && !is_peek ? 2 : 1);
        fake_allow(&fake, &taken);
    }
    assert_int_equal(total, 4);
    assert_int_equal(mete_client_process(client), 4);
    /* More kinds than are filled side by side: the oldest goes first, none is lost. */
    for (unsigned i = 0; i < 7; i++) {
        static const uint8_t flags[7] = {0x00, 0x01, 0x20, 0x40, 0x21, 0x41, 0x60};
        assert_int_equal(submit(client, "d", 1, flags[i], &seen), 0);
    }
    mete_client_flush(client);
    for (unsigned i = 0; i < 7; i++) {
        fake_take(&fake, &taken, 0);
        fake_allow(&fake, &taken);
    }
    assert_int_equal(mete_client_process(client), 7);
    assert_int_equal(seen.count, 11);
    mete_client_close(client);
    close(fake.fd);
}

/* Clock and boot bits come from results and go into requests; another life of the server is asked
 * for its seed again; sequence numbers never repeat. */
static void test_what_a_request_carries(void **state)
{
    (void)state;
    struct fake fake;
    struct taken first, taken;
    struct seen seen = {0};
    fake_open(&fake);
    struct mete_client *client = fake_client(&fake, (struct mete_client_options){0});
    fake_meet(&fake, client);
    usleep(20000); /* time that has to show in the clock of the next request */
    submit(client, "a", 1, 0, &seen);
    mete_client_flush(client);
    fake_take(&fake, &first, 0);
    assert_int_equal(first.header.boot, FAKE_BOOT);
    assert_in_range(first.header.clock_ms, FAKE_CLOCK + 19, FAKE_CLOCK + 60000);
    fake.boot = 0x7777;
    fake.clock_ms = 9000000;
    fake_allow(&fake, &first);
    assert_int_equal(mete_client_process(client), 1);
    submit(client, "a", 1, 0, &seen);
    mete_client_flush(client);
    fake_take(&fake, &taken, 0);
    assert_int_equal(taken.header.sequence, first.header.sequence + 1);
    assert_int_equal(taken.header.client, first.header.client);
    assert_int_equal(taken.header.boot, 0x7777);
    assert_true(taken.header.clock_ms - 9000000 < 60000);
    fake_allow(&fake, &taken);
    fake_take(&fake, &taken, 0);
    fake_hello(&fake, &taken);
    assert_int_equal(mete_client_process(client), 1);
    submit(client, "a", 1, 0, &seen);
    mete_client_flush(client);
    fake_take(&fake, &taken, 0);
    assert_false(fake_take(&fake, &taken, MSG_DONTWAIT)); /* and no third HELLO */
    mete_client_close(client);
    close(fake.fd);
}

/* A subject too long to travel raw waits for the seed. */
static void test_long_subjects(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken;
    struct seen seen = {0};
    char subject[301];
    memset(subject, 's', 300);
    subject[300] = '\0';
    fake_open(&fake);
    struct mete_client *client = fake_client(&fake, (struct mete_client_options){0});
    assert_int_equal(submit(client, subject, 1, 0, &seen), -EAGAIN);
    assert_true(mete_client_next_deadline_us(client) > 0);
    fake_take(&fake, &taken, 0);
    fake_hello(&fake, &taken);
    assert_int_equal(mete_client_process(client), 0);
    assert_int_equal(submit(client, subject, 3, 0, &seen), 0);
    mete_client_flush(client);
    fake_take(&fake, &taken, 0);
    struct key key = key_of_subject(subject, 300, FAKE_SEED);
    assert_true(fake_entry(&taken, 0).key_low == key.low);
    fake_allow(&fake, &taken);
    assert_int_equal(mete_client_process(client), 1);
    assert_int_equal(seen.answer.remaining, 3);
    mete_client_close(client);

    /* No answer to HELLO: the fallback, in both forms. */
    client = fake_client(&fake, (struct mete_client_options){.timeout_us = 2000});
    struct mete_answer answer;
    assert_int_equal(mete_client_check(client, "demo", subject, 300, 1, &answer), 0);
    assert_int_equal(answer.source, METE_SOURCE_TIMEOUT);
    int result;
    while ((result = submit(client, subject, 1, 0, &seen)) == -EAGAIN)
        mete_client_process(client);
    assert_int_equal(result, 0);
    assert_int_equal(mete_client_process(client), 1);
    assert_int_equal(seen.answer.source, METE_SOURCE_TIMEOUT);
    mete_client_close(client);
    close(fake.fd);
}

/* Nobody answers: the call waits the whole deadline, and the caller sees that it is a fallback. */
static void test_fallbacks(void **state)
{
    (void)state;
    struct fake fake;
    struct mete_answer answer;
    fake_open(&fake);
    struct mete_client_options options = {.timeout_us = 20000};
    struct mete_client *client = fake_client(&fake, options);
    int64_t start_us = now_us();
    assert_int_equal(mete_client_check(client, "demo", "a", 1, 1, &answer), 0);
    assert_true(now_us() - start_us >= 20000);
    assert_int_equal(answer.source, METE_SOURCE_TIMEOUT);
    assert_int_equal(answer.allowed, 1);
    assert_int_equal(mete_client_stats(client).timeouts, 1);
    mete_client_close(client);

    options = (struct mete_client_options){.timeout_us = 1000, .fallback = METE_FALLBACK_DENY};
    client = fake_client(&fake, options);
    mete_client_check(client, "demo", "a", 1, 1, &answer);
    assert_int_equal(answer.allowed, 0);
    assert_true(answer.retry_after_us >= 1000 && answer.retry_after_us <= 1100);
    mete_client_close(client);

    /* One unit a second comes back: less than the numbers leave room for, however slow the test. */
    options.fallback = METE_FALLBACK_LOCAL;
    options.local_per_second = 1;
    options.local_burst = 100000;
    client = fake_client(&fake, options);
    static const uint32_t costs[] = {99000, 900, 2000, 100001};
    static const int allowed[] = {1, 1, 0, 0};
    for (unsigned i = 0; i < 4; i++) {
        mete_client_check(client, "demo", "a", 1, costs[i], &answer);
        assert_int_equal(answer.source, METE_SOURCE_TIMEOUT);
        assert_int_equal(answer.allowed, allowed[i]);
    }
    assert_true(answer.retry_after_us == METE_NEVER);
    struct mete_request request = {.rule = "demo", .subject = "a", .subject_len = 1, .cost = 2000};
    request.flags = METE_FLAG_AT_MOST;
    mete_client_ask(client, &request, &answer);
    assert_int_equal(answer.allowed, 1);
    assert_in_range(answer.granted, 100, 1000);
    mete_client_close(client);
    close(fake.fd);
}

/* Submitted checks get theirs from process, each once, and never before their deadline. */
static void test_submitted_run_out(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken;
    struct seen seen[3] = {0};
    fake_open(&fake);
    struct mete_client *client =
        fake_client(&fake, (struct mete_client_options){.timeout_us = 300000, .max_in_flight = 3});
    int64_t start_us = now_us();
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(submit(client, "a", 1, 0, &seen[i]), 0);
    assert_int_equal(submit(client, "a", 1, 0, &seen[0]), -EAGAIN);
    assert_in_range(mete_client_next_deadline_us(client), 0, 300000);
    mete_client_flush(client);
    unsigned called = 0;
    while (called < 3)
        called += (unsigned)mete_client_process(client);
    assert_true(now_us() - start_us >= 300000);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(seen[i].count, 1);
        assert_int_equal(seen[i].answer.source, METE_SOURCE_TIMEOUT);
    }
    /* The answer that comes after all is of no use, and is counted. */
    fake_take_type(&fake, &taken, METE_CHECK);
    fake_allow(&fake, &taken);
    assert_int_equal(mete_client_process(client), 0);
    assert_int_equal(mete_client_stats(client).dropped, 1);
    assert_int_equal(submit(client, "a", 1, 0, &seen[0]), 0);
    mete_client_close(client);
    close(fake.fd);
}

/* Nobody listens: the caller learns it from the kernel, long before the deadline. */
static void test_refused(void **state)
{
    (void)state;
    struct fake fake;
    struct mete_answer answer;
    struct seen seen = {0};
    fake_open(&fake);
    close(fake.fd);
    struct mete_client *client = fake_client(&fake, (struct mete_client_options){0});
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(mete_client_check(client, "demo", "a", 1, 1, &answer), 0);
        assert_int_equal(answer.source, METE_SOURCE_SEND);
        assert_int_equal(answer.mete_errno, ECONNREFUSED);
        assert_int_equal(answer.allowed, 1);
    }
    assert_int_equal(submit(client, "a", 1, 0, &seen), 0);
    mete_client_flush(client);
    while (!seen.count)
        mete_client_process(client);
    assert_int_equal(seen.answer.source, METE_SOURCE_SEND);
    assert_int_equal(seen.answer.mete_errno, ECONNREFUSED);
    char subject[301]; /* one that has to wait for the seed learns it as well */
    memset(subject, 's', 300);
    subject[300] = '\0';
    assert_int_equal(mete_client_check(client, "demo", subject, 300, 1, &answer), 0);
    assert_int_equal(answer.mete_errno, ECONNREFUSED);
    while (submit(client, subject, 1, 0, &seen))
        mete_client_process(client);
    mete_client_close(client);
}

/* A child has a client id and a socket of its own; what the parent had in flight is answered to
 * the parent, and the child never calls back for it. */
static void test_fork(void **state)
{
    if (getenv("METE_EMULATED"))
        skip(); /* an emulator passes neither madvise() nor socket filters on */
    (void)state;
    struct fake fake;
    struct taken parents, childs;
    struct seen seen[2] = {0};
    fake_open(&fake);
    struct mete_client *client = fake_client(&fake, (struct mete_client_options){0});
    fake_meet(&fake, client);
    submit(client, "parent", 1, 0, &seen[0]);
    mete_client_flush(client);
    fake_take(&fake, &parents, 0);
    submit(client, "queued", 2, 0, &seen[1]);
    pid_t pid = fork();
    if (pid == 0) {
        struct mete_answer answer;
        int called = mete_client_process(client);
        mete_client_check(client, "demo", "child", 5, 7, &answer);
        bool good = called == 0 && !seen[0].count && !seen[1].count &&
                    answer.source == METE_SOURCE_SERVER && answer.remaining == 7;
        mete_client_close(client);
        _exit(good ? 0 : 1);
    }
    fake_take(&fake, &childs, 0);
    assert_int_not_equal(childs.header.client, parents.header.client);
    assert_int_not_equal(childs.from.sin_port, parents.from.sin_port);
    assert_int_equal(childs.header.n, 1);
    fake_allow(&fake, &childs);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fake_allow(&fake, &parents);
    assert_int_equal(mete_client_process(client), 1);
    assert_int_equal(seen[0].count, 1);
    assert_int_equal(seen[0].answer.source, METE_SOURCE_SERVER);
    fake_take(&fake, &parents, 0);
    fake_allow(&fake, &parents);
    assert_int_equal(mete_client_process(client), 1);
    assert_int_equal(seen[1].answer.remaining, 2);
    mete_client_close(client);
    close(fake.fd);
}

static void *serve_until_told(void *argument)
{
    struct fake *fake = argument;
    struct taken taken;
    do {
        fake_take(fake, &taken, 0);
        if (taken.header.type == METE_HELLO)
            fake_hello(fake, &taken);
        else
            fake_allow(fake, &taken);
    } while (taken.header.tenant != mete_name_id("stop", 4));
    return NULL;
}

static void *ask_many(void *argument)
{
    struct mete_client *client = fake_client(argument, (struct mete_client_options){0});
    uintptr_t wrong = 0;
    for (uint32_t i = 1; i <= 200; i++) {
        struct mete_answer answer;
        mete_client_check(client, "demo", &i, sizeof(i), i, &answer);
        wrong += answer.source != METE_SOURCE_SERVER || answer.remaining != i;
    }
    mete_client_close(client);
    return (void *)wrong;
}

/* An object per thread: nobody gets another's answer. */
static void test_four_threads(void **state)
{
    (void)state;
    struct fake fake;
    pthread_t server, threads[4];
    fake_open(&fake);
    pthread_create(&server, NULL, serve_until_told, &fake);
    for (unsigned i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, ask_many, &fake);
    for (unsigned i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    struct mete_client *client = fake_client(&fake, (struct mete_client_options){.tenant = "stop"});
    struct mete_answer answer;
    mete_client_check(client, "demo", "a", 1, 1, &answer);
    pthread_join(server, NULL);
    mete_client_close(client);
    close(fake.fd);
}

/* ALL_OR_NOTHING and the other forms of one blocking call, and what is refused at once. */
static void test_check_many(void **state)
{
    (void)state;
    struct fake fake;
    pthread_t server;
    struct mete_request requests[26];
    struct mete_answer answers[26];
    static char subject[112] = "";
    memset(subject, 's', 111);
    fake_open(&fake);
    pthread_create(&server, NULL, serve_until_told, &fake);
    struct mete_client *client = fake_client(&fake, (struct mete_client_options){0});
    for (unsigned i = 0; i < 26; i++)
        requests[i] = (struct mete_request){.rule_id = i + 1,
                                            .subject = subject,
                                            .subject_len = 111 - i,
                                            .cost = i,
                                            .flags = METE_FLAG_ALL_OR_NOTHING};
    /* 25 raw ones of this size are too many for one datagram: the client asks for the seed first.
     */
    assert_int_equal(mete_client_check_many(client, requests, 25, answers), 0);
    for (unsigned i = 0; i < 25; i++) {
        assert_int_equal(answers[i].source, METE_SOURCE_SERVER);
        assert_int_equal(answers[i].remaining, i);
    }
    assert_int_equal(mete_client_stats(client).sent_datagrams, 2);
    assert_int_equal(mete_client_check_many(client, requests, 26, answers), -E2BIG);
    assert_int_equal(mete_client_check_many(client, requests, 0, answers), -E2BIG);
    requests[0].flags |= METE_FLAG_AT_MOST;
    assert_int_equal(mete_client_check_many(client, requests, 25, answers), -EINVAL);
    requests[0].flags = METE_FLAG_ALL_OR_NOTHING;
    assert_int_equal(mete_client_ask(client, requests, answers), -EINVAL);
    assert_int_equal(mete_client_check(client, NULL, "a", 1, 1, answers), -EINVAL);
    assert_int_equal(mete_client_check(client, "", "a", 1, 1, answers), -EINVAL);
    assert_int_equal(mete_client_check(client, "demo", "a", 0, 1, answers), -EINVAL);
    requests[0].flags = METE_FLAG_PEEK;
    assert_int_equal(mete_client_refund(client, requests, answers), -EINVAL);
    requests[0].flags = 0;
    assert_int_equal(mete_client_refund(client, requests, answers), 0);
    assert_int_equal(answers[0].source, METE_SOURCE_SERVER);
    assert_int_equal(mete_client_reset(client, requests, answers), 0);
    mete_client_close(client);
    client = fake_client(&fake, (struct mete_client_options){.tenant = "stop"});
    mete_client_check(client, "demo", "a", 1, 1, answers);
    pthread_join(server, NULL);
    mete_client_close(client);
    close(fake.fd);
}

static void test_options(void **state)
{
    (void)state;
    struct mete_client *client;
    static const char *const bad[] = {
        "",       ":1",     "127.0.0.1:",      "127.0.0.1:0", "::1",         "[::1",
        "[::1]1", "host:x", "127.0.0.1:65536", "[]:123",      "127.0.0.1:-1"};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct mete_client_options options = {.server = bad[i]};
        assert_int_equal(mete_client_open(&options, &client), -EINVAL);
    }
    struct mete_client_options no_rate = {.fallback = METE_FALLBACK_LOCAL};
    assert_int_equal(mete_client_open(&no_rate, &client), -EINVAL);
    struct mete_client_options prefix = {.ipv6_prefix = 60, .server = "127.0.0.1"};
    assert_int_equal(mete_client_open(&prefix, &client), 0);

    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    struct sockaddr_in in = {.sin_family = AF_INET};
    uint8_t out[16];
    inet_pton(AF_INET, "192.0.2.7", &in.sin_addr);
    assert_int_equal(mete_subject_of_address(client, (struct sockaddr *)&in, out), 4);
    assert_memory_equal(out, "\xc0\x00\x02\x07", 4);
    inet_pton(AF_INET6, "::ffff:192.0.2.7", &in6.sin6_addr);
    assert_int_equal(mete_subject_of_address(client, (struct sockaddr *)&in6, out), 4);
    assert_memory_equal(out, "\xc0\x00\x02\x07", 4);
    inet_pton(AF_INET6, "2001:db8:1:ffff:ffff::1", &in6.sin6_addr);
    assert_int_equal(mete_subject_of_address(client, (struct sockaddr *)&in6, out), 16);
    assert_memory_equal(out, "\x20\x01\x0d\xb8\x00\x01\xff\xf0\0\0\0\0\0\0\0\0", 16);
    in.sin_family = AF_UNIX;
    assert_int_equal(mete_subject_of_address(client, (struct sockaddr *)&in, out), 0);
    mete_client_close(client);
    mete_client_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fifty_are_one_datagram),
        cmocka_unit_test(test_only_what_looks_alike_is_joined),
        cmocka_unit_test(test_what_a_request_carries),
        cmocka_unit_test(test_long_subjects),
        cmocka_unit_test(test_fallbacks),
        cmocka_unit_test(test_submitted_run_out),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_four_threads),
        cmocka_unit_test(test_check_many),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
