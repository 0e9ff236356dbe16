/* From the rings, and from the entries they name, into the rows.
 *
 * A row is found before its entry is drained: what has no row stays pending in its entry, where it
 * takes no memory, and is looked for again until there is one. What the rings carry themselves and
 * finds no row is lost, and counted. */
#include <stdlib.h>

#include "core/grant.h"
#include "core/share.h"
#include "replica/demand.h"
#include "replica/replicator_parts.h"
#include "replica/ring.h"
#include "table/shared.h"

#define SWEEP_GROUPS 4096u /* of one look for what found no room */
#define SWEEP_FOUND 256u

void replicator_list(struct replicator *replicator, struct row *row, bool is_urgent)
{
    struct rows *rows = &replicator->rows;
    struct partition *partition = &replicator->partitions[row->partition];

    if (row->place == ROW_IN_FLIGHT || (row->place == ROW_WAITING && row->is_urgent >= is_urgent))
        return;
    if (row->place == ROW_LINGERING)
        rows_list_remove(rows, &replicator->lingering, row);
    if (row->place == ROW_WAITING)
        rows_list_remove(rows, &partition->waiting, row);
    row->place = ROW_WAITING;
    row->is_urgent = is_urgent;
    partition->urgent_count += is_urgent;
    if (is_urgent)
        rows_list_prepend(rows, &partition->waiting, row);
    else
        rows_list_append(rows, &partition->waiting, row);
}

void replicator_rest(struct replicator *replicator, struct row *row)
{
    struct rows_list *lingering = &replicator->lingering;

    row->place = ROW_QUIET;
    if (replicator->is_finishing || row->used_ns + LINGER_NS < replicator->now_ns)
        return;
    if (lingering->count == LINGER_MAX) {
        struct row *first = replicator_row(replicator, lingering->first);
        rows_list_remove(&replicator->rows, lingering, first);
        first->place = ROW_QUIET;
    }
    row->place = ROW_LINGERING;
    rows_list_append(&replicator->rows, lingering, row);
}

/* Is it worth a batch of its own? Tenants have only so many of those between two flushes. */
static bool is_urgent(struct replicator *replicator, const struct row *row, bool is_new)
{
    const uint64_t stale_ns = STALE_FLUSHES * replicator->options.flush_ns;
    uint8_t *touches = &replicator->touches[row->tenant_id % TOUCH_TENANTS];

    if (row->place == ROW_WAITING && row->is_urgent)
        return true;
    if (!is_new && row->answered_ns != 0 && row->answered_ns + stale_ns >= replicator->now_ns)
        return false;
    if (*touches == TOUCHES_PER_FLUSH)
        return false;
    ++*touches;
    replicator->state.first_touches++;
    return true;
}

/* More than a quarter of what this node may spend at once? */
static bool is_much(const struct row *row)
{
    const struct limit *limit = &row->limit;
    const uint64_t most = limit_is_wall(limit) ? limit->burst : limit->tolerance;

    return row->delta.charge > 0 && (float)row->delta.charge > (float)most * row->alpha / 4;
}

/* A sliding window counts what was in the one before, which is a row of its own. */
static void read_window_before(struct replicator *replicator, const struct row *row,
                               const struct table_owner *owner)
{
    const uint64_t window = (row->window - 1) & UINT16_MAX;
    struct row *before = rows_find_or_claim(&replicator->rows, row->key, row->owner, owner, window);

    if (!before)
        return;
    before->reads = 2; /* now, and when late charges of others have come */
    before->used_ns = replicator->now_ns;
    replicator_list(replicator, before, row->is_urgent);
}

/* The share of a key's last window is worth more than none; that of one that was over long ago is
 * not, for it followed what then came late. */
static void begin_share(struct replicator *replicator, struct row *row)
{
    const struct row *last = NULL, *other;
    uint32_t cursor = 0;

    row->alpha = replicator_fair_share(replicator);
    while ((other = rows_next_of_key(&replicator->rows, row->key, row->owner, &cursor)))
        if (other->answers >= SETTLING_ANSWERS &&
            other->used_ns + LINGER_NS >= replicator->now_ns &&
            share_is_later(&row->limit, row->window, other->window) &&
            (!last || share_is_later(&row->limit, other->window, last->window)))
            last = other;
    if (last) {
        row->alpha = last->alpha;
        row->past = last->demand;
        row->past_of_all = last->demand_of_all;
        row->past_us = last->demand_us;
        row->is_carried = true;
    }
    row->share = share_of((uint64_t)(row->alpha * 65536.0f), 65536);
}

static struct row *row_of(struct replicator *replicator, struct key key, uint32_t owner_row,
                          uint64_t window, struct table_owner *ret_owner)
{
    struct row *row;

    *ret_owner = table_owner_at(replicator->options.table, owner_row);
    row = rows_find_or_claim(&replicator->rows, key, owner_row, ret_owner, window);
    if (row && row->used_ns == 0)
        begin_share(replicator, row);
    return row;
}

/* After something was put into a row. */
static void used(struct replicator *replicator, struct row *row, const struct table_owner *owner,
                 bool is_new)
{
    const bool is_first = row->used_ns == 0;

    row->used_ns = replicator->now_ns;
    replicator_list(replicator, row, is_urgent(replicator, row, is_new) || is_much(row));
    if (is_first && merge_kind_of(&row->limit) == MERGE_SLIDING)
        read_window_before(replicator, row, owner);
}

static uint32_t summed(uint32_t a, uint64_t b)
{
    return b > UINT32_MAX - a ? UINT32_MAX : a + (uint32_t)b;
}

/* The row of the key that was in use last; NULL: none. */
static struct row *last_row(struct replicator *replicator, struct key key, uint32_t owner)
{
    struct row *last = NULL, *row;
    uint32_t cursor = 0;

    while ((row = rows_next_of_key(&replicator->rows, key, owner, &cursor)))
        if (!last || row->used_ns > last->used_ns)
            last = row;
    return last;
}

/* The window of what does not say it: the one in use last, else the present one. */
static uint64_t last_window(struct replicator *replicator, struct key key, uint32_t owner,
                            const struct limit *limit)
{
    const struct row *last = last_row(replicator, key, owner);

    return last ? last->window : share_window_at(limit, replicator_instant(replicator).wall_ns);
}

static bool names_no_window(const struct table_drained *look, const struct limit *limit)
{
    /* a grant does not say it, nor does what was reset and not charged since */
    return limit_is_wall(limit) && (look->share == TABLE_SHARE_GRANT || look->state == 0);
}

static uint64_t window_of(struct replicator *replicator, const struct table_drained *look,
                          const struct limit *limit)
{
    if (names_no_window(look, limit))
        return last_window(replicator, look->key, look->owner, limit);
    return share_window(limit, look->state);
}

void take_all_later(struct replicator *replicator)
{
    replicator->sweep_all = true;
    replicator->sweep_left = table_entry_count(replicator->options.table) / TABLE_GROUP_ENTRIES;
}

bool take_entry(struct replicator *replicator, uint64_t index, uint64_t first_ns, bool is_new)
{
    struct table *table = replicator->options.table;
    struct table_drained look;
    struct table_owner owner;

    if (!table_look(table, index, &look))
        return true;
    const struct limit limit = table_owner_at(table, look.owner).limit;
    const uint64_t window = window_of(replicator, &look, &limit);
    struct row *row = row_of(replicator, look.key, look.owner, window, &owner);
    if (!row) {
        replicator->state.no_row_keys++;
        take_all_later(replicator);
        return false;
    }
    const struct key key = look.key;
    if (!table_drain(table, index, &look))
        return true;
    if (look.key.low != key.low || look.key.high != key.high || look.owner != row->owner ||
        window_of(replicator, &look, &row->limit) != window) {
        /* It changed between the two looks: rare, and never twice in a row for ever. */
        row =
            row_of(replicator, look.key, look.owner, window_of(replicator, &look, &limit), &owner);
        if (!row) {
            replicator->state.lost_units += (uint64_t)llabs(look.units);
            return false;
        }
    }
    row->index = index;
    replicator->hints[index % replicator->rows.count] = (uint32_t)(row - replicator->rows.rows);
    if (look.units == 0 && !is_new && row->used_ns != 0) /* else nothing is known of the window */
        return true;
    if (look.units != 0)
        delta_charge(&row->delta, &row->limit, look.units, first_ns);
    if (look.units > 0)
        row->wanted = summed(row->wanted, (uint64_t)look.units);
    if (!row_is_pending(row))
        row->reads = 1;
    used(replicator, row, &owner, is_new);
    return true;
}

/* Does the key of this entry wait for its turn with a charge, so that the entry is drained when its
 * batch begins (take_last())? Until then it stays dirty, and whoever charges it leaves ring and
 * reader alone: a key is drained once per batch and not once per look, and the worker's line of it
 * stays the worker's. If the entry has changed hands meanwhile its new key is taken then, too, a
 * moment later. Windows are not passed over: each is a row of its own. */
static bool is_waiting(struct replicator *replicator, uint64_t index)
{
    const uint32_t hint = replicator->hints[index % replicator->rows.count];
    const struct row *row = replicator_row(replicator, hint);

    return row->is_used && row->index == index && !limit_is_wall(&row->limit) &&
           (row->place == ROW_WAITING || row->place == ROW_IN_FLIGHT) &&
           delta_has_charge(&row->delta, &row->limit);
}

static void take_amount(struct replicator *replicator, const struct ring_event *event)
{
    struct table_owner owner;
    struct row *row = row_of(replicator, event->key, event->owner, event->window, &owner);

    if (!row) {
        replicator->state.lost_units += (uint64_t)llabs(event->units);
        return;
    }
    delta_charge(&row->delta, &row->limit, event->units, event->first_ns);
    if (event->units > 0)
        row->wanted = summed(row->wanted, (uint64_t)event->units);
    used(replicator, row, &owner, false);
}

static void take_want(struct replicator *replicator, const struct ring_event *event)
{
    struct table_owner owner;
    struct row *row = row_of(replicator, event->key, event->owner, event->window, &owner);

    if (!row)
        return; /* who waits asks again */
    row->asked = summed(row->asked, (uint64_t)event->units);
    if (row->asked > row->limit.burst)
        row->asked = row->limit.burst;
    replicator->asked_at_ns = replicator->now_ns;
    row->used_ns = replicator->now_ns;
    replicator_list(replicator, row, true);
}

/* Every window of the key that is known, and the present one: that alone is used by it. */
static void take_reset(struct replicator *replicator, const struct ring_event *event)
{
    struct table_owner owner;
    struct row *row = row_of(replicator, event->key, event->owner, event->window, &owner);
    uint32_t cursor = 0;

    if (row)
        row->used_ns = replicator->now_ns;
    if (row && merge_kind_of(&row->limit) == MERGE_SLIDING)
        read_window_before(replicator, row, &owner);
    while ((row = rows_next_of_key(&replicator->rows, event->key, event->owner, &cursor))) {
        delta_reset(&row->delta);
        replicator_list(replicator, row, true);
    }
}

static void take_event(struct replicator *replicator, const struct ring_event *event)
{
    switch (event->kind) {
    case RING_DIRTY:
        if (event->is_new || event->is_much || !is_waiting(replicator, event->index))
            take_entry(replicator, event->index, event->first_ns, event->is_new);
        break;
    case RING_AMOUNT:
        take_amount(replicator, event);
        break;
    case RING_WANT:
        take_want(replicator, event);
        break;
    case RING_RESET:
        take_reset(replicator, event);
        break;
    case RING_NONE:
        break;
    }
}

/* So many of each at once: whoever charges may be faster than who drains, and what was taken has to
 * be told, too. */
void take_rings(struct replicator *replicator)
{
    struct ring_event event;

    replicator->has_more = false;
    for (uint32_t i = 0; i < replicator->options.thread_count; i++) {
        struct ring *ring = replicator->options.rings[i];
        uint32_t left = TAKEN_AT_ONCE;
        for (; left > 0 && ring_pop(ring, &event); left--) {
            replicator->active_at_ns = replicator->now_ns;
            take_event(replicator, &event);
        }
        replicator->has_more |= left == 0;
        const uint64_t refused = ring_refused(ring);
        if (refused != replicator->refused_seen[i])
            replicator->sweep_left =
                table_entry_count(replicator->options.table) / TABLE_GROUP_ENTRIES;
        replicator->refused_seen[i] = refused;
    }
}

void take_leftovers(struct replicator *replicator)
{
    struct table *table = replicator->options.table;
    uint64_t indices[SWEEP_FOUND];

    for (uint32_t groups = SWEEP_GROUPS; groups > 0 && replicator->sweep_left > 0; groups -= 64) {
        const uint32_t count = table_sweep_pending(table, &replicator->sweep_cursor, 64,
                                                   replicator->sweep_all, indices, SWEEP_FOUND);
        replicator->sweep_left -= replicator->sweep_left < 64 ? replicator->sweep_left : 64;
        for (uint32_t i = 0; i < count; i++)
            if (!take_entry(replicator, indices[i], replicator->now_ns, false))
                return; /* no rows: later */
    }
    if (replicator->sweep_left == 0)
        replicator->sweep_all = false;
}

/* An exact key that is known to be denied needs no trip, but for units that others give back. */
static void take_exact_demand(struct replicator *replicator, const struct table_drained *look,
                              const struct limit *limit)
{
    struct row *row = limit_is_wall(limit)
                          ? last_row(replicator, look->key, look->owner)
                          : rows_find(&replicator->rows, look->key, look->owner, 0);

    if (!row || row->answered_ns + DENIED_READ_NS > replicator->now_ns)
        return;
    row->reads = 1;
    row->used_ns = replicator->now_ns;
    replicator_list(replicator, row, false);
}

/* What was denied is demand, too, and a reason to ask how the key stands. */
static void take_demand(struct replicator *replicator, uint64_t index, uint32_t units)
{
    struct table_drained look;
    struct table_owner owner;

    if (!table_look(replicator->options.table, index, &look))
        return;
    const struct limit limit = table_owner_at(replicator->options.table, look.owner).limit;
    if (look.share == TABLE_SHARE_GRANT && limit.sync == SYNC_EXACT)
        take_exact_demand(replicator, &look, &limit);
    if (look.share == TABLE_SHARE_GRANT || limit.sync != SYNC_SHARED)
        return;
    if (names_no_window(&look, &limit) && !last_row(replicator, look.key, look.owner))
        return; /* nothing is known of it, and nothing was charged */
    const uint64_t window = window_of(replicator, &look, &limit);
    struct row *row = row_of(replicator, look.key, look.owner, window, &owner);
    if (!row)
        return;
    row->index = index;
    row->wanted = summed(row->wanted, units);
    row->patience = PATIENCE_ANSWERS;
    used(replicator, row, &owner, false);
}

void take_demands(struct replicator *replicator)
{
    uint64_t index;
    uint32_t units;

    for (uint32_t i = 0; i < replicator->options.thread_count; i++) {
        uint32_t cursor = 0;
        while (demand_drain(replicator->options.demands[i], &cursor, &index, &units)) {
            replicator->active_at_ns = replicator->now_ns;
            take_demand(replicator, index, units);
        }
    }
}

void take_spilled(void *context, const struct table_spilled *spilled)
{
    struct replicator *replicator = context;
    const struct ring_event event = {
        .kind = RING_AMOUNT,
        .owner = spilled->owner,
        .key = spilled->key,
        .window = spilled->window,
        .units = spilled->units,
        .first_ns = replicator->now_ns,
    };

    if (event.units != 0)
        take_amount(replicator, &event);
}

/* What is left of a grant goes back, so that others may have it. */
static void give_back(struct replicator *replicator, struct row *row)
{
    struct table *table = replicator->options.table;
    const struct table_probe probe = table_probe(table, row->key, row->owner);
    struct table_owner owner = table_owner_at(table, row->owner);
    const struct grant nothing = {.window = row->window}; /* and nobody knows what there is */
    struct table_ref ref;
    uint32_t units;

    do {
        if (table_find(table, &probe, &ref) != TABLE_FOUND ||
            table_share(&ref) != TABLE_SHARE_GRANT)
            return;
        units = grant_units_of(&row->limit, ref.state, row->window);
        if (units == 0)
            return;
    } while (!table_adopt(table, &ref, grant_pack(&row->limit, &nothing), TABLE_SHARE_GRANT));
    delta_give_back(&row->delta, &row->limit, units, row->granted_ns, replicator->now_ns);
    used(replicator, row, &owner, true);
}

void take_kept(struct replicator *replicator)
{
    while (replicator->kept_count > 0) {
        const struct kept *kept = &replicator->kept[replicator->kept_first];
        if (kept->until_ns > replicator->now_ns && !replicator->is_finishing)
            return;
        replicator->kept_first = (replicator->kept_first + 1) % replicator->rows.count;
        replicator->kept_count--;
        struct row *row = replicator_row(replicator, kept->row);
        row->is_kept = false;
        give_back(replicator, row);
    }
}
