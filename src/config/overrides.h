/* Overrides of a rule while a configuration is loaded: other numbers for single subjects and for
 * prefixes. Loading only, one thread. */
#ifndef METE_CONFIG_OVERRIDES_H
#define METE_CONFIG_OVERRIDES_H

#include <stdint.h>

struct config_overrides;
struct node;
struct report;
struct rule;

/* Reads `overrides` of a rule that is read otherwise. Results: 0, -EINVAL, -ENOMEM, reported;
 * overrides_free() of rule->overrides frees what was made either way. */
int overrides_parse(const struct report *report, const struct node *list, struct rule *rule);

/* A copy for another tenant, before overrides are settled; of NULL it is NULL. Results: 0, -ENOMEM;
 * overrides_free() of the copy frees what was made either way. */
int overrides_copy(const struct config_overrides *from, struct config_overrides **ret_copy);

/* Makes them ready for config_find_override(), with the seed of the rule's tenant. Results: 0,
 * -ENOMEM. */
int overrides_settle(struct rule *rule, uint64_t seed);

void overrides_free(struct config_overrides *overrides);

#endif
