/* Any bytes as a configuration, or as a part of one: the first byte chooses where they stand. The
 * result is a configuration or one printable line, never both and never neither. What was accepted
 * prints as a text that is accepted again, prints the same and differs in nothing, and each of its
 * rules is found by its id, each override by its subject. No file is read: a secret's bytes come
 * from its name, and the only time zone is UTC. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/diff.h"

#define ERROR_SIZE 256u
#define MAX_TEXT 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int is_true)
{
    if (!is_true)
        abort();
}

static char *print(const struct config *config, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_len);
    require(out != NULL);
    config_print(config, out);
    require(fclose(out) == 0);
    return text;
}

/* In place of files, config_read_fn. The end of a path says what is behind it: any length of any
 * bytes, or a mistake. */
static int read_nothing(const char *path, uint8_t *ret_bytes, size_t size, size_t *ret_len,
                        char *problem, size_t problem_size)
{
    const size_t len = strlen(path);
    const char last = path[len - 1];
    if (last == 'x') {
        snprintf(problem, problem_size, "is not there");
        return -1;
    }
    for (size_t i = 0; i < size; i++)
        ret_bytes[i] = (uint8_t)path[i % len];
    *ret_len = last == 'k' ? CONFIG_KEY_BYTES : (size_t)last % (size + 1);
    return 0;
}

static struct config *parse(const char *name, const char *text, size_t len, char *error)
{
    const struct config_options options = {.path = name, .read = read_nothing};
    return config_parse_options(&options, text, len, error, ERROR_SIZE);
}

/* The override stands for its subject, for a prefix unless a longer or a whole one covers it. */
static uint32_t require_overrides(const struct tenant *tenant, const struct rule *rule)
{
    const struct config_overrides *overrides = rule->overrides;
    for (uint32_t i = 0; overrides && i < overrides->count; i++) {
        const struct config_override *item = &overrides->items[i];
        const struct key key = key_of_subject(item->subject, item->len, *tenant->seed);
        const struct rule *found = config_find_override(rule, key, item->subject, item->len);
        require(found == &item->rule || (item->is_prefix && found && found != rule));
        require(config_find_override(rule, (struct key){.low = 1}, "", 0) == rule);
    }
    return overrides ? overrides->count : 0;
}

static void require_found(const struct config *config)
{
    uint32_t rules = 0;
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        const struct tenant *tenant = &config->tenants[i];
        require(config_find_tenant(config, tenant->id) == tenant);
        for (uint32_t j = 0; j < tenant->rule_count; j++) {
            require(config_find_rule(tenant, tenant->rules[j].id) == &tenant->rules[j]);
            rules += require_overrides(tenant, &tenant->rules[j]);
        }
        rules += tenant->rule_count;
    }
    require(config->index_count == rules + config->tenant_count && config->tenant_count > 0);
}

static void judge(struct config *config, const char *error)
{
    char again_error[ERROR_SIZE] = "";
    size_t len, again_len;

    require((config == NULL) == (*error != 0));
    for (; *error; error++)
        require((unsigned char)*error >= 0x20 && *error != 0x7f);
    if (!config)
        return;
    require_found(config);
    char *text = print(config, &len);
    struct config *again = parse("again", text, len, again_error);
    require(again != NULL);
    char *again_text = print(again, &again_len);
    require(len == again_len && memcmp(text, again_text, len) == 0);
    struct diff diff;
    require(diff_init(&diff, config, again) == 0 && diff.count == 0);
    diff_deinit(&diff);
    config_destroy(again);
    config_destroy(config);
    free(again_text);
    free(text);
}

static void fuzz_file(const char *before, const char *middle, size_t len, const char *after)
{
    static char text[MAX_TEXT + 256];
    char error[ERROR_SIZE] = "";
    size_t at = strlen(before);
    memcpy(text, before, at);
    memcpy(text + at, middle, len);
    at += len;
    memcpy(text + at, after, strlen(after));
    at += strlen(after);
    judge(parse("fuzz", text, at, error), error);
}

static void fuzz_set(const char *middle, size_t len)
{
    static char set[MAX_TEXT + 1];
    char error[ERROR_SIZE] = "";
    const char *sets[] = {set};
    const struct config_options options = {.sets = sets, .set_count = 1, .read = read_nothing};
    memcpy(set, middle, len);
    set[len] = 0;
    judge(config_load(&options, error, sizeof(error)), error);
}

static void fuzz_rule_text(const char *middle, size_t len)
{
    static char text[MAX_TEXT + 1];
    char error[ERROR_SIZE] = "";
    struct limit_spec spec;
    struct limit limit;
    memcpy(text, middle, len);
    text[len] = 0;
    const int result = config_parse_rule_text(text, &spec, error, sizeof(error));
    require((result != 0) == (*error != 0));
    for (const char *at = error; *at; at++)
        require((unsigned char)*at >= 0x20 && *at != 0x7f);
    require(result != 0 || limit_compile(&spec, &limit) == LIMIT_OK);

    struct calendar *calendar = NULL;
    *error = 0;
    const int compiled = config_compile_rule_text(text, &limit, &calendar, error, sizeof(error));
    require((compiled != 0) == (*error != 0));
    require(result != 0 || compiled == 0);
    require(compiled != 0 || (calendar != NULL) == (limit.algorithm == ALGORITHM_CALENDAR));
    for (const char *at = error; *at; at++)
        require((unsigned char)*at >= 0x20 && *at != 0x7f);
    free(calendar);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > MAX_TEXT)
        return 0;
    setenv("TZDIR", "/nonexistent", 1);
    const char *text = (const char *)data + 1;
    const size_t len = size - 1;
    switch (data[0] % 11) {
    case 0:
        fuzz_file("", text, len, "");
        break;
    case 1:
        fuzz_file("", text, len, "\ntenants: [{name: a}]\n");
        break;
    case 2:
        fuzz_file("listen: {admin: none, udp: ", text, len, "}\ntenants: [{name: a}]\n");
        break;
    case 3:
        fuzz_file("trusted_networks: [", text, len, "]\ntenants: [{name: a}]\n");
        break;
    case 4:
        fuzz_file("tiers: {t: {rules: [{name: r, algorithm: deny}]}}\ntenants: [", text, len,
                  "]\n");
        break;
    case 5:
        fuzz_file("tenants: [{name: a, rules: [{name: r, algorithm: ", text, len, "}]}]\n");
        break;
    case 6:
        fuzz_file("tenants: [{name: a, rules: [{name: r, algorithm: token_bucket, rate: 1/s, "
                  "overrides: [",
                  text, len, "]}]}]\n");
        break;
    case 7:
        fuzz_file("key_file: k\nlisten: {udp: \"[::]:1\"}\ntenants: [{name: a, secret_files: ",
                  text, len, "}]\n");
        break;
    case 8:
        fuzz_file("tenants: [{name: a, api_keys: [{name: k, may: check, sha256: ", text, len,
                  "}]}]\n");
        break;
    case 9:
        fuzz_set(text, len);
        break;
    default:
        fuzz_rule_text(text, len);
        break;
    }
    return 0;
}
