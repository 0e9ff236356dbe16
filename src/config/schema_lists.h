/* The fields of the top level that hold lists of addresses and networks. Loading only, one thread.
 */
#ifndef METE_CONFIG_SCHEMA_LISTS_H
#define METE_CONFIG_SCHEMA_LISTS_H

struct config;
struct node;
struct report;

/* `listen.udp`, `trusted_networks`. Results: 0, -EINVAL, reported. */
int schema_apply_addresses(const struct report *report, const struct node *node,
                           struct config *config);
int schema_apply_networks(const struct report *report, const struct node *node,
                          struct config *config);

#endif
