#include "config/descriptors.h"

#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/fields.h"
#include "config/report.h"
#include "config/value.h"
#include "config/yaml.h"

enum { KEY, VALUE, RULE, SHARED, BELOW, FIELD_COUNT };

static const struct field_spec FIELDS[FIELD_COUNT] = {
    [KEY] = {"key", FIELD_NEEDED},
    [VALUE] = {"value", FIELD_OPTIONAL},
    [RULE] = {"rule", FIELD_OPTIONAL},
    [SHARED] = {"shared", FIELD_OPTIONAL},
    [BELOW] = {"descriptors", FIELD_OPTIONAL},
};

/* ---- order ---- */

static int compare_bytes(const void *a, size_t a_len, const void *b, size_t b_len)
{
    const size_t least = a_len < b_len ? a_len : b_len;
    const int order = least ? memcmp(a, b, least) : 0; /* nothing may lie nowhere */
    return order ? order : (a_len > b_len) - (a_len < b_len);
}

static int compare(const struct descriptor *a, const struct descriptor *b)
{
    int order = compare_bytes(a->key, a->key_len, b->key, b->key_len);
    if (order == 0)
        order = (a->kind > b->kind) - (a->kind < b->kind);
    if (order || a->kind == DESCRIPTOR_ANY)
        return order;
    if (a->kind == DESCRIPTOR_PREFIX && a->value_len != b->value_len)
        return a->value_len > b->value_len ? -1 : 1;
    return compare_bytes(a->value, a->value_len, b->value, b->value_len);
}

static int compare_items(const void *a, const void *b)
{
    return compare(a, b);
}

/* The first item that is not before this one. */
static uint32_t lower_bound(const struct descriptors *level, const struct descriptor *wanted)
{
    uint32_t low = 0, high = level->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (compare(&level->items[middle], wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has_key(const struct descriptor *item, const struct descriptor *wanted)
{
    return compare_bytes(item->key, item->key_len, wanted->key, wanted->key_len) == 0;
}

const struct descriptor *descriptors_find(const struct descriptors *level, const void *key,
                                          size_t key_len, const void *value, size_t value_len)
{
    if (!level || key_len > DESCRIPTORS_MAX_TEXT)
        return NULL;
    struct descriptor wanted = {
        .key = (char *)(uintptr_t)key,
        .value = (char *)(uintptr_t)value,
        .key_len = (uint32_t)key_len,
        .value_len =
            value_len > DESCRIPTORS_MAX_TEXT ? DESCRIPTORS_MAX_TEXT + 1 : (uint32_t)value_len,
        .kind = DESCRIPTOR_EXACT,
    };
    uint32_t i = lower_bound(level, &wanted);
    if (i < level->count && compare(&level->items[i], &wanted) == 0)
        return &level->items[i];
    wanted.kind = DESCRIPTOR_PREFIX;
    wanted.value_len = UINT32_MAX; /* before the longest */
    for (i = lower_bound(level, &wanted); i < level->count; i++) {
        const struct descriptor *item = &level->items[i];
        if (!has_key(item, &wanted))
            break;
        if (item->kind == DESCRIPTOR_ANY ||
            (item->value_len <= value_len &&
             compare_bytes(item->value, item->value_len, value, item->value_len) == 0))
            return item;
    }
    return NULL;
}

/* ---- loading ---- */

static int parse_text(const struct report *report, const struct node *node, char **ret_text,
                      uint32_t *ret_len)
{
    const char *text = "";
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    if (strlen(text) > DESCRIPTORS_MAX_TEXT)
        return report_node(report, node, "has %zu bytes; at most %u are possible", strlen(text),
                           DESCRIPTORS_MAX_TEXT);
    *ret_text = strdup(text);
    *ret_len = (uint32_t)strlen(text);
    return *ret_text ? 0 : report_memory(report);
}

static int parse_value(const struct report *report, const struct node *node,
                       struct descriptor *item)
{
    item->kind = DESCRIPTOR_ANY;
    if (!node)
        return 0;
    const int result = parse_text(report, node, &item->value, &item->value_len);
    if (result)
        return result;
    item->kind = DESCRIPTOR_EXACT;
    if (item->value[item->value_len - 1] != '*')
        return 0;
    item->kind = DESCRIPTOR_PREFIX;
    item->value[--item->value_len] = '\0';
    return 0;
}

static int find_rule(const struct report *report, const struct node *node,
                     const struct tenant *tenant, const struct rule **ret_rule)
{
    const char *text = "";
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    for (uint32_t i = 0; i < tenant->rule_count; i++) {
        const struct rule *rule = &tenant->rules[i];
        if (strcmp(rule->name, text) != 0)
            continue;
        if (rule->limit.algorithm == ALGORITHM_CONCURRENCY)
            return report_node(report, node,
                               "rule '%.64s' needs a lease, which a descriptor has not", text);
        *ret_rule = rule;
        return 0;
    }
    return report_node(report, node, "the tenant has no rule '%.64s'; add it to its rules", text);
}

static int parse_one(const struct report *report, const struct node *map,
                     const struct tenant *tenant, struct descriptor *item)
{
    const struct node *nodes[FIELD_COUNT];
    int result = fields_read(report, map, FIELDS, FIELD_COUNT, nodes);
    if (result == 0)
        result = parse_text(report, nodes[KEY], &item->key, &item->key_len);
    if (result == 0)
        result = parse_value(report, nodes[VALUE], item);
    if (result == 0 && nodes[RULE])
        result = find_rule(report, nodes[RULE], tenant, &item->rule);
    if (result == 0 && nodes[SHARED])
        result = value_bool(report, nodes[SHARED], &item->is_shared);
    if (result == 0 && nodes[BELOW])
        result = descriptors_parse(report, nodes[BELOW], tenant, &item->below);
    return result;
}

/* The second of two that stand for the same; the nodes are in the order of the file. */
static int judge_twins(const struct report *report, const struct node *list,
                       const struct descriptors *level)
{
    for (uint32_t i = 1; i < level->count; i++)
        if (compare(&level->items[i - 1], &level->items[i]) == 0)
            return report_node(report, list, "has key '%.64s' with the same value twice; once",
                               level->items[i].key);
    return 0;
}

int descriptors_parse(const struct report *report, const struct node *list,
                      const struct tenant *tenant, struct descriptors **ret_descriptors)
{
    if (list->kind != NODE_LIST)
        return report_node(report, list, "is %s; a list of {key, value, rule} is needed",
                           yaml_tree_kind_text(list));
    struct descriptors *level = calloc(1, sizeof(*level));
    if (level)
        level->items = calloc((size_t)list->count + 1, sizeof(*level->items));
    int result = level && level->items ? 0 : report_memory(report);
    for (const struct node *node = list->children; node && result == 0; node = node->next)
        result = parse_one(report, node, tenant, &level->items[level->count++]);
    if (result == 0) {
        qsort(level->items, level->count, sizeof(*level->items), compare_items);
        result = judge_twins(report, list, level);
    }
    if (result)
        descriptors_free(level);
    else
        *ret_descriptors = level;
    return result;
}

int descriptors_parse_answers(const struct report *report, const struct node *map,
                              struct tenant *tenant)
{
    static const char *const charges[] = {"all_or_nothing", "each"};
    static const struct field_spec fields[] = {{"charge", FIELD_OPTIONAL},
                                               {"headers", FIELD_OPTIONAL}};
    const struct node *nodes[2];
    unsigned charge = 0;
    int result = fields_read(report, map, fields, 2, nodes);
    if (result == 0 && nodes[0])
        result = value_choice(report, nodes[0], charges, 2, &charge);
    if (result == 0 && nodes[1])
        result = value_bool(report, nodes[1], &tenant->adds_headers);
    tenant->charges_each = charge == 1;
    return result;
}

void descriptors_free(struct descriptors *descriptors)
{
    if (!descriptors)
        return;
    for (uint32_t i = 0; i < descriptors->count; i++) {
        free(descriptors->items[i].key);
        free(descriptors->items[i].value);
        descriptors_free(descriptors->items[i].below);
    }
    free(descriptors->items);
    free(descriptors);
}

/* ---- telling ---- */

static bool is_same_item(const struct descriptor *one, const struct descriptor *other)
{
    const char *rules[2] = {one->rule ? one->rule->name : "", other->rule ? other->rule->name : ""};
    return compare(one, other) == 0 && one->is_shared == other->is_shared &&
           strcmp(rules[0], rules[1]) == 0 && descriptors_are_same(one->below, other->below);
}

bool descriptors_are_same(const struct descriptors *one, const struct descriptors *other)
{
    const uint32_t counts[2] = {one ? one->count : 0, other ? other->count : 0};
    if (counts[0] != counts[1])
        return false;
    for (uint32_t i = 0; i < counts[0]; i++)
        if (!is_same_item(&one->items[i], &other->items[i]))
            return false;
    return true;
}

static void print_quoted(const char *field, const char *text, const char *behind, FILE *out)
{
    fprintf(out, "%s: \"", field);
    for (; *text; text++)
        fprintf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    fprintf(out, "%s\"", behind);
}

void descriptors_print(const struct descriptors *descriptors, unsigned indent, FILE *out)
{
    for (uint32_t i = 0; i < descriptors->count; i++) {
        const struct descriptor *item = &descriptors->items[i];
        fprintf(out, "%*s", (int)indent, "");
        print_quoted("- key", item->key, "", out);
        if (item->kind != DESCRIPTOR_ANY) {
            fprintf(out, "\n%*s", (int)indent + 2, "");
            print_quoted("value", item->value, item->kind == DESCRIPTOR_PREFIX ? "*" : "", out);
        }
        if (item->rule) {
            fprintf(out, "\n%*s", (int)indent + 2, "");
            print_quoted("rule", item->rule->name, "", out);
        }
        if (item->is_shared)
            fprintf(out, "\n%*sshared: true", (int)indent + 2, "");
        fputc('\n', out);
        if (item->below && item->below->count) {
            fprintf(out, "%*sdescriptors:\n", (int)indent + 2, "");
            descriptors_print(item->below, indent + 4, out);
        }
    }
}
