/* A tenant's secret, for the subcommands that speak the protocol themselves; what is made of it is
 * net/keys.h's. One thread. */
#ifndef METE_CMD_SECRET_KEY_H
#define METE_CMD_SECRET_KEY_H

#include "config/config.h"

/* The secret in a file, by the rules of secret_files. 0, or EXIT_USAGE after saying what is wrong
 * with the option of the subcommand `name`. */
int secret_key_load(const char *name, const char *option, const char *path,
                    struct config_secret *ret_secret);

#endif
