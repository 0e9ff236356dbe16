/* Wall time: tables of instants for how it follows the host's clock and never goes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sys/clock.h"

#define SEC 1000000000ull
#define DAY (86400 * SEC)
#define HOST_2026 (1767225600 * SEC)

struct row {
    uint64_t boot_ns;
    uint64_t real_ns; /* 0: nobody looks at the host's clock, only the time is asked */
    uint64_t wall_ns;
};

static void run(const struct row *rows, size_t count)
{
    struct wall wall;
    uint64_t last_ns = 0;
    wall_init(&wall, rows[0].boot_ns, rows[0].real_ns);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].real_ns)
            wall_update(&wall, rows[i].boot_ns, rows[i].real_ns);
        uint64_t now_ns = wall_at(&wall, rows[i].boot_ns);
        if (now_ns != rows[i].wall_ns)
            print_error("row %zu\n", i);
        assert_int_equal(now_ns, rows[i].wall_ns);
        assert_true(now_ns >= last_ns);
        last_ns = now_ns;
    }
}

#define RUN(rows) run(rows, sizeof(rows) / sizeof((rows)[0]))

static void steady(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {5 * SEC, HOST_2026, HOST_2026},
        {6 * SEC, 0, HOST_2026 + SEC},
        {7 * SEC, HOST_2026 + 2 * SEC, HOST_2026 + 2 * SEC},
        {DAY, 0, HOST_2026 + DAY - 5 * SEC},
    };
    RUN(ROWS);
}

static void step_ahead_is_followed_at_once(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {5 * SEC, HOST_2026, HOST_2026},
        {6 * SEC, HOST_2026 + DAY, HOST_2026 + DAY},
        {7 * SEC, 0, HOST_2026 + DAY + SEC},
    };
    RUN(ROWS);
}

/* 10 s back: for 80 s every second of ours lasts 7/8 of one, then both agree. */
static void step_back_is_slewed_by_an_eighth(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {100 * SEC, HOST_2026, HOST_2026},
        {200 * SEC, HOST_2026 + 90 * SEC, HOST_2026 + 100 * SEC},
        {200 * SEC + 7, 0, HOST_2026 + 100 * SEC + 7},
        {200 * SEC + 8, 0, HOST_2026 + 100 * SEC + 7},
        {208 * SEC, 0, HOST_2026 + 107 * SEC},
        {240 * SEC, HOST_2026 + 130 * SEC, HOST_2026 + 135 * SEC},
        {248 * SEC, 0, HOST_2026 + 142 * SEC},
        {280 * SEC, 0, HOST_2026 + 170 * SEC},
        {281 * SEC, 0, HOST_2026 + 171 * SEC},
        {300 * SEC, HOST_2026 + 190 * SEC, HOST_2026 + 190 * SEC},
    };
    RUN(ROWS);
}

static void ahead_again_while_slewing(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {100 * SEC, HOST_2026, HOST_2026},
        {200 * SEC, HOST_2026 + 90 * SEC, HOST_2026 + 100 * SEC},
        {216 * SEC, HOST_2026 + 116 * SEC, HOST_2026 + 116 * SEC},
        {217 * SEC, 0, HOST_2026 + 117 * SEC},
        /* and back twice: what is to be slewed adds up */
        {218 * SEC, HOST_2026 + 108 * SEC, HOST_2026 + 118 * SEC},
        {226 * SEC, HOST_2026 + 111 * SEC, HOST_2026 + 125 * SEC},
        {234 * SEC, 0, HOST_2026 + 132 * SEC},
        {226 * SEC + 14 * 8 * SEC, 0, HOST_2026 + 223 * SEC},
        {226 * SEC + 15 * 8 * SEC, 0, HOST_2026 + 231 * SEC},
    };
    RUN(ROWS);
}

/* A host that says 1970 while the machine has been up for long: offsets below zero wrap. */
static void host_in_1970(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {DAY, 1, 1},
        {DAY + SEC, 1 + SEC, 1 + SEC},
        {DAY + 2 * SEC, HOST_2026, HOST_2026},
        {DAY + 10 * SEC, 1, HOST_2026 + 8 * SEC},
        {DAY + 18 * SEC, 0, HOST_2026 + 15 * SEC},
        {DAY + 810 * SEC, 0, HOST_2026 + 708 * SEC},
    };
    RUN(ROWS);
}

/* However the host's clock jumps, ours never decreases and, left alone, meets it again. */
static void random_jumps(void **unused)
{
    (void)unused;
    uint64_t seed = 1;
    struct wall wall;
    uint64_t boot_ns = 3 * SEC, last_ns = 0, host_ns = HOST_2026;
    wall_init(&wall, boot_ns, host_ns);
    for (int i = 0; i < 200000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t step_ns = seed >> 36;
        boot_ns += step_ns;
        host_ns += step_ns;
        if (seed % 50 == 0)
            host_ns += (seed >> 20) % (100 * SEC) - 50 * SEC;
        if (seed % 3)
            wall_update(&wall, boot_ns, host_ns);
        uint64_t now_ns = wall_at(&wall, boot_ns);
        assert_true(now_ns >= last_ns);
        last_ns = now_ns;
    }
    for (int i = 0; i < 80000; i++) {
        boot_ns += SEC;
        host_ns += SEC;
        wall_update(&wall, boot_ns, host_ns);
    }
    assert_int_equal(wall_at(&wall, boot_ns), host_ns);
}

static void clocks_run(void **unused)
{
    (void)unused;
    uint64_t boot_ns = clock_boot_ns();
    assert_true(boot_ns > 0);
    assert_true(clock_boot_ns() >= boot_ns);
    assert_true(clock_real_ns() > 1000000000 * SEC); /* after 2001: the two are not mixed up */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steady),
        cmocka_unit_test(step_ahead_is_followed_at_once),
        cmocka_unit_test(step_back_is_slewed_by_an_eighth),
        cmocka_unit_test(ahead_again_while_slewing),
        cmocka_unit_test(host_in_1970),
        cmocka_unit_test(random_jumps),
        cmocka_unit_test(clocks_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
