/* The closed loop.
 *
 * A turn of a flow: take in the answers that are there, check each, fill the slots they free with
 * new datagrams, send those in one call. Turns go round; only when a round found nothing does the
 * thread sleep in poll(). It shares a machine with the server it measures, so what it costs counts:
 * two system calls a turn for all datagrams of it, and of a datagram only sequence number, keys and
 * tag are written.
 *
 * Time-outs are looked at every few milliseconds, not per datagram. */
#include "cmd/bench_loop.h"

#include <poll.h>
#include <string.h>

#include "sys/clock.h"

#define SECOND_NS 1000000000u
/* Empty rounds before sleeping: a server that is on its way answers within one of them. */
#define IDLE_ROUNDS 32u

static void free_slot(struct bench_thread *thread, struct flow *flow, unsigned slot)
{
    flow->slots[slot].in_flight = false;
    thread->in_flight--;
    if (!flow->in_order) {
        flow->free[flow->free_count++] = (uint16_t)slot;
        return;
    }
    while (flow->free_count < flow->outstanding && !flow->slots[flow->oldest].in_flight) {
        flow->oldest = flow->oldest + 1 < flow->outstanding ? flow->oldest + 1 : 0;
        flow->free_count++;
    }
}

bool bench_fill_slot(struct bench_thread *thread, struct flow *flow, unsigned index)
{
    uint32_t *subjects = flow->subjects + (size_t)index * flow->batch;
    struct flow_slot *slot = &flow->slots[index];
    uint8_t *bytes = flow_datagram(flow, index);
    const unsigned n = traffic_draw(&thread->traffic, flow->batch, subjects);

    if (n == 0)
        return false;
    /* The tag of a shorter datagram stood where the full one has an entry's rule and cost. */
    if (slot->n < flow->batch)
        memcpy(bytes + mete_wire_request_bytes(slot->n, METE_WIRE_ENTRY_BYTES) -
                   METE_WIRE_TAG_BYTES,
               flow->rule_and_cost, METE_WIRE_TAG_BYTES);
    uint8_t *p = bytes + METE_WIRE_HEADER_BYTES + 8; /* past rule and cost */
    for (unsigned i = 0; i < n; i++, p += METE_WIRE_ENTRY_BYTES) {
        const struct key key = traffic_key(&thread->traffic, subjects[i]);
        mete_wire_put64(p, key.low);
        mete_wire_put64(p + 8, key.high);
    }
    slot->sequence += FLOW_SLOTS;
    slot->answered <<= 1;
    slot->n = (uint8_t)n;
    slot->len = (uint16_t)mete_wire_request_bytes(n, METE_WIRE_ENTRY_BYTES);
    slot->in_flight = true;
    bytes[3] = (uint8_t)n;
    mete_wire_put32(bytes + 12, slot->sequence);
    slot->tag = mete_wire_sign_request(bytes, slot->len, NULL);
    return true;
}

static void fill_flow(struct bench_thread *thread, struct flow *flow)
{
    uint16_t slots[FLOW_MESSAGES];
    while (flow->free_count > 0) {
        unsigned count = 0;
        while (count < FLOW_MESSAGES && flow->free_count > 0) {
            const uint16_t slot = flow->free[flow->free_count - 1];
            if (!bench_fill_slot(thread, flow, slot))
                break;
            flow->free_count--;
            slots[count++] = slot;
        }
        if (count == 0)
            return;
        const uint64_t now_ns = clock_boot_ns();
        for (unsigned i = 0; i < count; i++)
            flow->slots[slots[i]].sent_at_ns = flow->slots[slots[i]].intended_at_ns = now_ns;
        thread->in_flight += count;
        thread->counts.sent += count;
        flow_send(flow, thread->io, slots, count);
    }
}

static void count_status(struct bench_thread *thread, unsigned status, unsigned n)
{
    thread->counts.statuses[status < METE_STATUS_COUNT ? status : METE_STATUS_COUNT] += n;
}

static void judge_entry(struct bench_thread *thread, const struct flow_slot *slot, uint32_t subject,
                        const struct mete_verdict *verdict, uint64_t now_ns)
{
    const struct judge_answer answer = {
        .sent_ns = slot->sent_at_ns,
        .received_ns = now_ns,
        .allowed = verdict->flags & METE_VERDICT_ALLOW,
        .remaining = verdict->remaining,
    };
    if (verdict->status == METE_STATUS_OK)
        bench_judge_pass(thread->judge, subject, &answer);
    else
        bench_judge_lost(thread->judge, subject);
}

static void take_verdicts(struct bench_thread *thread, const struct flow_slot *slot,
                          const uint32_t *subjects, const uint8_t *bytes, uint64_t now_ns)
{
    unsigned allowed = 0, decided = 0;
    for (unsigned i = 0; i < slot->n; i++) {
        const struct mete_verdict verdict = mete_wire_decode_verdict(bytes, i);
        if (verdict.status == METE_STATUS_OK) {
            decided++;
            allowed += verdict.flags & METE_VERDICT_ALLOW;
        } else {
            count_status(thread, verdict.status, 1);
        }
        if (thread->judge)
            judge_entry(thread, slot, subjects[i], &verdict, now_ns);
    }
    thread->counts.statuses[METE_STATUS_OK] += decided;
    thread->counts.allowed += allowed;
    thread->counts.denied += decided - allowed;
}

/* Gives subjects back; lost: nobody knows whether they were charged. */
static void return_subjects(struct bench_thread *thread, const struct flow *flow, unsigned index,
                            bool lost)
{
    if (!thread->judge)
        return;
    const uint32_t *subjects = flow->subjects + (size_t)index * flow->batch;
    for (unsigned i = 0; i < flow->slots[index].n; i++) {
        if (lost)
            bench_judge_lost(thread->judge, subjects[i]);
        traffic_return(&thread->traffic, subjects[i]);
    }
}

static bool is_good_tag(const struct bench_thread *thread, const struct flow_slot *slot,
                        const uint8_t *bytes, unsigned len)
{
    if (thread->options->echo)
        return len == slot->len && mete_wire_tag(bytes, len) == slot->tag &&
               (thread->options->no_tag_check || mete_wire_verify_request(bytes, len, NULL));
    return thread->options->no_tag_check || mete_wire_verify_result(bytes, len, slot->tag, NULL);
}

/* Form and sequence number; false if this cannot be an answer to anything of ours. */
static bool read_header(const struct bench_thread *thread, const uint8_t *bytes, unsigned len,
                        struct mete_result_header *ret_header)
{
    if (!thread->options->echo)
        return mete_wire_decode_result(bytes, len, ret_header) == METE_WIRE_OK &&
               ret_header->type == (METE_CHECK | METE_RESULT);
    struct mete_header header;
    if (mete_wire_decode_header(bytes, len, &header) != METE_WIRE_OK)
        return false;
    *ret_header = (struct mete_result_header){.n = header.n, .sequence = header.sequence};
    return true;
}

/* An answer to what is no longer in flight. */
static void count_old(struct bench_thread *thread, struct flow_slot *slot, uint32_t sequence)
{
    const uint32_t generation = (slot->sequence - sequence) / FLOW_SLOTS;
    const uint64_t bit = generation < 64 ? 1ull << generation : 0;
    if (slot->answered & bit)
        thread->counts.duplicate++;
    else
        thread->counts.late++;
    slot->answered |= bit;
}

static void on_datagram(struct bench_thread *thread, struct flow *flow, const uint8_t *bytes,
                        unsigned len, uint64_t now_ns)
{
    struct bench_counts *counts = &thread->counts;
    struct mete_result_header header;
    if (!read_header(thread, bytes, len, &header)) {
        counts->malformed++;
        return;
    }
    const unsigned index = (header.sequence - flow->base) % FLOW_SLOTS;
    struct flow_slot *slot = &flow->slots[index < flow->outstanding ? index : 0];
    if (index >= flow->outstanding || (int32_t)(header.sequence - slot->sequence) > 0) {
        counts->malformed++;
        return;
    }
    if (header.sequence != slot->sequence || !slot->in_flight) {
        count_old(thread, slot, header.sequence);
        return;
    }
    const bool has_status = header.flags & METE_RESULT_STATUS;
    if (!is_good_tag(thread, slot, bytes, len) || header.flags & METE_RESULT_MIN ||
        header.n != (has_status ? 0 : slot->n)) {
        counts->malformed++; /* its slot waits on, and is lost if no better one comes */
        return;
    }
    counts->datagrams++;
    counts->checks += slot->n;
    slot->answered |= 1;
    histogram_record(&thread->latency, now_ns - slot->intended_at_ns);
    if (thread->options->rate)
        histogram_record(&thread->from_send, now_ns - slot->sent_at_ns);
    if (has_status)
        count_status(thread, header.detail, slot->n);
    else if (!thread->options->echo)
        take_verdicts(thread, slot, flow->subjects + (size_t)index * flow->batch, bytes, now_ns);
    return_subjects(thread, flow, index, has_status);
    free_slot(thread, flow, index);
}

bool bench_receive(struct bench_thread *thread, struct flow *flow)
{
    const unsigned messages = flow_receive(flow, thread->io);
    if (messages > 0) {
        const uint64_t now_ns = thread->end_ns = clock_boot_ns();
        for (unsigned i = 0; i < messages; i++) {
            const uint8_t *bytes = thread->io->receive_parts[i].iov_base;
            const unsigned len = thread->io->receives[i].msg_len;
            const unsigned segment = flow_segment(thread->io, i);
            for (unsigned at = 0; at < len; at += segment)
                on_datagram(thread, flow, bytes + at, len - at < segment ? len - at : segment,
                            now_ns);
        }
    }
    return messages > 0;
}

void bench_give_up(struct bench_thread *thread, struct flow *flow, unsigned index)
{
    thread->counts.lost++;
    return_subjects(thread, flow, index, true);
    free_slot(thread, flow, index);
}

static void expire(struct bench_thread *thread, uint64_t now_ns)
{
    for (unsigned f = 0; f < thread->flow_count; f++) {
        struct flow *flow = &thread->flows[f];
        for (unsigned i = 0; i < flow->outstanding; i++) {
            if (!flow->slots[i].in_flight ||
                now_ns - flow->slots[i].sent_at_ns < thread->options->timeout_ns)
                continue;
            bench_give_up(thread, flow, i);
        }
    }
}

static void wait_for_answers(const struct bench_thread *thread)
{
    struct pollfd waits[BENCH_MAX_FLOWS];
    for (unsigned i = 0; i < thread->flow_count; i++)
        waits[i] = (struct pollfd){.fd = thread->flows[i].fd, .events = POLLIN};
    poll(waits, thread->flow_count, BENCH_UPKEEP_NS / 1000000);
}

uint64_t bench_begin(struct bench_thread *thread)
{
    uint64_t now_ns = thread->start_ns = thread->end_ns = clock_boot_ns();
    thread->upkeep_ns = now_ns + BENCH_UPKEEP_NS;
    thread->second_ns = now_ns + SECOND_NS;
    return now_ns;
}

void bench_upkeep(struct bench_thread *thread, uint64_t now_ns,
                  void (*expire_late)(struct bench_thread *thread, uint64_t now_ns))
{
    if (now_ns >= thread->upkeep_ns) {
        expire_late(thread, now_ns);
        atomic_store_explicit(&thread->progress, thread->counts.checks, memory_order_relaxed);
        thread->upkeep_ns = now_ns + BENCH_UPKEEP_NS;
    }
    if (now_ns >= thread->second_ns && thread->on_second) {
        thread->on_second(thread->context, now_ns - thread->start_ns);
        thread->second_ns += SECOND_NS;
    }
}

void bench_loop_run(struct bench_thread *thread)
{
    const uint64_t duration_ns = thread->options->duration_ns;
    uint64_t now_ns = bench_begin(thread);
    unsigned idle_rounds = 0;
    bool fill = true;

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
        bench_upkeep(thread, now_ns, expire);
        if (bench_stop || traffic_is_over(&thread->traffic) ||
            (duration_ns && now_ns - thread->start_ns >= duration_ns))
            fill = false;
    } while (fill || thread->in_flight > 0);
}
