/* Verdicts as HTTP shows them: header families and JSON, both from the decision itself, so that
 * nothing is asked twice. Waits in headers are whole seconds, rounded up: never earlier than the
 * truth. Pure. Any thread. */
#ifndef METE_DOORS_HTTP_VERDICT_H
#define METE_DOORS_HTTP_VERDICT_H

#include "doors/http_write.h"
#include "engine/engine.h"

/* Seconds until at least ns have passed. */
uint64_t http_seconds(uint64_t ns);

/* May it go on? For a peek: could it? */
bool http_is_allowed(const struct answer *answer);

/* Of the families (CONFIG_HEADERS_...) that are wanted: X-RateLimit-Limit, -Remaining, -Reset
 * (seconds until the full quota is back); RateLimit-Policy and RateLimit
 * (draft-ietf-httpapi-ratelimit-headers-10, structured fields); Retry-After if denied. Of slots
 * that are held there is no reset. Nothing for what has no limit and for what was not decided. */
void http_put_headers(struct http_out *out, unsigned families, const struct check *check,
                      const struct answer *answer);

/* {"allowed":true,"limit":10,"remaining":9,...}; what could not be decided says why:
 * {"allowed":false,"undecided":"table_full"} */
void http_put_verdict(struct http_out *out, const struct check *check, const struct answer *answer);

/* The same members without the braces. */
void http_put_verdict_members(struct http_out *out, const struct check *check,
                              const struct answer *answer);

/* Of the answers of one request the one that its headers speak of: the first that was denied, else
 * the one with least left. */
unsigned http_deciding(const struct check *checks, const struct answer *answers, unsigned count);

#endif
