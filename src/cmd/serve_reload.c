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

#include "cmd/serve_snapshot.h"
#include "cmd/serve_table.h"
#include "cmd/server.h"
#include "config/diff.h"
#include "config/keep.h"
#include "engine/policy.h"
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
    if (keys_create(config, table_boot_id(server->table), &policy->keys)) {
        free(policy);
        return NULL;
    }
    policy->config = config;
    policy->sweep_group_ns = engine_sweep_group_ns(config, server->table, server->worker_count);
    return policy;
}

void serve_free_policy(struct policy *policy)
{
    keys_destroy(policy->keys, policy->config->tenant_count);
    config_destroy(policy->config);
    free(policy);
}

/* owners_row_fn: no worker counts under this row any more. */
static void carry_usage(void *context, uint32_t row, uint32_t successor)
{
    struct server *server = context;
    if (successor == OWNERS_NONE)
        return;
    for (enum observe_door door = 0; door < OBSERVE_DOORS; door++)
        usage_add(&server->carried[(size_t)door * server->row_count + successor],
                  usage_sum_door(server, row, door));
}

static void clear_rule(struct server *server, uint32_t row)
{
    for (enum observe_door door = 0; door < OBSERVE_DOORS; door++)
        server->carried[(size_t)door * server->row_count + row] = (struct rule_sum){0};
    for (unsigned set = 0; set < server->set_count; set++) {
        struct rule_counters *cell = &server->rule_counters[(size_t)set * server->row_count + row];
        counter_clear(&cell->allowed);
        counter_clear(&cell->denied);
        counter_clear(&cell->would_deny);
        counter_clear(&cell->units);
    }
}

/* owners_row_fn: the next owner of this row starts from nothing. The next publication hands the
 * zeroes to the workers; none of them has the row's number now. */
static void clear_usage(void *context, uint32_t row, uint32_t successor)
{
    struct server *server = context;
    (void)successor;
    clear_rule(server, row);
    server->secret_carried[row] = (struct secret_sum){0};
    for (unsigned w = 0; w < server->thread_count; w++) {
        struct quota_credit *credit = &server->quota_credits[(size_t)w * server->row_count + row];
        credit->checks = 0;
        counter_clear(&credit->refused);
        counter_clear(&credit->shed);
        struct secret_counters *secrets =
            &server->secret_counters[(size_t)w * server->row_count + row];
        for (unsigned s = 0; s < CONFIG_MAX_SECRETS; s++)
            counter_clear(&secrets->used[s]);
    }
    quota_forget(&server->quota_words[row]);
}

static bool is_same_secret(const struct config_secret *a, const struct config_secret *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* A secret that stays keeps its count, wherever it stands now; a new one starts from nothing. The
 * cells are the workers' and go on: what is carried makes up for them. */
static void carry_secrets(struct server *server, const struct config *before)
{
    for (uint32_t i = 0; i < server->config->tenant_count; i++) {
        const struct tenant *tenant = &server->config->tenants[i];
        const struct tenant *old = config_find_tenant(before, tenant->id);
        struct secret_sum *carried = &server->secret_carried[tenant->inline_index];
        const struct secret_sum counted = usage_sum_secrets(server, tenant->inline_index);
        const struct secret_sum was = *carried;
        for (uint32_t s = 0; s < tenant->secret_count; s++) {
            carried->used[s] = 0 - counted.used[s];
            for (uint32_t o = 0; old && o < old->secret_count; o++)
                if (is_same_secret(&old->secrets[o], &tenant->secrets[s]))
                    carried->used[s] += was.used[o] + counted.used[o];
        }
    }
}

static uint64_t now_ns(void *context)
{
    const struct server *server = context;
    return clock_boot_ns() - table_time_base_ns(server->table);
}

static void cut_quotas(struct server *server)
{
    for (uint32_t i = 0; i < server->config->tenant_count; i++) {
        const struct tenant *tenant = &server->config->tenants[i];
        if (quota_is_set(&tenant->checks))
            quota_cut(&server->quota_words[tenant->inline_index], &tenant->checks, now_ns(server));
    }
}

static void say(struct server *server, FILE *answer, const char *asker, bool is_error,
                const char *text)
{
    counter_add(is_error ? &server->reloads_refused : &server->reloads_done, 1);
    log_event(is_error ? LOG_ERROR : LOG_INFO, "reload", "reload by %s: %s%s", asker, text,
              is_error ? "; nothing was changed" : "");
    if (answer)
        fprintf(answer, "%s%s\n", is_error ? "error: " : "", text);
}

static unsigned count_kind(const struct diff *diff, enum diff_kind kind)
{
    unsigned count = 0;
    for (size_t i = 0; i < diff->count; i++)
        count += diff->changes[i].kind == kind;
    return count;
}

/* One line for the log; whoever waits for an answer gets every change besides. */
static void say_done(struct server *server, const struct config *before, const char *asker,
                     const char *kept, FILE *answer)
{
    const struct config *after = server->config;
    struct diff diff;
    char text[900];
    diff_init(&diff, before, after); /* what there was no memory for is not said */
    snprintf(text, sizeof(text),
             "%s from %.*s to %.*s: tenants +%u -%u, rules +%u -%u, changed %u, changes in all "
             "%zu%s%s",
             after->path ? after->path : "embedded default", HASH_SHOWN, before->file_hash,
             HASH_SHOWN, after->file_hash, count_kind(&diff, DIFF_TENANT_ADDED),
             count_kind(&diff, DIFF_TENANT_REMOVED), count_kind(&diff, DIFF_RULE_ADDED),
             count_kind(&diff, DIFF_RULE_REMOVED), count_kind(&diff, DIFF_RULE_CHANGED), diff.count,
             kept[0] ? "; needs a restart: " : "", kept);
    say(server, answer, asker, false, text);
    for (size_t i = 0; answer && i < diff.count; i++)
        fprintf(answer, "%s\n", diff.changes[i].text);
    diff_deinit(&diff);
}

bool serve_upkeep(struct server *server)
{
    bool has_more = serve_settle_table(server);
    has_more = owners_upkeep(server->table, UPKEEP_GROUPS, now_ns, server) || has_more;
    if (owners_has_emptied(server->table)) {
        publish_wait(server->publish);
        serve_renew_snapshot(server);
        pthread_mutex_lock(&server->usage_lock);
        owners_reclaim(server->table, clear_usage, server);
        pthread_mutex_unlock(&server->usage_lock);
    }
    return has_more;
}

/* Rows that are only waiting to be emptied are not too few: then it is done now, which keeps
 * operators waiting, but no worker. */
static int bind_owners(struct server *server, struct config *config)
{
    int result = engine_rebind_owners(server->table, config);
    if (result != -ENOSPC)
        return result;
    while (serve_upkeep(server))
        ;
    return engine_rebind_owners(server->table, config);
}

/* Puts config in the place of the running one. Results: 0, or -EINVAL with the reason in error; the
 * caller's it is then. */
static int replace(struct server *server, struct config *config, char *error, size_t size)
{
    struct policy *policy = serve_make_policy(server, config);
    int result = policy ? bind_owners(server, config) : -ENOMEM;
    if (result) {
        if (policy)
            keys_destroy(policy->keys, config->tenant_count);
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
    pthread_mutex_lock(&server->usage_lock);
    owners_settle(server->table, carry_usage, server);
    pthread_mutex_unlock(&server->usage_lock);
    cut_quotas(server);
    return 0;
}

void serve_apply_config(struct server *server)
{
    log_set_form(server->config->log == CONFIG_LOG_JSON ? LOG_JSON : LOG_TEXT);
    int result = watch_set(&server->watch, server->config->reload == RELOAD_WATCH);
    if (result)
        log_event(LOG_WARNING, "reload",
                  "reload: cannot watch the folder of %s (%s); SIGHUP and `mete reload` still do",
                  server->config->path, strerror(-result));
}

void serve_reload(struct server *server, const char *asker, FILE *answer)
{
    char error[512], *kept = NULL;
    size_t kept_len;
    struct policy *old = server->policy;
    FILE *names = open_memstream(&kept, &kept_len);
    notify_reloading(&server->notify);
    watch_look(&server->watch, server->options->path);
    struct config *config = config_load(server->options, error, sizeof(error));
    bool is_good = config != NULL;
    if (is_good && (!names || config_keep(config, server->config, names))) {
        snprintf(error, sizeof(error), "no memory to read it");
        is_good = false;
    }
    if (names && fclose(names) != 0)
        kept = NULL;
    if (is_good && !config_has_same_key(config, server->config)) {
        snprintf(error, sizeof(error),
                 "key_file: holds another key than before, so that no subject would find its "
                 "bucket; the same key, or a restart");
        is_good = false;
    }
    if (is_good && config_has_tls_door(config) && !config->tls.context) {
        snprintf(error, sizeof(error),
                 "tls.certificate: is missing, but a door that speaks TLS is open; a restart "
                 "closes it");
        is_good = false;
    }
    is_good = is_good && replace(server, config, error, sizeof(error)) == 0;
    if (is_good) {
        carry_secrets(server, old->config);
        serve_apply_config(server);
        say_done(server, old->config, asker, kept ? kept : "", answer);
        serve_free_policy(old);
    } else {
        config_destroy(config);
        say(server, answer, asker, true, error);
    }
    free(kept);
    notify_say(&server->notify, "READY=1\nSTATUS=serving, %s",
               is_good ? "reloaded" : "a reload was refused: the log says why");
}
