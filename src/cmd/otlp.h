/* OTLP over HTTP: JSON bodies of spans and metrics, and a POST. Plain HTTP only: a collector stands
 * beside the daemon, or a sidecar does. Source: the OTLP 1.x specification and its protobufs' JSON
 * mapping; the semantic conventions for RPC and HTTP servers. Any thread; blocks. */
#ifndef METE_CMD_OTLP_H
#define METE_CMD_OTLP_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct config_door;
struct trace_span;

/* {"resourceSpans": [{"resource": ..., "scopeSpans": [{"spans": [ */
void otlp_begin_spans(FILE *out);
void otlp_put_span(FILE *out, const struct trace_span *span, bool is_first);
void otlp_end_spans(FILE *out);

struct otlp_metrics { /* one body under way */
    FILE *out;
    uint64_t start_ns, now_ns; /* wall clock: of the daemon, and of the numbers */
    bool has_metric, has_point;
};

void otlp_begin_metrics(struct otlp_metrics *metrics);
/* A monotonic sum; points follow, each with up to three attributes: name and value in turn, then
 * NULL. */
void otlp_begin_sum(struct otlp_metrics *metrics, const char *name, const char *unit,
                    const char *what);
void otlp_put_point(struct otlp_metrics *metrics, uint64_t value, const char *const *attributes);
void otlp_end_sum(struct otlp_metrics *metrics);
void otlp_end_metrics(struct otlp_metrics *metrics);

/* POSTs a body to path, e.g. "/v1/traces", and waits at most timeout_ms for each step. Result: the
 * HTTP status, or a negative errno. */
int otlp_post(const struct config_door *where, const char *path, const char *body, size_t len,
              int timeout_ms);

#endif
