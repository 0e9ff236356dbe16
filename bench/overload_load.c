/* An open load of several tenants on one core, to see what a server does with too much of it.
 *
 *   overload_load --server 127.0.0.1:6383 --batch N --deadline MS --join
 *                 --phase SECONDS:RATE,RATE,... [--phase ...]        tenants are t0, t1, ...
 *
 * A rate is of datagrams a second. Every datagram has an instant at which it is to be sent, and its
 * answer's age counts from there; what could not be sent within 100 ms of it is left out and
 * counted as unsent. Requests are written beforehand but for sequence, clock and one key, and
 * --join hands those of a fifth of a millisecond to the kernel together.
 *
 * Prints a line per tenant and 50 ms: bin tenant sent good late shed, all by the instant of
 * sending; then `slip P99_US unsent N age_max_us N age_p99_us N`. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/random.h"
#include "mete/wire.h"
#include "obs/histogram.h"
#include "sys/clock.h"

#define MAX_TENANTS 8u
#define MAX_PHASES 8u
#define MAX_BINS 1200u
#define BIN_NS 50000000u
#define GROUP 64u
#define MEMORY (1u << 20) /* datagrams of a tenant that may be waited for */
#define TOO_LATE_NS 100000000u
#define JOIN_WAIT_NS 200000u /* for others to be joined with: as if an event loop had its turn */
#define LAST_WAIT_NS 200000000u

struct bin {
    uint64_t sent, good, late, shed;
};

struct tenant {
    int fd;
    uint32_t id, client, next; /* sequence */
    double due_ns;             /* the next instant */
    uint64_t *sent_at_ns;      /* by sequence; 0: answered */
    uint8_t bytes[GROUP][METE_WIRE_MAX_BYTES];
    struct bin bins[MAX_BINS];
};

struct phase {
    double seconds;
    double rates[MAX_TENANTS];
};

struct load {
    struct sockaddr_in server;
    unsigned batch, tenant_count, phase_count;
    uint64_t deadline_ns;
    bool join;
    struct phase phases[MAX_PHASES];
    struct tenant *tenants;
    uint64_t start_ns, unsent;
    uint32_t clock_ms;    /* the server's, */
    uint64_t clock_at_ns; /* then */
    uint16_t boot;
    size_t len; /* of a datagram */
    struct histogram slip, age;
};

static uint64_t next_random(void)
{
    static uint64_t state = 0x9E3779B97F4A7C15ull;
    return random_next(&state);
}

static struct bin *bin_of(const struct load *load, struct tenant *tenant, uint64_t at_ns)
{
    uint64_t bin = (at_ns - load->start_ns) / BIN_NS;
    return &tenant->bins[bin < MAX_BINS ? bin : MAX_BINS - 1];
}

/* ---- out ---- */

static void open_tenant(struct load *load, unsigned index)
{
    struct tenant *tenant = &load->tenants[index];
    char name[8];
    int len = snprintf(name, sizeof(name), "t%u", index);
    int bytes = 8 << 20, on = 1;
    tenant->id = mete_name_id(name, (size_t)len);
    tenant->client = (uint32_t)next_random();
    tenant->sent_at_ns = calloc(MEMORY, sizeof(uint64_t));
    tenant->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    setsockopt(tenant->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
    setsockopt(tenant->fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
    if (connect(tenant->fd, (struct sockaddr *)&load->server, sizeof(load->server)) < 0) {
        fprintf(stderr, "overload_load: %s\n", strerror(errno));
        exit(2);
    }
    for (unsigned i = 0; i < GROUP; i++) {
        struct mete_header header = {
            .type = METE_CHECK,
            .n = (uint8_t)load->batch,
            .tenant = tenant->id,
            .client = tenant->client,
            .boot = load->boot,
            .secret = METE_WIRE_NO_SECRET,
            .entry_bytes = METE_WIRE_ENTRY_BYTES,
        };
        mete_wire_encode_header(tenant->bytes[i], &header);
        for (unsigned e = 0; e < load->batch; e++) {
            struct mete_entry entry = {.rule = mete_name_id("api", 3),
                                       .cost = 1,
                                       .key_low = next_random() % 100000,
                                       .key_high = index};
            mete_wire_encode_entry(tenant->bytes[i], &header, e, &entry);
        }
    }
}

static void write_next(const struct load *load, struct tenant *tenant, unsigned at, uint32_t clock)
{
    uint8_t *bytes = tenant->bytes[at];
    mete_wire_put32(bytes + 12, tenant->next);
    mete_wire_put32(bytes + 16, clock);
    mete_wire_put32(bytes + METE_WIRE_HEADER_BYTES + 8, (uint32_t)next_random() % 100000);
    memcpy(bytes + load->len - METE_WIRE_TAG_BYTES, bytes + 8, 8);
}

static void hand_over(const struct load *load, const struct tenant *tenant, unsigned count)
{
    struct mmsghdr headers[GROUP] = {0};
    struct iovec parts[GROUP];
    unsigned together = load->join ? (unsigned)(65000 / load->len) : 1;
    unsigned messages = 0;
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    struct cmsghdr *cmsg = (struct cmsghdr *)control;
    cmsg->cmsg_level = SOL_UDP;
    cmsg->cmsg_type = UDP_SEGMENT;
    cmsg->cmsg_len = CMSG_LEN(sizeof(uint16_t));
    *(uint16_t *)CMSG_DATA(cmsg) = (uint16_t)load->len;
    for (unsigned i = 0; i < count; i++)
        parts[i] = (struct iovec){(void *)tenant->bytes[i], load->len};
    for (unsigned i = 0; i < count; i += together) {
        unsigned left = count - i;
        headers[messages].msg_hdr.msg_iov = &parts[i];
        headers[messages].msg_hdr.msg_iovlen = left < together ? left : together;
        headers[messages].msg_hdr.msg_control = load->join ? control : NULL;
        headers[messages].msg_hdr.msg_controllen = load->join ? sizeof(control) : 0;
        messages++;
    }
    for (unsigned at = 0; at < messages;) {
        int sent = sendmmsg(tenant->fd, headers + at, messages - at, 0);
        at += sent > 0 ? (unsigned)sent : 1; /* one that was refused is a lost datagram */
    }
}

static void send_due(struct load *load, struct tenant *tenant, double rate, uint64_t now_ns)
{
    unsigned count = 0;
    /* signed: another tenant's answer may have told the clock since */
    int64_t since_ms = (int64_t)(now_ns - load->clock_at_ns) / 1000000;
    uint32_t clock = load->clock_ms + (uint32_t)since_ms;
    if (rate <= 0) {
        tenant->due_ns = (double)now_ns;
        return;
    }
    if (load->join && (double)now_ns < tenant->due_ns + JOIN_WAIT_NS)
        return;
    while (count < GROUP && tenant->due_ns <= (double)now_ns) {
        uint64_t at_ns = (uint64_t)tenant->due_ns;
        tenant->due_ns += 1e9 / rate;
        bin_of(load, tenant, at_ns)->sent++;
        if (now_ns - at_ns > TOO_LATE_NS) {
            load->unsent++;
            continue;
        }
        histogram_record(&load->slip, now_ns - at_ns);
        write_next(load, tenant, count++, clock ? clock : 1);
        tenant->sent_at_ns[tenant->next++ % MEMORY] = at_ns;
    }
    if (count)
        hand_over(load, tenant, count);
}

/* ---- in ---- */

/* The fastest answers tell it best: one that lay here would set it back. */
static void take_clock(struct load *load, uint32_t clock_ms, uint64_t now_ns)
{
    uint32_t own_ms = load->clock_ms + (uint32_t)((now_ns - load->clock_at_ns) / 1000000);
    if ((int32_t)(clock_ms - own_ms) < 0)
        return;
    load->clock_ms = clock_ms;
    load->clock_at_ns = now_ns;
}

static void take(struct load *load, struct tenant *tenant, const uint8_t *bytes, uint64_t now_ns)
{
    uint32_t sequence = mete_wire_get32(bytes + 4);
    uint64_t *at_ns = &tenant->sent_at_ns[sequence % MEMORY];
    if (tenant->next - sequence > MEMORY || !*at_ns)
        return;
    uint64_t age_ns = now_ns - *at_ns;
    struct bin *bin = bin_of(load, tenant, *at_ns);
    *at_ns = 0;
    take_clock(load, mete_wire_get32(bytes + 8), now_ns);
    if (bytes[2] & METE_RESULT_STATUS) {
        bin->shed += bytes[14] == METE_STATUS_SHED;
        return;
    }
    histogram_record(&load->age, age_ns);
    bin->good += age_ns <= load->deadline_ns;
    bin->late += age_ns > load->deadline_ns;
}

static bool receive(struct load *load, struct tenant *tenant)
{
    static uint8_t bytes[GROUP][65536];
    static uint8_t controls[GROUP][64];
    struct mmsghdr headers[GROUP] = {0};
    struct iovec parts[GROUP];
    for (unsigned i = 0; i < GROUP; i++) {
        parts[i] = (struct iovec){bytes[i], sizeof(bytes[i])};
        headers[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i],
                                             .msg_iovlen = 1,
                                             .msg_control = controls[i],
                                             .msg_controllen = sizeof(controls[i])};
    }
    int count = recvmmsg(tenant->fd, headers, GROUP, MSG_DONTWAIT, NULL);
    uint64_t now_ns = clock_boot_ns();
    for (int i = 0; i < count; i++) {
        unsigned segment = headers[i].msg_len;
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&headers[i].msg_hdr);
        if (cmsg && cmsg->cmsg_level == SOL_UDP && cmsg->cmsg_type == UDP_GRO)
            segment = (unsigned)*(int *)CMSG_DATA(cmsg);
        for (unsigned at = 0; at + 24 <= headers[i].msg_len && segment; at += segment)
            take(load, tenant, bytes[i] + at, now_ns);
    }
    return count > 0;
}

/* Clock and boot bits, by a first HELLO. */
static void greet(struct load *load)
{
    struct tenant *tenant = &load->tenants[0];
    struct mete_header header = {.type = METE_HELLO,
                                 .n = 1,
                                 .tenant = tenant->id,
                                 .client = tenant->client,
                                 .secret = METE_WIRE_NO_SECRET,
                                 .entry_bytes = 32};
    uint8_t bytes[METE_WIRE_MAX_BYTES] = {0};
    mete_wire_encode_header(bytes, &header);
    memcpy(bytes + 56, bytes + 8, 8);
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t until_ns = clock_boot_ns() + 10000000;
        if (send(tenant->fd, bytes, 64, 0) < 0)
            continue;
        while (clock_boot_ns() < until_ns)
            if (recv(tenant->fd, bytes, sizeof(bytes), MSG_DONTWAIT) >= 64) { /* or joined */
                load->clock_ms = mete_wire_get32(bytes + 8);
                load->clock_at_ns = clock_boot_ns();
                load->boot = (uint16_t)(bytes[12] | bytes[13] << 8);
                return;
            }
    }
    fprintf(stderr, "overload_load: no server answers\n");
    exit(3);
}

static void run(struct load *load)
{
    double end_s = 0;
    load->start_ns = clock_boot_ns();
    for (unsigned t = 0; t < load->tenant_count; t++)
        load->tenants[t].due_ns = (double)load->start_ns;
    for (unsigned p = 0; p < load->phase_count; p++) {
        end_s += load->phases[p].seconds;
        for (;;) {
            uint64_t now_ns = clock_boot_ns();
            if ((double)(now_ns - load->start_ns) > end_s * 1e9)
                break;
            for (unsigned t = 0; t < load->tenant_count; t++) {
                send_due(load, &load->tenants[t], load->phases[p].rates[t], now_ns);
                receive(load, &load->tenants[t]);
            }
        }
    }
    uint64_t until_ns = clock_boot_ns() + LAST_WAIT_NS;
    while (clock_boot_ns() < until_ns)
        for (unsigned t = 0; t < load->tenant_count; t++)
            receive(load, &load->tenants[t]);
}

static void report(struct load *load)
{
    double seconds = 0;
    for (unsigned p = 0; p < load->phase_count; p++)
        seconds += load->phases[p].seconds;
    for (unsigned b = 0; b < seconds * 1e9 / BIN_NS && b < MAX_BINS; b++)
        for (unsigned t = 0; t < load->tenant_count; t++) {
            const struct bin *bin = &load->tenants[t].bins[b];
            printf("%u %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", b, t, bin->sent,
                   bin->good, bin->late, bin->shed);
        }
    printf("slip %.0f unsent %" PRIu64 " age_max_us %.0f age_p99_us %.0f\n",
           (double)histogram_percentile(&load->slip, 0.99) / 1e3, load->unsent,
           (double)histogram_percentile(&load->age, 1) / 1e3,
           (double)histogram_percentile(&load->age, 0.99) / 1e3);
}

static int parse_phase(struct load *load, char *text)
{
    struct phase *phase = &load->phases[load->phase_count++];
    char *end;
    unsigned count = 0;
    phase->seconds = strtod(text, &end);
    while (*end && count < MAX_TENANTS)
        phase->rates[count++] = strtod(end + 1, &end);
    if (count > load->tenant_count)
        load->tenant_count = count;
    return count ? 0 : -1;
}

static int parse_server(const char *text, struct sockaddr_in *ret_server)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof(host))
        return -1;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    *ret_server = (struct sockaddr_in){.sin_family = AF_INET,
                                       .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    return inet_pton(AF_INET, host, &ret_server->sin_addr) == 1 ? 0 : -1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"server", required_argument, NULL, 's'},   {"batch", required_argument, NULL, 'n'},
        {"deadline", required_argument, NULL, 'd'}, {"join", no_argument, NULL, 'j'},
        {"phase", required_argument, NULL, 'p'},    {0},
    };
    struct load *load = calloc(1, sizeof(*load));
    bool is_good = true;
    if (!load)
        return 1;
    load->batch = 1;
    load->deadline_ns = 100000000;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 's')
            is_good &= parse_server(optarg, &load->server) == 0;
        else if (option == 'n')
            load->batch = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'd')
            load->deadline_ns = strtoull(optarg, NULL, 10) * 1000000;
        else if (option == 'j')
            load->join = true;
        else if (option == 'p' && load->phase_count < MAX_PHASES)
            is_good &= parse_phase(load, optarg) == 0;
        else
            is_good = false;
    }
    if (!is_good || !load->phase_count || load->batch < 1 || load->batch > 50) {
        fprintf(stderr, "usage: see bench/overload_load.c\n");
        free(load);
        return 2;
    }
    load->tenants = calloc(load->tenant_count, sizeof(*load->tenants));
    load->len = mete_wire_request_bytes(load->batch, METE_WIRE_ENTRY_BYTES);
    histogram_init(&load->slip);
    histogram_init(&load->age);
    open_tenant(load, 0);
    greet(load);
    for (unsigned t = 0; t < load->tenant_count; t++)
        open_tenant(load, t);
    run(load);
    report(load);
    return 0;
}
