/* Usage: what each tenant's rules allowed, denied and hold. Main thread. */
#ifndef METE_CMD_SERVE_USAGE_H
#define METE_CMD_SERVE_USAGE_H

#include <stdint.h>
#include <stdio.h>

#include "cmd/serve_observe.h"
#include "config/config.h"

struct rule_sum { /* of all workers */
    uint64_t allowed, denied, would_deny, units;
};

struct secret_sum { /* of all workers: datagrams that each of a tenant's secrets signed */
    uint64_t used[CONFIG_MAX_SECRETS];
};

struct rule;
struct server;
struct tenant;

/* What was counted under a row through one door, without what is carried; with it. */
struct rule_sum usage_sum_row(const struct server *server, uint32_t row, enum observe_door door);
struct rule_sum usage_sum_door(const struct server *server, uint32_t row, enum observe_door door);
struct secret_sum usage_sum_secrets(const struct server *server, uint32_t row);
/* Adds the latter of each door to sums, one for every door. */
void usage_sum_doors(const struct server *server, uint32_t row, struct rule_sum *sums);
/* With what is carried: what the row's owner ever used. And of a rule together with its overrides.
 * Other threads hold server->usage_lock. */
struct rule_sum usage_sum_all(const struct server *server, uint32_t row);
struct rule_sum usage_sum_rule(const struct server *server, const struct rule *rule);
void usage_add(struct rule_sum *total, struct rule_sum more);

/* Checks of the tenant that were left out in overloads (net/shed.h), in part estimated. */
uint64_t usage_sum_shed(const struct server *server, const struct tenant *tenant);

/* As text for people; as members "rules", "tenants" and "secrets" of a JSON object. live: entries
 * per row. A rule's numbers are those of the subjects that none of its overrides applies to. */
void usage_print_text(const struct server *server, const uint64_t *live, FILE *out);
void usage_print_json(const struct server *server, const uint64_t *live, FILE *out);

/* One tenant's rules as a JSON object, for itself: http_usage_fn. The doors' thread. */
struct http_out;
void usage_answer(void *server, const struct tenant *tenant, struct http_out *out);

#endif
