/* Vectors of 16 elements for processors that multiply bfloat16 natively (AVX512-BF16). There torch's own element-
 * wise operations and small products take half of the time of a training step.
 *
 * Built at first use by `orbitune.fastpath.native`. Elements are bfloat16 in memory and fp32 in registers; the
 * tail of a row is masked. */
#pragma once
#ifdef ORBITUNE_EMULATED
#include "emulation.h"
#else
#include <immintrin.h>
#endif
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define LANES 16
#define ROUND_UP(n) (((n) + LANES - 1) / LANES * LANES)

typedef uint16_t bf16;

static inline int64_t minimum(int64_t n, int64_t limit) {
    return n < limit ? n : limit;
}

#define LANE_NUMBERS _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)

static inline __mmask16 first_lanes(int64_t left) {
    return left >= LANES ? 0xffff : (1u << left) - 1;
}

static inline __m512 to_float(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

/* Load `left` elements, at most 16; the others are zero. */
static inline __m512 load(const bf16 *from, int64_t left) {
    if (left >= LANES) return to_float(_mm256_loadu_si256((const __m256i *)from));
    return to_float(_mm256_maskz_loadu_epi16(first_lanes(left), from));
}

static inline void store(bf16 *to, int64_t left, __m512 x) {
    const __m256i narrow = (__m256i)_mm512_cvtneps_pbh(x);
    if (left >= LANES)
        _mm256_storeu_si256((__m256i *)to, narrow);
    else
        _mm256_mask_storeu_epi16(to, first_lanes(left), narrow);
}

/* 2^x with a relative error of 1e-5: 2^i by the exponent bits, 2^f by a polynomial on [-1/2, 1/2]. */
static inline __m512 power_of_two(__m512 x) {
    const __m512 i = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 f = _mm512_sub_ps(x, i);
    __m512 p = _mm512_set1_ps(9.59363e-3f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.588337e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4023686e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.931265e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, i);
}

/* h Phi(h) and its derivative Phi(h) + h phi(h); Phi by formula 7.1.26 of Abramowitz and Stegun, error 1e-6. */
static inline __m512 gelu_of(__m512 h, __m512 *derivative) {
    const __m512 e = power_of_two(_mm512_mul_ps(_mm512_mul_ps(h, h), _mm512_set1_ps(-0.721347520f)));
    const __m512 denominator =
        _mm512_fmadd_ps(_mm512_abs_ps(h), _mm512_set1_ps(0.231641888f), _mm512_set1_ps(1.0f));
    __m512 t = _mm512_rcp14_ps(denominator); /* 1 / denominator, then one Newton step */
    t = _mm512_mul_ps(t, _mm512_fnmadd_ps(denominator, t, _mm512_set1_ps(2.0f)));
    __m512 p = _mm512_set1_ps(0.5f * 1.061405429f);
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.5f * -1.453152027f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.5f * 1.421413741f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.5f * -0.284496736f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.5f * 0.254829592f));
    const __m512 tail = _mm512_mul_ps(_mm512_mul_ps(p, t), e);
    const __mmask16 negative = _mm512_cmp_ps_mask(h, _mm512_setzero_ps(), _CMP_LT_OQ);
    const __m512 phi = _mm512_mask_mov_ps(_mm512_sub_ps(_mm512_set1_ps(1.0f), tail), negative, tail);
    const __m512 density = _mm512_mul_ps(e, _mm512_set1_ps(0.398942280f));
    *derivative = _mm512_fmadd_ps(h, density, phi);
    return _mm512_mul_ps(h, phi);
}

/* Two 16-bit random numbers for each of 16 pairs of elements: a hash of the pair's position and the seed. */
static inline __m512i random_pairs(int64_t pair, uint32_t seed) {
    const __m512i places = _mm512_add_epi32(_mm512_set1_epi32((int)pair), LANE_NUMBERS);
    __m512i h = _mm512_mullo_epi32(_mm512_xor_si512(places, _mm512_set1_epi32((int)seed)),
                                   _mm512_set1_epi32((int)0x9e3779b1u)); /* then the finaliser of MurmurHash3 */
    h = _mm512_xor_si512(h, _mm512_srli_epi32(h, 16));
    h = _mm512_mullo_epi32(h, _mm512_set1_epi32((int)0x85ebca6bu));
    h = _mm512_xor_si512(h, _mm512_srli_epi32(h, 13));
    h = _mm512_mullo_epi32(h, _mm512_set1_epi32((int)0xc2b2ae35u));
    return _mm512_xor_si512(h, _mm512_srli_epi32(h, 16));
}

/* Mask of the 32 elements from `i` on that are not dropped: their random number is at least `threshold`. */
static inline __mmask32 dropout_mask(int64_t i, uint32_t seed, uint16_t threshold) {
    return _mm512_cmpge_epu16_mask(random_pairs(i / 2, seed), _mm512_set1_epi16((short)threshold));
}

/* Copy `left` elements, at most 32, of x to y, with zeros for those not in the mask `keep`. */
static inline void store_dropout(const bf16 *x, bf16 *y, int64_t left, __mmask32 keep) {
    if (left >= 2 * LANES) {
        _mm512_storeu_si512(y, _mm512_maskz_loadu_epi16(keep, x));
        return;
    }
    const __mmask32 inside = (1u << left) - 1;
    _mm512_mask_storeu_epi16(y, inside, _mm512_maskz_loadu_epi16(keep & inside, x));
}
