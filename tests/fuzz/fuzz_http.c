/* Any bytes as a stream of HTTP requests. What is whole lies inside the bytes and is whole again;
 * no beginning of it is whole or refused otherwise than as a beginning; a body or a query that is
 * taken keeps to its bounds; what is written of it is one line, and JSON without raw controls. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "doors/http_ask.h"
#include "doors/http_parse.h"
#include "doors/http_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int is_true)
{
    if (!is_true)
        abort();
}

static int is_inside(struct http_text text, const char *bytes, size_t len)
{
    return text.at >= bytes && text.at + text.len <= bytes + len;
}

static void judge_ask(const struct http_ask *ask, int result)
{
    static char bytes[8192];
    struct http_out out = {.bytes = bytes, .size = sizeof(bytes)};
    require(result == 0 ? ask->count >= 1 && ask->count <= HTTP_MAX_CHECKS : ask->error[0] != 0);
    http_put_json(&out, ask->error, strlen(ask->error));
    require(!out.has_overflown);
    for (unsigned i = 0; result == 0 && i < ask->count; i++)
        require(ask->items[i].rule.len <= 64 && ask->items[i].subject.len <= HTTP_MAX_SUBJECT);
    for (size_t i = 0; i < out.len; i++)
        require((uint8_t)bytes[i] >= 0x20);
}

static void judge(const char *bytes, size_t used, const struct http_request *request)
{
    static struct http_request again;
    static struct http_ask ask;
    size_t same;
    require(used >= 16 && request->header_count <= HTTP_MAX_HEADERS);
    require(is_inside(request->method, bytes, used) && is_inside(request->path, bytes, used));
    require(is_inside(request->body, bytes, used) && request->body.len <= HTTP_MAX_BODY);
    for (unsigned i = 0; i < request->header_count; i++)
        require(is_inside(request->headers[i].name, bytes, used) &&
                is_inside(request->headers[i].value, bytes, used) &&
                !memchr(request->headers[i].value.at, '\n', request->headers[i].value.len));
    require(http_parse(bytes, used, &again, &same) == HTTP_WHOLE && same == used);
    const enum http_parsed part = http_parse(bytes, used - 1, &again, &same);
    require(part == HTTP_MORE || (part == HTTP_REFUSED && again.status == 417));
    int result = http_ask_read_json(request->body, false, &ask);
    judge_ask(&ask, result);
    http_ask_release(&ask);
    if (request->query.at) {
        require(is_inside(request->query, bytes, used));
        result = http_ask_read_query(request->query, &ask);
        judge_ask(&ask, result);
        http_ask_release(&ask);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_request request;
    static struct http_ask ask;
    const char *bytes = (const char *)data;
    size_t at = 0, used = 0;
    const struct http_text whole = {bytes, size};
    for (int has_lease = 0; has_lease < 2; has_lease++) {
        judge_ask(&ask, http_ask_read_json(whole, has_lease, &ask));
        require(has_lease || !ask.lacks_lease);
        http_ask_release(&ask);
    }
    judge_ask(&ask, http_ask_read_query(whole, &ask));
    while (at < size) {
        const enum http_parsed parsed = http_parse(bytes + at, size - at, &request, &used);
        if (parsed == HTTP_REFUSED)
            require(request.status >= 400 && request.status < 600 && request.why[0] &&
                    !request.keeps_alive);
        if (parsed != HTTP_WHOLE)
            break;
        require(used > 0 && used <= size - at);
        judge(bytes + at, used, &request);
        at += used;
    }
    return 0;
}
