/* mac.h against libsodium on every length a datagram can have and some it cannot, with random keys,
 * and against the vector of the SipHash paper. */
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mete/wire.h"

static struct mete_mac_key key_of_bytes(const uint8_t bytes[16])
{
    return (struct mete_mac_key){mete_mac_load64(bytes), mete_mac_load64(bytes + 8)};
}

static uint64_t sodium_mac(const uint8_t *bytes, size_t len, const uint8_t key[16])
{
    uint8_t hash[crypto_shorthash_siphash24_BYTES];
    crypto_shorthash_siphash24(hash, bytes, len, key);
    return mete_mac_load64(hash);
}

/* Appendix A of the paper: key 00..0f, message 00..0e. */
static void paper_vector(void **state)
{
    (void)state;
    uint8_t bytes[16];
    for (uint8_t i = 0; i < 16; i++)
        bytes[i] = i;
    struct mete_mac_key key = key_of_bytes(bytes);
    assert_int_equal(mete_mac(&key, bytes, 15), 0xa129ca6149be45e5ull);
}

static void equals_libsodium(void **state)
{
    (void)state;
    uint8_t key_bytes[16], bytes[METE_WIRE_MAX_BYTES];
    for (unsigned round = 0; round < 20; round++) {
        randombytes_buf(key_bytes, sizeof(key_bytes));
        randombytes_buf(bytes, sizeof(bytes));
        struct mete_mac_key key = key_of_bytes(key_bytes);
        for (size_t len = 0; len <= 264; len++)
            assert_int_equal(mete_mac(&key, bytes, len), sodium_mac(bytes, len, key_bytes));
        for (size_t len = 264; len <= sizeof(bytes); len += 8)
            assert_int_equal(mete_mac(&key, bytes, len), sodium_mac(bytes, len, key_bytes));
        for (size_t len = 1; len < 16; len++) /* no alignment is assumed */
            assert_int_equal(mete_mac(&key, bytes + len, 100),
                             sodium_mac(bytes + len, 100, key_bytes));
    }
}

/* The tag of a result is that of the request's tag followed by the result's bytes. */
static void result_follows_request(void **state)
{
    (void)state;
    uint8_t key_bytes[16], joined[METE_WIRE_MAX_BYTES];
    for (unsigned round = 0; round < 20; round++) {
        randombytes_buf(key_bytes, sizeof(key_bytes));
        randombytes_buf(joined, sizeof(joined));
        struct mete_mac_key key = key_of_bytes(key_bytes);
        uint64_t tag = mete_wire_get64(joined);
        for (size_t len = 0; len + 8 <= sizeof(joined); len += 8) {
            uint64_t expected = sodium_mac(joined, len + 8, key_bytes);
            assert_int_equal(mete_mac_result(&key, tag, joined + 8, len), expected);
            assert_int_not_equal(mete_mac_result(&key, tag ^ 1, joined + 8, len), expected);
        }
    }
}

static void equal_compares_every_bit(void **state)
{
    (void)state;
    assert_true(mete_mac_equal(0x1122334455667788ull, 0x1122334455667788ull));
    for (unsigned bit = 0; bit < 64; bit++)
        assert_false(mete_mac_equal(0x1122334455667788ull, 0x1122334455667788ull ^ 1ull << bit));
}

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paper_vector),
        cmocka_unit_test(equals_libsodium),
        cmocka_unit_test(result_follows_request),
        cmocka_unit_test(equal_compares_every_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
