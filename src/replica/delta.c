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

void delta_charge(struct delta *delta, const struct limit *limit, uint32_t cost, uint64_t now_ns)
{
    const uint64_t amount = limit_is_wall(limit) ? cost : saturate_mul(cost, limit->interval);
    const uint64_t least = limit_is_wall(limit) ? 1 : TICKS_PER_US;

    if (delta->charge < least) /* nothing, or the rest of a batch: its age does not count */
        delta->first_ns = now_ns;
    delta->charge = saturate_add(delta->charge, amount);
    delta->units = saturate_u32((uint64_t)delta->units + cost);
}

bool delta_take(struct delta *delta, const struct limit *limit, uint64_t now_ns)
{
    const uint64_t rest = limit_is_wall(limit) ? 0 : delta->charge % TICKS_PER_US;
    const uint64_t whole = delta->charge - rest;

    if (delta->is_sent)
        return false;
    delta->is_sent = true;
    delta->sent = limit_is_wall(limit) ? whole : whole / TICKS_PER_US;
    delta->sent_first_ns = whole > 0 ? delta->first_ns : now_ns;
    delta->sent_units = delta->units;
    delta->units = 0;
    delta->charge = rest;
    if (whole > 0)
        delta->first_ns = now_ns;
    return true;
}

static bool is_old(uint64_t first_ns, uint64_t now_ns)
{
    return saturate_sub(now_ns, first_ns) / 1000 > MERGE_OLDEST_US;
}

struct merge_delta delta_message(const struct delta *delta, const struct limit *limit,
                                 uint64_t state, uint64_t debt_us, uint64_t now_ns)
{
    struct merge_delta message = {.base = delta->base, .charge = delta->sent};

    if (limit_is_wall(limit))
        return message;
    const uint64_t age_us = saturate_sub(now_ns, delta->sent_first_ns) / 1000;
    message.cap_us = saturate_add(limit->tolerance / TICKS_PER_US, debt_us);
    if (delta->sent > 0 && is_old(delta->sent_first_ns, now_ns)) {
        message.charge = 0;
        message.ahead_us = (int64_t)(saturate_sub(state, gcra_ticks(now_ns)) / TICKS_PER_US);
    } else {
        message.ahead_us = -(int64_t)(age_us < MERGE_CREDIT_US ? age_us : MERGE_CREDIT_US);
    }
    return message;
}

uint64_t delta_settle(struct delta *delta, const struct limit *limit, uint64_t state,
                      uint32_t spread, const struct delta_answer *answer)
{
    const uint64_t since = saturate_mul(delta->charge, spread);

    delta->base = answer->cell;
    delta->is_sent = false;
    delta->sent = 0;
    delta->sent_units = 0;
    if (limit_is_wall(limit))
        return saturate_add(answer->cell.value, since);
    const uint64_t owed_us = saturate_sub(answer->cell.value, answer->store_now_us);
    uint64_t view = owed_us == 0 ? 0
                                 : saturate_add(gcra_ticks(answer->received_ns),
                                                saturate_mul(owed_us, TICKS_PER_US));
    if (delta->charge >= TICKS_PER_US && is_old(delta->first_ns, answer->received_ns))
        return view > state ? view : state;
    const uint64_t credit_at_ns = saturate_sub(answer->received_ns, MERGE_CREDIT_US * 1000ull);
    const uint64_t first =
        gcra_ticks(delta->first_ns > credit_at_ns ? delta->first_ns : credit_at_ns);
    if (since > 0 && view < first)
        view = first;
    return saturate_add(view, since);
}
