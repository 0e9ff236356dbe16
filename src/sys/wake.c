#include "sys/wake.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

int wake_open(void)
{
    const int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    return wake < 0 ? -errno : wake;
}

void wake_send(int wake)
{
    (void)eventfd_write(wake, 1); /* full: it was sent often enough */
}

void wake_clear(int wake)
{
    eventfd_t count;

    (void)eventfd_read(wake, &count);
}

void wake_wait(int wake, int other, uint64_t timeout_ns)
{
    struct pollfd polled[] = {{.fd = wake, .events = POLLIN}, {.fd = other, .events = POLLIN}};
    const struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
                                     .tv_nsec = (long)(timeout_ns % 1000000000u)};

    if (ppoll(polled, 2, &timeout, NULL) > 0 && polled[0].revents)
        wake_clear(wake);
}
