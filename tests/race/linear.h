/* Is there one order of these operations on one bucket, in which each answer is what a bucket that
 * does one thing at a time would have said, and nothing that was answered comes after what was
 * asked later?
 *
 * Source: Wing & Gong, "Testing and Verifying Concurrent Objects" (1993), with the memory of
 * Lowe, "Testing for linearizability" (2017): of a set of operations done and the state they left,
 * one try is enough. The bucket is a count of units used, from 0 to its burst; time stands still.
 *
 * With `lags` time nearly does: who looks has read its clock a little before who charged, and to
 * such an instant a part of a unit is not back yet. So a unit that is there may not be seen, and
 * never one that is not.
 *
 * One thread at a time per struct linear. */
#ifndef METE_TESTS_RACE_LINEAR_H
#define METE_TESTS_RACE_LINEAR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define LINEAR_MAX 64u
#define LINEAR_SEEN (1u << 16)

enum linear_kind { LINEAR_CHECK, LINEAR_AT_MOST, LINEAR_REFUND, LINEAR_RESET, LINEAR_PEEK };

struct linear_op {
    enum linear_kind kind;
    uint32_t cost;
    uint64_t asked, answered; /* stamps of one clock */
    bool has_numbers;         /* remaining is of that instant */
    uint32_t granted, remaining;
};

struct linear {
    uint32_t burst;
    bool lags;
    unsigned count;
    struct linear_op ops[LINEAR_MAX];
    unsigned order[LINEAR_MAX]; /* found, if there is one */
    unsigned seen_count;
    struct {
        uint64_t done;
        uint32_t used; /* + 1; 0: free */
    } seen[LINEAR_SEEN];
};

/* What the bucket would have said; *used is its state. */
static inline bool linear_apply(const struct linear *linear, const struct linear_op *op,
                                uint32_t *used)
{
    uint32_t left = linear->burst - *used, granted = 0;

    switch (op->kind) {
    case LINEAR_CHECK:
        granted = op->cost <= left ? op->cost : 0;
        if (linear->lags && op->cost == left && !op->granted)
            granted = 0;
        break;
    case LINEAR_AT_MOST:
        granted = op->cost <= left ? op->cost : left;
        if (linear->lags && op->cost >= left && op->granted + 1 == left)
            granted = op->granted;
        break;
    case LINEAR_REFUND:
        *used -= op->cost <= *used ? op->cost : *used;
        break;
    case LINEAR_RESET:
        *used = 0;
        break;
    case LINEAR_PEEK:
        break;
    }
    *used += granted;
    left = linear->burst - *used;
    return granted == op->granted && (!op->has_numbers || op->remaining == left ||
                                      (linear->lags && op->remaining + 1 == left));
}

/* The search gave up: it has seen more than it has room for, and "no" means nothing. */
static inline bool linear_is_undecided(const struct linear *linear)
{
    return linear->seen_count >= LINEAR_SEEN / 2;
}

/* Notes it; false if it was there, or there is no room. */
static inline bool linear_is_new(struct linear *linear, uint64_t done, uint32_t used)
{
    if (linear_is_undecided(linear))
        return false;
    uint64_t at = (done * 0x9e3779b97f4a7c15ull ^ used * 0xd1b54a32d192ed03ull) >> 20;

    for (;; at++) {
        at %= LINEAR_SEEN;
        if (!linear->seen[at].used)
            break;
        if (linear->seen[at].done == done && linear->seen[at].used == used + 1)
            return false;
    }
    linear->seen[at].done = done;
    linear->seen[at].used = used + 1;
    linear->seen_count++;
    return true;
}

/* Is there an order of those that are not done, from this state on? */
static inline bool linear_search(struct linear *linear, uint64_t done, unsigned depth,
                                 uint32_t used)
{
    uint64_t first_answered = UINT64_MAX;

    if (depth == linear->count)
        return true;
    if (!linear_is_new(linear, done, used))
        return false;
    for (unsigned i = 0; i < linear->count; i++)
        if (!(done >> i & 1) && linear->ops[i].answered < first_answered)
            first_answered = linear->ops[i].answered;
    for (unsigned i = 0; i < linear->count; i++) {
        uint32_t then = used;

        if (done >> i & 1 || linear->ops[i].asked > first_answered ||
            !linear_apply(linear, &linear->ops[i], &then))
            continue;
        linear->order[depth] = i;
        if (linear_search(linear, done | 1ull << i, depth + 1, then))
            return true;
    }
    return false;
}

static inline bool linear_judge(struct linear *linear)
{
    memset(linear->seen, 0, sizeof linear->seen);
    linear->seen_count = 0;
    return linear_search(linear, 0, 0, 0);
}

static inline void linear_print(const struct linear *linear)
{
    static const char *const names[] = {"check", "at_most", "refund", "reset", "peek"};

    for (unsigned i = 0; i < linear->count; i++) {
        const struct linear_op *op = &linear->ops[i];

        printf("  %llu..%llu %s %u: granted %u", (unsigned long long)op->asked,
               (unsigned long long)op->answered, names[op->kind], op->cost, op->granted);
        if (op->has_numbers)
            printf(", %u left", op->remaining);
        printf("\n");
    }
}

#endif
