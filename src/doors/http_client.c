#include "doors/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static size_t format_v6(const struct in6_addr *address, char text[HTTP_CLIENT_SIZE])
{
    char host[INET6_ADDRSTRLEN];
    struct in6_addr network = *address;
    if (IN6_IS_ADDR_V4MAPPED(address)) {
        inet_ntop(AF_INET, network.s6_addr + 12, host, sizeof(host));
        return (size_t)snprintf(text, HTTP_CLIENT_SIZE, "%s", host);
    }
    memset(network.s6_addr + 8, 0, 8);
    inet_ntop(AF_INET6, &network, host, sizeof(host));
    return (size_t)snprintf(text, HTTP_CLIENT_SIZE, "%s/64", host);
}

size_t http_client_of_peer(const struct sockaddr_storage *peer, char ret_text[HTTP_CLIENT_SIZE])
{
    const void *address = peer;
    if (peer->ss_family == AF_INET6)
        return format_v6(&((const struct sockaddr_in6 *)address)->sin6_addr, ret_text);
    if (peer->ss_family != AF_INET)
        return (size_t)snprintf(ret_text, HTTP_CLIENT_SIZE, "unix");
    inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, ret_text,
              HTTP_CLIENT_SIZE);
    return strlen(ret_text);
}

struct http_text http_client_of_header(struct http_text value, char room[HTTP_CLIENT_SIZE])
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    for (size_t i = 0; i < value.len; i++)
        if (value.at[i] == ',') {
            value = (struct http_text){value.at + i + 1, value.len - i - 1};
            i = (size_t)-1;
        }
    while (value.len && (*value.at == ' ' || *value.at == '\t')) {
        value.at++;
        value.len--;
    }
    if (value.len >= sizeof(text) || !memchr(value.at, ':', value.len))
        return value;
    memcpy(text, value.at, value.len);
    text[value.len] = '\0';
    if (inet_pton(AF_INET6, text, &address) != 1)
        return value;
    return (struct http_text){room, format_v6(&address, room)};
}
