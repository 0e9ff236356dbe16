/* Overrides of rules: which one a subject gets, against a model that tries all of them; that a
 * tier's overrides follow each tenant's own seed; the bounds. Random: METE_SEED and METE_COUNT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "core/key.h"
#include "lib/random.h"

#define MAX_LEN 12u

static struct config *parse(const char *text)
{
    char error[512] = "";
    struct config *config = config_parse("test.yaml", text, strlen(text), error, sizeof(error));
    if (!config)
        fail_msg("%s", error);
    return config;
}

static const struct rule *rule_named(const struct tenant *tenant, const char *name)
{
    return config_find_rule(tenant, key_name_id(name, strlen(name)));
}

/* The rule a subject gets, asked with its bytes. */
static const struct rule *find(const struct tenant *tenant, const struct rule *rule,
                               const char *subject)
{
    const size_t len = strlen(subject);
    return config_find_override(rule, key_of_subject(subject, len, *tenant->seed), subject, len);
}

static const struct rule *find_hashed(const struct tenant *tenant, const struct rule *rule,
                                      const char *subject)
{
    const size_t len = strlen(subject);
    return config_find_override(rule, key_of_subject(subject, len, *tenant->seed), NULL, 0);
}

static const char TEXT[] =
    "tiers:\n"
    "  t:\n"
    "    rules:\n"
    "      - name: api\n"
    "        algorithm: token_bucket\n"
    "        rate: 10/s\n"
    "        shadow: true\n"
    "        overrides:\n"
    "          - {prefix: \"bot:\", rate: 1/s}\n"
    "          - {subject: \"user:42\", rate: 100/s, burst: 200}\n"
    "          - {prefix: \"bot:nice:\", rate: 5/s}\n"
    "          - {subject: \"bot:nice:best\", rate: 7/s}\n"
    "      - {name: w, algorithm: sliding_window, limit: 5/60s,\n"
    "         overrides: [{subject: x, limit: 9/30s}]}\n"
    "      - {name: plain, algorithm: token_bucket, rate: 1/s, overrides: []}\n"
    "tenants:\n"
    "  - {name: a, tier: t}\n"
    "  - {name: b, tier: t, rules: [{name: w, algorithm: deny}]}\n";

static void test_which_one(void **state)
{
    (void)state;
    struct config *config = parse(TEXT);
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        const struct tenant *tenant = &config->tenants[i];
        const struct rule *api = rule_named(tenant, "api");
        static const struct {
            const char *subject, *name;
            unsigned burst;
        } cases[] = {
            {"user:42", "api[user:42]", 200},
            {"user:421", "api", 10},
            {"user:4", "api", 10},
            {"bot:", "api[bot:*]", 1},
            {"bot:x", "api[bot:*]", 1},
            {"bot", "api", 10},
            {"", "api", 10},
            {"bot:nice", "api[bot:*]", 1},
            {"bot:nice:", "api[bot:nice:*]", 5},
            {"bot:nice:x", "api[bot:nice:*]", 5},
            {"bot:nice:best", "api[bot:nice:best]", 7},
            {"bot:z", "api[bot:*]", 1},
            {"zzz", "api", 10},
        };
        for (size_t j = 0; j < sizeof(cases) / sizeof(cases[0]); j++) {
            const struct rule *rule = find(tenant, api, cases[j].subject);
            assert_string_equal(rule->name, cases[j].name);
            assert_int_equal(rule->limit.burst, cases[j].burst);
            assert_true(rule->id == api->id && rule->shadow);
            assert_true((rule == api) == (rule->index == api->index));
        }
        /* A key shows a whole subject; whether a prefix fits it does not. */
        assert_true(api->needs_subject);
        assert_string_equal(find_hashed(tenant, api, "user:42")->name, "api[user:42]");
        assert_string_equal(find_hashed(tenant, api, "bot:nice:best")->name, "api[bot:nice:best]");
        assert_null(find_hashed(tenant, api, "nobody"));
        const struct rule *plain = rule_named(tenant, "plain");
        assert_null(plain->overrides);
        assert_ptr_equal(find_hashed(tenant, plain, "user:42"), plain);
    }
    const struct tenant *a = config_find_tenant_by_name(config, "a");
    const struct rule *w = rule_named(a, "w");
    assert_false(w->needs_subject);
    assert_int_equal(find_hashed(a, w, "x")->limit.burst, 9);
    assert_int_equal(find_hashed(a, w, "x")->limit.interval, 30000000000);
    assert_ptr_equal(find_hashed(a, w, "y"), w);
    assert_null(rule_named(config_find_tenant_by_name(config, "b"), "w")->overrides);
    config_destroy(config);
}

/* Every index is given once: rules, overrides and inline limits. */
static void test_indices(void **state)
{
    (void)state;
    struct config *config = parse(TEXT);
    unsigned char seen[32] = {0};
    assert_int_equal(config->index_count, 3 + 5 + 3 + 4 + 2);
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        const struct tenant *tenant = &config->tenants[i];
        seen[tenant->inline_index]++;
        for (uint32_t j = 0; j < tenant->rule_count; j++) {
            const struct config_overrides *overrides = tenant->rules[j].overrides;
            seen[tenant->rules[j].index]++;
            for (uint32_t k = 0; overrides && k < overrides->count; k++)
                seen[overrides->items[k].rule.index]++;
        }
    }
    for (uint32_t i = 0; i < sizeof(seen); i++)
        assert_int_equal(seen[i], i < config->index_count);
    config_destroy(config);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Few letters, so that prefixes nest and subjects meet them. Not a blank first or last, which is
 * printed in quotes anyway. */
static void make_word(uint64_t *random, char word[MAX_LEN + 1])
{
    const size_t len = 1 + next_random(random) % MAX_LEN;
    for (size_t i = 0; i < len; i++)
        word[i] = "aaab:~"[next_random(random) % 6];
    word[len] = 0;
}

/* Whole subject, else the longest prefix, else none: by trying all. */
static const struct rule *model(const struct rule *rule, const char *subject)
{
    const struct rule *best = rule;
    uint32_t best_len = 0;
    for (uint32_t i = 0; i < rule->overrides->count; i++) {
        const struct config_override *item = &rule->overrides->items[i];
        if (!item->is_prefix && strcmp(item->subject, subject) == 0)
            return &item->rule;
        if (item->is_prefix && item->len > best_len &&
            strncmp(item->subject, subject, item->len) == 0) {
            best = &item->rule;
            best_len = item->len;
        }
    }
    return best;
}

static struct config *make_random(uint64_t *random)
{
    char *text = NULL, error[512] = "";
    size_t len = 0;
    struct config *config = NULL;
    while (!config) { /* equal ones are refused: another draw */
        FILE *out = open_memstream(&text, &len);
        fputs("tenants: [{name: a, rules: [{name: r, algorithm: token_bucket, rate: 1/s, "
              "overrides: [",
              out);
        const unsigned count = 1 + next_random(random) % 40;
        for (unsigned i = 0; i < count; i++) {
            char word[MAX_LEN + 1];
            make_word(random, word);
            fprintf(out, "{%s: \"%s\", rate: 2/s},", next_random(random) % 3 ? "prefix" : "subject",
                    word);
        }
        fputs("]}]}]\n", out);
        fclose(out);
        config = config_parse("random", text, len, error, sizeof(error));
        if (!config)
            assert_non_null(strstr(error, "stands in overrides["));
        free(text);
    }
    return config;
}

static void test_against_model(void **state)
{
    (void)state;
    const uint64_t first = random_seed(1);
    const unsigned rounds = (unsigned)random_count(300);
    uint64_t random = first * 2654435769u + 88172645463325252u;
    unsigned found = 0;
    print_message("METE_SEED=%llu METE_COUNT=%u\n", (unsigned long long)first, rounds);
    for (unsigned i = 0; i < rounds; i++) {
        struct config *config = make_random(&random);
        const struct tenant *tenant = &config->tenants[0];
        const struct rule *rule = &tenant->rules[0];
        for (unsigned j = 0; j < 300; j++) {
            char subject[2 * MAX_LEN + 1] = "";
            make_word(&random, subject);
            if (j % 2)
                make_word(&random, subject + strlen(subject));
            const struct rule *expected = model(rule, subject);
            assert_ptr_equal(find(tenant, rule, subject), expected);
            found += expected != rule;
        }
        config_destroy(config);
    }
    assert_true(found > rounds); /* or nothing was tried */
}

/* As many as may be, of both kinds, and all are found. */
static void test_many(void **state)
{
    (void)state;
    char *text = NULL, error[512] = "", name[64];
    size_t len = 0;
    for (unsigned prefixes = CONFIG_MAX_PREFIXES; prefixes <= CONFIG_MAX_PREFIXES + 1; prefixes++) {
        FILE *out = open_memstream(&text, &len);
        fputs("tenants:\n- name: a\n  rules:\n  - name: r\n    algorithm: token_bucket\n"
              "    rate: 1/s\n    overrides:\n",
              out);
        for (unsigned i = 0; i < 20000; i++)
            fprintf(out, "    - {subject: user:%u, rate: %u/s}\n", i, i + 2);
        for (unsigned i = 0; i < prefixes; i++)
            fprintf(out, "    - {prefix: \"p%u:\", rate: %u/s}\n", i, i + 2);
        fclose(out);
        struct config *config = config_parse("many", text, len, error, sizeof(error));
        free(text);
        if (prefixes > CONFIG_MAX_PREFIXES) {
            assert_null(config);
            assert_non_null(strstr(error, "is one prefix too many; a rule has at most 1024"));
            break;
        }
        assert_non_null(config);
        const struct tenant *tenant = &config->tenants[0];
        for (unsigned i = 0; i < 20000; i++) {
            snprintf(name, sizeof(name), "user:%u", i);
            assert_int_equal(find_hashed(tenant, &tenant->rules[0], name)->limit.burst, i + 2);
        }
        for (unsigned i = 0; i < prefixes; i++) {
            snprintf(name, sizeof(name), "p%u:%u", i, i);
            assert_int_equal(find(tenant, &tenant->rules[0], name)->limit.burst, i + 2);
        }
        config_destroy(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_one),
        cmocka_unit_test(test_indices),
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
