/* The ring by which what changed leaves the threads that decide: one per such thread (workers and
 * doors), read by the replication thread. Fixed in size, in memory of the caller's.
 *
 * Most events are one cell of 16 bytes: an entry turned dirty, go and drain it. The others carry
 * what no entry holds, and take RING_LONG_CELLS cells. The last RING_RESERVED_PARTS-th of the ring
 * is kept for those: a DIRTY that finds no room is made up for by the next charge of its entry or
 * by table_sweep_pending(), while an AMOUNT without room is lost.
 *
 * What is pushed is seen by the reader after ring_publish(): once per batch, one store.
 *
 * Threads: one pushes and publishes, one pops. */
#ifndef METE_REPLICA_RING_H
#define METE_REPLICA_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/key.h"

#define RING_LONG_CELLS 3u
#define RING_RESERVED_PARTS 8u
#define RING_MIN_CELLS 64u

struct ring_cell {
    uint64_t word[2];
};

struct ring {
    struct ring_cell *cells;
    uint64_t mask;
    /* the writer's */
    uint64_t next __attribute__((aligned(128))); /* pushed, not all published */
    uint64_t head_seen;                          /* of the reader, as last looked at */
    uint64_t refused;                            /* DIRTY without room, since the start */
    int wake;                                    /* of sys/wake.h: calls the reader, if not 0 */
    bool calls;
    _Atomic uint64_t tail;         /* published */
    _Atomic uint64_t refused_told; /* `refused`, for the reader */
    /* the reader's */
    _Atomic uint64_t head __attribute__((aligned(128))); /* taken, as far as the writer is told */
    uint64_t tail_seen;
    uint64_t taken;
} __attribute__((aligned(128))); /* two lines: the prefetcher takes pairs */

enum ring_kind {
    RING_NONE = 0,
    RING_DIRTY = 1,  /* index, first_ns, is_new, is_much */
    RING_AMOUNT = 2, /* owner, key, window, units, first_ns: charged, and pending nowhere */
    RING_WANT = 3,   /* owner, key, window, units, first_ns: an exact key wants a grant */
    RING_RESET = 4,  /* owner, key, window, first_ns: all nodes forget it */
};

/* Why the reader is not to pass over a DIRTY of a key that waits for its turn anyway. */
#define RING_NEW 1u  /* nothing was known of the key: the replicator asks at once */
#define RING_MUCH 2u /* much is pending (share_is_much()): it may be worth a batch of its own */

struct ring_event {
    enum ring_kind kind;
    bool is_new;
    bool is_much;
    uint32_t owner;    /* row */
    uint64_t index;    /* of the entry */
    uint64_t first_ns; /* table's clock */
    struct key key;
    uint64_t window; /* core/share.h */
    int64_t units;   /* negative: given back */
};

/* cell_count: a power of two, at least RING_MIN_CELLS; memory for them is the caller's and
 * zeroed. */
void ring_init(struct ring *ring, struct ring_cell *cells, uint64_t cell_count);

/* Looks how far the reader is, for ring_has_room(), if half of the ring was not read by what was
 * seen of it: once per batch, because the reader's line is a miss whenever it has moved. */
void ring_look(struct ring *ring);
/* Is there room for one more DIRTY, by what was seen of the reader? Then the push succeeds: the
 * room of a writer only grows. */
static inline bool ring_has_room(const struct ring *ring)
{
    const uint64_t cells = ring->mask + 1;

    return ring->next - ring->head_seen < cells - cells / RING_RESERVED_PARTS;
}
/* Is there room for `count` long ones? */
bool ring_has_long_room(struct ring *ring, unsigned count);

/* False: no room, nothing was pushed. (A DIRTY is counted in `refused`.) */
bool ring_push_dirty(struct ring *ring, uint64_t index, uint64_t first_ns, unsigned flags);
bool ring_push(struct ring *ring, const struct ring_event *event); /* the long ones */

/* A DIRTY was not pushed because ring_has_room() said no: an entry has pending and is not dirty. */
void ring_refuse(struct ring *ring);

/* The reader is to look at once after the next publication, rather than when its time comes: who
 * waits for a grant would wait for that, too. A call of the system, so only then. */
void ring_call(struct ring *ring);

/* Shows the reader what was pushed. */
void ring_publish(struct ring *ring);

/* False: nothing more is published. The writer hears of the room now and then, and when there is
 * nothing more: each time costs both sides a miss. */
bool ring_pop(struct ring *ring, struct ring_event *ret_event);

/* DIRTY events that found no room, ever: when it grows, table_sweep_pending() has something to
 * find. The reader may ask. */
uint64_t ring_refused(const struct ring *ring);

#endif
