/* How a server is, by its answers alone.
 *
 * The round trip is smoothed as in RFC 6298 (srtt, rttvar with gains 1/8 and 1/4). From it follow
 *   retry  srtt + max(4 rttvar, 1 ms), at least 2 ms; before anything is known 1/8 of the deadline
 *   miss   three retries long, at most half of the deadline
 * Only answers to what was sent once are measured (Karn).
 *
 * MISSES_MAX misses in a row make a server suspect; those of datagrams that were in flight together
 * count as one each retry's time, so a pause that is shorter than a miss and two retries is no
 * failure. A suspect server has no share of its keys; it gets a HELLO each PROBE_NS. An answer in
 * time begins its return: a tenth of its keys each RETURN_NS, so that who comes back with
 * nothing in its caches and its buckets is not run over.
 *
 * With one server there is no other to go to, and share means nothing; only under a secret does its
 * silence ask for a HELLO, because the secret may have been changed. One thread at a time. */
#include "internal.h"

#define MISSES_MAX 3u
#define PROBE_NS 1000000000ll
#define RETURN_NS 100000000ll
#define RETURN_SHARE 100u
#define RETRY_MIN_NS 2000000ll
#define VARIANCE_MIN_NS 1000000ll

int64_t mete_health_retry_ns(const struct mete_client *client, const struct server *server)
{
    const struct health *health = &server->health;
    int64_t spread_ns = 4 * health->rttvar_ns;
    int64_t wait_ns =
        health->srtt_ns
            ? health->srtt_ns + (spread_ns > VARIANCE_MIN_NS ? spread_ns : VARIANCE_MIN_NS)
            : client->timeout_ns / 8;
    return wait_ns > RETRY_MIN_NS ? wait_ns : RETRY_MIN_NS;
}

int64_t mete_health_miss_ns(const struct mete_client *client, const struct server *server)
{
    int64_t wait_ns = 3 * mete_health_retry_ns(client, server);
    return wait_ns < client->timeout_ns / 2 ? wait_ns : client->timeout_ns / 2;
}

static void measure(struct health *health, int64_t rtt_ns)
{
    rtt_ns += rtt_ns == 0; /* 0 says: nothing measured */
    if (!health->srtt_ns) {
        health->srtt_ns = rtt_ns;
        health->rttvar_ns = rtt_ns / 2;
        return;
    }
    int64_t error_ns = rtt_ns - health->srtt_ns;
    health->rttvar_ns += ((error_ns < 0 ? -error_ns : error_ns) - health->rttvar_ns) / 4;
    health->srtt_ns += error_ns / 8;
}

static void set_share(struct mete_client *client, struct health *health, uint32_t share)
{
    client->unwell_count -= health->share < SHARE_WHOLE;
    health->share = share < SHARE_WHOLE ? share : SHARE_WHOLE;
    client->unwell_count += health->share < SHARE_WHOLE;
}

/* In time is what came before it would have been a miss, by the round trip as it is known now. */
void mete_health_answered(struct mete_client *client, struct server *server, int64_t rtt_ns,
                          int64_t now_ns)
{
    struct health *health = &server->health;
    if (rtt_ns >= 0)
        measure(health, rtt_ns);
    server->stats.answers++;
    if (rtt_ns > mete_health_miss_ns(client, server))
        return;
    health->misses = 0;
    if (health->share || rtt_ns < 0)
        return;
    health->returning_ns = now_ns;
    set_share(client, health, RETURN_SHARE);
}

void mete_health_suspect(struct mete_client *client, struct server *server, int64_t now_ns)
{
    struct health *health = &server->health;
    if (!health->share)
        return;
    health->misses = 0;
    set_share(client, health, 0);
    health->probe_ns = now_ns;
    if (client->server_count > 1) {
        health->probe_ns += PROBE_NS / 2 + mete_client_random(client) % PROBE_NS;
        mete_retry_leave(client, server);
    }
}

void mete_health_missed(struct mete_client *client, struct server *server, int64_t now_ns)
{
    struct health *health = &server->health;
    if (health->misses && now_ns - health->missed_ns < mete_health_retry_ns(client, server))
        return;
    server->stats.misses++;
    health->missed_ns = now_ns;
    if (++health->misses >= MISSES_MAX)
        mete_health_suspect(client, server, now_ns);
}

static void tick(struct mete_client *client, struct server *server, int64_t now_ns)
{
    struct health *health = &server->health;
    if (health->share == SHARE_WHOLE)
        return;
    if (health->share) {
        int64_t steps = (now_ns - health->returning_ns) / RETURN_NS;
        set_share(client, health,
                  steps < SHARE_WHOLE / RETURN_SHARE ? (uint32_t)(steps + 1) * RETURN_SHARE
                                                     : SHARE_WHOLE);
    } else if (now_ns >= health->probe_ns && (client->server_count > 1 || client->vault)) {
        health->probe_ns = now_ns + PROBE_NS;
        mete_hello_begin(client, server, now_ns);
    }
}

void mete_health_tick(struct mete_client *client)
{
    if (!client->unwell_count)
        return;
    int64_t now_ns = mete_now_ns();
    for (uint32_t i = 0; i < client->server_count; i++)
        tick(client, &client->servers[i], now_ns);
}
