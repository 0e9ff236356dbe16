/* Reads mappings by their specification, and complains about all that is not in it. */
#include "config/fields.h"

#include <string.h>

#include "config/report.h"
#include "config/yaml.h"

#define MAX_FIELDS 32u

int fields_unserved(const struct report *report, const struct node *node)
{
    return report_node(report, node, "is not served by this version; remove it");
}

static int unknown(const struct report *report, const struct node *node,
                   const struct field_spec *specs, size_t count)
{
    const char *names[MAX_FIELDS];
    size_t served = 0;
    for (size_t i = 0; i < count && served < MAX_FIELDS; i++)
        if (specs[i].need != FIELD_UNSERVED)
            names[served++] = specs[i].name;
    return report_unknown(report, node, names, served);
}

int fields_read(const struct report *report, const struct node *map, const struct field_spec *specs,
                size_t count, const struct node **ret_nodes)
{
    for (size_t i = 0; i < count; i++)
        ret_nodes[i] = NULL;
    if (map->kind != NODE_MAP)
        return report_node(report, map, "is %s; a mapping is needed", yaml_tree_kind_text(map));
    for (const struct node *node = map->children; node; node = node->next) {
        size_t i = 0;
        while (i < count && strcmp(specs[i].name, node->key) != 0)
            i++;
        if (i == count)
            return unknown(report, node, specs, count);
        if (specs[i].need == FIELD_UNSERVED)
            return fields_unserved(report, node);
        ret_nodes[i] = node;
    }
    for (size_t i = 0; i < count; i++)
        if (specs[i].need == FIELD_NEEDED && !ret_nodes[i])
            return report_field(report, map, specs[i].name, "is missing; it is needed here");
    return 0;
}
