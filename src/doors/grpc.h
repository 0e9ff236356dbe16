/* The gRPC door on the doors' loop: HTTP/2 without TLS ("h2c", with prior knowledge, as gRPC's
 * clients speak it), Envoy's rate limit service, mete.v1.Limiter, health and reflection. All calls
 * of what was read at once are judged by one call of the engine.
 *
 * Memory: some MiB for the door; a connection costs what nghttp2 takes (about 20 KiB) and
 * GRPC_MAX_STREAMS calls of 1.2 KiB at most, unless their messages are longer than GRPC_SMALL.
 *
 * Threads: create and destroy by the main thread, all else is the loop's. */
#ifndef METE_DOORS_GRPC_H
#define METE_DOORS_GRPC_H

#include "doors/loop.h"

struct grpc_door;

/* Results: 0, -ENOMEM. idle_ns: how long a connection may be silent. */
int grpc_door_create(uint64_t idle_ns, struct grpc_door **ret_door);
void grpc_door_destroy(struct grpc_door *door); /* after the loop; NULL is nothing */

/* The protocol for the doors' loop; its context is a struct grpc_door. */
extern const struct loop_protocol grpc_protocol;

#endif
