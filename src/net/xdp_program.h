/* The XDP program that picks our datagrams off an interface, written for one configuration: the
 * addresses and ports stand in its instructions, so that other traffic pays for a few compares and
 * ours for no look-up.
 *
 * It takes a frame only if the kernel's stack would have given it to our socket: to the
 * interface's MAC, under the one 802.1Q tag that is served (or none), IPv4 without options or
 * fragments or IPv6 without extension headers, UDP, to one of the targets, from an address that may
 * be one. Everything else it passes on into the kernel as it came, and so it does with ours on a
 * queue that nobody reads.
 *
 * Written in instructions rather than compiled, so that building needs no second compiler and the
 * program has no loops and no maps to look into but the one it redirects by.
 * tests/unit/test_xdp_program.c runs it in the kernel against frame_decode(). Pure; any thread. */
#ifndef METE_NET_XDP_PROGRAM_H
#define METE_NET_XDP_PROGRAM_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define XDP_PROGRAM_MAX_TARGETS 128u
#define XDP_PROGRAM_MAX_INSNS (192u + 10u * XDP_PROGRAM_MAX_TARGETS)

struct xdp_program {
    uint8_t mac[6];                         /* of the interface */
    uint16_t vlan;                          /* the tag's number; 0: no tag, or only a priority */
    int sockets_map;                        /* descriptor of a BPF_MAP_TYPE_XSKMAP, by queue */
    int carry_map;                          /* of struct xdp_carry_shared, by queue; -1: none */
    const struct sockaddr_storage *targets; /* addresses with ports; no wildcards */
    unsigned target_count;                  /* at most XDP_PROGRAM_MAX_TARGETS */
};

/* Returns the number of instructions, at most XDP_PROGRAM_MAX_INSNS. */
unsigned xdp_program_write(const struct xdp_program *program, struct bpf_insn *ret_insns);

#endif
