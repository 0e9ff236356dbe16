/* Giving up what the daemon does not need once it serves: privileges, and system calls.
 *
 * Whoever finds a hole in a parser then finds a process without capabilities that cannot gain any,
 * cannot start a program, trace another process, make a ring, a thread, a name in the network that
 * is not a socket of the kinds used, or memory that can be run. systemd's unit says the same from
 * outside; this holds without it, too.
 *
 * Source: capabilities(7), prctl(2), seccomp(2). Main thread. */
#ifndef METE_SYS_SANDBOX_H
#define METE_SYS_SANDBOX_H

#include <stdbool.h>

/* No new privileges, and no capability in any set, for this thread and those it starts later.
 * Results: 0 or the negative errno of what the kernel refused. */
int sandbox_drop_privileges(void);

/* From now on only the calls that a serving daemon makes, in all threads there are. Others fail
 * with EPERM (test builds: end the process, so that a missing one is found). Results: 0; -ENOSYS
 * (built without libseccomp, or under a sanitizer, whose runtime makes calls of its own); or the
 * negative errno of what the kernel refused. */
int sandbox_filter_calls(void);

/* Is sandbox_filter_calls() more than -ENOSYS in this build? For `mete version`. */
bool sandbox_has_filter(void);

#endif
