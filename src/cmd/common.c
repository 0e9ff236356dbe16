/* What all subcommands share: how they complain and how they read a number. */
#define METE_FAILS /* this is its function itself */
#include "cmd/cmd.h"

#include "cmd/printable.h"
#include "config/report.h"
#include "obs/log.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 1024
#define MAX_OPTIONS 64

/* "mete: ..." or "mete NAME: ...". */
static void complain(const char *name, const char *format, va_list arguments)
{
    char raw[LINE_BYTES];
    char line[LINE_BYTES * 4]; /* a control byte becomes \xNN */
    int len = vsnprintf(raw, sizeof(raw), format, arguments);
    if (len < 0)
        len = 0;
    printable_format(raw, (size_t)len < sizeof(raw) ? (size_t)len : sizeof(raw) - 1, line,
                     sizeof(line));
    fprintf(stderr, "%smete%s%s: %s\n", log_is_journal() ? LOG_JOURNAL_ERROR : "", *name ? " " : "",
            name, line);
}

int cmd_fail(const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    complain(name, format, arguments);
    va_end(arguments);
    return EXIT_USAGE;
}

int cmd_unknown(const char *word, const char *const *names, size_t count)
{
    const char *nearest = report_nearest(word, names, count);
    if (nearest)
        return cmd_fail("", "unknown command '%s'; did you mean '%s'?", word, nearest);
    return cmd_fail("", "unknown command '%s'; `mete help` lists them", word);
}

static const char *find_nearest_option(const char *word, const struct option *options)
{
    const char *names[MAX_OPTIONS];
    size_t count = 0;
    for (; options[count].name && count < MAX_OPTIONS; count++)
        names[count] = options[count].name;
    return report_nearest(word, names, count);
}

int cmd_bad_option(const char *name, int result, char *const *argv, const struct option *options)
{
    const char *word = argv[optind - 1];
    const bool is_long = strncmp(word, "--", 2) == 0;
    const int len = (int)strcspn(word, "=");
    char plain[LINE_BYTES];
    if (result == ':')
        return cmd_fail(name, "%s: its value is missing; see mete %s --help", word, name);
    if (!is_long && optopt) /* one of several letters behind one dash */
        return cmd_fail(name, "-%c: no such option; see mete %s --help", optopt, name);
    if (optopt)
        return cmd_fail(name, "%.*s takes no value; see mete %s --help", len, word, name);
    snprintf(plain, sizeof(plain), "%.*s", len, word);
    const char *nearest = is_long ? find_nearest_option(plain + 2, options) : NULL;
    if (nearest)
        return cmd_fail(name, "%s: no such option; did you mean --%s?", plain, nearest);
    return cmd_fail(name, "%s: no such option; see mete %s --help", plain, name);
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
