#include "sys/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* An absolute path, or a name in the abstract namespace behind '@'. */
static int connect_to(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || len < 2 || len >= sizeof(address.sun_path))
        return -1;
    memcpy(address.sun_path, name, len);
    if (name[0] == '@')
        address.sun_path[0] = 0;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, size) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Of the time the manager waits, a half: one sign may be late. 0 if it waits for another process.
 */
static uint64_t watchdog_ns(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    if (!usec || (pid && strtoull(pid, NULL, 10) != (uint64_t)getpid()))
        return 0;
    uint64_t value = strtoull(usec, NULL, 10);
    return value < UINT64_MAX / 1000 ? value * 1000 / 2 : 0;
}

void notify_open(struct notify *notify)
{
    const char *name = getenv("NOTIFY_SOCKET");
    *notify = (struct notify){.fd = name ? connect_to(name) : -1};
    if (notify->fd >= 0) {
        const char *store = getenv("FDSTORE");
        notify->watchdog_ns = watchdog_ns();
        notify->has_store = store && strtoul(store, NULL, 10) > 0;
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    unsetenv("FDSTORE");
}

void notify_close(struct notify *notify)
{
    if (notify->fd >= 0)
        close(notify->fd);
    notify->fd = -1;
}

void notify_say(const struct notify *notify, const char *format, ...)
{
    char text[1024];
    if (notify->fd < 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (len <= 0)
        return;
    size_t size = (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1;
    /* Nothing can be done about a manager that does not listen. */
    (void)!send(notify->fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void notify_store(const struct notify *notify, const char *name, int fd)
{
    char text[256];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    int len = snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
    struct iovec iov = {.iov_base = text, .iov_len = (size_t)len};
    struct msghdr header = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    struct cmsghdr *first = CMSG_FIRSTHDR(&header);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(first), &fd, sizeof(int));
    if (notify->fd >= 0 && len > 0 && (size_t)len < sizeof(text))
        (void)!sendmsg(notify->fd, &header, MSG_NOSIGNAL);
}

void notify_reloading(const struct notify *notify)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* the manager's clock, not ours */
    notify_say(notify, "RELOADING=1\nMONOTONIC_USEC=%lld",
               (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

uint64_t notify_wait_ns(const struct notify *notify, uint64_t now_ns)
{
    if (!notify->watchdog_ns)
        return UINT64_MAX;
    return notify->next_sign_ns > now_ns ? notify->next_sign_ns - now_ns : 0;
}

void notify_alive(struct notify *notify, uint64_t now_ns)
{
    if (notify_wait_ns(notify, now_ns) != 0)
        return;
    notify_say(notify, "WATCHDOG=1");
    notify->next_sign_ns = now_ns + notify->watchdog_ns;
}
