/* Reloading, step by step:
 *
 *   load      the same file, environment and --set as at the start; checked whole
 *   keep      what cannot change live stays, and is named (config/keep.h)
 *   bind      owners to rows of the table (table/owners.h); too many are refused
 *   publish   one pointer, and a wait until no worker uses the old one (config/publish.h)
 *   free      the old configuration; usage of rules that got another row moves with them
 *
 * What may take longer, because it goes through the table, is done in pieces by serve_upkeep()
 * between signals and operators. Main thread only. */
#include "cmd/serve_reload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/server.h"
#include "config/keep.h"
#include "net/policy.h"
#include "obs/log.h"
#include "table/owners.h"

#define MIN_ROWS 1024u
#define UPKEEP_GROUPS 4096u /* of one piece: 512 KiB of the table */
#define HASH_SHOWN 12       /* digits of a file's hash in the log */

uint32_t serve_row_count(uint32_t index_count)
{
    uint32_t rows = MIN_ROWS;
    while (rows < TABLE_MAX_OWNERS && rows / 2 < index_count)
        rows *= 2;
    return rows;
}

struct policy *serve_make_policy(const struct server *server, struct config *config)
{
    struct policy *policy = calloc(1, sizeof(*policy));
    if (!policy)
        return NULL;
    policy->config = config;
    policy->sweep_group_ns = engine_sweep_group_ns(config, server->table, server->worker_count);
    return policy;
}

void serve_free_policy(struct policy *policy)
{
    if (policy)
        config_destroy(policy->config);
    free(policy);
}

static void add(struct rule_sum *total, struct rule_sum more)
{
    total->allowed += more.allowed;
    total->denied += more.denied;
    total->would_deny += more.would_deny;
    total->units += more.units;
}

/* owners_row_fn: no worker counts under this row any more. */
static void carry_usage(void *context, uint32_t row, uint32_t successor)
{
    struct server *server = context;
    if (successor == OWNERS_NONE)
        return;
    add(&server->carried[successor], server->carried[row]);
    add(&server->carried[successor], serve_sum_row(server, row));
}

/* owners_row_fn: the next owner of this row starts from nothing. The next publication hands the
 * zeroes to the workers; none of them has the row's number now. */
static void clear_usage(void *context, uint32_t row, uint32_t successor)
{
    struct server *server = context;
    (void)successor;
    server->carried[row] = (struct rule_sum){0};
    for (unsigned w = 0; w < server->worker_count; w++) {
        struct rule_counters *cell = &server->rule_counters[(size_t)w * server->row_count + row];
        counter_clear(&cell->allowed);
        counter_clear(&cell->denied);
        counter_clear(&cell->would_deny);
        counter_clear(&cell->units);
    }
}

/* What differs between two configurations, in numbers. */
struct changes {
    unsigned tenants_added, tenants_removed, rules_added, rules_removed, rules_changed;
};

static bool is_same_rule(const struct rule *a, const struct rule *b)
{
    return memcmp(&a->limit, &b->limit, sizeof(a->limit)) == 0 && a->shadow == b->shadow &&
           a->queue == b->queue;
}

/* The rules of a tenant stand in the order of their ids. */
static void count_rules(const struct tenant *before, const struct tenant *after,
                        struct changes *changes)
{
    uint32_t b = 0, a = 0;
    while (b < before->rule_count || a < after->rule_count) {
        const struct rule *old = b < before->rule_count ? &before->rules[b] : NULL;
        const struct rule *new = a < after->rule_count ? &after->rules[a] : NULL;
        bool is_gone = old && (!new || old->id < new->id);
        bool is_fresh = new && (!old || new->id < old->id);
        changes->rules_removed += is_gone;
        changes->rules_added += is_fresh;
        changes->rules_changed += !is_gone && !is_fresh && !is_same_rule(old, new);
        b += !is_fresh;
        a += !is_gone;
    }
}

static struct changes count_changes(const struct config *before, const struct config *after)
{
    static const struct tenant none;
    struct changes changes = {0};
    for (uint32_t i = 0; i < before->tenant_count; i++) {
        const struct tenant *tenant = &before->tenants[i];
        const struct tenant *now = config_find_tenant(after, tenant->id);
        changes.tenants_removed += !now;
        count_rules(tenant, now ? now : &none, &changes);
    }
    for (uint32_t i = 0; i < after->tenant_count; i++) {
        const struct tenant *tenant = &after->tenants[i];
        if (config_find_tenant(before, tenant->id))
            continue;
        changes.tenants_added++;
        count_rules(&none, tenant, &changes);
    }
    return changes;
}

static void say(FILE *answer, const char *asker, bool is_error, const char *text)
{
    log_line("reload by %s: %s%s", asker, text, is_error ? "; nothing was changed" : "");
    if (answer)
        fprintf(answer, "%s%s\n", is_error ? "error: " : "", text);
}

static void say_done(const struct server *server, const struct config *before, const char *asker,
                     const char *kept, FILE *answer)
{
    const struct config *after = server->config;
    const struct changes changes = count_changes(before, after);
    char text[900];
    snprintf(text, sizeof(text),
             "%s from %.*s to %.*s: tenants +%u -%u, rules +%u -%u, changed %u%s%s",
             after->path ? after->path : "embedded default", HASH_SHOWN, before->file_hash,
             HASH_SHOWN, after->file_hash, changes.tenants_added, changes.tenants_removed,
             changes.rules_added, changes.rules_removed, changes.rules_changed,
             kept[0] ? "; needs a restart: " : "", kept);
    say(answer, asker, false, text);
}

/* Puts config in the place of the running one. Results: 0, or -EINVAL with the reason in error; the
 * caller's it is then. */
static int replace(struct server *server, struct config *config, char *error, size_t size)
{
    struct policy *policy = serve_make_policy(server, config);
    int result = policy ? engine_rebind_owners(server->table, config) : -ENOMEM;
    if (result) {
        free(policy);
        if (result == -ENOSPC)
            snprintf(error, size,
                     "its tenants and rules need %" PRIu32 " owner rows of which %" PRIu32
                     " are free of %" PRIu32 "; a restart makes room",
                     config->index_count, owners_free_count(server->table), server->row_count);
        else
            snprintf(error, size, "no memory to bind it");
        return -EINVAL;
    }
    publish_swap(server->publish, policy);
    publish_wait(server->publish);
    server->policy = policy;
    server->config = config;
    owners_settle(server->table, carry_usage, server);
    return 0;
}

void serve_watch(struct server *server)
{
    int result = watch_set(&server->watch, server->config->reload == RELOAD_WATCH);
    if (result)
        log_line("reload: cannot watch the folder of %s (%s); SIGHUP and `mete reload` still do",
                 server->config->path, strerror(-result));
}

void serve_reload(struct server *server, const char *asker, FILE *answer)
{
    char error[512], *kept = NULL;
    size_t kept_len;
    struct policy *old = server->policy;
    FILE *names = open_memstream(&kept, &kept_len);
    watch_look(&server->watch, server->options->path);
    struct config *config = config_load(server->options, error, sizeof(error));
    bool is_good = config != NULL;
    if (is_good && (!names || config_keep(config, server->config, names))) {
        snprintf(error, sizeof(error), "no memory to read it");
        is_good = false;
    }
    if (names && fclose(names) != 0)
        kept = NULL;
    is_good = is_good && replace(server, config, error, sizeof(error)) == 0;
    if (is_good) {
        say_done(server, old->config, asker, kept ? kept : "", answer);
        serve_free_policy(old);
        serve_watch(server);
    } else {
        config_destroy(config);
        say(answer, asker, true, error);
    }
    free(kept);
}

static uint64_t now_ns(void *context)
{
    const struct server *server = context;
    return clock_boot_ns() - table_time_base_ns(server->table);
}

bool serve_upkeep(struct server *server)
{
    bool has_more = owners_upkeep(server->table, UPKEEP_GROUPS, now_ns, server);
    if (owners_has_emptied(server->table)) {
        publish_wait(server->publish);
        owners_reclaim(server->table, clear_usage, server);
    }
    return has_more;
}
