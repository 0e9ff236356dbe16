/* The fields of the top level: what may stand where, its type, bounds and default, as data. Tiers
 * and tenants are read by tenants.c. Loading only, one thread. */
#ifndef METE_CONFIG_SCHEMA_H
#define METE_CONFIG_SCHEMA_H

#include <stddef.h>

struct config;
struct node;
struct report;

struct schema_roots { /* what the file says of these, or NULL */
    const struct node *tiers;
    const struct node *tenants;
};

/* Sets every field to its default. Results: 0, -ENOMEM, reported. */
int schema_apply_defaults(const struct report *report, struct config *config);

/* Sets the fields that stand in a file. Results: 0, -EINVAL, -ENOMEM, reported. */
int schema_apply_file(const struct report *report, const struct node *root, struct config *config,
                      struct schema_roots *ret_roots);

/* Sets one field from the text of an override; report->override names its origin. Results as above.
 */
int schema_apply_override(const struct report *report, const char *path, const char *text,
                          struct config *config);

/* The path of the position-th field that an override can set, or NULL behind the last one. */
const char *schema_override_path(size_t position);

#endif
