/* The datagrams of mete, version 1: a header-only codec.
 *
 * proto-spec/protocol.md is the authority; this is one of its implementations, used by the server,
 * the clients and the load generator alike. Little endian, 8-byte aligned sizes, no allocation,
 * no state: every function is (bytes, length) -> values or the reverse. Any thread. */
#ifndef METE_WIRE_H
#define METE_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "mete/mac.h"
#include "mete/registry.h"
#include "mete/wire_time.h"

/* What a decoder says; all but OK mean: no answer. */
enum mete_wire {
    METE_WIRE_OK = 0,
    METE_WIRE_BAD_LENGTH,  /* too short, too long, or not what sizes and n add up to */
    METE_WIRE_BAD_MAGIC,   /* not of this protocol */
    METE_WIRE_BAD_VERSION, /* of this protocol, another version */
    METE_WIRE_BAD_SIZES,   /* header or entry size impossible for type and flags */
    METE_WIRE_BAD_COUNT,   /* n is 0 where entries must be, or more than there can be */
    METE_WIRE_BAD_TYPE,    /* a result sent to a server, or a request to a client */
};

/* The header of a request. */
struct mete_header {
    uint8_t type;
    uint8_t flags;
    uint8_t n;
    uint8_t secret; /* which of the tenant's secrets; METE_WIRE_NO_SECRET: none */
    uint32_t tenant;
    uint32_t client;
    uint32_t sequence;
    uint32_t clock_ms;
    uint16_t boot;
    uint8_t header_bytes; /* decoded: as sent, 24 or more */
    uint8_t entry_bytes;
};

/* One entry of a request. */
struct mete_entry {
    uint32_t rule;
    uint32_t cost;
    uint64_t key_low, key_high; /* without RAW_SUBJECT */
    const uint8_t *subject;     /* with RAW_SUBJECT; points into the datagram */
    uint8_t subject_len;
    uint32_t limit_count; /* with INLINE_LIMIT: units ... */
    uint32_t limit_burst;
    uint64_t limit_period_ns; /* ... per this long */
    uint64_t lease;           /* lease types: lease id; HELLO: unused */
};

struct mete_result_header {
    uint8_t type; /* of the request | METE_RESULT */
    uint8_t flags;
    uint8_t n;
    uint8_t detail;
    uint32_t sequence;
    uint32_t clock_ms;
    uint16_t boot;
};

/* One entry of a result. */
struct mete_verdict {
    uint8_t status;
    uint8_t flags;
    uint8_t unit; /* low nibble: of retry_after; high nibble: of reset_after */
    uint32_t remaining;
    uint32_t retry_after;
    uint32_t reset_after;
};

struct mete_hello_result {
    uint64_t boot_id;
    uint64_t masked_seed;
    uint64_t wall_ms;   /* the server's, since 1970 */
    uint32_t repeat_ms; /* W */
    uint32_t ahead_ms;  /* how far ahead a clock may be */
    uint64_t features;  /* bit per request type that is served: 1 << type */
};

static inline uint16_t mete_wire_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t mete_wire_get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

static inline uint64_t mete_wire_get64(const uint8_t *p)
{
    return mete_mac_load64(p);
}

static inline void mete_wire_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void mete_wire_put32(uint8_t *p, uint32_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    memcpy(p, &v, sizeof(v));
}

static inline void mete_wire_put64(uint8_t *p, uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    memcpy(p, &v, sizeof(v));
}

/* Id of a rule or tenant by its name: FNV-1a, 32 bit. */
static inline uint32_t mete_name_id(const char *name, size_t len)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len; i++)
        /* NOLINTNEXTLINE: the caller filled len */
        hash = (hash ^ (uint8_t)name[i]) * 16777619u;
    return hash;
}

static inline int mete_type_is_lease(uint8_t type)
{
    return type >= METE_ACQUIRE && type <= METE_RELEASE;
}

/* Bytes of the fields before the subject (RAW_SUBJECT) or of the whole entry. Unknown types have
 * none that are required. */
static inline unsigned mete_wire_entry_fixed(uint8_t type, uint8_t flags)
{
    if (type == METE_HELLO)
        return 32;
    if (type < METE_CHECK || type > METE_RELEASE)
        return 0;
    unsigned bytes = flags & METE_FLAG_RAW_SUBJECT ? 8 : METE_WIRE_ENTRY_BYTES;
    if (mete_type_is_lease(type))
        bytes += 8;
    else if (flags & METE_FLAG_INLINE_LIMIT)
        bytes += 16;
    return bytes;
}

/* Smallest size an entry can have, a multiple of 8. A longer one carries fields of a later
 * version (or, raw, a longer subject), which are skipped. */
static inline unsigned mete_wire_entry_min(uint8_t type, uint8_t flags)
{
    unsigned bytes = mete_wire_entry_fixed(type, flags);
    return type != METE_HELLO && bytes && flags & METE_FLAG_RAW_SUBJECT ? bytes + 8 : bytes;
}

/* Size of an entry that carries a raw subject of len bytes; 0 if none can. */
static inline unsigned mete_wire_entry_raw(uint8_t type, uint8_t flags, size_t len)
{
    size_t bytes = mete_wire_entry_fixed(type, flags | METE_FLAG_RAW_SUBJECT) + 1 + len;
    bytes = (bytes + 7) & ~(size_t)7;
    return bytes > 15 * 8 ? 0 : (unsigned)bytes;
}

/* Checks form and reads the header. Says nothing about the tag. Results: every enum mete_wire;
 * *ret_header is untouched unless OK. */
static inline enum mete_wire mete_wire_decode_header(const uint8_t *bytes, size_t len,
                                                     struct mete_header *ret_header)
{
    if (len < METE_WIRE_HEADER_BYTES + METE_WIRE_TAG_BYTES || len > METE_WIRE_MAX_BYTES || len % 8)
        return METE_WIRE_BAD_LENGTH;
    if (bytes[0] >> 4 != METE_WIRE_MAGIC_VERSION >> 4)
        return METE_WIRE_BAD_MAGIC;
    if (bytes[0] != METE_WIRE_MAGIC_VERSION)
        return METE_WIRE_BAD_VERSION;
    if (bytes[1] & METE_RESULT)
        return METE_WIRE_BAD_TYPE;
    if (bytes[3] == 0 || (bytes[1] == METE_HELLO && bytes[3] != 1))
        return METE_WIRE_BAD_COUNT;
    unsigned header_bytes = (bytes[23] >> 4) * 8u;
    unsigned entry_bytes = (bytes[23] & 15) * 8u;
    if (header_bytes < METE_WIRE_HEADER_BYTES || entry_bytes < 16 ||
        entry_bytes < mete_wire_entry_min(bytes[1], bytes[2]))
        return METE_WIRE_BAD_SIZES;
    if (len != header_bytes + (size_t)bytes[3] * entry_bytes + METE_WIRE_TAG_BYTES)
        return METE_WIRE_BAD_LENGTH;
    *ret_header = (struct mete_header){
        .type = bytes[1],
        .flags = bytes[2],
        .n = bytes[3],
        .tenant = mete_wire_get32(bytes + 4),
        .client = mete_wire_get32(bytes + 8),
        .sequence = mete_wire_get32(bytes + 12),
        .clock_ms = mete_wire_get32(bytes + 16),
        .boot = mete_wire_get16(bytes + 20),
        .secret = bytes[22],
        .header_bytes = (uint8_t)header_bytes,
        .entry_bytes = (uint8_t)entry_bytes,
    };
    return METE_WIRE_OK;
}

/* The tag a datagram carries, request or result. */
static inline uint64_t mete_wire_tag(const uint8_t *bytes, size_t len)
{
    return mete_wire_get64(bytes + len - METE_WIRE_TAG_BYTES);
}

/* Reads entry `index` < header->n of a datagram whose header decoded OK. Returns 0, or -1 if a raw
 * subject is longer than its entry, or the type has no such entries (HELLO, unknown ones). */
static inline int mete_wire_decode_entry(const uint8_t *bytes, const struct mete_header *header,
                                         unsigned index, struct mete_entry *ret_entry)
{
    if (header->type < METE_CHECK || header->type > METE_RELEASE)
        return -1; /* an unknown type's entry may be shorter than what is read below */
    const uint8_t *p = bytes + header->header_bytes + index * header->entry_bytes;
    const uint8_t *end = p + header->entry_bytes;
    struct mete_entry entry = {.rule = mete_wire_get32(p), .cost = mete_wire_get32(p + 4)};
    p += 8;
    if (!(header->flags & METE_FLAG_RAW_SUBJECT)) {
        entry.key_low = mete_wire_get64(p);
        entry.key_high = mete_wire_get64(p + 8);
        p += 16;
    }
    if (mete_type_is_lease(header->type)) {
        entry.lease = mete_wire_get64(p);
        p += 8;
    } else if (header->flags & METE_FLAG_INLINE_LIMIT) {
        entry.limit_count = mete_wire_get32(p);
        entry.limit_burst = mete_wire_get32(p + 4);
        entry.limit_period_ns = mete_wire_get64(p + 8);
        p += 16;
    }
    if (header->flags & METE_FLAG_RAW_SUBJECT) {
        entry.subject_len = *p;
        entry.subject = p + 1;
        if (entry.subject_len > end - entry.subject)
            return -1;
    }
    *ret_entry = entry;
    return 0;
}

/* Writes the header; header_bytes is taken as 24. The caller guarantees the room. */
static inline void mete_wire_encode_header(uint8_t *bytes, const struct mete_header *header)
{
    bytes[0] = METE_WIRE_MAGIC_VERSION;
    bytes[1] = header->type;
    bytes[2] = header->flags;
    bytes[3] = header->n;
    mete_wire_put32(bytes + 4, header->tenant);
    mete_wire_put32(bytes + 8, header->client);
    mete_wire_put32(bytes + 12, header->sequence);
    mete_wire_put32(bytes + 16, header->clock_ms);
    mete_wire_put16(bytes + 20, header->boot);
    bytes[22] = header->secret;
    bytes[23] = (uint8_t)(METE_WIRE_HEADER_BYTES / 8 << 4 | header->entry_bytes / 8u);
}

/* Writes entry `index` behind a header of 24 bytes; unused bytes of a raw entry become 0. */
static inline void mete_wire_encode_entry(uint8_t *bytes, const struct mete_header *header,
                                          unsigned index, const struct mete_entry *entry)
{
    uint8_t *p = bytes + METE_WIRE_HEADER_BYTES + index * header->entry_bytes;
    uint8_t *end = p + header->entry_bytes;
    mete_wire_put32(p, entry->rule);
    mete_wire_put32(p + 4, entry->cost);
    p += 8;
    if (!(header->flags & METE_FLAG_RAW_SUBJECT)) {
        mete_wire_put64(p, entry->key_low);
        mete_wire_put64(p + 8, entry->key_high);
        p += 16;
    }
    if (mete_type_is_lease(header->type)) {
        mete_wire_put64(p, entry->lease);
        p += 8;
    } else if (header->flags & METE_FLAG_INLINE_LIMIT) {
        mete_wire_put32(p, entry->limit_count);
        mete_wire_put32(p + 4, entry->limit_burst);
        mete_wire_put64(p + 8, entry->limit_period_ns);
        p += 16;
    }
    if (header->flags & METE_FLAG_RAW_SUBJECT) {
        *p++ = entry->subject_len;
        memcpy(p, entry->subject, entry->subject_len);
        p += entry->subject_len;
    }
    if (p < end)
        memset(p, 0, (size_t)(end - p));
}

/* Length of a request with n entries. */
static inline size_t mete_wire_request_bytes(unsigned n, unsigned entry_bytes)
{
    return METE_WIRE_HEADER_BYTES + (size_t)n * entry_bytes + METE_WIRE_TAG_BYTES;
}

/* The tag that a request of len bytes (tag included) must have. Without a secret there is no key:
 * NULL, and the tag is client id and sequence again, which costs nothing and proves nothing. */
static inline uint64_t mete_wire_make_request_tag(const uint8_t *bytes, size_t len,
                                                  const struct mete_mac_key *key)
{
    return key ? mete_mac(key, bytes, len - METE_WIRE_TAG_BYTES) : mete_wire_get64(bytes + 8);
}

/* Signs a request of len bytes (tag included), returns its tag. key NULL: without a secret. */
static inline uint64_t mete_wire_sign_request(uint8_t *bytes, size_t len,
                                              const struct mete_mac_key *key)
{
    uint64_t tag = mete_wire_make_request_tag(bytes, len, key);
    mete_wire_put64(bytes + len - METE_WIRE_TAG_BYTES, tag);
    return tag;
}

/* Of a request whose header decoded OK. key NULL: without a secret. */
static inline int mete_wire_verify_request(const uint8_t *bytes, size_t len,
                                           const struct mete_mac_key *key)
{
    return mete_mac_equal(mete_wire_make_request_tag(bytes, len, key), mete_wire_tag(bytes, len));
}

/* Body bytes of a result between its header and its tag. */
static inline size_t mete_wire_result_body(uint8_t type, uint8_t flags, unsigned n)
{
    if (type == (METE_HELLO | METE_RESULT) && n)
        return METE_WIRE_HELLO_BYTES - METE_WIRE_RESULT_HEADER_BYTES - METE_WIRE_TAG_BYTES;
    if (flags & METE_RESULT_MIN)
        return ((size_t)n + 63) / 64 * 8;
    return (size_t)n * METE_WIRE_RESULT_ENTRY_BYTES;
}

static inline size_t mete_wire_result_bytes(uint8_t type, uint8_t flags, unsigned n)
{
    return METE_WIRE_RESULT_HEADER_BYTES + mete_wire_result_body(type, flags, n) +
           METE_WIRE_TAG_BYTES;
}

/* What the low nibble of a result's sizes must be. */
static inline unsigned mete_wire_result_entry_words(uint8_t type, uint8_t flags, unsigned n)
{
    if (n == 0)
        return 0;
    if (type == (METE_HELLO | METE_RESULT))
        return 5;
    return flags & METE_RESULT_MIN ? 0 : METE_WIRE_RESULT_ENTRY_BYTES / 8;
}

static inline void mete_wire_encode_result_header(uint8_t *bytes,
                                                  const struct mete_result_header *header)
{
    unsigned entry_words = mete_wire_result_entry_words(header->type, header->flags, header->n);
    bytes[0] = METE_WIRE_MAGIC_VERSION;
    bytes[1] = header->type;
    bytes[2] = header->flags;
    bytes[3] = header->n;
    mete_wire_put32(bytes + 4, header->sequence);
    mete_wire_put32(bytes + 8, header->clock_ms);
    mete_wire_put16(bytes + 12, header->boot);
    bytes[14] = header->detail;
    bytes[15] = (uint8_t)(METE_WIRE_RESULT_HEADER_BYTES / 8 << 4 | entry_words);
}

static inline void mete_wire_encode_verdict(uint8_t *bytes, unsigned index,
                                            const struct mete_verdict *verdict)
{
    uint8_t *p = bytes + METE_WIRE_RESULT_HEADER_BYTES + index * METE_WIRE_RESULT_ENTRY_BYTES;
    p[0] = verdict->status;
    p[1] = verdict->flags;
    p[2] = verdict->unit;
    p[3] = 0;
    mete_wire_put32(p + 4, verdict->remaining);
    mete_wire_put32(p + 8, verdict->retry_after);
    mete_wire_put32(p + 12, verdict->reset_after);
}

static inline void mete_wire_encode_hello_result(uint8_t *bytes,
                                                 const struct mete_hello_result *hello)
{
    uint8_t *p = bytes + METE_WIRE_RESULT_HEADER_BYTES;
    mete_wire_put64(p, hello->boot_id);
    mete_wire_put64(p + 8, hello->masked_seed);
    mete_wire_put64(p + 16, hello->wall_ms);
    mete_wire_put32(p + 24, hello->repeat_ms);
    mete_wire_put32(p + 28, hello->ahead_ms);
    mete_wire_put64(p + 32, hello->features);
}

/* The tag of a result; without a key (NULL: no secret) that of its request again. */
static inline uint64_t mete_wire_make_result_tag(const uint8_t *bytes, size_t len,
                                                 uint64_t request_tag,
                                                 const struct mete_mac_key *key)
{
    return key ? mete_mac_result(key, request_tag, bytes, len - METE_WIRE_TAG_BYTES) : request_tag;
}

/* Signs a result of len bytes (tag included) as the answer to the request with request_tag. key
 * NULL: without a secret. */
static inline void mete_wire_sign_result(uint8_t *bytes, size_t len, uint64_t request_tag,
                                         const struct mete_mac_key *key)
{
    mete_wire_put64(bytes + len - METE_WIRE_TAG_BYTES,
                    mete_wire_make_result_tag(bytes, len, request_tag, key));
}

static inline int mete_wire_verify_result(const uint8_t *bytes, size_t len, uint64_t request_tag,
                                          const struct mete_mac_key *key)
{
    return mete_mac_equal(mete_wire_make_result_tag(bytes, len, request_tag, key),
                          mete_wire_tag(bytes, len));
}

/* Checks form and reads a result's header (a RESTARTED among them, whose last 8 bytes are the tag
 * of the request it answers, not a signature). Results as mete_wire_decode_header. */
static inline enum mete_wire mete_wire_decode_result(const uint8_t *bytes, size_t len,
                                                     struct mete_result_header *ret_header)
{
    if (len < METE_WIRE_RESULT_HEADER_BYTES + METE_WIRE_TAG_BYTES || len > METE_WIRE_MAX_BYTES ||
        len % 8)
        return METE_WIRE_BAD_LENGTH;
    if (bytes[0] >> 4 != METE_WIRE_MAGIC_VERSION >> 4)
        return METE_WIRE_BAD_MAGIC;
    if (bytes[0] != METE_WIRE_MAGIC_VERSION)
        return METE_WIRE_BAD_VERSION;
    if (!(bytes[1] & METE_RESULT))
        return METE_WIRE_BAD_TYPE;
    struct mete_result_header header = {
        .type = bytes[1],
        .flags = bytes[2],
        .n = bytes[3],
        .sequence = mete_wire_get32(bytes + 4),
        .clock_ms = mete_wire_get32(bytes + 8),
        .boot = mete_wire_get16(bytes + 12),
        .detail = bytes[14],
    };
    int is_empty = header.flags & METE_RESULT_STATUS || header.type == METE_RESTARTED;
    unsigned n_max = header.type == (METE_HELLO | METE_RESULT) ? 1 : METE_WIRE_MAX_CHECKS;
    if (is_empty ? header.n != 0 : header.n == 0 || header.n > n_max)
        return METE_WIRE_BAD_COUNT;
    if (bytes[15] >> 4 != METE_WIRE_RESULT_HEADER_BYTES / 8 ||
        (bytes[15] & 15u) != mete_wire_result_entry_words(header.type, header.flags, header.n))
        return METE_WIRE_BAD_SIZES;
    if (len != mete_wire_result_bytes(header.type, header.flags, header.n))
        return METE_WIRE_BAD_LENGTH;
    *ret_header = header;
    return METE_WIRE_OK;
}

/* Entry `index` < n of a result without METE_RESULT_MIN. */
static inline struct mete_verdict mete_wire_decode_verdict(const uint8_t *bytes, unsigned index)
{
    const uint8_t *p = bytes + METE_WIRE_RESULT_HEADER_BYTES + index * METE_WIRE_RESULT_ENTRY_BYTES;
    return (struct mete_verdict){
        .status = p[0],
        .flags = p[1],
        .unit = p[2],
        .remaining = mete_wire_get32(p + 4),
        .retry_after = mete_wire_get32(p + 8),
        .reset_after = mete_wire_get32(p + 12),
    };
}

/* Bit `index` < n of a result with METE_RESULT_MIN: allowed? */
static inline int mete_wire_decode_min(const uint8_t *bytes, unsigned index)
{
    return bytes[METE_WIRE_RESULT_HEADER_BYTES + index / 8] >> index % 8 & 1;
}

static inline struct mete_hello_result mete_wire_decode_hello_result(const uint8_t *bytes)
{
    const uint8_t *p = bytes + METE_WIRE_RESULT_HEADER_BYTES;
    return (struct mete_hello_result){
        .boot_id = mete_wire_get64(p),
        .masked_seed = mete_wire_get64(p + 8),
        .wall_ms = mete_wire_get64(p + 16),
        .repeat_ms = mete_wire_get32(p + 24),
        .ahead_ms = mete_wire_get32(p + 28),
        .features = mete_wire_get64(p + 32),
    };
}

#endif
