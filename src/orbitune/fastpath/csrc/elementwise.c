/* Element-wise steps of a transformer block, one pass over memory each. */
#include "norms.h"

/* y = h Phi(h) and its derivative. */
void gelu(const bf16 *at, bf16 *y, bf16 *slope, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += LANES) {
        __m512 derivative;
        store(y + i, n - i, gelu_of(load(at + i, n - i), &derivative));
        store(slope + i, n - i, derivative);
    }
}

/* y = x where it is kept, else 0; the same call drops the gradient. */
void dropout(const bf16 *x, bf16 *y, uint32_t seed, uint32_t below, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += 2 * LANES) store_kept(x + i, y + i, n - i, kept(i, seed, (uint16_t)below));
}

/* y += x where it is kept. */
void dropout_add(const bf16 *x, bf16 *y, uint32_t seed, uint32_t below, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += 2 * LANES) {
        const __mmask32 keep = kept(i, seed, (uint16_t)below);
        for (int half = 0; half < 2 && i + half * LANES < n; half++) {
            const int64_t at = i + half * LANES;
            const __mmask16 here = (__mmask16)(keep >> half * LANES);
            const __m512 sum = load(y + at, n - at);
            store(y + at, n - at, _mm512_mask_add_ps(sum, here, sum, load(x + at, n - at)));
        }
    }
}

/* sum = x + scale * y and out = (sum - mean) * rstd * weight + bias, by rows of `width`; mean and rstd are kept
 * for the gradient. Without y the sum is x, and without a scale it is one. */
void add_norm(const bf16 *x, const bf16 *y, const bf16 *scale, const bf16 *weight, const bf16 *bias, bf16 *sum,
              bf16 *out, float *mean, float *rstd, float eps, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const Norm norm = {mean + r, rstd + r, weight, bias};
        const int64_t at = r * width;
        if (y) add_rows(x + at, y + at, scale, sum + at, 1, width);
        const bf16 *const whole = y ? sum + at : x + at; /* what is normalised is what is stored */
        find_moments(norm, whole, eps, 1, width);
        normalise(norm, whole, out + at, 1, width);
    }
}

/* The gradients for x and y of `add_norm`, from those for `out` and for `sum`; y's is x's where there is no scale,
 * and is then not written. */
void add_norm_backward(const bf16 *for_out, const bf16 *for_sum, const bf16 *sum, const bf16 *scale,
                       const bf16 *weight, float *mean, float *rstd, bf16 *for_x, bf16 *for_y, int64_t rows,
                       int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const Norm norm = {mean + r, rstd + r, weight, NULL};
        const int64_t at = r * width;
        normalise_backward(norm, for_out + at, for_sum ? for_sum + at : NULL, sum + at, scale, for_x + at,
                           for_y + at, 1, width);
    }
}
