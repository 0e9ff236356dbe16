/* Answers that leave in the frames of the next questions.
 *
 * Sending through an AF_XDP socket in copy mode costs the kernel more than everything else together
 * (a buffer allocated for each frame, the driver's queue, a completion). A frame that comes in is
 * there anyway: so the program on the interface exchanges it. It copies the question out of it and
 * an answer that waits into it, and returns it to where it came from (XDP_TX). The answer is of
 * another question, as a rule: it is a whole frame of its own, with addresses and checksums.
 *
 * Both sides share memory, a BPF map: places in turn, each with an answer of the worker's to begin
 * with and a question of the program's afterwards. Positions count on without end; place =
 * position % XDP_CARRY_PLACES.
 *
 *      next          claimed         offered        next + XDP_CARRY_PLACES
 *       | questions,    | answers that  | places that
 *       | here already  | nobody took   | nobody has
 *       | or about to   |               |
 *
 *   worker:   writes an answer's frame and its word, then moves `offered` on (release).
 *   program:  reads `claimed` and `offered`; if they differ, moves `claimed` on by one with a
 *             compare-and-exchange. Now the place is its own: it copies, and exchanges the word for
 *             one that says what came (both atomics are full barriers).
 *   worker:   finds the words in turn (acquire), and has the place again.
 *   worker:   takes answers back that waited too long, by the same compare-and-exchange on
 *             `claimed`: so each answer has one taker, whoever else is at it. There may be as many
 *             takers as like: processors that run the program for one queue at once, too.
 *
 * Guarantee: each answer offered is had by exactly one, the program or the worker; each question
 * that the program kept is found by the worker once, in the order of claims.
 * tests/race/interleave_carry.c tries every order of steps.
 *
 * Frames are in pairs: the question goes into the partner of the frame that its answer left, so
 * nothing is copied but in and out, and the worker answers a question where it lies.
 *
 * Threads: the worker's side belongs to the worker that has the queue. */
#ifndef METE_NET_XDP_CARRY_H
#define METE_NET_XDP_CARRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* METE_CARRY_POINT(address, is_write) stands before every access to what is shared and
 * METE_CARRY_SEEN(word) behind every read: empty, but a test may schedule there. */
#ifndef METE_CARRY_POINT
#define METE_CARRY_POINT(address, is_write) ((void)0)
#define METE_CARRY_SEEN(word) ((void)0)
#endif

#ifndef XDP_CARRY_PLACES
#define XDP_CARRY_PLACES 256u /* a power of two; four batches */
#endif
#define XDP_CARRY_FRAME_BYTES 256u
#define XDP_CARRY_LEAST_BYTES 42u /* the shortest question with its headers */

/* A word: the frame's number and how many bytes of it are used, then what became of the place. */
#define XDP_CARRY_LEN_SHIFT 16
#define XDP_CARRY_LEN_MASK 0x1FFu
#define XDP_CARRY_FRAME_MASK (2 * XDP_CARRY_PLACES - 1)
#define XDP_CARRY_CAME 0x80000000u   /* a question lies in the frame */
#define XDP_CARRY_UNSENT 0x40000000u /* the answer is still in the frame and not under way */

struct xdp_carry_shared { /* of one queue: an element of the map */
    _Alignas(64) _Atomic uint32_t claimed;
    _Alignas(64) _Atomic uint32_t offered;
    _Atomic uint32_t asleep; /* the worker sleeps although answers wait: the next frame wakes it */
    _Alignas(64) _Atomic uint32_t words[XDP_CARRY_PLACES];
    _Alignas(4096) uint8_t frames[2 * XDP_CARRY_PLACES][XDP_CARRY_FRAME_BYTES];
};

#define XDP_CARRY_AGES 4u /* batches that an answer may wait for while more come */

struct xdp_carry { /* the worker's */
    struct xdp_carry_shared *shared;
    uint32_t next;
    uint32_t offered; /* published with the batch */
    uint32_t free_count;
    uint16_t free[XDP_CARRY_PLACES]; /* one frame of each pair that is not under way */
    unsigned age;
    uint32_t offered_at[XDP_CARRY_AGES]; /* with the last batches */
    uint32_t offered_at_rest;            /* when there was nothing to do last */
};

/* All zeroes, or as another worker left it with nothing under way. */
void xdp_carry_init(struct xdp_carry *carry, struct xdp_carry_shared *shared);

static inline uint8_t *xdp_carry_frame(const struct xdp_carry *carry, uint32_t word)
{
    return carry->shared->frames[word & XDP_CARRY_FRAME_MASK];
}

static inline uint32_t xdp_carry_len(uint32_t word)
{
    return word >> XDP_CARRY_LEN_SHIFT & XDP_CARRY_LEN_MASK;
}

/* What became of the next place: XDP_CARRY_CAME, XDP_CARRY_UNSENT or 0, nothing yet. */
static inline uint32_t xdp_carry_peek(const struct xdp_carry *carry)
{
    const _Atomic uint32_t *at = &carry->shared->words[carry->next % XDP_CARRY_PLACES];
    if (carry->next == carry->offered)
        return 0;
    METE_CARRY_POINT(at, false);
    /* acquire: the bytes of what came, written before the program exchanged the word */
    const uint32_t word = atomic_load_explicit(at, memory_order_acquire);
    METE_CARRY_SEEN(word);
    return word & (XDP_CARRY_CAME | XDP_CARRY_UNSENT) ? word : 0;
}

/* The place that was peeked at is the worker's again, and the frame is in its hands until it is
 * offered or freed. */
static inline void xdp_carry_take(struct xdp_carry *carry)
{
    carry->next++;
}

static inline void xdp_carry_free(struct xdp_carry *carry, uint32_t word)
{
    carry->free[carry->free_count++] = word & XDP_CARRY_FRAME_MASK;
}

/* A free frame for an answer. False: there is none. */
static inline bool xdp_carry_get(struct xdp_carry *carry, uint32_t *ret_word)
{
    if (!carry->free_count)
        return false;
    *ret_word = carry->free[--carry->free_count];
    return true;
}

/* An answer of len bytes stands in the frame. There is a place for each pair of frames. */
static inline void xdp_carry_offer(struct xdp_carry *carry, uint32_t word, uint32_t len)
{
    _Atomic uint32_t *at = &carry->shared->words[carry->offered++ % XDP_CARRY_PLACES];
    METE_CARRY_POINT(at, true);
    /* relaxed: `offered` follows with release */
    atomic_store_explicit(at, (word & XDP_CARRY_FRAME_MASK) | len << XDP_CARRY_LEN_SHIFT,
                          memory_order_relaxed);
}

/* After each batch: what was offered may be taken; what waits since XDP_CARRY_AGES batches is taken
 * back. */
void xdp_carry_publish(struct xdp_carry *carry);

/* Nothing is there to do, as some time before: of what was offered before that and is still there
 * half is taken back. */
void xdp_carry_thin(struct xdp_carry *carry);

/* No answer waits for the program any more. What is taken back comes by xdp_carry_peek(), as
 * XDP_CARRY_UNSENT. */
void xdp_carry_take_back(struct xdp_carry *carry);

/* The worker is about to sleep although answers wait: the next frame comes by the socket and wakes
 * it. Of two at the same moment one may slip in before and is found only after the sleep, so that
 * has to be a short one. */
static inline void xdp_carry_set_asleep(struct xdp_carry *carry, bool is_asleep)
{
    METE_CARRY_POINT(&carry->shared->asleep, true);
    atomic_store_explicit(&carry->shared->asleep, is_asleep, memory_order_relaxed);
}

/* Answers that nobody has taken. */
static inline uint32_t xdp_carry_waiting(const struct xdp_carry *carry)
{
    return carry->offered - atomic_load_explicit(&carry->shared->claimed, memory_order_relaxed);
}

/* Whether something is yet to come by xdp_carry_peek(). */
static inline bool xdp_carry_is_empty(const struct xdp_carry *carry)
{
    return carry->next == carry->offered;
}

#endif
