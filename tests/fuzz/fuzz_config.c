/* Any bytes as a configuration, or as a part of one: the first byte chooses where they stand. The
 * result is a configuration or one printable line, never both and never neither. What was accepted
 * prints as a text that is accepted again and prints the same, and each of its rules is found by
 * its id. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

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

static void require_found(const struct config *config)
{
    uint32_t rules = 0;
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        const struct tenant *tenant = &config->tenants[i];
        require(config_find_tenant(config, tenant->id) == tenant);
        for (uint32_t j = 0; j < tenant->rule_count; j++)
            require(config_find_rule(tenant, tenant->rules[j].id) == &tenant->rules[j]);
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
    struct config *again = config_parse("again", text, len, again_error, sizeof(again_error));
    require(again != NULL);
    char *again_text = print(again, &again_len);
    require(len == again_len && memcmp(text, again_text, len) == 0);
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
    judge(config_parse("fuzz", text, at, error, sizeof(error)), error);
}

static void fuzz_set(const char *middle, size_t len)
{
    static char set[MAX_TEXT + 1];
    char error[ERROR_SIZE] = "";
    const char *sets[] = {set};
    const struct config_options options = {.sets = sets, .set_count = 1};
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
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > MAX_TEXT)
        return 0;
    const char *text = (const char *)data + 1;
    const size_t len = size - 1;
    switch (data[0] % 8) {
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
        fuzz_set(text, len);
        break;
    default:
        fuzz_rule_text(text, len);
        break;
    }
    return 0;
}
