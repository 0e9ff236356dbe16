/* The null echo: a server that sends every datagram back as it came and does nothing else. It is
 * the ceiling that mete is compared with.
 *
 * Three ways: over net/io.h with each of mete's own backends, so that what is left between the two
 * is the limiter; and --plain, the most ordinary recvmmsg/sendmmsg loop there is, so that the
 * ceiling does not rest on our backends being good.
 *
 *   echo [--host 127.0.0.1] [--port N] [--backend io_uring|mmsg [--spin-us N] | --plain] [--join]
 *        [--interface NAME [--ring N] [--carry]]   by AF_XDP what comes over that one
 *
 * Prints its address on stderr when it is ready; ends on SIGTERM. One thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "mete/wire.h"
#include "net/io.h"
#include "net/socket.h"
#include "net/xdp.h"

#define PLAIN_BATCH 64

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static int fail(const char *what, int error)
{
    fprintf(stderr, "echo: %s: %s\n", what, strerror(error));
    return 2;
}

static int serve_plain(int fd)
{
    static uint8_t data[PLAIN_BATCH][METE_WIRE_MAX_BYTES];
    static struct sockaddr_storage peers[PLAIN_BATCH];
    struct iovec parts[PLAIN_BATCH];
    struct mmsghdr messages[PLAIN_BATCH];
    const struct timeval wake = {.tv_usec = 100000}; /* to see the stop flag */

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wake, sizeof(wake));
    while (!stop) {
        for (int i = 0; i < PLAIN_BATCH; i++) {
            parts[i] = (struct iovec){data[i], sizeof(data[i])};
            messages[i].msg_hdr = (struct msghdr){.msg_name = &peers[i],
                                                  .msg_namelen = sizeof(peers[i]),
                                                  .msg_iov = &parts[i],
                                                  .msg_iovlen = 1};
        }
        const int count = recvmmsg(fd, messages, PLAIN_BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < count; i++)
            parts[i].iov_len = messages[i].msg_len;
        if (count > 0)
            sendmmsg(fd, messages, (unsigned)count, 0);
    }
    return 0;
}

static int serve_io(int fd, enum io_backend backend, uint64_t spin_ns, struct xdp *xdp)
{
    const struct io_options options = {
        .sockets = &fd, .socket_count = 1, .buffers = IO_BATCH * 2, .xdp = xdp, .worker_count = 1};
    struct io *io;
    int error = io_open(backend, &options, &io);

    if (error < 0)
        return fail("backend", -error);
    while (!stop) {
        struct io_message *messages;
        const int count = io_receive_spinning(io, spin_ns, 100000000, &messages);
        if (count < 0) {
            error = count;
            break;
        }
        for (int i = 0; i < count; i++)
            if (!messages[i].truncated)
                io_reply(io, &messages[i], 0, messages[i].len, messages[i].segment);
        if (count > 0)
            io_send(io);
    }
    io_close(io);
    return error < 0 ? fail("receive", -error) : 0;
}

/* NULL: it cannot be had, and why was said. */
static struct xdp *open_interface(const char *name, unsigned long ring, bool carry,
                                  const struct sockaddr_storage *address)
{
    const struct xdp_open_options options = {.interface = name,
                                             .ring = (uint32_t)ring,
                                             .carry = carry,
                                             .targets = address,
                                             .target_count = 1};
    struct xdp *xdp = NULL;
    enum xdp_step step;
    const int error = xdp_open(&options, &xdp, &step);
    if (error)
        fail(name, -error);
    return xdp;
}

struct options {
    const char *host;
    const char *interface;
    unsigned long port;
    unsigned long ring;
    enum io_backend backend;
    unsigned long spin_us;
    int plain;
    int join;
    bool carry;
};

static int parse(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"host", required_argument, NULL, 'h'},    {"port", required_argument, NULL, 'p'},
        {"backend", required_argument, NULL, 'b'}, {"interface", required_argument, NULL, 'i'},
        {"plain", no_argument, NULL, 'P'},         {"join", no_argument, NULL, 'j'},
        {"spin-us", required_argument, NULL, 's'}, {"ring", required_argument, NULL, 'r'},
        {"carry", no_argument, NULL, 'c'},         {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'h')
            options->host = optarg;
        else if (option == 'p')
            options->port = strtoul(optarg, NULL, 10);
        else if (option == 'b' && strcmp(optarg, "io_uring") == 0)
            options->backend = IO_BACKEND_IO_URING;
        else if (option == 'b' && strcmp(optarg, "mmsg") == 0)
            options->backend = IO_BACKEND_MMSG;
        else if (option == 'i')
            options->interface = optarg;
        else if (option == 'r')
            options->ring = strtoul(optarg, NULL, 10);
        else if (option == 'c')
            options->carry = true;
        else if (option == 's')
            options->spin_us = strtoul(optarg, NULL, 10);
        else if (option == 'P')
            options->plain = 1;
        else if (option == 'j')
            options->join = 1;
        else
            return -1;
    }
    return options->port > 65535 || optind < argc ? -1 : 0;
}

int main(int argc, char **argv)
{
    struct options options = {.host = "127.0.0.1", .backend = IO_BACKEND_MMSG};
    struct sockaddr_storage storage = {0};
    struct sockaddr_in *address = (struct sockaddr_in *)&storage;
    const struct sigaction action = {.sa_handler = on_signal};
    char text[64];
    int fd;

    if (parse(argc, argv, &options) < 0 ||
        inet_pton(AF_INET, options.host, &address->sin_addr) != 1) {
        fprintf(stderr, "usage: echo [--host IPv4] [--port N] [--backend io_uring|mmsg "
                        "[--spin-us N] | --plain] [--join] [--interface NAME [--ring N] "
                        "[--carry]]\n");
        return 2;
    }
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    address->sin_family = AF_INET;
    address->sin_port = htons((uint16_t)options.port);
    const struct socket_options how = {.receive_buffer_bytes = 4 << 20,
                                       .join = options.join && !options.plain};
    const int error = socket_open_group(&storage, sizeof(*address), &how, &fd, 1);
    if (error < 0)
        return fail("bind", -error);
    struct xdp *xdp = NULL;
    if (options.interface) {
        options.backend = IO_BACKEND_AF_XDP;
        xdp = open_interface(options.interface, options.ring, options.carry, &storage);
        if (!xdp)
            return 2;
    }
    socket_format_address((const struct sockaddr *)&storage, text, sizeof(text));
    fprintf(stderr, "echo: ready, udp %s, %s\n", text,
            options.plain                            ? "plain recvmmsg/sendmmsg"
            : xdp                                    ? "af_xdp"
            : options.backend == IO_BACKEND_IO_URING ? "io_uring"
                                                     : "mmsg");
    if (options.plain) {
        /* Made blocking again: what waits is the call itself. */
        const int flags = fcntl(fd, F_GETFL);
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    }
    const int status = options.plain ? serve_plain(fd)
                                     : serve_io(fd, options.backend, options.spin_us * 1000, xdp);
    xdp_close(xdp);
    socket_close_group(&fd, 1);
    return status;
}
