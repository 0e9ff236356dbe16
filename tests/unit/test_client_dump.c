/* Where the C client keeps a secret: found by reading all of our own memory. */
#include "unit/client_fake.h"

#define MASK 0x5au /* so that the test itself holds no copy of what it looks for */

static bool is_masked_at(const char *bytes, const uint8_t *masked, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (((uint8_t)bytes[i] ^ MASK) != masked[i])
            return false;
    return true;
}

/* How often a secret is in our memory: where a core dump would show it, and where not. */
static void count_secret(const uint8_t *masked, size_t len, unsigned *ret_shown,
                         unsigned *ret_hidden)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512], access[8] = "";
    unsigned long from = 0, to = 0;
    *ret_shown = *ret_hidden = 0;
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps)) {
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx %7s", &begin, &end, access) == 3) {
            bool is_ours = access[0] == 'r' && !strstr(line, "[v") && end - begin < 64u << 20;
            from = is_ours ? begin : end;
            to = end;
        } else if (strncmp(line, "VmFlags:", 8) == 0) {
            unsigned *ret_count = strstr(line, " dd") ? ret_hidden : ret_shown;
            for (const char *at = (const char *)from; at + len <= (const char *)to; at++)
                *ret_count += is_masked_at(at, masked, len);
        }
    }
    fclose(maps);
}

/* While it is open no core dump has the secret; afterwards nothing has. */
static void test_secret_is_not_dumped(void **state)
{
    if (getenv("METE_EMULATED"))
        skip(); /* an emulator passes neither madvise() nor socket filters on */
    (void)state;
    uint8_t masked[32], secret[32];
    unsigned shown, hidden;
    struct mete_client *client;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__)
    skip(); /* a sanitizer's memory is not for reading */
#endif
    randombytes_buf(masked, sizeof(masked));
    for (unsigned i = 0; i < sizeof(masked); i++)
        secret[i] = masked[i] ^ MASK;
    count_secret(masked, sizeof(masked), &shown, &hidden);
    assert_int_equal(shown, 1); /* ours: it can be found */
    struct mete_client_options options = {.secret = secret, .secret_len = sizeof(secret)};
    assert_int_equal(mete_client_open(&options, &client), 0);
    explicit_bzero(secret, sizeof(secret));
    count_secret(masked, sizeof(masked), &shown, &hidden);
    assert_int_equal(shown, 0);
    assert_int_equal(hidden, 1);
    mete_client_close(client);
    count_secret(masked, sizeof(masked), &shown, &hidden);
    assert_int_equal(shown + hidden, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secret_is_not_dumped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
