/* The atomics on entries: all of them, and the only ones.
 *
 * A (state, meta) pair changes by one 16-byte compare-and-swap and by nothing else. It is read as
 * two words with the meta read again behind them: what did not change hands meanwhile was one pair
 * (the generation sees to reuse; a reader would have to sleep through 256 reuses of one entry by
 * one owner to be fooled, and a swap compares the state besides).
 *
 * Why not __atomic_* on the pair: gcc calls libatomic for 16 bytes, which may lock; __sync_* is
 * inlined to cmpxchg16b under -mcx16. Words inside of the pair are read alone: C11 has no name for
 * mixed sizes, x86-64 (Intel SDM 3A, 9.1.1 and 9.2.3) keeps them coherent and each of them whole.
 *
 * METE_TABLE_LOCK builds the same functions on mutexes for the thread sanitizer, which cannot look
 * into the instruction. METE_TABLE_POINT(address, is_write) stands before every shared
 * access and METE_TABLE_SEEN(word) behind every read: empty, but a test may schedule there. */
#ifndef METE_TABLE_PAIR_H
#define METE_TABLE_PAIR_H

#include "table/entry.h"

#ifndef METE_TABLE_POINT
#define METE_TABLE_POINT(address, is_write) ((void)0)
#endif
#ifndef METE_TABLE_SEEN
#define METE_TABLE_SEEN(word) ((void)0)
#endif

#ifdef METE_TABLE_LOCK

#include <pthread.h>

#define PAIR_LOCKS 64u
extern pthread_mutex_t table_pair_locks[PAIR_LOCKS]; /* mapping.c; this build only */

static inline pthread_mutex_t *pair_lock(const struct table_entry *entry)
{
    return &table_pair_locks[((uintptr_t)entry / sizeof *entry) % PAIR_LOCKS];
}

static inline uint64_t pair_word(const struct table_entry *entry, const uint64_t *word)
{
    pthread_mutex_lock(pair_lock(entry));
    uint64_t value = *word;
    pthread_mutex_unlock(pair_lock(entry));
    return value;
}

static inline bool pair_exchange(struct table_entry *entry, struct pair seen, struct pair next)
{
    pthread_mutex_lock(pair_lock(entry));
    bool same = entry->state == seen.state && entry->meta == seen.meta;

    if (same) {
        entry->state = next.state;
        entry->meta = next.meta;
    }
    pthread_mutex_unlock(pair_lock(entry));
    return same;
}

#else

static inline uint64_t pair_word(const struct table_entry *entry, const uint64_t *word)
{
    (void)entry;
    /* acquire, with the release in every compare-and-swap: who sees a kind sees the key words
     * written before it */
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline bool pair_exchange(struct table_entry *entry, struct pair seen, struct pair next)
{
    unsigned __int128 *word = (unsigned __int128 *)(void *)&entry->state;

    return __sync_bool_compare_and_swap(word, (unsigned __int128)seen.meta << 64 | seen.state,
                                        (unsigned __int128)next.meta << 64 | next.state);
}

#endif

/* The pair was `seen` and is `next`; or false, and nothing is written. A full barrier: __sync_* is
 * documented as one, and claim.c counts on it. */
static inline bool pair_cas(struct table_entry *entry, struct pair seen, struct pair next)
{
    METE_TABLE_POINT(&entry->state, true);
    bool done = pair_exchange(entry, seen, next);

    METE_TABLE_SEEN(done);
    return done;
}

static inline uint64_t pair_meta(const struct table_entry *entry)
{
    METE_TABLE_POINT(&entry->state, false);
    uint64_t meta = pair_word(entry, &entry->meta);

    METE_TABLE_SEEN(meta);
    return meta;
}

static inline uint64_t pair_state(const struct table_entry *entry)
{
    METE_TABLE_POINT(&entry->state, false);
    uint64_t state = pair_word(entry, &entry->state);

    METE_TABLE_SEEN(state);
    return state;
}

/* Relaxed: whether a key word belongs to a meta is known only after pair_still(). */
static inline uint64_t pair_key_low(const struct table_entry *entry)
{
    METE_TABLE_POINT(&entry->key.low, false);
    uint64_t word = __atomic_load_n(&entry->key.low, __ATOMIC_RELAXED);

    METE_TABLE_SEEN(word);
    return word;
}

static inline uint64_t pair_key_high(const struct table_entry *entry)
{
    METE_TABLE_POINT(&entry->key.high, false);
    uint64_t word = __atomic_load_n(&entry->key.high, __ATOMIC_RELAXED);

    METE_TABLE_SEEN(word);
    return word;
}

/* Do the words read before belong to this meta? The acquire fence keeps those reads before this one
 * and pairs with the release fence in pair_key_store(): who read a newer key word sees here at
 * least the meta that was made busy for it. */
static inline bool pair_still(const struct table_entry *entry, uint64_t meta)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return pair_meta(entry) == meta;
}

static inline struct pair pair_load(const struct table_entry *entry)
{
    struct pair pair;

    do {
        pair.meta = pair_meta(entry);
        pair.state = pair_state(entry);
    } while (!pair_still(entry, pair.meta)); /* again only if somebody else got on */
    return pair;
}

/* Only by the thread whose compare-and-swap made the entry busy, before it makes it keyed. */
static inline void pair_key_store(struct table_entry *entry, struct key key)
{
    /* release: no reader may see these words and the meta from before the entry was busy */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    METE_TABLE_POINT(&entry->key.low, true);
    __atomic_store_n(&entry->key.low, key.low, __ATOMIC_RELAXED);
    METE_TABLE_POINT(&entry->key.high, true);
    __atomic_store_n(&entry->key.high, key.high, __ATOMIC_RELAXED);
}

/* Sequentially consistent: a write before it and a read after it are not exchanged (Dekker); on
 * x86-64 the compare-and-swap before it does it already, and only the compiler must not move. */
static inline void pair_fence(void)
{
#if defined(__x86_64__) && !defined(METE_TABLE_LOCK)
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

#endif
