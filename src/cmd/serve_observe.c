#include "cmd/serve_observe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cmd/serve_top.h"
#include "cmd/server.h"

static const char *const names[OBSERVE_DOORS] = {"udp", "resp", "http", "grpc", "other"};

const char *observe_door_name(enum observe_door door)
{
    return names[door];
}

static void *zeroed_lines(size_t size)
{
    const size_t align = _Alignof(struct counters);
    void *memory = aligned_alloc(align, (size + align - 1) / align * align);
    if (memory)
        memset(memory, 0, size);
    return memory;
}

int observe_make(struct server *server)
{
    const size_t rows = server->row_count;
    server->set_count = server->thread_count + OBSERVE_DOORS;
    server->rule_counters = zeroed_lines(server->set_count * rows * sizeof(*server->rule_counters));
    server->carried = calloc(OBSERVE_DOORS * rows, sizeof(*server->carried));
    server->latencies = zeroed_lines(server->set_count * sizeof(*server->latencies));
    server->samplers = zeroed_lines(server->thread_count * sizeof(*server->samplers));
    if (!server->rule_counters || !server->carried || !server->latencies || !server->samplers)
        return -ENOMEM;
    for (unsigned t = 0; t < server->thread_count; t++) {
        uint64_t seed = t;
        if (getrandom(&seed, sizeof(seed), 0) < 0)
            return -errno;
        sampler_init(&server->samplers[t], seed, 0);
    }
    return 0;
}

void observe_free(struct server *server)
{
    serve_top_free(server->top);
    free(server->samplers);
    free(server->latencies);
    free(server->carried);
    free(server->rule_counters);
}

static enum observe_door find_door(const char *protocol)
{
    enum observe_door door = OBSERVE_RESP;
    while (door < OBSERVE_OTHER && strcmp(names[door], protocol) != 0)
        door++;
    return door;
}

void observe_give_door(struct server *server, struct loop *loop, const char *protocol)
{
    const enum observe_door door = find_door(protocol);
    const unsigned set = server->thread_count + door;
    if (door == OBSERVE_OTHER) /* nothing is decided there */
        return;
    server->has_door[door] = true;
    loop_count_apart(loop, &server->rule_counters[(size_t)set * server->row_count],
                     &server->latencies[set]);
}

enum observe_door observe_door_of_set(const struct server *server, unsigned set)
{
    if (set < server->worker_count)
        return OBSERVE_UDP;
    return set < server->thread_count ? OBSERVE_OTHER
                                      : (enum observe_door)(set - server->thread_count);
}

bool observe_has_door(const struct server *server, enum observe_door door)
{
    return door == OBSERVE_UDP || server->has_door[door];
}

struct latency_sum observe_sum_latency(const struct server *server, enum observe_door door)
{
    struct latency_sum sum = {.sum_ns = 0};
    for (unsigned set = 0; set < server->set_count; set++)
        if (observe_door_of_set(server, set) == door)
            latency_add(&sum, &server->latencies[set]);
    return sum;
}
