/* Vectors of 16 numbers, for processors that multiply bfloat16 natively (AVX512-BF16): there torch's own
 * element-wise steps and small products take half of the time of a training step.
 *
 * Built at first use by `orbitune.models.kernels`. Numbers are bfloat16 in memory and fp32 inside; what is left at
 * the end of a row is masked. */
#pragma once
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define LANES 16
#define ROUND_UP(n) (((n) + LANES - 1) / LANES * LANES)

typedef uint16_t bf16;

static inline __mmask16 first_of(int64_t left) { return left >= LANES ? 0xffff : (1u << left) - 1; }

static inline __m512 widened(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

/* Up to 16 numbers, `left` of which there are; the others are zero. */
static inline __m512 load(const bf16 *from, int64_t left) {
    if (left >= LANES) return widened(_mm256_loadu_si256((const __m256i *)from));
    return widened(_mm256_maskz_loadu_epi16(first_of(left), from));
}

static inline void store(bf16 *to, int64_t left, __m512 x) {
    const __m256i narrow = (__m256i)_mm512_cvtneps_pbh(x);
    if (left >= LANES)
        _mm256_storeu_si256((__m256i *)to, narrow);
    else
        _mm256_mask_storeu_epi16(to, first_of(left), narrow);
}

/* 2^x to 1e-5 of its value: 2^i by the exponent's bits, 2^f by a polynomial on [-1/2, 1/2]. */
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
