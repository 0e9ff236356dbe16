/* In place of doors/tls*.c and replica/link_tls.c in a build without OpenSSL. config/parts.c
 * refuses every door and URL that asks for TLS, so no context is ever made and no stream opened:
 * the makers refuse, and what takes their product is never called. */
#include <errno.h>
#include <stdio.h>

#include "doors/tls.h"
#include "replica/link_tls.h"

static int refuse(const struct config_tls *tls, enum config_tls_field *ret_field, char *problem,
                  size_t size, struct tls_context **ret_context)
{
    (void)tls;
    (void)ret_context;
    *ret_field = CONFIG_TLS_CERTIFICATE;
    snprintf(problem, size, "this build is without TLS");
    return -ENOSYS;
}

static void forget(struct tls_context *context)
{
    (void)context;
}

const struct config_tls_hooks tls_hooks = {.create = refuse, .destroy = forget};

int64_t tls_not_after(const struct tls_context *context)
{
    (void)context;
    return 0;
}

struct tls *tls_open(struct tls_context *context, int fd, const char *alpn)
{
    (void)context;
    (void)fd;
    (void)alpn;
    return NULL;
}

void tls_close(struct tls *tls)
{
    (void)tls;
}

ssize_t tls_read(struct tls *tls, void *ret_bytes, size_t size)
{
    (void)tls;
    (void)ret_bytes;
    (void)size;
    return -EPROTO;
}

ssize_t tls_write(struct tls *tls, const void *bytes, size_t len)
{
    (void)tls;
    (void)bytes;
    (void)len;
    return -EPROTO;
}

bool tls_wants_write(const struct tls *tls)
{
    (void)tls;
    return false;
}

bool tls_has_pending(const struct tls *tls)
{
    (void)tls;
    return false;
}

bool tls_is_ready(const struct tls *tls)
{
    (void)tls;
    return false;
}

void tls_finish(struct tls *tls)
{
    (void)tls;
}

const struct tls_peer *tls_peer(struct tls *tls)
{
    (void)tls;
    return NULL;
}

int link_tls_context_create(const struct link_tls_files *files,
                            struct link_tls_context **ret_context, char *error, size_t size)
{
    (void)files;
    (void)ret_context;
    snprintf(error, size, "this build is without TLS");
    return -EINVAL;
}

void link_tls_context_destroy(struct link_tls_context *context)
{
    (void)context;
}

struct link_tls *link_tls_open(struct link_tls_context *context, int fd, const char *host)
{
    (void)context;
    (void)fd;
    (void)host;
    return NULL;
}

void link_tls_close(struct link_tls *tls)
{
    (void)tls;
}

ssize_t link_tls_read(struct link_tls *tls, void *ret_bytes, size_t size)
{
    (void)tls;
    (void)ret_bytes;
    (void)size;
    return -EPROTO;
}

ssize_t link_tls_write(struct link_tls *tls, const void *bytes, size_t len)
{
    (void)tls;
    (void)bytes;
    (void)len;
    return -EPROTO;
}

bool link_tls_wants_write(const struct link_tls *tls)
{
    (void)tls;
    return false;
}

const char *link_tls_problem(const struct link_tls *tls)
{
    (void)tls;
    return "";
}
