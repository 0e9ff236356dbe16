/* Builds the indices behind config_find_tenant(), config_find_rule() and config_find_override().
 * Loading only. */
#ifndef METE_CONFIG_FIND_H
#define METE_CONFIG_FIND_H

#include <stdint.h>

struct config;
struct config_overrides;
struct tenant;

/* Over the tenant's rules, or the configuration's tenants, which must stand where they stay and
 * have different ids. Results: 0, -ENOMEM. */
int find_build_rules(struct tenant *tenant);
int find_build_tenants(struct config *config);

/* Over overrides that stand where they stay, in their order. Results: 0, -ENOMEM. */
int find_build_overrides(struct config_overrides *overrides, uint64_t seed);

#endif
