/* From the rows of a partition into a batch. What is in flight keeps its number, its keys and their
 * charge however often it is sent; only its age grows. */
#include "core/saturate.h"
#include "core/share.h"
#include "replica/adopt.h"
#include "replica/replicator_parts.h"
#include "table/shared.h"

#define TICKS_PER_US (1000u * LIMIT_TICKS_PER_NS)
#define SLACK_MS 2000u /* the store keeps a cell for longer than anybody needs it */

/* What was charged since the row was last looked at goes along. */
static void take_last(struct replicator *replicator, struct row *row)
{
    if (row->index != UINT64_MAX)
        take_entry(replicator, row->index, replicator->now_ns, false);
}

static void take_row(struct replicator *replicator, struct partition *partition, struct row *row)
{
    take_last(replicator, row);
    rows_list_remove(&replicator->rows, &partition->waiting, row);
    partition->urgent_count -= row->is_urgent;
    row->is_urgent = false;
    row->place = ROW_IN_FLIGHT;
    if (!delta_is_silent(&row->delta, &row->limit) && row->delta.first_ns < partition->oldest_ns)
        partition->oldest_ns = row->delta.first_ns;
    delta_take(&row->delta, &row->limit, replicator->now_ns);
    row->sent_wanted = row->wanted;
    row->wanted = 0;
    row->sent_asked = row->asked;
    row->asked = 0;
    if (row->reads > 0)
        row->reads--;
    partition->flight[partition->flight_count++] = (uint32_t)(row - replicator->rows.rows);
}

static void note_wait(struct replicator *replicator, const struct partition *partition)
{
    const uint64_t wait_ns = saturate_sub(replicator->now_ns, partition->oldest_ns);

    if (partition->oldest_ns == UINT64_MAX) /* nothing was charged */
        return;
    latency_record(&replicator->wait, wait_ns, 1);
    if (wait_ns > replicator->longest_wait_ns)
        replicator->longest_wait_ns = wait_ns;
}

void batch_begin(struct replicator *replicator, struct partition *partition)
{
    const bool is_due = replicator->now_ns >= partition->due_ns || replicator->is_finishing;
    uint32_t count = is_due ? partition->waiting.count : partition->urgent_count;

    partition->flight_count = 0;
    partition->oldest_ns = UINT64_MAX;
    for (; count > 0 && partition->flight_count < BATCH_MAX_KEYS; count--)
        take_row(replicator, partition, replicator_row(replicator, partition->waiting.first));
    batch_settle_before(); /* the whole batch stands under its number, or under none */
    partition->sequence++;
    partition->is_in_flight = true;
    partition->must_send = true;
    partition->send_ns = replicator->now_ns;
    partition->begun_ns = replicator->now_ns;
    if (is_due)
        partition->due_ns = replicator->now_ns + replicator->options.flush_ns;
    note_wait(replicator, partition);
    replicator->state.batches++;
    replicator->state.keys += partition->flight_count;
    if (partition->flight_count > replicator->state.largest_batch)
        replicator->state.largest_batch = partition->flight_count;
}

/* What this node's own view owes, for what is too old to be added. */
static uint64_t state_of(const struct replicator *replicator, const struct row *row)
{
    struct table *table = replicator->options.table;
    const struct table_probe probe = table_probe(table, row->key, row->owner);
    struct table_ref ref;

    if (table_find(table, &probe, &ref) != TABLE_FOUND || table_share(&ref) == TABLE_SHARE_GRANT)
        return 0;
    return ref.state;
}

/* When the window ends, by the store's clock; wall_ns is near it. */
static uint64_t window_end_ns(const struct row *row, uint64_t wall_ns)
{
    const uint64_t interval = row->limit.interval;
    const uint64_t index = wall_ns / interval;
    int64_t ahead;

    switch (merge_kind_of(&row->limit)) {
    case MERGE_CALENDAR:
        return saturate_mul(row->window, 1000000000u);
    case MERGE_SLIDING:
        ahead = (int16_t)((uint16_t)row->window - (uint16_t)index);
        return saturate_mul((uint64_t)((int64_t)index + ahead + 2), interval);
    default:
        ahead = (int32_t)((uint32_t)row->window - (uint32_t)index);
        return saturate_mul((uint64_t)((int64_t)index + ahead + 1), interval);
    }
}

static uint64_t expiry_ms(const struct replicator *replicator, const struct row *row)
{
    const uint64_t wall_ns = replicator_instant(replicator).wall_ns;

    if (!limit_is_wall(&row->limit))
        return SLACK_MS;
    return saturate_sub(window_end_ns(row, wall_ns), wall_ns) / MS_NS + SLACK_MS;
}

/* What may be owed beyond a full bucket: each node passes one cost from rest, whatever its share.
 */
static uint64_t debt_us(const struct replicator *replicator, const struct limit *limit)
{
    return saturate_mul(limit->tolerance / TICKS_PER_US, replicator->node_count);
}

static struct merge_ask ask_of(const struct row *row)
{
    const struct limit *limit = &row->limit;
    struct merge_ask ask = {
        .wanted = row->sent_asked < MERGE_MOST_WANTED ? row->sent_asked : MERGE_MOST_WANTED,
        .window = row->window,
        .most = limit->burst,
    };

    if (limit_is_wall(limit)) {
        ask.window_us = limit->algorithm == ALGORITHM_CALENDAR ? 0 : limit->interval / 1000;
        return ask;
    }
    ask.unit_us = limit->interval / TICKS_PER_US;
    ask.unit_ticks = (uint32_t)(limit->interval % TICKS_PER_US);
    ask.most = limit->tolerance / TICKS_PER_US;
    return ask;
}

void batch_compose(struct replicator *replicator, struct partition *partition)
{
    struct batch *batch = &replicator->batch;

    batch->node_id = replicator->options.node_id;
    batch->incarnation = replicator->options.incarnation;
    batch->sequence = partition->sequence;
    batch->partition = (uint32_t)(partition - replicator->partitions);
    batch->count = partition->flight_count;
    for (uint32_t i = 0; i < partition->flight_count; i++) {
        const struct row *row = replicator_row(replicator, partition->flight[i]);
        const struct limit *limit = &row->limit;
        struct batch_key *key = &batch->keys[i];
        *key = (struct batch_key){
            .key = row->key,
            .override = row->override,
            .shape = limit_is_wall(limit) ? limit->interval : 0,
            .window = row->window,
            .tenant_id = row->tenant_id,
            .rule_id = row->rule_id,
            .kind = merge_kind_of(limit),
            .units = row->delta.sent_units,
            .wanted = row->sent_wanted,
            .delta = delta_message(&row->delta, limit, state_of(replicator, row),
                                   debt_us(replicator, limit), replicator->now_ns),
            .ask = ask_of(row),
            .expiry_ms = expiry_ms(replicator, row),
        };
        replicator->state.old_keys += row->delta.sent > 0 && key->delta.charge == 0;
    }
}
