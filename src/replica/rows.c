/* A row is looked for in ROWS_PROBES places that follow from its key and owner, whatever its
 * window, so that all windows of a key are found together. If it is not there, it takes the place
 * of the one that has nothing to tell and was used the longest time ago. That one loses its base
 * only: what a store that forgot would be told by this node. A row that still has less than 1 us of
 * a charge to tell loses it.
 *
 * The partition of a key goes by what all nodes know of it: not by owner rows, which are each
 * node's own. */
#include "replica/rows.h"

#include <errno.h>

#include "sys/memory.h"

static uint64_t mixed(uint64_t a, uint64_t b)
{
    const unsigned __int128 product =
        (unsigned __int128)(a ^ 0x9e3779b97f4a7c15ull) * (b ^ 0xd1b54a32d192ed03ull);

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint16_t partition_of(const struct rows *rows, struct key key,
                             const struct table_owner *owner)
{
    const uint64_t names = (uint64_t)owner->tenant_id << 32 | owner->rule_id;

    return (uint16_t)(mixed(mixed(key.low, key.high), names) % rows->partitions);
}

int rows_create(struct rows *rows, uint32_t count, uint32_t partitions)
{
    void *memory;
    const size_t size = (size_t)count * sizeof(struct row);
    const int result = memory_reserve(size, false, &memory);

    if (result)
        return result;
    *rows = (struct rows){.rows = memory, .count = count, .partitions = partitions, .size = size};
    return 0;
}

void rows_use(struct rows *rows, void *memory, uint32_t count, uint32_t partitions)
{
    *rows = (struct rows){.rows = memory, .count = count, .partitions = partitions};
}

void rows_destroy(struct rows *rows)
{
    if (rows->size)
        memory_release(rows->rows, rows->size);
}

static struct row *place_of(struct rows *rows, struct key key, uint32_t owner, uint32_t probe)
{
    const uint64_t hash = mixed(key.low ^ owner, key.high);

    return &rows->rows[((uint32_t)(hash >> 32) % rows->count + probe) % rows->count];
}

static bool is_of_key(const struct row *row, struct key key, uint32_t owner)
{
    return row->is_used && row->key.low == key.low && row->key.high == key.high &&
           row->owner == owner;
}

struct row *rows_next_of_key(struct rows *rows, struct key key, uint32_t owner, uint32_t *cursor)
{
    while (*cursor < ROWS_PROBES) {
        struct row *row = place_of(rows, key, owner, (*cursor)++);
        if (is_of_key(row, key, owner))
            return row;
    }
    return NULL;
}

struct row *rows_find(struct rows *rows, struct key key, uint32_t owner, uint64_t window)
{
    uint32_t cursor = 0;
    struct row *row;

    while ((row = rows_next_of_key(rows, key, owner, &cursor)))
        if (row->window == window)
            return row;
    return NULL;
}

bool row_is_pending(const struct row *row)
{
    return row->wanted > 0 || row->asked > 0 || row->reads > 0 ||
           !delta_is_silent(&row->delta, &row->limit);
}

static bool is_same_owner(const struct row *row, const struct table_owner *owner)
{
    return row->tenant_id == owner->tenant_id && row->rule_id == owner->rule_id &&
           row->override == owner->override && row->limit.algorithm == owner->limit.algorithm;
}

/* For a key that has no row. */
static struct row *free_place(struct rows *rows, struct key key, uint32_t owner)
{
    struct row *oldest = NULL;

    for (uint32_t i = 0; i < ROWS_PROBES; i++) {
        struct row *row = place_of(rows, key, owner, i);
        if (!row->is_used)
            return row;
        if (row->place == ROW_QUIET && !row->is_kept && !row_is_pending(row) &&
            (!oldest || row->used_ns < oldest->used_ns))
            oldest = row;
    }
    return oldest;
}

struct row *rows_find_or_claim(struct rows *rows, struct key key, uint32_t owner_row,
                               const struct table_owner *owner, uint64_t window)
{
    struct row *row = rows_find(rows, key, owner_row, window);

    if (row && is_same_owner(row, owner)) {
        row->limit = owner->limit;
        return row;
    }
    if (!row)
        row = free_place(rows, key, owner_row);
    else if (row->place != ROW_QUIET)
        return NULL; /* of an owner that is gone; free as soon as it was told */
    if (!row)
        return NULL;
    rows->used_count += !row->is_used;
    *row = (struct row){
        .key = key,
        .window = window,
        .owner = owner_row,
        .tenant_id = owner->tenant_id,
        .rule_id = owner->rule_id,
        .override = owner->override,
        .limit = owner->limit,
        .index = UINT64_MAX,
        .previous = ROWS_NONE,
        .next = ROWS_NONE,
        .partition = partition_of(rows, key, owner),
        .is_used = true,
    };
    return row;
}

static uint32_t number_of(const struct rows *rows, const struct row *row)
{
    return (uint32_t)(row - rows->rows);
}

void rows_list_init(struct rows_list *list)
{
    *list = (struct rows_list){.first = ROWS_NONE, .last = ROWS_NONE};
}

void rows_list_append(struct rows *rows, struct rows_list *list, struct row *row)
{
    row->previous = list->last;
    row->next = ROWS_NONE;
    if (list->last == ROWS_NONE)
        list->first = number_of(rows, row);
    else
        rows->rows[list->last].next = number_of(rows, row);
    list->last = number_of(rows, row);
    list->count++;
}

void rows_list_prepend(struct rows *rows, struct rows_list *list, struct row *row)
{
    row->previous = ROWS_NONE;
    row->next = list->first;
    if (list->first == ROWS_NONE)
        list->last = number_of(rows, row);
    else
        rows->rows[list->first].previous = number_of(rows, row);
    list->first = number_of(rows, row);
    list->count++;
}

void rows_list_remove(struct rows *rows, struct rows_list *list, struct row *row)
{
    if (row->previous == ROWS_NONE)
        list->first = row->next;
    else
        rows->rows[row->previous].next = row->next;
    if (row->next == ROWS_NONE)
        list->last = row->previous;
    else
        rows->rows[row->next].previous = row->previous;
    row->previous = ROWS_NONE;
    row->next = ROWS_NONE;
    list->count--;
}
