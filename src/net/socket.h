/* UDP and UNIX datagram sockets as the workers need them. */
#ifndef METE_NET_SOCKET_H
#define METE_NET_SOCKET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

struct socket_options {
    int receive_buffer_bytes; /* 0: the system's; the kernel makes twice as much of it */
    bool join;                /* UDP_GRO: take several datagrams of a flow at once */
};

/* One bound, non-blocking, SO_REUSEPORT socket per worker for one address. The first bind is made
 * without SO_REUSEPORT, so that another daemon on the port is a busy port and not a thief of half
 * the traffic; port 0 takes a free one. *address becomes the address bound. Results: 0, or the
 * negative errno of the call that failed (-EADDRINUSE: busy); no socket is left open then. */
int socket_open_group(struct sockaddr_storage *address, socklen_t len,
                      const struct socket_options *options, int *ret_sockets, unsigned count);

/* The same options for a socket that somebody else opened and bound to address. Results: 0 or the
 * negative errno. */
int socket_prepare(int fd, const struct sockaddr_storage *address,
                   const struct socket_options *options);

/* Has the kernel give what a CPU received to the socket of the group that names it. Results: 0 or
 * the negative errno. */
int socket_prefer_cpu(int fd, int cpu);

void socket_close_group(int *sockets, unsigned count);

/* One bound, non-blocking UNIX datagram socket, for its owner and group (mode 0660). What a killed
 * daemon left at the path is removed; what another serves is not. Results: 0; -EADDRINUSE (served),
 * -EEXIST (there, and no socket), -ENAMETOOLONG, or the negative errno of the call that failed. */
int socket_open_unix(const char *path, int *ret_socket);

/* "127.0.0.1:6383", "[::1]:6383" into out (64 bytes are enough). */
void socket_format_address(const struct sockaddr *address, char *out, size_t size);

#endif
