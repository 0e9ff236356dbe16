/* Sorting finds what stands twice, so that many tenants stay cheap to check. */
#include "config/credentials.h"

#include <stdlib.h>
#include <string.h>

#include "config/report.h"
#include "config/yaml.h"

#define HASH_BYTES 32u

struct credential {
    const uint8_t *bytes;
    uint8_t len;
    const struct node *node;
    const struct placed_tenant *owner;
};

int credentials_judge_reach(const struct report *report, const struct node *node,
                            const struct config *config, const struct tenant *tenant)
{
    const struct config_address *beyond = NULL;
    for (unsigned i = 0; i < config->listen_udp_count && !beyond; i++)
        if (!config_is_loopback((const struct sockaddr *)&config->listen_udp[i].address))
            beyond = &config->listen_udp[i];
    if (!beyond)
        return 0;
    if (tenant->secret_count == 0 && config->trusted_count == 0)
        return report_field(report, node, "secret_files",
                            "is missing: listen.udp %s is reached from beyond loopback, so tenant "
                            "'%s' needs secret_files (`mete secret new FILE` makes one) and the "
                            "configuration a key_file; or name trusted_networks",
                            beyond->text, tenant->name);
    if (tenant->secret_count == 0 || config->key_file)
        return 0;
    while (node->parent)
        node = node->parent;
    return report_field(report, node, "key_file",
                        "is missing: listen.udp %s is reached from beyond loopback, where tenant "
                        "'%s' has secrets; `mete secret new FILE` makes a file for it",
                        beyond->text, tenant->name);
}

static int compare(const void *left, const void *right)
{
    const struct credential *a = left, *b = right;
    const int order = a->len != b->len ? a->len - b->len : memcmp(a->bytes, b->bytes, a->len);
    if (order)
        return order;
    if (a->owner != b->owner)
        return a->owner->node->position < b->owner->node->position ? -1 : 1;
    return a->node->position < b->node->position ? -1 : 1;
}

/* Sorts, and reports the later of two equal ones. */
static int refuse_equal(const struct report *report, struct credential *list, size_t count,
                        const char *what)
{
    if (count)
        qsort(list, count, sizeof(*list), compare);
    for (size_t i = 1; i < count; i++)
        if (list[i].len == list[i - 1].len &&
            memcmp(list[i].bytes, list[i - 1].bytes, list[i].len) == 0)
            return report_node(report, list[i].node,
                               "is the same %s as one of tenant '%s' (line %u); each has its own",
                               what, list[i - 1].owner->tenant.name, list[i - 1].node->line);
    return 0;
}

static size_t collect_secrets(const struct placed_tenant *placed, struct credential *list)
{
    const struct node *node = yaml_tree_child(placed->node, "secret_files");
    for (uint32_t i = 0; i < placed->tenant.secret_count; i++) {
        node = i ? node->next : node->kind == NODE_LIST ? node->children : node;
        list[i] = (struct credential){.bytes = placed->tenant.secrets[i].bytes,
                                      .len = placed->tenant.secrets[i].len,
                                      .node = node,
                                      .owner = placed};
    }
    return placed->tenant.secret_count;
}

static size_t collect_keys(const struct placed_tenant *placed, struct credential *list)
{
    const struct node *keys = yaml_tree_child(placed->node, "api_keys");
    const struct node *node = keys ? keys->children : NULL;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a node for each key */
    for (uint32_t i = 0; i < placed->tenant.api_key_count; i++, node = node->next)
        list[i] = (struct credential){
            .bytes = placed->tenant.api_keys[i].sha256,
            .len = HASH_BYTES,
            .node = yaml_tree_child(node, placed->tenant.api_keys[i].certificate ? "certificate"
                                                                                 : "sha256"),
            .owner = placed};
    return placed->tenant.api_key_count;
}

int credentials_judge_shared(const struct report *report, const struct placed_tenant *placed,
                             uint32_t count)
{
    size_t room = 0, filled = 0;
    for (uint32_t i = 0; i < count; i++)
        room += placed[i].tenant.secret_count + placed[i].tenant.api_key_count;
    struct credential *list = calloc(room + 1, sizeof(*list));
    if (!list)
        return report_memory(report);
    for (uint32_t i = 0; i < count; i++)
        filled += collect_secrets(&placed[i], list + filled);
    int result = refuse_equal(report, list, filled, "secret");
    filled = 0;
    for (uint32_t i = 0; result == 0 && i < count; i++)
        filled += collect_keys(&placed[i], list + filled);
    if (result == 0)
        result = refuse_equal(report, list, filled, "key");
    free(list);
    return result;
}
