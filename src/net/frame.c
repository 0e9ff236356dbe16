#include "net/frame.h"

#include <string.h>

#define TYPE_IPV4 0x0800u
#define TYPE_IPV6 0x86DDu
#define TYPE_TAGGED 0x8100u
#define MAC_BYTES 6u
#define ANSWER_HOPS 64u
#define DO_NOT_FRAGMENT 0x4000u

/* Offsets in an IPv4 header, then in an IPv6 one, then in UDP's. */
enum { V4_LEN = 2, V4_ID = 4, V4_FRAGMENT = 6, V4_TTL = 8, V4_PROTOCOL = 9, V4_SUM = 10 };
enum { V4_SOURCE = 12, V4_TARGET = 16 };
enum { V6_LEN = 4, V6_NEXT = 6, V6_HOPS = 7, V6_SOURCE = 8, V6_TARGET = 24 };
enum { UDP_SOURCE = 0, UDP_TARGET = 2, UDP_LEN = 4, UDP_SUM = 6 };

static uint16_t load16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void store16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* ---- checksums: sums of 16-bit words in the order they stand in memory, which folds to the same
 * whatever the machine's order is (RFC 1071, section 2 (B)) ---- */

/* By words of 8 bytes with the carry added at once: 2^64 is 1 modulo 2^16 - 1. */
static inline uint64_t sum_bytes(const uint8_t *bytes, uint32_t len, uint64_t sum)
{
    uint64_t word;
    for (; len >= 8; bytes += 8, len -= 8) {
        memcpy(&word, bytes, 8);
        sum += word;
        sum += sum < word;
    }
    if (len) {
        word = 0;
        memcpy(&word, bytes, len);
        sum += word;
        sum += sum < word;
    }
    return sum;
}

static uint16_t fold(uint64_t sum)
{
    sum = (sum & 0xFFFFFFFFu) + (sum >> 32);
    sum = (sum & 0xFFFFFFFFu) + (sum >> 32);
    sum = (sum & 0xFFFF) + (sum >> 16);
    sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)sum;
}

/* Of the pseudo-header: both addresses, the protocol and the datagram's length. */
static uint64_t sum_pseudo(uint64_t address_sum, uint32_t udp_len)
{
    return address_sum + htons(IPPROTO_UDP) + htons((uint16_t)udp_len);
}

static uint64_t sum_addresses(const uint8_t *addresses, uint32_t address_bytes)
{
    return fold(sum_bytes(addresses, 2 * address_bytes, 0));
}

static bool is_sum_right(uint64_t pseudo, const uint8_t *udp, uint32_t udp_len, bool may_lack)
{
    uint16_t given;
    memcpy(&given, udp + UDP_SUM, sizeof(given));
    if (given == 0)
        return may_lack;
    return fold(sum_bytes(udp, udp_len, pseudo)) == 0xFFFF || given == fold(pseudo);
}

/* ---- reading ---- */

static bool is_answerable_v4(const uint8_t *source)
{
    return source[0] != 0 && source[0] != 127 && source[0] < 224;
}

/* Whose first half is zeroes: the unspecified address, loopback, IPv4 in IPv6's clothes. */
static bool is_answerable_v6(const uint8_t *source)
{
    static const uint8_t zeroes[8];
    return memcmp(source, zeroes, sizeof(zeroes)) != 0 && source[0] != 0xFF;
}

static enum frame_fate decode_udp(const uint8_t *udp, uint32_t room, uint64_t pseudo, bool may_lack)
{
    if (load16(udp + UDP_LEN) != room)
        return FRAME_SHORT;
    if (!is_sum_right(pseudo, udp, room, may_lack))
        return FRAME_BAD_CHECKSUM;
    return load16(udp + UDP_SOURCE) ? FRAME_OK : FRAME_BAD_ADDRESS;
}

static enum frame_fate decode_v4(const uint8_t *ip, uint32_t room, struct frame *frame)
{
    if (room < FRAME_IPV4_BYTES + FRAME_UDP_BYTES)
        return FRAME_SHORT;
    if (ip[0] != 0x45 || ip[V4_PROTOCOL] != IPPROTO_UDP || load16(ip + V4_FRAGMENT) & 0x3FFF)
        return FRAME_FOREIGN;
    uint32_t len = load16(ip + V4_LEN);
    if (len > room || len < FRAME_IPV4_BYTES + FRAME_UDP_BYTES)
        return FRAME_SHORT;
    if (fold(sum_bytes(ip, FRAME_IPV4_BYTES, 0)) != 0xFFFF)
        return FRAME_BAD_CHECKSUM;
    if (!is_answerable_v4(ip + V4_SOURCE))
        return FRAME_BAD_ADDRESS;
    const uint8_t *udp = ip + FRAME_IPV4_BYTES;
    uint32_t udp_len = len - FRAME_IPV4_BYTES;
    frame->headers += FRAME_IPV4_BYTES + FRAME_UDP_BYTES;
    frame->len = udp_len - FRAME_UDP_BYTES;
    frame->peer.v4 = (struct sockaddr_in){.sin_family = AF_INET};
    memcpy(&frame->peer.v4.sin_addr, ip + V4_SOURCE, 4);
    memcpy(&frame->peer.v4.sin_port, udp + UDP_SOURCE, 2);
    return decode_udp(udp, udp_len, sum_pseudo(sum_addresses(ip + V4_SOURCE, 4), udp_len), true);
}

static enum frame_fate decode_v6(const uint8_t *ip, uint32_t room, struct frame *frame)
{
    if (room < FRAME_IPV6_BYTES + FRAME_UDP_BYTES)
        return FRAME_SHORT;
    if (ip[0] >> 4 != 6 || ip[V6_NEXT] != IPPROTO_UDP)
        return FRAME_FOREIGN;
    uint32_t udp_len = load16(ip + V6_LEN);
    if (udp_len > room - FRAME_IPV6_BYTES || udp_len < FRAME_UDP_BYTES)
        return FRAME_SHORT;
    if (!is_answerable_v6(ip + V6_SOURCE))
        return FRAME_BAD_ADDRESS;
    const uint8_t *udp = ip + FRAME_IPV6_BYTES;
    frame->headers += FRAME_IPV6_BYTES + FRAME_UDP_BYTES;
    frame->len = udp_len - FRAME_UDP_BYTES;
    frame->peer.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6};
    memcpy(&frame->peer.v6.sin6_addr, ip + V6_SOURCE, 16);
    memcpy(&frame->peer.v6.sin6_port, udp + UDP_SOURCE, 2);
    return decode_udp(udp, udp_len, sum_pseudo(sum_addresses(ip + V6_SOURCE, 16), udp_len), false);
}

enum frame_fate frame_decode(const uint8_t *bytes, uint32_t len, struct frame *ret_frame)
{
    struct frame frame = {.headers = FRAME_ETHERNET_BYTES};
    if (len < FRAME_ETHERNET_BYTES + FRAME_TAG_BYTES)
        return FRAME_SHORT;
    if (load16(bytes + 2 * MAC_BYTES) == TYPE_TAGGED)
        frame.headers += FRAME_TAG_BYTES;
    uint32_t type = load16(bytes + frame.headers - 2);
    const uint8_t *ip = bytes + frame.headers;
    uint32_t room = len - frame.headers;
    enum frame_fate fate = type == TYPE_IPV4   ? decode_v4(ip, room, &frame)
                           : type == TYPE_IPV6 ? decode_v6(ip, room, &frame)
                                               : FRAME_FOREIGN;
    if (fate == FRAME_OK)
        *ret_frame = frame;
    return fate;
}

/* ---- answering: sums are made of the values, not read back from where they were just written in
 * other pieces, which would stall the processor ---- */

static inline void swap(uint8_t *at, uint32_t len)
{
    uint8_t first[16];
    memcpy(first, at, len);
    memcpy(at, at + len, len);
    memcpy(at + len, first, len);
}

/* A sum that comes out as 0 is sent as its other zero: 0 means that there is none. */
static void sign_udp(uint8_t *udp, uint32_t udp_len, uint64_t address_sum)
{
    uint32_t ports;
    const uint16_t len = htons((uint16_t)udp_len);
    memcpy(&ports, udp + UDP_SOURCE, sizeof(ports));
    ports = ports << 16 | ports >> 16;
    uint64_t sum = sum_pseudo(address_sum, udp_len) + ports + len;
    sum = sum_bytes(udp + FRAME_UDP_BYTES, udp_len - FRAME_UDP_BYTES, sum);
    uint16_t check = (uint16_t)~fold(sum);
    if (check == 0)
        check = 0xFFFF;
    memcpy(udp + UDP_SOURCE, &ports, sizeof(ports));
    memcpy(udp + UDP_LEN, &len, sizeof(len));
    memcpy(udp + UDP_SUM, &check, sizeof(check));
}

static void answer_v4(uint8_t *ip, uint32_t udp_len)
{
    const uint64_t address_sum = sum_addresses(ip + V4_SOURCE, 4); /* swapped or not */
    const uint16_t len = htons((uint16_t)(FRAME_IPV4_BYTES + udp_len));
    const uint64_t sum = address_sum + len + htons(0x4500) + htons(DO_NOT_FRAGMENT) +
                         htons(ANSWER_HOPS << 8 | IPPROTO_UDP);
    const uint16_t check = (uint16_t)~fold(sum);
    ip[1] = 0;
    memcpy(ip + V4_LEN, &len, sizeof(len));
    store16(ip + V4_ID, 0); /* of no meaning in what is not a fragment (RFC 6864) */
    store16(ip + V4_FRAGMENT, DO_NOT_FRAGMENT);
    ip[V4_TTL] = ANSWER_HOPS;
    swap(ip + V4_SOURCE, 4);
    memcpy(ip + V4_SUM, &check, sizeof(check));
    sign_udp(ip + FRAME_IPV4_BYTES, udp_len, address_sum);
}

static void answer_v6(uint8_t *ip, uint32_t udp_len)
{
    const uint64_t address_sum = sum_addresses(ip + V6_SOURCE, 16);
    store16(ip, 6u << 12); /* no class, no flow */
    store16(ip + 2, 0);
    store16(ip + V6_LEN, udp_len);
    ip[V6_HOPS] = ANSWER_HOPS;
    swap(ip + V6_SOURCE, 16);
    sign_udp(ip + FRAME_IPV6_BYTES, udp_len, address_sum);
}

uint32_t frame_answer(uint8_t *bytes, uint32_t headers, uint32_t len)
{
    uint32_t udp_len = FRAME_UDP_BYTES + len;
    uint32_t ip = FRAME_ETHERNET_BYTES;
    if (load16(bytes + 2 * MAC_BYTES) == TYPE_TAGGED)
        ip += FRAME_TAG_BYTES;
    swap(bytes, MAC_BYTES);
    if (headers - ip == FRAME_IPV4_BYTES + FRAME_UDP_BYTES)
        answer_v4(bytes + ip, udp_len);
    else
        answer_v6(bytes + ip, udp_len);
    return headers + len;
}
