/* How long a server takes for a datagram while nobody takes its processor, or the asker's, away;
 * beside a null echo (bench/echo), asked in turns with it, datagram by datagram.
 *
 *   undisturbed --port P --pid PID --echo-port P --echo-pid PID --cpu C
 *               [--seconds S [--windows W]] [--rate N] [--keys N]
 *
 * On a virtual machine the tail of any latency is the host's: of 1,000 datagrams one meets a
 * processor that runs somebody else. What it would have been is not known, so such a datagram must
 * not count; and which it was must not be guessed from its latency, or a slow server would look
 * like a bad host. It is known from elsewhere: the kernel's CPU clocks stand still while the host
 * runs somebody else (steal), or the core another thread. So a thread of this program burns
 * what the core C of both servers leaves over (which keeps that core from sleeping, too), and a
 * trip is disturbed if the clocks of servers and burner together, or that of the asking thread,
 * fell behind by more than MOST_DISTURBED_NS, and a DISTURBED_PARTth of the trip, until the next. A
 * server that works longer, or sleeps where it should work, has its own clock or the burner's run
 * on: that is no disturbance, and counts. (A process's clock says what its threads used up to when
 * they last slept: the next trip comes when the server has gone to sleep again.)
 *
 * One datagram at a time, at even instants where that is possible, so that none waits for another.
 * Threads of the servers that answer must be on core C, at a priority of SCHED_RR above
 * PRIORITY, and this program on another core; there it has that priority itself, and the burner on
 * core C, so that on a crowded machine, too, nobody else runs on these two but for what the kernel
 * leaves them (a twentieth). Prints one line of JSON for each of W times S seconds: for both
 * servers trips, how many of them were undisturbed, percentiles in us of those, and p99.9 of all.
 * Linux, x86-64. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "mete/wire.h"
#include "obs/histogram.h"

#define MOST_DISTURBED_NS 3000
#define DISTURBED_PART 20u /* of a trip that takes long, so much more */
#define PRIORITY 1
#define LOST_NS 1000000000u
#define HELLO_ENTRY_BYTES 32u
#define BEFORE_TICK_NS 150000u
#define AFTER_TICK_NS 100000u
#define FIRST_TRIPS 20u /* of each window, while caches warm */

struct server {
    int fd;
    bool is_echo;
    clockid_t clock; /* of its process */
    uint64_t lost;
    struct histogram all, clean;
};

enum who { WHO_NODE, WHO_ECHO, WHO_COUNT };

struct asker {
    struct server servers[WHO_COUNT];
    clockid_t burner;
    uint32_t sequence, keys;
    uint64_t interval_ns;
    uint32_t clock_ms;    /* the server's, */
    uint64_t clock_at_ns; /* then */
    struct mete_header header;
    uint64_t tick_ns, tick_at_ns, coarse_ns;
};

struct clocks {       /* read in this order, each time */
    uint64_t core_ns; /* of who runs on the servers' core */
    uint64_t own_ns, wall_ns;
};

static int fail(const char *what)
{
    fprintf(stderr, "undisturbed: %s: %s\n", what, strerror(errno));
    return -1;
}

static uint64_t read_ns(clockid_t clock)
{
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct clocks read_clocks(const struct asker *asker)
{
    struct clocks clocks = {.core_ns = read_ns(asker->burner)};
    for (unsigned i = 0; i < WHO_COUNT; i++)
        clocks.core_ns += read_ns(asker->servers[i].clock);
    clocks.own_ns = read_ns(CLOCK_THREAD_CPUTIME_ID);
    clocks.wall_ns = read_ns(CLOCK_MONOTONIC);
    return clocks;
}

static void *burn(void *unused)
{
    for (;;)
        __builtin_ia32_pause();
    return unused;
}

/* This thread goes before ordinary ones; so does the burner, which it starts. */
static int start_burner(struct asker *asker, int cpu)
{
    pthread_t thread;
    pthread_attr_t attributes;
    const struct sched_param priority = {.sched_priority = PRIORITY};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    pthread_attr_init(&attributes);
    pthread_attr_setaffinity_np(&attributes, sizeof(set), &set);
    if (sched_setscheduler(0, SCHED_RR, &priority) < 0)
        return fail("SCHED_RR");
    errno = pthread_create(&thread, &attributes, burn, NULL);
    if (errno == 0)
        errno = pthread_getcpuclockid(thread, &asker->burner);
    pthread_attr_destroy(&attributes);
    return errno == 0 ? 0 : fail("no thread on the servers' core");
}

/* Until the answer to this request is in `bytes`: when it came; 0: it did not. */
static uint64_t trip(const struct server *server, uint8_t *bytes, size_t len)
{
    const size_t sequence_at = server->is_echo ? 12 : 4;
    const uint32_t sequence = mete_wire_get32(bytes + 12);
    const uint64_t until_ns = read_ns(CLOCK_MONOTONIC) + LOST_NS;
    if (send(server->fd, bytes, len, 0) < 0)
        return 0;
    for (;;) {
        const ssize_t got = recv(server->fd, bytes, METE_WIRE_MAX_BYTES, MSG_DONTWAIT);
        const uint64_t now_ns = read_ns(CLOCK_MONOTONIC);
        if (got >= 16 && mete_wire_get32(bytes + sequence_at) == sequence)
            return now_ns;
        if (now_ns > until_ns)
            return 0;
    }
}

/* Clock and boot bits of the server. */
static int greet(struct asker *asker)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES] = {0};
    struct mete_header header = asker->header;
    const size_t len = mete_wire_request_bytes(1, HELLO_ENTRY_BYTES);
    header.type = METE_HELLO;
    header.entry_bytes = HELLO_ENTRY_BYTES;
    header.sequence = asker->sequence++;
    mete_wire_encode_header(bytes, &header);
    mete_wire_sign_request(bytes, len, NULL);
    asker->clock_at_ns = trip(&asker->servers[WHO_NODE], bytes, len);
    if (!asker->clock_at_ns) {
        fprintf(stderr, "undisturbed: no answer\n");
        return -1;
    }
    asker->clock_ms = mete_wire_get32(bytes + 8);
    asker->header.boot = mete_wire_get16(bytes + 12);
    return 0;
}

static size_t write_check(struct asker *asker, uint64_t now_ns, uint8_t *bytes)
{
    struct mete_header *header = &asker->header;
    const struct mete_entry entry = {.rule = mete_name_id("local", 5),
                                     .cost = 1,
                                     .key_low = asker->sequence / WHO_COUNT % asker->keys *
                                                0x9E3779B97F4A7C15ull,
                                     .key_high = 1};
    const size_t len = mete_wire_request_bytes(1, header->entry_bytes);
    header->sequence = asker->sequence++;
    header->clock_ms = asker->clock_ms + (uint32_t)((now_ns - asker->clock_at_ns) / 1000000);
    mete_wire_encode_header(bytes, header);
    mete_wire_encode_entry(bytes, header, 0, &entry);
    mete_wire_sign_request(bytes, len, NULL);
    return len;
}

static bool is_disturbed(const struct clocks *before, const struct clocks *after, uint64_t took_ns)
{
    const int64_t most_ns = MOST_DISTURBED_NS + (int64_t)(took_ns / DISTURBED_PART);
    const int64_t wall_ns = (int64_t)(after->wall_ns - before->wall_ns);
    return wall_ns - (int64_t)(after->core_ns - before->core_ns) > most_ns ||
           wall_ns - (int64_t)(after->own_ns - before->own_ns) > most_ns;
}

/* How long it took; 0: no answer. */
static uint64_t ask_once(struct asker *asker, const struct server *server, uint64_t now_ns)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    const size_t len = write_check(asker, now_ns, bytes);
    const uint64_t sent_ns = read_ns(CLOCK_MONOTONIC), came_ns = trip(server, bytes, len);
    return came_ns ? came_ns - sent_ns : 0;
}

static void print(const struct server *server, const char *name)
{
    const struct histogram *clean = &server->clean;
    printf("\"%s\": {\"trips\": %" PRIu64 ", \"undisturbed\": %" PRIu64 ", \"lost\": %" PRIu64,
           name, server->all.total, clean->total, server->lost);
    printf(", \"p50\": %.3f, \"p99\": %.3f, \"p99.9\": %.3f, \"p99.9 of all\": %.3f}",
           (double)histogram_percentile(clean, 0.5) / 1e3,
           (double)histogram_percentile(clean, 0.99) / 1e3,
           (double)histogram_percentile(clean, 0.999) / 1e3,
           (double)histogram_percentile(&server->all, 0.999) / 1e3);
}

/* Until the next trip is due; what is late is not caught up. And not about the kernel's own tick,
 * which interrupts both cores at the same instants and is no server's fault: the coarse clock
 * changes with it. */
static void rest(struct asker *asker, uint64_t due_ns)
{
    for (;;) {
        const uint64_t coarse_ns = read_ns(CLOCK_MONOTONIC_COARSE);
        const uint64_t now_ns = read_ns(CLOCK_MONOTONIC);
        if (coarse_ns != asker->coarse_ns)
            asker->tick_at_ns = now_ns;
        asker->coarse_ns = coarse_ns;
        const uint64_t since_ns = (now_ns - asker->tick_at_ns) % asker->tick_ns;
        if (now_ns >= due_ns && since_ns >= AFTER_TICK_NS &&
            since_ns + BEFORE_TICK_NS <= asker->tick_ns)
            return;
    }
}

static void ask_for(struct asker *asker, double seconds)
{
    for (unsigned i = 0; i < WHO_COUNT; i++) {
        histogram_init(&asker->servers[i].all);
        histogram_init(&asker->servers[i].clean);
        asker->servers[i].lost = 0;
    }
    struct clocks before = read_clocks(asker), after;
    const uint64_t until_ns = before.wall_ns + (uint64_t)(seconds * 1e9);
    for (unsigned trips = 0; before.wall_ns < until_ns; trips++, before = after) {
        struct server *server = &asker->servers[trips % WHO_COUNT];
        const uint64_t took_ns = ask_once(asker, server, before.wall_ns);
        rest(asker, before.wall_ns + asker->interval_ns);
        after = read_clocks(asker);
        server->lost += !took_ns;
        if (!took_ns || trips < FIRST_TRIPS)
            continue;
        histogram_record(&server->all, took_ns);
        if (!is_disturbed(&before, &after, took_ns))
            histogram_record(&server->clean, took_ns);
    }
    printf("{");
    print(&asker->servers[WHO_NODE], "node");
    printf(", ");
    print(&asker->servers[WHO_ECHO], "echo");
    printf("}\n");
    fflush(stdout);
}

static int open_server(struct server *server, long port, long pid)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (clock_getcpuclockid((pid_t)pid, &server->clock) != 0)
        return fail("no clock of that process");
    server->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (server->fd < 0 || connect(server->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return fail("no socket");
    return 0;
}

static void init(struct asker *asker)
{
    struct timespec tick;
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    asker->tick_ns = (uint64_t)tick.tv_nsec;
    asker->servers[WHO_ECHO].is_echo = true;
    asker->sequence = (uint32_t)read_ns(CLOCK_MONOTONIC);
    asker->header = (struct mete_header){.type = METE_CHECK,
                                         .n = 1,
                                         .tenant = mete_name_id("default", 7),
                                         .client = asker->sequence ^ (uint32_t)getpid() << 8,
                                         .secret = METE_WIRE_NO_SECRET,
                                         .entry_bytes = METE_WIRE_ENTRY_BYTES};
}

struct options {
    long ports[WHO_COUNT], pids[WHO_COUNT], cpu, windows, keys;
    double seconds, rate;
};

static bool parse(int argc, char **argv, struct options *ret)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},      {"pid", required_argument, NULL, 'i'},
        {"echo-port", required_argument, NULL, 'P'}, {"echo-pid", required_argument, NULL, 'I'},
        {"cpu", required_argument, NULL, 'c'},       {"seconds", required_argument, NULL, 's'},
        {"windows", required_argument, NULL, 'w'},   {"rate", required_argument, NULL, 'r'},
        {"keys", required_argument, NULL, 'k'},      {0}};
    *ret = (struct options){.cpu = -1, .windows = 1, .keys = 100000, .seconds = 1, .rate = 20000};
    for (int id; (id = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (id == '?')
            return false;
        const long number = strtol(optarg, NULL, 10);
        if (id == 'p' || id == 'P')
            ret->ports[id == 'P'] = number;
        else if (id == 'i' || id == 'I')
            ret->pids[id == 'I'] = number;
        else if (id == 'c')
            ret->cpu = number;
        else if (id == 's')
            ret->seconds = strtod(optarg, NULL);
        else if (id == 'w')
            ret->windows = number;
        else if (id == 'r')
            ret->rate = strtod(optarg, NULL);
        else
            ret->keys = number;
    }
    for (unsigned i = 0; i < WHO_COUNT; i++)
        if (ret->ports[i] < 1 || ret->ports[i] > 65535 || ret->pids[i] < 1)
            return false;
    return ret->cpu >= 0 && ret->cpu < CPU_SETSIZE && ret->windows > 0 && ret->keys > 0 &&
           ret->seconds > 0 && ret->rate > 0;
}

int main(int argc, char **argv)
{
    static struct asker asker;
    struct options options;
    if (!parse(argc, argv, &options)) {
        fprintf(stderr,
                "usage: undisturbed --port P --pid PID --echo-port P --echo-pid PID --cpu C "
                "[--seconds S [--windows W]] [--rate N] [--keys N]\n");
        return 2;
    }
    init(&asker);
    asker.keys = (uint32_t)options.keys;
    asker.interval_ns = (uint64_t)(1e9 / options.rate);
    for (unsigned i = 0; i < WHO_COUNT; i++)
        if (open_server(&asker.servers[i], options.ports[i], options.pids[i]) < 0)
            return 3;
    if (start_burner(&asker, (int)options.cpu) < 0 || greet(&asker) < 0)
        return 3;
    while (options.windows--)
        ask_for(&asker, options.seconds);
    return 0;
}
