#include "cmd/serve_inherit.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/serve_doors.h"
#include "cmd/server.h"
#include "net/socket.h"
#include "obs/log.h"

#define STORE_MARK "mete-" /* begins the names of what we had stored: "mete-udp-127.0.0.1_6383" */

int inherit_add(struct inheritance *inheritance, const struct passed_socket *socket,
                enum inherit_source source, const char *role)
{
    struct inherited *items =
        realloc(inheritance->items, (inheritance->count + 1) * sizeof(*inheritance->items));
    if (!items)
        return -ENOMEM;
    inheritance->items = items;
    struct inherited *one = &items[inheritance->count++];
    *one = (struct inherited){.socket = *socket, .source = source};
    snprintf(one->role, sizeof(one->role), "%s", role);
    return 0;
}

static bool is_stored(const struct passed_socket *passed)
{
    return strncmp(passed->name, STORE_MARK, sizeof(STORE_MARK) - 1) == 0;
}

static int sort(struct server *server, const struct passed_socket *passed)
{
    char role[INHERIT_ROLE_SIZE] = "";
    if (is_stored(passed)) {
        const char *word = passed->name + sizeof(STORE_MARK) - 1;
        snprintf(role, sizeof(role), "%.*s", (int)strcspn(word, "-"), word);
    }
    int result = inherit_add(&server->inheritance, passed,
                             is_stored(passed) ? INHERIT_STORE : INHERIT_UNIT, role);
    return result ? cmd_fail("serve", "no memory for sockets") : 0;
}

int serve_inherit(struct server *server)
{
    int bad = -1;
    struct passed_socket *passed = calloc(PASSED_MAX, sizeof(*passed));
    if (!passed)
        return cmd_fail("serve", "no memory for sockets");
    int count = passed_take(passed, PASSED_MAX, &bad);
    int result = 0;
    if (count == -EINVAL)
        result = cmd_fail("serve", "LISTEN_FDS is no number up to %u", PASSED_MAX);
    else if (count < 0)
        result = cmd_fail("serve", "descriptor %d of the service manager is no socket: %s", bad,
                          strerror(-count));
    for (int i = 0; !result && i < count; i++)
        result = sort(server, &passed[i]);
    free(passed);
    return result;
}

/* ---- finding a place ---- */

static in_port_t *port_of(struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? &((struct sockaddr_in *)(void *)address)->sin_port
                                         : &((struct sockaddr_in6 *)(void *)address)->sin6_port;
}

static bool is_at(const struct passed_socket *passed, const struct config_address *wanted)
{
    struct sockaddr_storage a = passed->address, b = wanted->address;
    if (a.ss_family != b.ss_family)
        return false;
    if (*port_of(&b) == 0)
        *port_of(&b) = *port_of(&a);
    if (a.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&a, *other = (const void *)&b;
        return in->sin_port == other->sin_port && in->sin_addr.s_addr == other->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *in = (const void *)&a, *other = (const void *)&b;
    return in->sin6_port == other->sin6_port && in->sin6_scope_id == other->sin6_scope_id &&
           memcmp(&in->sin6_addr, &other->sin6_addr, sizeof(in->sin6_addr)) == 0;
}

/* Whoever asks by path finds the socket only while its file is there. */
static bool is_at_path(const struct passed_socket *passed, const char *path)
{
    const struct sockaddr_un *address = (const void *)&passed->address;
    struct stat status;
    return passed->address.ss_family == AF_UNIX &&
           strncmp(address->sun_path, path, sizeof(address->sun_path)) == 0 &&
           lstat(path, &status) == 0 && S_ISSOCK(status.st_mode);
}

int inherit_take(struct inheritance *inheritance, const char *role, int type,
                 struct config_address *address, const char *path)
{
    for (unsigned i = 0; i < inheritance->count; i++) {
        struct inherited *one = &inheritance->items[i];
        if (one->is_used || one->source == INHERIT_UNIT || one->socket.type != type ||
            strcmp(one->role, role) != 0 ||
            !(path ? is_at_path(&one->socket, path) : is_at(&one->socket, address)))
            continue;
        one->is_used = true;
        if (!path)
            address->address = one->socket.address;
        return one->socket.fd;
    }
    return -1;
}

/* The first may settle what port 0 stands for; the others are of that port. */
unsigned inherit_take_all(struct inheritance *inheritance, const char *role,
                          struct config_address *address, int *ret_fds, unsigned most)
{
    unsigned count = 0;
    int fd;
    while (count < most && (fd = inherit_take(inheritance, role, SOCK_DGRAM, address, NULL)) >= 0)
        ret_fds[count++] = fd;
    return count;
}

void serve_drop_inherited(struct server *server)
{
    struct inheritance *inheritance = &server->inheritance;
    for (unsigned i = 0; i < inheritance->count; i++) {
        const struct inherited *one = &inheritance->items[i];
        if (one->is_used)
            continue;
        close(one->socket.fd);
        if (one->source == INHERIT_STORE)
            notify_say(&server->notify, "FDSTOREREMOVE=1\nFDNAME=%s", one->socket.name);
    }
    free(inheritance->items);
    *inheritance = (struct inheritance){0};
}

/* ---- keeping ---- */

void serve_each_socket(const struct server *server, inherit_each_fn *each, void *context)
{
    for (unsigned w = 0; w < server->worker_count; w++)
        for (unsigned i = 0; i < server->workers[w].udp_socket_count; i++)
            each(context, "udp", server->workers[w].sockets[i]);
    if (server->unix_socket >= 0)
        each(context, "unix", server->unix_socket);
    if (server->admin)
        each(context, "admin", admin_listener(server->admin));
    for (unsigned i = 0; i < server->listener_count; i++)
        each(context, server->listeners[i].role, server->listeners[i].fd);
}

/* The name that finds it again: colons separate names in $LISTEN_FDNAMES. */
static void format_name(const struct passed_socket *socket, const char *role, char *ret_name)
{
    char where[PASSED_NAME_SIZE] = "";
    if (socket->address.ss_family != AF_UNIX)
        socket_format_address((const struct sockaddr *)&socket->address, where, sizeof(where));
    for (char *colon = where; (colon = strchr(colon, ':'));)
        *colon = '_';
    snprintf(ret_name, PASSED_NAME_SIZE, STORE_MARK "%s-%.64s", role, where);
}

/* What came from the store lies there still; what a unit opened is the unit's. */
static bool is_kept_already(const struct server *server, int fd)
{
    for (unsigned i = 0; i < server->inheritance.count; i++)
        if (server->inheritance.items[i].socket.fd == fd)
            return server->inheritance.items[i].source != INHERIT_TAKEN;
    return false;
}

static void store_one(void *context, const char *role, int fd)
{
    struct server *server = context;
    struct passed_socket socket;
    char name[PASSED_NAME_SIZE];
    if (is_kept_already(server, fd) || passed_look(fd, &socket))
        return;
    format_name(&socket, role, name);
    notify_store(&server->notify, name, fd);
}

void serve_store_sockets(struct server *server)
{
    if (!server->notify.has_store)
        return;
    serve_each_socket(server, store_one, server);
    server->leaves_paths = true;
}
