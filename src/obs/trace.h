/* Spans on their way out: what a door tells of a sampled decision, by a ring that it writes and the
 * exporter reads. A full ring drops, and counts what it dropped: nobody ever waits.
 *
 * Who is sampled: a call whose caller says so in its trace context, none whose caller says no, and
 * of the others each so-many-th.
 *
 * Threads: trace_wants(), trace_begin() and trace_end() by one; trace_take() by one other. */
#ifndef METE_OBS_TRACE_H
#define METE_OBS_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_SPANS 1024u /* a power of two */
#define TRACE_NAME 65u

enum trace_kind { TRACE_GRPC, TRACE_HTTP };

struct trace_context { /* W3C's, as it came */
    uint8_t trace_id[16], parent_id[8];
    bool is_there, is_sampled;
};

struct trace_span {
    uint8_t trace_id[16], span_id[8], parent_id[8];
    bool has_parent, is_allowed;
    uint8_t kind;              /* enum trace_kind */
    uint16_t status;           /* of gRPC or HTTP */
    uint64_t start_ns, end_ns; /* wall clock */
    const char *name;          /* "/package.Service/Method", "POST /check": lives for ever */
    char tenant[TRACE_NAME], rule[TRACE_NAME]; /* "" for none; of the deciding check */
    uint32_t checks, cost, remaining;
};

struct trace_ring {
    _Alignas(64) _Atomic uint64_t written, dropped;
    _Alignas(64) _Atomic uint64_t taken;
    _Alignas(64) uint64_t every; /* 0: only who is told to */
    uint64_t count, random;      /* the writer's */
    struct trace_span spans[TRACE_SPANS];
};

void trace_init(struct trace_ring *ring, uint64_t every, uint64_t seed);

/* "00-32 hex-16 hex-2 hex", W3C Trace Context. False: it is none, and *ret_context is untouched. */
bool trace_parse(const char *text, size_t len, struct trace_context *ret_context);

/* ring may be NULL: nobody is sampled. */
bool trace_wants(struct trace_ring *ring, const struct trace_context *context);

/* A span with its ids, to be filled in; NULL: no room, which is counted. */
struct trace_span *trace_begin(struct trace_ring *ring, const struct trace_context *context);
void trace_end(struct trace_ring *ring); /* it may be read */

/* The oldest span that is not taken yet, into *ret_span. False: there is none. */
bool trace_take(struct trace_ring *ring, struct trace_span *ret_span);
uint64_t trace_dropped(struct trace_ring *ring);

#endif
