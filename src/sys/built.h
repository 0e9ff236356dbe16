/* Which of the libraries that a build can do without are in this one: `make WITHOUT="openssl grpc"`
 * leaves them out, files of src/without/ stand in for what needs them. What a configuration asks of
 * one that is not there is refused when it is read (config/parts.h); `mete version` lists both.
 * Any thread. */
#ifndef METE_SYS_BUILT_H
#define METE_SYS_BUILT_H

#include <stdbool.h>

enum built_part {
    BUILT_GRPC,     /* nghttp2 and protobuf-c: the gRPC door */
    BUILT_HIREDIS,  /* several nodes through Redis */
    BUILT_LIBURING, /* the backend io_uring */
    BUILT_LIBXDP,   /* libxdp and libbpf: the backend af_xdp */
    BUILT_OPENSSL,  /* TLS of the doors and to Redis */
    BUILT_SECCOMP,  /* the filter of system calls */
    BUILT_COUNT,
};

/* As WITHOUT of the Makefile has it. */
const char *built_name(enum built_part part);

/* "TLS (OpenSSL)": what it gives, and of which library. */
const char *built_gives(enum built_part part);

bool built_has(enum built_part part);

#endif
