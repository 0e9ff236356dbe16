/* The node's half of a merge (core/merge.c has the store's half, and the proof).
 *
 * Whatever the number of charges, a delta is two numbers: their sum and the instant of the first.
 * One batch is in flight at a time. It keeps its sum however often it is sent again, because the
 * store may have applied it already and then knows it by its sequence number; what is charged
 * meanwhile waits beside it. Only its age grows. Above MERGE_CREDIT_US it is no longer believed,
 * which is strict by the difference; above MERGE_OLDEST_US that would be too strict (and below, the
 * view too lenient, for who lost a message alone), and it is told as what the view of the node
 * owes. That view holds the waiting charges too. The young ones among them are then told twice,
 * which is on the strict side; the old ones are told as a view again, and until then the node keeps
 * its view, or the store's where that is stricter.
 *
 * Instants stay here: an age goes out, a distance comes back. The distance is counted from when the
 * answer came, so the view is ahead of the store's by at most the answer's way.
 *
 * No clock, no atomics, no memory: who owns the delta calls. */
#include "replica/delta.h"

#include "core/gcra.h"
#include "core/saturate.h"

#define TICKS_PER_US (1000u * LIMIT_TICKS_PER_NS)

static int64_t clamped(__int128 value)
{
    const int64_t most = INT64_MAX / 2; /* 9 years of ticks: more than can be owed */

    return value > most ? most : value < -most ? -most : (int64_t)value;
}

static int64_t amount_of(const struct limit *limit, int64_t units)
{
    return limit_is_wall(limit) ? units : clamped((__int128)units * limit->interval);
}

/* Below this nothing can be told yet. */
static int64_t least(const struct limit *limit)
{
    return limit_is_wall(limit) ? 1 : (int64_t)TICKS_PER_US;
}

void delta_charge(struct delta *delta, const struct limit *limit, int64_t units, uint64_t now_ns)
{
    if (delta->charge < least(limit)) /* nothing, or the rest of a batch: its age does not count */
        delta->first_ns = now_ns;
    delta->charge = clamped((__int128)delta->charge + amount_of(limit, units));
    delta->units += units;
}

void delta_give_back(struct delta *delta, const struct limit *limit, uint32_t units,
                     uint64_t charged_ns, uint64_t now_ns)
{
    const int64_t all = amount_of(limit, units);
    const uint64_t drained = gcra_ticks(saturate_sub(now_ns, charged_ns));

    delta_charge(delta, limit, -(int64_t)units, now_ns);
    if (!limit_is_wall(limit))
        delta->charge += (uint64_t)all < drained ? all : (int64_t)drained;
}

void delta_reset(struct delta *delta)
{
    delta->charge = 0;
    delta->resets = true;
}

bool delta_has_charge(const struct delta *delta, const struct limit *limit)
{
    return delta->charge >= least(limit);
}

bool delta_is_silent(const struct delta *delta, const struct limit *limit)
{
    return !delta->is_sent && !delta->resets && delta->units == 0 && delta->charge < least(limit) &&
           delta->charge > -least(limit);
}

bool delta_take(struct delta *delta, const struct limit *limit, uint64_t now_ns)
{
    const int64_t unit = least(limit);
    const int64_t rest = (delta->charge % unit + unit) % unit; /* also of what was given back */
    const int64_t whole = delta->charge - rest;

    if (delta->is_sent)
        return false;
    delta->is_sent = true;
    delta->sent = whole / unit;
    delta->sent_first_ns = whole > 0 ? delta->first_ns : now_ns;
    delta->sent_units = delta->units;
    delta->sent_resets = delta->resets;
    delta->resets = false;
    delta->units = 0;
    delta->charge = rest;
    if (whole > 0)
        delta->first_ns = now_ns;
    return true;
}

void delta_untake(struct delta *delta, const struct limit *limit)
{
    if (!delta->is_sent)
        return;
    if (delta->sent > 0 && (delta->charge < least(limit) || delta->sent_first_ns < delta->first_ns))
        delta->first_ns = delta->sent_first_ns;
    delta->charge = clamped((__int128)delta->charge + (__int128)delta->sent * least(limit));
    delta->units += delta->sent_units;
    delta->resets = delta->resets || delta->sent_resets;
    delta->is_sent = delta->sent_resets = false;
    delta->sent = delta->sent_units = 0;
}

static bool is_old(uint64_t first_ns, uint64_t now_ns)
{
    return saturate_sub(now_ns, first_ns) / 1000 > MERGE_OLDEST_US;
}

struct merge_delta delta_message(const struct delta *delta, const struct limit *limit,
                                 uint64_t state, uint64_t debt_us, uint64_t now_ns)
{
    struct merge_delta message = {
        .base = delta->base, .charge = delta->sent, .resets = delta->sent_resets};

    if (limit_is_wall(limit))
        return message;
    const uint64_t age_us = saturate_sub(now_ns, delta->sent_first_ns) / 1000;
    message.cap_us = saturate_add(limit->tolerance / TICKS_PER_US, debt_us);
    if (delta->sent > 0 && is_old(delta->sent_first_ns, now_ns)) {
        const uint64_t owed = saturate_sub(state, gcra_ticks(now_ns));
        message.charge = 0;
        message.ahead_us =
            (int64_t)((owed < limit->tolerance ? owed : limit->tolerance) / TICKS_PER_US);
    } else {
        message.ahead_us = -(int64_t)(age_us < MERGE_CREDIT_US ? age_us : MERGE_CREDIT_US);
    }
    return message;
}

void delta_settle(struct delta *delta, const struct delta_answer *answer)
{
    delta->base = answer->cell;
    delta->is_sent = false;
    delta->sent = 0;
    delta->sent_units = 0;
    delta->sent_resets = false;
}

static uint64_t moved(uint64_t value, __int128 by)
{
    const __int128 sum = value + by;

    return sum < 0 ? 0 : sum > UINT64_MAX ? UINT64_MAX : (uint64_t)sum;
}

uint64_t delta_look(const struct delta *delta, const struct limit *limit,
                    const struct delta_answer *answer, const struct delta_view *view)
{
    const int64_t unsent = clamped((__int128)delta->charge + amount_of(limit, view->pending));
    const __int128 since = (__int128)unsent * view->spread / DELTA_SPREAD_UNIT;
    const struct merge_cell known =
        delta->resets ? (struct merge_cell){.value = 0} : answer->cell; /* told soon */

    if (limit_is_wall(limit))
        return moved(known.value, since);
    const bool has_charge = delta->charge >= least(limit);
    const uint64_t first_ns = has_charge ? delta->first_ns : view->now_ns;
    const uint64_t owed_us = saturate_sub(known.value, answer->store_now_us);
    uint64_t value =
        owed_us == 0 ? 0
                     : saturate_add(gcra_ticks(answer->at_ns), saturate_mul(owed_us, TICKS_PER_US));
    if (has_charge && is_old(first_ns, answer->at_ns))
        return value > view->state ? value : view->state;
    const uint64_t credit_at_ns = saturate_sub(answer->at_ns, MERGE_CREDIT_US * 1000ull);
    const uint64_t first = gcra_ticks(first_ns > credit_at_ns ? first_ns : credit_at_ns);
    if (since > 0 && value < first)
        value = first;
    return moved(value, since);
}
