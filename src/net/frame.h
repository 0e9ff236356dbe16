/* Ethernet frames that hold one UDP datagram: what the kernel's stack would have read from one, and
 * the headers of its answer, written over those of the request.
 *
 * Sources: IEEE 802.3 and 802.1Q, RFC 791, RFC 8200, RFC 768, RFC 1071 (the checksum).
 * What is not read here (options, fragments, other protocols) never comes: the program on the
 * interface leaves it to the kernel (net/xdp_program.h). Reading looks at everything again, because
 * it decides who asks. Pure; any thread. */
#ifndef METE_NET_FRAME_H
#define METE_NET_FRAME_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define FRAME_ETHERNET_BYTES 14u
#define FRAME_TAG_BYTES 4u /* of 802.1Q */
#define FRAME_IPV4_BYTES 20u
#define FRAME_IPV6_BYTES 40u
#define FRAME_UDP_BYTES 8u
#define FRAME_MAX_HEADERS                                                                          \
    (FRAME_ETHERNET_BYTES + FRAME_TAG_BYTES + FRAME_IPV6_BYTES + FRAME_UDP_BYTES)

enum frame_fate {
    FRAME_OK,
    FRAME_SHORT,        /* ends before its headers, or before what they say */
    FRAME_FOREIGN,      /* not plain UDP over IPv4 or IPv6 */
    FRAME_BAD_ADDRESS,  /* from nobody who could be answered */
    FRAME_BAD_CHECKSUM, /* of the IPv4 header or of the datagram */
};

struct frame {
    uint32_t headers; /* bytes in front of the payload */
    uint32_t len;     /* of the payload; what is behind it is padding */
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } peer;
};

/* Only after FRAME_OK *ret_frame is set. A checksum of 0 is none over IPv4 and wrong over IPv6. One
 * that holds no more than the sum of the pseudo-header is right, too: so it looks until a network
 * card completes it, and between two ends on one host no card does. */
enum frame_fate frame_decode(const uint8_t *bytes, uint32_t len, struct frame *ret_frame);

/* Makes the headers of a frame that was FRAME_OK those of an answer with len bytes of payload,
 * which stand behind them: back to the MAC, address and port it came from, under the same 802.1Q
 * tag. headers: as frame_decode() gave it. Returns the length of the frame. */
uint32_t frame_answer(uint8_t *bytes, uint32_t headers, uint32_t len);

#endif
