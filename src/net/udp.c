#include "net/udp.h"

#include "net/udp_park.h"

void udp_init(struct udp *udp, const struct udp_policy *policy, const struct udp_options *options)
{
    udp->policy = *policy;
    udp->given = *options;
    udp->shed = NULL;
    udp->restarted_at_ns = 0;
    udp->request_count = 0;
    udp->is_retry = false;
    udp->has_lanes = tags_has_lanes();
}

/* Answers that follow each other with one size to one message are one run, one send. */
struct run {
    uint32_t message;
    uint32_t offset; /* in the message's bytes */
    uint32_t len;
    uint32_t segment;
};

static void close_run(struct io *io, const struct io_message *messages, struct run *run)
{
    if (run->len)
        io_reply(io, &messages[run->message], run->offset, run->len, run->segment);
    run->offset += run->len;
    run->len = 0;
}

static void add_to_run(struct io *io, const struct io_message *messages, struct run *run,
                       uint32_t len)
{
    /* A shorter answer may end a run, as the last segment of a joined send may be shorter. */
    bool is_open = run->len % run->segment == 0 && run->len / run->segment < IO_MAX_SEGMENTS;
    if (run->len && (len > run->segment || !is_open))
        close_run(io, messages, run);
    if (!run->len)
        run->segment = len;
    run->len += len;
}

static void count_answer(struct udp *udp, const struct udp_request *request)
{
    static const enum counter counters[] = {
        [UDP_ANSWER_HELLO] = COUNTER_HELLO,
        [UDP_ANSWER_RESTARTED] = COUNTER_RESTARTED,
        [UDP_ANSWER_NONE] = COUNTER_DROPPED_OPEN,
    };
    if (request->answer == UDP_ANSWER_CHECKS)
        udp_tally(udp, COUNTER_REPEATS, request->repeat == UDP_REPEAT_KNOWN);
    else if (request->answer == UDP_ANSWER_STATUS)
        udp_tally(udp,
                  request->status == METE_STATUS_STALE     ? COUNTER_STALE
                  : request->status == METE_STATUS_LIMITED ? COUNTER_LIMITED
                  : request->status == METE_STATUS_SHED    ? COUNTER_SHED
                                                           : COUNTER_UNSUPPORTED,
                  1);
    else
        udp_tally(udp, counters[request->answer], 1);
    udp_tally(udp, COUNTER_ANSWERED, request->answer != UDP_ANSWER_NONE);
}

/* May it have to wait? Then it is judged by itself, so that nothing comes between the look at its
 * grants and its charge. */
static bool may_wait(const struct udp *udp, const struct udp_request *request)
{
    return udp->given.park && udp_park_concerns(request);
}

/* How many requests from `first` on ask for no more checks than the engine is asked at once. */
static uint32_t count_portion(const struct udp *udp, uint32_t first)
{
    uint32_t checks = 0;
    uint32_t end = first;
    while (end < udp->request_count) {
        const struct udp_request *request = &udp->requests[end];
        if (request->answer == UDP_ANSWER_CHECKS)
            checks += request->header.n;
        if (checks > UDP_CHECKS)
            break;
        if (may_wait(udp, request))
            return end > first ? end - first : 1;
        end++;
    }
    return end - first;
}

/* From believed datagrams to the engine's answers. */
static void decide(struct udp *udp, struct udp_request *requests, uint32_t count,
                   const struct instant *now)
{
    udp->check_count = 0;
    udp->word_count = 0;
    udp_claim_all(udp, now, requests, count);
    for (uint32_t i = 0; i < count; i++)
        if (requests[i].answer == UDP_ANSWER_CHECKS)
            udp_gather(udp, &requests[i]);
    bool is_parked = count == 1 && may_wait(udp, requests) && udp_park_try(udp, requests, now);
    if (is_parked)
        return;
    engine_check_batch(udp->given.engine, udp->checks, udp->check_count, now, udp->answers);
    if (udp->given.park)
        udp->given.engine->shared->has_waited = false;
    for (uint32_t i = 0; i < count; i++)
        udp_settle_repeat(udp, &requests[i]);
}

static bool is_silent(const struct udp_request *request)
{
    return request->answer >= UDP_ANSWER_PARKED;
}

/* Answers stand back to back from where the first of a message's requests in the list stood, which
 * is never before the end of what was answered of that message earlier. */
static void encode(struct udp *udp, struct udp_request *requests, uint32_t count,
                   const struct instant *now)
{
    for (uint32_t i = 0; i < count; i++) {
        struct udp_request *request = &requests[i];
        if (request->answer == UDP_ANSWER_DROPPED || request->answer == UDP_ANSWER_PARKED)
            continue;
        count_answer(udp, request);
        if (request->answer == UDP_ANSWER_NONE)
            continue;
        if (request->message != udp->out_message) {
            udp->out_message = request->message;
            udp->out = request->bytes;
        }
        size_t len = udp_encode(udp, request, udp->answers + request->first_check, now, udp->out);
        request->bytes = udp->out;
        request->len = (uint32_t)len;
        udp->out += len;
    }
}

/* Hands the answers over, joined as far as they stand in one message. */
static void reply_all(struct udp *udp, struct io *io, const struct io_message *messages)
{
    struct run run = {.message = UINT32_MAX, .segment = 1};
    for (uint32_t i = 0; i < udp->request_count; i++) {
        const struct udp_request *request = &udp->requests[i];
        if (is_silent(request))
            continue;
        if (request->message != run.message) {
            close_run(io, messages, &run);
            run = (struct run){
                .message = request->message,
                .offset = (uint32_t)(request->bytes - messages[request->message].data),
                .segment = 1,
            };
        }
        add_to_run(io, messages, &run, request->len);
    }
    close_run(io, messages, &run);
}

void udp_answer_all(struct udp *udp, struct io *io, const struct io_message *messages,
                    const struct instant *now)
{
    udp->messages = messages;
    udp_believe_all(udp, now);
    udp->out_message = UINT32_MAX;
    for (uint32_t first = 0; first < udp->request_count;) {
        uint32_t count = count_portion(udp, first);
        decide(udp, &udp->requests[first], count, now);
        encode(udp, &udp->requests[first], count, now);
        first += count;
    }
    udp_sign_all(udp);
    reply_all(udp, io, messages);
    udp->request_count = 0;
}

void udp_judge(struct udp *udp, struct io *io, const struct io_message *messages, uint32_t count,
               const struct instant *now)
{
    uint64_t received = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct io_message *message = &messages[i];
        bool has_bytes = message->len && !message->truncated;
        if (!has_bytes || message->peer->sa_family == AF_UNSPEC) {
            received++;
            udp_tally(udp, has_bytes ? COUNTER_UNBOUND : COUNTER_BAD_LENGTH, 1);
            continue;
        }
        bool is_trusted = config_is_trusted(udp->policy.config, message->peer);
        if (udp->shed)
            udp->shed->has_joined |= message->segment < message->len;
        for (uint32_t at = 0; at < message->len; at += message->segment) {
            uint32_t left = message->len - at;
            uint32_t len = left < message->segment ? left : message->segment;
            if (udp->request_count == UDP_REQUESTS)
                udp_answer_all(udp, io, messages, now);
            struct udp_request *request = &udp->requests[udp->request_count];
            enum counter fate = udp_recognize(udp, message->data + at, len, is_trusted, request);
            request->message = i;
            if (udp->shed && fate == COUNTER_RECEIVED)
                fate = udp_shed(udp, request, now);
            udp->request_count += fate == COUNTER_RECEIVED;
            udp_tally(udp, fate, fate != COUNTER_RECEIVED);
            received++;
        }
    }
    if (udp->request_count)
        udp_answer_all(udp, io, messages, now);
    udp_tally(udp, COUNTER_RECEIVED, received);
}
