/* Saturating 64-bit arithmetic: a sum or product that does not fit is the largest value, a
 * difference below zero is zero. Limits are compared with the results, and the largest value is
 * always "too much", so an overflow can only deny. */
#ifndef METE_CORE_SATURATE_H
#define METE_CORE_SATURATE_H

#include <stdint.h>

static inline uint64_t saturate_add(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static inline uint64_t saturate_sub(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static inline uint64_t saturate_mul(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static inline uint32_t saturate_u32(uint64_t a)
{
    return a > UINT32_MAX ? UINT32_MAX : (uint32_t)a;
}

#endif
