/* Who a client of /echo is by its address: an IPv4 host, the /64 of an IPv6 one, and that this is
 * the bucket that decides. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "doors/http_client.h"
#include "unit/http_world.h"

static const char text[] = "tenants:\n  - name: default\n    rules:\n"
                           "      - {name: demo, algorithm: token_bucket, rate: 1/h, burst: 2}\n";

static struct http_world world;

static void set_peer(const char *address)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&world.peer;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&world.peer;
    memset(&world.peer, 0, sizeof(world.peer));
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1)
        v4->sin_family = AF_INET;
    else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1)
        v6->sin6_family = AF_INET6;
    else
        world.peer.ss_family = AF_UNIX;
}

static void test_clients(void **state)
{
    static const char request[] = "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n";
    static const struct {
        const char *peer, *client;
        unsigned remaining, status;
    } table[] = {
        {"192.0.2.1", "192.0.2.1", 1, 200},
        {"192.0.2.2", "192.0.2.2", 1, 200},
        {"192.0.2.1", "192.0.2.1", 0, 200},
        {"192.0.2.1", "192.0.2.1", 0, 429},
        {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", 1, 200},
        {"2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64", 0, 200},
        {"2001:db8:1:2::", "2001:db8:1:2::/64", 0, 429},
        {"2001:db8:1:3::", "2001:db8:1:3::/64", 1, 200},
        {"::1", "::/64", 1, 200},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff::/64", 1, 200},
        {"unix", "unix", 1, 200},
    };
    (void)state;
    assert_true(http_world_init(&world, text));
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct http_talk talk = {.len = 0};
        char status[32], body[128];
        set_peer(table[i].peer);
        assert_int_equal(http_world_say(&world, &talk, request, sizeof(request) - 1),
                         sizeof(request) - 1);
        talk.answers[talk.len] = 0;
        snprintf(status, sizeof(status), "HTTP/1.1 %u ", table[i].status);
        snprintf(body, sizeof(body), "\"client\":\"%s\",\"message\":\"\",\"allowed\":%s,",
                 table[i].client, table[i].status == 200 ? "true" : "false");
        assert_memory_equal(talk.answers, status, strlen(status));
        assert_non_null(strstr((const char *)talk.answers, body));
        snprintf(body, sizeof(body), "\"remaining\":%u,", table[i].remaining);
        assert_non_null(strstr((const char *)talk.answers, body));
    }
    http_world_deinit(&world);
}

static void test_headers_of_proxies(void **state)
{
    static const char *const table[][2] = {
        {"192.0.2.1", "192.0.2.1"},
        {"10.0.0.1, 192.0.2.1", "192.0.2.1"},
        {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
        {"10.0.0.1,\t 2001:db8::5", "2001:db8::/64"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"alice", "alice"},
        {"a:b", "a:b"},
        {"[2001:db8::1]:80", "[2001:db8::1]:80"},
        {"x, ", ""},
        {"2001:db8:1:2:3:4:5:6:7:8:9:10:11:12:13:14:15",
         "2001:db8:1:2:3:4:5:6:7:8:9:10:11:12:13:14:15"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char room[HTTP_CLIENT_SIZE];
        const struct http_text value = {table[i][0], strlen(table[i][0])};
        const struct http_text client = http_client_of_header(value, room);
        assert_int_equal(client.len, strlen(table[i][1]));
        assert_memory_equal(client.at, table[i][1], client.len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_clients),
                                       cmocka_unit_test(test_headers_of_proxies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
