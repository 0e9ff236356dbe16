/* Time: the only reader of the machine's clocks, and the rule by which wall time never goes back.
 *
 * Buckets run on CLOCK_BOOTTIME, which also counts while the machine sleeps. Windows run on wall
 * time, kept as that clock plus an offset. When the host's clock jumps ahead the offset follows at
 * once; when it steps back the offset is slewed by an eighth of the time that passes, so that
 * wall_at() never decreases and a spent window is never opened again.
 *
 * struct wall: one per thread that decides; its functions are pure. */
#ifndef METE_SYS_CLOCK_H
#define METE_SYS_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

uint64_t clock_boot_ns(void); /* CLOCK_BOOTTIME */
uint64_t clock_real_ns(void); /* CLOCK_REALTIME */

/* CPU time that this thread has used. */
uint64_t clock_thread_ns(void);

/* Between two looks at something that another core will change: leaves a core's other half alone.
 */
static inline void clock_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__("yield" ::: "memory");
#endif
}

struct wall {
    uint64_t offset_ns; /* wall = boot + offset, at since_ns */
    uint64_t since_ns;  /* boot time at which offset_ns held */
    uint64_t excess_ns; /* how far offset_ns is above the host's at since_ns: to be slewed out */
};

#define WALL_SLEW_SHIFT 3 /* an eighth */

/* CLOCK_REALTIME beside the boot_ns that was just read. False: the thread was stopped in between,
 * so the two do not belong together. */
bool clock_read_real(uint64_t boot_ns, uint64_t *ret_real_ns);

/* Whether the host's clock was set, or jumped, since the last look: by more than CLOCK_STEP_NS.
 * What NTP slews is never that much between two looks a tenth of a second apart. */
#define CLOCK_STEP_NS 50000000
#define CLOCK_APART_NS 1000000 /* two clocks read one after the other belong together */
struct clock_steps {
    uint64_t offset_ns; /* host's minus boot time at the last look */
    bool has_offset;
};
bool clock_has_stepped(struct clock_steps *steps, uint64_t boot_ns, uint64_t real_ns);

/* Sets wall to the host's clock: real_ns was read at boot_ns. */
void wall_init(struct wall *wall, uint64_t boot_ns, uint64_t real_ns);
/* The same, but not before floor_ns, which this clock may have said already: what it is ahead is
 * slewed out. */
void wall_resume(struct wall *wall, uint64_t boot_ns, uint64_t real_ns, uint64_t floor_ns);
/* Follows the host's clock. boot_ns never decreases from call to call. */
void wall_update(struct wall *wall, uint64_t boot_ns, uint64_t real_ns);

/* Wall time at boot_ns >= since_ns; never decreases in boot_ns, across updates either. */
static inline uint64_t wall_at(const struct wall *wall, uint64_t boot_ns)
{
    uint64_t slewed = (boot_ns - wall->since_ns) >> WALL_SLEW_SHIFT;
    return boot_ns + wall->offset_ns - (slewed < wall->excess_ns ? slewed : wall->excess_ns);
}

#endif
