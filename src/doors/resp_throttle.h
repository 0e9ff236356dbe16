/* CL.THROTTLE as redis-cell 0.3 answers it, and THROTTLE as throttlecrab 0.4 does: five words to a
 * limit and a cost, an answer to five integers. Pure.
 *
 * Facts of redis-cell (github.com/brandur/redis-cell, 0.3): its interval is period / count computed
 * in doubles and truncated to nanoseconds; limit is max_burst + 1; remaining is the room divided by
 * the interval, both truncated to microseconds first; waits are in seconds, rounded up if a whole
 * millisecond or more is left over, truncated below that; retry_after is -1 when allowed and when
 * the quantity exceeds the limit; a debt beyond the limit is believed (a limit that was lowered),
 * and quantity 0 only asks. So an inline limit of exactly that interval (struct limit's keeps_tat)
 * decides the same, and the five numbers follow from the engine's answer.
 *
 * Facts of throttlecrab (github.com/lazureykis/throttlecrab): the reply is allowed 1 or 0, limit =
 * max_burst, remaining, reset_after, retry_after, in seconds; retry_after is 0 when allowed.
 * Seconds are rounded up here, so that nobody comes back too early. */
#ifndef METE_DOORS_RESP_THROTTLE_H
#define METE_DOORS_RESP_THROTTLE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

struct resp_word;

enum throttle_kind { THROTTLE_CELL, THROTTLE_CRAB };

struct throttle {
    enum throttle_kind kind;
    struct limit limit;
    uint64_t interval_ns;
    uint32_t cost;
};

/* words: max_burst count period [quantity]. Returns NULL, or what is wrong with them in one
 * sentence. */
const char *throttle_parse(enum throttle_kind kind, const struct resp_word *words, unsigned count,
                           struct throttle *ret_throttle);

void throttle_reply(const struct throttle *throttle, const struct answer *answer,
                    int64_t ret_numbers[5]);

#endif
