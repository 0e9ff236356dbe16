/* How exact keys are spent: only what the store granted in advance (core/grant.c), by a
 * compare-and-swap on the entry that holds the grant. The replication thread makes these entries;
 * here none is ever claimed. Nothing is pending of what is spent: the store charged it before.
 *
 * engine_must_wait() looks at all checks of a datagram as they will be charged, one after the
 * other, and asks for what is missing in one go. Between its answer and the charge another worker
 * may take a unit; then that check is denied for a millisecond. A key of which it is known that the
 * store has no more is denied without waiting. */
#include "core/grant.h"
#include "core/share.h"
#include "engine/answer.h"
#include "engine/shared.h"
#include "replica/shared_state.h"
#include "table/shared.h"

/* The grant of a key as it stands; 0 if nothing is known of it. */
static uint64_t find_grant(struct engine *engine, const struct table_probe *probe,
                           struct table_ref *ret_ref)
{
    bool is_found = table_find(engine->table, probe, ret_ref) == TABLE_FOUND;

    return is_found && table_share(ret_ref) == TABLE_SHARE_GRANT ? ret_ref->state : 0;
}

static void ask(struct engine *engine, const struct check *check, uint32_t units,
                const struct instant *now)
{
    ring_call(engine->shared->ring);
    /* Without room it is not asked now; who waits asks again. */
    ring_push(engine->shared->ring, &(struct ring_event){
                                        .kind = RING_WANT,
                                        .owner = check->probe.owner,
                                        .first_ns = now->now_ns,
                                        .key = check->probe.key,
                                        .window = share_window_at(check->limit, now->wall_ns),
                                        .units = units,
                                    });
}

/* Nothing is in hand, and it is not known whether the store has more. */
static void answer_unknown(struct engine *engine, const struct check *check, uint32_t missing,
                           const struct instant *now, struct answer *answer)
{
    const struct engine_shared *shared = engine->shared;
    const bool is_lost = shared->is_degraded || shared->has_waited;
    const struct verdict verdict = {
        .decision = DECISION_DENY,
        .retry_after_ns = is_lost ? SHARED_LOSS_RETRY_NS : SHARED_ASK_RETRY_NS,
    };

    if (!is_lost)
        ask(engine, check, missing, now);
    check_fill(check, &verdict, answer);
}

/* What is not known is taken for a key at rest: it is only asked. */
static void peek(struct engine *engine, const struct check *check, const struct instant *now,
                 struct answer *answer)
{
    struct table_ref ref;
    const uint64_t state = find_grant(engine, &check->probe, &ref);
    const uint64_t clock_ns = limit_is_wall(check->limit) ? now->wall_ns : now->now_ns;
    struct step step;

    if (grant_spend(check->limit, state, check->cost, now, &step) == GRANT_UNKNOWN)
        step = limit_apply(check->limit, 0, OPERATION_PEEK, check->cost, clock_ns);
    step.verdict.remaining += step.verdict.granted; /* nothing was taken */
    step.verdict.granted = 0;
    check_fill(check, &step.verdict, answer);
}

/* More than the burst is never there. */
static uint32_t most_of(const struct check *check)
{
    return check->cost < check->limit->burst ? check->cost : check->limit->burst;
}

/* Of AT_MOST: what is in hand, but one unit if nothing is. */
static uint32_t cost_of(const struct check *check, enum operation operation, uint32_t units)
{
    if (operation != OPERATION_AT_MOST || check->cost <= units)
        return check->cost;
    return units > 0 ? units : 1;
}

static void spend(struct engine *engine, const struct check *check, enum operation operation,
                  const struct instant *now, struct answer *answer)
{
    const uint64_t window = share_window_at(check->limit, now->wall_ns);

    for (;;) {
        struct table_ref ref;
        const uint64_t state = find_grant(engine, &check->probe, &ref);
        const uint32_t units = grant_units_of(check->limit, state, window);
        const uint32_t cost = cost_of(check, operation, units);
        struct step step;
        const enum grant_result result = grant_spend(check->limit, state, cost, now, &step);

        if (result == GRANT_UNKNOWN) {
            answer_unknown(engine, check, most_of(check) - units, now, answer);
            return;
        }
        const struct table_charge charge = {.state = step.state, .share = TABLE_SHARE_GRANT};

        if (result == GRANT_DENIED &&
            state != 0) /* others may give back: it is read now and then */
            demand_add(engine->shared->demand, table_index(engine->table, &ref), cost);
        if (result == GRANT_DENIED || cost == 0 ||
            table_swap_charged(engine->table, &ref, &charge)) {
            check_fill(check, &step.verdict, answer);
            return;
        }
        counter_add(&engine->counters->cell[COUNTER_SWAP_RETRIES], 1);
    }
}

bool exact_apply(struct engine *engine, const struct check *check, enum operation operation,
                 const struct instant *now, struct answer *answer)
{
    if (operation == OPERATION_CHECK || operation == OPERATION_AT_MOST) {
        spend(engine, check, operation, now, answer);
        return true;
    }
    if (operation == OPERATION_REFUND && check->cost > 0)
        shared_tell(engine, &check->probe, share_window_at(check->limit, now->wall_ns),
                    -(int64_t)check->cost);
    struct check look = *check;

    if (operation != OPERATION_PEEK)
        look.cost = 0;
    peek(engine, &look, now, answer);
    return true;
}

/* ---- before anything is charged ---- */

static bool is_taking(const struct check *check)
{
    return (check->operation == OPERATION_CHECK || check->operation == OPERATION_AT_MOST) &&
           check->cost > 0;
}

static bool is_same_key(const struct check *a, const struct check *b)
{
    return a->rule_id == b->rule_id && a->key.low == b->key.low && a->key.high == b->key.high;
}

/* Units that checks up to the one at `index` take of its key. */
static uint64_t sum_before(const struct check *checks, uint32_t index)
{
    uint64_t units = checks[index].cost;

    for (uint32_t i = 0; i < index; i++)
        if (is_taking(&checks[i]) && is_same_key(&checks[i], &checks[index]))
            units += checks[i].cost;
    return units;
}

/* What to ask for, for the check at index, if nobody knows whether it is there, else 0; *check is
 * prepared. */
static uint32_t missing_of(struct engine *engine, const struct check *checks, uint32_t index,
                           const struct instant *now, struct check *check)
{
    *check = checks[index];
    if (check->has_inline_limit || !is_taking(check))
        return 0;
    engine_prepare(engine, check);
    if (!check->limit || check->limit->sync != SYNC_EXACT ||
        check->limit->algorithm == ALGORITHM_CONCURRENCY ||
        (check->operation == OPERATION_CHECK && check->cost > check->limit->burst))
        return 0;
    struct table_ref ref;
    struct step step;
    const uint64_t state = find_grant(engine, &check->probe, &ref);
    const uint64_t sum = sum_before(checks, index);
    const uint32_t wanted = sum < check->limit->burst ? (uint32_t)sum : check->limit->burst;

    if (grant_spend(check->limit, state, wanted, now, &step) != GRANT_UNKNOWN)
        return 0;
    /* of what is in hand others may take some before the rest comes */
    return most_of(check);
}

bool engine_must_wait(struct engine *engine, const struct check *checks, uint32_t count,
                      const struct instant *now, bool asks, struct engine_wait *ret_wait)
{
    struct check check;
    bool waits = false;

    if (!engine->shared || shared_state_is_degraded(engine->shared->state))
        return false;
    for (uint32_t i = 0; i < count && !(waits && !asks); i++) {
        const uint32_t missing = missing_of(engine, checks, i, now, &check);
        struct table_ref ref;

        if (missing > 0 && !waits)
            *ret_wait = (struct engine_wait){
                .probe = check.probe,
                .seen = find_grant(engine, &check.probe, &ref),
            };
        if (missing > 0 && asks)
            ask(engine, &check, missing, now);
        waits = waits || missing > 0;
    }
    if (waits && asks)
        ring_publish(engine->shared->ring);
    return waits;
}

bool engine_has_news(struct engine *engine, const struct engine_wait *wait)
{
    struct table_ref ref;

    return find_grant(engine, &wait->probe, &ref) != wait->seen;
}
