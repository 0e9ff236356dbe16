/* The page that people look at. What is most important stands first, so that a low terminal cuts
 * off the least; a narrow one cuts lines at its edge. */
#include "cmd/top.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "cmd/printable.h"

#define LINE_BYTES 512u
#define SHORT 16u /* of a number */

/* Columns are code points, near enough; escape sequences are never among the bytes. */
static size_t bytes_of_columns(const char *line, unsigned columns)
{
    size_t at = 0;
    while (line[at] && columns) {
        at++;
        while (((unsigned char)line[at] & 0xC0) == 0x80)
            at++;
        columns--;
    }
    return at;
}

void top_print_line(struct top_page *page, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list arguments;
    if (page->used == page->height)
        return;
    page->used++;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    fprintf(page->out, "%.*s%s", (int)bytes_of_columns(line, page->width), line, page->end);
}

/* "0", "7.25", "1.20 k", "34.0 M": three digits that count. */
static const char *shorten(double value, char *text)
{
    static const char *const units[] = {"", " k", " M", " G", " T"};
    unsigned unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1000;
        unit++;
    }
    const int digits = value >= 99.95 || (unit == 0 && value == floor(value)) ? 0
                       : value >= 9.995                                       ? 1
                                                                              : 2;
    snprintf(text, SHORT, value < 0 ? "-" : "%.*f%s", digits, value, units[unit]);
    return text;
}

static const char *shorten_ns(uint64_t ns, char *text)
{
    if (ns >= UINT64_MAX / 2)
        snprintf(text, SHORT, "> 17 s");
    else if (ns < 10000000)
        snprintf(text, SHORT, "%.3g us", (double)ns / 1e3);
    else
        snprintf(text, SHORT, "%.3g ms", (double)ns / 1e6);
    return text;
}

static void print_head(const struct top_change *change, struct top_page *page)
{
    const struct top_view *now = change->now;
    const unsigned long long up_s = (unsigned long long)now->uptime_s;
    char clock[16] = "", days[32] = "";
    const time_t seconds = time(NULL);
    struct tm local;
    if (localtime_r(&seconds, &local))
        strftime(clock, sizeof(clock), "%H:%M:%S", &local);
    if (up_s >= 86400)
        snprintf(days, sizeof(days), "%llud ", up_s / 86400);
    top_print_line(page, "mete %s  up %s%02llu:%02llu:%02llu  %s, %llu worker%s, %.2f cores  %s",
                   now->version, days, up_s / 3600 % 24, up_s / 60 % 60, up_s % 60, now->backend,
                   (unsigned long long)now->workers, now->workers == 1 ? "" : "s",
                   change->seconds > 0 ? (now->cpu_s - change->before->cpu_s) / change->seconds : 0,
                   clock);
}

static void print_rates(const struct top_change *change, struct top_page *page)
{
    char a[SHORT], b[SHORT], c[SHORT], d[SHORT], e[SHORT];
    const double checks = top_rate(change, COUNTER_CHECKS);
    const double denied = top_rate(change, COUNTER_DENIED);
    const double decided = top_rate(change, COUNTER_ALLOWED) + denied;
    top_print_line(page, "checks/s     %s  allowed %s  denied %s (%.1f%%)  shadow %s  peeked %s",
                   shorten(checks, a), shorten(top_rate(change, COUNTER_ALLOWED), b),
                   shorten(denied, c), decided > 0 ? 100 * denied / decided : 0,
                   shorten(top_rate(change, COUNTER_WOULD_DENY), d),
                   shorten(top_rate(change, COUNTER_PEEKED), e));
    top_print_line(page, "datagrams/s  %s  answered %s  repeats %s  dropped by the kernel %s",
                   shorten(top_rate(change, COUNTER_RECEIVED), a),
                   shorten(top_rate(change, COUNTER_ANSWERED), b),
                   shorten(top_rate(change, COUNTER_REPEATS), c),
                   shorten(top_rate(change, COUNTER_KERNEL_DROPS), d));
}

/* What should not happen is told only when it does. */
static void print_faults(const struct top_change *change, struct top_page *page)
{
    static const enum counter faults[] = {
        COUNTER_BAD_LENGTH,    COUNTER_BAD_MAGIC,      COUNTER_BAD_VERSION,
        COUNTER_BAD_TYPE,      COUNTER_BAD_COUNT,      COUNTER_BAD_SIZES,
        COUNTER_BAD_SUBJECT,   COUNTER_BAD_TAG,        COUNTER_UNTRUSTED,
        COUNTER_UNBOUND,       COUNTER_UNKNOWN_TENANT, COUNTER_UNSUPPORTED,
        COUNTER_LIMITED,       COUNTER_RESTARTED,      COUNTER_STALE,
        COUNTER_SHED,          COUNTER_SHED_OLD,       COUNTER_SHED_SHARE,
        COUNTER_SEND_ERRORS,   COUNTER_RECEIVE_ERRORS, COUNTER_UNKNOWN_RULE,
        COUNTER_BAD_LIMIT,     COUNTER_NEED_SUBJECT,   COUNTER_TABLE_FULL,
        COUNTER_UNKNOWN_LEASE, COUNTER_EXPIRED_LEASE,  COUNTER_LEASES_EXPIRED,
    };
    char line[LINE_BYTES] = "refused/s   ", number[SHORT];
    const size_t start = strlen(line);
    size_t len = start;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]) && len < sizeof(line); i++) {
        const double per_second = top_rate(change, faults[i]);
        if (per_second > 0)
            len += (size_t)snprintf(line + len, sizeof(line) - len, " %s %s",
                                    counter_name(faults[i]), shorten(per_second, number));
    }
    if (len > start)
        top_print_line(page, "%s", line);
}

static void print_latency(const struct top_change *change, struct top_page *page)
{
    char line[LINE_BYTES] = "latency     ", p50[SHORT], p99[SHORT], p999[SHORT];
    const size_t start = strlen(line);
    size_t len = start;
    for (unsigned i = 0; i < change->now->door_count && len < sizeof(line); i++) {
        const struct top_door_view *door = &change->now->doors[i];
        const struct latency_sum sum = top_door_latency(change, door);
        if (latency_count(&sum))
            len += (size_t)snprintf(line + len, sizeof(line) - len, " %s p50 %s p99 %s p99.9 %s ",
                                    door->name, shorten_ns(latency_percentile_ns(&sum, 0.5), p50),
                                    shorten_ns(latency_percentile_ns(&sum, 0.99), p99),
                                    shorten_ns(latency_percentile_ns(&sum, 0.999), p999));
    }
    top_print_line(page, "%s", len > start ? line : "latency      nothing was asked");
}

static void print_table(const struct top_change *change, struct top_page *page)
{
    const struct top_view *now = change->now;
    char a[SHORT], b[SHORT], c[SHORT], d[SHORT];
    const uint64_t was = change->before->evictions;
    const double evictions = change->seconds > 0 && now->evictions >= was
                                 ? (double)(now->evictions - was) / change->seconds
                                 : 0;
    top_print_line(page, "table        %s of %s entries (%.1f%%)  evicted/s %s  swept/s %s",
                   shorten((double)now->live, a), shorten((double)now->entries, b),
                   now->entries ? 100.0 * (double)now->live / (double)now->entries : 0,
                   shorten(evictions, c), shorten(top_rate(change, COUNTER_SWEPT), d));
}

/* Only where nodes share limits. Counters that should stay 0 are told once they do not. */
static void print_replica(const struct top_change *change, struct top_page *page)
{
    const struct top_replica_view *now = &change->now->replica;
    char state[64] = "", rare[96] = "", lag[SHORT], trip[SHORT], keys[SHORT], pending[SHORT];
    if (!now->link[0])
        return;
    if (now->degraded_s > 0)
        snprintf(state, sizeof(state), "  DEGRADED for %.0f s", now->degraded_s);
    if (now->gaps || now->losses || now->repeats)
        snprintf(rare, sizeof(rare), "  repeats %llu gaps %llu losses %llu",
                 (unsigned long long)now->repeats, (unsigned long long)now->gaps,
                 (unsigned long long)now->losses);
    top_print_line(
        page, "redis        %s%s  nodes %llu  round trip %s  lag %s  keys/s %s  pending %s%s",
        now->link, state, (unsigned long long)now->nodes,
        shorten_ns((uint64_t)(now->round_trip_s * 1e9), trip),
        shorten_ns((uint64_t)(now->lag_s * 1e9), lag), shorten(top_replica_rate(change), keys),
        shorten((double)now->pending_keys, pending), rare);
}

static void print_rules(const struct top_change *change, struct top_page *page, unsigned most)
{
    char name[2 * TOP_NAME], a[SHORT], b[SHORT], c[SHORT], d[SHORT];
    const unsigned count = change->now->rule_count < most ? change->now->rule_count : most;
    top_print_line(page, "%s", "");
    top_print_line(page, "%-32s %11s %11s %11s %11s", "tenant/rule", "allowed/s", "denied/s",
                   "units/s", "live");
    for (unsigned i = 0; i < count; i++) {
        const struct top_rule_view *rule = &change->now->rules[i];
        const struct top_rates rates = top_rule_rates(change, rule);
        snprintf(name, sizeof(name), "%s/%s", rule->tenant, rule->rule);
        top_print_line(page, "%-32s %11s %11s %11s %11s", name, shorten(rates.allowed, a),
                       shorten(rates.denied, b), shorten(rates.units, c),
                       shorten((double)rule->live, d));
    }
}

static void print_subjects(const char *title, const struct top_subject_view *subjects,
                           unsigned count, struct top_page *page)
{
    char rate[SHORT], name[4 * sizeof(subjects->name) + 8], head[2 * TOP_NAME];
    if (!count)
        return;
    top_print_line(page, "%s", "");
    top_print_line(page, "%s", title);
    for (unsigned i = 0; i < count; i++) {
        const struct top_subject_view *one = &subjects[i];
        snprintf(head, sizeof(head), "%s/%s", one->tenant, one->rule);
        if (one->has_name)
            printable_format(one->name, one->name_len, name, sizeof(name));
        else
            snprintf(name, sizeof(name), "#%s", one->key);
        top_print_line(page, "%11s  %s %s", shorten(one->per_second, rate), head, name);
    }
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

void top_print_text(const struct top_change *change, struct top_page *page)
{
    const struct top_view *now = change->now;
    print_head(change, page);
    print_rates(change, page);
    print_faults(change, page);
    print_latency(change, page);
    print_table(change, page);
    print_replica(change, page);
    /* what is left goes half to rules, a quarter each to subjects; two lines of each are titles */
    const unsigned left = page->height - page->used;
    const unsigned rows = left > 6 ? left - 6 : 0;
    unsigned hottest = least(now->hottest_count, rows / 4);
    unsigned denied = least(now->denied_count, rows / 4);
    const unsigned rules = least(now->rule_count, rows - hottest - denied);
    hottest = least(now->hottest_count, (rows - rules + 1) / 2);
    denied = least(now->denied_count, rows - rules - hottest);
    print_rules(change, page, rules);
    print_subjects("   checks/s  asked most", now->hottest, hottest, page);
    print_subjects("   denied/s  denied most", now->denied, denied, page);
}
