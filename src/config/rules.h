/* A set of rules while it is put together: a tier's, or a tenant's own and its tier's. Loading
 * only. */
#ifndef METE_CONFIG_RULES_H
#define METE_CONFIG_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

struct node;
struct report;

struct rules_item {
    struct rule rule;        /* its name is owned */
    const struct node *node; /* where it was read */
    bool inherited;
};

struct rules {
    struct rules_item *items;
    uint32_t count;
};

/* Reads a list of rules into an empty set. Results: 0, -EINVAL, -ENOMEM, reported. */
int rules_parse(const struct report *report, const struct node *list, struct calendars *calendars,
                struct rules *rules);

/* Adds copies of a tier's rules. Results: 0, -ENOMEM, reported. */
int rules_inherit(const struct report *report, const struct rules *tier, struct rules *rules);

/* Drops what a tenant's own rule replaces, refuses equal names and equal ids, and leaves the set in
 * the order of its ids. Results: 0, -EINVAL, reported. */
int rules_settle(const struct report *report, struct rules *rules);

/* With their overrides, each of which counts as one. */
uint64_t rules_count_all(const struct rules *rules);

void rules_free(struct rules *rules);

#endif
