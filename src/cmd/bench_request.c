/* Requests of the load. Of a datagram only sequence number, clock, number, keys and tag are written
 * each time; it is cheap because it often shares the machine with what it measures.
 *
 * A retry is the very same bytes, so only a server that knows repeats charges it once. Its answer
 * counts from the first intended send. After each try that had no answer within the time-out it
 * rests: backoff * 2^(tries so far - 1), times a factor from 1/2 to 3/2 drawn anew, so that what
 * was lost together does not come back together. An answer to an earlier try ends the rest.
 *
 * Time-outs are looked at every few milliseconds, not per datagram; with retries, every half of
 * one.
 */
#include "cmd/bench_request.h"

#include <string.h>

#include "cmd/bench_stream.h"

#define MOST_DOUBLINGS 20u

static void fill_datagram(struct bench_thread *thread, struct flow *flow, unsigned index,
                          unsigned n, uint32_t clock_ms)
{
    const uint32_t *subjects = flow->subjects + (size_t)index * flow->batch;
    struct flow_slot *slot = &flow->slots[index];
    uint8_t *bytes = flow_datagram(flow, index);
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
    slot->len = (uint16_t)mete_wire_request_bytes(n, METE_WIRE_ENTRY_BYTES);
    bytes[3] = (uint8_t)n;
    mete_wire_put32(bytes + 12, slot->sequence);
    mete_wire_put32(bytes + 16, clock_ms);
    slot->tag = mete_wire_sign_request(bytes, slot->len, thread->key);
}

bool bench_fill_slot(struct bench_thread *thread, struct flow *flow, unsigned index,
                     uint32_t clock_ms)
{
    uint32_t *subjects = flow->subjects + (size_t)index * flow->batch;
    struct flow_slot *slot = &flow->slots[index];
    const unsigned n = traffic_draw(&thread->traffic, flow->batch, subjects);
    if (n == 0)
        return false;
    slot->sequence += FLOW_SLOTS;
    slot->answered <<= 1;
    slot->in_flight = true;
    slot->rests = false;
    slot->resent = 0;
    if (flow->stream)
        slot->len = stream_fill(flow, index, traffic_key(&thread->traffic, subjects[0]).low);
    else
        fill_datagram(thread, flow, index, n, clock_ms);
    slot->n = (uint8_t)n;
    return true;
}

void bench_send(struct bench_thread *thread, struct flow *flow, const uint16_t *slots,
                unsigned count, uint64_t now_ns)
{
    for (unsigned i = 0; i < count; i++) {
        flow->slots[slots[i]].sent_at_ns = now_ns;
        flow->slots[slots[i]].due_at_ns = now_ns + thread->options->timeout_ns;
    }
    thread->in_flight += count;
    thread->counts.sent += count;
    flow_send(flow, thread->io, slots, count);
}

void bench_free_slots(struct flow *flow)
{
    while (flow->free_count < flow->outstanding && !flow->slots[flow->oldest].in_flight &&
           !flow->slots[flow->oldest].is_awaited) {
        flow->oldest = flow->oldest + 1 < flow->outstanding ? flow->oldest + 1 : 0;
        flow->free_count++;
    }
}

void bench_free_slot(struct bench_thread *thread, struct flow *flow, unsigned index)
{
    flow->slots[index].in_flight = false;
    thread->in_flight--;
    if (!flow->in_order) {
        flow->free[flow->free_count++] = (uint16_t)index;
        return;
    }
    bench_free_slots(flow);
}

void bench_return_subjects(struct bench_thread *thread, const struct flow *flow, unsigned index,
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

static void give_up(struct bench_thread *thread, struct flow *flow, unsigned index, uint64_t now_ns)
{
    const struct flow_slot *slot = &flow->slots[index];
    if (thread->options->rate) { /* with its wait, so that loss does not look like speed */
        histogram_record(&thread->latency, now_ns - slot->intended_at_ns);
        histogram_record(&thread->from_send, now_ns - slot->sent_at_ns);
    }
    thread->counts.lost++;
    bench_return_subjects(thread, flow, index, true);
    bench_free_slot(thread, flow, index);
}

static uint64_t draw_rest(struct bench_thread *thread, unsigned resent)
{
    const unsigned doublings = resent < MOST_DOUBLINGS ? resent : MOST_DOUBLINGS;
    const uint64_t rest_ns = thread->options->backoff_ns << doublings;
    return rest_ns / 2 + traffic_random(&thread->chance) % (rest_ns + 1);
}

/* Nothing came until due. True: it is to be sent again now. */
static bool on_due(struct bench_thread *thread, struct flow *flow, unsigned index, uint64_t now_ns)
{
    struct flow_slot *slot = &flow->slots[index];
    if (slot->rests) {
        slot->rests = false;
        thread->counts.retried += slot->resent == 0;
        thread->counts.resends++;
        slot->resent++;
        slot->due_at_ns = now_ns + thread->options->timeout_ns;
        return true;
    }
    if (slot->resent == thread->options->retries) {
        give_up(thread, flow, index, now_ns);
        return false;
    }
    slot->rests = true;
    slot->due_at_ns = now_ns + draw_rest(thread, slot->resent);
    return false;
}

static void expire_flow(struct bench_thread *thread, struct flow *flow, uint64_t now_ns)
{
    const bool ends_early = flow->in_order && thread->options->retries == 0; /* due in this order */
    const unsigned count = flow->in_order ? flow_used(flow) : flow->outstanding;
    unsigned index = flow->in_order ? flow->oldest : 0, again = 0;
    uint16_t slots[FLOW_MESSAGES];

    for (unsigned i = 0; i < count; i++, index = index + 1 < flow->outstanding ? index + 1 : 0) {
        if (!flow->slots[index].in_flight)
            continue;
        if (now_ns < flow->slots[index].due_at_ns) {
            if (ends_early)
                break;
            continue;
        }
        if (on_due(thread, flow, index, now_ns))
            slots[again++] = (uint16_t)index;
        if (again == FLOW_MESSAGES) {
            flow_send(flow, thread->io, slots, again);
            again = 0;
        }
    }
    if (again > 0)
        flow_send(flow, thread->io, slots, again);
}

void bench_expire(struct bench_thread *thread, uint64_t now_ns)
{
    for (unsigned f = 0; f < thread->flow_count; f++)
        expire_flow(thread, &thread->flows[f], now_ns);
}

void bench_cut_off(struct bench_thread *thread)
{
    thread->counts.cut_off = thread->in_flight;
    for (unsigned f = 0; f < thread->flow_count; f++)
        for (unsigned i = 0; i < thread->flows[f].outstanding; i++)
            if (thread->flows[f].slots[i].in_flight) {
                bench_return_subjects(thread, &thread->flows[f], i, true);
                bench_free_slot(thread, &thread->flows[f], i);
            }
}
