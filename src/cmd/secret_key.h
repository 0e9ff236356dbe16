/* What a client makes of its tenant's secret (proto-spec/protocol.md 4), for the subcommands that
 * speak the protocol themselves. Pure but for reading the file; one thread. */
#ifndef METE_CMD_SECRET_KEY_H
#define METE_CMD_SECRET_KEY_H

#include <stdint.h>

#include "config/config.h"
#include "mete/mac.h"

#define SECRET_KEY_NONCE_BYTES 16u

/* The secret in a file, by the rules of secret_files. 0, or EXIT_USAGE after saying what is wrong
 * with the option of the subcommand `name`. */
int secret_key_load(const char *name, const char *option, const char *path,
                    struct config_secret *ret_secret);

/* The MAC key for a life of the server; boot id 0: of HELLO and what answers it. */
struct mete_mac_key secret_key_mac(const struct config_secret *secret, uint64_t boot_id);

/* What masks the seed in the answer to a HELLO with this nonce. */
uint64_t secret_key_pad(const struct config_secret *secret,
                        const uint8_t nonce[SECRET_KEY_NONCE_BYTES]);

#endif
