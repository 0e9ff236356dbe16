/* What the caller is told: a verdict of the server, or the fallback that was chosen at open.
 *
 * The local fallback is a token bucket of this object as GCRA: one instant, the theoretical arrival
 * time, says how much is spent. local_burst * interval is below 2^32 s, so nothing wraps.
 * One thread at a time. */
#include "internal.h"

/* A wait in microseconds with up to jitter_percent of it added, so that those who were denied
 * together do not come back together. Never less than the wait. */
static uint64_t jittered(struct mete_client *client, uint64_t wait_us)
{
    if (wait_us == METE_NEVER)
        return wait_us;
    uint64_t most =
        wait_us / 100 * client->jitter_percent + wait_us % 100 * client->jitter_percent / 100;
    uint64_t share = mete_client_random(client);
    return wait_us + (most >> 32) * share + ((most & UINT32_MAX) * share >> 32);
}

static uint64_t us_of_ns(uint64_t ns)
{
    return ns == UINT64_MAX ? METE_NEVER : ns / 1000 + (ns % 1000 != 0);
}

static struct mete_answer answer_local(struct mete_client *client, const struct check *check,
                                       int64_t now_ns)
{
    const int64_t interval_ns = client->local_interval_ns;
    const int64_t room_ns = client->local_burst * interval_ns;
    int64_t owed_ns = client->local_tat_ns > now_ns ? client->local_tat_ns - now_ns : 0;
    uint32_t there = (uint32_t)((room_ns - owed_ns) / interval_ns);
    uint32_t wanted = check->entry.cost;
    struct mete_answer answer = {0};
    if (check->flags & METE_FLAG_AT_MOST && there > 0 && wanted > there)
        wanted = there;
    answer.allowed = wanted <= there;
    if (answer.allowed && !(check->flags & METE_FLAG_PEEK)) {
        answer.granted = wanted;
        there -= wanted;
        owed_ns += wanted * interval_ns;
        client->local_tat_ns = now_ns + owed_ns;
    }
    answer.remaining = there;
    answer.reset_after_us = us_of_ns((uint64_t)owed_ns);
    if (!answer.allowed && check->flags & METE_FLAG_AT_MOST)
        wanted = 1;
    if (!answer.allowed)
        answer.retry_after_us =
            wanted > client->local_burst
                ? METE_NEVER
                : jittered(client, us_of_ns((uint64_t)(owed_ns + wanted * interval_ns - room_ns)));
    return answer;
}

struct mete_answer mete_answer_fallback(struct mete_client *client, const struct check *check,
                                        enum mete_source source, int64_t now_ns)
{
    struct mete_answer answer = {.allowed = 1};
    if (client->fallback == METE_FALLBACK_DENY) {
        answer.allowed = 0;
        answer.retry_after_us = jittered(client, (uint64_t)client->timeout_ns / 1000);
    } else if (client->fallback == METE_FALLBACK_LOCAL && check->type == METE_CHECK) {
        answer = answer_local(client, check, now_ns);
    }
    answer.source = source;
    return answer;
}

void mete_answer_settle_group(struct mete_client *client, struct mete_answer *answers,
                              unsigned count)
{
    bool is_whole = true;
    int64_t units = 0;
    for (unsigned i = 0; i < count; i++) {
        is_whole &= answers[i].allowed && !(answers[i].flags & METE_VERDICT_NOT_CHARGED);
        if (answers[i].source != METE_SOURCE_SERVER)
            units += answers[i].granted;
    }
    if (is_whole)
        return;
    client->local_tat_ns -= units * client->local_interval_ns;
    for (unsigned i = 0; i < count; i++) {
        if (answers[i].source == METE_SOURCE_SERVER)
            continue;
        answers[i].granted = 0;
        answers[i].flags |= answers[i].allowed ? METE_VERDICT_NOT_CHARGED : 0;
    }
}

/* Units charged, as far as a verdict tells. */
static uint32_t granted_by(const struct check *check, const struct mete_verdict *verdict)
{
    if ((check->type != METE_CHECK && check->type != METE_ACQUIRE) ||
        !(verdict->flags & METE_VERDICT_ALLOW) ||
        verdict->flags & (METE_VERDICT_NOT_CHARGED | METE_VERDICT_WOULD_DENY) ||
        check->flags & METE_FLAG_PEEK)
        return 0;
    return verdict->flags & METE_VERDICT_GRANTED ? verdict->retry_after : check->entry.cost;
}

/* Nothing is held: that is known, and no fallback may say otherwise. */
static bool is_without_lease(const struct mete_verdict *verdict)
{
    return verdict->status == METE_STATUS_UNKNOWN_LEASE ||
           verdict->status == METE_STATUS_EXPIRED_LEASE;
}

struct mete_answer mete_answer_verdict(struct mete_client *client, const struct check *check,
                                       const struct mete_verdict *verdict)
{
    if (is_without_lease(verdict))
        return (struct mete_answer){.source = METE_SOURCE_SERVER, .status = verdict->status};
    if (verdict->status != METE_STATUS_OK && verdict->status != METE_STATUS_TABLE_FULL) {
        struct mete_answer answer =
            mete_answer_fallback(client, check, METE_SOURCE_STATUS, mete_now_ns());
        answer.status = verdict->status;
        answer.flags = verdict->flags;
        return answer;
    }
    struct mete_answer answer = {
        .allowed = (verdict->flags & METE_VERDICT_ALLOW) != 0,
        .source = METE_SOURCE_SERVER,
        .status = verdict->status,
        .flags = verdict->flags,
        .remaining = verdict->remaining,
        .reset_after_us = us_of_ns(mete_wire_time_ns(verdict->reset_after, verdict->unit >> 4)),
    };
    if (verdict->status == METE_STATUS_OK)
        answer.granted = granted_by(check, verdict);
    if (answer.allowed && !(verdict->flags & METE_VERDICT_DELAY))
        return answer;
    uint64_t wait_us = us_of_ns(mete_wire_time_ns(verdict->retry_after, verdict->unit & 15));
    if (!answer.allowed)
        answer.retry_after_us = jittered(client, wait_us);
    else
        answer.delay_us = wait_us;
    return answer;
}
