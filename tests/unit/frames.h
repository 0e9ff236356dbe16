/* Frames for tests, made field by field and summed the slow way: big endian words, one by one. */
#ifndef METE_TESTS_FRAMES_H
#define METE_TESTS_FRAMES_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define FRAMES_ROOM 2048u

struct made_frame {
    uint8_t bytes[FRAMES_ROOM];
    uint32_t len;
    uint32_t ip, udp, payload; /* offsets */
};

struct frame_recipe {
    const char *source, *target; /* IPv4 or IPv6, both of one kind */
    uint16_t source_port, target_port;
    int tag; /* of 802.1Q, -1: none */
    uint32_t payload_len;
    uint32_t padding;
    bool has_no_sum;
};

static const uint8_t frames_own_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t frames_peer_mac[6] = {2, 0, 0, 0, 0, 2};

static inline void frames_put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline uint32_t frames_add(const uint8_t *bytes, uint32_t len, uint32_t sum)
{
    for (uint32_t i = 0; i < len; i++)
        sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return sum;
}

/* The sum of the datagram with its pseudo-header; 0xFFFF when its checksum is right. */
static inline uint32_t frames_udp_sum(const struct made_frame *frame)
{
    const bool is_v6 = frame->udp - frame->ip == 40;
    const uint32_t len = (uint32_t)frame->bytes[frame->udp + 4] << 8 | frame->bytes[frame->udp + 5];
    uint32_t sum = frames_add(frame->bytes + frame->ip + (is_v6 ? 8 : 12), is_v6 ? 32 : 8, 17);
    uint8_t length[2];
    frames_put16(length, len);
    return frames_add(frame->bytes + frame->udp, len, frames_add(length, 2, sum));
}

static inline void frames_sum_udp(struct made_frame *frame)
{
    frames_put16(frame->bytes + frame->udp + 6, 0);
    const uint32_t sum = ~frames_udp_sum(frame) & 0xFFFF;
    frames_put16(frame->bytes + frame->udp + 6, sum ? sum : 0xFFFF);
}

static inline void frames_sum_ip(struct made_frame *frame)
{
    frames_put16(frame->bytes + frame->ip + 10, 0);
    frames_put16(frame->bytes + frame->ip + 10,
                 ~frames_add(frame->bytes + frame->ip, 20, 0) & 0xFFFF);
}

static inline void frames_make(const struct frame_recipe *recipe, struct made_frame *frame)
{
    const bool is_v6 = strchr(recipe->source, ':');
    uint8_t *at = frame->bytes;
    memset(frame, 0, sizeof(*frame));
    memcpy(at, frames_own_mac, 6);
    memcpy(at + 6, frames_peer_mac, 6);
    frame->ip = 14;
    if (recipe->tag >= 0) {
        frames_put16(at + 12, 0x8100);
        frames_put16(at + 14, (uint32_t)recipe->tag);
        frame->ip = 18;
    }
    frames_put16(at + frame->ip - 2, is_v6 ? 0x86DD : 0x0800);
    frame->udp = frame->ip + (is_v6 ? 40 : 20);
    frame->payload = frame->udp + 8;
    uint8_t *ip = at + frame->ip;
    if (is_v6) {
        ip[0] = 0x60;
        frames_put16(ip + 4, 8 + recipe->payload_len);
        ip[6] = 17;
        ip[7] = 33;
        inet_pton(AF_INET6, recipe->source, ip + 8);
        inet_pton(AF_INET6, recipe->target, ip + 24);
    } else {
        ip[0] = 0x45;
        frames_put16(ip + 2, 28 + recipe->payload_len);
        frames_put16(ip + 4, 0x1234);
        ip[8] = 33;
        ip[9] = 17;
        inet_pton(AF_INET, recipe->source, ip + 12);
        inet_pton(AF_INET, recipe->target, ip + 16);
        frames_sum_ip(frame);
    }
    frames_put16(at + frame->udp, recipe->source_port);
    frames_put16(at + frame->udp + 2, recipe->target_port);
    frames_put16(at + frame->udp + 4, 8 + recipe->payload_len);
    for (uint32_t i = 0; i < recipe->payload_len; i++)
        at[frame->payload + i] = (uint8_t)(i * 7 + 1);
    if (!recipe->has_no_sum)
        frames_sum_udp(frame);
    frame->len = frame->payload + recipe->payload_len + recipe->padding;
}

#endif
