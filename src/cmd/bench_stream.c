#include "cmd/bench_stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "cmd/bench_answer.h"
#include "cmd/bench_hello.h"
#include "cmd/bench_request.h"
#include "cmd/cmd.h"
#include "cmd/secret_key.h"
#include "sys/clock.h"

#define IN_BYTES 65536u
#define WAIT_MS 2000

/* ---- first contact ---- */

static int open_connection(const struct bench_server *server)
{
    const struct timeval wait = {.tv_sec = WAIT_MS / 1000};
    const int on = 1;
    const int fd = socket(server->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, (const struct sockaddr *)&server->address, server->address_len) == 0)
        return fd;
    const int error = errno;
    close(fd);
    return -error;
}

/* One request and its answer, waited for. 0, or a negative errno. */
static int exchange(int fd, const struct bench_server *server, const struct door_words *words,
                    const struct door_request *request, struct door_answer *ret_answer)
{
    uint8_t bytes[16384];
    size_t len = 0, used = 0;
    if (send(fd, request->bytes, request->len, MSG_NOSIGNAL) != (ssize_t)request->len)
        return -EPIPE;
    for (;;) {
        const ssize_t got = recv(fd, bytes + len, sizeof(bytes) - len, 0);
        if (got <= 0)
            return got < 0 ? -errno : -ECONNRESET;
        len += (size_t)got;
        const enum door_heard heard = server->door->hear(words, bytes, len, &used, ret_answer);
        if (heard != DOOR_HALF)
            return heard == DOOR_WHOLE ? 0 : -EPROTO;
        if (len == sizeof(bytes))
            return -EMSGSIZE;
    }
}

/* A connection that has said what it begins with. A descriptor, or a negative errno; -EACCES: the
 * key was refused. */
static int open_ready(const struct bench_server *server)
{
    struct door_answer answer = {0};
    const struct door_words any = {.ask = ""};
    const int fd = open_connection(server);
    if (fd < 0 || server->begin.len == 0)
        return fd;
    int result = exchange(fd, server, &any, &server->begin, &answer);
    if (result == 0 && answer.status != METE_STATUS_OK)
        result = -EACCES;
    if (result == 0)
        return fd;
    close(fd);
    return result;
}

/* Asks once, without taking anything. */
static int probe(const struct bench_options *options, const struct bench_server *server)
{
    struct door_words words = server->words;
    struct door_request request;
    struct door_answer answer;
    words.cost = 0;
    const int fd = open_ready(server);
    int result = fd;
    if (fd >= 0) {
        result = server->door->ask(&words, &request)
                     ? exchange(fd, server, &words, &request, &answer)
                     : -EMSGSIZE;
        close(fd);
    }
    if (result == -EACCES)
        return cmd_fail("bench", "--secret-file: the server at %s does not know this API key",
                        server->text);
    if (result < 0) {
        cmd_fail("bench", "no answer from %s: %s; is its %s door open?", server->text,
                 strerror(-result), server->door->name);
        return EXIT_NO_ANSWER;
    }
    if (answer.status == METE_STATUS_UNKNOWN_RULE)
        return cmd_fail("bench", "--rule: the server at %s knows no rule '%s'", server->text,
                        options->rule);
    if (answer.status != METE_STATUS_OK)
        return cmd_fail("bench", "the server at %s answers with an error%s", server->text,
                        options->secret ? "" : "; does it want an API key (--secret-file)?");
    return 0;
}

static int read_key(const char *path, struct bench_server *server)
{
    char line[DOOR_MAX_KEY + 2];
    FILE *file = fopen(path, "re");
    if (!file)
        return cmd_fail("bench", "--secret-file: %s: %s", path, strerror(errno));
    const bool is_read = fgets(line, sizeof(line), file) != NULL;
    fclose(file);
    line[is_read ? strcspn(line, "\r\n") : 0] = 0;
    const size_t len = strlen(line);
    if (len == 0 || len > DOOR_MAX_KEY)
        return cmd_fail("bench", "--secret-file: %s: no API key of at most %u bytes in its line",
                        path, DOOR_MAX_KEY);
    memcpy(server->api_key, line, len + 1);
    return 0;
}

int bench_stream_hello(const struct bench_options *options, struct bench_server *ret_server)
{
    struct bench_server *server = ret_server;
    *server = (struct bench_server){.secret = METE_WIRE_NO_SECRET, .door = options->door};
    int result = bench_resolve(options->server, server);
    if (result == 0 && options->secret)
        result = read_key(options->secret, server);
    server->words = (struct door_words){
        .rule = options->rule,
        .cost = options->cost,
        .ask = options->ask,
        .key = options->secret ? server->api_key : NULL,
    };
    if (result == 0 && !(server->door->begin(&server->words, &server->begin) &&
                         server->door->ask(&server->words, &server->request)))
        result = cmd_fail("bench",
                          "--rule, --ask and the API key are too long for one request, or --ask "
                          "is not of this door's form");
    if (result == 0 && !server->request.subject_at)
        result = cmd_fail("bench", "--ask: '%s' has no {} for the subject", options->ask);
    return result ? result : probe(options, server);
}

/* ---- a flow ---- */

int stream_open(const struct bench_server *server, struct flow *flow)
{
    struct flow_stream *stream = calloc(1, sizeof(*stream));
    if (!stream)
        return -ENOMEM;
    flow->stream = stream;
    stream->server = server;
    stream->out_size = (size_t)flow->outstanding * server->request.len;
    stream->in = malloc(IN_BYTES);
    stream->out = malloc(stream->out_size);
    if (!stream->in || !stream->out)
        return -ENOMEM;
    for (unsigned i = 0; i < flow->outstanding; i++)
        memcpy(flow_datagram(flow, i), server->request.bytes, server->request.len);
    return flow->fd = open_ready(server);
}

void stream_close(struct flow *flow)
{
    if (!flow->stream)
        return;
    free(flow->stream->in);
    free(flow->stream->out);
    free(flow->stream);
}

uint16_t stream_fill(struct flow *flow, unsigned index, uint64_t subject)
{
    static const char digits[] = "0123456789abcdef";
    const struct door_request *request = &flow->stream->server->request;
    uint8_t *place = flow_datagram(flow, index) + request->subject_at;
    for (unsigned i = 0; i < DOOR_SUBJECT_BYTES; i++)
        place[i] = (uint8_t)digits[subject >> (60 - 4 * i) & 15];
    flow->slots[index].is_awaited = true;
    return (uint16_t)request->len;
}

/* False: the connection is gone. */
static bool flush(struct flow *flow)
{
    struct flow_stream *stream = flow->stream;
    while (stream->out_sent < stream->out_len) {
        const ssize_t put = send(flow->fd, stream->out + stream->out_sent,
                                 stream->out_len - stream->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return errno == EAGAIN;
        stream->out_sent += (size_t)put;
    }
    stream->out_len = stream->out_sent = 0;
    return true;
}

void stream_send(struct flow *flow, const uint16_t *slots, unsigned count)
{
    struct flow_stream *stream = flow->stream;
    if (stream->out_sent > 0) {
        memmove(stream->out, stream->out + stream->out_sent, stream->out_len - stream->out_sent);
        stream->out_len -= stream->out_sent;
        stream->out_sent = 0;
    }
    for (unsigned i = 0; i < count; i++) { /* no more than outstanding: there is room */
        const size_t len = flow->slots[slots[i]].len;
        memcpy(stream->out + stream->out_len, flow_datagram(flow, slots[i]), len);
        if (stream->server->door->number)
            stream->server->door->number(stream->out + stream->out_len, stream->asked++);
        stream->out_len += len;
    }
    flush(flow); /* an end is told by the next receive */
}

/* ---- answers ---- */

static void take_answer(struct bench_thread *thread, struct flow *flow,
                        const struct door_answer *answer, uint64_t now_ns)
{
    struct bench_counts *counts = &thread->counts;
    const unsigned index = flow->stream->next;
    struct flow_slot *slot = &flow->slots[index];
    flow->stream->next = index + 1 < flow->outstanding ? index + 1 : 0;
    slot->is_awaited = false;
    if (!slot->in_flight) {
        counts->late++;
        bench_free_slots(flow);
        return;
    }
    enum mete_unit unit = METE_UNIT_US;
    const struct mete_verdict verdict = {
        .status = answer->status,
        .flags = answer->is_allowed ? METE_VERDICT_ALLOW : 0,
        .remaining = answer->remaining,
        .reset_after = mete_wire_time(answer->reset_after_ns, &unit),
        .unit = (uint8_t)((unsigned)unit << 4),
    };
    counts->datagrams++;
    counts->checks++;
    counts->statuses[answer->status]++;
    if (answer->status == METE_STATUS_OK) {
        counts->allowed += answer->is_allowed;
        counts->denied += !answer->is_allowed;
        thread->last = verdict;
        thread->has_last = !thread->options->ask;
    }
    histogram_record(&thread->latency, now_ns - slot->intended_at_ns);
    if (thread->options->rate)
        histogram_record(&thread->from_send, now_ns - slot->sent_at_ns);
    if (thread->judge)
        bench_judge_verdict(thread, slot, flow->subjects[index], &verdict, now_ns);
    bench_return_subjects(thread, flow, index, false);
    bench_free_slot(thread, flow, index);
}

/* All that is in flight on it is lost, and nothing more is sent. */
static void give_up(struct bench_thread *thread, struct flow *flow)
{
    close(flow->fd);
    flow->fd = -1;
    thread->counts.closed++;
    thread->closed_count++;
    for (unsigned i = 0; i < flow->outstanding; i++) {
        if (!flow->slots[i].in_flight)
            continue;
        thread->counts.lost++;
        bench_return_subjects(thread, flow, i, true);
        bench_free_slot(thread, flow, i);
    }
    flow->free_count = 0;
}

bool stream_receive(struct bench_thread *thread, struct flow *flow)
{
    struct flow_stream *stream = flow->stream;
    const struct bench_server *server = stream->server;
    if (flow->fd < 0)
        return false;
    const bool is_written = flush(flow);
    const ssize_t got =
        recv(flow->fd, stream->in + stream->in_len, IN_BYTES - stream->in_len, MSG_DONTWAIT);
    if (got < 0 && is_written && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0) {
        give_up(thread, flow);
        return true;
    }
    stream->in_len += (size_t)got;
    const uint64_t now_ns = thread->end_ns = clock_boot_ns();
    size_t at = 0;
    enum door_heard heard = DOOR_WHOLE;
    while (at < stream->in_len && heard == DOOR_WHOLE) {
        struct door_answer answer;
        size_t used = 0;
        heard = server->door->hear(&server->words, stream->in + at, stream->in_len - at, &used,
                                   &answer);
        if (heard == DOOR_WHOLE && !flow->slots[stream->next].is_awaited)
            heard = DOOR_BROKEN; /* an answer that nobody asked for */
        if (heard == DOOR_WHOLE)
            take_answer(thread, flow, &answer, now_ns);
        at += used;
    }
    if (heard == DOOR_BROKEN || (at == 0 && stream->in_len == IN_BYTES)) {
        thread->counts.malformed++;
        give_up(thread, flow);
        return true;
    }
    stream->in_len -= at;
    memmove(stream->in, stream->in + at, stream->in_len);
    return true;
}
