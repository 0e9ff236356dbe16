/* What a running daemon is made of. Owned by cmd/serve.c, torn down in reverse; cmd/serve_reload.c
 * changes its configuration, cmd/serve_stats.c reads it. Main thread only, but for what publish.h
 * and the counters say. */
#ifndef METE_CMD_SERVER_H
#define METE_CMD_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cmd/serve_handover.h"
#include "cmd/serve_inherit.h"
#include "cmd/serve_observe.h"
#include "cmd/serve_usage.h"
#include "cmd/watch.h"
#include "config/config.h"
#include "config/publish.h"
#include "doors/admin.h"
#include "doors/loop.h"
#include "doors/tls.h"
#include "net/worker.h"
#include "obs/counters.h"
#include "sys/mapfile.h"
#include "sys/notify.h"
#include "table/resume.h"

#define SERVER_MAX_DOORS 8u

struct serve_snapshot;

struct server {
    struct config *config;                /* the running one; after the start the policy's */
    const struct config_options *options; /* where it came from, for the next */
    struct policy *policy;                /* what is published */
    struct publish *publish;
    struct table *table;
    struct mapfile table_file;  /* of the table; fd -1: it goes with the process */
    uint64_t started_boot_ns;   /* this process; the table's clock may count from earlier */
    unsigned worker_count;      /* configured */
    unsigned thread_count;      /* that judge: the workers, then the doors' loop if there is one */
    unsigned running_count;     /* started */
    int unix_socket;            /* -1: none; the first worker's */
    bool unix_socket_is_passed; /* its path is the service manager's to remove */
    bool is_handed_over;        /* sockets, table and files are another process' */
    bool leaves_paths;          /* what lies at the sockets' paths is another's, or is kept */
    struct inheritance inheritance;
    struct server_listener { /* of the doors */
        const char *role;
        int fd;
    } listeners[SERVER_MAX_DOORS];
    unsigned listener_count;
    struct worker *workers;
    struct xdp *xdp;                     /* NULL: the backend is another */
    struct counters *counters;           /* per thread that judges */
    uint32_t row_count;                  /* owner rows of the table */
    unsigned set_count;                  /* of rule_counters, see cmd/serve_observe.h */
    struct rule_counters *rule_counters; /* row_count per set, set by set */
    struct rule_sum *carried;  /* row_count per door: usage under a row the rule had before */
    struct latency *latencies; /* per set */
    struct sampler *samplers;  /* per thread that judges */
    bool has_door[OBSERVE_DOORS];
    struct serve_top *top;                   /* NULL: nobody asked yet */
    struct secret_counters *secret_counters; /* row_count per thread, thread by thread */
    struct secret_sum *secret_carried;       /* per row; wraps, so that it may be negative */
    struct quota_word *quota_words;          /* per row */
    struct quota_credit *quota_credits;      /* row_count per thread, thread by thread */
    struct repeat_set repeats;               /* of all workers, in the table's mapping */
    bool has_repeats;
    atomic_bool stop;
    atomic_bool rest;         /* of the workers: see net/worker.h */
    struct handover handover; /* that is under way */
    struct admin *admin;
    struct loop *loop;                  /* of all doors, or NULL: none is open */
    char *door_paths[SERVER_MAX_DOORS]; /* sockets of ours to remove */
    unsigned door_path_count;
    struct http_door *http;
    struct loop *grpc_loop; /* NULL: listen.grpc is off */
    struct grpc_door *grpc;
    struct serve_otlp *otlp;         /* NULL: nothing is exported */
    struct serve_replica *replica;   /* NULL: no redis.url */
    struct serve_snapshot *snapshot; /* NULL: no table.snapshot */
    struct loop *metrics_loop;       /* NULL: listen.metrics is off */
    struct serve_metrics *metrics;
    pthread_mutex_t usage_lock; /* what is carried: the main thread changes it, metrics read it */
    _Atomic uint64_t reloads_done, reloads_refused; /* the main thread counts */
    struct watch watch;
    struct notify notify;
    uint64_t *turns_seen; /* of each worker, at the last sign of life */
};

/* admin_answer_fn for the server's socket: "stats", "stats json", "top" and "reload". */
void serve_answer_admin(void *server, const struct admin_peer *peer, const char *command,
                        FILE *out);

/* What was already answered, in the table's mapping. Results: 0, or an exit status after saying
 * why. */
int serve_make_repeats(struct server *server);

#endif
