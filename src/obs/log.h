/* The log: one line an event on stderr, where systemd, a terminal and a test all read it. Never
 * called from the path of a datagram. Any thread.
 *
 *   text    mete: reload by SIGHUP ...
 *   json    {"time":"2026-11-21T20:15:00.123Z","level":"info","event":"reload","message":"..."}
 *
 * Where stderr is the journal (its device and inode are those of $JOURNAL_STREAM, systemd.exec(5))
 * a line begins with its priority, <6>, which the journal takes off, and text goes without the name
 * that the journal puts there. Whatever a message holds, it is one line of valid UTF-8: control
 * bytes are escaped, others that are no UTF-8 replaced.
 *
 * Lines of one kind (the place in the code that says them) are limited to LOG_BURST at once and one
 * in LOG_EVERY_NS; the next one that passes, or log_finish(), says how many were left out. */
#ifndef METE_OBS_LOG_H
#define METE_OBS_LOG_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_BURST 20u
#define LOG_EVERY_NS 1000000000u

enum log_form { LOG_TEXT, LOG_JSON };
enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO };

/* event: a word, the same for all lines of one subject. format: a constant, it tells the kind. */
void log_event(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_line(...) log_event(LOG_INFO, "notice", __VA_ARGS__)

/* From now on. */
void log_set_form(enum log_form form);

/* Is stderr the journal? Then a line that is written past the log begins with its priority, too. */
bool log_is_journal(void);
#define LOG_JOURNAL_ERROR "<3>"

/* Says what was left out and not told yet. */
void log_finish(void);

/* For tests: the same at a given time, into a buffer instead of stderr. Returns the bytes, 0 if the
 * line is left out. wall_ns: since 1970. */
struct log_time {
    uint64_t boot_ns, wall_ns;
};
struct log_message {
    enum log_level level;
    const char *event;
    const void *kind;
    const char *text;
};
#define LOG_LINE_BYTES 4096u
unsigned log_render(const struct log_message *message, const struct log_time *now, char *ret_line);

#endif
