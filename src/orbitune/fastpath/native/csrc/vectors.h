/* Vectors of fp32 numbers, and their loads and stores from elements. */
#pragma once
#include <math.h>
#include <string.h>

#include "variant.h"
#if LANES == 16 && defined(__AVX512BW__)
#define HAS_AVX512
#include <immintrin.h>
#endif

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES))); /* of comparisons: -1 where true, else 0 */
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
typedef group groups __attribute__((vector_size(4 * LANES)));

#if LANES == 16
#define LANE_NUMBERS ((words){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
#elif LANES == 8
#define LANE_NUMBERS ((words){0, 1, 2, 3, 4, 5, 6, 7})
#else
#define LANE_NUMBERS ((words){0, 1, 2, 3})
#endif

INLINE floats broadcast(float x) {
    return x - (floats){0};
}

INLINE floats load_floats(const float *from) {
    floats x;
    memcpy(&x, from, sizeof x);
    return x;
}

INLINE void store_floats(float *to, floats x) {
    memcpy(to, &x, sizeof x);
}

INLINE groups load_groups(const group *from) {
    groups x;
    memcpy(&x, from, sizeof x);
    return x;
}

#ifdef BF16
INLINE words zero_extended(halves x) {
#ifdef HAS_AVX512 /* which gcc 12 extends in four parts */
    return (words)_mm512_cvtepu16_epi32((__m256i)x);
#else
    return __builtin_convertvector(x, words);
#endif
}

INLINE floats widen(halves x) {
    return (floats)(zero_extended(x) << 16);
}

/* Round to nearest, ties to even; NaN stays NaN. */
INLINE halves narrow(floats x) {
#ifdef __AVX512BF16__
    return (halves)_mm512_cvtneps_pbh((__m512)x);
#else
    const words bits = (words)x, is_nan = (words)(x != x);
    const words rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return __builtin_convertvector((is_nan & (bits >> 16 | 0x40)) | (~is_nan & rounded), halves);
#endif
}
typedef halves elements;
#else
#define widen(x) (x)
#define narrow(x) (x)
typedef floats elements;
#endif

/* Incomplete vectors: not inlined, so that whole ones stay in registers. */
APART elements load_tail(const element *from, int64_t left) {
    elements x = {0};
    memcpy(&x, from, left * sizeof(element));
    return x;
}

APART void store_tail(element *to, int64_t left, elements x) {
    memcpy(to, &x, left * sizeof(element));
}

/* Load `left` elements, at most a vector; the others are zero. */
INLINE floats load(const element *from, int64_t left) {
    if (left < LANES) return widen(load_tail(from, left));
    elements x;
    memcpy(&x, from, sizeof x);
    return widen(x);
}

INLINE void store(element *to, int64_t left, floats x) {
    const elements y = narrow(x);
    if (left < LANES) return store_tail(to, left, y);
    memcpy(to, &y, sizeof y);
}

/* Mask of the first `left` lanes. */
INLINE ints first_lanes(int64_t left) {
    return (ints)LANE_NUMBERS < (int32_t)minimum(left, LANES);
}

INLINE floats choose(ints mask, floats x, floats otherwise) {
    return (floats)((mask & (ints)x) | (~mask & (ints)otherwise));
}

INLINE floats keep(ints mask, floats x) {
    return (floats)(mask & (ints)x);
}

INLINE floats absolute(floats x) {
    return (floats)((words)x & 0x7fffffff);
}

/* Lanes of two vectors by their numbers, which are constants; those of b come after those of a. */
INLINE words choose_lanes(words a, words b, words numbers) {
#ifdef __clang__
    words x;
    for (int i = 0; i < LANES; i++) x[i] = numbers[i] < LANES ? a[numbers[i]] : b[numbers[i] - LANES];
    return x;
#else
    return __builtin_shuffle(a, b, numbers);
#endif
}

/* Move lane i to lane i ^ distance. */
#define SWAPPED(x, distance) ((floats)choose_lanes((words)(x), (words)(x), LANE_NUMBERS ^ (distance)))

INLINE floats greater(floats a, floats b) {
#ifdef HAS_AVX512
    return (floats)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return choose(a > b, a, b);
#endif
}

/* Combine all lanes in pairs, then the results, and so on. */
#if LANES == 16
#define FOLD(x, combine) combine(x, 8) combine(x, 4) combine(x, 2) combine(x, 1)
#elif LANES == 8
#define FOLD(x, combine) combine(x, 4) combine(x, 2) combine(x, 1)
#else
#define FOLD(x, combine) combine(x, 2) combine(x, 1)
#endif
#define ADD_SWAPPED(x, distance) x += SWAPPED(x, distance);
#define GREATER_SWAPPED(x, distance) x = greater(x, SWAPPED(x, distance));

INLINE float sum_of(floats x) {
    FOLD(x, ADD_SWAPPED)
    return x[0];
}

INLINE float largest_of(floats x) {
    FOLD(x, GREATER_SWAPPED)
    return x[0];
}
