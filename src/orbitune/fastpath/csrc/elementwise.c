/* Element-wise operations of a transformer layer, each in one pass over memory. */
#include "norms.h"

/* y = h Phi(h) (GELU) and its derivative. */
void gelu(const bf16 *at, bf16 *y, bf16 *gelu_grad, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += LANES) {
        __m512 derivative;
        store(y + i, n - i, gelu_of(load(at + i, n - i), &derivative));
        store(gelu_grad + i, n - i, derivative);
    }
}

/* y = x with dropped elements zero. The same call is applied to the gradient. */
void dropout(const bf16 *x, bf16 *y, uint32_t seed, uint32_t threshold, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += 2 * LANES)
        store_dropout(x + i, y + i, n - i, dropout_mask(i, seed, (uint16_t)threshold));
}

/* y += x with dropped elements zero. */
void dropout_add(const bf16 *x, bf16 *y, uint32_t seed, uint32_t threshold, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += 2 * LANES) {
        const __mmask32 keep = dropout_mask(i, seed, (uint16_t)threshold);
        for (int half = 0; half < 2 && i + half * LANES < n; half++) {
            const int64_t at = i + half * LANES;
            const __mmask16 here = (__mmask16)(keep >> half * LANES);
            const __m512 sum = load(y + at, n - at);
            store(y + at, n - at, _mm512_mask_add_ps(sum, here, sum, load(x + at, n - at)));
        }
    }
}

/* sum = x + scale * y and out = (sum - mean) * rstd * weight + bias, for each row of `width`. mean and rstd are
 * stored for the backward pass. Without y the sum is x; without a scale the scale is 1. */
void add_norm(const bf16 *x, const bf16 *y, const bf16 *scale, const bf16 *weight, const bf16 *bias, bf16 *sum,
              bf16 *out, float *mean, float *rstd, float eps, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const Norm norm = {mean + r, rstd + r, weight, bias};
        const int64_t at = r * width;
        if (y) add_rows(x + at, y + at, scale, sum + at, 1, width);
        const bf16 *const whole = y ? sum + at : x + at; /* the rounded sum is normalised */
        find_moments(norm, whole, eps, 1, width);
        normalise(norm, whole, out + at, 1, width);
    }
}

/* Gradients of x and y of `add_norm`, from those of `out` and `sum`. Without a scale, y's gradient equals x's and
 * is not written. */
void add_norm_backward(const bf16 *grad_out, const bf16 *grad_sum, const bf16 *sum, const bf16 *scale,
                       const bf16 *weight, float *mean, float *rstd, bf16 *grad_x, bf16 *grad_y, int64_t rows,
                       int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const Norm norm = {mean + r, rstd + r, weight, NULL};
        const int64_t at = r * width;
        normalise_backward(norm, grad_out + at, grad_sum ? grad_sum + at : NULL, sum + at, scale, grad_x + at,
                           grad_y + at, 1, width);
    }
}
