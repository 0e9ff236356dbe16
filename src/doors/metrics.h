/* The door for Prometheus: GET /metrics, in its text format 0.0.4, on a listener and a loop of its
 * own: it speaks of all tenants, so it is none of theirs, and counting a large table may not make
 * them wait.
 *
 * A page is rendered whole, kept, and handed out in parts of what the loop's output holds. There
 * are METRICS_PAGES of them: who is in the middle of a page when all are taken by later requests is
 * closed. Threads: its loop's. */
#ifndef METE_DOORS_METRICS_H
#define METE_DOORS_METRICS_H

#include "doors/http_parse.h"
#include "doors/http_write.h"
#include "doors/loop.h"

#define METRICS_PAGES 2u
#define METRICS_CONNECTIONS 16u

typedef void metrics_render_fn(void *context, const struct config *config, struct http_out *out);

struct metrics_page {
    char *bytes; /* page_bytes of the door */
    size_t len;
    uint64_t scrape; /* its number; 0: none */
};

struct metrics_door {
    metrics_render_fn *render; /* given, with its context and pages */
    void *context;
    size_t page_bytes;
    struct metrics_page pages[METRICS_PAGES];
    uint64_t scrapes; /* so far */
    struct http_request request;
};

/* The protocol for a loop; its context is a struct metrics_door. */
extern const struct loop_protocol metrics_protocol;

#endif
