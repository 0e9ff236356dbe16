/* What a new configuration would change: one line each, first what a running daemon takes over,
 * then what needs a restart. For `mete config diff` and for a reload, which names the latter.
 *
 * Compared is what is in effect: a secret in another file, or a rule that moved from a tier into
 * its tenant, is no change. No line holds a secret. Tenants and rules are the same if their names
 * are. Any thread; both configurations are only read. */
#ifndef METE_CONFIG_DIFF_H
#define METE_CONFIG_DIFF_H

#include <stdbool.h>
#include <stddef.h>

struct config;
struct rule;
struct tenant;

enum diff_kind {
    DIFF_FIELD, /* outside the tenants */
    DIFF_TENANT_ADDED,
    DIFF_TENANT_REMOVED,
    DIFF_TENANT_FIELD,
    DIFF_SECRETS,
    DIFF_API_KEY,
    DIFF_RULE_ADDED,
    DIFF_RULE_REMOVED,
    DIFF_RULE_CHANGED,
    DIFF_OVERRIDE_ADDED,
    DIFF_OVERRIDE_REMOVED,
    DIFF_OVERRIDE_CHANGED,
};

struct diff_change {
    enum diff_kind kind;
    bool is_live;
    char *text; /* "workers: 1 -> 2, needs a restart" */
};

struct diff {
    struct diff_change *changes;
    size_t count;
    bool is_incomplete; /* no memory for the rest */
};

/* Results: 0, -ENOMEM. diff_deinit() either way. */
int diff_init(struct diff *diff, const struct config *from, const struct config *to);
void diff_deinit(struct diff *diff);

/* Does a bucket of the one rule mean the same under the other, so that it keeps what it owes? Not
 * if the algorithm, the length of a window or an id differs, or if only one of them is exact. */
bool diff_keeps_state(const struct rule *from, const struct rule *to);

/* One more line; ", needs a restart" is added to what is not live. For the two files of this
 * module. */
void diff_add(struct diff *diff, enum diff_kind kind, bool is_live, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void diff_tenants(struct diff *diff, const struct config *from, const struct config *to);

#endif
