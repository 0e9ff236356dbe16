/* `mete version`: version, compiler, kernel, backends that work here, what was built in. */
#include "cmd/cmd.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "net/io.h"
#include "net/socket.h"
#include "sys/built.h"
#include "sys/sandbox.h"

#ifdef __clang__
#define METE_COMPILER __VERSION__ /* says its name itself */
#else
#define METE_COMPILER "gcc " __VERSION__
#endif

/* Opens the backend on a socket of its own, as a worker would, and lets it go. */
static int try_backend(enum io_backend backend)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    v4->sin_family = AF_INET;
    v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int socket;
    int result = socket_open_group(&address, sizeof(*v4), &(struct socket_options){.join = true},
                                   &socket, 1);
    if (result)
        return result;
    struct io *io;
    struct io_options options = {.sockets = &socket, .socket_count = 1, .buffers = IO_BATCH};
    result = io_open(backend, &options, &io);
    if (!result)
        io_close(io);
    socket_close_group(&socket, 1);
    return result;
}

static void print_parts(const char *title, bool is_in)
{
    bool is_any = false;
    fputs(title, stdout);
    for (enum built_part part = 0; part < BUILT_COUNT; part++)
        if (built_has(part) == is_in) {
            printf(" %s", built_name(part));
            is_any = true;
        }
    puts(is_any ? "" : " none");
}

static const char *say_backend(int result, bool is_built)
{
    return !is_built ? "not in this build" : result ? strerror(-result) : "works here";
}

int cmd_version(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        puts("usage: mete version\n\nPrints version, compiler, kernel, which backends work here, "
             "and which libraries are built in.");
        return 0;
    }
    if (argc > 1 && argv[0][0] != '-')
        return cmd_fail("version", "takes no argument '%s'", argv[1]);
    struct utsname kernel;
    uname(&kernel);
    int uring = try_backend(IO_BACKEND_IO_URING);
    int mmsg = try_backend(IO_BACKEND_MMSG);
    printf("mete %s\ncompiler " METE_COMPILER
           "\nkernel %s %s\nbackend io_uring: %s\nbackend mmsg: %s\n"
           "backend af_xdp: %s\nfilter of system calls: %s\n",
           METE_VERSION, kernel.sysname, kernel.release,
           say_backend(uring, built_has(BUILT_LIBURING)), say_backend(mmsg, true),
           built_has(BUILT_LIBXDP) ? "needs listen.interface and rights to it"
                                   : "not in this build",
           sandbox_has_filter() ? "built in" : "not in this build");
    print_parts("built with:", true);
    print_parts("built without:", false);
    return 0;
}
