/* What Prometheus is told: the counters of all threads that judge, summed when it asks. */
#ifndef METE_CMD_SERVE_METRICS_H
#define METE_CMD_SERVE_METRICS_H

#include "doors/metrics.h"

/* Rules with labels of their own; the others are one, tenant="(other)", rule="(other)". */
#define METRICS_MAX_RULES 500u

struct server;

struct serve_metrics {
    struct metrics_door door;
    struct server *server;
    uint64_t *rows; /* live entries per owner row, at the last census */
    uint64_t live;
    uint64_t next_census_ns; /* boot time */
};

/* Takes the memory. Results: 0, -ENOMEM. */
int serve_metrics_init(struct serve_metrics *metrics, struct server *server);
void serve_metrics_deinit(struct serve_metrics *metrics);

#endif
