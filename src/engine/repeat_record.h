/* One record of the repeat set: its bits, and the atomics on it (all of them).
 *
 *   tag 64 | meta 64: state 2 | arrival 24 | gap 8 | bits 30
 *
 * arrival is in ms and wraps after 4.6 hours. gap says how long before it the youngest record
 * arrived that this place had to forget, in units of 2^gap_shift ms, rounded down (so what was
 * forgotten seems younger, never older); its largest value says "at least so long". Both change in
 * one 16-byte compare-and-swap with the tag, so a place never forgets that it forgot.
 *
 * Why __sync_* and words read alone: see table/pair.h. METE_TABLE_LOCK builds the same functions on
 * a lock for the thread sanitizer; METE_REPEAT_POINT(address, is_write) stands before every shared
 * access and METE_REPEAT_SEEN(word) behind every read, for the test that tries all interleavings.
 * Only repeat.c includes this. */
#ifndef METE_ENGINE_REPEAT_RECORD_H
#define METE_ENGINE_REPEAT_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#ifndef METE_REPEAT_POINT
#define METE_REPEAT_POINT(address, is_write) ((void)0)
#endif
#ifndef METE_REPEAT_SEEN
#define METE_REPEAT_SEEN(word) ((void)0)
#endif

#define RECORD_PLACES 4u

enum record_state {
    RECORD_EMPTY,     /* all zero: nothing was ever forgotten here, or not in an hour */
    RECORD_WITHDRAWN, /* no tag, but arrival and gap still say what was forgotten */
    RECORD_OPEN,      /* claimed, being charged */
    RECORD_DONE,
};

#define RECORD_TIME_BITS 24
#define RECORD_TIME_MASK ((1u << RECORD_TIME_BITS) - 1)
#define RECORD_GAP_MAX 255u
#define RECORD_PAYLOAD_BITS 30u
#define RECORD_PAYLOAD_SHIFT 34

struct record {
    uint64_t tag;
    uint64_t meta;
} __attribute__((aligned(16)));

struct repeat_bucket {
    struct record place[RECORD_PLACES];
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct repeat_bucket) == 64, "one cache line");

static inline uint64_t record_meta(enum record_state state, uint32_t arrival_ms, uint32_t gap)
{
    return (uint64_t)state | (uint64_t)(arrival_ms & RECORD_TIME_MASK) << 2 | (uint64_t)gap << 26;
}

static inline enum record_state record_state(uint64_t meta)
{
    return (enum record_state)(meta & 3);
}

static inline bool record_has_tag(uint64_t meta)
{
    return meta & 2; /* open or done */
}

static inline uint32_t record_arrival_ms(uint64_t meta)
{
    return (uint32_t)(meta >> 2) & RECORD_TIME_MASK;
}

static inline uint32_t record_gap(uint64_t meta)
{
    return (uint32_t)(meta >> 26) & RECORD_GAP_MAX;
}

static inline uint32_t record_payload(uint64_t meta)
{
    return (uint32_t)(meta >> RECORD_PAYLOAD_SHIFT);
}

static inline uint64_t record_with_payload(uint64_t meta, uint32_t bits)
{
    return (meta & ((1ull << RECORD_PAYLOAD_SHIFT) - 1)) | RECORD_DONE |
           (uint64_t)bits << RECORD_PAYLOAD_SHIFT;
}

/* ---- shared accesses ---- */

#ifdef METE_TABLE_LOCK

static bool record_locked; /* this build only: one lock, and it spins */

static inline void record_enter(void)
{
    while (__atomic_test_and_set(&record_locked, __ATOMIC_ACQUIRE)) /* with the release below */
        ;
}

static inline void record_leave(void)
{
    __atomic_clear(&record_locked, __ATOMIC_RELEASE);
}

static inline uint64_t record_word(const uint64_t *word)
{
    record_enter();
    uint64_t value = *word;
    record_leave();
    return value;
}

static inline bool record_exchange(struct record *record, struct record seen, struct record next)
{
    record_enter();
    bool same = record->tag == seen.tag && record->meta == seen.meta;
    if (same)
        *record = next;
    record_leave();
    return same;
}

#else

static inline uint64_t record_word(const uint64_t *word)
{
    /* acquire, with the full barrier of the compare-and-swap: words of one record are read in the
     * order that the proof in repeat.c needs, tag before meta */
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline bool record_exchange(struct record *record, struct record seen, struct record next)
{
    unsigned __int128 *words = (unsigned __int128 *)(void *)record;

    return __sync_bool_compare_and_swap(words, (unsigned __int128)seen.meta << 64 | seen.tag,
                                        (unsigned __int128)next.meta << 64 | next.tag);
}

#endif

/* The record was `seen` and is `next`; or false, and nothing is written. A full barrier either way:
 * __sync_* is documented as one, and repeat.c counts on it. */
static inline bool record_cas(struct record *record, struct record seen, struct record next)
{
    METE_REPEAT_POINT(record, true);
    bool done = record_exchange(record, seen, next);

    METE_REPEAT_SEEN(done);
    return done;
}

static inline uint64_t record_load(const struct record *record, const uint64_t *word)
{
    (void)record;
    METE_REPEAT_POINT(record, false);
    uint64_t value = record_word(word);

    METE_REPEAT_SEEN(value);
    return value;
}

/* Tag first, then meta: two reads, so they may belong to two records that stood here one after the
 * other, the meta's the later. */
static inline struct record record_read(const struct record *record)
{
    struct record seen;

    seen.tag = record_load(record, &record->tag);
    seen.meta = record_load(record, &record->meta);
    return seen;
}

#endif
