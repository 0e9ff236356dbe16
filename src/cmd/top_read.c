/* A daemon's answer to "top", and what changed between two of them. Fields that are missing are
 * nothing: a daemon may be older or younger than who asks it. */
#include "cmd/top.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

static uint64_t number(const json_t *object, const char *name)
{
    const json_int_t value = json_integer_value(json_object_get(object, name));
    return value < 0 ? 0 : (uint64_t)value;
}

static double real(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static void text(const json_t *object, const char *name, char *ret_text)
{
    const char *value = json_string_value(json_object_get(object, name));
    snprintf(ret_text, TOP_NAME, "%s", value ? value : "?");
}

static void read_rule(const json_t *from, struct top_rule_view *rule)
{
    text(from, "tenant", rule->tenant);
    text(from, "rule", rule->rule);
    rule->allowed = number(from, "allowed");
    rule->denied = number(from, "denied");
    rule->would_deny = number(from, "would_deny");
    rule->units = number(from, "units");
    rule->live = number(from, "live");
}

static void read_subject(const json_t *from, struct top_subject_view *subject)
{
    const json_t *name = json_object_get(from, "subject");
    text(from, "tenant", subject->tenant);
    text(from, "rule", subject->rule);
    text(from, "key", subject->key);
    subject->has_name = json_is_string(name);
    subject->name_len = json_string_length(name);
    if (subject->name_len > sizeof(subject->name))
        subject->name_len = sizeof(subject->name);
    if (subject->has_name)
        memcpy(subject->name, json_string_value(name), subject->name_len);
    subject->per_second = real(from, "per_second");
    subject->error_per_second = real(from, "error_per_second");
}

static unsigned read_subjects(const json_t *list, struct top_subject_view *subjects)
{
    unsigned count = 0;
    while (count < TOP_SUBJECTS && count < json_array_size(list)) {
        read_subject(json_array_get(list, count), &subjects[count]);
        count++;
    }
    return count;
}

static void read_door(const char *name, const json_t *cells, struct top_door_view *door)
{
    snprintf(door->name, sizeof(door->name), "%s", name);
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *cell = json_array_get(cells, i);
        const json_int_t end_ns = json_integer_value(json_array_get(cell, 0));
        const json_int_t count = json_integer_value(json_array_get(cell, 1));
        if (end_ns > 0 && count > 0)
            door->latency.cell[latency_index((uint64_t)end_ns - 1)] += (uint64_t)count;
    }
}

static void read_replica(const json_t *from, struct top_replica_view *replica)
{
    if (!json_is_object(from))
        return;
    text(from, "link", replica->link);
    replica->degraded_s = real(from, "degraded_s");
    replica->lag_s = real(from, "lag_s");
    replica->round_trip_s = real(from, "round_trip_s");
    replica->nodes = number(from, "nodes");
    replica->pending_keys = number(from, "pending_keys");
    replica->keys = number(from, "keys");
    replica->repeats = number(from, "repeats");
    replica->gaps = number(from, "gaps");
    replica->losses = number(from, "losses");
}

static void read_lists(json_t *root, struct top_view *view)
{
    const json_t *rules = json_object_get(root, "rules");
    while (view->rule_count < TOP_RULES && view->rule_count < json_array_size(rules)) {
        read_rule(json_array_get(rules, view->rule_count), &view->rules[view->rule_count]);
        view->rule_count++;
    }
    view->hottest_count = read_subjects(json_object_get(root, "hottest"), view->hottest);
    view->denied_count = read_subjects(json_object_get(root, "most_denied"), view->denied);
    const char *name;
    json_t *cells;
    json_object_foreach(json_object_get(root, "latency"), name, cells)
    {
        if (view->door_count < TOP_DOORS)
            read_door(name, cells, &view->doors[view->door_count++]);
    }
}

int top_read(const char *bytes, size_t len, struct top_view *ret_view)
{
    json_t *root = json_loadb(bytes, len, JSON_ALLOW_NUL, NULL);
    const json_t *total = json_object_get(root, "total");
    const json_t *table = json_object_get(root, "table");
    memset(ret_view, 0, sizeof(*ret_view));
    if (!json_is_object(total) || !json_is_object(table)) {
        json_decref(root);
        return -EINVAL;
    }
    text(root, "version", ret_view->version);
    text(root, "backend", ret_view->backend);
    text(root, "boot", ret_view->boot);
    ret_view->uptime_s = real(root, "uptime_s");
    ret_view->cpu_s = real(root, "cpu_s");
    ret_view->workers = number(root, "workers");
    for (unsigned c = 0; c < COUNTER_COUNT; c++)
        ret_view->total[c] = number(total, counter_name(c));
    ret_view->entries = number(table, "entries");
    ret_view->live = number(table, "live");
    ret_view->evictions = number(table, "evictions");
    ret_view->bytes = number(table, "bytes");
    ret_view->rules_left_out = number(root, "rules_left_out");
    read_replica(json_object_get(root, "replica"), &ret_view->replica);
    read_lists(root, ret_view);
    json_decref(root);
    return 0;
}

/* ---- what changed ---- */

/* A counter that a reload took back counts from nothing. */
static double rate(uint64_t before, uint64_t now, double seconds)
{
    return seconds > 0 ? (double)(now >= before ? now - before : now) / seconds : 0;
}

double top_rate(const struct top_change *change, enum counter counter)
{
    return rate(change->before->total[counter], change->now->total[counter], change->seconds);
}

double top_replica_rate(const struct top_change *change)
{
    return rate(change->before->replica.keys, change->now->replica.keys, change->seconds);
}

struct top_rates top_rule_rates(const struct top_change *change, const struct top_rule_view *rule)
{
    static const struct top_rule_view nothing;
    const struct top_view *before = change->before;
    const struct top_rule_view *was = before->rules_left_out ? NULL : &nothing;
    for (unsigned i = 0; i < before->rule_count; i++)
        if (strcmp(before->rules[i].tenant, rule->tenant) == 0 &&
            strcmp(before->rules[i].rule, rule->rule) == 0)
            was = &before->rules[i];
    if (!was)
        return (struct top_rates){-1, -1, -1, -1};
    return (struct top_rates){
        .allowed = rate(was->allowed, rule->allowed, change->seconds),
        .denied = rate(was->denied, rule->denied, change->seconds),
        .would_deny = rate(was->would_deny, rule->would_deny, change->seconds),
        .units = rate(was->units, rule->units, change->seconds),
    };
}

struct latency_sum top_door_latency(const struct top_change *change,
                                    const struct top_door_view *door)
{
    struct latency_sum sum = door->latency;
    for (unsigned i = 0; i < change->before->door_count; i++) {
        const struct top_door_view *was = &change->before->doors[i];
        for (uint32_t c = 0; strcmp(was->name, door->name) == 0 && c < LATENCY_CELLS; c++)
            sum.cell[c] -= was->latency.cell[c] < sum.cell[c] ? was->latency.cell[c] : sum.cell[c];
    }
    return sum;
}
