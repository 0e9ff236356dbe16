/* See resume.h. A file is believed only if its header is whole and says what this start would make:
 * then everything has its place, and what stands there is doubted entry by entry. */
#include "table/resume.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sys/machine.h"
#include "sys/mapfile.h"
#include "table/doubts.h"
#include "table/owners_state.h"

struct problem {
    char *text;
    size_t size;
};

#define REFUSE(problem, ...) (snprintf((problem)->text, (problem)->size, __VA_ARGS__), -EINVAL)

static int judge_identity(const struct table_header *header, uint64_t size,
                          const struct problem *problem)
{
    uint64_t boot[2];

    machine_boot_id((uint8_t *)boot);
    if (size < sizeof(*header))
        return REFUSE(problem, "is truncated to %" PRIu64 " bytes", size);
    if (__atomic_load_n(&header->magic, __ATOMIC_ACQUIRE) == 0)
        return REFUSE(problem, "was not finished by who made it");
    if (header->magic != TABLE_MAGIC)
        return REFUSE(problem, "holds something else than a table");
    if (header->layout_version != TABLE_LAYOUT_VERSION)
        return REFUSE(problem, "has layout %" PRIu32 " where this program has %u",
                      header->layout_version, TABLE_LAYOUT_VERSION);
    if (header->checksum != mapping_checksum(header))
        return REFUSE(problem, "has a damaged header");
    const bool is_known =
        (boot[0] | boot[1]) != 0 && (header->machine_boot[0] | header->machine_boot[1]) != 0;

    if (is_known && memcmp(boot, header->machine_boot, sizeof(boot)) != 0)
        return REFUSE(problem, "is of another boot of this machine");
    return 0;
}

static int judge_sizes(const struct table_header *header, const struct table_options *options,
                       const struct problem *problem)
{
    static const char *const sections[TABLE_SECTIONS] = {
        [TABLE_SECTION_REPEATS] = "repeats.memory for each of the workers makes",
        [TABLE_SECTION_REPLICA] = "redis.rows and redis.partitions make",
    };
    const uint64_t entries =
        (options->entries + TABLE_GROUP_ENTRIES - 1) / TABLE_GROUP_ENTRIES * TABLE_GROUP_ENTRIES;

    if (header->entry_count != entries)
        return REFUSE(problem, "has %" PRIu64 " entries where table.entries is %" PRIu64,
                      header->entry_count, options->entries);
    if (header->owner_rows < options->owner_rows)
        return REFUSE(problem, "has %" PRIu32 " owner rows where the rules need %" PRIu32,
                      header->owner_rows, options->owner_rows);
    for (unsigned i = 0; i < TABLE_SECTIONS; i++)
        if (header->section_bytes[i] != options->section_bytes[i])
            return REFUSE(problem, "has %" PRIu64 " bytes where %s %" PRIu64,
                          header->section_bytes[i], sections[i], options->section_bytes[i]);
    /* the sum of all that was judged: whoever wrote another sum did not make it so */
    const struct table_header made = mapping_layout(options, entries, header->owner_rows);

    if (made.size_bytes != header->size_bytes || made.entries_offset != header->entries_offset ||
        made.entry_size != header->entry_size || made.rows_offset != header->rows_offset ||
        made.regions_offset != header->regions_offset ||
        made.tenants_offset != header->tenants_offset ||
        made.lease_bits_offset != header->lease_bits_offset ||
        memcmp(made.section_offset, header->section_offset, sizeof(made.section_offset)) != 0)
        return REFUSE(problem, "has a damaged header");
    return 0;
}

static int judge_header(const struct table_header *header, const struct table_options *options,
                        const struct problem *problem)
{
    int error = judge_identity(header, options->file->size_bytes, problem);

    if (!error)
        error = judge_sizes(header, options, problem);
    if (error)
        return error;
    if (options->file->size_bytes < header->size_bytes)
        return REFUSE(problem, "is truncated to %" PRIu64 " of %" PRIu64 " bytes",
                      options->file->size_bytes, header->size_bytes);
    if (header->region_count < 1 || header->region_count > header->owner_rows + 1)
        return REFUSE(problem, "has a damaged header");
    if (header->alive_boot_ns > options->time_base_ns ||
        header->time_base_ns > options->time_base_ns)
        return REFUSE(problem, "has a clock that is ahead of the machine's");
    return 0;
}

/* They fill the groups from the end, each next to the one before; the shared rest is what is left.
 */
static bool are_regions_whole(const struct table *table)
{
    const struct table_region *regions = table->regions;
    uint64_t end = mapping_group_count(table);

    for (uint32_t i = 1; i < table->header->region_count; i++) {
        if (regions[i].group_count < TABLE_WINDOW_GROUPS || regions[i].group_count > end ||
            regions[i].first_group != end - regions[i].group_count ||
            table->region_tenants[i] <= table->region_tenants[i - 1])
            return false;
        end = regions[i].first_group;
    }
    return regions[0].first_group == 0 && regions[0].group_count == end &&
           end >= TABLE_WINDOW_GROUPS && table->region_tenants[0] == 0;
}

static bool is_known_region(const struct table *table, struct table_region region)
{
    uint32_t low = 1, high = table->header->region_count; /* by falling first_group */

    if (region.first_group == 0)
        return region.group_count == table->regions[0].group_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;

        if (table->regions[middle].first_group == region.first_group)
            return table->regions[middle].group_count == region.group_count;
        if (table->regions[middle].first_group > region.first_group)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static bool is_row_plausible(const struct table *table, const struct table_row *row)
{
    const struct limit *limit = &row->owner.limit;

    return row->use <= ROW_LEFT && is_known_region(table, row->owner.region) &&
           limit->algorithm > ALGORITHM_NONE && limit->algorithm <= ALGORITHM_DENY &&
           limit->sync <= SYNC_EXACT && limit->on_loss <= LOSS_DENY && limit->keeps_tat <= 1 &&
           (limit->interval > 0 || limit->algorithm == ALGORITHM_UNLIMITED ||
            limit->algorithm == ALGORITHM_DENY);
}

/* What every row is to the owner of the table. One that cannot be is nobody's: its entries go. */
void resume_rows(struct table *table, bool may_mend)
{
    struct owners *owners = table->owners;

    for (uint32_t i = 0; i < owners->row_count; i++) {
        struct table_row *row = &table->rows[i];

        if (may_mend && (row->use != ROW_FREE || !is_known_region(table, row->owner.region)) &&
            !is_row_plausible(table, row)) {
            const uint32_t use = row->use == ROW_FREE ? ROW_FREE : ROW_LEFT;

            *row = (struct table_row){.owner = {.limit = {.interval = LIMIT_TICKS_PER_NS,
                                                          .burst = 1,
                                                          .algorithm = ALGORITHM_TOKEN_BUCKET},
                                                .region = table->regions[0]},
                                      .use = use};
        }
        owners->states[i] = row->use == ROW_FREE   ? OWNER_FREE
                            : row->use == ROW_LEFT ? OWNER_LEFT
                                                   : OWNER_USED;
        owners->successors[i] = OWNERS_NONE;
        if (may_mend && row->use != ROW_FREE)
            mapping_set_most(row, &row->owner.limit, true); /* never less than the limit says */
        if (owners->states[i] == OWNER_USED && mapping_owes_more(row))
            owners->states[i] = OWNER_CHANGED; /* its entries were being cut */
    }
}

/* Maps the file and judges it. */
static int open_view(const struct table_options *options, const struct problem *problem,
                     struct table **ret_table)
{
    struct mapfile *file = options->file;
    struct table *table;
    void *memory;

    problem->text[0] = '\0';
    if (file->size_bytes == 0)
        return -ENODATA;
    int error = mapfile_map(file, options->huge_pages, &memory);

    if (error)
        return error;
    error = judge_header(memory, options, problem);
    if (!error)
        error = mapping_view(memory, file->size_bytes, &table);
    if (!error && !are_regions_whole(table)) {
        mapping_free_view(table);
        error = REFUSE(problem, "has damaged regions");
    }
    if (error) {
        mapfile_unmap(file, memory);
        return error;
    }
    *ret_table = table;
    return 0;
}

/* The next number, as one of the lives that go on. */
void resume_begin_life(struct table *table, unsigned slot)
{
    table->life = __atomic_add_fetch(&table->header->life, 1, __ATOMIC_RELAXED);
    /* release, with the acquire in mapping_is_dead(): before any claim of this life */
    __atomic_store_n(&table->header->lives[slot], table->life, __ATOMIC_RELEASE);
}

int table_resume(const struct table_options *options, uint64_t host_wall_ns, char *problem,
                 size_t size, struct table **ret_table)
{
    struct table *table;
    int error = open_view(options, &(struct problem){problem, size}, &table);

    if (error)
        return error;
    struct table_header *header = table->header;
    const uint64_t boot_ns = options->time_base_ns;
    const uint64_t floor_ns = table_wall_floor_ns(table, boot_ns);
    const struct instant now = {.now_ns = boot_ns - header->time_base_ns,
                                .wall_ns = host_wall_ns > floor_ns ? host_wall_ns : floor_ns};
    const uint64_t alive_ns =
        header->alive_boot_ns > header->time_base_ns ? header->alive_boot_ns : header->time_base_ns;

    header->lives[0] = header->lives[1] = 0;
    header->sweeping_life = 0;
    resume_begin_life(table, 0);
    resume_rows(table, true);
    error = doubts_create(table, &now, boot_ns - alive_ns);
    if (error) {
        table_destroy(table);
        return error;
    }
    *ret_table = table;
    return 0;
}

int table_join(const struct table_options *options, char *problem, size_t size,
               struct table **ret_table)
{
    struct table *table;
    int error = open_view(options, &(struct problem){problem, size}, &table);

    if (error)
        return error;
    struct table_header *header = table->header;
    unsigned slot = __atomic_load_n(&header->lives[0], __ATOMIC_ACQUIRE) != 0;

    if (slot && __atomic_load_n(&header->lives[1], __ATOMIC_ACQUIRE) != 0) {
        snprintf(problem, size, "has two processes already");
        mapfile_unmap(options->file, header);
        mapping_free_view(table);
        return -EBUSY;
    }
    resume_begin_life(table, slot);
    table->is_joined = true;
    resume_rows(table, false);
    *ret_table = table;
    return 0;
}

void table_leave(struct table *table)
{
    for (unsigned i = 0; i < 2; i++)
        if (__atomic_load_n(&table->header->lives[i], __ATOMIC_RELAXED) == table->life)
            __atomic_store_n(&table->header->lives[i], 0, __ATOMIC_RELEASE);
}

void table_bury(struct table *table)
{
    for (unsigned i = 0; i < 2; i++)
        if (__atomic_load_n(&table->header->lives[i], __ATOMIC_RELAXED) != table->life)
            __atomic_store_n(&table->header->lives[i], 0, __ATOMIC_RELEASE);
}

void table_note_alive(struct table *table, const struct instant *now)
{
    struct table_header *header = table->header;

    /* relaxed, and apart: a life that ends between the two is off by a tenth of a second */
    __atomic_store_n(&header->alive_wall_ns, now->wall_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&header->alive_boot_ns, header->time_base_ns + now->now_ns, __ATOMIC_RELAXED);
}

uint64_t table_wall_floor_ns(const struct table *table, uint64_t boot_ns)
{
    const uint64_t alive_ns = __atomic_load_n(&table->header->alive_boot_ns, __ATOMIC_RELAXED);
    const uint64_t wall_ns = __atomic_load_n(&table->header->alive_wall_ns, __ATOMIC_RELAXED);

    return alive_ns && boot_ns >= alive_ns ? wall_ns + (boot_ns - alive_ns) : 0;
}
