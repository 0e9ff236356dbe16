/* Rules: which numbers an algorithm takes, and a limit compiled from them. A bucket takes `rate`
 * and `burst`, a window takes `limit`, a calendar `limit`, `per` and `time_zone`, `concurrency`
 * `limit` (a count of slots) and `lease`, `unlimited` and `deny` take none. Any thread. */
#include "config/rule.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/calendars.h"
#include "config/config.h"
#include "config/fields.h"
#include "config/overrides.h"
#include "config/report.h"
#include "config/value.h"
#include "config/yaml.h"
#include "core/grant.h"
#include "core/key.h"

enum {
    NAME,
    ID,
    ALGORITHM,
    RATE,
    BURST,
    LIMIT,
    PER,
    TIME_ZONE,
    LEASE,
    MODE,
    SHADOW,
    OVERRIDES,
    SYNC,
    ON_LOSS
};

static const struct field_spec FIELDS[] = {
    [NAME] = {"name", FIELD_NEEDED},           [ID] = {"id", FIELD_OPTIONAL},
    [ALGORITHM] = {"algorithm", FIELD_NEEDED}, [RATE] = {"rate", FIELD_OPTIONAL},
    [BURST] = {"burst", FIELD_OPTIONAL},       [LIMIT] = {"limit", FIELD_OPTIONAL},
    [PER] = {"per", FIELD_OPTIONAL},           [TIME_ZONE] = {"time_zone", FIELD_OPTIONAL},
    [LEASE] = {"lease", FIELD_OPTIONAL},       [MODE] = {"mode", FIELD_OPTIONAL},
    [SHADOW] = {"shadow", FIELD_OPTIONAL},     [OVERRIDES] = {"overrides", FIELD_OPTIONAL},
    [SYNC] = {"sync", FIELD_OPTIONAL},         [ON_LOSS] = {"on_backend_loss", FIELD_OPTIONAL},
};
#define FIELD_COUNT (sizeof(FIELDS) / sizeof(FIELDS[0]))

static bool is_bucket(enum algorithm algorithm)
{
    return algorithm == ALGORITHM_TOKEN_BUCKET || algorithm == ALGORITHM_LEAKY_METER ||
           algorithm == ALGORITHM_LEAKY_QUEUE;
}

static bool is_window(enum algorithm algorithm)
{
    return algorithm == ALGORITHM_FIXED_WINDOW || algorithm == ALGORITHM_SLIDING_WINDOW;
}

int rule_parse_id(const struct report *report, const struct node *node,
                  const struct node *name_node, uint32_t *ret_id)
{
    uint64_t id;
    if (node) {
        const int result = value_number(report, node, 1, UINT32_MAX, &id);
        if (result == 0)
            *ret_id = (uint32_t)id;
        return result;
    }
    id = key_name_id(name_node->text, strlen(name_node->text));
    if (id == 0)
        return report_node(report, name_node, "'%s' hashes to id 0, which is none; set `id`",
                           name_node->text);
    *ret_id = (uint32_t)id;
    return 0;
}

static int parse_algorithm(const struct report *report, const struct node *node,
                           enum algorithm *ret_algorithm)
{
    static const char *const names[] = {"token_bucket",   "leaky_bucket", "fixed_window",
                                        "sliding_window", "calendar",     "concurrency",
                                        "unlimited",      "deny"};
    const char *text = "";
    unsigned ignored;
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    const enum algorithm algorithm = algorithm_parse(text);
    if (algorithm == ALGORITHM_NONE) {
        const char *nearest = report_nearest(text, names, sizeof(names) / sizeof(names[0]));
        if (nearest)
            return report_node(report, node, "'%.64s' is not an algorithm; did you mean '%s'?",
                               text, nearest);
        return value_choice(report, node, names, sizeof(names) / sizeof(names[0]), &ignored);
    }
    *ret_algorithm = algorithm;
    return 0;
}

/* Which of rate, burst, limit and lease stand there although the algorithm does not take them, and
 * which does not although it is needed. */
static int check_numbers(const struct report *report, const struct node *map,
                         const struct rule_numbers *numbers, enum algorithm algorithm)
{
    const char *name = algorithm_name(algorithm);
    const bool bucket = is_bucket(algorithm), calendar = algorithm == ALGORITHM_CALENDAR;
    const bool slots = algorithm == ALGORITHM_CONCURRENCY;
    const bool window = is_window(algorithm) || calendar;
    const char *takes = bucket     ? "takes rate and burst"
                        : calendar ? "takes limit, per and time_zone"
                        : slots    ? "takes limit and lease"
                        : window   ? "takes limit"
                                   : "takes no numbers";
    const struct {
        const struct node *node;
        const char *name;
        bool fits;
    } fields[] = {{numbers->rate, "rate", bucket},
                  {numbers->burst, "burst", bucket},
                  {numbers->limit, "limit", window || slots},
                  {numbers->lease, "lease", slots}};

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (fields[i].node && !fields[i].fits)
            return report_node(report, fields[i].node, "algorithm %s %s, not %s", name, takes,
                               fields[i].name);
    if (bucket && !numbers->rate)
        return report_field(report, map, "rate", "is missing; algorithm %s %s", name, takes);
    if ((window || slots) && !numbers->limit)
        return report_field(report, map, "limit", "is missing; algorithm %s %s", name, takes);
    return 0;
}

/* `limit: 10, lease: 30s`; an override has the lease of its rule. */
static int parse_slots(const struct report *report, const struct node *map,
                       const struct rule_numbers *numbers, struct limit_spec *spec)
{
    int result = value_number(report, numbers->limit, 1, LIMIT_SLOTS_MAX, &spec->count);
    if (result == 0 && numbers->lease)
        result = value_duration(report, numbers->lease, LIMIT_LEASE_MIN_NS, LIMIT_LEASE_MAX_NS,
                                &spec->period_ns);
    else if (result == 0 && spec->period_ns == 0)
        result = report_field(report, map, "lease",
                              "is missing; how long a slot is held unless it is renewed, like 30s");
    return result;
}

static int parse_numbers(const struct report *report, const struct rule_numbers *numbers,
                         struct limit_spec *spec)
{
    const struct node *rate = numbers->rate ? numbers->rate : numbers->limit;
    const char *text = "";
    char problem[192];
    int result;
    if (!rate)
        return 0;
    if (spec->algorithm == ALGORITHM_CALENDAR)
        return value_number(report, rate, 1, UINT32_MAX, &spec->count);
    result = value_text(report, rate, &text);
    if (result)
        return result;
    if (value_parse_rate(text, &spec->count, &spec->period_ns, problem, sizeof(problem)))
        return report_node(report, rate, "%s", problem);
    if (numbers->burst)
        return value_number(report, numbers->burst, 1, UINT32_MAX, &spec->burst);
    if (numbers->rate)
        spec->burst = spec->count;
    return 0;
}

/* Compiles, and blames the field that is the cause. */
static int compile(const struct report *report, const struct node *map,
                   const struct rule_numbers *numbers, struct rule *rule)
{
    const struct node *blamed = numbers->rate ? numbers->rate : numbers->limit;
    const enum limit_error error =
        rule->spec.algorithm == ALGORITHM_CALENDAR
            ? calendar_compile(rule->calendar, rule->spec.count, &rule->limit)
            : limit_compile(&rule->spec, &rule->limit);

    if (error == LIMIT_OK)
        return 0;
    if (numbers->rate && error == LIMIT_BURST_TOO_LARGE)
        return report_field(report, map, "burst",
                            "defaults to the rate's count, %" PRIu64
                            ", which is above 4294967295; set burst",
                            rule->spec.count);
    if (error == LIMIT_BURST_TOO_LARGE)
        return report_node(report, blamed, "limit is above 4294967295");
    if (numbers->burst && error == LIMIT_TAU_TOO_LONG)
        blamed = numbers->burst;
    return report_node(report, blamed ? blamed : map, "%s", limit_error_text(error));
}

int rule_parse_numbers(const struct report *report, const struct node *map,
                       const struct rule_numbers *numbers, struct rule *rule)
{
    int result = check_numbers(report, map, numbers, rule->spec.algorithm);
    if (result == 0 && rule->spec.algorithm == ALGORITHM_CONCURRENCY)
        result = parse_slots(report, map, numbers, &rule->spec);
    else if (result == 0)
        result = parse_numbers(report, numbers, &rule->spec);
    return result ? result : compile(report, map, numbers, rule);
}

static int parse_mode(const struct report *report, const struct node *node, struct rule *rule)
{
    static const char *const modes[] = {"deny", "queue"};
    unsigned mode = 0;
    if (rule->spec.algorithm != ALGORITHM_LEAKY_METER)
        return report_node(report, node, "only leaky_bucket has a mode, %s has none",
                           algorithm_name(rule->spec.algorithm));
    const int result = value_choice(report, node, modes, 2, &mode);
    rule->queue = mode == 1;
    if (rule->queue)
        rule->spec.algorithm = ALGORITHM_LEAKY_QUEUE;
    return result;
}

static bool can_be_shared(enum algorithm algorithm)
{
    return is_bucket(algorithm) || is_window(algorithm) || algorithm == ALGORITHM_CALENDAR;
}

/* `sync` and `on_backend_loss`; what they do not say rule_settle_sync() fills in. */
static int parse_sync(const struct report *report, const struct node *const *nodes,
                      struct rule *rule)
{
    static const char *const syncs[] = {"local", "shared", "exact"};
    static const char *const losses[] = {"share", "full", "deny"};
    unsigned sync = SYNC_LOCAL, on_loss = LOSS_SHARE;
    int result = nodes[SYNC] ? value_choice(report, nodes[SYNC], syncs, 3, &sync) : 0;
    if (result == 0 && sync != SYNC_LOCAL && !can_be_shared(rule->spec.algorithm))
        return report_node(report, nodes[SYNC], "algorithm %s is each node's own; only local is",
                           algorithm_name(rule->spec.algorithm));
    if (result == 0 && sync == SYNC_EXACT && rule->queue)
        return report_node(report, nodes[SYNC],
                           "a queue serves later instead of asking first; "
                           "shared and local are possible");
    if (result == 0 && sync == SYNC_EXACT && rule->limit.burst > GRANT_UNITS_MAX)
        return report_node(report, nodes[SYNC],
                           "at most %u units are granted exactly; a smaller "
                           "burst or limit, or sync: shared",
                           GRANT_UNITS_MAX);
    if (result == 0 && nodes[ON_LOSS])
        result = value_choice(report, nodes[ON_LOSS], losses, 3, &on_loss);
    if (result == 0 && nodes[ON_LOSS] &&
        (!can_be_shared(rule->spec.algorithm) || (nodes[SYNC] && sync == SYNC_LOCAL)))
        return report_node(report, nodes[ON_LOSS],
                           "only a rule that nodes share can lose them; sync: shared or exact");
    rule->has_sync = nodes[SYNC] != NULL;
    rule->has_on_loss = nodes[ON_LOSS] != NULL;
    rule->limit.sync = (uint8_t)sync;
    rule->limit.on_loss = (uint8_t)on_loss;
    return result;
}

void rule_settle_sync(struct rule *rule, bool has_store)
{
    struct limit *limit = &rule->limit;
    if (!rule->has_sync || !has_store)
        limit->sync = has_store && can_be_shared(limit->algorithm) ? SYNC_SHARED : SYNC_LOCAL;
    if (!rule->has_on_loss)
        limit->on_loss = limit->sync == SYNC_EXACT ? LOSS_DENY : LOSS_SHARE;
    for (uint32_t i = 0; rule->overrides && i < rule->overrides->count; i++) {
        rule->overrides->items[i].rule.limit.sync = limit->sync;
        rule->overrides->items[i].rule.limit.on_loss = limit->on_loss;
    }
}

const struct config_override *rule_find_ungrantable(const struct rule *rule)
{
    const struct config_overrides *overrides = rule->overrides;
    for (uint32_t i = 0; overrides && rule->limit.sync == SYNC_EXACT && i < overrides->count; i++)
        if (overrides->items[i].rule.limit.burst > GRANT_UNITS_MAX)
            return &overrides->items[i];
    return NULL;
}

/* The calendar of `per` and `time_zone`, which only a calendar has. */
static int parse_calendar(const struct report *report, const struct node *map,
                          const struct node *const *nodes, struct calendars *calendars,
                          struct rule *rule)
{
    const struct node *per_node = nodes[PER], *zone_node = nodes[TIME_ZONE];
    const struct node *foreign = per_node ? per_node : zone_node;
    const char *text = "", *zone = "UTC";
    enum calendar_per per;
    char problem[512];
    int result;

    if (rule->spec.algorithm != ALGORITHM_CALENDAR)
        return foreign ? report_node(report, foreign, "only calendar has a %s, %s has none",
                                     foreign->key, algorithm_name(rule->spec.algorithm))
                       : 0;
    if (!per_node)
        return report_field(report, map, "per",
                            "is missing; a calendar's period is day, week, month or year");
    result = value_text(report, per_node, &text);
    if (result == 0 && calendars_parse_per(text, &per, problem, sizeof(problem)))
        result = report_node(report, per_node, "%s", problem);
    if (result == 0 && zone_node)
        result = value_text(report, zone_node, &zone);
    if (result)
        return result;
    result = calendars_find(calendars, zone, per, &rule->calendar, problem, sizeof(problem));
    if (result == -EINVAL)
        return report_node(report, zone_node ? zone_node : map, "%s", problem);
    return result ? report_memory(report) : 0;
}

static int parse_body(const struct report *report, const struct node *map,
                      const struct node *const *nodes, struct calendars *calendars,
                      struct rule *rule)
{
    const struct rule_numbers numbers = {nodes[RATE], nodes[BURST], nodes[LIMIT], nodes[LEASE]};
    int result = rule_parse_id(report, nodes[ID], nodes[NAME], &rule->id);
    if (result == 0)
        result = parse_algorithm(report, nodes[ALGORITHM], &rule->spec.algorithm);
    if (result == 0 && nodes[MODE])
        result = parse_mode(report, nodes[MODE], rule);
    if (result == 0)
        result = parse_calendar(report, map, nodes, calendars, rule);
    if (result == 0 && nodes[SHADOW])
        result = value_bool(report, nodes[SHADOW], &rule->shadow);
    if (result == 0)
        result = rule_parse_numbers(report, map, &numbers, rule);
    if (result == 0)
        result = parse_sync(report, nodes, rule);
    if (result == 0 && nodes[OVERRIDES])
        result = overrides_parse(report, nodes[OVERRIDES], rule);
    return result;
}

int rule_parse(const struct report *report, const struct node *node, struct calendars *calendars,
               struct rule *ret_rule)
{
    const struct node *nodes[FIELD_COUNT];
    struct rule rule = {0};
    int result = fields_read(report, node, FIELDS, FIELD_COUNT, nodes);
    if (result == 0)
        result = value_name(report, nodes[NAME], &rule.name);
    if (result)
        return result;
    result = parse_body(report, node, nodes, calendars, &rule);
    if (result)
        rule_free(&rule);
    else
        *ret_rule = rule;
    return result;
}

void rule_free(struct rule *rule)
{
    overrides_free(rule->overrides);
    free(rule->name);
    *rule = (struct rule){.name = NULL};
}
