/* The C client under a secret: HELLO first, keys of the server's life, RESTARTED, secrets that are
 * being changed, clocks that differ. */
#include "unit/client_fake.h"

#include <errno.h>
#include <pthread.h>

#include "core/key.h"

#define OLD "the secret that was there before"
#define NEW "the secret that comes after it.."

static struct mete_client *open_secret(struct fake *fake, const char *secret, const char *other)
{
    fake_open(fake);
    fake->secret = OLD;
    struct mete_client_options options = {.secret = secret, .secret_len = strlen(secret)};
    if (other) {
        options.other_secret = other;
        options.other_secret_len = strlen(other);
    }
    return fake_client(fake, options);
}

static void end(struct fake *fake, struct mete_client *client)
{
    mete_client_close(client);
    close(fake->fd);
}

/* A check is submitted and taken; the client has said hello before. */
static void ask(struct fake *fake, struct mete_client *client, uint32_t cost, struct seen *seen,
                struct taken *ret_taken)
{
    *seen = (struct seen){0};
    assert_int_equal(submit(client, "alice", cost, 0, seen), 0);
    mete_client_flush(client);
    for (;;) { /* a hint that came too soon may lead to a HELLO just now */
        fake_take(fake, ret_taken, 0);
        if (ret_taken->header.type != METE_HELLO)
            break;
        fake_hello(fake, ret_taken);
    }
    assert_int_equal(ret_taken->header.type, METE_CHECK);
}

static void meet_secret(struct fake *fake, struct mete_client *client)
{
    struct taken taken;
    struct seen seen = {0};
    submit(client, "first", 1, 0, &seen);
    mete_client_flush(client);
    do {
        while (!fake_take(fake, &taken, MSG_DONTWAIT))
            mete_client_process(client);
        assert_int_equal(taken.header.type, METE_HELLO);
    } while (!taken.is_good);
    fake_hello(fake, &taken);
    mete_client_process(client);
    do
        fake_take(fake, &taken, 0);
    while (taken.header.type == METE_HELLO);
    assert_true(taken.is_good);
    fake_allow(fake, &taken);
    while (!seen.count)
        mete_client_process(client);
    assert_int_equal(seen.answer.source, METE_SOURCE_SERVER);
}

/* Nothing but a HELLO before its answer; then all that waited, as keys, in one datagram. */
static void test_hello_first(void **state)
{
    (void)state;
    struct fake fake;
    struct taken hello, taken;
    struct seen seen[5] = {0};
    struct mete_client *client = open_secret(&fake, OLD, NULL);
    fake.clock_ms = 3600000; /* whatever our own clock says */
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(submit(client, "alice", i, 0, &seen[i]), 0);
    assert_int_equal(mete_client_flush(client), 0);
    assert_true(mete_client_next_deadline_us(client) > 0);
    fake_take(&fake, &hello, 0);
    assert_int_equal(hello.header.type, METE_HELLO);
    assert_int_equal(hello.header.secret, 0);
    assert_int_equal(hello.header.boot, 0);
    assert_true(hello.is_good);
    assert_false(fake_take(&fake, &taken, MSG_DONTWAIT));
    fake_hello(&fake, &hello);
    assert_int_equal(mete_client_process(client), 0);
    fake_take(&fake, &taken, 0);
    assert_true(taken.is_good);
    assert_int_equal(taken.header.n, 5);
    assert_int_equal(taken.header.flags, 0);
    assert_int_equal(taken.header.boot, FAKE_BOOT);
    assert_in_range(taken.header.clock_ms, 3600000, 3600000 + 60000);
    struct key key = key_of_subject("alice", 5, FAKE_SEED);
    assert_true(fake_entry(&taken, 0).key_low == key.low);
    fake_allow(&fake, &taken);
    assert_int_equal(mete_client_process(client), 5);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(seen[i].answer.remaining, i);
    assert_int_equal(mete_client_stats(client).hellos, 1);
    end(&fake, client);
}

/* What does not verify under the key of this life is dropped, HELLO's answer as well. */
static void test_forged(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken;
    struct seen seen;
    struct mete_client *client = open_secret(&fake, OLD, NULL);
    struct fake stranger;
    submit(client, "first", 1, 0, &seen);
    mete_client_flush(client);
    fake_take(&fake, &taken, 0);
    stranger = fake;
    stranger.secret = NEW;
    fake_hello(&stranger, &taken);
    stranger.secret = NULL;
    fake_hello(&stranger, &taken);
    assert_int_equal(mete_client_process(client), 0);
    assert_int_equal(mete_client_stats(client).dropped, 2);
    assert_false(fake_take(&fake, &taken, MSG_DONTWAIT));
    end(&fake, client);

    client = open_secret(&fake, OLD, NULL);
    meet_secret(&fake, client);
    ask(&fake, client, 7, &seen, &taken);
    stranger = fake;
    stranger.secret = NEW;
    fake_allow(&stranger, &taken);
    stranger.secret = NULL;
    fake_allow(&stranger, &taken);
    stranger.secret = OLD;
    stranger.boot++; /* recorded from another life */
    fake_allow(&stranger, &taken);
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    struct mete_verdict verdict = {.remaining = 1};
    size_t len = fake_result(&fake, &taken, &verdict, 1, bytes);
    bytes[17] ^= METE_VERDICT_ALLOW;
    fake_send(&fake, &taken, bytes, len);
    assert_int_equal(mete_client_process(client), 0);
    assert_int_equal(mete_client_stats(client).dropped, 4);
    fake_allow(&fake, &taken);
    assert_int_equal(mete_client_process(client), 1);
    assert_int_equal(seen.answer.remaining, 7);
    end(&fake, client);
}

/* The server has restarted cold: its hint, a HELLO, and what was in flight goes out anew under the
 * new key. One round trip more. */
static void test_restarted(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken, other, hello, again;
    struct seen seen, seen_other;
    struct mete_client *client = open_secret(&fake, OLD, NULL);
    meet_secret(&fake, client);
    ask(&fake, client, 3, &seen, &taken);
    ask(&fake, client, 4, &seen_other, &other);
    assert_true(taken.is_good);
    fake.boot = 0x1234;
    fake.clock_ms = 17;
    fake_restarted(&fake, &taken);
    assert_int_equal(mete_client_process(client), 0);
    fake_take(&fake, &hello, 0);
    assert_int_equal(hello.header.type, METE_HELLO);
    assert_false(fake_take(&fake, &again, MSG_DONTWAIT));
    fake_hello(&fake, &hello);
    assert_int_equal(mete_client_process(client), 0);
    fake_take(&fake, &again, 0); /* both: the other would not have been answered either */
    assert_true(again.is_good);
    assert_int_equal(again.header.n, 2);
    assert_int_equal(again.header.boot, 0x1234);
    assert_true(again.header.clock_ms - 17 < 60000);
    assert_true(again.header.sequence != taken.header.sequence);
    fake_allow(&fake, &again);
    assert_int_equal(mete_client_process(client), 2);
    assert_int_equal(seen.answer.remaining, 3);
    assert_int_equal(seen_other.answer.remaining, 4);
    assert_int_equal(mete_client_stats(client).restarts, 1);
    end(&fake, client);
}

/* A flood of hints that nobody of the server's sent: a HELLO now and then, which shows that it is
 * the same server, and the answers go on being taken. */
static void test_restarted_is_a_hint(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken, hello;
    struct seen seen;
    struct mete_client *client = open_secret(&fake, OLD, NULL);
    meet_secret(&fake, client);
    uint64_t before = mete_client_stats(client).hellos;
    struct fake liar = fake;
    liar.boot = 0x6666;
    int64_t from_us = now_us();
    for (unsigned i = 0; i < 300; i++) {
        ask(&fake, client, i, &seen, &taken);
        for (unsigned j = 0; j < 10; j++)
            fake_restarted(&liar, &taken);
        assert_int_equal(mete_client_process(client), 0);
        while (fake_take(&fake, &hello, MSG_DONTWAIT)) {
            assert_int_equal(hello.header.type, METE_HELLO);
            fake_hello(&fake, &hello);
        }
        assert_int_equal(mete_client_process(client), 0);
        fake_allow(&fake, &taken);
        assert_int_equal(mete_client_process(client), 1);
        assert_int_equal(seen.answer.remaining, i);
    }
    uint64_t hellos = mete_client_stats(client).hellos - before;
    assert_true(hellos >= 1 && hellos <= (uint64_t)(now_us() - from_us) / 10000 + 1);
    assert_int_equal(mete_client_stats(client).restarts, 0);
    end(&fake, client);
}

/* A hint for what is not in flight, or with another tag: nothing. */
static void test_restarted_must_fit(void **state)
{
    (void)state;
    struct fake fake;
    struct taken taken, none;
    struct seen seen;
    struct mete_client *client = open_secret(&fake, OLD, NULL);
    meet_secret(&fake, client);
    ask(&fake, client, 3, &seen, &taken);
    struct taken wrong = taken;
    wrong.bytes[wrong.len - 1] ^= 1;
    fake_restarted(&fake, &wrong);
    wrong = taken;
    wrong.header.sequence += 100;
    fake_restarted(&fake, &wrong);
    assert_int_equal(mete_client_process(client), 0);
    assert_int_equal(mete_client_stats(client).dropped, 2);
    assert_false(fake_take(&fake, &none, MSG_DONTWAIT));
    fake_allow(&fake, &taken);
    assert_int_equal(mete_client_process(client), 1);
    end(&fake, client);
}

/* Answers what is signed well until the check is called back. */
static void serve_one(struct fake *fake, struct mete_client *client, uint32_t cost,
                      struct seen *seen)
{
    struct taken taken;
    *seen = (struct seen){0};
    submit(client, "alice", cost, 0, seen);
    mete_client_flush(client);
    while (!seen->count) {
        mete_client_process(client);
        while (fake_take(fake, &taken, MSG_DONTWAIT)) {
            if (taken.is_good && taken.header.type == METE_HELLO)
                fake_hello(fake, &taken);
            else if (taken.is_good)
                fake_allow(fake, &taken);
        }
    }
}

/* The client has two, the server knows one; it may be either, in either place of its list. What
 * worked is what the next HELLO begins with. */
static void test_secrets_are_tried(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        struct fake fake;
        struct taken taken;
        struct seen seen;
        fake_open(&fake);
        fake.secret = i & 1 ? OLD : NEW;
        fake.secret_index = i >> 1 & 1;
        struct mete_client *client =
            fake_client(&fake, (struct mete_client_options){.secret = NEW,
                                                            .secret_len = strlen(NEW),
                                                            .other_secret = OLD,
                                                            .other_secret_len = strlen(OLD),
                                                            .secret_index = (uint8_t)(i >> 2),
                                                            .timeout_us = 100000});
        unsigned rounds = 0;
        do /* a busy machine may need more than one */
            serve_one(&fake, client, 1, &seen);
        while (seen.answer.source != METE_SOURCE_SERVER && ++rounds < 100);
        assert_int_equal(seen.answer.source, METE_SOURCE_SERVER);
        fake.boot++;
        submit(client, "second", 2, 0, &seen);
        mete_client_flush(client);
        fake_take_type(&fake, &taken, METE_CHECK);
        fake_restarted(&fake, &taken);
        mete_client_process(client);
        fake_take_type(&fake, &taken, METE_HELLO);
        assert_true(taken.is_good);
        end(&fake, client);
    }
}

/* The secret is taken away while the client runs: silence, and it tries the other. */
static void test_secret_is_changed(void **state)
{
    (void)state;
    struct fake fake;
    struct seen seen;
    fake_open(&fake);
    fake.secret = OLD;
    struct mete_client *client =
        fake_client(&fake, (struct mete_client_options){.secret = OLD,
                                                        .secret_len = strlen(OLD),
                                                        .other_secret = NEW,
                                                        .other_secret_len = strlen(NEW),
                                                        .timeout_us = 20000});
    bool is_changed = false;
    unsigned good_after = 0;
    for (unsigned i = 0; good_after < 3; i++) {
        assert_true(i < 10000);
        serve_one(&fake, client, i, &seen);
        bool is_good = seen.answer.source == METE_SOURCE_SERVER;
        if (is_good)
            assert_int_equal(seen.answer.remaining, i);
        good_after += is_changed && is_good;
        if (is_good && !is_changed) {
            fake.secret = NEW;
            is_changed = true;
        }
    }
    end(&fake, client);
}

struct served {
    struct fake fake;
    unsigned restarts;
};

/* Answers all, and begins another life after every tenth check; until the tenant "stop" asks. */
static void *serve_restarting(void *argument)
{
    struct served *served = argument;
    struct fake *fake = &served->fake;
    struct taken taken;
    unsigned checks = 0;
    for (;;) {
        fake_take(fake, &taken, 0);
        if (taken.header.tenant == mete_name_id("stop", 4))
            return NULL;
        if (!taken.is_good) {
            fake_restarted(fake, &taken);
        } else if (taken.header.type == METE_HELLO) {
            fake_hello(fake, &taken);
        } else {
            fake_allow(fake, &taken);
            if (++checks % 10 == 0) {
                fake->boot = (uint16_t)(fake->boot + 1);
                served->restarts++;
            }
        }
    }
}

/* The blocking form gets each answer from the server, though it restarts ten times. */
static void test_blocking(void **state)
{
    (void)state;
    struct served served = {0};
    pthread_t thread;
    struct mete_answer answer;
    fake_open(&served.fake);
    served.fake.secret = OLD;
    pthread_create(&thread, NULL, serve_restarting, &served);
    struct mete_client_options options = {.secret = OLD, .secret_len = strlen(OLD)};
    struct mete_client *client = fake_client(&served.fake, options);
    char subject[300];
    memset(subject, 's', sizeof(subject));
    for (uint32_t i = 0; i < 100; i++) {
        size_t len = i % 3 ? 5 : sizeof(subject); /* too long to travel but as a key */
        assert_int_equal(mete_client_check(client, "demo", subject, len, i, &answer), 0);
        assert_int_equal(answer.source, METE_SOURCE_SERVER);
        assert_int_equal(answer.remaining, i);
    }
    assert_in_range(mete_client_stats(client).restarts, 9, 10);
    struct mete_client_options stop = {.tenant = "stop", .timeout_us = 1000};
    struct mete_client *stopper = fake_client(&served.fake, stop);
    mete_client_check(stopper, "demo", "a", 1, 1, &answer);
    pthread_join(thread, NULL);
    mete_client_close(stopper);
    end(&served.fake, client);
}

/* Nobody there, nobody answering: the fallback, at the deadline or at once. */
static void test_no_answer(void **state)
{
    (void)state;
    struct fake fake;
    struct mete_answer answer;
    fake_open(&fake);
    struct mete_client_options options = {
        .secret = OLD, .secret_len = strlen(OLD), .timeout_us = 20000};
    struct mete_client *client = fake_client(&fake, options);
    int64_t from_us = now_us();
    mete_client_check(client, "demo", "a", 1, 1, &answer);
    assert_true(now_us() - from_us >= 20000);
    assert_int_equal(answer.source, METE_SOURCE_TIMEOUT);
    mete_client_close(client);
    close(fake.fd);
    options.timeout_us = 0;
    client = fake_client(&fake, options);
    mete_client_check(client, "demo", "a", 1, 1, &answer);
    assert_int_equal(answer.source, METE_SOURCE_SEND);
    assert_int_equal(answer.mete_errno, ECONNREFUSED);
    mete_client_close(client);
}

static void test_options(void **state)
{
    (void)state;
    struct mete_client *client;
    char long_one[65];
    memset(long_one, 'x', sizeof(long_one));
    const struct mete_client_options bad[] = {
        {.secret = "x"},
        {.secret = long_one, .secret_len = 65},
        {.secret_len = 5},
        {.other_secret = "x", .other_secret_len = 1},
        {.secret = "x", .secret_len = 1, .other_secret = "y"},
        {.secret = "x", .secret_len = 1, .secret_index = 2},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(mete_client_open(&bad[i], &client), -EINVAL);
    struct mete_client_options good = {.secret = long_one, .secret_len = 64};
    assert_int_equal(mete_client_open(&good, &client), 0);
    mete_client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_first),        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_restarted),          cmocka_unit_test(test_restarted_is_a_hint),
        cmocka_unit_test(test_restarted_must_fit), cmocka_unit_test(test_secrets_are_tried),
        cmocka_unit_test(test_secret_is_changed),  cmocka_unit_test(test_blocking),
        cmocka_unit_test(test_no_answer),          cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
