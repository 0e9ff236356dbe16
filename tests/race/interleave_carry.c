/* Every interleaving of the worker's side of net/xdp_carry.h, the real code, with the program on
 * the interface on two processors at once.
 *
 * The program is written in instructions (net/xdp_program_carry.c); here it stands in C, access by
 * access as there. Thread 0 is the worker, the others are frames that come in. There are two places
 * only, so that all of them are used again and again, and positions wrap around on the way. In
 * every state: no answer has left twice, and each that left was whole. At the end: each answer has
 * left, each question that was kept has been found once, and the worker has all frames again. */
#include <stdbool.h>
#include <stdint.h>

#include "race/interleave.h"

#define METE_CARRY_POINT(address, is_write) interleave_point(address, is_write)
#define METE_CARRY_SEEN(word) interleave_seen((uint64_t)(word))
#define XDP_CARRY_PLACES 2u
#include "net/xdp_carry.c"

#define MOST 16u /* answers, and questions, of a scenario */
#define BYTES 60u
#define FIRST ((uint32_t)-2)

static struct xdp_carry_shared shared;
static struct xdp_carry carry;
static unsigned answers, asked; /* numbers given so far */
static unsigned left[MOST], kept[MOST], found[MOST];
static unsigned torn, redirected;
static bool cannot_grow; /* no frame can be made as long as its answer */

/* ---- a frame's bytes: two words, so that a frame written while it is read is seen ---- */

static void write_frame(uint32_t frame, unsigned number)
{
    uint32_t *at = (void *)shared.frames[frame];
    for (unsigned i = 0; i < 2; i++) {
        METE_CARRY_POINT(&at[i], true);
        at[i] = number;
    }
}

static unsigned read_frame(uint32_t frame)
{
    const uint32_t *at = (const void *)shared.frames[frame];
    uint32_t words[2];
    for (unsigned i = 0; i < 2; i++) {
        METE_CARRY_POINT(&at[i], false);
        words[i] = at[i];
        METE_CARRY_SEEN(words[i]);
    }
    torn += words[0] != words[1] || words[0] >= MOST;
    return words[0] % MOST;
}

/* ---- the program ---- */

static bool is_to_wake(void)
{
    METE_CARRY_POINT(&shared.asleep, false);
    uint32_t was = atomic_load_explicit(&shared.asleep, memory_order_relaxed);
    METE_CARRY_SEEN(was);
    if (!was)
        return false;
    METE_CARRY_POINT(&shared.asleep, true);
    was = atomic_exchange(&shared.asleep, 0);
    METE_CARRY_SEEN(was);
    return was;
}

static bool claim(uint32_t *ret_position)
{
    METE_CARRY_POINT(&shared.claimed, false);
    uint32_t claimed = atomic_load_explicit(&shared.claimed, memory_order_relaxed);
    METE_CARRY_SEEN(claimed);
    METE_CARRY_POINT(&shared.offered, false);
    const uint32_t offered = atomic_load_explicit(&shared.offered, memory_order_relaxed);
    METE_CARRY_SEEN(offered);
    if ((int32_t)(offered - claimed) <= 0)
        return false;
    *ret_position = claimed;
    METE_CARRY_POINT(&shared.claimed, true);
    return atomic_compare_exchange_strong(&shared.claimed, &claimed, claimed + 1);
}

static void frame_comes(void)
{
    const unsigned question = asked++;
    uint32_t position;
    interleave_begin(false);
    METE_CARRY_SEEN(question);
    if (is_to_wake() || !claim(&position)) {
        redirected++;
        return;
    }
    _Atomic uint32_t *at = &shared.words[position % XDP_CARRY_PLACES];
    METE_CARRY_POINT(at, false);
    const uint32_t word = atomic_load_explicit(at, memory_order_relaxed);
    METE_CARRY_SEEN(word);
    const uint32_t frame = word & XDP_CARRY_FRAME_MASK;
    write_frame(frame ^ 1, question);
    if (cannot_grow) {
        METE_CARRY_POINT(at, true);
        atomic_exchange(at, word | XDP_CARRY_UNSENT);
        redirected++;
        return;
    }
    left[read_frame(frame)]++;
    kept[question]++;
    METE_CARRY_POINT(at, true);
    atomic_exchange(at, (frame ^ 1) | BYTES << XDP_CARRY_LEN_SHIFT | XDP_CARRY_CAME);
}

/* ---- the worker ---- */

static void offer(uint32_t word)
{
    write_frame(word & XDP_CARRY_FRAME_MASK, answers++);
    xdp_carry_offer(&carry, word, BYTES);
}

/* Takes what has come; answers it in place, or not at all. */
static bool find(bool answers_it)
{
    const uint32_t word = xdp_carry_peek(&carry);
    if (!word)
        return false;
    xdp_carry_take(&carry);
    const unsigned number = read_frame(word & XDP_CARRY_FRAME_MASK);
    if (word & XDP_CARRY_CAME)
        found[number]++;
    else
        left[number]++;
    if (word & XDP_CARRY_CAME && answers_it)
        offer(word);
    else
        xdp_carry_free(&carry, word);
    return true;
}

static void finish(void)
{
    interleave_begin(false);
    xdp_carry_take_back(&carry);
    while (!xdp_carry_is_empty(&carry))
        interleave_begin(!find(false));
}

static void setup(unsigned count)
{
    memset(&shared, 0, sizeof shared);
    memset(left, 0, sizeof left);
    memset(kept, 0, sizeof kept);
    memset(found, 0, sizeof found);
    answers = asked = torn = redirected = 0;
    cannot_grow = false;
    shared.claimed = shared.offered = FIRST;
    xdp_carry_init(&carry, &shared);
    uint32_t word;
    for (unsigned i = 0; i < count && xdp_carry_get(&carry, &word); i++)
        offer(word);
    xdp_carry_publish(&carry);
}

static void setup_one(void)
{
    setup(1);
}

static void setup_two(void)
{
    setup(2);
}

static void setup_cannot_grow(void)
{
    setup(2);
    cannot_grow = true;
}

/* The others: a frame each. */
static void take_back(unsigned self)
{
    if (self)
        frame_comes();
    else
        finish();
}

/* ... or two. */
static void take_back_of_two(unsigned self)
{
    if (self)
        frame_comes();
    take_back(self);
}

/* Half goes by itself, the rest may be carried. */
static void thin(unsigned self)
{
    if (self) {
        frame_comes();
        return;
    }
    interleave_begin(false);
    xdp_carry_thin(&carry);
    xdp_carry_thin(&carry);
    find(true);
    xdp_carry_publish(&carry);
    finish();
}

/* Questions are answered in place, and the answers carried by the next. */
static void answer(unsigned self)
{
    if (self) {
        frame_comes();
        frame_comes();
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        interleave_begin(false);
        find(true);
        xdp_carry_publish(&carry);
    }
    finish();
}

/* One that is about to sleep looks once more; then a frame wakes it, or the time is over. */
static void sleep_and_wake(unsigned self)
{
    if (self) {
        frame_comes();
        return;
    }
    interleave_begin(false);
    xdp_carry_set_asleep(&carry, true);
    find(true);
    xdp_carry_publish(&carry);
    xdp_carry_set_asleep(&carry, false);
    finish();
}

static uint64_t memory(void)
{
    uint64_t hash = interleave_mix((uint64_t)shared.claimed << 32 | shared.offered, shared.asleep);
    hash = interleave_mix(hash, (uint64_t)carry.next << 32 | carry.offered);
    hash = interleave_mix(hash, (uint64_t)carry.free_count << 32 | carry.offered_at_rest);
    hash = interleave_mix(hash, answers << 24 | asked << 16 | torn << 8 | redirected);
    for (unsigned i = 0; i < XDP_CARRY_PLACES; i++)
        hash = interleave_mix(hash, (uint64_t)shared.words[i] << 16 | carry.free[i]);
    for (unsigned i = 0; i < XDP_CARRY_AGES; i++)
        hash = interleave_mix(hash, carry.offered_at[i]);
    for (unsigned i = 0; i < 2 * XDP_CARRY_PLACES; i++)
        hash = interleave_mix(hash, *(uint64_t *)(void *)shared.frames[i]);
    for (unsigned i = 0; i < MOST; i++)
        hash = interleave_mix(hash, left[i] << 16 | kept[i] << 8 | found[i]);
    return hash;
}

static const char *invariant(void)
{
    for (unsigned i = 0; i < MOST; i++) {
        if (left[i] > 1)
            return "an answer left twice";
        if (found[i] > kept[i])
            return "a question was found that nobody kept";
    }
    return torn ? "a frame was written while it was read" : NULL;
}

static const char *outcome(void)
{
    unsigned kept_count = 0;
    for (unsigned i = 0; i < MOST; i++) {
        if (left[i] != (i < answers))
            return "an answer did not leave";
        if (found[i] != kept[i])
            return "a question was lost";
        kept_count += kept[i];
    }
    if (kept_count + redirected != asked)
        return "a frame is nowhere";
    return carry.free_count == XDP_CARRY_PLACES ? NULL : "the worker has not all frames again";
}

static const struct interleave_scenario scenarios[] = {
    SCENARIO("one answer, one frame", 2, 0, setup_one, take_back, outcome),
    SCENARIO("one answer, two processors", 3, 0, setup_one, take_back, outcome),
    SCENARIO("two answers, two processors", 3, 0, setup_two, take_back, outcome),
    SCENARIO("two answers, two frames on one", 2, 0, setup_two, take_back_of_two, outcome),
    SCENARIO("two answers, two frames on each", 3, 3, setup_two, take_back_of_two, outcome),
    SCENARIO("frames that cannot be made longer", 3, 0, setup_cannot_grow, take_back, outcome),
    SCENARIO("half go by themselves", 3, 4, setup_two, thin, outcome),
    SCENARIO("answered where it lies", 2, 0, setup_two, answer, outcome),
    SCENARIO("answered where it lies, two processors", 3, 3, setup_two, answer, outcome),
    SCENARIO("about to sleep", 3, 4, setup_two, sleep_and_wake, outcome),
};

int main(int argc, char **argv)
{
    return interleave_all(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);
}
