/* Backends that are paused: what they took comes, what arrives afterwards stays in the socket for
 * somebody else, and they go on where they stopped. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/io.h"
#include "net/socket.h"

#define WAIT_NS 20000000000ull /* against hanging */
#define DATAGRAMS 20u

struct fixture {
    int server, client;
    struct io *io;
};

static void open_all(struct fixture *f, enum io_backend backend, bool is_paused)
{
    struct sockaddr_storage address = {.ss_family = AF_INET};
    struct socket_options options = {0};
    struct timeval limit = {.tv_sec = 20};
    ((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(
        socket_open_group(&address, sizeof(struct sockaddr_in), &options, &f->server, 1), 0);
    f->client = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(connect(f->client, (struct sockaddr *)&address, sizeof(struct sockaddr_in)),
                     0);
    setsockopt(f->client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    struct io_options io = {
        .sockets = &f->server, .socket_count = 1, .buffers = 64, .is_paused = is_paused};
    int result = io_open(backend, &io, &f->io);
    if (backend == IO_BACKEND_IO_URING &&
        (result == -EPERM || result == -ENOSYS || result == -EINVAL || result == -EOPNOTSUPP))
        skip(); /* forbidden here, or too old to be paused */
    assert_int_equal(result, 0);
}

static void close_all(struct fixture *f)
{
    io_close(f->io);
    close(f->server);
    close(f->client);
}

static void say(const struct fixture *f, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++)
        assert_int_equal(send(f->client, &i, sizeof(i), 0), sizeof(i));
}

/* Answers what one receive brings, which must be what was said from `next` on. Returns how many. */
static unsigned echo(struct fixture *f, uint64_t wait_ns, unsigned next)
{
    struct io_message *messages;
    int count = io_receive(f->io, wait_ns, &messages);
    assert_in_range(count, 0, IO_BATCH);
    for (int i = 0; i < count; i++) {
        unsigned number;
        assert_int_equal(messages[i].len, sizeof(number));
        memcpy(&number, messages[i].data, sizeof(number));
        assert_int_equal(number, next + (unsigned)i);
        io_reply(f->io, &messages[i], 0, messages[i].len, messages[i].segment);
    }
    if (count)
        io_send(f->io);
    return (unsigned)count;
}

static void hear(const struct fixture *f, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        unsigned number;
        assert_int_equal(recv(f->client, &number, sizeof(number), 0), sizeof(number));
        assert_int_equal(number, i);
    }
}

static unsigned take_from_socket(const struct fixture *f, unsigned next)
{
    unsigned count = 0, number;
    while (recv(f->server, &number, sizeof(number), MSG_DONTWAIT) == sizeof(number))
        assert_int_equal(number, next + count++);
    return count;
}

/* All that was said is either answered or waits in the socket, wherever the pause came. */
static void nothing_is_lost(enum io_backend backend)
{
    struct fixture f;
    open_all(&f, backend, false);
    unsigned next = 0;
    for (unsigned round = 0; round < 50; round++) {
        say(&f, next, DATAGRAMS);
        unsigned answered = round % 2 ? echo(&f, WAIT_NS, next) : 0;
        assert_int_equal(io_pause(f.io), 0);
        for (unsigned got; (got = echo(&f, WAIT_NS, next + answered)) > 0;)
            answered += got;
        hear(&f, next, answered);
        say(&f, next + DATAGRAMS, 1); /* too late for this one */
        assert_int_equal(echo(&f, WAIT_NS, 0), 0);
        unsigned left = take_from_socket(&f, next + answered);
        assert_int_equal(answered + left, DATAGRAMS + 1);
        io_resume(f.io);
        next += DATAGRAMS + 1;
    }
    struct io_counters counters = f.io->operations->counters(f.io);
    assert_int_equal(counters.receive_errors + counters.send_errors, 0);
    close_all(&f);
}

static void goes_on(enum io_backend backend)
{
    struct fixture f;
    open_all(&f, backend, false);
    for (unsigned round = 0; round < 20; round++) {
        unsigned next = round * DATAGRAMS, answered = 0;
        assert_int_equal(io_pause(f.io), 0);
        assert_int_equal(io_pause(f.io), 0); /* twice is once */
        assert_int_equal(echo(&f, WAIT_NS, 0), 0);
        say(&f, next, DATAGRAMS);
        io_resume(f.io);
        while (answered < DATAGRAMS)
            answered += echo(&f, WAIT_NS, next + answered);
        hear(&f, next, DATAGRAMS);
    }
    close_all(&f);
}

/* As a process that is to take another's place opens it. */
static void begins_paused(enum io_backend backend)
{
    struct fixture f;
    open_all(&f, backend, true);
    say(&f, 0, DATAGRAMS);
    assert_int_equal(echo(&f, WAIT_NS, 0), 0);
    assert_int_equal(take_from_socket(&f, 0), DATAGRAMS);
    say(&f, 0, DATAGRAMS);
    io_resume(f.io);
    for (unsigned answered = 0; answered < DATAGRAMS;)
        answered += echo(&f, WAIT_NS, answered);
    hear(&f, 0, DATAGRAMS);
    close_all(&f);
}

#define BOTH(name)                                                                                 \
    static void name##_io_uring(void **state)                                                      \
    {                                                                                              \
        (void)state;                                                                               \
        name(IO_BACKEND_IO_URING);                                                                 \
    }                                                                                              \
    static void name##_mmsg(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        name(IO_BACKEND_MMSG);                                                                     \
    }

BOTH(nothing_is_lost)
BOTH(goes_on)
BOTH(begins_paused)

#define TESTS(name) cmocka_unit_test(name##_io_uring), cmocka_unit_test(name##_mmsg)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TESTS(nothing_is_lost),
        TESTS(goes_on),
        TESTS(begins_paused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
