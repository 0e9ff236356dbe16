#include "sys/built.h"

#include <string.h>

#ifndef METE_WITHOUT
#define METE_WITHOUT "" /* names with spaces between them; the Makefile's WITHOUT */
#endif

static const struct {
    const char *name, *gives;
} parts[BUILT_COUNT] = {
    [BUILT_GRPC] = {"grpc", "gRPC (nghttp2, protobuf-c)"},
    [BUILT_HIREDIS] = {"hiredis", "sharing limits through Redis (hiredis)"},
    [BUILT_LIBURING] = {"liburing", "io_uring (liburing)"},
    [BUILT_LIBXDP] = {"libxdp", "AF_XDP (libxdp, libbpf)"},
    [BUILT_OPENSSL] = {"openssl", "TLS (OpenSSL)"},
    [BUILT_SECCOMP] = {"seccomp", "the filter of system calls (libseccomp)"},
};

const char *built_name(enum built_part part)
{
    return parts[part].name;
}

const char *built_gives(enum built_part part)
{
    return parts[part].gives;
}

bool built_has(enum built_part part)
{
    const size_t len = strlen(parts[part].name);
    for (const char *word = METE_WITHOUT; *word; word += strspn(word, " ")) {
        const size_t word_len = strcspn(word, " ");
        if (word_len == len && memcmp(word, parts[part].name, len) == 0)
            return false;
        word += word_len;
    }
    return true;
}
