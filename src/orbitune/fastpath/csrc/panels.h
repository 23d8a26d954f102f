/* Products of rows with weights, some rows at a time, and what follows them while both are in the caches. */
#pragma once
#include <string.h>

#include "products.h"

#define PANEL (16 * BLOCK) /* rows that a thread takes at once */
#define SLICES 8 /* of rows or images, whose gradients for weights are summed apart: not by threads, that vary */

/* The right factor of a product, packed by strips of 64 columns, each of them contiguous. */
typedef struct {
    uint32_t *strips;
    int64_t in, out; /* rows and columns: the first even, the second a multiple of 16 */
} Right;

typedef struct {
    int64_t first, count;
} Range;

/* What is added to a product of (rows, out): low (rows, rank) times lift; below > 0: some numbers are dropped
 * first. */
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

static inline Right new_right(int64_t in, int64_t out) {
    return (Right){aligned_alloc(64, ROUND_UP(in / 2 * out) * 4), in, out};
}

static inline Update new_update(int64_t rank, int64_t out, uint32_t seed, uint32_t below) {
    return (Update){NULL, new_right(rank, out), malloc((out + WIDE) / WIDE * sizeof(Range)), seed, below};
}

static inline void free_update(Update u) {
    free(u.lift.strips);
    free(u.pairs);
}

/* A bias in fp32, or NULL for NULL. */
static inline float *new_bias(const bf16 *from, int64_t count) {
    float *const bias = from ? malloc(ROUND_UP(count) * 4) : NULL;
    for (int64_t c = 0; from && c < count; c += LANES) _mm512_storeu_ps(bias + c, load(from + c, count - c));
    return bias;
}

/* Pack a matrix (in, out) or, where it is `transposed`, one of (out, in); by all threads of a region,
 * which must meet at a barrier before they read it. */
static inline void fill(Right right, const bf16 *from, int transposed) {
#pragma omp for schedule(static) nowait
    for (int64_t c = 0; c < right.out; c += WIDE) {
        uint32_t *strip = right.strips + c * right.in / 2;
        const int64_t columns = at_most(right.out - c, WIDE);
        if (transposed)
            pack_transposed(from + c * right.in, right.in, columns, right.in, strip);
        else
            pack(from + c, right.out, right.in, columns, strip);
    }
}

static inline int all_zero(const uint32_t *numbers, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (numbers[i]) return 0;
    return 1;
}

/* Pack the lift (rank, out) of an update, by all threads of a region, and find the pairs of rows in which each
 * strip is not zero: updates of several layers lie there block by block. */
static inline void fill_lift(Update u, const bf16 *lift) {
    const int64_t pairs = u.lift.in / 2;
    fill(u.lift, lift, 0);
#pragma omp for schedule(static) nowait /* each thread finds the strips that it filled */
    for (int64_t c = 0; c < u.lift.out; c += WIDE) {
        const int64_t columns = at_most(u.lift.out - c, WIDE);
        const uint32_t *strip = u.lift.strips + c * pairs;
        int64_t first = 0, end = pairs;
        while (first < end && all_zero(strip + first * columns, columns)) first++;
        while (first < end && all_zero(strip + (end - 1) * columns, columns)) end--;
        u.pairs[c / WIDE] = (Range){first, end - first};
    }
}

/* Numbers of a row that are not kept become zero; `at` is the place of the first. */
static inline void drop(float *row, int64_t at, int64_t columns, uint32_t seed, uint32_t below) {
    for (int64_t c = 0; c < columns; c += 2 * LANES) {
        const __mmask32 keep = kept(at + c, seed, (uint16_t)below);
        for (int64_t v = c; v < at_most(columns, c + 2 * LANES); v += LANES)
            _mm512_storeu_ps(row + v, _mm512_maskz_loadu_ps((__mmask16)(keep >> (v - c)), row + v));
    }
}

/* `count` rows and `columns` columns of an update into sums (BLOCK, WIDE); they begin at a row, whose place in the
 * draw is `at`, and at a column. */
static inline void updated(Update u, int64_t row, int64_t column, int64_t at, int64_t count, int64_t columns,
                           const float *bias, float *sums) {
    const int64_t pairs = u.lift.in / 2;
    const Range used = u.pairs[column / WIDE];
    const Left low = {(const uint32_t *)(u.low + row * u.lift.in) + used.first, pairs, 1};
    const uint32_t *strip = u.lift.strips + column * pairs + used.first * columns;
    any_block(count, columns / LANES, low, strip, columns, used.count,
              (Out){.wide = sums, .stride = WIDE, .start = bias});
    for (int64_t i = 0; u.below && i < count; i++)
        drop(sums + i * WIDE, at + i * u.lift.out, columns, u.seed, u.below);
}

/* Of a row of sums: y = GELU, and its derivative unless `slope` is NULL. */
static inline void gelu_row(const float *row, int64_t columns, bf16 *y, bf16 *slope) {
    for (int64_t v = 0; v < columns; v += LANES) {
        __m512 derivative;
        store(y + v, LANES, gelu_of(_mm512_loadu_ps(row + v), &derivative));
        if (slope) store(slope + v, LANES, derivative);
    }
}

/* `height` rows of a product; x, y and what the steps point to begin with the first of them, which is row `top` of
 * the whole. */
static inline void panel(const bf16 *x, Right right, Steps steps, int64_t top, int64_t height, bf16 *y) {
    const int64_t pairs = right.in / 2, out = right.out;
    float sums[BLOCK * WIDE];
    for (int64_t c = 0; c < out; c += WIDE) {
        const int64_t columns = at_most(out - c, WIDE), vectors = columns / LANES;
        for (int64_t r = 0; r < height; r += BLOCK) {
            const int64_t count = at_most(height - r, BLOCK), at = r * out + c;
            Out result = {.narrow = y + at, .stride = out, .start = steps.bias ? steps.bias + c : NULL};
            if (steps.update) {
                updated(*steps.update, r, c, top * out + at, count, columns, result.start, sums);
                result.start = sums, result.start_stride = WIDE;
            }
            if (steps.factor) result.factors = steps.factor + at;
            if (steps.gelu) result.wide = sums, result.stride = WIDE;
            const Left left = {(const uint32_t *)(x + r * right.in), pairs, 1};
            any_block(count, vectors, left, right.strips + c * pairs, columns, pairs, result);
            for (int64_t i = 0; steps.gelu && i < count; i++)
                gelu_row(sums + i * WIDE, columns, y + at + i * out,
                         steps.slope ? steps.slope + at + i * out : NULL);
        }
    }
}

/* part += a^T b, fp32, of the first `across` columns of a (height, width) and b (height, out); `left` and `right`
 * are room for them, packed. */
static inline void add_outer(const bf16 *a, const bf16 *b, int64_t height, int64_t across, int64_t width,
                             int64_t out, uint32_t *left, uint32_t *right, float *part) {
    pack(a, width, height, width, left);
    pack(b, out, height, out, right);
    multiply((Left){left, 1, width}, right, across, out, (height + 1) / 2,
             (Out){.wide = part, .stride = out, .start = part, .start_stride = out});
}

/* y = the sum of `count` parts, `size` numbers each; by all threads of a region. */
static inline void add_parts(const float *parts, int64_t count, int64_t size, float *y) {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < size; i += LANES) {
        __m512 sum = _mm512_loadu_ps(parts + i);
        for (int64_t t = 1; t < count; t++) sum = _mm512_add_ps(sum, _mm512_loadu_ps(parts + t * size + i));
        _mm512_storeu_ps(y + i, sum);
    }
}
