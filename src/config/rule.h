/* One rule of the configuration: its fields to a struct rule. Any thread. */
#ifndef METE_CONFIG_RULE_H
#define METE_CONFIG_RULE_H

#include <stdbool.h>
#include <stdint.h>

struct calendars;
struct config_override;
struct node;
struct report;
struct rule;

/* Results: 0, -EINVAL or -ENOMEM after saying so in report. The name of *ret_rule is for free();
 * its calendar, if any, is one of calendars. */
int rule_parse(const struct report *report, const struct node *node, struct calendars *calendars,
               struct rule *ret_rule);

/* Fills in how it is shared where the file does not say it, and for its overrides. Without a store
 * nothing is. */
void rule_settle_sync(struct rule *rule, bool has_store);

/* After that: the first of its overrides that is exact and has more than can be granted; or NULL.
 */
const struct config_override *rule_find_ungrantable(const struct rule *rule);

/* Frees what the rule holds, and forgets it. */
void rule_free(struct rule *rule);

struct rule_numbers { /* NULL where they do not stand */
    const struct node *rate, *burst, *limit, *lease;
};

/* Reads the numbers that the rule's algorithm takes (and its calendar, which is found before), and
 * compiles its limit; map is blamed for what is missing. Results: 0, or -EINVAL after reporting. */
int rule_parse_numbers(const struct report *report, const struct node *map,
                       const struct rule_numbers *numbers, struct rule *rule);

/* `id: NUMBER` if node is not NULL, else the hash of the name, which stands at name_node. Never 0.
 */
int rule_parse_id(const struct report *report, const struct node *node,
                  const struct node *name_node, uint32_t *ret_id);

#endif
