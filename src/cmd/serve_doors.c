#include "cmd/serve_doors.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/server.h"
#include "doors/listen.h"
#include "doors/resp.h"

#define DOOR_UMASK 0117 /* the owner and its group, as listen.unix */

bool serve_has_doors(const struct config *config)
{
    return config_door_text(&config->listen_resp) != NULL;
}

static int fail(const char *field, const char *where, int result)
{
    const char *why = result == -EADDRINUSE ? "another program listens there; choose another place"
                      : result == -EEXIST   ? "is there and no socket; choose another path"
                                            : strerror(-result);
    return cmd_fail("serve", "%s: %s: %s", field, where, why);
}

static int open_door(struct server *server, const char *field, struct config_door *door,
                     const struct loop_protocol *protocol)
{
    int fd = -1;
    const char *where = config_door_text(door);
    if (!where)
        return 0;
    int result = door->path ? listen_open_unix(door->path, DOOR_UMASK, &fd)
                            : listen_open_tcp(&door->address.address, door->address.len, &fd);
    if (result)
        return fail(field, where, result);
    if (!door->path)
        listen_format(&door->address.address, door->address.text, sizeof(door->address.text));
    result = loop_add(server->loop, fd, protocol, NULL);
    if (!result)
        return 0;
    close(fd);
    return fail(field, where, result);
}

int serve_open_doors(struct server *server)
{
    struct config *config = server->config;
    if (!serve_has_doors(config))
        return 0;
    const unsigned thread = server->worker_count; /* behind the workers */
    const size_t first = (size_t)thread * server->row_count;
    struct loop_options options = {
        .publish = server->publish,
        .reader = thread,
        .thread_count = server->thread_count,
        .config = config,
        .table = server->table,
        .counters = &server->counters[thread],
        .rule_counters = &server->rule_counters[first],
        .quota =
            {
                .words = server->quota_words,
                .credits = &server->quota_credits[first],
                .worker_count = server->thread_count,
            },
        .connections = (unsigned)config->door_connections,
        .idle_ns = config->door_idle_ns,
    };
    int result = loop_open(&options, &server->loop);
    if (result)
        return cmd_fail("serve", "doors.connections: no room for %u of them: %s",
                        options.connections, strerror(-result));
    return open_door(server, "listen.resp", &config->listen_resp, &resp_protocol);
}

int serve_start_doors(struct server *server)
{
    int result = server->loop ? loop_start(server->loop) : 0;
    return result ? cmd_fail("serve", "doors: no thread: %s", strerror(-result)) : 0;
}

void serve_close_doors(struct server *server)
{
    if (!server->loop)
        return;
    loop_close(server->loop);
    if (server->config->listen_resp.path)
        unlink(server->config->listen_resp.path);
}
