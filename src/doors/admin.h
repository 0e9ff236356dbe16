/* The operators' door: a UNIX stream socket, one line of command in, one text out, closed after it.
 *
 * Runs on the main thread beside the signals; a slow or silent operator holds up nobody, because
 * every connection is non-blocking and the oldest is closed for a new one when there are too many.
 * The socket has mode 0600: who may open it may do what the daemon's user may. */
#ifndef METE_DOORS_ADMIN_H
#define METE_DOORS_ADMIN_H

#include <stdio.h>
#include <stddef.h>

struct admin;

/* Writes the answer to one command line (without its newline) to out. */
typedef void admin_answer_fn(void *context, const char *command, FILE *out);

/* Listens on path; a socket file that nobody listens on is replaced. Results: 0; -EADDRINUSE
 * (somebody does), -ENAMETOOLONG, -ENOMEM, or another negative errno. */
int admin_open(const char *path, admin_answer_fn *answer, void *context, struct admin **ret_admin);
void admin_close(struct admin *admin);

/* Serves until stop_fd becomes readable. admin may be NULL: then it only waits. */
void admin_run(struct admin *admin, int stop_fd);

/* The other side, for commands: sends the command to the socket at path, copies the answer to out.
 * Results: 0, or a negative errno (-ENOENT, -ECONNREFUSED: no daemon there; -ETIMEDOUT). */
int admin_ask(const char *path, const char *command, FILE *out);

#endif
