/* Writing a table down while it is used.
 *
 * The table is gone through once, a block at a time, each entry as it is at that instant; nothing
 * that charges ever waits. After each piece of work the caller is given the time it took and may
 * sleep, so that a copy takes no more of a core than it is given. Which row belongs to whom is
 * written last, when it is known which rows were met.
 *
 * Threads: one per save. What it allocates it gives back. */
#ifndef METE_SNAPSHOT_SAVE_H
#define METE_SNAPSHOT_SAVE_H

#include "snapshot/format.h"
#include "sys/replace.h"
#include "table/table.h"

struct snapshot_hooks {
    void *context;
    /* CLOCK_BOOTTIME and CLOCK_REALTIME. */
    void (*clock)(void *context, uint64_t *ret_boot_ns, uint64_t *ret_wall_ns);
    /* Both clocks of the table, and a section in which no row gets another owner. False: some row
     * got one since the copy began, so it is to begin again. */
    bool (*enter)(void *context, struct instant *ret_now);
    void (*leave)(void *context);
    /* Between two pieces. False: stop. */
    bool (*pause)(void *context);
    /* Fills in the names of a row's owner, each ended by 0; in a section. */
    void (*name)(void *context, uint32_t row, const struct table_owner *owner,
                 struct snapshot_owner *record);
};

struct snapshot_report {
    uint64_t entries, leases, owners;
    uint64_t bytes;
};

/* Writes header and table into a file that was begun, all but replace_commit(). header: id, boot
 * id, fingerprint and names; the rest is filled in. Results: 0; -EAGAIN (a row got another owner),
 * -ECANCELED (pause() said stop), -ENOMEM, or what writing gave: -ENOSPC, -EIO, ... */
int snapshot_save(struct table *table, struct snapshot_header *header,
                  const struct snapshot_hooks *hooks, struct replace *file,
                  struct snapshot_report *ret_report);

#endif
