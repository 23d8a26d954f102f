/* Residual adds and LayerNorms of rows. */
#pragma once
#include "vectors.h"

/* A LayerNorm: mean and 1 / standard deviation of each row; weight and bias (width,). */
typedef struct {
    float *mean, *rstd;
    const element *weight, *bias;
} Norm;

/* sum = x + scale * y; without a scale the scale is 1. */
static inline void add_rows(const element *x, const element *y, const element *scale, element *sum, int64_t rows,
                            int64_t width) {
    for (int64_t r = 0; r < rows; r++, x += width, y += width, sum += width)
        for (int64_t c = 0; c < width; c += LANES) {
            const int64_t left = width - c;
            const floats value = load(x + c, left), added = load(y + c, left);
            store(sum + c, left, scale ? added * load(scale + c, left) + value : added + value);
        }
}

/* y = scale * x */
static inline void scale_rows(const element *x, const element *scale, element *y, int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; r++, x += width, y += width)
        for (int64_t c = 0; c < width; c += LANES)
            store(y + c, width - c, load(x + c, width - c) * load(scale + c, width - c));
}

/* Mean and 1 / standard deviation of each row. */
static inline void find_moments(Norm n, const element *x, float eps, int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; r++, x += width) {
        floats total = {0}, squares = {0};
        for (int64_t c = 0; c < width; c += LANES) total += load(x + c, width - c);
        const float mean = sum_of(total) / width;
        for (int64_t c = 0; c < width; c += LANES) {
            const floats centred = keep(first_lanes(width - c), load(x + c, width - c) - mean);
            squares += centred * centred;
        }
        n.mean[r] = mean;
        n.rstd[r] = 1 / sqrtf(sum_of(squares) / width + eps);
    }
}

/* y = (x - mean) * rstd * weight + bias */
static inline void normalise(Norm n, const element *x, element *y, int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; r++, x += width, y += width)
        for (int64_t c = 0; c < width; c += LANES) {
            const int64_t left = width - c;
            const floats normal = (load(x + c, left) - n.mean[r]) * n.rstd[r];
            store(y + c, left, normal * load(n.weight + c, left) + load(n.bias + c, left));
        }
}

/* Gradient of x of `normalise`, plus `grad_sum` unless NULL. With a scale, also scale times that: the gradient of
 * y of `add_rows`. */
static inline void normalise_backward(Norm n, const element *grad_out, const element *grad_sum, const element *x,
                                      const element *scale, element *grad_x, element *grad_y, int64_t rows,
                                      int64_t width) {
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = r * width;
        const float m = n.mean[r], s = n.rstd[r];
        floats first = {0}, second = {0};
        for (int64_t c = 0; c < width; c += LANES) {
            const int64_t left = width - c;
            const floats g = load(grad_out + at + c, left) * load(n.weight + c, left);
            first += g;
            second += g * ((load(x + at + c, left) - m) * s);
        }
        const float mean_grad = sum_of(first) / width, mean_product = sum_of(second) / width;
        for (int64_t c = 0; c < width; c += LANES) {
            const int64_t left = width - c;
            floats g = load(grad_out + at + c, left) * load(n.weight + c, left);
            g = s * ((g - mean_grad) - (load(x + at + c, left) - m) * s * mean_product);
            if (grad_sum) g += load(grad_sum + at + c, left);
            store(grad_x + at + c, left, g);
            if (scale) store(grad_y + at + c, left, g * load(scale + c, left));
        }
    }
}
