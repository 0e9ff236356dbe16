/* Answers joined by peer: what may share a send, what may not, and that nothing is lost on the way.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "net/replies.h"

#define PEERS 3

static struct replies replies;
static struct sockaddr_in peers[PEERS];
static struct msghdr headers[PEERS];
static struct io_message messages[PEERS];
static uint8_t bytes[PEERS][65536];

static int set_up(void **unused)
{
    (void)unused;
    memset(&replies, 0, sizeof(replies));
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(1000)};
        peers[i].sin_addr.s_addr = htonl(0x7F000001 + i); /* one port: they share a slot */
        headers[i] = (struct msghdr){.msg_name = &peers[i], .msg_namelen = sizeof(peers[i])};
        messages[i] = (struct io_message){.data = bytes[i], .peer_header = &headers[i]};
    }
    return 0;
}

static void add(unsigned peer, uint32_t offset, uint32_t len, uint32_t segment)
{
    replies_add(&replies, &messages[peer], offset, len, segment);
}

static int segment_of(const struct reply *reply)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(&reply->header);
    uint16_t size;
    if (!c)
        return 0;
    assert_int_equal(c->cmsg_type, UDP_SEGMENT);
    memcpy(&size, CMSG_DATA(c), sizeof(size));
    return size;
}

static void one_peer_is_one_send(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 5; i++)
        add(0, i * 100, 40, 40);
    replies_finish(&replies);
    assert_int_equal(replies.count, 1);
    const struct reply *reply = &replies.items[0];
    assert_true(reply->is_joined);
    assert_int_equal(segment_of(reply), 40);
    assert_int_equal(reply->header.msg_iovlen, 5);
    for (unsigned i = 0; i < 5; i++) {
        assert_ptr_equal(reply->header.msg_iov[i].iov_base, bytes[0] + i * 100);
        assert_int_equal(reply->header.msg_iov[i].iov_len, 40);
    }
}

static void peers_stay_apart(void **unused)
{
    (void)unused;
    add(0, 0, 40, 40);
    add(1, 0, 40, 40);
    add(1, 40, 40, 40);
    add(0, 40, 40, 40); /* its slot was taken over: a send of its own, no harm */
    replies_finish(&replies);
    assert_int_equal(replies.count, 3);
    for (unsigned i = 0; i < replies.count; i++)
        for (unsigned j = 0; j < replies.items[i].header.msg_iovlen; j++) {
            const struct msghdr *header = &replies.items[i].header;
            unsigned peer = header->msg_name == &peers[0] ? 0 : 1;
            const uint8_t *at = header->msg_iov[j].iov_base;
            assert_true(at >= bytes[peer] && at < bytes[peer] + sizeof(bytes[peer]));
        }
    assert_int_equal(segment_of(&replies.items[0]), 0);
    assert_null(replies.items[0].header.msg_control);
}

static void sockets_and_sources_stay_apart(void **unused)
{
    (void)unused;
    _Alignas(struct cmsghdr) uint8_t control[2][CMSG_SPACE(sizeof(struct in_pktinfo))];
    add(0, 0, 40, 40);
    messages[0].socket = 1;
    add(0, 40, 40, 40);
    for (unsigned i = 0; i < 2; i++) {
        struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(0x7F000010 + i)};
        struct cmsghdr *c = (struct cmsghdr *)control[i];
        *c = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(info)), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO};
        memcpy(CMSG_DATA(c), &info, sizeof(info));
        headers[0].msg_control = c;
        headers[0].msg_controllen = sizeof(control[i]);
        add(0, 80 + 40 * i, 40, 40);
    }
    replies_finish(&replies);
    assert_int_equal(replies.count, 4);
    assert_int_equal(replies.items[3].header.msg_controllen, sizeof(control[1]));
}

static void only_the_last_may_be_shorter(void **unused)
{
    (void)unused;
    add(0, 0, 130, 40); /* 40 40 40 10: closed */
    add(0, 200, 40, 40);
    add(0, 300, 24, 24); /* ends it */
    add(0, 400, 24, 24);
    add(0, 500, 40, 40); /* longer than the segment of what is open */
    replies_finish(&replies);
    assert_int_equal(replies.count, 4);
    const uint32_t lens[] = {130, 64, 24, 40};
    const int segments[] = {40, 40, 0, 0};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(replies.items[i].len, lens[i]);
        assert_int_equal(segment_of(&replies.items[i]), segments[i]);
    }
}

static void kernel_limits_hold(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < REPLIES_MAX; i++) {
        assert_false(replies_are_full(&replies));
        add(0, i * 40, 40, 40);
    }
    assert_true(replies_are_full(&replies));
    replies_finish(&replies);
    assert_int_equal(replies.count, REPLIES_MAX / IO_MAX_SEGMENTS);
    replies_clear(&replies);
    for (unsigned i = 0; i < 60; i++)
        add(0, i * 40, 1232, 1232);
    replies_finish(&replies);
    assert_int_equal(replies.count, 2);
    assert_true(replies.items[0].len <= 65507);
    assert_int_equal(replies.items[0].len + replies.items[1].len, 60 * 1232);
}

/* Only the internet protocols cut a send into datagrams. */
static void others_are_never_joined(void **unused)
{
    (void)unused;
    struct sockaddr local = {.sa_family = AF_UNIX};
    headers[0].msg_name = &local;
    headers[0].msg_namelen = sizeof(local);
    add(0, 0, 40, 40);
    add(0, 40, 40, 40);
    replies_finish(&replies);
    assert_int_equal(replies.count, 2);
}

static void join_errors(void **unused)
{
    (void)unused;
    struct reply reply = {.is_joined = true};
    assert_true(replies_is_join_error(&reply, EIO));
    assert_true(replies_is_join_error(&reply, EMSGSIZE));
    assert_false(replies_is_join_error(&reply, EAGAIN));
    reply.is_joined = false;
    assert_false(replies_is_join_error(&reply, EIO));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(one_peer_is_one_send, set_up),
        cmocka_unit_test_setup(peers_stay_apart, set_up),
        cmocka_unit_test_setup(sockets_and_sources_stay_apart, set_up),
        cmocka_unit_test_setup(only_the_last_may_be_shorter, set_up),
        cmocka_unit_test_setup(kernel_limits_hold, set_up),
        cmocka_unit_test_setup(others_are_never_joined, set_up),
        cmocka_unit_test_setup(join_errors, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
