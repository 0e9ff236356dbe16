/* Step 1 of a claim in vector registers: a bucket in four loads, its places side by side.
 *
 * Threads: any. */
#ifndef METE_ENGINE_REPEAT_LANES_H
#define METE_ENGINE_REPEAT_LANES_H

#include <stdbool.h>
#include <stdint.h>

struct look;
struct repeat_claim;
struct repeat_set;

bool repeat_has_lanes(void); /* has this machine such registers (AVX2)? */

/* Only if it has. */
void repeat_look_lanes(const struct repeat_set *set, struct repeat_claim *claims,
                       const struct look *look);

#endif
