/* What the gate lets through: on real sockets, joined messages among it, alone and behind the
 * filter of a flood. Only shares of all and nothing are certain; those between have wide bounds. */
#include <stdlib.h>
#include <arpa/inet.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "mete/wire.h"
#include "net/filter.h"
#include "net/socket.h"

#define BOOT 0x12ABu

struct ends {
    int server, client;
};

static int open_ends(void **state)
{
    struct ends *ends = calloc(1, sizeof(*ends));
    struct sockaddr_storage address = {.ss_family = AF_INET};
    ((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct socket_options options = {.join = true};
    *state = ends;
    assert_int_equal(
        socket_open_group(&address, sizeof(struct sockaddr_in), &options, &ends->server, 1), 0);
    ends->client = socket(AF_INET, SOCK_DGRAM, 0);
    return connect(ends->client, (struct sockaddr *)&address, sizeof(struct sockaddr_in));
}

static int close_ends(void **state)
{
    struct ends *ends = *state;
    close(ends->server);
    close(ends->client);
    free(ends);
    return 0;
}

static size_t write_request(uint8_t *out, uint8_t type, uint32_t tenant, unsigned n)
{
    struct mete_header header = {.type = type,
                                 .n = (uint8_t)n,
                                 .tenant = tenant,
                                 .boot = BOOT,
                                 .entry_bytes = METE_WIRE_ENTRY_BYTES};
    size_t len = mete_wire_request_bytes(n, header.entry_bytes);
    memset(out, 0, len);
    mete_wire_encode_header(out, &header);
    return len;
}

/* On loopback a datagram is in the socket's queue, or dropped, when send() returns. */
static bool passes(const struct ends *ends, const uint8_t *bytes, size_t len)
{
    static uint8_t got[65536];
    assert_int_equal(send(ends->client, bytes, len, 0), len);
    ssize_t received = recv(ends->server, got, sizeof(got), MSG_DONTWAIT);
    assert_true(received < 0 || received == (ssize_t)len);
    return received >= 0;
}

static bool request_passes(const struct ends *ends, uint8_t type, uint32_t tenant, unsigned n)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    return passes(ends, bytes, write_request(bytes, type, tenant, n));
}

static void join(const struct ends *ends, int segment)
{
    assert_int_equal(setsockopt(ends->client, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment)), 0);
}

static void skip_if_emulated(void)
{
    if (getenv("METE_EMULATED"))
        skip(); /* an emulator passes no socket filters on */
}

static void tenants_have_their_shares(void **state)
{
    const struct ends *ends = *state;
    struct gate gate = {.count = GATE_TENANTS};
    unsigned passed = 0;
    skip_if_emulated();
    for (uint32_t i = 0; i < GATE_TENANTS; i++)
        gate.tenants[i] = (struct gate_tenant){.id = 0x11223344u + i};
    gate.tenants[3].threshold = UINT32_MAX / 4;
    gate.tenants[GATE_TENANTS - 1].threshold = UINT32_MAX; /* all but one in 2^32 */
    assert_int_equal(filter_attach(ends->server, NULL, &gate), 0);
    for (uint32_t i = 0; i < GATE_TENANTS - 1; i++)
        if (i != 3)
            assert_false(request_passes(ends, METE_CHECK, 0x11223344u + i, 1 + i));
    assert_true(request_passes(ends, METE_CHECK, 0x11223344u + GATE_TENANTS - 1, 50));
    assert_true(request_passes(ends, METE_CHECK, 0x11223343u, 1)); /* nobody's limit */
    assert_true(request_passes(ends, METE_CHECK, 0x44332211u, 1)); /* nor the bytes turned round */
    for (unsigned i = 0; i < 4000; i++)
        passed += request_passes(ends, METE_CHECK, 0x11223347u, 1);
    assert_in_range(passed, 700, 1300); /* 1,000 and 11 times the deviation */
    assert_int_equal(filter_detach(ends->server), 0);
    assert_true(request_passes(ends, METE_CHECK, 0x11223344u, 1));
}

static const struct gate closed = {.count = 1, .looks_into_joined = true, .tenants = {{.id = 5}}};

static void releases_and_what_is_no_request_pass(void **state)
{
    const struct ends *ends = *state;
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    skip_if_emulated();
    assert_int_equal(filter_attach(ends->server, NULL, &closed), 0);
    size_t len = write_request(bytes, METE_CHECK, 5, 1);
    assert_false(passes(ends, bytes, len));
    assert_true(passes(ends, bytes, METE_WIRE_HEADER_BYTES + METE_WIRE_TAG_BYTES - 1));
    assert_true(passes(ends, bytes, 0));
    bytes[0] ^= 1;
    assert_true(passes(ends, bytes, len));
    for (uint8_t type = 0; type < 10; type++)
        assert_int_equal(request_passes(ends, type, 5, 3), type == METE_RELEASE);
    assert_false(request_passes(ends, METE_CHECK, 5, 50));
}

/* A joined message is dropped if nothing in it is a RELEASE, wherever that stands. */
static void joined_messages(void **state)
{
    static uint8_t bytes[64 * 128];
    const struct ends *ends = *state;
    skip_if_emulated();
    size_t len = write_request(bytes, METE_CHECK, 5, 2);
    join(ends, (int)len);
    for (unsigned count = 1; count <= 64; count += 7) {
        assert_int_equal(filter_attach(ends->server, NULL, &closed), 0);
        for (unsigned i = 0; i < count; i++)
            write_request(bytes + i * len, METE_CHECK, i ? 6 : 5, 2);
        assert_false(passes(ends, bytes, count * len));
        assert_false(passes(ends, bytes, count * len - (count > 1 ? 24 : 0))); /* a shorter last */
        for (unsigned at = 0; at < count; at++) {
            write_request(bytes + at * len, METE_RELEASE, 5, 2);
            assert_true(passes(ends, bytes, count * len));
            write_request(bytes + at * len, METE_CHECK, 5, 2);
        }
        struct gate blind = closed;
        blind.looks_into_joined = false;
        assert_int_equal(filter_attach(ends->server, NULL, &blind), 0);
        assert_int_equal(passes(ends, bytes, count * len), count > 1);
    }
    join(ends, 0);
}

static void beside_a_flood(void **state)
{
    const struct ends *ends = *state;
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    skip_if_emulated();
    assert_int_equal(filter_attach(ends->server, &(uint16_t){BOOT}, &closed), 0);
    size_t len = write_request(bytes, METE_CHECK, 6, 1);
    assert_true(passes(ends, bytes, len));
    bytes[0] ^= 1; /* a flood's */
    assert_false(passes(ends, bytes, len));
    assert_false(request_passes(ends, METE_CHECK, 5, 1));
    assert_true(request_passes(ends, METE_RELEASE, 5, 1));
    assert_int_equal(filter_attach(ends->server, &(uint16_t){BOOT}, &(struct gate){0}), 0);
    assert_true(request_passes(ends, METE_CHECK, 5, 1));
    assert_false(passes(ends, bytes, len));
    struct filter_queue queue = filter_look_at(ends->server);
    assert_int_equal(queue.dropped, 3);
    assert_true(queue.size_bytes > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tenants_have_their_shares, open_ends, close_ends),
        cmocka_unit_test_setup_teardown(releases_and_what_is_no_request_pass, open_ends,
                                        close_ends),
        cmocka_unit_test_setup_teardown(joined_messages, open_ends, close_ends),
        cmocka_unit_test_setup_teardown(beside_a_flood, open_ends, close_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
