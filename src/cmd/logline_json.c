/* The NDJSON half of logline_parse(): one JSON object, read by jansson.
 * A name with dots is tried as it is and then as a path into nested objects. The subject
 * may be a string, a boolean or a number; a number is written in its shortest form that reads back
 * as the same, so that 7 and "7" are one subject. */
#include "cmd/logline.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/logtime.h"

#define EXACT_MAX 9007199254740992.0 /* 2^53: from here on a double skips whole numbers */

static const char *const TIME_NAMES[] = {"time", "timestamp", "ts", "@timestamp"};
static const char *const ADDRESS_NAMES[] = {
    "ip",       "remote_addr", "remote_ip", "client_ip",         "clientip",
    "clientIp", "client.ip",   "source.ip", "request.remote_ip", "httpRequest.remoteIp",
};

static const json_t *find(const json_t *object, const char *name)
{
    while (json_is_object(object)) {
        const json_t *whole = json_object_get(object, name);
        const char *dot = strchr(name, '.');
        if (whole != NULL || dot == NULL)
            return whole;
        object = json_object_getn(object, name, (size_t)(dot - name));
        name = dot + 1;
    }
    return NULL;
}

/* The first of names that is there and not null. */
static const json_t *find_any(const json_t *object, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *value = find(object, names[i]);
        if (value != NULL && !json_is_null(value))
            return value;
    }
    return NULL;
}

/* A number in a string, as some servers write it. */
static bool time_from_digits(const char *text, uint64_t *ret_at_ns)
{
    char *end;

    if (text[0] == '\0' || strspn(text, "0123456789.") != strlen(text))
        return false;
    errno = 0;
    const long long whole = strtoll(text, &end, 10);
    if (errno == 0 && *end == '\0')
        return logtime_from_integer(whole, ret_at_ns);
    const double number = strtod(text, &end);
    return *end == '\0' && logtime_from_real(number, ret_at_ns);
}

static bool time_from(const json_t *value, uint64_t *ret_at_ns)
{
    if (json_is_integer(value))
        return logtime_from_integer(json_integer_value(value), ret_at_ns);
    if (json_is_real(value))
        return logtime_from_real(json_real_value(value), ret_at_ns);
    if (!json_is_string(value))
        return false;
    const char *text = json_string_value(value);
    const size_t len = json_string_length(value);
    return logtime_parse_rfc3339(text, len, ret_at_ns) ||
           (strlen(text) == len && time_from_digits(text, ret_at_ns));
}

static size_t print_real(double number, char *buffer, size_t size)
{
    int len = 0;
    for (int precision = 15; precision <= 17; precision++) {
        len = snprintf(buffer, size, "%.*g", precision, number);
        if (strtod(buffer, NULL) == number)
            break;
    }
    return (size_t)len;
}

static enum logline_result subject_from(const json_t *value, struct logline *ret_line)
{
    char number[32];
    const char *text = number;
    size_t len;

    if (value == NULL)
        return LOGLINE_NO_FIELD;
    if (json_is_string(value)) {
        text = json_string_value(value);
        len = json_string_length(value);
    } else if (json_is_integer(value)) {
        len = (size_t)snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
                               json_integer_value(value));
    } else if (json_is_real(value) && fabs(json_real_value(value)) < EXACT_MAX) {
        len = print_real(json_real_value(value), number, sizeof(number));
    } else if (json_is_boolean(value)) {
        text = json_is_true(value) ? "true" : "false";
        len = strlen(text);
    } else {
        return LOGLINE_BAD_FIELD;
    }
    if (len == 0)
        return LOGLINE_NO_FIELD;
    if (len > sizeof(ret_line->subject)) /* cannot be: undoing escapes only shortens */
        return LOGLINE_TOO_LONG;
    memcpy(ret_line->subject, text, len);
    ret_line->subject_len = len;
    return LOGLINE_OK;
}

/* A whole number beyond 64 bits, an identifier of something usually, must not cost the line: then
 * all of them are read as doubles, and only a subject or a time has to be exact. */
static json_t *load(const char *text, size_t len)
{
    json_error_t error;
    json_t *root = json_loadb(text, len, JSON_ALLOW_NUL, &error);
    if (root == NULL && json_error_code(&error) == json_error_numeric_overflow)
        root = json_loadb(text, len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    return root;
}

enum logline_result logline_parse_json(const char *text, size_t len,
                                       const struct logline_fields *fields,
                                       struct logline *ret_line)
{
    enum logline_result result = LOGLINE_BAD_JSON;
    uint64_t at_ns;

    json_t *root = load(text, len);
    if (root == NULL)
        return result;
    const json_t *time =
        fields->time != NULL
            ? find_any(root, &fields->time, 1)
            : find_any(root, TIME_NAMES, sizeof(TIME_NAMES) / sizeof(TIME_NAMES[0]));
    const json_t *by =
        fields->by != NULL && strcmp(fields->by, "ip") != 0
            ? find_any(root, &fields->by, 1)
            : find_any(root, ADDRESS_NAMES, sizeof(ADDRESS_NAMES) / sizeof(ADDRESS_NAMES[0]));
    if (time == NULL) {
        result = LOGLINE_NO_TIME;
    } else if (!time_from(time, &at_ns)) {
        result = LOGLINE_BAD_TIME;
    } else {
        result = subject_from(by, ret_line);
        if (result == LOGLINE_OK)
            ret_line->at_ns = at_ns;
    }
    json_decref(root);
    return result;
}
