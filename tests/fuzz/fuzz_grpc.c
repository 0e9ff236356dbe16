/* Any bytes at the gRPC door. The first byte says as what: frames behind a right beginning, from
 * the first byte of the connection on, or one message to a method. In pieces, at instants of their
 * own. What the door says is whole frames; every call that is asked whole is answered; nothing is
 * kept of a connection that ended; the buckets of a configuration with all kinds of rules go on. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "doors/grpc.h"
#include "doors/grpc_call.h"
#include "engine/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char text[] =
    "tenants:\n"
    "  - name: default\n"
    "    envoy: {headers: true}\n"
    "    rules:\n"
    "      - {name: a, algorithm: token_bucket, rate: 1/s, burst: 10}\n"
    "      - {name: b, algorithm: sliding_window, limit: 5/1m}\n"
    "      - {name: c, algorithm: concurrency, limit: 3, lease: 1s}\n"
    "      - {name: d, algorithm: calendar, limit: 3, per: day}\n"
    "    descriptors:\n"
    "      - {key: a, rule: a, descriptors: [{key: b, value: \"x*\", rule: b, shared: true}]}\n"
    "      - {key: a, value: x, rule: d}\n"
    "  - {name: e, envoy: {charge: each}, rules: [{name: a, algorithm: deny}],\n"
    "     descriptors: [{key: a, rule: a}]}\n";

static const char *const methods[] = {
    "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit",
    "/mete.v1.Limiter/Check",
    "/mete.v1.Limiter/Reset",
    "/mete.v1.Limiter/Acquire",
    "/mete.v1.Limiter/Batch",
    "/mete.v1.Limiter/CheckStream",
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
};
#define METHOD_COUNT (sizeof(methods) / sizeof(methods[0]))
#define BEGINNING "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

struct world {
    struct engine engine;
    struct grpc_door *door;
    struct instant now;
    struct sockaddr_storage peer;
    uint8_t out[LOOP_OUTPUT_BYTES];
    _Alignas(16) uint8_t state[LOOP_STATE_BYTES];
};

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static struct world *make(void)
{
    struct world *world = calloc(1, sizeof(*world));
    char error[256];
    struct config *config = config_parse("fuzz", text, sizeof(text) - 1, error, sizeof(error));
    struct table_options options = {
        .entries = 1024, .owner_rows = 64, .index_secret = {1, 2}, .boot_id = 1};
    struct table *table = NULL;
    require(world && config && table_create(&options, &table) == 0);
    require(engine_bind_owners(table, config) == 0 &&
            grpc_door_create(1000, NULL, &world->door) == 0);
    engine_init(&world->engine, config, table, 0, 1);
    world->engine.counters = aligned_alloc(128, sizeof(struct counters));
    world->engine.rule_counters = calloc(64, sizeof(struct rule_counters));
    require(world->engine.counters && world->engine.rule_counters);
    memset(world->engine.counters, 0, sizeof(struct counters));
    world->peer.ss_family = AF_UNIX;
    world->now = (struct instant){.now_ns = 1, .wall_ns = 1700000000000000000ull};
    return world;
}

static struct loop_call call_of(struct world *world)
{
    return (struct loop_call){
        .engine = &world->engine,
        .config = world->engine.config,
        .now = &world->now,
        .is_local = true,
        .peer = &world->peer,
        .state = world->state,
        .context = world->door,
    };
}

/* Whole frames, but for what found no room. False: the connection is over. */
static bool feed(struct world *world, const uint8_t *bytes, size_t len)
{
    const struct loop_call call = call_of(world);
    bool has_more = true;
    for (unsigned turn = 0; has_more; turn++) {
        struct loop_input in = {.bytes = bytes, .len = turn ? 0 : len};
        struct loop_output out = {.bytes = world->out, .size = sizeof(world->out)};
        if (grpc_protocol.consume(&call, &in, &out) == LOOP_CLOSE)
            return false;
        require(in.used == in.len && out.len <= out.size && turn < 10000);
        has_more = in.has_more;
    }
    world->now.now_ns += 1000000;
    return true;
}

static void finish(struct world *world, bool is_open, enum loop_reason reason)
{
    const struct loop_call call = call_of(world);
    struct loop_output out = {.bytes = world->out, .size = sizeof(world->out)};
    if (is_open)
        grpc_protocol.wake(&call, reason, &out);
    require(out.len <= out.size);
    grpc_protocol.end(&call);
    memset(world->state, 0, sizeof(world->state));
}

static size_t put_frame(uint8_t *at, uint8_t type, uint8_t flags, const void *payload, size_t len)
{
    const uint8_t head[9] = {
        (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, type, flags, 0, 0, 0, 1};
    memcpy(at, head, 9);
    memcpy(at + 9, payload, len);
    return 9 + len;
}

static size_t put_literal(uint8_t *at, const char *name, const char *value)
{
    at[0] = 0;
    at[1] = (uint8_t)strlen(name);
    memcpy(at + 2, name, strlen(name));
    at[2 + strlen(name)] = (uint8_t)strlen(value);
    memcpy(at + 3 + strlen(name), value, strlen(value));
    return 3 + strlen(name) + strlen(value);
}

/* One call with this message; it has an answer. */
static void ask(struct world *world, const char *path, const uint8_t *message, size_t len)
{
    static uint8_t frames[8192], block[256], body[8192];
    size_t at = sizeof(BEGINNING) - 1, head = 1;
    memcpy(frames, BEGINNING, at);
    block[0] = 0x83;
    head += put_literal(block + head, ":path", path);
    head += put_literal(block + head, ":scheme", "http");
    head += put_literal(block + head, "content-type", "application/grpc");
    at += put_frame(frames + at, 1, 4, block, head);
    const uint8_t prefix[5] = {0, 0, 0, (uint8_t)(len >> 8), (uint8_t)len};
    memcpy(body, prefix, 5);
    memcpy(body + 5, message, len);
    at += put_frame(frames + at, 0, 1, body, len + 5);
    require(feed(world, frames, at));
    finish(world, true, LOOP_STOP);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world *world;
    if (!world)
        world = make();
    if (size < 2 || size > 4096)
        return 0;
    const uint8_t kind = data[0];
    const size_t cut = data[1];
    data += 2;
    size -= 2;
    if (kind % 4 < 2) {
        ask(world, methods[kind / 4 % METHOD_COUNT], data, size);
        return 0;
    }
    const size_t first = cut < size ? cut : size;
    bool is_open = kind % 4 == 3 || feed(world, (const uint8_t *)BEGINNING, sizeof(BEGINNING) - 1);
    is_open = is_open && feed(world, data, first) && feed(world, data + first, size - first);
    finish(world, is_open, kind & 4 ? LOOP_TICK : LOOP_STOP);
    return 0;
}
