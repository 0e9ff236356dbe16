/* Taking a mapping up again that another process made: after a restart, or beside it.
 *
 * A *life* is a process with this mapping. Boot id, index secret and time base belong to the
 * mapping, so clients, places of keys and states stay what they were from one life to the next.
 *
 *   table_create()   table.h; a new mapping, in options->file or anonymous: a cold start
 *   table_resume()   the next life of one whose processes are all gone (options->file is locked)
 *   table_join()     a second life beside one that goes on: an upgrade
 *
 * What a life that ended left behind, by kill -9 too:
 *   busy entries      are nobody's: reclaimed by who meets them (claim.c)
 *   counts of leases  are counted anew, from the leases that stand (resume_leases.c)
 *   owner rows        as they were; those that were being freed or cut go on to be
 *   dirty marks       of rings that are gone are taken off; pending stays, for a sweep to find
 *   all entries       are doubted (doubts.h) until each was found plausible for its owner
 *
 * Then engine_bind_owners() as ever: what the configuration changed meanwhile is treated as a
 * reload.
 *
 * Threads: the table's owner alone, before any other; table_settle_doubts() the owner, others
 * running. */
#ifndef METE_TABLE_RESUME_H
#define METE_TABLE_RESUME_H

#include "table/table.h"

/* options as for table_create(), with file; entries and sections must be those of the mapping, the
 * owner rows at most its (table_owner_rows() says how many there are), a later layout is no other.
 * now: wall_ns is the host's. The instant of the table's clock follows from options->time_base_ns
 * taken as the present.
 * Results: 0; -ENODATA: the file is empty, problem is ""; -EINVAL: it cannot be taken up, and
 * problem is a clause that says why; or what the system said. */
int table_resume(const struct table_options *options, uint64_t host_wall_ns, char *problem,
                 size_t size, struct table **ret_table);

/* Maps what a living process serves from (options->file was handed on by it: mapfile_adopt()) and
 * begins a life beside its. At most two at a time. Nothing is doubted, nothing is mended.
 * The one that ends says table_leave(); if it died instead, the other says table_bury(). Each
 * sweeps as ever: who clears marks is settled in the mapping. Only one of them may be the owner in
 * the sense of table/owners.h: the new one from the moment it binds its configuration.
 * Results: as table_resume(), and -EBUSY: there are two already. */
int table_join(const struct table_options *options, char *problem, size_t size,
               struct table **ret_table);
void table_leave(struct table *table);
/* The other life has ended: its busy entries are nobody's from now on. */
void table_bury(struct table *table);

/* What was taken up. */
struct table_resumed {
    bool is_resumed;     /* else the start was cold, and all else is 0 */
    bool is_joined;      /* another life goes on beside; its sections are not this one's yet */
    bool is_settled;     /* all was looked at */
    uint64_t life;       /* 1 of a cold start */
    uint64_t silence_ns; /* from the last sign of the life before until it was taken up */
    uint64_t taken;      /* entries that were kept, so far */
    uint64_t damaged;    /* freed: not plausible for their owner */
    uint64_t unfinished; /* freed: claims and slots that the end of a life left undecided */
    uint64_t outlived;   /* freed: windows that ended too long ago to be told from later ones */
};
void table_look_resumed(const struct table *table, struct table_resumed *ret_resumed);

/* Looks at the next `groups` groups that were not looked at. False: nothing was left to do. */
bool table_settle_doubts(struct table *table, uint32_t groups);

#endif
