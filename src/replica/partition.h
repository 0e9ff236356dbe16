/* What one node has to tell the store of one partition of the keys. partition.c says how. */
#ifndef METE_REPLICA_PARTITION_H
#define METE_REPLICA_PARTITION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/key.h"
#include "replica/delta.h"

#define PARTITION_PROBES 16u

struct partition_row {
    struct key key;
    uint64_t window; /* adopt_window() */
    uint64_t used_ns;
    bool is_used;
    struct delta delta;
};

struct partition {
    struct partition_row *rows; /* the caller's, zeroed at first */
    uint32_t row_count;
    uint64_t sequence; /* of the batch in flight, else of the last one; 0 before the first */
    bool is_in_flight;
};

/* The row of a key and window, else a new one in place of the one that was silent longest; NULL if
 * each of PARTITION_PROBES places still has something to tell. */
struct partition_row *partition_find_or_claim(struct partition *partition, struct key key,
                                              uint64_t window, uint64_t now_ns);

/* Puts what was charged into flight as a batch of a new number, and with has_reads all else that
 * is known, to be read. Returns how many rows are in it (delta.is_sent); 0 if there is nothing to
 * tell or a batch is still in flight: that one is to be sent again, under its number. */
uint32_t partition_begin(struct partition *partition, const struct limit *limit, bool has_reads,
                         uint64_t now_ns);

/* Is this the answer to the batch in flight? Then it no longer is, and each of its rows is to be
 * settled; else the answer is a late one, to be dropped. */
bool partition_accept(struct partition *partition, uint64_t sequence);

#endif
