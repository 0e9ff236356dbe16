#include "cmd/serve_metrics_rules.h"

#include <inttypes.h>
#include <string.h>

#include "cmd/server.h"
#include "doors/http_write.h"

#define SLOTS (sizeof(((struct metrics_rules *)0)->slots) / sizeof(uint16_t))
_Static_assert(SLOTS >= 2 * METRICS_MAX_RULES && (SLOTS & (SLOTS - 1)) == 0, "a hash is found");

/* ---- who has a label ---- */

static uint16_t *find_slot(struct metrics_rules *rules, uint32_t tenant, uint32_t rule)
{
    uint32_t at = (tenant ^ rule * 0x9E3779B1u) * 0x85EBCA6Bu >> 16 & (SLOTS - 1);
    while (rules->slots[at] && (rules->labels[rules->slots[at] - 1].tenant != tenant ||
                                rules->labels[rules->slots[at] - 1].rule != rule))
        at = (at + 1) & (SLOTS - 1);
    return &rules->slots[at];
}

static void drop_absent(struct metrics_rules *rules)
{
    const uint32_t count = rules->count;
    rules->count = 0;
    memset(rules->slots, 0, sizeof(rules->slots));
    for (uint32_t i = 0; i < count; i++) {
        const struct metrics_label label = rules->labels[i];
        if (!label.is_there)
            continue;
        rules->labels[rules->count++] = label;
        *find_slot(rules, label.tenant, label.rule) = (uint16_t)rules->count;
    }
}

struct visit { /* one rule, or a tenant's inline limits */
    const struct tenant *tenant;
    const struct rule *rule; /* NULL: inline */
    uint32_t id;
};

typedef void visit_fn(struct metrics_rules *rules, const struct server *server,
                      const struct visit *visit);

static void mark(struct metrics_rules *rules, const struct server *server,
                 const struct visit *visit)
{
    (void)server;
    const uint16_t number = *find_slot(rules, visit->tenant->id, visit->id);
    if (number)
        rules->labels[number - 1].is_there = true;
}

static void sum_rows(const struct server *server, const struct visit *visit, struct rule_sum *sums)
{
    usage_sum_doors(server, visit->rule ? visit->rule->index : visit->tenant->inline_index, sums);
    const struct config_overrides *overrides = visit->rule ? visit->rule->overrides : NULL;
    for (uint32_t i = 0; overrides && i < overrides->count; i++)
        usage_sum_doors(server, overrides->items[i].rule.index, sums);
}

static bool is_used(const struct rule_sum *sums)
{
    bool is = false;
    for (unsigned door = 0; door < OBSERVE_DOORS; door++)
        is |= sums[door].allowed || sums[door].denied;
    return is;
}

static void add(struct metrics_rules *rules, const struct server *server, const struct visit *visit)
{
    struct rule_sum sums[OBSERVE_DOORS] = {{0}};
    uint16_t *slot = find_slot(rules, visit->tenant->id, visit->id);
    sum_rows(server, visit, sums);
    rules->has_unknown |= sums[OBSERVE_OTHER].allowed || sums[OBSERVE_OTHER].denied;
    if (!*slot && !visit->rule && !is_used(sums))
        return;
    if (!*slot && rules->count == METRICS_MAX_RULES) {
        rules->has_others = true;
        for (unsigned door = 0; door < OBSERVE_DOORS; door++)
            usage_add(&rules->others[door], sums[door]);
        return;
    }
    if (!*slot) {
        *slot = (uint16_t)++rules->count;
        rules->labels[*slot - 1].tenant = visit->tenant->id;
        rules->labels[*slot - 1].rule = visit->id;
    }
    struct metrics_label *label = &rules->labels[*slot - 1];
    label->tenant_name = visit->tenant->name;
    label->rule_name = visit->rule ? visit->rule->name : "(inline)";
    memcpy(label->sums, sums, sizeof(sums));
}

static void visit_all(struct metrics_rules *rules, const struct server *server,
                      const struct config *config, visit_fn *function)
{
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        const struct tenant *tenant = &config->tenants[i];
        for (uint32_t j = 0; j < tenant->rule_count; j++) {
            const struct rule *rule = &tenant->rules[j];
            function(rules, server, &(struct visit){tenant, rule, rule->id});
        }
        function(rules, server, &(struct visit){tenant, NULL, 0});
    }
}

/* ---- what is told of them ---- */

static uint64_t value_of(const struct rule_sum *sum, unsigned decision)
{
    const uint64_t values[METRICS_DECISIONS] = {sum->allowed, sum->denied, sum->would_deny};
    return values[decision];
}

static uint64_t never_less(struct metrics_other *told, uint64_t value)
{
    value += told->lifted;
    if (value < told->last) {
        told->lifted += told->last - value;
        value = told->last;
    }
    return told->last = value;
}

static void print_decisions(struct metrics_rules *rules, enum observe_door door, unsigned decision,
                            struct http_out *out)
{
    static const char *const names[METRICS_DECISIONS] = {"allowed", "denied", "would_deny"};
    static const char format[] = "mete_decisions_total{tenant=\"%s\",rule=\"%s\",decision=\"%s\","
                                 "door=\"%s\"} %" PRIu64 "\n";
    for (uint32_t i = 0; i < rules->count; i++)
        http_print(out, format, rules->labels[i].tenant_name, rules->labels[i].rule_name,
                   names[decision], observe_door_name(door),
                   value_of(&rules->labels[i].sums[door], decision));
    if (rules->has_others)
        http_print(out, format, "(other)", "(other)", names[decision], observe_door_name(door),
                   never_less(&rules->told[METRICS_DECISIONS * door + decision],
                              value_of(&rules->others[door], decision)));
}

static uint64_t units_of(const struct rule_sum *sums)
{
    uint64_t units = 0;
    for (unsigned door = 0; door < OBSERVE_DOORS; door++)
        units += sums[door].units;
    return units;
}

static void print_units(struct metrics_rules *rules, struct http_out *out)
{
    static const char format[] = "mete_units_total{tenant=\"%s\",rule=\"%s\"} %" PRIu64 "\n";
    http_print(out, "# HELP mete_units_total Units charged by tenant and rule.\n"
                    "# TYPE mete_units_total counter\n");
    for (uint32_t i = 0; i < rules->count; i++)
        http_print(out, format, rules->labels[i].tenant_name, rules->labels[i].rule_name,
                   units_of(rules->labels[i].sums));
    if (rules->has_others)
        http_print(out, format, "(other)", "(other)",
                   never_less(&rules->told[METRICS_RULE_LINES - 1], units_of(rules->others)));
}

/* Names are letters, digits and a few signs (the configuration sees to it): nothing to escape. */
void metrics_rules_print(struct metrics_rules *rules, struct server *server,
                         const struct config *config, struct http_out *out)
{
    memset(rules->others, 0, sizeof(rules->others));
    for (uint32_t i = 0; i < rules->count; i++)
        rules->labels[i].is_there = false;
    visit_all(rules, server, config, mark);
    drop_absent(rules);
    pthread_mutex_lock(&server->usage_lock);
    visit_all(rules, server, config, add);
    pthread_mutex_unlock(&server->usage_lock);
    http_print(out, "# HELP mete_decisions_total Checks by tenant, rule, decision and door; "
                    "would_deny are allowed by a shadow.\n"
                    "# TYPE mete_decisions_total counter\n");
    for (enum observe_door door = 0; door < OBSERVE_DOORS; door++) {
        const bool is_told =
            observe_has_door(server, door) || (door == OBSERVE_OTHER && rules->has_unknown);
        for (unsigned decision = 0; is_told && decision < METRICS_DECISIONS; decision++)
            print_decisions(rules, door, decision, out);
    }
    print_units(rules, out);
}
