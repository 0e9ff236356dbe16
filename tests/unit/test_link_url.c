/* URLs and addresses of Redis: every form, and what is said of what is none. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "replica/link_url.h"

static struct link_url parsed(const char *text)
{
    struct link_url url = {0};
    char error[200] = "";

    if (link_url_parse(text, &url, error, sizeof(error)))
        fail_msg("%s: %s", text, error);
    return url;
}

static void refuse(const char *text, const char *words)
{
    struct link_url url;
    char error[200] = "";

    assert_int_equal(link_url_parse(text, &url, error, sizeof(error)), -EINVAL);
    if (!strstr(error, words))
        fail_msg("%s: %s", text, error);
}

static void test_forms(void **state)
{
    (void)state;
    struct link_url url = parsed("redis://cache.example");
    assert_string_equal(url.seeds[0].host, "cache.example");
    assert_string_equal(url.seeds[0].port, "6379");
    assert_int_equal(url.database, 0);
    assert_false(url.is_tls);

    url = parsed("rediss://mete@[::1]:7000/15");
    assert_string_equal(url.user, "mete");
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
    url = parsed("/run/redis.sock");
    assert_string_equal(url.seeds[0].host, "/run/redis.sock");
}

static void test_refused(void **state)
{
    (void)state;
    refuse("", "redis://HOST:6379");
    refuse("http://a", "redis://HOST:6379");
    refuse("redis://", "host and port");
    refuse("redis://a:0", "host and port");
    refuse("redis://a:65536", "host and port");
    refuse("redis://a:99999999999999999999", "host and port");
    refuse("redis://a,,b", "host and port");
    refuse("redis://[::1", "host and port");
    refuse("redis://[::1]7", "host and port");
    refuse("redis://u:p@a", "password_file");
    refuse("redis://@a", "user");
    refuse("redis://a/b", "database");
    refuse("redis://a/9999999999", "database");
    refuse("unix://", "empty");
    refuse("redis://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "16");
}

/* As a Cluster tells it in redirections: IPv6 without brackets. */
static void test_addresses(void **state)
{
    (void)state;
    struct link_address address;
    char text[300];

    assert_int_equal(link_address_parse("fd00::7:6380", 12, &address), 0);
    assert_string_equal(address.host, "fd00::7");
    assert_string_equal(link_address_text(&address, text, sizeof(text)), "[fd00::7]:6380");
    assert_int_equal(link_address_parse(":6380", 5, &address), -EINVAL);
    assert_int_equal(link_address_parse("a:", 2, &address), -EINVAL);
    assert_int_equal(link_address_parse("\0a:1", 4, &address), -EINVAL);
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
