/* The batches of one partition, exactly once each.
 *
 * One batch is in flight at a time, under a number that grows by one per batch. It is sent again,
 * under its number and with the same charge, until an answer to that number comes; the store
 * applies a number once (merge_admit). So loss, doubling and any order of messages change nothing.
 * Rows and number lie in memory that outlives the process: who is killed goes on where it was.
 *
 * Rows are few and found by probing; a row that has nothing to tell may be given to another key,
 * which forgets its base only.
 *
 * One thread. */
#include "replica/partition.h"

#include <stddef.h>

static bool is_silent(const struct delta *delta)
{
    return delta->charge == 0 && delta->units == 0 && !delta->is_sent && !delta->resets;
}

struct partition_row *partition_find_or_claim(struct partition *partition, struct key key,
                                              uint64_t window, uint64_t now_ns)
{
    struct partition_row *free = NULL;

    for (uint32_t i = 0; i < PARTITION_PROBES && i < partition->row_count; i++) {
        struct partition_row *row = &partition->rows[(key.low + i) % partition->row_count];
        if (row->is_used && row->window == window && row->key.low == key.low &&
            row->key.high == key.high) {
            row->used_ns = now_ns;
            return row;
        }
        if ((!row->is_used || is_silent(&row->delta)) && (!free || row->used_ns < free->used_ns))
            free = row;
    }
    if (free)
        *free = (struct partition_row){
            .key = key, .window = window, .used_ns = now_ns, .is_used = true};
    return free;
}

uint32_t partition_begin(struct partition *partition, const struct limit *limit, bool has_reads,
                         uint64_t now_ns)
{
    uint32_t count = 0;

    if (partition->is_in_flight)
        return 0;
    for (uint32_t i = 0; i < partition->row_count; i++) {
        struct partition_row *row = &partition->rows[i];
        if (row->is_used && (has_reads || !is_silent(&row->delta)))
            count += delta_take(&row->delta, limit, now_ns);
    }
    if (count > 0) {
        partition->is_in_flight = true;
        partition->sequence++;
    }
    return count;
}

bool partition_accept(struct partition *partition, uint64_t sequence)
{
    if (!partition->is_in_flight || partition->sequence != sequence)
        return false;
    partition->is_in_flight = false;
    return true;
}
