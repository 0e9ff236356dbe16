/* Both backends behind the one interface, over loopback: what is sent arrives, once and in order,
 * joined or not; answers go back to who asked. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/io.h"
#include "net/socket.h"

#define WAIT_NS 20000000000ull /* against hanging */

struct fixture {
    int server, client;
    struct io *io;
};

static void skip_without(enum io_backend backend, int result)
{
    if (backend == IO_BACKEND_IO_URING &&
        (result == -EPERM || result == -ENOSYS || result == -EINVAL))
        skip(); /* forbidden here */
    assert_int_equal(result, 0);
}

static void open_sockets(struct fixture *f)
{
    struct sockaddr_storage address = {.ss_family = AF_INET};
    struct timeval limit = {.tv_sec = 20};
    ((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct socket_options options = {.join = true};
    assert_int_equal(
        socket_open_group(&address, sizeof(struct sockaddr_in), &options, &f->server, 1), 0);
    f->client = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(connect(f->client, (struct sockaddr *)&address, sizeof(struct sockaddr_in)),
                     0);
    setsockopt(f->client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(f->client, SOL_SOCKET, SO_RCVBUF, &(int){4 << 20}, sizeof(int));
}

static void open_all(struct fixture *f, enum io_backend backend, unsigned buffers)
{
    open_sockets(f);
    struct io_options io = {.sockets = &f->server, .socket_count = 1, .buffers = buffers};
    skip_without(backend, io_open(backend, &io, &f->io));
}

static void close_all(struct fixture *f)
{
    io_close(f->io);
    close(f->server);
    close(f->client);
}

static void say(const struct fixture *f, const void *data, size_t len)
{
    assert_int_equal(send(f->client, data, len, 0), len);
}

/* Echoes everything until `datagrams` of them have been answered. */
static void echo(struct fixture *f, unsigned datagrams)
{
    for (unsigned done = 0; done < datagrams;) {
        struct io_message *messages;
        int count = io_receive(f->io, WAIT_NS, &messages);
        assert_in_range(count, 1, IO_BATCH);
        for (int i = 0; i < count; i++) {
            assert_false(messages[i].truncated);
            if (!messages[i].len) {
                done++;
                continue;
            }
            io_reply(f->io, &messages[i], 0, messages[i].len, messages[i].segment);
            done += (messages[i].len + messages[i].segment - 1) / messages[i].segment;
        }
        io_send(f->io);
    }
}

static void hear(const struct fixture *f, const uint8_t *data, size_t len)
{
    static uint8_t got[65536];
    assert_int_equal(recv(f->client, got, sizeof(got), 0), len);
    assert_memory_equal(got, data, len);
}

static void single_empty_and_large(enum io_backend backend)
{
    struct fixture f;
    static uint8_t data[65507];
    open_all(&f, backend, IO_BATCH);
    for (int round = 0; round < 300; round++) { /* more than there are buffers */
        memset(data, round, sizeof(data));
        size_t len = round % 50 ? 1 + (size_t)round * 7 % 1400 : sizeof(data);
        say(&f, data, 0);
        say(&f, data, len);
        echo(&f, 2);
        hear(&f, data, len);
    }
    struct io_counters counters = f.io->operations->counters(f.io);
    assert_int_equal(counters.send_errors + counters.receive_errors + counters.send_plain, 0);
    close_all(&f);
}

static void joined(enum io_backend backend)
{
    struct fixture f;
    static uint8_t data[64 * 100];
    int segment = 100;
    open_all(&f, backend, IO_BATCH);
    assert_int_equal(setsockopt(f.client, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)), 0);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i / 100);
    for (size_t count = 2; count <= 64; count += 31) {
        say(&f, data, count * 100 - 30);
        echo(&f, (unsigned)count);
        for (size_t i = 0; i < count; i++)
            hear(&f, data + i * 100, i + 1 < count ? 100 : 70);
    }
    close_all(&f);
}

/* Part of a message is an answer too, and there may be several per message; more than the send
 * queue holds go out as well. */
static void parts(enum io_backend backend)
{
    struct fixture f;
    static uint8_t data[IO_BATCH][60];
    open_all(&f, backend, IO_BATCH);
    for (unsigned i = 0; i < IO_BATCH; i++) {
        memset(data[i], (int)i, sizeof(data[i]));
        say(&f, data[i], sizeof(data[i]));
    }
    for (unsigned seen = 0; seen < IO_BATCH;) {
        struct io_message *messages;
        int count = io_receive(f.io, WAIT_NS, &messages);
        assert_in_range(count, 1, IO_BATCH);
        seen += (unsigned)count;
        for (int i = 0; i < count; i++)
            for (uint32_t part = 0; part < 6; part++)
                io_reply(f.io, &messages[i], part * 10, 10, 10);
        io_send(f.io);
    }
    for (unsigned i = 0; i < IO_BATCH * 6; i++)
        hear(&f, data[i / 6], 10);
    close_all(&f);
}

/* A refused answer of one send is not mistaken for a joined one of the next that has its place: it
 * counts once, and nothing goes out twice. */
static void refused_answers_stay_apart(enum io_backend backend)
{
    struct fixture f;
    uint8_t data[60], late;
    open_all(&f, backend, IO_BATCH);
    memset(data, 7, sizeof(data));
    say(&f, data, sizeof(data));
    struct io_message *messages;
    assert_int_equal(io_receive(f.io, WAIT_NS, &messages), 1);
    io_reply(f.io, &messages[0], 0, 65535, 65535); /* longer than a datagram can be: EMSGSIZE */
    for (unsigned i = 1; i < 256; i++)             /* as many as are sent at once */
        io_reply(f.io, &messages[0], 0, 10, 10);
    for (unsigned i = 0; i < 2; i++) /* joined, and in the places of the first */
        io_reply(f.io, &messages[0], 0, 20, 10);
    io_send(f.io);
    assert_int_equal(io_receive(f.io, 0, &messages), 0);
    struct io_counters counters = f.io->operations->counters(f.io);
    assert_int_equal(counters.send_errors, 1);
    assert_int_equal(counters.send_plain, 0);
    for (unsigned i = 0; i < 255 + 4; i++)
        hear(&f, data, 10);
    assert_int_equal(recv(f.client, &late, 1, MSG_DONTWAIT), -1);
    close_all(&f);
}

#if defined(__x86_64__)
/* io_uring_enter() that is to submit exactly one fails with EAGAIN on this thread from now on, as
 * if there were no memory for a request. */
static bool refuse_single_submissions(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_enter, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

struct unsubmitted {
    struct fixture f;
    int result; /* of io_open() */
    int received;
    bool is_filtered;
    uint64_t send_errors;
};

/* A thread of its own, which ends with its filter; cmocka wants the assertions elsewhere. */
static void *unsubmitted_thread(void *argument)
{
    struct unsubmitted *u = argument;
    struct io_options options = {.sockets = &u->f.server, .socket_count = 1, .buffers = IO_BATCH};
    struct io_message *messages;
    struct io *io;
    u->result = io_open(IO_BACKEND_IO_URING, &options, &io);
    if (u->result)
        return NULL;
    u->received = io_receive(io, WAIT_NS, &messages);
    u->is_filtered = refuse_single_submissions();
    if (u->received == 1 && u->is_filtered) {
        io_reply(io, &messages[0], 0, 10, 10);
        io_send(io);
        io_reply(io, &messages[0], 20, 10, 10); /* nothing has arrived: the bytes still stand */
        io_reply(io, &messages[0], 40, 10, 10);
        io_send(io);
    }
    u->send_errors = io->operations->counters(io).send_errors;
    io_close(io);
    return NULL;
}

/* An answer that could not be submitted is lost and counted; it never goes out later with what then
 * stands in its place. */
static void unsubmitted_answers_are_lost(void **unused)
{
    (void)unused;
    struct unsubmitted u = {.result = 0};
    uint8_t data[60];
    pthread_t thread;
    open_sockets(&u.f);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;
    say(&u.f, data, sizeof(data));
    assert_int_equal(pthread_create(&thread, NULL, unsubmitted_thread, &u), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    skip_without(IO_BACKEND_IO_URING, u.result);
    assert_int_equal(u.received, 1);
    assert_true(u.is_filtered);
    hear(&u.f, data + 20, 10);
    hear(&u.f, data + 40, 10);
    assert_int_equal(recv(u.f.client, data, sizeof(data), MSG_DONTWAIT), -1);
    assert_int_equal(u.send_errors, 1);
    close(u.f.server);
    close(u.f.client);
}
#endif

static void times_out(enum io_backend backend)
{
    struct fixture f;
    struct io_message *messages;
    open_all(&f, backend, IO_BATCH);
    assert_int_equal(io_receive(f.io, 0, &messages), 0);
    assert_int_equal(io_receive(f.io, 1000000, &messages), 0);
    close_all(&f);
}

static void wrong_options(enum io_backend backend)
{
    int sockets[17] = {0};
    struct io *io = NULL;
    struct io_options options = {.sockets = sockets, .socket_count = 0, .buffers = IO_BATCH};
    assert_int_equal(io_open(backend, &options, &io), -EINVAL);
    options.socket_count = 17;
    assert_int_equal(io_open(backend, &options, &io), -EINVAL);
    assert_null(io);
}

#define BOTH(name)                                                                                 \
    static void name##_io_uring(void **unused)                                                     \
    {                                                                                              \
        (void)unused;                                                                              \
        name(IO_BACKEND_IO_URING);                                                                 \
    }                                                                                              \
    static void name##_mmsg(void **unused)                                                         \
    {                                                                                              \
        (void)unused;                                                                              \
        name(IO_BACKEND_MMSG);                                                                     \
    }

BOTH(single_empty_and_large)
BOTH(joined)
BOTH(parts)
BOTH(refused_answers_stay_apart)
BOTH(times_out)
BOTH(wrong_options)

#define TESTS(name) cmocka_unit_test(name##_io_uring), cmocka_unit_test(name##_mmsg)

int main(void)
{
    const struct CMUnitTest tests[] = {
#if defined(__x86_64__)
        cmocka_unit_test(unsubmitted_answers_are_lost),
#endif
        TESTS(single_empty_and_large),
        TESTS(joined),
        TESTS(parts),
        TESTS(refused_answers_stay_apart),
        TESTS(times_out),
        TESTS(wrong_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
