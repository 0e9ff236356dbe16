#include "replica/link_url.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMS "redis://HOST:6379, rediss://HOST:6379 or unix:///PATH"

static int fail(char *error, size_t size, const char *problem)
{
    snprintf(error, size, "%s; say %s", problem, FORMS);
    return -EINVAL;
}

static int take(char *to, size_t size, const char *from, size_t len)
{
    if (len == 0 || len >= size || memchr(from, '\0', len))
        return -EINVAL;
    memcpy(to, from, len);
    to[len] = '\0';
    return 0;
}

static bool is_number(const char *text, size_t len, unsigned long most, unsigned long *ret_number)
{
    *ret_number = 0;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]) || i >= 9)
            return false;
        *ret_number = *ret_number * 10 + (unsigned long)(text[i] - '0');
    }
    return len > 0 && *ret_number <= most;
}

int link_address_parse(const char *text, size_t len, struct link_address *ret_address)
{
    struct link_address address = {.port = "6379"};
    const char *end = text + len, *port = NULL, *host_end = end;
    unsigned long number;

    if (len > 0 && text[0] == '[') {
        const char *close = memchr(text, ']', len);
        if (!close || (close + 1 < end && close[1] != ':'))
            return -EINVAL;
        port = close + 1 < end ? close + 2 : NULL;
        host_end = close;
        text++;
    } else {
        for (const char *at = text; at < end; at++)
            if (*at == ':') /* the last one: a Cluster tells IPv6 without brackets */
                port = at + 1;
        if (port)
            host_end = port - 1;
    }
    if (port && (!is_number(port, (size_t)(end - port), 65535, &number) || number == 0))
        return -EINVAL;
    if (port)
        snprintf(address.port, sizeof(address.port), "%hu", (unsigned short)number);
    if (take(address.host, sizeof(address.host), text, (size_t)(host_end - text)))
        return -EINVAL;
    *ret_address = address;
    return 0;
}

static int parse_path(const char *path, struct link_url *url, char *error, size_t size)
{
    if (take(url->seeds[0].host, LINK_MAX_PATH + 1, path, strlen(path)))
        return fail(error, size, "the path of the socket is empty or longer than 107 bytes");
    url->seed_count = 1;
    return 0;
}

static int parse_hosts(const char *text, const char *end, struct link_url *url)
{
    while (url->seed_count < LINK_MAX_SEEDS) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        const char *stop = comma ? comma : end;
        if (link_address_parse(text, (size_t)(stop - text), &url->seeds[url->seed_count]))
            return -EINVAL;
        url->seed_count++;
        if (!comma)
            return 0;
        text = comma + 1;
    }
    return -EINVAL;
}

static int parse_network(const char *text, struct link_url *url, char *error, size_t size)
{
    const char *slash = strchr(text, '/');
    const char *end = slash ? slash : text + strlen(text);
    const char *at = memrchr(text, '@', (size_t)(end - text));
    unsigned long database = 0;

    if (at) {
        if (memchr(text, ':', (size_t)(at - text)))
            return fail(error, size,
                        "a password does not belong into a URL but into password_file");
        if (take(url->user, sizeof(url->user), text, (size_t)(at - text)))
            return fail(error, size, "the user's name is empty or longer than 63 bytes");
        text = at + 1;
    }
    if (parse_hosts(text, end, url))
        return fail(error, size, "that is no host and port, or more than 16 of them");
    if (slash && slash[1] && !is_number(slash + 1, strlen(slash + 1), 999999999, &database))
        return fail(error, size, "the database is not a number");
    url->database = (unsigned)database;
    return 0;
}

int link_url_parse(const char *text, struct link_url *ret_url, char *error, size_t size)
{
    struct link_url url = {0};
    int result;

    if (strncmp(text, "redis://", 8) == 0) {
        result = parse_network(text + 8, &url, error, size);
    } else if (strncmp(text, "rediss://", 9) == 0) {
        url.is_tls = true;
        result = parse_network(text + 9, &url, error, size);
    } else if (strncmp(text, "unix://", 7) == 0) {
        result = parse_path(text + 7, &url, error, size);
    } else if (text[0] == '/') {
        result = parse_path(text, &url, error, size);
    } else {
        result = fail(error, size, "that is no URL of a Redis");
    }
    if (result == 0)
        *ret_url = url;
    return result;
}

const char *link_address_text(const struct link_address *address, char *ret_text, size_t size)
{
    const bool is_v6 = strchr(address->host, ':') != NULL;

    if (address->port[0] == '\0')
        snprintf(ret_text, size, "%s", address->host);
    else
        snprintf(ret_text, size, is_v6 ? "[%s]:%s" : "%s:%s", address->host, address->port);
    return ret_text;
}

bool link_address_equal(const struct link_address *a, const struct link_address *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0;
}
