#include "cmd/secret_key.h"

#include <sodium.h>
#include <string.h>

#include "cmd/cmd.h"
#include "mete/wire.h"

/* BLAKE2b itself (RFC 7693) has digests shorter than the 16 bytes that libsodium's generic form
 * asks for. */
static void derive(const struct config_secret *secret, const char *label, const uint8_t *message,
                   size_t len, uint8_t *ret_digest, size_t size)
{
    crypto_generichash_blake2b_state state;
    crypto_generichash_blake2b_init(&state, secret->bytes, secret->len, size);
    crypto_generichash_blake2b_update(&state, (const uint8_t *)label, strlen(label));
    crypto_generichash_blake2b_update(&state, message, len);
    crypto_generichash_blake2b_final(&state, ret_digest, size);
    sodium_memzero(&state, sizeof(state));
}

int secret_key_load(const char *name, const char *option, const char *path,
                    struct config_secret *ret_secret)
{
    char problem[256];
    if (config_is_secret_text(path))
        return cmd_fail(name, "%s: is a secret itself and not the path of a file", option);
    if (config_read_secret(path, ret_secret, problem, sizeof(problem)) < 0)
        return cmd_fail(name, "%s: %s %s", option, path, problem);
    return 0;
}

struct mete_mac_key secret_key_mac(const struct config_secret *secret, uint64_t boot_id)
{
    uint8_t message[8], digest[16];
    mete_wire_put64(message, boot_id);
    derive(secret, "mete mac 1", message, sizeof(message), digest, sizeof(digest));
    return (struct mete_mac_key){mete_wire_get64(digest), mete_wire_get64(digest + 8)};
}

uint64_t secret_key_pad(const struct config_secret *secret,
                        const uint8_t nonce[SECRET_KEY_NONCE_BYTES])
{
    uint8_t digest[8];
    derive(secret, "mete pad 1", nonce, SECRET_KEY_NONCE_BYTES, digest, sizeof(digest));
    return mete_wire_get64(digest);
}
