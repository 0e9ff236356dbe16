/* An interface whose datagrams for us go past the kernel's sockets: an XDP program on it
 * (net/xdp_program.h) hands them to one AF_XDP socket per receive queue, and the workers share
 * those out among themselves (net/af_xdp.c).
 *
 * The program hangs on a descriptor of this process (a link of bpf(2)), so it is gone with the
 * process, however that ends. It needs CAP_NET_ADMIN and CAP_BPF to attach and CAP_NET_RAW for the
 * sockets; nothing after xdp_open().
 *
 * Threads: whoever opens it; each queue is one worker's. */
#ifndef METE_NET_XDP_H
#define METE_NET_XDP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define XDP_MAX_QUEUES 64u
#define XDP_MAX_TARGETS 128u
#define XDP_RING 4096u

enum xdp_attach { XDP_ATTACH_AUTO, XDP_ATTACH_NATIVE, XDP_ATTACH_GENERIC };

struct xdp;

struct xdp_open_options {
    const char *interface;
    enum xdp_attach mode; /* auto: native where the driver can, else generic */
    unsigned queues;      /* the first so many; 0: all that there are */
    uint16_t vlan;        /* see struct xdp_program */
    bool carry;           /* answers leave in the frames of questions, where that can be */
    uint32_t ring;        /* datagrams that may wait on each; a power of two; 0: XDP_RING */
    const struct sockaddr_storage *targets;
    unsigned target_count; /* at most XDP_MAX_TARGETS */
};

/* Which step did not work, when xdp_open() fails. */
enum xdp_step {
    XDP_STEP_INTERFACE, /* -ENODEV: there is none of that name; or it has no MAC */
    XDP_STEP_MEMORY,
    XDP_STEP_PROGRAM, /* the kernel does not take it: -EPERM without CAP_BPF */
    XDP_STEP_ATTACH,  /* -EBUSY: it has an XDP program already; -EPERM without CAP_NET_ADMIN */
    XDP_STEP_SOCKET,  /* -EPERM without CAP_NET_RAW; -ENOBUFS: RLIMIT_MEMLOCK */
};

struct xdp_facts {
    enum xdp_attach mode; /* never auto */
    bool is_zero_copy;
    bool carries; /* see struct xdp_open_options */
    unsigned queues;
};

/* Results: 0, or a negative errno with *ret_step; -ENOSYS if this build has no such backend. From
 * its return on datagrams wait in the sockets' rings. */
int xdp_open(const struct xdp_open_options *options, struct xdp **ret_xdp, enum xdp_step *ret_step);
struct xdp_facts xdp_facts(const struct xdp *xdp);
void xdp_close(struct xdp *xdp); /* NULL: nothing */

/* ---- an upgrade: net/xdp_pass.c says how ---- */

/* Each descriptor that another process needs, with a role of less than 16 bytes, "xdp-...". */
typedef void xdp_each_fn(void *context, const char *role, int fd);
void xdp_each_descriptor(const struct xdp *xdp, xdp_each_fn *each, void *context);

struct xdp_passed { /* what came of them; -1: it did not */
    int link, sockets_map;
    int sockets[XDP_MAX_QUEUES], memories[XDP_MAX_QUEUES];
};
void xdp_passed_init(struct xdp_passed *passed);
/* False: that is the role of something else. */
bool xdp_passed_add(struct xdp_passed *passed, const char *role, int fd);

/* As xdp_open(), but of what a running process has open and goes on with until xdp_take_over();
 * -EXDEV: that is of another interface, other queues, another mode or ring. The descriptors are
 * the struct's from then on. */
int xdp_adopt(const struct xdp_open_options *options, const struct xdp_passed *passed,
              struct xdp **ret_xdp, enum xdp_step *ret_step);

/* The other process is at rest and will not go on: the program is this one's now. Results: 0, or a
 * negative errno; then the other's goes on, for the same sockets. */
int xdp_take_over(struct xdp *xdp);

#endif
