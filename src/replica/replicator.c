/* Rows, partitions and when what is due.
 *
 * Each partition has one batch in flight at most, under a number that grows by one per batch; it is
 * sent again, under its number, until an answer to that number comes. What is charged meanwhile
 * waits in the rows. So loss, doubling and any order of messages change nothing, and memory is two
 * numbers per key however long the store is away.
 *
 * When a batch goes out:
 *   every flush     while a key of the partition has something to tell: a charge, a reset, or that
 *                   it was denied, which is demand
 *   at once         keys that nothing is known of, or nothing new: TOUCHES_PER_FLUSH per tenant and
 *                   flush; keys that charged more than a quarter of what this node may spend;
 *                   grants
 *   each second     an empty one, so that the store counts the node
 *
 * Keys that were used within LINGER_NS are read though nothing happens to them here, LINGER_READS
 * of them per flush: who looks sees what others charged.
 *
 * Guarantee: the units that left the rings and entries = those in batches that were answered once +
 * those in flight + those in rows + state.lost_units. */
#include "replica/replicator.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/saturate.h"
#include "core/share.h"
#include "replica/replicator_parts.h"
#include "replica/ring.h"
#include "replica/shared_state.h"

#define LOOK_NS (1 * MS_NS)   /* how often the rings are looked at while there is something */
#define ASKED_LOOK_NS 200000u /* while grants are asked for */
#define ASKED_NS (10 * MS_NS)
#define ACTIVE_NS (250 * MS_NS)
#define IDLE_LOOK_NS (5 * MS_NS) /* and if there was nothing; or a flush, if that is shorter */

static size_t partitions_size(uint32_t partitions)
{
    return (partitions * sizeof(struct partition) + 63) / 64 * 64;
}

size_t replicator_memory_size(uint32_t partitions, uint32_t rows)
{
    return partitions_size(partitions) + rows * sizeof(struct row);
}

static int make(struct replicator *replicator)
{
    const struct replicator_options *options = &replicator->options;
    int result = 0;

    if (options->memory) {
        replicator->partitions = options->memory;
        rows_use(&replicator->rows, (char *)options->memory + partitions_size(options->partitions),
                 options->rows, options->partitions);
    } else {
        result = rows_create(&replicator->rows, options->rows, options->partitions);
        replicator->partitions = calloc(options->partitions, sizeof(*replicator->partitions));
    }
    if (result)
        return result;
    replicator->refused_seen = calloc(options->thread_count + 1, sizeof(uint64_t));
    replicator->kept = calloc(options->rows, sizeof(*replicator->kept));
    replicator->hints = calloc(options->rows, sizeof(*replicator->hints));
    if (!replicator->partitions || !replicator->refused_seen || !replicator->kept ||
        !replicator->hints)
        return -ENOMEM;
    for (uint32_t i = 0; i < options->partitions && !options->resumes; i++) {
        rows_list_init(&replicator->partitions[i].waiting);
        replicator->partitions[i].begun_ns = options->now_ns;
    }
    return 0;
}

int replicator_create(const struct replicator_options *options, struct replicator **ret_replicator)
{
    struct replicator *replicator;
    int result;

    if (options->partitions < 1 || options->partitions > BATCH_MAX_PARTITIONS ||
        options->rows < ROWS_PROBES || options->nodes < 1 || options->flush_ns < 1 ||
        (options->resumes && !options->memory))
        return -EINVAL;
    replicator = aligned_alloc(_Alignof(struct replicator), sizeof(*replicator));
    if (!replicator)
        return -ENOMEM;
    memset(replicator, 0, sizeof(*replicator));
    replicator->options = *options;
    replicator->node_count = options->nodes;
    replicator->now_ns = options->now_ns;
    wall_init(&replicator->wall, options->now_ns, options->wall_ns);
    rows_list_init(&replicator->lingering);
    result = make(replicator);
    if (result) {
        replicator_destroy(replicator);
        return result;
    }
    if (options->resumes && !options->waits)
        replicator_resume(replicator);
    shared_state_set_first_share(options->shared, share_of(1, options->nodes));
    *ret_replicator = replicator;
    return 0;
}

void replicator_take_up(struct replicator *replicator, const struct replicator_names *names)
{
    struct replicator_options *options = &replicator->options;

    options->node_id = names->node_id;
    options->incarnation = names->incarnation;
    if (names->nodes)
        replicator->node_count = options->nodes = names->nodes;
    replicator->now_ns = names->now_ns;
    wall_init(&replicator->wall, names->now_ns, names->wall_ns);
    replicator_resume(replicator);
    shared_state_set_first_share(options->shared, share_of(1, options->nodes));
}

void replicator_destroy(struct replicator *replicator)
{
    if (!replicator)
        return;
    if (replicator->rows.rows)
        rows_destroy(&replicator->rows);
    if (!replicator->options.memory)
        free(replicator->partitions);
    free(replicator->refused_seen);
    free(replicator->kept);
    free(replicator->hints);
    free(replicator);
}

void replicator_set_flush(struct replicator *replicator, uint64_t flush_ns)
{
    replicator->options.flush_ns = flush_ns;
}

void replicator_set_node(struct replicator *replicator, uint64_t node_id)
{
    replicator->options.node_id = node_id;
}

void replicator_finish(struct replicator *replicator)
{
    replicator->is_finishing = true;
    while (replicator->lingering.count > 0) {
        struct row *row = replicator_row(replicator, replicator->lingering.first);
        rows_list_remove(&replicator->rows, &replicator->lingering, row);
        row->place = ROW_QUIET;
    }
}

bool replicator_is_settled(const struct replicator *replicator)
{
    if (replicator->has_more || replicator->sweep_left > 0 || replicator->sweep_all ||
        replicator->kept_count > 0)
        return false;
    for (uint32_t i = 0; i < replicator->options.partitions; i++) {
        const struct partition *partition = &replicator->partitions[i];
        if (partition->is_in_flight || partition->waiting.count > 0)
            return false;
    }
    return true;
}

/* Some of what was used of late and is silent now. */
static void read_lingering(struct replicator *replicator)
{
    for (uint32_t i = 0; i < LINGER_READS && replicator->lingering.count > 0; i++) {
        struct row *row = replicator_row(replicator, replicator->lingering.first);
        if (row->used_ns + LINGER_NS < replicator->now_ns) {
            rows_list_remove(&replicator->rows, &replicator->lingering, row);
            row->place = ROW_QUIET;
            continue;
        }
        row->reads++;
        replicator_list(replicator, row, false);
    }
}

static void judge_loss(struct replicator *replicator)
{
    struct replicator_state *state = &replicator->state;
    const uint64_t three_ns = 3 * replicator->options.flush_ns;
    const uint64_t most_ns = three_ns > DEGRADED_NS ? three_ns : DEGRADED_NS;
    uint64_t oldest_ns = UINT64_MAX;

    for (uint32_t i = 0; i < replicator->options.partitions; i++) {
        const struct partition *partition = &replicator->partitions[i];
        if (partition->is_in_flight && partition->begun_ns < oldest_ns)
            oldest_ns = partition->begun_ns;
    }
    const bool is_lost = saturate_sub(replicator->now_ns, oldest_ns) > most_ns;
    if (is_lost)
        replicator->regained_ns = replicator->now_ns;
    if (is_lost == (state->degraded_since_ns != 0))
        return;
    state->degraded_since_ns = is_lost ? oldest_ns : 0;
    state->degraded_count += is_lost;
    shared_state_set_degraded(replicator->options.shared, is_lost);
}

void replicator_tick(struct replicator *replicator, uint64_t now_ns)
{
    replicator->now_ns = now_ns;
    shared_state_note_look(replicator->options.shared);
    take_rings(replicator);
    take_kept(replicator);
    if (now_ns >= replicator->flush_at_ns || replicator->is_finishing) {
        memset(replicator->touches, 0, sizeof(replicator->touches));
        take_demands(replicator);
        take_leftovers(replicator);
        if (!replicator->is_finishing)
            read_lingering(replicator);
        replicator->flush_at_ns = now_ns + replicator->options.flush_ns;
    }
    judge_loss(replicator);
}

bool replicator_has_more(const struct replicator *replicator)
{
    return replicator->has_more;
}

static bool has_batch(const struct replicator *replicator, const struct partition *partition)
{
    if (partition->is_in_flight)
        return false;
    if (partition->urgent_count > 0)
        return true;
    if (partition->waiting.count > 0)
        return replicator->is_finishing || replicator->now_ns >= partition->due_ns;
    return !replicator->is_finishing &&
           (partition->sequence == 0 || replicator->now_ns - partition->begun_ns >= HEARTBEAT_NS);
}

const struct batch *replicator_next(struct replicator *replicator, uint64_t now_ns)
{
    replicator->now_ns = now_ns;
    for (uint32_t i = 0; i < replicator->options.partitions; i++) {
        struct partition *partition = &replicator->partitions[replicator->next_partition];
        replicator->next_partition =
            (replicator->next_partition + 1) % replicator->options.partitions;
        if (has_batch(replicator, partition))
            batch_begin(replicator, partition);
        if (!partition->must_send || now_ns < partition->send_ns)
            continue;
        partition->must_send = false;
        batch_compose(replicator, partition);
        return &replicator->batch;
    }
    return NULL;
}

static bool send_again(struct replicator *replicator, uint32_t number, uint64_t now_ns)
{
    replicator->now_ns = now_ns;
    if (number >= replicator->options.partitions)
        return false;
    struct partition *partition = &replicator->partitions[number];
    if (!partition->is_in_flight || partition->must_send)
        return false;
    partition->must_send = true;
    partition->send_ns = now_ns + partition->retry_ns;
    partition->retry_ns = partition->retry_ns == 0 ? RETRY_NS : 2 * partition->retry_ns;
    if (partition->retry_ns > RETRY_MAX_NS)
        partition->retry_ns = RETRY_MAX_NS;
    return true;
}

void replicator_failed(struct replicator *replicator, uint32_t partition, uint64_t now_ns)
{
    replicator->state.resent += send_again(replicator, partition, now_ns);
}

void replicator_refused(struct replicator *replicator, uint32_t partition, uint64_t now_ns)
{
    send_again(replicator, partition, now_ns);
}

uint64_t replicator_due(const struct replicator *replicator, uint64_t now_ns)
{
    const bool is_active = now_ns < replicator->active_at_ns + ACTIVE_NS;
    const uint64_t flush_ns = replicator->options.flush_ns;
    uint64_t due_ns = now_ns + (is_active                 ? LOOK_NS
                                : flush_ns < IDLE_LOOK_NS ? flush_ns
                                                          : IDLE_LOOK_NS);

    if (replicator->has_more)
        return now_ns;
    if (now_ns < replicator->asked_at_ns + ASKED_NS)
        due_ns = now_ns + ASKED_LOOK_NS;
    for (uint32_t i = 0; i < replicator->options.partitions; i++) {
        const struct partition *partition = &replicator->partitions[i];
        if (!partition->is_in_flight && partition->urgent_count > 0)
            return now_ns;
        if (partition->must_send && partition->send_ns < due_ns)
            due_ns = partition->send_ns;
        if (!partition->is_in_flight && partition->waiting.count > 0 && partition->due_ns < due_ns)
            due_ns = partition->due_ns;
    }
    return due_ns > now_ns ? due_ns : now_ns;
}

/* When the oldest charge was made that no answer has confirmed. */
static uint64_t oldest_ns(const struct replicator *replicator)
{
    uint64_t oldest = UINT64_MAX;

    for (uint32_t i = 0; i < replicator->options.partitions; i++) {
        const struct partition *partition = &replicator->partitions[i];
        if (partition->is_in_flight && partition->oldest_ns < oldest)
            oldest = partition->oldest_ns;
        if (partition->waiting.count == 0)
            continue;
        const struct row *row = &replicator->rows.rows[partition->waiting.first];
        if (row->delta.units != 0 && row->delta.first_ns < oldest)
            oldest = row->delta.first_ns;
    }
    return oldest;
}

void replicator_look(const struct replicator *replicator, uint64_t now_ns,
                     struct replicator_state *ret_state)
{
    struct replicator_state state = replicator->state;

    state.lag_ns = saturate_sub(now_ns, oldest_ns(replicator));
    state.round_trip_ns = replicator->clock.is_known ? replicator->clock.round_ns : 0;
    state.rows_used = replicator->rows.used_count;
    for (uint32_t i = 0; i < replicator->options.partitions; i++) {
        const struct partition *partition = &replicator->partitions[i];
        state.in_flight += partition->is_in_flight;
        state.pending_keys += partition->waiting.count;
        state.pending_keys += partition->is_in_flight ? partition->flight_count : 0;
    }
    *ret_state = state;
}

void replicator_look_delays(const struct replicator *replicator,
                            struct replicator_delays *ret_delays)
{
    *ret_delays = (struct replicator_delays){.longest_wait_ns = replicator->longest_wait_ns,
                                             .longest_trip_ns = replicator->longest_trip_ns};
    latency_add(&ret_delays->wait, &replicator->wait);
    latency_add(&ret_delays->trip, &replicator->trip);
}
