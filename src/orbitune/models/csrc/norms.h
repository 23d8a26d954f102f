/* Layer normalisation of a row, with the sum before it. */
#pragma once
#include "vectors.h"

/* sum = x + scale * y; without a scale it is one. */
static inline void add_row(const bf16 *x, const bf16 *y, const bf16 *scale, bf16 *sum, int64_t width) {
    for (int64_t c = 0; c < width; c += LANES) {
        const int64_t left = width - c;
        const __m512 value = load(x + c, left), added = load(y + c, left);
        store(sum + c, left,
              scale ? _mm512_fmadd_ps(added, load(scale + c, left), value) : _mm512_add_ps(added, value));
    }
}

static inline void scale_row(const bf16 *x, const bf16 *scale, bf16 *y, int64_t width) {
    for (int64_t c = 0; c < width; c += LANES)
        store(y + c, width - c, _mm512_mul_ps(load(x + c, width - c), load(scale + c, width - c)));
}

static inline void moments(const bf16 *x, float eps, float *mean, float *rstd, int64_t width) {
    __m512 total = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int64_t c = 0; c < width; c += LANES) total = _mm512_add_ps(total, load(x + c, width - c));
    *mean = _mm512_reduce_add_ps(total) / width;
    const __m512 middle = _mm512_set1_ps(*mean);
    for (int64_t c = 0; c < width; c += LANES) {
        const __m512 away = _mm512_maskz_sub_ps(first_of(width - c), load(x + c, width - c), middle);
        squares = _mm512_fmadd_ps(away, away, squares);
    }
    *rstd = 1 / sqrtf(_mm512_reduce_add_ps(squares) / width + eps);
}

/* y = (x - mean) * rstd * weight + bias */
static inline void normalise(const bf16 *x, float mean, float rstd, const bf16 *weight, const bf16 *bias, bf16 *y,
                             int64_t width) {
    const __m512 middle = _mm512_set1_ps(mean), s = _mm512_set1_ps(rstd);
    for (int64_t c = 0; c < width; c += LANES) {
        const int64_t left = width - c;
        const __m512 normal = _mm512_mul_ps(_mm512_sub_ps(load(x + c, left), middle), s);
        store(y + c, left, _mm512_fmadd_ps(normal, load(weight + c, left), load(bias + c, left)));
    }
}

/* The gradient for x of a normalisation, plus `for_sum` unless that is NULL; with a scale, also the product of it
 * with that, which is the gradient for the y of `add_row`. */
static inline void normalise_backward(const bf16 *for_out, const bf16 *for_sum, const bf16 *x, float mean, float rstd,
                                      const bf16 *scale, const bf16 *weight, bf16 *for_x, bf16 *for_y,
                                      int64_t width) {
    float slopes[ROUND_UP(width)], normals[ROUND_UP(width)];
    const __m512 m = _mm512_set1_ps(mean), s = _mm512_set1_ps(rstd);
    __m512 first = _mm512_setzero_ps(), second = _mm512_setzero_ps();
    for (int64_t c = 0; c < width; c += LANES) {
        const int64_t left = width - c;
        const __m512 g = _mm512_mul_ps(load(for_out + c, left), load(weight + c, left));
        const __m512 normal = _mm512_mul_ps(_mm512_sub_ps(load(x + c, left), m), s);
        first = _mm512_add_ps(first, g);
        second = _mm512_fmadd_ps(g, normal, second);
        _mm512_storeu_ps(slopes + c, g);
        _mm512_storeu_ps(normals + c, normal);
    }
    const __m512 one = _mm512_set1_ps(_mm512_reduce_add_ps(first) / width);
    const __m512 two = _mm512_set1_ps(_mm512_reduce_add_ps(second) / width);
    for (int64_t c = 0; c < width; c += LANES) {
        const int64_t left = width - c;
        const __m512 centred = _mm512_sub_ps(_mm512_loadu_ps(slopes + c), one);
        __m512 g = _mm512_mul_ps(s, _mm512_fnmadd_ps(_mm512_loadu_ps(normals + c), two, centred));
        if (for_sum) g = _mm512_add_ps(g, load(for_sum + c, left));
        store(for_x + c, left, g);
        if (scale) store(for_y + c, left, _mm512_mul_ps(g, load(scale + c, left)));
    }
}
