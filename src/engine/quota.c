#include "engine/quota.h"

#include "core/gcra.h"
#include "obs/counters.h"

/* The most that a worker may take ahead of use: an eighth of what the rate gives it to keep. */
static uint32_t chunk_of(const struct quota *quota, const struct limit *limit)
{
    uint64_t chunk = QUOTA_KEEP_NS / 8 * LIMIT_TICKS_PER_NS / limit->interval / quota->worker_count;
    return chunk < QUOTA_CHUNK ? (uint32_t)chunk : QUOTA_CHUNK;
}

/* Takes `least` from the shared word, or up to `most` if they are there. 0: not even `least` is.
 * Relaxed throughout: the word is a number by itself, nothing else is read through it. */
static uint32_t take_shared(_Atomic uint64_t *word, const struct limit *limit, uint32_t least,
                            uint32_t most, uint64_t now_ns)
{
    uint64_t tat = atomic_load_explicit(word, memory_order_relaxed);
    for (;;) {
        struct step step = gcra_apply(limit, tat, OPERATION_CHECK, most, now_ns);
        uint32_t taken = most;
        if (step.verdict.decision == DECISION_DENY) {
            taken = step.verdict.remaining;
            if (taken < least)
                return 0;
            step = gcra_apply(limit, tat, OPERATION_CHECK, taken, now_ns);
        }
        if (atomic_compare_exchange_weak_explicit(word, &tat, step.state, memory_order_relaxed,
                                                  memory_order_relaxed))
            return taken;
    }
}

bool quota_take(struct quota *quota, uint32_t row, const struct limit *limit, uint32_t checks,
                uint64_t now_ns)
{
    struct quota_credit *credit = &quota->credits[row];
    if (now_ns >= credit->until_ns)
        credit->checks = 0;
    if (credit->checks < checks) {
        uint32_t least = checks - credit->checks;
        uint32_t taken = take_shared(&quota->words[row].tat, limit, least,
                                     least + chunk_of(quota, limit), now_ns);
        if (taken == 0) {
            counter_add(&credit->refused, checks);
            return false;
        }
        credit->checks += taken;
        credit->until_ns = now_ns + QUOTA_KEEP_NS;
    }
    credit->checks -= checks;
    return true;
}

void quota_give(struct quota *quota, uint32_t row, const struct limit *limit, uint32_t checks,
                uint64_t now_ns)
{
    _Atomic uint64_t *word = &quota->words[row].tat;
    uint64_t tat = atomic_load_explicit(word, memory_order_relaxed);
    struct step step;
    do
        step = gcra_apply(limit, tat, OPERATION_REFUND, checks, now_ns);
    while (step.state != tat &&
           !atomic_compare_exchange_weak_explicit(word, &tat, step.state, memory_order_relaxed,
                                                  memory_order_relaxed));
}

void quota_cut(struct quota_word *word, const struct limit *limit, uint64_t now_ns)
{
    uint64_t tat = atomic_load_explicit(&word->tat, memory_order_relaxed);
    uint64_t cut;
    do
        cut = gcra_cut(limit, tat, now_ns);
    while (cut != tat && !atomic_compare_exchange_weak_explicit(
                             &word->tat, &tat, cut, memory_order_relaxed, memory_order_relaxed));
}

void quota_forget(struct quota_word *word)
{
    atomic_store_explicit(&word->tat, 0, memory_order_relaxed);
}
