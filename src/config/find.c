/* The lookups of the hot path: ids to tenants and rules, addresses to trust.
 *
 * Ids go through open addressing with multiplicative hashing (Knuth, TAOCP 3, 6.4). The table has
 * at least four slots for each id and the multiplier is the best of a few tries, so that a tenant's
 * handful of rules nearly always sits without a collision: one multiplication, one load, one
 * compare. No allocation, no lock; any number of threads may look up. */
#include "config/find.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "config/config.h"
#include "core/key.h"

#define NOWHERE UINT32_MAX
#define TRIES 64u
#define TRIES_MAX_COUNT 1024u /* beyond it collisions are a matter of course */

static inline uint32_t find_position(const struct config_index *index, uint32_t id, uint32_t mask)
{
    uint32_t at = (id * index->multiplier) >> index->shift;
    /* At most a quarter of the slots is in use: an empty one, which holds NOWHERE, ends this. */
    while (index->slots[at].id != id && index->slots[at].id != 0)
        at = (at + 1) & mask;
    return index->slots[at].id == id ? index->slots[at].position : NOWHERE;
}

static inline uint32_t mask_of(const struct config_index *index)
{
    return UINT32_MAX >> index->shift;
}

/* Puts all ids in place; returns how many are not where their hash says. */
static uint32_t fill(struct config_index *index, uint32_t count,
                     uint32_t (*id_at)(const void *, uint32_t), const void *items)
{
    const uint32_t mask = mask_of(index);
    uint32_t astray = 0;
    for (uint32_t i = 0; i <= mask; i++)
        index->slots[i] = (struct config_slot){.id = 0, .position = NOWHERE};
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t id = id_at(items, i);
        uint32_t at = (id * index->multiplier) >> index->shift;
        astray += index->slots[at].id != 0;
        while (index->slots[at].id != 0)
            at = (at + 1) & mask;
        index->slots[at] = (struct config_slot){.id = id, .position = i};
    }
    return astray;
}

static int build(struct config_index *index, uint32_t count,
                 uint32_t (*id_at)(const void *, uint32_t), const void *items)
{
    uint32_t multiplier = 2654435769u; /* 2^32 / golden ratio */
    uint32_t best = multiplier, best_astray = UINT32_MAX;

    index->shift = 30;
    while (mask_of(index) / 4 < count)
        index->shift--;
    index->slots = calloc((size_t)mask_of(index) + 1, sizeof(*index->slots));
    if (!index->slots)
        return -ENOMEM;
    for (uint32_t i = 0; i < (count <= TRIES_MAX_COUNT ? TRIES : 1) && best_astray; i++) {
        index->multiplier = multiplier;
        const uint32_t astray = fill(index, count, id_at, items);
        if (astray < best_astray) {
            best = multiplier;
            best_astray = astray;
        }
        multiplier = (multiplier * 1664525u + 1013904223u) | 1u;
    }
    index->multiplier = best;
    fill(index, count, id_at, items);
    return 0;
}

static uint32_t rule_id_at(const void *items, uint32_t i)
{
    return ((const struct rule *)items)[i].id;
}

static uint32_t tenant_id_at(const void *items, uint32_t i)
{
    return ((const struct tenant *)items)[i].id;
}

int find_build_rules(struct tenant *tenant)
{
    return build(&tenant->index, tenant->rule_count, rule_id_at, tenant->rules);
}

int find_build_tenants(struct config *config)
{
    return build(&config->index, config->tenant_count, tenant_id_at, config->tenants);
}

const struct tenant *config_find_tenant(const struct config *config, uint32_t id)
{
    const uint32_t position = find_position(&config->index, id, mask_of(&config->index));
    return position == NOWHERE ? NULL : &config->tenants[position];
}

const struct rule *config_find_rule(const struct tenant *tenant, uint32_t id)
{
    const uint32_t position = find_position(&tenant->index, id, mask_of(&tenant->index));
    return position == NOWHERE ? tenant->fallback : &tenant->rules[position];
}

const struct tenant *config_find_tenant_by_name(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->tenant_count; i++)
        if (strcmp(config->tenants[i].name, name) == 0)
            return &config->tenants[i];
    return NULL;
}

static bool is_inside(const uint8_t address[16], const struct config_network *network)
{
    const unsigned whole = network->bits / 8, rest = network->bits % 8;
    if (memcmp(address, network->prefix, whole) != 0)
        return false;
    return rest == 0 || ((address[whole] ^ network->prefix[whole]) & (0xff00u >> rest & 0xff)) == 0;
}

/* The address as 16 bytes, v4 mapped into v6. False: of no kind that has one. */
static bool bytes_of(const struct sockaddr *address, uint8_t ret_bytes[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (address->sa_family == AF_INET) {
        memcpy(ret_bytes, mapped, sizeof(mapped));
        memcpy(ret_bytes + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        memcpy(ret_bytes, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
    } else {
        return false;
    }
    return true;
}

static bool is_loopback(const uint8_t bytes[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    static const uint8_t loopback[16] = {[15] = 1};
    return memcmp(bytes, mapped, sizeof(mapped)) == 0 ? bytes[12] == 127
                                                      : memcmp(bytes, loopback, 16) == 0;
}

const char *config_door_text(const struct config_door *door)
{
    return door->path ? door->path : door->address.len ? door->address.text : NULL;
}

bool config_is_loopback(const struct sockaddr *address)
{
    uint8_t bytes[16];
    return address->sa_family == AF_UNIX || (bytes_of(address, bytes) && is_loopback(bytes));
}

bool config_is_trusted(const struct config *config, const struct sockaddr *address)
{
    uint8_t bytes[16];
    if (address->sa_family == AF_UNIX)
        return true;
    if (!bytes_of(address, bytes))
        return false;
    if (is_loopback(bytes))
        return true;
    for (unsigned i = 0; i < config->trusted_count; i++)
        if (is_inside(bytes, &config->trusted[i]))
            return true;
    return false;
}
