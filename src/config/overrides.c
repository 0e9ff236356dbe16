/* Overrides: read, sorted so that equal ones stand side by side, copied from a tier to its tenants
 * (whose seeds differ, and with them the keys). */
#include "config/overrides.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/fields.h"
#include "config/find.h"
#include "config/report.h"
#include "config/rule.h"
#include "config/value.h"
#include "config/yaml.h"

enum { SUBJECT, PREFIX, RATE, BURST, LIMIT, FIELD_COUNT };

static const struct field_spec FIELDS[FIELD_COUNT] = {
    [SUBJECT] = {"subject", FIELD_OPTIONAL}, [PREFIX] = {"prefix", FIELD_OPTIONAL},
    [RATE] = {"rate", FIELD_OPTIONAL},       [BURST] = {"burst", FIELD_OPTIONAL},
    [LIMIT] = {"limit", FIELD_OPTIONAL},
};

struct placed {
    struct config_override override;
    const struct node *node;
};

/* Whole subjects first, each kind in the order of bytes. */
static int compare(const void *left, const void *right)
{
    const struct placed *a = left, *b = right;
    if (a->override.is_prefix != b->override.is_prefix)
        return a->override.is_prefix ? 1 : -1;
    const int order = strcmp(a->override.subject, b->override.subject);
    if (order)
        return order;
    return a->node->position < b->node->position ? -1 : 1;
}

static int parse_subject(const struct report *report, const struct node *map,
                         const struct node *const *nodes, struct config_override *override)
{
    const bool is_prefix = nodes[PREFIX] != NULL;
    const struct node *node = nodes[is_prefix ? PREFIX : SUBJECT];
    const size_t most = is_prefix ? CONFIG_MAX_PREFIX : CONFIG_MAX_SUBJECT;
    const char *text = "";

    if (!nodes[SUBJECT] == !nodes[PREFIX])
        return report_node(report, map, "has %s subject %s prefix; exactly one of them is needed",
                           node ? "both" : "neither", node ? "and" : "nor");
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    if (strlen(text) > most)
        return report_node(report, node, "has %zu bytes; %s has at most %zu", strlen(text),
                           is_prefix ? "a prefix" : "a subject here", most);
    override->subject = strdup(text);
    override->len = (uint32_t)strlen(text);
    override->is_prefix = is_prefix;
    return override->subject ? 0 : report_memory(report);
}

static int parse_one(const struct report *report, const struct node *map, const struct rule *rule,
                     struct config_override *override)
{
    const struct node *nodes[FIELD_COUNT];
    int result = fields_read(report, map, FIELDS, FIELD_COUNT, nodes);
    if (result == 0)
        result = parse_subject(report, map, nodes, override);
    if (result)
        return result;
    const struct rule_numbers numbers = {nodes[RATE], nodes[BURST], nodes[LIMIT], NULL};
    override->rule = (struct rule){.id = rule->id,
                                   .spec = {.algorithm = rule->spec.algorithm},
                                   .calendar = rule->calendar,
                                   .shadow = rule->shadow,
                                   .queue = rule->queue};
    if (rule->spec.algorithm == ALGORITHM_CONCURRENCY)
        override->rule.spec.period_ns = rule->spec.period_ns; /* its lease */
    result = rule_parse_numbers(report, map, &numbers, &override->rule);
    if (result == 0 && asprintf(&override->rule.name, "%s[%s%s]", rule->name, override->subject,
                                override->is_prefix ? "*" : "") < 0) {
        override->rule.name = NULL;
        result = report_memory(report);
    }
    return result;
}

static void free_one(struct config_override *override)
{
    free(override->rule.name);
    free(override->subject);
}

/* Refuses equal ones and too many prefixes, then moves them into the rule. */
static int adopt(const struct report *report, struct placed *placed, uint32_t count,
                 struct config_overrides *overrides)
{
    uint32_t whole_count = 0;
    qsort(placed, count, sizeof(*placed), compare);
    for (uint32_t i = 0; i < count; i++) {
        const struct config_override *item = &placed[i].override;
        const struct config_override *last = i ? &placed[i - 1].override : NULL;
        whole_count += !item->is_prefix;
        if (last && item->is_prefix == last->is_prefix && strcmp(item->subject, last->subject) == 0)
            return report_node(
                report, yaml_tree_child(placed[i].node, item->is_prefix ? "prefix" : "subject"),
                "'%.64s' stands in overrides[%u] already; remove one", item->subject,
                placed[i - 1].node->position);
        if (i - whole_count == CONFIG_MAX_PREFIXES)
            return report_node(report, placed[i].node,
                               "is one prefix too many; a rule has at most %u, and any number of "
                               "whole subjects",
                               CONFIG_MAX_PREFIXES);
    }
    for (uint32_t i = 0; i < count; i++) {
        overrides->items[i] = placed[i].override;
        placed[i].override = (struct config_override){.subject = NULL};
    }
    overrides->count = count;
    overrides->whole_count = whole_count;
    return 0;
}

static struct config_overrides *make(uint32_t count)
{
    struct config_overrides *overrides = calloc(1, sizeof(*overrides));
    if (overrides && !(overrides->items = calloc(count, sizeof(*overrides->items)))) {
        free(overrides);
        return NULL;
    }
    return overrides;
}

int overrides_parse(const struct report *report, const struct node *list, struct rule *rule)
{
    struct placed *placed;
    uint32_t count = 0;
    int result = 0;

    if (list->kind != NODE_LIST)
        return report_node(report, list, "is %s; a list of overrides is needed",
                           yaml_tree_kind_text(list));
    if (rule->spec.algorithm == ALGORITHM_UNLIMITED || rule->spec.algorithm == ALGORITHM_DENY)
        return report_node(report, list, "algorithm %s takes no numbers, so none can be overridden",
                           algorithm_name(rule->spec.algorithm));
    if (list->count == 0)
        return 0;
    placed = calloc(list->count, sizeof(*placed));
    rule->overrides = make(list->count);
    if (!placed || !rule->overrides) {
        free(placed);
        return report_memory(report);
    }
    for (const struct node *node = list->children; node && result == 0; node = node->next) {
        placed[count].node = node;
        result = parse_one(report, node, rule, &placed[count++].override);
    }
    if (result == 0)
        result = adopt(report, placed, count, rule->overrides);
    for (uint32_t i = 0; i < count; i++)
        free_one(&placed[i].override);
    free(placed);
    return result;
}

int overrides_copy(const struct config_overrides *from, struct config_overrides **ret_copy)
{
    struct config_overrides *copy = NULL;
    *ret_copy = NULL;
    if (!from)
        return 0;
    copy = make(from->count);
    if (!copy)
        return -ENOMEM;
    *ret_copy = copy;
    copy->whole_count = from->whole_count;
    for (; copy->count < from->count; copy->count++) {
        struct config_override *item = &copy->items[copy->count];
        *item = from->items[copy->count];
        item->subject = strdup(item->subject);
        item->rule.name = strdup(item->rule.name);
        if (!item->subject || !item->rule.name) {
            free_one(item);
            return -ENOMEM;
        }
    }
    return 0;
}

int overrides_settle(struct rule *rule, uint64_t seed)
{
    struct config_overrides *overrides = rule->overrides;
    if (!overrides)
        return 0;
    rule->needs_subject = overrides->count > overrides->whole_count;
    return find_build_overrides(overrides, seed);
}

void overrides_free(struct config_overrides *overrides)
{
    if (!overrides)
        return;
    for (uint32_t i = 0; i < overrides->count; i++)
        free_one(&overrides->items[i]);
    free(overrides->items);
    free(overrides->slots);
    free(overrides->prefixes);
    free(overrides);
}
