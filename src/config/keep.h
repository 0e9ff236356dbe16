/* What a reload cannot change. Loading thread only. */
#ifndef METE_CONFIG_KEEP_H
#define METE_CONFIG_KEEP_H

#include <stdbool.h>
#include <stdio.h>

struct config;

/* Sets in `config`, just loaded, what stays as it is in `running` until a restart, and writes the
 * names of those that the file wants otherwise to names, separated by ", ". Results: 0, -ENOMEM. */
int config_keep(struct config *config, const struct config *running, FILE *names);

/* Do both make the same keys of subjects? If not, no bucket would be found again. */
bool config_has_same_key(const struct config *config, const struct config *running);

#endif
