/* Putting a snapshot into a new table.
 *
 * The same run of the machine, known by its boot id: its clock went on, and instants are carried
 * over by it, exactly. Another run, or one that nobody knows: by wall time. Wall time that is
 * before the end of the copy went back, so how long it was is not known: states are taken as if no
 * time had passed, which is never too generous.
 *
 * What belongs to nobody any more, is at rest by now, or is under a rule of another kind, is left
 * out and counted; numbers that changed cut a bucket as a reload does. A damaged block is left out.
 *
 * Threads: one, before any worker runs. Time is an argument. */
#ifndef METE_SNAPSHOT_LOAD_H
#define METE_SNAPSHOT_LOAD_H

#include "snapshot/read.h"
#include "table/table.h"

struct snapshot_now {
    uint64_t boot_ns, wall_ns;
    uint8_t machine_boot_id[16]; /* zeros: not known */
};

enum snapshot_way {
    SNAPSHOT_SAME_BOOT,
    SNAPSHOT_REBOOT,
    SNAPSHOT_UNKNOWN_BOOT, /* by wall time, too */
};

struct snapshot_loaded {
    enum snapshot_way way;
    uint64_t elapsed_ns;   /* since the end of the copy, as it was taken to be */
    uint64_t went_back_ns; /* wall time; 0: it did not */
    uint64_t entries, leases;
    uint64_t rested, gone,
        changed;          /* left out: at rest; of owners that are gone; of another kind */
    uint64_t full;        /* found no room */
    uint64_t implausible; /* no state of theirs could be */
    uint64_t damaged_blocks;
};

/* The reader's header and end were fine. Results: 0, -ENOMEM. */
int snapshot_load(struct table *table, struct snapshot_reader *reader,
                  const struct snapshot_now *now, struct snapshot_loaded *ret_loaded);

#endif
