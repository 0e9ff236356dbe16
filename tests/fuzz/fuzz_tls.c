/* Strangers at a door under TLS, and certificates that say strange things of their owners. The
 * first byte chooses: the rest as it is, in place of a handshake; a real ClientHello, or a real
 * certificate, with some bytes changed (place, place, change). No step beyond a buffer, no leak,
 * and a stream that has failed stays failed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "doors/stream.h"
#include "doors/tls.h"
#include "doors/tls_load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seed {
    uint8_t *bytes;
    size_t len;
};

struct world {
    struct tls_context *context;
    struct seed hello, certificate;
};

static void require(int is_true)
{
    if (!is_true)
        abort();
}

static X509 *make_certificate(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                               0);
    X509_set_issuer_name(certificate, name);
    X509_set_pubkey(certificate, key);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
                                                "DNS:a.example,URI:spiffe://a/b,email:a@b.example,"
                                                "IP:192.0.2.1,RID:1.2.3");
    X509_add_ext(certificate, names, -1);
    X509_EXTENSION_free(names);
    require(X509_sign(certificate, key, EVP_sha256()) > 0);
    return certificate;
}

/* The context is made from files, as a configuration names them. */
static void write_files(struct world *world, char folder[64], struct config_tls *files)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make_certificate(key);
    require(asprintf(&files->certificate.path, "%s/c.pem", folder) > 0);
    require(asprintf(&files->key.path, "%s/k.pem", folder) > 0);
    FILE *out = fopen(files->certificate.path, "w");
    require(out && PEM_write_X509(out, certificate) && fclose(out) == 0);
    out = fdopen(open(files->key.path, O_WRONLY | O_CREAT | O_EXCL, 0600), "w");
    require(out && PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) && fclose(out) == 0);
    world->certificate.len = (size_t)i2d_X509(certificate, &world->certificate.bytes);
    files->client_ca.path = strdup(files->certificate.path);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void make_hello(struct world *world)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    BIO *out = BIO_new(BIO_s_mem());
    char *bytes;
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
    SSL_set_alpn_protos(ssl, (const unsigned char *)"\x02h2\x08http/1.1", 12);
    SSL_set_tlsext_host_name(ssl, "localhost");
    SSL_connect(ssl);
    world->hello.len = (size_t)BIO_get_mem_data(out, &bytes);
    require(world->hello.len > 100);
    world->hello.bytes = malloc(world->hello.len);
    memcpy(world->hello.bytes, bytes, world->hello.len);
    SSL_free(ssl);
    SSL_CTX_free(context);
}

static struct world *make(void)
{
    static struct world world;
    struct config_tls files = {.clients = CLIENTS_OPTIONAL};
    enum config_tls_field field;
    char folder[64] = "/tmp/mete-fuzz-tls-XXXXXX", problem[256];
    signal(SIGPIPE, SIG_IGN);
    require(mkdtemp(folder) != NULL);
    write_files(&world, folder, &files);
    if (tls_hooks.create(&files, &field, problem, sizeof(problem), &world.context)) {
        fprintf(stderr, "%s\n", problem);
        abort();
    }
    unlink(files.certificate.path);
    unlink(files.key.path);
    rmdir(folder);
    free(files.certificate.path);
    free(files.key.path);
    free(files.client_ca.path);
    make_hello(&world);
    return &world;
}

/* A copy of its own, so that a step beyond shows. */
static uint8_t *change(const struct seed *seed, const uint8_t *data, size_t size)
{
    uint8_t *bytes = malloc(seed->len);
    memcpy(bytes, seed->bytes, seed->len);
    for (; size >= 3; data += 3, size -= 3)
        bytes[(data[0] | (size_t)data[1] << 8) % seed->len] ^= data[2];
    return bytes;
}

static void shake_hands(struct world *world, const uint8_t *bytes, size_t len, const char *alpn)
{
    int pair[2];
    uint8_t room[512];
    struct stream stream;
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    require(stream_open(&stream, pair[0], world->context, alpn) == 0);
    require(write(pair[1], bytes, len) == (ssize_t)len);
    ssize_t got = stream_read(&stream, room, sizeof(room));
    require(!stream_is_ready(&stream)); /* nobody finishes a handshake that is never answered */
    require(got <= 0 && !tls_peer(stream.tls));
    if (got < 0 && got != -EAGAIN)
        require(stream_read(&stream, room, sizeof(room)) == -EPROTO &&
                stream_write(&stream, "x", 1) == -EPROTO);
    shutdown(pair[1], SHUT_WR);
    require(stream_read(&stream, room, sizeof(room)) <= 0);
    stream_finish(&stream);
    stream_close(&stream);
    close(pair[1]);
}

static void look_at(const uint8_t *bytes, size_t len)
{
    struct tls_peer peer = {.count = 0};
    const unsigned char *at = bytes;
    X509 *certificate = d2i_X509(NULL, &at, (long)len);
    if (certificate)
        tls_collect_names(&peer, certificate);
    require(peer.count <= TLS_MAX_NAMES);
    X509_free(certificate);
    ERR_clear_error();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world *world;
    if (!world)
        world = make();
    if (size < 2)
        return 0;
    const char *alpn = data[0] & 4 ? "h2" : data[0] & 8 ? NULL : "http/1.1";
    if (data[0] % 4 == 0) {
        shake_hands(world, data + 1, size - 1, alpn);
    } else if (data[0] % 4 == 1) {
        uint8_t *bytes = change(&world->hello, data + 1, size - 1);
        shake_hands(world, bytes, world->hello.len, alpn);
        free(bytes);
    } else if (data[0] % 4 == 2) {
        uint8_t *bytes = change(&world->certificate, data + 1, size - 1);
        look_at(bytes, world->certificate.len);
        free(bytes);
    } else {
        look_at(data + 1, size - 1);
    }
    return 0;
}
