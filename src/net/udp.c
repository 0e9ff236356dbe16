#include "net/udp.h"

void udp_init(struct udp *udp, const struct udp_policy *policy, const struct udp_options *options)
{
    udp->policy = *policy;
    udp->given = *options;
    udp->restarted_at_ns = 0;
    udp->request_count = 0;
    udp->wanted_count = 0;
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
                                                           : COUNTER_UNSUPPORTED,
                  1);
    else
        udp_tally(udp, counters[request->answer], 1);
    udp_tally(udp, COUNTER_ANSWERED, request->answer != UDP_ANSWER_NONE);
}

/* From believed datagrams to the engine's answers. */
static void decide_all(struct udp *udp, const struct instant *now)
{
    udp->check_count = 0;
    udp->word_count = 0;
    for (uint32_t i = 0; i < udp->request_count; i++) {
        udp_claim(udp, now, &udp->requests[i]);
        if (udp->requests[i].answer == UDP_ANSWER_CHECKS)
            udp_gather(udp, &udp->requests[i]);
    }
    engine_check_batch(udp->given.engine, udp->checks, udp->check_count, now, udp->answers);
    for (uint32_t i = 0; i < udp->request_count; i++)
        udp_settle_repeat(udp, &udp->requests[i]);
}

static void answer_all(struct udp *udp, struct io *io, const struct io_message *messages,
                       const struct instant *now)
{
    decide_all(udp, now);
    struct run run = {.message = UINT32_MAX, .segment = 1};
    for (uint32_t i = 0; i < udp->request_count; i++) {
        struct udp_request *request = &udp->requests[i];
        count_answer(udp, request);
        if (request->answer == UDP_ANSWER_NONE)
            continue;
        if (request->message != run.message) {
            close_run(io, messages, &run);
            /* A message cut by the end of the list goes on behind what was already answered: at the
             * start of this request, which is never before the end of an earlier answer. */
            run = (struct run){
                .message = request->message,
                .offset = (uint32_t)(request->bytes - messages[request->message].data),
                .segment = 1,
            };
        }
        uint8_t *out = messages[run.message].data + run.offset + run.len;
        size_t len = udp_encode(udp, request, udp->answers + request->first_check, now, out);
        add_to_run(io, messages, &run, (uint32_t)len);
    }
    close_run(io, messages, &run);
    udp->request_count = 0;
    udp->wanted_count = 0;
}

/* Room for one more datagram, whatever it asks? */
static bool is_full(const struct udp *udp)
{
    return udp->request_count == UDP_REQUESTS ||
           udp->wanted_count + METE_WIRE_MAX_CHECKS > UDP_CHECKS;
}

/* Puts the datagram into the list, if it is to be answered. */
static void take(struct udp *udp, uint8_t *bytes, uint32_t len, bool is_trusted, uint32_t message,
                 const struct instant *now)
{
    struct udp_request *request = &udp->requests[udp->request_count];
    enum counter fate = udp_believe(udp, bytes, len, is_trusted, now, request);
    if (fate != COUNTER_RECEIVED) {
        udp_tally(udp, fate, 1);
        return;
    }
    request->message = message;
    udp->request_count++;
    if (request->answer == UDP_ANSWER_CHECKS)
        udp->wanted_count += request->header.n;
    udp_prefetch_repeat(udp, request);
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
        for (uint32_t at = 0; at < message->len; at += message->segment) {
            uint32_t left = message->len - at;
            uint32_t len = left < message->segment ? left : message->segment;
            if (is_full(udp))
                answer_all(udp, io, messages, now);
            take(udp, message->data + at, len, is_trusted, i, now);
            received++;
        }
    }
    if (udp->request_count)
        answer_all(udp, io, messages, now);
    udp_tally(udp, COUNTER_RECEIVED, received);
}
