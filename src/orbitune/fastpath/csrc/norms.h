/* Residual adds and LayerNorms of rows. */
#pragma once
#include "vectors.h"

/* A LayerNorm: mean and 1 / standard deviation of each row; weight and bias (width,). */
typedef struct {
    float *mean, *rstd;
    const bf16 *weight, *bias;
} Norm;

/* sum = x + scale * y; without a scale the scale is 1. */
static inline void add_rows(const bf16 *x, const bf16 *y, const bf16 *scale, bf16 *sum, int64_t rows,
                            int64_t width) {
    for (int64_t r = 0; r < rows; r++, x += width, y += width, sum += width)
        for (int64_t c = 0; c < width; c += LANES) {
            const int64_t left = width - c;
            const __m512 value = load(x + c, left), added = load(y + c, left);
            store(sum + c, left,
                  scale ? _mm512_fmadd_ps(added, load(scale + c, left), value) : _mm512_add_ps(added, value));
        }
}

/* y = scale * x */
static inline void scale_rows(const bf16 *x, const bf16 *scale, bf16 *y, int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; r++, x += width, y += width)
        for (int64_t c = 0; c < width; c += LANES)
            store(y + c, width - c, _mm512_mul_ps(load(x + c, width - c), load(scale + c, width - c)));
}

/* Mean and 1 / standard deviation of each row. */
static inline void find_moments(Norm n, const bf16 *x, float eps, int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; r++, x += width) {
        __m512 total = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
        for (int64_t c = 0; c < width; c += LANES) total = _mm512_add_ps(total, load(x + c, width - c));
        n.mean[r] = _mm512_reduce_add_ps(total) / width;
        const __m512 mean = _mm512_set1_ps(n.mean[r]);
        for (int64_t c = 0; c < width; c += LANES) {
            const __m512 centred = _mm512_maskz_sub_ps(first_lanes(width - c), load(x + c, width - c), mean);
            squares = _mm512_fmadd_ps(centred, centred, squares);
        }
        n.rstd[r] = 1 / sqrtf(_mm512_reduce_add_ps(squares) / width + eps);
    }
}

/* y = (x - mean) * rstd * weight + bias */
static inline void normalise(Norm n, const bf16 *x, bf16 *y, int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; r++, x += width, y += width) {
        const __m512 mean = _mm512_set1_ps(n.mean[r]), s = _mm512_set1_ps(n.rstd[r]);
        for (int64_t c = 0; c < width; c += LANES) {
            const int64_t left = width - c;
            const __m512 normal = _mm512_mul_ps(_mm512_sub_ps(load(x + c, left), mean), s);
            store(y + c, left, _mm512_fmadd_ps(normal, load(n.weight + c, left), load(n.bias + c, left)));
        }
    }
}

/* Gradient of x of `normalise`, plus `grad_sum` unless NULL. With a scale, also scale times that: the gradient of
 * y of `add_rows`. */
static inline void normalise_backward(Norm n, const bf16 *grad_out, const bf16 *grad_sum, const bf16 *x,
                                      const bf16 *scale, bf16 *grad_x, bf16 *grad_y, int64_t rows, int64_t width) {
    float grads[ROUND_UP(width)], normals[ROUND_UP(width)];
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = r * width;
        const __m512 m = _mm512_set1_ps(n.mean[r]), s = _mm512_set1_ps(n.rstd[r]);
        __m512 first = _mm512_setzero_ps(), second = _mm512_setzero_ps();
        for (int64_t c = 0; c < width; c += LANES) {
            const int64_t left = width - c;
            const __m512 g = _mm512_mul_ps(load(grad_out + at + c, left), load(n.weight + c, left));
            const __m512 normal = _mm512_mul_ps(_mm512_sub_ps(load(x + at + c, left), m), s);
            first = _mm512_add_ps(first, g);
            second = _mm512_fmadd_ps(g, normal, second);
            _mm512_storeu_ps(grads + c, g);
            _mm512_storeu_ps(normals + c, normal);
        }
        const __m512 mean_grad = _mm512_set1_ps(_mm512_reduce_add_ps(first) / width);
        const __m512 mean_product = _mm512_set1_ps(_mm512_reduce_add_ps(second) / width);
        for (int64_t c = 0; c < width; c += LANES) {
            const int64_t left = width - c;
            const __m512 centred = _mm512_sub_ps(_mm512_loadu_ps(grads + c), mean_grad);
            __m512 g = _mm512_mul_ps(s, _mm512_fnmadd_ps(_mm512_loadu_ps(normals + c), mean_product, centred));
            if (grad_sum) g = _mm512_add_ps(g, load(grad_sum + at + c, left));
            store(grad_x + at + c, left, g);
            if (scale) store(grad_y + at + c, left, _mm512_mul_ps(g, load(scale + c, left)));
        }
    }
}
