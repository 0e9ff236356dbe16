/* When the host's clock was set: a table of looks. */
#include "sys/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define MS 1000000ull

static void test_steps(void **state)
{
    (void)state;
    static const struct {
        uint64_t boot_ms, real_ms;
        bool has_stepped;
    } looks[] = {
        {1000, 900000, false}, /* the first */
        {1100, 900100, false}, /* as it should be */
        {1200, 900201, false}, /* slewed */
        {1300, 900251, false}, /* 50 ms back in one look: just not a step */
        {1400, 900402, true},  /* 51 ms ahead */
        {9000, 908000, false}, /* after a sleep */
        {9100, 1000, true},    /* 1970 */
        {9200, 1100, false},   {9300, 5000000, true},  {9400, 5000100, false},
        {9500, 5000149, true}, {9600, 5000249, false},
    };
    struct clock_steps steps = {.has_offset = false};
    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++)
        if (clock_has_stepped(&steps, looks[i].boot_ms * MS, looks[i].real_ms * MS) !=
            looks[i].has_stepped)
            fail_msg("look %zu", i);
}

static void test_read_together(void **state)
{
    (void)state;
    uint64_t real_ns = 0;
    assert_false(clock_read_real(0, &real_ns)); /* that was long ago */
    assert_true(real_ns > 0);
    for (unsigned i = 0; !clock_read_real(clock_boot_ns(), &real_ns); i++)
        assert_true(i < 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_read_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
