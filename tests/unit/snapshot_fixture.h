/* A machine whose clocks are numbers: it runs, is rebooted, and writes snapshots into a folder of
 * its own. For the tests of src/snapshot. */
#ifndef METE_TESTS_SNAPSHOT_FIXTURE_H
#define METE_TESTS_SNAPSHOT_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/load.h"
#include "snapshot/save.h"

struct machine {
    uint64_t boot_ns, wall_ns; /* they go on together, but for reboots and settings */
    uint8_t boot_id[16];
    uint64_t base_ns;  /* of the table of now */
    uint32_t renewals; /* of so many sections the rows have changed owners */
    uint32_t pauses_left;
    char folder[64], path[96];
};

static inline void machine_clock(void *context, uint64_t *ret_boot_ns, uint64_t *ret_wall_ns)
{
    const struct machine *machine = context;

    *ret_boot_ns = machine->boot_ns;
    *ret_wall_ns = machine->wall_ns;
}

static inline struct instant machine_now(const struct machine *machine)
{
    return (struct instant){.now_ns = machine->boot_ns - machine->base_ns,
                            .wall_ns = machine->wall_ns};
}

static inline bool machine_enter(void *context, struct instant *ret_now)
{
    struct machine *machine = context;

    *ret_now = machine_now(machine);
    if (machine->renewals == 0)
        return true;
    machine->renewals--;
    return false;
}

static inline void machine_leave(void *context)
{
    (void)context;
}

static inline bool machine_pause(void *context)
{
    struct machine *machine = context;

    return machine->pauses_left == 0 || --machine->pauses_left;
}

static inline void machine_name(void *context, uint32_t row, const struct table_owner *owner,
                                struct snapshot_owner *record)
{
    (void)context, (void)owner;
    snprintf(record->tenant, sizeof(record->tenant), "tenant");
    snprintf(record->rule, sizeof(record->rule), "rule %u", row);
}

/* 0 or a negative errno. */
static inline int machine_open(struct machine *machine)
{
    snprintf(machine->folder, sizeof(machine->folder), "/tmp/mete-snapshot-XXXXXX");
    if (!mkdtemp(machine->folder))
        return -1;
    snprintf(machine->path, sizeof(machine->path), "%s/table", machine->folder);
    return 0;
}

static inline void machine_close(struct machine *machine)
{
    char name[112];

    unlink(machine->path);
    snprintf(name, sizeof(name), "%s.old", machine->path);
    unlink(name);
    rmdir(machine->folder);
}

static inline int machine_save(struct machine *machine, struct table *table,
                               struct snapshot_report *ret_report)
{
    const struct snapshot_hooks hooks = {
        .context = machine,
        .clock = machine_clock,
        .enter = machine_enter,
        .leave = machine_leave,
        .pause = machine_pause,
        .name = machine_name,
    };
    struct snapshot_header header = {.id = machine->boot_ns ^ machine->wall_ns << 7};
    static struct replace file;

    memcpy(header.machine_boot_id, machine->boot_id, sizeof(header.machine_boot_id));
    int result = replace_open(&file, machine->path);
    if (!result)
        result = replace_begin(&file);
    if (!result)
        result = snapshot_save(table, &header, &hooks, &file, ret_report);
    if (!result)
        result = replace_commit(&file, false);
    replace_close(&file);
    return result;
}

static inline struct snapshot_now machine_snapshot_now(const struct machine *machine)
{
    struct snapshot_now now = {.boot_ns = machine->boot_ns, .wall_ns = machine->wall_ns};

    memcpy(now.machine_boot_id, machine->boot_id, sizeof(now.machine_boot_id));
    return now;
}

/* Puts the file into a table that was just made. A fault, or SNAPSHOT_FINE. */
static inline enum snapshot_fault machine_load(const struct machine *machine, struct table *table,
                                               struct snapshot_loaded *ret_loaded)
{
    const struct snapshot_now now = machine_snapshot_now(machine);
    struct snapshot_source source;
    struct snapshot_reader reader;

    if (snapshot_open(machine->path, false, &source))
        return SNAPSHOT_UNREADABLE;
    const enum snapshot_fault fault = snapshot_read_begin(&source, &reader);
    if (fault == SNAPSHOT_FINE && snapshot_load(table, &reader, &now, ret_loaded))
        abort();
    snapshot_close(&source);
    return fault;
}

#endif
