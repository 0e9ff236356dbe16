/* TLS to Redis: a client's stream over a socket that does not block. link_tls.c alone knows OpenSSL
 * here. The server's certificate must be signed by one of ca_file, else of the system's, and be for
 * the host that was asked for. One thread; SIGPIPE must be ignored. */
#ifndef METE_REPLICA_LINK_TLS_H
#define METE_REPLICA_LINK_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct link_tls_files {
    const char *ca;   /* whose signatures are believed; NULL: the system's */
    const char *cert; /* of our own, for a Redis that asks for one; NULL: none */
    const char *key;
};

struct link_tls_context;
struct link_tls;

/* Results: 0, -ENOMEM, -EINVAL with one clause in error. */
int link_tls_context_create(const struct link_tls_files *files,
                            struct link_tls_context **ret_context, char *error, size_t size);
void link_tls_context_destroy(struct link_tls_context *context);

/* The socket stays the caller's. NULL: no memory. */
struct link_tls *link_tls_open(struct link_tls_context *context, int fd, const char *host);
void link_tls_close(struct link_tls *tls);

/* As recv() and send() do, the handshake included: how many bytes; 0: the peer ended the stream;
 * -EAGAIN: link_tls_wants_write() says what to wait for; -EPROTO: link_tls_problem() says why; else
 * another negative errno. */
ssize_t link_tls_read(struct link_tls *tls, void *ret_bytes, size_t size);
ssize_t link_tls_write(struct link_tls *tls, const void *bytes, size_t len);
bool link_tls_wants_write(const struct link_tls *tls);

/* What OpenSSL found wrong, or "". */
const char *link_tls_problem(const struct link_tls *tls);

#endif
