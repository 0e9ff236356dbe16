/* The doors' loop, served with a protocol of lines: what is pipelined comes back in order and
 * whole, who does not read holds up nobody, every limit ends a connection, and a new configuration
 * reaches the next batch. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <poll.h>
#include <unistd.h>

#include "doors/listen.h"
#include "doors/loop.h"
#include "engine/policy.h"

#define CONNECTIONS 3u
#define MS 1000000ull

static const char text[] = "tenants:\n"
                           "  - name: default\n"
                           "    rules:\n"
                           "      - {name: demo, algorithm: token_bucket, rate: 1/h, burst: 10}\n";

struct fixture {
    struct policy policies[2];
    struct publish *publish;
    struct table *table;
    struct counters *counters;
    struct rule_counters *rule_counters;
    struct loop *loop;
    struct sockaddr_storage address;
};

/* Answers each line with itself; "big" with a long one, "rules" with the number of rules of the
 * configuration, "bye" with a close. */
static enum loop_result consume(const struct loop_call *call, struct loop_input *in,
                                struct loop_output *out)
{
    static const char big[4000] = {[0 ... 3998] = 'x', [3999] = '\n'};
    while (out->size - out->len >= sizeof(big)) {
        const char *line = (const char *)in->bytes + in->used;
        const char *end = memchr(line, '\n', in->len - in->used);
        in->has_half = !end;
        if (!end)
            break;
        size_t len = (size_t)(end - line) + 1;
        in->used += len;
        if (len == 4 && memcmp(line, "big", 3) == 0) {
            loop_put(out, big, sizeof(big));
        } else if (len == 6 && memcmp(line, "rules", 5) == 0) {
            char number[16];
            loop_put(out, number,
                     (size_t)snprintf(number, sizeof(number), "%u\n",
                                      call->config->tenants[0].rule_count));
        } else {
            loop_put(out, line, len);
        }
        if (len == 4 && memcmp(line, "bye", 3) == 0)
            return LOOP_CLOSE;
    }
    return LOOP_GO_ON;
}

static const struct loop_protocol lines = {
    .name = "lines",
    .reply_bytes = 4000,
    .full = "full\n",
    .late = "late\n",
    .consume = consume,
};

static struct config *parse(const char *more)
{
    char all[1024], error[256];
    int len = snprintf(all, sizeof(all), "%s%s", text, more);
    struct config *config = config_parse("test", all, (size_t)len, error, sizeof(error));
    if (!config)
        fail_msg("%s", error);
    return config;
}

static int send_buffer; /* of what is accepted, in bytes; 0: the system's */

static struct fixture *make(uint64_t idle_ns)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->policies[0].config = parse("");
    f->policies[1].config =
        parse("      - {name: more, algorithm: token_bucket, rate: 1/h, burst: 10}\n");
    struct table_options table = {
        .entries = 1024, .owner_rows = 64, .index_secret = {1, 2}, .boot_id = 0x1234};
    assert_int_equal(table_create(&table, &f->table), 0);
    assert_int_equal(engine_bind_owners(f->table, f->policies[0].config), 0);
    f->counters = aligned_alloc(128, sizeof(*f->counters));
    memset(f->counters, 0, sizeof(*f->counters));
    f->rule_counters = calloc(64, sizeof(*f->rule_counters));
    assert_int_equal(publish_create(1, &f->policies[0], &f->publish), 0);
    struct loop_options options = {
        .publish = f->publish,
        .thread_count = 1,
        .config = f->policies[0].config,
        .table = f->table,
        .counters = f->counters,
        .rule_counters = f->rule_counters,
        .connections = CONNECTIONS,
        .idle_ns = idle_ns,
    };
    assert_int_equal(loop_open(&options, &f->loop), 0);
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&f->address;
    v4->sin_family = AF_INET;
    v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = -1;
    assert_int_equal(listen_open_tcp(&f->address, sizeof(*v4), &fd), 0);
    if (send_buffer)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
    assert_int_equal(loop_add(f->loop, fd, &lines, f), 0);
    assert_int_equal(loop_start(f->loop), 0);
    return f;
}

static void destroy(struct fixture *f)
{
    loop_close(f->loop);
    publish_destroy(f->publish);
    table_destroy(f->table);
    config_destroy(f->policies[0].config);
    config_destroy(f->policies[1].config);
    free(f->counters);
    free(f->rule_counters);
    free(f);
}

static int dial(const struct fixture *f)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&f->address, sizeof(struct sockaddr_in)),
                     0);
    return fd;
}

static void say(int fd, const char *words)
{
    assert_int_equal(send(fd, words, strlen(words), MSG_NOSIGNAL), strlen(words));
}

static void hear(int fd, const char *words)
{
    char got[256] = "";
    assert_true(strlen(words) < sizeof(got));
    assert_int_equal(recv(fd, got, strlen(words), MSG_WAITALL), strlen(words));
    assert_string_equal(got, words);
}

static void hear_end(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

static void what_is_pipelined_comes_back_in_order(void **state)
{
    struct fixture *f = make(60000 * MS);
    int a = dial(f), b = dial(f);
    (void)state;
    say(a, "one\ntwo\nthr");
    hear(a, "one\ntwo\n");
    say(b, "other\n");
    hear(b, "other\n");
    say(a, "ee\n");
    hear(a, "three\n");
    say(a, "last\nbye\nnever\n");
    hear(a, "last\nbye\n");
    hear_end(a);
    close(b);
    destroy(f);
}

/* 2,000 answers of 4,000 bytes are more than sockets and buffers hold: the loop has to stop reading
 * and go on later, while another connection is served. */
static void who_does_not_read_holds_up_nobody(void **state)
{
    struct fixture *f = make(60000 * MS);
    int greedy = dial(f), other = dial(f);
    static char got[4000];
    (void)state;
    for (int i = 0; i < 2000; i++)
        say(greedy, "big\n");
    say(greedy, "end\n");
    say(other, "hello\n");
    hear(other, "hello\n");
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(recv(greedy, got, sizeof(got), MSG_WAITALL), sizeof(got));
        assert_int_equal(got[0], 'x');
        assert_int_equal(got[3999], '\n');
    }
    hear(greedy, "end\n");
    close(greedy);
    close(other);
    destroy(f);
}

static void one_connection_too_many_is_told_so(void **state)
{
    struct fixture *f = make(60000 * MS);
    int held[CONNECTIONS];
    (void)state;
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        held[i] = dial(f);
        say(held[i], "in\n");
        hear(held[i], "in\n");
    }
    int more = dial(f);
    hear(more, "full\n");
    hear_end(more);
    say(held[0], "bye\n"); /* and its place is free again */
    hear(held[0], "bye\n");
    hear_end(held[0]);
    for (;;) { /* the loop may not have seen our close yet */
        held[0] = dial(f);
        say(held[0], "in\n");
        char got[4] = "";
        recv(held[0], got, 3, MSG_WAITALL);
        if (strcmp(got, "in\n") == 0)
            break;
        close(held[0]);
    }
    for (unsigned i = 0; i < CONNECTIONS; i++)
        close(held[i]);
    destroy(f);
}

static void silence_and_half_a_request_end(void **state)
{
    struct fixture *f = make(100 * MS);
    int silent = dial(f), half = dial(f);
    (void)state;
    say(half, "hal");
    hear(half, "late\n");
    hear_end(half);
    hear_end(silent);
    destroy(f);
}

/* Drop by drop: each byte is a sign of life, but the request never ends. */
static void a_dripping_request_ends_too(void **state)
{
    struct fixture *f = make(200 * MS);
    int fd = dial(f);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    (void)state;
    int drops = 0;
    while (poll(&polled, 1, 20) == 0 && drops < 10000 && send(fd, "x", 1, MSG_NOSIGNAL) == 1)
        drops++;
    assert_in_range(drops, 1, 9999);
    hear(fd, "late\n");
    close(fd);
    destroy(f);
}

/* A little now and then is progress, but all that waits has to be taken in doors.idle. */
static void who_reads_a_drop_at_a_time_ends(void **state)
{
    const int least = 1; /* the kernel knows better, and takes its own least */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pollfd polled = {.fd = fd, .events = 0};
    char some[256];
    unsigned drops = 0;
    (void)state;
    send_buffer = least;
    struct fixture *f = make(400 * MS);
    send_buffer = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
    assert_int_equal(connect(fd, (struct sockaddr *)&f->address, sizeof(struct sockaddr_in)), 0);
    for (unsigned i = 0; i < 100; i++)
        say(fd, "big\n");
    while (recv(fd, some, sizeof(some), 0) > 0 && poll(&polled, 1, 5) == 0 && drops < 4000)
        drops++;
    assert_true(drops * sizeof(some) < 100 * 4000 - 65536); /* it was ended, and not done */
    close(fd);
    destroy(f);
}

static void a_request_that_fills_the_buffer_ends(void **state)
{
    struct fixture *f = make(60000 * MS);
    int fd = dial(f);
    static char much[LOOP_INPUT_BYTES + 4096];
    (void)state;
    memset(much, 'y', sizeof(much));
    assert_int_equal(send(fd, much, sizeof(much), MSG_NOSIGNAL), sizeof(much));
    hear_end(fd);
    destroy(f);
}

static void a_new_configuration_reaches_the_next_batch(void **state)
{
    struct fixture *f = make(60000 * MS);
    int fd = dial(f);
    (void)state;
    say(fd, "rules\n");
    hear(fd, "1\n");
    assert_int_equal(engine_rebind_owners(f->table, f->policies[1].config), 0);
    publish_swap(f->publish, &f->policies[1]);
    publish_wait(f->publish);
    say(fd, "rules\n");
    hear(fd, "2\n");
    close(fd);
    destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_pipelined_comes_back_in_order),
        cmocka_unit_test(who_does_not_read_holds_up_nobody),
        cmocka_unit_test(one_connection_too_many_is_told_so),
        cmocka_unit_test(silence_and_half_a_request_end),
        cmocka_unit_test(a_dripping_request_ends_too),
        cmocka_unit_test(who_reads_a_drop_at_a_time_ends),
        cmocka_unit_test(a_request_that_fills_the_buffer_ends),
        cmocka_unit_test(a_new_configuration_reaches_the_next_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
