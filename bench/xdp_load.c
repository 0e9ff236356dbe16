/* The load of `make bench-xdp`: loads bench/xdp/circulate.bpf.c onto the client's end of a veth
 * pair, sets a number of frames going and reads its counts.
 *
 *   xdp_load --object FILE --interface NAME --server-mac MAC --server IPv4:PORT --client IPv4
 *            [--frames N] [--keys N] [--warm S] [--seconds S] [--every-us N] [--echo]
 *            [--tenant ID] [--rule ID]
 *            [--secret N --key HEX]   under a secret: its number, the MAC key
 *   xdp_load --object FILE --interface NAME --pass   only the program that passes all, until
 * SIGTERM
 *
 * Runs in the client's network namespace and needs root. Says the port that it wants one datagram
 * at, from the other end (see open_poller()), when it started and ended to count, and then one JSON
 * object. When the time is over it ends the circulation and counts what still comes, so that frames
 * that got lost on the way are known: `lost`. The program goes with this process, however that
 * ends. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "sys/clock.h"
#include "xdp/circulate.h"

#define MAX_CPUS 256
#define SEED_BYTES 98 /* of a frame that sets one going: as long as a question */
#define SEED_TYPE 0xFF

struct load {
    const char *object, *interface;
    struct bpf_object *opened;
    uint8_t server_mac[6];
    struct sockaddr_in server;
    struct in_addr client;
    uint64_t frames, every_ns;
    double warm_s, seconds;
    uint32_t tenant;
    bool only_passes;
    struct circulate_setup setup;
    unsigned interface_index;
    int setups, counts, program;
    int poller; /* a socket that receives for the interface; -1: a thread of the kernel does */
};

static int fail(const char *what, int error)
{
    fprintf(stderr, "xdp_load: %s: %s\n", what, strerror(error < 0 ? -error : error));
    return 2;
}

static int bad(const char *what)
{
    fprintf(stderr, "xdp_load: %s\n", what);
    return 2;
}

/* ---- options ---- */

static bool parse_hex(const char *text, uint8_t *ret_bytes, size_t count, const char *between)
{
    for (size_t i = 0; i < count; i++) {
        unsigned byte;
        if (sscanf(text, "%2x", &byte) != 1)
            return false;
        ret_bytes[i] = (uint8_t)byte;
        text += 2;
        if (i + 1 < count && *between && *text++ != *between)
            return false;
    }
    return true;
}

static bool parse_server(char *text, struct sockaddr_in *ret_server)
{
    char *colon = strrchr(text, ':');
    if (!colon)
        return false;
    *colon = 0;
    ret_server->sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    return inet_pton(AF_INET, text, &ret_server->sin_addr) == 1;
}

static bool parse_key(const char *text, struct circulate_setup *setup)
{
    uint8_t key[16];
    if (!parse_hex(text, key, sizeof(key), ""))
        return false;
    memcpy(&setup->k0, key, 8);
    memcpy(&setup->k1, key + 8, 8);
    setup->is_signed = 1;
    return true;
}

static bool take_option(int option, struct load *load)
{
    struct circulate_setup *setup = &load->setup;
    switch (option) {
    case 'o':
        load->object = optarg;
        return true;
    case 'i':
        load->interface = optarg;
        return true;
    case 'm':
        return parse_hex(optarg, load->server_mac, 6, ":");
    case 's':
        return parse_server(optarg, &load->server);
    case 'c':
        return inet_pton(AF_INET, optarg, &load->client) == 1;
    case 'f':
        return (load->frames = strtoull(optarg, NULL, 10)) > 0;
    case 'k':
        return (setup->keys = strtoull(optarg, NULL, 10)) > 0;
    case 'E':
        load->every_ns = strtoull(optarg, NULL, 10) * 1000;
        return true;
    case 'w':
        load->warm_s = strtod(optarg, NULL);
        return true;
    case 't':
        return (load->seconds = strtod(optarg, NULL)) > 0;
    case 'e':
        return (setup->is_echo = 1);
    case 'T':
        load->tenant = (uint32_t)strtoul(optarg, NULL, 0);
        return true;
    case 'r':
        setup->rule = (uint32_t)strtoul(optarg, NULL, 0);
        return true;
    case 'S':
        setup->secret = (uint32_t)strtoul(optarg, NULL, 0);
        return true;
    case 'K':
        return parse_key(optarg, setup);
    case 'p':
        return (load->only_passes = true);
    default:
        return false;
    }
}

static int parse_options(int argc, char **argv, struct load *load)
{
    static const struct option options[] = {
        {"object", required_argument, NULL, 'o'},
        {"interface", required_argument, NULL, 'i'},
        {"server-mac", required_argument, NULL, 'm'},
        {"server", required_argument, NULL, 's'},
        {"client", required_argument, NULL, 'c'},
        {"frames", required_argument, NULL, 'f'},
        {"keys", required_argument, NULL, 'k'},
        {"warm", required_argument, NULL, 'w'},
        {"seconds", required_argument, NULL, 't'},
        {"echo", no_argument, NULL, 'e'},
        {"tenant", required_argument, NULL, 'T'},
        {"rule", required_argument, NULL, 'r'},
        {"secret", required_argument, NULL, 'S'},
        {"key", required_argument, NULL, 'K'},
        {"every-us", required_argument, NULL, 'E'},
        {"pass", no_argument, NULL, 'p'},
        {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (!take_option(option, load))
            return bad("usage: see the top of bench/xdp_load.c");
    if (!load->object || !load->interface)
        return bad("--object and --interface are needed");
    if (!load->only_passes && (!load->server.sin_port || !load->client.s_addr))
        return bad("--server and --client are needed");
    return 0;
}

/* ---- what every question looks like ---- */

static uint64_t sum_words(const uint8_t *bytes, size_t len)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i += 2) {
        uint16_t word;
        memcpy(&word, bytes + i, 2);
        sum += word;
    }
    return sum;
}

static uint16_t fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)sum;
}

static int read_own_mac(const struct load *load, uint8_t *ret_mac)
{
    struct ifreq request = {0};
    int any = socket(AF_INET, SOCK_DGRAM, 0);
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%.15s", load->interface);
    int result = any < 0 ? -errno : ioctl(any, SIOCGIFHWADDR, &request) < 0 ? -errno : 0;
    if (any >= 0)
        close(any);
    memcpy(ret_mac, request.ifr_hwaddr.sa_data, 6);
    return result;
}

static int make_setup(struct load *load)
{
    const uint16_t payload = SEED_BYTES - CIRCULATE_HEADERS;
    struct circulate_setup *setup = &load->setup;
    uint8_t *at = setup->headers;
    memcpy(at, load->server_mac, 6);
    int result = read_own_mac(load, at + 6);
    if (result)
        return result;
    const uint8_t fixed[] = {8, 0, 0x45, 0, 0, (uint8_t)(28 + payload), 0, 0, 0x40, 0, 64, 17};
    memcpy(at + 12, fixed, sizeof(fixed));
    memcpy(at + 26, &load->client, 4);
    memcpy(at + 30, &load->server.sin_addr, 4);
    const uint16_t check = (uint16_t)~fold(sum_words(at + 14, 20));
    memcpy(at + 24, &check, 2);
    memcpy(at + 36, &load->server.sin_port, 2);
    at[39] = (uint8_t)(8 + payload);
    const uint8_t rest[4] = {0, 17, 0, (uint8_t)(8 + payload)};
    setup->pseudo_sum = sum_words(at + 26, 8) + sum_words(rest, 4);
    setup->port = load->server.sin_port;
    setup->first = 0xE1u | 1u << 8 | 1u << 24 | (uint64_t)load->tenant << 32;
    setup->client = (uint32_t)clock_boot_ns();
    setup->secret = setup->is_signed ? setup->secret : 0xFF;
    return 0;
}

/* ---- the program ---- */

static int attach(struct load *load, const char *program_name, int *ret_link)
{
    LIBBPF_OPTS(bpf_link_create_opts, native, .flags = XDP_FLAGS_DRV_MODE);
    struct bpf_object *object = bpf_object__open_file(load->object, NULL);
    if (!object)
        return -errno;
    load->opened = object;
    int result = bpf_object__load(object);
    if (result)
        return result;
    struct bpf_program *program = bpf_object__find_program_by_name(object, program_name);
    load->program = program ? bpf_program__fd(program) : -1;
    load->setups = bpf_object__find_map_fd_by_name(object, "setups");
    load->counts = bpf_object__find_map_fd_by_name(object, "counts");
    *ret_link = bpf_link_create(load->program, (int)load->interface_index, BPF_XDP, &native);
    return *ret_link < 0 ? *ret_link : 0;
}

static int set_setup(const struct load *load)
{
    const uint32_t zero = 0;
    return bpf_map_update_elem(load->setups, &zero, &load->setup, 0);
}

static struct circulate_counts read_counts(const struct load *load)
{
    static struct circulate_counts each[MAX_CPUS];
    struct circulate_counts sum = {0};
    const uint32_t zero = 0;
    const int cpus = libbpf_num_possible_cpus();
    if (cpus > MAX_CPUS || bpf_map_lookup_elem(load->counts, &zero, each))
        return sum;
    for (int i = 0; i < cpus; i++) {
        const uint64_t *from = (const uint64_t *)&each[i];
        uint64_t *to = (uint64_t *)&sum;
        for (size_t j = 0; j < sizeof(sum) / sizeof(uint64_t); j++)
            to[j] += from[j];
    }
    return sum;
}

/* Live frames leave by the interface they are said to have come by, as what the program makes of
 * them. */
static int set_going(const struct load *load, uint64_t frames)
{
    uint8_t seed[SEED_BYTES] = {0};
    struct xdp_md context = {.data_end = sizeof(seed), .ingress_ifindex = load->interface_index};
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = seed, .data_size_in = sizeof(seed),
                .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = (int)frames,
                .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 32);
    seed[12] = SEED_TYPE;
    return bpf_prog_test_run_opts(load->program, &options);
}

static void sleep_s(double seconds)
{
    struct timespec left = {.tv_sec = (time_t)seconds,
                            .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

/* ---- receiving for the interface ---- */

/* Whoever has received a datagram from an interface may receive for it (busy polling), in place of
 * the kernel's thread: that one sleeps whenever nothing is there, and to wake it costs the server's
 * core as much as several answers. Somebody on the other end sends the datagram when this one has
 * told its port. */
static int open_poller(struct load *load)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = load->client};
    const struct timeval patience = {.tv_sec = 10};
    const int on = 1, budget = 64;
    int id = 0;
    char byte;
    socklen_t len = sizeof(here);
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&here, &len) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
        return -errno;
    printf("port %u\n", ntohs(here.sin_port));
    fflush(stdout);
    if (recv(fd, &byte, 1, 0) < 0)
        return -errno;
    len = sizeof(id);
    if (getsockopt(fd, SOL_SOCKET, SO_INCOMING_NAPI_ID, &id, &len) < 0)
        return -errno;
    load->poller = id ? fd : -1;
    if (setsockopt(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget, sizeof(budget)) < 0)
        return -errno;
    return 0;
}

/* Looks every so often only, as a network card that collects before it interrupts. Returns how long
 * it worked; -1: the kernel's thread did. */
static double receive_for(const struct load *load, double seconds)
{
    uint64_t now_ns = clock_boot_ns(), busy_ns = 0;
    const uint64_t end_ns = now_ns + (uint64_t)(seconds * 1e9);
    char byte;
    if (load->poller < 0) {
        sleep_s(seconds);
        return -1;
    }
    while (now_ns < end_ns) {
        const uint64_t next_ns = now_ns + load->every_ns;
        recv(load->poller, &byte, 1, MSG_DONTWAIT);
        const uint64_t after_ns = clock_boot_ns();
        busy_ns += after_ns - now_ns;
        for (now_ns = after_ns; now_ns < next_ns; now_ns = clock_boot_ns())
            ;
    }
    return (double)busy_ns / 1e9;
}

static __u64 answers(const struct circulate_counts *counts)
{
    return counts->allowed + counts->denied + counts->other + counts->refused + counts->echoed;
}

static void print_report(const struct circulate_counts *from, const struct circulate_counts *to,
                         const struct circulate_counts *end, double seconds, double busy_s)
{
    printf("{\"seconds\":%.6f,\"answers\":%llu,\"per_second\":%.0f,\"allowed\":%"
           "llu"
           ",\"denied\":%llu,\"other\":%llu,\"refused\":%"
           "llu"
           ",\"echoed\":%llu,\"strange\":%llu,\"lost\":%llu,\"busy\":%.6f}\n",
           seconds, answers(to) - answers(from), (double)(answers(to) - answers(from)) / seconds,
           to->allowed - from->allowed, to->denied - from->denied, to->other - from->other,
           to->refused - from->refused, to->echoed - from->echoed, to->strange - from->strange,
           end->asked - answers(end), busy_s);
}

static int measure(struct load *load)
{
    int result = open_poller(load);
    if (result)
        return fail("a socket to receive by", result);
    result = set_setup(load);
    if (!result)
        result = set_going(load, load->frames);
    if (result)
        return fail("setting frames going", result);
    receive_for(load, load->warm_s);
    puts("started");
    fflush(stdout);
    const struct circulate_counts from = read_counts(load);
    const uint64_t from_ns = clock_boot_ns();
    const double busy_s = receive_for(load, load->seconds);
    const struct circulate_counts to = read_counts(load);
    const uint64_t to_ns = clock_boot_ns();
    puts("ended");
    fflush(stdout);
    load->setup.is_over = 1;
    set_setup(load);
    receive_for(load, 0.2);
    const struct circulate_counts end = read_counts(load);
    print_report(&from, &to, &end, (double)(to_ns - from_ns) / 1e9, busy_s);
    return 0;
}

int main(int argc, char **argv)
{
    struct load load = {
        .frames = 192, .warm_s = 0.3, .seconds = 1, .poller = -1, .setup = {.keys = 1000000}};
    int result = parse_options(argc, argv, &load);
    int link = -1;
    if (result)
        return result;
    load.interface_index = if_nametoindex(load.interface);
    if (!load.interface_index)
        return fail(load.interface, errno);
    result = load.only_passes ? 0 : make_setup(&load);
    if (!result)
        result = attach(&load, load.only_passes ? "pass_all" : "circulate", &link);
    if (result)
        return fail("loading and attaching the program", result);
    if (!load.only_passes) {
        result = measure(&load);
        close(link);
        bpf_object__close(load.opened);
        return result;
    }
    puts("passing");
    fflush(stdout);
    pause();
    return 0;
}
