/* Control messages of a datagram: the size of joined segments (UDP_GRO, UDP_SEGMENT) and the local
 * address that was asked (IP_PKTINFO), read on the way in and written on the way out. Shared by the
 * backends. */
#ifndef METE_NET_CONTROL_H
#define METE_NET_CONTROL_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

/* Room for both, in either direction. */
#define CONTROL_BYTES (CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)))

/* Segment size of a received message, 0 if it is a single datagram. */
uint32_t control_read_segment(struct msghdr *received);

/* Fills reply->msg_control (room: CONTROL_BYTES, set by the caller) for an answer to `received`:
 * its local address as the source; segment > 0 asks for UDP_SEGMENT. Without either, control is
 * NULL. */
void control_write_reply(struct msghdr *reply, struct msghdr *received, uint32_t segment);

#endif
