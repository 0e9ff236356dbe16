/* What a process that ended, killed or not, had not told the store.
 *
 * Its rows and partitions lie in memory that outlives it. A batch is in flight from the store of
 * its number (batch_begin()) until that of the same number as answered: so it is sent again under
 * its number, with its keys and charges, and the store knows whether it had it. What was on its way
 * into a batch goes back into its row. Lists, and all that is of one process alone, are made anew.
 *
 * Pending that stands in entries is found by a look through the table: no ring knows of it any
 * more.
 *
 * Guarantee: a charge that reached a row is told, and counted by the store once. What a process had
 * in hand between an entry and a row, of one key at most, or in a ring as an amount, is lost.
 *
 * Rows that are not plausible are emptied: those of owners that are gone, and those that cannot be
 * found where they stand. */
#include <math.h>
#include <string.h>

#include "core/share.h"
#include "replica/replicator_parts.h"

static bool is_plausible(struct replicator *replicator, struct row *row, uint32_t owner_rows)
{
    if (row->owner >= owner_rows || row->partition >= replicator->options.partitions ||
        !isfinite(row->alpha) || !(row->alpha > 0 && row->alpha <= 1) || row->share > SHARE_MAX ||
        rows_find(&replicator->rows, row->key, row->owner, row->window) != row)
        return false;
    const struct table_owner owner = table_owner_at(replicator->options.table, row->owner);

    return owner.tenant_id == row->tenant_id && owner.rule_id == row->rule_id &&
           owner.override == row->override && owner.limit.algorithm == row->limit.algorithm;
}

/* Every row by itself, in no list. */
static void begin_rows(struct replicator *replicator)
{
    const uint32_t owner_rows = table_owner_rows(replicator->options.table);

    for (uint32_t i = 0; i < replicator->rows.count; i++) {
        struct row *row = replicator_row(replicator, i);

        if (!row->is_used)
            continue;
        if (!is_plausible(replicator, row, owner_rows)) {
            memset(row, 0, sizeof(*row));
            continue;
        }
        replicator->rows.used_count++;
        row->previous = row->next = ROWS_NONE;
        row->place = ROW_QUIET;
        row->is_urgent = false;
        row->reads = 0;
        row->asked = 0; /* who waits asks again */
        row->index = UINT64_MAX;
        if (row->is_kept) /* a grant whose rest goes back now */
            replicator->kept[replicator->kept_count++] =
                (struct kept){.row = i, .until_ns = replicator->now_ns};
    }
}

/* Are the rows of a batch in flight all there, each once and of this partition? */
static bool is_flight_whole(struct replicator *replicator, const struct partition *partition)
{
    const uint16_t number = (uint16_t)(partition - replicator->partitions);

    if (partition->flight_count > BATCH_MAX_KEYS)
        return false;
    for (uint32_t i = 0; i < partition->flight_count; i++) {
        if (partition->flight[i] >= replicator->rows.count)
            return false;
        const struct row *row = replicator_row(replicator, partition->flight[i]);
        if (!row->is_used || row->partition != number)
            return false;
    }
    return true;
}

static void begin_partition(struct replicator *replicator, struct partition *partition)
{
    bool is_in_flight = partition->sequence != partition->answered;

    rows_list_init(&partition->waiting);
    partition->urgent_count = 0;
    partition->due_ns = 0;
    partition->retry_ns = 0;
    partition->oldest_ns = UINT64_MAX;
    if (is_in_flight && !is_flight_whole(replicator, partition)) {
        is_in_flight = false; /* told again under another number: rather twice than never */
        partition->answered = partition->sequence;
    }
    partition->is_in_flight = partition->must_send = is_in_flight;
    partition->send_ns = replicator->now_ns;
    if (!is_in_flight || partition->begun_ns > replicator->now_ns)
        partition->begun_ns = replicator->now_ns;
    for (uint32_t i = 0; is_in_flight && i < partition->flight_count; i++) {
        struct row *row = replicator_row(replicator, partition->flight[i]);

        row->place = ROW_IN_FLIGHT;
        if (row->delta.is_sent && row->delta.sent_first_ns < partition->oldest_ns)
            partition->oldest_ns = row->delta.sent_first_ns;
    }
}

void replicator_resume(struct replicator *replicator)
{
    take_all_later(replicator);
    begin_rows(replicator);
    for (uint32_t i = 0; i < replicator->options.partitions; i++)
        begin_partition(replicator, &replicator->partitions[i]);
    for (uint32_t i = 0; i < replicator->rows.count; i++) {
        struct row *row = replicator_row(replicator, i);

        if (!row->is_used || row->place == ROW_IN_FLIGHT)
            continue;
        if (row->delta.is_sent) {
            delta_untake(&row->delta, &row->limit);
            row->wanted += row->sent_wanted;
        }
        row->sent_wanted = row->sent_asked = 0;
        if (row_is_pending(row))
            replicator_list(replicator, row, false);
    }
}
