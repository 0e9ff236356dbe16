/* The subcommands of the one binary: a table of {name, function, one line of help} in main.c, one
 * file per subcommand here. Each gets argv with its own name in argv[0] and returns the exit
 * status: enum exit_status, or for `mete check` also EXIT_DENIED and EXIT_NO_ANSWER. */
#ifndef METE_CMD_CMD_H
#define METE_CMD_CMD_H

#include <stddef.h>
#include <stdint.h>

struct option;

enum exit_status {
    EXIT_ALLOWED = 0, /* or: done */
    EXIT_DENIED = 1,
    EXIT_USAGE = 2,     /* wrong use or bad input: one line on stderr */
    EXIT_NO_ANSWER = 3, /* the server did not answer */
    EXIT_INVALID = 4,   /* a measurement that is not valid */
};

int cmd_serve(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_acquire(int argc, char **argv);
int cmd_usage(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_config(int argc, char **argv);
int cmd_secret(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);
int cmd_vectors(int argc, char **argv);
int cmd_version(int argc, char **argv);

/* "mete NAME: ..." on stderr, one line whatever the arguments hold; returns EXIT_USAGE. */
int cmd_fail(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

#if defined(METE_ANALYZE) && !defined(METE_FAILS) /* what `make analyze` cannot see from here */
#define cmd_fail(...) (cmd_fail(__VA_ARGS__), EXIT_USAGE)
#endif

/* What getopt_long() refused (its result: '?' or ':'), named, with the option that may have been
 * meant. argv and options as they were given to it. Returns EXIT_USAGE. */
int cmd_bad_option(const char *name, int result, char *const *argv, const struct option *options);

/* A word that is none of the names: says so, and which may have been meant. Returns EXIT_USAGE. */
int cmd_unknown(const char *word, const char *const *names, size_t count);

/* Whole decimal number of an option in [min, max]. 0, or EXIT_USAGE after saying what is wrong:
 * "mete NAME: --option: 'x' is not a number from MIN to MAX". */
int cmd_number(const char *name, const char *option, const char *text, uint64_t min, uint64_t max,
               uint64_t *ret_number);

#endif
