/* Step 2 of a claim for a whole chunk in one memory transaction of the processor.
 *
 * Threads: any. */
#ifndef METE_ENGINE_REPEAT_TRANSACTION_H
#define METE_ENGINE_REPEAT_TRANSACTION_H

#include <stdbool.h>
#include <stdint.h>

struct look;

#define REPEAT_TRANSACTION_LEAST 4u /* claims; fewer are swapped sooner one by one */

bool repeat_has_transactions(void); /* does this machine have them (RTM), and let them succeed? */

/* Only if it does. All claims of a chunk take their places in one instant, a full barrier; or
 * false, and nothing is written: one of them was not silent, a place is another's by now (or two of
 * them chose one), or the processor gave up, as it may at any time. */
bool repeat_transaction_swap(const struct look *look, uint32_t count);

#endif
