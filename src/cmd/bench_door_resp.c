/* The RESP door under load: METE.CHECK, or any command of any Redis server. Of answers the form is
 * checked whole, and of verdicts the numbers are read. */
#include <stdio.h>
#include <string.h>

#include "cmd/bench.h"
#include "cmd/bench_door.h"

#define MOST_ITEMS 8u /* of an answer's array */

struct item {
    int64_t number; /* of an integer; length of a text */
    const uint8_t *text;
};

static bool put_word(struct door_request *request, const char *word, size_t len)
{
    char text[DOOR_REQUEST_BYTES], head[32];
    const bool has_subject = !request->subject_at && memmem(word, len, "{}", 2);
    if (len >= sizeof(text))
        return false;
    memcpy(text, word, len);
    text[len] = 0;
    snprintf(head, sizeof(head), "$%zu\r\n", has_subject ? len - 2 + DOOR_SUBJECT_BYTES : len);
    return bench_door_put(request, head) && bench_door_put(request, text) &&
           bench_door_put(request, "\r\n");
}

/* Words between blanks. */
static bool put_command(struct door_request *request, const char *text)
{
    char head[32];
    unsigned count = 0;
    for (const char *at = text; *(at += strspn(at, " ")); at += strcspn(at, " "))
        count++;
    snprintf(head, sizeof(head), "*%u\r\n", count);
    bool fits = bench_door_put(request, head);
    for (const char *at = text; fits && *(at += strspn(at, " ")); at += strcspn(at, " "))
        fits = put_word(request, at, strcspn(at, " "));
    return fits;
}

static bool begin(const struct door_words *words, struct door_request *ret_request)
{
    *ret_request = (struct door_request){.len = 0};
    return !words->key ||
           (bench_door_put(ret_request, "*2\r\n") && put_word(ret_request, "AUTH", 4) &&
            put_word(ret_request, words->key, strlen(words->key)));
}

static bool ask(const struct door_words *words, struct door_request *ret_request)
{
    char text[DOOR_REQUEST_BYTES];
    *ret_request = (struct door_request){.len = 0};
    if (words->ask)
        return put_command(ret_request, words->ask);
    const int len = words->cost == 1 ? snprintf(text, sizeof(text), "METE.CHECK %s {}", words->rule)
                                     : snprintf(text, sizeof(text), "METE.CHECK %s {} %u",
                                                words->rule, (unsigned)words->cost);
    return (size_t)len < sizeof(text) && put_command(ret_request, text);
}

/* One line without its CRLF: its kind, and the number behind it if it has one. */
static enum door_heard hear_line(const uint8_t *bytes, size_t len, size_t *at, char *ret_kind,
                                 int64_t *ret_number)
{
    const uint8_t *end = memchr(bytes + *at, '\n', len - *at);
    if (!end)
        return DOOR_HALF;
    const uint8_t *digit = bytes + *at + 1;
    const bool is_negative = digit < end && *digit == '-';
    int64_t number = 0;
    for (digit += is_negative; digit < end && *digit >= '0' && *digit <= '9'; digit++)
        number = number * 10 + (*digit - '0');
    *ret_kind = (char)bytes[*at];
    *ret_number = is_negative ? -number : number;
    const bool is_number = strchr("*:$", *ret_kind) && *ret_kind;
    if (end == bytes + *at || end[-1] != '\r' || (is_number && digit != end - 1))
        return DOOR_BROKEN;
    *at = (size_t)(end - bytes) + 1;
    return DOOR_WHOLE;
}

static enum door_heard hear_item(const uint8_t *bytes, size_t len, size_t *at,
                                 struct item *ret_item)
{
    char kind;
    const enum door_heard heard = hear_line(bytes, len, at, &kind, &ret_item->number);
    ret_item->text = NULL;
    if (heard != DOOR_WHOLE || kind == ':' || (kind == '$' && ret_item->number < 0))
        return heard;
    if (kind != '$')
        return DOOR_BROKEN;
    if (len - *at < (size_t)ret_item->number + 2)
        return DOOR_HALF;
    ret_item->text = bytes + *at;
    *at += (size_t)ret_item->number + 2;
    return DOOR_WHOLE;
}

static uint8_t read_status(const struct item *item)
{
    for (uint8_t status = 0; item->text && status < METE_STATUS_COUNT; status++) {
        const char *name = bench_status_name(status);
        if ((size_t)item->number == strlen(name) &&
            memcmp(item->text, name, (size_t)item->number) == 0)
            return status;
    }
    return METE_STATUS_COUNT;
}

/* [allowed, remaining, retry_after_ms, reset_after_ms, status], or redis-cell's five numbers, or
 * anything that is no error. */
static enum door_heard take_items(const struct door_words *words, const struct item *items,
                                  int64_t count, struct door_answer *ret_answer)
{
    ret_answer->is_allowed = true;
    if (words->ask) {
        const bool is_cell = count == 5 && strncasecmp(words->ask, "cl.throttle ", 12) == 0;
        ret_answer->is_allowed = !is_cell || items[0].number == 0;
        return DOOR_WHOLE;
    }
    if (count != 5)
        return DOOR_BROKEN;
    ret_answer->is_allowed = items[0].number == 1;
    ret_answer->remaining = (uint32_t)items[1].number;
    ret_answer->reset_after_ns = (uint64_t)items[3].number * 1000000u;
    ret_answer->status = read_status(&items[4]);
    return DOOR_WHOLE;
}

static enum door_heard hear(const struct door_words *words, const uint8_t *bytes, size_t len,
                            size_t *ret_used, struct door_answer *ret_answer)
{
    struct item items[MOST_ITEMS];
    size_t at = 0;
    char kind;
    int64_t count;
    enum door_heard heard = hear_line(bytes, len, &at, &kind, &count);
    *ret_answer = (struct door_answer){.status = METE_STATUS_OK};
    if (heard != DOOR_WHOLE)
        return heard;
    if (kind == '*') {
        if (count < 0 || count > MOST_ITEMS)
            return DOOR_BROKEN;
        for (int64_t i = 0; i < count && heard == DOOR_WHOLE; i++)
            heard = hear_item(bytes, len, &at, &items[i]);
        if (heard == DOOR_WHOLE)
            heard = take_items(words, items, count, ret_answer);
    } else if (kind == '$') { /* again, with its bytes */
        at = 0;
        heard = hear_item(bytes, len, &at, &items[0]);
        ret_answer->is_allowed = true;
    } else if (kind == '-') {
        const bool is_limited = len > 8 && memcmp(bytes, "-LIMITED", 8) == 0;
        ret_answer->status = is_limited ? METE_STATUS_LIMITED : METE_STATUS_COUNT;
    } else {
        ret_answer->is_allowed = true;
        heard = kind == '+' || kind == ':' ? DOOR_WHOLE : DOOR_BROKEN;
    }
    *ret_used = at;
    return heard;
}

const struct bench_door bench_door_resp = {
    .name = "resp",
    .server = "127.0.0.1:6384",
    .begin = begin,
    .ask = ask,
    .hear = hear,
};
