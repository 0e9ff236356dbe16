/* The numbers of proto-spec/registry.md in C, and the sizes that follow from protocol.md. A number
 * once given is never given another meaning. */
#ifndef METE_REGISTRY_H
#define METE_REGISTRY_H

#include <stdint.h>

#define METE_WIRE_MAGIC_VERSION 0xE1u /* magic 0xE, version 1 */
#define METE_WIRE_MAX_BYTES 1232u     /* the payload that passes everywhere */
#define METE_WIRE_TAG_BYTES 8u
#define METE_WIRE_HEADER_BYTES 24u
#define METE_WIRE_RESULT_HEADER_BYTES 16u
#define METE_WIRE_ENTRY_BYTES 24u
#define METE_WIRE_INLINE_ENTRY_BYTES 40u
#define METE_WIRE_LEASE_ENTRY_BYTES 32u
#define METE_WIRE_RESULT_ENTRY_BYTES 16u
#define METE_WIRE_HELLO_BYTES 64u
#define METE_WIRE_RESTARTED_BYTES 24u
#define METE_WIRE_MIN_REQUEST_BYTES 48u /* header, one raw entry of 16 bytes, tag */
#define METE_WIRE_MAX_CHECKS 75u        /* raw entries of 16 bytes; 50 with keys */
#define METE_WIRE_MAX_RAW_SUBJECT 111u  /* what an entry of 15 words holds */
#define METE_WIRE_NO_SECRET 0xFFu       /* "which secret" of a datagram without one */
#define METE_WIRE_NEVER UINT32_MAX

enum mete_type {
    METE_CHECK = 0x01,
    METE_REFUND = 0x02,
    METE_RESET = 0x03,
    METE_ACQUIRE = 0x04,
    METE_RENEW = 0x05,
    METE_RELEASE = 0x06,
    METE_HELLO = 0x07,
    METE_RESULT = 0x80, /* added to the type of the request */
    METE_RESTARTED = 0x8F,
};

/* Of a request. */
enum mete_flag {
    METE_FLAG_PEEK = 0x01,
    METE_FLAG_ALL_OR_NOTHING = 0x02,
    METE_FLAG_RAW_SUBJECT = 0x04,
    METE_FLAG_INLINE_LIMIT = 0x08,
    METE_FLAG_MIN_RESULT = 0x10,
    METE_FLAG_SHADOW = 0x20,
    METE_FLAG_AT_MOST = 0x40,
    METE_FLAG_IGNORABLE = 0x80, /* the one bit a receiver may not know and still serve */
};

/* Of a result's header. */
enum mete_result_flag {
    METE_RESULT_MIN = 0x01,       /* a bitmap in place of the entries */
    METE_RESULT_DENIED_AT = 0x02, /* detail: index of the entry that denied */
    METE_RESULT_STATUS = 0x04,    /* n is 0, detail: status of the whole datagram */
};

/* Of a result's entry. */
enum mete_verdict_flag {
    METE_VERDICT_ALLOW = 0x01,
    METE_VERDICT_WOULD_DENY = 0x02,
    METE_VERDICT_NOT_CHARGED = 0x04,
    METE_VERDICT_REPEAT = 0x08,
    METE_VERDICT_DEGRADED = 0x10,
    METE_VERDICT_DELAY = 0x20,   /* retry_after: serve after this long (leaky queue) */
    METE_VERDICT_GRANTED = 0x40, /* retry_after: units granted (AT_MOST) */
};

enum mete_status {
    METE_STATUS_OK = 0,
    METE_STATUS_UNKNOWN_RULE = 1,
    METE_STATUS_BAD_LIMIT = 2,
    METE_STATUS_NEED_SUBJECT = 3,
    METE_STATUS_TABLE_FULL = 4,
    METE_STATUS_STALE = 5,
    METE_STATUS_SHED = 6,
    METE_STATUS_UNSUPPORTED = 7,
    METE_STATUS_UNKNOWN_LEASE = 8,
    METE_STATUS_EXPIRED_LEASE = 9,
    METE_STATUS_LIMITED = 10,
    METE_STATUS_COUNT = 11,
};

enum mete_unit { METE_UNIT_US = 0, METE_UNIT_MS = 1, METE_UNIT_S = 2, METE_UNIT_COUNT = 3 };

#endif
