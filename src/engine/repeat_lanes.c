/* look_prepare() and look_words() of repeat_look.h, step by step, for eight claims at once: a fifth
 * of their instructions.
 *
 * A gather reads a name and a meta of 8 aligned bytes each by one access, but in no promised order.
 * That is enough: the generation of a name is that of one meta only, so a pair of equal generations
 * belongs together whenever its halves were read, and any other pair is left to who reads in order
 * (repeat_record.h). No lane says more than one instant's truth of one place.
 *
 * Threads: any. */
#include "engine/repeat_lanes.h"

#include "engine/repeat_look.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <stddef.h>

#define LANES __attribute__((target("avx512f,avx512dq")))

bool repeat_has_lanes(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
}

static inline LANES __m512i all(uint64_t word)
{
    return _mm512_set1_epi64((int64_t)word);
}

/* Eight words, a claim apart from each other. */
static inline LANES __m512i of_claims(const void *first, __mmask8 which)
{
    const long long step = sizeof(struct repeat_claim);
    const __m512i at =
        _mm512_set_epi64(7 * step, 6 * step, 5 * step, 4 * step, 3 * step, 2 * step, step, 0);

    return _mm512_mask_i64gather_epi64(_mm512_setzero_si512(), which, at, first, 1);
}

static inline LANES __mmask8 lanes_of(uint32_t at, uint32_t end)
{
    return end - at < LOOK_LANES ? (__mmask8)((1u << (end - at)) - 1) : 0xff;
}

static inline LANES __m512i mix(const struct repeat_set *set, __m512i tags)
{
    __m512i x =
        _mm512_mullo_epi64(_mm512_xor_si512(tags, all(set->secret[0])), all(set->multiplier));

    x = _mm512_mullo_epi64(_mm512_xor_si512(x, _mm512_srli_epi64(x, 32)), all(LOOK_MULTIPLIER));
    return _mm512_xor_si512(x, _mm512_srli_epi64(x, 29));
}

/* The high word of the product, put together from halves. */
static inline LANES __m512i bucket_of(const struct repeat_set *set, __m512i mixed)
{
    __m512i count = all(set->bucket_count);
    __m512i low = _mm512_srli_epi64(_mm512_mul_epu32(mixed, count), 32);
    __m512i high = _mm512_mul_epu32(_mm512_srli_epi64(mixed, 32), count);
    __m512i index = _mm512_srli_epi64(_mm512_add_epi64(high, low), 32);

    return _mm512_add_epi64(all((uintptr_t)set->buckets), _mm512_slli_epi64(index, 6));
}

LANES void repeat_lanes_prepare(const struct repeat_set *set, const struct repeat_claim *claims,
                                uint32_t at, uint32_t end, struct look_lines *lines)
{
    __m512i mixed = mix(set, of_claims(&claims[at].tag, lanes_of(at, end)));

    _mm512_store_si512(&lines->mixed[at], mixed);
    _mm512_store_si512(&lines->bucket[at], bucket_of(set, mixed));
    for (uint32_t i = at; i < at + LOOK_LANES; i++)
        __builtin_prefetch(lines->bucket[i], 1);
}

/* From which age on nothing is told; *ret_fresh: which are fresh. */
static inline LANES __m512i oldest_of(const struct repeat_set *set, const struct look *look,
                                      __m512i sent, __mmask8 *ret_fresh)
{
    __m512i low = all(UINT32_MAX);
    __m512i since =
        _mm512_and_si512(_mm512_sub_epi64(all(look->now_ms + set->ahead_ms), sent), low);
    __m512i reach =
        _mm512_mask_mov_epi64(all(set->window_ms), _mm512_test_epi64_mask(sent, sent), since);

    *ret_fresh = _mm512_cmple_epu64_mask(reach, all(look_span_ms(set)));
    return _mm512_or_si512(
        _mm512_slli_epi64(_mm512_add_epi64(reach, all(LEAD_MS)), RECORD_TIME_SHIFT),
        all(LOOK_ONES));
}

/* look_meta_over() */
static inline LANES __m512i meta_over(const struct repeat_set *set, const struct look *look,
                                      __m512i generation, __m512i forgotten)
{
    __m512i age = _mm512_min_epu64(forgotten, all(LEAD_MS));
    __m512i gap =
        _mm512_srl_epi64(_mm512_sub_epi64(forgotten, age), _mm_cvtsi32_si128((int)set->gap_shift));
    __m512i arrival =
        _mm512_slli_epi64(_mm512_sub_epi64(all(look->now_ms + LEAD_MS), age), RECORD_TIME_SHIFT);
    __m512i meta = _mm512_or_si512(generation, all(RECORD_DONE));

    gap = _mm512_slli_epi64(_mm512_min_epu64(gap, all(RECORD_GAP_MAX)), 56);
    meta = _mm512_or_si512(meta, _mm512_and_si512(arrival, all(UINT32_MAX)));
    return _mm512_or_si512(meta, gap);
}

LANES void repeat_lanes_look(const struct repeat_set *set, const struct repeat_claim *claims,
                             uint32_t at, uint32_t end, const struct look_lines *lines,
                             struct look *look)
{
    const __m512i ones = all(LOOK_ONES), low = all(UINT32_MAX);
    const __m512i from = all((look->now_ms + LEAD_MS) << RECORD_TIME_SHIFT | LOOK_ONES);
    const __m128i shift = _mm_cvtsi32_si128((int)set->gap_shift + RECORD_TIME_SHIFT);
    __mmask8 which = lanes_of(at, end), silent;
    __m512i sent = _mm512_and_si512(of_claims(&claims[at].sent_ms, which), low);
    __m512i oldest = oldest_of(set, look, sent, &silent);
    __m512i buckets = _mm512_load_si512(&lines->bucket[at]);
    __m512i asked = _mm512_slli_epi64(_mm512_load_si512(&lines->mixed[at]), RECORD_TAG_SHIFT);
    __m512i best = _mm512_setzero_si512(), old = best, names[RECORD_PLACES];

#pragma GCC unroll 4
    for (unsigned i = 0; i < RECORD_PLACES; i++) {
        const size_t place = i * sizeof(struct record);
        __m512i name = _mm512_i64gather_epi64(
            buckets, (const void *)(place + offsetof(struct record, name)), 1);
        __m512i meta = _mm512_i64gather_epi64(
            buckets, (const void *)(place + offsetof(struct record, meta)), 1);
        __m512i age = _mm512_and_si512(_mm512_sub_epi64(from, meta), low);
        __m512i gap = _mm512_sll_epi64(_mm512_srli_epi64(meta, 56), shift);
        __m512i score = _mm512_or_si512(_mm512_andnot_si512(ones, age), all(RECORD_PLACES - 1 - i));

        silent &= _mm512_cmpgt_epu64_mask(_mm512_add_epi64(age, gap), oldest);
        silent &= _mm512_cmpge_epu64_mask(_mm512_xor_si512(name, asked), all(RECORD_GENERATIONS));
        silent &= _mm512_testn_epi64_mask(_mm512_xor_si512(name, meta),
                                          all(RECORD_GENERATIONS - 1)); /* closed */
        old = _mm512_mask_mov_epi64(old, _mm512_cmpgt_epu64_mask(score, best), name);
        best = _mm512_max_epu64(best, score);
        names[i] = name;
    }
    __m512i generation =
        _mm512_and_si512(_mm512_add_epi64(old, all(1)), all(RECORD_GENERATIONS - 1));
    __m512i name = _mm512_or_si512(asked, generation);
    __m512i index = _mm512_andnot_si512(best, all(RECORD_PLACES - 1));
    __m512i place = _mm512_add_epi64(buckets, _mm512_slli_epi64(index, 4));

    for (unsigned i = 0; i < RECORD_PLACES; i++)
        _mm512_store_si512(
            &look->seen[i][at],
            _mm512_mask_mov_epi64(names[i], _mm512_cmpeq_epi64_mask(index, all(i)), name));
    _mm512_store_si512(&look->place[at], _mm512_maskz_mov_epi64(silent, place));
    _mm512_store_si512(&look->old[at], old);
    _mm512_store_si512(&look->name[at], name);
    _mm512_store_si512(&look->meta[at], meta_over(set, look, generation,
                                                  _mm512_srli_epi64(best, RECORD_TIME_SHIFT)));
}

LANES uint32_t repeat_lanes_changed(uint32_t at, uint32_t end, const struct look_lines *lines,
                                    const struct look *look)
{
    __m512i buckets = _mm512_load_si512(&lines->bucket[at]), changed = _mm512_setzero_si512();

#pragma GCC unroll 4
    for (unsigned i = 0; i < RECORD_PLACES; i++) {
        __m512i name = _mm512_i64gather_epi64(
            buckets, (const void *)(i * sizeof(struct record) + offsetof(struct record, name)), 1);

        changed =
            _mm512_or_si512(changed, _mm512_xor_si512(name, _mm512_load_si512(&look->seen[i][at])));
    }
    return _mm512_mask_test_epi64_mask(lanes_of(at, end), changed, changed);
}

#else

bool repeat_has_lanes(void)
{
    return false;
}

void repeat_lanes_prepare(const struct repeat_set *set, const struct repeat_claim *claims,
                          uint32_t at, uint32_t end, struct look_lines *lines)
{
    (void)set, (void)claims, (void)at, (void)end, (void)lines;
}

void repeat_lanes_look(const struct repeat_set *set, const struct repeat_claim *claims, uint32_t at,
                       uint32_t end, const struct look_lines *lines, struct look *look)
{
    (void)set, (void)claims, (void)at, (void)end, (void)lines, (void)look;
}

uint32_t repeat_lanes_changed(uint32_t at, uint32_t end, const struct look_lines *lines,
                              const struct look *look)
{
    (void)at, (void)end, (void)lines, (void)look;
    return UINT32_MAX;
}

#endif
