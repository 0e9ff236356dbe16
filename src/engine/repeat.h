/* The repeat set: which datagrams were judged already, and how. Shared by all workers.
 *
 * A retry is the same bytes, so its tag is the same. Before a datagram is charged its tag is
 * claimed here; when it is charged, the decisions are left here; the next one of that tag gets the
 * same decisions and is not charged (proto-spec/protocol.md 6).
 *
 * 16 bytes per datagram, in buckets of four on one cache line; one compare-and-swap to claim, one
 * plain store to finish; the memory is the caller's and never grows. A full bucket forgets its
 * oldest record, and knows how young the youngest forgotten one was: what might be a repeat of it
 * is STALE.
 *
 * Guarantee: of all arrivals of one tag that lie within the window (a stamped datagram: all that
 * are fresh; one without a stamp: all within W of the first), at most one gets REPEAT_NEW, on
 * whichever worker, unless that one withdrew. The proof stands at the top of repeat.c.
 *
 * Threads: repeat_init() by the owner before the workers start; all else by any thread at any time,
 * without locks and without waiting for another. Times are milliseconds that wrap at 2^32. */
#ifndef METE_ENGINE_REPEAT_H
#define METE_ENGINE_REPEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct repeat_bucket; /* one cache line; only repeat.c and its parts look inside */
struct record;

#define REPEAT_BUCKET_BYTES 64u
#define REPEAT_MAX_SPAN_MS (1u << 20) /* W + ahead; a quarter of an hour */

/* What is remembered of a datagram is a string of bits, as the caller packs them: one per check, or
 * the units that were granted. The same bytes are asked anew, so the caller knows how many bits
 * there are. 75 checks of 32 bits each are the most. */
#define REPEAT_MAX_BITS 2400u
#define REPEAT_WORDS ((REPEAT_MAX_BITS + 63) / 64)

/* How a set begins: empty; with what the memory holds of a process that ended, killed or not (what
 * was judged is known; what was claimed and not judged, charged or not, is STALE); or, where the
 * windows were others, with all STALE that may have been here before now. */
enum repeat_start {
    REPEAT_EMPTY, /* also after REPEAT_KEPT_NS of silence */
    REPEAT_RESUME,
    REPEAT_FORGOTTEN,
};
#define REPEAT_KEPT_NS (3600ull * 1000000000) /* then no datagram of before is fresh any more */

struct repeat_options {
    void *memory; /* aligned to REPEAT_BUCKET_BYTES; stays the caller's */
    enum repeat_start start;
    size_t size; /* of the memory, at least one bucket; what exceeds whole buckets is unused */
    uint32_t window_ms; /* W, at least 1 */
    uint32_t ahead_ms;  /* how far a sender's clock may lead */
    uint32_t now_ms;    /* of the clock that claims will come with */
    uint64_t secret[2]; /* random; tags may be chosen by a stranger, without it their buckets not */
    bool is_shared;     /* more threads than one will use the set */
};

struct repeat_set { /* constant while workers run, but for what `buckets` points to */
    struct repeat_bucket *buckets;
    uint64_t bucket_count;
    uint64_t secret[2];
    uint64_t multiplier; /* odd, of the secret */
    uint32_t window_ms;
    uint32_t ahead_ms;
    uint32_t gap_shift; /* see repeat.c */
    bool is_shared;
    bool has_lanes;        /* see repeat_lanes.h */
    bool has_transactions; /* see repeat_transaction.h */
};

/* Results: 0, -EINVAL (window_ms is 0, W + ahead above REPEAT_MAX_SPAN_MS, memory not aligned or
 * below one bucket). */
int repeat_init(struct repeat_set *set, const struct repeat_options *options);

/* May a datagram of this stamp be charged now? Not when it is older than W or further in the future
 * than `ahead`. sent_ms 0: it carries no stamp, and may. */
bool repeat_is_fresh(const struct repeat_set *set, uint32_t sent_ms, uint32_t now_ms);

enum repeat_result {
    REPEAT_NEW,   /* charge it, then repeat_finish() or repeat_withdraw() */
    REPEAT_KNOWN, /* it was judged; *ret_bits says how */
    REPEAT_OPEN,  /* somebody is at it this moment: drop it, without an answer */
    REPEAT_STALE, /* not fresh, or cannot be told from what was forgotten: do not charge it */
};

struct repeat_claim { /* one datagram's; the caller fills the first four */
    uint64_t tag;
    uint32_t sent_ms; /* its stamp, 0: none */
    uint32_t now_ms;  /* when it arrived, by the worker's clock: one for all of a batch */
    uint32_t bit_count;
    /* What came of it: */
    uint16_t result;     /* enum repeat_result */
    uint16_t first_word; /* REPEAT_KNOWN: of its bits, in ret_words */
    /* The set's own, until finish or withdraw: */
    struct record *place;
    uint64_t meta;
};

/* Claims a batch, so that the work for one datagram fills the time in which another waits for its
 * cache line or its compare-and-swap. Each claim is as if made by itself; of equal tags in a batch
 * the second is REPEAT_OPEN. (Where a bucket has to forget too young a record for one claim, those
 * before it in the batch may be REPEAT_STALE, as those behind it are.) The bits of those that are
 * REPEAT_KNOWN go to ret_words (room for those of all), each from a word of its own on; returns how
 * many words. */
uint32_t repeat_claim_all(struct repeat_set *set, struct repeat_claim *claims, uint32_t count,
                          uint64_t *ret_words);

/* Asks for the cache line of a tag, some datagrams ahead of a claim by itself. */
void repeat_prefetch(const struct repeat_set *set, uint64_t tag);

/* Writes *ret_bits (room for bit_count bits, whole words) with REPEAT_KNOWN only. */
enum repeat_result repeat_claim(struct repeat_set *set, struct repeat_claim *claim,
                                uint64_t *ret_bits);

/* The datagram was charged: later ones of its tag are REPEAT_KNOWN with these bits. Bits beyond
 * bit_count are ignored. Only after REPEAT_NEW, and once. */
void repeat_finish(struct repeat_set *set, const struct repeat_claim *claim, const uint64_t *bits);

/* Nothing was charged: a later one of its tag is new. Only after REPEAT_NEW, and once. */
void repeat_withdraw(struct repeat_set *set, const struct repeat_claim *claim);

/* Upkeep, bounded: clears records older than REPEAT_SWEEP_AFTER_MS in `count` buckets from
 * *cursor on, before the 25 bits of their times wrap. Each bucket should be passed once in
 * REPEAT_SWEEP_PASS_MS; one that is not may answer STALE without need, never worse. */
#define REPEAT_SWEEP_AFTER_MS (4u * 3600 * 1000)
#define REPEAT_SWEEP_PASS_MS (4u * 3600 * 1000)
void repeat_sweep(struct repeat_set *set, uint64_t *cursor, uint32_t count, uint32_t now_ms);

#endif
