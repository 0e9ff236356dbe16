/* The file is gone through twice: counts by owner first, which stand at its end, then what is
 * listed. States are shown as of the end of the copy, in the words of their algorithm. */
#include "cmd/snapshot_show.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/cmd.h"
#include "cmd/printable.h"
#include "core/gcra.h"
#include "snapshot/read.h"

#define LABEL_BYTES 1024u

struct shown_owner {
    struct snapshot_owner record;
    uint64_t count;
    bool is_known;
};

struct showing {
    const struct snapshot_show *show;
    struct snapshot_reader reader;
    struct snapshot_block block;
    struct shown_owner *owners; /* by row */
    uint32_t owner_rows;
    uint64_t damaged_blocks;
    uint64_t listed;
};

/* "acme/api", or by numbers where the names were not known any more. */
static void format_owner(const struct showing *showing, uint32_t row, char text[LABEL_BYTES])
{
    const struct shown_owner *owner = row < showing->owner_rows ? &showing->owners[row] : NULL;
    char raw[LABEL_BYTES / 4];

    if (!owner || !owner->is_known)
        snprintf(raw, sizeof(raw), "row %" PRIu32, row);
    else if (owner->record.rule[0])
        snprintf(raw, sizeof(raw), "%s/%s", owner->record.tenant, owner->record.rule);
    else
        snprintf(raw, sizeof(raw), "%" PRIu32 "/%" PRIu32, owner->record.tenant_id,
                 owner->record.rule_id);
    printable_format(raw, strlen(raw), text, LABEL_BYTES);
}

static void format_time(uint64_t wall_ns, char text[40])
{
    const time_t seconds = (time_t)(wall_ns / 1000000000u);
    struct tm parts;

    if (!gmtime_r(&seconds, &parts) || strftime(text, 40, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        snprintf(text, 40, "never");
}

static uint64_t ended_now_ns(const struct showing *showing)
{
    return showing->reader.end.end_boot_ns - showing->reader.header.time_base_ns;
}

static void format_state(const struct showing *showing, const struct table_copied *entry,
                         char text[128])
{
    const struct shown_owner *owner =
        entry->owner < showing->owner_rows ? &showing->owners[entry->owner] : NULL;
    char time[40];

    switch (owner && owner->is_known ? (enum algorithm)owner->record.limit.algorithm
                                     : ALGORITHM_NONE) {
    case ALGORITHM_TOKEN_BUCKET:
    case ALGORITHM_LEAKY_METER:
    case ALGORITHM_LEAKY_QUEUE:
        snprintf(text, 128, "owes %.9f s",
                 (double)gcra_rest_after(entry->state, ended_now_ns(showing)) / 1e9);
        break;
    case ALGORITHM_FIXED_WINDOW:
        snprintf(text, 128, "%" PRIu32 " in window %" PRIu32, (uint32_t)entry->state,
                 (uint32_t)(entry->state >> 32));
        break;
    case ALGORITHM_SLIDING_WINDOW:
        snprintf(text, 128, "%" PRIu64 " in window %" PRIu64 ", %" PRIu64 " before",
                 entry->state & 0xFFFFFF, entry->state >> 48, entry->state >> 24 & 0xFFFFFF);
        break;
    case ALGORITHM_CALENDAR:
        format_time((entry->state >> 32) * 1000000000u, time);
        snprintf(text, 128, "%" PRIu32 " until %s", (uint32_t)entry->state, time);
        break;
    default:
        snprintf(text, 128, "state %016" PRIx64, entry->state);
        break;
    }
}

/* ---- counting ---- */

static int read_owners(struct showing *showing)
{
    const struct snapshot_end *end = &showing->reader.end;

    for (uint64_t i = end->first_owner_block; i < end->block_count; i++) {
        if (!snapshot_read_block(&showing->reader, i, &showing->block)) {
            showing->damaged_blocks++;
            continue;
        }
        for (uint32_t j = 0; j < showing->block.count; j++) {
            const struct snapshot_owner *record = &showing->block.owners[j];
            const uint32_t row = record->row;

            if (row >= TABLE_MAX_OWNERS || !memchr(record->tenant, 0, sizeof(record->tenant)) ||
                !memchr(record->rule, 0, sizeof(record->rule)))
                continue;
            if (row >= showing->owner_rows) {
                struct shown_owner *owners =
                    reallocarray(showing->owners, row + 1, sizeof(*owners));
                if (!owners)
                    return -ENOMEM;
                memset(owners + showing->owner_rows, 0,
                       (row + 1 - showing->owner_rows) * sizeof(*owners));
                showing->owners = owners;
                showing->owner_rows = row + 1;
            }
            showing->owners[row] = (struct shown_owner){.record = *record, .is_known = true};
        }
    }
    return 0;
}

static void count_block(struct showing *showing)
{
    const struct snapshot_block *block = &showing->block;

    for (uint32_t i = 0; i < block->count; i++) {
        const uint32_t row =
            block->kind == SNAPSHOT_LEASES ? block->leases[i].owner : block->entries[i].owner;
        if (row < showing->owner_rows)
            showing->owners[row].count++;
    }
}

static void count_entries(struct showing *showing)
{
    for (uint64_t i = 0; i < showing->reader.end.first_owner_block; i++) {
        if (snapshot_read_block(&showing->reader, i, &showing->block))
            count_block(showing);
        else
            showing->damaged_blocks++;
    }
}

/* ---- printing ---- */

static void print_head(const struct showing *showing)
{
    const struct snapshot_header *header = &showing->reader.header;
    const struct snapshot_end *end = &showing->reader.end;
    char program[300], name[300], time[40];

    printable_format(header->program, strlen(header->program), program, sizeof(program));
    printable_format(header->namespace_name, strlen(header->namespace_name), name, sizeof(name));
    format_time(end->end_wall_ns, time);
    if (showing->show->as_json) {
        printf("{\"version\":%" PRIu32 ",\"program\":", header->version);
        printable_print_json(header->program, strlen(header->program), stdout);
        fputs(",\"namespace\":", stdout);
        printable_print_json(header->namespace_name, strlen(header->namespace_name), stdout);
        printf(",\"written\":\"%s\",\"written_ns\":%" PRIu64 ",\"boot_ns\":%" PRIu64
               ",\"time_base_ns\":%" PRIu64 ",\"table_entries\":%" PRIu64 ",\"bytes\":%" PRIu64
               ",\"entries\":%" PRIu64 ",\"leases\":%" PRIu64 ",\"blocks\":%" PRIu64
               ",\"damaged_blocks\":%" PRIu64,
               time, end->end_wall_ns, end->end_boot_ns, header->time_base_ns,
               header->table_entries, showing->reader.source.size, end->entry_count,
               end->lease_count, end->block_count, showing->damaged_blocks);
        return;
    }
    printf("written %s by mete %s in %.3f s, namespace %s\n"
           "%" PRIu64 " entries and %" PRIu64 " leases, of a table of %" PRIu64 "; %.1f MiB\n",
           time, program, (double)(end->end_boot_ns - header->begin_boot_ns) / 1e9, name,
           end->entry_count, end->lease_count, header->table_entries,
           (double)showing->reader.source.size / 1048576);
    if (showing->damaged_blocks)
        printf("%" PRIu64 " of %" PRIu64 " blocks are damaged\n", showing->damaged_blocks,
               end->block_count);
}

static void print_owners(const struct showing *showing)
{
    char label[LABEL_BYTES];
    bool has_more = false;

    fputs(showing->show->as_json ? ",\"owners\":[" : "\n     entries  owner\n", stdout);
    for (uint32_t row = 0; row < showing->owner_rows; row++) {
        const struct shown_owner *owner = &showing->owners[row];

        if (!owner->is_known)
            continue;
        const char *algorithm = algorithm_name(owner->record.limit.algorithm);
        format_owner(showing, row, label);
        if (!showing->show->as_json) {
            printf("%12" PRIu64 "  %s  %s\n", owner->count, label, algorithm);
            continue;
        }
        printf("%s{\"tenant\":", has_more ? "," : "");
        printable_print_json(owner->record.tenant, strlen(owner->record.tenant), stdout);
        fputs(",\"rule\":", stdout);
        printable_print_json(owner->record.rule, strlen(owner->record.rule), stdout);
        printf(",\"tenant_id\":%" PRIu32 ",\"rule_id\":%" PRIu32 ",\"override\":%" PRIu64
               ",\"row\":%" PRIu32 ",\"algorithm\":\"%s\",\"entries\":%" PRIu64 "}",
               owner->record.tenant_id, owner->record.rule_id, owner->record.override, row,
               algorithm, owner->count);
        has_more = true;
    }
    if (showing->show->as_json)
        fputs("]", stdout);
}

static void print_one(struct showing *showing, struct key key, uint32_t row, const char *state)
{
    char label[LABEL_BYTES];

    format_owner(showing, row, label);
    if (showing->show->as_json) {
        printf("%s{\"key\":\"%016" PRIx64 "%016" PRIx64 "\",\"row\":%" PRIu32 ",\"owner\":",
               showing->listed ? "," : "", key.high, key.low, row);
        printable_print_json(label, strlen(label), stdout);
        printf(",\"state\":\"%s\"}", state);
    } else {
        printf("#%016" PRIx64 "%016" PRIx64 "  %s  %s\n", key.high, key.low, label, state);
    }
    showing->listed++;
}

static void list_block(struct showing *showing)
{
    const struct snapshot_block *block = &showing->block;
    char state[128];

    for (uint32_t i = 0; i < block->count && showing->listed < showing->show->entries; i++) {
        if (block->kind == SNAPSHOT_ENTRIES) {
            format_state(showing, &block->entries[i], state);
            print_one(showing, block->entries[i].key, block->entries[i].owner, state);
            continue;
        }
        const struct table_copied_lease *lease = &block->leases[i];
        const uint64_t left_ns =
            saturate_sub(saturate_mul(lease->expires_ms, 1000000), ended_now_ns(showing));
        snprintf(state, sizeof(state), "%" PRIu32 " slots for %.3f s", lease->slots,
                 (double)left_ns / 1e9);
        print_one(showing, lease->of, lease->owner, state);
    }
}

static void list_entries(struct showing *showing)
{
    fputs(showing->show->as_json ? ",\"list\":[" : "\n", stdout);
    for (uint64_t i = 0;
         i < showing->reader.end.first_owner_block && showing->listed < showing->show->entries; i++)
        if (snapshot_read_block(&showing->reader, i, &showing->block))
            list_block(showing);
    if (showing->show->as_json)
        fputs("]", stdout);
}

static int print(struct showing *showing)
{
    const int result = read_owners(showing);

    if (result)
        return cmd_fail("snapshot", "%s: no memory for its owners", showing->show->path);
    count_entries(showing);
    print_head(showing);
    print_owners(showing);
    if (showing->show->entries)
        list_entries(showing);
    if (showing->show->as_json)
        fputs("}\n", stdout);
    return EXIT_ALLOWED;
}

int snapshot_show(const struct snapshot_show *show)
{
    struct snapshot_source source;
    struct showing *showing = calloc(1, sizeof(*showing));

    if (!showing)
        return cmd_fail("snapshot", "no memory");
    showing->show = show;
    int status;
    const int result = snapshot_open(show->path, true, &source);
    const enum snapshot_fault fault =
        result ? SNAPSHOT_UNREADABLE : snapshot_read_begin(&source, &showing->reader);
    if (result)
        status = cmd_fail("snapshot", "%s cannot be read: %s", show->path, strerror(-result));
    else if (fault != SNAPSHOT_FINE)
        status = cmd_fail("snapshot", "%s %s", show->path, snapshot_fault_text(fault));
    else
        status = print(showing);
    if (!result)
        snapshot_close(&source);
    free(showing->owners);
    free(showing);
    return status;
}
