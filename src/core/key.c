/* Names and subjects to numbers. FNV-1a by Fowler, Noll and Vo, 32 bit; XXH3-128 from xxhash's
 * header, inlined: a subject is a few dozen bytes, where the call would cost as much as the hash.
 * Any thread may call anything here. */
#include "core/key.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define FNV_OFFSET 2166136261u
#define FNV_PRIME 16777619u

uint32_t key_name_id(const char *name, size_t len)
{
    uint32_t hash = FNV_OFFSET;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)name[i]) * FNV_PRIME;
    return hash;
}

struct key key_of_subject(const void *subject, size_t len, uint64_t seed)
{
    const XXH128_hash_t hash = XXH3_128bits_withSeed(subject, len, seed);
    return (struct key){.low = hash.low64, .high = hash.high64};
}
