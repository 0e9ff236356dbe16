/* The files of secrets that a configuration names: key_file and secret_files. Relative paths start
 * from the folder of the configuration file, those of --set and of the environment from the current
 * one. Loading only, one thread. */
#ifndef METE_CONFIG_SECRET_H
#define METE_CONFIG_SECRET_H

#include <stdint.h>

struct config;
struct config_options;
struct node;
struct report;
struct tenant;

/* Makes config->reader and destroys it again, which wipes the key. Results: 0, -ENOMEM, reported.
 */
int secret_open_reader(const struct report *report, const struct config_options *options,
                       struct config *config);
void secret_close_reader(struct config *config);

/* `key_file`: its path into the configuration, its bytes into the reader. `none` forgets both.
 * Results: 0, -EINVAL, -ENOMEM, reported. */
int secret_apply_key_file(const struct report *report, const struct node *node,
                          struct config *config);

/* The path of a file that is read later, made absolute; `none` is NULL. Results as above. */
int secret_apply_path(const struct report *report, const struct node *node,
                      const struct config *config, char **ret_path);

/* Room for the secrets of all tenants. Results: 0, -ENOMEM, reported. */
int secret_reserve(const struct report *report, uint32_t count, struct config *config);

/* Room for the seeds of all tenants. Results: 0, -ENOMEM, reported. */
int secret_reserve_seeds(const struct report *report, uint32_t count, struct config *config);

/* Makes the seed of the tenant at this position of the file, in locked memory. */
const uint64_t *secret_make_seed(struct config *config, uint32_t position, const char *name);

/* `secret_files` of a tenant. Results: 0, -EINVAL, -ENOMEM, reported. */
int secret_apply_files(const struct report *report, const struct node *node, struct config *config,
                       struct tenant *tenant);

/* Wipes and gives back all of it. */
void secret_release(struct config *config);

#endif
