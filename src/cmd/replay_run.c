/* One rule over a whole log, in virtual time: the very functions that the daemon decides with, and
 * an account for each subject in place of its table, so nothing is ever evicted.
 *
 * Windows run on the log's wall time. A bucket only knows differences of time, so its clock begins
 * at zero whenever its subject spends from rest: a log of any length fits its range, and the result
 * is that of one clock since the first line. A state whose rest has come is forgotten before it is
 * used, so that the short window index of a state never wraps. A pure function of its arguments. */
#include "cmd/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MS_NS 1000000ull
#define SECOND_NS (1000 * MS_NS)
#define HOUR_NS (3600 * SECOND_NS)

const uint64_t replay_wait_bounds_ns[REPLAY_WAIT_ROWS] = {
    MS_NS,           10 * MS_NS, 100 * MS_NS,  SECOND_NS, 10 * SECOND_NS, 60 * SECOND_NS,
    600 * SECOND_NS, HOUR_NS,    24 * HOUR_NS, NEVER - 1, NEVER,
};

struct account {
    uint64_t state;
    uint64_t base_ns; /* zero of its clock */
    uint64_t rest_at_ns;
    struct replay_hit hit;
};

static void count_wait(struct replay_outcome *outcome, uint64_t wait_ns)
{
    unsigned row = 0;
    while (wait_ns > replay_wait_bounds_ns[row])
        row++;
    outcome->waits[row]++;
}

static void apply(const struct limit *limit, const struct replay_request *request,
                  struct account *account, struct replay_outcome *outcome)
{
    if (request->at_ns >= account->rest_at_ns) {
        account->state = 0;
        account->base_ns = limit_is_wall(limit) ? 0 : request->at_ns;
    }
    const uint64_t now_ns = request->at_ns - account->base_ns;
    const struct step step = limit_apply(limit, account->state, OPERATION_CHECK, 1, now_ns);
    const uint64_t wait_ns = step.verdict.retry_after_ns;
    const bool is_denied = step.verdict.decision == DECISION_DENY;
    const bool is_queue = limit->algorithm == ALGORITHM_LEAKY_QUEUE;

    account->hit.requests++;
    account->hit.denied += is_denied;
    outcome->denied += is_denied;
    outcome->delayed += is_queue && !is_denied && wait_ns > 0;
    if (is_queue ? !is_denied && wait_ns > 0 : is_denied)
        count_wait(outcome, wait_ns);
    if (step.state != account->state) {
        account->state = step.state;
        account->rest_at_ns = request->at_ns + limit_rest_after(limit, step.state, now_ns);
    }
}

static int compare_names(const struct subjects *subjects, uint32_t left, uint32_t right)
{
    size_t left_len, right_len;
    const char *left_name = subjects_name(subjects, left, &left_len);
    const char *right_name = subjects_name(subjects, right, &right_len);
    const int order = memcmp(left_name, right_name, left_len < right_len ? left_len : right_len);
    return order != 0 ? order : (left_len > right_len) - (left_len < right_len);
}

static int compare_hits(const void *left, const void *right, void *context)
{
    const struct replay_hit *a = left, *b = right;
    if (a->denied != b->denied)
        return a->denied > b->denied ? -1 : 1;
    if (a->requests != b->requests)
        return a->requests > b->requests ? -1 : 1;
    return compare_names(context, a->subject, b->subject);
}

/* Those that were denied at all, sorted, cut to top. */
static int find_hardest(const struct replay_log *log, const struct account *accounts, uint32_t top,
                        struct replay_outcome *outcome)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < log->subjects.count; i++)
        count += accounts[i].hit.denied > 0;
    outcome->hardest = calloc((size_t)count + 1, sizeof(*outcome->hardest));
    if (outcome->hardest == NULL)
        return -ENOMEM;
    count = 0;
    for (uint32_t i = 0; i < log->subjects.count; i++) {
        if (accounts[i].hit.denied > 0) {
            outcome->hardest[count] = accounts[i].hit;
            outcome->hardest[count++].subject = i;
        }
    }
    qsort_r(outcome->hardest, count, sizeof(*outcome->hardest), compare_hits,
            (void *)(uintptr_t)&log->subjects);
    outcome->hardest_count = count < top ? count : top;
    return 0;
}

int replay_run(const struct limit *limit, const struct replay_log *log, uint32_t top,
               struct replay_outcome *ret_outcome)
{
    struct replay_outcome outcome = {0};
    struct account *accounts = calloc((size_t)log->subjects.count + 1, sizeof(*accounts));

    if (accounts == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < log->request_count; i++)
        apply(limit, &log->requests[i], &accounts[log->requests[i].subject], &outcome);
    const int result = find_hardest(log, accounts, top, &outcome);
    free(accounts);
    if (result == 0)
        *ret_outcome = outcome;
    return result;
}

void replay_outcome_free(struct replay_outcome *outcome)
{
    free(outcome->hardest);
    *outcome = (struct replay_outcome){0};
}
