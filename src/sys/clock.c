#include "sys/clock.h"

#include <time.h>

static uint64_t read_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_boot_ns(void)
{
    return read_ns(CLOCK_BOOTTIME);
}

uint64_t clock_real_ns(void)
{
    return read_ns(CLOCK_REALTIME);
}

uint64_t clock_thread_ns(void)
{
    return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

void wall_init(struct wall *wall, uint64_t boot_ns, uint64_t real_ns)
{
    *wall = (struct wall){.offset_ns = real_ns - boot_ns, .since_ns = boot_ns};
}

void wall_resume(struct wall *wall, uint64_t boot_ns, uint64_t real_ns, uint64_t floor_ns)
{
    wall_init(wall, boot_ns, real_ns > floor_ns ? real_ns : floor_ns);
    wall_update(wall, boot_ns, real_ns);
}

void wall_update(struct wall *wall, uint64_t boot_ns, uint64_t real_ns)
{
    uint64_t ours_ns = wall_at(wall, boot_ns);
    uint64_t later_ns = ours_ns > real_ns ? ours_ns : real_ns;
    wall->offset_ns = later_ns - boot_ns; /* wraps if the host says 1970: the sum is right */
    wall->since_ns = boot_ns;
    wall->excess_ns = later_ns - real_ns;
}

bool clock_read_real(uint64_t boot_ns, uint64_t *ret_real_ns)
{
    *ret_real_ns = clock_real_ns();
    return clock_boot_ns() - boot_ns < CLOCK_APART_NS;
}

bool clock_has_stepped(struct clock_steps *steps, uint64_t boot_ns, uint64_t real_ns)
{
    const uint64_t offset_ns = real_ns - boot_ns; /* wraps; so does what it is compared with */
    const int64_t moved_ns = (int64_t)(offset_ns - steps->offset_ns);
    const bool has_stepped =
        steps->has_offset && (moved_ns > CLOCK_STEP_NS || moved_ns < -CLOCK_STEP_NS);
    steps->offset_ns = offset_ns;
    steps->has_offset = true;
    return has_stepped;
}
