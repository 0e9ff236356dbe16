/* API keys by their hash. Built while loading, by one thread; any number may look up. */
#ifndef METE_CONFIG_FIND_KEY_H
#define METE_CONFIG_FIND_KEY_H

struct config;

/* Behind the tenants, which stay where they are. Results: 0, -ENOMEM. */
int find_build_keys(struct config *config);

#endif
