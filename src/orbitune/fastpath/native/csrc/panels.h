/* Matrix products with weights, one panel of rows at a time, with an epilogue while the panel is in the caches. */
#pragma once
#include "memory.h"
#include "products.h"

#define PANEL 96 /* rows that a thread computes at once, a multiple of BLOCK */
#define SLICES 8 /* slices of the rows, each with its own sum of weight gradients: by thread, sums would vary */

/* The right operand of a product, packed in strips of STRIP columns, each contiguous. */
typedef struct {
    group *strips;
    int64_t in, out; /* `in` is a multiple of GROUP, `out` of LANES */
} PackedMatrix;

typedef struct {
    int64_t first, count;
} Range;

/* A low-rank update, added to a product (rows, out): reduced (rows, rank) times up (rank, out); with dropout if
 * threshold > 0. */
typedef struct {
    const element *reduced;
    PackedMatrix up;
    Range *steps; /* for each strip of `up`, the range of groups of rows that are not all zero */
    uint32_t seed, threshold;
} Update;

/* Epilogue of a product, applied before rounding. Members that are NULL or 0 are skipped. */
typedef struct {
    const float *bias;     /* (out,), added */
    const element *factor; /* (rows, out), multiplied */
    const Update *update;  /* added */
    int gelu;              /* whether to apply GELU */
    element *gelu_grad;    /* (rows, out), receives the derivative of GELU */
} Epilogue;

static inline PackedMatrix new_packed_matrix(Memory *m, int64_t in, int64_t out) {
    return (PackedMatrix){reserve(m, in / GROUP * ROUND_UP(out) * sizeof(group)), in, out};
}

static inline Update new_update(Memory *m, int64_t rank, int64_t out, uint32_t seed, uint32_t threshold) {
    return (Update){NULL, new_packed_matrix(m, rank, out), reserve(m, (out / STRIP + 1) * sizeof(Range)), seed,
                    threshold};
}

/* Return a copy of a bias in fp32; NULL for NULL. */
static inline float *new_bias(Memory *m, const element *from, int64_t count) {
    float *const bias = from ? reserve(m, ROUND_UP(count) * sizeof(float)) : NULL;
    for (int64_t c = 0; bias && c < count; c += LANES) store_floats(bias + c, load(from + c, count - c));
    return bias;
}

/* Pack a matrix (in, out) or, if `transposed`, (out, in). Called by all threads of a parallel region, which need a
 * barrier before they read it. */
static inline void pack_matrix(PackedMatrix right, const element *from, int transposed) {
#pragma omp for schedule(static) nowait
    for (int64_t c = 0; c < right.out; c += STRIP) {
        group *strip = right.strips + c * right.in / GROUP;
        const int64_t columns = minimum(right.out - c, STRIP);
        if (transposed)
            pack_transposed(from + c * right.in, right.in, columns, right.in, strip);
        else
            pack(from + c, right.out, right.in, columns, strip);
    }
}

static inline int all_zero(const group *numbers, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (numbers[i] != 0) return 0;
    return 1;
}

/* Pack `up` (rank, out) of an update, and find the groups of rows in which each strip is not zero: the updates of
 * several layers form a block matrix. Called by all threads of a parallel region. */
static inline void pack_up(Update u, const element *up) {
    const int64_t steps = u.up.in / GROUP;
    pack_matrix(u.up, up, 0);
#pragma omp for schedule(static) nowait /* each thread searches the strips that it packed */
    for (int64_t c = 0; c < u.up.out; c += STRIP) {
        const int64_t columns = minimum(u.up.out - c, STRIP);
        const group *strip = u.up.strips + c * steps;
        int64_t first = 0, end = steps;
        while (first < end && all_zero(strip + first * columns, columns)) first++;
        while (first < end && all_zero(strip + (end - 1) * columns, columns)) end--;
        u.steps[c / STRIP] = (Range){first, end - first};
    }
}

/* Set dropped elements of a row to zero; `at` is the position of its first element. */
static inline void drop(float *row, int64_t at, int64_t columns, uint32_t seed, uint32_t threshold) {
    for (int64_t c = 0; c < columns; c += 2 * LANES) {
        const Kept kept = kept_elements(at + c, seed, threshold);
        for (int64_t v = c; v < minimum(columns, c + 2 * LANES); v += LANES)
            store_floats(row + v, keep(kept.half[(v - c) / LANES], load_floats(row + v)));
    }
}

/* Compute `count` rows and `columns` columns of an update into sums (BLOCK, STRIP), from `row` and `column` on;
 * `at` is the position of the first element in the dropout mask. */
static inline void compute_update(Update u, int64_t row, int64_t column, int64_t at, int64_t count,
                                  int64_t columns, const float *bias, float *sums) {
    const int64_t steps = u.up.in / GROUP;
    const Range used = u.steps[column / STRIP];
    const LeftMatrix reduced = {(const group *)(u.reduced + row * u.up.in) + used.first, steps, 1};
    const RightMatrix strip = {u.up.strips + column * steps + used.first * columns, columns};
    block_of_size(count, columns / LANES, reduced, strip, used.count,
                  (Output){.wide = sums, .stride = STRIP, .start = bias});
    for (int64_t i = 0; u.threshold && i < count; i++)
        drop(sums + i * STRIP, at + i * u.up.out, columns, u.seed, u.threshold);
}

/* y = GELU of a row of sums, and its derivative unless `gelu_grad` is NULL. */
static inline void gelu_row(const float *row, int64_t columns, element *y, element *gelu_grad) {
    for (int64_t v = 0; v < columns; v += LANES) {
        floats derivative;
        store(y + v, LANES, gelu_of(load_floats(row + v), &derivative));
        if (gelu_grad) store(gelu_grad + v, LANES, derivative);
    }
}

/* Compute `height` rows of a product. x, y and the pointers of the epilogue start at the first of them, which is
 * row `top` of the whole matrix. */
static inline void panel(const element *x, PackedMatrix right, Epilogue epilogue, int64_t top, int64_t height,
                         element *y) {
    const int64_t steps = right.in / GROUP, out = right.out;
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
            const LeftMatrix left = {(const group *)(x + r * right.in), steps, 1};
            block_of_size(count, vectors, left, (RightMatrix){right.strips + c * steps, columns}, steps, result);
            for (int64_t i = 0; epilogue.gelu && i < count; i++)
                gelu_row(sums + i * STRIP, columns, y + at + i * out,
                         epilogue.gelu_grad ? epilogue.gelu_grad + at + i * out : NULL);
        }
    }
}

/* Buffers of a thread for the packed operands of `add_outer`; fp32 needs none. */
typedef struct {
    group *left, *right;
} OuterBuffers;

static inline OuterBuffers new_outer_buffers(Memory *m, int64_t height, int64_t width, int64_t out) {
    if (GROUP == 1) return (OuterBuffers){NULL, NULL};
    return (OuterBuffers){reserve(m, groups_in(height) * width * sizeof(group)),
                          reserve(m, groups_in(height) * out * sizeof(group))};
}

/* part += a^T b, fp32, of the first `across` columns of a (height, width), and b (height, out). */
static inline void add_outer(const element *a, const element *b, int64_t height, int64_t across, int64_t width,
                             int64_t out, OuterBuffers space, float *part) {
    const LeftMatrix left = transposed(grouped(a, width, height, width, space.left));
    multiply(left, grouped(b, out, height, out, space.right), across, out, groups_in(height),
             (Output){.wide = part, .stride = out, .start = part, .start_stride = out});
}

/* y = sum of `count` parts of `size` elements. Called by all threads of a parallel region. */
static inline void add_parts(const float *parts, int64_t count, int64_t size, float *y) {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < size; i += LANES) {
        floats sum = load_floats(parts + i);
        for (int64_t t = 1; t < count; t++) sum += load_floats(parts + t * size + i);
        store_floats(y + i, sum);
    }
}
