/* Names of hosts become addresses on threads of their own, because the C library waits for as long
 * as a resolver is silent, and whoever tells Redis what was charged must not. One thread asks; what
 * was asked for comes later, and a descriptor says when. */
#ifndef METE_REPLICA_LINK_RESOLVE_H
#define METE_REPLICA_LINK_RESOLVE_H

#include <stdint.h>
#include <sys/socket.h>

#include "config/redis_url.h"

#define LINK_MAX_ADDRESSES 4u /* of one name; more are not tried */
#define LINK_RESOLVER_SLOTS 128u

struct link_addresses {
    struct sockaddr_storage at[LINK_MAX_ADDRESSES];
    socklen_t len[LINK_MAX_ADDRESSES];
    uint32_t count;
};

struct link_resolver;

/* Results: 0, or a negative errno. */
int link_resolver_create(struct link_resolver **ret_resolver);

/* Starts its threads, which nothing works without. Results: 0, or a negative errno. */
int link_resolver_start(struct link_resolver *resolver);

/* Waits for nobody: a lookup that goes on ends by itself and is forgotten. */
void link_resolver_destroy(struct link_resolver *resolver);

/* Readable after a lookup has ended, until link_resolver_clear(). */
int link_resolver_descriptor(const struct link_resolver *resolver);
void link_resolver_clear(struct link_resolver *resolver);

/* What a number says of itself. Waits for nothing. Results: 0; -EINVAL: it is a name. */
int link_resolve_number(const struct redis_address *address, struct link_addresses *ret_found);

/* Has a name looked up. slot: below LINK_RESOLVER_SLOTS, one for each name, for as long as the
 * resolver lives. While it is looked up, and until that was taken, asking again changes nothing. */
void link_resolver_ask(struct link_resolver *resolver, uint32_t slot,
                       const struct redis_address *address);

/* What came of it. Results: 0; -EINPROGRESS: not yet; -EHOSTUNREACH: it failed, and problem says
 * why in static words. */
int link_resolver_take(struct link_resolver *resolver, uint32_t slot,
                       struct link_addresses *ret_found, const char **ret_problem);

#endif
