/* Sockets that the service manager opened for us: sd_listen_fds(3)'s protocol, descriptors from 3
 * on, counted by $LISTEN_FDS for the process that $LISTEN_PID names. Main thread, at start. */
#ifndef METE_SYS_PASSED_H
#define METE_SYS_PASSED_H

#include <sys/socket.h>

#define PASSED_NAME_SIZE 96u
#define PASSED_MAX 1024u /* a listen address on each of as many workers as there may be */

struct passed_socket {
    int fd; /* non-blocking, close-on-exec */
    int type;
    struct sockaddr_storage address; /* that it is bound to */
    socklen_t len;
    char name[PASSED_NAME_SIZE]; /* that the manager has for it, cut; "" if it says none */
};

/* Looks at a descriptor, which is made non-blocking and close-on-exec. Results: 0, or the negative
 * errno (-ENOTSOCK). */
int passed_look(int fd, struct passed_socket *ret_socket);

/* How many sockets were passed; takes the message out of the environment, so that it is asked once.
 * The sockets are the caller's. Results: their number, or the negative errno: -EINVAL (more than
 * max, or a number that is none), -ENOTSOCK (a descriptor is none; *ret_bad says which). */
int passed_take(struct passed_socket *ret_sockets, unsigned max, int *ret_bad);

#endif
