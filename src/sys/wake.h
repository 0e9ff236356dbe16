/* Waking a thread that waits in poll(2). Source: eventfd(2). Any thread. */
#ifndef METE_SYS_WAKE_H
#define METE_SYS_WAKE_H

#include <stdint.h>

/* A descriptor that is readable from wake_send() to wake_clear(), or a negative errno. */
int wake_open(void);
void wake_send(int wake);
void wake_clear(int wake);

/* Waits until one of the two descriptors is readable, at most so long. */
void wake_wait(int wake, int other, uint64_t timeout_ns);

#endif
