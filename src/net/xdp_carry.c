#include "net/xdp_carry.h"

#include <stddef.h>
#include <string.h>

_Static_assert((XDP_CARRY_PLACES & (XDP_CARRY_PLACES - 1)) == 0, "positions wrap around");
_Static_assert(XDP_CARRY_FRAME_BYTES <= XDP_CARRY_LEN_MASK, "a length fits into a word");
_Static_assert(sizeof(struct xdp_carry_shared) % 4096 == 0, "whole pages");

void xdp_carry_init(struct xdp_carry *carry, struct xdp_carry_shared *shared)
{
    *carry = (struct xdp_carry){.shared = shared};
    carry->next = carry->offered = atomic_load_explicit(&shared->offered, memory_order_relaxed);
    for (unsigned i = 0; i < XDP_CARRY_AGES; i++)
        carry->offered_at[i] = carry->offered;
    carry->offered_at_rest = carry->offered;
    for (unsigned i = 0; i < XDP_CARRY_PLACES; i++)
        carry->free[carry->free_count++] = (uint16_t)(2 * i);
}

/* The answers of all positions before `end` that nobody has claimed are the worker's. */
static void claim_before(struct xdp_carry *carry, uint32_t end)
{
    struct xdp_carry_shared *shared = carry->shared;
    METE_CARRY_POINT(&shared->claimed, false);
    uint32_t claimed = atomic_load_explicit(&shared->claimed, memory_order_relaxed);
    do {
        METE_CARRY_SEEN(claimed);
        if ((int32_t)(end - claimed) <= 0)
            return;
        METE_CARRY_POINT(&shared->claimed, true);
        /* relaxed: what is claimed here the worker itself has written */
    } while (!atomic_compare_exchange_weak_explicit(&shared->claimed, &claimed, end,
                                                    memory_order_relaxed, memory_order_relaxed));
    for (; claimed != end; claimed++) {
        _Atomic uint32_t *word = &shared->words[claimed % XDP_CARRY_PLACES];
        METE_CARRY_POINT(word, true);
        atomic_store_explicit(word,
                              atomic_load_explicit(word, memory_order_relaxed) | XDP_CARRY_UNSENT,
                              memory_order_relaxed);
    }
}

void xdp_carry_publish(struct xdp_carry *carry)
{
    uint32_t *oldest = &carry->offered_at[carry->age++ % XDP_CARRY_AGES];
    METE_CARRY_POINT(&carry->shared->offered, true);
    /* release: with what the program claims it reads the answer, its word and its frame */
    atomic_store_explicit(&carry->shared->offered, carry->offered, memory_order_release);
    claim_before(carry, *oldest);
    *oldest = carry->offered;
}

void xdp_carry_thin(struct xdp_carry *carry)
{
    METE_CARRY_POINT(&carry->shared->claimed, false);
    const uint32_t claimed = atomic_load_explicit(&carry->shared->claimed, memory_order_relaxed);
    METE_CARRY_SEEN(claimed);
    const int32_t left = (int32_t)(carry->offered_at_rest - claimed);
    if (left > 0)
        claim_before(carry, claimed + ((uint32_t)left + 1) / 2);
    carry->offered_at_rest = carry->offered;
}

void xdp_carry_take_back(struct xdp_carry *carry)
{
    claim_before(carry, carry->offered);
}
