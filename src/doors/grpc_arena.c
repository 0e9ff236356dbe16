#include "doors/grpc_arena.h"

#include <errno.h>
#include <protobuf-c/protobuf-c.h>
#include <stdlib.h>

#define ALIGNMENT 16u

int grpc_arena_init(struct grpc_arena *arena)
{
    *arena = (struct grpc_arena){.bytes = malloc(GRPC_ARENA_BYTES)};
    return arena->bytes ? 0 : -ENOMEM;
}

void grpc_arena_deinit(struct grpc_arena *arena)
{
    free(arena->bytes);
    arena->bytes = NULL;
}

void *grpc_arena_take(struct grpc_arena *arena, size_t size)
{
    const size_t whole = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (whole < size || whole > GRPC_ARENA_BYTES - arena->used)
        return NULL;
    void *taken = arena->bytes + arena->used;
    arena->used += whole;
    return taken;
}

static void *take(void *arena, size_t size)
{
    return grpc_arena_take(arena, size);
}

static void keep(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

void *grpc_arena_decode(struct grpc_arena *arena, const struct ProtobufCMessageDescriptor *type,
                        const uint8_t *bytes, size_t len)
{
    ProtobufCAllocator allocator = {.alloc = take, .free = keep, .allocator_data = arena};
    return protobuf_c_message_unpack(type, &allocator, len, bytes);
}
