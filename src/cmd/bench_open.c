/* The open loop: every datagram has an instant at which it is to be sent, whatever became of those
 * before it. Latency counts from that instant. So a server that stalls is charged for all that came
 * meanwhile, and so is a sender that was late; the latter is told apart by the slip, which is the
 * distance from the intended to the actual send.
 *
 * A datagram without an answer counts with the time it was waited for: leaving it out would make
 * loss look like speed.
 *
 * The thread spins while the next instant is near and sleeps, answers awake it, while it is far:
 * what is due is never waited for by the kernel's timers. */
#include <poll.h>
#include <sys/prctl.h>
#include <time.h>

#include "cmd/bench_answer.h"
#include "cmd/bench_loop.h"
#include "cmd/bench_request.h"
#include "sys/clock.h"

#define SECOND_NS 1000000000u
#define SPIN_NS 150000u      /* before the next instant: more than a timer and a wake-up take */
#define SHORTEST_NS 50000u   /* of a sleep */
#define OVERRUN_NS 100000000 /* after the end, for what is due: then the rest counts as unsent */
#define MOST_UNSENT 10000000 /* are walked through */

struct open_loop {
    struct bench_thread *thread;
    uint64_t next_ns; /* the next instant, of the same clock as all else */
    uint64_t last_ns; /* no instant from here on */
    unsigned flow;    /* whose turn it is */
};

static void step(struct open_loop *loop)
{
    loop->next_ns = loop->thread->start_ns + schedule_next(&loop->thread->schedule);
}

/* Sends what is due, at most FLOW_MESSAGES, on the flow whose turn it is. */
static bool send_due(struct open_loop *loop, uint64_t now_ns)
{
    struct bench_thread *thread = loop->thread;
    struct flow *flow = &thread->flows[loop->flow];
    uint16_t slots[FLOW_MESSAGES];
    const uint32_t clock_ms = bench_server_clock(&thread->clock, now_ns);
    unsigned count = 0;

    while (count < FLOW_MESSAGES && loop->next_ns <= now_ns && loop->next_ns < loop->last_ns &&
           flow->free_count > 0) {
        const unsigned slot = flow_next_slot(flow);
        if (!bench_fill_slot(thread, flow, slot, clock_ms))
            break;
        flow->slots[slot].intended_at_ns = loop->next_ns;
        flow->free_count--;
        slots[count++] = (uint16_t)slot;
        step(loop);
    }
    if (count == 0 && flow->free_count > 0)
        return false;
    loop->flow = loop->flow + 1 < thread->flow_count ? loop->flow + 1 : 0;
    if (count == 0)
        return false;
    const uint64_t sent_ns = clock_boot_ns();
    for (unsigned i = 0; i < count; i++)
        histogram_record(&thread->slip, sent_ns - flow->slots[slots[i]].intended_at_ns);
    bench_send(thread, flow, slots, count, sent_ns);
    return true;
}

/* Until an answer comes or the next instant is near, at most until the next upkeep. */
static void rest(const struct open_loop *loop, uint64_t now_ns, bool sending)
{
    const struct bench_thread *thread = loop->thread;
    uint64_t wait_ns = bench_upkeep_ns(thread);
    if (sending) {
        if (loop->next_ns < now_ns + SPIN_NS + SHORTEST_NS)
            return;
        if (loop->next_ns - now_ns - SPIN_NS < wait_ns)
            wait_ns = loop->next_ns - now_ns - SPIN_NS;
    }
    struct pollfd waits[BENCH_MAX_FLOWS];
    const struct timespec timeout = {.tv_nsec = (long)wait_ns};
    for (unsigned i = 0; i < thread->flow_count; i++)
        waits[i] = (struct pollfd){.fd = thread->flows[i].fd, .events = POLLIN};
    ppoll(waits, thread->flow_count, &timeout, NULL);
}

/* What was due and was never sent slipped by all the time until now. */
static void count_unsent(struct open_loop *loop, uint64_t now_ns)
{
    struct bench_thread *thread = loop->thread;
    if (bench_is_over(thread)) /* cut short: nothing was promised */
        return;
    while (loop->next_ns <= now_ns && loop->next_ns < loop->last_ns &&
           thread->counts.unsent < MOST_UNSENT) {
        histogram_record(&thread->slip, now_ns - loop->next_ns);
        thread->counts.unsent++;
        step(loop);
    }
}

static bool is_over(const struct open_loop *loop, uint64_t now_ns)
{
    return bench_is_over(loop->thread) || loop->next_ns >= loop->last_ns ||
           (loop->last_ns != UINT64_MAX && now_ns >= loop->last_ns + OVERRUN_NS);
}

void bench_open_run(struct bench_thread *thread)
{
    const uint64_t duration_ns = thread->options->duration_ns;
    uint64_t now_ns = bench_begin(thread);
    struct open_loop loop = {.thread = thread,
                             .last_ns = duration_ns ? now_ns + duration_ns : UINT64_MAX};
    bool sending = true;

    prctl(PR_SET_TIMERSLACK, 1ul); /* of this thread; a refusal costs precision, and slip tells */
    step(&loop);
    do {
        bool busy = false;
        if (sending)
            busy = send_due(&loop, now_ns);
        for (unsigned i = 0; i < thread->flow_count; i++)
            busy |= bench_receive(thread, &thread->flows[i]);
        now_ns = clock_boot_ns();
        bench_upkeep(thread, now_ns);
        if (sending && is_over(&loop, now_ns)) {
            count_unsent(&loop, now_ns);
            sending = false;
        }
        if (!busy) {
            rest(&loop, now_ns, sending);
            now_ns = clock_boot_ns();
        }
    } while (sending || bench_is_waiting(thread, now_ns));
    bench_end(thread);
    /* It lasted until the last instant that could have been, not just until the last answer. */
    if (loop.next_ns >= loop.last_ns && thread->end_ns < loop.last_ns)
        thread->end_ns = loop.last_ns;
}
