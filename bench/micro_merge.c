/* What one core of Redis merges: micro_merge [SECONDS]. Batches of the production layout go to a
 * redis-server of its own through a pipeline; what counts is the CPU time of its process, so that
 * whatever else the machine does changes little. Beside each kind of key stand the bytes that its
 * call and its answer took.
 *
 *   known      keys that Redis has, charged again: the steady state
 *   new        keys that it has not
 *   read       keys that are asked for and not charged, as a denied one is
 *   window     a fixed window; sliding: two windows are looked at
 *   exact      known keys that also ask for a grant */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "property/redis_server.h"
#include "replica/link_message.h"

#define KEYS 65536u
#define PARTITIONS 64u
#define PIPELINE 4u
#define HEARD_US 2000

enum pattern { KNOWN, NEW, READ, WINDOW, SLIDING, EXACT, PATTERNS };
static const char *const pattern_names[PATTERNS] = {"known",  "new",     "read",
                                                    "window", "sliding", "exact"};

struct bench {
    struct redis_server redis;
    struct link_message *message;
    struct link_script script;
    struct link_call call;
    struct redis_buffer out;
    struct batch batch;
    struct batch_answer answer;
    struct merge_cell seen[KEYS];
    uint32_t from[PIPELINE];
    uint64_t random, sequence, fresh, up, down;
    clockid_t cpu;
};

static uint64_t roll(struct bench *bench, uint64_t below)
{
    bench->random ^= bench->random << 13;
    bench->random ^= bench->random >> 7;
    bench->random ^= bench->random << 17;
    return bench->random % below;
}

static double seconds(clockid_t clock)
{
    struct timespec at;

    clock_gettime(clock, &at);
    return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

static void fill_key(struct bench *bench, enum pattern pattern, uint32_t index)
{
    struct batch_key *key = &bench->batch.keys[bench->batch.count++];
    const bool is_bucket = pattern != WINDOW && pattern != SLIDING;
    const uint64_t name = pattern == NEW ? ++bench->fresh + KEYS : index;

    *key = (struct batch_key){
        .key = {name * 0x9e3779b97f4a7c15ull, name * 0xbf58476d1ce4e5b9ull},
        .shape = is_bucket ? 0 : 1000000,
        .window = pattern == SLIDING  ? 7000
                  : pattern == WINDOW ? 1700000000
                                      : 0,
        .tenant_id = 0x811c9dc5,
        .rule_id = 0xdeadbeef,
        .kind = pattern == WINDOW    ? MERGE_FIXED
                : pattern == SLIDING ? MERGE_SLIDING
                                     : MERGE_BUCKET,
        .units = pattern == READ ? 0 : 1 + (int32_t)roll(bench, 8),
        .wanted = pattern == READ ? 0 : 1 + (uint32_t)roll(bench, 20),
        .expiry_ms = 10000,
    };
    key->delta = (struct merge_delta){
        .base = pattern == NEW ? (struct merge_cell){0} : bench->seen[index],
        .charge = pattern == READ ? 0
                  : is_bucket     ? 100 + (int64_t)roll(bench, 5000)
                                  : key->units,
        .ahead_us = is_bucket && pattern != READ ? -(int64_t)roll(bench, 6000) : 0,
        .cap_us = is_bucket ? 1000000 : 0,
    };
    if (pattern == EXACT)
        key->ask = (struct merge_ask){.wanted = 1, .unit_us = 1000, .most = 1000000};
}

static void send_batch(struct bench *bench, enum pattern pattern, uint32_t keys, uint32_t slot)
{
    const uint32_t blocks = KEYS / keys;
    const uint32_t block = (uint32_t)roll(bench, blocks);

    bench->batch.count = 0;
    bench->batch.partition = block % PARTITIONS;
    bench->batch.sequence = ++bench->sequence;
    bench->from[slot] = block * keys;
    for (uint32_t i = 0; i < keys; i++)
        fill_key(bench, pattern, block * keys + i);
    if (link_message_format(bench->message, &bench->call, &bench->batch, 0, &bench->out))
        redis_server_fail("memory");
}

static void take_answer(struct bench *bench, enum pattern pattern, uint32_t slot)
{
    struct redis_value *reply = redis_server_read(&bench->redis);
    uint32_t foreign;

    if (reply->kind != REDIS_KIND_TEXT ||
        link_message_parse(reply->text, reply->len, &bench->answer, &foreign) || foreign) {
        fprintf(stderr, "micro_merge: %s\n", reply->text ? reply->text : "no answer");
        exit(1);
    }
    bench->down += reply->len;
    redis_value_free(reply);
    for (uint32_t i = 0; i < bench->answer.count && pattern != NEW; i++)
        bench->seen[bench->from[slot] + i] = bench->answer.keys[i].cell;
}

static void run(struct bench *bench, enum pattern pattern, uint32_t keys, double for_seconds)
{
    const double end = seconds(CLOCK_MONOTONIC) + for_seconds;
    const double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(bench->cpu);
    uint64_t merges = 0;

    bench->up = bench->down = 0;
    while (seconds(CLOCK_MONOTONIC) < end) {
        for (uint32_t i = 0; i < PIPELINE; i++)
            send_batch(bench, pattern, keys, i);
        bench->up += bench->out.len;
        redis_server_write(&bench->redis, &bench->out);
        for (uint32_t i = 0; i < PIPELINE; i++)
            take_answer(bench, pattern, i);
        merges += PIPELINE * keys;
    }
    const double used = seconds(bench->cpu) - cpu;
    printf("%-8s %4u keys a batch: %7.0f key merges/s of one Redis core (%.2f us each), %.1f bytes "
           "up, "
           "%.1f down; %7.0f/s as it ran\n",
           pattern_names[pattern], keys, (double)merges / used, 1e6 * used / (double)merges,
           (double)bench->up / (double)merges, (double)bench->down / (double)merges,
           (double)merges / (seconds(CLOCK_MONOTONIC) - wall));
    fflush(stdout);
}

static void load(struct bench *bench)
{
    char *text = strndup(bench->script.library.bytes, bench->script.library.len);
    const char *words[] = {"FUNCTION", "LOAD", text, NULL};
    struct redis_value *reply = redis_server_say(&bench->redis, words);

    if (reply->kind != REDIS_KIND_TEXT)
        redis_server_fail(reply->text);
    redis_value_free(reply);
    free(text);
    bench->call = (struct link_call){bench->script.merge, false};
}

int main(int count, char **words)
{
    const double each = (count > 1 ? strtod(words[1], NULL) : 12.0) / 9;
    struct bench *bench = calloc(1, sizeof(*bench));

    if (!bench || link_script_init(&bench->script) ||
        !(bench->message = link_message_create("prod")))
        redis_server_fail("memory");
    bench->random = 88172645463325252ull;
    bench->batch.node_id = 1;
    bench->batch.incarnation = 1;
    redis_server_start(&bench->redis);
    if (clock_getcpuclockid(bench->redis.pid, &bench->cpu))
        redis_server_fail("its clock");
    load(bench);
    run(bench, KNOWN, 512, each); /* makes them known */
    printf("(from here on)\n");
    for (uint32_t keys = 8; keys <= 512; keys *= 8)
        run(bench, KNOWN, keys, each);
    for (enum pattern pattern = NEW; pattern < PATTERNS; pattern++)
        run(bench, pattern, 512, each);
    redis_server_stop(&bench->redis);
    return 0;
}
