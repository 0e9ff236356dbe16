/* The C codec at the end of a pipe, for tests/property/prop_wire.py: reads records from stdin until
 * it ends and answers each on stdout. A record is one byte that says what it is, then:
 *
 *   D key, len 2, bytes              decode a request    -> case 1 [, header 24, entries]
 *   R key, tag 8, len 2, bytes       decode a result     -> case 1 [, header 14, body]
 *   E key, header 24, entries        encode a request    -> len 2, bytes
 *   F key, tag 8, header 14, body    encode a result     -> len 2, bytes
 *   K seed 8, len 2, bytes           key of a subject    -> 16
 *   S key, len 2, bytes              mete_mac            -> 8
 *   T duration_ns 8                  mete_wire_time      -> number 4, unit 1, back 8
 *
 * A key is 1 byte, then 16 if that is 1: 0 is none, for datagrams without a secret.
 * Header, entry and body are plain packed numbers, little endian; put_*() below are their
 * definition. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/key.h"
#include "mete/wire.h"

enum { CASE_BAD_TAG = 100, CASE_BAD_SUBJECT = 101 }; /* beside enum mete_wire */

static void read_bytes(void *ret_bytes, size_t len)
{
    if (fread(ret_bytes, 1, len, stdin) != len) {
        fprintf(stderr, "wire_feed: input ends inside a record\n");
        exit(1);
    }
}

static uint64_t read_number(unsigned size)
{
    uint8_t bytes[8] = {0};
    read_bytes(bytes, size);
    return mete_wire_get64(bytes);
}

static void put_number(uint64_t number, unsigned size)
{
    uint8_t bytes[8];
    mete_wire_put64(bytes, number);
    fwrite(bytes, 1, size, stdout);
}

/* NULL: without a secret. */
static const struct mete_mac_key *read_key(struct mete_mac_key *ret_key)
{
    if (read_number(1) == 0)
        return NULL;
    ret_key->k0 = read_number(8);
    ret_key->k1 = read_number(8);
    return ret_key;
}

/* The bytes in memory of exactly their length, so that the address sanitizer sees a read past them.
 */
static uint8_t *read_datagram(size_t *ret_len)
{
    *ret_len = read_number(2);
    uint8_t *bytes = malloc(*ret_len ? *ret_len : 1);
    if (!bytes)
        abort();
    read_bytes(bytes, *ret_len);
    return bytes;
}

static void put_datagram(const uint8_t *bytes, size_t len)
{
    put_number(len, 2);
    fwrite(bytes, 1, len, stdout);
}

static void put_header(const struct mete_header *header)
{
    put_number(header->type, 1);
    put_number(header->flags, 1);
    put_number(header->n, 1);
    put_number(header->secret, 1);
    put_number(header->tenant, 4);
    put_number(header->client, 4);
    put_number(header->sequence, 4);
    put_number(header->clock_ms, 4);
    put_number(header->boot, 2);
    put_number(header->header_bytes / 8u, 1);
    put_number(header->entry_bytes / 8u, 1);
}

static struct mete_header read_header(void)
{
    struct mete_header header = {.type = (uint8_t)read_number(1)};
    header.flags = (uint8_t)read_number(1);
    header.n = (uint8_t)read_number(1);
    header.secret = (uint8_t)read_number(1);
    header.tenant = (uint32_t)read_number(4);
    header.client = (uint32_t)read_number(4);
    header.sequence = (uint32_t)read_number(4);
    header.clock_ms = (uint32_t)read_number(4);
    header.boot = (uint16_t)read_number(2);
    header.header_bytes = (uint8_t)(read_number(1) * 8);
    header.entry_bytes = (uint8_t)(read_number(1) * 8);
    return header;
}

static void put_entry(const struct mete_entry *entry)
{
    put_number(entry->rule, 4);
    put_number(entry->cost, 4);
    put_number(entry->key_low, 8);
    put_number(entry->key_high, 8);
    put_number(entry->limit_count, 4);
    put_number(entry->limit_burst, 4);
    put_number(entry->limit_period_ns, 8);
    put_number(entry->lease, 8);
    put_number(entry->subject_len, 1);
    fwrite(entry->subject, 1, entry->subject_len, stdout);
}

static struct mete_entry read_entry(uint8_t subject[UINT8_MAX])
{
    struct mete_entry entry = {.rule = (uint32_t)read_number(4), .subject = subject};
    entry.cost = (uint32_t)read_number(4);
    entry.key_low = read_number(8);
    entry.key_high = read_number(8);
    entry.limit_count = (uint32_t)read_number(4);
    entry.limit_burst = (uint32_t)read_number(4);
    entry.limit_period_ns = read_number(8);
    entry.lease = read_number(8);
    entry.subject_len = (uint8_t)read_number(1);
    read_bytes(subject, entry.subject_len);
    return entry;
}

static int has_entries(uint8_t type)
{
    return type >= METE_CHECK && type <= METE_RELEASE;
}

static void decode_request(void)
{
    struct mete_mac_key key_room;
    const struct mete_mac_key *key = read_key(&key_room);
    size_t len;
    uint8_t *bytes = read_datagram(&len);
    struct mete_header header = {0};
    struct mete_entry entries[METE_WIRE_MAX_CHECKS];
    unsigned result = mete_wire_decode_header(bytes, len, &header);
    if (result == METE_WIRE_OK && !mete_wire_verify_request(bytes, len, key))
        result = CASE_BAD_TAG;
    for (unsigned i = 0; result == METE_WIRE_OK && has_entries(header.type) && i < header.n; i++)
        if (mete_wire_decode_entry(bytes, &header, i, &entries[i]) != 0)
            result = CASE_BAD_SUBJECT;
    put_number(result, 1);
    if (result == METE_WIRE_OK) {
        put_header(&header);
        for (unsigned i = 0; has_entries(header.type) && i < header.n; i++)
            put_entry(&entries[i]);
        if (header.type == METE_HELLO)
            fwrite(bytes + header.header_bytes, 1, 16, stdout);
    }
    free(bytes);
}

static void encode_request(void)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES], subject[UINT8_MAX];
    struct mete_mac_key key_room;
    const struct mete_mac_key *key = read_key(&key_room);
    struct mete_header header = read_header();
    mete_wire_encode_header(bytes, &header);
    for (unsigned i = 0; has_entries(header.type) && i < header.n; i++) {
        struct mete_entry entry = read_entry(subject);
        mete_wire_encode_entry(bytes, &header, i, &entry);
    }
    if (header.type == METE_HELLO) {
        memset(bytes + METE_WIRE_HEADER_BYTES, 0, header.entry_bytes);
        read_bytes(bytes + METE_WIRE_HEADER_BYTES, 16);
    }
    size_t len = mete_wire_request_bytes(header.n, header.entry_bytes);
    mete_wire_sign_request(bytes, len, key);
    put_datagram(bytes, len);
}

static int is_restarted(const struct mete_result_header *header)
{
    return header->type == METE_RESTARTED && !(header->flags & METE_RESULT_STATUS);
}

static void put_result(const uint8_t *bytes, const struct mete_result_header *header)
{
    put_number(header->type, 1);
    put_number(header->flags, 1);
    put_number(header->n, 1);
    put_number(header->detail, 1);
    put_number(header->sequence, 4);
    put_number(header->clock_ms, 4);
    put_number(header->boot, 2);
    if (header->type == (METE_HELLO | METE_RESULT) && header->n) {
        struct mete_hello_result hello = mete_wire_decode_hello_result(bytes);
        put_number(hello.boot_id, 8);
        put_number(hello.masked_seed, 8);
        put_number(hello.wall_ms, 8);
        put_number(hello.repeat_ms, 4);
        put_number(hello.ahead_ms, 4);
        put_number(hello.features, 8);
        return;
    }
    for (unsigned i = 0; i < header->n; i++) {
        if (header->flags & METE_RESULT_MIN) {
            put_number(mete_wire_decode_min(bytes, i) ? 1 : 0, 1);
            continue;
        }
        struct mete_verdict verdict = mete_wire_decode_verdict(bytes, i);
        put_number(verdict.status, 1);
        put_number(verdict.flags, 1);
        put_number(verdict.unit, 1);
        put_number(verdict.remaining, 4);
        put_number(verdict.retry_after, 4);
        put_number(verdict.reset_after, 4);
    }
}

static void decode_result(void)
{
    struct mete_mac_key key_room;
    const struct mete_mac_key *key = read_key(&key_room);
    uint64_t tag = read_number(8);
    size_t len;
    uint8_t *bytes = read_datagram(&len);
    struct mete_result_header header = {0};
    unsigned result = mete_wire_decode_result(bytes, len, &header);
    if (result == METE_WIRE_OK &&
        !(is_restarted(&header) ? mete_wire_tag(bytes, len) == tag
                                : mete_wire_verify_result(bytes, len, tag, key)))
        result = CASE_BAD_TAG;
    put_number(result, 1);
    if (result == METE_WIRE_OK)
        put_result(bytes, &header);
    free(bytes);
}

static void read_body(uint8_t *bytes, const struct mete_result_header *header)
{
    if (header->type == (METE_HELLO | METE_RESULT) && header->n) {
        struct mete_hello_result hello = {.boot_id = read_number(8)};
        hello.masked_seed = read_number(8);
        hello.wall_ms = read_number(8);
        hello.repeat_ms = (uint32_t)read_number(4);
        hello.ahead_ms = (uint32_t)read_number(4);
        hello.features = read_number(8);
        mete_wire_encode_hello_result(bytes, &hello);
        return;
    }
    uint8_t *bits = bytes + METE_WIRE_RESULT_HEADER_BYTES;
    if (header->flags & METE_RESULT_MIN)
        memset(bits, 0, mete_wire_result_body(header->type, header->flags, header->n));
    for (unsigned i = 0; i < header->n; i++) {
        if (header->flags & METE_RESULT_MIN) {
            bits[i / 8] |= (uint8_t)(read_number(1) << i % 8);
            continue;
        }
        struct mete_verdict verdict = {.status = (uint8_t)read_number(1)};
        verdict.flags = (uint8_t)read_number(1);
        verdict.unit = (uint8_t)read_number(1);
        verdict.remaining = (uint32_t)read_number(4);
        verdict.retry_after = (uint32_t)read_number(4);
        verdict.reset_after = (uint32_t)read_number(4);
        mete_wire_encode_verdict(bytes, i, &verdict);
    }
}

static void encode_result(void)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    struct mete_mac_key key_room;
    const struct mete_mac_key *key = read_key(&key_room);
    uint64_t tag = read_number(8);
    struct mete_result_header header = {.type = (uint8_t)read_number(1)};
    header.flags = (uint8_t)read_number(1);
    header.n = (uint8_t)read_number(1);
    header.detail = (uint8_t)read_number(1);
    header.sequence = (uint32_t)read_number(4);
    header.clock_ms = (uint32_t)read_number(4);
    header.boot = (uint16_t)read_number(2);
    mete_wire_encode_result_header(bytes, &header);
    read_body(bytes, &header);
    size_t len = mete_wire_result_bytes(header.type, header.flags, header.n);
    if (is_restarted(&header))
        mete_wire_put64(bytes + len - METE_WIRE_TAG_BYTES, tag);
    else
        mete_wire_sign_result(bytes, len, tag, key);
    put_datagram(bytes, len);
}

static void hash_subject(void)
{
    uint64_t seed = read_number(8);
    size_t len;
    uint8_t *bytes = read_datagram(&len);
    struct key key = key_of_subject(bytes, len, seed);
    put_number(key.low, 8);
    put_number(key.high, 8);
    free(bytes);
}

static void sign(void)
{
    struct mete_mac_key key_room;
    const struct mete_mac_key *key = read_key(&key_room);
    size_t len;
    uint8_t *bytes = read_datagram(&len);
    put_number(mete_mac(key, bytes, len), 8);
    free(bytes);
}

static void convert_time(void)
{
    enum mete_unit unit;
    uint32_t number = mete_wire_time(read_number(8), &unit);
    put_number(number, 4);
    put_number(unit, 1);
    put_number(mete_wire_time_ns(number, unit), 8);
}

int main(void)
{
    static void (*const records[256])(void) = {
        ['D'] = decode_request, ['R'] = decode_result, ['E'] = encode_request,
        ['F'] = encode_result,  ['K'] = hash_subject,  ['S'] = sign,
        ['T'] = convert_time,
    };
    for (int record; (record = getchar()) != EOF;) {
        if (!records[record]) {
            fprintf(stderr, "wire_feed: unknown record %d\n", record);
            return 1;
        }
        records[record]();
    }
    return 0;
}
