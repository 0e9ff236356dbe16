/* The admin door: a command in, an answer out; what stands at the path; who else connects. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "doors/admin.h"

struct fixture {
    char folder[64], path[96];
    struct admin *admin;
    int stop_fd;
    pthread_t thread;
};

static void answer(void *context, const struct admin_peer *peer, const char *command, FILE *out)
{
    (void)context;
    assert_int_equal(peer->pid, getpid());
    assert_int_equal(peer->uid, getuid());
    if (strcmp(command, "large") == 0)
        for (int i = 0; i < 300000; i++)
            fprintf(out, "%09d\n", i);
    else if (strcmp(command, "nothing") != 0)
        fprintf(out, "you said '%s'", command);
}

static void *serve(void *argument)
{
    struct fixture *f = argument;
    const int fds[] = {-1, f->stop_fd};
    while (admin_run(f->admin, fds, 2, -1) != 1)
        ;
    return NULL;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    strncpy(f->folder, "/tmp/mete-admin-XXXXXX", sizeof(f->folder) - 1);
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/admin.sock", f->folder);
    f->stop_fd = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(admin_open(f->path, answer, f, &f->admin), 0);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct stat status;
    assert_int_equal(eventfd_write(f->stop_fd, 1), 0);
    pthread_join(f->thread, NULL);
    admin_close(f->admin);
    close(f->stop_fd);
    assert_int_equal(stat(f->path, &status), -1); /* gone with its server */
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}

static int ask(const char *path, const char *command, char **ret_text, size_t *ret_len)
{
    FILE *out = open_memstream(ret_text, ret_len);
    int result = admin_ask(path, command, out);
    fclose(out);
    return result;
}

static void answers(void **state)
{
    struct fixture *f = *state;
    char *text;
    size_t len;
    assert_int_equal(ask(f->path, "hello there", &text, &len), 0);
    assert_string_equal(text, "you said 'hello there'");
    free(text);
    assert_int_equal(ask(f->path, "large", &text, &len), 0);
    assert_int_equal(len, 3000000);
    assert_memory_equal(text + len - 10, "000299999\n", 10);
    free(text);
    assert_int_equal(ask(f->path, "nothing", &text, &len), -ECONNRESET);
    free(text);
}

static int dial(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* When all places are taken the oldest goes, not the one that came last. */
static void oldest_goes_first(void **state)
{
    struct fixture *f = *state;
    char *text, byte;
    size_t len;
    int fds[8];
    for (int i = 0; i < 8; i++)
        fds[i] = dial(f->path);
    close(fds[3]); /* a place in the middle becomes free and is taken by the newest */
    fds[3] = dial(f->path);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ask(f->path, "x", &text, &len), 0);
        free(text);
    }
    assert_int_equal(read(fds[0], &byte, 1), 0);
    assert_int_equal(write(fds[3], "late\n", 5), 5);
    assert_int_equal(read(fds[3], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    for (int i = 0; i < 8; i++)
        close(fds[i]);
}

static void what_stands_at_the_path(void **state)
{
    struct fixture *f = *state;
    struct admin *other = NULL;
    char path[200], *text;
    size_t len;
    assert_int_equal(admin_open(f->path, answer, f, &other), -EADDRINUSE);
    snprintf(path, sizeof(path), "%s/none/x", f->folder);
    assert_int_equal(admin_open(path, answer, f, &other), -ENOENT);
    assert_int_equal(admin_open(f->folder, answer, f, &other), -EEXIST);
    snprintf(path, sizeof(path), "%s/%0120d", f->folder, 1);
    assert_int_equal(admin_open(path, answer, f, &other), -ENAMETOOLONG);
    assert_int_equal(ask(path, "x", &text, &len), -ENAMETOOLONG);
    free(text);
    snprintf(path, sizeof(path), "%s/x", f->folder);
    assert_int_equal(ask(path, "x", &text, &len), -ENOENT);
    free(text);
    assert_null(other);
    admin_close(NULL);
}

static int bind_at(const char *path, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* A socket is replaced only if nobody holds it: a living one that speaks otherwise, or that is too
 * busy to accept, is somebody's. Neither may hold up the start. */
static void living_sockets_stay(void **state)
{
    struct fixture *f = *state;
    struct admin *other = NULL;
    struct stat status;
    char path[96];
    snprintf(path, sizeof(path), "%s/other", f->folder);
    int fd = bind_at(path, SOCK_DGRAM);
    assert_int_equal(admin_open(path, answer, f, &other), -EADDRINUSE);
    assert_int_equal(stat(path, &status), 0);
    close(fd);
    assert_int_equal(unlink(path), 0);
    fd = bind_at(path, SOCK_STREAM);
    assert_int_equal(listen(fd, 0), 0);
    int waiting = dial(path); /* nobody accepts it, and there is room for no other */
    alarm(20);                /* against hanging */
    assert_int_equal(admin_open(path, answer, f, &other), -EADDRINUSE);
    alarm(0);
    assert_int_equal(stat(path, &status), 0);
    close(waiting);
    close(fd);
    assert_int_equal(admin_open(path, answer, f, &other), 0); /* now it is a dead one */
    admin_close(other);
}

/* Without a descriptor for who knocks, the knocking goes on; the door may not spin on it. Measured
 * in processor time, against the time that passes. */
static void no_descriptor_left(void **state)
{
    struct fixture *f = *state;
    struct timespec used;
    struct rlimit old, low;
    clockid_t clock;
    char byte;
    int fd = dial(f->path); /* its place is taken, so the next one below is the first free */
    assert_int_equal(write(fd, "x\n", 2), 2);
    assert_int_equal(read(fd, &byte, 1), 1);
    close(fd);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, f->path, strlen(f->path));
    int knocking[64];
    unsigned count = 0;
    while (count < 64 && (count == 0 || knocking[count - 1] < 20)) /* poll() wants some */
        knocking[count++] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    getrlimit(RLIMIT_NOFILE, &old);
    low = (struct rlimit){.rlim_cur = (rlim_t)knocking[count - 1] + 1, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(connect(knocking[0], (struct sockaddr *)&address, sizeof(address)), 0);
    usleep(400000);
    assert_int_equal(pthread_getcpuclockid(f->thread, &clock), 0);
    assert_int_equal(clock_gettime(clock, &used), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_true(used.tv_sec == 0 && used.tv_nsec < 50000000);
    assert_int_equal(write(knocking[0], "x\n", 2), 2); /* and is served when there is one again */
    assert_int_equal(read(knocking[0], &byte, 1), 1);
    while (count)
        close(knocking[--count]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers, setup, teardown),
        cmocka_unit_test_setup_teardown(oldest_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(what_stands_at_the_path, setup, teardown),
        cmocka_unit_test_setup_teardown(living_sockets_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(no_descriptor_left, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
