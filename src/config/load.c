/* config_load(): defaults, file, environment and --set, in rising order of strength. Each layer is
 * checked even where a stronger one covers it: a mistake that shows only later is worse than one
 * now. */
#include "config/config.h"
#include "config/descriptors.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/api_keys.h"
#include "config/certificates.h"
#include "config/digest.h"
#include "config/interface.h"
#include "config/parts.h"
#include "config/redis.h"
#include "config/report.h"
#include "config/rule.h"
#include "config/schema.h"
#include "config/secret.h"
#include "config/tenants.h"

#include "config/yaml.h"

#define VARIABLE_SIZE 64u

/* The whole file, at most one byte more than may be; that byte is yaml_tree_parse()'s to refuse. */
static int read_file(const struct report *report, char **ret_text, size_t *ret_len)
{
    const size_t size = YAML_MAX_BYTES + 1;
    char *text = malloc(size);
    size_t len = 0;
    ssize_t got = 0;
    const int fd = text ? open(report->file, O_RDONLY | O_CLOEXEC) : -1;

    if (!text)
        return report_memory(report);
    if (fd < 0)
        goto fail;
    do {
        got = read(fd, text + len, size - len);
        if (got > 0)
            len += (size_t)got;
    } while ((got > 0 && len < size) || (got < 0 && errno == EINTR));
    if (got < 0)
        goto fail;
    close(fd);
    *ret_text = text;
    *ret_len = len;
    return 0;
fail:
    if (errno == EACCES)
        report_at(report, 0,
                  "cannot be read: %s: user %u needs to read it and to pass its folders; as with "
                  "`chgrp mete FILE; chmod 640 FILE`",
                  strerror(errno), (unsigned)geteuid());
    else
        report_at(report, 0, "cannot be read: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    free(text);
    return -EINVAL;
}

/* "table.entries" to "METE_TABLE_ENTRIES". */
static void variable_of(const char *path, char variable[VARIABLE_SIZE])
{
    size_t len = (size_t)snprintf(variable, VARIABLE_SIZE, "METE_");
    for (; *path && len < VARIABLE_SIZE - 1; path++)
        variable[len++] = *path == '.' ? '_' : (char)toupper((unsigned char)*path);
    variable[len] = 0;
}

static const char *find_variable(char *const *environment, const char *variable)
{
    const size_t len = strlen(variable);
    for (; *environment; environment++)
        if (strncmp(*environment, variable, len) == 0 && (*environment)[len] == '=')
            return *environment + len + 1;
    return NULL;
}

static int apply_environment(const struct config_options *options, struct report report,
                             struct config *config)
{
    const char *path;
    if (!options->environment)
        return 0;
    for (size_t i = 0; (path = schema_override_path(i)); i++) {
        char variable[VARIABLE_SIZE];
        variable_of(path, variable);
        const char *text = find_variable(options->environment, variable);
        report.override = variable;
        const int result = text ? schema_apply_override(&report, path, text, config) : 0;
        if (result)
            return result;
    }
    return 0;
}

static int apply_set(const char *set, struct report report, struct config *config)
{
    static const char prefix[] = "--set ";
    const char *equals = strchr(set, '=');
    const size_t len = equals ? (size_t)(equals - set) : strlen(set);
    char name[sizeof(prefix) + 96];

    if (len == 0 || len > 96 || !equals) {
        report.override = "--set";
        return report_at(&report, 0, "'%.96s' is not path=value; for example table.entries=1000",
                         set);
    }
    memcpy(name, prefix, sizeof(prefix) - 1);
    memcpy(name + sizeof(prefix) - 1, set, len);
    name[sizeof(prefix) - 1 + len] = 0;
    report.override = name;
    return schema_apply_override(&report, name + sizeof(prefix) - 1, equals + 1, config);
}

/* Two sockets cannot share one path. */
static int judge_paths(const struct report *report, const struct config *config)
{
    const struct {
        const char *field, *path;
    } sockets[] = {
        {"listen.admin", config->listen_admin},
        {"listen.unix", config->listen_unix},
        {"listen.resp", config->listen_resp.path},
        {"listen.http", config->listen_http.path},
        {"listen.metrics", config->listen_metrics.path},
        {"listen.grpc", config->listen_grpc.path},
        {"listen.resp_tls", config->listen_resp_tls.path},
        {"listen.http_tls", config->listen_http_tls.path},
        {"listen.grpc_tls", config->listen_grpc_tls.path},
    };
    for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++)
        for (size_t j = 0; j < i; j++)
            if (sockets[i].path && sockets[j].path && strcmp(sockets[i].path, sockets[j].path) == 0)
                return report_at(report, 0, "%s: is %s's path, %s; they differ", sockets[i].field,
                                 sockets[j].field, sockets[i].path);
    return 0;
}

static int build(const struct config_options *options, const struct report *report,
                 const struct node *root, struct config *config)
{
    struct schema_roots roots = {.tiers = NULL};
    int result = schema_apply_defaults(report, config);
    if (result == 0 && root)
        result = schema_apply_file(report, root, config, &roots);
    if (result == 0)
        result = apply_environment(options, *report, config);
    for (unsigned i = 0; result == 0 && i < options->set_count; i++)
        result = apply_set(options->sets[i], *report, config);
    if (result == 0)
        result = judge_paths(report, config);
    if (result == 0 && config->otlp_endpoint.path && strstr(config->otlp_endpoint.path, "://"))
        result = report_at(report, 0,
                           "otlp.endpoint: is ADDRESS:PORT or a path, without a scheme; "
                           "for example 127.0.0.1:4318");
    if (result == 0)
        result = redis_judge(report, config);
    if (result == 0)
        result = parts_judge(report, config);
    if (result == 0)
        result = interface_judge(report, config);
    if (result == 0 && !roots.tenants)
        result = report_at(report, 1,
                           "tenants: at least one is needed; for example tenants: "
                           "[{name: default, rules: []}]");
    if (result == 0)
        result = tenants_parse(report, roots.tiers, roots.tenants, config);
    return result ? result : certificates_settle(report, options, config);
}

__attribute__((noinline)) static struct config *load_tree(const struct config_options *options,
                                                          const struct report *report,
                                                          const char *text, size_t len)
{
    struct document document;
    struct config *config = calloc(1, sizeof(*config));
    int result = config ? 0 : report_memory(report);

    if (result)
        return NULL;
    digest_file(text, len, config->file_hash);
    result = yaml_tree_parse(text, len, report, &document);
    if (result == 0)
        result = secret_open_reader(report, options, config);
    if (result == 0)
        result = build(options, report, document.root, config);
    secret_close_reader(config);
    yaml_tree_free(&document);
    if (result == 0 && options->path && !(config->path = strdup(options->path)))
        result = report_memory(report);
    if (result == 0)
        return config;
    config_destroy(config);
    return NULL;
}

static struct config *load_text(const struct config_options *options, const struct report *report,
                                const char *text, size_t len)
{
    struct config *config = load_tree(options, report, text, len);
    digest_wipe_frames();
    return config;
}

struct config *config_load(const struct config_options *options, char *error, size_t size)
{
    const struct report report = {
        .error = error, .size = size, .file = options->path ? options->path : "embedded default"};
    char *text = NULL;
    size_t len = 0;

    if (!options->path)
        return load_text(options, &report, config_default_yaml, strlen(config_default_yaml));
    if (read_file(&report, &text, &len))
        return NULL;
    struct config *config = load_text(options, &report, text, len);
    free(text);
    return config;
}

struct config *config_parse_options(const struct config_options *options, const char *text,
                                    size_t len, char *error, size_t size)
{
    const struct report report = {.error = error, .size = size, .file = options->path};
    return load_text(options, &report, text, len);
}

struct config *config_parse(const char *name, const char *text, size_t len, char *error,
                            size_t size)
{
    const struct config_options options = {.path = name};
    return config_parse_options(&options, text, len, error, size);
}

static void free_tenant(struct tenant *tenant)
{
    for (uint32_t i = 0; i < tenant->rule_count; i++)
        rule_free(&tenant->rules[i]);
    free(tenant->rules);
    for (uint32_t i = 0; i < CONFIG_MAX_SECRETS; i++)
        free(tenant->secret_files[i]);
    api_keys_free(tenant);
    descriptors_free(tenant->descriptors);
    free(tenant->index.slots);
    free(tenant->name);
}

void config_destroy(struct config *config)
{
    if (!config)
        return;
    for (uint32_t i = 0; i < config->tenant_count; i++)
        free_tenant(&config->tenants[i]);
    free(config->tenants);
    for (uint32_t i = 0; i < config->tier_count; i++)
        free(config->tiers[i]);
    free(config->tiers);
    free(config->index.slots);
    free(config->keys.slots);
    calendars_free(&config->calendars);
    free(config->namespace_name);
    secret_release(config);
    free(config->listen_admin);
    free(config->table_file);
    free(config->listen_unix);
    free(config->xdp.interface);
    free(config->listen_resp.path);
    free(config->listen_http.path);
    free(config->listen_grpc.path);
    free(config->otlp_endpoint.path);
    free(config->listen_metrics.path);
    free(config->listen_resp_tls.path);
    free(config->listen_http_tls.path);
    free(config->listen_grpc_tls.path);
    certificates_release(config);
    free(config->echo_rule);
    free(config->key_file);
    free(config->snapshot_path);
    redis_free(config);
    free(config->path);
    free(config);
}
