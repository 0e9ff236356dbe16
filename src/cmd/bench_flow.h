/* One flow: a connected UDP socket and the datagrams in flight on it.
 *
 * A slot is the room for one datagram in flight. Its sequence number is base + generation * SLOTS +
 * slot, so an answer finds its slot without a search, and one that comes after its slot was given
 * up is known as late, and one that comes again as a duplicate (as long as the slot's last 64
 * generations go back).
 *
 * The closed loop takes the slot that became free last, which is still in the cache. The open loop
 * goes round in the order of sending, so that the oldest datagram is found without a search among
 * the many thousands that a stall leaves in flight.
 *
 * With --door a flow is a connection and its datagrams are requests (bench_stream.h).
 *
 * Threads: a flow belongs to one. */
#ifndef METE_CMD_BENCH_FLOW_H
#define METE_CMD_BENCH_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "cmd/bench.h"

#define FLOW_SLOTS 65536u /* a power of two, so generations wrap with the number */
_Static_assert((FLOW_SLOTS & (FLOW_SLOTS - 1)) == 0, "sequence numbers wrap");
_Static_assert(BENCH_MAX_OUTSTANDING <= FLOW_SLOTS, "a slot is a part of the number");
#define FLOW_MAX_BYTES (256u << 20) /* of the datagrams of all flows of an open loop */

#define FLOW_MESSAGES 64u /* of one send or receive */

struct flow_slot {
    uint64_t intended_at_ns; /* the schedule's instant; closed loop: sent_at_ns */
    uint64_t sent_at_ns;     /* the first time */
    uint64_t due_at_ns;      /* when it is given up or, resting, sent again */
    uint64_t answered;       /* bit g: the datagram g generations ago was */
    uint64_t tag;            /* of the request: the answer's tag covers it */
    uint32_t sequence;
    uint16_t len;
    uint8_t n;
    bool in_flight;
    bool rests;      /* before the next try */
    bool is_awaited; /* of a stream: its answer is still to come, in time or late */
    uint8_t resent;  /* times */
};

struct flow {
    int fd;
    uint32_t base;
    unsigned outstanding;
    unsigned stride; /* of datagrams */
    unsigned batch;
    unsigned free_count;
    unsigned oldest; /* open loop: the first slot in use; then come those that were used later */
    bool in_order;   /* open loop, and streams */
    struct flow_stream *stream; /* NULL: datagrams */
    uint16_t *free;             /* closed loop: stack of slots */
    struct flow_slot *slots;
    uint8_t *datagrams;
    uint8_t rule_and_cost[8]; /* as every entry begins */
    uint32_t *subjects;       /* batch for each slot */
};

/* Where datagrams are taken in and sent from; shared by the flows of a thread. */
struct flow_io {
    bool join;
    unsigned message_count; /* of a receive */
    uint64_t refused;       /* sends and receives that told of an unreachable port */
    uint64_t unsendable;    /* messages that the system did not take */
    size_t buffer_bytes;
    uint8_t *buffers;
    struct mmsghdr receives[FLOW_MESSAGES];
    struct iovec receive_parts[FLOW_MESSAGES];
    struct mmsghdr sends[FLOW_MESSAGES];
    struct iovec send_parts[FLOW_MESSAGES];
    _Alignas(struct cmsghdr) uint8_t receive_controls[FLOW_MESSAGES][CMSG_SPACE(sizeof(int))];
    _Alignas(struct cmsghdr) uint8_t send_controls[FLOW_MESSAGES][CMSG_SPACE(sizeof(uint16_t))];
};

/* Results: 0, or a negative errno. */
int flow_open(const struct bench_options *options, const struct bench_server *server,
              struct flow *ret_flow);
void flow_close(struct flow *flow);
int flow_io_open(bool join, struct flow_io **ret_io);
void flow_io_close(struct flow_io *io);

static inline uint8_t *flow_datagram(const struct flow *flow, unsigned slot)
{
    return flow->datagrams + (size_t)slot * flow->stride;
}

/* Sends the datagrams of these slots (at most FLOW_MESSAGES). What cannot be sent stays in flight
 * and is lost in time. */
void flow_send(struct flow *flow, struct flow_io *io, const uint16_t *slots, unsigned count);

static inline unsigned flow_used(const struct flow *flow)
{
    return flow->outstanding - flow->free_count;
}

/* The slot to be used next, in the order that the flow keeps. There is one. */
unsigned flow_next_slot(const struct flow *flow);

/* Takes what is there without waiting; returns the number of messages, each in io->receives with
 * flow_segment() bytes to a datagram. */
unsigned flow_receive(struct flow *flow, struct flow_io *io);
unsigned flow_segment(const struct flow_io *io, unsigned message);

#endif
