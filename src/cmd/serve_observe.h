/* The cells in which threads that judge leave what is told about them: usage of each rule by the
 * door it was asked through, latencies by door, samples of who asks.
 *
 * Usage is counted in sets of one cell per owner row: a set for each thread, and one for each door
 * of the doors' loop, which changes its set with the protocol that it serves (loop_count_apart()).
 * So a door costs the path of a check nothing. Main thread, but for what it says. */
#ifndef METE_CMD_SERVE_OBSERVE_H
#define METE_CMD_SERVE_OBSERVE_H

#include <stdbool.h>

#include "engine/sampler.h"
#include "obs/latency.h"

struct config;
struct loop;
struct server;

/* Through which a check came. UDP has the UNIX datagram socket, too; OTHER what is not told apart.
 */
enum observe_door {
    OBSERVE_UDP,
    OBSERVE_RESP,
    OBSERVE_HTTP,
    OBSERVE_GRPC,
    OBSERVE_OTHER,
    OBSERVE_DOORS
};

/* Takes the cells for server->thread_count threads and server->row_count rows. Results: 0, -ENOMEM.
 */
int observe_make(struct server *server);
void observe_free(struct server *server);

/* Gives the listener added last to the loop the cells of the door by its protocol's name. */
void observe_give_door(struct server *server, struct loop *loop, const char *protocol);

const char *observe_door_name(enum observe_door door);

/* Whose checks stand in this set of usage cells. Any thread. */
enum observe_door observe_door_of_set(const struct server *server, unsigned set);

/* Is it open, so that it has numbers? Any thread. */
bool observe_has_door(const struct server *server, enum observe_door door);

/* Latencies of one door. Any thread. */
struct latency_sum observe_sum_latency(const struct server *server, enum observe_door door);

#endif
