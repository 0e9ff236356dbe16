#include "obs/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sys/clock.h"

#define KINDS 64u /* that are told apart; what comes later shares the last */
#define TEXT_BYTES 1024u
#define END_BYTES 96u /* of a line: what was left out, brackets, the newline */

struct kind {
    const void *name; /* NULL: free */
    const char *event;
    uint64_t next_ns; /* boot time at which its bucket would be empty of lines */
    uint64_t left_out;
};

/* The sink: all state of the log. */
static struct {
    pthread_mutex_t lock;
    enum log_form form;
    bool has_looked, is_journal;
    struct kind kinds[KINDS];
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- what passes ---- */

static struct kind *find_kind(const struct log_message *message)
{
    for (unsigned i = 0; i < KINDS; i++) {
        struct kind *kind = &sink.kinds[i];
        if (kind->name == message->kind || i + 1 == KINDS)
            return kind;
        if (!kind->name) {
            *kind = (struct kind){.name = message->kind, .event = message->event};
            return kind;
        }
    }
    return NULL;
}

/* A bucket of LOG_BURST lines, as an instant: GCRA. */
static bool passes(struct kind *kind, uint64_t now_ns)
{
    const uint64_t from_ns = kind->next_ns > now_ns ? kind->next_ns : now_ns;
    if (from_ns - now_ns > (uint64_t)(LOG_BURST - 1) * LOG_EVERY_NS) {
        kind->left_out++;
        return false;
    }
    kind->next_ns = from_ns + LOG_EVERY_NS;
    return true;
}

/* ---- bytes ---- */

/* Bytes of the UTF-8 sequence (RFC 3629) at text, 0 if it is none. */
static unsigned utf8_bytes(const unsigned char *text)
{
    static const struct {
        unsigned char first, last, second_low, second_high, more;
    } forms[] = {
        {0x20, 0x7e, 0, 0, 0},       {0xc2, 0xdf, 0x80, 0xbf, 1}, {0xe0, 0xe0, 0xa0, 0xbf, 2},
        {0xe1, 0xec, 0x80, 0xbf, 2}, {0xed, 0xed, 0x80, 0x9f, 2}, {0xee, 0xef, 0x80, 0xbf, 2},
        {0xf0, 0xf0, 0x90, 0xbf, 3}, {0xf1, 0xf3, 0x80, 0xbf, 3}, {0xf4, 0xf4, 0x80, 0x8f, 3},
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (text[0] < forms[i].first || text[0] > forms[i].last)
            continue;
        for (unsigned more = 1; more <= forms[i].more; more++) {
            const unsigned char low = more == 1 ? forms[i].second_low : 0x80;
            const unsigned char high = more == 1 ? forms[i].second_high : 0xbf;
            if (text[more] < low || text[more] > high) /* the end is a zero */
                return 0;
        }
        return forms[i].more + 1u;
    }
    return 0;
}

struct line {
    char *bytes;
    unsigned len, size;
};

/* What does not fit is left out. */
static void put(struct line *line, const char *bytes, unsigned len)
{
    if (line->len + len > line->size)
        return;
    memcpy(line->bytes + line->len, bytes, len);
    line->len += len;
}

static void put_text(struct line *line, const char *text)
{
    put(line, text, (unsigned)strlen(text));
}

static void put_escaped(struct line *line, const char *text, enum log_form form)
{
    char piece[8];
    while (*text) {
        const unsigned len = utf8_bytes((const unsigned char *)text);
        const bool is_json = form == LOG_JSON;
        if (len == 1 && is_json && (*text == '"' || *text == '\\')) {
            snprintf(piece, sizeof(piece), "\\%c", *text);
            put_text(line, piece);
        } else if (len) {
            put(line, text, len);
        } else if ((unsigned char)*text < 0x80) {
            snprintf(piece, sizeof(piece), is_json ? "\\u%04x" : "\\x%02x", (unsigned char)*text);
            put_text(line, piece);
        } else {
            put_text(line, "\xef\xbf\xbd"); /* U+FFFD */
        }
        text += len ? len : 1;
    }
}

/* ---- lines ---- */

static void put_time(struct line *line, uint64_t wall_ns)
{
    char text[48], instant[32];
    const time_t seconds = (time_t)(wall_ns / 1000000000u);
    struct tm utc;
    if (!gmtime_r(&seconds, &utc))
        return;
    strftime(instant, sizeof(instant), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof(text), "\"time\":\"%s.%03uZ\",", instant,
             (unsigned)(wall_ns / 1000000 % 1000));
    put_text(line, text);
}

static void compose(const struct log_message *message, uint64_t left_out, uint64_t wall_ns,
                    struct line *line)
{
    static const char *const levels[] = {"error", "warning", "info"};
    static const char *const priorities[] = {LOG_JOURNAL_ERROR, "<4>", "<6>"}; /* sd-daemon(3) */
    char number[64];
    if (sink.is_journal)
        put_text(line, priorities[message->level]);
    if (sink.form == LOG_JSON) {
        put_text(line, "{");
        put_time(line, wall_ns);
        put_text(line, "\"level\":\"");
        put_text(line, levels[message->level]);
        put_text(line, "\",\"event\":\"");
        put_text(line, message->event);
        put_text(line, "\",\"message\":\"");
    } else {
        put_text(line, sink.is_journal ? "" : "mete: ");
    }
    put_escaped(line, message->text, sink.form);
    line->size = LOG_LINE_BYTES; /* there is room for the end now */
    if (sink.form == LOG_JSON)
        put_text(line, "\"");
    if (left_out) {
        snprintf(number, sizeof(number),
                 sink.form == LOG_JSON ? ",\"left_out\":%" PRIu64
                                       : "; left out before it: %" PRIu64 " like it",
                 left_out);
        put_text(line, number);
    }
    put_text(line, sink.form == LOG_JSON ? "}\n" : "\n");
}

static void look_for_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat status;
    sink.has_looked = true;
    sink.is_journal = stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
                      fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device &&
                      status.st_ino == inode;
}

static unsigned render(const struct log_message *message, const struct log_time *now,
                       char *ret_line)
{
    struct line line = {.bytes = ret_line, .size = LOG_LINE_BYTES - END_BYTES};
    struct kind *kind = find_kind(message);
    if (!sink.has_looked)
        look_for_journal();
    if (!passes(kind, now->boot_ns))
        return 0;
    compose(message, kind->left_out, now->wall_ns, &line);
    kind->left_out = 0;
    return line.len;
}

unsigned log_render(const struct log_message *message, const struct log_time *now, char *ret_line)
{
    pthread_mutex_lock(&sink.lock);
    const unsigned len = render(message, now, ret_line);
    pthread_mutex_unlock(&sink.lock);
    return len;
}

static void emit(const struct log_message *message)
{
    char line[LOG_LINE_BYTES];
    const struct log_time now = {.boot_ns = clock_boot_ns(), .wall_ns = clock_real_ns()};
    const unsigned len = log_render(message, &now, line);
    const ssize_t ignored = len ? write(STDERR_FILENO, line, len) : 0;
    (void)ignored; /* nowhere left to complain */
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    emit(&(struct log_message){level, event, format, text});
}

void log_set_form(enum log_form form)
{
    pthread_mutex_lock(&sink.lock);
    sink.form = form;
    pthread_mutex_unlock(&sink.lock);
}

bool log_is_journal(void)
{
    pthread_mutex_lock(&sink.lock);
    if (!sink.has_looked)
        look_for_journal();
    const bool is_journal = sink.is_journal;
    pthread_mutex_unlock(&sink.lock);
    return is_journal;
}

void log_finish(void)
{
    for (unsigned i = 0; i < KINDS; i++) {
        char text[128];
        pthread_mutex_lock(&sink.lock);
        const uint64_t left_out = sink.kinds[i].left_out;
        const char *event = sink.kinds[i].event;
        sink.kinds[i].left_out = 0;
        pthread_mutex_unlock(&sink.lock);
        if (!left_out)
            continue;
        snprintf(text, sizeof(text), "%" PRIu64 " more lines on %s were left out", left_out, event);
        emit(&(struct log_message){LOG_INFO, "log", &sink.kinds[i], text});
    }
}
