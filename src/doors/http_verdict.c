#include "doors/http_verdict.h"

#include <inttypes.h>
#include <string.h>

#define NS_PER_S 1000000000ull

uint64_t http_seconds(uint64_t ns)
{
    return ns / NS_PER_S + (ns % NS_PER_S != 0);
}

bool http_is_allowed(const struct answer *answer)
{
    return answer->flags & METE_VERDICT_ALLOW;
}

static bool is_decided(const struct answer *answer)
{
    return answer->status == METE_STATUS_OK;
}

/* Seconds in which the quota comes back: of a bucket the time from empty to full, so that q per w
 * is its rate. 0: it is no fixed time. */
static uint64_t policy_window_s(const struct rule *rule)
{
    const struct limit_spec *spec = &rule->spec;
    if (rule->limit.algorithm == ALGORITHM_CONCURRENCY) /* its period is a lease */
        return 0;
    if (spec->count == 0 || spec->period_ns == 0)
        return 0;
    if (spec->burst == 0)
        return http_seconds(spec->period_ns);
    const unsigned __int128 ns = (unsigned __int128)spec->burst * spec->period_ns / spec->count;
    return ns > UINT64_MAX ? 0 : http_seconds((uint64_t)ns);
}

struct shown { /* in headers */
    const char *name;
    int name_len;
    bool is_held; /* slots, that come back when their holders give them */
    uint32_t limit, remaining;
    uint64_t window_s, reset_s;
};

static void put_x(struct http_out *out, const struct shown *shown)
{
    http_print(out, "X-RateLimit-Limit: %" PRIu32 "\r\nX-RateLimit-Remaining: %" PRIu32 "\r\n",
               shown->limit, shown->remaining);
    if (!shown->is_held)
        http_print(out, "X-RateLimit-Reset: %" PRIu64 "\r\n", shown->reset_s);
}

static void put_ietf(struct http_out *out, const struct shown *shown)
{
    http_print(out, "RateLimit-Policy: \"%.*s\";q=%" PRIu32, shown->name_len, shown->name,
               shown->limit);
    if (shown->is_held)
        http_print(out, ";qu=\"concurrent-requests\"");
    else if (shown->window_s)
        http_print(out, ";w=%" PRIu64, shown->window_s);
    http_print(out, "\r\nRateLimit: \"%.*s\";r=%" PRIu32, shown->name_len, shown->name,
               shown->remaining);
    if (!shown->is_held)
        http_print(out, ";t=%" PRIu64, shown->reset_s);
    http_put(out, "\r\n", 2);
}

void http_put_headers(struct http_out *out, unsigned families, const struct check *check,
                      const struct answer *answer)
{
    const struct rule *rule = check->rule;
    if (!is_decided(answer) || !rule || rule->limit.algorithm == ALGORITHM_UNLIMITED)
        return;
    const struct shown shown = {
        .name = rule->name,
        /* an override is shown by the name of its rule: subjects are nobody else's business */
        .name_len = (int)strcspn(rule->name, "["),
        .is_held = rule->limit.algorithm == ALGORITHM_CONCURRENCY,
        .limit = rule->limit.burst,
        .remaining = answer->remaining,
        .window_s = policy_window_s(rule),
        .reset_s = answer->reset_after_ns == NEVER ? 0 : http_seconds(answer->reset_after_ns),
    };
    if (families & CONFIG_HEADERS_X)
        put_x(out, &shown);
    if (families & CONFIG_HEADERS_IETF)
        put_ietf(out, &shown);
    if (families & CONFIG_HEADERS_RETRY_AFTER && !http_is_allowed(answer) &&
        answer->retry_after_ns != NEVER) {
        const uint64_t wait_s = http_seconds(answer->retry_after_ns);
        http_print(out, "Retry-After: %" PRIu64 "\r\n", wait_s ? wait_s : 1);
    }
}

static const char *status_name(uint8_t status)
{
    static const char *const NAMES[METE_STATUS_COUNT] = {
        [METE_STATUS_OK] = "ok",
        [METE_STATUS_UNKNOWN_RULE] = "unknown_rule",
        [METE_STATUS_BAD_LIMIT] = "bad_limit",
        [METE_STATUS_NEED_SUBJECT] = "need_subject",
        [METE_STATUS_TABLE_FULL] = "table_full",
        [METE_STATUS_STALE] = "stale",
        [METE_STATUS_SHED] = "shed",
        [METE_STATUS_UNSUPPORTED] = "unsupported",
        [METE_STATUS_UNKNOWN_LEASE] = "unknown_lease",
        [METE_STATUS_EXPIRED_LEASE] = "expired_lease",
        [METE_STATUS_LIMITED] = "limited",
    };
    return status < METE_STATUS_COUNT && NAMES[status] ? NAMES[status] : "unknown";
}

void http_put_verdict_members(struct http_out *out, const struct check *check,
                              const struct answer *answer)
{
    http_print(out, "\"allowed\":%s", http_is_allowed(answer) ? "true" : "false");
    if (!is_decided(answer)) {
        http_print(out, ",\"undecided\":\"%s\"", status_name(answer->status));
        return;
    }
    if (check->rule && check->rule->limit.algorithm != ALGORITHM_UNLIMITED)
        http_print(out, ",\"limit\":%" PRIu32, check->rule->limit.burst);
    http_print(out, ",\"remaining\":%" PRIu32 ",\"granted\":%" PRIu32 ",\"retry_after_us\":",
               answer->remaining, answer->granted);
    http_put_us(out, answer->flags & METE_VERDICT_DELAY ? 0 : answer->retry_after_ns);
    http_print(out, ",\"delay_us\":");
    http_put_us(out, answer->flags & METE_VERDICT_DELAY ? answer->retry_after_ns : 0);
    http_print(out, ",\"reset_after_us\":");
    http_put_us(out, answer->reset_after_ns);
    if (answer->flags & METE_VERDICT_WOULD_DENY)
        http_print(out, ",\"would_deny\":true");
    if (answer->flags & METE_VERDICT_NOT_CHARGED)
        http_print(out, ",\"not_charged\":true");
    if (answer->flags & METE_VERDICT_DEGRADED)
        http_print(out, ",\"degraded\":true");
}

void http_put_verdict(struct http_out *out, const struct check *check, const struct answer *answer)
{
    http_put(out, "{", 1);
    http_put_verdict_members(out, check, answer);
    http_put(out, "}", 1);
}

unsigned http_deciding(const struct check *checks, const struct answer *answers, unsigned count)
{
    unsigned least = 0;
    for (unsigned i = 0; i < count; i++) {
        /* of a group that was not charged, the one that denied it */
        if (!http_is_allowed(&answers[i]) && !(answers[i].flags & METE_VERDICT_NOT_CHARGED))
            return i;
        if (checks[i].rule && answers[i].remaining < answers[least].remaining)
            least = i;
    }
    return least;
}
