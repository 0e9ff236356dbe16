/* Telling the service manager how it goes: sd_notify(3)'s protocol, a datagram of lines to the
 * socket that $NOTIFY_SOCKET names. Own code because it is one sendto(), stable by systemd's own
 * promise, and a library for it would bring five others into the daemon's address space.
 *
 * Without a service manager all of this does nothing. Main thread. */
#ifndef METE_SYS_NOTIFY_H
#define METE_SYS_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

struct notify {
    int fd;                /* connected, or -1: nobody listens */
    uint64_t watchdog_ns;  /* a sign of life is expected so often; 0: none is */
    uint64_t next_sign_ns; /* when the next is due; boot time */
    bool has_store;        /* it keeps descriptors: $FDSTORE, as systemd 254 says it */
};

/* Reads the environment and takes what concerns this process out of it. */
void notify_open(struct notify *notify);
void notify_close(struct notify *notify);

/* One or more lines as sd_notify(3) has them, e.g. "READY=1\nSTATUS=serving". */
__attribute__((format(printf, 2, 3))) void notify_say(const struct notify *notify,
                                                      const char *format, ...);

/* Has the manager keep a copy of a descriptor under a name without colons, and pass it at the next
 * start (FDSTORE=1, sd_pid_notify_with_fds(3)). */
void notify_store(const struct notify *notify, const char *name, int fd);

/* RELOADING=1 with the time it wants; READY=1 ends it. */
void notify_reloading(const struct notify *notify);

/* How long from now_ns until the next sign of life is due, at least 0; UINT64_MAX: none is wanted.
 */
uint64_t notify_wait_ns(const struct notify *notify, uint64_t now_ns);

/* Gives the sign if it is due. The caller has made sure that the daemon is alive. */
void notify_alive(struct notify *notify, uint64_t now_ns);

#endif
