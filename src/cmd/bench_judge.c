/* The judge of a verified run; bench_judge.h says what it is for. */
#include "cmd/bench_judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/bench_bounds.h"

/* Windows run on the server's wall clock, whose distance to ours was measured at the start. A
 * host's clock may be slewed by up to 500 ppm since; one more millisecond for what the measurement
 * rounds. */
#define WALL_GUARD_NS 1000000u
#define WALL_SLEW_DIVISOR 2000u

struct subject_judge {
    union {
        struct gcra_bounds gcra;
        struct window_bounds window;
    } state;
    struct total_bounds totals;
    uint64_t checks;
    uint64_t lost;
    uint64_t admitted;
};

struct bench_judge {
    struct limit limit;
    uint32_t cost;
    uint32_t subject_count;
    struct bench_server server;
    struct judge_tally tally; /* of all threads and runs */
    struct subject_judge subjects[];
};

struct bench_judge *bench_judge_create(const struct limit *limit, uint32_t cost,
                                       uint32_t subject_count, const struct bench_server *server)
{
    struct bench_judge *judge =
        calloc(1, sizeof(*judge) + (size_t)subject_count * sizeof(judge->subjects[0]));
    if (judge) {
        judge->limit = *limit;
        judge->cost = cost;
        judge->subject_count = subject_count;
        judge->server = *server;
    }
    return judge;
}

void bench_judge_destroy(struct bench_judge *judge)
{
    free(judge);
}

static bool is_bucket(const struct limit *limit)
{
    return limit->algorithm == ALGORITHM_TOKEN_BUCKET ||
           limit->algorithm == ALGORITHM_LEAKY_METER || limit->algorithm == ALGORITHM_LEAKY_QUEUE;
}

/* Wall time is boot time plus what was measured, wider by the guard. */
static void to_wall(const struct bench_server *server, struct bounds_check *check)
{
    const uint64_t guard =
        WALL_GUARD_NS + (check->late_ns - server->wall_at_ns) / WALL_SLEW_DIVISOR;
    check->early_ns += (uint64_t)server->wall_low_ns - guard;
    check->late_ns += (uint64_t)server->wall_high_ns + guard;
}

static struct bounds constant_bounds(const struct limit *limit)
{
    const bool allows = limit->algorithm == ALGORITHM_UNLIMITED;
    return (struct bounds){
        .may_allow = allows,
        .may_deny = !allows,
        .remaining_low = allows ? UINT32_MAX : 0,
        .remaining_high = allows ? UINT32_MAX : 0,
    };
}

static void note_example(struct judge_tally *tally, const struct subject_judge *is,
                         uint32_t subject, const struct judge_answer *answer,
                         const struct bounds *bounds)
{
    if (tally->example[0])
        return;
    snprintf(tally->example, sizeof(tally->example),
             "subject %" PRIu32 ", its check %" PRIu64 ": %s with %" PRIu32 " left after %" PRIu64
             " admitted units; the model says %s, %" PRIu32 " to %" PRIu32
             " left (instant known to %" PRIu64 " us)",
             subject, is->checks + is->lost, answer->allowed ? "allowed" : "denied",
             answer->remaining, is->admitted,
             bounds->may_allow && bounds->may_deny ? "either"
             : bounds->may_allow                   ? "allowed"
                                                   : "denied",
             bounds->remaining_low, bounds->remaining_high,
             (answer->received_ns - answer->sent_ns + 999) / 1000);
}

/* Where the instants alone do not bound the totals, the verdicts that had no choice do. */
static void count_forced(const struct bench_judge *judge, struct total_bounds *totals,
                         const struct bounds *bounds)
{
    if (!bounds->may_deny)
        totals->least += judge->cost;
    if (bounds->may_allow)
        totals->most += judge->cost;
}

static bool is_outside(const struct bounds *bounds, const struct judge_answer *answer)
{
    if (!(answer->allowed ? bounds->may_allow : bounds->may_deny))
        return true;
    return !answer->is_retried && (answer->remaining < bounds->remaining_low ||
                                   answer->remaining > bounds->remaining_high);
}

void bench_judge_pass(struct bench_judge *judge, struct judge_tally *tally, uint32_t subject,
                      const struct judge_answer *answer)
{
    struct subject_judge fresh = {0};
    struct subject_judge *is = judge->subject_count ? &judge->subjects[subject] : &fresh;
    struct bounds_check check = {.early_ns = answer->sent_ns,
                                 .late_ns = answer->received_ns,
                                 .cost = judge->cost,
                                 .allowed = answer->allowed};
    struct bounds bounds;

    if (is_bucket(&judge->limit)) {
        bounds = gcra_bounds_pass(&judge->limit, &is->state.gcra, &check);
        total_bounds_pass(&judge->limit, &is->totals, &check);
    } else if (limit_is_wall(&judge->limit)) {
        to_wall(&judge->server, &check);
        bounds = window_bounds_pass(&judge->limit, &is->state.window, &check);
        count_forced(judge, &is->totals, &bounds);
    } else {
        bounds = constant_bounds(&judge->limit);
        count_forced(judge, &is->totals, &bounds);
    }
    tally->checked++;
    is->checks++;
    if (is_outside(&bounds, answer)) {
        tally->outside++;
        note_example(tally, is, subject, answer, &bounds);
    }
    is->admitted += answer->allowed ? judge->cost : 0;
}

void bench_judge_lost(struct bench_judge *judge, uint32_t subject)
{
    if (judge->subject_count == 0)
        return;
    struct subject_judge *is = &judge->subjects[subject];
    is->lost++;
    if (is_bucket(&judge->limit))
        is->state.gcra.lost += judge->cost;
    else if (limit_is_wall(&judge->limit))
        is->state.window.lost += judge->cost;
}

static void widen(uint64_t slack, uint64_t *min, uint64_t *max)
{
    if (slack < *min)
        *min = slack;
    if (slack > *max)
        *max = slack;
}

void bench_judge_add(struct bench_judge *judge, const struct judge_tally *tally)
{
    judge->tally.checked += tally->checked;
    judge->tally.outside += tally->outside;
    if (!judge->tally.example[0])
        memcpy(judge->tally.example, tally->example, sizeof(tally->example));
}

struct judge_totals bench_judge_totals(const struct bench_judge *judge)
{
    struct judge_totals totals = {
        .checked = judge->tally.checked,
        .outside = judge->tally.outside,
        .subjects = judge->subject_count ? 0 : judge->tally.checked,
        .upper_slack_min = UINT64_MAX,
        .lower_slack_min = UINT64_MAX,
        .example = judge->tally.example[0] ? judge->tally.example : NULL,
    };
    for (uint32_t i = 0; i < judge->subject_count; i++) {
        const struct subject_judge *is = &judge->subjects[i];
        const uint64_t with_lost = is->admitted + is->lost * judge->cost;
        if (is->checks == 0)
            continue;
        totals.subjects++;
        if (is->admitted > totals.admitted_most)
            totals.admitted_most = is->admitted;
        if (is->admitted > is->totals.most || with_lost < is->totals.least) {
            totals.subjects_outside++;
            continue;
        }
        widen(is->totals.most - is->admitted, &totals.upper_slack_min, &totals.upper_slack_max);
        widen(with_lost - is->totals.least, &totals.lower_slack_min, &totals.lower_slack_max);
    }
    if (totals.upper_slack_min == UINT64_MAX)
        totals.upper_slack_min = totals.lower_slack_min = 0;
    return totals;
}
