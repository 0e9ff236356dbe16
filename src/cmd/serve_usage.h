/* Usage: what each tenant's rules allowed, denied and hold. Main thread. */
#ifndef METE_CMD_SERVE_USAGE_H
#define METE_CMD_SERVE_USAGE_H

#include <stdint.h>
#include <stdio.h>

struct rule_sum { /* of all workers */
    uint64_t allowed, denied, would_deny, units;
};

struct server;

/* What the workers counted under a row, without what is carried. */
struct rule_sum usage_sum_row(const struct server *server, uint32_t row);
void usage_add(struct rule_sum *total, struct rule_sum more);

/* As text for people; as members "rules" and "tenants" of a JSON object. live: entries per row.
 * A rule's numbers are those of the subjects that none of its overrides applies to. */
void usage_print_text(const struct server *server, const uint64_t *live, FILE *out);
void usage_print_json(const struct server *server, const uint64_t *live, FILE *out);

#endif
