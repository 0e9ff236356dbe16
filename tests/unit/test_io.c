/* Both backends behind the one interface, over loopback: what is sent arrives, once and in order,
 * joined or not; answers go back to who asked. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
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

static void open_all(struct fixture *f, enum io_backend backend, unsigned buffers)
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
BOTH(times_out)
BOTH(wrong_options)

#define TESTS(name) cmocka_unit_test(name##_io_uring), cmocka_unit_test(name##_mmsg)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TESTS(single_empty_and_large), TESTS(joined), TESTS(parts), TESTS(times_out),
        TESTS(wrong_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
