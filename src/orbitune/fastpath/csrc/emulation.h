/* The AVX-512 instructions that the kernels use, emulated in C for any processor: far slower, and equal up to
 * rounding. It lets the same kernels be tested on processors without AVX512-BF16, and under sanitizers, which see
 * every element that is read or written. Names and arguments are those of <immintrin.h>. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float __m512 __attribute__((vector_size(64)));
typedef int32_t __m512i __attribute__((vector_size(64)));
typedef uint16_t __m512bh __attribute__((vector_size(64)));
typedef int16_t __m256i __attribute__((vector_size(32)));
typedef uint16_t __m256bh __attribute__((vector_size(32)));
typedef uint32_t words __attribute__((vector_size(64)));
typedef int64_t quads __attribute__((vector_size(64)));
typedef uint16_t __mmask16;
typedef uint32_t __mmask32;

#define FOR_LANES(i, count) for (int i = 0; i < count; i++)
#define BIT(mask, i) ((mask) >> (i)&1)
#define EMULATED(type) static inline __attribute__((always_inline)) type

/* Loads and stores; masked elements are not touched. */
#define LOAD(name, type)                                                                                           \
    EMULATED(type) name(const void *from) {                                                                        \
        type x;                                                                                                    \
        memcpy(&x, from, sizeof x);                                                                                \
        return x;                                                                                                  \
    }
#define STORE(name, type)                                                                                          \
    EMULATED(void) name(void *to, type x) {                                                                        \
        memcpy(to, &x, sizeof x);                                                                                  \
    }
#define MASKED_LOAD(name, type, mask_type, number, count)                                                          \
    EMULATED(type) name(mask_type mask, const void *from) {                                                        \
        number x[count] = {0};                                                                                     \
        FOR_LANES(i, count) if (BIT(mask, i)) memcpy(x + i, (const number *)from + i, sizeof *x);                  \
        type y;                                                                                                    \
        memcpy(&y, x, sizeof y);                                                                                   \
        return y;                                                                                                  \
    }
#define MASKED_STORE(name, type, mask_type, number, count)                                                         \
    EMULATED(void) name(void *to, mask_type mask, type x) {                                                        \
        number numbers[count];                                                                                     \
        memcpy(numbers, &x, sizeof x);                                                                             \
        FOR_LANES(i, count) if (BIT(mask, i)) memcpy((number *)to + i, numbers + i, sizeof *numbers);              \
    }
LOAD(_mm256_loadu_si256, __m256i)
LOAD(_mm512_loadu_si512, __m512i)
LOAD(_mm512_loadu_ps, __m512)
STORE(_mm256_storeu_si256, __m256i)
STORE(_mm512_storeu_si512, __m512i)
STORE(_mm512_storeu_ps, __m512)
MASKED_LOAD(_mm256_maskz_loadu_epi16, __m256i, __mmask16, uint16_t, 16)
MASKED_LOAD(_mm512_maskz_loadu_epi16, __m512i, __mmask32, uint16_t, 32)
MASKED_LOAD(_mm512_maskz_loadu_epi32, __m512i, __mmask16, uint32_t, 16)
MASKED_LOAD(_mm512_maskz_loadu_ps, __m512, __mmask16, float, 16)
MASKED_STORE(_mm256_mask_storeu_epi16, __m256i, __mmask16, uint16_t, 16)
MASKED_STORE(_mm512_mask_storeu_epi16, __m512i, __mmask32, uint16_t, 32)

EMULATED(__m512) _mm512_mask_i32gather_ps(__m512 x, __mmask16 mask, __m512i places, const float *from, int scale) {
    FOR_LANES(i, 16) if (BIT(mask, i)) memcpy((float *)&x + i, (const char *)from + (int64_t)places[i] * scale, 4);
    return x;
}

/* Vectors of 16 fp32 elements. */
EMULATED(__m512) _mm512_set1_ps(float x) {
    return (__m512){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}
EMULATED(__m512) _mm512_setzero_ps(void) {
    return _mm512_set1_ps(0);
}
EMULATED(__m512) _mm512_add_ps(__m512 a, __m512 b) {
    return a + b;
}
EMULATED(__m512) _mm512_sub_ps(__m512 a, __m512 b) {
    return a - b;
}
EMULATED(__m512) _mm512_mul_ps(__m512 a, __m512 b) {
    return a * b;
}
EMULATED(__m512) _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
    return a * b + c;
}
EMULATED(__m512) _mm512_fmsub_ps(__m512 a, __m512 b, __m512 c) {
    return a * b - c;
}
EMULATED(__m512) _mm512_fnmadd_ps(__m512 a, __m512 b, __m512 c) {
    return c - a * b;
}
EMULATED(__m512) _mm512_rcp14_ps(__m512 x) {
    return 1 / x;
}
EMULATED(__m512) _mm512_abs_ps(__m512 x) {
    return (__m512)((__m512i)x & 0x7fffffff);
}
EMULATED(__m512) _mm512_mask_mov_ps(__m512 otherwise, __mmask16 mask, __m512 x) {
    FOR_LANES(i, 16) if (BIT(mask, i)) otherwise[i] = x[i];
    return otherwise;
}
EMULATED(__m512) _mm512_maskz_mov_ps(__mmask16 mask, __m512 x) {
    return _mm512_mask_mov_ps(_mm512_setzero_ps(), mask, x);
}
EMULATED(__m512) _mm512_mask_add_ps(__m512 otherwise, __mmask16 mask, __m512 a, __m512 b) {
    return _mm512_mask_mov_ps(otherwise, mask, a + b);
}
EMULATED(__m512) _mm512_maskz_sub_ps(__mmask16 mask, __m512 a, __m512 b) {
    return _mm512_maskz_mov_ps(mask, a - b);
}
EMULATED(__m512) _mm512_mask_max_ps(__m512 otherwise, __mmask16 mask, __m512 a, __m512 b) {
    FOR_LANES(i, 16) if (BIT(mask, i)) otherwise[i] = a[i] > b[i] ? a[i] : b[i]; /* b if either is NaN */
    return otherwise;
}
#define _CMP_LT_OQ 0x11
#define _mm512_cmp_ps_mask(a, b, predicate) less_than(a, b) /* the only predicate in use */
EMULATED(__mmask16) less_than(__m512 a, __m512 b) {
    __mmask16 mask = 0;
    FOR_LANES(i, 16) mask |= (__mmask16)((a[i] < b[i]) << i);
    return mask;
}
EMULATED(float) _mm512_reduce_add_ps(__m512 x) {
    for (int half = 8; half; half /= 2) FOR_LANES(i, half) x[i] += x[i + half];
    return x[0];
}
EMULATED(float) _mm512_reduce_max_ps(__m512 x) {
    for (int half = 8; half; half /= 2) FOR_LANES(i, half) x[i] = x[i] > x[i + half] ? x[i] : x[i + half];
    return x[0];
}
#define _MM_FROUND_TO_NEAREST_INT 0
#define _MM_FROUND_NO_EXC 8
#define _mm512_roundscale_ps(x, how) nearest(x)
EMULATED(__m512) nearest(__m512 x) {
    FOR_LANES(i, 16) x[i] = rintf(x[i]);
    return x;
}
/* x * 2^i for integers i. */
EMULATED(__m512) _mm512_scalef_ps(__m512 x, __m512 i) {
    FOR_LANES(n, 16) x[n] = i[n] != i[n] ? i[n] : i[n] > -300 ? ldexpf(x[n], i[n] < 300 ? (int)i[n] : 300) : 0;
    return x;
}

/* Vectors of 16 32-bit integers. */
EMULATED(__m512i) _mm512_set1_epi32(int x) {
    return (__m512i){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}
EMULATED(__m512i) _mm512_setzero_si512(void) {
    return _mm512_set1_epi32(0);
}
EMULATED(__m512i) _mm512_set1_epi16(short x) {
    return _mm512_set1_epi32((int)((uint32_t)(uint16_t)x * 0x10001u));
}
#define _mm512_set_epi32(p, o, n, m, l, k, j, i, h, g, f, e, d, c, b, a)                                           \
    ((__m512i){a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p})
EMULATED(__m512i) _mm512_add_epi32(__m512i a, __m512i b) {
    return (__m512i)((words)a + (words)b);
}
EMULATED(__m512i) _mm512_mullo_epi32(__m512i a, __m512i b) {
    return (__m512i)((words)a * (words)b);
}
EMULATED(__m512i) _mm512_or_si512(__m512i a, __m512i b) {
    return a | b;
}
EMULATED(__m512i) _mm512_xor_si512(__m512i a, __m512i b) {
    return a ^ b;
}
EMULATED(__m512i) _mm512_slli_epi32(__m512i x, int places) {
    return (__m512i)((words)x << places);
}
EMULATED(__m512i) _mm512_srli_epi32(__m512i x, int places) {
    return (__m512i)((words)x >> places);
}
EMULATED(__m512) _mm512_castsi512_ps(__m512i x) {
    return (__m512)x;
}
EMULATED(__m512i) _mm512_cvtepu16_epi32(__m256i x) {
    __m512i y;
    FOR_LANES(i, 16) y[i] = (uint16_t)x[i];
    return y;
}
EMULATED(__mmask32) _mm512_cmpge_epu16_mask(__m512i a, __m512i b) {
    const __m512bh left = (__m512bh)a, right = (__m512bh)b;
    __mmask32 mask = 0;
    FOR_LANES(i, 32) mask |= (__mmask32)(left[i] >= right[i]) << i;
    return mask;
}

/* 128-bit lanes: interleave their lower or upper halves, or select whole lanes of a and then of b. */
#define UNPACK(name, type, each, first)                                                                            \
    EMULATED(__m512i) name(__m512i a, __m512i b) {                                                                 \
        const type x = (type)a, y = (type)b;                                                                       \
        type z;                                                                                                    \
        for (int part = 0; part < 4 * each; part += each) FOR_LANES(i, each / 2) {                                 \
                z[part + 2 * i] = x[part + first + i];                                                             \
                z[part + 2 * i + 1] = y[part + first + i];                                                         \
            }                                                                                                      \
        return (__m512i)z;                                                                                         \
    }
UNPACK(_mm512_unpacklo_epi32, __m512i, 4, 0)
UNPACK(_mm512_unpackhi_epi32, __m512i, 4, 2)
UNPACK(_mm512_unpacklo_epi64, quads, 2, 0)
UNPACK(_mm512_unpackhi_epi64, quads, 2, 1)
EMULATED(__m512i) _mm512_shuffle_i32x4(__m512i a, __m512i b, int chosen) {
    __m512i y;
    FOR_LANES(part, 4) FOR_LANES(i, 4) {
        const int from = (chosen >> 2 * part & 3) * 4 + i;
        y[part * 4 + i] = part < 2 ? a[from] : b[from];
    }
    return y;
}

/* Round to bfloat16, to nearest, ties to even; NaN stays NaN. */
EMULATED(__m256bh) _mm512_cvtneps_pbh(__m512 x) {
    const words bits = (words)x;
    __m256bh y;
    FOR_LANES(i, 16) {
        const uint32_t up = 0x7fff + (bits[i] >> 16 & 1);
        y[i] = (uint16_t)(x[i] == x[i] ? (bits[i] + up) >> 16 : bits[i] >> 16 | 0x40);
    }
    return y;
}
EMULATED(__m512) _mm512_dpbf16_ps(__m512 sum, __m512bh a, __m512bh b) {
    const __m512 odd = (__m512)((words)a & 0xffff0000) * (__m512)((words)b & 0xffff0000);
    return sum + odd + (__m512)((words)a << 16) * (__m512)((words)b << 16);
}
