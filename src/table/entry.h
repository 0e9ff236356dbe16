/* The layout of an entry and of its meta word.
 *
 *   offset  0  key, 16 bytes: written only while the entry is busy, by the thread that made it so
 *          16  state, 8 bytes: what the algorithm made of it; 0 while empty or busy
 *          24  meta, 8 bytes: changes only together with the state, by one 16-byte compare-and-swap
 *
 *   meta bits  0.. 1  kind: empty, busy, live, lease
 *              2.. 3  overflow mark; lives in the FIRST entry of a group, whatever that entry is
 *              4      dirty        \  of keys that several nodes share: shared.h
 *              5      drain parity /
 *              6..13  generation: one more at every change of hands, so that reuse is visible
 *             14..33  owner: the row of the (tenant, rule) pair
 *             34..39  share         \  as dirty; in a busy entry: `keyed` and the life of the
 *             40..63  pending       /  claimer's process; in a lease: lease.h
 *
 * Pure functions of words: any thread may call anything here. */
#ifndef METE_TABLE_ENTRY_H
#define METE_TABLE_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/key.h"
#include "table/table.h"

struct table_entry {
    struct key key;
    uint64_t state;
    uint64_t meta;
} __attribute__((aligned(32)));

_Static_assert(sizeof(struct table_entry) == 32, "four entries on two cache lines");
_Static_assert(offsetof(struct table_entry, state) == 16, "state and meta are one 16-byte word");
_Static_assert(offsetof(struct table_entry, meta) == 24, "state and meta are one 16-byte word");

/* State and meta as one value. */
struct pair {
    uint64_t state;
    uint64_t meta;
};

enum entry_kind {
    ENTRY_EMPTY = 0,
    ENTRY_BUSY = 1, /* claimed, nothing decided; its key counts once it is `keyed` */
    ENTRY_LIVE = 2,
    ENTRY_LEASE = 3, /* as live, but only its holder may let go of it: table/lease.h */
};

/* May a key of this group stand past it? Readers look there unless the mark is NONE. */
enum entry_mark {
    MARK_NONE = 0,
    MARK_SET = 1,
    MARK_CLEARING = 2, /* a sweep looks whether anything stands there; a claimer sets it again */
};

#define META_KIND_SHIFT 0
#define META_KIND_BITS 2
#define META_MARK_SHIFT 2
#define META_MARK_BITS 2
#define META_DIRTY_SHIFT 4
#define META_PARITY_SHIFT 5
#define META_GENERATION_SHIFT 6
#define META_GENERATION_BITS 8
#define META_OWNER_SHIFT 14
#define META_OWNER_BITS 20
#define META_SHARE_SHIFT 34
#define META_SHARE_BITS 6
#define META_PENDING_SHIFT 40
#define META_PENDING_BITS 24

_Static_assert(META_MARK_SHIFT == META_KIND_SHIFT + META_KIND_BITS, "no gap");
_Static_assert(META_DIRTY_SHIFT == META_MARK_SHIFT + META_MARK_BITS, "no gap");
_Static_assert(META_GENERATION_SHIFT == META_PARITY_SHIFT + 1, "no gap");
_Static_assert(META_OWNER_SHIFT == META_GENERATION_SHIFT + META_GENERATION_BITS, "no gap");
_Static_assert(META_SHARE_SHIFT == META_OWNER_SHIFT + META_OWNER_BITS, "no gap");
_Static_assert(META_PENDING_SHIFT == META_SHARE_SHIFT + META_SHARE_BITS, "no gap");
_Static_assert(META_PENDING_SHIFT + META_PENDING_BITS == 64, "no bit unused");
/* NOLINTNEXTLINE(misc-redundant-expression): two constants */
_Static_assert(TABLE_MAX_OWNERS == 1u << META_OWNER_BITS, "every row has a number in meta");

#define META_MASK(name) ((((uint64_t)1 << META_##name##_BITS) - 1) << META_##name##_SHIFT)

#define META_DIRTY ((uint64_t)1 << META_DIRTY_SHIFT)
#define META_PARITY ((uint64_t)1 << META_PARITY_SHIFT)

/* The bits of a busy entry that stand in share and pending. */
#define META_KEYED ((uint64_t)1 << META_SHARE_SHIFT)
#define META_LIFE_SHIFT META_PENDING_SHIFT
#define META_LIFE_BITS META_PENDING_BITS

/* What a reader must compare besides the key: a live entry of this owner. */
static inline enum entry_kind meta_kind(uint64_t meta)
{
    return (enum entry_kind)(meta & META_MASK(KIND));
}

static inline enum entry_mark meta_mark(uint64_t meta)
{
    return (enum entry_mark)((meta & META_MASK(MARK)) >> META_MARK_SHIFT);
}

static inline uint32_t meta_owner(uint64_t meta)
{
    return (uint32_t)((meta & META_MASK(OWNER)) >> META_OWNER_SHIFT);
}

static inline bool meta_is_found(uint64_t meta) /* live or lease */
{
    return meta & 2;
}

static inline bool meta_is_claim(uint64_t meta) /* busy, and its key may be read */
{
    return meta_kind(meta) == ENTRY_BUSY && (meta & META_KEYED);
}

/* Of a live entry: shared.h says what they are. Pending is signed, in two's complement. */
static inline int32_t meta_pending(uint64_t meta)
{
    return (int32_t)((int64_t)meta >> META_PENDING_SHIFT);
}

static inline uint8_t meta_share(uint64_t meta)
{
    return (uint8_t)((meta & META_MASK(SHARE)) >> META_SHARE_SHIFT);
}

static inline bool meta_is_grant(uint64_t meta) /* its state is core/grant.h's */
{
    return (meta & META_MASK(SHARE)) == META_MASK(SHARE);
}

static inline uint64_t meta_with_pending(uint64_t meta, int32_t pending)
{
    return (meta & ~META_MASK(PENDING)) | (uint64_t)(int64_t)pending << META_PENDING_SHIFT;
}

static inline uint64_t meta_with_share(uint64_t meta, uint8_t share)
{
    return (meta & ~META_MASK(SHARE)) | (uint64_t)share << META_SHARE_SHIFT;
}

static inline uint64_t meta_life_bits(uint64_t life)
{
    return life << META_LIFE_SHIFT;
}

static inline bool meta_is_dead(uint64_t meta, uint64_t life) /* busy, its process is gone */
{
    return meta_kind(meta) == ENTRY_BUSY && (meta & META_MASK(LIFE)) != meta_life_bits(life);
}

static inline uint64_t meta_with_mark(uint64_t meta, enum entry_mark mark)
{
    return (meta & ~META_MASK(MARK)) | (uint64_t)mark << META_MARK_SHIFT;
}

/* The same entry in the same hands? The mark belongs to the group and may differ. */
static inline bool meta_is_same(uint64_t a, uint64_t b)
{
    return ((a ^ b) & ~META_MASK(MARK)) == 0;
}

/* Mark and next generation of an entry that changes hands; the field wraps within its bits. */
static inline uint64_t meta_next(uint64_t meta)
{
    uint64_t generation = meta + ((uint64_t)1 << META_GENERATION_SHIFT);

    return (meta & META_MASK(MARK)) | (generation & META_MASK(GENERATION));
}

static inline uint64_t meta_empty(uint64_t meta)
{
    return meta_next(meta) | ENTRY_EMPTY;
}

static inline uint64_t meta_busy(uint64_t meta, uint32_t owner, uint64_t life)
{
    return meta_next(meta) | ENTRY_BUSY | (uint64_t)owner << META_OWNER_SHIFT |
           meta_life_bits(life);
}

/* A claim that is decided keeps its generation: it stays in the hands of its key. */
static inline uint64_t meta_live(uint64_t meta)
{
    return (meta & (META_MASK(MARK) | META_MASK(GENERATION) | META_MASK(OWNER))) | ENTRY_LIVE;
}

/* The same, and held; of a lease all but what it holds. */
static inline uint64_t meta_held(uint64_t meta)
{
    return (meta & (META_MASK(MARK) | META_MASK(GENERATION) | META_MASK(OWNER))) | ENTRY_LEASE;
}

#endif
