/* The list of changes, and those outside the tenants. */
#include "config/diff.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/value.h"

#define LINE_SIZE 1024u

void diff_add(struct diff *diff, enum diff_kind kind, bool is_live, const char *format, ...)
{
    char line[LINE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    struct diff_change *changes =
        reallocarray(diff->changes, diff->count + 1, sizeof(*diff->changes));
    char *text = NULL;
    if (changes)
        diff->changes = changes;
    if (!changes || asprintf(&text, "%s%s", line, is_live ? "" : ", needs a restart") < 0) {
        diff->is_incomplete = true;
        return;
    }
    changes[diff->count++] = (struct diff_change){.kind = kind, .is_live = is_live, .text = text};
}

static void diff_text(struct diff *diff, const char *field, bool is_live, const char *from,
                      const char *to)
{
    if (!from)
        from = "none";
    if (!to)
        to = "none";
    if (strcmp(from, to) != 0)
        diff_add(diff, DIFF_FIELD, is_live, "%s: %.400s -> %.400s", field, from, to);
}

static void format_addresses(const struct config *config, char *text, size_t size)
{
    size_t len = (size_t)snprintf(text, size, "[");
    for (unsigned i = 0; i < config->listen_udp_count && len < size; i++)
        len += (size_t)snprintf(text + len, size - len, "%s%s", i ? ", " : "",
                                config->listen_udp[i].text);
    if (len < size)
        snprintf(text + len, size - len, "]");
}

static void diff_addresses(struct diff *diff, const struct config *from, const struct config *to)
{
    char texts[2][CONFIG_MAX_LISTEN * 72];
    bool differ = from->listen_udp_count != to->listen_udp_count;
    for (unsigned i = 0; i < from->listen_udp_count && !differ; i++)
        differ = memcmp(&from->listen_udp[i].address, &to->listen_udp[i].address,
                        sizeof(from->listen_udp[i].address)) != 0;
    if (!differ)
        return;
    format_addresses(from, texts[0], sizeof(texts[0]));
    format_addresses(to, texts[1], sizeof(texts[1]));
    diff_add(diff, DIFF_FIELD, false, "listen.udp: %.400s -> %.400s", texts[0], texts[1]);
}

static bool has_network(const struct config *config, const struct config_network *network)
{
    for (unsigned i = 0; i < config->trusted_count; i++)
        if (memcmp(&config->trusted[i], network, sizeof(*network)) == 0)
            return true;
    return false;
}

/* Those that only one of the two has. */
static void diff_networks(struct diff *diff, const struct config *one, const struct config *other,
                          const char *what)
{
    for (unsigned i = 0; i < one->trusted_count; i++) {
        char text[64];
        if (has_network(other, &one->trusted[i]))
            continue;
        value_format_network(&one->trusted[i], text, sizeof(text));
        diff_add(diff, DIFF_FIELD, true, "trusted_networks: %s %s", text, what);
    }
}

/* Seeds go by name and key alone. */
static void diff_key(struct diff *diff, const struct config *from, const struct config *to)
{
    for (uint32_t i = 0; i < from->tenant_count; i++) {
        const struct tenant *tenant = config_find_tenant_by_name(to, from->tenants[i].name);
        if (!tenant)
            continue;
        if (*tenant->seed != *from->tenants[i].seed)
            diff_add(diff, DIFF_FIELD, false,
                     "key_file: another key, so that no subject keeps its bucket");
        return;
    }
}

static void diff_durations(struct diff *diff, const struct config *from, const struct config *to)
{
    const struct {
        const char *field;
        uint64_t from, to;
        bool is_live;
    } fields[] = {
        {"repeats.window", from->repeat_window_ns, to->repeat_window_ns, false},
        {"repeats.ahead", from->repeat_ahead_ns, to->repeat_ahead_ns, false},
        {"doors.idle", from->door_idle_ns, to->door_idle_ns, false},
        {"overload.delay_budget", from->overload.delay_budget_ns, to->overload.delay_budget_ns,
         false},
        {"overload.max_age", from->overload.max_age_ns, to->overload.max_age_ns, true},
        {"table.snapshot_every", from->snapshot_every_ns, to->snapshot_every_ns, false},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        char texts[2][32];
        value_format_duration(fields[i].from, texts[0], sizeof(texts[0]));
        value_format_duration(fields[i].to, texts[1], sizeof(texts[1]));
        diff_text(diff, fields[i].field, fields[i].is_live, texts[0], texts[1]);
    }
}

static void format_workers(unsigned workers, char *text, size_t size)
{
    if (workers)
        snprintf(text, size, "%u", workers);
    else
        snprintf(text, size, "auto");
}

static void diff_numbers(struct diff *diff, const struct config *from, const struct config *to)
{
    char texts[2][32];
    snprintf(texts[0], sizeof(texts[0]), "%" PRIu64, (uint64_t)from->spin_us);
    snprintf(texts[1], sizeof(texts[1]), "%" PRIu64, (uint64_t)to->spin_us);
    diff_text(diff, "spin_us", true, texts[0], texts[1]);
    format_workers(from->workers, texts[0], sizeof(texts[0]));
    format_workers(to->workers, texts[1], sizeof(texts[1]));
    diff_text(diff, "workers", false, texts[0], texts[1]);
    snprintf(texts[0], sizeof(texts[0]), "%" PRIu64, from->spin_us);
    snprintf(texts[1], sizeof(texts[1]), "%" PRIu64, to->spin_us);
    diff_text(diff, "spin_us", true, texts[0], texts[1]);
    snprintf(texts[0], sizeof(texts[0]), "%" PRIu64, from->overload.shed_answers);
    snprintf(texts[1], sizeof(texts[1]), "%" PRIu64, to->overload.shed_answers);
    diff_text(diff, "overload.shed_answers", true, texts[0], texts[1]);
    snprintf(texts[0], sizeof(texts[0]), "%" PRIu64, from->table_entries);
    snprintf(texts[1], sizeof(texts[1]), "%" PRIu64, to->table_entries);
    diff_text(diff, "table.entries", false, texts[0], texts[1]);
    snprintf(texts[0], sizeof(texts[0]), "%" PRIu64, from->door_connections);
    snprintf(texts[1], sizeof(texts[1]), "%" PRIu64, to->door_connections);
    diff_text(diff, "doors.connections", false, texts[0], texts[1]);
    value_format_bytes(from->repeat_bytes, texts[0], sizeof(texts[0]));
    value_format_bytes(to->repeat_bytes, texts[1], sizeof(texts[1]));
    diff_text(diff, "repeats.memory", false, texts[0], texts[1]);
}

static void diff_interface(struct diff *diff, const struct config_xdp *from,
                           const struct config_xdp *to)
{
    static const char *const modes[] = CONFIG_XDP_MODES;
    char queues[2][32], vlans[2][32], rings[2][32];
    for (unsigned side = 0; side < 2; side++) {
        const struct config_xdp *xdp = side ? to : from;
        snprintf(queues[side], sizeof(queues[side]), xdp->queues ? "%u" : "auto", xdp->queues);
        snprintf(vlans[side], sizeof(vlans[side]), "%" PRIu64, xdp->vlan);
        snprintf(rings[side], sizeof(rings[side]), "%" PRIu64, xdp->ring);
    }
    diff_text(diff, "listen.interface", false, from->interface, to->interface);
    diff_text(diff, "af_xdp.queues", false, queues[0], queues[1]);
    diff_text(diff, "af_xdp.mode", false, modes[from->mode], modes[to->mode]);
    diff_text(diff, "af_xdp.vlan", false, vlans[0], vlans[1]);
    diff_text(diff, "af_xdp.ring", false, rings[0], rings[1]);
    diff_text(diff, "af_xdp.carry", false, from->carry ? "on" : "off", to->carry ? "on" : "off");
}

static void diff_headers(struct diff *diff, unsigned from, unsigned to)
{
    static const char *const names[] = CONFIG_HEADERS_NAMES;
    for (unsigned i = 0; names[i]; i++)
        if ((from ^ to) & 1u << i)
            diff_add(diff, DIFF_FIELD, true, "doors.headers: %s %s", names[i],
                     to & 1u << i ? "added" : "removed");
}

static void diff_redis(struct diff *diff, const struct config_redis *from,
                       const struct config_redis *to)
{
    const struct {
        const char *field;
        uint64_t from, to;
        bool is_duration, is_live;
    } fields[] = {
        {"redis.flush", from->flush_ns, to->flush_ns, true, true},
        {"redis.exact_wait", from->exact_wait_ns, to->exact_wait_ns, true, false},
        {"redis.nodes", from->nodes, to->nodes, false, false},
        {"redis.node_id", from->node_id, to->node_id, false, false},
        {"redis.partitions", from->partitions, to->partitions, false, false},
        {"redis.rows", from->rows, to->rows, false, false},
        {"redis.ring", from->ring, to->ring, false, false},
    };
    diff_text(diff, "redis.url", false, from->url, to->url);
    diff_text(diff, "redis.user", false, from->user, to->user);
    diff_text(diff, "redis.password_file", false, from->password_file, to->password_file);
    diff_text(diff, "redis.ca_file", false, from->ca_file, to->ca_file);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        char texts[2][32];
        for (unsigned side = 0; side < 2; side++) {
            const uint64_t value = side ? fields[i].to : fields[i].from;
            if (fields[i].is_duration)
                value_format_duration(value, texts[side], sizeof(texts[side]));
            else
                snprintf(texts[side], sizeof(texts[side]), "%" PRIu64, value);
        }
        diff_text(diff, fields[i].field, fields[i].is_live, texts[0], texts[1]);
    }
}

static void diff_fields(struct diff *diff, const struct config *from, const struct config *to)
{
    static const char *const clients[] = {"optional", "required"};
    static const char *const reloads[] = {"signal", "watch"};
    static const char *const logs[] = {"text", "json"};
    static const char *const filters[] = {"auto", "off"};
    static const char *const steerings[] = {"flow", "cpu"};
    static const char *const backends[] = CONFIG_BACKENDS;
    static const char *const on_full[] = {"evict", "allow", "deny"};
    static const char *const on_bad_file[] = {"start", "refuse"};

    diff_networks(diff, from, to, "removed");
    diff_networks(diff, to, from, "added");
    diff_durations(diff, from, to);
    diff_text(diff, "tls.certificate", true, from->tls.certificate.path, to->tls.certificate.path);
    diff_text(diff, "tls.key", true, from->tls.key.path, to->tls.key.path);
    diff_text(diff, "tls.client_ca", true, from->tls.client_ca.path, to->tls.client_ca.path);
    diff_text(diff, "tls.clients", true, clients[from->tls.clients], clients[to->tls.clients]);
    diff_text(diff, "doors.echo", true, from->echo_rule, to->echo_rule);
    diff_headers(diff, from->http_headers, to->http_headers);
    diff_text(diff, "reload", true, reloads[from->reload], reloads[to->reload]);
    diff_text(diff, "log", true, logs[from->log], logs[to->log]);
    diff_text(diff, "namespace", false, from->namespace_name, to->namespace_name);
    diff_addresses(diff, from, to);
    diff_text(diff, "listen.unix", false, from->listen_unix, to->listen_unix);
    diff_text(diff, "listen.resp", false, config_door_text(&from->listen_resp),
              config_door_text(&to->listen_resp));
    diff_text(diff, "listen.http", false, config_door_text(&from->listen_http),
              config_door_text(&to->listen_http));
    diff_text(diff, "listen.grpc", false, config_door_text(&from->listen_grpc),
              config_door_text(&to->listen_grpc));
    diff_text(diff, "listen.resp_tls", false, config_door_text(&from->listen_resp_tls),
              config_door_text(&to->listen_resp_tls));
    diff_text(diff, "listen.http_tls", false, config_door_text(&from->listen_http_tls),
              config_door_text(&to->listen_http_tls));
    diff_text(diff, "listen.grpc_tls", false, config_door_text(&from->listen_grpc_tls),
              config_door_text(&to->listen_grpc_tls));
    diff_text(diff, "listen.metrics", false, config_door_text(&from->listen_metrics),
              config_door_text(&to->listen_metrics));
    diff_text(diff, "otlp.endpoint", false, config_door_text(&from->otlp_endpoint),
              config_door_text(&to->otlp_endpoint));
    diff_text(diff, "listen.admin", false, from->listen_admin, to->listen_admin);
    diff_text(diff, "overload.shedding", false, filters[from->overload.shedding],
              filters[to->overload.shedding]);
    diff_text(diff, "filter", false, filters[from->filter], filters[to->filter]);
    diff_text(diff, "steering", false, steerings[from->steering], steerings[to->steering]);
    diff_text(diff, "backend", false, backends[from->backend], backends[to->backend]);
    diff_interface(diff, &from->xdp, &to->xdp);
    diff_text(diff, "table.on_full", false, on_full[from->on_full], on_full[to->on_full]);
    diff_text(diff, "table.file", false, from->table_file, to->table_file);
    diff_text(diff, "table.on_bad_file", false, on_bad_file[from->on_bad_file],
              on_bad_file[to->on_bad_file]);
    diff_text(diff, "table.snapshot", false, from->snapshot_path, to->snapshot_path);
    diff_numbers(diff, from, to);
    diff_redis(diff, &from->redis, &to->redis);
    diff_key(diff, from, to);
}

/* What is live to the front; the order stays otherwise. */
static int sort_live_first(struct diff *diff)
{
    struct diff_change *sorted = calloc(diff->count + 1, sizeof(*sorted));
    size_t filled = 0;
    if (!sorted)
        return -ENOMEM;
    for (int is_live = 1; is_live >= 0; is_live--)
        for (size_t i = 0; i < diff->count; i++)
            if (diff->changes[i].is_live == is_live)
                sorted[filled++] = diff->changes[i];
    free(diff->changes);
    diff->changes = sorted;
    return 0;
}

int diff_init(struct diff *diff, const struct config *from, const struct config *to)
{
    *diff = (struct diff){.count = 0};
    diff_tenants(diff, from, to);
    diff_fields(diff, from, to);
    return diff->is_incomplete ? -ENOMEM : sort_live_first(diff);
}

void diff_deinit(struct diff *diff)
{
    for (size_t i = 0; i < diff->count; i++)
        free(diff->changes[i].text);
    free(diff->changes);
    *diff = (struct diff){.count = 0};
}
