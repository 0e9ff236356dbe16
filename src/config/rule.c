/* Rules: which numbers an algorithm takes, and a limit compiled from them. A bucket takes `rate`
 * and `burst`, a window takes `limit`, `unlimited` and `deny` take none. Any thread. */
#include "config/rule.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/fields.h"
#include "config/report.h"
#include "config/value.h"
#include "config/yaml.h"
#include "core/key.h"

enum { NAME, ID, ALGORITHM, RATE, BURST, LIMIT, MODE, SHADOW, FIRST_UNSERVED };

static const struct field_spec FIELDS[] = {
    [NAME] = {"name", FIELD_NEEDED},
    [ID] = {"id", FIELD_OPTIONAL},
    [ALGORITHM] = {"algorithm", FIELD_NEEDED},
    [RATE] = {"rate", FIELD_OPTIONAL},
    [BURST] = {"burst", FIELD_OPTIONAL},
    [LIMIT] = {"limit", FIELD_OPTIONAL},
    [MODE] = {"mode", FIELD_OPTIONAL},
    [SHADOW] = {"shadow", FIELD_OPTIONAL},
    [FIRST_UNSERVED] = {"sync", FIELD_UNSERVED},
    {"on_backend_loss", FIELD_UNSERVED},
    {"per", FIELD_UNSERVED},
    {"time_zone", FIELD_UNSERVED},
    {"lease", FIELD_UNSERVED},
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
                                        "sliding_window", "unlimited",    "deny"};
    const char *text = "";
    unsigned ignored;
    const int result = value_text(report, node, &text);
    if (result)
        return result;
    const enum algorithm algorithm = algorithm_parse(text);
    if (algorithm == ALGORITHM_CONCURRENCY || algorithm == ALGORITHM_CALENDAR)
        return report_node(report, node, "'%s' is not served by this version", text);
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

/* Which of rate, burst, limit and mode stand there although the algorithm does not take them, and
 * which does not although it is needed. */
static int check_fields(const struct report *report, const struct node *map,
                        const struct node *const *nodes, enum algorithm algorithm)
{
    const char *name = algorithm_name(algorithm);
    const bool bucket = is_bucket(algorithm), window = is_window(algorithm);
    const char *takes = bucket   ? "takes rate and burst"
                        : window ? "takes limit"
                                 : "takes no numbers";

    for (unsigned i = RATE; i <= LIMIT; i++) {
        const bool fits = i == LIMIT ? window : bucket;
        if (nodes[i] && !fits)
            return report_node(report, nodes[i], "algorithm %s %s, not %s", name, takes,
                               FIELDS[i].name);
    }
    if (bucket && !nodes[RATE])
        return report_field(report, map, "rate", "is missing; algorithm %s %s", name, takes);
    if (window && !nodes[LIMIT])
        return report_field(report, map, "limit", "is missing; algorithm %s %s", name, takes);
    if (nodes[MODE] && algorithm != ALGORITHM_LEAKY_METER)
        return report_node(report, nodes[MODE], "only leaky_bucket has a mode, %s has none", name);
    return 0;
}

static int parse_numbers(const struct report *report, const struct node *const *nodes,
                         struct limit_spec *spec)
{
    const struct node *rate = nodes[RATE] ? nodes[RATE] : nodes[LIMIT];
    const char *text = "";
    char problem[192];
    int result;
    if (!rate)
        return 0;
    result = value_text(report, rate, &text);
    if (result)
        return result;
    if (value_parse_rate(text, &spec->count, &spec->period_ns, problem, sizeof(problem)))
        return report_node(report, rate, "%s", problem);
    if (nodes[BURST])
        return value_number(report, nodes[BURST], 1, UINT32_MAX, &spec->burst);
    if (nodes[RATE])
        spec->burst = spec->count;
    return 0;
}

/* Compiles, and blames the field that is the cause. */
static int compile(const struct report *report, const struct node *map,
                   const struct node *const *nodes, struct rule *rule)
{
    const struct node *blamed = nodes[RATE] ? nodes[RATE] : nodes[LIMIT];
    const enum limit_error error = limit_compile(&rule->spec, &rule->limit);

    if (error == LIMIT_OK)
        return 0;
    if (nodes[RATE] && error == LIMIT_BURST_TOO_LARGE)
        return report_field(report, map, "burst",
                            "defaults to the rate's count, %" PRIu64
                            ", which is above 4294967295; set burst",
                            rule->spec.count);
    if (error == LIMIT_BURST_TOO_LARGE)
        return report_node(report, blamed, "limit is above 4294967295");
    if (nodes[BURST] && error == LIMIT_TAU_TOO_LONG)
        blamed = nodes[BURST];
    return report_node(report, blamed ? blamed : map, "%s", limit_error_text(error));
}

static int parse_body(const struct report *report, const struct node *map,
                      const struct node *const *nodes, struct rule *rule)
{
    static const char *const modes[] = {"deny", "queue"};
    unsigned mode = 0;
    int result = rule_parse_id(report, nodes[ID], nodes[NAME], &rule->id);
    if (result == 0)
        result = parse_algorithm(report, nodes[ALGORITHM], &rule->spec.algorithm);
    if (result == 0)
        result = check_fields(report, map, nodes, rule->spec.algorithm);
    if (result == 0 && nodes[MODE])
        result = value_choice(report, nodes[MODE], modes, 2, &mode);
    if (result == 0 && nodes[SHADOW])
        result = value_bool(report, nodes[SHADOW], &rule->shadow);
    if (result == 0)
        result = parse_numbers(report, nodes, &rule->spec);
    if (result)
        return result;
    rule->queue = mode == 1;
    if (rule->queue)
        rule->spec.algorithm = ALGORITHM_LEAKY_QUEUE;
    return compile(report, map, nodes, rule);
}

int rule_parse(const struct report *report, const struct node *node, struct rule *ret_rule)
{
    const struct node *nodes[FIELD_COUNT];
    struct rule rule = {0};
    int result = fields_read(report, node, FIELDS, FIELD_COUNT, nodes);
    if (result == 0)
        result = value_name(report, nodes[NAME], &rule.name);
    if (result)
        return result;
    result = parse_body(report, node, nodes, &rule);
    if (result) {
        free(rule.name);
        return result;
    }
    *ret_rule = rule;
    return 0;
}
