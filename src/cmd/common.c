/* What all subcommands share: how they complain and how they read a number. */
#define METE_FAILS /* this is its function itself */
#include "cmd/cmd.h"

#include "cmd/printable.h"
#include "obs/log.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 1024

int cmd_fail(const char *name, const char *format, ...)
{
    char raw[LINE_BYTES];
    char line[LINE_BYTES * 4]; /* a control byte becomes \xNN */
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(raw, sizeof(raw), format, arguments);
    va_end(arguments);
    if (len < 0)
        len = 0;
    printable_format(raw, (size_t)len < sizeof(raw) ? (size_t)len : sizeof(raw) - 1, line,
                     sizeof(line));
    fprintf(stderr, "%smete %s: %s\n", log_is_journal() ? LOG_JOURNAL_ERROR : "", name, line);
    return EXIT_USAGE;
}

int cmd_bad_option(const char *name, int result, char *const *argv)
{
    char letter[3] = {'-', (char)optopt, 0};
    const char *word = argv[optind - 1];
    if (result == ':')
        return cmd_fail(name, "%s: its value is missing; see mete %s --help", word, name);
    if (strncmp(word, "--", 2) != 0 && optopt) /* one of several letters behind one dash */
        word = letter;
    return cmd_fail(name, "%s: no such option, or one without a value; see mete %s --help", word,
                    name);
}

int cmd_number(const char *name, const char *option, const char *text, uint64_t min, uint64_t max,
               uint64_t *ret_number)
{
    char *end;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    if (errno || !isdigit((unsigned char)text[0]) || *end || number < min || number > max)
        return cmd_fail(name, "%s: '%s' is not a whole number from %" PRIu64 " to %" PRIu64, option,
                        text, min, max);
    *ret_number = number;
    return 0;
}
