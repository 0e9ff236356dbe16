/* Stream sockets to listen on, for all doors. Each function returns 0, or a negative errno with
 * nothing left open. Main thread. */
#ifndef METE_DOORS_LISTEN_H
#define METE_DOORS_LISTEN_H

#include <stddef.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define LISTEN_BACKLOG 1024 /* waiting to be accepted; the kernel's somaxconn may be less */

/* -ENAMETOOLONG. */
int listen_make_address(const char *path, struct sockaddr_un *ret_address);

/* Listens on path; a socket file that nobody listens on is replaced. mask: as umask(2), for the
 * file. Results: -EADDRINUSE (somebody does), -EEXIST (no socket), -ENAMETOOLONG, or another. */
int listen_open_unix(const char *path, mode_t mask, int *ret_fd);

/* address becomes what was bound: the kernel chooses a port for port 0. */
int listen_open_tcp(struct sockaddr_storage *address, socklen_t len, int *ret_fd);

/* "192.0.2.1:6384", "[::1]:6384"; 64 bytes are enough. */
void listen_format(const struct sockaddr_storage *address, char *out, size_t size);

/* So many descriptors may be open, as far as that is allowed. */
void listen_raise_descriptors(rlim_t wanted);

#endif
