/* Leases: slots of a concurrency rule that are held until they are released or expire.
 *
 * ACQUIRE adds its slots to the key's count by one compare-and-swap, denied if they do not fit, and
 * then claims the entry of the lease; if that comes to nothing (no room, or another thread granted
 * the same id meanwhile) it takes the slots off again. Whoever ends a lease, by release, by the
 * sweep, or by coming across an expired one, and only that one, takes its slots off the count
 * (table/lease.h).
 *
 * Guarantee: the slots of all leases that are granted and neither ended nor expired never exceed
 * the limit, by the clock of whoever granted the last of them; every slot that is taken is given
 * back, at the latest ENGINE_LEASE_PASS_NS and a tick after its lease expired. (An ACQUIRE that is
 * about to fail holds its slots for that moment, so another may be denied a moment too early.)
 *
 * All three may be repeated: an ACQUIRE of a live lease is answered as the first one and takes
 * nothing, RENEW counts from now, and the second RELEASE finds no lease. Nothing waits: who loses a
 * race goes again, because another got on. */
#include "engine/lease.h"

#include "core/concurrency.h"
#include "table/lease.h"

#define NS_PER_MS 1000000u

static void tally(struct engine *engine, enum counter counter)
{
    counter_add(&engine->counters->cell[counter], 1);
}

static uint64_t expiry_ms(const struct check *check, const struct instant *now)
{
    return (now->now_ns + check->limit->interval + NS_PER_MS - 1) / NS_PER_MS;
}

static uint64_t left_ns(uint64_t expires_ms, const struct instant *now)
{
    uint64_t at_ns = expires_ms * NS_PER_MS;
    return at_ns > now->now_ns ? at_ns - now->now_ns : 0;
}

static uint32_t free_slots(const struct check *check, uint64_t count)
{
    return count < check->limit->burst ? (uint32_t)(check->limit->burst - count) : 0;
}

/* The answer about a lease that is held, its key's count given. */
static struct answer held(const struct check *check, uint64_t count, uint64_t expires_ms,
                          const struct instant *now)
{
    return (struct answer){
        .flags = METE_VERDICT_ALLOW,
        .remaining = free_slots(check, count),
        .reset_after_ns = left_ns(expires_ms, now),
    };
}

static uint64_t count_of(const struct engine *engine, const struct check *check,
                         const struct table_lease *lease)
{
    return table_count_at(engine->table, lease->position, check->probe.owner);
}

static struct answer denied(const struct step *step)
{
    return (struct answer){
        .remaining = step->verdict.remaining,
        .retry_after_ns = step->verdict.retry_after_ns,
        .reset_after_ns = step->verdict.reset_after_ns,
    };
}

/* ---- ACQUIRE ---- */

enum taken {
    TAKEN,
    TAKEN_NOT, /* answered */
    TAKEN_LOST /* somebody was faster: again from the start */
};

/* Adds the slots to the count. */
static enum taken take_slots(struct engine *engine, const struct check *check,
                             const struct instant *now, uint64_t *ret_position,
                             struct answer *answer)
{
    struct table *table = engine->table;
    struct table_ref ref = {.state = 0};
    bool fits = check->cost && check->cost <= check->limit->burst;
    enum table_result found =
        fits ? table_find_or_claim_by(table, &check->probe, &engine->taker, now, &ref)
             : table_find(table, &check->probe, &ref);
    if (found == TABLE_FULL) {
        *answer = (struct answer){.status = METE_STATUS_TABLE_FULL};
        return TAKEN_NOT;
    }
    uint64_t count = found == TABLE_FOUND ? table_count_of(&ref) : 0;
    struct step step = concurrency_apply(check->limit, count,
                                         fits ? OPERATION_CHECK : OPERATION_PEEK, check->cost);
    if (step.state == count) { /* denied, or a cost of 0 */
        if (found == TABLE_CLAIMED)
            table_withdraw(table, &ref);
        *answer = denied(&step);
        if (step.verdict.decision == DECISION_ALLOW)
            answer->flags = METE_VERDICT_ALLOW;
        return TAKEN_NOT;
    }
    if (!table_swap_count(table, &ref, step.state)) {
        tally(engine, COUNTER_SWAP_RETRIES);
        return TAKEN_LOST;
    }
    *ret_position = table_position(table, &ref);
    *answer = (struct answer){.remaining = step.verdict.remaining};
    return TAKEN;
}

/* The slots are taken: makes the lease that holds them. */
static enum taken make_lease(struct engine *engine, const struct table_probe *probe,
                             const struct instant *now, struct table_lease *lease)
{
    for (;;) {
        enum table_result found =
            table_find_or_claim_by(engine->table, probe, &engine->taker, now, &lease->ref);
        if (found == TABLE_FULL)
            return TAKEN_NOT;
        if (found == TABLE_FOUND)
            return TAKEN_LOST;
        if (table_swap_lease(engine->table, lease))
            return TAKEN;
        tally(engine, COUNTER_SWAP_RETRIES);
    }
}

/* True: a lease of this id stands, and the answer says so. One that has expired is ended. */
static bool answer_existing(struct engine *engine, const struct check *check,
                            const struct table_probe *probe, const struct instant *now,
                            struct answer *answer)
{
    struct table_lease lease;
    while (table_find_lease(engine->table, probe, &lease) == TABLE_FOUND) {
        if (!table_lease_is_over(&lease, now->now_ns)) {
            *answer = held(check, count_of(engine, check, &lease), lease.expires_ms, now);
            return true;
        }
        if (table_end_lease(engine->table, &lease))
            tally(engine, COUNTER_LEASES_EXPIRED);
    }
    return false;
}

static void acquire(struct engine *engine, const struct check *check,
                    const struct table_probe *probe, const struct instant *now,
                    struct answer *answer)
{
    struct table_lease lease = {.expires_ms = expiry_ms(check, now), .slots = check->cost};
    while (!answer_existing(engine, check, probe, now, answer)) {
        enum taken taken = take_slots(engine, check, now, &lease.position, answer);
        if (taken == TAKEN_NOT) {
            /* denied, perhaps because the same id was granted since it was looked for */
            struct answer existing;
            if (answer->status == METE_STATUS_OK &&
                answer_existing(engine, check, probe, now, &existing))
                *answer = existing;
            return;
        }
        if (taken == TAKEN_LOST)
            continue;
        taken = make_lease(engine, probe, now, &lease);
        if (taken == TAKEN) {
            uint32_t remaining = answer->remaining;
            *answer = held(check, 0, lease.expires_ms, now);
            answer->remaining = remaining;
            answer->granted = check->cost;
            return;
        }
        table_return_slots(engine->table, lease.position, check->probe.owner, lease.slots);
        if (taken == TAKEN_NOT) {
            *answer = (struct answer){.status = METE_STATUS_TABLE_FULL};
            return;
        }
    }
}

/* ---- RENEW, RELEASE, and looking ---- */

static void renew(struct engine *engine, const struct check *check, const struct table_probe *probe,
                  const struct instant *now, struct answer *answer)
{
    struct table_lease lease;
    *answer = (struct answer){.status = METE_STATUS_UNKNOWN_LEASE};
    while (table_find_lease(engine->table, probe, &lease) == TABLE_FOUND) {
        if (table_lease_is_over(&lease, now->now_ns)) {
            answer->status = METE_STATUS_EXPIRED_LEASE; /* the sweep ends it */
            return;
        }
        uint64_t expires_ms = expiry_ms(check, now);
        if (expires_ms > lease.expires_ms) /* never earlier than was promised */
            lease.expires_ms = expires_ms;
        if (table_swap_lease(engine->table, &lease)) {
            *answer = held(check, count_of(engine, check, &lease), lease.expires_ms, now);
            return;
        }
        tally(engine, COUNTER_SWAP_RETRIES);
    }
}

static void release(struct engine *engine, const struct check *check,
                    const struct table_probe *probe, const struct instant *now,
                    struct answer *answer)
{
    struct table_lease lease;
    *answer = (struct answer){.status = METE_STATUS_UNKNOWN_LEASE};
    while (table_find_lease(engine->table, probe, &lease) == TABLE_FOUND) {
        bool is_over = table_lease_is_over(&lease, now->now_ns);
        if (!table_end_lease(engine->table, &lease)) {
            tally(engine, COUNTER_SWAP_RETRIES);
            continue;
        }
        if (is_over) {
            answer->status = METE_STATUS_EXPIRED_LEASE;
            tally(engine, COUNTER_LEASES_EXPIRED);
            return;
        }
        *answer = held(check, count_of(engine, check, &lease), 0, now);
        return;
    }
}

/* OK with ALLOW: it is held. OK without: there is none; the numbers say whether one could be had.
 */
static void look_up(struct engine *engine, const struct check *check,
                    const struct table_probe *probe, const struct instant *now,
                    struct answer *answer)
{
    struct table_lease lease;
    struct table_ref ref;
    enum table_result found = table_find_lease(engine->table, probe, &lease);
    if (found == TABLE_FOUND && !table_lease_is_over(&lease, now->now_ns)) {
        *answer = held(check, count_of(engine, check, &lease), lease.expires_ms, now);
        return;
    }
    bool is_used = table_find(engine->table, &check->probe, &ref) == TABLE_FOUND;
    struct step step = concurrency_apply(check->limit, is_used ? table_count_of(&ref) : 0,
                                         OPERATION_PEEK, check->cost);
    *answer = denied(&step);
    if (found == TABLE_FOUND)
        answer->status = METE_STATUS_EXPIRED_LEASE;
}

void lease_decide(struct engine *engine, const struct check *check, const struct instant *now,
                  struct answer *answer)
{
    struct table_probe probe = table_probe_lease(engine->table, &check->probe, check->lease_id);
    switch (check->operation) {
    case OPERATION_ACQUIRE:
        acquire(engine, check, &probe, now, answer);
        break;
    case OPERATION_RENEW:
        renew(engine, check, &probe, now, answer);
        break;
    case OPERATION_RELEASE:
        release(engine, check, &probe, now, answer);
        break;
    default:
        look_up(engine, check, &probe, now, answer);
        break;
    }
}

void lease_prefetch(const struct engine *engine, const struct check *check)
{
    struct table_probe probe = table_probe_lease(engine->table, &check->probe, check->lease_id);
    table_prefetch(engine->table, &probe);
}

/* Pieces due by the clock since the last tick, at most one pass. */
void lease_tick(struct engine *engine, const struct instant *now)
{
    struct lease_sweep *sweep = &engine->lease_sweep;
    uint64_t since_ns = now->now_ns - sweep->until_ns;
    if (sweep->until_ns == 0 || since_ns > ENGINE_LEASE_PASS_NS) { /* the first, or it slept */
        sweep->until_ns = now->now_ns - ENGINE_LEASE_PASS_NS;
        since_ns = ENGINE_LEASE_PASS_NS;
    }
    uint32_t due = (uint32_t)(since_ns / sweep->piece_ns);
    uint32_t ended = 0;
    sweep->until_ns += due * sweep->piece_ns;
    due = due < sweep->count ? due : sweep->count;
    while (due) {
        uint32_t rest = sweep->count - sweep->cursor;
        uint32_t run = due < rest ? due : rest;
        ended += table_sweep_leases(engine->table, sweep->first + sweep->cursor, run, now->now_ns);
        sweep->cursor = run < rest ? sweep->cursor + run : 0;
        due -= run;
    }
    if (ended)
        counter_add(&engine->counters->cell[COUNTER_LEASES_EXPIRED], ended);
}
