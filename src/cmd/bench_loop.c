/* The closed loop.
 *
 * A turn of a flow: take in the answers that are there, check each, fill the slots they free with
 * new datagrams, send those in one call. Turns go round; only when rounds found nothing does the
 * thread sleep in poll(). It shares a machine with the server it measures, so what it costs counts:
 * two system calls a turn for all datagrams of it. */
#include "cmd/bench_loop.h"

#include <poll.h>

#include "cmd/bench_answer.h"
#include "cmd/bench_request.h"
#include "sys/clock.h"

#define SECOND_NS 1000000000u
#define UPKEEP_RETRY_NS 500000u
#define GRACE_NS 200000000u /* after an interrupt, for what is in flight */
/* Empty rounds before sleeping: a server that is on its way answers within one of them. */
#define IDLE_ROUNDS 32u

static void fill_flow(struct bench_thread *thread, struct flow *flow)
{
    uint16_t slots[FLOW_MESSAGES];
    while (flow->free_count > 0) {
        const uint32_t clock_ms = bench_server_clock(&thread->clock, thread->end_ns);
        unsigned count = 0;
        while (count < FLOW_MESSAGES && flow->free_count > 0) {
            const uint16_t slot = (uint16_t)flow_next_slot(flow);
            if (!bench_fill_slot(thread, flow, slot, clock_ms))
                break;
            flow->free_count--;
            slots[count++] = slot;
        }
        if (count == 0)
            return;
        const uint64_t now_ns = clock_boot_ns();
        for (unsigned i = 0; i < count; i++)
            flow->slots[slots[i]].intended_at_ns = now_ns;
        bench_send(thread, flow, slots, count, now_ns);
    }
}

uint64_t bench_upkeep_ns(const struct bench_thread *thread)
{
    return thread->options->retries ? UPKEEP_RETRY_NS : BENCH_UPKEEP_NS;
}

static void wait_for_answers(const struct bench_thread *thread)
{
    struct pollfd waits[BENCH_MAX_FLOWS];
    for (unsigned i = 0; i < thread->flow_count; i++)
        waits[i] = (struct pollfd){.fd = thread->flows[i].fd, .events = POLLIN};
    const struct timespec timeout = {.tv_nsec = (long)bench_upkeep_ns(thread)};
    ppoll(waits, thread->flow_count, &timeout, NULL);
}

uint64_t bench_begin(struct bench_thread *thread)
{
    const uint64_t now_ns = thread->start_ns = thread->end_ns = clock_boot_ns();
    thread->upkeep_ns = now_ns + bench_upkeep_ns(thread);
    thread->second_ns = now_ns + SECOND_NS;
    return now_ns;
}

static void publish(struct bench_thread *thread)
{
    struct bench_progress *progress = &thread->progress;
    const struct bench_counts *counts = &thread->counts;
    atomic_store_explicit(&progress->checks, counts->checks, memory_order_relaxed);
    atomic_store_explicit(&progress->allowed, counts->allowed, memory_order_relaxed);
    atomic_store_explicit(&progress->lost, counts->lost, memory_order_relaxed);
}

void bench_upkeep(struct bench_thread *thread, uint64_t now_ns)
{
    if (now_ns >= thread->upkeep_ns) {
        bench_expire(thread, now_ns);
        publish(thread);
        thread->upkeep_ns = now_ns + bench_upkeep_ns(thread);
        if (bench_stop && !thread->stop_ns)
            thread->stop_ns = now_ns + GRACE_NS;
    }
    if (now_ns >= thread->second_ns) {
        atomic_store_explicit(&thread->progress.p99_ns,
                              histogram_percentile(&thread->latency, 0.99), memory_order_relaxed);
        thread->second_ns += SECOND_NS;
        if (thread->on_second)
            thread->on_second(thread->context, now_ns - thread->start_ns);
    }
}

bool bench_is_over(const struct bench_thread *thread)
{
    return bench_stop || traffic_is_over(&thread->traffic) ||
           thread->closed_count == thread->flow_count;
}

bool bench_is_waiting(struct bench_thread *thread, uint64_t now_ns)
{
    if (thread->in_flight > 0 && thread->stop_ns && now_ns > thread->stop_ns)
        bench_cut_off(thread);
    return thread->in_flight > 0;
}

void bench_end(struct bench_thread *thread)
{
    thread->counts.refused = thread->io->refused;
    thread->counts.unsendable = thread->io->unsendable;
}

void bench_loop_run(struct bench_thread *thread)
{
    const uint64_t duration_ns = thread->options->duration_ns;
    uint64_t now_ns;
    unsigned idle_rounds = 0;
    bool fill = true;

    bench_begin(thread);
    do {
        bool busy = false;
        for (unsigned i = 0; i < thread->flow_count; i++) {
            busy |= bench_receive(thread, &thread->flows[i]);
            if (fill && thread->flows[i].free_count > 0)
                fill_flow(thread, &thread->flows[i]);
        }
        idle_rounds = busy ? 0 : idle_rounds + 1;
        if (idle_rounds > IDLE_ROUNDS)
            wait_for_answers(thread);
        now_ns = clock_boot_ns();
        bench_upkeep(thread, now_ns);
        if (bench_is_over(thread) || (duration_ns && now_ns - thread->start_ns >= duration_ns))
            fill = false;
    } while (fill || bench_is_waiting(thread, now_ns));
    bench_end(thread);
}
