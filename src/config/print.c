/* The effective configuration as YAML. What a default leaves open (the admin socket that need not
 * be made) stays open when the text is read again, so it stands as a comment. A tier's rules stand
 * in each of its tenants; the tiers keep their names and nothing else. */
#include "config/config.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

static void print_network(FILE *out, const struct config_network *network)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    const bool v4 = network->bits >= 96 && memcmp(network->prefix, mapped, sizeof(mapped)) == 0;
    char text[INET6_ADDRSTRLEN] = "";
    inet_ntop(v4 ? AF_INET : AF_INET6, network->prefix + (v4 ? 12 : 0), text, sizeof(text));
    fprintf(out, "\"%s/%u\"", text, v4 ? network->bits - 96u : network->bits);
}

static void print_top(const struct config *config, FILE *out)
{
    static const char *const backends[] = {"auto", "io_uring", "mmsg"};
    static const char *const on_full[] = {"evict", "allow", "deny"};

    fputs("namespace: ", out);
    print_text(out, config->namespace_name);
    fputs("\nlisten:\n  udp: [", out);
    for (unsigned i = 0; i < config->listen_udp_count; i++)
        fprintf(out, "%s\"%s\"", i ? ", " : "", config->listen_udp[i].text);
    fputs("]\n", out);
    if (config->listen_admin_is_default) {
        fprintf(out, "  # admin: %s, if it can be made\n", config->listen_admin);
    } else {
        fputs("  admin: ", out);
        if (config->listen_admin)
            print_quoted(out, config->listen_admin);
        else
            fputs("none", out);
        fputc('\n', out);
    }
    fputs("trusted_networks: [", out);
    for (unsigned i = 0; i < config->trusted_count; i++) {
        fputs(i ? ", " : "", out);
        print_network(out, &config->trusted[i]);
    }
    fputs("]\n", out);
    fprintf(out, "spin_us: %" PRIu64 "\n", config->spin_us);
    if (config->workers)
        fprintf(out, "workers: %u\n", config->workers);
    else
        fputs("workers: auto\n", out);
    fprintf(out, "backend: %s\ntable:\n  entries: %" PRIu64 "\n  on_full: %s\n",
            backends[config->backend], config->table_entries, on_full[config->on_full]);
}

static bool is_bucket(const struct rule *rule)
{
    return rule->spec.algorithm == ALGORITHM_TOKEN_BUCKET ||
           rule->spec.algorithm == ALGORITHM_LEAKY_METER ||
           rule->spec.algorithm == ALGORITHM_LEAKY_QUEUE;
}

static void print_rule(const struct rule *rule, FILE *out)
{
    char rate[64];
    fputs("      - {name: ", out);
    print_text(out, rule->name);
    if (rule->id != key_name_id(rule->name, strlen(rule->name)))
        fprintf(out, ", id: %" PRIu32, rule->id);
    fprintf(out, ", algorithm: %s", algorithm_name(rule->spec.algorithm));
    value_format_rate(rule->spec.count, rule->spec.period_ns, rate, sizeof(rate));
    if (is_bucket(rule))
        fprintf(out, ", rate: %s, burst: %" PRIu64, rate, rule->spec.burst);
    else if (limit_is_wall(&rule->limit))
        fprintf(out, ", limit: %s", rate);
    if (rule->queue)
        fputs(", mode: queue", out);
    if (rule->shadow)
        fputs(", shadow: true", out);
    fprintf(out, "} # id 0x%08" PRIx32, rule->id);
    if (is_bucket(rule)) {
        const double asked = (double)rule->spec.count * 1e9 / (double)rule->spec.period_ns;
        const double real = limit_true_rate(&rule->limit);
        if (fabs(real - asked) > asked * RATE_TOLERANCE)
            fprintf(out, ", true rate %.9g/s", real);
    }
    fputc('\n', out);
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
    fputs(tenant->rule_count ? "    rules:\n" : "    rules: []\n", out);
    for (uint32_t i = 0; i < tenant->rule_count; i++)
        print_rule(&tenant->rules[i], out);
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
