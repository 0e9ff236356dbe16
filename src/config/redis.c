#include "config/redis.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/redis_url.h"
#include "config/report.h"
#include "config/value.h"
#include "config/yaml.h"

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
    struct redis_url url;
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
