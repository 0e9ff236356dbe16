/* Any bytes as a RESP conversation, cut into two pieces at a place that the first byte chooses: the
 * door answers without a step beyond its buffers, takes only what was there, and answers the same
 * however the bytes were cut. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "doors/resp.h"

#define SECOND_NS 1000000000ull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct config *config;
    struct table *table;
    struct engine engine;
    struct counters counters;
    struct rule_counters rule_counters[64];
    struct instant now;
};

struct talk { /* one connection */
    uint8_t state[LOOP_STATE_BYTES];
    uint8_t answers[LOOP_OUTPUT_BYTES];
    size_t len;
    bool is_closed;
};

static void require(int is_true)
{
    if (!is_true)
        abort();
}

static struct world *make(void)
{
    static const char text[] =
        "tenants:\n  - name: default\n    rules:\n"
        "      - {name: demo, algorithm: token_bucket, rate: 1/s, burst: 10}\n"
        "      - {name: w, algorithm: sliding_window, limit: 5/60s}\n";
    static struct world world;
    struct table_options options = {
        .entries = 4096, .owner_rows = 64, .index_secret = {3, 4}, .boot_id = 0x1234};
    char error[256];
    world.config = config_parse("fuzz", text, sizeof(text) - 1, error, sizeof(error));
    require(world.config && table_create(&options, &world.table) == 0);
    require(engine_bind_owners(world.table, world.config) == 0);
    engine_init(&world.engine, world.config, world.table, 0, 1);
    world.engine.counters = &world.counters;
    world.engine.rule_counters = world.rule_counters;
    world.now = (struct instant){.now_ns = SECOND_NS, .wall_ns = SECOND_NS};
    return &world;
}

/* Returns how much was taken. */
static size_t say(struct world *world, struct talk *talk, const uint8_t *bytes, size_t len)
{
    static const struct sockaddr_storage peer = {.ss_family = AF_UNIX};
    struct loop_input in = {.bytes = bytes, .len = len};
    struct loop_output out = {
        .bytes = talk->answers, .len = talk->len, .size = sizeof(talk->answers)};
    struct loop_call call = {
        .engine = &world->engine,
        .config = world->config,
        .now = &world->now,
        .is_local = true,
        .peer = &peer,
        .state = talk->state,
        .connection = 1,
    };
    talk->is_closed = resp_protocol.consume(&call, &in, &out) == LOOP_CLOSE;
    require(in.used <= len && out.len >= talk->len && out.len <= out.size);
    talk->len = out.len;
    return in.used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world *world;
    static struct talk whole, cut;
    if (!world)
        world = make();
    if (size < 2 || size > 600) /* one buffer of answers is enough */
        return 0;
    const size_t first = data[0] % size;
    uint8_t *bytes = malloc(size - 1); /* so that a step beyond shows */
    memcpy(bytes, data + 1, size - 1);
    memset(&whole, 0, sizeof(whole));
    memset(&cut, 0, sizeof(cut));
    say(world, &whole, bytes, size - 1);
    world->now.now_ns += 3600 * SECOND_NS;  /* all buckets are full again, */
    world->now.wall_ns += 3600 * SECOND_NS; /* but for limits of many hours */
    const size_t taken = say(world, &cut, bytes, first < size - 1 ? first : size - 1);
    if (!cut.is_closed)
        say(world, &cut, bytes + taken, size - 1 - taken);
    require(cut.is_closed == whole.is_closed);
    world->now.now_ns += 3600 * SECOND_NS;
    world->now.wall_ns += 3600 * SECOND_NS;
    free(bytes);
    return 0;
}
