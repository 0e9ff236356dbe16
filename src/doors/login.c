#include "doors/login.h"

#include <sodium.h>

#include "config/config.h"

void login_hash(const void *key, size_t len, uint8_t ret_hash[LOGIN_HASH_BYTES])
{
    crypto_hash_sha256(ret_hash, key, len);
}

static bool find_of(const struct tenant *tenant, const uint8_t hash[LOGIN_HASH_BYTES],
                    struct login *login)
{
    bool is_found = false;
    for (uint32_t i = 0; i < tenant->api_key_count; i++) {
        const struct config_api_key *key = &tenant->api_keys[i];
        if (sodium_memcmp(key->sha256, hash, LOGIN_HASH_BYTES) != 0)
            continue;
        is_found = true;
        *login = (struct login){
            .tenant = tenant,
            .may_check = key->may_check,
            .may_manage = key->may_manage,
        };
    }
    return is_found;
}

bool login_find(const struct config *config, const uint8_t hash[LOGIN_HASH_BYTES],
                struct login *ret_login)
{
    bool is_found = false;
    for (uint32_t i = 0; i < config->tenant_count; i++) /* to the end: the time is the same */
        is_found |= find_of(&config->tenants[i], hash, ret_login);
    return is_found;
}

bool login_find_again(const struct config *config, uint32_t tenant_id,
                      const uint8_t hash[LOGIN_HASH_BYTES], struct login *ret_login)
{
    const struct tenant *tenant = config_find_tenant(config, tenant_id);
    return tenant && find_of(tenant, hash, ret_login);
}

bool login_find_default(const struct config *config, bool is_local, struct login *ret_login)
{
    const struct tenant *tenant = config_find_tenant_by_name(config, "default");
    if (!is_local || !tenant || tenant->api_key_count)
        return false;
    *ret_login = (struct login){.tenant = tenant, .may_check = true, .may_manage = true};
    return true;
}
