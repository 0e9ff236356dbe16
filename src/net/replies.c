#include "net/replies.h"

#include <errno.h>
#include <string.h>

#define MOST_BYTES 65000u /* of one send; an IPv4 datagram holds 65,507 */

/* Ports are all that tells flows of one host apart, and mostly enough. */
static unsigned slot_of(const struct msghdr *received)
{
    const struct sockaddr_in *peer = received->msg_name; /* the port stands there in IPv6, too */
    return ((unsigned)peer->sin_port * 2654435769u >> 16) % 64;
}

static bool can_join(const struct msghdr *received)
{
    const struct sockaddr *peer = received->msg_name;
    return peer && (peer->sa_family == AF_INET || peer->sa_family == AF_INET6);
}

static bool is_same_path(const struct reply *a, const struct reply *b)
{
    return a->socket == b->socket && a->header.msg_namelen == b->header.msg_namelen &&
           a->source_bytes == b->source_bytes &&
           memcmp(a->header.msg_name, b->header.msg_name, a->header.msg_namelen) == 0 &&
           memcmp(a->control, b->control, a->source_bytes) == 0;
}

/* Room for these datagrams behind the others? The last one of a send may be shorter. */
static bool has_room(const struct reply *reply, uint32_t len, uint32_t segment)
{
    return reply->len % reply->segment == 0 &&
           (segment == reply->segment || (len < reply->segment && len == segment)) &&
           reply->len + len <= MOST_BYTES &&
           (reply->len + len + reply->segment - 1) / reply->segment <= IO_MAX_SEGMENTS;
}

void replies_add(struct replies *replies, const struct io_message *message, uint32_t offset,
                 uint32_t len, uint32_t segment)
{
    struct msghdr *received = message->peer_header;
    struct reply *fresh = &replies->items[replies->count];
    unsigned part = replies->part_count++;
    bool may_join = can_join(received);
    unsigned slot = may_join ? slot_of(received) : 0;

    replies->parts[part] = (struct reply_part){.bytes = {message->data + offset, len}};
    segment = segment < len ? segment : len;
    fresh->socket = message->socket;
    fresh->header.msg_name = received->msg_name;
    fresh->header.msg_namelen = received->msg_namelen;
    fresh->source_bytes = control_write_source(fresh->control, received);
    if (may_join && replies->latest[slot]) {
        struct reply *reply = &replies->items[replies->latest[slot] - 1];
        if (is_same_path(reply, fresh) && has_room(reply, len, segment)) {
            replies->parts[reply->last].next = part + 1;
            reply->last = part;
            reply->part_count++;
            reply->len += len;
            return;
        }
    }
    fresh->segment = segment;
    fresh->len = len;
    fresh->first = fresh->last = part;
    fresh->part_count = 1;
    replies->count++;
    if (may_join)
        replies->latest[slot] = (uint16_t)replies->count;
}

void replies_keep_path(const struct io_message *message, struct reply_path *ret_path)
{
    const struct msghdr *received = message->peer_header;
    size_t name_len = received->msg_namelen;
    size_t control_len = received->msg_control ? received->msg_controllen : 0;

    name_len = name_len < sizeof(ret_path->name) ? name_len : sizeof(ret_path->name);
    control_len = control_len < REPLY_PATH_BYTES ? control_len : REPLY_PATH_BYTES;
    memcpy(&ret_path->name, received->msg_name, name_len);
    if (control_len)
        memcpy(ret_path->control, received->msg_control, control_len);
    ret_path->socket = message->socket;
    ret_path->header = (struct msghdr){
        .msg_name = &ret_path->name,
        .msg_namelen = (socklen_t)name_len,
        .msg_control = control_len ? ret_path->control : NULL,
        .msg_controllen = control_len,
    };
}

struct io_message replies_message(struct reply_path *path, uint8_t *bytes, uint32_t len)
{
    return (struct io_message){
        .data = bytes,
        .len = len,
        .segment = len,
        .peer = path->header.msg_namelen ? &path->name.any : &io_nobody,
        .socket = path->socket,
        .peer_header = &path->header,
    };
}

void replies_finish(struct replies *replies)
{
    unsigned used = 0;
    for (unsigned i = 0; i < replies->count; i++) {
        struct reply *reply = &replies->items[i];
        struct msghdr *header = &reply->header;
        header->msg_iov = &replies->bytes[used];
        header->msg_iovlen = reply->part_count;
        for (uint32_t part = reply->first + 1; part; part = replies->parts[part - 1].next)
            replies->bytes[used++] = replies->parts[part - 1].bytes;
        reply->is_joined = reply->len > reply->segment;
        size_t control_len = reply->source_bytes;
        if (reply->is_joined)
            control_len += control_write_segment(reply->control + control_len, reply->segment);
        header->msg_control = control_len ? reply->control : NULL;
        header->msg_controllen = control_len;
        header->msg_flags = 0;
    }
}

void replies_clear(struct replies *replies)
{
    replies->count = 0;
    replies->part_count = 0;
    memset(replies->latest, 0, sizeof(replies->latest));
}

unsigned replies_send_plainly(const struct reply *reply, int fd)
{
    struct msghdr header = reply->header;
    struct iovec bytes;
    unsigned refused = 0;
    header.msg_iov = &bytes;
    header.msg_iovlen = 1;
    header.msg_controllen = reply->source_bytes;
    if (!reply->source_bytes)
        header.msg_control = NULL;
    for (unsigned i = 0; i < reply->part_count; i++) {
        const struct iovec *part = &reply->header.msg_iov[i];
        for (size_t at = 0; at < part->iov_len; at += reply->segment) {
            size_t left = part->iov_len - at;
            bytes.iov_base = (uint8_t *)part->iov_base + at;
            bytes.iov_len = left < reply->segment ? left : reply->segment;
            refused += sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0;
        }
    }
    return refused;
}

bool replies_is_join_error(const struct reply *reply, int error)
{
    return reply->is_joined && (error == EIO || error == EINVAL || error == EMSGSIZE);
}
