/* Blocked products of matrices.
 *
 * The left operand is read group by group. The right operand has, for each group of its rows, the elements of a
 * column beside each other: fp32 matrices as they are, bfloat16 matrices once they are packed. */
#pragma once
#include "functions.h"

typedef struct {
    const group *groups; /* groups of a row, or of a column if it was packed */
    int64_t row, step;   /* strides between rows and between groups */
} LeftMatrix;

typedef struct {
    const group *groups;
    int64_t step; /* stride between groups of rows */
} RightMatrix;

/* Destination of a product, with `stride` elements between rows, and its epilogue. */
typedef struct {
    element *narrow; /* destination in elements, or NULL to write fp32 to `wide` */
    float *wide;
    int64_t stride;
    const float *start; /* initial sums, `start_stride` elements between rows, or NULL for 0 */
    int64_t start_stride;
    const element *factors; /* elementwise factors of a result in elements, `stride` between rows, or NULL */
    float factor;           /* common factor of a result in elements; 0 for none */
} Output;

/* sum + left * right; of pairs of bfloat16, the sum of both products. */
INLINE floats multiply_add(floats sum, group left, groups right) {
#ifndef BF16
    return sum + left * right;
#elif defined(__AVX512BF16__)
    return (floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)left), (__m512bh)right);
#else
    const words both = (words){0} + left;
    sum += (floats)(both & 0xffff0000) * (floats)(right & 0xffff0000);
    return sum + (floats)(both << 16) * (floats)(right << 16);
#endif
}

/* Compute `rows` rows and LANES * `vectors` columns of a product. */
INLINE void block(const int rows, const int vectors, LeftMatrix a, RightMatrix b, int64_t steps, Output out) {
    floats sums[BLOCK][VECTORS];
    if (out.start)
        UNROLL (r, rows)
            UNROLL (v, vectors) sums[r][v] = load_floats(out.start + r * out.start_stride + v * LANES);
    else
        UNROLL (r, rows)
            UNROLL (v, vectors) sums[r][v] = (floats){0};
    for (int64_t s = 0; s < steps; s++) {
        groups right[VECTORS];
        UNROLL (v, vectors) right[v] = load_groups(b.groups + s * b.step + v * LANES);
        UNROLL (r, rows) {
            const group left = a.groups[r * a.row + s * a.step];
            UNROLL (v, vectors) sums[r][v] = multiply_add(sums[r][v], left, right[v]);
        }
    }
    if (out.wide) {
        UNROLL (r, rows)
            UNROLL (v, vectors) store_floats(out.wide + r * out.stride + v * LANES, sums[r][v]);
        return;
    }
    if (out.factors)
        UNROLL (r, rows)
            UNROLL (v, vectors) sums[r][v] *= load(out.factors + r * out.stride + v * LANES, LANES);
    if (out.factor)
        UNROLL (r, rows)
            UNROLL (v, vectors) sums[r][v] *= out.factor;
    UNROLL (r, rows)
        UNROLL (v, vectors) store(out.narrow + r * out.stride + v * LANES, LANES, sums[r][v]);
}

/* Call `block` with the numbers of rows, up to BLOCK, and vectors, up to VECTORS, as constants. Not inlined, so
 * that the sums get the registers. */
APART void block_of_size(int64_t rows, int64_t vectors, LeftMatrix a, RightMatrix b, int64_t steps, Output out) {
#ifdef PORTABLE /* compiling the constants takes a minute */
    block((int)rows, (int)vectors, a, b, steps, out);
#else
#define WITH_VECTORS(r, v)                                                                                        \
    if (v <= VECTORS && vectors == v) return block(r <= BLOCK ? r : 1, v <= VECTORS ? v : 1, a, b, steps, out);
#define WITH_ROWS(r)                                                                                              \
    if (r <= BLOCK && rows == r) {                                                                                \
        WITH_VECTORS(r, 4) WITH_VECTORS(r, 3) WITH_VECTORS(r, 2) WITH_VECTORS(r, 1)                               \
    }
    WITH_ROWS(6) WITH_ROWS(5) WITH_ROWS(4) WITH_ROWS(3) WITH_ROWS(2) WITH_ROWS(1)
#endif
}

/* Product of a (rows, steps groups) and b (steps groups, columns); `columns` is a multiple of LANES. */
static void multiply(LeftMatrix a, RightMatrix b, int64_t rows, int64_t columns, int64_t steps, Output out) {
    for (int64_t c = 0; c < columns; c += STRIP)
        for (int64_t r = 0; r < rows; r += BLOCK) {
            const int64_t at = r * out.stride + c;
            Output here = out;
            here.narrow = out.narrow ? out.narrow + at : NULL;
            here.wide = out.wide ? out.wide + at : NULL;
            here.start = out.start ? out.start + r * out.start_stride + c : NULL;
            here.factors = out.factors ? out.factors + at : NULL;
            block_of_size(minimum(rows - r, BLOCK), minimum(columns - c, STRIP) / LANES,
                          (LeftMatrix){a.groups + r * a.row, a.row, a.step}, (RightMatrix){b.groups + c, b.step},
                          steps, here);
        }
}

/* Return the number of groups in `count` elements of a column. */
static inline int64_t groups_in(int64_t count) {
    return (count + GROUP - 1) / GROUP;
}

/* Return a matrix as the right operand of a product, in `to` where it has to be packed: pairs of rows, with the
 * two elements of a column adjacent; an odd last row is paired with zeros. */
static inline RightMatrix grouped(const element *from, int64_t stride, int64_t rows, int64_t columns,
                                  group *to) {
#ifdef BF16
    for (int64_t r = 0; r < rows; r += 2)
        for (int64_t c = 0; c < columns; c += LANES) {
            halves even, odd = {0};
            memcpy(&even, from + r * stride + c, sizeof even);
            if (r + 1 < rows) memcpy(&odd, from + (r + 1) * stride + c, sizeof odd);
            const words pairs = zero_extended(even) | zero_extended(odd) << 16;
            memcpy(to + r / 2 * columns + c, &pairs, sizeof pairs);
        }
    return (RightMatrix){to, columns};
#else
    return (RightMatrix){from, stride};
#endif
}

/* Return the transpose of a `grouped` matrix as the left operand of a product. */
static inline LeftMatrix transposed(RightMatrix b) {
    return (LeftMatrix){b.groups, 1, b.step};
}

/* Copy a matrix as the right operand of a product, with its rows adjacent. */
static inline void pack(const element *from, int64_t stride, int64_t rows, int64_t columns, group *to) {
#ifdef BF16
    grouped(from, stride, rows, columns, to);
#else
    for (int64_t r = 0; r < rows; r++) memcpy(to + r * columns, from + r * stride, columns * sizeof(group));
#endif
}

/* Transpose a square of 32-bit numbers: quarters of four vectors at a time, then the quarters. */
INLINE void transpose(words x[LANES]) {
    const words lane = LANE_NUMBERS, quarter = lane & ~3u;
    const words singles = quarter + (lane & 3) / 2 + (lane & 1) * LANES; /* the first halves of quarters */
    const words pairs = quarter + (lane & 1) + (lane & 2) / 2 * LANES;
    words y[LANES];
    UNROLL (i, LANES / 2) {
        y[2 * i] = choose_lanes(x[2 * i], x[2 * i + 1], singles);
        y[2 * i + 1] = choose_lanes(x[2 * i], x[2 * i + 1], singles + 2);
    }
    UNROLL (i, LANES / 2) {
        const int from = i / 2 * 4 + i % 2;
        x[2 * i] = choose_lanes(y[from], y[from + 2], pairs);
        x[2 * i + 1] = choose_lanes(y[from], y[from + 2], pairs + 2);
    }
    const words even = 2 * quarter + (lane & 3), odd = even + 4; /* quarters of two vectors */
    UNROLL (round, LANES / 8) {
        UNROLL (i, LANES / 2) {
            const int first = i % 4 + i / 4 * 8;
            y[i] = choose_lanes(x[first], x[first + 4], even);
            y[i + LANES / 2] = choose_lanes(x[first], x[first + 4], odd);
        }
        UNROLL (i, LANES) x[i] = y[i];
    }
}

/* Pack the transpose: for each group of columns the rows, with zeros up to a multiple of LANES. */
static void pack_transposed(const element *from, int64_t stride, int64_t rows, int64_t columns, group *to) {
    const int64_t padded = ROUND_UP(rows), steps = columns / GROUP;
    for (int64_t first = 0; first < padded; first += LANES)
        for (int64_t s = 0; s < steps; s += LANES) {
            const int64_t left = minimum(steps - s, LANES);
            words square[LANES];
            for (int64_t r = 0; r < LANES; r++) {
                square[r] = (words){0};
                const element *const row = from + (first + r) * stride + s * GROUP;
                if (first + r >= rows) continue;
                if (left == LANES)
                    memcpy(&square[r], row, sizeof square[r]);
                else
                    memcpy(&square[r], row, left * sizeof(group));
            }
            transpose(square);
            for (int64_t j = 0; j < left; j++)
                memcpy(to + (s + j) * padded + first, &square[j], sizeof square[j]);
        }
}
