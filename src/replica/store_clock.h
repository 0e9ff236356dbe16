/* How the store's clock stands to this node's, from the instants of its answers. store_clock.c says
 * how. One thread. */
#ifndef METE_REPLICA_STORE_CLOCK_H
#define METE_REPLICA_STORE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct store_clock {
    int64_t offset_ns; /* node's clock = store's + offset */
    int64_t next_ns;   /* the smallest since turn_ns */
    uint64_t turn_ns;  /* when next takes the place of offset */
    uint64_t round_ns; /* smallest round trip of late; with the same turns */
    uint64_t next_round_ns;
    bool is_known;
};

/* A batch was sent at sent_ns; the answer, received at received_ns, tells the store's clock. */
void store_clock_hear(struct store_clock *clock, uint64_t sent_ns, uint64_t received_ns,
                      uint64_t store_now_us);

/* The node's clock when the store's stood there, or up to the answer's way later. */
uint64_t store_clock_at_ns(const struct store_clock *clock, uint64_t store_us);

#endif
