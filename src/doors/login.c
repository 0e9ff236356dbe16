#include "doors/login.h"

#include <sodium.h>

#include "config/config.h"
#include "doors/loop.h"
#include "doors/tls.h"

void login_hash(const void *key, size_t len, uint8_t ret_hash[LOGIN_HASH_BYTES])
{
    crypto_hash_sha256(ret_hash, key, len);
}

static struct login make(const struct tenant *tenant, const struct config_api_key *key)
{
    return (struct login){
        .tenant = tenant,
        .may_check = key->may_check,
        .may_manage = key->may_manage,
    };
}

/* Keys and names in certificates are apart: nobody can show one as the other. */
static bool find(const struct config *config, const uint8_t hash[LOGIN_HASH_BYTES],
                 bool is_certificate, struct login *login)
{
    const struct tenant *tenant = NULL;
    const struct config_api_key *key = config_find_key(config, hash, is_certificate, &tenant);
    if (key)
        *login = make(tenant, key);
    return key != NULL;
}

bool login_find(const struct config *config, const uint8_t hash[LOGIN_HASH_BYTES],
                struct login *ret_login)
{
    return find(config, hash, false, ret_login);
}

bool login_find_again(const struct config *config, uint32_t tenant_id,
                      const uint8_t hash[LOGIN_HASH_BYTES], struct login *ret_login)
{
    struct login login;
    if (!find(config, hash, false, &login) || login.tenant->id != tenant_id)
        return false;
    *ret_login = login;
    return true;
}

static bool find_certificate(const struct config *config, const struct tls_peer *peer,
                             struct login *login)
{
    for (unsigned name = 0; name < peer->count; name++)
        if (find(config, peer->hashes[name], true, login))
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
