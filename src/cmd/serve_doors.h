/* The doors of a running daemon: their sockets, and the loop that serves them. Main thread. */
#ifndef METE_CMD_SERVE_DOORS_H
#define METE_CMD_SERVE_DOORS_H

#include <stddef.h>

struct config;
struct server;

/* How many threads the doors beside UDP and the operators' need: one for all, and one for metrics.
 */
unsigned serve_count_threads(const struct config *config);

/* " unix /run/mete/mete.sock http 127.0.0.1:6385 ..." for the start-up line. */
void serve_format_doors(const struct config *config, char *out, size_t size);

/* Opens what is configured, before traffic starts. Results: 0, or EXIT_USAGE after saying why. */
int serve_open_doors(struct server *server);
int serve_start_doors(struct server *server);
void serve_close_doors(struct server *server);

#endif
