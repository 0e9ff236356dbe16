/* The store reads its clock between the sending of a batch and the receipt of its answer:
 *
 *     sent - store <= offset <= received - store
 *
 * so of late answers the smallest upper bound is kept, which is off by no more than the fastest
 * answer's way, and always to the later side: a view that is moved by it is strict. It is forgotten
 * after one to two turns, for clocks drift. A lower bound above it says that the store's clock was
 * set back: then what was kept is worth nothing. One that was set ahead shows by itself. */
#include "replica/store_clock.h"

#define TURN_NS 1000000000u

void store_clock_hear(struct store_clock *clock, uint64_t sent_ns, uint64_t received_ns,
                      uint64_t store_now_us)
{
    const int64_t store_ns = (int64_t)(store_now_us * 1000);
    const int64_t most = (int64_t)received_ns - store_ns;
    const int64_t least = (int64_t)sent_ns - store_ns - 1000; /* it tells whole us */
    const uint64_t round_ns = received_ns - sent_ns;

    if (!clock->is_known || least > clock->offset_ns) {
        *clock = (struct store_clock){.offset_ns = most,
                                      .next_ns = most,
                                      .turn_ns = received_ns + TURN_NS,
                                      .round_ns = round_ns,
                                      .next_round_ns = round_ns,
                                      .is_known = true};
        return;
    }
    if (received_ns >= clock->turn_ns) {
        clock->offset_ns = clock->next_ns;
        clock->round_ns = clock->next_round_ns;
        clock->next_ns = most;
        clock->next_round_ns = round_ns;
        clock->turn_ns = received_ns + TURN_NS;
    }
    if (most < clock->next_ns)
        clock->next_ns = most;
    if (most < clock->offset_ns)
        clock->offset_ns = most;
    if (round_ns < clock->next_round_ns)
        clock->next_round_ns = round_ns;
    if (round_ns < clock->round_ns)
        clock->round_ns = round_ns;
}

uint64_t store_clock_at_ns(const struct store_clock *clock, uint64_t store_us)
{
    const int64_t at_ns = (int64_t)(store_us * 1000) + clock->offset_ns;

    return at_ns > 0 ? (uint64_t)at_ns : 0;
}
