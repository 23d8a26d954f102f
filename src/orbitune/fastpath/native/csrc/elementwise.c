/* Element-wise operations of a transformer layer, each in one pass over memory. Results do not overlap inputs. */
#include "functions.h"
#include "norms.h"

/* y = h Phi(h) (GELU) and its derivative. */
int gelu(const element *restrict at, element *restrict y, element *restrict gelu_grad, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += LANES) {
        floats derivative;
        store(y + i, n - i, gelu_of(load(at + i, n - i), &derivative));
        store(gelu_grad + i, n - i, derivative);
    }
    return 0;
}

/* y = x with dropped elements zero. The same call is applied to the gradient. */
int dropout(const element *restrict x, element *restrict y, uint32_t seed, uint32_t threshold, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += 2 * LANES) copy_kept(x + i, y + i, n - i, i, seed, threshold);
    return 0;
}

/* y += x with dropped elements zero. */
int dropout_add(const element *restrict x, element *restrict y, uint32_t seed, uint32_t threshold, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += 2 * LANES) {
        const Kept kept = kept_elements(i, seed, threshold);
        for (int64_t at = i; at < minimum(n, i + 2 * LANES); at += LANES) {
            const floats sum = load(y + at, n - at);
            store(y + at, n - at, choose(kept.half[(at - i) / LANES], sum + load(x + at, n - at), sum));
        }
    }
    return 0;
}

/* sum = x + scale * y and out = (sum - mean) * rstd * weight + bias, for each row of `width`. mean and rstd are
 * stored for the backward pass. Without y the sum is x; without a scale the scale is 1. */
int add_norm(const element *restrict x, const element *restrict y, const element *restrict scale,
             const element *restrict weight, const element *restrict bias, element *restrict sum,
             element *restrict out, float *restrict mean, float *restrict rstd, float eps, int64_t rows,
             int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const Norm norm = {mean + r, rstd + r, weight, bias};
        const int64_t at = r * width;
        if (y) add_rows(x + at, y + at, scale, sum + at, 1, width);
        const element *const whole = y ? sum + at : x + at; /* the rounded sum is normalised */
        find_moments(norm, whole, eps, 1, width);
        normalise(norm, whole, out + at, 1, width);
    }
    return 0;
}

/* Gradients of x and y of `add_norm`, from those of `out` and `sum`. Without a scale, y's gradient equals x's and
 * is not written. */
int add_norm_backward(const element *restrict grad_out, const element *restrict grad_sum,
                      const element *restrict sum, const element *restrict scale, const element *restrict weight,
                      float *restrict mean, float *restrict rstd, element *restrict grad_x,
                      element *restrict grad_y, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const Norm norm = {mean + r, rstd + r, weight, NULL};
        const int64_t at = r * width;
        normalise_backward(norm, grad_out + at, grad_sum ? grad_sum + at : NULL, sum + at, scale, grad_x + at,
                           grad_y + at, 1, width);
    }
    return 0;
}
