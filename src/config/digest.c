/* The only file of the configuration that knows libsodium. */
#include "config/digest.h"

#include <sodium.h>
#include <string.h>

#include "config/config.h"

#define FRAMES 65536u /* more than loading takes of the stack */

uint64_t digest_seed(const char *name, const uint8_t *key)
{
    static const char prefix[] = "mete seed 1";
    crypto_generichash_state state;
    unsigned char digest[8];
    uint64_t seed = 0;

    /* 8 is a length of BLAKE2b itself (RFC 7693); libsodium only advises 16 and more for keys. */
    crypto_generichash_init(&state, key, key ? CONFIG_KEY_BYTES : 0, sizeof(digest));
    crypto_generichash_update(&state, (const unsigned char *)prefix, sizeof(prefix) - 1);
    crypto_generichash_update(&state, (const unsigned char *)name, strlen(name));
    crypto_generichash_final(&state, digest, sizeof(digest));
    sodium_memzero(&state, sizeof(state)); /* it holds the key */
    for (unsigned i = 0; i < sizeof(digest); i++)
        seed |= (uint64_t)digest[i] << (8 * i);
    sodium_memzero(digest, sizeof(digest));
    return seed;
}

void digest_wipe_frames(void)
{
    sodium_stackzero(FRAMES);
}

void digest_file(const void *bytes, size_t len, char *ret_hex)
{
    unsigned char digest[(CONFIG_HASH_SIZE - 1) / 2];
    crypto_generichash(digest, sizeof(digest), bytes, len, NULL, 0);
    sodium_bin2hex(ret_hex, CONFIG_HASH_SIZE, digest, sizeof(digest));
}

void digest_sha256(const void *bytes, size_t len, uint8_t *ret_hash)
{
    crypto_hash_sha256(ret_hash, bytes, len);
}

bool digest_is_equal(const void *left, const void *right, size_t len)
{
    return sodium_memcmp(left, right, len) == 0;
}
