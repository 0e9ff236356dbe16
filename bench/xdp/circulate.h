/* What bench/xdp_load.c and the program that it loads tell each other. */
#ifndef METE_BENCH_CIRCULATE_H
#define METE_BENCH_CIRCULATE_H

#include <linux/types.h>

#define CIRCULATE_FIRST_PORT 20000
#define CIRCULATE_PORTS 4096
#define CIRCULATE_HEADERS 42 /* Ethernet, IPv4, UDP */

struct circulate_setup {
    __u8 headers[CIRCULATE_HEADERS + 2]; /* of every question, but for port and checksum */
    __u16 port;                          /* of the server, in the order of the wire */
    __u16 pad;
    __u64 pseudo_sum; /* for UDP's checksum */
    __u64 first;      /* the first word of every question */
    __u64 k0, k1;
    __u64 keys;
    __u32 client, rule;
    __u32 secret;
    __u32 is_signed;
    __u32 is_echo;
    __u32 is_over; /* nothing goes round any more */
};

struct circulate_counts {
    __u64 asked;
    __u64 allowed, denied; /* verdicts */
    __u64 other;           /* a status that is not OK, of the entry */
    __u64 refused;         /* STATUS: of the whole datagram */
    __u64 echoed;
    __u64 strange; /* no answer to an open question, or wrongly signed */
};

#endif
