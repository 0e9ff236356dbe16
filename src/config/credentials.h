/* What tenants' secrets and API keys must be to one another and to the addresses listened on.
 * Loading only, one thread. */
#ifndef METE_CONFIG_CREDENTIALS_H
#define METE_CONFIG_CREDENTIALS_H

#include <stdint.h>

#include "config/config.h"

struct node;
struct report;

struct placed_tenant { /* a tenant and the place where it was read */
    struct tenant tenant;
    const struct node *node;
};

/* Whoever can be reached from beyond loopback needs somebody to believe: secrets and a key file, or
 * trusted networks. Results: 0, -EINVAL, reported. */
int credentials_judge_reach(const struct report *report, const struct node *node,
                            const struct config *config, const struct tenant *tenant);

/* A secret, or the hash of an API key, stands once over all tenants: with another's secret one
 * could speak for him. Results: 0, -EINVAL, -ENOMEM, reported. */
int credentials_judge_shared(const struct report *report, const struct placed_tenant *placed,
                             uint32_t count);

#endif
