/* Each file is one domain and becomes one tenant: each rate_limit a rule under a name made of its
 * keys and values, the tree of descriptors the same tree. What has no counterpart here is said with
 * its place. What is printed was parsed by our own parser before. */
#include "cmd/config_import.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cmd/cmd.h"
#include "config/config.h"
#include "config/report.h"
#include "config/value.h"
#include "config/yaml.h"

#define ERROR_SIZE 1024u
#define NAME_SIZE (CONFIG_MAX_NAME + 1)
#define PATH_SIZE 512u

struct import {
    const struct report *report; /* of the file at hand */
    char *error;
    FILE *rules, *descriptors;
    char (*names)[NAME_SIZE]; /* of the tenant's rules */
    size_t name_count, name_room;
    unsigned lost;
};

/* Says what is left out. */
static void lose(struct import *import, const struct node *node, const char *what)
{
    report_node(import->report, node, "%s", what);
    fprintf(stderr, "%s\n", import->error);
    import->lost++;
}

static void print_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++)
        fprintf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    fputc('"', out);
}

static const char *text_of(const struct node *map, const char *key)
{
    const struct node *node = yaml_tree_child(map, key);
    return node && node->kind == NODE_SCALAR ? node->text : "";
}

static bool is_true(const struct node *map, const char *key)
{
    return strcasecmp(text_of(map, key), "true") == 0;
}

/* ---- names ---- */

static bool is_taken(const struct import *import, const char *name)
{
    for (size_t i = 0; i < import->name_count; i++)
        if (strcmp(import->names[i], name) == 0)
            return true;
    return false;
}

/* A name for a rule, of its path; another one with a number behind it if it is taken. */
static int make_name(struct import *import, const char *path, char name[NAME_SIZE])
{
    char base[NAME_SIZE - 8];
    size_t len = 0;
    for (; path[len] && len < sizeof(base) - 1; len++)
        base[len] =
            isalnum((unsigned char)path[len]) || strchr("_.-/=", path[len]) ? path[len] : '_';
    base[len] = '\0';
    snprintf(name, NAME_SIZE, "%s", base);
    for (unsigned i = 2; is_taken(import, name) || strcmp(name, "default") == 0; i++)
        snprintf(name, NAME_SIZE, "%s-%u", base, i);
    if (import->name_count == import->name_room) {
        const size_t room = 2 * import->name_room + 64;
        char(*names)[NAME_SIZE] = realloc(import->names, room * sizeof(*names));
        if (!names)
            return report_memory(import->report);
        import->names = names;
        import->name_room = room;
    }
    memcpy(import->names[import->name_count++], name, NAME_SIZE);
    return 0;
}

/* ---- one limit ---- */

static const char *period_of(const char *unit)
{
    static const char *const units[][2] = {{"second", "1s"}, {"minute", "1m"}, {"hour", "1h"},
                                           {"day", "1d"},    {"week", "7d"},   {"month", "30d"},
                                           {"year", "365d"}};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcasecmp(unit, units[i][0]) == 0)
            return units[i][1];
    return NULL;
}

static void judge_fields(struct import *import, const struct node *map, const char *const *known)
{
    for (const struct node *node = map->children; node; node = node->next) {
        bool is_known = false;
        for (size_t i = 0; known[i]; i++)
            is_known |= strcmp(node->key, known[i]) == 0;
        if (!is_known)
            lose(import, node, "is left out: there is nothing like it here");
    }
}

/* The numbers of the rule: "fixed_window, limit: 5/1d", "unlimited", "deny". */
static int print_numbers(struct import *import, const struct node *limit)
{
    const struct node *count_node = yaml_tree_child(limit, "requests_per_unit");
    const struct node *unit_node = yaml_tree_child(limit, "unit");
    const char *period = period_of(text_of(limit, "unit"));
    uint64_t count = 0;
    if (is_true(limit, "unlimited")) {
        fputs("unlimited", import->rules);
        return 0;
    }
    if (!period)
        return report_node(import->report, unit_node ? unit_node : limit,
                           "the unit is none of second, minute, hour, day, week, month, year");
    if (count_node) {
        const int result = value_number(import->report, count_node, 0, UINT32_MAX, &count);
        if (result)
            return result;
    }
    if (count == 0)
        fputs("deny", import->rules);
    else
        fprintf(import->rules, "fixed_window, limit: %" PRIu64 "/%s", count, period);
    return 0;
}

static int import_limit(struct import *import, const struct node *descriptor,
                        const struct node *limit, const char *path, char name[NAME_SIZE])
{
    static const char *const known[] = {"unit", "requests_per_unit", "unlimited",
                                        "name", "replaces",          NULL};
    if (limit->kind != NODE_MAP)
        return report_node(import->report, limit, "is %s; a mapping is needed",
                           yaml_tree_kind_text(limit));
    int result = make_name(import, path, name);
    if (result)
        return result;
    fputs("      - {name: ", import->rules);
    print_quoted(import->rules, name);
    fputs(", algorithm: ", import->rules);
    result = print_numbers(import, limit);
    fputs(is_true(descriptor, "shadow_mode") ? ", shadow: true}\n" : "}\n", import->rules);
    const struct node *replaces = yaml_tree_child(limit, "replaces");
    if (replaces)
        lose(import, replaces, "is left out: no rule makes another one void; both will hold");
    judge_fields(import, limit, known);
    return result;
}

/* ---- the tree ---- */

static int import_list(struct import *import, const struct node *list, const char *path,
                       unsigned indent);

static void judge_descriptor(struct import *import, const struct node *map)
{
    static const char *const known[] = {
        "key",         "value",           "rate_limit", "shadow_mode", "detailed_metric",
        "descriptors", "share_threshold", NULL};
    const struct node *detailed = yaml_tree_child(map, "detailed_metric");
    if (detailed && is_true(map, "detailed_metric"))
        lose(import, detailed, "is left out: metrics go by rule, not by value");
    judge_fields(import, map, known);
}

static int import_descriptor(struct import *import, const struct node *map, const char *path,
                             unsigned indent)
{
    char here[PATH_SIZE], name[NAME_SIZE];
    const char *key = map->kind == NODE_MAP ? text_of(map, "key") : "";
    const char *value = map->kind == NODE_MAP ? text_of(map, "value") : "";
    if (!*key)
        return report_node(import->report, map, "is no descriptor: it has no key");
    snprintf(here, sizeof(here), "%.200s%s%.200s%s%.100s", path, *path ? "/" : "", key,
             *value ? "=" : "", value);
    fprintf(import->descriptors, "%*s- key: ", (int)indent, "");
    print_quoted(import->descriptors, key);
    if (*value) {
        fprintf(import->descriptors, "\n%*svalue: ", (int)indent + 2, "");
        print_quoted(import->descriptors, value);
    }
    judge_descriptor(import, map);
    const struct node *limit = yaml_tree_child(map, "rate_limit");
    int result = limit ? import_limit(import, map, limit, here, name) : 0;
    if (result == 0 && limit) {
        fprintf(import->descriptors, "\n%*srule: ", (int)indent + 2, "");
        print_quoted(import->descriptors, name);
    }
    if (is_true(map, "share_threshold"))
        fprintf(import->descriptors, "\n%*sshared: true", (int)indent + 2, "");
    fputc('\n', import->descriptors);
    const struct node *below = yaml_tree_child(map, "descriptors");
    if (result || !below || (below->kind == NODE_LIST && below->count == 0))
        return result;
    fprintf(import->descriptors, "%*sdescriptors:\n", (int)indent + 2, "");
    return import_list(import, below, here, indent + 4);
}

/* There the first pattern of the file wins, here the longest. */
static void judge_order(struct import *import, const struct node *list)
{
    for (const struct node *one = list->children; one; one = one->next) {
        const char *value = one->kind == NODE_MAP ? text_of(one, "value") : "";
        const size_t len = strlen(value);
        for (const struct node *later = one->next; len && value[len - 1] == '*' && later;
             later = later->next) {
            const char *longer = later->kind == NODE_MAP ? text_of(later, "value") : "";
            if (strlen(longer) > len && longer[strlen(longer) - 1] == '*' &&
                strncmp(longer, value, len - 1) == 0 &&
                strcmp(text_of(one, "key"), text_of(later, "key")) == 0)
                lose(import, later, "matches here before the shorter pattern that stands above it");
        }
    }
}

static int import_list(struct import *import, const struct node *list, const char *path,
                       unsigned indent)
{
    int result = 0;
    if (list->kind != NODE_LIST)
        return report_node(import->report, list, "is %s; a list of descriptors is needed",
                           yaml_tree_kind_text(list));
    judge_order(import, list);
    for (const struct node *node = list->children; node && result == 0; node = node->next)
        result = import_descriptor(import, node, path, indent);
    return result;
}

/* ---- files ---- */

/* The tenant of one file. */
static int import_root(struct import *import, const struct node *root, FILE *out)
{
    static const char *const known[] = {"domain", "descriptors", NULL};
    char *rules = NULL, *descriptors = NULL, *name = NULL;
    size_t rules_len, descriptors_len;
    const struct node *domain = root->kind == NODE_MAP ? yaml_tree_child(root, "domain") : NULL;
    if (!domain)
        return report_at(import->report, 1, "domain: is missing; it becomes the tenant's name");
    int result = value_name(import->report, domain, &name);
    if (result)
        return result;
    judge_fields(import, root, known);
    import->rules = open_memstream(&rules, &rules_len);
    import->descriptors = open_memstream(&descriptors, &descriptors_len);
    const struct node *list = yaml_tree_child(root, "descriptors");
    if (import->rules && import->descriptors)
        result = list ? import_list(import, list, "", 6) : 0;
    else
        result = report_memory(import->report);
    if (import->rules)
        fclose(import->rules);
    if (import->descriptors)
        fclose(import->descriptors);
    if (result == 0) {
        fputs("  - name: ", out);
        print_quoted(out, name);
        fprintf(out, "\n    envoy: {charge: each} # as its own service does\n    rules:%s%s",
                *rules ? "\n" : " []\n", rules);
        fprintf(out, "%s%s", *descriptors ? "    descriptors:\n" : "", descriptors);
    }
    import->name_count = 0;
    free(rules);
    free(descriptors);
    free(name);
    return result;
}

static int import_file(struct import *import, const char *path, FILE *out)
{
    const struct report report = {.error = import->error, .size = ERROR_SIZE, .file = path};
    char *text = malloc(YAML_MAX_BYTES + 1);
    FILE *file = fopen(path, "re");
    const size_t len = file && text ? fread(text, 1, YAML_MAX_BYTES + 1, file) : 0;
    const bool is_read = file && text && !ferror(file);
    struct document document = {.root = NULL};
    import->report = &report;
    int result = 0;
    if (!is_read)
        result = report_at(&report, 0, "cannot be read: %s", strerror(errno));
    else if (len > YAML_MAX_BYTES)
        result = report_at(&report, 0, "is above %u bytes", YAML_MAX_BYTES);
    if (result == 0)
        result = yaml_tree_parse(text, len, &report, &document);
    if (result == 0)
        result = document.root ? import_root(import, document.root, out)
                               : report_at(&report, 1, "is empty; domain and descriptors");
    yaml_tree_free(&document);
    if (file)
        fclose(file);
    free(text);
    /* NOLINTNEXTLINE(clang-analyzer-core.StackAddressEscape): nobody reads it after */
    return result;
}

int config_import(int argc, char **argv)
{
    char error[ERROR_SIZE] = "", *text = NULL;
    size_t len;
    struct import import = {.error = error};
    if (argc < 3 || strcmp(argv[1], "envoy") != 0)
        return cmd_fail("config", "import takes envoy and one FILE or more");
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return cmd_fail("config", "import: out of memory");
    fputs("tenants:\n", out);
    int result = 0;
    for (int i = 2; i < argc && result == 0; i++)
        result = import_file(&import, argv[i], out);
    fclose(out);
    struct config *config =
        result ? NULL : config_parse("what was made of it", text, len, error, sizeof(error));
    if (config) /* so it is one that the server takes */
        fputs(text, stdout);
    else
        fprintf(stderr, "%s\n", error);
    const bool is_good = config != NULL;
    config_destroy(config);
    free(import.names);
    free(text);
    return !is_good ? EXIT_USAGE : import.lost ? EXIT_DENIED : EXIT_ALLOWED;
}
