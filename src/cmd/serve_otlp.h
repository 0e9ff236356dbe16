/* The exporter of traces and metrics: a thread of its own, which looks at counters and rings as
 * anybody may. A collector that is down costs nothing but what it would have been told, and is said
 * once, as is its return.
 *
 * Threads: open, start and close by the main thread. */
#ifndef METE_CMD_SERVE_OTLP_H
#define METE_CMD_SERVE_OTLP_H

#include <stdbool.h>

struct config;
struct serve_otlp;
struct server;
struct trace_ring;

enum { OTLP_GRPC, OTLP_HTTP, OTLP_RINGS }; /* one ring for each thread that tells */

bool serve_has_otlp(const struct config *config);

/* Takes the memory; reader is its number in the publication. Results: 0, -ENOMEM. */
int serve_otlp_open(struct server *server, unsigned reader);
int serve_otlp_start(struct serve_otlp *otlp); /* NULL is nothing. 0 or a negative errno */
void serve_otlp_close(struct serve_otlp *otlp);

/* NULL: nothing is exported. */
struct trace_ring *serve_otlp_ring(const struct serve_otlp *otlp, unsigned which);

#endif
