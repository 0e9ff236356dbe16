/* Subjects made of addresses. One user of IPv6 has a whole network, so its address is cut to a
 * prefix; an IPv4 address in IPv6's clothes is the IPv4 address. Any thread. */
#include "internal.h"

#include <string.h>

size_t mete_subject_of_address(const struct mete_client *client, const struct sockaddr *address,
                               uint8_t *out)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof(in));
        memcpy(out, &in.sin_addr, 4);
        return 4;
    }
    if (address->sa_family != AF_INET6)
        return 0;
    struct sockaddr_in6 in6;
    memcpy(&in6, address, sizeof(in6));
    const uint8_t *bytes = in6.sin6_addr.s6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
        memcpy(out, bytes + 12, 4);
        return 4;
    }
    uint32_t whole = client->ipv6_prefix / 8;
    memset(out, 0, 16);
    memcpy(out, bytes, whole);
    if (client->ipv6_prefix % 8)
        out[whole] = (uint8_t)(bytes[whole] & 0xff00 >> client->ipv6_prefix % 8);
    return 16;
}
