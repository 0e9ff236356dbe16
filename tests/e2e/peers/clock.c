/* A clock that stands still until it is told otherwise: preloaded into several servers, so that all
 * of them decide at the very same instant. METE_CLOCK names a file of 8 bytes, nanoseconds since
 * 1970, which every call looks at. CLOCK_BOOTTIME is the same less what it was at START; other
 * clocks go on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

#define START 1700000000000000000ull
#define SECOND 1000000000ull

static uint64_t now_ns(void)
{
    static const uint64_t *file;
    const uint64_t *at = __atomic_load_n(&file, __ATOMIC_ACQUIRE);
    if (!at) {
        at = mmap(NULL, sizeof(*at), PROT_READ, MAP_SHARED,
                  open(getenv("METE_CLOCK"), O_RDONLY | O_CLOEXEC), 0);
        if (at == MAP_FAILED)
            abort();
        __atomic_store_n(&file, at, __ATOMIC_RELEASE);
    }
    return __atomic_load_n(at, __ATOMIC_SEQ_CST);
}

int clock_gettime(clockid_t id, struct timespec *out)
{
    static int (*real)(clockid_t, struct timespec *);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_BOOTTIME) {
        const uint64_t ns = now_ns() - (id == CLOCK_BOOTTIME ? START : 0);
        *out = (struct timespec){.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND)};
        return 0;
    }
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return real(id, out);
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    const uint64_t ns = now_ns();
    (void)zone;
    *out = (struct timeval){.tv_sec = (time_t)(ns / SECOND),
                            .tv_usec = (suseconds_t)(ns % SECOND / 1000)};
    return 0;
}

time_t time(time_t *out)
{
    const time_t seconds = (time_t)(now_ns() / SECOND);
    if (out)
        *out = seconds;
    return seconds;
}
