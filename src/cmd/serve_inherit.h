/* Sockets that are there before us: opened by the service manager for a unit (mete.socket), kept in
 * its descriptor store for our next start, or handed over by the daemon whose place we take.
 *
 * What a unit passes must be what the configuration names (cmd/serve_sockets.c). What was stored or
 * handed over was ours under another configuration: it is used where the present one has a place
 * for it, and closed where not. Main thread, at the start. */
#ifndef METE_CMD_SERVE_INHERIT_H
#define METE_CMD_SERVE_INHERIT_H

#include <stdbool.h>
#include <stddef.h>

#include "sys/passed.h"

struct config_address;
struct server;

#define INHERIT_ROLE_SIZE 12u

enum inherit_source { INHERIT_UNIT, INHERIT_STORE, INHERIT_TAKEN };

struct inherited {
    struct passed_socket socket;
    enum inherit_source source;
    char role[INHERIT_ROLE_SIZE]; /* "udp", "unix", "admin", a door's; "" of a unit */
    bool is_used;                 /* it is somebody's now */
};

struct inheritance {
    struct inherited *items;
    unsigned count;
};

/* Takes what the service manager passed. Results: 0, or EXIT_USAGE after saying why. */
int serve_inherit(struct server *server);

/* One more. Results: 0, -ENOMEM. */
int inherit_add(struct inheritance *inheritance, const struct passed_socket *socket,
                enum inherit_source source, const char *role);

/* A socket for what the configuration names: of this role and type, bound to the address (whose
 * port 0 is any) or to the path, the other being NULL. The address becomes what is bound. Returns
 * the descriptor, now the caller's, or -1. */
int inherit_take(struct inheritance *inheritance, const char *role, int type,
                 struct config_address *address, const char *path);

/* As many as there are for one address, at most `most`; returns their number. */
unsigned inherit_take_all(struct inheritance *inheritance, const char *role,
                          struct config_address *address, int *ret_fds, unsigned most);

/* Closes what found no place, and has the manager forget it. */
void serve_drop_inherited(struct server *server);

/* Has the manager keep the sockets that we opened ourselves, for our next start. True: it was told,
 * and nothing of what lies at their paths may be removed. */
void serve_store_sockets(struct server *server);

/* Of every socket that somebody may take: called for each of them. */
typedef void inherit_each_fn(void *context, const char *role, int fd);
void serve_each_socket(const struct server *server, inherit_each_fn *each, void *context);

#endif
