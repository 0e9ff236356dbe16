/* A server that does what a test tells it, for the tests of the C client: a bound socket, and
 * functions that take one request and answer it, rightly or wrongly. Nothing runs by itself, so
 * every interleaving is the test's own. */
#ifndef TESTS_UNIT_CLIENT_FAKE_H
#define TESTS_UNIT_CLIENT_FAKE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "mete/client.h"
#include "mete/wire.h"

#define FAKE_SEED 0x0123456789abcdefull
#define FAKE_BOOT 0x5a5a
#define FAKE_CLOCK 5000000u

struct fake {
    int fd;
    char address[32];
    uint16_t boot;
    uint32_t clock_ms;
    uint32_t repeat_ms;   /* W, as HELLO tells it */
    const char *secret;   /* NULL: none; then every request must be untagged */
    uint8_t secret_index; /* where it stands in the server's list */
};

struct taken { /* one request that the fake received */
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    size_t len;
    struct mete_header header;
    struct sockaddr_in from;
    bool is_good; /* its tag verifies */
};

/* BLAKE2b under the fake's secret, 8 or 16 bytes of it, as proto-spec/protocol.md 4 has it. */
static inline void fake_derive(const struct fake *fake, const char *label, const uint8_t *message,
                               size_t message_len, struct mete_mac_key *ret_key, bool is_pad)
{
    uint8_t input[64], out[16] = {0};
    size_t label_len = strlen(label);
    memcpy(input, label, label_len);
    memcpy(input + label_len, message, message_len);
    crypto_generichash_blake2b(out, is_pad ? 8 : 16, input, label_len + message_len,
                               (const uint8_t *)fake->secret, strlen(fake->secret));
    *ret_key = (struct mete_mac_key){mete_mac_load64(out), mete_mac_load64(out + 8)};
}

/* The key of a request and of what answers it; NULL: without a secret. */
static inline const struct mete_mac_key *fake_key(const struct fake *fake, uint8_t type,
                                                  struct mete_mac_key *key)
{
    uint8_t boot_id[8] = {0};
    if (!fake->secret)
        return NULL;
    if (type != METE_HELLO)
        mete_wire_put64(boot_id, fake->boot);
    fake_derive(fake, "mete mac 1", boot_id, sizeof(boot_id), key, false);
    return key;
}

static inline void fake_open(struct fake *fake)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    struct timeval patience = {.tv_sec = 10}; /* a test that waits in vain fails, not hangs */
    *fake = (struct fake){.boot = FAKE_BOOT, .clock_ms = FAKE_CLOCK};
    fake->fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_true(fake->fd >= 0);
    assert_int_equal(bind(fake->fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fake->fd, (struct sockaddr *)&address, &len), 0);
    setsockopt(fake->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    snprintf(fake->address, sizeof(fake->address), "127.0.0.1:%u", ntohs(address.sin_port));
}

/* The next request; false if flags has MSG_DONTWAIT and there is none. It must be well formed and,
 * without a secret, well signed; under one is_good says so. */
static inline bool fake_take(struct fake *fake, struct taken *taken, int flags)
{
    socklen_t from_len = sizeof(taken->from);
    ssize_t len = recvfrom(fake->fd, taken->bytes, sizeof(taken->bytes), flags,
                           (struct sockaddr *)&taken->from, &from_len);
    if (len < 0) {
        assert_true(flags & MSG_DONTWAIT);
        return false;
    }
    taken->len = (size_t)len;
    assert_int_equal(mete_wire_decode_header(taken->bytes, taken->len, &taken->header),
                     METE_WIRE_OK);
    struct mete_mac_key key;
    uint8_t secret_index = fake->secret ? fake->secret_index : METE_WIRE_NO_SECRET;
    taken->is_good = taken->header.secret == secret_index &&
                     mete_wire_verify_request(taken->bytes, taken->len,
                                              fake_key(fake, taken->header.type, &key));
    assert_true(fake->secret || taken->is_good);
    return true;
}

static inline struct mete_entry fake_entry(const struct taken *taken, unsigned index)
{
    struct mete_entry entry = {0};
    assert_int_equal(mete_wire_decode_entry(taken->bytes, &taken->header, index, &entry), 0);
    return entry;
}

static inline void fake_sign(const struct fake *fake, const struct taken *taken, uint8_t *bytes,
                             size_t len)
{
    struct mete_mac_key key;
    mete_wire_sign_result(bytes, len, mete_wire_tag(taken->bytes, taken->len),
                          fake_key(fake, taken->header.type, &key));
}

static inline void fake_send(struct fake *fake, const struct taken *taken, const uint8_t *bytes,
                             size_t len)
{
    assert_int_equal(
        sendto(fake->fd, bytes, len, 0, (const struct sockaddr *)&taken->from, sizeof(taken->from)),
        (ssize_t)len);
}

/* Writes a result of n verdicts for a request; returns its length. */
static inline size_t fake_result(struct fake *fake, const struct taken *taken,
                                 const struct mete_verdict *verdicts, unsigned n,
                                 uint8_t *ret_bytes)
{
    struct mete_result_header header = {.type = taken->header.type | METE_RESULT,
                                        .n = (uint8_t)n,
                                        .sequence = taken->header.sequence,
                                        .clock_ms = fake->clock_ms,
                                        .boot = fake->boot};
    size_t len = mete_wire_result_bytes(header.type, 0, n);
    mete_wire_encode_result_header(ret_bytes, &header);
    for (unsigned i = 0; i < n; i++)
        mete_wire_encode_verdict(ret_bytes, i, &verdicts[i]);
    fake_sign(fake, taken, ret_bytes, len);
    return len;
}

static inline void fake_answer(struct fake *fake, const struct taken *taken,
                               const struct mete_verdict *verdicts)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    size_t len = fake_result(fake, taken, verdicts, taken->header.n, bytes);
    fake_send(fake, taken, bytes, len);
}

/* Allows each entry, with its cost as what remains, so that answers can be told apart. */
static inline void fake_allow(struct fake *fake, const struct taken *taken)
{
    struct mete_verdict verdicts[METE_WIRE_MAX_CHECKS];
    for (unsigned i = 0; i < taken->header.n; i++)
        verdicts[i] = (struct mete_verdict){.flags = METE_VERDICT_ALLOW,
                                            .remaining = fake_entry(taken, i).cost};
    fake_answer(fake, taken, verdicts);
}

/* The same status for each entry. */
static inline void fake_deny_with(struct fake *fake, const struct taken *taken, uint8_t status)
{
    struct mete_verdict verdicts[METE_WIRE_MAX_CHECKS];
    for (unsigned i = 0; i < taken->header.n; i++)
        verdicts[i] = (struct mete_verdict){.status = status};
    fake_answer(fake, taken, verdicts);
}

static inline void fake_status(struct fake *fake, const struct taken *taken, uint8_t status)
{
    uint8_t bytes[24];
    struct mete_result_header header = {.type = taken->header.type | METE_RESULT,
                                        .flags = METE_RESULT_STATUS,
                                        .detail = status,
                                        .sequence = taken->header.sequence,
                                        .clock_ms = fake->clock_ms,
                                        .boot = fake->boot};
    mete_wire_encode_result_header(bytes, &header);
    fake_sign(fake, taken, bytes, sizeof(bytes));
    fake_send(fake, taken, bytes, sizeof(bytes));
}

static inline void fake_hello(struct fake *fake, const struct taken *taken)
{
    uint8_t bytes[METE_WIRE_HELLO_BYTES];
    struct mete_result_header header = {.type = METE_HELLO | METE_RESULT,
                                        .n = 1,
                                        .sequence = taken->header.sequence,
                                        .clock_ms = fake->clock_ms,
                                        .boot = fake->boot};
    struct mete_mac_key pad = {0};
    if (fake->secret)
        fake_derive(fake, "mete pad 1", taken->bytes + METE_WIRE_HEADER_BYTES, 16, &pad, true);
    struct mete_hello_result hello = {.boot_id = fake->boot,
                                      .masked_seed = FAKE_SEED ^ pad.k0,
                                      .repeat_ms = fake->repeat_ms,
                                      .features = 0x8e};
    assert_int_equal(taken->header.type, METE_HELLO);
    assert_int_equal(taken->len, METE_WIRE_HELLO_BYTES);
    mete_wire_encode_result_header(bytes, &header);
    mete_wire_encode_hello_result(bytes, &hello);
    fake_sign(fake, taken, bytes, sizeof(bytes));
    fake_send(fake, taken, bytes, sizeof(bytes));
}

/* The unsigned hint that the tag did not verify and the boot bits are others. */
static inline void fake_restarted(struct fake *fake, const struct taken *taken)
{
    uint8_t bytes[METE_WIRE_RESTARTED_BYTES];
    struct mete_result_header header = {
        .type = METE_RESTARTED, .sequence = taken->header.sequence, .boot = fake->boot};
    mete_wire_encode_result_header(bytes, &header);
    mete_wire_put64(bytes + 16, mete_wire_tag(taken->bytes, taken->len));
    fake_send(fake, taken, bytes, sizeof(bytes));
}

/* The next request of a type, past any others, which stay without an answer. */
static inline void fake_take_type(struct fake *fake, struct taken *taken, uint8_t type)
{
    do
        fake_take(fake, taken, 0);
    while (taken->header.type != type);
}

static inline struct mete_client *fake_client(const struct fake *fake,
                                              struct mete_client_options options)
{
    struct mete_client *client;
    if (!options.servers)
        options.server = fake->address;
    if (!options.timeout_us)
        options.timeout_us = 60000000; /* what must not run out in a test, however slow */
    assert_int_equal(mete_client_open(&options, &client), 0);
    return client;
}

/* What a callback saw. */
struct seen {
    unsigned count;
    struct mete_answer answer;
};

static inline void on_seen(void *context, const struct mete_answer *answer)
{
    struct seen *seen = context;
    seen->count++;
    seen->answer = *answer;
}

static inline int submit(struct mete_client *client, const char *subject, uint32_t cost,
                         uint8_t flags, struct seen *seen)
{
    struct mete_request request = {.rule = "demo",
                                   .subject = subject,
                                   .subject_len = strlen(subject),
                                   .cost = cost,
                                   .flags = flags};
    return mete_client_submit(client, &request, on_seen, seen);
}

/* One check and HELLO to and fro: afterwards the client knows seed, clock and boot bits. */
static inline void fake_meet(struct fake *fake, struct mete_client *client)
{
    struct seen seen = {0};
    struct taken taken;
    assert_int_equal(submit(client, "first", 1, 0, &seen), 0);
    assert_int_equal(mete_client_flush(client), 1);
    fake_take(fake, &taken, 0);
    assert_int_equal(taken.header.type, METE_CHECK);
    assert_int_equal(taken.header.flags, METE_FLAG_RAW_SUBJECT);
    assert_int_equal(taken.header.clock_ms, 0);
    assert_int_equal(taken.header.boot, 0);
    fake_allow(fake, &taken);
    fake_take(fake, &taken, 0);
    fake_hello(fake, &taken);
    assert_int_equal(mete_client_process(client), 1);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.answer.source, METE_SOURCE_SERVER);
}

static inline int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * 1000000ll + now.tv_nsec / 1000;
}

#endif
