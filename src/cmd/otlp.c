#include <stdbool.h>

#include "cmd/otlp.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "config/config.h"
#include "obs/trace.h"

#define LINE_SIZE 64u
#define MOST_ANSWER (64u << 10)

/* ---- JSON ---- */

/* Names are printable ASCII; a quote or backslash in one is escaped. */
static void put_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static void put_hex(FILE *out, const char *field, const uint8_t *bytes, size_t count)
{
    fprintf(out, "\"%s\":\"", field);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%02x", bytes[i]);
    fputs("\",", out);
}

static void put_string_attribute(FILE *out, const char *key, const char *value, bool is_first)
{
    fprintf(out, "%s{\"key\":\"%s\",\"value\":{\"stringValue\":", is_first ? "" : ",", key);
    put_text(out, value);
    fputs("}}", out);
}

static void put_int_attribute(FILE *out, const char *key, uint64_t value)
{
    fprintf(out, ",{\"key\":\"%s\",\"value\":{\"intValue\":\"%" PRIu64 "\"}}", key, value);
}

static void put_resource(FILE *out)
{
    char host[256] = "unknown";
    gethostname(host, sizeof(host) - 1);
    fputs("\"resource\":{\"attributes\":[", out);
    put_string_attribute(out, "service.name", "mete", true);
    put_string_attribute(out, "service.version", METE_VERSION, false);
    put_string_attribute(out, "host.name", host, false);
    put_int_attribute(out, "process.pid", (uint64_t)getpid());
    fputs("]}", out);
}

/* ---- spans ---- */

void otlp_begin_spans(FILE *out)
{
    fputs("{\"resourceSpans\":[{", out);
    put_resource(out);
    fputs(",\"scopeSpans\":[{\"scope\":{\"name\":\"mete\"},\"spans\":[", out);
}

void otlp_end_spans(FILE *out)
{
    fputs("]}]}]}", out);
}

/* "/package.Service/Method" by the conventions for RPC. */
static void put_rpc(FILE *out, const struct trace_span *span)
{
    char service[128];
    const char *method = strrchr(span->name, '/');
    snprintf(service, sizeof(service), "%.*s", (int)(method - span->name) - 1, span->name + 1);
    put_string_attribute(out, "rpc.system", "grpc", true);
    put_string_attribute(out, "rpc.service", service, false);
    put_string_attribute(out, "rpc.method", method + 1, false);
    put_int_attribute(out, "rpc.grpc.status_code", span->status);
}

/* "POST /check" by those for HTTP. */
static void put_http(FILE *out, const struct trace_span *span)
{
    char method[16];
    const char *route = strchr(span->name, ' ');
    snprintf(method, sizeof(method), "%.*s", (int)(route - span->name), span->name);
    put_string_attribute(out, "http.request.method", method, true);
    put_string_attribute(out, "http.route", route + 1, false);
    put_int_attribute(out, "http.response.status_code", span->status);
}

void otlp_put_span(FILE *out, const struct trace_span *span, bool is_first)
{
    /* a denial is no error: 2 is said only of what the server could not do */
    const bool is_error =
        span->kind == TRACE_GRPC ? span->status == 13 || span->status == 14 : span->status >= 500;
    fputs(is_first ? "{" : ",{", out);
    put_hex(out, "traceId", span->trace_id, 16);
    put_hex(out, "spanId", span->span_id, 8);
    if (span->has_parent)
        put_hex(out, "parentSpanId", span->parent_id, 8);
    fputs("\"name\":", out);
    put_text(out, span->kind == TRACE_GRPC ? span->name + 1 : span->name);
    fprintf(out,
            ",\"kind\":2,\"startTimeUnixNano\":\"%" PRIu64 "\",\"endTimeUnixNano\":\"%" PRIu64
            "\",\"attributes\":[",
            span->start_ns, span->end_ns);
    if (span->kind == TRACE_GRPC)
        put_rpc(out, span);
    else
        put_http(out, span);
    if (*span->tenant)
        put_string_attribute(out, "mete.tenant", span->tenant, false);
    if (*span->rule)
        put_string_attribute(out, "mete.rule", span->rule, false);
    if (span->checks) {
        put_int_attribute(out, "mete.checks", span->checks);
        put_int_attribute(out, "mete.cost", span->cost);
        put_int_attribute(out, "mete.remaining", span->remaining);
        fprintf(out, ",{\"key\":\"mete.allowed\",\"value\":{\"boolValue\":%s}}",
                span->is_allowed ? "true" : "false");
    }
    fprintf(out, "],\"status\":{%s}}", is_error ? "\"code\":2" : "");
}

/* ---- metrics ---- */

void otlp_begin_metrics(struct otlp_metrics *metrics)
{
    fputs("{\"resourceMetrics\":[{", metrics->out);
    put_resource(metrics->out);
    fputs(",\"scopeMetrics\":[{\"scope\":{\"name\":\"mete\"},\"metrics\":[", metrics->out);
    metrics->has_metric = false;
}

void otlp_begin_sum(struct otlp_metrics *metrics, const char *name, const char *unit,
                    const char *what)
{
    fprintf(metrics->out,
            "%s{\"name\":\"%s\",\"unit\":\"%s\",\"description\":\"%s\",\"sum\":{"
            "\"aggregationTemporality\":2,\"isMonotonic\":true,\"dataPoints\":[",
            metrics->has_metric ? "," : "", name, unit, what);
    metrics->has_metric = true;
    metrics->has_point = false;
}

void otlp_put_point(struct otlp_metrics *metrics, uint64_t value, const char *const *attributes)
{
    fprintf(metrics->out,
            "%s{\"startTimeUnixNano\":\"%" PRIu64 "\",\"timeUnixNano\":\"%" PRIu64
            "\",\"asInt\":\"%" PRIu64 "\",\"attributes\":[",
            metrics->has_point ? "," : "", metrics->start_ns, metrics->now_ns, value);
    for (unsigned i = 0; attributes[i]; i += 2)
        put_string_attribute(metrics->out, attributes[i], attributes[i + 1], i == 0);
    fputs("]}", metrics->out);
    metrics->has_point = true;
}

void otlp_end_sum(struct otlp_metrics *metrics)
{
    fputs("]}}", metrics->out);
}

void otlp_end_metrics(struct otlp_metrics *metrics)
{
    fputs("]}]}]}", metrics->out);
}

/* ---- the way out ---- */

static int open_connection(const struct config_door *where, int timeout_ms)
{
    struct sockaddr_un unix_address = {.sun_family = AF_UNIX};
    const struct sockaddr *address = (const struct sockaddr *)&where->address.address;
    socklen_t len = where->address.len;
    if (where->path) {
        snprintf(unix_address.sun_path, sizeof(unix_address.sun_path), "%s", where->path);
        address = (const struct sockaddr *)&unix_address;
        len = sizeof(unix_address);
    }
    const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int result = connect(fd, address, len) < 0 ? -errno : 0;
    if (result == -EINPROGRESS) {
        struct pollfd waits = {.fd = fd, .events = POLLOUT};
        socklen_t size = sizeof(result);
        result = -ETIMEDOUT;
        if (poll(&waits, 1, timeout_ms) == 1 &&
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &size) == 0)
            result = -result;
    }
    if (result == 0)
        return fd;
    close(fd);
    return result;
}

static int send_all(int fd, const char *bytes, size_t len, int timeout_ms)
{
    while (len) {
        struct pollfd waits = {.fd = fd, .events = POLLOUT};
        const ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (sent < 0 && poll(&waits, 1, timeout_ms) != 1)
            return -ETIMEDOUT;
        if (sent > 0) {
            bytes += sent;
            len -= (size_t)sent;
        }
    }
    return 0;
}

/* Of the answer only the first line counts. It is read to its end, so that no reset meets who still
 * writes it, but no further than MOST_ANSWER. */
static int read_status(int fd, int timeout_ms)
{
    char answer[2048] = "";
    size_t len = 0, all = 0;
    int status = 0;
    while (all < MOST_ANSWER) {
        struct pollfd waits = {.fd = fd, .events = POLLIN};
        if (poll(&waits, 1, timeout_ms) != 1)
            return -ETIMEDOUT;
        if (len == sizeof(answer) - 1)
            len = LINE_SIZE;
        const ssize_t got = recv(fd, answer + len, sizeof(answer) - 1 - len, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got < 0 && all == 0)
            return -errno;
        if (got <= 0)
            break;
        len += (size_t)got;
        all += (size_t)got;
    }
    if (all == 0)
        return -ECONNRESET;
    return sscanf(answer, "HTTP/1.%*1[01] %3d", &status) == 1 ? status : -EPROTO;
}

int otlp_post(const struct config_door *where, const char *path, const char *body, size_t len,
              int timeout_ms)
{
    char head[256];
    const int head_len = snprintf(head, sizeof(head),
                                  "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: mete\r\n"
                                  "Content-Type: application/json\r\nContent-Length: %zu\r\n"
                                  "Connection: close\r\n\r\n",
                                  path, where->path ? "localhost" : where->address.text, len);
    const int fd = open_connection(where, timeout_ms);
    if (fd < 0)
        return fd;
    int result = send_all(fd, head, (size_t)head_len, timeout_ms);
    if (result == 0)
        result = send_all(fd, body, len, timeout_ms);
    if (result == 0)
        result = read_status(fd, timeout_ms);
    close(fd);
    return result;
}
