/* RESP answers byte by byte, in both protocols. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "doors/loop.h"
#include "doors/resp_write.h"

static uint8_t bytes[1024];
static struct loop_output out = {.bytes = bytes, .size = sizeof(bytes)};

static void expect(const char *text)
{
    assert_int_equal(out.len, strlen(text));
    assert_memory_equal(bytes, text, out.len);
    out.len = 0;
}

static void numbers(void **state)
{
    (void)state;
    resp_write_integer(&out, 0);
    resp_write_integer(&out, -1);
    resp_write_integer(&out, 1234567890);
    expect(":0\r\n:-1\r\n:1234567890\r\n");
    resp_write_integer(&out, INT64_MAX);
    resp_write_integer(&out, INT64_MIN);
    expect(":9223372036854775807\r\n:-9223372036854775808\r\n");
}

static void texts(void **state)
{
    char longer[400];
    (void)state;
    resp_write_text(&out, "");
    resp_write_bulk(&out, "a\r\nb", 4);
    resp_write_simple(&out, "OK");
    expect("$0\r\n\r\n$4\r\na\r\nb\r\n+OK\r\n");
    resp_write_error(&out, "ERR a\r\n\x01\xff");
    expect("-ERR a????\r\n");
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = 0;
    resp_write_error(&out, longer);
    assert_int_equal(out.len, 1 + 200 + 2);
    out.len = 0;
}

static void both_protocols(void **state)
{
    (void)state;
    resp_write_array(&out, 5);
    resp_write_map(&out, 2, 3);
    resp_write_map(&out, 3, 3);
    resp_write_null(&out, 2);
    resp_write_null(&out, 3);
    expect("*5\r\n*6\r\n%3\r\n$-1\r\n_\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(texts),
        cmocka_unit_test(both_protocols),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
