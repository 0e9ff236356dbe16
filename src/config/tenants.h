/* Tiers and tenants of a configuration. Loading only. */
#ifndef METE_CONFIG_TENANTS_H
#define METE_CONFIG_TENANTS_H

struct config;
struct node;
struct report;

/* Reads tiers (NULL: there are none) and tenants into config, whose table_entries are already what
 * they will be, and gives out all indices. Results: 0, or -EINVAL or -ENOMEM after reporting;
 * config_destroy() frees what was made either way. */
int tenants_parse(const struct report *report, const struct node *tiers, const struct node *tenants,
                  struct config *config);

#endif
