/* What the threads that decide know of the other nodes: written by the replication thread, read
 * relaxed, once per batch of checks. Each word stands for itself: no order between them is needed.
 *
 * A share alpha stands as an exponent e, alpha = 2^(-e/8); 0 is the whole limit. */
#ifndef METE_REPLICA_SHARED_STATE_H
#define METE_REPLICA_SHARED_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SHARED_SHARE_MAX 62u
#define SHARED_NO_WALL INT64_MIN

struct shared_state {
    _Atomic int64_t wall_offset_ns; /* the store's wall time less the table's clock, or
                                       SHARED_NO_WALL: the host's is taken */
    _Atomic uint8_t first_share;    /* of a key that nothing is known of */
    _Atomic bool is_degraded;       /* the store has not answered for too long */
    _Atomic uint32_t looks;         /* of the replication thread into the rings, ever; wraps */
} __attribute__((aligned(128)));    /* two lines: the prefetcher takes pairs */

static inline void shared_state_init(struct shared_state *state)
{
    atomic_init(&state->wall_offset_ns, SHARED_NO_WALL);
    atomic_init(&state->first_share, 0);
    atomic_init(&state->is_degraded, false);
    atomic_init(&state->looks, 0);
}

/* The replication thread's. */
static inline void shared_state_set_wall(struct shared_state *state, int64_t offset_ns)
{
    atomic_store_explicit(&state->wall_offset_ns, offset_ns, memory_order_relaxed);
}

static inline void shared_state_set_first_share(struct shared_state *state, uint8_t share)
{
    atomic_store_explicit(&state->first_share, share, memory_order_relaxed);
}

static inline void shared_state_set_degraded(struct shared_state *state, bool is_degraded)
{
    atomic_store_explicit(&state->is_degraded, is_degraded, memory_order_relaxed);
}

static inline void shared_state_note_look(struct shared_state *state)
{
    const uint32_t looks = atomic_load_explicit(&state->looks, memory_order_relaxed); /* its own */

    atomic_store_explicit(&state->looks, looks + 1, memory_order_relaxed);
}

static inline uint32_t shared_state_looks(const struct shared_state *state)
{
    return atomic_load_explicit(&state->looks, memory_order_relaxed);
}

/* Was the store's clock heard of? */
static inline bool shared_state_has_wall(const struct shared_state *state)
{
    return atomic_load_explicit(&state->wall_offset_ns, memory_order_relaxed) != SHARED_NO_WALL;
}

static inline uint8_t shared_state_first_share(const struct shared_state *state)
{
    return atomic_load_explicit(&state->first_share, memory_order_relaxed);
}

static inline bool shared_state_is_degraded(const struct shared_state *state)
{
    return atomic_load_explicit(&state->is_degraded, memory_order_relaxed);
}

/* Wall time by the store's clock if it was heard of, else the host's. now_ns: table's clock. */
static inline uint64_t shared_state_real_ns(const struct shared_state *state, uint64_t now_ns,
                                            uint64_t host_real_ns)
{
    const int64_t offset_ns = atomic_load_explicit(&state->wall_offset_ns, memory_order_relaxed);
    return offset_ns == SHARED_NO_WALL ? host_real_ns : now_ns + (uint64_t)offset_ns;
}

#endif
