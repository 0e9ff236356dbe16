/* The MAC keys of the tenants' secrets, derived once and then only read (proto-spec/protocol.md 4).
 *
 * BLAKE2b keyed with the secret over the boot id, so that nothing signed for another life of the
 * server, or for another server, verifies here. The only file of net/ that knows libsodium.
 *
 * The keys lie in locked memory that no core dump shows. Threads: made and destroyed by one; any
 * number may read in between. */
#ifndef METE_NET_KEYS_H
#define METE_NET_KEYS_H

#include <stdint.h>

#include "config/config.h"
#include "mete/mac.h"

#define KEYS_NONCE_BYTES 16u

struct tenant_keys { /* one cache line; as many are set as the tenant has secrets */
    struct mete_mac_key boot[CONFIG_MAX_SECRETS];  /* of everything but HELLO */
    struct mete_mac_key hello[CONFIG_MAX_SECRETS]; /* of HELLO and what answers it */
};

/* One struct for each of config->tenants, in their order. Results: 0, or -ENOMEM. */
int keys_create(const struct config *config, uint64_t boot_id, struct tenant_keys **ret_keys);

/* Wipes them. tenant_count: of the configuration they were made from. */
void keys_destroy(struct tenant_keys *keys, uint32_t tenant_count);

/* The MAC key for a life of the server; boot id 0: of HELLO and what answers it. Any thread. */
struct mete_mac_key keys_mac(const struct config_secret *secret, uint64_t boot_id);

/* What masks the seed in HELLO: only who knows the secret can make it. The seed is no parameter, so
 * that no stack frame keeps it in the clear. Hot path. */
uint64_t keys_pad(const struct config_secret *secret, const uint8_t nonce[KEYS_NONCE_BYTES]);

#endif
