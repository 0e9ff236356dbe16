/* Messages with descriptors between two processes: whole or refused, and nothing left open. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "sys/handover.h"

#define PATIENCE_MS 20000 /* against hanging */
#define LARGE (8u << 20)

static struct handover_room room;

static int open_count(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void make_pair(int *pair)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
}

static void close_pair(const int *pair)
{
    close(pair[0]);
    close(pair[1]);
}

static void bytes_and_descriptors(void **state)
{
    (void)state;
    int pair[2], fds[HANDOVER_MAX_FDS], before = open_count();
    static uint8_t bytes[HANDOVER_MAX_BYTES];
    make_pair(pair);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7);
    for (unsigned count = 0; count <= HANDOVER_MAX_FDS; count += 16) {
        for (unsigned i = 0; i < count; i++)
            fds[i] = pair[0];
        const struct handover_message message = {.kind = (uint16_t)(count + 1),
                                                 .fd_count = (uint16_t)count,
                                                 .len = (uint32_t)sizeof(bytes),
                                                 .bytes = bytes,
                                                 .fds = fds};
        assert_int_equal(handover_send(pair[0], &message, PATIENCE_MS), 0);
        assert_int_equal(handover_receive(pair[1], &room, PATIENCE_MS), 0);
        assert_int_equal(room.kind, count + 1);
        assert_int_equal(room.fd_count, count);
        assert_int_equal(room.len, sizeof(bytes));
        assert_memory_equal(room.bytes, bytes, sizeof(bytes));
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(fcntl(room.fds[i], F_GETFD), FD_CLOEXEC);
            close(room.fds[i]);
        }
    }
    close_pair(pair);
    assert_int_equal(open_count(), before);
}

static void too_much_is_not_sent(void **state)
{
    (void)state;
    const struct handover_message fds = {.fd_count = HANDOVER_MAX_FDS + 1};
    const struct handover_message bytes = {.len = HANDOVER_MAX_BYTES + 1};
    assert_int_equal(handover_send(-1, &fds, 0), -EMSGSIZE);
    assert_int_equal(handover_send(-1, &bytes, 0), -EMSGSIZE);
}

static void others_words(void **state)
{
    (void)state;
    int pair[2];
    make_pair(pair);
    assert_int_equal(send(pair[0], "error: no\n", 10, 0), 10);
    assert_int_equal(handover_receive(pair[1], &room, PATIENCE_MS), -EBADMSG);
    assert_int_equal(room.len, 10);
    assert_memory_equal(room.bytes, "error: no\n", 10);
    const uint32_t heads[][4] = {
        {0x6574656du, 1, HANDOVER_MAX_BYTES + 1, 0}, /* too long */
        {0x6574656du, 1 | 3u << 16, 0, 0},           /* descriptors that did not come */
        {0, 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        assert_int_equal(send(pair[0], heads[i], 16, 0), 16);
        assert_int_equal(handover_receive(pair[1], &room, PATIENCE_MS), -EBADMSG);
    }
    close_pair(pair);
}

/* One that says less than it has is not believed, and what came is closed. */
static void descriptors_that_nobody_counted(void **state)
{
    (void)state;
    int pair[2], before = open_count();
    uint32_t head[4] = {0x6574656du, 1, 0, 0};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    make_pair(pair);
    struct iovec iov = {head, sizeof(head)};
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    control.align = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(&control.align), &pair[0], sizeof(int));
    assert_int_equal(sendmsg(pair[0], &header, 0), sizeof(head));
    assert_int_equal(handover_receive(pair[1], &room, PATIENCE_MS), -EBADMSG);
    close_pair(pair);
    assert_int_equal(open_count(), before);
}

static void who_is_gone_or_silent(void **state)
{
    (void)state;
    int pair[2];
    const struct handover_message message = {.kind = 1, .len = 100, .bytes = room.bytes};
    make_pair(pair);
    assert_int_equal(handover_receive(pair[1], &room, 1), -ETIMEDOUT);
    assert_int_equal(send(pair[0], "mete\1\0\0\0\144\0\0\0\0\0\0\0half", 20, 0), 20);
    assert_int_equal(handover_receive(pair[1], &room, 1), -ETIMEDOUT);
    close(pair[0]);
    assert_int_equal(handover_receive(pair[1], &room, PATIENCE_MS), -ECONNRESET);
    assert_int_equal(handover_send(pair[1], &message, PATIENCE_MS), -EPIPE);
    close(pair[1]);
}

static void a_full_socket(void **state)
{
    (void)state;
    int pair[2];
    uint8_t *bytes = calloc(1, LARGE);
    make_pair(pair);
    assert_int_equal(handover_send_bytes(pair[0], bytes, LARGE, 1), -ETIMEDOUT);
    const struct handover_message message = {.kind = 1};
    assert_int_equal(handover_send(pair[0], &message, 1), -ETIMEDOUT);
    close_pair(pair);
    free(bytes);
}

struct large {
    int fd;
    uint8_t *bytes;
};

static void *send_large(void *argument)
{
    struct large *large = argument;
    return (void *)(intptr_t)handover_send_bytes(large->fd, large->bytes, LARGE, PATIENCE_MS);
}

static void large_memory(void **state)
{
    (void)state;
    int pair[2];
    make_pair(pair);
    struct large large = {pair[0], malloc(LARGE)};
    uint8_t *got = calloc(1, LARGE);
    for (uint32_t i = 0; i < LARGE; i++)
        large.bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, send_large, &large), 0);
    assert_int_equal(handover_receive_bytes(pair[1], got, LARGE, PATIENCE_MS), 0);
    pthread_join(thread, &result);
    assert_null(result);
    assert_memory_equal(got, large.bytes, LARGE);
    close_pair(pair);
    free(large.bytes);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_and_descriptors), cmocka_unit_test(too_much_is_not_sent),
        cmocka_unit_test(others_words),          cmocka_unit_test(descriptors_that_nobody_counted),
        cmocka_unit_test(who_is_gone_or_silent), cmocka_unit_test(a_full_socket),
        cmocka_unit_test(large_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
