/* The log: one line an event on stderr, where systemd, a terminal and a test all read it. Never
 * called from the path of a datagram. Any thread. */
#ifndef METE_OBS_LOG_H
#define METE_OBS_LOG_H

/* "mete: ..." and a newline, in one write. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
