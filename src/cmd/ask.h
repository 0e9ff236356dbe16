/* What the commands that ask a server share: where it is, who asks, and its refusals in words. One
 * thread. */
#ifndef METE_CMD_ASK_H
#define METE_CMD_ASK_H

#include <getopt.h>
#include <stddef.h>
#include <stdint.h>

#include "mete/client.h"

struct ask_server {
    const char *command; /* "check": who fails */
    const char *server, *tenant;
    const char *secret_file; /* NULL: none */
    uint64_t timeout_ms;
};

/* The defaults. */
struct ask_server ask_server(const char *command);

/* For getopt_long(), and what it found of them, its argument in optarg. 0, or EXIT_USAGE after
 * saying why. */
#define ASK_OPTIONS                                                                                \
    {"server", required_argument, NULL, 's'}, {"tenant", required_argument, NULL, 'n'},            \
        {"secret-file", required_argument, NULL, 'S'},                                             \
    {                                                                                              \
        "timeout", required_argument, NULL, 't'                                                    \
    }
int ask_take_option(struct ask_server *server, int option);

/* A client that tells decisions of the server only: no fallback, no jitter. Results: 0, EXIT_USAGE
 * after saying why. */
int ask_open(const struct ask_server *server, struct mete_client **ret_client);

/* A status that decides nothing, in words. Returns EXIT_USAGE. */
int ask_explain_status(const struct ask_server *server, const char *rule, uint8_t status);

/* Returns EXIT_NO_ANSWER after saying that and why there is no answer. */
int ask_explain_no_answer(const struct ask_server *server, const struct mete_answer *answer);

/* "ok", "unknown_rule", ... */
const char *ask_status_name(uint8_t status);

/* "250us", "499.9ms", "5s", "2m 5s", "3h 20m", "4d 2h", rounded up so that the wait suffices. */
const char *ask_format_wait(uint64_t us, char *text, size_t size);

#endif
