/* The engine: one call that joins tenant, rule, key, entry and algorithm. Every front-end calls it
 * and nothing else.
 *
 * engine_check_batch() goes over its checks twice: pass A finds the rules and asks for the cache
 * lines of all keys, pass B decides one after the other, each by one compare-and-swap (none when
 * denied). Nothing here allocates, locks, waits or reads a clock.
 *
 * Threads: a struct engine belongs to one thread; any number of them share a table and a
 * configuration. */
#ifndef METE_ENGINE_ENGINE_H
#define METE_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "core/instant.h"
#include "core/limit.h"
#include "engine/sampler.h"
#include "mete/wire.h"
#include "obs/counters.h"
#include "table/table.h"

struct check { /* one question */
    const struct tenant *tenant;
    struct key key;
    const void *subject; /* its bytes, for overrides by prefix; NULL: only the key is known */
    uint32_t subject_len;
    uint32_t rule_id;
    uint32_t cost;
    uint64_t lease_id; /* ACQUIRE, RENEW, RELEASE, LOOK */
    uint8_t operation; /* enum operation */
    bool at_most;      /* with OPERATION_PEEK: ask what OPERATION_AT_MOST would take */
    bool shadow;       /* asked for by the request; the rule may ask for it too */
    bool has_inline_limit;
    uint8_t group_count; /* first of an all-or-nothing group: its size; 0: by itself. CHECK only. */
    /* pass A writes: */
    bool needs_subject;        /* answered so */
    bool is_plain;             /* takes units of a local bucket, all or none: the short way */
    bool is_plain_shared;      /* the same of a shared one */
    const struct limit *limit; /* with has_inline_limit given by the caller, NULL: a bad one.
                                  NULL after pass A: answered by status */
    const struct rule *rule;   /* NULL: none, or inline */
    struct rule_counters *counters;
    struct table_probe probe;
};

struct answer {     /* and what came of it */
    uint8_t status; /* enum mete_status */
    uint8_t flags;  /* enum mete_verdict_flag: ALLOW, WOULD_DENY, NOT_CHARGED, DEGRADED,
                       DELAY, GRANTED */
    uint32_t granted;
    uint32_t remaining;
    uint64_t retry_after_ns; /* NEVER; or the delay (DELAY) */
    uint64_t reset_after_ns;
};

struct lease_sweep { /* a worker's part of the pieces of table_sweep_leases() */
    uint32_t first, count, cursor;
    uint64_t piece_ns; /* one is due every so often */
    uint64_t until_ns;
};

struct engine {
    const struct config *config;
    struct table *table;
    struct counters *counters;           /* this thread's */
    struct rule_counters *rule_counters; /* this thread's, by owner row */
    struct sampler *sampler;             /* this thread's, or NULL: nobody wants to know */
    struct table_taker taker;
    struct engine_shared *shared; /* engine/shared.h; NULL: every limit is taken for a local one */
    uint32_t sweep_cursor;
    uint64_t sweep_group_ns; /* one group of the table is due every so often */
    uint64_t swept_until_ns;
    struct lease_sweep lease_sweep;
};

#define ENGINE_SWEEP_PASS_NS                                                                       \
    (300ull * 1000000000)                 /* the whole table, unless an index wraps sooner */
#define ENGINE_LEASE_PASS_NS 500000000ull /* all groups with leases: their slots come back */
#define ENGINE_TICK_GROUPS 256u /* most groups of one tick; tables above some 10^8 take more */

/* Tells the table who its owners are: one row per rule and one per tenant for inline limits,
 * tenants with `entries` in regions of their own. The rules' index and the tenants' inline_index
 * become the numbers of their rows. Once, before the first check. Results: 0, -ENOSPC (the regions
 * do not fit, or the table has too few owner rows), -ENOMEM. */
int engine_bind_owners(struct table *table, struct config *config);

/* The same of a table that was taken up (table/resume.h): what changed since is left to upkeep, as
 * by a reload. Results: 0, -ESTALE (its regions are not those that the tenants' `entries` make),
 * -ENOSPC (too few owner rows are free), -ENOMEM. */
int engine_resume_owners(struct table *table, struct config *config);

/* The same for a later configuration, while others check: who was there before keeps row and
 * region, who is new shares what the regions left (table/owners.h says what follows). Nothing is
 * changed on failure. Results: 0, -ENOSPC (too few owner rows), -ENOMEM. */
int engine_rebind_owners(struct table *table, struct config *config);

/* How often one group of the table is due for a sweep by one of worker_count workers. */
uint64_t engine_sweep_group_ns(const struct config *config, const struct table *table,
                               unsigned worker_count);

/* Worker `worker` of worker_count: they share the upkeep of the table. counters and rule_counters
 * (one per index of the configuration) stay the caller's. */
void engine_init(struct engine *engine, const struct config *config, struct table *table,
                 unsigned worker, unsigned worker_count);

struct engine_shared;

/* From now on keys of limits that are not local are shared with other nodes. Before the first
 * check. */
void engine_share(struct engine *engine, struct engine_shared *shared);

/* From now on judge by this configuration. The old one is not looked at again. */
static inline void engine_use(struct engine *engine, const struct config *config,
                              uint64_t sweep_group_ns)
{
    engine->config = config;
    engine->sweep_group_ns = sweep_group_ns;
}

/* How long a worker without traffic may sleep before the next engine_tick(). */
uint64_t engine_tick_interval_ns(const struct engine *engine);

/* Judges count checks at one instant and fills as many answers. */
void engine_check_batch(struct engine *engine, struct check *checks, uint32_t count,
                        const struct instant *now, struct answer *answers);

/* A bounded amount of upkeep: frees entries that are back at rest. The workers together pass the
 * whole table before a window index could wrap, and within ENGINE_SWEEP_PASS_NS. */
void engine_tick(struct engine *engine, const struct instant *now);

#endif
