/* Certificates and keys from files to contexts. See tls.h. */
#include "doors/tls_load.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "config/config.h"
#include "doors/tls.h"
#include "sys/memory.h"

#define KEY_FILE_BYTES 65536u /* the largest RSA keys have 13 kB */
#define SECURE_HEAP_BYTES                                                                          \
    (1 << 18) /* of OpenSSL: keys of an old and a new configuration, at work */

struct tls_context { /* what a SSL_CTX is: a name of ours, so that no header needs OpenSSL's */
    SSL_CTX *ssl_context;
    int64_t not_after;
};

SSL_CTX *tls_ssl_context(struct tls_context *context)
{
    return context->ssl_context;
}

int64_t tls_not_after(const struct tls_context *context)
{
    return context->not_after;
}

/* ---- memory ---- */

static void *take_memory(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return size ? malloc(size) : NULL;
}

static void free_wiped(void *memory, const char *file, int line)
{
    (void)file;
    (void)line;
    if (memory)
        explicit_bzero(memory, malloc_usable_size(memory));
    free(memory);
}

static void *move_memory(void *memory, size_t size, const char *file, int line)
{
    const size_t before = memory ? malloc_usable_size(memory) : 0;
    if (size == 0) {
        free_wiped(memory, file, line);
        return NULL;
    }
    void *moved = malloc(size); /* realloc() would leave the old bytes where they were */
    if (moved && memory) {
        memcpy(moved, memory, before < size ? before : size);
        free_wiped(memory, file, line);
    }
    return moved;
}

/* Both are wishes: OpenSSL may have been used before, or there may be no memory to lock. */
static void prepare(void)
{
    CRYPTO_set_mem_functions(take_memory, move_memory, free_wiped);
    CRYPTO_secure_malloc_init(SECURE_HEAP_BYTES, 32);
}

/* ---- files ---- */

struct loading {
    const struct config_tls *files;
    SSL_CTX *context;
    enum config_tls_field field; /* in hand */
    char *problem;
    size_t size;
};

static int fail(const struct loading *loading, const char *path, const char *what)
{
    const unsigned long error = ERR_peek_last_error();
    const char *reason = error ? ERR_reason_error_string(error) : NULL;
    snprintf(loading->problem, loading->size, "%s %s%s%s%s", path, what, reason ? " (" : "",
             reason ? reason : "", reason ? ")" : "");
    ERR_clear_error();
    return -EINVAL;
}

static int refuse_unreadable(const struct loading *loading, const char *path)
{
    if (access(path, R_OK) == 0)
        return 0;
    snprintf(loading->problem, loading->size, "%s cannot be read: %s", path, strerror(errno));
    return -EINVAL;
}

static int load_certificate(struct loading *loading)
{
    const char *path = loading->files->certificate.path;
    loading->field = CONFIG_TLS_CERTIFICATE;
    if (refuse_unreadable(loading, path))
        return -EINVAL;
    if (SSL_CTX_use_certificate_chain_file(loading->context, path) != 1)
        return fail(loading, path, "holds no certificate as PEM that can be served");
    return 0;
}

static int refuse_passphrase(char *bytes, int size, int is_writing, void *context)
{
    (void)bytes;
    (void)size;
    (void)is_writing;
    *(bool *)context = true;
    return -1;
}

static int take_key(struct loading *loading, const void *bytes, size_t len)
{
    const char *path = loading->files->key.path;
    bool wants_passphrase = false;
    BIO *bio = BIO_new_mem_buf(bytes, (int)len);
    EVP_PKEY *key =
        bio ? PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, &wants_passphrase) : NULL;
    int result = 0;
    if (!key && wants_passphrase) {
        ERR_clear_error();
        result =
            fail(loading, path, "is under a passphrase; a key without one is needed, mode 0600");
    } else if (!key) {
        ERR_clear_error(); /* it says what a decoder lacked, not what the file does */
        result = fail(loading, path, "holds no private key as PEM");
    } else if (X509_check_private_key(SSL_CTX_get0_certificate(loading->context), key) != 1) {
        ERR_clear_error();
        result = fail(loading, path, "is not the key of the certificate in tls.certificate");
    } else if (SSL_CTX_use_PrivateKey(loading->context, key) != 1) {
        result = fail(loading, path, "cannot be used");
    }
    EVP_PKEY_free(key);
    BIO_free(bio);
    return result;
}

static int load_key(struct loading *loading)
{
    const char *path = loading->files->key.path;
    void *memory;
    bool is_locked;
    size_t len = 0;
    char why[256];
    loading->field = CONFIG_TLS_KEY;
    if (memory_secret_reserve(KEY_FILE_BYTES, &is_locked, &memory))
        return fail(loading, path, "cannot be read: no memory");
    int result = config_read_file(path, memory, KEY_FILE_BYTES, &len, why, sizeof(why));
    if (result)
        snprintf(loading->problem, loading->size, "%s %s", path, why);
    else if (len == KEY_FILE_BYTES)
        result = fail(loading, path, "is too long for a private key");
    else
        result = take_key(loading, memory, len);
    memory_secret_release(memory, KEY_FILE_BYTES);
    return result;
}

static int load_clients(struct loading *loading)
{
    const char *path = loading->files->client_ca.path;
    SSL_CTX *context = loading->context;
    loading->field = CONFIG_TLS_CLIENT_CA;
    if (!path)
        return 0;
    if (refuse_unreadable(loading, path))
        return -EINVAL;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path);
    if (!names || SSL_CTX_load_verify_file(context, path) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return fail(loading, path, "holds no certificate as PEM");
    }
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(
        context,
        SSL_VERIFY_PEER |
            (loading->files->clients == CLIENTS_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
        NULL);
    /* what stands in the file is believed, be it a root or a client's own certificate */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_PARTIAL_CHAIN);
    /* who was once let in is looked at again */
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, 0);
    return 0;
}

static int64_t end_of(const X509 *certificate)
{
    struct tm tm = {.tm_year = 0};
    if (!certificate || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) != 1)
        return 0;
    return timegm(&tm);
}

static SSL_CTX *make_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context)
        return NULL;
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_alpn_select_cb(context, tls_choose_alpn, NULL);
    return context;
}

static int load(struct loading *loading, struct tls_context **ret_context)
{
    struct tls_context *context = calloc(1, sizeof(*context));
    int result = context && loading->context ? 0 : -ENOMEM;
    if (!result)
        result = load_certificate(loading);
    if (!result)
        result = load_key(loading);
    if (!result)
        result = load_clients(loading);
    if (result) {
        SSL_CTX_free(loading->context);
        free(context);
        return result;
    }
    context->ssl_context = loading->context;
    context->not_after = end_of(SSL_CTX_get0_certificate(loading->context));
    *ret_context = context;
    return 0;
}

static int create(const struct config_tls *files, enum config_tls_field *ret_field, char *problem,
                  size_t size, struct tls_context **ret_context)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
    ERR_clear_error();
    struct loading loading = {
        .files = files,
        .context = make_context(),
        .problem = problem,
        .size = size,
    };
    snprintf(problem, size, "no memory");
    const int result = load(&loading, ret_context);
    *ret_field = loading.field;
    return result;
}

/* Streams hold OpenSSL's half, which is counted. */
static void destroy(struct tls_context *context)
{
    if (!context)
        return;
    SSL_CTX_free(context->ssl_context);
    free(context);
}

const struct config_tls_hooks tls_hooks = {.create = create, .destroy = destroy};
