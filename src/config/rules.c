/* Sets of rules. Sorting finds equal names and ids, so that a large file stays cheap to check. */
#include "config/rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "config/overrides.h"
#include "config/report.h"
#include "config/rule.h"
#include "config/yaml.h"

int rules_parse(const struct report *report, const struct node *list, struct calendars *calendars,
                struct rules *rules)
{
    if (list->kind != NODE_LIST)
        return report_node(report, list, "is %s; a list of rules is needed",
                           yaml_tree_kind_text(list));
    if (list->count == 0)
        return 0;
    rules->items = calloc(list->count, sizeof(*rules->items));
    if (!rules->items)
        return report_memory(report);
    for (const struct node *node = list->children; node; node = node->next) {
        struct rules_item *item = &rules->items[rules->count];
        const int result = rule_parse(report, node, calendars, &item->rule);
        if (result)
            return result;
        item->node = node;
        rules->count++;
    }
    return 0;
}

int rules_inherit(const struct report *report, const struct rules *tier, struct rules *rules)
{
    if (tier->count == 0)
        return 0;
    const size_t count = (size_t)rules->count + tier->count;
    struct rules_item *items = reallocarray(rules->items, count, sizeof(*items));
    if (!items)
        return report_memory(report);
    rules->items = items;
    for (uint32_t i = 0; i < tier->count; i++) {
        struct rules_item item = tier->items[i];
        item.inherited = true;
        item.rule.name = strdup(item.rule.name);
        item.rule.overrides = NULL;
        items[rules->count++] = item;
        if (!item.rule.name ||
            overrides_copy(tier->items[i].rule.overrides, &items[rules->count - 1].rule.overrides))
            return report_memory(report);
    }
    return 0;
}

/* By name; of equal ones the tenant's own first, then as they stand in the file. */
static int compare_names(const void *left, const void *right)
{
    const struct rules_item *a = left, *b = right;
    const int order = strcmp(a->rule.name, b->rule.name);
    if (order)
        return order;
    if (a->inherited != b->inherited)
        return a->inherited ? 1 : -1;
    return a->node->position < b->node->position ? -1 : 1;
}

static int compare_ids(const void *left, const void *right)
{
    const struct rules_item *a = left, *b = right;
    if (a->rule.id != b->rule.id)
        return a->rule.id < b->rule.id ? -1 : 1;
    if (a->inherited != b->inherited)
        return a->inherited ? -1 : 1;
    return a->node->position < b->node->position ? -1 : 1;
}

int rules_settle(const struct report *report, struct rules *rules)
{
    struct rules_item *items = rules->items;
    uint32_t kept = 0;

    if (rules->count == 0)
        return 0;
    qsort(items, rules->count, sizeof(*items), compare_names);
    for (uint32_t i = 0; i < rules->count; i++) {
        struct rules_item *last = kept ? &items[kept - 1] : NULL;
        if (last && strcmp(last->rule.name, items[i].rule.name) == 0) {
            if (items[i].inherited && !last->inherited) {
                rule_free(&items[i].rule);
                continue;
            }
            return report_node(report, yaml_tree_child(items[i].node, "name"),
                               "'%s' is already the name of rules[%u]; names differ",
                               items[i].rule.name, last->node->position);
        }
        if (kept != i) {
            items[kept] = items[i];
            items[i].rule = (struct rule){.name = NULL};
        }
        kept++;
    }
    rules->count = kept;
    qsort(items, rules->count, sizeof(*items), compare_ids);
    for (uint32_t i = 1; i < rules->count; i++)
        if (items[i].rule.id == items[i - 1].rule.id)
            return report_node(report, items[i].node,
                               "'%s' and '%s' have the same id %" PRIu32
                               "; set `id` on one of them",
                               items[i].rule.name, items[i - 1].rule.name, items[i].rule.id);
    return 0;
}

uint64_t rules_count_all(const struct rules *rules)
{
    uint64_t count = rules->count;
    for (uint32_t i = 0; i < rules->count; i++)
        if (rules->items[i].rule.overrides)
            count += rules->items[i].rule.overrides->count;
    return count;
}

void rules_free(struct rules *rules)
{
    for (uint32_t i = 0; i < rules->count; i++)
        rule_free(&rules->items[i].rule);
    free(rules->items);
    *rules = (struct rules){.items = NULL};
}
