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

/* Writes the local address that `received` came to, as the source of its answer, to control (room:
 * CONTROL_BYTES). Returns the bytes written; 0 if the socket has only one address. */
uint32_t control_write_source(uint8_t *control, struct msghdr *received);

/* Asks for UDP_SEGMENT. Returns the bytes written. */
uint32_t control_write_segment(uint8_t *control, uint32_t segment);

#endif
