/* One line of an access log: the common and combined log formats here, NDJSON in logline_json.c.
 *
 *   host ident user [17/May/2015:10:05:03 +0000] "GET /path HTTP/1.1" 200 1234 "referer" "agent"
 *
 * Host, time, quoted request and status must be there; what follows may be missing unless it is the
 * subject. The user may contain blanks and brackets: it ends at the first bracket that holds a
 * time. A quoted part ends at a quote without a backslash before it and is taken as it is written.
 * The request need not be HTTP (scanners send anything); method and path exist only if it looks
 * like it; the path is without its query. Other formats put other things after the status, so
 * nothing is asked of them.
 *
 * A pure function of its bytes but for JSON's heap; reads nothing past len. Any thread. */
#include "cmd/logline.h"

#include <stdio.h>
#include <string.h>

#include "cmd/logtime.h"

_Static_assert(LOGLINE_MAX >= LOGTIME_CLF_LEN, "a line can hold its time");

struct part {
    const char *text; /* NULL: not there */
    size_t len;
};

/* A line cut up. */
struct clf {
    struct part host, user, request, status, referer, agent;
    uint64_t at_ns;
};

struct cursor {
    const char *at;
    const char *end;
};

static bool take_byte(struct cursor *cursor, char byte)
{
    if (cursor->at == cursor->end || *cursor->at != byte)
        return false;
    cursor->at++;
    return true;
}

/* Up to the next blank or the end; at least one byte. */
static bool take_word(struct cursor *cursor, struct part *ret_part)
{
    const char *begin = cursor->at;
    while (cursor->at < cursor->end && *cursor->at != ' ')
        cursor->at++;
    *ret_part = (struct part){begin, (size_t)(cursor->at - begin)};
    return ret_part->len > 0;
}

static bool take_quoted(struct cursor *cursor, struct part *ret_part)
{
    struct cursor ahead = *cursor;
    if (!take_byte(&ahead, '"'))
        return false;
    const char *begin = ahead.at;
    while (ahead.at < ahead.end && *ahead.at != '"')
        ahead.at += *ahead.at == '\\' && ahead.end - ahead.at > 1 ? 2 : 1;
    const struct part part = {begin, (size_t)(ahead.at - begin)};
    if (!take_byte(&ahead, '"'))
        return false;
    *ret_part = part;
    *cursor = ahead;
    return true;
}

/* The user, up to " [time]", and the time. */
static enum logline_result take_user_and_time(struct cursor *cursor, struct clf *clf)
{
    const char *begin = cursor->at;
    bool has_bracket = false;

    for (const char *at = begin; cursor->end - at > 2; at++) {
        if (at[0] != ' ' || at[1] != '[')
            continue;
        has_bracket = true;
        const char *time = at + 2;
        const size_t rest = (size_t)(cursor->end - time);
        if (rest <= LOGTIME_CLF_LEN || time[LOGTIME_CLF_LEN] != ']' ||
            !logtime_parse_clf(time, LOGTIME_CLF_LEN, &clf->at_ns))
            continue;
        clf->user = (struct part){begin, (size_t)(at - begin)};
        cursor->at = time + LOGTIME_CLF_LEN + 1;
        return LOGLINE_OK;
    }
    return has_bracket ? LOGLINE_BAD_TIME : LOGLINE_UNKNOWN;
}

static bool is_status(const struct part *part)
{
    if (part->len != 3)
        return false;
    for (size_t i = 0; i < 3; i++)
        if (part->text[i] < '0' || part->text[i] > '9')
            return false;
    return true;
}

static enum logline_result cut(struct cursor *cursor, struct clf *clf)
{
    struct part ident, bytes;

    if (!take_word(cursor, &clf->host) || !take_byte(cursor, ' ') || !take_word(cursor, &ident) ||
        !take_byte(cursor, ' '))
        return LOGLINE_UNKNOWN;
    const enum logline_result result = take_user_and_time(cursor, clf);
    if (result != LOGLINE_OK)
        return result;
    if (!take_byte(cursor, ' ') || !take_quoted(cursor, &clf->request) || !take_byte(cursor, ' ') ||
        !take_word(cursor, &clf->status) || !is_status(&clf->status))
        return LOGLINE_UNKNOWN;
    if (take_byte(cursor, ' ') && take_word(cursor, &bytes) && take_byte(cursor, ' ') &&
        take_quoted(cursor, &clf->referer) && take_byte(cursor, ' '))
        take_quoted(cursor, &clf->agent);
    return LOGLINE_OK;
}

/* The n-th word of "GET /path HTTP/1.1"; not there if these are not three. */
static struct part request_word(const struct part *request, int index)
{
    struct cursor cursor = {request->text, request->text + request->len};
    struct part words[3];

    for (int i = 0; i < 3; i++)
        if ((i > 0 && !take_byte(&cursor, ' ')) || !take_word(&cursor, &words[i]))
            return (struct part){NULL, 0};
    if (cursor.at != cursor.end || words[2].len < 5 || memcmp(words[2].text, "HTTP/", 5) != 0)
        return (struct part){NULL, 0};
    return words[index];
}

static struct part path_of(const struct clf *clf)
{
    struct part path = request_word(&clf->request, 1);
    const char *query = path.text == NULL ? NULL : memchr(path.text, '?', path.len);
    if (query != NULL)
        path.len = (size_t)(query - path.text);
    return path;
}

static bool find_field(const struct clf *clf, const char *name, struct part *ret_part)
{
    const struct {
        const char *name;
        struct part part;
    } fields[] = {
        {"ip", clf->host},      {"user", clf->user},     {"method", request_word(&clf->request, 0)},
        {"path", path_of(clf)}, {"status", clf->status}, {"referer", clf->referer},
        {"agent", clf->agent},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(fields[i].name, name) == 0) {
            *ret_part = fields[i].part;
            return true;
        }
    }
    return false;
}

static enum logline_result parse_clf(const char *text, size_t len,
                                     const struct logline_fields *fields, struct logline *ret_line)
{
    struct cursor cursor = {text, text + len};
    struct clf clf = {0};
    struct part subject;

    const enum logline_result result = cut(&cursor, &clf);
    if (result != LOGLINE_OK)
        return result;
    if (fields->by == NULL)
        subject = clf.host;
    else if (!find_field(&clf, fields->by, &subject))
        return LOGLINE_UNKNOWN_FIELD;
    if (subject.len == 0)
        return LOGLINE_NO_FIELD;
    ret_line->at_ns = clf.at_ns;
    ret_line->subject_len = subject.len;
    memcpy(ret_line->subject, subject.text, subject.len);
    return LOGLINE_OK;
}

enum logline_result logline_parse(const char *text, size_t len, const struct logline_fields *fields,
                                  struct logline *ret_line)
{
    if (len > LOGLINE_MAX)
        return LOGLINE_TOO_LONG;
    while (len > 0 && (*text == ' ' || *text == '\t' || *text == '\r')) {
        text++;
        len--;
    }
    if (len == 0)
        return LOGLINE_BLANK;
    if (*text == '{')
        return logline_parse_json(text, len, fields, ret_line);
    return parse_clf(text, len, fields, ret_line);
}

const char *logline_explain(enum logline_result result, const struct logline_fields *fields,
                            char *buffer, size_t size)
{
    const char *by = fields->by == NULL ? "ip" : fields->by;
    switch (result) {
    case LOGLINE_OK:
        return "it is fine";
    case LOGLINE_BLANK:
        return "the line is blank";
    case LOGLINE_TOO_LONG:
        return "the line is longer than 64 KiB";
    case LOGLINE_UNKNOWN:
        return "neither a line of the common log format nor a JSON object";
    case LOGLINE_BAD_JSON:
        return "not a whole JSON object";
    case LOGLINE_NO_TIME:
        snprintf(buffer, size, "no field '%s' with a time%s",
                 fields->time == NULL ? "time" : fields->time,
                 fields->time == NULL ? " (nor timestamp, ts, @timestamp); --time-field names it"
                                      : "");
        return buffer;
    case LOGLINE_BAD_TIME:
        return "its time is not one that can be read (with a zone, in the years 1970 to 2260)";
    case LOGLINE_UNKNOWN_FIELD:
        snprintf(buffer, size,
                 "a common log line has no field '%s', only ip, user, method, path, status, "
                 "referer, agent",
                 by);
        return buffer;
    case LOGLINE_NO_FIELD:
        snprintf(buffer, size, "it has no '%s'", by);
        return buffer;
    case LOGLINE_BAD_FIELD:
        snprintf(buffer, size, "its '%s' is not a string, a boolean or an exact number", by);
        return buffer;
    }
    return "unknown";
}
