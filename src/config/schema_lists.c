#include "config/schema_lists.h"

#include <string.h>

#include "config/config.h"
#include "config/report.h"
#include "config/value.h"
#include "config/yaml.h"

/* The items of a list; a single value stands for a list of one. */
static const struct node *first_item(const struct node *node)
{
    return node->kind == NODE_LIST ? node->children : node;
}

static const struct node *next_item(const struct node *list, const struct node *item)
{
    return item == list ? NULL : item->next;
}

static bool is_kernels_choice(const struct config_address *address)
{
    return address->address.ss_family == AF_INET
               ? ((const struct sockaddr_in *)&address->address)->sin_port == 0
               : ((const struct sockaddr_in6 *)&address->address)->sin6_port == 0;
}

int schema_apply_addresses(const struct report *report, const struct node *node,
                           struct config *config)
{
    unsigned count = 0;
    if (node->kind == NODE_LIST && node->count == 0)
        return report_node(report, node, "is an empty list; at least one address is needed");
    for (const struct node *item = first_item(node); item; item = next_item(node, item)) {
        struct config_address address;
        if (count == CONFIG_MAX_LISTEN)
            return report_node(report, item, "is one too many; at most %u addresses",
                               CONFIG_MAX_LISTEN);
        const int result = value_address(report, item, &address);
        if (result)
            return result;
        for (unsigned i = 0; i < count; i++)
            if (!is_kernels_choice(&address) &&
                memcmp(&config->listen_udp[i].address, &address.address, sizeof(address.address)) ==
                    0)
                return report_node(report, item, "'%s' stands here twice; remove one",
                                   address.text);
        config->listen_udp[count++] = address;
    }
    config->listen_udp_count = count;
    return 0;
}

int schema_apply_networks(const struct report *report, const struct node *node,
                          struct config *config)
{
    unsigned count = 0;
    for (const struct node *item = first_item(node); item; item = next_item(node, item)) {
        if (count == CONFIG_MAX_NETWORKS)
            return report_node(report, item, "is one too many; at most %u networks",
                               CONFIG_MAX_NETWORKS);
        const int result = value_network(report, item, &config->trusted[count]);
        if (result)
            return result;
        count++;
    }
    config->trusted_count = count;
    return 0;
}
