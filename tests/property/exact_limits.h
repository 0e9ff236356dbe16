/* What a limit is, once more: model_limits.py in C, for a thousand million operations in minutes.
 *
 * The same facts and questions as there, in 128 bits, which nothing here fills: the longest product
 * is units times nanoseconds, 96 bits. It shares no line with src/core. prop_core.py holds it
 * against the Python model on the same records, right ones and spoiled ones.
 *
 * Pure functions; any thread. */
#ifndef METE_TESTS_PROPERTY_EXACT_LIMITS_H
#define METE_TESTS_PROPERTY_EXACT_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/limit.h"

typedef __int128 wide;

/* An operation and what came of it. Little endian, no padding; model_limits.py unpacks it as
 * RECORD. Of a calendar, interval is the period and tolerance the zone's offset in seconds. */
struct record {
    uint64_t interval, tolerance, state, now_ns, next_state, retry_after_ns, reset_after_ns;
    uint64_t rest_after_ns, wrap_ns;
    uint32_t burst, cost, granted, remaining;
    uint8_t algorithm, keeps_tat, operation, decision;
    uint32_t zero;
};
_Static_assert(sizeof(struct record) == 96, "96 bytes each");

#define EXACT_WORD ((wide)1 << 64)
#define EXACT_NO_END 0xffffffffu /* the last second that a calendar's state can name: never */
#define EXACT_TAKEN 3u           /* windows that can matter at once */

struct exact {
    wide burst, interval, state;
    uint8_t algorithm;
    /* a bucket: */
    wide tolerance;
    bool keeps_tat;
    /* a window: what was taken in which, and the first instant of the newest one seen */
    struct {
        wide index, count;
    } taken[EXACT_TAKEN];
    wide begin_ns, view;
    /* a calendar: */
    wide offset_s, end_s, units;
};

struct exact_outcome {
    wide state, remaining, reset_after_ns;
};

static inline wide exact_max(wide a, wide b)
{
    return a > b ? a : b;
}

static inline wide exact_min(wide a, wide b)
{
    return a < b ? a : b;
}

static inline wide exact_floor(wide a, wide b) /* b above 0 */
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

static inline bool exact_is_bucket(const struct exact *exact)
{
    return exact->algorithm <= ALGORITHM_LEAKY_QUEUE;
}

/* ---- a bucket: a debt in ticks that melts with time ---- */

static inline wide exact_ticks(wide now_ns) /* the clock stands at the end of its range */
{
    return exact_min(now_ns * 16, EXACT_WORD - 1);
}

static inline wide exact_debt(const struct exact *exact, wide now_ns)
{
    return exact_max(exact->state - exact_ticks(now_ns), 0);
}

static inline wide exact_believed_debt(const struct exact *exact, wide now_ns)
{
    const wide debt = exact_debt(exact, now_ns);

    return exact->keeps_tat ? debt : exact_min(debt, exact->tolerance);
}

static inline wide exact_left(const struct exact *exact, wide debt)
{
    return exact_max(exact->tolerance - debt, 0) / exact->interval;
}

static inline struct exact_outcome exact_owe(const struct exact *exact, wide debt, wide now_ns)
{
    return (struct exact_outcome){
        .state = debt ? exact_min(exact_ticks(now_ns) + debt, EXACT_WORD - 1) : 0,
        .remaining = exact_left(exact, debt),
        .reset_after_ns = (debt + 15) / 16,
    };
}

/* ---- a window: units by the number of the window they were taken in ---- */

static inline wide *exact_taken(struct exact *exact, wide index)
{
    for (unsigned i = 0; i < EXACT_TAKEN; i++)
        if (exact->taken[i].index == index)
            return &exact->taken[i].count;
    for (unsigned i = 0;; i++) /* there is room: at most three are ever asked for */
        if (!exact->taken[i].count) {
            exact->taken[i].index = index;
            return &exact->taken[i].count;
        }
}

static inline wide exact_taken_in(const struct exact *exact, wide index)
{
    for (unsigned i = 0; i < EXACT_TAKEN; i++)
        if (exact->taken[i].index == index)
            return exact->taken[i].count;
    return 0;
}

/* A stored number means the window nearest to now, of two the earlier. */
static inline void exact_read_window(struct exact *exact, const struct record *record)
{
    const bool slides = exact->algorithm == ALGORITHM_SLIDING_WINDOW;
    const wide size = (wide)1 << (slides ? 16 : 32);
    const wide stored = (wide)(slides ? record->state >> 48 : record->state >> 32);
    const wide counts[2] = {slides ? record->state & 0xffffff : record->state & 0xffffffff,
                            slides ? record->state >> 24 & 0xffffff : 0};
    const wide now_index = (wide)record->now_ns / exact->interval;
    wide distance = (stored - now_index) % size;

    distance += distance < 0 ? size : 0;
    distance -= distance >= size / 2 ? size : 0;
    for (unsigned i = 0; i < EXACT_TAKEN; i++)
        exact->taken[i].index = INT64_MIN; /* nobody's */
    for (unsigned i = 0; i < 2; i++)
        if (counts[i]) {
            *exact_taken(exact, now_index + distance - i) = exact_min(counts[i], exact->burst);
            exact->begin_ns = (now_index + distance) * exact->interval;
        }
    exact->view = slides ? 2 : 1;
}

static inline wide exact_window(const struct exact *exact, wide now_ns)
{
    return exact_floor(exact_max(now_ns, exact->begin_ns), exact->interval);
}

/* Units times nanoseconds. */
static inline wide exact_used(const struct exact *exact, wide now_ns)
{
    const wide index = exact_window(exact, now_ns);
    const wide elapsed = exact_max(now_ns, exact->begin_ns) - index * exact->interval;
    const wide used = exact_taken_in(exact, index) * exact->interval;

    return exact->view == 1 ? used
                            : used + exact_taken_in(exact, index - 1) * (exact->interval - elapsed);
}

static inline wide exact_window_rest(const struct exact *exact, wide now_ns)
{
    wide end = 0;

    for (unsigned i = 0; i < EXACT_TAKEN; i++)
        if (exact->taken[i].count)
            end = exact_max(end, (exact->taken[i].index + exact->view) * exact->interval);
    return exact_max(end - now_ns, 0);
}

static inline wide exact_pack_window(const struct exact *exact, wide index)
{
    const wide now = exact_taken_in(exact, index), before = exact_taken_in(exact, index - 1);

    if (exact->view == 1)
        return now ? ((index & 0xffffffff) << 32) + now : 0;
    return now || before ? ((index & 0xffff) << 48) + (before << 24) + now : 0;
}

/* ---- a calendar: units taken until an instant ---- */

static inline bool exact_is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* The first day, from 1970, of the month or year after the one that this day is in. */
static inline int64_t exact_next_first(int64_t day, bool of_year)
{
    static const int64_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t first = 0, year = 1970;

    while (day < first)
        first -= 365 + exact_is_leap(--year);
    for (;; year++) {
        const int64_t next = first + 365 + exact_is_leap(year);

        if (next > day && of_year)
            return next;
        for (unsigned month = 0; next > day; month++) {
            first += lengths[month] + (month == 1 && exact_is_leap(year));
            if (first > day)
                return first;
        }
        first = next;
    }
}

static inline wide exact_period_end(const struct exact *exact, wide at_s)
{
    const int64_t day = (int64_t)exact_floor(at_s + exact->offset_s, 86400);
    const int64_t from_monday = (int64_t)(day + 3 - exact_floor(day + 3, 7) * 7);
    const int64_t next[] = {day + 1, day + 7 - from_monday, 0, 0};
    const unsigned per = (unsigned)exact->interval;
    const int64_t following = per < 2 ? next[per] : exact_next_first(day, per == 3);

    return exact_min((wide)following * 86400 - exact->offset_s, EXACT_NO_END);
}

static inline wide exact_end_ns(const struct exact *exact)
{
    return exact->end_s == EXACT_NO_END ? EXACT_WORD << 8 : exact->end_s * 1000000000;
}

static inline void exact_read_calendar(struct exact *exact, const struct record *record)
{
    exact->offset_s = (int64_t)record->tolerance;
    exact->end_s = record->state >> 32;
    exact->units = exact_min(record->state & 0xffffffff, exact->burst);
    if (!exact->units || exact_end_ns(exact) <= record->now_ns) {
        exact->end_s = exact_period_end(exact, record->now_ns / 1000000000);
        exact->units = 0;
    }
}

static inline struct exact_outcome exact_date(const struct exact *exact, wide units, wide now_ns)
{
    if (units <= 0)
        return (struct exact_outcome){0, exact->burst, 0};
    return (struct exact_outcome){(exact->end_s << 32) + units, exact->burst - units,
                                  exact_min(exact_end_ns(exact) - now_ns, NEVER)};
}

/* ---- what all of them answer ---- */

static inline struct exact exact_read(const struct record *record)
{
    struct exact exact = {
        .burst = record->burst,
        .interval = (wide)record->interval,
        .tolerance = (wide)record->tolerance,
        .state = (wide)record->state,
        .algorithm = record->algorithm,
        .keeps_tat = record->keeps_tat,
    };

    if (exact.algorithm == ALGORITHM_CALENDAR)
        exact_read_calendar(&exact, record);
    else if (!exact_is_bucket(&exact))
        exact_read_window(&exact, record);
    return exact;
}

static inline bool exact_passes(const struct exact *exact, wide cost, wide now_ns)
{
    if (exact_is_bucket(exact))
        return exact_believed_debt(exact, now_ns) + cost * exact->interval <= exact->tolerance;
    if (exact->algorithm == ALGORITHM_CALENDAR)
        return (now_ns < exact_end_ns(exact) ? exact->units : 0) + cost <= exact->burst;
    return exact_used(exact, now_ns) + cost * exact->interval <= exact->burst * exact->interval;
}

static inline bool exact_is_at_rest(const struct exact *exact, wide now_ns)
{
    if (exact_is_bucket(exact))
        return exact_debt(exact, now_ns) == 0;
    if (exact->algorithm == ALGORITHM_CALENDAR)
        return !exact->units || now_ns >= exact_end_ns(exact);
    return exact_used(exact, now_ns) == 0;
}

static inline wide exact_remaining(const struct exact *exact, wide now_ns)
{
    if (exact_is_bucket(exact))
        return exact_left(exact, exact_debt(exact, now_ns));
    if (exact->algorithm == ALGORITHM_CALENDAR)
        return exact->burst - (now_ns < exact_end_ns(exact) ? exact->units : 0);
    return exact_max(exact->burst * exact->interval - exact_used(exact, now_ns), 0) /
           exact->interval;
}

static inline wide exact_wrap(const struct exact *exact)
{
    if (exact->algorithm == ALGORITHM_FIXED_WINDOW)
        return exact_min(exact->interval << 31, NEVER);
    if (exact->algorithm == ALGORITHM_SLIDING_WINDOW)
        return exact_min(exact->interval << 15, NEVER);
    return NEVER;
}

/* With so much more taken; less, if it is negative. */
static inline struct exact_outcome exact_change(struct exact exact, wide cost, wide now_ns)
{
    if (exact_is_bucket(&exact))
        return exact_owe(&exact,
                         exact_max(exact_believed_debt(&exact, now_ns) + cost * exact.interval, 0),
                         now_ns);
    if (exact.algorithm == ALGORITHM_CALENDAR)
        return exact_date(&exact, exact.units + cost, now_ns);
    const wide index = exact_window(&exact, now_ns);

    if (cost > 0)
        *exact_taken(&exact, index) += cost;
    for (wide i = index; cost < 0 && i > index - exact.view; i--) {
        const wide back = exact_min(exact_taken_in(&exact, i), -cost);

        if (back)
            *exact_taken(&exact, i) -= back;
        cost += back;
    }
    return (struct exact_outcome){exact_pack_window(&exact, index), exact_remaining(&exact, now_ns),
                                  exact_window_rest(&exact, now_ns)};
}

/* ---- the judgement ---- */

static inline bool exact_is_first_passing(const struct exact *exact, wide cost, wide after_ns,
                                          wide now_ns)
{
    if (after_ns == NEVER) /* beyond 64 bits */
        return !exact_passes(exact, cost, now_ns + NEVER - 1);
    return exact_passes(exact, cost, now_ns + after_ns) &&
           (!after_ns || !exact_passes(exact, cost, now_ns + after_ns - 1));
}

static inline bool exact_is_first_at_rest(const struct exact *exact, wide after_ns, wide now_ns)
{
    if (after_ns == NEVER)
        return !exact_is_at_rest(exact, now_ns + NEVER - 1);
    return exact_is_at_rest(exact, now_ns + after_ns) &&
           (!after_ns || !exact_is_at_rest(exact, now_ns + after_ns - 1));
}

static inline const char *exact_hold(const struct record *record, bool allowed, wide granted,
                                     wide retry_after_ns, struct exact_outcome outcome)
{
    if (record->decision != allowed)
        return "decision";
    if (record->granted != granted)
        return "granted";
    if (record->retry_after_ns != retry_after_ns)
        return "retry_after_ns";
    if (record->next_state != outcome.state)
        return "next_state";
    if (record->remaining != outcome.remaining)
        return "remaining";
    if (record->reset_after_ns != exact_min(outcome.reset_after_ns, NEVER))
        return "reset_after_ns";
    return NULL;
}

static inline const char *exact_judge_charge(const struct record *record, const struct exact *exact,
                                             struct exact_outcome unchanged)
{
    const wide now_ns = record->now_ns;
    wide cost = record->cost;

    if (record->operation == OPERATION_AT_MOST && cost > 0)
        cost = exact_max(exact_min(cost, unchanged.remaining), 1);
    if (!exact_passes(exact, cost, now_ns)) {
        if (cost > exact->burst)
            return exact_hold(record, false, 0, NEVER, unchanged);
        if (!exact_is_first_passing(exact, cost, record->retry_after_ns, now_ns))
            return "retry_after_ns";
        return exact_hold(record, false, 0, record->retry_after_ns, unchanged);
    }
    const wide delay =
        exact->algorithm == ALGORITHM_LEAKY_QUEUE ? (exact_debt(exact, now_ns) + 15) / 16 : 0;

    if (record->operation == OPERATION_PEEK || cost == 0)
        return exact_hold(record, true, 0, delay, unchanged);
    return exact_hold(record, true, cost, delay, exact_change(*exact, cost, now_ns));
}

/* NULL if the step is right, else the name of what is wrong. */
static inline const char *exact_judge(const struct record *record)
{
    const struct exact exact = exact_read(record);
    const wide now_ns = record->now_ns;

    if (record->wrap_ns != exact_wrap(&exact))
        return "wrap_ns";
    if (!exact_is_first_at_rest(&exact, record->rest_after_ns, now_ns))
        return "rest_after_ns";
    if (record->operation == OPERATION_RESET)
        return exact_hold(record, true, 0, 0, (struct exact_outcome){0, exact.burst, 0});
    const struct exact_outcome unchanged = {(wide)record->state, exact_remaining(&exact, now_ns),
                                            (wide)record->rest_after_ns};

    if (record->operation == OPERATION_REFUND)
        return exact_hold(record, true, 0, 0,
                          record->cost ? exact_change(exact, -(wide)record->cost, now_ns)
                                       : unchanged);
    return exact_judge_charge(record, &exact, unchanged);
}

#endif
