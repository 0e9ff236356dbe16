/* Ids of names and keys of subjects against published values and the library itself. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>
#include <xxhash.h>

#include "core/key.h"

static void name_ids_are_fnv1a(void **unused)
{
    (void)unused;
    /* From the test suite of the authors of FNV. */
    static const struct {
        const char *name;
        uint32_t id;
    } ROWS[] = {
        {"", 0x811c9dc5},   {"a", 0xe40c292c},      {"b", 0xe70c2de5},
        {"fo", 0x6222e842}, {"foobar", 0xbf9cf968},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++)
        assert_int_equal(key_name_id(ROWS[i].name, strlen(ROWS[i].name)), ROWS[i].id);
    /* Bytes above 127 are not negative. */
    assert_int_equal(key_name_id("\xff", 1), (uint32_t)((0x811c9dc5u ^ 0xffu) * 16777619u));
    assert_int_equal(key_name_id("foobar", 0), 0x811c9dc5);
}

/* The library's own code, not the inlined copy, over all lengths that take different paths. */
static void keys_are_xxh3_128(void **unused)
{
    (void)unused;
    unsigned char subject[600];
    for (size_t i = 0; i < sizeof(subject); i++)
        subject[i] = (unsigned char)(i * 167 + 13);
    static const uint64_t SEEDS[] = {0, 1, 0x9e3779b97f4a7c15ull, UINT64_MAX};
    for (size_t len = 0; len <= sizeof(subject); len++) {
        for (size_t i = 0; i < sizeof(SEEDS) / sizeof(SEEDS[0]); i++) {
            const struct key key = key_of_subject(subject, len, SEEDS[i]);
            const XXH128_hash_t expected = XXH3_128bits_withSeed(subject, len, SEEDS[i]);
            assert_true(key.low == expected.low64 && key.high == expected.high64);
        }
    }
}

static void empty_key_is_the_published_one(void **unused)
{
    (void)unused;
    const struct key key = key_of_subject("", 0, 0);
    assert_true(key.high == 0x99aa06d3014798d8ull && key.low == 0x6001c324468d497full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_ids_are_fnv1a),
        cmocka_unit_test(keys_are_xxh3_128),
        cmocka_unit_test(empty_key_is_the_published_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
