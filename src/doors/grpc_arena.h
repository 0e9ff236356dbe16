/* Memory for decoded messages: taken in a row, given back all at once, and protobuf-c's way to it.
 * A message that does not fit is not decoded. One thread. */
#ifndef METE_DOORS_GRPC_ARENA_H
#define METE_DOORS_GRPC_ARENA_H

#include <stddef.h>
#include <stdint.h>

#define GRPC_ARENA_BYTES (4u << 20) /* of address space: only what is used costs memory */

struct ProtobufCMessage;
struct ProtobufCMessageDescriptor;

struct grpc_arena {
    uint8_t *bytes;
    size_t used;
};

/* Results: 0, -ENOMEM. */
int grpc_arena_init(struct grpc_arena *arena);
void grpc_arena_deinit(struct grpc_arena *arena);

/* Aligned, not cleared; NULL: full. */
void *grpc_arena_take(struct grpc_arena *arena, size_t size);

/* NULL: these bytes are no such message, or the arena is full. */
void *grpc_arena_decode(struct grpc_arena *arena, const struct ProtobufCMessageDescriptor *type,
                        const uint8_t *bytes, size_t len);

#endif
