/* A new configuration for a server that runs. Main thread. */
#ifndef METE_CMD_SERVE_RELOAD_H
#define METE_CMD_SERVE_RELOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct config;
struct server;
struct policy;

/* What workers are to judge by: takes config over, which must be bound to the server's table. NULL:
 * no memory; config stays the caller's. */
struct policy *serve_make_policy(const struct server *server, struct config *config);
void serve_free_policy(struct policy *policy);

/* Owner rows of a table whose first configuration needs this many: a power of two, at least twice
 * as many and 1,024, so that later configurations find room. */
uint32_t serve_row_count(uint32_t index_count);

/* Reads the configuration again and publishes it; a bad one changes nothing. `asker` says in the
 * log who wanted it; what the log says is written to answer too (NULL: nobody reads), after "error:
 * " if nothing was changed. */
void serve_reload(struct server *server, const char *asker, FILE *answer);

/* What the running configuration says of the process: the form of the log, and whether the file is
 * watched. */
void serve_apply_config(struct server *server);

/* A piece of what the last reloads left to do. False: nothing is left. */
bool serve_upkeep(struct server *server);
#define SERVE_UPKEEP_PAUSE_MS 1 /* between two pieces: they take a tenth of that */

#endif
