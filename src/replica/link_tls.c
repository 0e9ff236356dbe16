#include "replica/link_tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct link_tls_context {
    SSL_CTX *context;
};

struct link_tls {
    SSL *ssl;
    bool wants_write;
    char problem[160];
};

static int fail(struct link_tls_context *context, const char *what, const char *file, char *error,
                size_t size)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    snprintf(error, size, "%s %s: %s", what, file, reason ? reason : "it cannot be read");
    ERR_clear_error();
    link_tls_context_destroy(context);
    return -EINVAL;
}

int link_tls_context_create(const struct link_tls_files *files,
                            struct link_tls_context **ret_context, char *error, size_t size)
{
    struct link_tls_context *context = calloc(1, sizeof(*context));
    SSL_CTX *ssl = context ? SSL_CTX_new(TLS_client_method()) : NULL;

    if (!ssl) {
        free(context);
        return -ENOMEM;
    }
    context->context = ssl;
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    /* What is not yet sent may have grown and moved by the next try. */
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (files->ca ? !SSL_CTX_load_verify_locations(ssl, files->ca, NULL)
                  : !SSL_CTX_set_default_verify_paths(ssl))
        return fail(context, "the authorities in", files->ca ? files->ca : "the system", error,
                    size);
    if (files->cert && SSL_CTX_use_certificate_chain_file(ssl, files->cert) != 1)
        return fail(context, "the certificate in", files->cert, error, size);
    if (files->key && SSL_CTX_use_PrivateKey_file(ssl, files->key, SSL_FILETYPE_PEM) != 1)
        return fail(context, "the key in", files->key, error, size);
    *ret_context = context;
    return 0;
}

void link_tls_context_destroy(struct link_tls_context *context)
{
    if (!context)
        return;
    SSL_CTX_free(context->context);
    free(context);
}

static bool expect_host(SSL *ssl, const char *host)
{
    struct in6_addr v6;
    struct in_addr v4;

    if (inet_pton(AF_INET, host, &v4) == 1 || inet_pton(AF_INET6, host, &v6) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    return SSL_set_tlsext_host_name(ssl, host) == 1 && SSL_set1_host(ssl, host) == 1;
}

struct link_tls *link_tls_open(struct link_tls_context *context, int fd, const char *host)
{
    struct link_tls *tls = calloc(1, sizeof(*tls));

    if (!tls)
        return NULL;
    tls->ssl = SSL_new(context->context);
    if (!tls->ssl || !expect_host(tls->ssl, host) || SSL_set_fd(tls->ssl, fd) != 1) {
        link_tls_close(tls);
        return NULL;
    }
    SSL_set_connect_state(tls->ssl);
    return tls;
}

void link_tls_close(struct link_tls *tls)
{
    if (!tls)
        return;
    SSL_free(tls->ssl);
    free(tls);
}

/* Called first of all after the call that failed: it reads errno and OpenSSL's own. */
static ssize_t explain(struct link_tls *tls, int result)
{
    const int system = errno;
    const long verified = SSL_get_verify_result(tls->ssl);

    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        tls->wants_write = false;
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        tls->wants_write = true;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        return system != 0 ? -system : -ECONNRESET;
    default:
        break;
    }
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    snprintf(tls->problem, sizeof(tls->problem), "%s%s%s", reason ? reason : "broken stream",
             verified != X509_V_OK ? ": " : "",
             verified != X509_V_OK ? X509_verify_cert_error_string(verified) : "");
    return -EPROTO;
}

ssize_t link_tls_read(struct link_tls *tls, void *ret_bytes, size_t size)
{
    ERR_clear_error();
    errno = 0;
    const int result = SSL_read(tls->ssl, ret_bytes, size < 1 << 30 ? (int)size : 1 << 30);
    return result > 0 ? result : explain(tls, result);
}

ssize_t link_tls_write(struct link_tls *tls, const void *bytes, size_t len)
{
    ERR_clear_error();
    errno = 0;
    const int result = SSL_write(tls->ssl, bytes, len < 1 << 30 ? (int)len : 1 << 30);
    return result > 0 ? result : explain(tls, result);
}

bool link_tls_wants_write(const struct link_tls *tls)
{
    return tls->wants_write;
}

const char *link_tls_problem(const struct link_tls *tls)
{
    return tls->problem;
}
