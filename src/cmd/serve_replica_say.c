/* What replication says of itself: lines of the log, `mete stats`, Prometheus. */
#include <inttypes.h>

#include "cmd/serve_replica.h"
#include "cmd/serve_replica_parts.h"
#include "doors/http_write.h"
#include "obs/log.h"

#define SAY_NS 10000000000u       /* a Redis that comes and goes fills no log */
#define DELAY_LEAST_NS (1u << 14) /* no way to Redis is shorter */

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* Since when decisions are this node's alone, and that they are no more. */
static void say_degraded(struct serve_replica *replica, uint64_t now_ns)
{
    const uint64_t since_ns = replica->state.degraded_since_ns;

    if ((since_ns != 0) == (replica->said_degraded_ns != 0))
        return;
    if (since_ns && now_ns < replica->say_at_ns)
        return;
    if (since_ns)
        replica->say_at_ns = now_ns + SAY_NS;
    if (since_ns)
        log_line(
            "redis: no answer for %.1f s: deciding alone, as on_backend_loss of each rule says "
            "(%s)",
            seconds(now_ns - since_ns), replica->link_state.text);
    else
        log_line("redis: answers again after %.1f s; %u keys are still to be told",
                 seconds(now_ns - replica->said_degraded_ns), replica->state.pending_keys);
    replica->said_degraded_ns = since_ns;
}

void serve_look_at_replica(struct serve_replica *replica, uint64_t now_ns)
{
    pthread_mutex_lock(&replica->lock);
    replicator_look(replica->replicator, now_ns, &replica->state);
    replicator_look_delays(replica->replicator, &replica->delays);
    link_look(replica->link, &replica->link_state);
    replica->looked_at_ns = now_ns;
    pthread_mutex_unlock(&replica->lock);
    say_degraded(replica, now_ns);
}

struct look {
    struct replicator_state state;
    struct replicator_delays delays;
    struct link_state link;
    double degraded_s;
};

static struct look look_at(struct serve_replica *replica)
{
    pthread_mutex_lock(&replica->lock);
    struct look look = {
        .state = replica->state, .delays = replica->delays, .link = replica->link_state};
    if (look.state.degraded_since_ns)
        look.degraded_s = seconds(replica->looked_at_ns - look.state.degraded_since_ns);
    pthread_mutex_unlock(&replica->lock);
    return look;
}

static double percentile(const struct latency_sum *sum, uint64_t most_ns, double share)
{
    const uint64_t ns = latency_percentile_ns(sum, share);

    return seconds(ns < most_ns ? ns : most_ns);
}

/* Numbers, in the order in which they are shown. */
struct number {
    const char *name, *metric, *type, *help; /* metric NULL: shown by print_delay() */
    double value;
};

#define NUMBERS 32u
static unsigned list(const struct look *look, struct number numbers[NUMBERS])
{
    const struct replicator_state *s = &look->state;
    const struct replicator_delays *d = &look->delays;
    const struct link_state *l = &look->link;
    const struct number all[] = {
        {"degraded_s", "degraded_seconds", "gauge", "How long Redis has not answered; 0: it does.",
         look->degraded_s},
        {"degraded", "degraded_total", "counter", "Times that Redis stopped answering.",
         (double)s->degraded_count},
        {"nodes", "nodes", "gauge", "Nodes of the namespace, as Redis counts them.",
         (double)s->node_count},
        {"lag_s", "lag_seconds", "gauge", "Age of the oldest charge that Redis did not confirm.",
         seconds(s->lag_ns)},
        {"round_trip_s", "round_trip_seconds", "gauge", "Smallest of late.",
         seconds(s->round_trip_ns)},
        {"pending_keys", "pending_keys", "gauge", "Keys with something to tell.",
         (double)s->pending_keys},
        {"in_flight", "in_flight", "gauge", "Batches that were not answered.",
         (double)s->in_flight},
        {"rows", "rows_used", "gauge", "Keys that are known.", (double)s->rows_used},
        {"batches", "batches_total", "counter", "Batches sent.", (double)s->batches},
        {"keys", "keys_total", "counter", "Keys in them.", (double)s->keys},
        {"largest_batch", "largest_batch", "gauge", "Keys of the largest one.",
         (double)s->largest_batch},
        {"resent", "resent_total", "counter", "Batches sent again.", (double)s->resent},
        {"answers", "answers_total", "counter", "Batches answered.", (double)s->answers},
        {"repeats", "repeats_total", "counter", "Batches that Redis had applied before.",
         (double)s->repeats},
        {"gaps", "gaps_total", "counter", "Times that Redis had lost what it applied.",
         (double)s->gaps},
        {"losses", "losses_total", "counter", "Times that Redis knew nothing of this node.",
         (double)s->losses},
        {"old_keys", "old_keys_total", "counter", "Keys told as what is owed, for being too old.",
         (double)s->old_keys},
        {"first_touches", "first_touches_total", "counter", "Keys asked for at once.",
         (double)s->first_touches},
        {"no_row_keys", "no_row_keys_total", "counter", "Times a key waited for a row.",
         (double)s->no_row_keys},
        {"lost_units", "lost_units_total", "counter", "Units that found no row, and were not told.",
         (double)s->lost_units},
        {"connects", "connects_total", "counter", "Connections made.", (double)l->connects},
        {"redirects", "redirects_total", "counter", "Batches sent to another master.",
         (double)l->redirects},
        {"failed", "failed_total", "counter", "Batches that were not answered.", (double)l->failed},
        {"bytes_out", "sent_bytes_total", "counter", "Bytes sent.", (double)l->bytes_out},
        {"bytes_in", "received_bytes_total", "counter", "Bytes received.", (double)l->bytes_in},
        {"wait_p50_s", NULL, NULL, NULL, percentile(&d->wait, d->longest_wait_ns, 0.5)},
        {"wait_p99_s", NULL, NULL, NULL, percentile(&d->wait, d->longest_wait_ns, 0.99)},
        {"wait_max_s", NULL, NULL, NULL, seconds(d->longest_wait_ns)},
        {"trip_p50_s", NULL, NULL, NULL, percentile(&d->trip, d->longest_trip_ns, 0.5)},
        {"trip_p99_s", NULL, NULL, NULL, percentile(&d->trip, d->longest_trip_ns, 0.99)},
        {"trip_max_s", NULL, NULL, NULL, seconds(d->longest_trip_ns)},
    };
    const unsigned count = sizeof(all) / sizeof(all[0]);
    _Static_assert(sizeof(all) / sizeof(all[0]) <= NUMBERS, "room for them");
    for (unsigned i = 0; i < count; i++)
        numbers[i] = all[i];
    return count;
}

void serve_print_replica_json(const struct server *server, FILE *out)
{
    struct number numbers[NUMBERS];
    if (!server->replica)
        return;
    const struct look look = look_at(server->replica);
    const unsigned count = list(&look, numbers);
    fprintf(out, ",\"replica\":{\"link\":\"%s\",\"cluster\":%s,\"script\":%s",
            link_fault_name(look.link.fault), look.link.is_cluster ? "true" : "false",
            look.link.is_script ? "true" : "false");
    for (unsigned i = 0; i < count; i++)
        fprintf(out, ",\"%s\":%.15g", numbers[i].name, numbers[i].value);
    fputs("}", out);
}

void serve_print_replica_text(const struct server *server, FILE *out)
{
    struct number numbers[NUMBERS];
    if (!server->replica)
        return;
    const struct look look = look_at(server->replica);
    const unsigned count = list(&look, numbers);
    fprintf(out, "\nredis: %s: %s\n", link_fault_name(look.link.fault), look.link.text);
    for (unsigned i = 0; i < count; i++)
        fprintf(out, "%-16s %14.9g%s", numbers[i].name, numbers[i].value,
                i % 3 == 2 || i + 1 == count ? "\n" : "   ");
}

/* Cumulative, by the powers of two of obs/latency.h. */
static void print_delay(struct http_out *out, const char *name, const char *help,
                        const struct latency_sum *sum)
{
    uint64_t below = 0;

    http_print(out, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
    for (uint32_t cell = 0; cell < LATENCY_CELLS - 1; cell++) {
        const uint64_t end_ns = latency_cell_end_ns(cell);
        below += sum->cell[cell];
        if ((end_ns & (end_ns - 1)) == 0 && end_ns >= DELAY_LEAST_NS)
            http_print(out, "%s_bucket{le=\"%.9g\"} %" PRIu64 "\n", name, seconds(end_ns), below);
    }
    below += sum->cell[LATENCY_CELLS - 1];
    http_print(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.9f\n%s_count %" PRIu64 "\n", name,
               below, name, seconds(sum->sum_ns), name, below);
}

void serve_print_replica_metrics(const struct server *server, struct http_out *out)
{
    struct number numbers[NUMBERS];
    if (!server->replica)
        return;
    const struct look look = look_at(server->replica);
    const unsigned count = list(&look, numbers);
    http_print(out,
               "# HELP mete_replica_up 1 while Redis is fine; else the label says what is wrong.\n"
               "# TYPE mete_replica_up gauge\nmete_replica_up{link=\"%s\"} %d\n",
               link_fault_name(look.link.fault), look.link.fault == LINK_FINE);
    print_delay(out, "mete_replica_wait_seconds",
                "How long the oldest charge of a batch waited until it was sent.",
                &look.delays.wait);
    print_delay(out, "mete_replica_trip_seconds", "From a batch's first sending to its answer.",
                &look.delays.trip);
    for (unsigned i = 0; i < count && numbers[i].metric; i++)
        http_print(out,
                   "# HELP mete_replica_%s %s\n# TYPE mete_replica_%s %s\nmete_replica_%s %.15g\n",
                   numbers[i].metric, numbers[i].help, numbers[i].metric, numbers[i].type,
                   numbers[i].metric, numbers[i].value);
}
