/* A bad network in a box: a UDP proxy before a server on loopback that loses, duplicates, delays
 * and so reorders datagrams, in both directions, by a seed.
 *
 *   lossy_proxy SERVER_PORT SEED LOSS DUPLICATION REORDERING DELAY_US LATE
 *
 * LOSS, DUPLICATION, REORDERING and LATE are parts of 1000. A copy that is picked for reordering
 * waits up to DELAY_US, a late one up to half a second, the others not at all. Requests leave by
 * one of eight sockets at random, so the copies of one may reach different workers. Answers go to
 * whoever sent last. Prints `port N`, ends when its standard input does, with one line of counts.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/random.h"

#define MAX_BYTES 1500u
#define UPSTREAMS 8u
#define ROOM 16384u /* copies that wait at a time; more are sent at once */
#define LATE_NS 500000000ull

struct copy {
    uint64_t due_ns;
    uint32_t len;
    bool is_answer;
    uint8_t bytes[MAX_BYTES];
};

struct direction {
    uint64_t received, lost, duplicated, delayed;
};

static struct {
    int client; /* where clients send to */
    int upstreams[UPSTREAMS];
    struct sockaddr_in peer;
    unsigned loss, duplication, reordering, late;
    uint64_t delay_ns;
    uint64_t random;
    struct direction requests, answers;
    struct copy copies[ROOM];
    uint32_t heap[ROOM]; /* of copies, by due_ns; behind heap_count the free ones */
    uint32_t heap_count;
} proxy;

static uint64_t next_random(void)
{
    return random_next(&proxy.random);
}

static uint64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t due_at(uint32_t place)
{
    return proxy.copies[proxy.heap[place]].due_ns;
}

static void heap_exchange(uint32_t a, uint32_t b)
{
    uint32_t kept = proxy.heap[a];

    proxy.heap[a] = proxy.heap[b];
    proxy.heap[b] = kept;
}

static void heap_push(void) /* the copy at heap_count, filled */
{
    uint32_t at = proxy.heap_count++;

    for (; at && due_at(at) < due_at((at - 1) / 2); at = (at - 1) / 2)
        heap_exchange(at, (at - 1) / 2);
}

static void heap_pop(void)
{
    uint32_t at = 0;

    heap_exchange(0, --proxy.heap_count);
    for (;;) {
        uint32_t least = at;

        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2; child++)
            if (child < proxy.heap_count && due_at(child) < due_at(least))
                least = child;
        if (least == at)
            return;
        heap_exchange(at, least);
        at = least;
    }
}

static void pass_on(const uint8_t *bytes, uint32_t len, bool is_answer)
{
    if (is_answer)
        sendto(proxy.client, bytes, len, 0, (struct sockaddr *)&proxy.peer, sizeof proxy.peer);
    else
        send(proxy.upstreams[next_random() % UPSTREAMS], bytes, len, 0);
}

static void submit_copy(const uint8_t *bytes, uint32_t len, bool is_answer, uint64_t now_ns)
{
    struct direction *direction = is_answer ? &proxy.answers : &proxy.requests;
    unsigned fate = (unsigned)(next_random() % 1000);
    uint64_t most_ns = fate < proxy.late ? LATE_NS : proxy.delay_ns;

    if (fate >= proxy.late + proxy.reordering || proxy.heap_count == ROOM) {
        pass_on(bytes, len, is_answer);
        return;
    }
    struct copy *copy = &proxy.copies[proxy.heap[proxy.heap_count]];

    copy->due_ns = now_ns + next_random() % (most_ns + 1);
    copy->len = len;
    copy->is_answer = is_answer;
    memcpy(copy->bytes, bytes, len);
    heap_push();
    direction->delayed++;
}

static void submit(const uint8_t *bytes, uint32_t len, bool is_answer, uint64_t now_ns)
{
    struct direction *direction = is_answer ? &proxy.answers : &proxy.requests;

    direction->received++;
    if (next_random() % 1000 < proxy.loss) {
        direction->lost++;
        return;
    }
    submit_copy(bytes, len, is_answer, now_ns);
    if (next_random() % 1000 < proxy.duplication) {
        direction->duplicated++;
        submit_copy(bytes, len, is_answer, now_ns);
    }
}

static void drain(int fd, bool is_answer, uint64_t now_ns)
{
    uint8_t bytes[MAX_BYTES];
    socklen_t size = sizeof proxy.peer;
    ssize_t len;

    for (unsigned i = 0; i < 64; i++) {
        len = recvfrom(fd, bytes, sizeof bytes, MSG_DONTWAIT,
                       is_answer ? NULL : (struct sockaddr *)&proxy.peer, is_answer ? NULL : &size);
        if (len < 0)
            return;
        submit(bytes, (uint32_t)len, is_answer, now_ns);
    }
}

static int make_socket(const struct sockaddr_in *server)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20;

    if (fd < 0 || (server ? connect(fd, (const struct sockaddr *)server, sizeof *server)
                          : bind(fd, (struct sockaddr *)&any, sizeof any))) {
        perror("lossy_proxy");
        exit(2);
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    return fd;
}

static void serve(void)
{
    struct pollfd fds[UPSTREAMS + 2];

    for (unsigned i = 0; i < UPSTREAMS; i++)
        fds[i] = (struct pollfd){.fd = proxy.upstreams[i], .events = POLLIN};
    fds[UPSTREAMS] = (struct pollfd){.fd = proxy.client, .events = POLLIN};
    fds[UPSTREAMS + 1] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    while (!fds[UPSTREAMS + 1].revents) {
        uint64_t now_ns = clock_ns();

        for (; proxy.heap_count && due_at(0) <= now_ns; heap_pop()) {
            const struct copy *copy = &proxy.copies[proxy.heap[0]];

            pass_on(copy->bytes, copy->len, copy->is_answer);
        }
        uint64_t wait_ns = proxy.heap_count ? due_at(0) - now_ns : 1000000000;
        struct timespec wait = {(time_t)(wait_ns / 1000000000), (long)(wait_ns % 1000000000)};

        if (ppoll(fds, UPSTREAMS + 2, &wait, NULL) <= 0)
            continue;
        now_ns = clock_ns();
        for (unsigned i = 0; i < UPSTREAMS; i++)
            if (fds[i].revents)
                drain(fds[i].fd, true, now_ns);
        if (fds[UPSTREAMS].revents)
            drain(proxy.client, false, now_ns);
    }
}

static void report(const char *name, const struct direction *direction)
{
    printf(" %s %llu lost %llu duplicated %llu delayed %llu", name,
           (unsigned long long)direction->received, (unsigned long long)direction->lost,
           (unsigned long long)direction->duplicated, (unsigned long long)direction->delayed);
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "usage: lossy_proxy SERVER_PORT SEED LOSS DUPLICATION REORDERING DELAY_US "
                        "LATE (parts of 1000)\n");
        return 2;
    }
    struct sockaddr_in server = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in own;
    socklen_t size = sizeof own;

    proxy.random = strtoull(argv[2], NULL, 0);
    proxy.loss = (unsigned)strtoul(argv[3], NULL, 10);
    proxy.duplication = (unsigned)strtoul(argv[4], NULL, 10);
    proxy.reordering = (unsigned)strtoul(argv[5], NULL, 10);
    proxy.delay_ns = strtoull(argv[6], NULL, 10) * 1000;
    proxy.late = (unsigned)strtoul(argv[7], NULL, 10);
    for (uint32_t i = 0; i < ROOM; i++)
        proxy.heap[i] = i;
    for (unsigned i = 0; i < UPSTREAMS; i++)
        proxy.upstreams[i] = make_socket(&server);
    proxy.client = make_socket(NULL);
    if (getsockname(proxy.client, (struct sockaddr *)&own, &size)) {
        perror("lossy_proxy");
        return 2;
    }
    printf("port %u\n", ntohs(own.sin_port));
    fflush(stdout);
    serve();
    report("requests", &proxy.requests);
    report("answers", &proxy.answers);
    printf("\n");
    return 0;
}
