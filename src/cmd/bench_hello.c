/* First contact: one datagram at a time on a socket of its own, each tried a few times with a new
 * sequence number, so that a server that is away is noticed within two seconds. */
#include "cmd/bench_hello.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/secret_key.h"
#include "net/keys.h"
#include "net/socket.h"
#include "sys/clock.h"

#define TRIES 5
#define WAIT_MS 300
#define CLOCK_SAMPLES 8

struct contact {
    int fd;
    const struct config_secret *own; /* the tenant's; NULL: none */
    struct mete_mac_key hello_key;
    const struct mete_mac_key *key; /* of the tags; NULL: none */
    uint8_t secret;                 /* which of the tenant's, by METE_WIRE_NO_SECRET none */
    uint8_t secrets;                /* so many numbers are tried, as long as none has answered */
    uint32_t tenant;
    uint32_t client;
    uint32_t sequence;
    bool is_echo;
    uint64_t sent_ns; /* of the last exchange */
    uint64_t received_ns;
};

/* getaddrinfo() would take 71919 for 6383. */
static bool is_port(const char *text)
{
    char *end;
    const unsigned long port = strtoul(text, &end, 10);
    return isdigit((unsigned char)text[0]) && !*end && port >= 1 && port <= 65535;
}

int bench_resolve(const char *text, struct bench_server *server)
{
    char host[256];
    const char *colon = strrchr(text, ':');
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    struct addrinfo *found;

    if (!colon || colon == text || (size_t)(colon - text) >= sizeof(host) || !is_port(colon + 1))
        return cmd_fail("bench", "--server: '%s' is not HOST:PORT, such as 127.0.0.1:6383", text);
    size_t len = (size_t)(colon - text);
    const bool brackets = text[0] == '[' && text[len - 1] == ']';
    memcpy(host, text + brackets, len - 2 * brackets);
    host[len - 2 * brackets] = 0;
    const int error = getaddrinfo(host, colon + 1, &hints, &found);
    if (error)
        return cmd_fail("bench", "--server: '%s': %s", text, gai_strerror(error));
    memcpy(&server->address, found->ai_addr, found->ai_addrlen);
    server->address_len = found->ai_addrlen;
    freeaddrinfo(found);
    socket_format_address((const struct sockaddr *)&server->address, server->text,
                          sizeof(server->text));
    return 0;
}

static int contact_open(const struct bench_options *options, const struct bench_server *server,
                        struct contact *contact)
{
    uint32_t random[2];
    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return cmd_fail("bench", "no random numbers to be had");
    *contact = (struct contact){
        .tenant = mete_name_id(options->tenant, strlen(options->tenant)),
        .client = random[0],
        .sequence = random[1],
        .key = bench_server_key(server),
        .secret = server->secret,
        .fd = socket(server->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0),
    };
    if (contact->fd < 0 ||
        connect(contact->fd, (const struct sockaddr *)&server->address, server->address_len) < 0)
        return cmd_fail("bench", "%s: %s", server->text, strerror(errno));
    return 0;
}

/* Is this the answer to the request? */
static bool is_answer(const struct contact *contact, const uint8_t *answer, ssize_t len,
                      const uint8_t *request, size_t request_len)
{
    struct mete_result_header header;
    if (contact->is_echo)
        return len == (ssize_t)request_len && memcmp(answer, request, request_len) == 0;
    return len > 0 && mete_wire_decode_result(answer, (size_t)len, &header) == METE_WIRE_OK &&
           header.sequence == mete_wire_get32(request + 12) &&
           header.type == (request[1] | METE_RESULT) &&
           mete_wire_verify_result(answer, (size_t)len, mete_wire_tag(request, request_len),
                                   contact->key);
}

/* Waits for the answer to one send; its length, or -1. */
static ssize_t wait_answer(struct contact *contact, const uint8_t *request, size_t request_len,
                           uint8_t *answer)
{
    const uint64_t until = clock_boot_ns() + WAIT_MS * 1000000ull;
    for (uint64_t now = clock_boot_ns(); now < until && !bench_stop; now = clock_boot_ns()) {
        struct pollfd wait = {.fd = contact->fd, .events = POLLIN};
        if (poll(&wait, 1, (int)((until - now) / 1000000) + 1) <= 0)
            continue;
        const ssize_t len = recv(contact->fd, answer, METE_WIRE_MAX_BYTES, MSG_DONTWAIT);
        contact->received_ns = clock_boot_ns();
        if (len < 0 && errno == ECONNREFUSED)
            usleep(WAIT_MS * 1000 / 2); /* it may be starting */
        if (len < 0 && errno != EINTR)
            return -1;
        if (is_answer(contact, answer, len, request, request_len))
            return len;
    }
    return -1;
}

/* Sends the request (sequence number and tag are set here) until it is answered. Returns the length
 * of the answer, or -1. */
static ssize_t ask(struct contact *contact, uint8_t *request, size_t len, uint8_t *answer)
{
    for (unsigned i = 0; i < TRIES && !bench_stop; i++) {
        if (contact->secrets > 0)
            contact->secret = request[22] = (uint8_t)(i % contact->secrets);
        mete_wire_put32(request + 12, contact->sequence++);
        mete_wire_sign_request(request, len, contact->key);
        contact->sent_ns = clock_boot_ns();
        if (send(contact->fd, request, len, MSG_NOSIGNAL) < 0)
            send(contact->fd, request, len, MSG_NOSIGNAL); /* the first told an older error */
        const ssize_t got = wait_answer(contact, request, len, answer);
        if (got >= 0)
            return got;
    }
    return -1;
}

static size_t begin_request(const struct contact *contact, uint8_t type, uint8_t flags, unsigned n,
                            struct mete_header *header, uint8_t *bytes)
{
    *header = (struct mete_header){.type = type,
                                   .flags = flags,
                                   .n = (uint8_t)n,
                                   .secret = contact->secret,
                                   .tenant = contact->tenant,
                                   .client = contact->client,
                                   .entry_bytes = type == METE_HELLO ? 32 : METE_WIRE_ENTRY_BYTES};
    const size_t len = mete_wire_request_bytes(n, header->entry_bytes);
    memset(bytes, 0, len);
    mete_wire_encode_header(bytes, header);
    return len;
}

/* What one HELLO tells. */
static void take_hello(const struct contact *contact, const uint8_t *request, const uint8_t *answer,
                       struct bench_server *server)
{
    const struct mete_hello_result hello = mete_wire_decode_hello_result(answer);
    struct mete_result_header header = {0};
    mete_wire_decode_result(answer, METE_WIRE_HELLO_BYTES, &header);
    server->seed = hello.masked_seed; /* no secret: the pad is 0 */
    if (contact->own) {
        server->seed ^= keys_pad(contact->own, request + METE_WIRE_HEADER_BYTES);
        server->mac = keys_mac(contact->own, hello.boot_id);
        server->has_secret = true;
    }
    server->secret = contact->secret;
    server->boot = header.boot;
    server->clock = (struct bench_clock){header.clock_ms, contact->received_ns};
    server->repeat_window_ns = hello.repeat_ms * 1000000ull;
    const int64_t wall = (int64_t)(hello.wall_ms * 1000000u);
    const int64_t low = wall - (int64_t)contact->received_ns;
    const int64_t high = wall + 1000000 - (int64_t)contact->sent_ns; /* cut to whole ms */
    server->wall_low_ns = low > server->wall_low_ns ? low : server->wall_low_ns;
    server->wall_high_ns = high < server->wall_high_ns ? high : server->wall_high_ns;
}

/* Seed, and the distance of the clocks from several exchanges: each bounds it from both sides. */
static int learn(struct contact *contact, struct bench_server *server)
{
    uint8_t request[METE_WIRE_MAX_BYTES], answer[METE_WIRE_MAX_BYTES];
    struct mete_header header;
    server->wall_low_ns = INT64_MIN;
    server->wall_high_ns = INT64_MAX;
    for (int i = 0; i < CLOCK_SAMPLES; i++) {
        const size_t len = begin_request(contact, METE_HELLO, 0, 1, &header, request);
        if (getrandom(request + METE_WIRE_HEADER_BYTES, KEYS_NONCE_BYTES, 0) < 0)
            return -1;
        if (ask(contact, request, len, answer) != METE_WIRE_HELLO_BYTES)
            return -1;
        take_hello(contact, request, answer, server);
        contact->secrets = 0; /* the right one is known */
    }
    if (server->wall_low_ns > server->wall_high_ns) /* its clock was set meanwhile: the widest */
        server->wall_low_ns = server->wall_high_ns - 2000000;
    server->wall_at_ns = contact->sent_ns;
    contact->key = bench_server_key(server);
    return 0;
}

static void set_clock(const struct bench_server *server, uint8_t *request)
{
    mete_wire_put32(request + 16, bench_server_clock(&server->clock, clock_boot_ns()));
    mete_wire_put16(request + 20, server->boot);
}

/* So many tries, one after the other, must end before the server forgets the first. */
static int check_retries(const struct bench_options *options, const struct bench_server *server)
{
    const uint64_t window_ns = server->repeat_window_ns;
    if (options->retries == 0)
        return 0;
    if (window_ns == 0)
        return cmd_fail("bench",
                        "--retries: the server at %s does not recognise repeats (its repeat window "
                        "is 0), so it would charge twice; retries need a server with repeats",
                        server->text);
    uint64_t last_ns = options->timeout_ns * options->retries; /* when the last one is sent */
    for (unsigned i = 0; i < options->retries && last_ns < window_ns; i++)
        last_ns += (options->backoff_ns << (i < 20 ? i : 20)) * 3 / 2;
    if (last_ns < window_ns)
        return 0;
    return cmd_fail("bench",
                    "--retries: %u of them may come later than the server's repeat window of %u ms "
                    "after the first; lower --timeout (%u ms), --backoff or --retries",
                    options->retries, (unsigned)(window_ns / 1000000),
                    (unsigned)(options->timeout_ns / 1000000));
}

static int probe_rule(struct contact *contact, const struct bench_options *options,
                      const struct bench_server *server)
{
    uint8_t request[METE_WIRE_MAX_BYTES], answer[METE_WIRE_MAX_BYTES];
    struct mete_header header;
    const size_t len = begin_request(contact, METE_CHECK, METE_FLAG_PEEK, 1, &header, request);
    const struct mete_entry entry = {.rule = mete_name_id(options->rule, strlen(options->rule)),
                                     .cost = 1};
    mete_wire_encode_entry(request, &header, 0, &entry);
    set_clock(server, request);
    if (ask(contact, request, len, answer) < 0)
        return -1;
    if (answer[3] == 1 && mete_wire_decode_verdict(answer, 0).status == METE_STATUS_UNKNOWN_RULE)
        return cmd_fail("bench", "--rule: the server at %s knows no rule '%s' of tenant '%s'",
                        server->text, options->rule, options->tenant);
    return 0;
}

static int no_answer(const struct bench_server *server, const char *what)
{
    cmd_fail("bench", "no answer from %s%s", server->text, what);
    return EXIT_NO_ANSWER;
}

/* A server says nothing to a tenant it does not have and to an address it does not trust. */
static int no_hello(const struct bench_server *server, const struct bench_options *options)
{
    cmd_fail("bench", "no answer from %s; is the server running, has it a tenant '%s', and %s?",
             server->text, options->tenant,
             options->secret ? "is that its secret" : "does it trust this address");
    return EXIT_NO_ANSWER;
}

/* HELLO goes under the key that no boot id is needed for. */
static int use_secret(const struct bench_options *options, struct contact *contact,
                      struct config_secret *secret)
{
    if (!options->secret)
        return 0;
    const int result = secret_key_load("bench", "--secret-file", options->secret, secret);
    if (result != 0)
        return result;
    contact->own = secret;
    contact->secrets = CONFIG_MAX_SECRETS;
    contact->hello_key = keys_mac(secret, 0);
    contact->key = &contact->hello_key;
    return 0;
}

int bench_hello(const struct bench_options *options, struct bench_server *ret_server)
{
    struct bench_server server = {.secret = METE_WIRE_NO_SECRET};
    struct contact contact = {.fd = -1};
    struct config_secret secret = {0};
    uint8_t request[METE_WIRE_MAX_BYTES], answer[METE_WIRE_MAX_BYTES];
    struct mete_header header;
    int result = bench_resolve(options->server, &server);

    if (result == 0)
        result = contact_open(options, &server, &contact);
    if (result == 0)
        result = use_secret(options, &contact, &secret);
    contact.is_echo = options->echo;
    if (result == 0 && options->echo) {
        const size_t len = begin_request(&contact, METE_CHECK, 0, 1, &header, request);
        if (ask(&contact, request, len, answer) < 0)
            result = no_answer(&server, " (an echo was expected)");
    } else if (result == 0) {
        if (learn(&contact, &server) < 0)
            result = no_hello(&server, options);
        else
            result = probe_rule(&contact, options, &server);
        if (result < 0)
            result = no_answer(&server, " to a check");
        if (result == 0)
            result = check_retries(options, &server);
    }
    if (contact.fd >= 0)
        close(contact.fd);
    explicit_bzero(&secret, sizeof(secret));
    explicit_bzero(&contact.hello_key, sizeof(contact.hello_key));
    if (result == 0)
        *ret_server = server;
    return result;
}

int bench_reset(const struct bench_options *options, const struct bench_server *server,
                const struct traffic *traffic)
{
    struct contact contact = {.fd = -1};
    uint8_t request[METE_WIRE_MAX_BYTES], answer[METE_WIRE_MAX_BYTES];
    struct mete_header header;
    struct mete_entry entry = {.rule = mete_name_id(options->rule, strlen(options->rule))};
    int result = contact_open(options, server, &contact);

    for (uint32_t at = 0; at < traffic->subject_count && result == 0 && !bench_stop;) {
        const uint32_t left = traffic->subject_count - at;
        const unsigned n = left < BENCH_MAX_BATCH ? left : BENCH_MAX_BATCH;
        const size_t len = begin_request(&contact, METE_RESET, 0, n, &header, request);
        for (unsigned i = 0; i < n; i++) {
            const struct key key = traffic_key(traffic, at++);
            entry.key_low = key.low;
            entry.key_high = key.high;
            mete_wire_encode_entry(request, &header, i, &entry);
        }
        set_clock(server, request);
        if (ask(&contact, request, len, answer) < 0 && !bench_stop)
            result = no_answer(server, " to a reset");
    }
    if (contact.fd >= 0)
        close(contact.fd);
    return result;
}
