/* Which signed datagrams the UDP front-end believes: the right key of the right tenant and life,
 * every bit of it; what it answers to the others, and how often; HELLO; clocks. */
#include "unit/udp_fixture.h"

#define MS 1000000ull
#define CHECK_BYTES 56u

static const char yaml[] =
    "tenants:\n"
    "  - {name: a, rules: [{name: r, algorithm: token_bucket, rate: 1/h, burst: 1000}]}\n"
    "  - {name: b, rules: [{name: r, algorithm: token_bucket, rate: 1/h, burst: 1000}]}\n";

/* Two of a, one of b. */
static const struct config_secret secrets_a[] = {
    {.bytes = "the new secret of a", .len = 32},
    {.bytes = "the old secret of a", .len = 64},
};
static const struct config_secret secrets_b[] = {{.bytes = "b", .len = 1}};

static struct tenant *tenant_named(struct fixture *f, const char *name)
{
    for (uint32_t i = 0; i < f->config->tenant_count; i++)
        if (strcmp(f->config->tenants[i].name, name) == 0)
            return &f->config->tenants[i];
    return NULL;
}

static const struct tenant_keys *keys_of(struct fixture *f, const char *name)
{
    return &f->keys[tenant_named(f, name) - f->config->tenants];
}

static uint64_t used(struct fixture *f, const char *name, unsigned secret)
{
    return counter_read(&f->secret_counters[tenant_named(f, name)->inline_index].used[secret]);
}

static int setup(void **state)
{
    struct fixture *f = make_fixture(yaml);
    tenant_named(f, "a")->secrets = secrets_a;
    tenant_named(f, "a")->secret_count = 2;
    tenant_named(f, "b")->secrets = secrets_b;
    tenant_named(f, "b")->secret_count = 1;
    f->peer.sin_addr.s_addr = htonl(0xC0000201); /* trusted by nobody */
    start(f);
    *state = f;
    return 0;
}

/* A check of one subject; what the tests vary. */
struct ask {
    const char *tenant;
    uint8_t type, flags, secret;
    uint32_t sequence, clock_ms;
    uint16_t boot;
    const struct mete_mac_key *key;
};

static const struct ask good = {
    .tenant = "a", .type = METE_CHECK, .sequence = 77, .boot = (uint16_t)BOOT_ID};

static size_t write_ask(const struct ask *ask, uint8_t *out)
{
    struct mete_header header = {
        .type = ask->type,
        .flags = ask->flags,
        .n = 1,
        .secret = ask->secret,
        .tenant = mete_name_id(ask->tenant, strlen(ask->tenant)),
        .client = 5,
        .sequence = ask->sequence,
        .clock_ms = ask->clock_ms,
        .boot = ask->boot,
        .entry_bytes = ask->type == METE_HELLO ? 32 : 24,
    };
    struct mete_entry entry = {.rule = mete_name_id("r", 1), .cost = 1, .key_low = ask->sequence};
    size_t len = mete_wire_request_bytes(1, header.entry_bytes);
    memset(out, 0, len);
    mete_wire_encode_header(out, &header);
    if (ask->type == METE_HELLO)
        memset(out + METE_WIRE_HEADER_BYTES, 0xA5, KEYS_NONCE_BYTES);
    else
        mete_wire_encode_entry(out, &header, 0, &entry);
    mete_wire_sign_request(out, len, ask->key);
    return len;
}

/* Judges one datagram at an instant; returns the length of the answer, which stands in bytes. */
static size_t judge(struct fixture *f, uint8_t *bytes, size_t len, uint64_t now_ns)
{
    struct instant at = {.now_ns = now_ns, .wall_ns = now.wall_ns};
    struct io_message message = message_of(f, bytes, len, len);
    f->fake.count = 0;
    udp_judge(&f->udp, &f->fake.io, &message, 1, &at);
    assert_true(f->fake.count <= 1);
    if (f->fake.count)
        assert_int_equal(f->fake.sent[0].offset, 0);
    return f->fake.count ? f->fake.sent[0].len : 0;
}

/* The status of the whole answer, which must be of this key; -1: none, -2: RESTARTED. */
static int status_of(struct fixture *f, const struct ask *ask, uint64_t now_ns)
{
    uint8_t bytes[64];
    struct mete_result_header header = {0};
    size_t len = write_ask(ask, bytes);
    uint64_t tag = mete_wire_tag(bytes, len);
    size_t got = judge(f, bytes, len, now_ns);
    if (!got)
        return -1;
    assert_int_equal(mete_wire_decode_result(bytes, got, &header), METE_WIRE_OK);
    assert_int_equal(header.sequence, ask->sequence);
    assert_int_equal(header.boot, (uint16_t)BOOT_ID);
    if (header.type == METE_RESTARTED) {
        assert_int_equal(got, 24);
        assert_int_equal(mete_wire_tag(bytes, got), tag);
        assert_int_equal(header.clock_ms + header.flags + header.n + header.detail, 0);
        return -2;
    }
    assert_int_equal(header.type, ask->type | METE_RESULT);
    assert_true(mete_wire_verify_result(bytes, got, tag, ask->key));
    return header.flags & METE_RESULT_STATUS ? header.detail : METE_STATUS_OK;
}

static void both_secrets_are_believed(void **state)
{
    struct fixture *f = *state;
    for (uint8_t secret = 0; secret < 2; secret++) {
        struct ask ask = good;
        ask.secret = secret;
        ask.key = &keys_of(f, "a")->boot[secret];
        for (unsigned i = 0; i <= secret; i++)
            assert_int_equal(status_of(f, &ask, 5 * MS), METE_STATUS_OK);
    }
    struct ask ask = good;
    ask.tenant = "b";
    ask.key = &keys_of(f, "b")->boot[0];
    assert_int_equal(status_of(f, &ask, 5 * MS), METE_STATUS_OK);
    assert_int_equal(used(f, "a", 0), 1);
    assert_int_equal(used(f, "a", 1), 2);
    assert_int_equal(used(f, "b", 0), 1);
    assert_int_equal(cell(f, COUNTER_ALLOWED), 4);
    assert_int_equal(cell(f, COUNTER_BAD_TAG), 0);
}

static void no_other_key_is(void **state)
{
    struct fixture *f = *state;
    const struct tenant_keys *a = keys_of(f, "a"), *b = keys_of(f, "b");
    static const struct mete_mac_key zero;
    const struct ask wrong[] = {
        {.tenant = "a", .secret = 0, .key = &b->boot[0]},
        {.tenant = "b", .secret = 0, .key = &a->boot[0]},
        {.tenant = "a", .secret = 0, .key = &a->boot[1]},
        {.tenant = "a", .secret = 1, .key = &a->boot[0]},
        {.tenant = "a", .secret = 0, .key = &a->hello[0]},
        {.tenant = "a", .secret = 2, .key = &zero}, /* it has no third */
        {.tenant = "b", .secret = 1, .key = &zero}, /* nor b a second */
        {.tenant = "b", .secret = 0xFE, .key = &zero},
        {.tenant = "a", .secret = 0, .key = &zero},
        {.tenant = "a", .secret = 0, .key = NULL},
    };
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct ask ask = wrong[i];
        ask.type = METE_CHECK;
        ask.boot = (uint16_t)BOOT_ID;
        assert_int_equal(status_of(f, &ask, 5 * MS), -1);
        assert_int_equal(cell(f, COUNTER_BAD_TAG), i + 1);
    }
    struct ask hello = good;
    hello.type = METE_HELLO;
    hello.boot = 0; /* and yet no RESTARTED: HELLO needs no boot id */
    hello.key = &a->boot[0];
    assert_int_equal(status_of(f, &hello, 5 * MS), -1);
    assert_int_equal(cell(f, COUNTER_CHECKS), 0);
    assert_int_equal(used(f, "a", 0) + used(f, "a", 1) + used(f, "b", 0), 0);
}

/* Tenants with secrets are asked without a tag where the path is trusted, and only there. */
static void without_a_secret_the_path_decides(void **state)
{
    struct fixture *f = *state;
    struct ask ask = good;
    ask.secret = METE_WIRE_NO_SECRET;
    assert_int_equal(status_of(f, &ask, 5 * MS), -1);
    assert_int_equal(cell(f, COUNTER_UNTRUSTED), 1);
    f->peer.sin_addr.s_addr = htonl(0x7F000001);
    assert_int_equal(status_of(f, &ask, 5 * MS), METE_STATUS_OK);
    assert_int_equal(used(f, "a", 0), 0);
}

/* Every bit of the datagram counts: whatever one is turned, nothing is charged, and the only answer
 * is the hint that another boot id draws. */
static void every_bit_is_signed(void **state)
{
    struct fixture *f = *state;
    struct ask ask = good;
    ask.key = &keys_of(f, "a")->boot[0];
    unsigned restarted = 0;
    for (unsigned bit = 0; bit < CHECK_BYTES * 8; bit++) {
        uint8_t bytes[64];
        assert_int_equal(write_ask(&ask, bytes), CHECK_BYTES);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        size_t got = judge(f, bytes, CHECK_BYTES, 5 * MS);
        assert_true(got == 0 || (got == 24 && bytes[1] == METE_RESTARTED && bit / 16 == 10));
        restarted += got != 0;
    }
    assert_int_equal(restarted, 16); /* the boot bits */
    assert_int_equal(cell(f, COUNTER_CHECKS), 0);
    assert_int_equal(cell(f, COUNTER_RESTARTED), 16);
    assert_int_equal(status_of(f, &ask, 5 * MS), METE_STATUS_OK);
}

static void hello_tells_what_a_client_needs(void **state)
{
    struct fixture *f = *state;
    tell_repeats(f, 150, 30);
    for (uint8_t secret = 0; secret < 2; secret++) {
        struct ask ask = good;
        uint8_t bytes[64], nonce[KEYS_NONCE_BYTES];
        ask.type = METE_HELLO;
        ask.boot = 0;
        ask.secret = secret;
        ask.key = &keys_of(f, "a")->hello[secret];
        write_ask(&ask, bytes);
        uint64_t tag = mete_wire_tag(bytes, 64);
        assert_int_equal(judge(f, bytes, 64, 5 * MS), 64);
        assert_true(mete_wire_verify_result(bytes, 64, tag, ask.key));
        struct mete_hello_result hello = mete_wire_decode_hello_result(bytes);
        memset(nonce, 0xA5, sizeof(nonce));
        assert_true(hello.boot_id == BOOT_ID);
        assert_int_equal(hello.repeat_ms, 150);
        assert_int_equal(hello.ahead_ms, 30);
        assert_int_equal(hello.wall_ms, now.wall_ns / MS);
        assert_true(hello.masked_seed != *tenant_named(f, "a")->seed);
        assert_true((keys_pad(&secrets_a[secret], nonce) ^ hello.masked_seed) ==
                    *tenant_named(f, "a")->seed);
        assert_int_equal(status_of(f, &ask, 5 * MS), METE_STATUS_OK); /* the same bytes again */
        ask.flags = METE_FLAG_PEEK; /* refused under the same key */
        assert_int_equal(status_of(f, &ask, 5 * MS), METE_STATUS_UNSUPPORTED);
    }
    assert_int_equal(cell(f, COUNTER_HELLO), 4);
}

/* In no second more than a thousand, whatever comes; and not much less while it comes. */
static void restarted_is_rare(void **state)
{
    struct fixture *f = *state;
    static uint64_t sent_at_ns[8000];
    unsigned sent = 0;
    struct ask ask = good;
    ask.boot ^= 1;
    ask.key = &keys_of(f, "b")->boot[0];
    for (uint64_t now_ns = 0; now_ns < 4000 * MS; now_ns += MS / 2) {
        if (now_ns > 1500 * MS && now_ns < 2500 * MS)
            continue; /* and a pause earns no more than the burst */
        int status = status_of(f, &ask, now_ns);
        assert_true(status == -1 || status == -2);
        if (status == -2)
            sent_at_ns[sent++] = now_ns;
    }
    for (unsigned from = 0, to = 0; from < sent; from++) {
        while (to < sent && sent_at_ns[to] < sent_at_ns[from] + 1000 * MS)
            to++;
        assert_true(to - from <= 1000);
    }
    assert_true(sent > 2700);
    assert_int_equal(cell(f, COUNTER_RESTARTED), sent);
    assert_int_equal(cell(f, COUNTER_CHECKS), 0);
}

struct clock_case {
    bool is_signed;
    int64_t lead_ms; /* of the datagram's clock over the server's; CLOCK_UNKNOWN */
    uint16_t boot;   /* 0, or what is added to the right bits */
    int status;
};
#define CLOCK_UNKNOWN INT64_MAX
#define RIGHT ((uint16_t)BOOT_ID)

static void clocks_are_judged(void **state)
{
    struct fixture *f = *state;
    static const struct clock_case CASES[] = {
        {true, 0, RIGHT, METE_STATUS_OK},
        {true, -200, RIGHT, METE_STATUS_OK},
        {true, -201, RIGHT, METE_STATUS_STALE},
        {true, 20, RIGHT, METE_STATUS_OK},
        {true, 21, RIGHT, METE_STATUS_STALE},
        {true, -3600000, RIGHT, METE_STATUS_STALE},
        {true, 3600000, RIGHT, METE_STATUS_STALE},
        {true, INT32_MIN, RIGHT, METE_STATUS_STALE},
        {true, CLOCK_UNKNOWN, RIGHT, METE_STATUS_STALE},
        {false, 0, RIGHT, METE_STATUS_OK},
        {false, 0, 0, METE_STATUS_OK},
        {false, -201, RIGHT, METE_STATUS_STALE},
        {false, -201, 0, METE_STATUS_STALE},
        {false, 21, RIGHT, METE_STATUS_STALE},
        {false, CLOCK_UNKNOWN, 0, METE_STATUS_OK},
        {false, CLOCK_UNKNOWN, RIGHT, METE_STATUS_OK},
        {false, CLOCK_UNKNOWN, RIGHT ^ 1, METE_STATUS_STALE},
        {false, 0, RIGHT ^ 1, METE_STATUS_STALE},
    };
    tell_repeats(f, 200, 20);
    f->peer.sin_addr.s_addr = htonl(0x7F000001);
    /* ordinary, at the start, where a clock of the past wraps, and where the server's own wraps */
    static const uint64_t NOW_MS[] = {500000, 2, (1ull << 32) - 5, (1ull << 32) + 5};
    uint32_t sequence = 0;
    for (unsigned at = 0; at < 4; at++)
        for (unsigned i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
            struct ask ask = good;
            uint32_t clock_ms = (uint32_t)(NOW_MS[at] + (uint64_t)CASES[i].lead_ms);
            ask.clock_ms = CASES[i].lead_ms == CLOCK_UNKNOWN ? 0 : clock_ms ? clock_ms : 1;
            ask.sequence = ++sequence;
            ask.boot = CASES[i].boot;
            ask.secret = CASES[i].is_signed ? 0 : METE_WIRE_NO_SECRET;
            ask.key = CASES[i].is_signed ? &keys_of(f, "a")->boot[0] : NULL;
            assert_int_equal(status_of(f, &ask, NOW_MS[at] * MS + 999999), CASES[i].status);
        }
    f->udp.given.repeats = NULL; /* nobody looks */
    struct ask ask = good;
    ask.key = &keys_of(f, "a")->boot[0];
    assert_int_equal(status_of(f, &ask, 500000 * MS), METE_STATUS_OK);
    assert_int_equal(cell(f, COUNTER_STALE), 4 * 11);
    assert_int_equal(cell(f, COUNTER_ALLOWED), 4 * 7 + 1);
}

/* In an overload, with ten checks for a: what only names it, by another key, another life's boot
 * bits or a turned bit, takes none of them. */
static void forged_ones_use_no_share(void **state)
{
    struct fixture *f = *state;
    struct shed *shed = calloc(1, sizeof(*shed));
    struct ask ask = good;
    unsigned passed = 0;
    shed_init(shed, 0);
    shed->is_on = true;
    shed->level = 1000;
    f->udp.shed = shed;
    ask.key = &keys_of(f, "a")->boot[0];
    for (unsigned i = 0; i < 20; i++) {
        for (unsigned forged = 0; forged < 10; forged++) {
            struct ask other = ask;
            other.key = &keys_of(f, "b")->boot[0];
            other.boot ^= (uint16_t)(forged % 2);
            int status = status_of(f, &other, 5 * MS);
            assert_true(status == -1 || status == -2);
        }
        ask.sequence++;
        passed += status_of(f, &ask, 5 * MS) == METE_STATUS_OK;
    }
    assert_int_equal(passed, 10);
    assert_int_equal(cell(f, COUNTER_ALLOWED), 10);
    free(shed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_secrets_are_believed, setup, teardown),
        cmocka_unit_test_setup_teardown(no_other_key_is, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_secret_the_path_decides, setup, teardown),
        cmocka_unit_test_setup_teardown(every_bit_is_signed, setup, teardown),
        cmocka_unit_test_setup_teardown(hello_tells_what_a_client_needs, setup, teardown),
        cmocka_unit_test_setup_teardown(restarted_is_rare, setup, teardown),
        cmocka_unit_test_setup_teardown(clocks_are_judged, setup, teardown),
        cmocka_unit_test_setup_teardown(forged_ones_use_no_share, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
