/* What the door says of itself: /openapi.json is proto-spec/openapi.json, /docs a page that shows
 * it and needs nothing from elsewhere (openapi.html beside this file). Both are part of the
 * program, put there by the assembler: the files themselves are what is edited, validated and
 * tested. */
#include "doors/http_exchange.h"

/* NOLINTBEGIN(bugprone-macro-parentheses): the path is part of a text */
#define EMBED(name, path)                                                                          \
    __asm__(".pushsection .rodata\n.global " #name "\n" #name ":\n.incbin \"" path                 \
            "\"\n.global " #name "_end\n" #name "_end:\n.byte 0\n.popsection\n");                  \
    extern const char name[] __attribute__((visibility("hidden")));                                \
    extern const char name##_end[] __attribute__((visibility("hidden")))
/* NOLINTEND(bugprone-macro-parentheses) */

EMBED(http_openapi_json, "proto-spec/openapi.json");
EMBED(http_docs_html, "src/doors/openapi.html");

static void serve_page(struct exchange *exchange, const char *type, const char *page,
                       const char *end)
{
    const struct http_answer whole = {
        .status = 200,
        .headers = &exchange->headers,
        .type = type,
        .body = page,
        .body_len = (size_t)(end - page),
        .closes = !exchange->request->keeps_alive,
        .is_head = exchange->is_head,
    };
    http_put_answer(exchange->out, &whole);
}

void http_serve_openapi(struct exchange *exchange)
{
    serve_page(exchange, "application/json", http_openapi_json, http_openapi_json_end);
}

void http_serve_docs(struct exchange *exchange)
{
    http_print(&exchange->headers,
               "Content-Security-Policy: default-src 'none'; connect-src 'self'; "
               "style-src 'unsafe-inline'; script-src 'unsafe-inline'\r\n");
    serve_page(exchange, "text/html; charset=utf-8", http_docs_html, http_docs_html_end);
}
