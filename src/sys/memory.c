/* Large memory at start, and memory for secrets. See memory.h. */
#include "sys/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define HUGE_PAGE ((size_t)2 << 20)

/* What the kernel thinks it can give without swapping. Prefaulting more would not fail: it would
 * wake the out-of-memory killer. */
static uint64_t available_bytes(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    uint64_t kilobytes;
    uint64_t bytes = UINT64_MAX;

    if (!file)
        return bytes;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemAvailable: %" SCNu64 " kB", &kilobytes) == 1) {
            bytes = kilobytes * 1024;
            break;
        }
    }
    fclose(file);
    return bytes;
}

/* 0 or -errno. */
static int prefault(char *memory, size_t size)
{
    if (madvise(memory, size, MADV_POPULATE_WRITE) == 0)
        return 0;
    if (errno != EINVAL)
        return -ENOMEM;
    long page = sysconf(_SC_PAGESIZE); /* an older kernel: touch every page */

    for (size_t i = 0; i < size; i += (size_t)page)
        *(volatile char *)(memory + i) = 0;
    return 0;
}

int memory_reserve(size_t size, bool huge, void **ret_memory)
{
    if (size == 0)
        return -EINVAL;
    if (size > SIZE_MAX - HUGE_PAGE || size > available_bytes())
        return -ENOMEM;
    size_t whole = size + HUGE_PAGE; /* room to align; given back below */
    char *start = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (start == MAP_FAILED)
        return -ENOMEM;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t ahead = (HUGE_PAGE - (uintptr_t)start % HUGE_PAGE) % HUGE_PAGE;
    char *memory = start + ahead;
    size_t used = (size + page - 1) / page * page;

    if (ahead)
        munmap(start, ahead);
    munmap(memory + used, whole - ahead - used);
    (void)madvise(memory, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE); /* advice, never needed */
    if (prefault(memory, size) < 0) {
        munmap(memory, size);
        return -ENOMEM;
    }
    *ret_memory = memory;
    return 0;
}

void memory_release(void *memory, size_t size)
{
    if (memory)
        munmap(memory, size);
}

int memory_secret_reserve(size_t size, bool *ret_locked, void **ret_memory)
{
    if (size == 0)
        return -EINVAL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return -ENOMEM;
    if (madvise(memory, size, MADV_DONTDUMP) < 0) { /* known to every kernel since 3.4 */
        munmap(memory, size);
        return -ENOMEM;
    }
    *ret_locked = mlock(memory, size) == 0;
    *ret_memory = memory;
    return 0;
}

void memory_secret_release(void *memory, size_t size)
{
    if (!memory)
        return;
    explicit_bzero(memory, size);
    munmap(memory, size); /* which unlocks it too */
}

bool memory_has_huge_pages(const void *memory)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[512];
    bool here = false, found = false;

    if (!file)
        return false;
    while (!found && fgets(line, sizeof line, file)) {
        uint64_t from, to, kilobytes;

        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2)
            here = from <= (uintptr_t)memory && (uintptr_t)memory < to;
        else if (here && sscanf(line, "AnonHugePages: %" SCNu64 " kB", &kilobytes) == 1)
            found = kilobytes > 0;
    }
    fclose(file);
    return found;
}
