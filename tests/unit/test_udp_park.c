/* Datagrams that wait for a grant: what is charged, asked and answered, and when; repeats, limits,
 * reloads, and how many there may be. */
#include "core/grant.h"
#include "engine/shared.h"
#include "net/udp_park.h"
#include "replica/shared_state.h"
#include "table/shared.h"

/* behind them: it has a `now` of its own */
#include "unit/udp_fixture.h"

#define MS 1000000ull
#define WAIT_NS (20 * MS)
#define CELLS (1u << 15)

static const char yaml[] =
    "tenants:\n"
    "  - name: a\n"
    "    checks: 1000/1s\n"
    "    rules:\n"
    "      - {name: exact, algorithm: token_bucket, rate: 10/s, burst: 10,\n"
    "         sync: exact, on_backend_loss: deny}\n"
    "      - {name: local, algorithm: token_bucket, rate: 10/s, burst: 10, sync: local}\n"
    "redis: {url: 'redis://127.0.0.1:1'}\n";

struct park {
    struct fixture *f;
    struct engine_shared shared;
    struct shared_state state;
    struct ring ring;
    struct demand demand;
    _Atomic uint64_t demands[16];
    struct ring_cell cells[CELLS];
    struct udp_park park;
    struct quota quota;
    struct quota_word words[8];
    struct quota_credit credits[8];
    struct instant now;
    struct msghdr header; /* of every message */
    uint32_t sequence;
};

static struct rule *exact_rule(struct park *p)
{
    return (struct rule *)config_find_rule(&p->f->config->tenants[0], mete_name_id("exact", 5));
}

static int setup(void **state)
{
    struct park *p = aligned_alloc(128, (sizeof *p + 127) & ~(size_t)127);
    memset(p, 0, sizeof *p);
    p->f = make_fixture(yaml);
    assert_true(p->f->config->tenants[0].has_exact);
    tell_repeats(p->f, 200, 20);
    shared_state_init(&p->state);
    ring_init(&p->ring, p->cells, CELLS);
    demand_init(&p->demand, p->demands, 16);
    p->shared = (struct engine_shared){.ring = &p->ring, .demand = &p->demand, .state = &p->state};
    engine_share(&p->f->engine, &p->shared);
    udp_park_init(&p->park, WAIT_NS);
    p->quota = (struct quota){.words = p->words, .credits = p->credits, .worker_count = 1};
    struct udp_options options = p->f->udp.given;
    options.park = &p->park;
    options.quota = &p->quota;
    udp_init(&p->f->udp, &p->f->udp.policy, &options);
    p->now = now;
    p->header = (struct msghdr){.msg_name = &p->f->peer, .msg_namelen = sizeof p->f->peer};
    *state = p;
    return 0;
}

static int teardown_park(void **state)
{
    struct park *p = *state;
    void *fixture = p->f;
    free(p);
    return teardown(&fixture);
}

struct line { /* of a datagram */
    const char *rule;
    uint64_t key;
    uint32_t cost;
};

static size_t write_datagram(struct park *p, uint8_t *out, uint8_t flags, const struct line *lines,
                             unsigned count)
{
    struct mete_header header = {
        .type = METE_CHECK,
        .flags = flags,
        .n = (uint8_t)count,
        .secret = METE_WIRE_NO_SECRET,
        .tenant = mete_name_id("a", 1),
        .sequence = ++p->sequence,
        .clock_ms = udp_clock_ms(&p->now),
        .entry_bytes = METE_WIRE_ENTRY_BYTES,
    };
    mete_wire_encode_header(out, &header);
    for (unsigned i = 0; i < count; i++) {
        struct mete_entry entry = {
            .rule = mete_name_id(lines[i].rule, strlen(lines[i].rule)),
            .cost = lines[i].cost,
            .key_low = lines[i].key,
        };
        mete_wire_encode_entry(out, &header, i, &entry);
    }
    size_t len = mete_wire_request_bytes(count, METE_WIRE_ENTRY_BYTES);
    mete_wire_sign_request(out, len, NULL);
    return len;
}

/* Judges a datagram; returns how many answers were queued. */
static unsigned judge(struct park *p, uint8_t *bytes, size_t len)
{
    struct io_message message = message_of(p->f, bytes, len, len);
    message.peer_header = &p->header;
    p->f->fake.count = 0;
    udp_judge(&p->f->udp, &p->f->fake.io, &message, 1, &p->now);
    return p->f->fake.count;
}

static unsigned send_one(struct park *p, uint64_t key, uint32_t cost, uint8_t *bytes)
{
    return judge(p, bytes, write_datagram(p, bytes, 0, &(struct line){"exact", key, cost}, 1));
}

static unsigned retry(struct park *p)
{
    p->f->fake.count = 0;
    udp_park_retry(&p->f->udp, &p->f->fake.io, &p->now, false);
    return p->f->fake.count;
}

/* The flags of a result's entry. */
static uint8_t flags_at(const uint8_t *result, unsigned index)
{
    return result[METE_WIRE_RESULT_HEADER_BYTES + index * METE_WIRE_RESULT_ENTRY_BYTES + 1];
}

/* Of an answer of the last retry. */
static uint8_t flags_of(struct park *p, unsigned at)
{
    return flags_at(p->f->fake.sent[at].message->data, 0);
}

static void grant(struct park *p, uint64_t key, struct grant grant)
{
    struct table_probe probe =
        table_probe(p->f->table, (struct key){.low = key}, exact_rule(p)->index);
    struct table_ref ref;
    assert_true(table_find_or_claim(p->f->table, &probe, TABLE_REFUSE, &p->now, &ref) !=
                TABLE_FULL);
    assert_true(table_adopt(p->f->table, &ref, grant_pack(&exact_rule(p)->limit, &grant),
                            TABLE_SHARE_GRANT));
}

static unsigned count_wants(struct park *p, uint64_t *ret_units)
{
    struct ring_event event;
    unsigned count = 0;
    for (*ret_units = 0; ring_pop(&p->ring, &event); count += event.kind == RING_WANT)
        *ret_units += (uint64_t)event.units;
    return count;
}

static void answered_when_granted(void **state)
{
    struct park *p = *state;
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    uint64_t units;
    assert_int_equal(send_one(p, 1, 2, bytes), 0);
    memset(bytes, 0xAA, sizeof bytes); /* the buffer is another's now */
    assert_int_equal(cell(p->f, COUNTER_PARKED), 1);
    assert_int_equal(cell(p->f, COUNTER_CHECKS), 0);
    assert_int_equal(count_wants(p, &units), 1);
    assert_int_equal(units, 2);
    assert_false(udp_park_is_empty(&p->park));
    p->now.now_ns += MS;
    assert_int_equal(retry(p), 0);
    assert_int_equal(count_wants(p, &units), 0); /* asked, not answered yet */
    grant(p, 1, (struct grant){.units = 2});
    assert_int_equal(retry(p), 1);
    assert_int_equal(flags_of(p, 0), METE_VERDICT_ALLOW);
    assert_memory_equal(((const struct msghdr *)p->park.messages[0].peer_header)->msg_name,
                        &p->f->peer, sizeof p->f->peer);
    assert_int_equal(cell(p->f, COUNTER_ALLOWED), 1);
    assert_int_equal(cell(p->f, COUNTER_RECEIVED), 1);
    assert_int_equal(cell(p->f, COUNTER_ANSWERED), 1);
    retry(p);
    assert_true(udp_park_is_empty(&p->park));
}

static void denied_when_it_is_known(void **state)
{
    struct park *p = *state;
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(send_one(p, 1, 1, bytes), 0);
    grant(p, 1, (struct grant){.units = 2, .denied_until_ns = p->now.now_ns + 500 * MS});
    assert_int_equal(retry(p), 3);
    unsigned allowed = 0;
    for (unsigned i = 0; i < 3; i++)
        allowed += flags_of(p, i) & METE_VERDICT_ALLOW;
    assert_int_equal(allowed, 2);
    assert_int_equal(send_one(p, 1, 1, bytes), 1); /* known: at once */
    assert_int_equal(flags_at(bytes, 0), 0);
}

static void answered_in_time_without_a_grant(void **state)
{
    struct park *p = *state;
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    uint64_t units;
    send_one(p, 1, 1, bytes);
    count_wants(p, &units);
    p->now.now_ns += UDP_PARK_ASK_NS;
    assert_int_equal(retry(p), 0);
    assert_int_equal(count_wants(p, &units), 1); /* again */
    p->now.now_ns += MS;
    assert_int_equal(retry(p), 0);
    assert_int_equal(count_wants(p, &units), 0);
    p->now.now_ns += WAIT_NS - UDP_PARK_ASK_NS - MS - 1;
    assert_int_equal(retry(p), 0);
    p->now.now_ns += 1;
    assert_int_equal(retry(p), 1);
    assert_int_equal(flags_of(p, 0), METE_VERDICT_DEGRADED); /* on_backend_loss: deny */
    exact_rule(p)->limit.on_loss = LOSS_FULL;
    send_one(p, 2, 1, bytes);
    p->f->fake.count = 0;
    udp_park_retry(&p->f->udp, &p->f->fake.io, &p->now, true); /* the end */
    assert_int_equal(p->f->fake.count, 1);
    assert_int_equal(flags_of(p, 0), METE_VERDICT_ALLOW | METE_VERDICT_DEGRADED);
    assert_false(p->shared.has_waited);
}

static void a_retry_of_the_client_is_charged_once(void **state)
{
    struct park *p = *state;
    uint8_t first[METE_WIRE_MAX_BYTES], second[METE_WIRE_MAX_BYTES], third[METE_WIRE_MAX_BYTES];
    size_t len = write_datagram(p, first, 0, &(struct line){"exact", 1, 1}, 1);
    memcpy(second, first, len);
    memcpy(third, first, len);
    assert_int_equal(judge(p, first, len), 0);
    assert_int_equal(judge(p, second, len), 0); /* nothing is charged, so it is no repeat yet */
    grant(p, 1, (struct grant){.units = 9});
    assert_int_equal(retry(p), 2);
    assert_int_equal(flags_of(p, 0), METE_VERDICT_ALLOW);
    assert_int_equal(flags_of(p, 1), METE_VERDICT_ALLOW | METE_VERDICT_REPEAT);
    assert_int_equal(judge(p, third, len), 1);
    assert_int_equal(flags_at(third, 0), METE_VERDICT_ALLOW | METE_VERDICT_REPEAT);
    assert_int_equal(cell(p->f, COUNTER_ALLOWED), 1);
    struct table_probe probe =
        table_probe(p->f->table, (struct key){.low = 1}, exact_rule(p)->index);
    struct table_ref ref;
    assert_int_equal(table_find(p->f->table, &probe, &ref), TABLE_FOUND);
    assert_int_equal(grant_units(ref.state), 8);
}

static void all_of_a_datagram_waits(void **state)
{
    struct park *p = *state;
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    const struct line lines[] = {{"local", 1, 1}, {"exact", 1, 1}, {"exact", 2, 1}};
    size_t len = write_datagram(p, bytes, METE_FLAG_ALL_OR_NOTHING, lines, 3);
    assert_int_equal(judge(p, bytes, len), 0);
    assert_int_equal(cell(p->f, COUNTER_CHECKS), 0); /* the local one, too */
    grant(p, 1, (struct grant){.units = 1});
    assert_int_equal(retry(p), 0);
    grant(p, 2, (struct grant){.units = 1});
    p->now.now_ns += UDP_PARK_ASK_NS; /* it waits for the first it lacked, and asks again */
    assert_int_equal(retry(p), 1);
    assert_int_equal(flags_of(p, 0), METE_VERDICT_ALLOW);
    assert_int_equal(cell(p->f, COUNTER_ALLOWED), 3);
}

static void others_do_not_wait(void **state)
{
    struct park *p = *state;
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    struct line line = {"local", 1, 1};
    assert_int_equal(judge(p, bytes, write_datagram(p, bytes, 0, &line, 1)), 1);
    line.rule = "exact";
    assert_int_equal(judge(p, bytes, write_datagram(p, bytes, METE_FLAG_PEEK, &line, 1)), 1);
    line.cost = 0;
    assert_int_equal(judge(p, bytes, write_datagram(p, bytes, 0, &line, 1)), 1);
    line.cost = 11; /* never */
    assert_int_equal(judge(p, bytes, write_datagram(p, bytes, 0, &line, 1)), 1);
    line.cost = 1;
    atomic_store(&p->state.is_degraded, true);
    assert_int_equal(judge(p, bytes, write_datagram(p, bytes, 0, &line, 1)), 1);
    assert_int_equal(flags_at(bytes, 0), METE_VERDICT_DEGRADED);
    assert_true(udp_park_is_empty(&p->park));
}

static unsigned counted;

static void count_reply(struct io *io, const struct io_message *message, uint32_t offset,
                        uint32_t len, uint32_t segment)
{
    (void)io, (void)message, (void)offset, (void)len, (void)segment;
    counted++;
}

static const struct io_operations counting_operations = {.name = "counting", .reply = count_reply};

static void no_more_than_there_is_room_for(void **state)
{
    struct park *p = *state;
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    const struct line line = {"exact", 1, 1};
    for (unsigned i = 0; i < UDP_PARK_MAX; i++)
        assert_int_equal(send_one(p, 1, 1, bytes), 0); /* none of them is paid for */
    assert_int_equal(judge(p, bytes, write_datagram(p, bytes, 0, &line, 1)), 1);
    assert_int_equal(flags_at(bytes, 0), METE_VERDICT_DEGRADED);
    assert_int_equal(cell(p->f, COUNTER_PARKED), UDP_PARK_MAX);
    p->now.now_ns += WAIT_NS;
    p->f->fake.io.operations = &counting_operations;
    counted = 0;
    retry(p);
    assert_int_equal(counted, UDP_PARK_MAX);
    assert_int_equal(p->park.count, 0);
    assert_int_equal(send_one(p, 1, 1, bytes), 0);
    assert_int_equal(counted, UDP_PARK_MAX + 1); /* what was answered may be on its way yet */
    retry(p);
    p->now.now_ns += 5000 * MS; /* the answered ones were paid for */
    send_one(p, 1, 1, bytes);
    assert_int_equal(p->park.count, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown_park)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answered_when_granted),
        TEST(denied_when_it_is_known),
        TEST(answered_in_time_without_a_grant),
        TEST(a_retry_of_the_client_is_charged_once),
        TEST(all_of_a_datagram_waits),
        TEST(others_do_not_wait),
        TEST(no_more_than_there_is_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
