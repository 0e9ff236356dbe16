#include "cmd/bench_answer.h"

#include "cmd/bench_request.h"
#include "cmd/bench_stream.h"
#include "sys/clock.h"

#define CLOCK_KEPT_NS 10000000000u

static void count_status(struct bench_thread *thread, unsigned status, unsigned n)
{
    thread->counts.statuses[status < METE_STATUS_COUNT ? status : METE_STATUS_COUNT] += n;
}

void bench_judge_verdict(struct bench_thread *thread, const struct flow_slot *slot,
                         uint32_t subject, const struct mete_verdict *verdict, uint64_t now_ns)
{
    const struct judge_answer answer = {
        .sent_ns = slot->sent_at_ns,
        .received_ns = now_ns,
        .allowed = verdict->flags & METE_VERDICT_ALLOW,
        .is_retried = slot->resent > 0,
        .remaining = verdict->remaining,
    };
    if (verdict->status == METE_STATUS_OK)
        bench_judge_pass(thread->judge, &thread->tally, subject, &answer);
    else
        bench_judge_lost(thread->judge, subject);
}

static void judge_verdicts(struct bench_thread *thread, const struct flow_slot *slot,
                           const uint32_t *subjects, const uint8_t *bytes, uint64_t now_ns)
{
    for (unsigned i = 0; i < slot->n; i++) {
        const struct mete_verdict verdict = mete_wire_decode_verdict(bytes, i);
        bench_judge_verdict(thread, slot, subjects[i], &verdict, now_ns);
    }
}

/* Counts; of the numbers only the last one's are kept. */
static void take_verdicts(struct bench_thread *thread, const struct flow_slot *slot,
                          const uint8_t *bytes)
{
    unsigned allowed = 0, decided = 0, repeats = 0;
    for (unsigned i = 0; i < slot->n; i++) {
        const struct mete_verdict verdict = mete_wire_decode_verdict(bytes, i);
        if (verdict.status == METE_STATUS_OK) {
            decided++;
            allowed += verdict.flags & METE_VERDICT_ALLOW;
            repeats += (verdict.flags & METE_VERDICT_REPEAT) != 0;
        } else {
            count_status(thread, verdict.status, 1);
        }
    }
    thread->counts.statuses[METE_STATUS_OK] += decided;
    thread->counts.allowed += allowed;
    thread->counts.denied += decided - allowed;
    thread->counts.repeats += repeats;
    const struct mete_verdict last = mete_wire_decode_verdict(bytes, slot->n - 1u);
    if (last.status == METE_STATUS_OK) {
        thread->last = last;
        thread->has_last = true;
    }
}

static bool is_good_tag(const struct bench_thread *thread, const struct flow_slot *slot,
                        const uint8_t *bytes, unsigned len)
{
    if (thread->options->echo)
        return len == slot->len && mete_wire_tag(bytes, len) == slot->tag &&
               (thread->options->no_tag_check || mete_wire_verify_request(bytes, len, thread->key));
    return thread->options->no_tag_check ||
           mete_wire_verify_result(bytes, len, slot->tag, thread->key);
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
    if (has_status) {
        count_status(thread, header.detail, slot->n);
    } else if (!thread->options->echo) {
        thread->heard_ms = header.clock_ms;
        take_verdicts(thread, slot, bytes);
        if (thread->judge)
            judge_verdicts(thread, slot, flow->subjects + (size_t)index * flow->batch, bytes,
                           now_ns);
    }
    bench_return_subjects(thread, flow, index, has_status);
    bench_free_slot(thread, flow, index);
}

/* An answer that waited tells an old clock, so the latest that was heard is kept; for a while only,
 * because no two clocks run alike. */
static void take_clock(struct bench_thread *thread, uint64_t now_ns)
{
    const uint32_t ours_ms = bench_server_clock(&thread->clock, now_ns);
    if (thread->heard_ms && ((int32_t)(thread->heard_ms - ours_ms) >= 0 ||
                             now_ns - thread->clock.at_ns > CLOCK_KEPT_NS))
        thread->clock = (struct bench_clock){thread->heard_ms, now_ns};
    thread->heard_ms = 0;
}

bool bench_receive(struct bench_thread *thread, struct flow *flow)
{
    if (flow->stream)
        return stream_receive(thread, flow);
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
        take_clock(thread, now_ns);
    }
    return messages > 0;
}
