#include "fault/fault.h"
#include "lib/random.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "sys/sandbox.h"

struct point {
    const char *name;
    uint64_t every; /* 0: off, or `at` */
    uint64_t at;    /* 0: none in particular */
    uint64_t most;  /* hits */
};

struct told { /* the file, or `own` */
    struct {
        _Atomic uint64_t hits;
        _Atomic uint64_t calls; /* while faults are on */
    } counts[FAULT_COUNT];
    _Atomic uint64_t delay_ns;
};

static struct {
    uint64_t seed;
    _Atomic bool is_on;
    struct point points[FAULT_COUNT];
    struct told *told; /* `own`, or in a file that others read */
    struct told own;
} faults = {.told = &faults.own,
            .points = {
                [FAULT_ALLOC] = {.name = "alloc"},
                [FAULT_SEND_SHORT] = {.name = "send_short"},
                [FAULT_ENOBUFS] = {.name = "enobufs"},
                [FAULT_EAGAIN] = {.name = "eagain"},
                [FAULT_CQ] = {.name = "cq"},
                [FAULT_MMAP] = {.name = "mmap"},
                [FAULT_CLOCK_STEP] = {.name = "clock_step"},
                [FAULT_THREAD] = {.name = "thread"},
                [FAULT_ACCEPT] = {.name = "accept"},
            }};

uint64_t fault_random(enum fault fault)
{
    return random_of(faults.seed + (uint64_t)fault * 1000003u +
                     atomic_load_explicit(&faults.told->counts[fault].hits, memory_order_relaxed));
}

bool fault_is_on(enum fault fault)
{
    const struct point *point = &faults.points[fault];

    return point->every || point->at;
}

void fault_count(enum fault fault)
{
    atomic_fetch_add_explicit(&faults.told->counts[fault].hits, 1, memory_order_relaxed);
}

bool fault_is_due(enum fault fault)
{
    struct point *point = &faults.points[fault];

    if (!fault_is_on(fault) || !atomic_load_explicit(&faults.is_on, memory_order_relaxed))
        return false;
    uint64_t call =
        atomic_fetch_add_explicit(&faults.told->counts[fault].calls, 1, memory_order_relaxed) + 1;
    bool is_due =
        point->at
            ? call == point->at
            : random_of(faults.seed ^ random_of(call * FAULT_COUNT + fault)) % point->every == 0;

    if (!is_due ||
        atomic_load_explicit(&faults.told->counts[fault].hits, memory_order_relaxed) >= point->most)
        return false;
    fault_count(fault);
    return true;
}

int __real_clock_gettime(clockid_t id, struct timespec *ret_now);

static uint64_t now_ns(void)
{
    struct timespec now;

    __real_clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#define SPIN_NS 200000u /* beyond, it sleeps, and leaves the processor to others */

void fault_delay(void)
{
    const uint64_t delay_ns = atomic_load_explicit(&faults.told->delay_ns, memory_order_relaxed);
    const uint64_t end_ns = delay_ns ? now_ns() + delay_ns : 0;

    if (delay_ns > SPIN_NS)
        nanosleep(&(struct timespec){.tv_sec = (time_t)(delay_ns / 1000000000u),
                                     .tv_nsec = (long)(delay_ns % 1000000000u)},
                  NULL);
    while (delay_ns && now_ns() < end_ns)
        ;
}

/* ---- what was asked for, and what came of it ---- */

static void refuse(const char *word)
{
    fprintf(stderr,
            "mete: METE_FAULTS: '%s' is none of seed=N, from=start, tell=FILE, NAME=1/N[xMAX], "
            "NAME=@K\n",
            word);
    _Exit(2);
}

void *__real_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);

/* Counts in this file from here on. */
static void tell(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *file = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, sizeof faults.own) == 0)
        file = __real_mmap(NULL, sizeof faults.own, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (file == MAP_FAILED)
        refuse(path);
    close(fd);
    faults.told = file;
}

static void take_word(const char *word)
{
    uint64_t number;
    char name[24];

    if (sscanf(word, "seed=%" SCNu64, &faults.seed) == 1)
        return;
    if (strncmp(word, "tell=", 5) == 0) {
        tell(word + 5);
        return;
    }
    if (strcmp(word, "from=start") == 0) {
        faults.is_on = true;
        return;
    }
    for (struct point *point = faults.points; point < faults.points + FAULT_COUNT; point++) {
        if (sscanf(word, "%23[a-z_]=1/%" SCNu64 "x%" SCNu64, name, &number, &point->most) >= 2 &&
            strcmp(name, point->name) == 0) {
            point->every = number;
            return;
        }
        if (sscanf(word, "%23[a-z_]=@%" SCNu64, name, &number) == 2 &&
            strcmp(name, point->name) == 0) {
            point->at = number;
            return;
        }
    }
    refuse(word);
}

static void say(void)
{
    char line[512] = "mete: faults";
    size_t len = strlen(line);

    for (const struct point *point = faults.points; point < faults.points + FAULT_COUNT; point++)
        if (fault_is_on((enum fault)(point - faults.points)))
            len += (size_t)snprintf(line + len, sizeof line - len, " %s %" PRIu64 "/%" PRIu64,
                                    point->name, faults.told->counts[point - faults.points].hits,
                                    faults.told->counts[point - faults.points].calls);
    fprintf(stderr, "%s\n", line);
}

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("METE_FAULTS");
    char copy[512], *rest = copy;

    if (!text)
        return;
    for (struct point *point = faults.points; point < faults.points + FAULT_COUNT; point++)
        point->most = UINT64_MAX;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word = strsep(&rest, ","); word; word = strsep(&rest, ","))
        take_word(word);
    atexit(say);
}

/* The last step of the daemon's start. */
int __real_sandbox_filter_calls(void);
int __wrap_sandbox_filter_calls(void);
int __wrap_sandbox_filter_calls(void)
{
    int result = __real_sandbox_filter_calls();

    atomic_store_explicit(&faults.is_on, true, memory_order_relaxed);
    return result;
}
