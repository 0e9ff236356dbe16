/* The same for scripts: a line of JSON each second. */
#include "cmd/top.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cmd/printable.h"

static void print_text(const char *text, FILE *out)
{
    printable_print_json(text, strlen(text), out);
}

static void print_head(const struct top_change *change, FILE *out)
{
    const struct top_view *now = change->now;
    char instant[32] = "";
    struct timespec real;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &real);
    if (gmtime_r(&real.tv_sec, &utc))
        strftime(instant, sizeof(instant), "%Y-%m-%dT%H:%M:%S", &utc);
    fprintf(out, "{\"time\":\"%s.%03ldZ\",\"version\":", instant, real.tv_nsec / 1000000);
    print_text(now->version, out);
    fprintf(out, ",\"backend\":");
    print_text(now->backend, out);
    fprintf(out,
            ",\"workers\":%" PRIu64 ",\"uptime_s\":%.3f,\"interval_s\":%.3f,\"cores\":%.4f,"
            "\"per_second\":{",
            now->workers, now->uptime_s, change->seconds,
            change->seconds > 0 ? (now->cpu_s - change->before->cpu_s) / change->seconds : 0);
    for (unsigned c = 0; c < COUNTER_COUNT; c++)
        fprintf(out, "%s\"%s\":%.3f", c ? "," : "", counter_name(c), top_rate(change, c));
    fprintf(out, "}");
}

/* null: there were none, or it is beyond the largest time that is told apart. */
static void print_us(const char *name, uint64_t ns, FILE *out)
{
    if (ns == 0 || ns == UINT64_MAX)
        fprintf(out, "\"%s\":null,", name);
    else
        fprintf(out, "\"%s\":%.3f,", name, (double)ns / 1e3);
}

static void print_latency(const struct top_change *change, FILE *out)
{
    fprintf(out, ",\"latency_us\":{");
    for (unsigned i = 0; i < change->now->door_count; i++) {
        const struct top_door_view *door = &change->now->doors[i];
        const struct latency_sum sum = top_door_latency(change, door);
        fprintf(out, "%s", i ? "," : "");
        print_text(door->name, out);
        fprintf(out, ":{");
        print_us("p50", latency_percentile_ns(&sum, 0.5), out);
        print_us("p99", latency_percentile_ns(&sum, 0.99), out);
        print_us("p999", latency_percentile_ns(&sum, 0.999), out);
        fprintf(out, "\"checks\":%" PRIu64 "}", latency_count(&sum));
    }
    fprintf(out, "}");
}

static void print_rules(const struct top_change *change, FILE *out)
{
    fprintf(out, ",\"rules_left_out\":%" PRIu64 ",\"rules\":[", change->now->rules_left_out);
    for (unsigned i = 0; i < change->now->rule_count; i++) {
        const struct top_rule_view *rule = &change->now->rules[i];
        const struct top_rates rates = top_rule_rates(change, rule);
        fprintf(out, "%s{\"tenant\":", i ? "," : "");
        print_text(rule->tenant, out);
        fprintf(out, ",\"rule\":");
        print_text(rule->rule, out);
        if (rates.allowed < 0)
            fprintf(out, ",\"per_second\":null");
        else
            fprintf(out,
                    ",\"per_second\":{\"allowed\":%.3f,\"denied\":%.3f,\"would_deny\":%.3f,"
                    "\"units\":%.3f}",
                    rates.allowed, rates.denied, rates.would_deny, rates.units);
        fprintf(out,
                ",\"allowed\":%" PRIu64 ",\"denied\":%" PRIu64 ",\"would_deny\":%" PRIu64
                ",\"units\":%" PRIu64 ",\"live\":%" PRIu64 "}",
                rule->allowed, rule->denied, rule->would_deny, rule->units, rule->live);
    }
    fprintf(out, "]");
}

static void print_subjects(const char *name, const struct top_subject_view *subjects,
                           unsigned count, FILE *out)
{
    fprintf(out, ",\"%s\":[", name);
    for (unsigned i = 0; i < count; i++) {
        const struct top_subject_view *one = &subjects[i];
        fprintf(out, "%s{\"tenant\":", i ? "," : "");
        print_text(one->tenant, out);
        fprintf(out, ",\"rule\":");
        print_text(one->rule, out);
        fprintf(out, ",\"subject\":");
        if (one->has_name)
            printable_print_json(one->name, one->name_len, out);
        else
            fprintf(out, "null");
        fprintf(out, ",\"key\":");
        print_text(one->key, out);
        fprintf(out, ",\"per_second\":%.3f,\"error_per_second\":%.3f}", one->per_second,
                one->error_per_second);
    }
    fprintf(out, "]");
}

/* null: nothing is shared. */
static void print_replica(const struct top_change *change, FILE *out)
{
    const struct top_replica_view *now = &change->now->replica;
    if (!now->link[0]) {
        fprintf(out, ",\"replica\":null");
        return;
    }
    fprintf(out, ",\"replica\":{\"link\":");
    print_text(now->link, out);
    fprintf(out,
            ",\"degraded_s\":%.3f,\"nodes\":%" PRIu64 ",\"round_trip_s\":%.6f,\"lag_s\":%.6f,"
            "\"keys_per_second\":%.3f,\"pending_keys\":%" PRIu64 ",\"repeats\":%" PRIu64
            ",\"gaps\":%" PRIu64 ",\"losses\":%" PRIu64 "}",
            now->degraded_s, now->nodes, now->round_trip_s, now->lag_s, top_replica_rate(change),
            now->pending_keys, now->repeats, now->gaps, now->losses);
}

void top_print_json(const struct top_change *change, FILE *out)
{
    const struct top_view *now = change->now;
    print_head(change, out);
    print_latency(change, out);
    fprintf(out,
            ",\"table\":{\"entries\":%" PRIu64 ",\"live\":%" PRIu64 ",\"evictions\":%" PRIu64
            ",\"bytes\":%" PRIu64 "}",
            now->entries, now->live, now->evictions, now->bytes);
    print_replica(change, out);
    print_rules(change, out);
    print_subjects("hottest", now->hottest, now->hottest_count, out);
    print_subjects("most_denied", now->denied, now->denied_count, out);
    fprintf(out, "}\n");
}
