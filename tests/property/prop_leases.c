/* Leases against a model, datagram by datagram, on two workers that share a table and a repeat set.
 *
 *   METE_COUNT  operations (1000000)    METE_SEED  which ones
 *
 * Holders acquire, renew, release, ask for what they never had, or crash: then nobody releases.
 * The network loses datagrams, repeats them, and delivers some long after they were sent, to either
 * worker. The clock is injected and stands, creeps, or jumps. The model is a list of leases by key
 * and id with the instant at which each expires; it says of every answer what it must be, or, while
 * a lease that expired less than a second ago may or may not have been swept, between which two.
 * By its clock never more is in flight than the limit. At the end all slots are free and the table
 * is empty. */
#include <inttypes.h>

#include "lib/random.h"
#include "unit/udp_fixture.h"

#define MS 1000000ull
#define SECOND (1000 * MS)
#define KEYS 12u
#define IDS 24u /* per key: few, so that they meet */
#define ENTRIES 4u
#define MEMORY 64u /* datagrams that may come again */
#define BACK_NS SECOND

struct rule_of_test {
    const char *name;
    uint32_t limit;
    uint64_t lease_ns;
};

static const char yaml[] = "tenants: [{name: a, rules: ["
                           "{name: long, algorithm: concurrency, limit: 5, lease: 10s},"
                           "{name: brief, algorithm: concurrency, limit: 3, lease: 150ms}]}]\n";
static const struct rule_of_test rules[] = {{"long", 5, 10 * SECOND}, {"brief", 3, 150 * MS}};

struct held {
    uint32_t slots; /* 0: there is none */
    uint64_t expires_ns;
};

struct datagram {
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    size_t len;
    struct mete_header header;
    struct mete_entry entries[ENTRIES];
    uint64_t made_ns;
    bool has_come;
    bool passed[ENTRIES]; /* what was decided when it first came */
};

struct world {
    struct fixture *f;
    struct engine engines[2];
    struct counters *counters[2];
    struct udp *udps[2];
    struct instant now;
    struct held model[2][KEYS][IDS];
    struct datagram memory[MEMORY];
    uint64_t random;
    uint32_t sequence;
    uint64_t operations, granted, denied, repeats, stale, expired, released;
};

static uint32_t dice(struct world *w, uint32_t sides)
{
    return (uint32_t)(random_next(&w->random) >> 32) % sides;
}

/* ---- the model ---- */

static unsigned rule_of(const struct mete_entry *entry)
{
    return entry->rule == mete_name_id(rules[1].name, strlen(rules[1].name));
}

static struct held *held_of(struct world *w, const struct mete_entry *entry)
{
    return &w->model[rule_of(entry)][entry->key_low - 1][entry->lease - 1];
}

static bool is_live(const struct world *w, const struct held *held)
{
    return held->slots && w->now.now_ns < held->expires_ns;
}

/* Slots that are in flight for certain, and those that may be besides. */
static void flight(struct world *w, const struct mete_entry *entry, uint32_t *ret_least,
                   uint32_t *ret_most)
{
    struct held *all = w->model[rule_of(entry)][entry->key_low - 1];
    *ret_least = *ret_most = 0;
    for (unsigned i = 0; i < IDS; i++) {
        if (!all[i].slots)
            continue;
        if (is_live(w, &all[i]))
            *ret_least += all[i].slots;
        else if (w->now.now_ns >= all[i].expires_ns + BACK_NS)
            all[i].slots = 0; /* is back by now */
        *ret_most += all[i].slots;
    }
}

static uint64_t expiry_of(const struct world *w, const struct mete_entry *entry)
{
    uint64_t at_ns = w->now.now_ns + rules[rule_of(entry)].lease_ns;
    return (at_ns + MS - 1) / MS * MS;
}

static void must(struct world *w, bool is_so, const char *what)
{
    if (is_so)
        return;
    fail_msg("%s (operation %" PRIu64 ", at %" PRIu64 " ns)", what, w->operations, w->now.now_ns);
}

static void judge_acquire(struct world *w, const struct mete_entry *entry,
                          const struct mete_verdict *verdict)
{
    uint32_t least, most, limit = rules[rule_of(entry)].limit;
    struct held *held = held_of(w, entry);
    bool is_allowed = verdict->flags == METE_VERDICT_ALLOW;
    must(w, verdict->status == METE_STATUS_OK, "an acquire was neither granted nor denied");
    if (is_live(w, held)) {
        must(w, is_allowed, "a lease that is held was denied");
        return;
    }
    held->slots = 0; /* expired: it is ended on the way, so its own slots are free */
    flight(w, entry, &least, &most);
    if (is_allowed) {
        must(w, least + entry->cost <= limit, "more in flight than the limit");
        *held = (struct held){.slots = entry->cost, .expires_ns = expiry_of(w, entry)};
        w->granted++;
    } else {
        must(w, most + entry->cost > limit, "denied though there was room");
        w->denied++;
    }
}

static void judge_other(struct world *w, uint8_t type, const struct mete_entry *entry,
                        const struct mete_verdict *verdict)
{
    struct held *held = held_of(w, entry);
    if (is_live(w, held)) {
        must(w, verdict->status == METE_STATUS_OK && verdict->flags == METE_VERDICT_ALLOW,
             "a lease that is held was not found");
        if (type == METE_RENEW)
            held->expires_ns = expiry_of(w, entry);
        else
            held->slots = 0;
        w->released += type == METE_RELEASE;
        return;
    }
    bool may_be_there = held->slots && w->now.now_ns < held->expires_ns + BACK_NS;
    must(w,
         verdict->status == METE_STATUS_UNKNOWN_LEASE ||
             (may_be_there && verdict->status == METE_STATUS_EXPIRED_LEASE),
         "a lease that is not held was found");
    w->expired += verdict->status == METE_STATUS_EXPIRED_LEASE;
    if (type == METE_RELEASE || verdict->status == METE_STATUS_UNKNOWN_LEASE)
        held->slots = 0;
}

/* The numbers of an answer, when its operation is in the model. */
static void judge_numbers(struct world *w, uint8_t type, const struct mete_entry *entry,
                          const struct mete_verdict *verdict)
{
    uint32_t least, most, limit = rules[rule_of(entry)].limit;
    struct held *held = held_of(w, entry);
    if (verdict->status != METE_STATUS_OK)
        return;
    flight(w, entry, &least, &most);
    must(w, least <= limit, "the model holds more than the limit");
    must(w, verdict->remaining <= limit - least, "remaining is too high");
    must(w, verdict->remaining + most >= limit, "remaining is too low");
    if (type != METE_RELEASE && verdict->flags & METE_VERDICT_ALLOW && is_live(w, held))
        must(w, verdict->reset_after == (held->expires_ns - w->now.now_ns) / 1000,
             "the time left is wrong");
}

static void judge_repeat(struct world *w, const struct datagram *d, unsigned i,
                         const struct mete_verdict *verdict)
{
    must(w, verdict->flags & METE_VERDICT_REPEAT, "a repeat is not told");
    bool passes = verdict->status == METE_STATUS_OK && verdict->flags & METE_VERDICT_ALLOW;
    must(w, passes == d->passed[i], "a repeat is answered otherwise");
    w->repeats++;
}

/* ---- the network ---- */

static bool take_answer(struct world *w, struct datagram *d, const struct io_message *message)
{
    const struct sent *sent = &w->f->fake.sent[0];
    const uint8_t *bytes = message->data + sent->offset;
    struct mete_result_header header = {0};
    bool is_late = w->now.now_ns / MS > d->made_ns / MS + 200;
    must(w, w->f->fake.count == 1, "there is no answer");
    must(w, mete_wire_decode_result(bytes, sent->len, &header) == METE_WIRE_OK, "malformed");
    if (header.flags & METE_RESULT_STATUS) {
        must(w, header.detail == METE_STATUS_STALE && is_late, "refused though it is fresh");
        w->stale++;
        return false;
    }
    must(w, !is_late, "judged though it is stale");
    for (unsigned i = 0; i < header.n; i++) {
        struct mete_verdict verdict = mete_wire_decode_verdict(bytes, i);
        if (d->has_come) {
            judge_repeat(w, d, i, &verdict);
            continue;
        }
        if (d->header.type == METE_ACQUIRE)
            judge_acquire(w, &d->entries[i], &verdict);
        else
            judge_other(w, d->header.type, &d->entries[i], &verdict);
        d->passed[i] = verdict.status == METE_STATUS_OK && verdict.flags & METE_VERDICT_ALLOW;
        if (i + 1 == header.n) /* of those before it the model is ahead */
            judge_numbers(w, d->header.type, &d->entries[i], &verdict);
    }
    return true;
}

static void deliver(struct world *w, struct datagram *d)
{
    static uint8_t data[METE_WIRE_MAX_BYTES];
    struct io_message message;
    memcpy(data, d->bytes, d->len);
    message = message_of(w->f, data, d->len, d->len);
    w->f->fake.count = 0;
    udp_judge(w->udps[dice(w, 2)], &w->f->fake.io, &message, 1, &w->now);
    if (take_answer(w, d, &message))
        d->has_come = true;
    w->operations += d->header.n;
}

static void make_entry(struct world *w, struct mete_entry *entry)
{
    unsigned rule = dice(w, 4) == 0;
    *entry = (struct mete_entry){
        .rule = mete_name_id(rules[rule].name, strlen(rules[rule].name)),
        .cost = 1 + dice(w, 8) / 6 + dice(w, 16) / 15,
        .key_low = 1 + dice(w, dice(w, 2) ? 2 : KEYS),
        .key_high = 77,
        .lease = 1 + dice(w, IDS),
    };
}

/* A holder that knows what it holds: mostly of those that live. */
static void choose_held(struct world *w, struct mete_entry *entry)
{
    for (unsigned tries = 0; tries < 16 && !is_live(w, held_of(w, entry)); tries++)
        entry->lease = 1 + dice(w, IDS);
}

static struct datagram *make_datagram(struct world *w)
{
    static const uint8_t TYPES[] = {METE_ACQUIRE, METE_ACQUIRE, METE_RENEW, METE_RELEASE};
    struct datagram *d = &w->memory[dice(w, MEMORY)];
    *d = (struct datagram){
        .header = {.type = TYPES[dice(w, 4)],
                   .n = (uint8_t)(1 + dice(w, 8) / 7 * dice(w, ENTRIES)),
                   .tenant = mete_name_id("a", 1),
                   .client = 5,
                   .sequence = w->sequence++,
                   .secret = METE_WIRE_NO_SECRET,
                   .clock_ms = (uint32_t)(w->now.now_ns / MS),
                   .entry_bytes = 32},
        .made_ns = w->now.now_ns,
    };
    d->len = mete_wire_request_bytes(d->header.n, 32);
    mete_wire_encode_header(d->bytes, &d->header);
    for (unsigned i = 0; i < d->header.n; i++) {
        make_entry(w, &d->entries[i]);
        if (d->header.type != METE_ACQUIRE && dice(w, 8))
            choose_held(w, &d->entries[i]);
        mete_wire_encode_entry(d->bytes, &d->header, i, &d->entries[i]);
    }
    mete_wire_sign_request(d->bytes, d->len, NULL);
    return d;
}

/* Stands, creeps, or jumps past every lease of the brief rule, rarely of the long one. Both workers
 * tick, as they do at least every 100 ms. */
static void advance(struct world *w, uint64_t by_ns)
{
    while (by_ns) {
        uint64_t step_ns = by_ns < 100 * MS ? by_ns : 100 * MS;
        w->now.now_ns += step_ns;
        w->now.wall_ns += step_ns;
        by_ns -= step_ns;
        engine_tick(&w->engines[0], &w->now);
        engine_tick(&w->engines[1], &w->now);
    }
    if (dice(w, 4096) == 0)
        repeat_sweep(&w->f->repeats, &(uint64_t){0}, (uint32_t)w->f->repeats.bucket_count,
                     (uint32_t)(w->now.now_ns / MS));
}

static void step(struct world *w)
{
    uint32_t luck = dice(w, 1000);
    if (luck < 500)
        advance(w, dice(w, 2000) * 1000ull);
    else if (luck < 505)
        advance(w, dice(w, 400) * MS);
    else if (luck == 999 && dice(w, 20) == 0)
        advance(w, 12 * SECOND);
    struct datagram *d = dice(w, 8) ? make_datagram(w) : &w->memory[dice(w, MEMORY)];
    if (!d->len || dice(w, 20) == 0)
        return; /* lost, or it waits for its turn */
    deliver(w, d);
    if (dice(w, 10) == 0)
        deliver(w, d); /* both copies arrive */
}

static void assert_all_free(struct world *w)
{
    struct table_census census;
    advance(w, 11 * SECOND + BACK_NS);
    table_take_census(w->f->table, &census);
    assert_int_equal(census.live, 0);
    assert_int_equal(census.busy, 0);
}

static void start_workers(struct world *w)
{
    struct udp_policy policy = w->f->udp.policy;
    for (unsigned i = 0; i < 2; i++) {
        w->counters[i] = aligned_alloc(128, sizeof(*w->counters[i]));
        memset(w->counters[i], 0, sizeof(*w->counters[i]));
        engine_init(&w->engines[i], w->f->config, w->f->table, i, 2);
        w->engines[i].counters = w->counters[i];
        w->engines[i].rule_counters = w->f->rule_counters;
        struct udp_options options = {.engine = &w->engines[i],
                                      .repeats = &w->f->repeats,
                                      .counters = w->counters[i],
                                      .boot_id = BOOT_ID};
        w->udps[i] = calloc(1, sizeof(*w->udps[i]));
        udp_init(w->udps[i], &policy, &options);
    }
}

static void leases_as_the_model(void **state)
{
    const uint64_t seed = random_seed(20260101), end = random_count(1000000);
    struct world *w = calloc(1, sizeof(*w));
    w->f = *state;
    w->random = seed;
    w->now = now;
    tell_repeats(w->f, 200, 20);
    start_workers(w);
    printf("METE_SEED=%" PRIu64 "\n", seed);
    while (w->operations < end)
        step(w);
    assert_all_free(w);
    uint64_t ended = 0;
    for (unsigned i = 0; i < 2; i++) {
        ended += counter_read(&w->counters[i]->cell[COUNTER_LEASES_EXPIRED]);
        free(w->counters[i]);
        free(w->udps[i]);
    }
    printf("%" PRIu64 " operations: %" PRIu64 " granted, %" PRIu64 " denied, %" PRIu64
           " released, %" PRIu64 " expired, %" PRIu64 " answered so, %" PRIu64 " repeats, %" PRIu64
           " stale\n",
           w->operations, w->granted, w->denied, w->released, ended, w->expired, w->repeats,
           w->stale);
    assert_int_equal(w->granted, w->released + ended); /* each went once */
    assert_int_equal(cell(w->f, COUNTER_RECEIVED), 0); /* all by the two workers */
    assert_true(w->repeats && w->stale && w->expired && w->denied);
    free(w);
}

static int setup(void **state)
{
    *state = make_fixture(yaml);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(leases_as_the_model, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
