/* The fields of the top level that are a path, an address or a name; `none` takes back what was
 * set. Loading only, one thread. Results of all: 0, -EINVAL, reported. */
#ifndef METE_CONFIG_SCHEMA_VALUES_H
#define METE_CONFIG_SCHEMA_VALUES_H

struct config;
struct config_door;
struct config_file;
struct node;
struct report;

int schema_apply_path(const struct report *report, const struct node *node, char **ret_path);

/* An address, or with a slash the path of a UNIX socket. */
int schema_apply_door(const struct report *report, const struct node *node,
                      struct config_door *ret_door);

/* A file of certificates or keys, and the line that names it. */
int schema_apply_pem(const struct report *report, const struct node *node,
                     const struct config *config, struct config_file *ret_file);

int schema_apply_name(const struct report *report, const struct node *node, char **ret_name);

/* The name of a rule, or none. */
int schema_apply_rule(const struct report *report, const struct node *node, char **ret_name);

#endif
