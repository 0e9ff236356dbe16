/* The effective configuration as YAML. What a default leaves open (the admin socket that need not
 * be made) stays open when the text is read again, so it stands as a comment. A tier's rules stand
 * in each of its tenants; the tiers keep their names and nothing else. */
#include "config/config.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/descriptors.h"
#include "config/interface.h"
#include "config/value.h"
#include "core/key.h"

#define RATE_TOLERANCE 1e-6

/* In double quotes: printable ASCII is all that a configuration holds. */
static void print_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

/* Plain where that is certain to read back as the same text. */
static void print_text(FILE *out, const char *text)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
    if (*text != '-' && text[strspn(text, safe)] == 0 && strcmp(text, "none") != 0)
        fputs(text, out);
    else
        print_quoted(out, text);
}

/* "FIELD: PATH" with `none` for NULL. */
static void print_path(FILE *out, const char *field, const char *path)
{
    fprintf(out, "%s: ", field);
    if (path)
        print_quoted(out, path);
    else
        fputs("none", out);
    fputc('\n', out);
}

static void print_repeats(const struct config *config, FILE *out)
{
    char window[32], ahead[32], memory[32];
    value_format_duration(config->repeat_window_ns, window, sizeof(window));
    value_format_duration(config->repeat_ahead_ns, ahead, sizeof(ahead));
    value_format_bytes(config->repeat_bytes, memory, sizeof(memory));
    fprintf(out, "repeats: {window: %s, ahead: %s, memory: %s}\n", window, ahead, memory);
}

static void print_overload(const struct config_overload *overload, FILE *out)
{
    char budget[32], age[32];
    value_format_duration(overload->delay_budget_ns, budget, sizeof(budget));
    value_format_duration(overload->max_age_ns, age, sizeof(age));
    fprintf(
        out, "overload: {shedding: %s, delay_budget: %s, max_age: %s, shed_answers: %" PRIu64 "}\n",
        overload->shedding == SHEDDING_OFF ? "off" : "auto", budget, age, overload->shed_answers);
}

/* The end of `doors`. */
static void print_headers(unsigned bits, FILE *out)
{
    static const char *const names[] = CONFIG_HEADERS_NAMES;
    const char *before = "";
    fputs(", headers: [", out);
    for (unsigned i = 0; names[i]; i++)
        if (bits & 1u << i) {
            fprintf(out, "%s%s", before, names[i]);
            before = ", ";
        }
    fputs("]}\n", out);
}

static void print_tls(const struct config_tls *tls, FILE *out)
{
    fputs("tls:\n", out);
    print_path(out, "  certificate", tls->certificate.path);
    print_path(out, "  key", tls->key.path);
    print_path(out, "  client_ca", tls->client_ca.path);
    fprintf(out, "  clients: %s\n", tls->clients == CLIENTS_REQUIRED ? "required" : "optional");
}

static void print_otlp(const struct config *config, FILE *out)
{
    char every[32];
    if (!config_door_text(&config->otlp_endpoint))
        return;
    value_format_duration(config->otlp_every_ns, every, sizeof(every));
    print_path(out, "otlp:\n  endpoint", config_door_text(&config->otlp_endpoint));
    fprintf(out, "  sample_every: %" PRIu64 "\n  metrics_every: %s\n", config->otlp_sample_every,
            every);
}

static void print_redis(const struct config_redis *redis, FILE *out)
{
    char flush[32], wait[32], id[32] = "auto";
    value_format_duration(redis->flush_ns, flush, sizeof(flush));
    value_format_duration(redis->exact_wait_ns, wait, sizeof(wait));
    if (redis->node_id)
        snprintf(id, sizeof(id), "%" PRIu64, redis->node_id);
    fputs("redis:\n", out);
    print_path(out, "  url", redis->url);
    print_path(out, "  user", redis->user);
    print_path(out, "  password_file", redis->password_file);
    print_path(out, "  ca_file", redis->ca_file);
    fprintf(out,
            "  flush: %s\n  exact_wait: %s\n  nodes: %" PRIu64 "\n  node_id: %s\n  partitions: "
            "%" PRIu64 "\n  rows: %" PRIu64 "\n  ring: %" PRIu64 "\n",
            flush, wait, redis->nodes, id, redis->partitions, redis->rows, redis->ring);
}

static void print_table(const struct config *config, FILE *out)
{
    static const char *const on_full[] = {"evict", "allow", "deny"};
    char every[32];

    value_format_duration(config->snapshot_every_ns, every, sizeof(every));
    fprintf(out, "table:\n  entries: %" PRIu64 "\n  on_full: %s\n", config->table_entries,
            on_full[config->on_full]);
    print_path(out, "  file", config->table_file);
    fprintf(out, "  on_bad_file: %s\n",
            config->on_bad_file == ON_BAD_FILE_REFUSE ? "refuse" : "start");
    print_path(out, "  snapshot", config->snapshot_path);
    fprintf(out, "  snapshot_every: %s\n", every);
}

static void print_top(const struct config *config, FILE *out)
{
    static const char *const backends[] = CONFIG_BACKENDS;
    char network[64], idle[32];

    fputs("namespace: ", out);
    print_text(out, config->namespace_name);
    fputc('\n', out);
    print_path(out, "key_file", config->key_file);
    fputs("listen:\n  udp: [", out);
    for (unsigned i = 0; i < config->listen_udp_count; i++)
        fprintf(out, "%s\"%s\"", i ? ", " : "", config->listen_udp[i].text);
    fputs("]\n", out);
    interface_print_name(config, out);
    print_path(out, "  unix", config->listen_unix);
    print_path(out, "  resp", config_door_text(&config->listen_resp));
    print_path(out, "  http", config_door_text(&config->listen_http));
    print_path(out, "  grpc", config_door_text(&config->listen_grpc));
    print_path(out, "  resp_tls", config_door_text(&config->listen_resp_tls));
    print_path(out, "  http_tls", config_door_text(&config->listen_http_tls));
    print_path(out, "  grpc_tls", config_door_text(&config->listen_grpc_tls));
    print_path(out, "  metrics", config_door_text(&config->listen_metrics));
    if (config->listen_admin_is_default)
        fprintf(out, "  # admin: %s, if it can be made\n", config->listen_admin);
    else
        print_path(out, "  admin", config->listen_admin);
    print_tls(&config->tls, out);
    fputs("trusted_networks: [", out);
    for (unsigned i = 0; i < config->trusted_count; i++) {
        fputs(i ? ", " : "", out);
        value_format_network(&config->trusted[i], network, sizeof(network));
        fprintf(out, "\"%s\"", network);
    }
    fputs("]\n", out);
    fprintf(out, "spin_us: %" PRIu64 "\n", config->spin_us);
    print_repeats(config, out);
    value_format_duration(config->door_idle_ns, idle, sizeof(idle));
    fprintf(out, "doors: {connections: %" PRIu64 ", idle: %s, echo: ", config->door_connections,
            idle);
    print_text(out, config->echo_rule ? config->echo_rule : "none");
    print_headers(config->http_headers, out);
    print_otlp(config, out);
    fprintf(out, "reload: %s\n", config->reload == RELOAD_WATCH ? "watch" : "signal");
    fprintf(out, "log: %s\n", config->log == CONFIG_LOG_JSON ? "json" : "text");
    if (config->workers)
        fprintf(out, "workers: %u\n", config->workers);
    else
        fputs("workers: auto\n", out);
    fprintf(out, "backend: %s\nfilter: %s\nsteering: %s\n", backends[config->backend],
            config->filter == FILTER_OFF ? "off" : "auto",
            config->steering == STEERING_CPU ? "cpu" : "flow");
    print_overload(&config->overload, out);
    interface_print(config, out);
    print_table(config, out);
    print_redis(&config->redis, out);
}

static bool is_bucket(const struct rule *rule)
{
    return rule->spec.algorithm == ALGORITHM_TOKEN_BUCKET ||
           rule->spec.algorithm == ALGORITHM_LEAKY_METER ||
           rule->spec.algorithm == ALGORITHM_LEAKY_QUEUE;
}

/* ", rate: 10/s, burst: 20", ", limit: 5/60s" or ", limit: 10"; nothing for algorithms without
 * numbers. */
static void print_numbers(const struct rule *rule, FILE *out)
{
    char rate[64];
    if (rule->spec.algorithm == ALGORITHM_CONCURRENCY) {
        fprintf(out, ", limit: %" PRIu64, rule->spec.count);
        return;
    }
    value_format_rate(rule->spec.count, rule->spec.period_ns, rate, sizeof(rate));
    if (rule->calendar)
        fprintf(out, ", limit: %" PRIu64, rule->spec.count);
    else if (is_bucket(rule))
        fprintf(out, ", rate: %s, burst: %" PRIu64, rate, rule->spec.burst);
    else if (limit_is_wall(&rule->limit))
        fprintf(out, ", limit: %s", rate);
}

/* Only of a rule: its overrides have the same. */
static void print_lease(const struct rule *rule, FILE *out)
{
    char lease[32];
    value_format_duration(rule->spec.period_ns, lease, sizeof(lease));
    fprintf(out, ", lease: %s", lease);
}

/* At the end of a line, behind what tells that a comment begins. */
static void print_true_rate(const struct rule *rule, const char *before, FILE *out)
{
    const double asked = (double)rule->spec.count * 1e9 / (double)rule->spec.period_ns;
    const double real = is_bucket(rule) ? limit_true_rate(&rule->limit) : asked;
    if (is_bucket(rule) && fabs(real - asked) > asked * RATE_TOLERANCE)
        fprintf(out, "%strue rate %.9g/s", before, real);
    fputc('\n', out);
}

static void print_overrides(const struct config_overrides *overrides, FILE *out)
{
    for (uint32_t i = 0; i < overrides->count; i++) {
        const struct config_override *item = &overrides->items[i];
        fprintf(out, "          {%s: ", item->is_prefix ? "prefix" : "subject");
        print_quoted(out, item->subject);
        print_numbers(&item->rule, out);
        fputs("},", out);
        print_true_rate(&item->rule, " # ", out);
    }
    fputs("        ]}\n", out);
}

/* Only what is not each node's own. */
static void print_sync(const struct rule *rule, FILE *out)
{
    static const char *const losses[] = {"share", "full", "deny"};
    if (rule->limit.sync != SYNC_LOCAL)
        fprintf(out, ", sync: %s, on_backend_loss: %s",
                rule->limit.sync == SYNC_EXACT ? "exact" : "shared", losses[rule->limit.on_loss]);
    else if (rule->has_sync)
        fputs(", sync: local", out);
}

static void print_rule(const struct rule *rule, FILE *out)
{
    fputs("      - {name: ", out);
    print_text(out, rule->name);
    if (rule->id != key_name_id(rule->name, strlen(rule->name)))
        fprintf(out, ", id: %" PRIu32, rule->id);
    fprintf(out, ", algorithm: %s", algorithm_name(rule->spec.algorithm));
    print_numbers(rule, out);
    if (rule->spec.algorithm == ALGORITHM_CONCURRENCY)
        print_lease(rule, out);
    if (rule->calendar)
        fprintf(out, ", per: %s, time_zone: %s", calendar_per_name(rule->calendar->per),
                rule->calendar->zone);
    if (rule->queue)
        fputs(", mode: queue", out);
    if (rule->shadow)
        fputs(", shadow: true", out);
    print_sync(rule, out);
    fputs(rule->overrides ? ", overrides: [" : "}", out);
    fprintf(out, " # id 0x%08" PRIx32, rule->id);
    print_true_rate(rule, ", ", out);
    if (rule->overrides)
        print_overrides(rule->overrides, out);
}

static void print_hex(const uint8_t *bytes, size_t len, FILE *out)
{
    fputc('"', out);
    for (size_t i = 0; i < len; i++)
        fprintf(out, "%02x", bytes[i]);
    fputc('"', out);
}

/* A secret by its file only; of an API key the hash, which the file has too. */
static void print_credentials(const struct tenant *tenant, FILE *out)
{
    if (tenant->secret_count)
        fputs("    secret_files: [", out);
    for (uint32_t i = 0; i < tenant->secret_count; i++) {
        fputs(i ? ", " : "", out);
        print_quoted(out, tenant->secret_files[i]);
    }
    fputs(tenant->secret_count ? "]\n" : "", out);
    fputs(tenant->api_key_count ? "    api_keys:\n" : "", out);
    for (uint32_t i = 0; i < tenant->api_key_count; i++) {
        const struct config_api_key *key = &tenant->api_keys[i];
        fputs("      - {name: ", out);
        print_text(out, key->name);
        fputs(key->certificate ? ", certificate: " : ", sha256: ", out);
        if (key->certificate)
            print_quoted(out, key->certificate);
        else
            print_hex(key->sha256, sizeof(key->sha256), out);
        fprintf(out, ", may: [%s%s%s]}\n", key->may_check ? "check" : "",
                key->may_check && key->may_manage ? ", " : "", key->may_manage ? "manage" : "");
    }
}

static void print_checks(const struct tenant *tenant, FILE *out)
{
    char rate[64];
    if (tenant->checks_spec.algorithm == ALGORITHM_UNLIMITED)
        return;
    value_format_rate(tenant->checks_spec.count, tenant->checks_spec.period_ns, rate, sizeof(rate));
    fprintf(out, "    checks: {rate: %s, burst: %" PRIu64 "}\n", rate, tenant->checks_spec.burst);
}

static void print_tenant(const struct tenant *tenant, FILE *out)
{
    fputs("  - name: ", out);
    print_text(out, tenant->name);
    fprintf(out, " # id 0x%08" PRIx32 "\n", tenant->id);
    if (tenant->id != key_name_id(tenant->name, strlen(tenant->name)))
        fprintf(out, "    id: %" PRIu32 "\n", tenant->id);
    if (tenant->tier) {
        fputs("    tier: ", out);
        print_text(out, tenant->tier);
        fputc('\n', out);
    }
    if (tenant->entries)
        fprintf(out, "    entries: %" PRIu64 "\n", tenant->entries);
    print_checks(tenant, out);
    print_credentials(tenant, out);
    fputs(tenant->rule_count ? "    rules:\n" : "    rules: []\n", out);
    for (uint32_t i = 0; i < tenant->rule_count; i++)
        print_rule(&tenant->rules[i], out);
    if (tenant->charges_each || tenant->adds_headers)
        fprintf(out, "    envoy: {charge: %s, headers: %s}\n",
                tenant->charges_each ? "each" : "all_or_nothing",
                tenant->adds_headers ? "true" : "false");
    if (tenant->descriptors && tenant->descriptors->count) {
        fputs("    descriptors:\n", out);
        descriptors_print(tenant->descriptors, 6, out);
    }
}

void config_print(const struct config *config, FILE *out)
{
    print_top(config, out);
    if (config->tier_count)
        fputs("tiers: # their rules stand in their tenants\n", out);
    for (uint32_t i = 0; i < config->tier_count; i++) {
        fputs("  ", out);
        print_text(out, config->tiers[i]);
        fputs(": {rules: []}\n", out);
    }
    fputs("tenants:\n", out);
    for (uint32_t i = 0; i < config->tenant_count; i++)
        print_tenant(&config->tenants[i], out);
}
