/* The line of a daemon that is ready, and what it had to do without. Main thread. */
#ifndef METE_CMD_SERVE_SAY_H
#define METE_CMD_SERVE_SAY_H

struct server;

void serve_say_ready(struct server *server);

#endif
