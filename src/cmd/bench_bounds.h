/* What the exact model allows a server to answer, when the instant of its decision is known only to
 * lie between two others.
 *
 * A subject's checks are known in their order (it is never in flight twice), and each was decided
 * at an instant t in [sent, received]. From that follows an interval for the subject's state, and
 * from the interval whether ALLOW, DENY and a number of remaining units are possible. A check
 * without an answer may have been charged or not, now or later: it widens the upper end for good.
 *
 * Two families: gcra_bounds for the buckets (bench_bounds_gcra.c), window_bounds for the windows
 * (bench_bounds_window.c). Pure; any thread. */
#ifndef METE_CMD_BENCH_BOUNDS_H
#define METE_CMD_BENCH_BOUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/limit.h"

/* One answered check. Instants in ns of one clock; for windows, of the server's wall clock. */
struct bounds_check {
    uint64_t early_ns; /* the decision was not before */
    uint64_t late_ns;  /* nor after */
    uint32_t cost;
    bool allowed;
};

struct bounds {
    bool may_allow;
    bool may_deny;
    uint32_t remaining_low; /* after the decision that was made */
    uint32_t remaining_high;
};

/* GCRA: the tat lies in [low, max(high, now) + lost * T], in ticks; at rest both are 0. */
struct gcra_bounds {
    uint64_t low;
    uint64_t high;
    uint64_t lost; /* units of checks without an answer */
};

/* Counts of the latest window that a check may have been in and of the two before it. */
struct window_bounds {
    uint64_t index;
    uint64_t lost;
    uint32_t low[3]; /* [0]: of index, [1]: of index - 1, [2]: of index - 2 */
    uint32_t high[3];
};

/* What was possible for this check; then moves the bounds on by what was decided. */
struct bounds gcra_bounds_pass(const struct limit *limit, struct gcra_bounds *state,
                               const struct bounds_check *check);
struct bounds window_bounds_pass(const struct limit *limit, struct window_bounds *state,
                                 const struct bounds_check *check);

/* Admitted units of one subject, bounded from both sides by the instants alone, whatever was
 * answered:
 *
 *   above   for every k <= i: A(i) <= A(k-1) + burst + (late(i) - early(k)) / T
 *   below   check i can be denied only if for some k <= i:
 *           A(i) > A(k-1) + burst - cost + (early(i) - late(k)) / T
 *
 * which is what a bucket that is at rest before its first check means. Each side keeps its minimum
 * over k as one number, so a check costs O(1). For buckets only; all checks have one cost. */
struct total_bounds {
    uint64_t least;
    uint64_t most;
    __int128 least_line; /* min over k of least(k-1) * T - late(k), ticks */
    __int128 most_line;  /* min over k of most(k-1) * T - early(k) */
    bool begun;
};

void total_bounds_pass(const struct limit *limit, struct total_bounds *totals,
                       const struct bounds_check *check);

#endif
