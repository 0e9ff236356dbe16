/* How shared keys are charged.
 *
 * A charge is one compare-and-swap: the view of the key, by this node's share (core/share.c), and
 * the true units in the entry's pending, from which the replication thread takes them
 * (table/shared.h). Whoever makes an entry dirty pushes it, and so does who finds that much is
 * pending in it; any other charge of one that is dirty costs little more than a local one. A denied
 * check writes nothing but a cell of this thread's demand.
 *
 * What no entry can hold is told by itself (shared_tell): units that do not fit pending, pending of
 * a window that has passed, of an entry that was evicted or reset, what is given back to a key that
 * nothing is known of. If the ring has no room, pending of a passed window is kept, as if it were
 * of the present one, which is on the strict side; of the rest the units are counted as lost.
 *
 * The others take what nobody tells them is taken. So while the replication thread is not
 * scheduled, which shows by its looks (shared_state.h), views are charged by less and less of the
 * share: what this node does not admit then the others do. Without that 20 ms were worth 20 ms of
 * its share.
 *
 * Without the store (is_degraded) a rule goes on by its share, allows the whole limit, or denies;
 * the answer says so. What is charged meanwhile is pending as ever. */
#include "engine/shared.h"

#include "core/grant.h"
#include "core/share.h"
#include "engine/answer.h"
#include "replica/shared_state.h"
#include "table/shared.h"

#define CAUTION_STEP 8u /* half the share */
#define CAUTION_STEPS 4u
#define CAUTION_STEP_NS 3000000u
#define PENDING_MUCH (TABLE_PENDING_MAX / 2) /* it is to be drained while more fits */

/* The ring is looked at every millisecond while keys are charged. */
static uint8_t caution_at(struct engine_shared *shared, uint64_t now_ns)
{
    const uint32_t looks = shared_state_looks(shared->state);

    if (looks != shared->looks_seen || !shared->has_charged) {
        shared->looks_seen = looks;
        shared->has_charged = false;
        shared->marked_ns = now_ns;
        return 0;
    }
    const uint64_t missed = (now_ns - shared->marked_ns) / CAUTION_STEP_NS;
    return (uint8_t)(CAUTION_STEP * (missed < CAUTION_STEPS ? missed : CAUTION_STEPS));
}

void shared_begin(struct engine_shared *shared, const struct instant *now)
{
    ring_look(shared->ring);
    shared->caution = caution_at(shared, now->now_ns);
    shared->is_degraded = shared_state_is_degraded(shared->state);
    shared->first_share = shared_state_first_share(shared->state);
    shared->now_ns = now->now_ns;
}

void shared_end(struct engine_shared *shared)
{
    ring_publish(shared->ring);
}

uint64_t shared_real_ns(const struct engine_shared *shared, uint64_t now_ns, uint64_t host_ns)
{
    return shared ? shared_state_real_ns(shared->state, now_ns, host_ns) : host_ns;
}

static void push(struct engine *engine, const struct ring_event *event)
{
    const uint64_t units = (uint64_t)(event->units < 0 ? -event->units : event->units);

    if (!ring_push(engine->shared->ring, event))
        counter_add(&engine->counters->cell[COUNTER_REPLICA_LOST], units);
}

void shared_tell(struct engine *engine, const struct table_probe *probe, uint64_t window,
                 int64_t units)
{
    push(engine, &(struct ring_event){
                     .kind = RING_AMOUNT,
                     .owner = probe->owner,
                     .first_ns = engine->shared->now_ns,
                     .key = probe->key,
                     .window = window,
                     .units = units,
                 });
}

void shared_tell_reset(struct engine *engine, const struct check *check, const struct instant *now)
{
    push(engine, &(struct ring_event){
                     .kind = RING_RESET,
                     .owner = check->probe.owner,
                     .first_ns = engine->shared->now_ns,
                     .key = check->probe.key,
                     .window = share_window_at(check->limit, now->wall_ns),
                 });
}

static void on_spill(void *context, const struct table_spilled *spilled)
{
    const struct table_probe probe = {.key = spilled->key, .owner = spilled->owner};

    shared_tell(context, &probe, spilled->window, spilled->units);
}

void engine_share(struct engine *engine, struct engine_shared *shared)
{
    engine->shared = shared;
    engine->taker.on_spill = shared ? on_spill : NULL;
    engine->taker.context = engine;
}

/* A share with the caution of the batch: its square at the least, so that who has nearly all is not
 * held up by a thread that matters to nobody else. */
static unsigned careful(const struct engine_shared *shared, unsigned share)
{
    const unsigned by = share + (share < shared->caution ? share : shared->caution);

    return by < SHARE_MAX ? by : SHARE_MAX;
}

static bool is_taking(enum operation operation)
{
    return operation == OPERATION_CHECK || operation == OPERATION_AT_MOST;
}

/* The share that a view is charged by. */
static unsigned share_by(const struct engine_shared *shared, bool is_lost,
                         const struct limit *limit, uint8_t share, enum operation operation)
{
    if (is_lost && limit->on_loss == LOSS_FULL)
        return 0;
    return is_taking(operation) ? careful(shared, share) : share;
}

/* Is it worth telling that a bucket's `pending` became `next`, although the entry is dirty? Once as
 * it grows: what is told of is drained, or more than that is no news. */
static bool is_news(const struct limit *limit, int32_t pending, int32_t next, unsigned share)
{
    if (limit_is_wall(limit) || pending < 0 || next <= pending)
        return false;
    if (pending < PENDING_MUCH && next >= PENDING_MUCH)
        return true;
    return share_is_much(limit, (uint32_t)next, share) &&
           !share_is_much(limit, (uint32_t)pending, share);
}

/* Is the store not heard of, or did it not answer who waited for it? */
static bool has_lost_store(const struct engine_shared *shared, const struct limit *limit)
{
    return shared->is_degraded || (shared->has_waited && limit->sync == SYNC_EXACT);
}

/* ---- the short way ---- */

bool shared_charge(struct engine *engine, const struct check *check, const struct instant *now,
                   uint64_t now_ticks, struct answer *answer)
{
    struct engine_shared *shared = engine->shared;
    const struct limit *limit = check->limit;

    if ((shared->is_degraded && limit->on_loss != LOSS_SHARE) || check->cost > TABLE_PENDING_MAX)
        return false;
    const uint8_t flags = shared->is_degraded ? METE_VERDICT_DEGRADED : 0;
    for (;;) {
        struct table_ref ref;
        enum table_result found =
            table_find_or_claim_by(engine->table, &check->probe, &engine->taker, now, &ref);
        bool is_new = found == TABLE_CLAIMED;

        if (found == TABLE_FULL)
            return false;
        uint8_t share = is_new ? shared->first_share : table_share(&ref);

        if (!is_new && (share == TABLE_SHARE_GRANT || !table_pending_fits(&ref, check->cost)))
            return false;
        struct step step =
            share_charge(limit, ref.state, check->cost, careful(shared, share), now_ticks);

        if (step.verdict.decision == DECISION_DENY) {
            if (is_new)
                table_withdraw(engine->table, &ref);
            else
                demand_add(shared->demand, table_index(engine->table, &ref), check->cost);
            check_fill(check, &step.verdict, answer);
            answer->flags |= flags;
            return true;
        }
        const int32_t pending = is_new ? 0 : table_pending(&ref);
        const bool is_much = is_news(limit, pending, pending + (int32_t)check->cost, share);
        const bool is_clean = is_new || !table_is_dirty(&ref);
        const bool has_room = (is_clean || is_much) && ring_has_room(shared->ring);
        struct table_charge charge = {
            .state = step.state,
            .units = (int32_t)check->cost,
            .share = share,
            .marks_dirty = has_room,
        };

        if (table_swap_charged(engine->table, &ref, &charge)) {
            shared->has_charged = true;
            if (has_room)
                ring_push_dirty(shared->ring, table_index(engine->table, &ref), now->now_ns,
                                (is_new ? RING_NEW : 0) | (is_much ? RING_MUCH : 0));
            else if (is_clean)
                ring_refuse(shared->ring);
            *answer = (struct answer){
                .flags = METE_VERDICT_ALLOW | flags,
                .granted = step.verdict.granted,
                .remaining = step.verdict.remaining,
                .reset_after_ns = step.verdict.reset_after_ns,
            };
            return true;
        }
        counter_add(&engine->counters->cell[COUNTER_SWAP_RETRIES], 1);
    }
}

/* ---- the long way ---- */

static uint64_t clock_of(const struct limit *limit, const struct instant *now)
{
    return limit_is_wall(limit) ? now->wall_ns : now->now_ns;
}

/* One try at an operation. */
struct attempt {
    struct table_ref ref;
    enum table_result found;
    bool is_known; /* the entry holds a state of the algorithm */
    uint64_t state;
    uint8_t share;
    struct step step;
    int64_t units; /* to be told: admitted, or given back */
};

static bool begin(struct engine *engine, const struct check *check, bool charges,
                  const struct instant *now, struct attempt *attempt)
{
    *attempt = (struct attempt){.share = engine->shared->first_share};
    attempt->found = charges ? table_find_or_claim_by(engine->table, &check->probe, &engine->taker,
                                                      now, &attempt->ref)
                             : table_find(engine->table, &check->probe, &attempt->ref);
    if (attempt->found == TABLE_FULL)
        return false;
    if (attempt->found == TABLE_FOUND && table_share(&attempt->ref) != TABLE_SHARE_GRANT) {
        attempt->is_known = true;
        attempt->state = attempt->ref.state;
        attempt->share = table_share(&attempt->ref);
    }
    return true;
}

/* The window that a charge or refund goes to: as the next state names it, else the state before if
 * it is ahead of the clock, else now's. */
static uint64_t window_of(const struct limit *limit, const struct attempt *attempt, uint64_t now_ns)
{
    const uint64_t here = share_window_at(limit, now_ns);

    if (!limit_is_wall(limit))
        return 0;
    if (attempt->step.state != 0)
        return share_window(limit, attempt->step.state);
    const uint64_t before = share_window(limit, attempt->state);

    return attempt->state != 0 && share_is_later(limit, before, here) ? before : here;
}

/* What is told besides the swap, once it succeeded. */
struct tale {
    int64_t passed; /* of window_before */
    uint64_t window_before;
    int64_t apart; /* of window: does not fit pending */
    uint64_t window;
};

static void tell(struct engine *engine, const struct check *check, const struct tale *tale)
{
    if (tale->passed != 0)
        shared_tell(engine, &check->probe, tale->window_before, tale->passed);
    if (tale->apart != 0)
        shared_tell(engine, &check->probe, tale->window, tale->apart);
}

/* Puts a charge or a refund in place. False: somebody was faster. */
static bool put(struct engine *engine, const struct check *check, const struct attempt *attempt,
                const struct instant *now)
{
    const struct limit *limit = check->limit;
    const uint64_t now_ns = clock_of(limit, now);
    struct ring *ring = engine->shared->ring;
    const bool is_found = attempt->found == TABLE_FOUND;
    const int32_t pending = is_found ? table_pending(&attempt->ref) : 0;
    struct tale tale = {.window = window_of(limit, attempt, now_ns)};
    struct table_charge charge = {.state = attempt->step.state, .share = attempt->share};

    if (is_found && !attempt->is_known) { /* a grant: what is left of it goes back */
        const uint64_t here = share_window_at(limit, now_ns);
        tale.window_before = here;
        tale.passed = -(int64_t)grant_units_of(limit, attempt->ref.state, here);
    } else if (pending != 0 && limit_is_wall(limit)) {
        tale.window_before = share_window(limit, attempt->state);
        charge.drops_pending = tale.window_before != tale.window && ring_has_long_room(ring, 2);
        tale.passed = charge.drops_pending ? pending : 0;
    }
    const int64_t kept = charge.drops_pending ? 0 : pending;
    const bool fits =
        kept + attempt->units <= TABLE_PENDING_MAX && kept + attempt->units >= -TABLE_PENDING_MAX;
    charge.units = fits ? (int32_t)attempt->units : 0;
    tale.apart = fits ? 0 : attempt->units;
    if (charge.state == 0 && kept + charge.units != 0)
        charge.state = share_empty_window(limit, tale.window);
    const bool is_clean = kept + charge.units != 0 && !(is_found && table_is_dirty(&attempt->ref));
    const bool is_much =
        is_news(limit, (int32_t)kept, (int32_t)(kept + charge.units), attempt->share);
    charge.marks_dirty = (is_clean || is_much) && ring_has_room(ring);
    if (!table_swap_charged(engine->table, &attempt->ref, &charge))
        return false;
    engine->shared->has_charged = true;
    if (charge.marks_dirty)
        ring_push_dirty(ring, table_index(engine->table, &attempt->ref), now->now_ns,
                        (attempt->is_known ? 0 : RING_NEW) | (is_much ? RING_MUCH : 0));
    else if (is_clean)
        ring_refuse(ring);
    tell(engine, check, &tale);
    return true;
}

/* Forgets the key here and everywhere: first what was pending is told, then that it is void. */
static bool reset(struct engine *engine, const struct check *check, const struct attempt *attempt,
                  const struct instant *now)
{
    if (attempt->found == TABLE_FOUND) {
        const uint64_t here = share_window_at(check->limit, clock_of(check->limit, now));
        const int32_t pending = table_pending(&attempt->ref);
        const uint32_t granted =
            attempt->is_known ? 0 : grant_units_of(check->limit, attempt->ref.state, here);

        if (!table_swap_forget(engine->table, &attempt->ref))
            return false;
        if (pending != 0)
            shared_tell(engine, &check->probe,
                        attempt->is_known ? share_window(check->limit, attempt->state) : here,
                        pending);
        if (granted != 0)
            shared_tell(engine, &check->probe, here, -(int64_t)granted);
    }
    shared_tell_reset(engine, check, now);
    return true;
}

/* Puts what the operation came to in place, if anything. False: somebody was faster. */
static bool finish(struct engine *engine, const struct check *check, enum operation operation,
                   struct attempt *attempt, const struct instant *now)
{
    if (operation == OPERATION_RESET)
        return reset(engine, check, attempt, now);
    if (attempt->units == 0) {
        if (attempt->found == TABLE_CLAIMED)
            table_withdraw(engine->table, &attempt->ref);
        return true;
    }
    if (attempt->found == TABLE_ABSENT) { /* given back to a key that another node may know */
        shared_tell(engine, &check->probe,
                    share_window_at(check->limit, clock_of(check->limit, now)), attempt->units);
        return true;
    }
    return put(engine, check, attempt, now);
}

/* Is nothing to pass without the store? Then only what gives back goes on. */
static bool deny_without_store(const struct check *check, enum operation operation,
                               struct answer *answer)
{
    const struct verdict verdict = {.decision = DECISION_DENY,
                                    .retry_after_ns = SHARED_LOSS_RETRY_NS};

    if (check->limit->on_loss != LOSS_DENY || check->cost == 0 ||
        (!is_taking(operation) && operation != OPERATION_PEEK))
        return false;
    check_fill(check, &verdict, answer);
    return true;
}

static bool apply_by_share(struct engine *engine, const struct check *check,
                           enum operation operation, const struct instant *now,
                           struct answer *answer)
{
    const struct limit *limit = check->limit;
    const bool charges = check_may_charge(check, operation);

    for (;;) {
        struct attempt attempt;

        if (!begin(engine, check, charges, now, &attempt))
            return false;
        const unsigned by = share_by(engine->shared, has_lost_store(engine->shared, limit), limit,
                                     attempt.share, operation);
        attempt.step =
            share_apply(limit, attempt.state, operation, check->cost, by, clock_of(limit, now));
        attempt.units =
            operation == OPERATION_REFUND ? -(int64_t)check->cost : attempt.step.verdict.granted;
        if (finish(engine, check, operation, &attempt, now)) {
            if (is_taking(operation) && attempt.units == 0 && attempt.found == TABLE_FOUND)
                demand_add(engine->shared->demand, table_index(engine->table, &attempt.ref),
                           check->cost);
            check_fill(check, &attempt.step.verdict, answer);
            return true;
        }
        counter_add(&engine->counters->cell[COUNTER_SWAP_RETRIES], 1);
    }
}

bool shared_apply(struct engine *engine, const struct check *check, enum operation operation,
                  const struct instant *now, struct answer *answer)
{
    const struct limit *limit = check->limit;
    const bool lost = has_lost_store(engine->shared, limit);
    const bool is_granted = limit->sync == SYNC_EXACT && operation != OPERATION_RESET &&
                            (!lost || limit->on_loss == LOSS_DENY);
    bool done = true;

    if (is_granted)
        done = exact_apply(engine, check, operation, now, answer);
    else if (!lost || !deny_without_store(check, operation, answer))
        done = apply_by_share(engine, check, operation, now, answer);
    if (lost)
        answer->flags |= METE_VERDICT_DEGRADED;
    return done;
}

uint32_t shared_at_most(struct engine *engine, const struct check *check, const struct instant *now)
{
    const struct limit *limit = check->limit;
    struct attempt attempt;

    begin(engine, check, false, now, &attempt);
    if (attempt.found == TABLE_FOUND && !attempt.is_known)
        return grant_units_of(limit, attempt.ref.state, share_window_at(limit, now->wall_ns));
    return share_at_most(limit, attempt.state, check->cost,
                         share_by(engine->shared, has_lost_store(engine->shared, limit), limit,
                                  attempt.share, OPERATION_AT_MOST),
                         clock_of(limit, now));
}
