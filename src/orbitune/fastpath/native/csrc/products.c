/* Matrix products with weights, and the MLP with frozen weights. Results do not overlap inputs. */
#include "panels.h"

/* y = x B + bias + dropout(reduced up), with B (in, out) or, if `transposed`, a weight (out, in). Bias and update
 * may be NULL; a bias is not combined with an update that has dropout. `in` and `rank` are multiples of GROUP,
 * `out` of LANES. */
int product(const element *restrict x, const element *restrict weight, const element *restrict bias,
            const element *restrict reduced, const element *restrict up, element *restrict y, uint32_t seed,
            uint32_t threshold, int64_t transposed, int64_t rows, int64_t in, int64_t out, int64_t rank) {
    Memory memory = {0};
    const PackedMatrix right = new_packed_matrix(&memory, in, out);
    const Update update = new_update(&memory, rank, out, seed, threshold);
    const float *const wide_bias = new_bias(&memory, bias, out);
    if (memory.failed) return release(&memory);
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
    return release(&memory);
}

/* y = second(first(x W1) W2), where `first` and `second` are epilogues; the hidden activations stay in the caches.
 * x and y are (rows, width), the hidden activations (rows, hidden). The weights are packed by `pack_matrix`. */
static int two_products(Memory *memory, const element *x, const element *w1, Epilogue first, const element *w2,
                        Epilogue second, element *y, int transposed, int64_t rows, int64_t width,
                        int64_t hidden) {
    const PackedMatrix packed1 = new_packed_matrix(memory, width, hidden);
    const PackedMatrix packed2 = new_packed_matrix(memory, hidden, width);
    const int64_t size = PANEL * hidden;
    element *const buffers = reserve(memory, omp_get_max_threads() * size * sizeof(element));
    if (memory->failed) return release(memory);
#pragma omp parallel
    {
        element *const buffer = buffers + omp_get_thread_num() * size;
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
    }
    return release(memory);
}

/* y = GELU(x W1^T + b1) W2^T + b2, with W1 (hidden, width) and W2 (width, hidden); gelu_grad (rows, hidden)
 * receives GELU's derivative unless NULL. Both widths are multiples of 16. */
int mlp(const element *restrict x, const element *restrict w1, const element *restrict b1,
        const element *restrict w2, const element *restrict b2, element *restrict y, element *restrict gelu_grad,
        int64_t rows, int64_t width, int64_t hidden) {
    Memory memory = {0};
    const Epilogue first = {.bias = new_bias(&memory, b1, hidden), .gelu = 1, .gelu_grad = gelu_grad};
    const Epilogue second = {.bias = new_bias(&memory, b2, width)};
    return two_products(&memory, x, w1, first, w2, second, y, 1, rows, width, hidden);
}

/* Gradient of x of `mlp`, from the gradient of y. */
int mlp_backward(const element *restrict grad_y, const element *restrict gelu_grad, const element *restrict w1,
                 const element *restrict w2, element *restrict grad_x, int64_t rows, int64_t width,
                 int64_t hidden) {
    Memory memory = {0};
    const Epilogue first = {.factor = gelu_grad};
    return two_products(&memory, grad_y, w2, first, w1, (Epilogue){0}, grad_x, 0, rows, width, hidden);
}

/* y = a^T b, fp32, of the first `across` columns of a (rows, width), and b (rows, out). Both widths are multiples
 * of 16.
 *
 * Each slice of the rows has its own sum; the sums are then added in a fixed order. */
int outer(const element *restrict a, const element *restrict b, float *restrict y, int64_t rows, int64_t across,
          int64_t width, int64_t out) {
    const int64_t size = across * out, slice = (rows + SLICES * PANEL - 1) / (SLICES * PANEL) * PANEL;
    const int threads = omp_get_max_threads();
    Memory memory = {0};
    float *const parts = reserve(&memory, SLICES * size * sizeof(float));
    OuterBuffers *const spaces = reserve(&memory, threads * sizeof(OuterBuffers));
    for (int t = 0; spaces && t < threads; t++) spaces[t] = new_outer_buffers(&memory, PANEL, width, out);
    if (memory.failed) return release(&memory);
#pragma omp parallel
    {
        const OuterBuffers space = spaces[omp_get_thread_num()];
#pragma omp for schedule(dynamic)
        for (int64_t s = 0; s < SLICES; s++) {
            const int64_t end = minimum(rows, (s + 1) * slice);
            memset(parts + s * size, 0, size * sizeof(float));
            for (int64_t top = s * slice; top < end; top += PANEL)
                add_outer(a + top * width, b + top * out, minimum(end - top, PANEL), across, width, out, space,
                          parts + s * size);
        }
        add_parts(parts, SLICES, size, y);
    }
    return release(&memory);
}
