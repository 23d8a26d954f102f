/* Products of rows with weights. */
#include <omp.h>

#include "panels.h"

/* y = x B + bias + dropout(low lift), B (in, out) or, where it is `transposed`, a weight (out, in). Without a bias
 * or an update these are NULL; a bias and an update of which something is dropped do not go together. `in` and
 * `rank` are even, `out` is a multiple of 16. */
void product(const bf16 *x, const bf16 *weight, const bf16 *bias, const bf16 *low, const bf16 *lift, bf16 *y,
             uint32_t seed, uint32_t below, int64_t transposed, int64_t rows, int64_t in, int64_t out, int64_t rank) {
    const Right right = new_right(in, out);
    const Update update = new_update(rank, out, seed, below);
    float *const wide_bias = new_bias(bias, out);
#pragma omp parallel
    {
        fill(right, weight, transposed);
        if (low) fill_lift(update, lift);
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

/* y = a^T b, fp32, of the first `across` columns of a (rows, width) and b (rows, out), whose widths are multiples of
 * 16.
 *
 * Each thread sums up its own rows; the parts are then added in the order of the threads. */
void outer(const bf16 *a, const bf16 *b, float *y, int64_t rows, int64_t across, int64_t width, int64_t out) {
    const int64_t size = across * out;
    float *parts = NULL;
#pragma omp parallel
    {
        const int64_t threads = omp_get_num_threads(), mine = omp_get_thread_num();
        const int64_t share = (rows + threads - 1) / threads, end = at_most(rows, (mine + 1) * share);
        uint32_t *left = malloc(PANEL * width * 2), *right = malloc(PANEL * out * 2);
#pragma omp single
        parts = aligned_alloc(64, threads * size * 4);
        float *part = parts + mine * size;
        memset(part, 0, size * 4);
        for (int64_t top = mine * share; top < end; top += PANEL)
            add_outer(a + top * width, b + top * out, at_most(end - top, PANEL), across, width, out, left, right, part);
        free(left);
        free(right);
#pragma omp barrier
        add_parts(parts, threads, size, y);
    }
    free(parts);
}
