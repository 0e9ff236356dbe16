#include "doors/login.h"

#include <sodium.h>

#include "config/config.h"
#include "doors/loop.h"
#include "doors/tls.h"

void login_hash(const void *key, size_t len, uint8_t ret_hash[LOGIN_HASH_BYTES])
{
    crypto_hash_sha256(ret_hash, key, len);
}

/* Among the API keys, or among the names in certificates: nobody can show one as the other. */
static bool find_of(const struct tenant *tenant, const uint8_t hash[LOGIN_HASH_BYTES],
                    bool is_certificate, struct login *login)
{
    bool is_found = false;
    for (uint32_t i = 0; i < tenant->api_key_count; i++) {
        const struct config_api_key *key = &tenant->api_keys[i];
        if ((key->certificate != NULL) != is_certificate)
            continue;
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
        is_found |= find_of(&config->tenants[i], hash, false, ret_login);
    return is_found;
}

bool login_find_again(const struct config *config, uint32_t tenant_id,
                      const uint8_t hash[LOGIN_HASH_BYTES], struct login *ret_login)
{
    const struct tenant *tenant = config_find_tenant(config, tenant_id);
    return tenant && find_of(tenant, hash, false, ret_login);
}

static bool find_certificate(const struct config *config, const struct tls_peer *peer,
                             struct login *login)
{
    for (unsigned name = 0; name < peer->count; name++)
        for (uint32_t i = 0; i < config->tenant_count; i++)
            if (find_of(&config->tenants[i], peer->hashes[name], true, login))
                return true;
    return false;
}

bool login_find_without_key(const struct loop_call *call, struct login *ret_login)
{
    if (call->certificate)
        return find_certificate(call->config, call->certificate, ret_login);
    const struct tenant *tenant = call->config->anonymous;
    if (!call->is_local || !tenant || tenant->api_key_count)
        return false;
    *ret_login = (struct login){.tenant = tenant, .may_check = true, .may_manage = true};
    return true;
}
