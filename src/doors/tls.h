/* TLS for the doors: certificates and keys of the configuration, and streams over sockets that do
 * not block. doors/tls.c and doors/tls_load.c are the only files that know OpenSSL.
 *
 * TLS 1.2 and 1.3, OpenSSL's default ciphers; no renegotiation, no compression; no resumption where
 * clients show certificates. A context is immutable and counted: streams keep theirs, so a reload
 * changes what is new and breaks nothing that stands.
 *
 * The private key is read into locked memory and lives in OpenSSL's secure heap (locked, not
 * dumped); whatever else OpenSSL frees is wiped first. The keys of single connections are in
 * ordinary memory.
 *
 * Threads: contexts may be made and released by any thread; a stream belongs to one. SIGPIPE must
 * be ignored. */
#ifndef METE_DOORS_TLS_H
#define METE_DOORS_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/config.h"
#include "doors/login.h"

#define TLS_MAX_NAMES 16u

struct tls_context;
struct tls;

/* Who a client's certificate says it is: SHA-256 of "cn:NAME", "dns:NAME", "uri:NAME", "email:NAME"
 * and "spki:HEX" (SHA-256 of its public key). Names beyond the first TLS_MAX_NAMES do not count. */
struct tls_peer {
    unsigned count;
    uint8_t hashes[TLS_MAX_NAMES][LOGIN_HASH_BYTES];
};

/* For config_load(): makes struct tls_context out of what the section `tls` names. */
extern const struct config_tls_hooks tls_hooks;

/* Unix time at which the certificate ends. */
int64_t tls_not_after(const struct tls_context *context);

/* The server's end of a stream on a connected socket, which stays the caller's. alpn is the one
 * protocol that is spoken ("http/1.1", "h2"): clients that offer others only are refused; NULL:
 * whatever they offer is ignored. NULL: no memory. */
struct tls *tls_open(struct tls_context *context, int fd, const char *alpn);
void tls_close(struct tls *tls); /* NULL is nothing */

/* As recv() and send() do, the handshake included: how many bytes; 0: the peer ended the stream;
 * -EAGAIN: tls_wants_write() says what to wait for; -EPROTO: not TLS, or not as we want it;
 * -EOPNOTSUPP: plain HTTP came instead; another negative errno. After an error only
 * tls_close() may follow. */
ssize_t tls_read(struct tls *tls, void *ret_bytes, size_t size);
ssize_t tls_write(struct tls *tls, const void *bytes, size_t len);

/* Waits the last call that gave -EAGAIN for room to write? Else for bytes to read. */
bool tls_wants_write(const struct tls *tls);

/* Are there bytes to read that no readiness of the socket will tell of? */
bool tls_has_pending(const struct tls *tls);

/* Is the handshake done? */
bool tls_is_ready(const struct tls *tls);

/* Says that nothing more will be written. */
void tls_finish(struct tls *tls);

/* NULL: the client showed no certificate, or the handshake is not done. */
const struct tls_peer *tls_peer(struct tls *tls);

#endif
