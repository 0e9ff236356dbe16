/* The HTTP door without sockets, for tests and fuzzing: a configuration, a table, and one call per
 * stretch of bytes. */
#ifndef METE_TESTS_HTTP_WORLD_H
#define METE_TESTS_HTTP_WORLD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "doors/http_check.h"

#define SECOND_NS 1000000000ull

struct http_world {
    struct config *config;
    struct table *table;
    struct engine engine;
    struct counters counters;
    struct rule_counters rule_counters[64];
    struct instant now;
    struct http_door door;
    struct sockaddr_storage peer;
};

struct http_talk { /* one connection */
    uint8_t state[LOOP_STATE_BYTES];
    uint8_t answers[LOOP_OUTPUT_BYTES];
    size_t len;
    bool is_closed;
};

/* False: something of it cannot be made. */
static inline bool http_world_init(struct http_world *world, const char *text)
{
    struct table_options options = {
        .entries = 4096, .owner_rows = 64, .index_secret = {3, 4}, .boot_id = 0x1234};
    char error[256];
    memset(world, 0, sizeof(*world));
    world->config = config_parse("test", text, strlen(text), error, sizeof(error));
    if (!world->config || table_create(&options, &world->table) ||
        engine_bind_owners(world->table, world->config))
        return false;
    engine_init(&world->engine, world->config, world->table, 0, 1);
    world->engine.counters = &world->counters;
    world->engine.rule_counters = world->rule_counters;
    world->now = (struct instant){.now_ns = SECOND_NS, .wall_ns = SECOND_NS};
    world->peer.ss_family = AF_UNIX;
    return true;
}

static inline void http_world_deinit(struct http_world *world)
{
    table_destroy(world->table);
    config_destroy(world->config);
}

/* Returns how much was taken; what is answered stands in talk. */
static inline size_t http_world_say(struct http_world *world, struct http_talk *talk,
                                    const void *bytes, size_t len)
{
    struct loop_input in = {.bytes = bytes, .len = len};
    struct loop_output out = {
        .bytes = talk->answers, .len = talk->len, .size = sizeof(talk->answers)};
    struct loop_call call = {
        .engine = &world->engine,
        .config = world->config,
        .now = &world->now,
        .is_local = true,
        .peer = &world->peer,
        .state = talk->state,
        .connection = 1,
        .context = &world->door,
    };
    talk->is_closed = http_protocol.consume(&call, &in, &out) == LOOP_CLOSE;
    talk->len = out.len;
    return in.used;
}

#endif
