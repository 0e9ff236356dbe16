/* Counters by owner row, brought back to the names that the running configuration gives the rows.
 * Inline limits of a tenant share a row, which is shown once it was used. */
#include "cmd/serve_usage.h"

#include <inttypes.h>
#include <string.h>

#include "cmd/printable.h"
#include "cmd/server.h"
#include "doors/http_write.h"

struct visitor {
    FILE *out;
    const struct server *server;
    const uint64_t *live;
    bool has_any; /* something was printed */
};

void usage_add(struct rule_sum *total, struct rule_sum more)
{
    total->allowed += more.allowed;
    total->denied += more.denied;
    total->would_deny += more.would_deny;
    total->units += more.units;
}

struct rule_sum usage_sum_row(const struct server *server, uint32_t row, enum observe_door door)
{
    struct rule_sum total = {0};
    for (unsigned set = 0; set < server->set_count; set++) {
        const struct rule_counters *cell =
            &server->rule_counters[(size_t)set * server->row_count + row];
        if (observe_door_of_set(server, set) != door)
            continue;
        usage_add(&total,
                  (struct rule_sum){counter_read(&cell->allowed), counter_read(&cell->denied),
                                    counter_read(&cell->would_deny), counter_read(&cell->units)});
    }
    return total;
}

struct rule_sum usage_sum_door(const struct server *server, uint32_t row, enum observe_door door)
{
    struct rule_sum total = usage_sum_row(server, row, door);
    usage_add(&total, server->carried[(size_t)door * server->row_count + row]);
    return total;
}

void usage_sum_doors(const struct server *server, uint32_t row, struct rule_sum *sums)
{
    for (enum observe_door door = 0; door < OBSERVE_DOORS; door++)
        usage_add(&sums[door], usage_sum_door(server, row, door));
}

struct secret_sum usage_sum_secrets(const struct server *server, uint32_t row)
{
    struct secret_sum total = {0};
    for (unsigned w = 0; w < server->thread_count; w++) {
        const struct secret_counters *cell =
            &server->secret_counters[(size_t)w * server->row_count + row];
        for (unsigned s = 0; s < CONFIG_MAX_SECRETS; s++)
            total.used[s] += counter_read(&cell->used[s]);
    }
    return total;
}

static uint64_t secret_use(const struct server *server, const struct tenant *tenant, uint32_t s)
{
    return usage_sum_secrets(server, tenant->inline_index).used[s] +
           server->secret_carried[tenant->inline_index].used[s];
}

struct rule_sum usage_sum_all(const struct server *server, uint32_t row)
{
    struct rule_sum total = {0};
    for (enum observe_door door = 0; door < OBSERVE_DOORS; door++)
        usage_add(&total, usage_sum_door(server, row, door));
    return total;
}

struct rule_sum usage_sum_rule(const struct server *server, const struct rule *rule)
{
    struct rule_sum total = usage_sum_all(server, rule->index);
    for (uint32_t i = 0; rule->overrides && i < rule->overrides->count; i++)
        usage_add(&total, usage_sum_all(server, rule->overrides->items[i].rule.index));
    return total;
}

static struct rule_sum sum_of(const struct visitor *visitor, uint32_t row)
{
    return usage_sum_all(visitor->server, row);
}

static bool was_used(const struct visitor *visitor, uint32_t row)
{
    const struct rule_sum total = sum_of(visitor, row);
    return total.allowed || total.denied || visitor->live[row];
}

static uint64_t refused_checks(const struct server *server, const struct tenant *tenant)
{
    uint64_t total = 0;
    for (unsigned w = 0; w < server->thread_count; w++)
        total += counter_read(
            &server->quota_credits[(size_t)w * server->row_count + tenant->inline_index].refused);
    return total;
}

uint64_t usage_sum_shed(const struct server *server, const struct tenant *tenant)
{
    uint64_t total = 0;
    for (unsigned w = 0; w < server->thread_count; w++)
        total += counter_read(
            &server->quota_credits[(size_t)w * server->row_count + tenant->inline_index].shed);
    return total;
}

static void print_numbers_json(const struct visitor *visitor, uint32_t row)
{
    const struct rule_sum total = sum_of(visitor, row);
    fprintf(visitor->out,
            ",\"allowed\":%" PRIu64 ",\"denied\":%" PRIu64 ",\"would_deny\":%" PRIu64
            ",\"units\":%" PRIu64 ",\"live\":%" PRIu64,
            total.allowed, total.denied, total.would_deny, total.units, visitor->live[row]);
}

static void print_overrides_json(const struct visitor *visitor, const struct rule *rule)
{
    fprintf(visitor->out, ",\"overrides\":[");
    for (uint32_t i = 0; i < rule->overrides->count; i++) {
        const struct config_override *override = &rule->overrides->items[i];
        fprintf(visitor->out, "%s{\"%s\":", i ? "," : "",
                override->is_prefix ? "prefix" : "subject");
        printable_print_json(override->subject, override->len, visitor->out);
        print_numbers_json(visitor, override->rule.index);
        fprintf(visitor->out, "}");
    }
    fprintf(visitor->out, "]");
}

/* Names of tenants and rules are letters, digits and a few signs (the configuration sees to it):
 * nothing to escape. rule NULL: the tenant's inline limits. */
static void print_rule_json(struct visitor *visitor, const struct tenant *tenant,
                            const struct rule *rule)
{
    fprintf(visitor->out, "%s{\"tenant\":\"%s\",\"rule\":\"%s\"", visitor->has_any ? "," : "",
            tenant->name, rule ? rule->name : "(inline)");
    print_numbers_json(visitor, rule ? rule->index : tenant->inline_index);
    if (rule && rule->overrides)
        print_overrides_json(visitor, rule);
    fprintf(visitor->out, "}");
    visitor->has_any = true;
}

void usage_print_json(const struct server *server, const uint64_t *live, FILE *out)
{
    struct visitor visitor = {.out = out, .server = server, .live = live};
    const struct config *config = server->config;
    fprintf(out, "\"rules\":[");
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        const struct tenant *tenant = &config->tenants[i];
        for (uint32_t j = 0; j < tenant->rule_count; j++)
            print_rule_json(&visitor, tenant, &tenant->rules[j]);
        if (was_used(&visitor, tenant->inline_index))
            print_rule_json(&visitor, tenant, NULL);
    }
    fprintf(out, "],\"tenants\":[");
    for (uint32_t i = 0; i < config->tenant_count; i++)
        fprintf(out, "%s{\"tenant\":\"%s\",\"limited\":%" PRIu64 ",\"shed\":%" PRIu64 "}",
                i ? "," : "", config->tenants[i].name, refused_checks(server, &config->tenants[i]),
                usage_sum_shed(server, &config->tenants[i]));
    fprintf(out, "],\"secrets\":[");
    bool is_first = true;
    for (uint32_t i = 0; i < config->tenant_count; i++)
        for (uint32_t s = 0; s < config->tenants[i].secret_count; s++) {
            fprintf(out, "%s{\"tenant\":\"%s\",\"secret\":%u,\"used\":%" PRIu64 "}",
                    is_first ? "" : ",", config->tenants[i].name, s,
                    secret_use(server, &config->tenants[i], s));
            is_first = false;
        }
    fprintf(out, "]");
}

static void print_secrets_text(const struct server *server, FILE *out)
{
    const struct config *config = server->config;
    if (config->secret_total)
        fprintf(out, "\n%-32s %14s %14s\n", "tenant", "secret", "datagrams");
    for (uint32_t i = 0; i < config->tenant_count; i++)
        for (uint32_t s = 0; s < config->tenants[i].secret_count; s++)
            fprintf(out, "%-32s %14u %14" PRIu64 "\n", config->tenants[i].name, s,
                    secret_use(server, &config->tenants[i], s));
}

static void print_line(struct visitor *visitor, const char *name, uint32_t row)
{
    const struct rule_sum total = sum_of(visitor, row);
    fprintf(visitor->out,
            "%-32s %14" PRIu64 " %14" PRIu64 " %14" PRIu64 " %14" PRIu64 " %14" PRIu64 "\n", name,
            total.allowed, total.denied, total.would_deny, total.units, visitor->live[row]);
}

/* Overrides stand under their rule, by what they apply to. */
static void print_rule_text(struct visitor *visitor, const struct tenant *tenant,
                            const struct rule *rule)
{
    char name[4 * CONFIG_MAX_SUBJECT + 8];
    snprintf(name, sizeof(name), "%s/%s", tenant->name, rule->name);
    print_line(visitor, name, rule->index);
    for (uint32_t i = 0; rule->overrides && i < rule->overrides->count; i++) {
        const struct config_override *override = &rule->overrides->items[i];
        const char *own = override->rule.name + strlen(rule->name); /* "[user:42]" */
        name[0] = name[1] = ' ';
        printable_format(own, strlen(own), name + 2, sizeof(name) - 2);
        print_line(visitor, name, override->rule.index);
    }
}

void usage_print_text(const struct server *server, const uint64_t *live, FILE *out)
{
    struct visitor visitor = {.out = out, .server = server, .live = live};
    const struct config *config = server->config;
    char name[2 * CONFIG_MAX_NAME];
    fprintf(out, "\n%-32s %14s %14s %14s %14s %14s\n", "tenant/rule", "allowed", "denied",
            "would_deny", "units", "live");
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        const struct tenant *tenant = &config->tenants[i];
        for (uint32_t j = 0; j < tenant->rule_count; j++)
            print_rule_text(&visitor, tenant, &tenant->rules[j]);
        if (was_used(&visitor, tenant->inline_index)) {
            snprintf(name, sizeof(name), "%s/(inline)", tenant->name);
            print_line(&visitor, name, tenant->inline_index);
        }
        if (quota_is_set(&tenant->checks))
            fprintf(out, "%-32s %14s %14" PRIu64 " beyond its limit on checks\n", tenant->name, "",
                    refused_checks(server, tenant));
        uint64_t shed = usage_sum_shed(server, tenant);
        if (shed)
            fprintf(out, "%-32s %14s %14" PRIu64 " left out in overloads\n", tenant->name, "",
                    shed);
    }
    print_secrets_text(server, out);
}

void usage_answer(void *context, const struct tenant *tenant, struct http_out *out)
{
    struct server *server = context;
    http_print(out, "{\"tenant\":\"%s\",\"rules\":[", tenant->name);
    pthread_mutex_lock(&server->usage_lock);
    for (uint32_t i = 0; i < tenant->rule_count; i++) {
        const struct rule_sum total = usage_sum_rule(server, &tenant->rules[i]);
        http_print(out,
                   "%s{\"rule\":\"%s\",\"allowed\":%" PRIu64 ",\"denied\":%" PRIu64
                   ",\"would_deny\":%" PRIu64 ",\"units\":%" PRIu64 "}",
                   i ? "," : "", tenant->rules[i].name, total.allowed, total.denied,
                   total.would_deny, total.units);
    }
    pthread_mutex_unlock(&server->usage_lock);
    http_print(out, "]}\n");
}
