#include "engine/engine.h"

#include <errno.h>

#include "engine/lease.h"
#include "table/lease.h"
#include "table/owners.h"

/* An inline limit's numbers come with every check; what its owner row must know is only when the
 * entry may be forgotten, and for GCRA that needs nothing but the tat. */
static const struct limit inline_owner_limit = {
    .interval = LIMIT_TICKS_PER_NS,
    .tolerance = UINT64_MAX,
    .burst = 1,
    .algorithm = ALGORITHM_TOKEN_BUCKET,
    .keeps_tat = 1,
};

/* The number of an override in its rule: FNV-1a of what it applies to. Of 64 bits, so that no two
 * of a rule meet in it. */
static uint64_t override_number(const struct config_override *override)
{
    uint64_t hash = (14695981039346656037ull ^ override->is_prefix) * 1099511628211ull;
    for (uint32_t i = 0; i < override->len; i++)
        hash = (hash ^ (uint8_t) override->subject[i]) * 1099511628211ull;
    return hash ? hash : 1;
}

/* An override's entries are its own: they have its numbers, not the rule's. */
static int bind_overrides(struct owners_change *change, struct rule *rule, struct table_owner owner)
{
    const uint32_t count = rule->overrides ? rule->overrides->count : 0;
    int result = 0;
    for (uint32_t i = 0; i < count && !result; i++) {
        struct config_override *override = &rule->overrides->items[i];
        owner.override = override_number(override);
        owner.limit = limit_without_calendar(override->rule.limit);
        result = owners_take(change, &owner, &override->rule.index);
    }
    return result;
}

static int bind_tenant(struct owners_change *change, struct tenant *tenant,
                       struct table_region region)
{
    struct table_owner owner = {.tenant_id = tenant->id, .region = region};
    tenant->has_exact = false;
    for (uint32_t i = 0; i < tenant->rule_count; i++) {
        struct rule *rule = &tenant->rules[i];
        owner.rule_id = rule->id;
        tenant->has_exact = tenant->has_exact || rule->limit.sync == SYNC_EXACT;
        owner.limit = limit_without_calendar(rule->limit);
        int result = owners_take(change, &owner, &rule->index);
        if (!result)
            result = bind_overrides(change, rule, owner);
        if (result)
            return result;
    }
    owner.rule_id = 0;
    owner.limit = inline_owner_limit;
    return owners_take(change, &owner, &tenant->inline_index);
}

int engine_rebind_owners(struct table *table, struct config *config)
{
    struct owners_change *change;
    int result = owners_begin(table, &change);
    if (result)
        return result;
    for (uint32_t i = 0; i < config->tenant_count && !result; i++) {
        struct tenant *tenant = &config->tenants[i];
        result = bind_tenant(change, tenant, owners_region(table, tenant->id));
    }
    if (result)
        owners_abort(change);
    else
        owners_commit(change);
    return result;
}

int engine_bind_owners(struct table *table, struct config *config)
{
    /* Regions first: the shared rest is what they leave. */
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        const struct tenant *tenant = &config->tenants[i];
        int result =
            tenant->entries ? owners_reserve_region(table, tenant->id, tenant->entries) : 0;
        if (result)
            return result;
    }
    return engine_rebind_owners(table, config);
}

int engine_resume_owners(struct table *table, struct config *config)
{
    uint32_t index = 1; /* the first region is the shared rest */
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        const struct tenant *tenant = &config->tenants[i];
        if (tenant->entries && !owners_is_region(table, index++, tenant->id, tenant->entries))
            return -ESTALE;
    }
    if (index != owners_region_count(table))
        return -ESTALE;
    int result = engine_rebind_owners(table, config);
    if (!result)
        owners_settle(table, NULL, NULL); /* nobody uses an older configuration */
    return result;
}

static uint64_t shortest_wrap_ns(const struct config *config)
{
    uint64_t shortest = NEVER;
    for (uint32_t i = 0; i < config->tenant_count; i++)
        for (uint32_t j = 0; j < config->tenants[i].rule_count; j++) {
            const struct rule *rule = &config->tenants[i].rules[j];
            uint64_t wrap = limit_wrap_ns(&rule->limit);
            shortest = wrap < shortest ? wrap : shortest;
            for (uint32_t k = 0; rule->overrides && k < rule->overrides->count; k++) {
                wrap = limit_wrap_ns(&rule->overrides->items[k].rule.limit);
                shortest = wrap < shortest ? wrap : shortest;
            }
        }
    return shortest;
}

uint64_t engine_sweep_group_ns(const struct config *config, const struct table *table,
                               unsigned worker_count)
{
    uint64_t groups = table_entry_count(table) / TABLE_GROUP_ENTRIES;
    uint64_t pass_ns = shortest_wrap_ns(config) / 2;
    if (pass_ns > ENGINE_SWEEP_PASS_NS)
        pass_ns = ENGINE_SWEEP_PASS_NS;
    return pass_ns * worker_count / groups + 1;
}

static void init_lease_sweep(struct engine *engine, unsigned worker, unsigned worker_count)
{
    uint64_t pieces = table_lease_piece_count(engine->table);
    uint32_t first = (uint32_t)(pieces * worker / worker_count);
    uint32_t count = (uint32_t)(pieces * (worker + 1) / worker_count) - first;
    engine->lease_sweep = (struct lease_sweep){
        .first = first,
        .count = count,
        .piece_ns = ENGINE_LEASE_PASS_NS / (count ? count : 1),
    };
}

void engine_init(struct engine *engine, const struct config *config, struct table *table,
                 unsigned worker, unsigned worker_count)
{
    uint64_t groups = table_entry_count(table) / TABLE_GROUP_ENTRIES;
    engine->table = table;
    engine->sampler = NULL;
    engine->taker = (struct table_taker){
        .on_full = config->on_full == ON_FULL_EVICT ? TABLE_EVICT : TABLE_REFUSE,
    };
    engine->shared = NULL;
    engine->sweep_cursor = (uint32_t)(groups * worker / worker_count);
    engine->swept_until_ns = 0;
    init_lease_sweep(engine, worker, worker_count);
    engine_use(engine, config, engine_sweep_group_ns(config, table, worker_count));
}

uint64_t engine_tick_interval_ns(const struct engine *engine)
{
    uint64_t interval_ns = engine->sweep_group_ns * ENGINE_TICK_GROUPS / 2;
    if (interval_ns > 100000000)
        return 100000000;
    return interval_ns < 1000000 ? 1000000 : interval_ns;
}

/* Of one tick: twice what falls due until the next, so that a table too large for
 * ENGINE_TICK_GROUPS is passed in time as well. */
static uint64_t most_groups(const struct engine *engine)
{
    uint64_t twice = 2 * engine_tick_interval_ns(engine) / engine->sweep_group_ns;
    return twice > ENGINE_TICK_GROUPS ? twice : ENGINE_TICK_GROUPS;
}

void engine_tick(struct engine *engine, const struct instant *now)
{
    lease_tick(engine, now);
    if (engine->swept_until_ns == 0)
        engine->swept_until_ns = now->now_ns;
    if (now->now_ns < engine->swept_until_ns + engine->sweep_group_ns)
        return;
    if (now->now_ns - engine->swept_until_ns > ENGINE_SWEEP_PASS_NS) /* the machine slept */
        engine->swept_until_ns = now->now_ns - ENGINE_SWEEP_PASS_NS; /* one pass makes up for it */
    uint64_t due = (now->now_ns - engine->swept_until_ns) / engine->sweep_group_ns;
    uint64_t most = most_groups(engine);
    uint32_t groups = (uint32_t)(due < most ? due : most);
    engine->swept_until_ns += groups * engine->sweep_group_ns;
    uint32_t freed = table_sweep(engine->table, &engine->sweep_cursor, groups, now);
    if (freed)
        counter_add(&engine->counters->cell[COUNTER_SWEPT], freed);
}
