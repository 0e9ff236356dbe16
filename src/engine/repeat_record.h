/* One record of the repeat set: its bits, and the atomics on it (all of them).
 *
 *   name 64: tag 58 | generation 6
 *   meta 64: generation 6 | done 1 | arrival 25 | bits 24 | gap 8
 *
 * The name is swapped by 8-byte compare-and-swap, one generation on, by who claims the place; the
 * meta is stored by that one alone when it is done. While the two generations differ the place is
 * open, its meta still tells of the record that gave way, and nobody else touches it. When they are
 * equal, name and meta belong together, however far apart they were read (a reader would have to
 * sleep through 64 claims of one place to be fooled).
 *
 * A place that is not done holds nothing: its arrival is that of the youngest record that gave way
 * there. arrival is in ms and wraps after 9.3 hours. gap says how long before it the youngest
 * record arrived that this place had to forget, in units of 2^gap_shift ms, rounded down (so what
 * was forgotten seems younger, never older); its largest value says "at least so long".
 *
 * METE_REPEAT_POINT(address, is_write) stands before every shared access and METE_REPEAT_SEEN(word)
 * behind every read: empty, but a test may schedule there. Only repeat.c and its parts include
 * this. */
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

#define RECORD_TAG_SHIFT 6
#define RECORD_GENERATIONS (1u << RECORD_TAG_SHIFT)
#define RECORD_DONE RECORD_GENERATIONS
#define RECORD_TIME_SHIFT 7
#define RECORD_TIME_MASK ((1u << (32 - RECORD_TIME_SHIFT)) - 1)
#define RECORD_GAP_MAX 255u
#define RECORD_PAYLOAD_BITS 24u

struct record {
    uint64_t name;
    uint64_t meta;
};

struct repeat_bucket {
    struct record place[RECORD_PLACES];
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct repeat_bucket) == 64, "one cache line");

/* The name of the next record in the place of `old`; the tag's low 58 bits are taken. */
static inline uint64_t record_name(uint64_t tag, uint64_t old)
{
    return tag << RECORD_TAG_SHIFT | ((old + 1) & (RECORD_GENERATIONS - 1));
}

static inline bool record_is_open(struct record record)
{
    return (record.name ^ record.meta) & (RECORD_GENERATIONS - 1);
}

/* Read while somebody claimed and closed the place: the meta is of a later name. */
static inline bool record_is_torn(struct record record)
{
    return ((record.meta + 1 - record.name) & (RECORD_GENERATIONS - 1)) > 1;
}

static inline uint64_t record_meta(uint64_t name, uint32_t done, uint32_t arrival_ms, uint32_t gap)
{
    return (name & (RECORD_GENERATIONS - 1)) | done | (uint32_t)(arrival_ms << RECORD_TIME_SHIFT) |
           (uint64_t)gap << 56;
}

static inline bool record_is_done(uint64_t meta)
{
    return meta & RECORD_DONE;
}

static inline uint32_t record_arrival_ms(uint64_t meta)
{
    return (uint32_t)meta >> RECORD_TIME_SHIFT;
}

static inline uint32_t record_gap(uint64_t meta)
{
    return (uint32_t)(meta >> 56);
}

static inline uint32_t record_payload(uint64_t meta)
{
    return (uint32_t)(meta >> 32) & ((1u << RECORD_PAYLOAD_BITS) - 1);
}

static inline uint64_t record_with_payload(uint64_t meta, uint32_t bits)
{
    return meta | (uint64_t)bits << 32;
}

/* The bits of a decision that one record of several has. */
static inline uint32_t record_part_bits(const uint64_t *bits, uint32_t bit_count, uint32_t part)
{
    uint32_t first = part * RECORD_PAYLOAD_BITS, shift = first % 64;
    uint32_t left = bit_count > first ? bit_count - first : 0;
    uint32_t count = left < RECORD_PAYLOAD_BITS ? left : RECORD_PAYLOAD_BITS;

    if (!count)
        return 0;
    uint64_t word = bits[first / 64] >> shift;

    if (shift + count > 64)
        word |= bits[first / 64 + 1] << (64 - shift);
    return (uint32_t)(word & ((1ull << count) - 1));
}

/* And puts what it says back; into words that began as zeros. */
static inline void record_part_put(uint64_t *bits, uint32_t bit_count, uint32_t part,
                                   uint32_t payload)
{
    uint32_t first = part * RECORD_PAYLOAD_BITS, shift = first % 64;

    if (first >= bit_count)
        return;
    bits[first / 64] |= (uint64_t)payload << shift;
    if (shift + RECORD_PAYLOAD_BITS > 64 && first / 64 + 1 < (bit_count + 63) / 64)
        bits[first / 64 + 1] |= (uint64_t)payload >> (64 - shift);
}

/* ---- shared accesses ---- */

/* The name was `seen` and is `next`; or false, and nothing is written. is_shared: a full barrier,
 * __sync_* is documented as one, and repeat.c counts on it. Else nobody comes between (no other
 * thread uses the set, or a transaction sees to it), and a locked operation would order nothing: it
 * would only make what follows wait (8 ns, and nothing overlaps it). */
static inline bool record_claim(struct record *record, uint64_t seen, uint64_t next, bool is_shared)
{
    bool done;

    METE_REPEAT_POINT(record, true);
    if (is_shared) {
        done = __sync_bool_compare_and_swap(&record->name, seen, next);
    } else {
        done = __atomic_load_n(&record->name, __ATOMIC_RELAXED) == seen;
        if (done)
            __atomic_store_n(&record->name, next, __ATOMIC_RELAXED);
    }

    METE_REPEAT_SEEN(done);
    return done;
}

/* Only by who claimed the place: closes it. Release, with the acquire below: who finds the record
 * closed finds its further records, and a claim of the place comes after it. */
static inline void record_close(struct record *record, uint64_t meta)
{
    METE_REPEAT_POINT(record, true);
    __atomic_store_n(&record->meta, meta, __ATOMIC_RELEASE);
}

static inline uint64_t record_read_name(const struct record *record)
{
    METE_REPEAT_POINT(record, false);
    uint64_t name = __atomic_load_n(&record->name, __ATOMIC_ACQUIRE);

    METE_REPEAT_SEEN(name);
    return name;
}

/* Name first, then meta (acquire keeps that order; with the release above and the
 * compare-and-swap): the meta is the one of that name, or the one before it (open), or a later one.
 */
static inline struct record record_read(const struct record *record)
{
    struct record seen = {.name = record_read_name(record)};

    METE_REPEAT_POINT(record, false);
    seen.meta = __atomic_load_n(&record->meta, __ATOMIC_ACQUIRE);
    METE_REPEAT_SEEN(seen.meta);
    return seen;
}

#endif
