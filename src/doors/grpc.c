#include "doors/grpc.h"

#include <errno.h>
#include <stdlib.h>

#include "doors/grpc_h2.h"
#include "doors/grpc_methods.h"

struct grpc_door {
    struct grpc_h2 *h2; /* first: grpc_h2.c looks here */
    uint64_t idle_ns;
    struct grpc_batch batch;
};

struct state { /* of a connection, in the loop */
    struct grpc_link *link;
};
_Static_assert(sizeof(struct state) <= LOOP_STATE_BYTES, "fits");

/* ---- the batch ---- */

/* Nobody waits for these verdicts any more: nothing is taken for them. */
static void disarm(struct grpc_batch *batch, const struct grpc_job *job)
{
    for (uint32_t i = 0; i < job->check_count; i++)
        batch->checks[job->first_check + i].operation = OPERATION_PEEK;
}

static bool is_expired(const struct grpc_call *call, uint64_t now_ns)
{
    return call->timeout_ns != UINT64_MAX && now_ns - call->begun_ns >= call->timeout_ns;
}

static void finish(struct grpc_door *door, struct grpc_job *job)
{
    struct grpc_call *call = job->call;
    if (call->link) {
        if (!call->why)
            job->method->finish(&door->batch, job);
        call->is_closing |= call->why || !(job->method->is_stream || job->method->stays);
        grpc_h2_answer(call);
    }
    grpc_h2_release(door->h2, call);
}

static void run(struct grpc_door *door)
{
    struct grpc_batch *batch = &door->batch;
    const struct loop_call *loop = batch->loop;
    for (uint32_t i = 0; i < batch->job_count; i++) {
        struct grpc_job *job = &batch->jobs[i];
        if (is_expired(job->call, loop->now->now_ns))
            grpc_call_refuse(job->call, GRPC_DEADLINE_EXCEEDED, "the answer would come too late");
        if (!job->call->link || job->call->why)
            disarm(batch, job);
    }
    if (batch->check_count)
        engine_check_batch(loop->engine, batch->checks, batch->check_count, loop->now,
                           batch->answers);
    for (uint32_t i = 0; i < batch->job_count; i++)
        finish(door, &batch->jobs[i]);
    batch->job_count = batch->check_count = 0;
    batch->arena.used = 0;
}

/* The message in call->in becomes a job, or the call is refused. */
static void queue(struct grpc_door *door, struct grpc_call *call)
{
    struct grpc_batch *batch = &door->batch;
    if (batch->job_count == GRPC_JOBS || batch->check_count + GRPC_JOB_CHECKS > GRPC_CHECKS ||
        batch->arena.used > GRPC_ARENA_BYTES / 2)
        run(door);
    struct grpc_job *job = &batch->jobs[batch->job_count];
    *job = (struct grpc_job){
        .call = call,
        .method = call->method,
        .first_check = batch->check_count,
    };
    call->method->prepare(batch, job, &call->in);
    if (call->why) {
        batch->check_count = job->first_check;
        return;
    }
    batch->job_count++;
    call->in_batch++;
}

static void close_call(struct grpc_door *door, struct grpc_call *call)
{
    if (call->in_batch)
        run(door); /* what it asked before is answered first */
    call->is_closing = true;
    if (call->link)
        grpc_h2_answer(call);
}

static void on_message(struct grpc_door *door, struct grpc_call *call)
{
    if (call->why || call->is_closing || !(call->method->is_stream || call->method->stays))
        return;
    if (call->in_batch == UINT8_MAX)
        run(door);
    queue(door, call);
}

static void on_end(struct grpc_door *door, struct grpc_call *call)
{
    if (call->is_closing)
        return;
    if (!call->why && !call->method->is_stream && !call->method->stays && !call->in_batch)
        queue(door, call);
    if (call->why || (call->method->is_stream && call->has_ended))
        close_call(door, call);
}

/* ---- the loop ---- */

static struct grpc_link *link_of(const struct loop_call *call)
{
    struct state *state = call->state;
    struct grpc_door *door = call->context;
    door->batch.loop = call;
    if (!state->link)
        grpc_h2_open(door->h2, door, call->now->now_ns, &state->link);
    return state->link;
}

static enum loop_result consume(const struct loop_call *call, struct loop_input *in,
                                struct loop_output *out)
{
    struct grpc_door *door = call->context;
    struct grpc_link *link = link_of(call);
    in->used = in->len;
    if (!link) /* no memory for one more */
        return LOOP_CLOSE;
    if (in->len && !link->is_leaving) {
        grpc_h2_take(link, in->bytes, in->len, call->now->now_ns);
        run(door);
    }
    in->has_more = grpc_h2_give(link, out);
    return !in->has_more && grpc_h2_is_done(link) ? LOOP_CLOSE : LOOP_GO_ON;
}

/* Calls whose time is over, and half requests that take too long. */
static void expire(struct grpc_door *door, struct grpc_link *link, uint64_t now_ns)
{
    for (struct grpc_call *call = link->calls; call; call = call->next) {
        const bool is_slow =
            !call->has_ended && !call->has_answered && now_ns - call->begun_ns >= door->idle_ns;
        if (call->is_closing || (!is_slow && !is_expired(call, now_ns)))
            continue;
        grpc_call_refuse(call, GRPC_DEADLINE_EXCEEDED,
                         is_slow ? "the request did not come whole" : "the time is over");
        close_call(door, call);
    }
}

/* Silence ends a connection without calls; one with calls is asked first whether it lives. */
static void judge_silence(struct grpc_door *door, struct grpc_link *link, uint64_t now_ns)
{
    if (now_ns - link->frame_ns < door->idle_ns)
        return;
    if (link->calls && !link->is_pinged) {
        grpc_h2_ping(link);
        link->frame_ns = now_ns;
    } else {
        grpc_h2_leave(link);
    }
}

static void end_calls(struct grpc_door *door, struct grpc_link *link)
{
    for (struct grpc_call *call = link->calls; call; call = call->next) {
        if (call->is_closing)
            continue;
        grpc_call_refuse(call, GRPC_UNAVAILABLE, "the server stops");
        close_call(door, call);
    }
    grpc_h2_leave(link);
}

static enum loop_result wake(const struct loop_call *call, enum loop_reason reason,
                             struct loop_output *out)
{
    struct grpc_door *door = call->context;
    struct grpc_link *link = link_of(call);
    if (!link)
        return LOOP_CLOSE;
    if (reason == LOOP_STOP) {
        end_calls(door, link);
    } else {
        expire(door, link, call->now->now_ns);
        judge_silence(door, link, call->now->now_ns);
    }
    grpc_h2_give(link, out);
    return link->is_leaving ? LOOP_CLOSE : LOOP_GO_ON;
}

static void end(const struct loop_call *call)
{
    struct grpc_door *door = call->context;
    struct state *state = call->state;
    grpc_h2_close(door->h2, state->link);
}

const struct loop_protocol grpc_protocol = {
    .name = "grpc",
    .alpn = "h2",
    .reply_bytes = LOOP_OUTPUT_BYTES / 2,
    .full = "",
    .late = "",
    .consume = consume,
    .wake = wake,
    .end = end,
};

int grpc_door_create(uint64_t idle_ns, struct grpc_door **ret_door)
{
    static const struct grpc_h2_handler handler = {.on_message = on_message, .on_end = on_end};
    struct grpc_door *door = calloc(1, sizeof(*door));
    if (!door || grpc_arena_init(&door->batch.arena) || grpc_h2_create(&handler, &door->h2)) {
        grpc_door_destroy(door);
        return -ENOMEM;
    }
    door->idle_ns = idle_ns;
    *ret_door = door;
    return 0;
}

void grpc_door_destroy(struct grpc_door *door)
{
    if (!door)
        return;
    grpc_h2_destroy(door->h2);
    grpc_arena_deinit(&door->batch.arena);
    free(door);
}
