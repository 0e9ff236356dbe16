/* The gate: of tenants that ask for too much the kernel lets a share through and drops the rest,
 * at random, before it costs a worker anything. A classic BPF program on the socket, together with
 * that of a flood (net/filter.h); needs no privilege.
 *
 * It goes by the tenant that a datagram names. What is no request passes, for user space counts it
 * by reason; so does every RELEASE. A joined message is dropped whole, by the tenant of its first
 * datagram, and only if no datagram in it is a RELEASE: that needs a look at each, 500 statements
 * that the kernel has to compile, so a gate that was not told of joined messages lets them pass.
 *
 * Threads: none of its own; the socket's owner. */
#ifndef METE_NET_GATE_H
#define METE_NET_GATE_H

#include <stdbool.h>
#include <stdint.h>

#define GATE_TENANTS 16u /* the heaviest: others are left to user space */
#define GATE_ALL UINT32_MAX

struct gate_tenant {
    uint32_t id;
    uint32_t threshold; /* of 2^32 datagrams so many pass; GATE_ALL: all */
};

struct gate {
    uint32_t count;
    bool looks_into_joined;
    struct gate_tenant tenants[GATE_TENANTS];
};

struct sock_filter;
#define GATE_MAX_STATEMENTS 640u

/* Writes the program that follows on what a flood's filter lets pass; returns its length. */
unsigned gate_write(const struct gate *gate, struct sock_filter *program);

#endif
