/* Seeds of tenants. The only file of the configuration that knows libsodium. */
#include "config/seed.h"

#include <sodium.h>
#include <string.h>

uint64_t seed_of_tenant(const char *name)
{
    static const char prefix[] = "mete seed 1";
    crypto_generichash_state state;
    unsigned char digest[8];
    uint64_t seed = 0;

    /* 8 is a length of BLAKE2b itself (RFC 7693); libsodium only advises 16 and more for keys. */
    crypto_generichash_init(&state, NULL, 0, sizeof(digest));
    crypto_generichash_update(&state, (const unsigned char *)prefix, sizeof(prefix) - 1);
    crypto_generichash_update(&state, (const unsigned char *)name, strlen(name));
    crypto_generichash_final(&state, digest, sizeof(digest));
    for (unsigned i = 0; i < sizeof(digest); i++)
        seed |= (uint64_t)digest[i] << (8 * i);
    return seed;
}
