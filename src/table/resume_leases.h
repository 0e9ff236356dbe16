/* What the leases of a mapping that was taken up hold, key by key. resume_leases.c says why. */
#ifndef METE_TABLE_RESUME_LEASES_H
#define METE_TABLE_RESUME_LEASES_H

#include "table/mapping.h"

struct lease_sum { /* of the key whose entry stands at position; slots 0: an empty place */
    uint64_t position;
    uint64_t slots;
};

struct lease_sums {
    struct lease_sum *sums; /* open addressing; NULL: there is not one lease */
    uint64_t mask;
};

/* Looks at all leases, frees those that cannot be (*ret_damaged), and adds up the others. Nobody
 * else may run. Results: 0, -ENOMEM. */
int lease_sums_create(struct table *table, uint64_t now_ns, struct lease_sums *ret_sums,
                      uint64_t *ret_damaged);
void lease_sums_destroy(struct lease_sums *sums);

/* The slots of the leases on the key whose entry stands there. */
uint64_t lease_sums_of(const struct lease_sums *sums, uint64_t position);

/* May the group hold leases? One that stands where this says no was never answered. */
bool lease_is_noted(const struct table *table, uint32_t group);

#endif
