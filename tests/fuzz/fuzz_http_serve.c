/* Any bytes as a conversation with the whole HTTP door, every path of it: it takes only what was
 * there, every answer is a whole one with the length it says, and the same bytes cut in two are
 * answered by as many answers. An input may begin with a start that bytes alone would rarely make.
 */
#include "unit/http_world.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char text[] = "tenants:\n  - name: default\n    rules:\n"
                           "      - {name: demo, algorithm: token_bucket, rate: 1/s, burst: 10}\n"
                           "      - {name: w, algorithm: sliding_window, limit: 5/60s}\n"
                           "      - {name: c, algorithm: concurrency, limit: 3, lease: 60s}\n";

static const char *const starts[] = {
    "",
    "GET /check?rule=demo&subject=",
    "GET /echo?message=",
    "GET /echo HTTP/1.1\r\nHost: h\r\nX-Client-Id: ",
    "GET /openapi.json HTTP/1.1\r\nHost: h\r\n",
    "HEAD /docs HTTP/1.1\r\nHost: h\r\n",
    "POST /check HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n\r\n{\"rule\":\"demo\",\"subject\":",
    "POST /check HTTP/1.1\r\nHost: h\r\nContent-Length: "
    "60\r\n\r\n{\"checks\":[{\"rule\":\"w\",\"subject\":",
    "POST /acquire HTTP/1.1\r\nHost: h\r\nContent-Length: 36\r\n\r\n{\"rule\":\"c\",\"subject\":\"",
    "POST /renew HTTP/1.1\r\nHost: h\r\nContent-Length: "
    "46\r\n\r\n{\"rule\":\"c\",\"subject\":\"x\",\"lease\":",
    "POST /release HTTP/1.1\r\nHost: h\r\nContent-Length: "
    "46\r\n\r\n{\"rule\":\"c\",\"subject\":\"x\",\"lease\":",
    "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n",
};
#define START_COUNT (sizeof(starts) / sizeof(starts[0]))

static void require(int is_true)
{
    if (!is_true)
        abort();
}

static unsigned count_answers(const struct http_talk *talk)
{
    const char *at = (const char *)talk->answers, *end = at + talk->len;
    unsigned count = 0;
    while (at < end) {
        unsigned status = 0;
        size_t length = 0;
        const char *stop = memmem(at, (size_t)(end - at), "\r\n\r\n", 4);
        require(stop && sscanf(at, "HTTP/1.1 %u ", &status) == 1 && status >= 200 && status < 600);
        const char *says = memmem(at, (size_t)(stop - at) + 2, "\r\nContent-Length: ", 18);
        require(says && sscanf(says + 18, "%zu", &length) == 1);
        at = stop + 4;
        require(length <= (size_t)(end - at));
        at += length;
        count++;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_world world;
    static struct http_talk whole, cut;
    if (!world.config)
        require(http_world_init(&world, text));
    if (size < 2 || size > 1500)
        return 0;
    const char *start = starts[data[0] % START_COUNT];
    const size_t start_len = strlen(start), len = start_len + size - 2;
    char *bytes = malloc(len + 1); /* so that a step beyond shows */
    memcpy(bytes, start, start_len);
    memcpy(bytes + start_len, data + 2, size - 2);
    const size_t first = len ? data[1] % len : 0;
    const bool has_head = memmem(bytes, len, "HEAD ", 5) != NULL; /* answers without their bodies */
    memset(&whole, 0, sizeof(whole));
    memset(&cut, 0, sizeof(cut));
    const size_t used = http_world_say(&world, &whole, bytes, len);
    require(used <= len);
    const size_t taken = http_world_say(&world, &cut, bytes, first);
    require(taken <= first);
    if (!cut.is_closed)
        http_world_say(&world, &cut, bytes + taken, len - taken);
    if (!has_head && whole.len < sizeof(whole.answers) - HTTP_MAX_ANSWER &&
        cut.len < sizeof(cut.answers) - HTTP_MAX_ANSWER) {
        const unsigned answers = count_answers(&whole);
        require(cut.is_closed == whole.is_closed && count_answers(&cut) == answers);
    }
    world.now.now_ns += SECOND_NS;
    world.now.wall_ns += SECOND_NS;
    free(bytes);
    return 0;
}
