#include "config/redis_url.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "config/value.h"

static int fail(char *problem, size_t size, const char *text)
{
    snprintf(problem, size, "%s", text);
    return -EINVAL;
}

static bool is_number(const char *text, size_t len, uint64_t min, uint64_t max, uint64_t *ret)
{
    char digits[8] = "";
    const char *end;

    if (len == 0 || len >= sizeof(digits))
        return false;
    memcpy(digits, text, len);
    return !value_parse_digits(digits, ret, &end) && !*end && *ret >= min && *ret <= max;
}

/* Where the port begins, or NULL; *ret_stop is the host's end. The last colon counts. */
static const char *find_port(const char *text, const char *end, const char **ret_stop)
{
    const char *colon = end > text ? memrchr(text, ':', (size_t)(end - text)) : NULL;

    *ret_stop = colon ? colon : end;
    return colon ? colon + 1 : NULL;
}

int redis_address_parse(const char *text, size_t len, struct redis_address *ret_address,
                        char *problem, size_t size)
{
    struct redis_address address = {.port = "6379"};
    const char *end = text + len, *host = text, *stop, *port;
    uint64_t number;

    if (len > 0 && *text == '[') {
        host = text + 1;
        stop = memchr(text, ']', len);
        port = stop && stop + 1 < end ? stop + 2 : NULL;
        if (port && stop[1] != ':')
            stop = NULL;
    } else {
        port = find_port(text, end, &stop);
    }
    const size_t host_len = stop ? (size_t)(stop - host) : 0;

    if (host_len == 0 || host_len >= sizeof(address.host) || memchr(host, '\0', host_len))
        return fail(problem, size, "has no host; for example redis://127.0.0.1:6379");
    if (port && !is_number(port, (size_t)(end - port), 1, UINT16_MAX, &number))
        return fail(problem, size, "has a port that is not a number from 1 to 65535");
    if (port)
        snprintf(address.port, sizeof(address.port), "%hu", (unsigned short)number);
    memcpy(address.host, host, host_len);
    *ret_address = address;
    return 0;
}

static int parse_path(const char *path, struct redis_url *url, char *problem, size_t size)
{
    if (path[0] != '/' || !path[1] || strlen(path) > REDIS_MAX_PATH)
        return fail(problem, size,
                    "needs the absolute path of a socket, at most 107 bytes, as in "
                    "unix:///run/redis/redis.sock");
    url->seeds[0] = (struct redis_address){0};
    memcpy(url->seeds[0].host, path, strlen(path));
    url->seed_count = 1;
    return 0;
}

/* HOSTS[/DATABASE]; of a Cluster some of its hosts, with commas between them. */
static int parse_hosts(const char *text, struct redis_url *url, char *problem, size_t size)
{
    const char *end = text + strcspn(text, "/");
    uint64_t database = 0;

    for (;;) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        const char *stop = comma ? comma : end;
        if (url->seed_count == REDIS_MAX_SEEDS)
            return fail(problem, size, "names more than 16 hosts");
        struct redis_address *seed = &url->seeds[url->seed_count];
        int result = redis_address_parse(text, (size_t)(stop - text), seed, problem, size);
        if (result)
            return result;
        if (*text != '[' && strchr(seed->host, ':'))
            return fail(problem, size,
                        "has an IPv6 address without brackets; for example redis://[::1]:6379");
        url->seed_count++;
        if (!comma)
            break;
        text = comma + 1;
    }
    if (*end && end[1] && !is_number(end + 1, strlen(end + 1), 0, REDIS_MAX_DATABASE, &database))
        return fail(problem, size, "has a database that is not a number from 0 to 65535");
    url->database = (unsigned)database;
    return 0;
}

int redis_url_parse(const char *text, struct redis_url *ret_url, char *problem, size_t size)
{
    struct redis_url url = {.is_tls = strncmp(text, "rediss://", 9) == 0};
    int result;

    if (strchr(text, '@'))
        result = fail(problem, size,
                      "holds a user or password, which anybody who reads the file or the log would "
                      "see; redis.user and redis.password_file hold them");
    else if (strncmp(text, "redis://", 8) == 0 || url.is_tls)
        result = parse_hosts(strstr(text, "://") + 3, &url, problem, size);
    else if (strncmp(text, "unix://", 7) == 0)
        result = parse_path(text + 7, &url, problem, size);
    else
        result = fail(problem, size,
                      "is none of redis://HOST:PORT, rediss://HOST:PORT (TLS) and unix:///PATH");
    if (result == 0)
        *ret_url = url;
    return result;
}

const char *redis_address_text(const struct redis_address *address, char *ret_text, size_t size)
{
    const bool is_v6 = strchr(address->host, ':') != NULL;

    if (address->port[0] == '\0')
        snprintf(ret_text, size, "%s", address->host);
    else
        snprintf(ret_text, size, is_v6 ? "[%s]:%s" : "%s:%s", address->host, address->port);
    return ret_text;
}

bool redis_address_equal(const struct redis_address *a, const struct redis_address *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0;
}
