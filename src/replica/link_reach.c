/* From a name to a connection that comes about. */
#include <errno.h>
#include <stdio.h>

#include "replica/link_parts.h"

/* To where the peer is to be connected. A name is looked up at each connect; while the resolver is
 * silent it is where it was the last time. Results: 0, -EINPROGRESS, or what is wrong, with the
 * peer's problem set. */
static int find_addresses(struct link *link, uint32_t index, uint64_t now_ns)
{
    struct link_peer *peer = &link->peers[index];
    const char *problem = "the name server does not answer";

    if (peer->address.port[0] == '\0' || link_resolve_number(&peer->address, &peer->found) == 0)
        return 0;
    link_resolver_ask(link->resolver, index, &peer->address);
    int result = link_resolver_take(link->resolver, index, &peer->found, &problem);
    if (result == -EINPROGRESS && now_ns > peer->since_ns + link->timeout_ns)
        result = peer->found.count > 0 ? 0 : -ETIMEDOUT;
    if (result)
        snprintf(peer->problem, sizeof(peer->problem), "%s", problem);
    return result;
}

void reach_peer(struct link *link, uint32_t index, uint64_t now_ns)
{
    struct link_peer *peer = &link->peers[index];
    int result = find_addresses(link, index, now_ns);

    if (result == -EINPROGRESS) {
        peer->state = PEER_RESOLVING;
        return;
    }
    if (result == 0) {
        peer->since_ns = now_ns;
        result = peer_connect(peer, link->tls, link->epoll, index);
    }
    if (result) {
        fault_set(link, index, LINK_UNREACHABLE, peer->problem);
        link_drop_peer(link, index, now_ns);
    }
}
