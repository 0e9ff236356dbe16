/* Who asks at a door: an API key of the configuration, a client certificate that it names, or
 * nobody on a path of this machine.
 *
 * Connections keep the hash of the key they showed, never a pointer: after a reload the same hash
 * is looked up again, so a key that was taken away stops at once. Keys are compared by SHA-256, in
 * a time that tells nothing of those there are (config/find_key.c).
 *
 * Any thread with its own arguments. */
#ifndef METE_DOORS_LOGIN_H
#define METE_DOORS_LOGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOGIN_HASH_BYTES 32u

struct config;
struct loop_call;
struct tenant;

struct login {                   /* what somebody may do */
    const struct tenant *tenant; /* NULL: nothing */
    bool may_check, may_manage;
};

void login_hash(const void *key, size_t len, uint8_t ret_hash[LOGIN_HASH_BYTES]);

/* Whose key is it? True: *ret_login is set. */
bool login_find(const struct config *config, const uint8_t hash[LOGIN_HASH_BYTES],
                struct login *ret_login);

/* The same when the tenant is known: a reload may have taken the key away. */
bool login_find_again(const struct config *config, uint32_t tenant_id,
                      const uint8_t hash[LOGIN_HASH_BYTES], struct login *ret_login);

/* Who showed no key: whom the client certificate names, if there is one, else the tenant `default`,
 * if it has no keys, on loopback and UNIX sockets. */
bool login_find_without_key(const struct loop_call *call, struct login *ret_login);

#endif
