/* One gRPC call: its headers and messages, out of the pieces that HTTP/2 gives.
 *
 * A call is refused as soon as it is known to be wrong, and keeps the first reason: what comes
 * after it is thrown away. Messages have 5 bytes before them (compressed?, length, big endian) and
 * may be cut anywhere. Nothing here knows HTTP/2 or the services.
 *
 * Pure: no clock, no I/O; memory only for messages above GRPC_SMALL bytes. One thread. */
#ifndef METE_DOORS_GRPC_CALL_H
#define METE_DOORS_GRPC_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRPC_MAX_MESSAGE 16384u
#define GRPC_MAX_HEADERS 8192u /* decoded names and values of one call, 32 for each beside them */
#define GRPC_SMALL 496u
#define GRPC_PREFIX 5u
#define GRPC_MAX_OUT 131072u /* answers of one call that wait */
#define GRPC_MAX_KEY 256u

enum grpc_status { /* gRPC's own numbers */
                   GRPC_OK = 0,
                   GRPC_CANCELLED = 1,
                   GRPC_UNKNOWN = 2,
                   GRPC_INVALID_ARGUMENT = 3,
                   GRPC_DEADLINE_EXCEEDED = 4,
                   GRPC_NOT_FOUND = 5,
                   GRPC_PERMISSION_DENIED = 7,
                   GRPC_RESOURCE_EXHAUSTED = 8,
                   GRPC_FAILED_PRECONDITION = 9,
                   GRPC_UNIMPLEMENTED = 12,
                   GRPC_INTERNAL = 13,
                   GRPC_UNAVAILABLE = 14,
                   GRPC_UNAUTHENTICATED = 16,
};

struct grpc_text {
    const char *at;
    size_t len;
};

struct grpc_buffer { /* small ones need no memory of their own */
    uint8_t *bytes;  /* small, or for free() */
    uint32_t len, size;
    uint8_t small[GRPC_SMALL];
};

struct grpc_method;
struct grpc_link;

struct grpc_call {
    struct grpc_call *next, **previous; /* in its connection's list */
    struct grpc_link *link;             /* NULL: the stream is gone; only a batch still knows it */
    const struct grpc_method *method;   /* NULL: none of ours, or not known yet */
    int32_t stream_id;
    uint16_t http_status;  /* not 200: it is no gRPC and answered so */
    uint8_t status;        /* enum grpc_status it is refused with */
    const char *why;       /* not NULL: refused, in printable ASCII without % */
    uint64_t begun_ns;     /* the table's clock */
    uint64_t timeout_ns;   /* as the headers say; UINT64_MAX: they do not */
    uint32_t header_bytes; /* so far */
    bool has_method, is_post, has_type, is_type_good, is_bad_timeout, is_encoded;
    bool has_key, is_bad_key;
    bool has_ended;    /* the client's side */
    bool has_answered; /* headers are on their way */
    bool is_closing;   /* trailers follow what is in out */
    bool is_waiting;   /* for more to send */
    uint8_t in_batch;  /* jobs that point here */
    uint8_t key_hash[32];
    uint8_t trace_id[16], parent_id[8]; /* of a traceparent that came, if has_trace */
    bool has_trace, is_sampled;
    uint32_t message_count;
    uint8_t prefix[GRPC_PREFIX];
    uint8_t prefix_len;
    struct grpc_buffer in;  /* the message under way */
    uint32_t in_wanted;     /* its length */
    struct grpc_buffer out; /* framed answers */
    uint32_t out_sent;
};

void grpc_call_init(struct grpc_call *call, int32_t stream_id);
void grpc_call_deinit(struct grpc_call *call);

/* Keeps the first reason. */
void grpc_call_refuse(struct grpc_call *call, enum grpc_status status, const char *why);

/* One header that came. key_hash is made by the caller: false means that this header's value is an
 * API key, in *ret_key. */
bool grpc_call_take_header(struct grpc_call *call, struct grpc_text name, struct grpc_text value,
                           struct grpc_text *ret_key);

/* All headers are there: refuses what is no gRPC. The path is looked up in between. */
void grpc_call_judge_headers(struct grpc_call *call);

/* Takes bytes of data: as many as belong to one message. 1: a message is whole, in call->in, until
 * the next call of this function; 0: all bytes are taken. *bytes and *len move on. */
int grpc_call_take_data(struct grpc_call *call, const uint8_t **bytes, size_t *len);

/* The client has said all: refuses half messages. */
void grpc_call_end(struct grpc_call *call);

/* Room for a message of len bytes in out behind its prefix, which is written; NULL: no memory, or
 * too much waits there already. */
uint8_t *grpc_call_put(struct grpc_call *call, uint32_t len);

/* "100m" and such to nanoseconds, saturated. False: no timeout of gRPC's. */
bool grpc_parse_timeout(struct grpc_text text, uint64_t *ret_ns);

/* "00-32 hex-16 hex-2 hex", as W3C's trace context has it. */
bool grpc_parse_trace(struct grpc_text text, struct grpc_call *call);

#endif
