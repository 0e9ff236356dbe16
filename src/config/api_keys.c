/* API keys: names are distinct in a tenant; that hashes are distinct over all tenants is
 * tenants.c's to judge. */
#include "config/api_keys.h"

#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/digest.h"
#include "config/fields.h"
#include "config/report.h"
#include "config/value.h"
#include "config/yaml.h"

#define MAX_CERTIFICATE_NAME 255u
#define SPKI_DIGITS 64u

enum { NAME, SHA256, CERTIFICATE, MAY, FIELD_COUNT };

static const struct field_spec FIELDS[FIELD_COUNT] = {
    [NAME] = {"name", FIELD_NEEDED},
    [SHA256] = {"sha256", FIELD_OPTIONAL},
    [CERTIFICATE] = {"certificate", FIELD_OPTIONAL},
    [MAY] = {"may", FIELD_NEEDED},
};

static int parse_may(const struct report *report, const struct node *node,
                     struct config_api_key *key)
{
    static const char *const choices[] = {"check", "manage"};
    const struct node *item = node->kind == NODE_LIST ? node->children : node;
    if (!item)
        return report_node(report, node, "is an empty list; check, manage or both are needed");
    for (; item; item = item == node ? NULL : item->next) {
        unsigned choice = 0;
        const int result = value_choice(report, item, choices, 2, &choice);
        if (result)
            return result;
        bool *may = choice ? &key->may_manage : &key->may_check;
        if (*may)
            return report_node(report, item, "'%s' stands here twice; remove one", choices[choice]);
        *may = true;
    }
    return 0;
}

/* A name in a client's certificate, by its kind: "uri:spiffe://acme/ci". */
static int parse_certificate(const struct report *report, const struct node *node,
                             struct config_api_key *key)
{
    static const char *const kinds[] = {"cn:", "dns:", "uri:", "email:", "spki:"};
    const char *text = "";
    int result = value_text(report, node, &text);
    for (size_t i = 0; result == 0 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const size_t len = strlen(kinds[i]);
        if (strncmp(text, kinds[i], len) != 0)
            continue;
        const size_t hex = strspn(text + len, "0123456789abcdef");
        if (strcmp(kinds[i], "spki:") == 0 && (hex != SPKI_DIGITS || text[len + hex]))
            return report_node(report, node,
                               "spki: needs %u hex digits in small letters, the "
                               "SHA-256 of the public key",
                               SPKI_DIGITS);
        if (strlen(text + len) == 0 || strlen(text + len) > MAX_CERTIFICATE_NAME ||
            strchr(text, ' '))
            return report_node(report, node, "needs 1 to %u letters without blanks behind %s",
                               MAX_CERTIFICATE_NAME, kinds[i]);
        digest_sha256(text, strlen(text), key->sha256);
        key->certificate = strdup(text);
        return key->certificate ? 0 : report_memory(report);
    }
    return result ? result
                  : report_node(report, node,
                                "'%.64s' is no name in a certificate; cn:NAME, "
                                "dns:NAME, uri:NAME, email:NAME or spki:HEX are",
                                text);
}

static int parse_credential(const struct report *report, const struct node *map,
                            const struct node *const *nodes, struct config_api_key *key)
{
    if (!nodes[SHA256] && !nodes[CERTIFICATE])
        return report_field(report, map, "sha256",
                            "is missing; or certificate, a name in a client's");
    if (nodes[SHA256] && nodes[CERTIFICATE])
        return report_node(report, nodes[CERTIFICATE],
                           "stands beside sha256; who shows what are two entries");
    return nodes[SHA256] ? value_hex(report, nodes[SHA256], key->sha256, sizeof(key->sha256))
                         : parse_certificate(report, nodes[CERTIFICATE], key);
}

static int parse_one(const struct report *report, const struct node *map, struct tenant *tenant)
{
    struct config_api_key *key = &tenant->api_keys[tenant->api_key_count++];
    const struct node *nodes[FIELD_COUNT];
    int result = fields_read(report, map, FIELDS, FIELD_COUNT, nodes);
    if (result == 0)
        result = value_name(report, nodes[NAME], &key->name);
    if (result == 0)
        result = parse_credential(report, map, nodes, key);
    if (result == 0)
        result = parse_may(report, nodes[MAY], key);
    for (uint32_t i = 0; result == 0 && i + 1 < tenant->api_key_count; i++)
        if (strcmp(tenant->api_keys[i].name, key->name) == 0)
            result =
                report_node(report, nodes[NAME],
                            "'%s' is already the name of api_keys[%u]; names differ", key->name, i);
    return result;
}

int api_keys_parse(const struct report *report, const struct node *list, struct tenant *tenant)
{
    int result = 0;
    if (list->kind != NODE_LIST)
        return report_node(report, list, "is %s; a list of keys is needed",
                           yaml_tree_kind_text(list));
    if (list->count > CONFIG_MAX_API_KEYS)
        return report_node(report, list, "has %u keys; a tenant has at most %u", list->count,
                           CONFIG_MAX_API_KEYS);
    if (list->count == 0)
        return 0;
    tenant->api_keys = calloc(list->count, sizeof(*tenant->api_keys));
    if (!tenant->api_keys)
        return report_memory(report);
    for (const struct node *node = list->children; node && result == 0; node = node->next)
        result = parse_one(report, node, tenant);
    return result;
}

void api_keys_free(struct tenant *tenant)
{
    for (uint32_t i = 0; i < tenant->api_key_count; i++) {
        free(tenant->api_keys[i].name);
        free(tenant->api_keys[i].certificate);
    }
    free(tenant->api_keys);
}
