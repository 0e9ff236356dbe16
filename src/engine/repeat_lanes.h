/* Step 1 of a claim in vector registers: eight claims side by side, one in each lane.
 *
 * Threads: any. */
#ifndef METE_ENGINE_REPEAT_LANES_H
#define METE_ENGINE_REPEAT_LANES_H

#include <stdbool.h>
#include <stdint.h>

struct look;
struct look_lines;
struct repeat_claim;
struct repeat_set;

bool repeat_has_lanes(void); /* has this machine such registers (AVX-512)? */

/* Only if it has, and sets of less than 2^32 buckets. What look_prepare() and look_words() do for
 * claims at..at + LOOK_LANES of a chunk; of those from `end` on nothing is read, and nothing
 * sensible written. */
void repeat_lanes_prepare(const struct repeat_set *set, const struct repeat_claim *claims,
                          uint32_t at, uint32_t end, struct look_lines *lines);
void repeat_lanes_look(const struct repeat_set *set, const struct repeat_claim *claims, uint32_t at,
                       uint32_t end, const struct look_lines *lines, struct look *look);

/* And look_is_changed(); a bit for each claim. */
uint32_t repeat_lanes_changed(uint32_t at, uint32_t end, const struct look_lines *lines,
                              const struct look *look);

#endif
