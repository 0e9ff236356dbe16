/* Tiers and tenants: a tenant has its tier's rules and its own, which replace the tier's of the
 * same name. Tenants are read in the order of the file, so that the first mistake is the one
 * reported, then sorted by id. Loading only, one thread. */
#include "config/tenants.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "config/api_keys.h"
#include "config/config.h"
#include "config/credentials.h"
#include "config/descriptors.h"
#include "config/fields.h"
#include "config/find.h"
#include "config/find_key.h"
#include "config/overrides.h"
#include "config/report.h"
#include "config/rule.h"
#include "config/rules.h"
#include "config/secret.h"
#include "config/value.h"
#include "config/yaml.h"
#include "core/grant.h"

enum {
    NAME,
    ID,
    TIER,
    ENTRIES,
    RULES,
    SECRET_FILES,
    API_KEYS,
    CHECKS,
    DESCRIPTORS,
    ENVOY,
    FIELD_COUNT
};
enum { CHECKS_RATE, CHECKS_BURST, CHECKS_FIELD_COUNT };

static const struct field_spec FIELDS[FIELD_COUNT] = {
    [NAME] = {"name", FIELD_NEEDED},
    [ID] = {"id", FIELD_OPTIONAL},
    [TIER] = {"tier", FIELD_OPTIONAL},
    [ENTRIES] = {"entries", FIELD_OPTIONAL},
    [RULES] = {"rules", FIELD_OPTIONAL},
    [SECRET_FILES] = {"secret_files", FIELD_OPTIONAL},
    [API_KEYS] = {"api_keys", FIELD_OPTIONAL},
    [CHECKS] = {"checks", FIELD_OPTIONAL},
    [DESCRIPTORS] = {"descriptors", FIELD_OPTIONAL},
    [ENVOY] = {"envoy", FIELD_OPTIONAL},
};

static const struct field_spec CHECKS_FIELDS[CHECKS_FIELD_COUNT] = {
    [CHECKS_RATE] = {"rate", FIELD_NEEDED},
    [CHECKS_BURST] = {"burst", FIELD_OPTIONAL},
};

static const struct field_spec TIER_FIELDS[] = {{"rules", FIELD_NEEDED}};

struct loading {
    const struct report *report;
    struct config *config;
    struct rules *tiers;  /* in the order of config->tiers */
    uint64_t index_count; /* given out so far */
    uint64_t region_entries;
};

static int parse_tiers(struct loading *loading, const struct node *tiers)
{
    const struct report *report = loading->report;
    struct config *config = loading->config;

    if (tiers->kind != NODE_MAP)
        return report_node(report, tiers, "is %s; a mapping of names to {rules: [...]} is needed",
                           yaml_tree_kind_text(tiers));
    config->tiers = calloc((size_t)tiers->count + 1, sizeof(*config->tiers));
    loading->tiers = calloc((size_t)tiers->count + 1, sizeof(*loading->tiers));
    if (!config->tiers || !loading->tiers)
        return report_memory(report);
    for (const struct node *node = tiers->children; node; node = node->next) {
        struct rules *rules = &loading->tiers[config->tier_count];
        const struct node *list;
        const char *problem = value_name_problem(node->key);
        if (problem)
            return report_node(report, node, "this tier's name %s", problem);
        int result = fields_read(report, node, TIER_FIELDS, 1, &list);
        if (result)
            return result;
        char *name = strdup(node->key);
        if (!name)
            return report_memory(report);
        config->tiers[config->tier_count++] = name;
        result = rules_parse(report, list, &config->calendars, rules);
        if (result == 0)
            result = rules_settle(report, rules);
        if (result)
            return result;
    }
    return 0;
}

static int find_tier(const struct loading *loading, const struct node *node, const char **ret_name,
                     const struct rules **ret_rules)
{
    const struct config *config = loading->config;
    const char *text = "";
    const int result = value_text(loading->report, node, &text);
    if (result)
        return result;
    for (uint32_t i = 0; i < config->tier_count; i++) {
        if (strcmp(config->tiers[i], text) == 0) {
            *ret_name = config->tiers[i];
            *ret_rules = &loading->tiers[i];
            return 0;
        }
    }
    const char *nearest =
        report_nearest(text, (const char *const *)config->tiers, config->tier_count);
    return report_node(loading->report, node, "'%.64s' is not under tiers%s%s%s", text,
                       nearest ? "; did you mean '" : "; add it there", nearest ? nearest : "",
                       nearest ? "'?" : "");
}

/* Moves the rules into the tenant and numbers them. */
static int adopt_rules(struct tenant *tenant, struct rules *rules)
{
    if (rules->count) {
        tenant->rules = calloc(rules->count, sizeof(*tenant->rules));
        if (!tenant->rules)
            return -ENOMEM;
    }
    for (uint32_t i = 0; i < rules->count; i++) {
        tenant->rules[i] = rules->items[i].rule;
        rules->items[i].rule = (struct rule){.name = NULL};
        if (strcmp(tenant->rules[i].name, "default") == 0)
            tenant->fallback = &tenant->rules[i];
    }
    tenant->rule_count = rules->count;
    for (uint32_t i = 0; i < tenant->rule_count; i++)
        if (overrides_settle(&tenant->rules[i], *tenant->seed))
            return -ENOMEM;
    return find_build_rules(tenant);
}

/* How each rule is shared, and whether there is a store for it. */
static int settle_sync(struct loading *loading, struct rules *rules)
{
    const bool has_store = loading->config->redis.url != NULL;
    for (uint32_t i = 0; i < rules->count; i++) {
        struct rules_item *item = &rules->items[i];
        if (item->rule.limit.sync != SYNC_LOCAL && !has_store)
            return report_node(loading->report, yaml_tree_child(item->node, "sync"),
                               "needs a store that the nodes share; set redis.url, or sync: local");
        rule_settle_sync(&item->rule, has_store);
        const struct config_override *large = rule_find_ungrantable(&item->rule);
        if (large)
            return report_node(loading->report, yaml_tree_child(item->node, "overrides"),
                               "%s: at most %u units are granted exactly; a smaller burst or "
                               "limit, or sync: shared",
                               large->subject, GRANT_UNITS_MAX);
    }
    return 0;
}

static int parse_rules(struct loading *loading, const struct node *map,
                       const struct node *const *nodes, struct tenant *tenant)
{
    const struct report *report = loading->report;
    const struct rules *tier = NULL;
    struct rules rules = {.items = NULL};
    int result = 0;

    if (nodes[TIER])
        result = find_tier(loading, nodes[TIER], &tenant->tier, &tier);
    if (result == 0 && nodes[RULES])
        result = rules_parse(report, nodes[RULES], &loading->config->calendars, &rules);
    /* Before the tier's rules are copied: many tenants of a large tier would be much memory. */
    if (result == 0 &&
        loading->index_count + rules_count_all(&rules) + (tier ? rules_count_all(tier) : 0) + 1 >
            CONFIG_MAX_INDICES)
        result = report_node(report, map,
                             "has more rules than fit; %u are possible over all "
                             "tenants, each override and each tenant counting as one more",
                             CONFIG_MAX_INDICES);
    if (result == 0 && tier)
        result = rules_inherit(report, tier, &rules);
    if (result == 0)
        result = rules_settle(report, &rules);
    if (result == 0)
        result = settle_sync(loading, &rules);
    loading->index_count += rules_count_all(&rules) + 1;
    if (result == 0 && adopt_rules(tenant, &rules))
        result = report_memory(report);
    rules_free(&rules);
    return result;
}

/* A region takes whole groups of 4 entries, so does the table. */
static uint64_t whole_groups(uint64_t entries)
{
    return (entries + 3) & ~3ull;
}

static int parse_entries(struct loading *loading, const struct node *node, struct tenant *tenant)
{
    const uint64_t table = loading->config->table_entries;
    const int result = value_number(loading->report, node, 0, CONFIG_MAX_ENTRIES, &tenant->entries);
    if (result || tenant->entries == 0)
        return result;
    if (tenant->entries < CONFIG_MIN_ENTRIES)
        return report_node(loading->report, node,
                           "%" PRIu64 " are too few; a region has at least 16 entries, 0 is none",
                           tenant->entries);
    loading->region_entries += whole_groups(tenant->entries);
    if (loading->region_entries + CONFIG_MIN_ENTRIES > whole_groups(table))
        return report_node(loading->report, node,
                           "the regions up to this one need %" PRIu64 " entries; table.entries is "
                           "%" PRIu64 ", of which 16 must be left to share",
                           loading->region_entries, table);
    return 0;
}

/* `checks: 1000/s`, or `checks: {rate: 1000/s, burst: 5000}`. */
static int parse_checks(const struct report *report, const struct node *node, struct tenant *tenant)
{
    const struct node *nodes[CHECKS_FIELD_COUNT] = {[CHECKS_RATE] = node};
    struct rule rule = {.spec = {.algorithm = ALGORITHM_TOKEN_BUCKET}};
    int result = 0;
    if (node->kind == NODE_MAP)
        result = fields_read(report, node, CHECKS_FIELDS, CHECKS_FIELD_COUNT, nodes);
    const struct rule_numbers numbers = {.rate = nodes[CHECKS_RATE], .burst = nodes[CHECKS_BURST]};
    if (result == 0)
        result = rule_parse_numbers(report, node, &numbers, &rule);
    if (result)
        return result;
    tenant->checks = rule.limit;
    tenant->checks_spec = rule.spec;
    return 0;
}

/* Who may speak for the tenant. */
static int parse_credentials(struct loading *loading, const struct node *map,
                             const struct node *const *nodes, struct tenant *tenant)
{
    struct config *config = loading->config;
    int result = 0;
    if (nodes[SECRET_FILES])
        result = secret_apply_files(loading->report, nodes[SECRET_FILES], config, tenant);
    if (result == 0 && nodes[API_KEYS])
        result = api_keys_parse(loading->report, nodes[API_KEYS], tenant);
    return result ? result : credentials_judge_reach(loading->report, map, config, tenant);
}

static int parse_tenant(struct loading *loading, const struct node *map, struct tenant *tenant)
{
    const struct report *report = loading->report;
    const struct node *nodes[FIELD_COUNT];
    int result = fields_read(report, map, FIELDS, FIELD_COUNT, nodes);
    tenant->checks_spec.algorithm = ALGORITHM_UNLIMITED;
    tenant->checks.algorithm = ALGORITHM_UNLIMITED;
    if (result == 0)
        result = value_name(report, nodes[NAME], &tenant->name);
    if (result)
        return result;
    tenant->seed =
        secret_make_seed(loading->config, loading->config->tenant_count - 1, tenant->name);
    result = rule_parse_id(report, nodes[ID], nodes[NAME], &tenant->id);
    if (result == 0 && nodes[ENTRIES])
        result = parse_entries(loading, nodes[ENTRIES], tenant);
    if (result == 0 && nodes[CHECKS])
        result = parse_checks(report, nodes[CHECKS], tenant);
    if (result == 0)
        result = parse_rules(loading, map, nodes, tenant);
    if (result == 0 && nodes[DESCRIPTORS])
        result = descriptors_parse(report, nodes[DESCRIPTORS], tenant, &tenant->descriptors);
    if (result == 0 && nodes[ENVOY])
        result = descriptors_parse_answers(report, nodes[ENVOY], tenant);
    return result ? result : parse_credentials(loading, map, nodes, tenant);
}

static int compare_names(const void *left, const void *right)
{
    const struct placed_tenant *a = left, *b = right;
    const int order = strcmp(a->tenant.name, b->tenant.name);
    if (order)
        return order;
    return a->node->position < b->node->position ? -1 : 1;
}

static int compare_ids(const void *left, const void *right)
{
    const struct placed_tenant *a = left, *b = right;
    if (a->tenant.id != b->tenant.id)
        return a->tenant.id < b->tenant.id ? -1 : 1;
    return a->node->position < b->node->position ? -1 : 1;
}

/* Refuses equal names and ids, leaves the tenants in the order of their ids. */
static int sort_tenants(const struct report *report, struct placed_tenant *placed, uint32_t count)
{
    qsort(placed, count, sizeof(*placed), compare_names);
    for (uint32_t i = 1; i < count; i++)
        if (strcmp(placed[i].tenant.name, placed[i - 1].tenant.name) == 0)
            return report_node(report, yaml_tree_child(placed[i].node, "name"),
                               "'%s' is already the name of tenants[%u]; names differ",
                               placed[i].tenant.name, placed[i - 1].node->position);
    qsort(placed, count, sizeof(*placed), compare_ids);
    for (uint32_t i = 1; i < count; i++)
        if (placed[i].tenant.id == placed[i - 1].tenant.id)
            return report_node(
                report, placed[i].node,
                "'%s' and '%s' have the same id %" PRIu32 "; set `id` on one of them",
                placed[i].tenant.name, placed[i - 1].tenant.name, placed[i].tenant.id);
    return 0;
}

/* Tenant by tenant its rules, then their overrides; behind them the tenants' inline limits. */
static void number_indices(struct config *config)
{
    uint32_t next = 0;
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        struct tenant *tenant = &config->tenants[i];
        tenant->first_rule_index = next;
        for (uint32_t j = 0; j < tenant->rule_count; j++)
            tenant->rules[j].index = next++;
        for (uint32_t j = 0; j < tenant->rule_count; j++) {
            struct config_overrides *overrides = tenant->rules[j].overrides;
            for (uint32_t k = 0; overrides && k < overrides->count; k++)
                overrides->items[k].rule.index = next++;
        }
    }
    for (uint32_t i = 0; i < config->tenant_count; i++)
        config->tenants[i].inline_index = next++;
    config->index_count = next;
}

static int reserve_secrets(struct loading *loading, const struct node *list)
{
    uint32_t count = 0;
    for (const struct node *map = list->children; map; map = map->next) {
        const struct node *files =
            map->kind == NODE_MAP ? yaml_tree_child(map, FIELDS[SECRET_FILES].name) : NULL;
        if (files)
            count += files->kind == NODE_LIST ? files->count : 1;
    }
    return secret_reserve(loading->report, count, loading->config);
}

static int parse_tenants(struct loading *loading, const struct node *list)
{
    const struct report *report = loading->report;
    struct config *config = loading->config;
    struct placed_tenant *placed = calloc((size_t)list->count + 1, sizeof(*placed));
    int result = reserve_secrets(loading, list);
    if (result == 0)
        result = secret_reserve_seeds(report, list->count, config);

    config->tenants = calloc(list->count, sizeof(*config->tenants));
    if (!placed || !config->tenants) {
        free(placed);
        return result ? result : report_memory(report);
    }
    for (const struct node *node = list->children; node && result == 0; node = node->next) {
        struct placed_tenant *item = &placed[config->tenant_count++];
        item->node = node;
        result = parse_tenant(loading, node, &item->tenant);
    }
    if (result == 0)
        result = sort_tenants(report, placed, config->tenant_count);
    if (result == 0)
        result = credentials_judge_shared(report, placed, config->tenant_count);
    for (uint32_t i = 0; i < config->tenant_count; i++)
        config->tenants[i] = placed[i].tenant;
    free(placed);
    if (result == 0) {
        config->anonymous = config_find_tenant_by_name(config, "default");
        number_indices(config);
        result = find_build_tenants(config) || find_build_keys(config) ? report_memory(report) : 0;
    }
    return result;
}

int tenants_parse(const struct report *report, const struct node *tiers, const struct node *tenants,
                  struct config *config)
{
    struct loading loading = {.report = report, .config = config};
    int result = tiers ? parse_tiers(&loading, tiers) : 0;

    if (result == 0 && tenants->kind != NODE_LIST)
        result = report_node(report, tenants, "is %s; a list of tenants is needed",
                             yaml_tree_kind_text(tenants));
    if (result == 0 && tenants->count == 0)
        result = report_node(report, tenants, "at least one is needed; [] is none");
    if (result == 0)
        result = parse_tenants(&loading, tenants);
    for (uint32_t i = 0; i < config->tier_count; i++)
        rules_free(&loading.tiers[i]);
    free(loading.tiers);
    return result;
}
