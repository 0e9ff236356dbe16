#include "net/keys.h"

#include <sodium.h>
#include <string.h>

#include "sys/memory.h"

/* BLAKE2b of label and message under the secret. The generic interface of libsodium asks for a
 * digest of 16 bytes; BLAKE2b itself (RFC 7693) has shorter ones. */
static void derive(const struct config_secret *secret, const char *label, const uint8_t *message,
                   size_t message_len, uint8_t *out, size_t out_size)
{
    crypto_generichash_blake2b_state state;
    crypto_generichash_blake2b_init(&state, secret->bytes, secret->len, out_size);
    crypto_generichash_blake2b_update(&state, (const uint8_t *)label, strlen(label));
    crypto_generichash_blake2b_update(&state, message, message_len);
    crypto_generichash_blake2b_final(&state, out, out_size);
    sodium_memzero(&state, sizeof(state));
}

struct mete_mac_key keys_mac(const struct config_secret *secret, uint64_t boot_id)
{
    uint8_t message[8], key[16];
    for (unsigned i = 0; i < sizeof(message); i++)
        message[i] = (uint8_t)(boot_id >> 8 * i);
    derive(secret, "mete mac 1", message, sizeof(message), key, sizeof(key));
    struct mete_mac_key made = {mete_mac_load64(key), mete_mac_load64(key + 8)};
    sodium_memzero(key, sizeof(key));
    return made;
}

#define FRAMES 8192u /* more than deriving takes of the stack */

static size_t size_of(uint32_t tenant_count)
{
    return ((size_t)tenant_count + 1) * sizeof(struct tenant_keys); /* never 0 */
}

int keys_create(const struct config *config, uint64_t boot_id, struct tenant_keys **ret_keys)
{
    void *memory;
    bool is_locked; /* if not, neither are the secrets, and the configuration says so */
    int result = memory_secret_reserve(size_of(config->tenant_count), &is_locked, &memory);
    if (result)
        return result;
    struct tenant_keys *keys = memory;
    for (uint32_t t = 0; t < config->tenant_count; t++)
        for (uint32_t s = 0; s < config->tenants[t].secret_count; s++) {
            keys[t].boot[s] = keys_mac(&config->tenants[t].secrets[s], boot_id);
            keys[t].hello[s] = keys_mac(&config->tenants[t].secrets[s], 0);
        }
    sodium_stackzero(FRAMES);
    *ret_keys = keys;
    return 0;
}

void keys_destroy(struct tenant_keys *keys, uint32_t tenant_count)
{
    memory_secret_release(keys, size_of(tenant_count));
}

uint64_t keys_pad(const struct config_secret *secret, const uint8_t nonce[KEYS_NONCE_BYTES])
{
    uint8_t pad[8];
    derive(secret, "mete pad 1", nonce, KEYS_NONCE_BYTES, pad, sizeof(pad));
    return mete_mac_load64(pad);
}
