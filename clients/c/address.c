/* The servers by name: parsing, looking up, connecting.
 *
 * A server is to all clients the text of its address with the port, not what a resolver makes of
 * it, so that all choose alike. One thread at a time. */
#include "internal.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define DEFAULT_SERVER "127.0.0.1:6383"
#define DEFAULT_PORT "6383"
#define TEXT_MAX 256u
#define PORT_SIZE 6u

/* "HOST", "HOST:PORT", "[IPV6]:PORT" into strings of TEXT_MAX and PORT_SIZE bytes. 0 or
 * -EINVAL. */
static int split(const char *text, char *ret_host, char *ret_port)
{
    const char *host = text;
    const char *end = strrchr(text, ':');
    const char *port = end ? end + 1 : DEFAULT_PORT;
    if (text[0] == '[') {
        host = text + 1;
        end = strchr(host, ']');
        if (!end || (end[1] != ':' && end[1] != '\0'))
            return -EINVAL;
        port = end[1] == ':' ? end + 2 : DEFAULT_PORT;
    } else if (end && memchr(text, ':', (size_t)(end - text))) {
        return -EINVAL; /* an IPv6 address needs its brackets */
    }
    size_t len = end ? (size_t)(end - host) : strlen(host);
    if (len == 0 || len >= TEXT_MAX || strlen(port) == 0 || strlen(port) > 5)
        return -EINVAL;
    memcpy(ret_host, host, len);
    ret_host[len] = '\0';
    memcpy(ret_port, port, strlen(port) + 1);
    return 0;
}

/* A name that has several addresses gives its first IPv4 one: that is where a server on
 * "localhost" listens unless told otherwise. */
static int look_up(struct server *server, const char *host, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (strtoul(port, NULL, 10) - 1 >= 65535 || getaddrinfo(host, port, &hints, &found) || !found)
        return -EINVAL;
    const struct addrinfo *best = found;
    for (const struct addrinfo *next = found; next; next = next->ai_next)
        if (next->ai_family == AF_INET && best->ai_family != AF_INET)
            best = next;
    memcpy(&server->address, best->ai_addr, best->ai_addrlen);
    server->address_len = best->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

/* 0 or -EINVAL, for one that is there already too: it could never be chosen. */
static int add(struct mete_client *client, const char *text)
{
    char host[TEXT_MAX], port[PORT_SIZE];
    if (client->server_count == METE_SERVERS_MAX || split(text, host, port))
        return -EINVAL;
    struct server *server = &client->servers[client->server_count];
    *server = (struct server){.fd = -1, .index = (uint8_t)client->server_count};
    if (look_up(server, host, port))
        return -EINVAL;
    const char *form = strchr(host, ':') ? "[%s]:%s" : "%s:%s";
    int len = snprintf(server->name, sizeof(server->name), form, host, port);
    server->identity = XXH3_64bits(server->name, (size_t)len);
    for (uint32_t i = 0; i < client->server_count; i++)
        if (client->servers[i].identity == server->identity)
            return -EINVAL;
    client->server_count++;
    return 0;
}

int mete_address_take(struct mete_client *client, const struct mete_client_options *options)
{
    const char *text = options->server ? options->server : DEFAULT_SERVER;
    client->servers = calloc(METE_SERVERS_MAX, sizeof(*client->servers));
    if (!client->servers)
        return -ENOMEM;
    if (options->servers) {
        int error = options->server || !options->server_count ? -EINVAL : 0;
        for (unsigned i = 0; i < options->server_count && !error; i++)
            error = add(client, options->servers[i]);
        return error;
    }
    for (;;) {
        char one[TEXT_MAX];
        size_t len = strcspn(text, ",");
        if (len >= sizeof(one))
            return -EINVAL;
        memcpy(one, text, len);
        one[len] = '\0';
        if (add(client, one))
            return -EINVAL;
        if (!text[len])
            return 0;
        text += len + 1;
    }
}

int mete_address_connect(struct server *server)
{
    int fd = socket(server->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&server->address, server->address_len)) {
        int error = errno;
        close(fd);
        return -error;
    }
    if (server->fd >= 0)
        close(server->fd);
    server->fd = fd;
    server->can_segment = mete_send_can_segment(fd);
    return 0;
}
