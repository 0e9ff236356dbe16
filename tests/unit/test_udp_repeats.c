/* Datagrams that come twice: whatever they ask, they are charged once and decided the same, on
 * whichever worker, with other traffic in between; and what is too late is stale. */
#include "lib/random.h"
#include "unit/udp_fixture.h"

#include <stdio.h>

#define MS 1000000ull
#define WINDOW_MS 200u
#define AHEAD_MS 20u

static const char yaml[] =
    "tenants:\n"
    "  - name: a\n"
    "    rules:\n"
    "      - {name: bucket, algorithm: token_bucket, rate: 20/s, burst: 30}\n"
    "      - {name: meter, algorithm: leaky_bucket, rate: 50/s, burst: 10}\n"
    "      - {name: queue, algorithm: leaky_bucket, rate: 10/s, burst: 20, mode: queue}\n"
    "      - {name: fixed, algorithm: fixed_window, limit: 20/1s}\n"
    "      - {name: sliding, algorithm: sliding_window, limit: 20/1s}\n"
    "      - {name: shadow, algorithm: token_bucket, rate: 5/s, burst: 5, shadow: true}\n"
    "      - {name: free, algorithm: unlimited}\n"
    "      - {name: closed, algorithm: deny}\n"
    "  - {name: b, rules: [{name: bucket, algorithm: token_bucket, rate: 1/h, burst: 30}]}\n";

static const char *const RULES[] = {"bucket", "meter", "queue",  "fixed", "sliding",
                                    "shadow", "free",  "closed", "nobody"};

struct pair { /* two workers that share table and repeat set */
    struct fixture *f;
    struct engine engine;
    struct udp other;
};

static int setup(void **state)
{
    struct pair *p = calloc(1, sizeof(*p));
    p->f = make_fixture(yaml);
    tell_repeats(p->f, WINDOW_MS, AHEAD_MS);
    p->engine = p->f->engine;
    struct udp_options options = p->f->udp.given;
    options.engine = &p->engine;
    udp_init(&p->other, &p->f->udp.policy, &options);
    *state = p;
    return 0;
}

static int teardown_pair(void **state)
{
    struct pair *p = *state;
    void *fixture = p->f;
    free(p);
    return teardown(&fixture);
}

/* Judges one datagram at now_ns by one of the workers; the answer stands in bytes. */
static size_t judge(struct pair *p, struct udp *udp, uint8_t *bytes, size_t len, uint64_t now_ns)
{
    struct instant at = {.now_ns = now_ns, .wall_ns = now.wall_ns + now_ns};
    struct io_message message = message_of(p->f, bytes, len, len);
    p->f->fake.count = 0;
    udp_judge(udp, &p->f->fake.io, &message, 1, &at);
    return p->f->fake.count ? p->f->fake.sent[0].len : 0;
}

static uint64_t seed;

static uint32_t dice(uint32_t sides)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % sides);
}

static uint32_t random_cost(void)
{
    static const uint32_t COSTS[] = {0, 1, 1, 1, 2, 3, 7, 31, UINT32_MAX};
    return COSTS[dice(9)];
}

/* A CHECK, REFUND or RESET of one to 50 entries, with any flags that go together. */
static size_t write_random(uint8_t *out, uint32_t sequence, uint64_t now_ns)
{
    static const uint8_t TYPES[] = {METE_CHECK, METE_CHECK, METE_CHECK, METE_REFUND, METE_RESET};
    struct mete_header header = {
        .type = TYPES[dice(5)],
        .n = (uint8_t)(dice(4) ? 1 + dice(4) : 1 + dice(30)),
        .secret = METE_WIRE_NO_SECRET,
        .tenant = mete_name_id("a", 1),
        .sequence = sequence,
        .clock_ms = dice(3) ? (uint32_t)(now_ns / MS) : 0,
    };
    if (header.type == METE_CHECK && dice(2))
        header.flags = dice(2) ? METE_FLAG_ALL_OR_NOTHING : METE_FLAG_AT_MOST;
    header.flags |= dice(4) ? 0 : METE_FLAG_MIN_RESULT;
    header.flags |= dice(4) || header.type != METE_CHECK ? 0 : METE_FLAG_SHADOW;
    header.flags |= dice(4) ? 0 : METE_FLAG_INLINE_LIMIT;
    header.entry_bytes = (uint8_t)mete_wire_entry_min(header.type, header.flags);
    mete_wire_encode_header(out, &header);
    for (unsigned i = 0; i < header.n; i++) {
        const char *rule = RULES[dice(9)];
        struct mete_entry entry = {
            .rule = mete_name_id(rule, strlen(rule)),
            .cost = random_cost(),
            .key_low = dice(3),
            .limit_count = dice(10),
            .limit_burst = 10,
            .limit_period_ns = 1000 * MS,
        };
        mete_wire_encode_entry(out, &header, i, &entry);
    }
    size_t len = mete_wire_request_bytes(header.n, header.entry_bytes);
    mete_wire_sign_request(out, len, NULL);
    return len;
}

/* What a repeat must not change. */
struct decisions {
    struct mete_result_header header;
    struct mete_verdict verdict[METE_WIRE_MAX_CHECKS];
    bool is_min;
};

static void read_decisions(const uint8_t *bytes, size_t len, struct decisions *ret)
{
    assert_int_equal(mete_wire_decode_result(bytes, len, &ret->header), METE_WIRE_OK);
    assert_false(ret->header.flags & METE_RESULT_STATUS);
    ret->is_min = ret->header.flags & METE_RESULT_MIN;
    for (unsigned i = 0; i < ret->header.n; i++)
        if (ret->is_min)
            ret->verdict[i] = (struct mete_verdict){
                .flags = mete_wire_decode_min(bytes, i) ? METE_VERDICT_ALLOW : 0};
        else
            ret->verdict[i] = mete_wire_decode_verdict(bytes, i);
}

#define DECISION                                                                                   \
    (METE_VERDICT_ALLOW | METE_VERDICT_WOULD_DENY | METE_VERDICT_NOT_CHARGED | METE_VERDICT_GRANTED)

static void assert_same(const struct decisions *first, const struct decisions *again)
{
    assert_int_equal(again->header.n, first->header.n);
    assert_false(again->is_min);
    assert_int_equal(again->header.flags & METE_RESULT_DENIED_AT,
                     first->header.flags & METE_RESULT_DENIED_AT);
    assert_int_equal(again->header.detail, first->header.detail);
    uint8_t compared = first->is_min ? METE_VERDICT_ALLOW : DECISION;
    for (unsigned i = 0; i < first->header.n; i++) {
        const struct mete_verdict *a = &first->verdict[i], *b = &again->verdict[i];
        assert_int_equal(b->flags & compared, a->flags & compared);
        assert_true(b->flags & METE_VERDICT_REPEAT);
        assert_int_equal(b->status, first->is_min ? METE_STATUS_OK : a->status);
        if (b->status != METE_STATUS_OK)
            continue;
        assert_true(again->header.type == (METE_CHECK | METE_RESULT) ||
                    !(b->flags & METE_VERDICT_DELAY));
        if (b->flags & METE_VERDICT_GRANTED)
            assert_int_equal(b->retry_after, a->retry_after);
        else if (b->flags & METE_VERDICT_ALLOW && !(b->flags & METE_VERDICT_DELAY))
            assert_int_equal(b->retry_after, 0);
    }
}

/* allowed, refunded, reset: what is only counted where something was really done. */
static uint64_t done(struct pair *p)
{
    uint64_t units = 0;
    for (uint32_t i = 0; i < p->f->config->index_count; i++)
        units += counter_read(&p->f->rule_counters[i].units);
    return units + cell(p->f, COUNTER_ALLOWED) + cell(p->f, COUNTER_REFUNDED) +
           cell(p->f, COUNTER_RESET) + cell(p->f, COUNTER_DENIED);
}

static void random_datagrams_come_twice(void **state)
{
    struct pair *p = *state;
    seed = random_seed(20261121);
    unsigned count = (unsigned)random_count(20000);
    uint64_t start_seed = seed, now_ns = 1000 * MS;
    for (unsigned i = 0; i < count; i++) {
        uint8_t bytes[METE_WIRE_MAX_BYTES], again[METE_WIRE_MAX_BYTES], noise[METE_WIRE_MAX_BYTES];
        struct decisions first, second;
        now_ns += dice(400) * MS;
        size_t len = write_random(bytes, 2 * i, now_ns);
        memcpy(again, bytes, len);
        size_t got = judge(p, dice(2) ? &p->f->udp : &p->other, bytes, len, now_ns);
        read_decisions(bytes, got, &first);
        for (unsigned repeat = 0; repeat < 2; repeat++) {
            if (dice(2))
                judge(p, &p->f->udp, noise, write_random(noise, 2 * i + 1, now_ns), now_ns);
            now_ns += dice(WINDOW_MS / 2 - 1) * MS;
            uint64_t before = done(p);
            memcpy(bytes, again, len);
            got = judge(p, dice(2) ? &p->f->udp : &p->other, bytes, len, now_ns);
            if (done(p) != before)
                fprintf(stderr, "METE_SEED=%llu, datagram %u\n", (unsigned long long)start_seed, i);
            assert_true(done(p) == before);
            read_decisions(bytes, got, &second);
            assert_same(&first, &second);
        }
    }
    assert_true(cell(p->f, COUNTER_REPEATS) >= 2 * count);
    assert_int_equal(cell(p->f, COUNTER_STALE) + cell(p->f, COUNTER_DROPPED_OPEN), 0);
}

/* A CHECK of cost 1 of a rule by tenant and sequence, sent at clock_ms. */
static size_t write_check(uint8_t *out, const char *tenant, uint8_t flags, uint32_t sequence,
                          uint32_t clock_ms, const char *rule)
{
    struct mete_header header = {
        .type = METE_CHECK,
        .flags = flags,
        .n = 1,
        .secret = METE_WIRE_NO_SECRET,
        .tenant = mete_name_id(tenant, 1),
        .sequence = sequence,
        .clock_ms = clock_ms,
        .entry_bytes = 24,
    };
    struct mete_entry entry = {
        .rule = mete_name_id(rule, strlen(rule)), .cost = 1, .key_low = 1000 + sequence};
    mete_wire_encode_header(out, &header);
    mete_wire_encode_entry(out, &header, 0, &entry);
    mete_wire_sign_request(out, 56, NULL);
    return 56;
}

/* Status of the whole, or 100 + flags of the one verdict; -1: no answer. */
static int ask(struct pair *p, struct udp *udp, const uint8_t *request, uint64_t now_ns)
{
    uint8_t bytes[56];
    struct mete_result_header header = {0};
    memcpy(bytes, request, sizeof(bytes));
    size_t got = judge(p, udp, bytes, sizeof(bytes), now_ns);
    if (!got)
        return -1;
    assert_int_equal(mete_wire_decode_result(bytes, got, &header), METE_WIRE_OK);
    return header.flags & METE_RESULT_STATUS ? header.detail
                                             : 100 + mete_wire_decode_verdict(bytes, 0).flags;
}

#define FIRST (100 + METE_VERDICT_ALLOW)
#define AGAIN (100 + METE_VERDICT_ALLOW + METE_VERDICT_REPEAT)

static void the_window_ends(void **state)
{
    struct pair *p = *state;
    uint8_t known[56], unknown[56];
    write_check(known, "a", 0, 1, 10000, "bucket");
    write_check(unknown, "a", 0, 2, 0, "bucket");
    assert_int_equal(ask(p, &p->f->udp, known, 9980 * MS), FIRST);
    assert_int_equal(ask(p, &p->f->udp, unknown, 9980 * MS), FIRST);
    assert_int_equal(ask(p, &p->other, unknown, 10179 * MS), AGAIN);
    assert_int_equal(ask(p, &p->other, known, 10200 * MS), AGAIN);
    assert_int_equal(ask(p, &p->other, known, 10201 * MS), METE_STATUS_STALE);
    assert_int_equal(ask(p, &p->f->udp, known, 9979 * MS), METE_STATUS_STALE);
    assert_int_equal(ask(p, &p->f->udp, unknown, 11000 * MS), FIRST); /* once per window */
    assert_int_equal(cell(p->f, COUNTER_ALLOWED), 3);
    assert_int_equal(cell(p->f, COUNTER_REPEATS), 2);
    assert_int_equal(cell(p->f, COUNTER_STALE), 2);
}

/* Client and sequence stand for the bytes where there is no secret, but only for one tenant, type,
 * flags and count. Asking alone is charged never and never a repeat. */
static void only_the_same_is_a_repeat(void **state)
{
    struct pair *p = *state;
    uint8_t request[56];
    write_check(request, "a", 0, 7, 0, "bucket");
    assert_int_equal(ask(p, &p->f->udp, request, 10 * MS), FIRST);
    write_check(request, "b", 0, 7, 0, "bucket");
    assert_int_equal(ask(p, &p->f->udp, request, 10 * MS), FIRST);
    write_check(request, "a", METE_FLAG_SHADOW, 7, 0, "bucket");
    assert_int_equal(ask(p, &p->f->udp, request, 10 * MS), FIRST);
    write_check(request, "a", 0, 7, 0, "bucket");
    assert_int_equal(ask(p, &p->f->udp, request, 10 * MS), AGAIN);
    write_check(request, "a", METE_FLAG_PEEK, 8, 0, "bucket");
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(p, &p->f->udp, request, 10 * MS), FIRST);
    assert_int_equal(cell(p->f, COUNTER_ALLOWED), 3);
    assert_int_equal(cell(p->f, COUNTER_PEEKED), 4);
}

/* The first of a batch is being answered: a second answer would tell nothing more. */
static void twice_in_a_batch_is_answered_once(void **state)
{
    struct pair *p = *state;
    uint8_t bytes[6][56];
    static const uint32_t SEQUENCES[] = {1, 2, 1, 3, 2, 4};
    for (unsigned i = 0; i < 6; i++)
        write_check(bytes[i], "a", 0, SEQUENCES[i], 0, "bucket");
    struct io_message message = message_of(p->f, bytes[0], sizeof(bytes), 56);
    udp_judge(&p->f->udp, &p->f->fake.io, &message, 1, &now);
    static const uint32_t ANSWERED[] = {1, 2, 3, 4};
    unsigned at = 0;
    for (unsigned r = 0; r < p->f->fake.count; r++)
        for (uint32_t done_bytes = 0; done_bytes < p->f->fake.sent[r].len; done_bytes += 40)
            assert_int_equal(
                mete_wire_get32(message.data + p->f->fake.sent[r].offset + done_bytes + 4),
                ANSWERED[at++]);
    assert_int_equal(at, 4);
    assert_int_equal(cell(p->f, COUNTER_DROPPED_OPEN), 2);
    assert_int_equal(cell(p->f, COUNTER_ALLOWED), 4);
    assert_int_equal(cell(p->f, COUNTER_ANSWERED), 4);
}

/* The delay of a repeat is what lies ahead of it in the queue, not itself. */
static void a_queue_does_not_wait_for_itself(void **state)
{
    struct pair *p = *state;
    uint8_t first[56], second[56], bytes[56];
    write_check(first, "a", 0, 1, 0, "queue");
    write_check(second, "a", 0, 1, 0, "queue");
    mete_wire_put32(second + 12, 2); /* the same key */
    mete_wire_sign_request(second, 56, NULL);
    assert_int_equal(ask(p, &p->f->udp, first, 10 * MS), FIRST);
    assert_int_equal(ask(p, &p->f->udp, first, 10 * MS), AGAIN);
    assert_int_equal(ask(p, &p->f->udp, second, 10 * MS), FIRST + METE_VERDICT_DELAY);
    memcpy(bytes, second, 56);
    assert_int_equal(judge(p, &p->other, bytes, 56, 50 * MS), 40);
    struct mete_verdict verdict = mete_wire_decode_verdict(bytes, 0);
    assert_int_equal(verdict.flags + 100, AGAIN + METE_VERDICT_DELAY);
    assert_int_equal(verdict.retry_after, 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_datagrams_come_twice, setup, teardown_pair),
        cmocka_unit_test_setup_teardown(the_window_ends, setup, teardown_pair),
        cmocka_unit_test_setup_teardown(only_the_same_is_a_repeat, setup, teardown_pair),
        cmocka_unit_test_setup_teardown(twice_in_a_batch_is_answered_once, setup, teardown_pair),
        cmocka_unit_test_setup_teardown(a_queue_does_not_wait_for_itself, setup, teardown_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
