#include "doors/http_parse.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

struct cursor {
    const char *at, *end;
    const char *start;
};

/* What the headers say about the body and the connection. */
struct framing {
    bool has_host, has_length, has_encoding, is_chunked, says_close, says_keep, expects;
    size_t length;
};

static enum http_parsed refuse(struct http_request *request, unsigned status, const char *why)
{
    request->status = status;
    request->why = why;
    request->keeps_alive = false;
    return HTTP_REFUSED;
}

bool http_is(struct http_text text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

bool http_is_like(struct http_text text, const char *word)
{
    return text.len == strlen(word) && strncasecmp(text.at, word, text.len) == 0;
}

static bool is_token_byte(unsigned char byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= 'a' && byte <= 'z') || (byte && strchr("!#$%&'*+-.^_`|~", byte));
}

static bool is_token(struct http_text text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_token_byte((unsigned char)text.at[i]))
            return false;
    return text.len > 0;
}

/* The next line, without its end. too_long is answered when the head would be too large. */
static enum http_parsed next_line(struct cursor *cursor, struct http_request *request,
                                  unsigned too_long, struct http_text *ret_line)
{
    size_t room = HTTP_MAX_HEAD - (size_t)(cursor->at - cursor->start);
    size_t there = (size_t)(cursor->end - cursor->at);
    size_t seen = there < room ? there : room;
    const char *end = memchr(cursor->at, '\n', seen);
    const char *stop = end ? end : cursor->at + seen;
    for (const char *at = cursor->at; at < stop; at++) {
        if (*at == '\0')
            return refuse(request, 400, "a NUL byte in the head");
        if (*at == '\r' && at + 1 < cursor->end && at[1] != '\n')
            return refuse(request, 400, "a CR that ends no line");
    }
    if (!end) {
        if (there < room)
            return HTTP_MORE;
        return refuse(request, too_long,
                      too_long == 414 ? "the request line is longer than 8192 bytes"
                                      : "the headers are longer than 8192 bytes");
    }
    if (end == cursor->at || end[-1] != '\r')
        return refuse(request, 400, "a line ends in LF without CR");
    *ret_line = (struct http_text){cursor->at, (size_t)(end - cursor->at) - 1};
    cursor->at = end + 1;
    return HTTP_WHOLE;
}

/* Up to the first sep, which is skipped; false: there is none. */
static bool cut(struct http_text *rest, char sep, struct http_text *ret_part)
{
    const char *at = memchr(rest->at, sep, rest->len);
    if (!at)
        return false;
    *ret_part = (struct http_text){rest->at, (size_t)(at - rest->at)};
    *rest = (struct http_text){at + 1, rest->len - ret_part->len - 1};
    return true;
}

/* "/path?query", or the same behind "http://host" (RFC 9112, 3.2.2). */
static bool parse_target(struct http_text target, struct http_request *request)
{
    static const char scheme[] = "http://";
    const size_t scheme_len = sizeof(scheme) - 1;
    for (size_t i = 0; i < target.len; i++)
        if (target.at[i] < 0x21 || target.at[i] > 0x7e || target.at[i] == '#')
            return false;
    if (target.len > scheme_len && strncasecmp(target.at, scheme, scheme_len) == 0) {
        const char *path = memchr(target.at + scheme_len, '/', target.len - scheme_len);
        if (!path)
            return false;
        target = (struct http_text){path, target.len - (size_t)(path - target.at)};
    }
    if (target.len == 0 || (target.at[0] != '/' && !http_is(target, "*")))
        return false;
    request->query = target;
    if (!cut(&request->query, '?', &request->path)) {
        request->path = target;
        request->query = (struct http_text){NULL, 0};
    }
    return true;
}

static enum http_parsed parse_request_line(struct http_text line, struct http_request *request,
                                           bool *ret_is_1_0)
{
    struct http_text target;
    if (!cut(&line, ' ', &request->method) || !is_token(request->method) ||
        !cut(&line, ' ', &target))
        return refuse(request, 400, "the first line is not METHOD TARGET HTTP/1.1");
    *ret_is_1_0 = http_is(line, "HTTP/1.0");
    if (!*ret_is_1_0 && !http_is(line, "HTTP/1.1")) {
        if (line.len == 8 && memcmp(line.at, "HTTP/", 5) == 0)
            return refuse(request, 505, "only HTTP/1.1 and HTTP/1.0 are served");
        return refuse(request, 400, "the first line is not METHOD TARGET HTTP/1.1");
    }
    if (!parse_target(target, request))
        return refuse(request, 400, "the target is no path");
    return HTTP_WHOLE;
}

static struct http_text trim(struct http_text text)
{
    while (text.len && (text.at[0] == ' ' || text.at[0] == '\t')) {
        text.at++;
        text.len--;
    }
    while (text.len && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
        text.len--;
    return text;
}

static bool is_value(struct http_text text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.at[i];
        if ((byte < 0x20 && byte != '\t') || byte == 0x7f)
            return false;
    }
    return true;
}

static enum http_parsed take_length(struct http_text value, struct framing *framing,
                                    struct http_request *request)
{
    size_t length = 0;
    if (framing->has_length)
        return refuse(request, 400, "Content-Length stands twice");
    if (value.len == 0)
        return refuse(request, 400, "Content-Length is no number");
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            return refuse(request, 400, "Content-Length is no number");
        if (length <= HTTP_MAX_BODY)
            length = length * 10 + (size_t)(value.at[i] - '0');
    }
    framing->has_length = true;
    framing->length = length;
    return HTTP_WHOLE;
}

static void take_connection(struct http_text value, struct framing *framing)
{
    struct http_text token;
    for (bool has_more = true; has_more;) {
        has_more = cut(&value, ',', &token);
        if (!has_more)
            token = value;
        token = trim(token);
        framing->says_close |= http_is_like(token, "close");
        framing->says_keep |= http_is_like(token, "keep-alive");
    }
}

/* What a header means for the framing; most mean nothing. */
static enum http_parsed take_header(const struct http_header *header, struct framing *framing,
                                    struct http_request *request)
{
    if (http_is_like(header->name, "host")) {
        if (framing->has_host)
            return refuse(request, 400, "Host stands twice");
        framing->has_host = true;
    } else if (http_is_like(header->name, "content-length")) {
        return take_length(header->value, framing, request);
    } else if (http_is_like(header->name, "transfer-encoding")) {
        framing->is_chunked = !framing->has_encoding && http_is_like(header->value, "chunked");
        framing->has_encoding = true;
    } else if (http_is_like(header->name, "connection")) {
        take_connection(header->value, framing);
    } else if (http_is_like(header->name, "expect")) {
        framing->expects = true;
    }
    return HTTP_WHOLE;
}

static enum http_parsed parse_header(struct http_text line, struct framing *framing,
                                     struct http_request *request)
{
    if (request->header_count == HTTP_MAX_HEADERS)
        return refuse(request, 431, "more than 64 headers");
    if (line.at[0] == ' ' || line.at[0] == '\t')
        return refuse(request, 400, "a header goes on in a second line");
    struct http_header *header = &request->headers[request->header_count];
    if (!cut(&line, ':', &header->name) || !is_token(header->name))
        return refuse(request, 400, "a header is not NAME: VALUE");
    header->value = trim(line);
    if (!is_value(header->value))
        return refuse(request, 400, "a header has a control character");
    request->header_count++;
    return take_header(header, framing, request);
}

/* How long is the body, and may another request follow? */
static enum http_parsed judge_framing(struct framing *framing, bool is_1_0,
                                      struct http_request *request)
{
    if (framing->has_encoding && (framing->has_length || is_1_0))
        return refuse(request, 400, "Transfer-Encoding beside Content-Length, or in HTTP/1.0");
    if (framing->has_encoding && framing->is_chunked)
        return refuse(request, 411, "chunked bodies are not served; send Content-Length");
    if (framing->has_encoding)
        return refuse(request, 501, "this Transfer-Encoding is not served; send Content-Length");
    if (!framing->has_host && !is_1_0)
        return refuse(request, 400, "Host is missing");
    if (framing->length > HTTP_MAX_BODY)
        return refuse(request, 413, "the body is larger than 8192 bytes");
    request->keeps_alive = !framing->says_close && (!is_1_0 || framing->says_keep);
    return HTTP_WHOLE;
}

enum http_parsed http_parse(const char *bytes, size_t len, struct http_request *ret_request,
                            size_t *ret_used)
{
    struct cursor cursor = {.at = bytes, .end = bytes + len, .start = bytes};
    struct framing framing = {.length = 0};
    struct http_text line;
    bool is_1_0 = false;
    *ret_request = (struct http_request){.header_count = 0};
    if (len == 1 && bytes[0] == '\r')
        return HTTP_MORE;
    if (len >= 2 && bytes[0] == '\r' && bytes[1] == '\n')
        cursor.at += 2; /* some send one behind a body (RFC 9112, 2.2) */
    enum http_parsed result = next_line(&cursor, ret_request, 414, &line);
    if (result == HTTP_WHOLE)
        result = parse_request_line(line, ret_request, &is_1_0);
    while (result == HTTP_WHOLE) {
        result = next_line(&cursor, ret_request, 431, &line);
        if (result == HTTP_WHOLE && line.len == 0)
            break;
        if (result == HTTP_WHOLE)
            result = parse_header(line, &framing, ret_request);
    }
    if (result == HTTP_WHOLE)
        result = judge_framing(&framing, is_1_0, ret_request);
    if (result != HTTP_WHOLE)
        return result;
    if ((size_t)(cursor.end - cursor.at) < framing.length)
        return framing.expects ? refuse(ret_request, 417, "send the body without waiting for 100")
                               : HTTP_MORE;
    ret_request->body = (struct http_text){cursor.at, framing.length};
    *ret_used = (size_t)(cursor.at - bytes) + framing.length;
    return HTTP_WHOLE;
}

enum http_found http_find(const struct http_request *request, const char *name,
                          struct http_text *ret_value)
{
    enum http_found found = HTTP_ABSENT;
    for (unsigned i = 0; i < request->header_count; i++) {
        if (!http_is_like(request->headers[i].name, name))
            continue;
        if (found == HTTP_FOUND)
            return HTTP_TWICE;
        *ret_value = request->headers[i].value;
        found = HTTP_FOUND;
    }
    return found;
}

bool http_next_parameter(struct http_text *query, struct http_text *ret_name,
                         struct http_text *ret_value)
{
    struct http_text pair;
    do {
        if (query->len == 0)
            return false;
        if (!cut(query, '&', &pair)) {
            pair = *query;
            query->len = 0;
        }
    } while (pair.len == 0);
    *ret_value = pair;
    if (!cut(ret_value, '=', ret_name)) {
        *ret_name = pair;
        *ret_value = (struct http_text){pair.at + pair.len, 0};
    }
    return true;
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

long http_decode(struct http_text text, char *ret_bytes, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char byte = text.at[i] == '+' ? ' ' : text.at[i];
        if (byte == '%') {
            int high = i + 2 < text.len ? hex_digit(text.at[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_digit(text.at[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -1;
            byte = (char)(high * 16 + low);
            i += 2;
        }
        if (len == size)
            return -1;
        ret_bytes[len++] = byte;
    }
    return (long)len;
}
