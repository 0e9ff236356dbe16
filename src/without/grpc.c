/* In place of doors/grpc*.c in a build without nghttp2 and protobuf-c: config/parts.c refuses the
 * door, so nobody comes here. */
#include "doors/grpc.h"

#include <errno.h>

const struct loop_protocol grpc_protocol = {.name = "grpc"};

int grpc_door_create(uint64_t idle_ns, struct trace_ring *ring, struct grpc_door **ret_door)
{
    (void)idle_ns;
    (void)ring;
    (void)ret_door;
    return -ENOSYS;
}

void grpc_door_destroy(struct grpc_door *door)
{
    (void)door;
}
