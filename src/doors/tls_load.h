/* What doors/tls.c and doors/tls_load.c share of OpenSSL: only those two, and tests, include this.
 */
#ifndef METE_DOORS_TLS_LOAD_H
#define METE_DOORS_TLS_LOAD_H

#include <openssl/ssl.h>

struct tls_context;
struct tls_peer;

SSL_CTX *tls_ssl_context(struct tls_context *context);

/* ALPN's callback; the app data of the stream is its struct tls. */
int tls_choose_alpn(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_len,
                    const unsigned char *offered, unsigned offered_len, void *argument);

/* Adds what a certificate says of its owner to a peer. */
void tls_collect_names(struct tls_peer *peer, X509 *certificate);

#endif
