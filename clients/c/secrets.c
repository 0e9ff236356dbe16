/* The tenant's secrets and what is made of them (proto-spec/protocol.md 4): the key of HELLO, the
 * key of a server's life, the pad of the seed.
 *
 * They lie in guarded pages that are locked where the system allows it, left out of core dumps and
 * wiped when they are given back. A client does not know where in the server's list its secret
 * stands, because the list moves when a new one is put in front: so each secret is tried in both
 * places. One thread at a time. */
#include "internal.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

struct digest {
    uint8_t bytes[16];
};

/* BLAKE2b of label and message under a secret, len bytes of it. The generic interface of libsodium
 * asks for a digest of 16 bytes; BLAKE2b itself (RFC 7693) has shorter ones. */
static struct digest derive(const struct vault *vault, unsigned secret, const char *label,
                            const uint8_t *message, size_t message_len, size_t len)
{
    struct digest digest;
    crypto_generichash_blake2b_state state;
    crypto_generichash_blake2b_init(&state, vault->secrets[secret], vault->lens[secret], len);
    crypto_generichash_blake2b_update(&state, (const uint8_t *)label, strlen(label));
    crypto_generichash_blake2b_update(&state, message, message_len);
    crypto_generichash_blake2b_final(&state, digest.bytes, len);
    sodium_memzero(&state, sizeof(state));
    return digest;
}

static struct mete_mac_key derive_mac(const struct vault *vault, unsigned secret, uint64_t boot_id)
{
    uint8_t message[8];
    mete_wire_put64(message, boot_id);
    struct digest digest =
        derive(vault, secret, "mete mac 1", message, sizeof(message), sizeof(digest.bytes));
    struct mete_mac_key key = {mete_mac_load64(digest.bytes), mete_mac_load64(digest.bytes + 8)};
    sodium_memzero(&digest, sizeof(digest));
    return key;
}

static int take(struct mete_client *client, const void *secret, size_t len)
{
    struct vault *vault = client->vault;
    unsigned index = client->secret_count;
    if (len == 0 || len > METE_SECRET_MAX)
        return -EINVAL;
    memcpy(vault->secrets[index], secret, len);
    vault->lens[index] = len;
    vault->hello_macs[index] = derive_mac(vault, index, 0);
    client->secret_count++;
    return 0;
}

int mete_secrets_take(struct mete_client *client, const struct mete_client_options *options)
{
    if (!options->secret)
        return options->other_secret || options->secret_len ? -EINVAL : 0;
    if (options->secret_index > 1)
        return -EINVAL;
    client->vault = sodium_malloc(sizeof(*client->vault));
    if (!client->vault)
        return -ENOMEM;
    sodium_memzero(client->vault, sizeof(*client->vault));
    client->first_index = options->secret_index;
    int error = take(client, options->secret, options->secret_len);
    if (!error && options->other_secret)
        error = take(client, options->other_secret, options->other_secret_len);
    return error;
}

void mete_secrets_drop(struct mete_client *client)
{
    sodium_free(client->vault);
}

unsigned mete_secrets_tries(const struct mete_client *client)
{
    return client->secret_count ? 2 * client->secret_count : 1;
}

/* Of one secret: in its place, in the other. Of two: each in its place, then exchanged. */
unsigned mete_secrets_of_try(const struct mete_client *client, unsigned try_index,
                             uint8_t *ret_index)
{
    unsigned secret = try_index % client->secret_count;
    *ret_index = (uint8_t)((client->first_index + secret + try_index / client->secret_count) % 2);
    return secret;
}

const struct mete_mac_key *mete_secrets_hello_key(const struct mete_client *client,
                                                  unsigned try_index)
{
    uint8_t index;
    return client->vault
               ? &client->vault->hello_macs[mete_secrets_of_try(client, try_index, &index)]
               : NULL;
}

uint64_t mete_secrets_pad(const struct mete_client *client, unsigned try_index,
                          const uint8_t nonce[NONCE_BYTES])
{
    uint8_t index;
    if (!client->vault)
        return 0;
    unsigned secret = mete_secrets_of_try(client, try_index, &index);
    struct digest digest = derive(client->vault, secret, "mete pad 1", nonce, NONCE_BYTES, 8);
    return mete_wire_get64(digest.bytes);
}

bool mete_secrets_key(struct mete_client *client, struct server *server, unsigned try_index,
                      uint64_t boot_id)
{
    if (!client->vault)
        return false;
    struct mete_mac_key *mac = &client->vault->macs[server->index];
    unsigned secret = mete_secrets_of_try(client, try_index, &server->secret_index);
    struct mete_mac_key before = *mac;
    *mac = derive_mac(client->vault, secret, boot_id);
    bool is_other = server->mac && (before.k0 != mac->k0 || before.k1 != mac->k1);
    server->mac = mac;
    sodium_memzero(&before, sizeof(before));
    return is_other;
}
