/* Random operations on the table and on a model of it: an array of slots with no marks, no atomics
 * and no shortcuts, which knows the rules and nothing else. Where an entry stands, what it holds,
 * who is evicted and how many are left must be the same after every operation.
 *
 *   prop_table [COUNT] [SEED]      or METE_COUNT, METE_SEED */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/random.h"
#include "table/mapping.h"
#include "table/table.h"

#define OWNERS 3u
#define MAX_ENTRIES 96u
#define SECOND_NS 1000000000ull

struct slot {
    bool used;
    struct key key;
    uint32_t owner;
    uint64_t state;
};

struct world {
    struct table *table;
    struct limit limits[OWNERS];
    struct slot slots[MAX_ENTRIES];
    uint32_t entries;
    uint64_t evictions;
    struct instant now;
    uint32_t cursor;
    uint64_t random;
    unsigned keys;
};

static uint64_t next_random(struct world *world)
{
    return random_next(&world->random);
}

static uint64_t below(struct world *world, uint64_t limit)
{
    return next_random(world) % limit;
}

/* The slot that is number i in the probe order of a key. */
static uint32_t model_slot(const struct table_probe *probe, uint32_t i)
{
    uint32_t group = probe->home_group - probe->region.first_group + i / TABLE_GROUP_ENTRIES;

    return (probe->region.first_group + group % probe->region.group_count) * TABLE_GROUP_ENTRIES +
           i % TABLE_GROUP_ENTRIES;
}

static uint64_t model_debt(const struct world *world, const struct slot *slot)
{
    const struct limit *limit = &world->limits[slot->owner];

    return limit_rest_after(limit, slot->state,
                            limit_is_wall(limit) ? world->now.wall_ns : world->now.now_ns);
}

static struct slot *model_find(struct world *world, const struct table_probe *probe)
{
    for (uint32_t i = 0; i < TABLE_GROUP_ENTRIES * TABLE_WINDOW_GROUPS; i++) {
        struct slot *slot = &world->slots[model_slot(probe, i)];

        if (slot->used && slot->owner == probe->owner && slot->key.low == probe->key.low &&
            slot->key.high == probe->key.high)
            return slot;
    }
    return NULL;
}

/* The first slot of the group that is empty, else the first at rest, else NULL. */
static struct slot *model_free(struct world *world, const struct table_probe *probe, uint32_t group)
{
    for (int is_at_rest = 0; is_at_rest <= 1; is_at_rest++)
        for (uint32_t i = 0; i < TABLE_GROUP_ENTRIES; i++) {
            struct slot *slot = &world->slots[model_slot(probe, group * TABLE_GROUP_ENTRIES + i)];

            if (is_at_rest ? model_debt(world, slot) == 0 : !slot->used)
                return slot;
        }
    return NULL;
}

/* The slot a new key gets, or NULL. */
static struct slot *model_claim(struct world *world, const struct table_probe *probe,
                                enum table_on_full on_full)
{
    struct slot *victim = NULL;

    for (uint32_t group = 0; group < TABLE_WINDOW_GROUPS; group++) {
        struct slot *slot = model_free(world, probe, group);

        if (slot)
            return slot;
    }
    if (on_full == TABLE_REFUSE)
        return NULL;
    for (uint32_t i = 0; i < TABLE_GROUP_ENTRIES * TABLE_WINDOW_GROUPS; i++) {
        struct slot *slot = &world->slots[model_slot(probe, i)];

        if (!victim || model_debt(world, slot) < model_debt(world, victim))
            victim = slot;
    }
    world->evictions++;
    return victim;
}

static const char *compare_ref(const struct world *world, const struct slot *slot,
                               const struct table_ref *ref)
{
    if (ref->entry != &world->table->entries[slot - world->slots])
        return "another entry";
    return ref->state == slot->state ? NULL : "another state";
}

static const char *do_check(struct world *world, const struct table_probe *probe)
{
    enum table_on_full on_full = below(world, 4) ? TABLE_EVICT : TABLE_REFUSE;
    const struct limit *limit = &world->limits[probe->owner];
    struct slot *slot = model_find(world, probe);
    enum table_result expected = TABLE_FOUND;
    struct table_ref ref;

    if (!slot) {
        slot = model_claim(world, probe, on_full);
        expected = slot ? TABLE_CLAIMED : TABLE_FULL;
        if (slot)
            *slot = (struct slot){.key = probe->key, .owner = probe->owner};
    }
    if (table_find_or_claim(world->table, probe, on_full, &world->now, &ref) != expected)
        return "another result";
    if (!slot)
        return NULL;
    const char *wrong = compare_ref(world, slot, &ref);

    if (wrong)
        return wrong;
    uint64_t now_ns = limit_is_wall(limit) ? world->now.wall_ns : world->now.now_ns;
    enum operation operation = below(world, 8) ? OPERATION_CHECK : OPERATION_REFUND;
    uint32_t cost = 1 + (uint32_t)below(world, limit->burst);
    struct step step = limit_apply(limit, ref.state, operation, cost, now_ns);

    if (expected == TABLE_CLAIMED && (step.state == 0 || below(world, 8) == 0)) {
        table_withdraw(world->table, &ref);
        return NULL;
    }
    if (!table_swap(world->table, &ref, step.state))
        return "a swap failed";
    slot->used = step.state != 0;
    slot->state = step.state;
    return NULL;
}

static const char *do_reset(struct world *world, const struct table_probe *probe)
{
    struct slot *slot = model_find(world, probe);
    struct table_ref ref;
    enum table_result result = table_find(world->table, probe, &ref);

    if (result != (slot ? TABLE_FOUND : TABLE_ABSENT))
        return "another result";
    if (!slot)
        return NULL;
    const char *wrong = compare_ref(world, slot, &ref);

    if (wrong)
        return wrong;
    slot->used = false;
    return table_swap(world->table, &ref, 0) ? NULL : "a swap failed";
}

static const char *do_sweep(struct world *world)
{
    uint32_t groups = (uint32_t)below(world, 9), freed = 0;

    for (uint32_t i = 0; i < groups * TABLE_GROUP_ENTRIES; i++) {
        struct slot *slot =
            &world->slots[(world->cursor * TABLE_GROUP_ENTRIES + i) % world->entries];

        if (slot->used && model_debt(world, slot) == 0) {
            slot->used = false;
            freed++;
        }
    }
    return table_sweep(world->table, &world->cursor, groups, &world->now) == freed
               ? NULL
               : "another number freed";
}

static const char *compare_all(const struct world *world)
{
    struct table_census census;
    uint64_t live = 0;

    for (uint32_t i = 0; i < world->entries; i++)
        live += world->slots[i].used;
    table_take_census(world->table, &census);
    if (census.live != live || census.busy != 0)
        return "another census";
    return table_eviction_count(world->table) == world->evictions ? NULL : "other evictions";
}

static const char *do_one(struct world *world)
{
    uint64_t number = below(world, world->keys);
    struct key key = {.low = number / 2, .high = number % 2}; /* half the low words are twins */
    struct table_probe probe = table_probe(world->table, key, (uint32_t)below(world, OWNERS));
    uint64_t what = below(world, 100);

    if (what < 70)
        return do_check(world, &probe);
    if (what < 80)
        return do_reset(world, &probe);
    if (what < 95) {
        uint64_t step_ns = below(world, SECOND_NS / 4);

        world->now.now_ns += step_ns;
        world->now.wall_ns += step_ns + step_ns / 7; /* two clocks */
        return NULL;
    }
    return what < 99 ? do_sweep(world) : compare_all(world);
}

static void world_make(struct world *world, uint64_t seed)
{
    static const struct limit_spec specs[OWNERS] = {
        {ALGORITHM_TOKEN_BUCKET, 2, SECOND_NS, 50},
        {ALGORITHM_FIXED_WINDOW, 5, 3 * SECOND_NS, 0},
        {ALGORITHM_SLIDING_WINDOW, 9, 2 * SECOND_NS, 0},
    };

    *world = (struct world){.random = seed, .now = {1000 * SECOND_NS, 1000 * SECOND_NS}};
    world->entries = 48 + 4 * (uint32_t)below(world, 13);
    world->keys = 8 + (unsigned)below(world, 2 * world->entries);
    struct table_options options = {
        .entries = world->entries,
        .owner_rows = OWNERS,
        .index_secret = {next_random(world), next_random(world)},
        .boot_id = 1,
    };
    struct table_region region;

    if (table_create(&options, &world->table) || table_region_reserve(world->table, 20, &region))
        abort();
    for (uint32_t row = 0; row < OWNERS; row++) {
        if (limit_compile(&specs[row], &world->limits[row]))
            abort();
        struct table_owner owner = {.limit = world->limits[row],
                                    .region =
                                        row == 1 ? region : table_region_shared(world->table)};

        if (table_owner_set(world->table, row, &owner))
            abort();
    }
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 0) : random_count(2000000);
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : random_seed(1);
    const uint64_t per_world = 20000;

    for (uint64_t done = 0; done < count; done += per_world) {
        struct world world;

        world_make(&world, seed + done);
        for (uint64_t i = 0; i < per_world; i++) {
            const char *wrong = do_one(&world);

            if (wrong) {
                printf("prop_table: seed %" PRIu64 ", operation %" PRIu64 ": %s\n", seed, done + i,
                       wrong);
                return 1;
            }
        }
        table_destroy(world.table);
    }
    printf("prop_table: %" PRIu64 " operations, seed %" PRIu64 ", 0 differences\n", count, seed);
    return 0;
}
