/* Merging what several nodes charged to the same key.
 *
 * Buckets. A charge of a ticks at instant t is the map x -> max(x, t) + a on the tat x. A node
 * sends its charges in batches: A, their sum, and f, the age of the first of them when it sends.
 * The store applies a batch, at r on its own clock, as
 *
 *     x <- max(x, r - f) + A
 *
 * so that only durations travel, and no node's clock enters the shared value.
 *
 * Claim. Let x_central be what one bucket makes of all charges in the order of their instants, and
 * x_merged what the store has after all their batches. If each batch is applied once, within F of
 * its first charge, and tells 0 <= f <= C, no more than its age, then
 *
 *     -C <= x_merged - x_central <= F
 *
 * for any number of nodes and batches, in any order. The nodes cut f at C = MERGE_CREDIT_US: a
 * delta that comes late errs on the strict side.
 *
 * Proof. Written out, with x0 the value before, the maps are
 *     x_central = max(x0 + sum of all a, max over charges j of  t_j + sum of a_i with t_i >= t_j)
 *     x_merged  = max(x0 + sum of all A, max over batches k of  g_k + sum of A_m, m not before k)
 * with g_k = r_k - f_k <= r_k.
 *   Above: batches from k on hold charges no older than r_k - F. Let j be the first charge of that
 *     age or younger: x_central >= t_j + (their sum) >= r_k - F + (their sum) >= (term k) - F.
 *   Below: charges from j on lie in batches applied at t_j or later. Let k be the first of those:
 *     x_merged >= g_k + (their sum) >= r_k - C + (their sum) >= t_j - C + (their sum).
 *   The terms with x0 are equal. While one of them is the largest (a bucket that was never at
 *   rest), x_merged = x_central exactly, in any order. Rounding to whole us leaves the rest of a
 *   charge with its node, so it adds less than 1 us per node and 1 us for f.
 *
 * Old deltas. What could not be sent within MERGE_OLDEST_US is not added: the node sends what its
 * own view still owes, R, and the store takes x <- max(x, r + R). A node charges its view a / s for
 * a charge of a, s being its share of the limit. If the shares add up to at most 1 and all nodes
 * were cut off together, this errs on the strict side only, and by no more than a view may owe
 * (tau): the mean of the views, weighted by s, grows by at least the sum of all a and shrinks no
 * faster than time, so it is never below the backlog of x_central; and the largest view is not
 * below the mean. Adding up what each node owes would give units back: each drains at the full
 * rate. What a node admitted that was cut off alone, the others repay only as far as its view.
 *
 * Refunds. A negative A lowers the value, never below now, and raises the epoch. A busy bucket
 * stays exact. Else a refund that meets a value at which it no longer, or not yet, has its charge
 * is wrong by at most itself; it first cancels what its own node has not sent, so this takes two
 * nodes.
 *
 * Windows and calendars. Each window has a cell of its own, named by the node when it charged; the
 * merge is a sum, exact in any order.
 *
 * Losses of the store. A delta carries the largest cell that its node saw; the larger of the two
 * counts. So a store that was emptied or went back in time has again, after one batch, all that
 * this node ever saw. What makes a value fall raises the epoch, else the nodes would heal it back:
 * a reset, and a cut of what was there (a lowered cap, a clock set back). A value that the charge
 * itself lifts beyond the cap falls from nowhere, and keeps its epoch.
 *
 * Grants. What exact mode spends is charged here before it is spent, so a merged value that never
 * fell is never over the limit, whoever is slow or dies. A cost in us is rounded up, and so is the
 * part of the window before that a sliding window still sees: both on the strict side.
 *
 * Demand. Between two half-lives 2^-f is taken as (1 - b f) / (1 + c f), b = 157/512, c = 198/512:
 * right at both ends, 0.4 % off in between, and with the slope of 2^-f at 0, so that it hardly
 * matters how often a sum is looked at. Whole numbers, the same everywhere.
 *
 * Pure functions; any thread may call them. */
#include "core/merge.h"

#include "core/saturate.h"

#define TICKS_PER_US (1000u * LIMIT_TICKS_PER_NS)

static uint64_t at_most_max(uint64_t value)
{
    return value < MERGE_MAX ? value : MERGE_MAX;
}

/* What a charge or a refund makes of a count. */
static struct merge_cell counted(struct merge_cell cell, int64_t charge)
{
    const uint64_t back = charge < 0 ? 0 - (uint64_t)charge : 0;

    if (back == 0) {
        cell.value = at_most_max(saturate_add(cell.value, (uint64_t)charge));
    } else if (cell.value > 0) {
        cell.epoch++;
        cell.value = saturate_sub(cell.value, back);
    }
    return cell;
}

static uint64_t shifted(uint64_t now_us, int64_t by_us)
{
    if (by_us < 0)
        return saturate_sub(now_us, 0 - (uint64_t)by_us);
    return saturate_add(now_us, (uint64_t)by_us);
}

static struct merge_cell refunded(struct merge_cell cell, uint64_t back_us, uint64_t now_us)
{
    if (cell.value <= now_us)
        return cell; /* at rest: nothing to give back */
    const uint64_t value = saturate_sub(cell.value, back_us);
    return (struct merge_cell){.epoch = cell.epoch + 1, .value = value > now_us ? value : now_us};
}

struct merge_cell limit_merge(const struct limit *limit, struct merge_cell cell,
                              const struct merge_delta *delta, uint64_t now_us)
{
    struct merge_cell next = merge_larger(cell, delta->base);

    if (delta->resets)
        next = (struct merge_cell){.epoch = next.epoch + 1};
    if (limit_is_wall(limit))
        return counted(next, delta->charge);
    const uint64_t most = at_most_max(saturate_add(now_us, delta->cap_us));
    const uint64_t first = shifted(now_us, delta->ahead_us);
    if (next.value > most)
        next = (struct merge_cell){.epoch = next.epoch + 1, .value = most};
    if (delta->charge < 0)
        return refunded(next, 0 - (uint64_t)delta->charge, now_us);
    if (delta->charge == 0 && delta->ahead_us <= 0)
        return next; /* only read: a bucket at rest keeps its old tat */
    if (next.value < first)
        next.value = first;
    next.value = saturate_add(next.value, (uint64_t)delta->charge);
    if (next.value > most)
        next.value = most;
    return next;
}

/* amount * part / whole, rounded down; each product stays below 2^53. */
static uint64_t fraction(uint64_t amount, uint64_t part, uint64_t whole)
{
    return amount / whole * part + amount % whole * part / whole;
}

uint64_t merge_demand(uint64_t demand, uint64_t passed_us, uint64_t wanted)
{
    const uint64_t halves = passed_us / MERGE_HALF_US;
    const uint64_t rest_us = passed_us % MERGE_HALF_US;
    uint64_t left = halves < 40 ? demand >> halves : 0;

    left = fraction(left, 512 * MERGE_HALF_US - 157 * rest_us, 512 * MERGE_HALF_US + 198 * rest_us);
    left = saturate_add(left, saturate_mul(wanted, MERGE_DEMAND_UNIT));
    return left < MERGE_DEMAND_MAX ? left : MERGE_DEMAND_MAX;
}

enum merge_kind merge_kind_of(const struct limit *limit)
{
    switch ((enum algorithm)limit->algorithm) {
    case ALGORITHM_FIXED_WINDOW:
        return MERGE_FIXED;
    case ALGORITHM_SLIDING_WINDOW:
        return MERGE_SLIDING;
    case ALGORITHM_CALENDAR:
        return MERGE_CALENDAR;
    default:
        return MERGE_BUCKET;
    }
}

static uint64_t cost_us(const struct merge_ask *ask, uint64_t units)
{
    return units * ask->unit_us + (units * ask->unit_ticks + TICKS_PER_US - 1) / TICKS_PER_US;
}

/* The most units that cost no more than room_us; below 2^53 all the way. */
static uint32_t most_units(const struct merge_ask *ask, uint64_t room_us)
{
    uint64_t low = 0, high = ask->wanted;

    if (ask->unit_us > 0 && room_us / ask->unit_us < high)
        high = room_us / ask->unit_us;
    while (low < high) {
        const uint64_t middle = (low + high + 1) / 2;
        if (cost_us(ask, middle) <= room_us)
            low = middle;
        else
            high = middle - 1;
    }
    return (uint32_t)low;
}

static bool is_present(enum merge_kind kind, const struct merge_ask *ask, uint64_t now_us)
{
    if (kind == MERGE_CALENDAR)
        return now_us / 1000000 < ask->window;
    if (ask->window_us == 0)
        return false;
    return now_us / ask->window_us % (kind == MERGE_SLIDING ? 1ull << 16 : 1ull << 32) ==
           ask->window;
}

/* Units of the window before that a sliding window still sees, rounded up. */
static uint64_t in_view(uint64_t previous, const struct merge_ask *ask, uint64_t now_us)
{
    uint64_t length = ask->window_us, left = length - now_us % length;

    if (previous > ask->most)
        previous = ask->most;
    while (length >= 1u << 28) { /* a count has 24 bits: the product stays below 2^53 */
        length /= 2;
        left = left / 2 + 1;
    }
    if (left > length)
        left = length;
    return (previous * left + length - 1) / length;
}

uint32_t merge_grant(enum merge_kind kind, struct merge_cell *cell, uint64_t previous,
                     const struct merge_ask *ask, uint64_t now_us)
{
    uint64_t taken = cell->value;

    if (ask->wanted == 0)
        return 0;
    if (kind == MERGE_BUCKET) {
        const uint64_t begin_us = taken > now_us ? taken : now_us;
        const uint32_t units =
            most_units(ask, saturate_sub(saturate_add(now_us, ask->most), begin_us));
        if (units > 0)
            cell->value = begin_us + cost_us(ask, units);
        return units;
    }
    if (!is_present(kind, ask, now_us))
        return 0;
    if (kind == MERGE_SLIDING)
        taken += in_view(previous, ask, now_us);
    const uint64_t room = saturate_sub(ask->most, taken);
    const uint32_t units = room < ask->wanted ? (uint32_t)room : ask->wanted;
    cell->value += units;
    return units;
}

enum merge_batch merge_admit(uint64_t last, uint64_t sequence)
{
    if (last == 0)
        return MERGE_NEW;
    if (sequence <= last)
        return MERGE_REPEAT;
    return sequence == last + 1 ? MERGE_NEXT : MERGE_GAP;
}
