#include "config/interface.h"

#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/report.h"
#include "config/value.h"
#include "config/yaml.h"

int interface_apply_name(const struct report *report, const struct node *node, char **ret_name)
{
    const char *text = NULL;
    char *copy = NULL;
    int result = value_text(report, node, &text);
    if (result)
        return result;
    if (strcmp(text, "none") != 0) {
        if (strlen(text) >= IFNAMSIZ || strpbrk(text, "/ :") || !*text)
            return report_node(report, node,
                               "'%.64s' is no name of an interface; `ip link` lists them", text);
        copy = strdup(text);
        if (!copy)
            return report_memory(report);
    }
    free(*ret_name);
    *ret_name = copy;
    return 0;
}

/* An address that frames can come to. */
static bool has_reachable(const struct config *config)
{
    for (unsigned i = 0; i < config->listen_udp_count; i++)
        if (!config_is_loopback((const struct sockaddr *)&config->listen_udp[i].address))
            return true;
    return false;
}

int interface_judge(const struct report *report, const struct config *config)
{
    const bool is_asked = config->backend == BACKEND_AF_XDP;
    if (config->xdp.ring & (config->xdp.ring - 1))
        return report_at(report, 0,
                         "af_xdp.ring: %" PRIu64 " is no power of two, as 2048 and 4096 are",
                         config->xdp.ring);
    if (is_asked && !config->xdp.interface)
        return report_at(report, 0,
                         "backend: af_xdp needs listen.interface, the name of the interface whose "
                         "datagrams it takes");
    if (!is_asked && config->xdp.interface)
        return report_at(report, 0,
                         "listen.interface: only backend: af_xdp takes datagrams off an interface; "
                         "set that, or leave the interface out");
    if (is_asked && !has_reachable(config))
        return report_at(report, 0,
                         "listen.interface: listen.udp names only loopback, where nothing comes by "
                         "an interface; name an address of %s, or 0.0.0.0",
                         config->xdp.interface);
    return 0;
}

void interface_print_name(const struct config *config, FILE *out)
{
    fprintf(out, "  interface: %s\n", config->xdp.interface ? config->xdp.interface : "none");
}

void interface_print(const struct config *config, FILE *out)
{
    static const char *const modes[] = CONFIG_XDP_MODES;
    fputs("af_xdp: {queues: ", out);
    if (config->xdp.queues)
        fprintf(out, "%u", config->xdp.queues);
    else
        fputs("auto", out);
    fprintf(out, ", mode: %s, vlan: %" PRIu64 ", ring: %" PRIu64 ", carry: %s}\n",
            modes[config->xdp.mode], config->xdp.vlan, config->xdp.ring,
            config->xdp.carry ? "on" : "off");
}
