/* How many entries are in use, by owner row. It takes a walk through the whole table, so of a large
 * one only as often as that costs a hundredth of a core. Threads: one for each census. */
#ifndef METE_CMD_SERVE_CENSUS_H
#define METE_CMD_SERVE_CENSUS_H

#include <stdint.h>

struct server;

struct census {
    uint64_t *rows; /* live entries per owner row, at the last one */
    uint64_t live;
    uint64_t next_ns; /* boot time */
};

/* Results: 0, -ENOMEM. */
int census_init(struct census *census, const struct server *server);
void census_deinit(struct census *census);

/* Counts, unless the last time is too near. */
void census_update(struct census *census, const struct server *server);

#endif
