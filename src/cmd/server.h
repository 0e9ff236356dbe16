/* What a running daemon is made of. Owned by cmd/serve.c, torn down in reverse; cmd/serve_stats.c
 * reads it. */
#ifndef METE_CMD_SERVER_H
#define METE_CMD_SERVER_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

#include "config/config.h"
#include "doors/admin.h"
#include "net/worker.h"
#include "obs/counters.h"
#include "table/table.h"

struct server {
    struct config *config;
    struct table *table;
    uint64_t started_boot_ns;
    unsigned worker_count;  /* configured */
    unsigned running_count; /* started */
    unsigned socket_groups; /* listen addresses whose sockets are open */
    int unix_socket; /* -1: none; the first worker's */
    struct worker *workers;
    struct counters *counters;               /* per worker */
    struct rule_counters *rule_counters;     /* index_count per worker, worker by worker */
    struct secret_counters *secret_counters; /* secret_stride per worker, worker by worker */
    uint32_t secret_stride;                  /* tenants, and what keeps workers' lines apart */
    struct tenant_keys *keys;                /* of the configuration's tenants */
    struct repeat_set repeats;               /* of all workers, if repeat_memory is there */
    void *repeat_memory;
    size_t repeat_size;
    atomic_bool stop;
    struct admin *admin;
};

/* admin_answer_fn for the server's socket: "stats" and "stats json". */
void serve_answer_admin(void *server, const char *command, FILE *out);

#endif
