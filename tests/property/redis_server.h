/* A redis-server of a test's own: on a UNIX socket in a fresh folder, without a disk, ended with
 * the test; and a connection to it that waits. */
#ifndef METE_TESTS_REDIS_SERVER_H
#define METE_TESTS_REDIS_SERVER_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "replica/redis.h"

struct redis_server {
    char folder[64], path[80];
    pid_t pid;
    int fd;
    struct redis_reader *reader;
};

static inline void redis_server_fail(const char *what)
{
    fprintf(stderr, "redis-server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static inline int redis_server_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

static inline void redis_server_start(struct redis_server *server)
{
    const struct timespec pause = {.tv_nsec = 10000000};

    snprintf(server->folder, sizeof(server->folder), "/tmp/mete-redis-XXXXXX");
    if (!mkdtemp(server->folder))
        redis_server_fail("folder");
    snprintf(server->path, sizeof(server->path), "%s/r", server->folder);
    server->pid = fork();
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int nowhere = open("/dev/null", O_WRONLY);
        dup2(nowhere, STDOUT_FILENO);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", server->path,
               "--save", "", "--appendonly", "no", "--dir", server->folder, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 3000 && (server->fd = redis_server_connect(server->path)) < 0; i++) {
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid)
            redis_server_fail("it ended at once; is the package redis-server installed?");
        nanosleep(&pause, NULL);
    }
    server->reader = redis_reader_create();
    if (server->fd < 0 || !server->reader)
        redis_server_fail("no connection");
}

static inline void redis_server_stop(struct redis_server *server)
{
    redis_reader_destroy(server->reader);
    close(server->fd);
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    unlink(server->path);
    rmdir(server->folder);
}

static inline void redis_server_write(struct redis_server *server, struct redis_buffer *buffer)
{
    for (size_t at = 0; at < buffer->len;) {
        const ssize_t count = write(server->fd, buffer->bytes + at, buffer->len - at);
        if (count <= 0)
            redis_server_fail("write");
        at += (size_t)count;
    }
    buffer->len = 0;
}

/* The next reply, for the caller to free. */
static inline struct redis_value *redis_server_read(struct redis_server *server)
{
    char bytes[65536];
    struct redis_value *value;

    for (;;) {
        const int result = redis_reader_next(server->reader, &value);
        if (result == 1)
            return value;
        const ssize_t count = result < 0 ? -1 : read(server->fd, bytes, sizeof(bytes));
        if (count <= 0 || redis_reader_feed(server->reader, bytes, (size_t)count))
            redis_server_fail("read");
    }
}

/* Says words that end with NULL. */
static inline struct redis_value *redis_server_say(struct redis_server *server,
                                                   const char *const *words)
{
    struct redis_buffer buffer = {0};
    size_t lens[16];
    int count = 0;

    for (; words[count]; count++)
        lens[count] = strlen(words[count]);
    if (redis_format(&buffer, count, words, lens))
        redis_server_fail("memory");
    redis_server_write(server, &buffer);
    redis_buffer_free(&buffer);
    return redis_server_read(server);
}

#endif
