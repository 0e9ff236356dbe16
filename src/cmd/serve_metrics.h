/* What Prometheus is told: the counters of all threads that judge, summed when it asks. */
#ifndef METE_CMD_SERVE_METRICS_H
#define METE_CMD_SERVE_METRICS_H

#include "cmd/serve_census.h"
#include "cmd/serve_metrics_rules.h"
#include "doors/metrics.h"

struct server;

struct serve_metrics {
    struct metrics_door door;
    struct server *server;
    struct census census;
    struct metrics_rules rules;
};

/* Takes the memory; deinit() gives it back, after a failure too. Results: 0, -ENOMEM. */
int serve_metrics_init(struct serve_metrics *metrics, struct server *server);
void serve_metrics_deinit(struct serve_metrics *metrics);

#endif
