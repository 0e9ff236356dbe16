/* SipHash-2-4 with a 64-bit tag, inlined: the tag at the end of every mete datagram.
 *
 * Source: J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF" (2012). Equal to
 * libsodium's crypto_shorthash on every input; tests/unit/test_mac.c holds the two together.
 * A datagram is a multiple of 8 bytes, but any length works. Pure; any thread. */
#ifndef METE_MAC_H
#define METE_MAC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct mete_mac_key {
    uint64_t k0; /* bytes 0..7 of the key, little endian */
    uint64_t k1; /* bytes 8..15 */
};

static inline uint64_t mete_mac_load64(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static inline uint64_t mete_mac_rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

struct mete_mac_state {
    uint64_t v0, v1, v2, v3;
};

static inline struct mete_mac_state mete_mac_round(struct mete_mac_state s)
{
    s.v0 += s.v1;
    s.v2 += s.v3;
    s.v1 = mete_mac_rotate(s.v1, 13) ^ s.v0;
    s.v3 = mete_mac_rotate(s.v3, 16) ^ s.v2;
    s.v0 = mete_mac_rotate(s.v0, 32);
    s.v2 += s.v1;
    s.v0 += s.v3;
    s.v1 = mete_mac_rotate(s.v1, 17) ^ s.v2;
    s.v3 = mete_mac_rotate(s.v3, 21) ^ s.v0;
    s.v2 = mete_mac_rotate(s.v2, 32);
    return s;
}

static inline struct mete_mac_state mete_mac_begin(const struct mete_mac_key *key)
{
    return (struct mete_mac_state){
        .v0 = key->k0 ^ 0x736f6d6570736575ull,
        .v1 = key->k1 ^ 0x646f72616e646f6dull,
        .v2 = key->k0 ^ 0x6c7967656e657261ull,
        .v3 = key->k1 ^ 0x7465646279746573ull,
    };
}

static inline struct mete_mac_state mete_mac_word(struct mete_mac_state s, uint64_t word)
{
    s.v3 ^= word;
    s = mete_mac_round(mete_mac_round(s));
    s.v0 ^= word;
    return s;
}

/* The last word holds what is left of the input and, in its top byte, the length modulo 256. */
static inline uint64_t mete_mac_end(struct mete_mac_state s, uint64_t last_word)
{
    s = mete_mac_word(s, last_word);
    s.v2 ^= 0xff;
    s = mete_mac_round(mete_mac_round(mete_mac_round(mete_mac_round(s))));
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* The tag of a request: SipHash-2-4 over len bytes. */
static inline uint64_t mete_mac(const struct mete_mac_key *key, const uint8_t *bytes, size_t len)
{
    struct mete_mac_state s = mete_mac_begin(key);
    size_t at = 0;
    for (; at + 8 <= len; at += 8)
        s = mete_mac_word(s, mete_mac_load64(bytes + at));
    uint64_t last = (uint64_t)(len & 0xff) << 56;
    for (unsigned shift = 0; at < len; at++, shift += 8)
        last |= (uint64_t)bytes[at] << shift;
    return mete_mac_end(s, last);
}

/* The tag of a result: SipHash-2-4 over the 8 bytes of the request's tag followed by the result's
 * bytes before its own tag (len, a multiple of 8). An answer so belongs to one request and cannot
 * be moved to another. */
static inline uint64_t mete_mac_result(const struct mete_mac_key *key, uint64_t request_tag,
                                       const uint8_t *bytes, size_t len)
{
    struct mete_mac_state s = mete_mac_word(mete_mac_begin(key), request_tag);
    for (size_t at = 0; at + 8 <= len; at += 8)
        s = mete_mac_word(s, mete_mac_load64(bytes + at));
    return mete_mac_end(s, (uint64_t)((len + 8) & 0xff) << 56);
}

/* Compares two tags in constant time. */
static inline int mete_mac_equal(uint64_t a, uint64_t b)
{
    uint64_t difference = a ^ b;
    __asm__("" : "+r"(difference)); /* keeps the compiler from comparing byte by byte */
    return difference == 0;
}

#endif
