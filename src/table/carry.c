#include "table/carry.h"

#include <stddef.h>

#include "table/mapping.h"

void carry_look_at(const struct table *table, struct table_making *ret_making)
{
    const struct table_header *header = table->header;

    *ret_making = (struct table_making){
        .layout_version = header->layout_version,
        .owner_rows = header->owner_rows,
        .entries = header->entry_count,
        .index_secret = {header->index_secret[0], header->index_secret[1]},
        .boot_id = header->boot_id,
        .time_base_ns = header->time_base_ns,
        .contents_bytes = header->size_bytes - offsetof(struct table_header, life),
    };
    for (unsigned i = 0; i < TABLE_SECTIONS; i++)
        ret_making->section_bytes[i] = header->section_bytes[i];
}

uint32_t carry_layout_version(void)
{
    return TABLE_LAYOUT_VERSION;
}

/* Before `life` stands what the makings have in common, and the boot of a file's machine. */
void *carry_contents(const struct table *table, size_t *ret_len)
{
    *ret_len = table->header->size_bytes - offsetof(struct table_header, life);
    return (char *)table->header + offsetof(struct table_header, life);
}

void carry_take_copy(struct table *table)
{
    table->header->lives[0] = table->header->lives[1] = 0; /* those are of another mapping */
    table->header->sweeping_life = 0;
    resume_begin_life(table, 0);
    resume_rows(table, false);
}

void carry_take_joined(struct table *table)
{
    resume_rows(table, false);
}
