/* A table that goes over from one process to another while neither uses it: an upgrade.
 *
 * The new process makes a table of the same making. Either it maps the very memory (table_join(),
 * resume.h), or the contents are copied into its own, which so keeps its huge pages. When the one
 * before has come to rest, the new one takes what is there.
 *
 * Threads: the table's owner alone, all others being at rest. */
#ifndef METE_TABLE_CARRY_H
#define METE_TABLE_CARRY_H

#include "table/table.h"

/* What two tables must have in common for the contents of one to be those of the other. */
struct table_making {
    uint32_t layout_version;
    uint32_t owner_rows;
    uint64_t entries;
    uint64_t index_secret[2];
    uint64_t boot_id;
    uint64_t time_base_ns;
    uint64_t section_bytes[TABLE_SECTIONS];
    uint64_t contents_bytes;
};

void carry_look_at(const struct table *table, struct table_making *ret_making);
uint32_t carry_layout_version(void);

/* All that changes in the mapping, in one piece: entries, rows, sections. Returns its beginning. */
void *carry_contents(const struct table *table, size_t *ret_len);

/* The contents were replaced by those of a table of the same making, whose process is at rest: this
 * is their next life. */
void carry_take_copy(struct table *table);

/* The same of the very memory: what the other process changed since table_join() is taken in. */
void carry_take_joined(struct table *table);

#endif
