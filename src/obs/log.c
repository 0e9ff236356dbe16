#include "obs/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void log_line(const char *format, ...)
{
    char line[1024] = "mete: ";
    int at = 6;
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(line + at, sizeof(line) - 1 - (size_t)at, format, arguments);
    va_end(arguments);
    at += len < 0 ? 0 : len;
    if (at > (int)sizeof(line) - 2)
        at = (int)sizeof(line) - 2;
    line[at++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)at);
    (void)ignored; /* nowhere left to complain */
}
