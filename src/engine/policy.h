/* What a batch is judged by: a configuration and what was derived from it before it was published.
 * Made and freed by cmd/serve_reload.c, handed to workers and doors by config/publish.h. */
#ifndef METE_ENGINE_POLICY_H
#define METE_ENGINE_POLICY_H

#include <stdint.h>

struct config;
struct tenant_keys;

struct policy {
    struct config *config;    /* bound to the table (engine_bind_owners); constant from then on */
    struct tenant_keys *keys; /* of config->tenants, in their order */
    uint64_t sweep_group_ns;  /* of engine_use() */
};

#endif
