/* The calls that can be made to fail, but for those of memory (alloc.c) and of rings (ring.c):
 * each does what it stands for unless fault.h says otherwise. The linker puts them in the way. */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "fault/fault.h"

#define DAY_NS (86400ll * 1000000000)

ssize_t __real_send(int fd, const void *bytes, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags)
{
    if (fault_is_due(FAULT_EAGAIN)) {
        errno = EAGAIN;
        return -1;
    }
    if (len > 1 && fault_is_due(FAULT_SEND_SHORT))
        len = 1 + fault_random(FAULT_SEND_SHORT) % (len - 1);
    return __real_send(fd, bytes, len, flags);
}

ssize_t __real_recv(int fd, void *bytes, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t size, int flags)
{
    if (fault_is_due(FAULT_EAGAIN)) {
        errno = EAGAIN;
        return -1;
    }
    if (size > 1 && fault_is_due(FAULT_SEND_SHORT))
        size = 1 + fault_random(FAULT_SEND_SHORT) % 16 % (size - 1);
    return __real_recv(fd, bytes, size, flags);
}

/* The errors that a datagram's send or receive may fail with. */
static bool fails(void)
{
    if (fault_is_due(FAULT_ENOBUFS))
        errno = ENOBUFS;
    else if (fault_is_due(FAULT_EAGAIN))
        errno = EAGAIN;
    else
        return false;
    return true;
}

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return fails() ? -1 : __real_sendmsg(fd, message, flags);
}

int __real_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    fault_delay();
    if (fails())
        return -1;
    if (count > 1 && fault_is_due(FAULT_SEND_SHORT))
        count = 1 + (unsigned)(fault_random(FAULT_SEND_SHORT) % 4 % (count - 1));
    return __real_sendmmsg(fd, messages, count, flags);
}

int __real_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                    struct timespec *timeout);
int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                    struct timespec *timeout);
int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                    struct timespec *timeout)
{
    return fails() ? -1 : __real_recvmmsg(fd, messages, count, flags, timeout);
}

int __real_accept4(int fd, struct sockaddr *peer, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *len, int flags)
{
    if (fault_is_due(FAULT_ACCEPT)) {
        errno = EMFILE;
        return -1;
    }
    return __real_accept4(fd, peer, len, flags);
}

void *__real_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (fault_is_due(FAULT_MMAP)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(address, size, protection, flags, fd, offset);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument)
{
    if (fault_is_due(FAULT_THREAD))
        return EAGAIN;
    return __real_pthread_create(thread, attributes, run, argument);
}

int __real_clock_gettime(clockid_t id, struct timespec *ret_now);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret_now);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret_now)
{
    static _Atomic int64_t offset_ns;
    int result = __real_clock_gettime(id, ret_now);

    if (id != CLOCK_REALTIME || result < 0)
        return result;
    if (fault_is_due(FAULT_CLOCK_STEP))
        offset_ns = (int64_t)(fault_random(FAULT_CLOCK_STEP) % (2 * DAY_NS)) - DAY_NS;
    int64_t now_ns = ret_now->tv_sec * 1000000000ll + ret_now->tv_nsec + offset_ns;
    *ret_now = (struct timespec){.tv_sec = now_ns / 1000000000, .tv_nsec = now_ns % 1000000000};
    return result;
}
