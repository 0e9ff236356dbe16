/* Builds the indices behind config_find_tenant() and config_find_rule(). Loading only. */
#ifndef METE_CONFIG_FIND_H
#define METE_CONFIG_FIND_H

struct config;
struct tenant;

/* Over the tenant's rules, or the configuration's tenants, which must stand where they stay and
 * have different ids. Results: 0, -ENOMEM. */
int find_build_rules(struct tenant *tenant);
int find_build_tenants(struct config *config);

#endif
