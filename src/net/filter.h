/* A flood is dropped in the kernel: a classic BPF program on the socket (socket(7),
 * SO_ATTACH_FILTER; needs no privilege), attached while a flood lasts and taken off after it.
 *
 * It drops what can be told without a key: a first byte that is not ours, results, datagrams
 * shorter than their header says, and boot bits of another life, HELLO and datagrams without a
 * secret apart. One in FILTER_HINTS of the last passes: after a cold restart the flood may be our
 * own clients, and what draws a RESTARTED brings them back. It spares the copy, the wake-up and the
 * tag. It is not attached in peace, because what it drops is counted only as kernel_drops, not by
 * reason.
 *
 * With UDP_GRO the program sees joined datagrams as one, and only the first of them. So what is
 * longer than one datagram can be always passes, and of shorter ones the first speaks for all: who
 * can put a bad datagram in front of another's knows its address and port and lies about its own.
 *
 * Threads: a struct filter belongs to its worker. */
#ifndef METE_NET_FILTER_H
#define METE_NET_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "net/gate.h"

#define FILTER_FLOOD_PER_SECOND 20000u /* bad ones, and more than half: then it goes on */
#define FILTER_HINTS 64u               /* see above */
#define FILTER_CALM_PER_SECOND 5000u   /* dropped by the kernel: then it goes off, ... */
#define FILTER_CALM_NS 1000000000u     /* ... if it was so for this long */

struct filter {
    bool is_on;
    uint16_t boot;
    uint64_t looked_at_ns;
    uint64_t busy_at_ns;             /* when it was last of use */
    uint64_t received, bad, dropped; /* at that look */
};

struct filter_look {
    uint64_t now_ns;
    uint64_t received; /* datagrams that came through, ever */
    uint64_t bad;      /* of them: malformed or with a bad tag */
    uint64_t dropped;  /* by the kernel, ever */
};

void filter_init(struct filter *filter, uint16_t boot);

/* What ought to be from this look on: true, attached. */
bool filter_judge(struct filter *filter, const struct filter_look *look);

/* What the kernel drops on this socket from now on: what a flood brings, if boot is given, and what
 * the gate (net/gate.h; NULL or empty: none) keeps from what is left. Results: 0 or a negative
 * errno. */
int filter_attach(int socket, const uint16_t *boot, const struct gate *gate);
int filter_detach(int socket);

struct filter_queue {
    uint32_t dropped; /* datagrams, ever (wraps): by a filter, or because the buffer was full */
    uint32_t used_bytes, size_bytes; /* of the buffer */
};

/* All 0 if the kernel does not tell. */
struct filter_queue filter_look_at(int socket);

#endif
