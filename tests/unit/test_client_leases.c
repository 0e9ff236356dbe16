/* The C client's leases against a fake server on a thread of its own: what is sent, what each
 * answer means to the caller, and the object that keeps a lease up, also when the server forgets
 * it, denies or stays silent. */
#include "unit/client_fake.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>

#define LEASE_US 60000u
#define PATIENCE_US 10000000

struct server {
    struct fake fake;
    pthread_t thread;
    pthread_mutex_t mutex; /* of the rest */
    bool stop;
    bool is_silent, is_full;
    uint64_t held; /* id; 0: none */
    struct mete_entry last;
    unsigned last_flags;
    unsigned acquired, renewed, released, asked;
};

static void judge(struct server *server, struct taken *taken, struct mete_verdict *verdict)
{
    struct mete_entry entry = fake_entry(taken, 0);
    uint8_t type = taken->header.type;
    server->asked++;
    server->last = entry;
    server->last_flags = taken->header.flags;
    bool is_held = server->held && server->held == entry.lease;
    if (type == METE_ACQUIRE && !server->is_full) {
        server->held = entry.lease;
        server->acquired++;
        is_held = true;
    }
    server->renewed += type == METE_RENEW && is_held;
    server->released += type == METE_RELEASE && is_held;
    *verdict = (struct mete_verdict){.flags = METE_VERDICT_ALLOW, .remaining = 3};
    if (type != METE_RELEASE)
        verdict->reset_after = LEASE_US;
    if (!is_held && type == METE_ACQUIRE)
        *verdict = (struct mete_verdict){.retry_after = LEASE_US};
    else if (!is_held)
        *verdict = (struct mete_verdict){.status = METE_STATUS_UNKNOWN_LEASE};
    if (type == METE_RELEASE && is_held)
        server->held = 0;
}

static void *serve(void *argument)
{
    struct server *server = argument;
    struct taken taken;
    bool stop = false;
    while (!stop) {
        struct pollfd readable = {.fd = server->fake.fd, .events = POLLIN};
        bool has_one = poll(&readable, 1, 10) == 1 && fake_take(&server->fake, &taken, 0);
        pthread_mutex_lock(&server->mutex);
        stop = server->stop;
        if (has_one && mete_type_is_lease(taken.header.type)) {
            struct mete_verdict verdict;
            judge(server, &taken, &verdict);
            if (!server->is_silent)
                fake_answer(&server->fake, &taken, &verdict);
        } else if (has_one && !server->is_silent) {
            fake_hello(&server->fake, &taken);
        }
        pthread_mutex_unlock(&server->mutex);
    }
    return NULL;
}

static int setup(void **state)
{
    struct server *server = calloc(1, sizeof(*server));
    fake_open(&server->fake);
    pthread_mutex_init(&server->mutex, NULL);
    *state = server;
    return pthread_create(&server->thread, NULL, serve, server);
}

static int teardown(void **state)
{
    struct server *server = *state;
    pthread_mutex_lock(&server->mutex);
    server->stop = true;
    pthread_mutex_unlock(&server->mutex);
    pthread_join(server->thread, NULL);
    close(server->fake.fd);
    free(server);
    return 0;
}

static const struct mete_request request = {
    .rule = "jobs", .subject = "alice", .subject_len = 5, .cost = 2};

static struct mete_client_options options_of(const struct server *server)
{
    return (struct mete_client_options){
        .server = server->fake.address, .timeout_us = 1000000, .jitter_percent = METE_NO_JITTER};
}

/* Reads one of the server's numbers. */
static unsigned look(struct server *server, const unsigned *number)
{
    pthread_mutex_lock(&server->mutex);
    unsigned value = *number;
    pthread_mutex_unlock(&server->mutex);
    return value;
}

static struct mete_entry last_of(struct server *server)
{
    pthread_mutex_lock(&server->mutex);
    struct mete_entry entry = server->last;
    pthread_mutex_unlock(&server->mutex);
    return entry;
}

static void set(struct server *server, bool *flag, bool value)
{
    pthread_mutex_lock(&server->mutex);
    *flag = value;
    pthread_mutex_unlock(&server->mutex);
}

static void wait_until(struct server *server, const unsigned *number, unsigned least)
{
    int64_t end_us = now_us() + PATIENCE_US;
    while (look(server, number) < least) {
        assert_true(now_us() < end_us);
        usleep(1000);
    }
}

static void acquire_renew_release(void **state)
{
    struct server *server = *state;
    struct mete_client_options options = options_of(server);
    struct mete_client *client;
    struct mete_answer answer;
    uint64_t id = 0;
    assert_int_equal(mete_client_open(&options, &client), 0);
    assert_int_equal(mete_client_acquire(client, &request, &id, &answer), 0);
    assert_true(id != 0);
    assert_int_equal(last_of(server).lease, id);
    assert_int_equal(last_of(server).rule, mete_name_id("jobs", 4));
    assert_int_equal(last_of(server).cost, 2);
    assert_true(answer.allowed && answer.source == METE_SOURCE_SERVER);
    assert_int_equal(answer.remaining, 3);
    assert_int_equal(answer.granted, 2);
    assert_int_equal(answer.reset_after_us, LEASE_US);
    uint64_t same = id; /* a given id is kept */
    assert_int_equal(mete_client_acquire(client, &request, &same, &answer), 0);
    assert_int_equal(last_of(server).lease, id);
    assert_int_equal(mete_client_renew(client, &request, id, &answer), 0);
    assert_true(answer.allowed);
    assert_int_equal(mete_client_release(client, &request, id, &answer), 0);
    assert_true(answer.allowed);
    /* known, so the fallback, which is to allow, does not decide */
    assert_int_equal(mete_client_release(client, &request, id, &answer), 0);
    assert_false(answer.allowed);
    assert_int_equal(answer.source, METE_SOURCE_SERVER);
    assert_int_equal(answer.status, METE_STATUS_UNKNOWN_LEASE);
    assert_int_equal(mete_client_renew(client, &request, id, &answer), 0);
    assert_false(answer.allowed);
    mete_client_close(client);
}

static void bad_use_sends_nothing(void **state)
{
    struct server *server = *state;
    struct mete_client_options options = options_of(server);
    struct mete_client *client;
    struct mete_answer answer;
    struct mete_lease *lease = (struct mete_lease *)1;
    struct mete_request bad = request;
    uint64_t id = 0;
    assert_int_equal(mete_client_open(&options, &client), 0);
    bad.subject_len = 0;
    assert_int_equal(mete_client_acquire(client, &bad, &id, &answer), -EINVAL);
    assert_int_equal(mete_lease_open(&options, &bad, &lease, &answer), -EINVAL);
    assert_null(lease);
    assert_int_equal(mete_client_acquire(client, &request, NULL, &answer), -EINVAL);
    bad = request;
    bad.flags = METE_FLAG_PEEK;
    assert_int_equal(mete_client_acquire(client, &bad, &id, &answer), -EINVAL);
    bad.flags = METE_FLAG_SHADOW;
    assert_int_equal(mete_client_renew(client, &bad, 1, &answer), -EINVAL);
    assert_int_equal(mete_client_release(client, &bad, 1, &answer), -EINVAL);
    assert_int_equal(id, 0);
    assert_int_equal(mete_client_acquire(client, &bad, &id, &answer), 0);
    assert_int_equal(look(server, &server->asked), 1);
    assert_int_equal(look(server, &server->last_flags), METE_FLAG_SHADOW | METE_FLAG_RAW_SUBJECT);
    mete_client_close(client);
    mete_lease_close(NULL);
}

static void a_lease_is_kept_up(void **state)
{
    struct server *server = *state;
    struct mete_client_options options = options_of(server);
    struct mete_lease *lease;
    struct mete_answer answer;
    char subject[] = "alice", rule[] = "jobs";
    struct mete_request own = {.rule = rule, .subject = subject, .subject_len = 5, .cost = 2};
    assert_int_equal(mete_lease_open(&options, &own, &lease, &answer), 0);
    assert_non_null(lease);
    memset(subject, 0, sizeof(subject)); /* copied */
    memset(rule, 0, sizeof(rule));
    wait_until(server, &server->renewed, 3);
    pthread_mutex_lock(&server->mutex);
    assert_int_equal(server->last.rule, mete_name_id("jobs", 4));
    server->held = 0; /* as after a restart */
    pthread_mutex_unlock(&server->mutex);
    wait_until(server, &server->acquired, 2);
    wait_until(server, &server->renewed, 5);
    mete_lease_close(lease);
    assert_int_equal(look(server, &server->released), 1);
}

static void lost_is_told(void **state)
{
    struct server *server = *state;
    struct mete_client_options options = options_of(server);
    struct mete_lease *lease;
    struct mete_answer answer;
    assert_int_equal(mete_lease_open(&options, &request, &lease, &answer), 0);
    pthread_mutex_lock(&server->mutex);
    server->held = 0;
    server->is_full = true; /* somebody else has it now */
    unsigned asked = server->asked;
    pthread_mutex_unlock(&server->mutex);
    int64_t end_us = now_us() + PATIENCE_US;
    while (mete_lease_is_held(lease))
        assert_true(now_us() < end_us);
    wait_until(server, &server->asked, asked + 4); /* it goes on trying */
    set(server, &server->is_full, false);
    while (!mete_lease_is_held(lease))
        assert_true(now_us() < end_us);
    mete_lease_close(lease);
    assert_int_equal(look(server, &server->released), 1);
}

static void denied_is_no_lease(void **state)
{
    struct server *server = *state;
    struct mete_client_options options = options_of(server);
    struct mete_lease *lease;
    struct mete_answer answer;
    set(server, &server->is_full, true);
    assert_int_equal(mete_lease_open(&options, &request, &lease, &answer), 0);
    assert_null(lease);
    assert_false(answer.allowed);
    assert_int_equal(answer.retry_after_us, LEASE_US);
    assert_int_equal(look(server, &server->asked), 1);
}

/* It may have been granted, so it is released, under the same id. */
static void silence_is_no_lease(void **state)
{
    struct server *server = *state;
    struct mete_client_options options = options_of(server);
    struct mete_lease *lease;
    struct mete_answer answer;
    options.timeout_us = 20000;
    set(server, &server->is_silent, true);
    assert_int_equal(mete_lease_open(&options, &request, &lease, &answer), 0);
    assert_null(lease);
    assert_int_equal(answer.source, METE_SOURCE_TIMEOUT);
    wait_until(server, &server->released, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(acquire_renew_release, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_use_sends_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lease_is_kept_up, setup, teardown),
        cmocka_unit_test_setup_teardown(lost_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(denied_is_no_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_is_no_lease, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
