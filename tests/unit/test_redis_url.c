/* URLs and addresses of Redis: every form, and what is said of what is none. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "config/redis_url.h"

static struct redis_url parsed(const char *text)
{
    struct redis_url url = {0};
    char error[200] = "";

    if (redis_url_parse(text, &url, error, sizeof(error)))
        fail_msg("%s: %s", text, error);
    return url;
}

static void refuse(const char *text, const char *words)
{
    struct redis_url url;
    char error[200] = "";

    assert_int_equal(redis_url_parse(text, &url, error, sizeof(error)), -EINVAL);
    if (!strstr(error, words))
        fail_msg("%s: %s", text, error);
}

static void test_forms(void **state)
{
    (void)state;
    struct redis_url url = parsed("redis://cache.example");
    assert_string_equal(url.seeds[0].host, "cache.example");
    assert_string_equal(url.seeds[0].port, "6379");
    assert_int_equal(url.database, 0);
    assert_false(url.is_tls);

    url = parsed("rediss://[::1]:7000/15");
    assert_string_equal(url.seeds[0].host, "::1");
    assert_string_equal(url.seeds[0].port, "7000");
    assert_int_equal(url.database, 15);
    assert_true(url.is_tls);

    url = parsed("redis://a:1,b,10.0.0.3:3/");
    assert_int_equal(url.seed_count, 3);
    assert_string_equal(url.seeds[1].host, "b");
    assert_string_equal(url.seeds[2].port, "3");

    url = parsed("unix:///run/redis.sock");
    assert_string_equal(url.seeds[0].host, "/run/redis.sock");
    assert_string_equal(url.seeds[0].port, "");
    url = parsed("redis://[::1]/");
    assert_string_equal(url.seeds[0].host, "::1");
    assert_string_equal(url.seeds[0].port, "6379");
}

static void test_refused(void **state)
{
    (void)state;
    refuse("", "is none of redis://HOST:PORT");
    refuse("http://a", "is none of redis://HOST:PORT");
    refuse("/run/redis.sock", "unix:///PATH");
    refuse("redis://", "no host");
    refuse("redis://:1", "no host");
    refuse("redis://a,,b", "no host");
    refuse("redis://[::1", "no host");
    refuse("redis://[]:1", "no host");
    refuse("redis://[::1]7", "no host");
    refuse("redis://::1", "without brackets");
    refuse("redis://fd00::7:6379", "without brackets");
    refuse("redis://a:", "a port");
    refuse("redis://a:0", "a port");
    refuse("redis://a:65536", "a port");
    refuse("redis://a:99999999999999999999", "a port");
    refuse("redis://u:p@a", "password_file");
    refuse("redis://u@a", "redis.user");
    refuse("redis://a/b", "a database");
    refuse("redis://a/65536", "a database");
    refuse("redis://a/9999999999", "a database");
    refuse("unix://", "absolute path");
    refuse("unix://run/x", "absolute path");
    refuse("redis://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "16");
}

/* As a Cluster tells it in redirections: IPv6 without brackets. */
static void test_addresses(void **state)
{
    (void)state;
    struct redis_address address;
    char text[300];

    assert_int_equal(redis_address_parse("fd00::7:6380", 12, &address, NULL, 0), 0);
    assert_string_equal(address.host, "fd00::7");
    assert_string_equal(redis_address_text(&address, text, sizeof(text)), "[fd00::7]:6380");
    assert_int_equal(redis_address_parse(":6380", 5, &address, NULL, 0), -EINVAL);
    assert_int_equal(redis_address_parse("a:", 2, &address, NULL, 0), -EINVAL);
    assert_int_equal(redis_address_parse("\0a:1", 4, &address, NULL, 0), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
