/* The workers' sockets: opened by us, or passed by the service manager. Main thread. */
#ifndef METE_CMD_SERVE_SOCKETS_H
#define METE_CMD_SERVE_SOCKETS_H

struct server;

/* Gives every worker a socket for each listen address, and the first the UNIX one. What the service
 * manager passed are then the only ones, and must be what the configuration names. Results: 0, or
 * EXIT_USAGE after saying why. */
int serve_open_sockets(struct server *server);
void serve_close_sockets(struct server *server);

#endif
