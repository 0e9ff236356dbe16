/* The four places of a bucket in the four lanes of a register: look_words() of repeat_look.h, step
 * by step, a third of its instructions.
 *
 * A record is read by one load of 16 bytes, which is one access on every machine with AVX (Intel
 * SDM 3A, 9.1.1; AMD APM 2, 7.3.2), so name and meta are of one instant. It is written as the
 * instruction, so that the compiler cannot make two of it.
 *
 * Threads: any. */
#include "engine/repeat_lanes.h"

#include "engine/repeat_look.h"

#ifdef __x86_64__

#include <immintrin.h>

bool repeat_has_lanes(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2");
}

/* Two records, one in each half. */
static inline __attribute__((target("avx2"), always_inline)) __m256i
read_two(const struct record *low, const struct record *high)
{
    __m256i both;

    __asm__("vmovdqa %1, %x0\n\t"
            "vinserti128 $1, %2, %0, %0"
            : "=&x"(both)
            : "m"(*low), "m"(*high));
    return both;
}

/* Numbers below 2^63 where they are compared: the names' xor is shifted, ages and gaps are short.
 */
static inline __attribute__((target("avx2"), always_inline)) void
look_lanes(const struct repeat_set *set, const struct look *look, struct repeat_claim *claim,
           uint32_t reach_ms)
{
    const struct record *place = claim->bucket->place;
    const __m256i ones = _mm256_set1_epi64x(LOOK_ONES), zero = _mm256_setzero_si256();
    __m256i even = read_two(&place[0], &place[2]), odd = read_two(&place[1], &place[3]);
    __m256i names = _mm256_unpacklo_epi64(even, odd), metas = _mm256_unpackhi_epi64(even, odd);
    _mm256_storeu_si256((__m256i *)(void *)claim->seen, names);

    uint64_t oldest = (uint64_t)(LEAD_MS + reach_ms) << RECORD_TIME_SHIFT | LOOK_ONES;
    __m256i ages = _mm256_sub_epi32(_mm256_set1_epi64x(look->from), metas);
    ages = _mm256_blend_epi32(ages, zero, 0xaa);
    __m256i gaps =
        _mm256_sll_epi64(_mm256_srli_epi64(metas, 56), _mm_cvtsi32_si128((int)look->shift));
    __m256i told =
        _mm256_cmpgt_epi64(_mm256_set1_epi64x((int64_t)(oldest + 1)), _mm256_add_epi64(ages, gaps));

    __m256i asked = _mm256_set1_epi64x((int64_t)(claim->mixed << RECORD_TAG_SHIFT));
    __m256i named = _mm256_srli_epi64(_mm256_xor_si256(names, asked), RECORD_TAG_SHIFT);
    told = _mm256_or_si256(told, _mm256_cmpeq_epi64(named, zero));
    told = _mm256_or_si256(
        told, _mm256_slli_epi64(_mm256_xor_si256(names, metas), 64 - RECORD_TAG_SHIFT)); /* open */

    __m256i scores =
        _mm256_or_si256(_mm256_andnot_si256(ones, ages), _mm256_set_epi64x(0, 1, 2, 3));
    __m128i most =
        _mm_max_epu32(_mm256_castsi256_si128(scores), _mm256_extracti128_si256(scores, 1));
    uint32_t best =
        (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(most, _mm_unpackhi_epi64(most, most)));

    if (__builtin_expect(_mm256_testz_si256(told, told), 1))
        look_choose(set, claim, ~best & (RECORD_PLACES - 1), best >> RECORD_TIME_SHIFT);
    else
        claim->index = REPEAT_NO_PLACE;
}

__attribute__((target("avx2"))) void repeat_look_lanes(const struct repeat_set *set,
                                                       struct repeat_claim *claims,
                                                       const struct look *look)
{
    look_chunk(set, claims, look, look_lanes);
}

#else

bool repeat_has_lanes(void)
{
    return false;
}

void repeat_look_lanes(const struct repeat_set *set, struct repeat_claim *claims,
                       const struct look *look)
{
    look_chunk(set, claims, look, look_words);
}

#endif
