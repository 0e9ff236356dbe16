/* The operators' door: a UNIX stream socket, one line of command in, one text out, closed after it.
 *
 * Runs on the main thread beside the signals; a slow or silent operator holds up nobody, because
 * every connection is non-blocking and the oldest is closed for a new one when there are too many.
 * The socket has mode 0600: who may open it may do what the daemon's user may. */
#ifndef METE_DOORS_ADMIN_H
#define METE_DOORS_ADMIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

struct admin;

/* Who connected, by the kernel's word; 0 and -1 if it has none. */
struct admin_peer {
    pid_t pid;
    uid_t uid;
    int fd; /* of the connection, closed after the answer; who goes on talking copies it */
};

/* Writes the answer to one command line (without its newline) to out. */
typedef void admin_answer_fn(void *context, const struct admin_peer *peer, const char *command,
                             FILE *out);

/* Listens on path; a socket file that nobody listens on is replaced. Results: 0; -EADDRINUSE
 * (somebody does), -ENAMETOOLONG, -ENOMEM, or another negative errno. */
int admin_open(const char *path, admin_answer_fn *answer, void *context, struct admin **ret_admin);
void admin_close(struct admin *admin);

/* The same on a socket that listens already, which becomes the admin's. Results: 0, -ENOMEM. */
int admin_adopt(int listener, const char *path, admin_answer_fn *answer, void *context,
                struct admin **ret_admin);

/* The socket, which stays the admin's; -1 if admin is NULL. */
int admin_listener(const struct admin *admin);

/* What lies at the path is another's from now on: it stays when the admin goes. */
void admin_leave_path(struct admin *admin);

#define ADMIN_MAX_FDS 4u

/* Waits for one of the fds, for operators, or until timeout_ms have passed (-1: for ever); serves
 * the operators that are there. Returns the index of an fd that is readable, the lowest first, or
 * -1. A negative fd never is. admin may be NULL: then it only waits. */
int admin_run(struct admin *admin, const int *fds, unsigned fd_count, int timeout_ms);

/* The other side, for commands: sends the command to the socket at path, copies the answer to out.
 * Results: 0, or a negative errno (-ENOENT, -ECONNREFUSED: no daemon there; -ETIMEDOUT). */
int admin_ask(const char *path, const char *command, FILE *out);

#endif
