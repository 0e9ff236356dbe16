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
 * Windows and calendars. Each window has a cell of its own, named by the node when it charged; the
 * merge is a sum, exact in any order.
 *
 * Losses of the store. A delta carries the largest cell that its node saw; the larger of the two
 * counts. So a store that was emptied or went back in time has again, after one batch, all that
 * this node ever saw. What makes a value fall raises the epoch, else the nodes would heal it back:
 * a reset, and a cut of what was there (a lowered cap, a clock set back). A value that the charge
 * itself lifts beyond the cap falls from nowhere, and keeps its epoch.
 *
 * Pure functions; any thread may call them. */
#include "core/merge.h"

#include "core/saturate.h"

static uint64_t at_most_max(uint64_t value)
{
    return value < MERGE_MAX ? value : MERGE_MAX;
}

static uint64_t shifted(uint64_t now_us, int64_t by_us)
{
    if (by_us < 0)
        return saturate_sub(now_us, 0 - (uint64_t)by_us);
    return saturate_add(now_us, (uint64_t)by_us);
}

struct merge_cell limit_merge(const struct limit *limit, struct merge_cell cell,
                              const struct merge_delta *delta, uint64_t now_us)
{
    struct merge_cell next = merge_larger(cell, delta->base);

    if (delta->resets)
        next = (struct merge_cell){.epoch = next.epoch + 1};
    if (limit_is_wall(limit)) {
        next.value = at_most_max(saturate_add(next.value, delta->charge));
        return next;
    }
    const uint64_t most = at_most_max(saturate_add(now_us, delta->cap_us));
    const uint64_t first = shifted(now_us, delta->ahead_us);
    if (next.value > most)
        next = (struct merge_cell){.epoch = next.epoch + 1, .value = most};
    if (delta->charge == 0 && delta->ahead_us <= 0)
        return next; /* only read: a bucket at rest keeps its old tat */
    if (next.value < first)
        next.value = first;
    next.value = saturate_add(next.value, delta->charge);
    if (next.value > most)
        next.value = most;
    return next;
}

enum merge_batch merge_admit(uint64_t last, uint64_t sequence)
{
    if (last == 0)
        return MERGE_NEW;
    if (sequence <= last)
        return MERGE_REPEAT;
    return sequence == last + 1 ? MERGE_NEXT : MERGE_GAP;
}
