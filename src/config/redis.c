#include "config/redis.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/report.h"
#include "config/value.h"
#include "config/yaml.h"

#define MAX_HOST 255u
#define MAX_HOSTS 16u
#define MAX_PATH 107u
#define MAX_DATABASE 65535u

static int fail(char *problem, size_t size, const char *text)
{
    snprintf(problem, size, "%s", text);
    return -EINVAL;
}

static bool is_number(const char *text, size_t len, uint64_t min, uint64_t max)
{
    char digits[8] = "";
    const char *end;
    uint64_t number;

    if (len == 0 || len >= sizeof(digits))
        return false;
    memcpy(digits, text, len);
    return !value_parse_digits(digits, &number, &end) && !*end && number >= min && number <= max;
}

static int judge_database(const char *text, char *problem, size_t size)
{
    if (!is_number(text, strlen(text), 0, MAX_DATABASE))
        return fail(problem, size, "has a database that is not a number from 0 to 65535");
    return 0;
}

/* HOST, HOST:PORT, [V6], [V6]:PORT. */
static int judge_host(const char *text, size_t len, char *problem, size_t size)
{
    const char *end = text + len;
    const bool bracketed = len > 0 && *text == '[';
    const char *stop = memchr(text, bracketed ? ']' : ':', len);
    const size_t host_len = (size_t)((stop ? stop : end) - text) - bracketed;

    if (len == 0 || host_len == 0 || host_len > MAX_HOST || (bracketed && !stop))
        return fail(problem, size, "has no host; for example redis://127.0.0.1:6379");
    const char *port = bracketed ? stop + 1 : stop;
    if (!port || port == end)
        return 0;
    if (*port != ':' || !is_number(port + 1, (size_t)(end - port) - 1, 1, UINT16_MAX))
        return fail(problem, size, "has a port that is not a number from 1 to 65535");
    return 0;
}

/* HOSTS[/DATABASE]; of a Cluster some of its hosts, with commas between them. */
static int judge_hosts(const char *text, char *problem, size_t size)
{
    const size_t len = strcspn(text, "/");
    const char *end = text + len;
    for (unsigned count = 1;; count++) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        const int result = judge_host(text, (size_t)((comma ? comma : end) - text), problem, size);
        if (result)
            return result;
        if (!comma)
            break;
        if (count == MAX_HOSTS)
            return fail(problem, size, "names more than 16 hosts");
        text = comma + 1;
    }
    return *end && end[1] ? judge_database(end + 1, problem, size) : 0;
}

int redis_judge_url(const char *text, char *problem, size_t size)
{
    if (strchr(text, '@'))
        return fail(problem, size,
                    "holds a user or password, which anybody who reads the file or "
                    "the log would see; redis.user and redis.password_file hold "
                    "them");
    if (strncmp(text, "redis://", 8) == 0)
        return judge_hosts(text + 8, problem, size);
    if (strncmp(text, "rediss://", 9) == 0)
        return judge_hosts(text + 9, problem, size);
    if (strncmp(text, "unix:///", 8) == 0 && text[8] && strlen(text + 7) <= MAX_PATH)
        return 0;
    if (strncmp(text, "unix://", 7) == 0)
        return fail(problem, size,
                    "needs the absolute path of a socket, at most 107 bytes, as in "
                    "unix:///run/redis/redis.sock");
    return fail(problem, size,
                "is none of redis://HOST:PORT, rediss://HOST:PORT (TLS) and "
                "unix:///PATH");
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
    const char *text = NULL;
    char problem[192];
    int result = is_none(node) ? 0 : value_text(report, node, &text);
    if (result == 0 && text && redis_judge_url(text, problem, sizeof(problem)))
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
