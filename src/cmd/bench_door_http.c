/* The HTTP door under load: GET /check, or any target of any HTTP/1.1 server whose answers have a
 * Content-Length. 200 lets pass; 429, and of other servers 503, denies. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cmd/bench.h"
#include "cmd/bench_door.h"

#define MOST_HEAD 8192u

static bool begin(const struct door_words *words, struct door_request *ret_request)
{
    (void)words;
    *ret_request = (struct door_request){.len = 0};
    return true;
}

static bool ask(const struct door_words *words, struct door_request *ret_request)
{
    char cost[32] = "";
    *ret_request = (struct door_request){.len = 0};
    if (words->cost != 1)
        snprintf(cost, sizeof(cost), "&cost=%u", (unsigned)words->cost);
    bool fits = bench_door_put(ret_request, "GET ");
    if (words->ask)
        fits = fits && bench_door_put(ret_request, words->ask);
    else
        fits = fits && bench_door_put(ret_request, "/check?rule=") &&
               bench_door_put(ret_request, words->rule) &&
               bench_door_put(ret_request, "&subject={}") && bench_door_put(ret_request, cost);
    fits = fits && bench_door_put(ret_request, " HTTP/1.1\r\nHost: bench\r\n");
    if (words->key)
        fits = fits && bench_door_put(ret_request, "X-Api-Key: ") &&
               bench_door_put(ret_request, words->key) && bench_door_put(ret_request, "\r\n");
    return fits && bench_door_put(ret_request, "\r\n");
}

/* The number of the header if this line is it. */
static bool read_header(const uint8_t *line, size_t len, const char *name, uint64_t *ret_number)
{
    const size_t name_len = strlen(name);
    uint64_t number = 0;
    if (len <= name_len || strncasecmp((const char *)line, name, name_len) != 0)
        return false;
    for (size_t at = name_len; at < len && line[at] >= '0' && line[at] <= '9'; at++)
        number = number * 10 + (uint64_t)(line[at] - '0');
    *ret_number = number;
    return true;
}

static uint8_t status_of(const struct door_words *words, unsigned code, bool has_numbers)
{
    if (code == 200 || (words->ask && (code == 429 || code == 503 || code / 100 == 2)))
        return METE_STATUS_OK;
    if (code == 429)
        return has_numbers ? METE_STATUS_OK : METE_STATUS_LIMITED;
    if (code == 404)
        return METE_STATUS_UNKNOWN_RULE;
    return METE_STATUS_COUNT;
}

static enum door_heard hear(const struct door_words *words, const uint8_t *bytes, size_t len,
                            size_t *ret_used, struct door_answer *ret_answer)
{
    uint64_t body = 0, remaining = 0, reset_s = 0;
    bool has_length = false, has_numbers = false;
    const size_t head_most = len < MOST_HEAD ? len : MOST_HEAD;
    const uint8_t *end = memmem(bytes, head_most, "\r\n\r\n", 4);
    if (!end)
        return len < MOST_HEAD ? DOOR_HALF : DOOR_BROKEN;
    if (end - bytes < 12 || memcmp(bytes, "HTTP/1.1 ", 9) != 0)
        return DOOR_BROKEN;
    const unsigned code =
        (unsigned)((bytes[9] - '0') * 100 + (bytes[10] - '0') * 10 + (bytes[11] - '0'));
    for (const uint8_t *line = bytes; line < end;) {
        const uint8_t *next = memchr(line, '\n', (size_t)(end + 2 - line));
        const size_t line_len = (size_t)(next - line);
        has_length |= read_header(line, line_len, "Content-Length: ", &body);
        has_numbers |= read_header(line, line_len, "X-RateLimit-Remaining: ", &remaining);
        read_header(line, line_len, "X-RateLimit-Reset: ", &reset_s);
        line = next + 1;
    }
    const size_t head = (size_t)(end - bytes) + 4;
    if (!has_length)
        return DOOR_BROKEN;
    if (body > len - head)
        return DOOR_HALF;
    *ret_used = head + body;
    *ret_answer = (struct door_answer){
        .status = status_of(words, code, has_numbers),
        .is_allowed = code / 100 == 2,
        .remaining = has_numbers ? (uint32_t)remaining : UINT32_MAX,
        .reset_after_ns = reset_s * 1000000000u,
    };
    return DOOR_WHOLE;
}

const struct bench_door bench_door_http = {
    .name = "http",
    .server = "127.0.0.1:6385",
    .begin = begin,
    .ask = ask,
    .hear = hear,
};
