/* What a new configuration would change: pairs of texts and the lines that must come of them, live
 * ones first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "config/diff.h"

#define MAX_LINES 8

/* Instead of files: the bytes of a secret are its file's name; every second byte so, to make 32 of
 * a key. */
static int read_name(const char *path, uint8_t *ret_bytes, size_t size, size_t *ret_len,
                     char *problem, size_t problem_size)
{
    (void)problem;
    (void)problem_size;
    const char *name = strrchr(path, '/') + 1;
    *ret_len = strncmp(name, "key", 3) == 0 ? CONFIG_KEY_BYTES : strlen(name);
    assert_true(*ret_len <= size);
    memset(ret_bytes, name[3], *ret_len);
    if (*ret_len == strlen(name))
        memcpy(ret_bytes, name, *ret_len);
    return 0;
}

static struct config *parse(const char *text)
{
    char error[512] = "";
    const struct config_options options = {.path = "/x/test.yaml", .read = read_name};
    struct config *config =
        config_parse_options(&options, text, strlen(text), error, sizeof(error));
    if (!config)
        fail_msg("%s", error);
    return config;
}

#define A "tenants:\n- name: a\n"
#define RULE(text) A "  rules: [{name: r, " text "}]\n"
#define BUCKET "algorithm: token_bucket, rate: 10/s"
#define RESTART ", needs a restart"

static const struct {
    const char *from, *to;
    const char *lines[MAX_LINES]; /* a line that begins with '!' needs a restart */
} CASES[] = {
    {A, A, {NULL}},
    {RULE(BUCKET), RULE(BUCKET ", burst: 10"), {NULL}},
    {"key_file: key1\n" A, "key_file: key1\n" A, {NULL}},
    /* The same rules, by a tier or not. */
    {RULE(BUCKET),
     "tiers: {t: {rules: [{name: r, " BUCKET "}]}}\n" A "  tier: t\n",
     {"tenant a: tier none -> t"}},
    {RULE(BUCKET),
     RULE(BUCKET ", burst: 30"),
     {"rule a/r: token_bucket 10/s burst 10 -> token_bucket 10/s burst 30, keeps what is owed"}},
    {RULE(BUCKET),
     RULE("algorithm: leaky_bucket, rate: 10/s"),
     {"rule a/r: token_bucket 10/s burst 10 -> leaky_bucket 10/s burst 10, starts fresh"}},
    {RULE("algorithm: leaky_bucket, rate: 10/s"),
     RULE("algorithm: leaky_bucket, rate: 10/s, mode: queue"),
     {"rule a/r: leaky_bucket 10/s burst 10 -> leaky_bucket 10/s burst 10 queue, starts fresh"}},
    {RULE("algorithm: fixed_window, limit: 5/60s"),
     RULE("algorithm: fixed_window, limit: 9/1m"),
     {"rule a/r: fixed_window 5/m -> fixed_window 9/m, keeps what is owed"}},
    {RULE("algorithm: sliding_window, limit: 5/60s"),
     RULE("algorithm: sliding_window, limit: 5/61s"),
     {"rule a/r: sliding_window 5/m -> sliding_window 5/61s, starts fresh"}},
    {RULE("algorithm: calendar, limit: 5, per: day"),
     RULE("algorithm: calendar, limit: 9, per: day, time_zone: UTC"),
     {"rule a/r: calendar 5/day UTC -> calendar 9/day UTC, keeps what is owed"}},
    {RULE("algorithm: calendar, limit: 5, per: day, time_zone: Europe/Berlin"),
     RULE("algorithm: calendar, limit: 5, per: day"),
     {"rule a/r: calendar 5/day Europe/Berlin -> calendar 5/day UTC, starts fresh"}},
    {RULE("algorithm: calendar, limit: 5, per: day"),
     RULE("algorithm: calendar, limit: 5, per: month"),
     {"rule a/r: calendar 5/day UTC -> calendar 5/month UTC, starts fresh"}},
    {RULE("algorithm: fixed_window, limit: 5/1d"),
     RULE("algorithm: calendar, limit: 5, per: day, overrides: [{subject: b, limit: 7}]"),
     {"rule a/r: fixed_window 5/d -> calendar 5/day UTC, starts fresh",
      "override a/r[b]: added, calendar 7/day UTC"}},
    {RULE("algorithm: deny"),
     RULE("algorithm: unlimited"),
     {"rule a/r: deny -> unlimited, starts fresh"}},
    {RULE(BUCKET ", shadow: true"), RULE(BUCKET), {"rule a/r: is no shadow any more: it denies"}},
    {RULE(BUCKET),
     RULE(BUCKET ", id: 5, shadow: true"),
     {"rule a/r: id 4144776981 -> 5, starts fresh",
      "rule a/r: becomes a shadow, which never denies"}},
    {RULE(BUCKET),
     A "  rules: [{name: q, algorithm: deny, shadow: true}, {name: z, " BUCKET "}]\n",
     {"rule a/q: added, deny, as a shadow", "rule a/r: removed",
      "rule a/z: added, token_bucket 10/s burst 10"}},
    {RULE(BUCKET ", overrides: [{subject: b, rate: 1/s}, {subject: c, rate: 1/s}, "
                 "{prefix: b, rate: 1/s}]"),
     RULE(BUCKET ", overrides: [{subject: c, rate: 2/s}, {prefix: a, rate: 1/s}, "
                 "{prefix: b, rate: 1/s}]"),
     {"override a/r[b]: removed",
      "override a/r[c]: token_bucket 1/s burst 1 -> token_bucket 2/s burst 2, keeps what is owed",
      "override a/r[a*]: added, token_bucket 1/s burst 1"}},
    {A, A "  checks: 10/s\n", {"tenant a: checks unlimited -> token_bucket 10/s burst 10"}},
    {A "  id: 6\n", A "  id: 7\n", {"tenant a: id 6 -> 7, starts fresh"}},
    {A "- name: b\n- name: c\n  rules: [{name: r, algorithm: deny}]\n",
     A "- name: c\n- {name: d, entries: 100}\n",
     {"tenant b: removed, its entries are freed", "rule c/r: removed", "tenant d: added, 0 rules",
      "!tenant d: entries 0 -> 100"}},
    {A "  entries: 100\n", A, {"!tenant a: entries 100 -> 0"}},
    /* The order of the names, not that of the ids. */
    {A,
     A "- name: c\n- name: d\n- name: b\n",
     {"tenant b: added, 0 rules", "tenant c: added, 0 rules", "tenant d: added, 0 rules"}},
    {A "  secret_files: old\n",
     A "  secret_files: [new, old]\n",
     {"tenant a: secrets rotated: 1 added, 0 removed, 1 kept"}},
    {A "  secret_files: [new, old]\n",
     A "  secret_files: [old, new]\n",
     {"tenant a: secrets change places"}},
    {A "  secret_files: [new, old]\n", A "  secret_files: [elsewhere/new, old]\n", {NULL}},
    {A "  secret_files: [one, two]\n",
     A "  secret_files: [six, ten]\n",
     {"tenant a: secrets rotated: 2 added, 2 removed, 0 kept"}},
    {"repeats: {window: 1s}\nreload: watch\ntrusted_networks: [10.0.0.0/8, 192.0.2.0/24]\n" A,
     "repeats: {ahead: 50ms, memory: 1MiB}\ntrusted_networks: [\"fd00::/8\", 10.0.0.0/8]\n" A,
     {"trusted_networks: 192.0.2.0/24 removed", "trusted_networks: fd00::/8 added",
      "reload: watch -> signal", "!repeats.window: 1s -> 200ms", "!repeats.ahead: 20ms -> 50ms",
      "!repeats.memory: 8MiB -> 1MiB"}},
    {"listen: {udp: 127.0.0.1:1, unix: /u}\nworkers: 2\nbackend: mmsg\n" A,
     "listen: {udp: [127.0.0.1:1, 127.0.0.1:2], admin: none}\nnamespace: n\n" A,
     {"!namespace: default -> n", "!listen.udp: [127.0.0.1:1] -> [127.0.0.1:1, 127.0.0.1:2]",
      "!listen.unix: /u -> none", "!listen.admin: /run/mete/admin.sock -> none",
      "!backend: mmsg -> auto", "!workers: 2 -> auto"}},
    {"table: {entries: 100, on_full: deny}\n" RULE(BUCKET),
     RULE(BUCKET ", shadow: true"),
     {"rule a/r: becomes a shadow, which never denies", "!table.on_full: deny -> evict",
      "!table.entries: 100 -> 1048576"}},
    {A, "key_file: key1\n" A, {"!key_file: another key, so that no subject keeps its bucket"}},
    {"key_file: key2\n" A,
     "key_file: key1\n" A,
     {"!key_file: another key, so that no subject keeps its bucket"}},
};

#define HASH_1 "0001020304050607000102030405060700010203040506070001020304050607"
#define HASH_2 "1001020304050607000102030405060700010203040506070001020304050607"
#define HASH_3 "2001020304050607000102030405060700010203040506070001020304050607"

static void compare(const char *from_text, const char *to_text, const char *const lines[MAX_LINES])
{
    struct config *from = parse(from_text), *to = parse(to_text);
    struct diff diff;
    size_t count = 0;
    assert_int_equal(diff_init(&diff, from, to), 0);
    for (; count < MAX_LINES && lines[count]; count++) {
        char expected[512];
        const bool is_live = lines[count][0] != '!';
        if (count == diff.count)
            fail_msg("'%s' is missing", lines[count]);
        snprintf(expected, sizeof(expected), "%s%s", lines[count] + !is_live,
                 is_live ? "" : RESTART);
        assert_string_equal(diff.changes[count].text, expected);
        assert_int_equal(diff.changes[count].is_live, is_live);
    }
    if (diff.count > count)
        fail_msg("'%s' is too much", diff.changes[count].text);
    diff_deinit(&diff);
    config_destroy(to);
    config_destroy(from);
}

static void test_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++)
        compare(CASES[i].from, CASES[i].to, CASES[i].lines);
}

static void test_api_keys(void **state)
{
    (void)state;
    static const char *const lines[MAX_LINES] = {"tenant a: API key one removed",
                                                 "tenant a: API key two changed",
                                                 "tenant a: API key four added"};
    compare(A "  api_keys:\n"
              "  - {name: one, sha256: " HASH_1 ", may: check}\n"
              "  - {name: two, sha256: " HASH_2 ", may: check}\n"
              "  - {name: three, sha256: " HASH_3 ", may: check}\n",
            A "  api_keys:\n"
              "  - {name: three, sha256: " HASH_3 ", may: check}\n"
              "  - {name: two, sha256: " HASH_2 ", may: manage}\n"
              "  - {name: four, sha256: " HASH_1 ", may: check}\n",
            lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_api_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
