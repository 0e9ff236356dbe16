/* In place of net/af_xdp.c, net/xdp_open.c and net/xdp_pass.c in a build without libxdp and libbpf:
 * no configuration that asks for them is accepted (config/parts.h). */
#include <errno.h>

#include "net/io.h"
#include "net/xdp.h"

static int refuse(const struct io_options *options, struct io **ret_io)
{
    (void)options;
    (void)ret_io;
    return -ENOSYS;
}

const struct io_operations af_xdp_operations = {.name = "af_xdp", .open = refuse};

int xdp_open(const struct xdp_open_options *options, struct xdp **ret_xdp, enum xdp_step *ret_step)
{
    (void)options;
    (void)ret_xdp;
    *ret_step = XDP_STEP_PROGRAM;
    return -ENOSYS;
}

struct xdp_facts xdp_facts(const struct xdp *xdp)
{
    (void)xdp;
    return (struct xdp_facts){.mode = XDP_ATTACH_GENERIC};
}

void xdp_close(struct xdp *xdp)
{
    (void)xdp;
}

void xdp_each_descriptor(const struct xdp *xdp, xdp_each_fn *each, void *context)
{
    (void)xdp;
    (void)each;
    (void)context;
}

void xdp_passed_init(struct xdp_passed *passed)
{
    (void)passed;
}

bool xdp_passed_add(struct xdp_passed *passed, const char *role, int fd)
{
    (void)passed;
    (void)role;
    (void)fd;
    return false;
}

int xdp_adopt(const struct xdp_open_options *options, const struct xdp_passed *passed,
              struct xdp **ret_xdp, enum xdp_step *ret_step)
{
    (void)passed;
    return xdp_open(options, ret_xdp, ret_step);
}

int xdp_take_over(struct xdp *xdp)
{
    (void)xdp;
    return -ENOSYS;
}
