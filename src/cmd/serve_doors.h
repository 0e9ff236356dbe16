/* The doors of a running daemon: their sockets, and the loop that serves them. Main thread. */
#ifndef METE_CMD_SERVE_DOORS_H
#define METE_CMD_SERVE_DOORS_H

#include <stdbool.h>

struct config;
struct server;

/* Does any door beside UDP and the operators' listen? */
bool serve_has_doors(const struct config *config);

/* Opens what is configured, before traffic starts. Results: 0, or EXIT_USAGE after saying why. */
int serve_open_doors(struct server *server);
int serve_start_doors(struct server *server);
void serve_close_doors(struct server *server);

#endif
