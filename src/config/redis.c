#include "config/redis.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/report.h"
#include "config/value.h"
#include "config/yaml.h"

#define DEFAULT_PORT 6379u
#define MAX_DATABASE 65535u

static int fail(char *problem, size_t size, const char *text)
{
    snprintf(problem, size, "%s", text);
    return -EINVAL;
}

static int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number)
{
    const char *end;
    if (value_parse_digits(text, ret_number, &end) || *end || *ret_number < min ||
        *ret_number > max)
        return -EINVAL;
    return 0;
}

static int parse_database(const char *text, struct redis_url *url, char *problem, size_t size)
{
    uint64_t database;
    if (parse_number(text, 0, MAX_DATABASE, &database))
        return fail(problem, size, "has a database that is not a number from 0 to 65535");
    url->database = (uint32_t)database;
    return 0;
}

static int parse_unix(const char *text, struct redis_url *url, char *problem, size_t size)
{
    const size_t len = strcspn(text, "?");
    if (*text != '/' || len < 2 || len >= sizeof(url->path))
        return fail(problem, size,
                    "needs the absolute path of a socket, at most 107 bytes, as in "
                    "unix:///run/redis/redis.sock");
    memcpy(url->path, text, len);
    if (!text[len])
        return 0;
    if (strncmp(text + len, "?db=", 4) != 0)
        return fail(problem, size, "has something other than ?db=NUMBER behind its path");
    return parse_database(text + len + 4, url, problem, size);
}

/* HOST, [V6], and what follows them. */
static int parse_host(const char *text, struct redis_url *url, char *problem, size_t size)
{
    const bool bracketed = *text == '[';
    const size_t len = strcspn(text + bracketed, bracketed ? "]" : ":/");
    const char *at = text + bracketed + len;
    uint64_t port = DEFAULT_PORT;
    char digits[8] = "";

    if (len == 0 || len >= sizeof(url->host) || (bracketed && *at != ']'))
        return fail(problem, size, "has no host; for example redis://127.0.0.1:6379");
    memcpy(url->host, text + bracketed, len);
    at += bracketed;
    if (*at == ':') {
        const size_t digit_count = strcspn(++at, "/");
        if (digit_count == 0 || digit_count >= sizeof(digits))
            return fail(problem, size, "has a port that is not a number from 1 to 65535");
        memcpy(digits, at, digit_count);
        at += digit_count;
        if (parse_number(digits, 1, UINT16_MAX, &port))
            return fail(problem, size, "has a port that is not a number from 1 to 65535");
    }
    url->port = (uint16_t)port;
    if (*at && *at != '/')
        return fail(problem, size, "has something behind its host that is no port");
    return *at == '/' && at[1] ? parse_database(at + 1, url, problem, size) : 0;
}

int redis_url_parse(const char *text, struct redis_url *ret_url, char *problem, size_t size)
{
    struct redis_url url = {.port = 0};
    int result;
    if (strchr(text, '@'))
        return fail(problem, size,
                    "holds a user or password, which anybody who reads the file or "
                    "the log would see; redis.user and redis.password_file hold "
                    "them");
    if (strncmp(text, "unix://", 7) == 0) {
        result = parse_unix(text + 7, &url, problem, size);
    } else if (strncmp(text, "redis://", 8) == 0) {
        result = parse_host(text + 8, &url, problem, size);
    } else if (strncmp(text, "rediss://", 9) == 0) {
        url.is_tls = true;
        result = parse_host(text + 9, &url, problem, size);
    } else {
        result = fail(problem, size,
                      "is none of redis://HOST:PORT, rediss://HOST:PORT (TLS) and "
                      "unix:///PATH");
    }
    if (result == 0)
        *ret_url = url;
    return result;
}

static bool is_none(const struct node *node)
{
    return node->kind == NODE_SCALAR && strcmp(node->text, "none") == 0;
}

/* A copy in place of the text before. */
static int replace(const struct report *report, const char *text, char **ret_text)
{
    char *copy = text ? strdup(text) : NULL;
    if (text && !copy)
        return report_memory(report);
    free(*ret_text);
    *ret_text = copy;
    return 0;
}

int redis_apply_url(const struct report *report, const struct node *node, char **ret_url)
{
    struct redis_url url;
    const char *text = NULL;
    char problem[192];
    int result = is_none(node) ? 0 : value_text(report, node, &text);
    if (result == 0 && text && redis_url_parse(text, &url, problem, sizeof(problem)))
        return strchr(text, '@') ? report_node(report, node, "%s", problem)
                                 : report_node(report, node, "'%.128s' %s", text, problem);
    return result ? result : replace(report, text, ret_url);
}

int redis_apply_user(const struct report *report, const struct node *node, char **ret_user)
{
    const char *text = NULL;
    int result = is_none(node) ? 0 : value_text(report, node, &text);
    if (result == 0 && text && strlen(text) > CONFIG_MAX_NAME)
        return report_node(report, node, "is longer than %u bytes", CONFIG_MAX_NAME);
    return result ? result : replace(report, text, ret_user);
}

int redis_judge(const struct report *report, const struct config *config)
{
    const struct config_redis *redis = &config->redis;
    if (redis->user && !redis->password_file)
        return report_at(report, 0,
                         "redis.user: a user needs redis.password_file, the path of a file that "
                         "holds its password");
    if (redis->ca_file && redis->url && strncmp(redis->url, "rediss://", 9) != 0)
        return report_at(report, 0, "redis.ca_file: redis.url is without TLS; rediss:// has it");
    return 0;
}

void redis_free(struct config *config)
{
    free(config->redis.url);
    free(config->redis.user);
    free(config->redis.password_file);
    free(config->redis.ca_file);
}
