/* Streams. Every call of OpenSSL that can fail starts with an empty queue of errors, else one
 * connection's mistake would be found by the next. See tls.h. */
#include "doors/tls.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "doors/tls_load.h"

struct tls {
    SSL *ssl;
    const char *alpn;
    bool wants_write, is_broken, has_looked, has_peer;
    struct tls_peer peer;
};

int tls_choose_alpn(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_len,
                    const unsigned char *offered, unsigned offered_len, void *argument)
{
    const struct tls *tls = SSL_get_app_data(ssl);
    (void)argument;
    if (!tls->alpn)
        return SSL_TLSEXT_ERR_NOACK;
    const size_t len = strlen(tls->alpn);
    for (unsigned at = 0; at < offered_len; at += 1u + offered[at])
        if (offered[at] == len && at + len < offered_len &&
            memcmp(offered + at + 1, tls->alpn, len) == 0) {
            *ret_name = offered + at + 1;
            *ret_len = offered[at];
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

struct tls *tls_open(struct tls_context *context, int fd, const char *alpn)
{
    struct tls *tls = calloc(1, sizeof(*tls));
    if (!tls)
        return NULL;
    tls->alpn = alpn;
    tls->ssl = SSL_new(tls_ssl_context(context));
    if (!tls->ssl || !SSL_set_fd(tls->ssl, fd) || !SSL_set_app_data(tls->ssl, tls)) {
        tls_close(tls);
        return NULL;
    }
    SSL_set_accept_state(tls->ssl);
    return tls;
}

void tls_close(struct tls *tls)
{
    if (!tls)
        return;
    SSL_free(tls->ssl);
    free(tls);
}

/* What a call that gave no bytes means. */
static ssize_t judge(struct tls *tls, int returned)
{
    const int saved = errno;
    const int error = SSL_get_error(tls->ssl, returned);
    tls->wants_write = error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    tls->is_broken = true;
    const int reason = ERR_GET_REASON(ERR_peek_error());
    if (error == SSL_ERROR_SSL &&
        (reason == SSL_R_HTTP_REQUEST || reason == SSL_R_HTTPS_PROXY_REQUEST))
        return -EOPNOTSUPP;
    if (error == SSL_ERROR_SYSCALL && saved)
        return -saved;
    return -EPROTO;
}

ssize_t tls_read(struct tls *tls, void *ret_bytes, size_t size)
{
    if (tls->is_broken)
        return -EPROTO;
    ERR_clear_error();
    errno = 0;
    const int got = SSL_read(tls->ssl, ret_bytes, size > INT_MAX ? INT_MAX : (int)size);
    return got > 0 ? got : judge(tls, got);
}

ssize_t tls_write(struct tls *tls, const void *bytes, size_t len)
{
    if (tls->is_broken)
        return -EPROTO;
    ERR_clear_error();
    errno = 0;
    const int put = SSL_write(tls->ssl, bytes, len > INT_MAX ? INT_MAX : (int)len);
    return put > 0 ? put : judge(tls, put);
}

bool tls_wants_write(const struct tls *tls)
{
    return tls->wants_write;
}

bool tls_has_pending(const struct tls *tls)
{
    return SSL_pending(tls->ssl) > 0;
}

bool tls_is_ready(const struct tls *tls)
{
    return SSL_is_init_finished(tls->ssl);
}

void tls_finish(struct tls *tls)
{
    ERR_clear_error();
    if (!tls->is_broken && SSL_is_init_finished(tls->ssl))
        SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

/* ---- who the peer is ---- */

static void add_name(struct tls_peer *peer, const char *kind, const void *name, size_t len)
{
    char text[320];
    const size_t kind_len = strlen(kind);
    if (peer->count == TLS_MAX_NAMES || len == 0 || len > sizeof(text) - kind_len)
        return;
    for (size_t i = 0; i < len; i++) /* a NUL would end the name for some and not for others */
        if (((const char *)name)[i] < 0x21 || ((const char *)name)[i] > 0x7e)
            return;
    memcpy(text, kind, kind_len);
    memcpy(text + kind_len, name, len);
    login_hash(text, kind_len + len, peer->hashes[peer->count++]);
}

static void add_key(struct tls_peer *peer, X509 *certificate)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char *der = NULL;
    uint8_t hash[LOGIN_HASH_BYTES];
    char hex[2 * LOGIN_HASH_BYTES];
    const int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    if (len <= 0)
        return;
    login_hash(der, (size_t)len, hash);
    OPENSSL_free(der);
    for (size_t i = 0; i < sizeof(hash); i++) {
        hex[2 * i] = digits[hash[i] >> 4];
        hex[2 * i + 1] = digits[hash[i] & 15];
    }
    add_name(peer, "spki:", hex, sizeof(hex));
}

static void add_common_names(struct tls_peer *peer, X509 *certificate)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    for (int at = -1; (at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0;) {
        unsigned char *text = NULL;
        const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
        const int len = ASN1_STRING_to_UTF8(&text, value);
        if (len > 0)
            add_name(peer, "cn:", text, (size_t)len);
        OPENSSL_free(text);
    }
}

static void add_other_names(struct tls_peer *peer, X509 *certificate)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        int type;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
        const char *kind = type == GEN_DNS     ? "dns:"
                           : type == GEN_URI   ? "uri:"
                           : type == GEN_EMAIL ? "email:"
                                               : NULL;
        if (kind)
            add_name(peer, kind, ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
    }
    GENERAL_NAMES_free(names);
}

void tls_collect_names(struct tls_peer *peer, X509 *certificate)
{
    add_key(peer, certificate);
    add_common_names(peer, certificate);
    add_other_names(peer, certificate);
    ERR_clear_error(); /* what is malformed is left out */
}

const struct tls_peer *tls_peer(struct tls *tls)
{
    if (!tls->has_looked && SSL_is_init_finished(tls->ssl)) {
        X509 *certificate = SSL_get0_peer_certificate(tls->ssl);
        tls->has_looked = true;
        tls->has_peer = certificate != NULL;
        if (certificate)
            tls_collect_names(&tls->peer, certificate);
    }
    return tls->has_peer ? &tls->peer : NULL;
}
