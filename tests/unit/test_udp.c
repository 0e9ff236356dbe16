/* The UDP front-end over an io that only remembers: how answers of different sizes in one message
 * become runs, what a batch of more than UDP_REQUESTS does, and that no answer is longer than its
 * request, whatever type, flags and number of entries. */
#include "unit/udp_fixture.h"

static const char yaml[] =
    "tenants: [{name: a, rules: [{name: r, algorithm: token_bucket, rate: 1/h, burst: 1000}]}]\n";

static int setup(void **state)
{
    *state = make_fixture(yaml);
    return 0;
}

/* Signs whatever header and sizes say, with n entries of entry_bytes behind a header of
 * header_bytes; the sequence number tells requests apart. Returns the length. */
static size_t put(uint8_t *out, struct mete_header header, size_t header_bytes)
{
    size_t len = header_bytes + (size_t)header.n * header.entry_bytes + METE_WIRE_TAG_BYTES;
    header.tenant = mete_name_id("a", 1);
    header.secret = METE_WIRE_NO_SECRET;
    memset(out, 0, len);
    mete_wire_encode_header(out, &header);
    out[23] = (uint8_t)(header_bytes / 8 << 4 | header.entry_bytes / 8u);
    for (unsigned i = 0; i < header.n && header.entry_bytes >= 8; i++)
        mete_wire_put32(out + header_bytes + i * header.entry_bytes, mete_name_id("r", 1));
    mete_wire_sign_request(out, len, NULL);
    return len;
}

/* Requests of 64 bytes whose answers have 40, 24, 64 (HELLO) bytes, or none. */
enum kind { FULL = 40, STATUS = 24, SAME = 64, BAD = 0 };

static void put_kind(uint8_t *out, enum kind kind, uint32_t sequence)
{
    struct mete_header header = {.n = 1, .sequence = sequence, .entry_bytes = 24};
    header.type = METE_CHECK;
    if (kind == STATUS) {
        header.type = METE_RENEW;
        header.flags = METE_FLAG_SHADOW; /* not with this type: answered UNSUPPORTED */
    }
    if (kind == SAME)
        header.type = METE_HELLO;
    bool is_wide = kind == STATUS || kind == SAME; /* an entry of 32 behind a header of 24 */
    if (is_wide)
        header.entry_bytes = 32;
    assert_int_equal(put(out, header, is_wide ? 24 : 32), 64);
    if (kind == BAD)
        out[63] ^= 1;
}

/* Every answer that was sent, in order, is that of the next request that deserved one. */
static void assert_answers(struct fixture *f, const struct io_message *message,
                           const enum kind *kinds, const uint64_t *tags, unsigned count)
{
    unsigned at = 0;
    for (unsigned r = 0; r < f->fake.count; r++) {
        const struct sent *sent = &f->fake.sent[r];
        assert_ptr_equal(sent->message, message);
        for (uint32_t done = 0; done < sent->len; done += sent->segment) {
            uint32_t rest = sent->len - done;
            uint32_t len = rest < sent->segment ? rest : sent->segment;
            const uint8_t *answer = message->data + sent->offset + done;
            struct mete_result_header header;
            while (at < count && kinds[at] == BAD)
                at++;
            assert_true(at < count);
            assert_int_equal(len, kinds[at]);
            assert_int_equal(mete_wire_decode_result(answer, len, &header), METE_WIRE_OK);
            assert_int_equal(header.sequence, at);
            assert_true(mete_wire_verify_result(answer, len, tags[at], NULL));
            at++;
        }
    }
    while (at < count && kinds[at] == BAD)
        at++;
    assert_int_equal(at, count);
}

static void judge_kinds(struct fixture *f, const enum kind *kinds, unsigned count)
{
    static uint8_t data[IO_BUFFER_BYTES];
    uint64_t tags[512];
    for (unsigned i = 0; i < count; i++) {
        put_kind(data + (size_t)i * 64, kinds[i], i);
        tags[i] = mete_wire_tag(data + (size_t)i * 64, 64);
    }
    struct io_message message = message_of(f, data, (size_t)count * 64, 64);
    f->fake.count = 0;
    udp_judge(&f->udp, &f->fake.io, &message, 1, &now);
    assert_answers(f, &message, kinds, tags, count);
}

static void mixed_sizes_become_runs(void **state)
{
    struct fixture *f = *state;
    static const enum kind KINDS[] = {FULL, FULL, BAD,    FULL, STATUS, STATUS,
                                      SAME, FULL, STATUS, SAME, SAME,   BAD};
    judge_kinds(f, KINDS, sizeof(KINDS) / sizeof(KINDS[0]));
    /* 40 40 40 24 | 24 | 64 40 | 24 | 64 64: a shorter answer ends a run, a longer begins one */
    static const struct sent RUNS[] = {
        {.len = 144, .segment = 40}, {.len = 24, .segment = 24},  {.len = 104, .segment = 64},
        {.len = 24, .segment = 24},  {.len = 128, .segment = 64},
    };
    assert_int_equal(f->fake.count, sizeof(RUNS) / sizeof(RUNS[0]));
    for (unsigned i = 0; i < f->fake.count; i++) {
        assert_int_equal(f->fake.sent[i].len, RUNS[i].len);
        assert_int_equal(f->fake.sent[i].segment, RUNS[i].segment);
    }
    assert_int_equal(cell(f, COUNTER_RECEIVED), 12);
    assert_int_equal(cell(f, COUNTER_ANSWERED), 10);
    assert_int_equal(cell(f, COUNTER_BAD_TAG), 2);
    assert_int_equal(cell(f, COUNTER_HELLO), 3);
}

static void random_sizes_become_runs(void **state)
{
    struct fixture *f = *state;
    static const enum kind CHOICES[] = {FULL, STATUS, SAME, BAD};
    uint64_t seed = 7;
    for (int round = 0; round < 2000; round++) {
        enum kind kinds[300];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned count = 1 + (unsigned)(seed >> 40) % 300;
        unsigned bias = (unsigned)(seed >> 33) % 16;
        for (unsigned i = 0; i < count; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            unsigned dice = (unsigned)(seed >> 40) % 20;
            kinds[i] = CHOICES[dice < bias ? 0 : dice % 4];
        }
        judge_kinds(f, kinds, count);
    }
}

/* 64 messages of 4 checks are more than the lists hold at once; every one is answered by itself. */
static void more_than_the_lists_hold(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[IO_BATCH][4][64];
    struct io_message messages[IO_BATCH];
    for (unsigned m = 0; m < IO_BATCH; m++) {
        for (unsigned i = 0; i < 4; i++)
            put_kind(data[m][i], FULL, m * 4 + i);
        messages[m] = message_of(f, data[m][0], sizeof(data[m]), 64);
    }
    udp_judge(&f->udp, &f->fake.io, messages, IO_BATCH, &now);
    unsigned total = 0;
    for (unsigned r = 0; r < f->fake.count; r++) {
        const struct sent *sent = &f->fake.sent[r];
        assert_int_equal(sent->segment, 40);
        for (uint32_t done = 0; done < sent->len; done += 40, total++)
            assert_int_equal(mete_wire_get32(sent->message->data + sent->offset + done + 4), total);
    }
    assert_int_equal(total, 256);
    assert_int_equal(cell(f, COUNTER_ANSWERED), 256);
    assert_int_equal(cell(f, COUNTER_CHECKS), 256);
}

static void truncated_and_empty_are_counted(void **state)
{
    struct fixture *f = *state;
    uint8_t data[64];
    put_kind(data, FULL, 1);
    struct io_message messages[3] = {
        message_of(f, data, 64, 64), message_of(f, data, 0, 0), {.truncated = true}};
    messages[0].truncated = true;
    udp_judge(&f->udp, &f->fake.io, messages, 3, &now);
    assert_int_equal(f->fake.count, 0);
    assert_int_equal(cell(f, COUNTER_BAD_LENGTH), 3);
    assert_int_equal(cell(f, COUNTER_RECEIVED), 3);
    assert_int_equal(cell(f, COUNTER_CHECKS), 0);
}

static void strangers_are_not_believed(void **state)
{
    struct fixture *f = *state;
    uint8_t data[64];
    f->peer.sin_addr.s_addr = htonl(0xC0000201);
    put_kind(data, FULL, 1);
    struct io_message message = message_of(f, data, 64, 64);
    udp_judge(&f->udp, &f->fake.io, &message, 1, &now);
    assert_int_equal(f->fake.count, 0);
    assert_int_equal(cell(f, COUNTER_UNTRUSTED), 1);
}

/* All types, all flags, every n and every size of entry: never more out than in; equal for HELLO
 * only. */
static void never_longer_than_asked(void **state)
{
    struct fixture *f = *state;
    uint8_t data[METE_WIRE_MAX_BYTES];
    unsigned answered = 0;
    for (unsigned type = 0; type < 128; type += type < 16 ? 1 : 37)
        for (unsigned flags = 0; flags < 256; flags++)
            for (uint8_t words = 2; words <= 15; words++)
                for (unsigned n = 1; 32 + n * words * 8 <= METE_WIRE_MAX_BYTES;
                     n += n < 3 || n >= 48 ? 1 : 15) {
                    struct mete_header header = {.type = (uint8_t)type,
                                                 .flags = (uint8_t)flags,
                                                 .n = (uint8_t)n,
                                                 .entry_bytes = (uint8_t)(words * 8)};
                    size_t len = put(data, header, 24);
                    struct io_message message = message_of(f, data, len, len);
                    f->fake.count = 0;
                    udp_judge(&f->udp, &f->fake.io, &message, 1, &now);
                    if (f->fake.count == 0)
                        continue;
                    answered++;
                    assert_int_equal(f->fake.count, 1);
                    assert_true(f->fake.sent[0].len < len ||
                                (type == METE_HELLO && f->fake.sent[0].len == len));
                }
    assert_int_equal(cell(f, COUNTER_ANSWERED), answered);
    assert_true(answered > 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mixed_sizes_become_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(random_sizes_become_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(more_than_the_lists_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(truncated_and_empty_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(strangers_are_not_believed, setup, teardown),
        cmocka_unit_test_setup_teardown(never_longer_than_asked, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
