/* Usage by tenant and rule for Prometheus, with a bounded number of labels.
 *
 * The first METRICS_MAX_RULES rules that a configuration brings get labels, and keep them as long
 * as they are configured, through reloads; all others are one, tenant="(other)", rule="(other)". A
 * rule that gets a label later takes its past with it, and a removed one is gone: what "(other)"
 * then lacks is put onto it for ever, because a counter that falls looks to Prometheus like a
 * restart. Thread: the metrics loop's. */
#ifndef METE_CMD_SERVE_METRICS_RULES_H
#define METE_CMD_SERVE_METRICS_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/serve_observe.h"
#include "cmd/serve_usage.h"

#define METRICS_MAX_RULES 500u
#define METRICS_DECISIONS 3u /* allowed, denied, would_deny */
/* Lines for one rule: each decision through each door, and the units. */
#define METRICS_RULE_LINES (METRICS_DECISIONS * OBSERVE_DOORS + 1u)

struct http_out;

struct metrics_label {
    uint32_t tenant, rule;               /* ids; rule 0: the tenant's inline limits */
    bool is_there;                       /* still configured */
    const char *tenant_name, *rule_name; /* of the configuration, during a page */
    struct rule_sum sums[OBSERVE_DOORS];
};

struct metrics_other { /* a counter of the others that never falls */
    uint64_t last, lifted;
};

struct metrics_rules {
    uint32_t count;
    struct metrics_label labels[METRICS_MAX_RULES];
    uint16_t slots[2 * 512]; /* label number + 1 by hash; 0: none */
    struct rule_sum others[OBSERVE_DOORS];
    bool has_others;
    bool has_unknown; /* something came by OBSERVE_OTHER */
    struct metrics_other told[METRICS_RULE_LINES];
};

void metrics_rules_print(struct metrics_rules *rules, struct server *server,
                         const struct config *config, struct http_out *out);

#endif
