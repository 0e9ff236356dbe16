/* Sends COUNT random datagrams at a server as fast as it takes them: pure noise, valid requests
 * with bits flipped, valid requests cut or lengthened. No MAC is ever made again after the damage,
 * so not one of them may be answered or charged. After every BARRIER of them a valid HELLO is sent
 * and its answer awaited: one flow is served in order by one worker, so then all before it were
 * judged, and none was lost to a full buffer.
 *
 *   flood_feed PORT COUNT SEED      prints: sent SENT hello HELLOS unexpected N */
#include <arpa/inet.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/random.h"
#include "mete/wire.h"

#define BARRIER 128u
#define MAX_BYTES 1400u
#define PATIENCE_MS 30000

static uint64_t state;

static uint64_t next_random(void)
{
    return random_next(&state);
}

static size_t make_valid(uint8_t *bytes, uint8_t type, uint32_t sequence)
{
    unsigned n = type == METE_HELLO ? 1 : 1 + (unsigned)(next_random() % 50);
    struct mete_header header = {
        .type = type,
        .n = (uint8_t)n,
        .tenant = mete_name_id("default", 7),
        .sequence = sequence,
        .secret = METE_WIRE_NO_SECRET,
        .entry_bytes = type == METE_HELLO ? 32 : METE_WIRE_ENTRY_BYTES,
    };
    size_t len = mete_wire_request_bytes(n, header.entry_bytes);
    memset(bytes, 0, len);
    mete_wire_encode_header(bytes, &header);
    for (unsigned i = 0; type != METE_HELLO && i < n; i++) {
        struct mete_entry entry = {.rule = mete_name_id("fast", 4),
                                   .cost = 1,
                                   .key_low = next_random(),
                                   .key_high = next_random()};
        mete_wire_encode_entry(bytes, &header, i, &entry);
    }
    mete_wire_sign_request(bytes, len, NULL);
    return len;
}

static size_t make_damaged(uint8_t *bytes)
{
    uint64_t how = next_random();
    if (how % 4 == 0) { /* noise, of any length, half of it with the right first byte */
        size_t len = next_random() % MAX_BYTES;
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)next_random();
        if (how & 4)
            bytes[0] = METE_WIRE_MAGIC_VERSION;
        return len;
    }
    size_t len = make_valid(bytes, (uint8_t)(1 + next_random() % 6), (uint32_t)how);
    if (how % 4 == 1) { /* one bit of what is guarded without a secret */
        static const uint8_t guarded[] = {0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 22, 23};
        size_t at = next_random() % (sizeof(guarded) + METE_WIRE_TAG_BYTES);
        at = at < sizeof(guarded) ? guarded[at] : len - 1 - (at - sizeof(guarded));
        bytes[at] ^= (uint8_t)(1u << next_random() % 8);
        return len;
    }
    if (how % 4 == 2) /* cut */
        return next_random() % len;
    memset(bytes + len, 0, 64); /* trailing bytes */
    return len + 1 + next_random() % 64;
}

static int pass_barrier(int fd, uint32_t sequence, unsigned *unexpected)
{
    uint8_t bytes[MAX_BYTES];
    size_t len = make_valid(bytes, METE_HELLO, sequence);
    if (send(fd, bytes, len, 0) < 0)
        return -1;
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    while (poll(&readable, 1, PATIENCE_MS) > 0) {
        struct mete_result_header result;
        ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
        if (got > 0 && mete_wire_decode_result(bytes, (size_t)got, &result) == METE_WIRE_OK &&
            result.type == (METE_HELLO | METE_RESULT) && result.sequence == sequence)
            return 0;
        (*unexpected)++;
    }
    return -1;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: flood_feed PORT COUNT SEED\n");
        return 2;
    }
    struct sockaddr_in server = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint64_t count = strtoull(argv[2], NULL, 10);
    state = strtoull(argv[3], NULL, 10);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof(server)) < 0) {
        perror("flood_feed");
        return 2;
    }
    uint8_t bytes[MAX_BYTES + 128];
    uint32_t hellos = 0;
    unsigned unexpected = 0;
    for (uint64_t sent = 0; sent < count;) {
        for (unsigned i = 0; i < BARRIER && sent < count; i++, sent++)
            if (send(fd, bytes, make_damaged(bytes), 0) < 0)
                perror("flood_feed: send");
        if (pass_barrier(fd, ++hellos, &unexpected)) {
            fprintf(stderr, "flood_feed: no answer to a valid HELLO after %" PRIu64 " datagrams\n",
                    sent);
            return 1;
        }
    }
    printf("sent %" PRIu64 " hello %" PRIu32 " unexpected %u\n", count, hellos, unexpected);
    close(fd);
    return 0;
}
