/* `mete top`, in four files: top.c asks each second, top_read.c reads an answer, top_text.c and
 * top_json.c show what changed between two. */
#ifndef METE_CMD_TOP_H
#define METE_CMD_TOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "obs/counters.h"
#include "obs/latency.h"

#define TOP_RULES 64u
#define TOP_SUBJECTS 32u
#define TOP_DOORS 8u
#define TOP_NAME 72u /* of a tenant or rule, with its end */

struct top_rule_view {
    char tenant[TOP_NAME], rule[TOP_NAME];
    uint64_t allowed, denied, would_deny, units, live;
};

struct top_subject_view {
    char tenant[TOP_NAME], rule[TOP_NAME], key[TOP_NAME];
    bool has_name;
    char name[256]; /* may hold anything */
    size_t name_len;
    double per_second, error_per_second;
};

struct top_door_view {
    char name[TOP_NAME];
    struct latency_sum latency; /* sum_ns is not told */
};

struct top_replica_view { /* of who shares limits with other nodes; link is empty if nobody does */
    char link[TOP_NAME];  /* "fine", or what is wrong */
    double degraded_s, lag_s, round_trip_s;
    uint64_t nodes, pending_keys, keys, repeats, gaps, losses;
};

struct top_view { /* one answer of a daemon */
    char version[TOP_NAME], backend[TOP_NAME];
    char boot[TOP_NAME]; /* differs from life to life */
    double uptime_s, cpu_s;
    uint64_t workers;
    uint64_t total[COUNTER_COUNT];
    uint64_t entries, live, evictions, bytes;
    struct top_replica_view replica;
    uint64_t rules_left_out;
    unsigned rule_count, hottest_count, denied_count, door_count;
    struct top_rule_view rules[TOP_RULES];
    struct top_subject_view hottest[TOP_SUBJECTS], denied[TOP_SUBJECTS];
    struct top_door_view doors[TOP_DOORS];
};

/* What changed from `before` to `now`; before->uptime_s is 0 for the first answer of a daemon, so
 * that rates are averages since its start. */
struct top_change {
    const struct top_view *before, *now;
    double seconds;
};

struct top_rates { /* of a rule, per second; negative: not known, it was not told before */
    double allowed, denied, would_deny, units;
};

/* Results: 0, or -EINVAL: not what a daemon says. */
int top_read(const char *text, size_t len, struct top_view *ret_view);

double top_rate(const struct top_change *change, enum counter counter);
double top_replica_rate(const struct top_change *change); /* keys told */
struct top_rates top_rule_rates(const struct top_change *change, const struct top_rule_view *rule);
/* Of the checks of a door in between; counts none if there were none. */
struct latency_sum top_door_latency(const struct top_change *change,
                                    const struct top_door_view *door);

/* A page of at most height lines of at most width columns; every one ends with `end`. */
struct top_page {
    FILE *out;
    unsigned width, height;
    const char *end;
    unsigned used;
};
void top_print_text(const struct top_change *change, struct top_page *page);
void top_print_line(struct top_page *page, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One line, one object. */
void top_print_json(const struct top_change *change, FILE *out);

#endif
