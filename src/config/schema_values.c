#include "config/schema_values.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/report.h"
#include "config/secret.h"
#include "config/value.h"
#include "config/yaml.h"

static bool is_none(const struct node *node)
{
    return node->kind == NODE_SCALAR && strcmp(node->text, "none") == 0;
}

int schema_apply_path(const struct report *report, const struct node *node, char **ret_path)
{
    char *path = NULL;
    const int result = is_none(node) ? 0 : value_path(report, node, &path);
    if (result)
        return result;
    free(*ret_path);
    *ret_path = path;
    return 0;
}

int schema_apply_door(const struct report *report, const struct node *node,
                      struct config_door *ret_door)
{
    struct config_door door = {.path = NULL};
    int result = 0;
    if (!is_none(node)) {
        const bool is_path = node->kind == NODE_SCALAR && strchr(node->text, '/');
        result = is_path ? value_path(report, node, &door.path)
                         : value_address(report, node, &door.address);
    }
    if (result)
        return result;
    free(ret_door->path);
    *ret_door = door;
    return 0;
}

int schema_apply_pem(const struct report *report, const struct node *node,
                     const struct config *config, struct config_file *ret_file)
{
    const int result = secret_apply_path(report, node, config, &ret_file->path);
    if (result == 0)
        ret_file->line = report->override ? 0 : node->line;
    return result;
}

int schema_apply_name(const struct report *report, const struct node *node, char **ret_name)
{
    char *name;
    const int result = value_name(report, node, &name);
    if (result)
        return result;
    free(*ret_name);
    *ret_name = name;
    return 0;
}

int schema_apply_rule(const struct report *report, const struct node *node, char **ret_name)
{
    if (!is_none(node))
        return schema_apply_name(report, node, ret_name);
    free(*ret_name);
    *ret_name = NULL;
    return 0;
}
