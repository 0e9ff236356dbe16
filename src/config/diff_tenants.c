/* What changes inside the tenants: two lists in the order of names, walked side by side. */
#include "config/diff.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/descriptors.h"
#include "config/value.h"

#define RULE_SIZE 128u

static const char *const SYNCS[] = {"local", "shared", "exact"};
static const char *const LOSSES[] = {"share", "full", "deny"};

/* "token_bucket 10/s burst 20", as config_compile_rule_text() takes it; "concurrency 10
 * lease 30s". */
static void format_spec(const struct limit_spec *spec, const struct calendar *calendar,
                        char text[RULE_SIZE])
{
    char rate[64], burst[32] = "";
    const char *name = algorithm_name(spec->algorithm);
    if (spec->algorithm == ALGORITHM_CONCURRENCY) {
        value_format_duration(spec->period_ns, rate, sizeof(rate));
        snprintf(text, RULE_SIZE, "%s %" PRIu64 " lease %s", name, spec->count, rate);
        return;
    }
    value_format_rate(spec->count, spec->period_ns, rate, sizeof(rate));
    if (spec->burst)
        snprintf(burst, sizeof(burst), " burst %" PRIu64, spec->burst);
    if (calendar)
        snprintf(text, RULE_SIZE, "%s %" PRIu64 "/%s %s", name, spec->count,
                 calendar_per_name(calendar->per), calendar->zone);
    else if (spec->count)
        snprintf(text, RULE_SIZE, "%s %s%s%s", name, rate, burst,
                 spec->algorithm == ALGORITHM_LEAKY_QUEUE ? " queue" : "");
    else
        snprintf(text, RULE_SIZE, "%s", name);
}

static bool is_same_spec(const struct limit_spec *a, const struct limit_spec *b)
{
    return a->algorithm == b->algorithm && a->count == b->count && a->period_ns == b->period_ns &&
           a->burst == b->burst;
}

static void format_rule(const struct rule *rule, char text[RULE_SIZE])
{
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): never NULL */
    format_spec(&rule->spec, rule->calendar, text);
}

/* Of calendars the limit's interval is the name of zone and period. */
static bool is_same_numbers(const struct rule *a, const struct rule *b)
{
    return is_same_spec(&a->spec, &b->spec) && !a->calendar == !b->calendar &&
           (!a->calendar || a->limit.interval == b->limit.interval);
}

bool diff_keeps_state(const struct rule *from, const struct rule *to)
{
    return from->id == to->id && from->limit.algorithm == to->limit.algorithm &&
           (from->limit.sync == SYNC_EXACT) == (to->limit.sync == SYNC_EXACT) &&
           (!limit_is_wall(&from->limit) || from->limit.interval == to->limit.interval);
}

static const char *state_text(const struct rule *from, const struct rule *to)
{
    return diff_keeps_state(from, to) ? "keeps what is owed" : "starts fresh";
}

static void diff_override(struct diff *diff, const char *tenant, const struct config_override *from,
                          const struct config_override *to)
{
    char texts[2][RULE_SIZE];
    const struct rule *rule = from ? &from->rule : &to->rule;
    if (from)
        format_rule(&from->rule, texts[0]);
    if (to)
        format_rule(&to->rule, texts[1]);
    if (!from)
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): one of both is there */
        diff_add(diff, DIFF_OVERRIDE_ADDED, true, "override %s/%s: added, %s", tenant, rule->name,
                 texts[1]);
    else if (!to)
        diff_add(diff, DIFF_OVERRIDE_REMOVED, true, "override %s/%s: removed", tenant, rule->name);
    else if (!is_same_numbers(&from->rule, &to->rule))
        diff_add(diff, DIFF_OVERRIDE_CHANGED, true, "override %s/%s: %s -> %s, %s", tenant,
                 rule->name, texts[0], texts[1], state_text(&from->rule, &to->rule));
}

/* Both lists are in the same order already. */
static void diff_overrides(struct diff *diff, const char *tenant, const struct rule *from,
                           const struct rule *to)
{
    const struct config_overrides *a = from->overrides, *b = to->overrides;
    const uint32_t a_count = a ? a->count : 0, b_count = b ? b->count : 0;
    for (uint32_t i = 0, j = 0; i < a_count || j < b_count;) {
        const struct config_override *left = i < a_count ? &a->items[i] : NULL;
        const struct config_override *right = j < b_count ? &b->items[j] : NULL;
        int order = left ? right ? left->is_prefix - right->is_prefix : -1 : 1;
        if (order == 0)
            order = strcmp(left->subject, right->subject);
        diff_override(diff, tenant, order <= 0 ? left : NULL, order >= 0 ? right : NULL);
        i += order <= 0;
        j += order >= 0;
    }
}

static void diff_rule_change(struct diff *diff, const char *tenant, const struct rule *from,
                             const struct rule *to)
{
    char texts[2][RULE_SIZE];
    format_rule(from, texts[0]);
    format_rule(to, texts[1]);
    if (from->id != to->id)
        diff_add(diff, DIFF_RULE_CHANGED, true, "rule %s/%s: id %" PRIu32 " -> %" PRIu32 ", %s",
                 tenant, to->name, from->id, to->id, state_text(from, to));
    if (!is_same_numbers(from, to))
        diff_add(diff, DIFF_RULE_CHANGED, true, "rule %s/%s: %s -> %s, %s", tenant, to->name,
                 texts[0], texts[1], state_text(from, to));
    if (from->shadow != to->shadow)
        diff_add(diff, DIFF_RULE_CHANGED, true, "rule %s/%s: %s", tenant, to->name,
                 to->shadow ? "becomes a shadow, which never denies"
                            : "is no shadow any more: it denies");
    if (from->limit.sync != to->limit.sync || from->limit.on_loss != to->limit.on_loss)
        diff_add(diff, DIFF_RULE_CHANGED, true,
                 "rule %s/%s: sync %s, on_backend_loss %s -> %s, %s, %s", tenant, to->name,
                 SYNCS[from->limit.sync], LOSSES[from->limit.on_loss], SYNCS[to->limit.sync],
                 LOSSES[to->limit.on_loss], state_text(from, to));
    diff_overrides(diff, tenant, from, to);
}

static void diff_rule(struct diff *diff, const char *tenant, const struct rule *from,
                      const struct rule *to)
{
    char text[RULE_SIZE];
    if (from && to) {
        diff_rule_change(diff, tenant, from, to);
    } else if (from) {
        diff_add(diff, DIFF_RULE_REMOVED, true, "rule %s/%s: removed", tenant, from->name);
    } else {
        format_rule(to, text);
        diff_add(diff, DIFF_RULE_ADDED, true, "rule %s/%s: added, %s%s", tenant, to->name, text,
                 to->shadow ? ", as a shadow" : "");
    }
}

static int compare_rules(const void *left, const void *right)
{
    const struct rule *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

static int compare_tenants(const void *left, const void *right)
{
    const struct tenant *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

/* Pointers to items of that size, sorted; NULL if there is no memory. */
static void **sort(const void *items, size_t size, uint32_t count,
                   int (*compare)(const void *, const void *))
{
    void **sorted = calloc((size_t)count + 1, sizeof(*sorted));
    for (uint32_t i = 0; sorted && i < count; i++)
        sorted[i] = (char *)(uintptr_t)items + i * size;
    if (sorted)
        qsort(sorted, count, sizeof(*sorted), compare);
    return sorted;
}

static void diff_rules(struct diff *diff, const struct tenant *from, const struct tenant *to)
{
    const uint32_t a_count = from->rule_count, b_count = to->rule_count;
    void **a = sort(from->rules, sizeof(struct rule), a_count, compare_rules);
    void **b = sort(to->rules, sizeof(struct rule), b_count, compare_rules);
    diff->is_incomplete |= !a || !b;
    for (uint32_t i = 0, j = 0; a && b && (i < a_count || j < b_count);) {
        const struct rule *left = a[i], *right = b[j]; /* NULL behind the end */
        const int order = left ? right ? strcmp(left->name, right->name) : -1 : 1;
        diff_rule(diff, to->name, order <= 0 ? left : NULL, order >= 0 ? right : NULL);
        i += order <= 0;
        j += order >= 0;
    }
    free(a);
    free(b);
}

/* How many of one's secrets the other has too. */
static uint32_t count_kept(const struct tenant *one, const struct tenant *other)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < one->secret_count; i++)
        for (uint32_t j = 0; j < other->secret_count; j++)
            kept +=
                one->secrets[i].len == other->secrets[j].len &&
                memcmp(one->secrets[i].bytes, other->secrets[j].bytes, one->secrets[i].len) == 0;
    return kept;
}

static void diff_secrets(struct diff *diff, const struct tenant *from, const struct tenant *to)
{
    const uint32_t kept = count_kept(from, to);
    const uint32_t added = to->secret_count - kept, removed = from->secret_count - kept;
    if (added || removed)
        diff_add(diff, DIFF_SECRETS, true,
                 "tenant %s: secrets rotated: %" PRIu32 " added, %" PRIu32 " removed, %" PRIu32
                 " kept",
                 to->name, added, removed, kept);
    else if (kept == 2 &&
             (from->secrets[0].len != to->secrets[0].len ||
              memcmp(from->secrets[0].bytes, to->secrets[0].bytes, from->secrets[0].len) != 0))
        diff_add(diff, DIFF_SECRETS, true, "tenant %s: secrets change places", to->name);
}

static const struct config_api_key *find_key(const struct tenant *tenant, const char *name)
{
    for (uint32_t i = 0; i < tenant->api_key_count; i++)
        if (strcmp(tenant->api_keys[i].name, name) == 0)
            return &tenant->api_keys[i];
    return NULL;
}

static void diff_keys(struct diff *diff, const struct tenant *from, const struct tenant *to)
{
    for (uint32_t i = 0; i < from->api_key_count; i++) {
        const struct config_api_key *key = &from->api_keys[i], *now = find_key(to, key->name);
        if (!now)
            diff_add(diff, DIFF_API_KEY, true, "tenant %s: API key %s removed", to->name,
                     key->name);
        else if (memcmp(key->sha256, now->sha256, sizeof(key->sha256)) != 0 ||
                 key->may_check != now->may_check || key->may_manage != now->may_manage)
            diff_add(diff, DIFF_API_KEY, true, "tenant %s: API key %s changed", to->name,
                     key->name);
    }
    for (uint32_t i = 0; i < to->api_key_count; i++)
        if (!find_key(from, to->api_keys[i].name))
            diff_add(diff, DIFF_API_KEY, true, "tenant %s: API key %s added", to->name,
                     to->api_keys[i].name);
}

static void diff_entries(struct diff *diff, const char *name, uint64_t from, uint64_t to)
{
    if (from != to)
        diff_add(diff, DIFF_TENANT_FIELD, false, "tenant %s: entries %" PRIu64 " -> %" PRIu64, name,
                 from, to);
}

static void diff_envoy(struct diff *diff, const struct tenant *from, const struct tenant *to)
{
    if (from->charges_each != to->charges_each)
        diff_add(diff, DIFF_TENANT_FIELD, true, "tenant %s: envoy.charge -> %s", to->name,
                 to->charges_each ? "each" : "all_or_nothing");
    if (from->adds_headers != to->adds_headers)
        diff_add(diff, DIFF_TENANT_FIELD, true, "tenant %s: envoy.headers -> %s", to->name,
                 to->adds_headers ? "true" : "false");
}

static void diff_tenant_fields(struct diff *diff, const struct tenant *from,
                               const struct tenant *to)
{
    char texts[2][RULE_SIZE];
    const char *tiers[2] = {from->tier ? from->tier : "none", to->tier ? to->tier : "none"};
    if (from->id != to->id)
        diff_add(diff, DIFF_TENANT_FIELD, true,
                 "tenant %s: id %" PRIu32 " -> %" PRIu32 ", starts fresh", to->name, from->id,
                 to->id);
    if (strcmp(tiers[0], tiers[1]) != 0)
        diff_add(diff, DIFF_TENANT_FIELD, true, "tenant %s: tier %s -> %s", to->name, tiers[0],
                 tiers[1]);
    if (!is_same_spec(&from->checks_spec, &to->checks_spec)) {
        format_spec(&from->checks_spec, NULL, texts[0]);
        format_spec(&to->checks_spec, NULL, texts[1]);
        diff_add(diff, DIFF_TENANT_FIELD, true, "tenant %s: checks %s -> %s", to->name, texts[0],
                 texts[1]);
    }
    diff_entries(diff, to->name, from->entries, to->entries);
    if (!descriptors_are_same(from->descriptors, to->descriptors))
        diff_add(diff, DIFF_TENANT_FIELD, true, "tenant %s: descriptors changed", to->name);
    diff_envoy(diff, from, to);
}

static void diff_tenant(struct diff *diff, const struct tenant *from, const struct tenant *to)
{
    if (!to) {
        diff_add(diff, DIFF_TENANT_REMOVED, true, "tenant %s: removed, its entries are freed",
                 /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): one of both is there */
                 from->name);
    } else if (!from) {
        diff_add(diff, DIFF_TENANT_ADDED, true, "tenant %s: added, %" PRIu32 " rule%s", to->name,
                 to->rule_count, to->rule_count == 1 ? "" : "s");
        diff_entries(diff, to->name, 0, to->entries);
    } else {
        diff_tenant_fields(diff, from, to);
        diff_secrets(diff, from, to);
        diff_keys(diff, from, to);
        diff_rules(diff, from, to);
    }
}

void diff_tenants(struct diff *diff, const struct config *from, const struct config *to)
{
    void **a = sort(from->tenants, sizeof(struct tenant), from->tenant_count, compare_tenants);
    void **b = sort(to->tenants, sizeof(struct tenant), to->tenant_count, compare_tenants);
    diff->is_incomplete |= !a || !b;
    for (uint32_t i = 0, j = 0; a && b && (i < from->tenant_count || j < to->tenant_count);) {
        const struct tenant *left = a[i], *right = b[j]; /* NULL behind the end */
        const int order = left ? right ? strcmp(left->name, right->name) : -1 : 1;
        diff_tenant(diff, order <= 0 ? left : NULL, order >= 0 ? right : NULL);
        i += order <= 0;
        j += order >= 0;
    }
    free(a);
    free(b);
}
