/* wire.h by itself: round trips, every name a decoder gives, and the one promise that can be proven
 * by trying all of it: a result is never longer than its request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mete/wire.h"

static const struct mete_mac_key test_key = {0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull};

static struct mete_header test_header(uint8_t type, uint8_t flags, uint8_t n, uint8_t entry_bytes)
{
    return (struct mete_header){
        .type = type,
        .flags = flags,
        .n = n,
        .secret = METE_WIRE_NO_SECRET,
        .tenant = 0xa1a2a3a4,
        .client = 0xb1b2b3b4,
        .sequence = 0xffffffff,
        .clock_ms = 0x80000000,
        .boot = 0xfffe,
        .header_bytes = METE_WIRE_HEADER_BYTES,
        .entry_bytes = entry_bytes,
    };
}

static struct mete_entry test_entry(const struct mete_header *header, unsigned index)
{
    static const uint8_t subject[] =
        "a subject of many bytes, of which an entry takes as many as fit";
    struct mete_entry entry = {.rule = 0xdeadbeef + index, .cost = UINT32_MAX - index};
    int is_raw = header->flags & METE_FLAG_RAW_SUBJECT;
    if (is_raw) {
        unsigned room =
            header->entry_bytes - mete_wire_entry_fixed(header->type, header->flags) - 1;
        entry.subject = subject;
        entry.subject_len = (uint8_t)(room < sizeof(subject) ? room : sizeof(subject));
    } else {
        entry.key_low = UINT64_MAX - index;
        entry.key_high = 0x0123456789abcdefull;
    }
    if (mete_type_is_lease(header->type)) {
        entry.lease = 0xfedcba9876543210ull + index;
    } else if (header->flags & METE_FLAG_INLINE_LIMIT) {
        entry.limit_count = 7;
        entry.limit_burst = UINT32_MAX;
        entry.limit_period_ns = UINT64_MAX - 1;
    }
    return entry;
}

static void assert_entry_equal(const struct mete_entry *a, const struct mete_entry *b)
{
    assert_int_equal(a->rule, b->rule);
    assert_int_equal(a->cost, b->cost);
    assert_int_equal(a->key_low, b->key_low);
    assert_int_equal(a->key_high, b->key_high);
    assert_int_equal(a->limit_count, b->limit_count);
    assert_int_equal(a->limit_burst, b->limit_burst);
    assert_int_equal(a->limit_period_ns, b->limit_period_ns);
    assert_int_equal(a->lease, b->lease);
    assert_int_equal(a->subject_len, b->subject_len);
    if (a->subject_len)
        assert_memory_equal(a->subject, b->subject, a->subject_len);
}

/* Encodes, signs, decodes and compares one request; fresh bytes around it must stay. */
static void round_trip(const struct mete_header *header)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES + 8];
    size_t len = mete_wire_request_bytes(header->n, header->entry_bytes);
    assert_true(len <= METE_WIRE_MAX_BYTES);
    memset(bytes, 0xa5, sizeof(bytes));
    mete_wire_encode_header(bytes, header);
    for (unsigned i = 0; i < header->n; i++) {
        struct mete_entry entry = test_entry(header, i);
        mete_wire_encode_entry(bytes, header, i, &entry);
    }
    uint64_t tag = mete_wire_sign_request(bytes, len, &test_key);
    assert_int_equal(bytes[len], 0xa5);

    struct mete_header decoded;
    assert_int_equal(mete_wire_decode_header(bytes, len, &decoded), METE_WIRE_OK);
    assert_memory_equal(&decoded, header, sizeof(decoded));
    assert_true(mete_wire_verify_request(bytes, len, &test_key));
    assert_int_equal(mete_wire_tag(bytes, len), tag);
    for (unsigned i = 0; i < header->n; i++) {
        struct mete_entry entry = {0}, expected = test_entry(header, i);
        assert_int_equal(mete_wire_decode_entry(bytes, &decoded, i, &entry), 0);
        assert_entry_equal(&entry, &expected);
    }
    bytes[len / 2] ^= 0x10;
    assert_false(mete_wire_verify_request(bytes, len, &test_key));
}

static void requests_round_trip(void **state)
{
    (void)state;
    for (unsigned type = METE_CHECK; type <= METE_RELEASE; type++)
        for (unsigned flags = 0; flags < 256; flags++)
            for (unsigned words = mete_wire_entry_min((uint8_t)type, (uint8_t)flags) / 8;
                 words <= 15; words++)
                for (unsigned n = 1; mete_wire_request_bytes(n, words * 8) <= METE_WIRE_MAX_BYTES;
                     n += n < 3 ? 1 : 23) {
                    struct mete_header header = test_header((uint8_t)type, (uint8_t)flags,
                                                            (uint8_t)n, (uint8_t)(words * 8));
                    round_trip(&header);
                }
}

static void raw_entry_sizes(void **state)
{
    (void)state;
    for (unsigned type = METE_CHECK; type <= METE_RELEASE; type++)
        for (unsigned flags = 0; flags < 256; flags++) {
            unsigned longest = mete_type_is_lease((uint8_t)type) ? 103
                               : flags & METE_FLAG_INLINE_LIMIT  ? 95
                                                                 : METE_WIRE_MAX_RAW_SUBJECT;
            assert_int_equal(mete_wire_entry_raw((uint8_t)type, (uint8_t)flags, longest), 120);
            assert_int_equal(mete_wire_entry_raw((uint8_t)type, (uint8_t)flags, longest + 1), 0);
            assert_int_equal(mete_wire_entry_raw((uint8_t)type, (uint8_t)flags, 7),
                             mete_wire_entry_min((uint8_t)type, (uint8_t)(flags | 4)));
        }
}

struct change { /* of a good datagram of two checks of 24 bytes: 80 bytes */
    size_t len;
    unsigned at;
    uint8_t value;
    enum mete_wire expected;
};

static void assert_changes(const uint8_t *good, const struct change *changes, size_t count,
                           int is_result)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[METE_WIRE_MAX_BYTES + 8] = {0};
        memcpy(bytes, good, 80);
        bytes[changes[i].at] = changes[i].value;
        struct mete_header header;
        struct mete_result_header result;
        memset(&header, 0x5a, sizeof(header));
        memset(&result, 0x5a, sizeof(result));
        struct mete_header before = header;
        struct mete_result_header result_before = result;
        enum mete_wire got = is_result ? mete_wire_decode_result(bytes, changes[i].len, &result)
                                       : mete_wire_decode_header(bytes, changes[i].len, &header);
        if (got != changes[i].expected)
            print_error("change %zu: byte %u = 0x%02x, %zu bytes\n", i, changes[i].at,
                        changes[i].value, changes[i].len);
        assert_int_equal(got, changes[i].expected);
        if (got != METE_WIRE_OK) {
            assert_memory_equal(&header, &before, sizeof(header));
            assert_memory_equal(&result, &result_before, sizeof(result));
        }
    }
}

static void every_name_of_a_bad_request(void **state)
{
    (void)state;
    static const struct change changes[] = {
        {80, 0, 0xe1, METE_WIRE_OK},
        {0, 0, 0xe1, METE_WIRE_BAD_LENGTH},
        {24, 0, 0xe1, METE_WIRE_BAD_LENGTH},
        {79, 0, 0xe1, METE_WIRE_BAD_LENGTH},
        {72, 0, 0xe1, METE_WIRE_BAD_LENGTH},
        {88, 0, 0xe1, METE_WIRE_BAD_LENGTH},
        {1240, 0, 0xd1, METE_WIRE_BAD_LENGTH}, /* length comes first */
        {80, 0, 0xd1, METE_WIRE_BAD_MAGIC},
        {80, 0, 0x00, METE_WIRE_BAD_MAGIC},
        {80, 0, 0xe2, METE_WIRE_BAD_VERSION},
        {80, 0, 0xe0, METE_WIRE_BAD_VERSION},
        {80, 1, 0x81, METE_WIRE_BAD_TYPE},
        {80, 1, 0x80, METE_WIRE_BAD_TYPE},
        {80, 1, 0x7f, METE_WIRE_OK}, /* unknown types add up and are answered */
        {80, 1, 0x00, METE_WIRE_OK},
        {80, 3, 0, METE_WIRE_BAD_COUNT},
        {80, 1, METE_HELLO, METE_WIRE_BAD_COUNT}, /* of two entries, also too small ones */
        {80, 23, 0x23, METE_WIRE_BAD_SIZES},
        {80, 23, 0x32, METE_WIRE_BAD_SIZES},
        {80, 23, 0x30, METE_WIRE_BAD_SIZES},
        {80, 1, METE_ACQUIRE, METE_WIRE_BAD_SIZES},
        {80, 2, METE_FLAG_INLINE_LIMIT, METE_WIRE_BAD_SIZES},
        {80, 2, METE_FLAG_RAW_SUBJECT, METE_WIRE_OK},
        {80, 3, 1, METE_WIRE_BAD_LENGTH},
        {80, 3, 3, METE_WIRE_BAD_LENGTH},
        {80, 3, 255, METE_WIRE_BAD_LENGTH},
        {80, 23, 0x43, METE_WIRE_BAD_LENGTH},
    };
    uint8_t good[80] = {0};
    struct mete_header header = test_header(METE_CHECK, 0, 2, 24);
    mete_wire_encode_header(good, &header);
    assert_changes(good, changes, sizeof(changes) / sizeof(changes[0]), 0);
}

static void every_name_of_a_bad_result(void **state)
{
    (void)state;
    static const struct change changes[] = {
        {56, 0, 0xe1, METE_WIRE_OK},
        {16, 0, 0xe1, METE_WIRE_BAD_LENGTH},
        {57, 0, 0xe1, METE_WIRE_BAD_LENGTH},
        {48, 0, 0xe1, METE_WIRE_BAD_LENGTH},
        {64, 0, 0xe1, METE_WIRE_BAD_LENGTH},
        {56, 0, 0x11, METE_WIRE_BAD_MAGIC},
        {56, 0, 0xe2, METE_WIRE_BAD_VERSION},
        {56, 1, 0x01, METE_WIRE_BAD_TYPE},
        {56, 3, 0, METE_WIRE_BAD_COUNT},
        {56, 3, 76, METE_WIRE_BAD_COUNT},
        {56, 2, METE_RESULT_STATUS, METE_WIRE_BAD_COUNT},
        {56, 1, METE_RESTARTED, METE_WIRE_BAD_COUNT},
        {56, 1, METE_HELLO | METE_RESULT, METE_WIRE_BAD_COUNT},
        {56, 2, METE_RESULT_MIN, METE_WIRE_BAD_SIZES},
        {56, 15, 0x32, METE_WIRE_BAD_SIZES},
        {56, 15, 0x23, METE_WIRE_BAD_SIZES},
        {56, 3, 3, METE_WIRE_BAD_LENGTH},
        {56, 2, 0xf8, METE_WIRE_OK}, /* unknown result flags are ignored */
    };
    uint8_t good[80] = {0};
    struct mete_result_header header = {.type = METE_CHECK | METE_RESULT, .n = 2, .boot = 1};
    mete_wire_encode_result_header(good, &header);
    assert_changes(good, changes, sizeof(changes) / sizeof(changes[0]), 1);
}

static void subject_longer_than_its_entry(void **state)
{
    (void)state;
    uint8_t bytes[METE_WIRE_MAX_BYTES] = {0};
    struct mete_header header = test_header(METE_CHECK, METE_FLAG_RAW_SUBJECT, 1, 16);
    struct mete_entry entry = {.rule = 77};
    mete_wire_encode_header(bytes, &header);
    bytes[32] = 7;
    assert_int_equal(mete_wire_decode_entry(bytes, &header, 0, &entry), 0);
    assert_int_equal(entry.subject_len, 7);
    bytes[32] = 8;
    entry.rule = 77;
    assert_int_equal(mete_wire_decode_entry(bytes, &header, 0, &entry), -1);
    assert_int_equal(entry.rule, 77);
    bytes[32] = 7;
    header.type = METE_HELLO; /* has no such entries, nor has an unknown type */
    assert_int_equal(mete_wire_decode_entry(bytes, &header, 0, &entry), -1);
    header.type = 0x40;
    assert_int_equal(mete_wire_decode_entry(bytes, &header, 0, &entry), -1);
}

static void results_round_trip(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= METE_WIRE_MAX_CHECKS; n++) {
        uint8_t bytes[METE_WIRE_MAX_BYTES];
        struct mete_result_header decoded,
            header = {.type = METE_RESET | METE_RESULT, .n = (uint8_t)n, .sequence = n, .boot = 9};
        mete_wire_encode_result_header(bytes, &header);
        for (unsigned i = 0; i < n; i++) {
            struct mete_verdict verdict = {(uint8_t)i, (uint8_t)~i, 0x21, i, UINT32_MAX - i, n};
            mete_wire_encode_verdict(bytes, i, &verdict);
        }
        size_t len = mete_wire_result_bytes(header.type, header.flags, n);
        mete_wire_sign_result(bytes, len, 5, &test_key);
        assert_int_equal(mete_wire_decode_result(bytes, len, &decoded), METE_WIRE_OK);
        assert_memory_equal(&decoded, &header, sizeof(header));
        assert_true(mete_wire_verify_result(bytes, len, 5, &test_key));
        assert_false(mete_wire_verify_result(bytes, len, 6, &test_key));
        for (unsigned i = 0; i < n; i++) {
            struct mete_verdict verdict = mete_wire_decode_verdict(bytes, i);
            assert_int_equal(verdict.status, (uint8_t)i);
            assert_int_equal(verdict.flags, (uint8_t)~i);
            assert_int_equal(verdict.unit, 0x21);
            assert_int_equal(verdict.remaining, i);
            assert_int_equal(verdict.retry_after, UINT32_MAX - i);
            assert_int_equal(verdict.reset_after, n);
        }
    }
}

/* Without a secret: client id and sequence (0xb1b2b3b4, 0xffffffff of test_header) at the end, back
 * in the result; any bit of them changed is found, and so is the tag of the zero key. */
static void without_a_secret_the_header_is_repeated(void **state)
{
    (void)state;
    static const struct mete_mac_key zero_key;
    static const uint8_t expected[] = {0xb4, 0xb3, 0xb2, 0xb1, 0xff, 0xff, 0xff, 0xff};
    struct mete_header header = test_header(METE_CHECK, 0, 2, METE_WIRE_ENTRY_BYTES);
    size_t len = mete_wire_request_bytes(2, METE_WIRE_ENTRY_BYTES);
    uint8_t bytes[METE_WIRE_MAX_BYTES] = {0}, result[56] = {0};
    mete_wire_encode_header(bytes, &header);
    uint64_t tag = mete_wire_sign_request(bytes, len, NULL);
    assert_memory_equal(bytes + len - sizeof(expected), expected, sizeof(expected));
    assert_int_equal(mete_wire_tag(bytes, len), tag);
    assert_true(mete_wire_verify_request(bytes, len, NULL));
    assert_false(mete_wire_verify_request(bytes, len, &zero_key));
    for (unsigned bit = 0; bit < 64; bit++) {
        for (size_t at = 8; at < len; at += len - 16) { /* the bytes and their repetition */
            bytes[at + bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_false(mete_wire_verify_request(bytes, len, NULL));
            bytes[at + bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        mete_wire_sign_result(result, sizeof(result), tag, NULL);
        assert_memory_equal(result + sizeof(result) - sizeof(expected), expected, sizeof(expected));
        assert_true(mete_wire_verify_result(result, sizeof(result), tag, NULL));
        assert_false(mete_wire_verify_result(result, sizeof(result), tag ^ 1ull << bit, NULL));
    }
    mete_wire_sign_request(bytes, len, &zero_key);
    assert_false(mete_wire_verify_request(bytes, len, NULL));
}

static void hello_result_round_trips(void **state)
{
    (void)state;
    uint8_t bytes[METE_WIRE_HELLO_BYTES];
    struct mete_result_header decoded, header = {.type = METE_HELLO | METE_RESULT, .n = 1};
    struct mete_hello_result hello = {1, UINT64_MAX, 3, 4, UINT32_MAX, 6};
    mete_wire_encode_result_header(bytes, &header);
    mete_wire_encode_hello_result(bytes, &hello);
    assert_int_equal(mete_wire_decode_result(bytes, sizeof(bytes), &decoded), METE_WIRE_OK);
    struct mete_hello_result got = mete_wire_decode_hello_result(bytes);
    assert_memory_equal(&got, &hello, sizeof(got));
}

/* What a server may answer to a request that decoded, and its length: the full form, MIN with and
 * without DENIED_AT, STATUS, RESTARTED; for HELLO its own form. The longest of them. */
static size_t longest_result(const struct mete_header *header)
{
    uint8_t type = header->type | METE_RESULT;
    size_t longest = METE_WIRE_RESTARTED_BYTES;
    for (unsigned flags = 0; flags < 256; flags++) {
        unsigned n = flags & METE_RESULT_STATUS ? 0 : header->n;
        size_t len = mete_wire_result_bytes(type, (uint8_t)flags, n);
        uint8_t bytes[METE_WIRE_MAX_BYTES] = {0};
        struct mete_result_header result = {.type = type, .flags = (uint8_t)flags, .n = (uint8_t)n};
        assert_true(len <= METE_WIRE_MAX_BYTES);
        mete_wire_encode_result_header(bytes, &result);
        if (type != METE_RESTARTED || n == 0) /* the codec reads what it says that it is */
            assert_int_equal(mete_wire_decode_result(bytes, len, &result), METE_WIRE_OK);
        if (len > longest)
            longest = len;
    }
    return longest;
}

/* Every type, every flag, every n, every size of header and entry: whatever decodes. */
static void result_is_never_longer_than_its_request(void **state)
{
    (void)state;
    static size_t longest[256][256]; /* by type and n: computed once each */
    uint8_t bytes[METE_WIRE_MAX_BYTES] = {METE_WIRE_MAGIC_VERSION};
    size_t decoded_count = 0;
    for (unsigned type = 0; type < 256; type++)
        for (unsigned flags = 0; flags < 256; flags++)
            for (unsigned sizes = 0; sizes < 256; sizes++)
                for (unsigned n = 1; n <= METE_WIRE_MAX_CHECKS; n++) {
                    size_t len = (sizes >> 4) * 8 + n * (sizes & 15) * 8 + METE_WIRE_TAG_BYTES;
                    struct mete_header header;
                    if (len > METE_WIRE_MAX_BYTES)
                        break;
                    bytes[1] = (uint8_t)type;
                    bytes[2] = (uint8_t)flags;
                    bytes[3] = (uint8_t)n;
                    bytes[23] = (uint8_t)sizes;
                    enum mete_wire form = mete_wire_decode_header(bytes, len, &header);
                    if (form == METE_WIRE_BAD_TYPE || form == METE_WIRE_BAD_SIZES)
                        break; /* whatever n is */
                    if (form != METE_WIRE_OK)
                        continue;
                    decoded_count++;
                    if (!longest[type][n])
                        longest[type][n] = longest_result(&header);
                    assert_true(longest[type][n] <= len);
                    if (type == METE_HELLO && sizes == 0x34)
                        assert_int_equal(longest[type][n], len);
                }
    assert_true(decoded_count > 1000000);
}

static void time_rounds_up(void **state)
{
    (void)state;
    static const struct {
        uint64_t ns;
        uint32_t count;
        enum mete_unit unit;
    } table[] = {
        {0, 0, METE_UNIT_US},
        {1, 1, METE_UNIT_US},
        {1000, 1, METE_UNIT_US},
        {1001, 2, METE_UNIT_US},
        {4294967294000, UINT32_MAX - 1, METE_UNIT_US},
        {4294967294001, 4294968, METE_UNIT_MS},
        {4294967294000000, UINT32_MAX - 1, METE_UNIT_MS},
        {4294967294000001, 4294968, METE_UNIT_S},
        {4294967294000000000, UINT32_MAX - 1, METE_UNIT_S},
        {4294967294000000001, METE_WIRE_NEVER, METE_UNIT_US},
        {UINT64_MAX - 1, METE_WIRE_NEVER, METE_UNIT_US},
        {UINT64_MAX, METE_WIRE_NEVER, METE_UNIT_US},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        enum mete_unit unit = METE_UNIT_COUNT;
        assert_int_equal(mete_wire_time(table[i].ns, &unit), table[i].count);
        assert_int_equal(unit, table[i].unit);
    }
}

/* Back again: never too short, and too long by less than one unit. */
static void time_round_trips(void **state)
{
    (void)state;
    static const uint64_t unit_ns[] = {1000, 1000000, 1000000000};
    uint64_t ns = 1;
    for (unsigned i = 0; i < 100000; i++) {
        enum mete_unit unit;
        uint64_t duration = ns >> i % 64;
        uint32_t count = mete_wire_time(duration, &unit);
        uint64_t back = mete_wire_time_ns(count, unit);
        assert_true(back >= duration);
        if (count != METE_WIRE_NEVER)
            assert_true(back - duration < unit_ns[unit]);
        else
            assert_true(duration > 4294967294000000000);
        ns = ns * 6364136223846793005u + 1442695040888963407u;
    }
    assert_int_equal(mete_wire_time_ns(5, METE_UNIT_COUNT), UINT64_MAX);
    assert_int_equal(mete_wire_time_ns(5, 15), UINT64_MAX);
    assert_int_equal(mete_wire_time_ns(METE_WIRE_NEVER, METE_UNIT_MS), UINT64_MAX);
}

static void name_ids(void **state)
{
    (void)state;
    assert_int_equal(mete_name_id("demo", 4), 0xaefd3536u);
    assert_int_equal(mete_name_id("", 0), 2166136261u);
    assert_int_equal(mete_name_id("\xff", 1), (2166136261u ^ 0xff) * 16777619u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_round_trip),
        cmocka_unit_test(raw_entry_sizes),
        cmocka_unit_test(every_name_of_a_bad_request),
        cmocka_unit_test(every_name_of_a_bad_result),
        cmocka_unit_test(subject_longer_than_its_entry),
        cmocka_unit_test(results_round_trip),
        cmocka_unit_test(without_a_secret_the_header_is_repeated),
        cmocka_unit_test(hello_result_round_trips),
        cmocka_unit_test(result_is_never_longer_than_its_request),
        cmocka_unit_test(time_rounds_up),
        cmocka_unit_test(time_round_trips),
        cmocka_unit_test(name_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
