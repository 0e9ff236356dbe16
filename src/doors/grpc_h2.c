#include "doors/grpc_h2.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doors/login.h"

#define BOMB_BYTES (8u * GRPC_MAX_HEADERS) /* of one header block: beyond it nobody is polite */
#define SPARE_CALLS 1024u                  /* kept for the next */

struct grpc_h2 {
    const struct grpc_h2_handler *handler;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    struct grpc_call *spare;
    unsigned spare_count;
};

struct door_head { /* what this file knows of a door: its first member */
    struct grpc_h2 *h2;
};

static struct grpc_h2 *h2_of(const struct grpc_link *link)
{
    return ((const struct door_head *)link->door)->h2;
}

/* ---- calls ---- */

static struct grpc_call *take_call(struct grpc_h2 *h2)
{
    struct grpc_call *call = h2->spare;
    if (!call)
        return malloc(sizeof(*call));
    h2->spare = call->next;
    h2->spare_count--;
    return call;
}

static void give_call(struct grpc_h2 *h2, struct grpc_call *call)
{
    grpc_call_deinit(call);
    if (h2->spare_count == SPARE_CALLS) {
        free(call);
        return;
    }
    call->next = h2->spare;
    h2->spare = call;
    h2->spare_count++;
}

static void unlink_call(struct grpc_h2 *h2, struct grpc_call *call)
{
    *call->previous = call->next;
    if (call->next)
        call->next->previous = call->previous;
    call->link = NULL;
    if (!call->in_batch)
        give_call(h2, call);
}

void grpc_h2_release(struct grpc_h2 *h2, struct grpc_call *call)
{
    call->in_batch--;
    if (!call->in_batch && !call->link)
        give_call(h2, call);
}

/* ---- what comes ---- */

static struct grpc_call *call_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct grpc_link *link = context;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct grpc_call *call = take_call(h2_of(link));
    if (!call)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    grpc_call_init(call, frame->hd.stream_id);
    call->link = link;
    call->begun_ns = link->frame_ns;
    call->next = link->calls;
    call->previous = &link->calls;
    if (call->next)
        call->next->previous = &call->next;
    link->calls = call;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
    return 0;
}

/* Frames of kinds that nobody knows are to be ignored. nghttp2 counts them only for who takes them.
 */
static int on_unknown(nghttp2_session *session, void **payload, const nghttp2_frame_hd *head,
                      void *context)
{
    (void)session;
    (void)payload;
    (void)head;
    (void)context;
    return NGHTTP2_ERR_CANCEL;
}

/* The hash of a key, made once for a connection that shows the same one with every call. */
static void hash_key(struct grpc_link *link, struct grpc_text key, uint8_t ret_hash[32])
{
    if (key.len != link->key_len || memcmp(key.at, link->key, key.len) != 0) {
        login_hash(key.at, key.len, link->key_hash);
        link->key_len = key.len < GRPC_MAX_KEY ? (uint8_t)key.len : 0;
        memcpy(link->key, key.at, link->key_len);
    }
    memcpy(ret_hash, link->key_hash, 32);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *context)
{
    struct grpc_link *link = context;
    struct grpc_call *call = call_of(session, frame->hd.stream_id);
    struct grpc_text key;
    (void)flags;
    if (!call)
        return 0;
    const nghttp2_vec vecs[2] = {nghttp2_rcbuf_get_buf(name), nghttp2_rcbuf_get_buf(value)};
    const struct grpc_text texts[2] = {{(const char *)vecs[0].base, vecs[0].len},
                                       {(const char *)vecs[1].base, vecs[1].len}};
    if (!grpc_call_take_header(call, texts[0], texts[1], &key))
        hash_key(link, key, call->key_hash);
    return call->header_bytes > BOMB_BYTES ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *bytes,
                   size_t len, void *context)
{
    struct grpc_link *link = context;
    struct grpc_call *call = call_of(session, stream_id);
    (void)flags;
    while (call && grpc_call_take_data(call, &bytes, &len)) {
        h2_of(link)->handler->on_message(link->door, call);
        if (!call->link)
            return 0;
    }
    return 0;
}

/* Of every kind, those included that nobody knows. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *head, void *context)
{
    struct grpc_link *link = context;
    const bool is_control =
        head->type > NGHTTP2_HEADERS || (head->type == NGHTTP2_DATA && head->length == 0 &&
                                         !(head->flags & NGHTTP2_FLAG_END_STREAM));
    (void)session;
    return is_control && --link->control < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    struct grpc_link *link = context;
    const bool has_stream = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    link->is_pinged = false;
    struct grpc_call *call = has_stream ? call_of(session, frame->hd.stream_id) : NULL;
    if (!call)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        grpc_call_judge_headers(call);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        grpc_call_end(call);
    if (call->has_ended || call->why)
        h2_of(link)->handler->on_end(link->door, call);
    return 0;
}

static int on_invalid(nghttp2_session *session, const nghttp2_frame *frame, int error,
                      void *context)
{
    struct grpc_link *link = context;
    (void)session;
    (void)frame;
    (void)error;
    return --link->control < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_close(nghttp2_session *session, int32_t stream_id, uint32_t error, void *context)
{
    struct grpc_link *link = context;
    struct grpc_call *call = call_of(session, stream_id);
    (void)error;
    if (call)
        unlink_call(h2_of(link), call);
    return 0;
}

/* Time and answers fill the budget for control frames. */
static void refill(struct grpc_link *link, uint64_t now_ns)
{
    const uint64_t step_ns = 1000000000ull / GRPC_CONTROL_PER_S;
    const uint64_t steps = (now_ns - link->refill_ns) / step_ns;
    if (steps && link->control < GRPC_CONTROL_BURST)
        link->control =
            steps > GRPC_CONTROL_BURST ? GRPC_CONTROL_BURST : link->control + (int)steps;
    link->refill_ns += steps * step_ns;
}

bool grpc_h2_take(struct grpc_link *link, const uint8_t *bytes, size_t len, uint64_t now_ns)
{
    if (link->is_leaving)
        return false;
    refill(link, now_ns);
    link->frame_ns = now_ns;
    const ssize_t taken = nghttp2_session_mem_recv(link->session, bytes, len);
    if (taken < 0) /* our own bounds, or those of nghttp2 on acks, settings and continuations */
        nghttp2_session_terminate_session(link->session, taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC
                                                             ? NGHTTP2_PROTOCOL_ERROR
                                                             : NGHTTP2_ENHANCE_YOUR_CALM);
    link->is_leaving |= taken != (ssize_t)len;
    return !link->is_leaving;
}

bool grpc_h2_is_done(const struct grpc_link *link)
{
    return link->is_leaving || (!nghttp2_session_want_read(link->session) &&
                                !nghttp2_session_want_write(link->session));
}

/* ---- what goes ---- */

#define NV(n, v)                                                                                   \
    {                                                                                              \
        (uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1,                              \
            NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE                           \
    }

static const nghttp2_nv STATUS_200 = NV(":status", "200");
static const nghttp2_nv TYPE = NV("content-type", "application/grpc");
static const nghttp2_nv GOOD = NV("grpc-status", "0");
static const nghttp2_nv ENCODING = NV("grpc-accept-encoding", "identity");

/* What could not be queued for want of memory would leave a caller waiting: it finds the connection
 * closed. */
static void end_if_fatal(struct grpc_link *link, int result)
{
    link->is_leaving |= nghttp2_is_fatal(result);
}

/* grpc-status and, of a refusal, grpc-message. */
static size_t put_status(const struct grpc_call *call, char number[4], nghttp2_nv nvs[2])
{
    nvs[0] = GOOD;
    if (!call->why)
        return 1;
    snprintf(number, 4, "%u", call->status);
    nvs[0].value = (uint8_t *)number;
    nvs[0].valuelen = strlen(number);
    nvs[0].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME; /* the number is ours only until we return */
    nvs[1] = (nghttp2_nv)NV("grpc-message", "");
    nvs[1].value = (uint8_t *)(uintptr_t)call->why;
    nvs[1].valuelen = strlen(call->why);
    return 2;
}

static ssize_t read_answer(nghttp2_session *session, int32_t stream_id, uint8_t *bytes, size_t size,
                           uint32_t *flags, nghttp2_data_source *source, void *context)
{
    struct grpc_call *call = source->ptr;
    const size_t rest = call->out.len - call->out_sent;
    const size_t part = rest < size ? rest : size;
    char number[4];
    nghttp2_nv nvs[2];
    (void)context;
    memcpy(bytes, call->out.bytes + call->out_sent, part);
    call->out_sent += (uint32_t)part;
    if (part < rest)
        return (ssize_t)part;
    if (call->is_closing) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, stream_id, nvs, put_status(call, number, nvs)))
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* a call reset is better than half one */
    } else if (part == 0) {
        call->is_waiting = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)part;
}

/* The client may go on sending to a call that is answered: it is told not to. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
    (void)context;
    if (frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    const struct grpc_call *call = call_of(session, frame->hd.stream_id);
    if (call && !call->has_ended &&
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_NO_ERROR))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return 0;
}

/* Headers and status in one, without a message. */
static void answer_refused(struct grpc_call *call)
{
    char number[4], http[6];
    nghttp2_nv nvs[6] = {STATUS_200, TYPE};
    size_t count = 2;
    if (call->http_status != 200) {
        snprintf(http, sizeof(http), "%u", call->http_status);
        nvs[0].value = (uint8_t *)http;
        nvs[0].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME;
    }
    if (call->is_encoded)
        nvs[count++] = ENCODING;
    count += put_status(call, number, &nvs[count]);
    end_if_fatal(call->link,
                 nghttp2_submit_response(call->link->session, call->stream_id, nvs, count, NULL));
}

void grpc_h2_answer(struct grpc_call *call)
{
    static const nghttp2_nv nvs[2] = {NV(":status", "200"), NV("content-type", "application/grpc")};
    struct grpc_link *link = call->link;
    const bool is_first = !call->has_answered;
    if (!call->why && link->control < GRPC_CONTROL_MOST)
        link->control += GRPC_CONTROL_PER_ANSWER;
    call->is_closing |= call->why != NULL;
    call->has_answered = true;
    if (is_first && call->why && call->out.len == 0) {
        answer_refused(call);
    } else if (is_first) {
        const nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_answer};
        end_if_fatal(link,
                     nghttp2_submit_response(link->session, call->stream_id, nvs, 2, &provider));
    } else if (call->is_waiting) {
        call->is_waiting = false;
        end_if_fatal(link, nghttp2_session_resume_data(link->session, call->stream_id));
    }
}

bool grpc_h2_give(struct grpc_link *link, struct loop_output *out)
{
    for (;;) {
        if (link->left_len == 0) {
            const ssize_t len = nghttp2_session_mem_send(link->session, &link->left);
            end_if_fatal(link, len < 0 ? (int)len : 0);
            if (len <= 0)
                return false;
            link->left_len = (size_t)len;
        }
        const size_t room = out->size - out->len;
        const size_t part = link->left_len < room ? link->left_len : room;
        loop_put(out, link->left, part);
        link->left += part;
        link->left_len -= part;
        if (link->left_len)
            return true;
    }
}

void grpc_h2_leave(struct grpc_link *link)
{
    if (!link->is_leaving)
        nghttp2_submit_goaway(link->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(link->session),
                              NGHTTP2_NO_ERROR, NULL, 0);
    link->is_leaving = true;
}

void grpc_h2_ping(struct grpc_link *link)
{
    nghttp2_submit_ping(link->session, NGHTTP2_FLAG_NONE, NULL);
    link->is_pinged = true;
}

/* ---- life ---- */

int grpc_h2_create(const struct grpc_h2_handler *handler, struct grpc_h2 **ret_h2)
{
    struct grpc_h2 *h2 = calloc(1, sizeof(*h2));
    if (!h2 || nghttp2_session_callbacks_new(&h2->callbacks) || nghttp2_option_new(&h2->option)) {
        grpc_h2_destroy(h2);
        return -ENOMEM;
    }
    h2->handler = handler;
    nghttp2_session_callbacks_set_on_begin_headers_callback(h2->callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_begin_frame_callback(h2->callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_header_callback2(h2->callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(h2->callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(h2->callbacks, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(h2->callbacks, on_invalid);
    nghttp2_session_callbacks_set_on_stream_close_callback(h2->callbacks, on_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(h2->callbacks, on_sent);
    nghttp2_session_callbacks_set_unpack_extension_callback(h2->callbacks, on_unknown);
    for (unsigned type = NGHTTP2_CONTINUATION + 1; type <= UINT8_MAX; type++)
        nghttp2_option_set_user_recv_extension_type(h2->option, (uint8_t)type);
    nghttp2_option_set_no_closed_streams(h2->option, 1);
    nghttp2_option_set_max_send_header_block_length(h2->option, 4096);
    *ret_h2 = h2;
    return 0;
}

void grpc_h2_destroy(struct grpc_h2 *h2)
{
    if (!h2)
        return;
    while (h2->spare) {
        struct grpc_call *call = h2->spare;
        h2->spare = call->next;
        free(call);
    }
    nghttp2_session_callbacks_del(h2->callbacks);
    nghttp2_option_del(h2->option);
    free(h2);
}

int grpc_h2_open(struct grpc_h2 *h2, struct grpc_door *door, uint64_t now_ns,
                 struct grpc_link **ret_link)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, GRPC_MAX_STREAMS},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, GRPC_MAX_HEADERS},
    };
    struct grpc_link *link = calloc(1, sizeof(*link));
    if (!link)
        return -ENOMEM;
    link->door = door;
    link->control = GRPC_CONTROL_BURST;
    link->frame_ns = link->refill_ns = now_ns;
    if (nghttp2_session_server_new2(&link->session, h2->callbacks, link, h2->option) ||
        nghttp2_submit_settings(link->session, NGHTTP2_FLAG_NONE, settings, 2)) {
        nghttp2_session_del(link->session);
        free(link);
        return -ENOMEM;
    }
    *ret_link = link;
    return 0;
}

void grpc_h2_close(struct grpc_h2 *h2, struct grpc_link *link)
{
    if (!link)
        return;
    nghttp2_session_del(link->session); /* tells of no stream's end */
    while (link->calls)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): unlink_call() moves link->calls on */
        unlink_call(h2, link->calls);
    free(link);
}
