#include "cmd/serve_doors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/refusal.h"
#include "cmd/serve_metrics.h"
#include "cmd/serve_otlp.h"
#include "cmd/serve_replica.h"
#include "cmd/server.h"
#include "doors/grpc.h"
#include "doors/http_check.h"
#include "doors/listen.h"
#include "doors/resp.h"

#define DOOR_UMASK 0117 /* the owner and its group, as listen.unix */

static bool has_doors(const struct config *config)
{
    return config_door_text(&config->listen_resp) || config_door_text(&config->listen_http) ||
           config_door_text(&config->listen_resp_tls) || config_door_text(&config->listen_http_tls);
}

static bool has_metrics(const struct config *config)
{
    return config_door_text(&config->listen_metrics) != NULL;
}

static bool has_grpc(const struct config *config)
{
    return config_door_text(&config->listen_grpc) || config_door_text(&config->listen_grpc_tls);
}

unsigned serve_count_threads(const struct config *config)
{
    return (unsigned)has_doors(config) + has_grpc(config) + serve_has_otlp(config) +
           has_metrics(config);
}

void serve_format_doors(const struct config *config, char *out, size_t size)
{
    const struct {
        const char *name, *where;
    } doors[] = {
        {"unix", config->listen_unix},
        {"resp", config_door_text(&config->listen_resp)},
        {"http", config_door_text(&config->listen_http)},
        {"grpc", config_door_text(&config->listen_grpc)},
        {"resp_tls", config_door_text(&config->listen_resp_tls)},
        {"http_tls", config_door_text(&config->listen_http_tls)},
        {"grpc_tls", config_door_text(&config->listen_grpc_tls)},
        {"metrics", config_door_text(&config->listen_metrics)},
    };
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof(doors) / sizeof(doors[0]) && len < size; i++)
        if (doors[i].where)
            len += (size_t)snprintf(out + len, size - len, " %s %s", doors[i].name, doors[i].where);
}

struct door { /* how to open one */
    const char *field;
    struct config_door *door;
    const struct loop_protocol *protocol;
    void *context;
    bool has_tls;
};

static int fail(const struct door *how, const char *where, int result)
{
    char text[REFUSAL_BYTES];
    const char *field = how->field;
    const char *why = result == -EADDRINUSE ? "another program listens there; choose another place"
                      : result == -EEXIST
                          ? "is there and no socket; choose another path"
                          : refusal_text(result, how->door->path, text, sizeof(text));
    return cmd_fail("serve", "%s: %s: %s", field, where, why);
}

static int open_door(struct server *server, struct loop *loop, const struct door *how)
{
    struct config_door *door = how->door;
    int fd = -1;
    const char *where = config_door_text(door);
    if (!where)
        return 0;
    const char *role = how->field + sizeof("listen.") - 1;
    int result = 0;
    fd = inherit_take(&server->inheritance, role, SOCK_STREAM, &door->address, door->path);
    if (fd < 0)
        result = door->path ? listen_open_unix(door->path, DOOR_UMASK, &fd)
                            : listen_open_tcp(&door->address.address, door->address.len, &fd);
    if (result)
        return fail(how, where, result);
    if (door->path)
        server->door_paths[server->door_path_count++] = strdup(door->path);
    else
        listen_format(&door->address.address, door->address.text, sizeof(door->address.text));
    result = how->has_tls ? loop_add_tls(loop, fd, how->protocol, how->context)
                          : loop_add(loop, fd, how->protocol, how->context);
    if (!result) {
        observe_give_door(server, loop, how->protocol->name);
        server->listeners[server->listener_count++] = (struct server_listener){role, fd};
        return 0;
    }
    close(fd);
    return fail(how, where, result);
}

/* A loop that judges as thread `thread`. */
static int open_loop(struct server *server, unsigned thread, unsigned connections,
                     struct loop **ret_loop)
{
    const size_t first = (size_t)thread * server->row_count;
    struct loop_options options = {
        .publish = server->publish,
        .reader = thread,
        .thread_count = server->thread_count,
        .config = server->config,
        .table = server->table,
        .counters = &server->counters[thread],
        .rule_counters = &server->rule_counters[first],
        .sampler = &server->samplers[thread],
        .quota =
            {
                .words = server->quota_words,
                .credits = &server->quota_credits[first],
                .worker_count = server->thread_count,
            },
        .shared = serve_shared(server, thread),
        .connections = connections,
        .idle_ns = server->config->door_idle_ns,
        .is_held = server->handover.fd >= 0,
    };
    int result = loop_open(&options, ret_loop);
    return result ? cmd_fail("serve", "doors.connections: no room for %u of them: %s", connections,
                             strerror(-result))
                  : 0;
}

/* With a thread of its own, behind that of the other doors. */
static int open_grpc(struct server *server)
{
    const struct config *config = server->config;
    struct trace_ring *ring = serve_otlp_ring(server->otlp, OTLP_GRPC);
    if (grpc_door_create(config->door_idle_ns, ring, &server->grpc))
        return cmd_fail("serve", "listen.grpc: no memory");
    int result = open_loop(server, server->worker_count + has_doors(config),
                           (unsigned)config->door_connections, &server->grpc_loop);
    const struct door plain = {"listen.grpc", &server->config->listen_grpc, &grpc_protocol,
                               server->grpc, false};
    const struct door tls = {"listen.grpc_tls", &server->config->listen_grpc_tls, &grpc_protocol,
                             server->grpc, true};
    if (!result)
        result = open_door(server, server->grpc_loop, &plain);
    return result ? result : open_door(server, server->grpc_loop, &tls);
}

static int open_metrics(struct server *server)
{
    server->metrics = calloc(1, sizeof(*server->metrics));
    if (!server->metrics || serve_metrics_init(server->metrics, server))
        return cmd_fail("serve", "listen.metrics: no memory");
    const unsigned thread = server->worker_count + serve_count_threads(server->config) - 1;
    int result = open_loop(server, thread, METRICS_CONNECTIONS, &server->metrics_loop);
    const struct door door = {"listen.metrics", &server->config->listen_metrics, &metrics_protocol,
                              &server->metrics->door, false};
    return result ? result : open_door(server, server->metrics_loop, &door);
}

static int open_tenants_doors(struct server *server)
{
    struct config *config = server->config;
    server->http = calloc(1, sizeof(*server->http));
    if (!server->http)
        return cmd_fail("serve", "listen.http: no memory");
    server->http->usage = usage_answer;
    server->http->usage_context = server;
    server->http->ring = serve_otlp_ring(server->otlp, OTLP_HTTP);
    const struct door doors[] = {
        {"listen.resp", &config->listen_resp, &resp_protocol, NULL, false},
        {"listen.http", &config->listen_http, &http_protocol, server->http, false},
        {"listen.resp_tls", &config->listen_resp_tls, &resp_protocol, NULL, true},
        {"listen.http_tls", &config->listen_http_tls, &http_protocol, server->http, true},
    };
    int result =
        open_loop(server, server->worker_count, (unsigned)config->door_connections, &server->loop);
    for (size_t i = 0; !result && i < sizeof(doors) / sizeof(doors[0]); i++)
        result = open_door(server, server->loop, &doors[i]);
    return result;
}

int serve_open_doors(struct server *server)
{
    const struct config *config = server->config;
    if (serve_has_otlp(config) &&
        serve_otlp_open(server, server->worker_count + has_doors(config) + has_grpc(config)))
        return cmd_fail("serve", "otlp.endpoint: no memory");
    int result = has_doors(config) ? open_tenants_doors(server) : 0;
    if (!result && has_grpc(config))
        result = open_grpc(server);
    return result || !has_metrics(config) ? result : open_metrics(server);
}

int serve_start_doors(struct server *server)
{
    int result = server->loop ? loop_start(server->loop) : 0;
    if (!result && server->grpc_loop)
        result = loop_start(server->grpc_loop);
    if (!result && server->metrics_loop)
        result = loop_start(server->metrics_loop);
    if (!result)
        result = serve_otlp_start(server->otlp);
    return result ? cmd_fail("serve", "doors: no thread: %s", strerror(-result)) : 0;
}

void serve_close_doors(struct server *server)
{
    for (unsigned i = 0; i < server->door_path_count; i++) {
        if (server->door_paths[i] && !server->leaves_paths)
            unlink(server->door_paths[i]);
        free(server->door_paths[i]);
    }
    loop_close(server->metrics_loop);
    loop_close(server->grpc_loop);
    loop_close(server->loop);
    grpc_door_destroy(server->grpc);
    serve_otlp_close(server->otlp);
    if (server->metrics)
        serve_metrics_deinit(server->metrics);
    free(server->metrics);
    free(server->http);
}
