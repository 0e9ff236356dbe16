/* Socket groups: one port for all workers, refused where anybody else holds it, nothing left open.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/socket.h"

static const struct socket_options options = {.join = true, .receive_buffer_bytes = 1 << 20};

static struct sockaddr_storage v4(uint32_t host)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&address;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(host);
    return address;
}

static int next_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(fd);
    return fd;
}

static void one_port_for_all(void **unused)
{
    (void)unused;
    int sockets[4];
    struct sockaddr_storage address = v4(INADDR_LOOPBACK);
    socklen_t len = sizeof(struct sockaddr_in);
    assert_int_equal(socket_open_group(&address, len, &options, sockets, 4), 0);
    uint16_t port = ((struct sockaddr_in *)&address)->sin_port;
    assert_int_not_equal(port, 0);
    for (int i = 0; i < 4; i++) {
        struct sockaddr_in bound;
        socklen_t size = sizeof(bound);
        assert_int_equal(getsockname(sockets[i], (struct sockaddr *)&bound, &size), 0);
        assert_int_equal(bound.sin_port, port);
        assert_true(fcntl(sockets[i], F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(sockets[i], F_GETFD) & FD_CLOEXEC);
    }
    socket_close_group(sockets, 4);
    assert_int_equal(sockets[0], -1);
    assert_int_equal(socket_open_group(&address, len, &options, sockets, 1), 0); /* free again */
    socket_close_group(sockets, 1);
}

static void busy_port_is_refused(void **unused)
{
    (void)unused;
    int ours[2], theirs[2];
    struct sockaddr_storage address = v4(INADDR_LOOPBACK);
    socklen_t len = sizeof(struct sockaddr_in);
    assert_int_equal(socket_open_group(&address, len, &options, ours, 2), 0);
    int before = next_descriptor();
    assert_int_equal(socket_open_group(&address, len, &options, theirs, 2), -EADDRINUSE);
    struct sockaddr_storage wildcard = address;
    ((struct sockaddr_in *)&wildcard)->sin_addr.s_addr = INADDR_ANY;
    assert_int_equal(socket_open_group(&wildcard, len, &options, theirs, 2), -EADDRINUSE);
    assert_int_equal(next_descriptor(), before);
    socket_close_group(ours, 2);
}

static void not_our_address(void **unused)
{
    (void)unused;
    int sockets[1];
    int before = next_descriptor();
    struct sockaddr_storage address = v4(0xC0000201); /* 192.0.2.1, for documentation only */
    assert_int_equal(socket_open_group(&address, sizeof(struct sockaddr_in), &options, sockets, 1),
                     -EADDRNOTAVAIL);
    assert_int_equal(next_descriptor(), before);
}

static void addresses_as_text(void **unused)
{
    (void)unused;
    char text[64];
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(6383)};
    inet_pton(AF_INET, "127.0.0.1", &in.sin_addr);
    socket_format_address((struct sockaddr *)&in, text, sizeof(text));
    assert_string_equal(text, "127.0.0.1:6383");
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(65535)};
    inet_pton(AF_INET6, "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", &in6.sin6_addr);
    socket_format_address((struct sockaddr *)&in6, text, sizeof(text));
    assert_string_equal(text, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_port_for_all),
        cmocka_unit_test(busy_port_is_refused),
        cmocka_unit_test(not_our_address),
        cmocka_unit_test(addresses_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
