/* The load's end of a veth pair: turns each answer into the next question, in the frame it came in,
 * so that a fixed number of frames goes round as fast as the server's end can take them. Compiled
 * by clang for BPF; loaded, started and read by bench/xdp_load.c.
 *
 * An answer counts only if it is one: from the server, to the port that asked, of a sequence number
 * that is open, with the tag that belongs to that question (under a secret: the MAC, computed
 * here), and with a verdict. What it says is counted by status. Each answer closes its question, so
 * a second one of the same is `strange`. Everything but UDP from the server's port goes on into the
 * kernel.
 *
 * Every question is of another client port, as if each came from a client of its own: so nothing on
 * the way can join them. Subjects are uniform over `keys`. The clock and the boot bits come from
 * the answer before, as a client takes them. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "xdp/circulate.h"

#define OPEN_QUESTIONS 65536u
#define IP_AT 14
#define UDP_AT 34
#define PAYLOAD_AT 42
#define QUESTION_BYTES 56
#define FRAME_BYTES (PAYLOAD_AT + QUESTION_BYTES)
#define RESULT_BYTES 40 /* header, one verdict, tag */
#define STATUS_BYTES 24

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct circulate_setup);
} setups SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct circulate_counts);
} counts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} sequences SEC(".maps");

/* The tags of questions without an answer yet, by the end of their sequence number; 0: none. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, OPEN_QUESTIONS);
    __type(key, __u32);
    __type(value, __u64);
} open_tags SEC(".maps");

struct sip {
    __u64 v0, v1, v2, v3;
};

static __always_inline __u64 rotate(__u64 x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static __always_inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 = rotate(s->v2, 32);
}

/* SipHash-2-4 of whole words. */
static __always_inline __u64 sip_hash(const struct circulate_setup *setup, const __u64 *words,
                                      unsigned count)
{
    struct sip s = {
        .v0 = setup->k0 ^ 0x736f6d6570736575ull,
        .v1 = setup->k1 ^ 0x646f72616e646f6dull,
        .v2 = setup->k0 ^ 0x6c7967656e657261ull,
        .v3 = setup->k1 ^ 0x7465646279746573ull,
    };
#pragma unroll
    for (unsigned i = 0; i <= count; i++) {
        __u64 word = i < count ? words[i] : (__u64)(count * 8) << 56;
        s.v3 ^= word;
        sip_round(&s);
        sip_round(&s);
        s.v0 ^= word;
    }
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static __always_inline __u64 load64(const __u8 *at)
{
    __u64 word;
    __builtin_memcpy(&word, at, 8);
    return word;
}

static __always_inline void store64(__u8 *at, __u64 word)
{
    __builtin_memcpy(at, &word, 8);
}

static __always_inline __u16 fold(__u64 sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (__u16)sum;
}

/* Returns whether it answers an open question; counts what it says. */
static __always_inline bool judge(const struct circulate_setup *setup, const __u8 *payload,
                                  const __u8 *end, struct circulate_counts *count)
{
    if (payload + STATUS_BYTES > end)
        return false;
    bool is_status = payload[2] & 0x04;
    __u32 sequence;
    __builtin_memcpy(&sequence, payload + (setup->is_echo ? 12 : 4), 4);
    __u32 slot = sequence % OPEN_QUESTIONS;
    __u64 *open = bpf_map_lookup_elem(&open_tags, &slot);
    if (!open || !*open)
        return false;
    __u64 asked = *open;
    if (setup->is_echo) {
        if (payload + QUESTION_BYTES > end || load64(payload + 48) != asked)
            return false;
        *open = 0;
        count->echoed++;
        return true;
    }
    if (payload[0] != 0xe1 || payload[1] != 0x81)
        return false;
    __u64 words[5] = {asked, load64(payload), load64(payload + 8), 0, 0};
    __u64 expected, tag;
    if (is_status) {
        tag = load64(payload + 16);
        expected = setup->is_signed ? sip_hash(setup, words, 3) : asked;
    } else {
        if (payload + RESULT_BYTES > end)
            return false;
        words[3] = load64(payload + 16);
        words[4] = load64(payload + 24);
        tag = load64(payload + 32);
        expected = setup->is_signed ? sip_hash(setup, words, 5) : asked;
    }
    if (tag != expected || (!setup->is_signed && sequence != (__u32)(asked >> 32)))
        return false;
    *open = 0;
    if (is_status)
        count->refused++;
    else if (payload[16] != 0)
        count->other++;
    else if (payload[17] & 1)
        count->allowed++;
    else
        count->denied++;
    return true;
}

static __always_inline void write_payload(const struct circulate_setup *setup, __u8 *at,
                                          __u32 sequence, __u32 clock, __u16 boot)
{
    __u64 subject = ((__u64)sequence * 0x9e3779b97f4a7c15ull >> 32) % setup->keys;
    __u64 words[6] = {
        setup->first,
        setup->client | (__u64)sequence << 32,
        clock | (__u64)boot << 32 | (__u64)setup->secret << 48 | 0x33ull << 56,
        setup->rule | 1ull << 32,
        (subject + 1) * 0xff51afd7ed558ccdull,
        (subject + 1) * 0xc4ceb9fe1a85ec53ull,
    };
    __u64 tag = setup->is_signed ? sip_hash(setup, words, 6) : words[1];
    __u32 slot = sequence % OPEN_QUESTIONS;
    __u64 *open = bpf_map_lookup_elem(&open_tags, &slot);
    if (open)
        *open = tag;
#pragma unroll
    for (int i = 0; i < 6; i++)
        store64(at + 8 * i, words[i]);
    store64(at + 48, tag);
}

/* Headers from the setup, port and checksum of this one. */
static __always_inline void write_headers(const struct circulate_setup *setup, __u8 *frame,
                                          __u32 sequence)
{
    __builtin_memcpy(frame, setup->headers, PAYLOAD_AT);
    __u16 port = bpf_htons(CIRCULATE_FIRST_PORT + sequence % CIRCULATE_PORTS);
    __builtin_memcpy(frame + UDP_AT, &port, 2);
    __u64 sum = setup->pseudo_sum;
#pragma unroll
    for (int at = 0; at < 8 + QUESTION_BYTES; at += 4) {
        __u32 word;
        __builtin_memcpy(&word, frame + UDP_AT + at, 4);
        sum += word;
    }
    __u16 check = ~fold(sum);
    check = check ? check : 0xffff;
    __builtin_memcpy(frame + UDP_AT + 6, &check, 2);
}

SEC("xdp")
int circulate(struct xdp_md *context)
{
    __u32 zero = 0;
    struct circulate_setup *setup = bpf_map_lookup_elem(&setups, &zero);
    struct circulate_counts *count = bpf_map_lookup_elem(&counts, &zero);
    __u64 *next = bpf_map_lookup_elem(&sequences, &zero);
    __u8 *frame = (void *)(long)context->data, *end = (void *)(long)context->data_end;
    __u32 clock = 0;
    __u16 boot = 0;
    if (!setup || !count || !next || frame + PAYLOAD_AT + STATUS_BYTES > end)
        return XDP_PASS;
    bool is_seed = frame[12] == 0xff; /* an invented EtherType: one to begin with */
    if (!is_seed) {
        if (frame[12] != 0x08 || frame[13] != 0 || frame[IP_AT] != 0x45 || frame[IP_AT + 9] != 17)
            return XDP_PASS;
        __u16 port;
        __builtin_memcpy(&port, frame + UDP_AT, 2);
        if (port != setup->port)
            return XDP_PASS;
        if (!judge(setup, frame + PAYLOAD_AT, end, count)) {
            count->strange++;
            return XDP_DROP;
        }
        __builtin_memcpy(&clock, frame + PAYLOAD_AT + (setup->is_echo ? 16 : 8), 4);
        __builtin_memcpy(&boot, frame + PAYLOAD_AT + (setup->is_echo ? 20 : 12), 2);
    }
    if (setup->is_over)
        return XDP_DROP;
    int grows = FRAME_BYTES - (int)(end - frame);
    if (grows && bpf_xdp_adjust_tail(context, grows))
        return XDP_DROP;
    frame = (void *)(long)context->data;
    end = (void *)(long)context->data_end;
    if (frame + FRAME_BYTES > end)
        return XDP_DROP;
    __u32 sequence = (__u32)__sync_fetch_and_add(next, 1);
    write_payload(setup, frame + PAYLOAD_AT, sequence, clock, boot);
    write_headers(setup, frame, sequence);
    count->asked++;
    return XDP_TX;
}

/* For the server's end while sockets serve there: a veth takes frames only between two ends with a
 * program. */
SEC("xdp")
int pass_all(struct xdp_md *context)
{
    (void)context;
    return XDP_PASS;
}

char licence[] SEC("license") = "GPL";
