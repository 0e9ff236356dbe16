/* Descriptors found in a level of a random tree, held against the words of descriptors.h read
 * literally: the value, else the longest prefix, else the key alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "config/config.h"
#include "config/descriptors.h"
#include "lib/random.h"

#define MOST 40u

struct line { /* as it stands in the file */
    char key[4], value[8];
    bool has_value;
};

static uint64_t seed_state;

static unsigned pick(unsigned below)
{
    seed_state = seed_state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(seed_state >> 33) % below;
}

/* A few short words, so that they meet. */
static void make_word(char *word, unsigned most)
{
    const unsigned len = pick(most) + 1;
    for (unsigned i = 0; i < len; i++)
        word[i] = "ab"[pick(2)];
    word[len] = '\0';
}

static unsigned make_lines(struct line lines[MOST])
{
    unsigned count = 0;
    while (count < 2 + pick(MOST - 2)) {
        struct line *line = &lines[count];
        make_word(line->key, 2);
        line->has_value = pick(4) != 0;
        make_word(line->value, 5);
        if (pick(2))
            memcpy(line->value + strlen(line->value), "*", 2);
        bool is_new = true;
        for (unsigned i = 0; i < count; i++)
            is_new &= strcmp(lines[i].key, line->key) != 0 ||
                      lines[i].has_value != line->has_value ||
                      (line->has_value && strcmp(lines[i].value, line->value) != 0);
        count += is_new;
        if (count == MOST || pick(MOST) == 0)
            break;
    }
    return count;
}

/* -1: none. */
static int find_slowly(const struct line *lines, unsigned count, const char *key, const char *value)
{
    int found = -1;
    size_t best = 0; /* 1: the key; 2 + length: a prefix; above all: the value */
    for (unsigned i = 0; i < count; i++) {
        const size_t len = strlen(lines[i].value);
        size_t rank = 0;
        if (strcmp(lines[i].key, key) != 0)
            continue;
        if (!lines[i].has_value)
            rank = 1;
        else if (lines[i].value[len - 1] == '*' && strncmp(lines[i].value, value, len - 1) == 0)
            rank = 2 + len;
        else if (strcmp(lines[i].value, value) == 0)
            rank = 1000;
        if (rank > best) {
            best = rank;
            found = (int)i;
        }
    }
    return found;
}

static void test_random_levels(void **state)
{
    const uint64_t first = random_seed(1), rounds = random_count(30000) / 100;
    (void)state;
    for (unsigned round = 0; round <= rounds; round++) {
        struct line lines[MOST];
        char yaml[8192], error[256];
        seed_state = first + round;
        const unsigned count = make_lines(lines);
        size_t len = (size_t)snprintf(yaml, sizeof(yaml),
                                      "tenants:\n  - name: a\n    rules: []\n    descriptors:\n");
        for (unsigned i = 0; i < count; i++)
            len += (size_t)snprintf(yaml + len, sizeof(yaml) - len, "      - {key: %s%s%s%s}\n",
                                    lines[i].key, lines[i].has_value ? ", value: \"" : "",
                                    lines[i].has_value ? lines[i].value : "",
                                    lines[i].has_value ? "\"" : "");
        struct config *config = config_parse("test", yaml, len, error, sizeof(error));
        if (!config)
            fail_msg("seed %llu: %s\n%s", (unsigned long long)(first + round), error, yaml);
        const struct descriptors *level = config->tenants[0].descriptors;
        for (unsigned i = 0; i < 200; i++) {
            char key[4], value[8];
            make_word(key, 2);
            make_word(value, 6);
            const int wanted = find_slowly(lines, count, key, value);
            const struct descriptor *found =
                descriptors_find(level, key, strlen(key), value, strlen(value));
            char got[16] = "";
            if (found && found->kind != DESCRIPTOR_ANY)
                snprintf(got, sizeof(got), "%s%s", found->value,
                         found->kind == DESCRIPTOR_PREFIX ? "*" : "");
            if ((wanted < 0) != !found ||
                (found && (strcmp(found->key, key) != 0 ||
                           strcmp(got, lines[wanted].has_value ? lines[wanted].value : "") != 0)))
                fail_msg("seed %llu: %s=%s found '%s'\n%s", (unsigned long long)(first + round),
                         key, value, got, yaml);
        }
        config_destroy(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_levels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
