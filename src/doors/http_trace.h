/* A sampled decision of the HTTP door as a span. The doors' thread. */
#ifndef METE_DOORS_HTTP_TRACE_H
#define METE_DOORS_HTTP_TRACE_H

#include "doors/http_exchange.h"

/* The door's checks are decided; deciding is the one that the headers are about. */
void http_trace(struct exchange *exchange, enum operation operation, bool is_for_proxy,
                unsigned deciding, unsigned status);

#endif
