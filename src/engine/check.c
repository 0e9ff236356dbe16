/* How one check, one all-or-nothing group and one batch are decided. */
#include "core/gcra.h"
#include "engine/answer.h"
#include "engine/engine.h"
#include "engine/lease.h"
#include "engine/shared.h"

/* ---- pass A: whose bucket is it, and where would it stand ---- */

static bool is_meter(const struct limit *limit)
{
    return limit->algorithm == ALGORITHM_TOKEN_BUCKET || limit->algorithm == ALGORITHM_LEAKY_METER;
}

static void prepare_inline(struct engine *engine, struct check *check)
{
    uint32_t index = check->tenant->inline_index;
    check->rule = NULL;
    check->counters = &engine->rule_counters[index];
    /* All inline limits of a tenant share one owner row, so the rule's id goes into the key. */
    check->key.high ^= check->rule_id * 0x9E3779B97F4A7C15ull;
    if (check->limit)
        check->probe = table_probe(engine->table, check->key, index);
}

/* The rule that was looked up last: most checks ask for the one before them. */
struct last_rule {
    const struct tenant *tenant; /* NULL: none yet */
    const struct rule *rule;
    uint32_t id;
};

static const struct rule *find_rule(struct last_rule *last, const struct check *check)
{
    if (last->tenant != check->tenant || last->id != check->rule_id)
        *last = (struct last_rule){
            .tenant = check->tenant,
            .rule = config_find_rule(check->tenant, check->rule_id),
            .id = check->rule_id,
        };
    return last->rule;
}

static inline void prepare(struct engine *engine, struct check *check, struct last_rule *last)
{
    check->is_plain = false;
    check->is_plain_shared = false;
    check->needs_subject = false;
    if (check->has_inline_limit) {
        prepare_inline(engine, check);
        return;
    }
    check->rule = find_rule(last, check);
    if (check->rule && check->rule->overrides) {
        check->rule =
            config_find_override(check->rule, check->key, check->subject, check->subject_len);
        check->needs_subject = !check->rule;
    }
    if (!check->rule) {
        check->limit = NULL;
        return;
    }
    check->limit = &check->rule->limit;
    check->counters = &engine->rule_counters[check->rule->index];
    check->is_plain = check->operation == OPERATION_CHECK && is_meter(check->limit) &&
                      check->cost - 1u < check->limit->burst;
    if (check->limit->sync != SYNC_LOCAL && engine->shared) {
        check->is_plain_shared = check->is_plain && check->limit->sync == SYNC_SHARED;
        check->is_plain = false;
    }
    check->probe = table_probe(engine->table, check->key, check->rule->index);
}

void engine_prepare(struct engine *engine, struct check *check)
{
    struct last_rule last = {.tenant = NULL};
    prepare(engine, check, &last);
}

/* ---- pass B ---- */

static enum mete_status status_of(const struct check *check)
{
    if (check->needs_subject)
        return METE_STATUS_NEED_SUBJECT;
    if (!check->limit)
        return check->has_inline_limit ? METE_STATUS_BAD_LIMIT : METE_STATUS_UNKNOWN_RULE;
    bool is_lease = lease_is_operation(check->operation);
    if (check->limit->algorithm == ALGORITHM_CONCURRENCY) {
        bool asks = check->operation == OPERATION_CHECK || check->operation == OPERATION_AT_MOST;
        bool peeks = check->operation == OPERATION_PEEK || (asks && check->cost == 0);
        return is_lease || peeks ? METE_STATUS_OK : METE_STATUS_UNSUPPORTED;
    }
    if (is_lease)
        return METE_STATUS_UNSUPPORTED;
    if (check_is_at_most(check) && check->limit->algorithm == ALGORITHM_LEAKY_QUEUE)
        return METE_STATUS_UNSUPPORTED; /* one field cannot say both the delay and the grant */
    return METE_STATUS_OK;
}

/* Applies the operation to the entry until the swap succeeds, and answers. False: no room in the
 * table. The step stays a value of this function: copied through a pointer it would be read in
 * wider words than it was written in, and each such read waits. */
static bool apply(struct engine *engine, const struct check *check, enum operation operation,
                  const struct instant *now, struct answer *answer)
{
    const struct limit *limit = check->limit;
    uint64_t now_ns = limit_is_wall(limit) ? now->wall_ns : now->now_ns;
    if (limit->algorithm == ALGORITHM_UNLIMITED || limit->algorithm == ALGORITHM_DENY) {
        struct step step = limit_apply(limit, 0, operation, check->cost, now_ns);
        check_fill(check, &step.verdict, answer);
        return true;
    }
    if (limit->sync != SYNC_LOCAL && engine->shared)
        return shared_apply(engine, check, operation, now, answer);
    bool charges = check_may_charge(check, operation);
    for (;;) {
        struct table_ref ref = {.state = 0};
        enum table_result found = charges ? table_find_or_claim_by(engine->table, &check->probe,
                                                                   &engine->taker, now, &ref)
                                          : table_find(engine->table, &check->probe, &ref);
        if (found == TABLE_FULL)
            return false;
        uint64_t state = found == TABLE_FOUND ? ref.state : 0;
        struct step step = limit_apply(limit, state, operation, check->cost, now_ns);
        bool changes = step.state != state; /* denied, or only asked: nothing is written */
        if (!changes && found == TABLE_CLAIMED)
            table_withdraw(engine->table, &ref);
        if (!changes || found == TABLE_ABSENT || table_swap(engine->table, &ref, step.state)) {
            check_fill(check, &step.verdict, answer);
            return true;
        }
        counter_add(&engine->counters->cell[COUNTER_SWAP_RETRIES], 1);
    }
}

/* What AT_MOST would answer: it is denied only if not one unit is there, else grants what is. */
static void peek_at_most(struct engine *engine, const struct check *check,
                         const struct instant *now, struct answer *answer)
{
    struct check one = *check;
    one.cost = check->cost != 0;
    apply(engine, &one, OPERATION_PEEK, now, answer); /* a peek needs no room in the table */
    if (answer->flags & METE_VERDICT_GRANTED) {
        uint32_t most = check->limit->sync != SYNC_LOCAL && engine->shared
                            ? shared_at_most(engine, check, now)
                            : answer->remaining;
        answer->granted = check->cost < most ? check->cost : most;
    }
}

/* A shadow never denies; it holds nothing, and so there is nothing to renew or release. */
static void decide_lease(struct engine *engine, const struct check *check,
                         const struct instant *now, struct answer *answer)
{
    lease_decide(engine, check, now, answer);
    if (check->operation == OPERATION_ACQUIRE && !(answer->flags & METE_VERDICT_ALLOW) &&
        check_is_shadow(check)) {
        answer->flags = METE_VERDICT_ALLOW | METE_VERDICT_WOULD_DENY;
        answer->retry_after_ns = 0;
    }
}

static void decide(struct engine *engine, const struct check *check, enum operation operation,
                   const struct instant *now, struct answer *answer)
{
    enum mete_status status = status_of(check);
    if (status == METE_STATUS_OK && lease_is_operation(check->operation)) {
        decide_lease(engine, check, now, answer);
        return;
    }
    if (status == METE_STATUS_OK && check->at_most && operation == OPERATION_PEEK) {
        peek_at_most(engine, check, now, answer);
        return;
    }
    if (status == METE_STATUS_OK && apply(engine, check, operation, now, answer))
        return;
    *answer = (struct answer){.status = status};
    if (status == METE_STATUS_OK) {
        answer->status = METE_STATUS_TABLE_FULL;
        if (engine->config->on_full == ON_FULL_ALLOW)
            answer->flags = METE_VERDICT_ALLOW;
        else if (check_is_shadow(check)) /* a shadow never denies */
            answer->flags = METE_VERDICT_ALLOW | METE_VERDICT_WOULD_DENY;
    }
}

/* decide() for what most checks are, with all but the essential left out. */
static void decide_plain(struct engine *engine, const struct check *check,
                         const struct instant *now, uint64_t now_ticks, struct answer *answer)
{
    for (;;) {
        struct table_ref ref;
        enum table_result found =
            table_find_or_claim_by(engine->table, &check->probe, &engine->taker, now, &ref);
        if (found == TABLE_FULL) {
            decide(engine, check, OPERATION_CHECK, now, answer); /* says so, or finds room now */
            return;
        }
        struct step step = gcra_charge(check->limit, ref.state, check->cost, now_ticks);
        if (step.verdict.decision == DECISION_DENY) {
            if (found == TABLE_CLAIMED)
                table_withdraw(engine->table, &ref);
            check_fill(check, &step.verdict, answer);
            return;
        }
        if (table_swap(engine->table, &ref, step.state)) {
            *answer = (struct answer){
                .flags = METE_VERDICT_ALLOW,
                .granted = step.verdict.granted,
                .remaining = step.verdict.remaining,
                .reset_after_ns = step.verdict.reset_after_ns,
            };
            return;
        }
        counter_add(&engine->counters->cell[COUNTER_SWAP_RETRIES], 1);
    }
}

/* The same of a shared limit. */
static void decide_shared(struct engine *engine, const struct check *check,
                          const struct instant *now, uint64_t now_ticks, struct answer *answer)
{
    if (!shared_charge(engine, check, now, now_ticks, answer))
        decide(engine, check, OPERATION_CHECK, now, answer);
}

static bool is_denied(const struct answer *answer)
{
    return !(answer->flags & METE_VERDICT_ALLOW);
}

static void give_back(struct engine *engine, const struct check *checks,
                      const struct answer *answers, uint32_t count, const struct instant *now)
{
    for (uint32_t i = 0; i < count; i++) {
        struct check refund = checks[i];
        struct answer ignored;
        refund.cost = answers[i].granted;
        if (refund.cost)
            apply(engine, &refund, OPERATION_REFUND, now, &ignored);
    }
}

/* Looks at all first; charges only if all would pass; gives back if a race is lost on the way. The
 * entry that denies is the first without ALLOW and without NOT_CHARGED. */
static void decide_group(struct engine *engine, const struct check *checks, uint32_t count,
                         const struct instant *now, struct answer *answers)
{
    uint32_t denier = count;
    for (uint32_t i = 0; i < count; i++) {
        decide(engine, &checks[i], OPERATION_PEEK, now, &answers[i]);
        if (denier == count && is_denied(&answers[i]))
            denier = i;
    }
    if (denier == count) {
        uint32_t charged = 0;
        while (charged < count) {
            decide(engine, &checks[charged], checks[charged].operation, now, &answers[charged]);
            if (is_denied(&answers[charged]))
                break;
            charged++;
        }
        if (charged == count)
            return;
        denier = charged;
        give_back(engine, checks, answers, charged, now);
        for (uint32_t i = 0; i < count; i++)
            if (i != denier)
                decide(engine, &checks[i], OPERATION_PEEK, now, &answers[i]);
    }
    for (uint32_t i = 0; i < count; i++)
        if (i != denier)
            answers[i].flags |= METE_VERDICT_NOT_CHARGED;
}

/* ---- counting: once per check, after it is decided ---- */

static void tally(struct engine *engine, enum counter counter)
{
    counter_add(&engine->counters->cell[counter], 1);
}

static void count_status(struct engine *engine, const struct answer *answer)
{
    static const enum counter counters[METE_STATUS_COUNT] = {
        [METE_STATUS_UNKNOWN_RULE] = COUNTER_UNKNOWN_RULE,
        [METE_STATUS_BAD_LIMIT] = COUNTER_BAD_LIMIT,
        [METE_STATUS_NEED_SUBJECT] = COUNTER_NEED_SUBJECT,
        [METE_STATUS_TABLE_FULL] = COUNTER_TABLE_FULL,
        [METE_STATUS_UNSUPPORTED] = COUNTER_UNSUPPORTED,
        [METE_STATUS_UNKNOWN_LEASE] = COUNTER_UNKNOWN_LEASE,
        [METE_STATUS_EXPIRED_LEASE] = COUNTER_EXPIRED_LEASE,
    };
    tally(engine, counters[answer->status]);
}

/* What a run of plain checks under one rule came to: added up here, told once. */
struct run {
    struct rule_counters *counters;
    uint64_t allowed, denied, would_deny, units;
};

static void close_run(struct engine *engine, struct run *run)
{
    uint64_t checks = run->allowed + run->denied;
    if (!checks)
        return;
    counter_add(&engine->counters->cell[COUNTER_CHECKS], checks);
    counter_add(&engine->counters->cell[COUNTER_ALLOWED], run->allowed);
    counter_add(&engine->counters->cell[COUNTER_DENIED], run->denied);
    counter_add(&engine->counters->cell[COUNTER_WOULD_DENY], run->would_deny);
    counter_add(&run->counters->allowed, run->allowed);
    counter_add(&run->counters->denied, run->denied);
    counter_add(&run->counters->would_deny, run->would_deny);
    counter_add(&run->counters->units, run->units);
    *run = (struct run){.counters = NULL};
}

/* A check that took units, or tried to. */
static void count_charge(struct engine *engine, struct run *run, const struct check *check,
                         const struct answer *answer)
{
    if (run->counters != check->counters) {
        close_run(engine, run);
        run->counters = check->counters;
    }
    bool allowed = answer->flags & METE_VERDICT_ALLOW;
    run->allowed += allowed;
    run->denied += !allowed;
    run->would_deny += (answer->flags & METE_VERDICT_WOULD_DENY) != 0;
    run->units += answer->granted;
}

static void count(struct engine *engine, struct run *run, const struct check *check,
                  const struct answer *answer)
{
    static const enum counter asked[] = {
        [OPERATION_PEEK] = COUNTER_PEEKED,      [OPERATION_REFUND] = COUNTER_REFUNDED,
        [OPERATION_RESET] = COUNTER_RESET,      [OPERATION_RENEW] = COUNTER_RENEWED,
        [OPERATION_RELEASE] = COUNTER_RELEASED, [OPERATION_LOOK] = COUNTER_PEEKED,
    };
    bool charges = check->operation == OPERATION_CHECK || check->operation == OPERATION_AT_MOST ||
                   check->operation == OPERATION_ACQUIRE;
    if (answer->status == METE_STATUS_OK && charges &&
        !(answer->flags & METE_VERDICT_NOT_CHARGED)) {
        count_charge(engine, run, check, answer);
        return;
    }
    tally(engine, COUNTER_CHECKS);
    if (answer->status != METE_STATUS_OK)
        count_status(engine, answer);
    else /* not charged: only looked at, for its group */
        tally(engine, charges ? COUNTER_PEEKED : asked[check->operation]);
}

/* Asks for the cache lines of check i, if it has any. */
static void prefetch(const struct engine *engine, const struct check *checks, uint32_t count,
                     uint32_t i)
{
    if (i >= count || !checks[i].limit)
        return;
    table_prefetch(engine->table, &checks[i].probe);
    if (lease_is_operation(checks[i].operation))
        lease_prefetch(engine, &checks[i]);
}

void engine_check_batch(struct engine *engine, struct check *checks, uint32_t check_count,
                        const struct instant *now, struct answer *answers)
{
    uint64_t now_ticks = gcra_ticks(now->now_ns);
    struct last_rule last = {.tenant = NULL};
    if (engine->shared)
        shared_begin(engine->shared, now);
    for (uint32_t i = 0; i < check_count; i++)
        prepare(engine, &checks[i], &last);
    for (uint32_t i = 0; i < TABLE_PREFETCH_AHEAD; i++)
        prefetch(engine, checks, check_count, i);
    for (uint32_t i = 0; i < check_count;) {
        uint32_t group = checks[i].group_count ? checks[i].group_count : 1;
        for (uint32_t j = 0; j < group; j++)
            prefetch(engine, checks, check_count, i + j + TABLE_PREFETCH_AHEAD);
        if (checks[i].group_count)
            decide_group(engine, &checks[i], group, now, &answers[i]);
        else if (checks[i].is_plain)
            decide_plain(engine, &checks[i], now, now_ticks, &answers[i]);
        else if (checks[i].is_plain_shared)
            decide_shared(engine, &checks[i], now, now_ticks, &answers[i]);
        else
            decide(engine, &checks[i], checks[i].operation, now, &answers[i]);
        i += group;
    }
    if (engine->shared)
        shared_end(engine->shared);
    struct run run = {.counters = NULL};
    for (uint32_t i = 0; i < check_count; i++)
        count(engine, &run, &checks[i], &answers[i]);
    close_run(engine, &run);
    if (engine->sampler && sampling_is_due(&engine->sampler->sampling, check_count))
        sampler_watch(engine->sampler, checks, check_count, answers, now->now_ns);
}
