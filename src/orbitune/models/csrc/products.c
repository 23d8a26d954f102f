/* Products of rows with weights, and what follows them, while both are in the caches. */
#include <omp.h>
#include <string.h>

#include "products.h"

#define PANEL (16 * BLOCK) /* rows that a thread takes at once */

/* The right factor of a product, packed by strips of 64 columns, each of them contiguous. */
typedef struct {
    uint32_t *strips;
    int64_t in, out; /* rows and columns: the first even, the second a multiple of 16 */
} Right;

typedef struct {
    int64_t first, count;
} Range;

/* What is added to a product of (rows, out): low (rows, rank) times lift; below > 0: some numbers are dropped first. */
typedef struct {
    const bf16 *low;
    Right lift;
    Range *pairs; /* of the lift, that are not all zero; for each of its strips */
    uint32_t seed, below;
} Update;

/* What becomes of a product before it is rounded. Of these, those that are NULL are left out. */
typedef struct {
    const float *bias;    /* (out,): added */
    const bf16 *factor;   /* (rows, out): multiplied */
    const Update *update; /* added */
    int gelu;             /* whether GELU is taken */
    bf16 *slope;          /* (rows, out): here goes its derivative */
} Steps;

static Right new_right(int64_t in, int64_t out) {
    return (Right){aligned_alloc(64, ROUND_UP(in / 2 * out) * 4), in, out};
}

/* Pack a matrix (in, out) or, where it is `transposed`, one of (out, in); by all threads of a region. */
static void fill(Right right, const bf16 *from, int transposed) {
#pragma omp for schedule(static)
    for (int64_t c = 0; c < right.out; c += WIDE) {
        uint32_t *strip = right.strips + c * right.in / 2;
        const int64_t columns = at_most(right.out - c, WIDE);
        if (transposed)
            pack_transposed(from + c * right.in, right.in, columns, right.in, strip);
        else
            pack(from + c, right.out, right.in, columns, strip);
    }
}

/* Numbers of a row that are not kept become zero; `at` is the place of the first. */
static void drop(float *row, int64_t at, int64_t columns, uint32_t seed, uint32_t below) {
    for (int64_t c = 0; c < columns; c += 2 * LANES) {
        const __mmask32 keep = kept(at + c, seed, (uint16_t)below);
        for (int64_t v = c; v < at_most(columns, c + 2 * LANES); v += LANES)
            _mm512_storeu_ps(row + v, _mm512_maskz_loadu_ps((__mmask16)(keep >> (v - c)), row + v));
    }
}

static int all_zero(const uint32_t *numbers, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (numbers[i]) return 0;
    return 1;
}

/* Find the pairs of rows in which each strip of a lift is not zero: updates of many layers lie there block by block. */
static void find_pairs(Update u) {
    const int64_t pairs = u.lift.in / 2;
#pragma omp for schedule(static)
    for (int64_t c = 0; c < u.lift.out; c += WIDE) {
        const int64_t columns = at_most(u.lift.out - c, WIDE);
        const uint32_t *strip = u.lift.strips + c * pairs;
        int64_t first = 0, end = pairs;
        while (first < end && all_zero(strip + first * columns, columns)) first++;
        while (first < end && all_zero(strip + (end - 1) * columns, columns)) end--;
        u.pairs[c / WIDE] = (Range){first, end - first};
    }
}

/* `count` rows and `columns` columns of an update, from a row and column on, into sums (BLOCK, WIDE). */
static void updated(Update u, int64_t row, int64_t column, int64_t out, int64_t count, int64_t columns,
                    const float *bias, float *sums) {
    const int64_t pairs = u.lift.in / 2;
    const Range used = u.pairs[column / WIDE];
    const Left low = {(const uint32_t *)(u.low + row * u.lift.in) + used.first, pairs, 1};
    const uint32_t *strip = u.lift.strips + column * pairs + used.first * columns;
    any_block(count, columns / LANES, low, strip, columns, used.count,
              (Out){.wide = sums, .stride = WIDE, .start = bias});
    for (int64_t i = 0; u.below && i < count; i++)
        drop(sums + i * WIDE, (row + i) * out + column, columns, u.seed, u.below);
}

/* Of a row of sums: y = GELU, and its derivative unless `slope` is NULL. */
static void gelu_row(const float *row, int64_t columns, bf16 *y, bf16 *slope) {
    for (int64_t v = 0; v < columns; v += LANES) {
        __m512 derivative;
        store(y + v, LANES, gelu_of(_mm512_loadu_ps(row + v), &derivative));
        if (slope) store(slope + v, LANES, derivative);
    }
}

/* Rows `top` to `top + height` of a product: x and y begin with the first of them. */
static void panel(const bf16 *x, Right right, Steps steps, int64_t top, int64_t height, bf16 *y) {
    const int64_t pairs = right.in / 2, out = right.out;
    float sums[BLOCK * WIDE];
    for (int64_t c = 0; c < out; c += WIDE) {
        const int64_t columns = at_most(out - c, WIDE), vectors = columns / LANES;
        for (int64_t r = 0; r < height; r += BLOCK) {
            const int64_t count = at_most(height - r, BLOCK), at = (top + r) * out + c;
            bf16 *const to = y + r * out + c;
            Out result = {.narrow = to, .stride = out, .start = steps.bias ? steps.bias + c : NULL};
            if (steps.update) {
                updated(*steps.update, top + r, c, out, count, columns, result.start, sums);
                result.start = sums, result.start_stride = WIDE;
            }
            if (steps.factor) result.factors = steps.factor + at;
            if (steps.gelu) result.wide = sums, result.stride = WIDE;
            const Left left = {(const uint32_t *)(x + r * right.in), pairs, 1};
            any_block(count, vectors, left, right.strips + c * pairs, columns, pairs, result);
            for (int64_t i = 0; steps.gelu && i < count; i++)
                gelu_row(sums + i * WIDE, columns, to + i * out, steps.slope ? steps.slope + at + i * out : NULL);
        }
    }
}

/* y = x B + bias + dropout(low lift), B (in, out) or, where it is `transposed`, a weight (out, in). Without a bias
 * or an update these are NULL; a bias and an update of which something is dropped do not go together. `in` and
 * `rank` are even, `out` is a multiple of 16. */
void product(const bf16 *x, const bf16 *weight, const float *bias, const bf16 *low, const bf16 *lift, bf16 *y,
             uint32_t seed, uint32_t below, int64_t transposed, int64_t rows, int64_t in, int64_t out, int64_t rank) {
    const Right right = new_right(in, out);
    const Update update = {low, new_right(rank, out), malloc((out + WIDE) / WIDE * sizeof(Range)), seed, below};
    const Steps steps = {.bias = bias, .update = low ? &update : NULL};
#pragma omp parallel
    {
        fill(right, weight, transposed);
        if (low) {
            fill(update.lift, lift, 0);
            find_pairs(update);
        }
#pragma omp for schedule(dynamic)
        for (int64_t top = 0; top < rows; top += PANEL)
            panel(x + top * in, right, steps, top, at_most(rows - top, PANEL), y + top * out);
    }
    free(right.strips);
    free(update.lift.strips);
    free(update.pairs);
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
#pragma omp for schedule(dynamic)
        for (int64_t top = 0; top < rows; top += PANEL) {
            const int64_t height = at_most(rows - top, PANEL);
            panel(x + top * width, widen, first, top, height, hidden);
            panel(hidden, narrow, second, top, height, y + top * width);
        }
        free(hidden);
    }
    free(widen.strips);
    free(narrow.strips);
}

/* y = GELU(x W1^T + b1) W2^T + b2, W1 (middle, width) and W2 (width, middle); slope (rows, middle) is GELU's
 * derivative, or NULL. Both widths are multiples of 16. */
void mlp(const bf16 *x, const bf16 *w1, const float *b1, const bf16 *w2, const float *b2, bf16 *y, bf16 *slope,
         int64_t rows, int64_t width, int64_t middle) {
    const Steps first = {.bias = b1, .gelu = 1, .slope = slope}, second = {.bias = b2};
    two_products(x, w1, first, w2, second, y, 1, rows, width, middle);
}

/* The gradient for x of `mlp`, from the one for y. */
void mlp_backward(const bf16 *for_y, const bf16 *slope, const bf16 *w1, const bf16 *w2, bf16 *for_x, int64_t rows,
                  int64_t width, int64_t middle) {
    two_products(for_y, w2, (Steps){.factor = slope}, w1, (Steps){0}, for_x, 0, rows, width, middle);
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
        for (int64_t top = mine * share; top < end; top += PANEL) {
            const int64_t height = at_most(end - top, PANEL);
            pack(a + top * width, width, height, width, left);
            pack(b + top * out, out, height, out, right);
            multiply((Left){left, 1, width}, right, across, out, (height + 1) / 2,
                     (Out){.wide = part, .stride = out, .start = part, .start_stride = out});
        }
        free(left);
        free(right);
#pragma omp barrier
#pragma omp for schedule(static)
        for (int64_t i = 0; i < size; i += LANES) {
            __m512 sum = _mm512_loadu_ps(parts + i);
            for (int64_t t = 1; t < threads; t++) sum = _mm512_add_ps(sum, _mm512_loadu_ps(parts + t * size + i));
            _mm512_storeu_ps(y + i, sum);
        }
    }
    free(parts);
}
