/* Batches as calls of the function in Redis, and its answers. link_message.c has the layout. Pure
 * but for the memory of the buffer; one thread per object. */
#ifndef METE_REPLICA_LINK_MESSAGE_H
#define METE_REPLICA_LINK_MESSAGE_H

#include <stdint.h>

#include "replica/batch.h"
#include "replica/link_script.h"
#include "replica/redis.h"

#define LINK_MAX_NAMESPACE 64u

struct link_message; /* room to make calls in */

/* NULL: no memory. namespace_name has at most LINK_MAX_NAMESPACE bytes. */
struct link_message *link_message_create(const char *namespace_name);
void link_message_destroy(struct link_message *message);

/* What to call: a function by name, or with is_script a script by its hash. */
struct link_call {
    const char *name;
    bool is_script;
};

/* Appends the call to the buffer. told_us: what time it is, which the function believes in a
 * namespace of tests only; 0: it looks itself. No two keys of a batch may be the same cell.
 * Results: 0, -ENOMEM. */
int link_message_format(struct link_message *message, const struct link_call *call,
                        const struct batch *batch, uint64_t told_us, struct redis_buffer *buffer);

/* Fills in outcome, time, count and keys of the answer. *ret_foreign: one more than the index of a
 * key that is held by something that is not ours, or 0. Results: 0, -EPROTO. */
int link_message_parse(const char *bytes, size_t len, struct batch_answer *ret_answer,
                       uint32_t *ret_foreign);

/* Who says that it is there. */
struct link_beat {
    uint64_t node_id, token;
    uint32_t partitions;
    const char *version;
    bool leaves;
    uint64_t told_us;
};

int link_message_format_beat(const struct link_message *message, const struct link_call *call,
                             const struct link_beat *beat, struct redis_buffer *buffer);

/* The hash tag that a partition's keys share, without braces: its slot is the hash of it. */
void link_message_tag(const struct link_message *message, uint32_t partition, char *ret_tag,
                      size_t size);
/* The same of what belongs to the whole namespace. */
void link_message_namespace_tag(const struct link_message *message, char *ret_tag, size_t size);

#endif
