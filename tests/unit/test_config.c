/* The configuration as a value: lookups, inheritance, indices, seeds, rules in one line, trust.
 * What a broken file is told stands in e2e/test_config.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "config/config.h"
#include "core/key.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static struct config *parse(const char *text)
{
    char error[512] = "";
    struct config *config = config_parse("test.yaml", text, strlen(text), error, sizeof(error));
    if (!config)
        fail_msg("%s", error);
    return config;
}

static void refuse(const char *text, const char *expected)
{
    char error[512] = "";
    assert_null(config_parse("test.yaml", text, strlen(text), error, sizeof(error)));
    assert_string_equal(error, expected);
}

static const struct rule *rule_named(const struct tenant *tenant, const char *name)
{
    return config_find_rule(tenant, key_name_id(name, strlen(name)));
}

static void test_embedded_default(void **state)
{
    (void)state;
    char error[512] = "";
    const struct config_options options = {.path = NULL};
    struct config *config = config_load(&options, error, sizeof(error));
    assert_string_equal(error, "");
    assert_non_null(config);
    assert_null(config->path);
    assert_string_equal(config->namespace_name, "default");
    assert_int_equal(config->listen_udp_count, 1);
    assert_string_equal(config->listen_udp[0].text, "127.0.0.1:6383");
    const struct sockaddr_in *udp = (const void *)&config->listen_udp[0].address;
    assert_int_equal(udp->sin_family, AF_INET);
    assert_int_equal(ntohs(udp->sin_port), 6383);
    assert_int_equal(ntohl(udp->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(config->listen_udp[0].len, sizeof(*udp));
    assert_string_equal(config->listen_admin, "/run/mete/admin.sock");
    assert_true(config->listen_admin_is_default);
    assert_int_equal(config->trusted_count, 0);
    assert_int_equal(config->workers, 0);
    assert_int_equal(config->backend, BACKEND_AUTO);
    assert_int_equal(config->table_entries, 1048576);
    assert_int_equal(config->on_full, ON_FULL_EVICT);
    assert_int_equal(config->tenant_count, 1);
    assert_int_equal(config->index_count, 3);

    const struct tenant *tenant = config_find_tenant(config, key_name_id("default", 7));
    assert_ptr_equal(tenant, config_find_tenant_by_name(config, "default"));
    assert_non_null(tenant);
    assert_null(tenant->fallback);
    /* BLAKE2b of "mete seed 1default", 8 bytes, by another implementation. */
    assert_true(*tenant->seed == 0x209ef7297a3b2578ull);
    const struct rule *demo = rule_named(tenant, "demo");
    assert_string_equal(demo->name, "demo");
    assert_int_equal(demo->id, 0xaefd3536);
    assert_int_equal(demo->limit.algorithm, ALGORITHM_TOKEN_BUCKET);
    assert_int_equal(demo->limit.burst, 10);
    assert_int_equal(demo->limit.interval, 8000000000ull);
    assert_int_equal(rule_named(tenant, "fast")->limit.burst, 1000000);
    config_destroy(config);
}

static const char INHERITANCE[] = "tiers:\n"
                                  "  free:\n"
                                  "    rules:\n"
                                  "      - {name: api, algorithm: token_bucket, rate: 10/s}\n"
                                  "      - {name: login, algorithm: deny}\n"
                                  "      - {name: default, algorithm: unlimited}\n"
                                  "tenants:\n"
                                  "  - name: acme\n"
                                  "    tier: free\n"
                                  "    entries: 64\n"
                                  "    rules:\n"
                                  "      - {name: login, algorithm: sliding_window, limit: 5/60s}\n"
                                  "      - {name: own, id: 7, algorithm: leaky_bucket, rate: 1/s,\n"
                                  "         burst: 3, mode: queue, shadow: true}\n"
                                  "  - {name: bare, tier: free}\n"
                                  "  - name: none\n";

static void test_inheritance(void **state)
{
    (void)state;
    struct config *config = parse(INHERITANCE);
    const struct tenant *acme = config_find_tenant_by_name(config, "acme");
    const struct tenant *bare = config_find_tenant_by_name(config, "bare");
    const struct tenant *none = config_find_tenant_by_name(config, "none");

    assert_int_equal(acme->rule_count, 4);
    assert_string_equal(acme->tier, "free");
    assert_int_equal(acme->entries, 64);
    assert_true(*acme->seed == 0x2a1a9bf77a45ead9ull);
    assert_int_equal(rule_named(acme, "login")->limit.algorithm, ALGORITHM_SLIDING_WINDOW);
    assert_int_equal(rule_named(acme, "api")->limit.burst, 10);
    assert_false(rule_named(acme, "api")->shadow);
    const struct rule *own = config_find_rule(acme, 7);
    assert_string_equal(own->name, "own");
    assert_int_equal(own->limit.algorithm, ALGORITHM_LEAKY_QUEUE);
    assert_true(own->queue && own->shadow);
    /* A name with an id of its own is not found by its hash: `default` answers. */
    assert_ptr_equal(rule_named(acme, "own"), acme->fallback);
    assert_string_equal(acme->fallback->name, "default");

    assert_int_equal(bare->rule_count, 3);
    assert_int_equal(rule_named(bare, "login")->limit.algorithm, ALGORITHM_DENY);
    assert_int_equal(rule_named(bare, "nowhere")->limit.algorithm, ALGORITHM_UNLIMITED);
    assert_int_equal(none->rule_count, 0);
    assert_null(none->tier);
    assert_null(rule_named(none, "login"));
    assert_null(config_find_rule(none, 0));
    assert_ptr_equal(config_find_rule(bare, 0), bare->fallback);
    assert_null(config_find_tenant(config, 0));
    assert_null(config_find_tenant(config, 12345));
    assert_null(config_find_tenant_by_name(config, "nobody"));
    config_destroy(config);
}

/* Every index from 0 to index_count - 1 is given to one rule or one tenant's inline limits. */
static void assert_indices(const struct config *config)
{
    unsigned char *seen = calloc(config->index_count, 1);
    assert_non_null(seen);
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        const struct tenant *tenant = &config->tenants[i];
        assert_true(i == 0 || config->tenants[i - 1].id < tenant->id);
        assert_ptr_equal(config_find_tenant(config, tenant->id), tenant);
        assert_true(tenant->inline_index < config->index_count);
        assert_int_equal(seen[tenant->inline_index]++, 0);
        for (uint32_t j = 0; j < tenant->rule_count; j++) {
            const struct rule *rule = &tenant->rules[j];
            assert_true(j == 0 || tenant->rules[j - 1].id < rule->id);
            assert_ptr_equal(config_find_rule(tenant, rule->id), rule);
            assert_int_equal(rule->index, tenant->first_rule_index + j);
            assert_true(rule->index < config->index_count);
            assert_int_equal(seen[rule->index]++, 0);
        }
    }
    for (uint32_t i = 0; i < config->index_count; i++)
        assert_int_equal(seen[i], 1);
    free(seen);
}

static void test_indices(void **state)
{
    (void)state;
    struct config *config = parse(INHERITANCE);
    assert_int_equal(config->index_count, 4 + 3 + 3);
    assert_indices(config);
    config_destroy(config);
}

/* Ids next to each other, ids that differ only in high bits, and hashes: all are found, and what
 * is not there is not. */
static void test_many(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    fputs("tenants:\n", out);
    for (unsigned i = 0; i < 3000; i++) {
        const unsigned rules = i == 0 ? 5000 : i < 20 ? i : 0;
        fprintf(out, "- {name: t%u, rules: [", i);
        for (unsigned j = 0; j < rules; j++) {
            fprintf(out, "{name: r%u, algorithm: deny", j);
            if (i % 3)
                fprintf(out, ", id: %u", i % 3 == 1 ? j + 1 : (j + 1) << 24);
            fputs("},", out);
        }
        fputs("]}\n", out);
    }
    fclose(out);
    struct config *config = parse(text);
    free(text);
    assert_indices(config);
    for (uint32_t i = 0; i < config->tenant_count; i++)
        for (uint32_t id = 100; id < 110; id++)
            assert_null(config_find_rule(&config->tenants[i], id));
    for (uint32_t id = 0; id < 10000; id++)
        assert_null(config_find_tenant(config, id));
    config_destroy(config);
}

static void test_print_reads_back(void **state)
{
    (void)state;
    char *first = NULL, *second = NULL;
    size_t first_len, second_len;
    struct config *config = parse(INHERITANCE);
    FILE *out = open_memstream(&first, &first_len);
    config_print(config, out);
    fclose(out);
    struct config *again = parse(first);
    out = open_memstream(&second, &second_len);
    config_print(again, out);
    fclose(out);
    assert_string_equal(first, second);
    assert_true(again->listen_admin_is_default);
    assert_int_equal(again->index_count, config->index_count);
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        const struct tenant *a = &config->tenants[i], *b = &again->tenants[i];
        assert_true(a->id == b->id && *a->seed == *b->seed && a->entries == b->entries);
        assert_true(!a->tier == !b->tier);
        assert_int_equal(a->rule_count, b->rule_count);
        for (uint32_t j = 0; j < a->rule_count; j++) {
            assert_string_equal(a->rules[j].name, b->rules[j].name);
            assert_int_equal(a->rules[j].shadow, b->rules[j].shadow);
            assert_int_equal(a->rules[j].queue, b->rules[j].queue);
            assert_memory_equal(&a->rules[j].limit, &b->rules[j].limit, sizeof(struct limit));
        }
    }
    config_destroy(again);
    config_destroy(config);
    free(first);
    free(second);
}

static void test_strength(void **state)
{
    (void)state;
    char error[512] = "";
    char entries[] = "METE_TABLE_ENTRIES=200", workers[] = "METE_WORKERS=3",
         other[] = "METE_SEED=x";
    char *environment[] = {other, entries, workers, NULL};
    const char *sets[] = {"workers=4", "listen.udp=[::1]:7000", "listen.admin=/tmp/a"};
    const struct config_options options = {
        .sets = sets, .set_count = COUNT_OF(sets), .environment = environment};
    struct config *config = config_load(&options, error, sizeof(error));
    assert_string_equal(error, "");
    assert_int_equal(config->table_entries, 200);
    assert_int_equal(config->workers, 4);
    const struct sockaddr_in6 *udp = (const void *)&config->listen_udp[0].address;
    assert_int_equal(udp->sin6_family, AF_INET6);
    assert_int_equal(ntohs(udp->sin6_port), 7000);
    assert_memory_equal(&udp->sin6_addr, &in6addr_loopback, 16);
    assert_string_equal(config->listen_admin, "/tmp/a");
    assert_false(config->listen_admin_is_default);
    config_destroy(config);
}

static void test_messages(void **state)
{
    (void)state;
    refuse("tenants:\n  - name: a\n    rules:\n      - {name: r, algorithm: token_bucket,\n"
           "         rate: 10/x}\n",
           "test.yaml:5: tenants[0].rules[0].rate: '10/x' has unit 'x'; one of ms, s, m, h, d");
    refuse("", "test.yaml:1: tenants: at least one is needed; for example tenants: "
               "[{name: default, rules: []}]");
    /* Cut to the room there is; no room at all is fine too. */
    char error[12] = "untouched";
    assert_null(config_parse("test.yaml", "x: 1", 4, error, sizeof(error)));
    assert_string_equal(error, "test.yaml:1");
    assert_null(config_parse("test.yaml", "x: 1", 4, NULL, 0));
}

static void test_rule_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct limit_spec spec;
    } good[] = {
        {"token_bucket 10/s burst 20", {ALGORITHM_TOKEN_BUCKET, 10, 1000000000, 20}},
        {"token_bucket 10/2ms", {ALGORITHM_TOKEN_BUCKET, 10, 2000000, 10}},
        {"leaky_bucket 5/s burst 10 queue", {ALGORITHM_LEAKY_QUEUE, 5, 1000000000, 10}},
        {"leaky_bucket 5/s deny", {ALGORITHM_LEAKY_METER, 5, 1000000000, 5}},
        {"  leaky_bucket\t5/s queue ", {ALGORITHM_LEAKY_QUEUE, 5, 1000000000, 5}},
        {"sliding_window 100/1m", {ALGORITHM_SLIDING_WINDOW, 100, 60000000000, 0}},
        {"fixed_window 10/h", {ALGORITHM_FIXED_WINDOW, 10, 3600000000000, 0}},
        {"fixed_window 10/7d", {ALGORITHM_FIXED_WINDOW, 10, 604800000000000, 0}},
        {"unlimited", {ALGORITHM_UNLIMITED, 0, 0, 0}},
        {"deny", {ALGORITHM_DENY, 0, 0, 0}},
    };
    static const struct {
        const char *text, *phrase;
    } bad[] = {
        {"", "is not a rule"},
        {"magic 10/s", "'magic' is not a served algorithm"},
        {"concurrency 10/s", "not a served algorithm"},
        {"token_bucket", "needs a rate"},
        {"sliding_window", "needs a limit"},
        {"token_bucket 10", "COUNT/[N]UNIT"},
        {"token_bucket 10/y", "unit 'y'; one of ms, s, m, h, d"},
        {"token_bucket 10/s burst", "burst ''"},
        {"token_bucket 10/s burst 0", "burst '0'"},
        {"token_bucket 10/s burst -1", "burst '-1'"},
        {"token_bucket 10/s 20", "'20' is not expected after '10/s'"},
        {"token_bucket 10/s queue", "'queue' is not expected"},
        {"fixed_window 10/s burst 5", "'burst' is not expected"},
        {"deny 5/s", "'5/s' is not expected"},
        {"token_bucket 1/d burst 4294967295", "10 years"},
        {"token_bucket 5000000000/m", "add `burst N`"},
        {"fixed_window 5000000000/m", "limit is above 4294967295"},
        {"magic\n10/s", "'magic?10/s'"},
        {"a b c d e f g", "is not a rule"},
    };
    char error[512];
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct limit_spec spec = {0};
        if (config_parse_rule_text(good[i].text, &spec, error, sizeof(error)))
            fail_msg("%s: %s", good[i].text, error);
        assert_int_equal(spec.algorithm, good[i].spec.algorithm);
        assert_int_equal(spec.count, good[i].spec.count);
        assert_int_equal(spec.period_ns, good[i].spec.period_ns);
        assert_int_equal(spec.burst, good[i].spec.burst);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct limit_spec spec = {.count = 77};
        assert_int_equal(config_parse_rule_text(bad[i].text, &spec, error, sizeof(error)), -EINVAL);
        if (!strstr(error, bad[i].phrase))
            fail_msg("'%s' gives '%s', not '%s'", bad[i].text, error, bad[i].phrase);
        assert_int_equal(spec.count, 77);
    }
}

static bool is_trusted(const struct config *config, const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return config_is_trusted(config, (const struct sockaddr *)&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return config_is_trusted(config, (const struct sockaddr *)&v6);
}

static void test_trusted(void **state)
{
    (void)state;
    static const char *const inside[] = {"127.0.0.1",        "127.255.0.9", "::1",
                                         "::ffff:127.0.0.1", "10.0.0.0",    "10.255.255.255",
                                         "::ffff:10.1.2.3",  "192.0.2.7",   "198.51.100.191",
                                         "fd00::1",          "fdff::1",     "2001:db8:0:1fff::1"};
    static const char *const outside[] = {"128.0.0.1",
                                          "126.255.255.255",
                                          "11.0.0.0",
                                          "9.255.255.255",
                                          "192.0.2.6",
                                          "192.0.2.8",
                                          "198.51.100.192",
                                          "198.51.100.127",
                                          "fc00::1",
                                          "fe00::1",
                                          "::",
                                          "::2",
                                          "0.0.0.1",
                                          "2001:db8:0:2000::1",
                                          "::ffff:11.0.0.1",
                                          "::127.0.0.1",
                                          "::fffe:127.0.0.1"};
    struct config *config = parse("trusted_networks: [10.0.0.0/8, 192.0.2.7, 198.51.100.128/26,\n"
                                  "  'fd00::/8', '2001:db8::/51']\ntenants: [{name: a}]\n");
    for (size_t i = 0; i < COUNT_OF(inside); i++)
        if (!is_trusted(config, inside[i]))
            fail_msg("%s is not trusted", inside[i]);
    for (size_t i = 0; i < COUNT_OF(outside); i++)
        if (is_trusted(config, outside[i]))
            fail_msg("%s is trusted", outside[i]);
    const struct sockaddr_un local = {.sun_family = AF_UNIX};
    const struct sockaddr unknown = {.sa_family = AF_UNSPEC};
    assert_true(config_is_trusted(config, (const struct sockaddr *)&local));
    assert_false(config_is_trusted(config, &unknown));
    config_destroy(config);

    config = parse("trusted_networks: 0.0.0.0/0\ntenants: [{name: a}]\n");
    assert_true(is_trusted(config, "203.0.113.9"));
    assert_false(is_trusted(config, "2001:db8::1"));
    config_destroy(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embedded_default), cmocka_unit_test(test_inheritance),
        cmocka_unit_test(test_indices),          cmocka_unit_test(test_many),
        cmocka_unit_test(test_print_reads_back), cmocka_unit_test(test_strength),
        cmocka_unit_test(test_messages),         cmocka_unit_test(test_rule_text),
        cmocka_unit_test(test_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
