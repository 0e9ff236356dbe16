/* Open addressing by a hash of the hash, under a seed that nobody outside knows: so the time of a
 * look-up, one chain of slots to its end, tells nothing of the keys that there are, and is the same
 * for any number of tenants. Each key of the chain is compared in constant time. */
#include "config/find_key.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "config/config.h"
#include "config/digest.h"
#include "core/key.h"

static uint32_t place_of(const struct config_key_index *index, const uint8_t *hash)
{
    return (uint32_t)key_of_subject(hash, CONFIG_KEY_HASH_BYTES, index->seed).low & index->mask;
}

static void put(struct config *config, uint32_t tenant, uint32_t key)
{
    struct config_key_index *index = &config->keys;
    uint32_t at = place_of(index, config->tenants[tenant].api_keys[key].sha256);
    while (index->slots[at].key)
        at = (at + 1) & index->mask;
    index->slots[at] = (struct config_key_slot){
        .tenant = &config->tenants[tenant],
        .key = &config->tenants[tenant].api_keys[key],
    };
}

int find_build_keys(struct config *config)
{
    struct config_key_index *index = &config->keys;
    uint32_t count = 0, size = 4;
    for (uint32_t i = 0; i < config->tenant_count; i++)
        count += config->tenants[i].api_key_count;
    while (size < 4 * count)
        size *= 2;
    if (getrandom(&index->seed, sizeof(index->seed), 0) != (ssize_t)sizeof(index->seed))
        return -ENOMEM;
    index->slots = calloc(size, sizeof(*index->slots));
    if (!index->slots)
        return -ENOMEM;
    index->mask = size - 1;
    for (uint32_t i = 0; i < config->tenant_count; i++)
        for (uint32_t j = 0; j < config->tenants[i].api_key_count; j++)
            put(config, i, j);
    return 0;
}

const struct config_api_key *config_find_key(const struct config *config, const uint8_t *hash,
                                             bool is_certificate, const struct tenant **ret_tenant)
{
    const struct config_key_index *index = &config->keys;
    const struct config_api_key *found = NULL;
    for (uint32_t at = place_of(index, hash); index->slots[at].key; at = (at + 1) & index->mask) {
        const struct config_key_slot *slot = &index->slots[at];
        if (digest_is_equal(slot->key->sha256, hash, CONFIG_KEY_HASH_BYTES) &&
            (slot->key->certificate != NULL) == is_certificate) {
            found = slot->key;
            *ret_tenant = slot->tenant;
        }
    }
    return found;
}
