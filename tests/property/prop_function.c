/* The function that runs in Redis against core/merge.c: random batches go to a real redis-server
 * and to a model of the store that calls the production arithmetic, and every number of every
 * answer must be the same, and at the end the usage of every tenant. Repeats, gaps, nodes that are
 * new, a store that knows nothing, clocks that step are all in it; the time is told. Redis' side is
 * the production file, and so is what carries it.
 *
 * METE_COUNT batches (20,000 unless told), METE_SEED. METE_COUNT=1000000 takes two minutes. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/merge.h"
#include "core/saturate.h"
#include "lib/random.h"
#include "redis_server.h"
#include "replica/batch.h"
#include "replica/link_message.h"

#define PARTITIONS 4u
#define NODES 3u
#define TENANTS 3u
#define NAMES 64u /* keys times windows of each kind */
#define KINDS 4u
#define PIPELINE 16u

struct model_cell {
    struct merge_cell cell;
    uint64_t demand, demand_at_us;
    bool is_there;
};

struct model_record {
    uint64_t incarnation, last;
    uint32_t granted[BATCH_MAX_KEYS];
    bool is_there;
};

struct model {
    struct model_cell cells[PARTITIONS][KINDS][NAMES];
    struct model_record records[PARTITIONS][NODES];
    int64_t usage[PARTITIONS][TENANTS];
};

struct sent { /* a batch on its way, and what must come back */
    struct batch batch;
    uint16_t kinds[BATCH_MAX_KEYS], names[BATCH_MAX_KEYS];
    uint64_t now_us;
    struct batch_answer answer;
};

struct world {
    struct redis_server redis;
    struct link_script script;
    struct link_message *message;
    struct link_call call;
    struct redis_buffer out;
    struct model *model;
    struct sent *last[PARTITIONS][NODES]; /* to be sent again */
    struct sent *pipeline;
    uint64_t random, now_us, seed;
    struct limit limits[KINDS];
};

static uint64_t roll(struct world *world, uint64_t below)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return below ? (world->random * 0x9e3779b97f4a7c15ull >> 11) % below : 0;
}

/* Small mostly, up to most now and then. */
static uint64_t scaled(struct world *world, uint64_t most)
{
    const uint64_t bits = roll(world, 64);
    const uint64_t below = bits < 62 ? (1ull << bits) - 1 : most;

    return roll(world, (below < most ? below : most) + 1);
}

/* What the store makes of a batch: the text of replica/batch.h in C. */
static void model_key(struct world *world, struct sent *sent, uint32_t i, bool applies,
                      const struct model_record *record)
{
    const struct batch_key *key = &sent->batch.keys[i];
    struct model_cell *all = world->model->cells[sent->batch.partition][sent->kinds[i]];
    struct model_cell *cell = &all[sent->names[i]];
    struct batch_answer_key *answer = &sent->answer.keys[i];
    const uint64_t at = cell->is_there ? cell->demand_at_us : sent->now_us;
    const uint64_t passed = sent->now_us > at ? sent->now_us - at : 0;
    struct merge_cell next = cell->cell;

    *answer = (struct batch_answer_key){0};
    if (key->kind == MERGE_SLIDING && sent->names[i] % 8 > 0)
        answer->previous = all[sent->names[i] - 1].cell.value;
    answer->demand = merge_demand(cell->demand, passed, applies ? key->wanted : 0);
    if (!applies) {
        answer->granted = record->last == sent->batch.sequence ? record->granted[i] : 0;
        answer->cell = cell->cell;
        return;
    }
    next = limit_merge(&world->limits[key->kind], cell->cell, &key->delta, sent->now_us);
    if (key->ask.wanted > 0)
        answer->granted = merge_grant(key->kind, &next, answer->previous, &key->ask, sent->now_us);
    answer->cell = next;
    if (next.epoch != cell->cell.epoch || next.value != cell->cell.value || key->wanted > 0)
        *cell = (struct model_cell){next, answer->demand, sent->now_us, true};
}

static void model_apply(struct world *world, struct sent *sent)
{
    const struct batch *batch = &sent->batch;
    struct model_record *record = &world->model->records[batch->partition][batch->node_id];
    const bool is_known = record->is_there && record->incarnation == batch->incarnation;

    sent->answer.outcome = merge_admit(is_known ? record->last : 0, batch->sequence);
    sent->answer.store_now_us = sent->now_us;
    sent->answer.count = batch->count;
    const bool applies = sent->answer.outcome != MERGE_REPEAT;
    for (uint32_t i = 0; i < batch->count; i++) {
        model_key(world, sent, i, applies, record);
        if (applies)
            world->model->usage[batch->partition][batch->keys[i].tenant_id % TENANTS] +=
                batch->keys[i].units;
    }
    if (!applies)
        return;
    *record = (struct model_record){
        .incarnation = batch->incarnation, .last = batch->sequence, .is_there = true};
    for (uint32_t i = 0; i < batch->count; i++)
        record->granted[i] = sent->answer.keys[i].granted;
}

static struct merge_cell make_base(struct world *world, const struct model_cell *cell,
                                   enum merge_kind kind)
{
    struct merge_cell base = cell->cell;

    switch (roll(world, 6)) {
    case 0:
        return (struct merge_cell){0};
    case 1:
        base.value += scaled(world, 1u << 20);
        break;
    case 2:
        base.value = saturate_sub(base.value, scaled(world, 1u << 20));
        break;
    case 3:
        base.epoch = roll(world, 30) ? base.epoch : base.epoch + roll(world, 3);
        base.value = kind == MERGE_BUCKET ? world->now_us + scaled(world, 1ull << 40)
                                          : scaled(world, 1ull << 40);
        break;
    default:
        break;
    }
    base.value = base.value < MERGE_MAX ? base.value : MERGE_MAX;
    return base;
}

static void make_ask(struct world *world, struct batch_key *key)
{
    struct merge_ask *ask = &key->ask;
    const uint64_t modulus = key->kind == MERGE_SLIDING ? 1ull << 16 : 1ull << 32;

    ask->wanted = (uint32_t)(1 + scaled(world, MERGE_MOST_WANTED - 1));
    ask->unit_ticks = (uint32_t)roll(world, 16000);
    ask->unit_us = scaled(world, 1ull << 36);
    if (ask->unit_us == 0 && ask->unit_ticks == 0)
        ask->unit_ticks = 1;
    ask->most = scaled(world, key->kind == MERGE_BUCKET    ? 315360000000000ull
                              : key->kind == MERGE_SLIDING ? LIMIT_SLIDING_MAX
                                                           : UINT32_MAX);
    ask->window_us = roll(world, 50) ? 1000 + scaled(world, 315360000000000ull) : 0;
    ask->window = key->kind == MERGE_CALENDAR ? world->now_us / 1000000 + roll(world, 3)
                  : ask->window_us            ? world->now_us / ask->window_us % modulus
                                              : 0;
    if (roll(world, 10) == 0)
        ask->window = roll(world, modulus);
}

/* Names of a kind are keys of 8 windows each, so that a window's predecessor is the name before. */
static void make_key(struct world *world, struct sent *sent, uint32_t at)
{
    struct batch_key *key = &sent->batch.keys[at];
    const uint32_t kind = sent->kinds[at], name = sent->names[at];
    const struct model_cell *cell = &world->model->cells[sent->batch.partition][kind][name];
    const uint32_t subject = kind == MERGE_BUCKET ? name : name / 8;

    *key = (struct batch_key){
        .key = {subject * 0x0123456789abcdefull, subject},
        .override = subject % 3 ? 0 : subject,
        .shape = kind == MERGE_BUCKET ? 0 : 1000 + kind,
        .window = kind == MERGE_BUCKET ? 0 : 65535u * (kind != MERGE_SLIDING) + 250 + name % 8,
        .tenant_id = subject % TENANTS,
        .rule_id = kind,
        .kind = (enum merge_kind)kind,
        .units = (int64_t)scaled(world, 1ull << 40) * (roll(world, 4) ? 1 : -1),
        .wanted = roll(world, 3) ? (uint32_t)scaled(world, UINT32_MAX) : 0,
        .expiry_ms = 86400000 + roll(world, 3) * 1000,
    };
    const uint64_t cap_us = 1000ull << 5 * (subject % 8);
    key->delta = (struct merge_delta){
        .base = make_base(world, cell, key->kind),
        .charge =
            roll(world, 4) ? (int64_t)scaled(world, roll(world, 8) ? 1u << 20 : 1ull << 48) : 0,
        .ahead_us = kind == MERGE_BUCKET ? -(int64_t)scaled(world, MERGE_CREDIT_US) : 0,
        .cap_us = kind == MERGE_BUCKET ? cap_us : 0,
        .resets = roll(world, 40) == 0,
    };
    if (roll(world, 12) == 0)
        key->delta.charge = -key->delta.charge;
    if (kind == MERGE_BUCKET && roll(world, 12) == 0)
        key->delta.ahead_us = (int64_t)scaled(world, cap_us);
    if (roll(world, 3) == 0)
        make_ask(world, key);
}

static void make_keys(struct world *world, struct sent *sent)
{
    bool is_used[KINDS][NAMES] = {0};
    const uint32_t count = (uint32_t)roll(world, roll(world, 500) ? 12 : KINDS * NAMES);

    sent->batch.count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint16_t kind = (uint16_t)roll(world, KINDS), name = (uint16_t)roll(world, NAMES);
        if (is_used[kind][name])
            continue;
        is_used[kind][name] = true;
        sent->kinds[sent->batch.count] = kind;
        sent->names[sent->batch.count] = name;
        make_key(world, sent, sent->batch.count++);
    }
}

static void step_clock(struct world *world)
{
    switch (roll(world, 100)) {
    case 0:
        world->now_us = 1700000000000000 + roll(world, 1ull << 50); /* any time */
        break;
    case 1:
        world->now_us = 1 + roll(world, 100000); /* where subtractions end at 0 */
        break;
    case 2:
        world->now_us = 1 + saturate_sub(world->now_us, scaled(world, 1u << 30));
        break;
    default:
        world->now_us += 1 + scaled(world, roll(world, 10) ? 20000 : 1u << 24);
        break;
    }
}

static void make_batch(struct world *world, struct sent *sent)
{
    struct batch *batch = &sent->batch;
    const uint32_t partition = (uint32_t)roll(world, PARTITIONS);
    const uint32_t node = (uint32_t)roll(world, NODES);
    const struct model_record *record = &world->model->records[partition][node];
    struct sent *last = world->last[partition][node];

    step_clock(world);
    if (last->batch.sequence > 0 && roll(world, 8) == 0) {
        *sent = *last; /* again, and maybe late */
        sent->now_us = world->now_us;
        return;
    }
    batch->partition = partition;
    batch->node_id = node;
    batch->incarnation = record->incarnation;
    batch->sequence = record->last + 1;
    if (roll(world, 30) == 0)
        batch->sequence += roll(world, 3);
    if (roll(world, 100) == 0)
        batch->incarnation = roll(world, UINT64_MAX);
    if (roll(world, 100) == 0 && batch->sequence > 3)
        batch->sequence -= 1 + roll(world, 3);
    sent->now_us = world->now_us;
    make_keys(world, sent);
    if (batch->sequence == record->last && batch->incarnation == record->incarnation)
        batch->count = 0; /* one number, one batch */
    *last = *sent;
}

static void judge(struct world *world, const struct sent *sent, uint64_t number)
{
    static struct batch_answer got;
    uint32_t foreign;
    struct redis_value *reply = redis_server_read(&world->redis);
    const struct batch_answer *want = &sent->answer;

    if (reply->kind != REDIS_KIND_TEXT ||
        link_message_parse(reply->text, reply->len, &got, &foreign))
        fail_msg("seed %" PRIu64 " batch %" PRIu64 ": %s", world->seed, number,
                 reply->text ? reply->text : "no answer");
    redis_value_free(reply);
    if (got.outcome != want->outcome || got.store_now_us != want->store_now_us ||
        got.count != want->count || foreign != 0)
        fail_msg("seed %" PRIu64 " batch %" PRIu64 ": outcome %d, not %d, foreign %u, at %" PRIu64
                 ", not %" PRIu64,
                 world->seed, number, got.outcome, want->outcome, foreign, got.store_now_us,
                 want->store_now_us);
    for (uint32_t i = 0; i < want->count; i++) {
        const struct batch_answer_key *a = &got.keys[i], *b = &want->keys[i];
        if (a->cell.epoch != b->cell.epoch || a->cell.value != b->cell.value ||
            a->demand != b->demand || a->previous != b->previous || a->granted != b->granted)
            fail_msg("seed %" PRIu64 " batch %" PRIu64 " key %u kind %u: Redis (%" PRIu64
                     ", %" PRIu64 ") demand %" PRIu64 " previous %" PRIu64
                     " granted %u, C (%" PRIu64 ", %" PRIu64 ") %" PRIu64 " %" PRIu64 " %u",
                     world->seed, number, i, sent->kinds[i], a->cell.epoch, a->cell.value,
                     a->demand, a->previous, a->granted, b->cell.epoch, b->cell.value, b->demand,
                     b->previous, b->granted);
    }
}

static void judge_usage(struct world *world)
{
    char name[64];

    for (uint32_t p = 0; p < PARTITIONS; p++)
        for (uint32_t t = 0; t < TENANTS; t++) {
            snprintf(name, sizeof(name), "{mete:test-f:%u}usage:%u", p, t);
            const char *words[] = {"GET", name, NULL};
            struct redis_value *reply = redis_server_say(&world->redis, words);
            const int64_t got = reply->kind == REDIS_KIND_TEXT ? strtoll(reply->text, NULL, 10) : 0;
            assert_int_equal(got, world->model->usage[p][t]);
            redis_value_free(reply);
        }
}

static void load(struct world *world, bool is_script)
{
    char *text = strndup(world->script.library.bytes, world->script.library.len);
    const char *words[] = {"FUNCTION", "LOAD", text, NULL};
    const char *script_words[] = {"SCRIPT", "LOAD", world->script.text, NULL};
    static char sha[41];
    struct redis_value *reply = redis_server_say(&world->redis, is_script ? script_words : words);

    free(text);
    if (reply->kind != REDIS_KIND_TEXT)
        fail_msg("not loaded: %s", reply->text);
    snprintf(sha, sizeof(sha), "%s", reply->text);
    world->call = (struct link_call){is_script ? sha : world->script.merge, is_script};
    redis_value_free(reply);
}

static void run(bool is_script, uint64_t count)
{
    struct world world = {.seed = random_seed(1)};
    const enum algorithm algorithms[KINDS] = {ALGORITHM_TOKEN_BUCKET, ALGORITHM_FIXED_WINDOW,
                                              ALGORITHM_SLIDING_WINDOW, ALGORITHM_CALENDAR};

    world.random = world.seed * 0x9e3779b97f4a7c15ull | 1;
    for (uint32_t i = 0; i < KINDS; i++)
        world.limits[i] = (struct limit){.algorithm = (uint8_t)algorithms[i]};
    for (uint32_t p = 0; p < PARTITIONS; p++)
        for (uint32_t n = 0; n < NODES; n++)
            world.last[p][n] = calloc(1, sizeof(struct sent));
    world.pipeline = calloc(PIPELINE, sizeof(struct sent));
    world.model = calloc(1, sizeof(*world.model));
    world.message = link_message_create("test-f");
    assert_int_equal(link_script_init(&world.script), 0);
    redis_server_start(&world.redis);
    load(&world, is_script);
    for (uint64_t done = 0; done < count; done += PIPELINE) {
        for (uint32_t i = 0; i < PIPELINE; i++) {
            struct sent *sent = &world.pipeline[i];
            make_batch(&world, sent);
            model_apply(&world, sent);
            assert_int_equal(link_message_format(world.message, &world.call, &sent->batch,
                                                 sent->now_us, &world.out),
                             0);
        }
        redis_server_write(&world.redis, &world.out);
        for (uint32_t i = 0; i < PIPELINE; i++)
            judge(&world, &world.pipeline[i], done + i);
    }
    judge_usage(&world);
    redis_server_stop(&world.redis);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        for (uint32_t n = 0; n < NODES; n++)
            free(world.last[p][n]);
    free(world.pipeline);
    free(world.model);
    redis_buffer_free(&world.out);
    link_script_deinit(&world.script);
    link_message_destroy(world.message);
}

static void test_function(void **state)
{
    (void)state;
    run(false, random_count(20000));
}

static void test_script(void **state)
{
    (void)state;
    run(true, random_count(20000) / 10);
}

/* What is no namespace of tests believes no told time, in a batch or a beat, and does nothing. */
static void test_time_is_told_to_tests_only(void **state)
{
    (void)state;
    static struct world world;
    static struct batch batch = {.node_id = 1, .incarnation = 1, .sequence = 1, .count = 1};
    const struct link_beat beat = {
        .node_id = 1, .token = 1, .partitions = 1, .version = "v", .told_us = 1700000000000000};
    const char *size[] = {"DBSIZE", NULL};

    batch.keys[0] = (struct batch_key){.units = 1, .wanted = 1, .delta = {.charge = 5}};
    world.message = link_message_create("prod");
    assert_int_equal(link_script_init(&world.script), 0);
    redis_server_start(&world.redis);
    load(&world, false);
    assert_int_equal(
        link_message_format(world.message, &world.call, &batch, 1700000000000000, &world.out), 0);
    world.call.name = world.script.beat;
    assert_int_equal(link_message_format_beat(world.message, &world.call, &beat, &world.out), 0);
    redis_server_write(&world.redis, &world.out);
    for (unsigned i = 0; i < 2; i++) {
        struct redis_value *reply = redis_server_read(&world.redis);
        assert_int_equal(reply->kind, REDIS_KIND_ERROR);
        assert_non_null(strstr(reply->text, "METETIME"));
        redis_value_free(reply);
    }
    struct redis_value *reply = redis_server_say(&world.redis, size);
    assert_int_equal(reply->integer, 0);
    redis_value_free(reply);
    redis_server_stop(&world.redis);
    redis_buffer_free(&world.out);
    link_script_deinit(&world.script);
    link_message_destroy(world.message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_function),
        cmocka_unit_test(test_script),
        cmocka_unit_test(test_time_is_told_to_tests_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
