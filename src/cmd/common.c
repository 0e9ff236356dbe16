/* What all subcommands share: how they complain and how they read a number. */
#include "cmd/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int cmd_fail(const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "mete %s: ", name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return EXIT_USAGE;
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
