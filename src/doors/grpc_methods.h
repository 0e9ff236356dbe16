/* The methods that the door serves, and the batch in which their messages are judged.
 *
 * A message is answered in two steps around the one call of the engine: prepare() decodes it and
 * appends its checks, finish() makes the answer of their verdicts. All messages of what was read at
 * once share the call; so a client that sends many calls together has them judged together. What a
 * message was decoded to lives in the batch's arena until then.
 *
 * Threads: the loop's. */
#ifndef METE_DOORS_GRPC_METHODS_H
#define METE_DOORS_GRPC_METHODS_H

#include "doors/grpc_arena.h"
#include "doors/grpc_call.h"
#include "doors/login.h"
#include "doors/loop.h"

#define GRPC_JOBS 256u
#define GRPC_CHECKS 1024u
#define GRPC_JOB_CHECKS 64u /* most of one message */

struct grpc_job {
    struct grpc_call *call;
    const struct grpc_method *method;
    const struct tenant *tenant;
    void *message; /* decoded, in the arena; what the method makes of it */
    void *detail;
    uint32_t first_check, check_count;
};

struct grpc_batch {
    const struct loop_call *loop; /* NULL: nothing is read just now */
    struct grpc_arena arena;
    uint32_t job_count, check_count;
    struct grpc_job jobs[GRPC_JOBS];
    struct check checks[GRPC_CHECKS];
    struct answer answers[GRPC_CHECKS];
    struct limit inline_limits[GRPC_CHECKS];
};

struct grpc_method {
    const char *path;
    bool is_stream; /* of messages from the client; each is answered */
    bool stays;     /* one message is answered, and the call stays open */
    /* Decodes and appends checks, or refuses the call. */
    void (*prepare)(struct grpc_batch *batch, struct grpc_job *job, const struct grpc_buffer *in);
    /* Puts an answer into the call, or refuses it. */
    void (*finish)(struct grpc_batch *batch, struct grpc_job *job);
};

/* NULL: there is none. */
const struct grpc_method *grpc_methods_find(struct grpc_text path);

/* The services, for whoever lists them; NULL behind the last. */
const char *grpc_methods_service(unsigned position);

/* One more check of a job; the caller fills in what it asks. NULL: one message has too many. */
struct check *grpc_add_check(struct grpc_batch *batch, struct grpc_job *job);

/* Who asks: the key's tenant, or without a key the one that is named, if the path is trusted. NULL:
 * the call is refused. An empty name stands for the key's, or `default`. */
const struct tenant *grpc_identify(struct grpc_batch *batch, struct grpc_job *job,
                                   struct grpc_text name, struct login *ret_login);

/* May the tenant ask for so many checks now? False: the call is refused. */
bool grpc_take_quota(struct grpc_batch *batch, struct grpc_job *job);

extern const struct grpc_method grpc_envoy_methods[], grpc_limiter_methods[], grpc_health_methods[],
    grpc_reflect_methods[]; /* each ends with a path of NULL */

#endif
