/* Products of rows with weights, and a frozen MLP. */
#include "panels.h"

/* y = x B + bias + dropout(low lift), B (in, out) or, where it is `transposed`, a weight (out, in). Without a bias
 * or an update these are NULL; a bias and an update of which something is dropped do not go together. `in` and
 * `rank` are even, `out` is a multiple of 16. */
void product(const bf16 *x, const bf16 *weight, const bf16 *bias, const bf16 *low, const bf16 *lift, bf16 *y,
             uint32_t seed, uint32_t below, int64_t transposed, int64_t rows, int64_t in, int64_t out,
             int64_t rank) {
    const Right right = new_right(in, out);
    const Update update = new_update(rank, out, seed, below);
    float *const wide_bias = new_bias(bias, out);
#pragma omp parallel
    {
        fill(right, weight, transposed);
        if (low) fill_lift(update, lift);
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (int64_t top = 0; top < rows; top += PANEL) {
            Update here = update;
            here.low = low ? low + top * rank : NULL;
            panel(x + top * in, right, (Steps){.bias = wide_bias, .update = low ? &here : NULL}, top,
                  at_most(rows - top, PANEL), y + top * out);
        }
    }
    free(right.strips);
    free_update(update);
    free(wide_bias);
}

/* y = what `first` and then `second` make of x, by products with W1 and W2; what lies between stays in the caches.
 * x and y are (rows, width), what is between (rows, middle); the weights are packed as `fill` says. */
static void two_products(const bf16 *x, const bf16 *w1, Steps first, const bf16 *w2, Steps second, bf16 *y,
                         int transposed, int64_t rows, int64_t width, int64_t middle) {
    const Right widen = new_right(width, middle), narrow = new_right(middle, width);
#pragma omp parallel
    {
        bf16 *hidden = aligned_alloc(64, PANEL * middle * 2);
        fill(widen, w1, transposed);
        fill(narrow, w2, transposed);
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (int64_t top = 0; top < rows; top += PANEL) {
            const int64_t height = at_most(rows - top, PANEL);
            Steps here = first;
            if (first.factor) here.factor += top * middle;
            if (first.slope) here.slope += top * middle;
            panel(x + top * width, widen, here, top, height, hidden);
            panel(hidden, narrow, second, top, height, y + top * width);
        }
        free(hidden);
    }
    free(widen.strips);
    free(narrow.strips);
}

/* y = GELU(x W1^T + b1) W2^T + b2, W1 (middle, width) and W2 (width, middle); slope (rows, middle) is GELU's
 * derivative, or NULL. Both widths are multiples of 16. */
void mlp(const bf16 *x, const bf16 *w1, const bf16 *b1, const bf16 *w2, const bf16 *b2, bf16 *y, bf16 *slope,
         int64_t rows, int64_t width, int64_t middle) {
    float *const bias1 = new_bias(b1, middle), *const bias2 = new_bias(b2, width);
    const Steps first = {.bias = bias1, .gelu = 1, .slope = slope}, second = {.bias = bias2};
    two_products(x, w1, first, w2, second, y, 1, rows, width, middle);
    free(bias1);
    free(bias2);
}

/* The gradient for x of `mlp`, from the one for y. */
void mlp_backward(const bf16 *for_y, const bf16 *slope, const bf16 *w1, const bf16 *w2, bf16 *for_x, int64_t rows,
                  int64_t width, int64_t middle) {
    two_products(for_y, w2, (Steps){.factor = slope}, w1, (Steps){0}, for_x, 0, rows, width, middle);
}

/* y = a^T b, fp32, of the first `across` columns of a (rows, width) and b (rows, out), whose widths are multiples
 * of 16.
 *
 * Slices of the rows are summed up apart, and the parts then added in their order. */
void outer(const bf16 *a, const bf16 *b, float *y, int64_t rows, int64_t across, int64_t width, int64_t out) {
    const int64_t size = across * out, slice = (rows + SLICES * PANEL - 1) / (SLICES * PANEL) * PANEL;
    float *const parts = aligned_alloc(64, SLICES * size * 4);
#pragma omp parallel
    {
        uint32_t *left = malloc(PANEL * width * 2), *right = malloc(PANEL * out * 2);
#pragma omp for schedule(dynamic)
        for (int64_t s = 0; s < SLICES; s++) {
            const int64_t end = at_most(rows, (s + 1) * slice);
            memset(parts + s * size, 0, size * 4);
            for (int64_t top = s * slice; top < end; top += PANEL)
                add_outer(a + top * width, b + top * out, at_most(end - top, PANEL), across, width, out, left,
                          right, parts + s * size);
        }
        free(left);
        free(right);
        add_parts(parts, SLICES, size, y);
    }
    free(parts);
}
