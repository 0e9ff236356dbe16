/* `mete snapshot show`: what stands in a snapshot, without a daemon. */
#ifndef METE_CMD_SNAPSHOT_SHOW_H
#define METE_CMD_SNAPSHOT_SHOW_H

#include <stdbool.h>
#include <stdint.h>

struct snapshot_show {
    const char *path;
    bool as_json;
    uint64_t entries; /* most entries and leases that are listed; UINT64_MAX: all */
};

/* Results: an exit status; EXIT_USAGE after saying what is wrong with the file. */
int snapshot_show(const struct snapshot_show *show);

#endif
