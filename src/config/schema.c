/* The schema of the top level, and the walk that applies it. A new scalar of the configuration is
 * one line in FIELDS and one member of struct config. */
#include "config/schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/fields.h"
#include "config/interface.h"
#include "config/redis.h"
#include "config/report.h"
#include "config/schema_lists.h"
#include "config/schema_values.h"
#include "config/secret.h"
#include "config/value.h"
#include "config/yaml.h"

enum field_type {
    TYPE_SECTION,   /* holds others: "listen" before "listen.udp" */
    TYPE_NAME,      /* char *, a name */
    TYPE_PATH,      /* char *, a path; `none` is NULL */
    TYPE_DOOR,      /* struct config_door: an address, a path with a slash, or `none` */
    TYPE_ADDRESSES, /* listen_udp and its count */
    TYPE_NETWORKS,  /* trusted and its count */
    TYPE_KEY_FILE,  /* key_file, and the key behind it */
    TYPE_PEM,       /* struct config_file; `none` has no path */
    TYPE_URL,       /* char *, where a store is; `none` is NULL */
    TYPE_USER,      /* char *, its user; `none` is NULL */
    TYPE_INTERFACE, /* char *, the name of a network interface; `none` is NULL */
    TYPE_FILE,      /* char *, a path of any length, made absolute; `none` is NULL */
    TYPE_ID,        /* uint64_t in [min, max]; `auto` is 0 */
    TYPE_NUMBER,    /* uint64_t in [min, max] */
    TYPE_DURATION,  /* uint64_t ns in [min, max] */
    TYPE_BYTES,     /* uint64_t in [min, max] */
    TYPE_AUTO,      /* unsigned in [min, max]; `auto` is 0 */
    TYPE_RULE,      /* char *, the name of a rule; `none` is NULL */
    TYPE_CHOICES,   /* unsigned, a bit per choice; `none` is 0 */
    TYPE_CHOICE,    /* an enum, the position of the text in choices */
    TYPE_NONE,      /* only `none` is served */
    TYPE_UNSERVED,
    TYPE_TIERS,
    TYPE_TENANTS,
};

struct field {
    const char *path;
    enum field_type type;
    size_t offset; /* in struct config */
    uint64_t min, max;
    const char *const *choices; /* ends with NULL */
    const char *fallback;       /* the default, NULL: none */
};

static const char *const BACKENDS[] = CONFIG_BACKENDS;
static const char *const XDP_MODES[] = CONFIG_XDP_MODES;
static const char *const SWITCH[] = {"off", "on", NULL};
static const char *const FILTERS[] = {"auto", "off", NULL};
static const char *const STEERINGS[] = {"flow", "cpu", NULL};
static const char *const HEADERS[] = CONFIG_HEADERS_NAMES;
static const char *const RELOADS[] = {"signal", "watch", NULL};
static const char *const LOGS[] = {"text", "json", NULL};
static const char *const CLIENTS[] = {"optional", "required", NULL};
static const char *const ON_BAD_FILE[] = {"start", "refuse", NULL};
static const char *const ON_FULL[] = {"evict", "allow", "deny", NULL};
_Static_assert(BACKEND_AUTO == 0 && BACKEND_IO_URING == 1 && BACKEND_MMSG == 2 &&
                   BACKEND_AF_XDP == 3,
               "as BACKENDS");
_Static_assert(CONFIG_XDP_AUTO == 0 && CONFIG_XDP_NATIVE == 1 && CONFIG_XDP_GENERIC == 2,
               "as XDP_MODES");
_Static_assert(sizeof(enum config_xdp_mode) == sizeof(unsigned), "set as unsigned");
_Static_assert(CONFIG_XDP_CARRY_OFF == 0 && CONFIG_XDP_CARRY_ON == 1, "as SWITCH");
_Static_assert(ON_FULL_EVICT == 0 && ON_FULL_ALLOW == 1 && ON_FULL_DENY == 2, "as ON_FULL");
_Static_assert(ON_BAD_FILE_START == 0 && ON_BAD_FILE_REFUSE == 1, "as ON_BAD_FILE");
_Static_assert(CLIENTS_OPTIONAL == 0 && CLIENTS_REQUIRED == 1, "as CLIENTS");
_Static_assert(sizeof(enum config_clients) == sizeof(unsigned), "set as unsigned");
_Static_assert(SHEDDING_AUTO == 0 && SHEDDING_OFF == 1, "as FILTERS");
_Static_assert(sizeof(enum config_shedding) == sizeof(unsigned), "set as unsigned");
_Static_assert(FILTER_AUTO == 0 && FILTER_OFF == 1, "as FILTERS");
_Static_assert(sizeof(enum config_filter) == sizeof(unsigned), "set as unsigned");
_Static_assert(sizeof(enum config_steering) == sizeof(unsigned), "set as unsigned");
_Static_assert(RELOAD_SIGNAL == 0 && RELOAD_WATCH == 1, "as RELOADS");
_Static_assert(sizeof(enum config_reload) == sizeof(unsigned), "set as unsigned");
_Static_assert(CONFIG_LOG_TEXT == 0 && CONFIG_LOG_JSON == 1, "as LOGS");
_Static_assert(sizeof(enum config_log) == sizeof(unsigned), "set as unsigned");
_Static_assert(sizeof(enum config_backend) == sizeof(unsigned), "set as unsigned");
_Static_assert(sizeof(enum config_on_bad_file) == sizeof(unsigned), "set as unsigned");
_Static_assert(sizeof(enum config_on_full) == sizeof(unsigned), "set as unsigned");

#define AT(member) .offset = offsetof(struct config, member)

#define BETWEEN(kind, name, member, least, most, otherwise)                                        \
    {                                                                                              \
        .path = (name), .type = (kind), AT(member), .min = (least), .max = (most),                 \
        .fallback = (otherwise)                                                                    \
    }

static const struct field FIELDS[] = {
    {.path = "namespace", .type = TYPE_NAME, AT(namespace_name), .fallback = "default"},
    {.path = "listen", .type = TYPE_SECTION},
    {.path = "listen.udp", .type = TYPE_ADDRESSES, .fallback = "127.0.0.1:6383"},
    {.path = "listen.admin",
     .type = TYPE_PATH,
     AT(listen_admin),
     .fallback = "/run/mete/admin.sock"},
    {.path = "listen.unix", .type = TYPE_PATH, AT(listen_unix)},
    {.path = "listen.resp", .type = TYPE_DOOR, AT(listen_resp)},
    {.path = "listen.http", .type = TYPE_DOOR, AT(listen_http)},
    {.path = "listen.grpc", .type = TYPE_DOOR, AT(listen_grpc)},
    {.path = "listen.resp_tls", .type = TYPE_DOOR, AT(listen_resp_tls)},
    {.path = "listen.http_tls", .type = TYPE_DOOR, AT(listen_http_tls)},
    {.path = "listen.grpc_tls", .type = TYPE_DOOR, AT(listen_grpc_tls)},
    {.path = "listen.metrics", .type = TYPE_DOOR, AT(listen_metrics)},
    {.path = "listen.interface", .type = TYPE_INTERFACE, AT(xdp.interface)},
    {.path = "tls", .type = TYPE_SECTION},
    {.path = "tls.certificate", .type = TYPE_PEM, AT(tls.certificate)},
    {.path = "tls.key", .type = TYPE_PEM, AT(tls.key)},
    {.path = "tls.client_ca", .type = TYPE_PEM, AT(tls.client_ca)},
    {.path = "tls.clients",
     .type = TYPE_CHOICE,
     AT(tls.clients),
     .choices = CLIENTS,
     .fallback = "optional"},
    {.path = "trusted_networks", .type = TYPE_NETWORKS},
    {.path = "repeats", .type = TYPE_SECTION},
    {.path = "repeats.window",
     .type = TYPE_DURATION,
     AT(repeat_window_ns),
     .max = 10000000000ull,
     .fallback = "200ms"},
    {.path = "repeats.ahead",
     .type = TYPE_DURATION,
     AT(repeat_ahead_ns),
     .max = 10000000000ull,
     .fallback = "20ms"},
    {.path = "repeats.memory",
     .type = TYPE_BYTES,
     AT(repeat_bytes),
     .min = 64u << 10,
     .max = 1u << 30,
     .fallback = "8MiB"},
    {.path = "doors", .type = TYPE_SECTION},
    {.path = "doors.connections",
     .type = TYPE_NUMBER,
     AT(door_connections),
     .min = 1,
     .max = CONFIG_MAX_CONNECTIONS,
     .fallback = "1024"},
    {.path = "doors.idle",
     .type = TYPE_DURATION,
     AT(door_idle_ns),
     .min = 1000000,
     .max = 86400000000000ull,
     .fallback = "60s"},
    {.path = "doors.echo", .type = TYPE_RULE, AT(echo_rule), .fallback = "demo"},
    {.path = "doors.headers",
     .type = TYPE_CHOICES,
     AT(http_headers),
     .choices = HEADERS,
     .fallback = "all"},
    {.path = "otlp", .type = TYPE_SECTION},
    {.path = "otlp.endpoint", .type = TYPE_DOOR, AT(otlp_endpoint)},
    {.path = "otlp.sample_every",
     .type = TYPE_NUMBER,
     AT(otlp_sample_every),
     .max = UINT32_MAX,
     .fallback = "1000"},
    {.path = "otlp.metrics_every",
     .type = TYPE_DURATION,
     AT(otlp_every_ns),
     .min = 1000000000,
     .max = 3600000000000ull,
     .fallback = "10s"},
    {.path = "reload", .type = TYPE_CHOICE, AT(reload), .choices = RELOADS, .fallback = "signal"},
    {.path = "log", .type = TYPE_CHOICE, AT(log), .choices = LOGS, .fallback = "text"},
    {.path = "workers",
     .type = TYPE_AUTO,
     AT(workers),
     .min = 1,
     .max = CONFIG_MAX_WORKERS,
     .fallback = "auto"},
    {.path = "spin_us",
     .type = TYPE_NUMBER,
     AT(spin_us),
     .max = CONFIG_MAX_SPIN_US,
     .fallback = "0"},
    {.path = "backend", .type = TYPE_CHOICE, AT(backend), .choices = BACKENDS, .fallback = "auto"},
    {.path = "af_xdp", .type = TYPE_SECTION},
    BETWEEN(TYPE_AUTO, "af_xdp.queues", xdp.queues, 1, CONFIG_MAX_XDP_QUEUES, "auto"),
    {.path = "af_xdp.mode",
     .type = TYPE_CHOICE,
     AT(xdp.mode),
     .choices = XDP_MODES,
     .fallback = "auto"},
    BETWEEN(TYPE_NUMBER, "af_xdp.vlan", xdp.vlan, 0, 4094, "0"),
    {.path = "af_xdp.carry",
     .type = TYPE_CHOICE,
     AT(xdp.carry),
     .choices = SWITCH,
     .fallback = "off"},
    BETWEEN(TYPE_NUMBER, "af_xdp.ring", xdp.ring, CONFIG_MIN_XDP_RING, CONFIG_MAX_XDP_RING, "4096"),
    {.path = "filter", .type = TYPE_CHOICE, AT(filter), .choices = FILTERS, .fallback = "auto"},
    {.path = "steering",
     .type = TYPE_CHOICE,
     AT(steering),
     .choices = STEERINGS,
     .fallback = "flow"},
    {.path = "overload", .type = TYPE_SECTION},
    {.path = "overload.shedding",
     .type = TYPE_CHOICE,
     AT(overload.shedding),
     .choices = FILTERS,
     .fallback = "auto"},
    BETWEEN(TYPE_DURATION, "overload.delay_budget", overload.delay_budget_ns, 1000000, 1000000000,
            "20ms"),
    BETWEEN(TYPE_DURATION, "overload.max_age", overload.max_age_ns, 1000000, 60000000000ull,
            "100ms"),
    BETWEEN(TYPE_NUMBER, "overload.shed_answers", overload.shed_answers, 0, 1000000, "1000"),
    {.path = "table", .type = TYPE_SECTION},
    {.path = "table.entries",
     .type = TYPE_NUMBER,
     AT(table_entries),
     .min = CONFIG_MIN_ENTRIES,
     .max = CONFIG_MAX_ENTRIES,
     .fallback = "1048576"},
    {.path = "table.on_full",
     .type = TYPE_CHOICE,
     AT(on_full),
     .choices = ON_FULL,
     .fallback = "evict"},
    {.path = "table.file", .type = TYPE_FILE, AT(table_file)},
    {.path = "table.on_bad_file",
     .type = TYPE_CHOICE,
     AT(on_bad_file),
     .choices = ON_BAD_FILE,
     .fallback = "start"},
    {.path = "table.snapshot", .type = TYPE_FILE, AT(snapshot_path)},
    BETWEEN(TYPE_DURATION, "table.snapshot_every", snapshot_every_ns, 1000000000, 86400000000000ull,
            "60s"),
    {.path = "tiers", .type = TYPE_TIERS},
    {.path = "tenants", .type = TYPE_TENANTS},
    {.path = "key_file", .type = TYPE_KEY_FILE},
    {.path = "redis", .type = TYPE_SECTION},
    {.path = "redis.url", .type = TYPE_URL, AT(redis.url)},
    {.path = "redis.user", .type = TYPE_USER, AT(redis.user)},
    {.path = "redis.password_file", .type = TYPE_FILE, AT(redis.password_file)},
    {.path = "redis.ca_file", .type = TYPE_FILE, AT(redis.ca_file)},
    BETWEEN(TYPE_DURATION, "redis.flush", redis.flush_ns, 1000000, 1000000000, "5ms"),
    BETWEEN(TYPE_DURATION, "redis.exact_wait", redis.exact_wait_ns, 0, 1000000000, "20ms"),
    BETWEEN(TYPE_NUMBER, "redis.nodes", redis.nodes, 1, CONFIG_MAX_NODES, "1"),
    BETWEEN(TYPE_ID, "redis.node_id", redis.node_id, 1, CONFIG_MAX_NODE_ID, "auto"),
    BETWEEN(TYPE_NUMBER, "redis.partitions", redis.partitions, 1, CONFIG_MAX_PARTITIONS, "16"),
    BETWEEN(TYPE_NUMBER, "redis.rows", redis.rows, CONFIG_MIN_ROWS, CONFIG_MAX_ROWS, "65536"),
    BETWEEN(TYPE_NUMBER, "redis.ring", redis.ring, 64, CONFIG_MAX_RING, "16384"),
};
#define FIELD_COUNT (sizeof(FIELDS) / sizeof(FIELDS[0]))

static int apply_auto(const struct report *report, const struct node *node,
                      const struct field *field, unsigned *ret_number)
{
    uint64_t number = 0;
    const char *text = node->kind == NODE_SCALAR ? node->text : "";
    if (strcmp(text, "auto") != 0) {
        int result = value_text(report, node, &text);
        if (result)
            return result;
        const struct report silent = {.error = NULL};
        if (value_number(&silent, node, field->min, field->max, &number))
            return report_node(report, node,
                               "'%.64s' is not auto or a whole number from %llu to %llu", text,
                               (unsigned long long)field->min, (unsigned long long)field->max);
    }
    *ret_number = (unsigned)number;
    return 0;
}

static int apply_id(const struct report *report, const struct node *node, const struct field *field,
                    uint64_t *ret_id)
{
    if (node->kind == NODE_SCALAR && strcmp(node->text, "auto") == 0)
        *ret_id = 0;
    else
        return value_number(report, node, field->min, field->max, ret_id);
    return 0;
}

static int apply_choice(const struct report *report, const struct node *node,
                        const struct field *field, unsigned *ret_choice)
{
    size_t count = 0;
    while (field->choices[count])
        count++;
    return value_choice(report, node, field->choices, count, ret_choice);
}

/* Sets one field; sections, tiers and tenants are the walk's. */
static int apply(const struct report *report, const struct field *field, const struct node *node,
                 struct config *config)
{
    void *member = (char *)config + field->offset;
    switch (field->type) {
    case TYPE_NAME:
        return schema_apply_name(report, node, member);
    case TYPE_PATH:
        return schema_apply_path(report, node, member);
    case TYPE_DOOR:
        return schema_apply_door(report, node, member);
    case TYPE_ADDRESSES:
        return schema_apply_addresses(report, node, config);
    case TYPE_NETWORKS:
        return schema_apply_networks(report, node, config);
    case TYPE_KEY_FILE:
        return secret_apply_key_file(report, node, config);
    case TYPE_PEM:
        return schema_apply_pem(report, node, config, member);
    case TYPE_DURATION:
        return value_duration(report, node, field->min, field->max, member);
    case TYPE_URL:
        return redis_apply_url(report, node, member);
    case TYPE_USER:
        return redis_apply_user(report, node, member);
    case TYPE_INTERFACE:
        return interface_apply_name(report, node, member);
    case TYPE_FILE:
        return secret_apply_path(report, node, config, member);
    case TYPE_ID:
        return apply_id(report, node, field, member);
    case TYPE_BYTES:
        return value_bytes(report, node, field->min, field->max, member);
    case TYPE_NUMBER:
        return value_number(report, node, field->min, field->max, member);
    case TYPE_AUTO:
        return apply_auto(report, node, field, member);
    case TYPE_CHOICE:
        return apply_choice(report, node, field, member);
    case TYPE_RULE:
        return schema_apply_rule(report, node, member);
    case TYPE_CHOICES:
        return schema_apply_choices(report, node, field->choices, member);
    case TYPE_NONE:
        return node->kind == NODE_SCALAR && strcmp(node->text, "none") == 0
                   ? 0
                   : report_node(report, node,
                                 "is not served by this version; only "
                                 "none is");
    case TYPE_UNSERVED:
        return fields_unserved(report, node);
    case TYPE_SECTION:
    case TYPE_TIERS:
    case TYPE_TENANTS:
        break;
    }
    return 0;
}

int schema_apply_defaults(const struct report *report, struct config *config)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        struct document document;
        if (!FIELDS[i].fallback)
            continue;
        if (yaml_tree_make_scalar(FIELDS[i].fallback, &document)) {
            yaml_tree_free(&document);
            return report_memory(report);
        }
        const int result = apply(report, &FIELDS[i], document.root, config);
        yaml_tree_free(&document);
        if (result)
            return result;
    }
    config->listen_admin_is_default = true;
    return 0;
}

static const struct field *find_field(const char *section, const char *name)
{
    char path[96];
    snprintf(path, sizeof(path), "%s%s%.64s", section, *section ? "." : "", name);
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (strcmp(FIELDS[i].path, path) == 0)
            return &FIELDS[i];
    return NULL;
}

/* Reports a field that the section does not have. */
static int unknown(const struct report *report, const struct node *node, const char *section)
{
    const char *names[FIELD_COUNT];
    const size_t skip = *section ? strlen(section) + 1 : 0;
    size_t count = 0;
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (FIELDS[i].type != TYPE_UNSERVED && FIELDS[i].type != TYPE_NONE &&
            strncmp(FIELDS[i].path, section, strlen(section)) == 0 &&
            strlen(FIELDS[i].path) > skip && (skip == 0 || FIELDS[i].path[skip - 1] == '.') &&
            !strchr(FIELDS[i].path + skip, '.'))
            names[count++] = FIELDS[i].path + skip;
    return report_unknown(report, node, names, count);
}

/* One mapping: the whole file, or a section of it. Sections hold no sections. */
static int walk(const struct report *report, const char *section, const struct node *map,
                struct config *config, struct schema_roots *roots)
{
    if (map->kind != NODE_MAP)
        return report_node(report, map, "is %s; a mapping is needed", yaml_tree_kind_text(map));
    for (const struct node *node = map->children; node; node = node->next) {
        const struct field *field = find_field(section, node->key);
        int result = 0;
        if (!field || (!*section && strchr(field->path, '.')))
            return unknown(report, node, section);
        if (field->type == TYPE_TIERS)
            roots->tiers = node;
        else if (field->type == TYPE_TENANTS)
            roots->tenants = node;
        else if (field->type == TYPE_SECTION)
            result = walk(report, field->path, node, config, roots);
        else
            result = apply(report, field, node, config);
        if (result)
            return result;
        if (field->offset == offsetof(struct config, listen_admin))
            config->listen_admin_is_default = false;
    }
    return 0;
}

int schema_apply_file(const struct report *report, const struct node *root, struct config *config,
                      struct schema_roots *ret_roots)
{
    *ret_roots = (struct schema_roots){.tiers = NULL};
    return walk(report, "", root, config, ret_roots);
}

/* A list is written as in YAML, all else stands for itself: an address such as [::1]:6383 needs
 * no quotes here. */
static int parse_override(const struct report *report, const char *text, struct document *document)
{
    const size_t len = strlen(text);
    const bool list = text[0] == '[' && text[len - 1] == ']';
    if (list || text[0] == '"' || text[0] == '\'')
        return yaml_tree_parse(text, len, report, document);
    for (const char *at = text; *at; at++)
        if (*at < 0x20 || *at > 0x7e) {
            *document = (struct document){.root = NULL};
            return report_at(report, 0, "has a control character or a letter beyond ASCII");
        }
    return yaml_tree_make_scalar(text, document) ? report_memory(report) : 0;
}

static int unknown_override(const struct report *report, const char *path)
{
    const char *names[FIELD_COUNT];
    size_t count = 0;
    for (const char *name; (name = schema_override_path(count)); count++)
        names[count] = name;
    const char *nearest = report_nearest(path, names, count);
    if (strncmp(path, "tenants", 7) == 0 || strncmp(path, "tiers", 5) == 0)
        return report_at(report, 0, "tenants and tiers are set in a file only");
    if (nearest)
        return report_at(report, 0, "unknown field; did you mean '%s'?", nearest);
    return report_at(report, 0,
                     "unknown field; those of `mete config show` outside tenants and "
                     "tiers can be set, such as table.entries");
}

int schema_apply_override(const struct report *report, const char *path, const char *text,
                          struct config *config)
{
    const struct field *field = find_field("", path);
    struct document document;
    if (!field || field->type == TYPE_TIERS || field->type == TYPE_TENANTS)
        return unknown_override(report, path);
    if (field->type == TYPE_SECTION)
        return report_at(report, 0,
                         "is a section; name one of its fields, as in listen.udp or "
                         "table.entries");
    int result = parse_override(report, text, &document);
    if (result == 0 && !document.root)
        result = report_at(report, 0, "is empty; give a value");
    if (result == 0)
        result = apply(report, field, document.root, config);
    yaml_tree_free(&document);
    if (result == 0 && field->offset == offsetof(struct config, listen_admin))
        config->listen_admin_is_default = false;
    return result;
}

const char *schema_override_path(size_t position)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const enum field_type type = FIELDS[i].type;
        if (type == TYPE_SECTION || type == TYPE_TIERS || type == TYPE_TENANTS)
            continue;
        if (position-- == 0)
            return FIELDS[i].path;
    }
    return NULL;
}
