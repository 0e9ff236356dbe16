/* From an answer into the rows and the table.
 *
 * Share of the limit: this node's part of the demand of all, as the store counts it, averaged over
 * answers; never below 1/2N, so that a newcomer is not starved. Until SETTLING_ANSWERS answers have
 * come the others' demand may be missing in them: until then it does not grow beyond 1/N, and that
 * of a key's last window is kept. So is that of before an outage, until all may have been heard
 * again: the next one may come before, and shares that add up to more than one would last as long
 * as that. What was wanted in the window before counts on, for nodes tell
 * what they denied in it after its end, and not all at once. */
#include <math.h>

#include "core/gcra.h"
#include "core/grant.h"
#include "core/saturate.h"
#include "core/share.h"
#include "replica/adopt.h"
#include "replica/replicator_parts.h"
#include "replica/shared_state.h"
#include "table/shared.h"

#define TICKS_PER_US (1000u * LIMIT_TICKS_PER_NS)
#define AVERAGE 0.3f
#define SHARE_UNIT 65536.0f
/* Below four units the whole is a few sixteenths, and who reads what decays is all of it. */
#define DEMAND_LEAST (4 * MERGE_DEMAND_UNIT)
#define HOLD_NS (100 * MS_NS)     /* after so long room that was held back is 1/e of it */
#define HOLD_MOST_NS (30 * MS_NS) /* and no more than that is, nor a HOLD_PART of the bucket */
#define HOLD_PART 3u
#define SLIDING_SHIFT 48
#define SLIDING_BITS 24

struct heard { /* of one key */
    struct delta_answer answer;
    uint64_t hold_ns; /* hold_of() */
    const struct batch_answer_key *key;
    struct instant now;
    uint64_t asked_ns; /* when the batch was sent for the first time */
    uint32_t granted;  /* and still of use */
};

/* Was the store away until a moment ago? */
static bool is_regaining(const struct replicator *replicator)
{
    return replicator->regained_ns != 0 &&
           replicator->now_ns < replicator->regained_ns + REGAINING_NS;
}

static void settle_share(struct replicator *replicator, struct row *row, const struct heard *heard)
{
    const uint64_t store_us = heard->answer.store_now_us;
    const float least = replicator_fair_share(replicator) / 2;
    float alpha = row->alpha;

    row->demand =
        merge_demand(row->demand, saturate_sub(store_us, row->demand_us), row->sent_wanted);
    row->demand_of_all = heard->key->demand;
    row->demand_us = store_us;
    const uint64_t past_us = saturate_sub(store_us, row->past_us);
    const uint64_t own = row->demand + merge_demand(row->past, past_us, 0);
    const uint64_t all = row->demand_of_all + merge_demand(row->past_of_all, past_us, 0);
    const bool is_settled = row->answers >= SETTLING_ANSWERS;
    const bool may_move = is_settled ? !is_regaining(replicator) : !row->is_carried;
    if (all >= DEMAND_LEAST && may_move) {
        const float part = (float)own / (float)all;
        alpha += AVERAGE * ((part < 1 ? part : 1) - alpha);
    }
    if (!is_settled && !row->is_carried && alpha > 2 * least)
        alpha = 2 * least;
    if (!is_settled)
        row->answers++;
    row->alpha = alpha < least ? least : alpha > 1 ? 1 : alpha;
    row->share = share_of((uint64_t)(row->alpha * SHARE_UNIT), (uint64_t)SHARE_UNIT);
}

/* What is told of a window after its end is news for the share in the next one. */
static void carry_demand(struct replicator *replicator, const struct row *row)
{
    struct row *other;
    uint32_t cursor = 0;

    while ((other = rows_next_of_key(&replicator->rows, row->key, row->owner, &cursor))) {
        if (!other->is_carried || !share_is_later(&row->limit, other->window, row->window) ||
            other->past_us > row->demand_us) /* of a later one */
            continue;
        other->past = row->demand;
        other->past_of_all = row->demand_of_all;
        other->past_us = row->demand_us;
    }
}

/* The key as the store has it, as a state of this node. */
static uint64_t stores_state(const struct row *row, const struct heard *heard)
{
    const uint64_t value = heard->answer.cell.value;

    switch (merge_kind_of(&row->limit)) {
    case MERGE_FIXED:
        return row->window << 32 | saturate_u32(value);
    case MERGE_SLIDING: {
        const uint64_t previous = heard->key->previous;
        return row->window << SLIDING_SHIFT |
               (previous < LIMIT_SLIDING_MAX ? previous : LIMIT_SLIDING_MAX) << SLIDING_BITS |
               (value < LIMIT_SLIDING_MAX ? value : LIMIT_SLIDING_MAX);
    }
    case MERGE_CALENDAR:
        return 0;
    case MERGE_BUCKET:
        break;
    }
    const uint64_t owed_us = saturate_sub(value, heard->answer.store_now_us);
    return saturate_add(gcra_ticks(heard->answer.at_ns), saturate_mul(owed_us, TICKS_PER_US));
}

/* When one unit more than was granted can be had; 0 if all that was wanted was granted. What was
 * refused is denied although there may be a unit again by now: it was not there when it was asked
 * for, and who waits on would lose one race after the other and take that for the store's loss. */
static uint64_t denied_until_ns(const struct row *row, const struct heard *heard)
{
    const struct instant *now = &heard->now;
    uint64_t wait_ns;

    if (row->sent_asked > 0 && heard->key->granted >= row->sent_asked)
        return 0;
    if (row->limit.algorithm == ALGORITHM_CALENDAR) {
        wait_ns = heard->answer.cell.value < row->limit.burst
                      ? 0
                      : saturate_sub(saturate_mul(row->window, 1000000000u), now->wall_ns);
    } else {
        const bool is_wall = limit_is_wall(&row->limit);
        wait_ns = limit_apply(&row->limit, stores_state(row, heard), OPERATION_CHECK, 1,
                              is_wall ? now->wall_ns : now->now_ns)
                      .verdict.retry_after_ns;
    }
    const uint64_t store_ns = saturate_mul(heard->answer.store_now_us, 1000);
    if (wait_ns == 0 && row->sent_asked > 0 &&
        share_window_at(&row->limit, store_ns) == row->window)
        wait_ns = 1;
    return wait_ns == 0 ? 0 : saturate_add(now->now_ns, wait_ns);
}

/* The state of an exact key, with what was granted now. */
static uint64_t granted_state(const struct row *row, const struct heard *heard,
                              const struct table_ref *ref, bool is_grant)
{
    const uint32_t left = is_grant ? grant_units_of(&row->limit, ref->state, row->window) : 0;
    const struct grant grant = {
        .units = left + heard->granted,
        .window = row->window,
        .denied_until_ns = denied_until_ns(row, heard),
    };

    return grant_pack(&row->limit, &grant);
}

/* Units that were granted in a window before this one and not spent: they are void, and were
 * charged. */
static void give_void_back(struct replicator *replicator, const struct row *row, uint64_t state)
{
    struct row *other;
    uint32_t cursor = 0;

    if (grant_units(state) == 0 || grant_units_of(&row->limit, state, row->window) > 0)
        return;
    while ((other = rows_next_of_key(&replicator->rows, row->key, row->owner, &cursor))) {
        if (other == row || grant_units_of(&row->limit, state, other->window) == 0)
            continue;
        delta_charge(&other->delta, &other->limit, -(int64_t)grant_units(state),
                     replicator->now_ns);
        replicator_list(replicator, other, false);
        return;
    }
}

/* A view of a window that has passed leaves the share of the present one alone. */
static bool is_of_window(const struct row *row, uint64_t state)
{
    return !limit_is_wall(&row->limit) || share_window(&row->limit, state) == row->window;
}

/* Has the row's window passed? It is read on for a while, for what is told late. */
static bool is_over(const struct row *row, const struct instant *now)
{
    const struct limit *limit = &row->limit;

    return limit_is_wall(limit) &&
           share_is_later(limit, share_window_at(limit, now->wall_ns), row->window);
}

/* What of the room that nobody expected is not taken yet, of HOLD_NS. A key that checks are denied
 * of has no more room than drains, so where an answer shows more, others charged it and were not
 * heard: a flush of theirs is late, or all were asked at one instant and this node is the first to
 * hear. To take that room would be to admit it twice. If it is real it is no less real a bit later,
 * for a bucket that is asked for more than it lets pass is far from full. Only what makes a value
 * fall (a reset, a refund) shows in its epoch, and is believed at once. */
static uint64_t hold_of(const struct replicator *replicator, const struct row *row,
                        struct merge_cell cell)
{
    if (limit_is_wall(&row->limit) || row->patience == 0 || row->answers < SETTLING_ANSWERS ||
        cell.epoch != row->delta.base.epoch)
        return 0;
    return saturate_sub(HOLD_NS, replicator->now_ns - row->answered_ns);
}

/* A bucket as it was seen, no further below what was expected of it than that. */
static uint64_t held(const struct row *row, const struct heard *heard, uint64_t expected,
                     uint64_t seen)
{
    const uint64_t gap = saturate_sub(expected, seen);
    const uint64_t kept = saturate_mul(gap, heard->hold_ns / 1000) / (HOLD_NS / 1000);
    const uint64_t most = gcra_ticks(HOLD_MOST_NS), part = row->limit.tolerance / HOLD_PART;

    if (seen == 0)
        return 0; /* at rest */
    return seen + (kept < most && kept < part ? kept : most < part ? most : part);
}

/* Puts what was heard into the entry. False: somebody was faster. */
static bool try_adopt(struct replicator *replicator, const struct row *row,
                      const struct heard *heard)
{
    struct table *table = replicator->options.table;
    const struct table_probe probe = table_probe(table, row->key, row->owner);
    const struct table_taker taker = {
        .on_full = TABLE_REFUSE, .on_spill = take_spilled, .context = replicator};
    struct table_ref ref;
    const enum table_result result =
        table_find_or_claim_by(table, &probe, &taker, &heard->now, &ref);
    const bool is_found = result == TABLE_FOUND;

    if (!is_found && result != TABLE_CLAIMED)
        return true;
    const bool is_grant = is_found && table_share(&ref) == TABLE_SHARE_GRANT;
    if (row->limit.sync == SYNC_EXACT) {
        if (!is_found && (row->sent_asked == 0 || is_over(row, &heard->now))) {
            table_withdraw(table, &ref);
            return true;
        }
        if (is_over(row, &heard->now)) /* what is there may be a grant of the present window */
            return true;
        if (!table_adopt(table, &ref, granted_state(row, heard, &ref, is_grant), TABLE_SHARE_GRANT))
            return false;
        if (is_grant)
            give_void_back(replicator, row, ref.state);
        return true;
    }
    const int32_t pending = is_found && !is_grant ? table_pending(&ref) : 0;
    const struct delta_view view = {
        .state = is_grant ? 0 : ref.state,
        .pending = is_of_window(row, ref.state) ? pending : 0,
        .now_ns = heard->now.now_ns,
        .spread = share_factor(row->share),
    };
    const uint64_t seen = delta_look(&row->delta, &row->limit, &heard->answer, &view);
    const uint64_t value = held(row, heard, view.state, seen);
    uint64_t state = adopt_state(&row->limit, view.state, row->window, value);
    if (state == 0 && pending != 0) /* the state says which window that is of */
        state = share_empty_window(&row->limit, share_window(&row->limit, view.state));
    if (pending != 0 && view.pending == 0 && is_of_window(row, state))
        return true; /* what is pending is of a window before: it is drained first */
    const uint8_t share =
        is_found && !is_grant && !is_of_window(row, state) ? table_share(&ref) : row->share;
    if (is_found && state == ref.state && share == table_share(&ref))
        return true;
    return table_adopt(table, &ref, state, share);
}

static bool has_same_owner(const struct replicator *replicator, const struct row *row)
{
    const struct table_owner owner = table_owner_at(replicator->options.table, row->owner);

    return owner.tenant_id == row->tenant_id && owner.rule_id == row->rule_id &&
           owner.override == row->override && owner.limit.algorithm == row->limit.algorithm;
}

/* What the store granted counts as admitted; what will not be spent goes back. */
static void keep_grant(struct replicator *replicator, struct row *row, const struct heard *heard)
{
    row->delta.units += heard->key->granted;
    if (heard->granted < heard->key->granted) /* too late: others may have it */
        delta_give_back(&row->delta, &row->limit, heard->key->granted, heard->asked_ns,
                        replicator->now_ns);
    if (row->is_kept || heard->granted == 0)
        return;
    row->is_kept = true;
    row->granted_ns = heard->asked_ns;
    replicator->kept[(replicator->kept_first + replicator->kept_count++) % replicator->rows.count] =
        (struct kept){.row = (uint32_t)(row - replicator->rows.rows),
                      .until_ns = replicator->now_ns + GRANT_KEEP_NS};
}

/* Settled already, by a process that ended before the whole answer was: a grant counts once. */
static void pass_over(struct replicator *replicator, struct row *row)
{
    row->place = ROW_QUIET;
    if (row_is_pending(row))
        replicator_list(replicator, row, false);
}

static void settle_row(struct replicator *replicator, struct row *row, const struct heard *heard)
{
    if (!row->delta.is_sent) {
        pass_over(replicator, row);
        return;
    }
    delta_settle(&row->delta, &heard->answer);
    row->answered_ns = replicator->now_ns;
    if (row->patience > 0)
        row->patience--;
    settle_share(replicator, row, heard);
    if (limit_is_wall(&row->limit) && row->sent_wanted == 0) /* it is only read */
        carry_demand(replicator, row);
    if (heard->key->granted > 0)
        keep_grant(replicator, row, heard);
    if (has_same_owner(replicator, row))
        while (!try_adopt(replicator, row, heard))
            ;
    row->sent_wanted = 0;
    row->sent_asked = 0;
    row->place = ROW_QUIET;
    if (row_is_pending(row))
        replicator_list(replicator, row, row->asked > 0);
    else
        replicator_rest(replicator, row);
}

static void count_outcome(struct replicator *replicator, const struct batch_answer *answer)
{
    struct replicator_state *state = &replicator->state;

    state->answers++;
    state->repeats += answer->outcome == MERGE_REPEAT;
    state->gaps += answer->outcome == MERGE_GAP;
    state->losses += answer->outcome == MERGE_NEW && answer->sequence > 1;
}

static void note_trip(struct replicator *replicator, const struct partition *partition)
{
    const uint64_t trip_ns = saturate_sub(replicator->now_ns, partition->begun_ns);

    if (partition->flight_count == 0)
        return;
    latency_record(&replicator->trip, trip_ns, 1);
    if (trip_ns > replicator->longest_trip_ns)
        replicator->longest_trip_ns = trip_ns;
}

/* Who beats first is alone in the store at first, and who starts is often not the only one: until
 * all have had the time to be heard there are at least as many as were configured. */
static void hear_nodes(struct replicator *replicator, uint32_t count)
{
    if (count == 0)
        return;
    replicator->state.node_count = count;
    if (replicator->first_answer_ns == 0)
        replicator->first_answer_ns = replicator->now_ns;
    if (replicator->now_ns < replicator->first_answer_ns + GATHERING_NS &&
        count < replicator->options.nodes)
        count = replicator->options.nodes;
    replicator->node_count = count;
    shared_state_set_first_share(replicator->options.shared, share_of(1, count));
}

static void hear_clock(struct replicator *replicator, const struct partition *partition,
                       const struct batch_answer *answer)
{
    const uint64_t now_ns = replicator->now_ns;

    store_clock_hear(&replicator->clock, partition->begun_ns, now_ns, answer->store_now_us);
    wall_update(&replicator->wall, now_ns,
                (uint64_t)((int64_t)now_ns - replicator->clock.offset_ns));
    shared_state_set_wall(replicator->options.shared, -replicator->clock.offset_ns);
}

/* The cell is the larger of the store's and the node's: a repeat only reads, and after a loss it
 * may know less. */
void replicator_answer(struct replicator *replicator, const struct batch_answer *answer,
                       uint64_t now_ns)
{
    if (answer->partition >= replicator->options.partitions)
        return;
    struct partition *partition = &replicator->partitions[answer->partition];
    if (!partition->is_in_flight || answer->sequence != partition->sequence)
        return;
    if (answer->count != partition->flight_count) { /* to something else: no answer will come */
        replicator_failed(replicator, answer->partition, now_ns);
        return;
    }
    replicator->now_ns = now_ns;
    hear_clock(replicator, partition, answer);
    hear_nodes(replicator, answer->node_count);
    count_outcome(replicator, answer);
    note_trip(replicator, partition);
    partition->is_in_flight = false;
    partition->must_send = false;
    partition->retry_ns = 0;
    const bool is_late = now_ns - partition->begun_ns > GRANT_KEEP_NS;
    const struct instant now = replicator_instant(replicator);
    for (uint32_t i = 0; i < answer->count; i++) {
        struct row *row = replicator_row(replicator, partition->flight[i]);
        const struct merge_cell cell = merge_larger(row->delta.base, answer->keys[i].cell);
        const struct heard heard = {
            .answer = {.cell = cell,
                       .store_now_us = answer->store_now_us,
                       .at_ns = store_clock_at_ns(&replicator->clock, answer->store_now_us)},
            .key = &answer->keys[i],
            .now = now,
            .hold_ns = hold_of(replicator, row, cell),
            .asked_ns = partition->begun_ns,
            .granted = is_late || is_over(row, &now) ? 0 : answer->keys[i].granted,
        };
        settle_row(replicator, row, &heard);
    }
    batch_settle_before(); /* only then is it answered */
    partition->answered = partition->sequence;
}
