#include "doors/metrics.h"

#include <string.h>

#define HEAD_BYTES 512u

struct sending {      /* the state of a connection */
    uint64_t scrape;  /* of the page it is being sent; 0: none */
    size_t sent;      /* bytes of the page */
    size_t used;      /* bytes of the request, which is taken when the page is sent */
    bool keeps_alive; /* then */
};
_Static_assert(sizeof(struct sending) <= LOOP_STATE_BYTES, "fits");

static void fail(struct loop_output *out, const struct http_request *request, unsigned status,
                 const char *header)
{
    struct http_out headers = {.bytes = (char *)(uintptr_t)header, .len = strlen(header)};
    struct http_out bytes = {.bytes = (char *)out->bytes + out->len, .size = out->size - out->len};
    const struct http_answer answer = {
        .status = status,
        .headers = &headers,
        .body = "",
        .closes = !request->keeps_alive,
    };
    http_put_answer(&bytes, &answer);
    out->len += bytes.len;
}

/* Renders a page and puts its head. */
static void begin(const struct loop_call *call, struct sending *sending, bool is_head,
                  struct loop_output *out)
{
    struct metrics_door *door = call->context;
    struct metrics_page *page = &door->pages[++door->scrapes % METRICS_PAGES];
    struct http_out body = {.bytes = page->bytes, .size = door->page_bytes};
    struct http_out head = {.bytes = (char *)out->bytes + out->len, .size = HEAD_BYTES};
    door->render(door->context, call->config, &body);
    http_print(&head,
               "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
               "Content-Length: %zu\r\n%s\r\n",
               body.len, sending->keeps_alive ? "" : "Connection: close\r\n");
    out->len += head.len;
    page->len = body.len;
    page->scrape = sending->scrape = door->scrapes;
    sending->sent = is_head ? body.len : 0;
}

/* The next part of the page; after the last the request is taken. */
static enum loop_result go_on(const struct metrics_door *door, struct sending *sending,
                              struct loop_input *in, struct loop_output *out)
{
    const struct metrics_page *page = &door->pages[sending->scrape % METRICS_PAGES];
    if (page->scrape != sending->scrape)
        return LOOP_CLOSE;
    size_t part = page->len - sending->sent;
    if (part > out->size - out->len)
        part = out->size - out->len;
    loop_put(out, page->bytes + sending->sent, part);
    sending->sent += part;
    if (sending->sent < page->len)
        return LOOP_GO_ON;
    in->used += sending->used;
    sending->scrape = 0;
    return sending->keeps_alive ? LOOP_GO_ON : LOOP_CLOSE;
}

static enum loop_result consume(const struct loop_call *call, struct loop_input *in,
                                struct loop_output *out)
{
    struct metrics_door *door = call->context;
    struct http_request *request = &door->request;
    struct sending *sending = call->state;
    if (sending->scrape)
        return go_on(door, sending, in, out);
    enum http_parsed parsed = http_parse((const char *)in->bytes, in->len, request, &sending->used);
    if (parsed == HTTP_MORE) {
        in->has_half = true;
        return LOOP_GO_ON;
    }
    const bool is_head = http_is(request->method, "HEAD");
    if (parsed == HTTP_REFUSED) {
        sending->used = in->len;
        fail(out, request, request->status, "");
    } else if (!http_is(request->path, "/metrics")) {
        fail(out, request, 404, "");
    } else if (!is_head && !http_is(request->method, "GET")) {
        fail(out, request, 405, "Allow: GET, HEAD\r\n");
    } else {
        sending->keeps_alive = request->keeps_alive;
        begin(call, sending, is_head, out);
        return go_on(door, sending, in, out);
    }
    in->used += sending->used;
    return request->keeps_alive ? LOOP_GO_ON : LOOP_CLOSE;
}

const struct loop_protocol metrics_protocol = {
    .name = "metrics",
    .reply_bytes = LOOP_OUTPUT_BYTES, /* each part finds the output empty */
    .full = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    .late = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    .consume = consume,
};
