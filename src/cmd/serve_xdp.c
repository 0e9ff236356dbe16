#include "cmd/serve_xdp.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/server.h"
#include "net/xdp.h"
#include "obs/log.h"

_Static_assert((int)CONFIG_XDP_NATIVE == (int)XDP_ATTACH_NATIVE &&
                   (int)CONFIG_XDP_GENERIC == (int)XDP_ATTACH_GENERIC,
               "modes are handed through");
_Static_assert(CONFIG_MAX_XDP_QUEUES == XDP_MAX_QUEUES, "as many can be set as there can be");

struct targets {
    unsigned count;
    unsigned left_out;
    struct sockaddr_storage list[XDP_MAX_TARGETS];
};

static void add_target(struct targets *targets, const struct sockaddr *address, in_port_t port)
{
    struct sockaddr_storage target = {0};
    if (config_is_loopback(address))
        return; /* never on a wire */
    if (targets->count == XDP_MAX_TARGETS) {
        targets->left_out++;
        return;
    }
    if (address->sa_family == AF_INET) {
        memcpy(&target, address, sizeof(struct sockaddr_in));
        ((struct sockaddr_in *)&target)->sin_port = port;
    } else {
        memcpy(&target, address, sizeof(struct sockaddr_in6));
        ((struct sockaddr_in6 *)&target)->sin6_port = port;
    }
    targets->list[targets->count++] = target;
}

static bool is_wildcard(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ((const struct sockaddr_in *)address)->sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* A wildcard stands for the addresses that this machine has now. What comes to a later one is the
 * socket's. */
static void expand(struct targets *targets, const struct ifaddrs *all,
                   const struct sockaddr_storage *wildcard)
{
    for (const struct ifaddrs *at = all; at; at = at->ifa_next)
        if (at->ifa_addr && at->ifa_addr->sa_family == wildcard->ss_family)
            add_target(targets, at->ifa_addr, ((const struct sockaddr_in *)wildcard)->sin_port);
}

/* The port stands at one place in both families. */
static int collect(const struct config *config, struct targets *targets)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) < 0)
        return cmd_fail("serve", "listen.interface: the addresses of this machine: %s",
                        strerror(errno));
    for (unsigned i = 0; i < config->listen_udp_count; i++) {
        const struct sockaddr_storage *address = &config->listen_udp[i].address;
        if (is_wildcard(address))
            expand(targets, all, address);
        else
            add_target(targets, (const struct sockaddr *)address,
                       ((const struct sockaddr_in *)address)->sin_port);
    }
    freeifaddrs(all);
    if (targets->left_out)
        log_event(LOG_WARNING, "start",
                  "listen.interface: %u addresses more than the program holds (%u); datagrams to "
                  "them go through the sockets",
                  targets->left_out, XDP_MAX_TARGETS);
    return 0;
}

static int complain(const char *interface, enum xdp_step step, int result)
{
    const char *why = strerror(-result);
    if (result == -EXDEV)
        return cmd_fail("serve",
                        "--take-over: listen.interface, af_xdp.queues, af_xdp.mode and af_xdp.ring "
                        "must be those of the daemon that serves; restart it instead");
    if (result == -ENOSYS)
        return cmd_fail("serve", "backend: af_xdp is not part of this build");
    switch (step) {
    case XDP_STEP_INTERFACE:
        return cmd_fail("serve",
                        result == -ENODEV ? "listen.interface: there is no %s; `ip link` lists them"
                        : result == -ERANGE
                            ? "af_xdp.queues: more than %s has; `ethtool -l` tells, auto takes all"
                            : "listen.interface: %s cannot be looked at: %s",
                        interface, why);
    case XDP_STEP_MEMORY:
        break;
    case XDP_STEP_PROGRAM:
        return cmd_fail("serve",
                        "listen.interface: the kernel does not take the program for %s: %s; it "
                        "needs CAP_BPF and CAP_NET_ADMIN",
                        interface, why);
    case XDP_STEP_ATTACH:
        if (result == -EBUSY)
            return cmd_fail("serve",
                            "listen.interface: %s has an XDP program already: another mete or "
                            "another program holds it; `ip link show %s` tells",
                            interface, interface);
        return cmd_fail("serve",
                        "af_xdp.mode: the program cannot be attached to %s: %s; it needs "
                        "CAP_NET_ADMIN, and mode: generic works where the driver cannot do it",
                        interface, why);
    case XDP_STEP_SOCKET:
        return cmd_fail("serve", "backend: af_xdp: no socket on a queue of %s: %s%s", interface,
                        why,
                        result == -ENOBUFS ? "; LimitMEMLOCK= or `ulimit -l` must allow 4 KiB x "
                                             "af_xdp.ring for each queue"
                        : result == -EPERM ? "; it needs CAP_NET_RAW"
                                           : "");
    }
    return cmd_fail("serve", "listen.interface: %s: %s", interface, why);
}

int serve_open_xdp(struct server *server)
{
    const struct config_xdp *config = &server->config->xdp;
    struct targets targets = {.count = 0};
    enum xdp_step step;
    if (server->config->backend != BACKEND_AF_XDP)
        return 0;
    int result = collect(server->config, &targets);
    if (result)
        return result;
    const struct xdp_open_options options = {
        .interface = config->interface,
        .mode = (enum xdp_attach)config->mode,
        .queues = config->queues,
        .vlan = (uint16_t)config->vlan,
        .ring = (uint32_t)config->ring,
        .carry = config->carry == CONFIG_XDP_CARRY_ON,
        .targets = targets.list,
        .target_count = targets.count,
    };
    result = server->handover.fd >= 0
                 ? xdp_adopt(&options, &server->handover.xdp, &server->xdp, &step)
                 : xdp_open(&options, &server->xdp, &step);
    if (result)
        return complain(config->interface, step, result);
    for (unsigned i = 0; i < server->worker_count; i++)
        server->workers[i].xdp = server->xdp;
    return 0;
}

int serve_judge_xdp(const struct server *server)
{
    const bool is_wanted = server->config->backend == BACKEND_AF_XDP;
    if (is_wanted == server->handover.has_xdp)
        return 0;
    return cmd_fail("serve",
                    "--take-over: backend: is %s, and %s in the daemon that serves; restart it "
                    "instead",
                    is_wanted ? "af_xdp" : "not af_xdp", is_wanted ? "another" : "af_xdp");
}

void serve_take_over_xdp(struct server *server)
{
    int result = server->xdp ? xdp_take_over(server->xdp) : 0;
    if (result)
        log_event(LOG_WARNING, "handover",
                  "listen.interface: the program of the process before stays on %s: %s; addresses "
                  "that are new come through the sockets",
                  server->config->xdp.interface, strerror(-result));
}

void serve_close_xdp(struct server *server)
{
    xdp_close(server->xdp);
    server->xdp = NULL;
}

void serve_format_backend(const struct server *server, char *out, size_t size)
{
    if (!server->xdp) {
        snprintf(out, size, "%s", server->workers[0].backend);
        return;
    }
    const struct xdp_facts facts = xdp_facts(server->xdp);
    snprintf(out, size, "af_xdp on %s (%s, %s, %u %s%s)", server->config->xdp.interface,
             facts.mode == XDP_ATTACH_NATIVE ? "native" : "generic",
             facts.is_zero_copy ? "zero-copy" : "copy", facts.queues,
             facts.queues == 1 ? "queue" : "queues", facts.carries ? ", carrying" : "");
}
