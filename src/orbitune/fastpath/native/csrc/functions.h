/* Functions of vectors: powers of two, GELU, and the random numbers of dropout. */
#pragma once
#include "vectors.h"

#ifdef BF16 /* relative error of the polynomial below: 1e-5 or, for fp32 elements, 1e-7 */
#define POWERS {9.59363e-3f, 5.588337e-2f, 2.4023686e-1f, 6.931265e-1f, 1.0f}
#else
#define POWERS                                                                                                    \
    {1.5345811e-4f, 1.33999309e-3f, 9.61848907e-3f, 5.55032864e-2f, 2.40226462e-1f, 6.93147182e-1f, 1.0f}
#endif

/* 2^x for x up to 127; 2^i by the exponent bits, 2^f by a polynomial on [-1/2, 1/2]. */
INLINE floats power_of_two(floats x) {
    const float powers[] = POWERS;
#ifdef HAS_AVX512
    const floats i = (floats)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    x = choose(x < -126.0f, broadcast(-126.0f), x);   /* smaller results would be subnormal; NaN stays NaN */
    const floats shifted = x + 12582912.0f; /* 1.5 * 2^23: the last bits of the sum are the nearest integer */
    const floats i = shifted - 12582912.0f;
#endif
    const floats f = x - i;
    floats p = broadcast(powers[0]);
    UNROLL (n, (int)(sizeof powers / sizeof *powers) - 1) p = p * f + powers[n + 1];
#ifdef HAS_AVX512
    return (floats)_mm512_scalef_ps((__m512)p, (__m512)i);
#else
    return p * (floats)(((words)shifted << 23) + 0x3f800000);
#endif
}

INLINE floats reciprocal(floats x) {
#if defined(HAS_AVX512) && defined(BF16)
    const floats t = (floats)_mm512_rcp14_ps((__m512)x); /* then one Newton step */
    return t * (2.0f - x * t);
#else
    return 1.0f / x;
#endif
}

/* h Phi(h) and its derivative Phi(h) + h phi(h); Phi by formula 7.1.26 of Abramowitz and Stegun, error 1e-7. */
INLINE floats gelu_of(floats h, floats *derivative) {
    const floats e = power_of_two(h * h * -0.721347520f);
    const floats t = reciprocal(absolute(h) * 0.231641888f + 1.0f);
    floats p = broadcast(0.5f * 1.061405429f);
    p = p * t + 0.5f * -1.453152027f;
    p = p * t + 0.5f * 1.421413741f;
    p = p * t + 0.5f * -0.284496736f;
    p = p * t + 0.5f * 0.254829592f;
    const floats tail = p * t * e;
    const floats phi = choose(h < 0.0f, tail, 1.0f - tail);
    *derivative = h * (e * 0.398942280f) + phi;
    return h * phi;
}

/* Two 16-bit random numbers for each pair of elements: a hash of the pair's position and the seed. */
INLINE words random_pairs(int64_t pair, uint32_t seed) {
    words h = ((LANE_NUMBERS + (uint32_t)pair) ^ seed) * 0x9e3779b1u; /* then the finaliser of MurmurHash3 */
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    return h ^ h >> 16;
}

/* Masks of the 2 * LANES elements from `i` on that are not dropped: their number is at least `threshold`. */
typedef struct {
    ints half[2];
} Kept;

INLINE Kept kept_elements(int64_t i, uint32_t seed, uint32_t threshold) {
    const words pairs = random_pairs(i / 2, seed), shifts = (LANE_NUMBERS & 1) * 16;
    const words low = choose_lanes(pairs, pairs, LANE_NUMBERS / 2);
    const words high = choose_lanes(pairs, pairs, LANE_NUMBERS / 2 + LANES / 2);
    return (Kept){{(low >> shifts & 0xffff) >= threshold, (high >> shifts & 0xffff) >= threshold}};
}

/* Copy `left` elements, at most 2 * LANES, of x to y, with zeros for the dropped ones; `i` is the position of the
 * first. */
INLINE void copy_kept(const element *x, element *y, int64_t left, int64_t i, uint32_t seed, uint32_t threshold) {
#ifdef BF16
    typedef uint16_t numbers __attribute__((vector_size(4 * LANES)));
    const numbers kept = (numbers)((numbers)random_pairs(i / 2, seed) >= (uint16_t)threshold);
    if (left >= 2 * LANES) {
        numbers both;
        memcpy(&both, x, sizeof both);
        both &= kept;
        memcpy(y, &both, sizeof both);
    } else
        for (int64_t n = 0; n < left; n++) y[n] = x[n] & kept[n];
#else
    const Kept kept = kept_elements(i, seed, threshold);
    for (int64_t at = 0; at < minimum(left, 2 * LANES); at += LANES)
        store(y + at, left - at, keep(kept.half[at / LANES], load(x + at, left - at)));
#endif
}
