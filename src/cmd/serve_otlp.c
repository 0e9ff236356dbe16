#include "cmd/serve_otlp.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "cmd/otlp.h"
#include "cmd/serve_metrics.h"
#include "cmd/server.h"
#include "engine/policy.h"
#include "obs/log.h"
#include "obs/trace.h"
#include "sys/clock.h"

#define TURN_MS 100 /* publish.h wants us back so often */
#define SPAN_TURNS 10u
#define TIMEOUT_MS 1000
#define MOST_SPANS 512u /* of one body */

struct serve_otlp {
    struct server *server;
    struct config_door where; /* copies: a reload may take the configuration away */
    uint64_t every_ns;
    unsigned reader;
    int stop_fd;
    bool is_started, is_down; /* the collector, when it was asked last */
    uint64_t start_ns, next_metrics_ns;
    pthread_t thread;
    struct trace_ring rings[OTLP_RINGS];
};

bool serve_has_otlp(const struct config *config)
{
    return config_door_text(&config->otlp_endpoint) != NULL;
}

struct trace_ring *serve_otlp_ring(const struct serve_otlp *otlp, unsigned which)
{
    return otlp ? (struct trace_ring *)(uintptr_t)&otlp->rings[which] : NULL;
}

/* ---- what is told ---- */

static void post(struct serve_otlp *otlp, const char *path, const char *body, size_t len)
{
    const struct config_door *where = &otlp->where;
    const int status = otlp_post(where, path, body, len, TIMEOUT_MS);
    const bool is_down = status < 200 || status > 299;
    if (is_down && !otlp->is_down && status < 0)
        log_line("otlp: %s: %s; what it would be told is dropped until it answers",
                 config_door_text(where), strerror(-status));
    else if (is_down && !otlp->is_down)
        log_line("otlp: %s: answered %d to %s; what it would be told is dropped until it takes it",
                 config_door_text(where), status, path);
    else if (!is_down && otlp->is_down)
        log_line("otlp: %s: answers again", config_door_text(where));
    otlp->is_down = is_down;
}

/* At most MOST_SPANS of a ring. True: there may be more. */
static bool tell_spans(struct serve_otlp *otlp, struct trace_ring *ring)
{
    char *body = NULL;
    size_t len = 0;
    struct trace_span span;
    unsigned count = 0;
    FILE *out = open_memstream(&body, &len);
    if (!out)
        return false;
    otlp_begin_spans(out);
    while (count < MOST_SPANS && trace_take(ring, &span))
        otlp_put_span(out, &span, count++ == 0);
    otlp_end_spans(out);
    if (fclose(out) == 0 && count)
        post(otlp, "/v1/traces", body, len);
    free(body);
    return count == MOST_SPANS && !otlp->is_down;
}

static void put_rule(struct otlp_metrics *metrics, const char *const names[2],
                     const struct rule_sum *sum)
{
    const uint64_t values[] = {sum->allowed, sum->denied, sum->would_deny};
    static const char *const decisions[] = {"allowed", "denied", "would_deny"};
    for (unsigned i = 0; i < 3; i++) {
        const char *const attributes[] = {"mete.tenant",   names[0],     "mete.rule", names[1],
                                          "mete.decision", decisions[i], NULL};
        otlp_put_point(metrics, values[i], attributes);
    }
}

static void put_decisions(struct serve_otlp *otlp, const struct config *config,
                          struct otlp_metrics *metrics)
{
    struct server *server = otlp->server;
    unsigned shown = 0;
    otlp_begin_sum(metrics, "mete.decisions", "{check}", "Checks by tenant, rule and decision.");
    pthread_mutex_lock(&server->usage_lock);
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        const struct tenant *tenant = &config->tenants[i];
        for (uint32_t j = 0; j < tenant->rule_count && shown < METRICS_MAX_RULES; j++, shown++) {
            const struct rule_sum sum = usage_sum_rule(server, &tenant->rules[j]);
            const char *const names[2] = {tenant->name, tenant->rules[j].name};
            put_rule(metrics, names, &sum);
        }
    }
    pthread_mutex_unlock(&server->usage_lock);
    otlp_end_sum(metrics);
}

static void put_counters(struct serve_otlp *otlp, struct otlp_metrics *metrics)
{
    const struct server *server = otlp->server;
    otlp_begin_sum(metrics, "mete.events", "{event}", "The daemon's own counters, by name.");
    for (unsigned i = 0; i < COUNTER_COUNT; i++) {
        uint64_t sum = 0;
        for (unsigned j = 0; j < server->thread_count; j++)
            sum += counter_read(&server->counters[j].cell[i]);
        const char *const attributes[] = {"mete.event", counter_name((enum counter)i), NULL};
        otlp_put_point(metrics, sum, attributes);
    }
    otlp_end_sum(metrics);
    otlp_begin_sum(metrics, "mete.spans.dropped", "{span}", "Spans that found no room.");
    uint64_t dropped = 0;
    for (unsigned i = 0; i < OTLP_RINGS; i++)
        dropped += trace_dropped(&otlp->rings[i]);
    static const char *const none[] = {NULL};
    otlp_put_point(metrics, dropped, none);
    otlp_end_sum(metrics);
}

/* The body is made while the configuration is held, and sent when it is not. */
static void tell_metrics(struct serve_otlp *otlp, uint64_t now_ns)
{
    struct server *server = otlp->server;
    char *body = NULL;
    size_t len = 0;
    struct otlp_metrics metrics = {
        .out = open_memstream(&body, &len),
        .start_ns = otlp->start_ns,
        .now_ns = now_ns,
    };
    if (!metrics.out)
        return;
    const struct policy *policy = publish_enter(server->publish, otlp->reader);
    otlp_begin_metrics(&metrics);
    put_decisions(otlp, policy->config, &metrics);
    put_counters(otlp, &metrics);
    otlp_end_metrics(&metrics);
    publish_leave(server->publish, otlp->reader);
    if (fclose(metrics.out) == 0)
        post(otlp, "/v1/metrics", body, len);
    free(body);
}

/* ---- the thread ---- */

static void tell(struct serve_otlp *otlp)
{
    const uint64_t now_ns = clock_real_ns(), boot_ns = clock_boot_ns();
    for (unsigned i = 0; i < OTLP_RINGS; i++)
        while (tell_spans(otlp, &otlp->rings[i]))
            ;
    if (boot_ns < otlp->next_metrics_ns)
        return;
    tell_metrics(otlp, now_ns);
    otlp->next_metrics_ns = boot_ns + otlp->every_ns;
}

static void *thread_main(void *argument)
{
    struct serve_otlp *otlp = argument;
    struct server *server = otlp->server;
    bool is_stopping = false;
    for (unsigned turn = 1; !is_stopping; turn++) {
        struct pollfd waits = {.fd = otlp->stop_fd, .events = POLLIN};
        is_stopping = poll(&waits, 1, TURN_MS) == 1;
        publish_enter(server->publish, otlp->reader);
        publish_leave(server->publish, otlp->reader);
        if (is_stopping)
            otlp->next_metrics_ns = 0; /* the last numbers */
        if (is_stopping || turn % SPAN_TURNS == 0)
            tell(otlp);
    }
    publish_quit(server->publish, otlp->reader);
    return NULL;
}

/* ---- its life ---- */

int serve_otlp_open(struct server *server, unsigned reader)
{
    struct serve_otlp *otlp = aligned_alloc(64, sizeof(*otlp));
    uint64_t seed = clock_real_ns();
    if (!otlp)
        return -ENOMEM;
    memset(otlp, 0, sizeof(*otlp));
    server->otlp = otlp;
    otlp->server = server;
    otlp->where = server->config->otlp_endpoint;
    otlp->every_ns = server->config->otlp_every_ns;
    if (otlp->where.path && !(otlp->where.path = strdup(otlp->where.path)))
        return -ENOMEM;
    otlp->stop_fd = -1;
    otlp->reader = reader;
    otlp->start_ns = clock_real_ns();
    otlp->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
        seed ^= (uint64_t)getpid() << 32;
    for (unsigned i = 0; i < OTLP_RINGS; i++)
        trace_init(&otlp->rings[i], server->config->otlp_sample_every,
                   seed + i * 0x12345678abcdull);
    return otlp->stop_fd < 0 ? -errno : 0;
}

int serve_otlp_start(struct serve_otlp *otlp)
{
    if (!otlp)
        return 0;
    const int result = -pthread_create(&otlp->thread, NULL, thread_main, otlp);
    otlp->is_started = result == 0;
    return result;
}

void serve_otlp_close(struct serve_otlp *otlp)
{
    if (!otlp)
        return;
    if (otlp->is_started) {
        eventfd_write(otlp->stop_fd, 1);
        pthread_join(otlp->thread, NULL);
    }
    if (otlp->stop_fd >= 0)
        close(otlp->stop_fd);
    free(otlp->where.path);
    free(otlp);
}
