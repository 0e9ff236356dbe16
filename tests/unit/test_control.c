/* Control messages: what is read from a received one, what is written for its answer. */
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "net/control.h"

static _Alignas(struct cmsghdr) uint8_t in[256], out[CONTROL_BYTES];

static size_t add(size_t at, int level, int type, const void *data, size_t len)
{
    struct cmsghdr *c = (struct cmsghdr *)(in + at);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(c), data, len);
    return at + CMSG_SPACE(len);
}

static struct msghdr received(size_t len)
{
    return (struct msghdr){.msg_control = len ? in : NULL, .msg_controllen = len};
}

/* As a send carries them: the source in front, then the size of segments. */
static struct msghdr write_reply(size_t len, uint32_t segment)
{
    struct msghdr from = received(len), reply = {.msg_control = out};
    uint32_t written = control_write_source(out, &from);
    if (segment)
        written += control_write_segment(out + written, segment);
    reply.msg_controllen = written;
    return reply;
}

static void segment_is_read(void **unused)
{
    (void)unused;
    int size = 56, negative = -1;
    struct in_pktinfo info = {.ipi_ifindex = 3};
    struct msghdr none = received(0);
    assert_int_equal(control_read_segment(&none), 0);
    size_t len = add(0, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    struct msghdr message = received(len);
    assert_int_equal(control_read_segment(&message), 0);
    message = received(add(len, IPPROTO_UDP, UDP_GRO, &size, sizeof(size)));
    assert_int_equal(control_read_segment(&message), 56);
    message = received(add(0, IPPROTO_UDP, UDP_GRO, &negative, sizeof(negative)));
    assert_int_equal(control_read_segment(&message), 0);
}

static void nothing_to_say_is_no_control(void **unused)
{
    (void)unused;
    int size = 56;
    assert_int_equal(write_reply(0, 0).msg_controllen, 0);
    size_t len = add(0, IPPROTO_UDP, UDP_GRO, &size, sizeof(size));
    assert_int_equal(write_reply(len, 0).msg_controllen, 0);
}

static void source_v4_and_segment(void **unused)
{
    (void)unused;
    struct in_pktinfo info = {.ipi_ifindex = 3};
    info.ipi_spec_dst.s_addr = htonl(0x7F000002);
    info.ipi_addr.s_addr = htonl(0x7F0000FF);
    struct msghdr reply = write_reply(add(0, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info)), 40);
    struct cmsghdr *c = CMSG_FIRSTHDR(&reply);
    assert_int_equal(c->cmsg_type, IP_PKTINFO);
    memcpy(&info, CMSG_DATA(c), sizeof(info));
    assert_int_equal(info.ipi_ifindex, 0); /* the route decides */
    assert_int_equal(info.ipi_spec_dst.s_addr, htonl(0x7F000002));
    c = CMSG_NXTHDR(&reply, c);
    assert_non_null(c);
    assert_int_equal(c->cmsg_level, IPPROTO_UDP);
    assert_int_equal(c->cmsg_type, UDP_SEGMENT);
    assert_int_equal(c->cmsg_len, CMSG_LEN(sizeof(uint16_t)));
    uint16_t segment;
    memcpy(&segment, CMSG_DATA(c), sizeof(segment));
    assert_int_equal(segment, 40);
    assert_null(CMSG_NXTHDR(&reply, c));
    assert_true(reply.msg_controllen <= CONTROL_BYTES);
}

/* A link-local address means nothing without its interface; any other is found by the route. */
static void source_v6(void **unused)
{
    (void)unused;
    struct in6_pktinfo info = {.ipi6_ifindex = 3};
    for (int is_link_local = 0; is_link_local <= 1; is_link_local++) {
        info.ipi6_ifindex = 3;
        info.ipi6_addr.s6_addr[0] = is_link_local ? 0xFE : 0x20;
        info.ipi6_addr.s6_addr[1] = is_link_local ? 0x80 : 0x01;
        size_t len = add(0, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
        struct msghdr reply = write_reply(len, 24);
        struct in6_pktinfo written;
        memcpy(&written, CMSG_DATA((struct cmsghdr *)out), sizeof(written));
        assert_ptr_equal(reply.msg_control, out);
        assert_memory_equal(&written.ipi6_addr, &info.ipi6_addr, sizeof(info.ipi6_addr));
        assert_int_equal(written.ipi6_ifindex, is_link_local ? 3 : 0);
        assert_true(reply.msg_controllen <= CONTROL_BYTES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segment_is_read),
        cmocka_unit_test(nothing_to_say_is_no_control),
        cmocka_unit_test(source_v4_and_segment),
        cmocka_unit_test(source_v6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
