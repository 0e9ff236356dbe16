#include "doors/http_ask.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RULE 64u
#define MAX_HEADER_NAME 64u

static int refuse(struct http_ask *ask, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int refuse(struct http_ask *ask, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ask->error, sizeof(ask->error), format, arguments);
    va_end(arguments);
    return -EINVAL;
}

static int take_text(struct http_ask *ask, const char *where, const json_t *value, size_t max,
                     struct http_text *ret_text)
{
    if (!json_is_string(value))
        return refuse(ask, "%s: a string is needed", where);
    *ret_text = (struct http_text){json_string_value(value), json_string_length(value)};
    if (ret_text->len > max)
        return refuse(ask, "%s: has %zu bytes; at most %zu", where, ret_text->len, max);
    return 0;
}

static int take_cost(struct http_ask *ask, const char *where, const json_t *value, uint32_t *ret)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > UINT32_MAX)
        return refuse(ask, "%s: a whole number from 0 to %" PRIu32 " is needed", where, UINT32_MAX);
    *ret = (uint32_t)json_integer_value(value);
    return 0;
}

static int take_lease(struct http_ask *ask, const json_t *value, uint64_t *ret_lease)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    const size_t len = json_is_string(value) ? json_string_length(value) : 0;
    if (len == 0 || len > 16 || strspn(text, digits) != len)
        return refuse(ask, "lease: a string of 1 to 16 hex digits is needed");
    *ret_lease = strtoull(text, NULL, 16);
    ask->lacks_lease = false;
    return 0;
}

static int refuse_field(struct http_ask *ask, const char *where, bool may_have_atomic)
{
    return refuse(ask, "%s: is no field; rule, subject, cost%s are", where,
                  ask->has_lease    ? " and lease"
                  : may_have_atomic ? ", or checks and atomic,"
                                    : "");
}

/* path names the object in messages: "" or "checks[3].". */
static int read_item(struct http_ask *ask, const char *path, json_t *object, bool may_have_atomic)
{
    struct http_item *item = &ask->items[ask->count];
    bool has_rule = false, has_subject = false;
    const char *name;
    json_t *value;
    char where[96];
    if (!json_is_object(object))
        return refuse(ask, "%s: an object is needed", *path ? path : "the body");
    *item = (struct http_item){.cost = 1};
    json_object_foreach(object, name, value)
    {
        int result = 0;
        snprintf(where, sizeof(where), "%s%.64s", path, name);
        if (strcmp(name, "rule") == 0) {
            result = take_text(ask, where, value, MAX_RULE, &item->rule);
            has_rule = true;
        } else if (strcmp(name, "subject") == 0) {
            result = take_text(ask, where, value, HTTP_MAX_SUBJECT, &item->subject);
            has_subject = true;
        } else if (strcmp(name, "cost") == 0) {
            result = take_cost(ask, where, value, &item->cost);
        } else if (strcmp(name, "lease") == 0 && ask->has_lease) {
            result = take_lease(ask, value, &item->lease);
        } else {
            result = refuse_field(ask, where, may_have_atomic);
        }
        if (result)
            return result;
    }
    if (!has_rule || !has_subject)
        return refuse(ask, "%s%s: is missing", path, has_rule ? "subject" : "rule");
    ask->count++;
    return 0;
}

static int read_list(struct http_ask *ask, json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        if (strcmp(name, "atomic") == 0) {
            if (!json_is_boolean(value))
                return refuse(ask, "atomic: true or false is needed");
            ask->is_atomic = json_is_true(value);
        } else if (strcmp(name, "checks") != 0) {
            return refuse(ask, "%.64s: is no field beside checks; atomic is", name);
        }
    }
    json_t *list = json_object_get(object, "checks");
    if (!json_is_array(list) || json_array_size(list) == 0 ||
        json_array_size(list) > HTTP_MAX_CHECKS)
        return refuse(ask, "checks: a list of 1 to %u checks is needed", HTTP_MAX_CHECKS);
    size_t at;
    json_array_foreach(list, at, value)
    {
        char path[32];
        snprintf(path, sizeof(path), "checks[%zu].", at);
        int result = read_item(ask, path, value, false);
        if (result)
            return result;
    }
    ask->is_list = true;
    return 0;
}

static void begin(struct http_ask *ask)
{
    ask->count = 0;
    ask->is_list = ask->is_atomic = ask->denies_by_403 = false;
    ask->has_lease = ask->lacks_lease = false;
    ask->by = (struct http_text){NULL, 0};
    ask->root = NULL;
    ask->error[0] = '\0';
}

int http_ask_read_json(struct http_text body, bool has_lease, struct http_ask *ask)
{
    json_error_t error;
    begin(ask);
    ask->has_lease = ask->lacks_lease = has_lease;
    if (body.len == 0)
        return refuse(ask, "the body is empty; a JSON object is needed");
    errno = 0; /* the library does not always say that memory was what it lacked */
    json_t *root = json_loadb(body.at, body.len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (!root && errno == ENOMEM) {
        refuse(ask, "there is no memory to read the body");
        return -ENOMEM;
    }
    if (!root)
        return refuse(ask, "the body is no JSON: line %d, column %d: %.120s", error.line,
                      error.column, error.text);
    int result = !has_lease && json_is_object(root) && json_object_get(root, "checks")
                     ? read_list(ask, root)
                     : read_item(ask, "", root, true);
    if (result)
        json_decref(root);
    else
        ask->root = root;
    return result;
}

/* Decodes value behind what was decoded before. */
static int take_decoded(struct http_ask *ask, size_t *used, struct http_text value, size_t max,
                        struct http_text *ret_text)
{
    char *at = ask->decoded + *used;
    size_t room = sizeof(ask->decoded) - *used;
    long len = http_decode(value, at, room < max ? room : max);
    if (len < 0)
        return refuse(ask, "%s", "has more bytes than may be, or a %% without two hex digits");
    *ret_text = (struct http_text){at, (size_t)len};
    *used += (size_t)len;
    return 0;
}

static int read_digits(struct http_ask *ask, struct http_text text, uint32_t *ret_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9' || number > UINT32_MAX)
            return refuse(ask, "a whole number from 0 to %" PRIu32 " is needed", UINT32_MAX);
        number = number * 10 + (uint64_t)(text.at[i] - '0');
    }
    if (text.len == 0 || number > UINT32_MAX)
        return refuse(ask, "a whole number from 0 to %" PRIu32 " is needed", UINT32_MAX);
    *ret_number = (uint32_t)number;
    return 0;
}

/* Puts the name of the parameter before the reason. */
static int name_parameter(struct http_ask *ask, const char *name)
{
    char reason[sizeof(ask->error)];
    memcpy(reason, ask->error, sizeof(reason));
    return refuse(ask, "%s: %.200s", name, reason);
}

enum { RULE, SUBJECT, COST, DENY, BY, PATH, NAME_COUNT };

static int read_parameter(struct http_ask *ask, unsigned name, struct http_text value, size_t *used)
{
    struct http_item *item = &ask->items[0];
    switch (name) {
    case RULE:
        return take_decoded(ask, used, value, MAX_RULE, &item->rule);
    case SUBJECT:
        return take_decoded(ask, used, value, HTTP_MAX_SUBJECT, &item->subject);
    case BY:
        if (value.len == 0)
            return refuse(ask, "the name of a header is needed");
        return take_decoded(ask, used, value, MAX_HEADER_NAME, &ask->by);
    case COST:
        return read_digits(ask, value, &item->cost);
    default:
        ask->denies_by_403 = http_is(value, "403");
        return ask->denies_by_403 || http_is(value, "429") ? 0
                                                           : refuse(ask, "403 or 429 is needed");
    }
}

int http_ask_read_query(struct http_text query, struct http_ask *ask)
{
    static const char *const NAMES[NAME_COUNT] = {"rule", "subject", "cost", "deny", "by", "path"};
    struct http_text name, value;
    bool has[NAME_COUNT] = {false};
    size_t used = 0;
    begin(ask);
    ask->items[0] = (struct http_item){.cost = 1};
    while (!has[PATH] && http_next_parameter(&query, &name, &value)) {
        unsigned i = 0;
        while (i < NAME_COUNT && !http_is(name, NAMES[i]))
            i++;
        if (i == NAME_COUNT)
            return refuse(ask, "%.*s: is no parameter; rule, subject or by, cost and deny are",
                          name.len < 64 ? (int)name.len : 64, name.at);
        if (has[i])
            return refuse(ask, "%s: stands twice", NAMES[i]);
        has[i] = true;
        if (i != PATH && read_parameter(ask, i, value, &used))
            return name_parameter(ask, NAMES[i]);
    }
    if (!has[RULE] || (!has[SUBJECT] && !has[BY]))
        return refuse(ask, "%s: is missing", NAMES[has[RULE] ? SUBJECT : RULE]);
    if (has[SUBJECT] && has[BY])
        return refuse(ask, "by: stands beside subject; one of them says who is asked about");
    ask->count = 1;
    return 0;
}

void http_ask_release(struct http_ask *ask)
{
    json_decref(ask->root);
    ask->root = NULL;
}
