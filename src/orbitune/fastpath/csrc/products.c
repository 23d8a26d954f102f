/* Matrix products with weights, and the MLP with frozen weights. */
#include "panels.h"

/* y = x B + bias + dropout(reduced up), with B (in, out) or, if `transposed`, a weight (out, in). Bias and update
 * may be NULL; a bias is not combined with an update that has dropout. `in` and `rank` are even, `out` is a
 * multiple of 16. */
void product(const bf16 *x, const bf16 *weight, const bf16 *bias, const bf16 *reduced, const bf16 *up, bf16 *y,
             uint32_t seed, uint32_t threshold, int64_t transposed, int64_t rows, int64_t in, int64_t out,
             int64_t rank) {
    const PackedMatrix right = new_packed_matrix(in, out);
    const Update update = new_update(rank, out, seed, threshold);
    float *const wide_bias = new_bias(bias, out);
#pragma omp parallel
    {
        pack_matrix(right, weight, transposed);
        if (reduced) pack_up(update, up);
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (int64_t top = 0; top < rows; top += PANEL) {
            Update here = update;
            here.reduced = reduced ? reduced + top * rank : NULL;
            panel(x + top * in, right, (Epilogue){.bias = wide_bias, .update = reduced ? &here : NULL}, top,
                  minimum(rows - top, PANEL), y + top * out);
        }
    }
    free(right.strips);
    free_update(update);
    free(wide_bias);
}

/* y = second(first(x W1) W2), where `first` and `second` are epilogues; the hidden activations stay in the caches.
 * x and y are (rows, width), the hidden activations (rows, hidden). The weights are packed by `pack_matrix`. */
static void two_products(const bf16 *x, const bf16 *w1, Epilogue first, const bf16 *w2, Epilogue second, bf16 *y,
                         int transposed, int64_t rows, int64_t width, int64_t hidden) {
    const PackedMatrix packed1 = new_packed_matrix(width, hidden), packed2 = new_packed_matrix(hidden, width);
#pragma omp parallel
    {
        bf16 *buffer = aligned_alloc(64, PANEL * hidden * 2);
        pack_matrix(packed1, w1, transposed);
        pack_matrix(packed2, w2, transposed);
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (int64_t top = 0; top < rows; top += PANEL) {
            const int64_t height = minimum(rows - top, PANEL);
            Epilogue here = first;
            if (first.factor) here.factor += top * hidden;
            if (first.gelu_grad) here.gelu_grad += top * hidden;
            panel(x + top * width, packed1, here, top, height, buffer);
            panel(buffer, packed2, second, top, height, y + top * width);
        }
        free(buffer);
    }
    free(packed1.strips);
    free(packed2.strips);
}

/* y = GELU(x W1^T + b1) W2^T + b2, with W1 (hidden, width) and W2 (width, hidden); gelu_grad (rows, hidden)
 * receives GELU's derivative unless NULL. Both widths are multiples of 16. */
void mlp(const bf16 *x, const bf16 *w1, const bf16 *b1, const bf16 *w2, const bf16 *b2, bf16 *y, bf16 *gelu_grad,
         int64_t rows, int64_t width, int64_t hidden) {
    float *const bias1 = new_bias(b1, hidden), *const bias2 = new_bias(b2, width);
    const Epilogue first = {.bias = bias1, .gelu = 1, .gelu_grad = gelu_grad}, second = {.bias = bias2};
    two_products(x, w1, first, w2, second, y, 1, rows, width, hidden);
    free(bias1);
    free(bias2);
}

/* Gradient of x of `mlp`, from the gradient of y. */
void mlp_backward(const bf16 *grad_y, const bf16 *gelu_grad, const bf16 *w1, const bf16 *w2, bf16 *grad_x,
                  int64_t rows, int64_t width, int64_t hidden) {
    two_products(grad_y, w2, (Epilogue){.factor = gelu_grad}, w1, (Epilogue){0}, grad_x, 0, rows, width, hidden);
}

/* y = a^T b, fp32, of the first `across` columns of a (rows, width), and b (rows, out). Both widths are multiples
 * of 16.
 *
 * Each slice of the rows has its own sum; the sums are then added in a fixed order. */
void outer(const bf16 *a, const bf16 *b, float *y, int64_t rows, int64_t across, int64_t width, int64_t out) {
    const int64_t size = across * out, slice = (rows + SLICES * PANEL - 1) / (SLICES * PANEL) * PANEL;
    float *const parts = aligned_alloc(64, SLICES * size * 4);
#pragma omp parallel
    {
        uint32_t *left = malloc(PANEL * width * 2), *right = malloc(PANEL * out * 2);
#pragma omp for schedule(dynamic)
        for (int64_t s = 0; s < SLICES; s++) {
            const int64_t end = minimum(rows, (s + 1) * slice);
            memset(parts + s * size, 0, size * 4);
            for (int64_t top = s * slice; top < end; top += PANEL)
                add_outer(a + top * width, b + top * out, minimum(end - top, PANEL), across, width, out, left,
                          right, parts + s * size);
        }
        free(left);
        free(right);
        add_parts(parts, SLICES, size, y);
    }
    free(parts);
}
