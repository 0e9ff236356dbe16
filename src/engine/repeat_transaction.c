/* Places are taken by plain loads and stores, which no other core sees before the last of them. A
 * locked operation makes the core wait for itself alone, a transaction once for all (Intel 64
 * Software Developer's Manual, volume 1, chapter 16: what commits is atomic to all other accesses,
 * whether they are in a transaction or not, and orders like one locked instruction).
 *
 * So it does what the swaps one by one do when nobody comes between them: one of the orders that
 * repeat.c reckons with. Whenever it fails, they are what is done.
 *
 * Threads: any. */
#include "engine/repeat_transaction.h"

#include "engine/repeat_look.h"

/* The thread sanitizer (METE_TABLE_LOCK) would take the plain accesses for races. */
#if defined(__x86_64__) && !defined(METE_TABLE_LOCK)

#include <cpuid.h>
#include <immintrin.h>
#include <stddef.h>

#define TRANSACTIONS __attribute__((target("rtm"), noinline))
#define TRIES 16u

static TRANSACTIONS bool succeeds(void)
{
    for (unsigned i = 0; i < TRIES; i++) {
        if (_xbegin() == _XBEGIN_STARTED) {
            _xend();
            return true;
        }
    }
    return false;
}

/* Some processors have the instructions and let every transaction fail. */
bool repeat_has_transactions(void)
{
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & bit_RTM && succeeds();
}

TRANSACTIONS bool repeat_transaction_swap(const struct look *look, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!look->place[i])
            return false;
    if (_xbegin() != _XBEGIN_STARTED)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!record_claim(look->place[i], look->old[i], look->name[i], false))
            _xabort(0); /* undoes the stores, and returns from _xbegin() once more */
    _xend();
    return true;
}

#else

bool repeat_has_transactions(void)
{
    return false;
}

bool repeat_transaction_swap(const struct look *look, uint32_t count)
{
    (void)look, (void)count;
    return false;
}

#endif
