/* Matrix products with weights, one panel of rows at a time, with an epilogue while the panel is in the caches. */
#pragma once
#include <string.h>

#include "products.h"

#define PANEL (16 * BLOCK) /* rows that a thread computes at once */
#define SLICES 8 /* slices of the rows, each with its own sum of weight gradients: by thread, sums would vary */

/* The right operand of a product, packed in strips of 64 columns, each contiguous. */
typedef struct {
    uint32_t *strips;
    int64_t in, out; /* `in` is even, `out` is a multiple of 16 */
} PackedMatrix;

typedef struct {
    int64_t first, count;
} Range;

/* A low-rank update, added to a product (rows, out): reduced (rows, rank) times up (rank, out); with dropout if
 * threshold > 0. */
typedef struct {
    const bf16 *reduced;
    PackedMatrix up;
    Range *pairs; /* for each strip of `up`, the range of row pairs that are not all zero */
    uint32_t seed, threshold;
} Update;

/* Epilogue of a product, applied before rounding. Members that are NULL or 0 are skipped. */
typedef struct {
    const float *bias;    /* (out,), added */
    const bf16 *factor;   /* (rows, out), multiplied */
    const Update *update; /* added */
    int gelu;             /* whether to apply GELU */
    bf16 *gelu_grad;      /* (rows, out), receives the derivative of GELU */
} Epilogue;

static inline PackedMatrix new_packed_matrix(int64_t in, int64_t out) {
    return (PackedMatrix){aligned_alloc(64, ROUND_UP(in / 2 * out) * 4), in, out};
}

static inline Update new_update(int64_t rank, int64_t out, uint32_t seed, uint32_t threshold) {
    return (Update){NULL, new_packed_matrix(rank, out), malloc((out + STRIP) / STRIP * sizeof(Range)), seed,
                    threshold};
}

static inline void free_update(Update u) {
    free(u.up.strips);
    free(u.pairs);
}

/* Return a copy of a bias in fp32; NULL for NULL. */
static inline float *new_bias(const bf16 *from, int64_t count) {
    float *const bias = from ? malloc(ROUND_UP(count) * 4) : NULL;
    for (int64_t c = 0; from && c < count; c += LANES) _mm512_storeu_ps(bias + c, load(from + c, count - c));
    return bias;
}

/* Pack a matrix (in, out) or, if `transposed`, (out, in). Called by all threads of a parallel region, which need a
 * barrier before they read it. */
static inline void pack_matrix(PackedMatrix right, const bf16 *from, int transposed) {
#pragma omp for schedule(static) nowait
    for (int64_t c = 0; c < right.out; c += STRIP) {
        uint32_t *strip = right.strips + c * right.in / 2;
        const int64_t columns = minimum(right.out - c, STRIP);
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

/* Pack `up` (rank, out) of an update, and find the pairs of rows in which each strip is not zero: the updates of
 * several layers form a block matrix. Called by all threads of a parallel region. */
static inline void pack_up(Update u, const bf16 *up) {
    const int64_t pairs = u.up.in / 2;
    pack_matrix(u.up, up, 0);
#pragma omp for schedule(static) nowait /* each thread searches the strips that it packed */
    for (int64_t c = 0; c < u.up.out; c += STRIP) {
        const int64_t columns = minimum(u.up.out - c, STRIP);
        const uint32_t *strip = u.up.strips + c * pairs;
        int64_t first = 0, end = pairs;
        while (first < end && all_zero(strip + first * columns, columns)) first++;
        while (first < end && all_zero(strip + (end - 1) * columns, columns)) end--;
        u.pairs[c / STRIP] = (Range){first, end - first};
    }
}

/* Set dropped elements of a row to zero; `at` is the position of its first element. */
static inline void drop(float *row, int64_t at, int64_t columns, uint32_t seed, uint32_t threshold) {
    for (int64_t c = 0; c < columns; c += 2 * LANES) {
        const __mmask32 keep = dropout_mask(at + c, seed, (uint16_t)threshold);
        for (int64_t v = c; v < minimum(columns, c + 2 * LANES); v += LANES)
            _mm512_storeu_ps(row + v, _mm512_maskz_loadu_ps((__mmask16)(keep >> (v - c)), row + v));
    }
}

/* Compute `count` rows and `columns` columns of an update into sums (BLOCK, STRIP), from `row` and `column` on;
 * `at` is the position of the first element in the dropout mask. */
static inline void compute_update(Update u, int64_t row, int64_t column, int64_t at, int64_t count,
                                  int64_t columns, const float *bias, float *sums) {
    const int64_t pairs = u.up.in / 2;
    const Range used = u.pairs[column / STRIP];
    const LeftMatrix reduced = {(const uint32_t *)(u.reduced + row * u.up.in) + used.first, pairs, 1};
    const uint32_t *strip = u.up.strips + column * pairs + used.first * columns;
    block_of_size(count, columns / LANES, reduced, strip, columns, used.count,
                  (Output){.wide = sums, .stride = STRIP, .start = bias});
    for (int64_t i = 0; u.threshold && i < count; i++)
        drop(sums + i * STRIP, at + i * u.up.out, columns, u.seed, u.threshold);
}

/* y = GELU of a row of sums, and its derivative unless `gelu_grad` is NULL. */
static inline void gelu_row(const float *row, int64_t columns, bf16 *y, bf16 *gelu_grad) {
    for (int64_t v = 0; v < columns; v += LANES) {
        __m512 derivative;
        store(y + v, LANES, gelu_of(_mm512_loadu_ps(row + v), &derivative));
        if (gelu_grad) store(gelu_grad + v, LANES, derivative);
    }
}

/* Compute `height` rows of a product. x, y and the pointers of the epilogue start at the first of them, which is
 * row `top` of the whole matrix. */
static inline void panel(const bf16 *x, PackedMatrix right, Epilogue epilogue, int64_t top, int64_t height,
                         bf16 *y) {
    const int64_t pairs = right.in / 2, out = right.out;
    float sums[BLOCK * STRIP];
    for (int64_t c = 0; c < out; c += STRIP) {
        const int64_t columns = minimum(out - c, STRIP), vectors = columns / LANES;
        for (int64_t r = 0; r < height; r += BLOCK) {
            const int64_t count = minimum(height - r, BLOCK), at = r * out + c;
            Output result = {.narrow = y + at, .stride = out, .start = epilogue.bias ? epilogue.bias + c : NULL};
            if (epilogue.update) {
                compute_update(*epilogue.update, r, c, top * out + at, count, columns, result.start, sums);
                result.start = sums, result.start_stride = STRIP;
            }
            if (epilogue.factor) result.factors = epilogue.factor + at;
            if (epilogue.gelu) result.wide = sums, result.stride = STRIP;
            const LeftMatrix left = {(const uint32_t *)(x + r * right.in), pairs, 1};
            block_of_size(count, vectors, left, right.strips + c * pairs, columns, pairs, result);
            for (int64_t i = 0; epilogue.gelu && i < count; i++)
                gelu_row(sums + i * STRIP, columns, y + at + i * out,
                         epilogue.gelu_grad ? epilogue.gelu_grad + at + i * out : NULL);
        }
    }
}

/* part += a^T b, fp32, of the first `across` columns of a (height, width), and b (height, out). `left` and `right`
 * are buffers for the packed operands. */
static inline void add_outer(const bf16 *a, const bf16 *b, int64_t height, int64_t across, int64_t width,
                             int64_t out, uint32_t *left, uint32_t *right, float *part) {
    pack(a, width, height, width, left);
    pack(b, out, height, out, right);
    multiply((LeftMatrix){left, 1, width}, right, across, out, (height + 1) / 2,
             (Output){.wide = part, .stride = out, .start = part, .start_stride = out});
}

/* y = sum of `count` parts of `size` elements. Called by all threads of a parallel region. */
static inline void add_parts(const float *parts, int64_t count, int64_t size, float *y) {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < size; i += LANES) {
        __m512 sum = _mm512_loadu_ps(parts + i);
        for (int64_t t = 1; t < count; t++) sum = _mm512_add_ps(sum, _mm512_loadu_ps(parts + t * size + i));
        _mm512_storeu_ps(y + i, sum);
    }
}
