/* The filter of a flood: which datagrams the kernel drops, joined ones among them, and when it is
 * attached and taken off, over a table of instants. */
#include <stdlib.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

#include "mete/wire.h"
#include "net/filter.h"
#include "net/socket.h"

#define BOOT 0x12ABu

struct ends {
    int server, client;
};

static void open_ends(struct ends *ends)
{
    struct sockaddr_storage address = {.ss_family = AF_INET};
    struct timeval limit = {.tv_sec = 20}; /* against hanging */
    ((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct socket_options options = {.join = true};
    assert_int_equal(
        socket_open_group(&address, sizeof(struct sockaddr_in), &options, &ends->server, 1), 0);
    assert_int_equal(filter_attach(ends->server, &(uint16_t){BOOT}, NULL), 0);
    ends->client = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(connect(ends->client, (struct sockaddr *)&address, sizeof(struct sockaddr_in)),
                     0);
    setsockopt(ends->client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

static void close_ends(struct ends *ends)
{
    close(ends->server);
    close(ends->client);
}

static size_t write_check(uint8_t *out, unsigned n, uint8_t type)
{
    struct mete_header header = {
        .type = type,
        .n = (uint8_t)n,
        .boot = BOOT,
        .entry_bytes = type == METE_HELLO ? 32 : METE_WIRE_ENTRY_BYTES,
    };
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
    if (received < 0)
        return false;
    assert_int_equal(received, len);
    return true;
}

static void what_can_be_told_is_dropped(void **state)
{
    if (getenv("METE_EMULATED"))
        skip(); /* an emulator passes neither madvise() nor socket filters on */
    (void)state;
    struct ends ends;
    uint8_t bytes[1500] = {0};
    open_ends(&ends);
    for (unsigned n = 1; n <= 50; n++) {
        size_t len = write_check(bytes, n, METE_CHECK);
        assert_true(passes(&ends, bytes, len));
        assert_false(passes(&ends, bytes, len - 8)); /* cut */
        assert_false(passes(&ends, bytes, len - 1));
    }
    size_t len = write_check(bytes, 1, METE_CHECK);
    for (unsigned first = 0; first < 256; first++) {
        bytes[0] = (uint8_t)first;
        assert_int_equal(passes(&ends, bytes, len), first == METE_WIRE_MAGIC_VERSION);
    }
    bytes[0] = METE_WIRE_MAGIC_VERSION;
    for (unsigned type = 0; type < 256; type++) {
        bytes[1] = (uint8_t)type;
        assert_int_equal(passes(&ends, bytes, len), type < METE_RESULT);
    }
    bytes[1] = METE_CHECK;
    unsigned hints = 0; /* of 4000, one in 64: 62 on average, with a deviation of 8 */
    for (unsigned bit = 0; bit < 16; bit++) {
        mete_wire_put16(bytes + 20, (uint16_t)(BOOT ^ 1u << bit));
        for (unsigned i = 0; i < 250; i++)
            hints += passes(&ends, bytes, len);
        bytes[22] = METE_WIRE_NO_SECRET; /* trusted or not is not the filter's to say */
        assert_true(passes(&ends, bytes, len));
        bytes[22] = 0;
    }
    assert_in_range(hints, 5, 400);
    len = write_check(bytes, 1, METE_HELLO);
    mete_wire_put16(bytes + 20, 0);
    assert_true(passes(&ends, bytes, len));
    for (len = 0; len < 32; len++)
        assert_false(passes(&ends, bytes, len));
    memset(bytes, 0, sizeof(bytes));
    assert_true(passes(&ends, bytes, METE_WIRE_MAX_BYTES + 8)); /* could be joined: ours to drop */
    assert_true(filter_look_at(ends.server).dropped > 400);
    assert_int_equal(filter_detach(ends.server), 0);
    assert_true(passes(&ends, bytes, 40));
    assert_int_equal(filter_detach(ends.server), -ENOENT);
    close_ends(&ends);
}

/* Joined datagrams are seen as one: good ones pass whatever their number, and what stands behind
 * the first is not looked at. */
static void joined_ones_pass(void **state)
{
    (void)state;
    struct ends ends;
    static uint8_t bytes[64 * 56];
    int segment = 56;
    open_ends(&ends);
    if (setsockopt(ends.client, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)) < 0)
        skip();
    for (unsigned i = 0; i < 64; i++)
        write_check(bytes + (size_t)i * 56, 1, METE_CHECK);
    for (unsigned count = 1; count <= 64; count++)
        assert_true(passes(&ends, bytes, (size_t)count * 56));
    bytes[56] = 0; /* the second is bad */
    assert_true(passes(&ends, bytes, sizeof(bytes)));
    assert_true(passes(&ends, bytes, (size_t)3 * 56));
    bytes[0] = 0; /* the first */
    assert_true(passes(&ends, bytes, sizeof(bytes)));
    assert_false(passes(&ends, bytes, (size_t)3 * 56));
    close_ends(&ends);
}

static void a_bad_descriptor_is_told(void **state)
{
    (void)state;
    assert_true(filter_attach(-1, &(uint16_t){BOOT}, NULL) < 0);
    assert_int_equal(filter_look_at(-1).dropped, 0);
}

struct turn {
    unsigned ms; /* since the turn before */
    uint64_t received, bad, dropped;
    bool is_on; /* after it */
};

static void a_flood_turns_it_on_and_calm_off(void **state)
{
    (void)state;
    static const struct turn TURNS[] = {
        {100, 100000, 0, 0, false},   /* much, but good */
        {100, 10000, 1999, 0, false}, /* below 20,000/s */
        {100, 3000, 1999, 0, false},  /* more than half, but few */
        {100, 4000, 2000, 0, false},  /* many, not more than half */
        {100, 3999, 2000, 0, true},   /* both */
        {100, 100, 0, 50000, true},   /* it works */
        {100, 100, 0, 499, true},     /* calm begins */
        {800, 100, 0, 0, true},          {99, 100, 0, 0, true},
        {100, 100, 0, 500, true},                                   /* and is over */
        {900, 100, 0, 0, true},          {100, 100, 0, 400, false}, /* a second of calm */
        {100, 100, 0, 50000, false},                                /* a full buffer is no reason */
        {5000, 300000, 200000, 0, true},                            /* after a long sleep */
        {5000, 0, 0, 0, false},          {1, 30, 20, 0, true},
    };
    struct filter filter;
    struct filter_look look = {.now_ns = 5000000000};
    filter_init(&filter, BOOT);
    assert_false(filter_judge(&filter, &look));
    for (unsigned i = 0; i < sizeof(TURNS) / sizeof(TURNS[0]); i++) {
        look.now_ns += TURNS[i].ms * 1000000ull;
        look.received += TURNS[i].received;
        look.bad += TURNS[i].bad;
        look.dropped += TURNS[i].dropped;
        if (filter_judge(&filter, &look) != TURNS[i].is_on)
            fail_msg("turn %u", i);
        assert_int_equal(filter_judge(&filter, &look), TURNS[i].is_on); /* no time, no change */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_can_be_told_is_dropped),
        cmocka_unit_test(joined_ones_pass),
        cmocka_unit_test(a_bad_descriptor_is_told),
        cmocka_unit_test(a_flood_turns_it_on_and_calm_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
