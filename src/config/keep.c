/* A reload changes rules, tenants, tiers, secrets and whom to trust. What sockets, threads and the
 * table were made from stays: here it is put into the new configuration, so that what is published
 * is what runs. */
#include "config/keep.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/rule.h"

struct keeping {
    FILE *names;
    bool has_named;
};

static void name(struct keeping *keeping, const char *format, const char *argument)
{
    fputs(keeping->has_named ? ", " : "", keeping->names);
    fprintf(keeping->names, format, argument);
    keeping->has_named = true;
}

static bool is_same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static int keep_text(struct keeping *keeping, const char *path, const char *running, char **text)
{
    char *copy = running ? strdup(running) : NULL;

    if (running && !copy)
        return -ENOMEM;
    if (!is_same_text(running, *text))
        name(keeping, "%s", path);
    free(*text);
    *text = copy;
    return 0;
}

static uint64_t keep_number(struct keeping *keeping, const char *path, uint64_t running,
                            uint64_t number)
{
    if (running != number)
        name(keeping, "%s", path);
    return running;
}

/* The port that was got stands for the port 0 that was asked for. */
static bool is_same_address(const struct config_address *running,
                            const struct config_address *wanted)
{
    struct config_address a = *running, b = *wanted;
    struct sockaddr_in *a4 = (struct sockaddr_in *)(void *)&a.address;
    struct sockaddr_in *b4 = (struct sockaddr_in *)(void *)&b.address;

    if (a.address.ss_family != b.address.ss_family || a.len != b.len)
        return false;
    if (b4->sin_port == 0) /* in sockaddr_in6 at the same place */
        a4->sin_port = 0;
    if (a.address.ss_family == AF_INET)
        return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)(const void *)&a.address;
    const struct sockaddr_in6 *b6 = (const struct sockaddr_in6 *)(const void *)&b.address;
    return a6->sin6_port == b6->sin6_port && a6->sin6_scope_id == b6->sin6_scope_id &&
           memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
}

static void keep_listeners(struct keeping *keeping, const struct config *running,
                           struct config *config)
{
    bool is_same = running->listen_udp_count == config->listen_udp_count;

    for (unsigned i = 0; is_same && i < running->listen_udp_count; i++)
        is_same = is_same_address(&running->listen_udp[i], &config->listen_udp[i]);
    if (!is_same)
        name(keeping, "%s", "listen.udp");
    config->listen_udp_count = running->listen_udp_count;
    memcpy(config->listen_udp, running->listen_udp, sizeof(config->listen_udp));
}

static int keep_door(struct keeping *keeping, const char *path, const struct config_door *running,
                     struct config_door *door)
{
    const bool is_same = running->address.len == 0 || door->address.len == 0
                             ? running->address.len == door->address.len
                             : is_same_address(&running->address, &door->address);
    if (!is_same && is_same_text(running->path, door->path))
        name(keeping, "%s", path);
    door->address = running->address;
    return keep_text(keeping, path, running->path, &door->path);
}

static void keep_regions(struct keeping *keeping, const struct config *running,
                         struct config *config)
{
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        struct tenant *tenant = &config->tenants[i];
        const struct tenant *before = config_find_tenant(running, tenant->id);
        const uint64_t entries = before ? before->entries : 0;

        if (tenant->entries != entries)
            name(keeping, "entries of tenant %s", tenant->name);
        tenant->entries = entries;
    }
}

/* The store: only what the replication thread can change between two batches is live. */
static int keep_redis(struct keeping *keeping, const struct config_redis *running,
                      struct config_redis *redis)
{
    int result = keep_text(keeping, "redis.url", running->url, &redis->url);
    if (result == 0)
        result = keep_text(keeping, "redis.user", running->user, &redis->user);
    if (result == 0)
        result = keep_text(keeping, "redis.password_file", running->password_file,
                           &redis->password_file);
    if (result == 0)
        result = keep_text(keeping, "redis.ca_file", running->ca_file, &redis->ca_file);
    redis->exact_wait_ns =
        keep_number(keeping, "redis.exact_wait", running->exact_wait_ns, redis->exact_wait_ns);
    redis->nodes = keep_number(keeping, "redis.nodes", running->nodes, redis->nodes);
    redis->node_id = keep_number(keeping, "redis.node_id", running->node_id, redis->node_id);
    redis->partitions =
        keep_number(keeping, "redis.partitions", running->partitions, redis->partitions);
    redis->rows = keep_number(keeping, "redis.rows", running->rows, redis->rows);
    redis->ring = keep_number(keeping, "redis.ring", running->ring, redis->ring);
    return result;
}

static int keep_interface(struct keeping *keeping, const struct config_xdp *running,
                          struct config_xdp *xdp)
{
    xdp->queues = (unsigned)keep_number(keeping, "af_xdp.queues", running->queues, xdp->queues);
    xdp->mode = (enum config_xdp_mode)keep_number(keeping, "af_xdp.mode", running->mode, xdp->mode);
    xdp->carry =
        (enum config_xdp_carry)keep_number(keeping, "af_xdp.carry", running->carry, xdp->carry);
    xdp->ring = keep_number(keeping, "af_xdp.ring", running->ring, xdp->ring);
    xdp->vlan = keep_number(keeping, "af_xdp.vlan", running->vlan, xdp->vlan);
    return keep_text(keeping, "listen.interface", running->interface, &xdp->interface);
}

/* A store that comes or goes waits for the restart, and what is shared through it with it. */
static void keep_syncs(struct config *config)
{
    for (uint32_t i = 0; i < config->tenant_count; i++)
        for (uint32_t j = 0; j < config->tenants[i].rule_count; j++)
            rule_settle_sync(&config->tenants[i].rules[j], config->redis.url != NULL);
}

static int keep_table(struct keeping *keeping, const struct config *running, struct config *config)
{
    config->table_entries =
        keep_number(keeping, "table.entries", running->table_entries, config->table_entries);
    config->on_full = (enum config_on_full)keep_number(keeping, "table.on_full", running->on_full,
                                                       config->on_full);
    config->on_bad_file = (enum config_on_bad_file)keep_number(
        keeping, "table.on_bad_file", running->on_bad_file, config->on_bad_file);
    return keep_text(keeping, "table.file", running->table_file, &config->table_file);
}

static int keep_snapshot(struct keeping *keeping, const struct config *running,
                         struct config *config)
{
    config->snapshot_every_ns = keep_number(keeping, "table.snapshot_every",
                                            running->snapshot_every_ns, config->snapshot_every_ns);
    return keep_text(keeping, "table.snapshot", running->snapshot_path, &config->snapshot_path);
}

int config_keep(struct config *config, const struct config *running, FILE *names)
{
    struct keeping keeping = {.names = names};
    int result = keep_text(&keeping, "namespace", running->namespace_name, &config->namespace_name);

    keep_listeners(&keeping, running, config);
    if (result == 0)
        result = keep_text(&keeping, "listen.unix", running->listen_unix, &config->listen_unix);
    if (result == 0)
        result = keep_text(&keeping, "listen.admin", running->listen_admin, &config->listen_admin);
    if (result == 0)
        result = keep_door(&keeping, "listen.resp", &running->listen_resp, &config->listen_resp);
    if (result == 0)
        result = keep_door(&keeping, "listen.http", &running->listen_http, &config->listen_http);
    if (result == 0)
        result = keep_door(&keeping, "listen.grpc", &running->listen_grpc, &config->listen_grpc);
    if (result == 0)
        result = keep_door(&keeping, "listen.resp_tls", &running->listen_resp_tls,
                           &config->listen_resp_tls);
    if (result == 0)
        result = keep_door(&keeping, "listen.http_tls", &running->listen_http_tls,
                           &config->listen_http_tls);
    if (result == 0)
        result = keep_door(&keeping, "listen.grpc_tls", &running->listen_grpc_tls,
                           &config->listen_grpc_tls);
    if (result == 0)
        result = keep_door(&keeping, "listen.metrics", &running->listen_metrics,
                           &config->listen_metrics);
    if (result == 0)
        result =
            keep_door(&keeping, "otlp.endpoint", &running->otlp_endpoint, &config->otlp_endpoint);
    config->otlp_sample_every = keep_number(&keeping, "otlp.sample_every",
                                            running->otlp_sample_every, config->otlp_sample_every);
    config->otlp_every_ns =
        keep_number(&keeping, "otlp.metrics_every", running->otlp_every_ns, config->otlp_every_ns);
    config->door_connections = keep_number(&keeping, "doors.connections", running->door_connections,
                                           config->door_connections);
    config->door_idle_ns =
        keep_number(&keeping, "doors.idle", running->door_idle_ns, config->door_idle_ns);
    if (result == 0)
        result = keep_redis(&keeping, &running->redis, &config->redis);
    if (result == 0)
        result = keep_snapshot(&keeping, running, config);
    keep_syncs(config);
    config->listen_admin_is_default = running->listen_admin_is_default;
    if (result == 0)
        result = keep_interface(&keeping, &running->xdp, &config->xdp);
    config->workers = (unsigned)keep_number(&keeping, "workers", running->workers, config->workers);
    config->backend =
        (enum config_backend)keep_number(&keeping, "backend", running->backend, config->backend);
    if (result == 0)
        result = keep_table(&keeping, running, config);
    config->steering = (enum config_steering)keep_number(&keeping, "steering", running->steering,
                                                         config->steering);
    config->filter =
        (enum config_filter)keep_number(&keeping, "filter", running->filter, config->filter);
    config->overload.shedding = (enum config_shedding)keep_number(
        &keeping, "overload.shedding", running->overload.shedding, config->overload.shedding);
    config->overload.delay_budget_ns =
        keep_number(&keeping, "overload.delay_budget", running->overload.delay_budget_ns,
                    config->overload.delay_budget_ns);
    config->repeat_window_ns = keep_number(&keeping, "repeats.window", running->repeat_window_ns,
                                           config->repeat_window_ns);
    config->repeat_ahead_ns =
        keep_number(&keeping, "repeats.ahead", running->repeat_ahead_ns, config->repeat_ahead_ns);
    config->repeat_bytes =
        keep_number(&keeping, "repeats.memory", running->repeat_bytes, config->repeat_bytes);
    keep_regions(&keeping, running, config);
    return result;
}

bool config_has_same_key(const struct config *config, const struct config *running)
{
    for (uint32_t i = 0; i < running->tenant_count; i++) {
        const struct tenant *before = &running->tenants[i];
        const struct tenant *now = config_find_tenant_by_name(config, before->name);

        if (now) /* seeds go by name and key alone: one tenant tells */
            return *now->seed == *before->seed;
    }
    return true;
}
