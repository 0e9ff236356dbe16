/* A life that ends between two steps of a lease leaves a key's count higher than what its leases
 * hold (lease.h: first the count, then the lease; at the end the other way round). Nobody would
 * ever take those slots off, so the next life counts anew: a key's count is the sum of its leases.
 *
 * Leases are found by the bits of their groups, and by the looking bits, which stand for a bit
 * while a sweep has it cleared. A lease without either was put in place by somebody who ended
 * before the next step, so it was not answered, and it is freed with its slots. The cost goes by
 * the number of leases, not by the size of the table.
 *
 * Threads: all but the last two functions before any other thread runs. */
#include "table/resume_leases.h"

#include <errno.h>
#include <stdlib.h>

#include "table/doubts.h"
#include "table/lease_words.h"
#include "table/pair.h"

#define EXPIRY_SLACK_MS 1000u

static uint64_t place_of(const struct lease_sums *sums, uint64_t position)
{
    uint64_t at = position * 0x9e3779b97f4a7c15ull >> 20 & sums->mask;

    while (sums->sums[at].slots && sums->sums[at].position != position)
        at = (at + 1) & sums->mask;
    return at;
}

uint64_t lease_sums_of(const struct lease_sums *sums, uint64_t position)
{
    return sums->sums ? sums->sums[place_of(sums, position)].slots : 0;
}

void lease_sums_destroy(struct lease_sums *sums)
{
    free(sums->sums);
    sums->sums = NULL;
}

bool lease_is_noted(const struct table *table, uint32_t group)
{
    /* relaxed: only a sweep clears it, and it trusts the group first */
    uint64_t bits = __atomic_load_n(&table->lease_bits[group / 64], __ATOMIC_RELAXED);

    return bits >> group % 64 & 1;
}

/* The bits that stood when the life before ended; how many leases their groups hold. */
static uint64_t restore_bits(struct table *table)
{
    const uint64_t words = (mapping_group_count(table) + 63) / 64;
    const uint64_t last = mapping_group_count(table) % 64;
    uint64_t count = 0;

    for (uint64_t word = 0; word < words; word++) {
        uint64_t bits = table->lease_bits[word] | table->looking_bits[word];

        if (word + 1 == words && last)
            bits &= ((uint64_t)1 << last) - 1;
        table->lease_bits[word] = bits;
        table->looking_bits[word] = 0;
        for (; bits; bits &= bits - 1) {
            uint32_t group = (uint32_t)(word * 64 + (uint64_t)__builtin_ctzll(bits));

            for (uint32_t i = 0; i < TABLE_GROUP_ENTRIES; i++)
                count += lease_is(pair_load(&home_group(table, group)[i]));
        }
    }
    return count;
}

/* Is it one that could have been granted, on a key that is there? */
static bool is_plausible(const struct table *table, struct table_entry *entry,
                         const struct table_lease *lease, uint64_t now_ms)
{
    const struct table_header *header = table->header;

    if (!doubts_is_placed(table, entry, lease->ref.meta) || lease->slots == 0 ||
        lease->slots > LIMIT_SLOTS_MAX || lease->position >= header->entry_count ||
        lease->expires_ms > now_ms + LIMIT_LEASE_MAX_NS / 1000000 + EXPIRY_SLACK_MS)
        return false;
    struct table_entry *key = &table->entries[lease->position];
    struct pair pair = pair_load(key);

    return meta_kind(pair.meta) == ENTRY_LEASE && !lease_is(pair) &&
           meta_owner(pair.meta) == meta_owner(lease->ref.meta) &&
           doubts_is_placed(table, key, pair.meta);
}

/* Adds up one lease, or frees it: true. */
static bool add(struct table *table, struct lease_sums *sums, struct table_entry *entry,
                uint64_t now_ms)
{
    const struct pair pair = pair_load(entry);

    if (!lease_is(pair))
        return false;
    const struct table_lease lease = lease_unpack(entry, pair);
    bool is_good = is_plausible(table, entry, &lease, now_ms);

    if (is_good) {
        struct lease_sum *sum = &sums->sums[place_of(sums, lease.position)];

        is_good = sum->slots + lease.slots <= LIMIT_SLOTS_MAX; /* more fits no count */
        if (is_good)
            *sum = (struct lease_sum){lease.position, sum->slots + lease.slots};
    }
    return !is_good && pair_cas(entry, pair, (struct pair){0, meta_empty(pair.meta)});
}

int lease_sums_create(struct table *table, uint64_t now_ns, struct lease_sums *ret_sums,
                      uint64_t *ret_damaged)
{
    const uint64_t words = (mapping_group_count(table) + 63) / 64;
    const uint64_t count = restore_bits(table);
    struct lease_sums sums = {.mask = 15};

    *ret_sums = (struct lease_sums){.sums = NULL};
    *ret_damaged = 0;
    if (count == 0)
        return 0;
    while (sums.mask + 1 < 2 * count)
        sums.mask = 2 * sums.mask + 1;
    sums.sums = calloc(sums.mask + 1, sizeof(*sums.sums));
    if (!sums.sums)
        return -ENOMEM;
    for (uint64_t word = 0; word < words; word++) {
        for (uint64_t bits = table->lease_bits[word]; bits; bits &= bits - 1) {
            uint32_t group = (uint32_t)(word * 64 + (uint64_t)__builtin_ctzll(bits));

            for (uint32_t i = 0; i < TABLE_GROUP_ENTRIES; i++)
                *ret_damaged += add(table, &sums, &home_group(table, group)[i], now_ns / 1000000);
        }
    }
    *ret_sums = sums;
    return 0;
}
