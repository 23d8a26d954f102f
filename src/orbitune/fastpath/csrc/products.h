/* Blocked products of bfloat16 matrices.
 *
 * The instruction VDPBF16PS multiplies pairs: for 16 columns it adds a[2p] b[2p] + a[2p + 1] b[2p + 1]. The left
 * operand is therefore read as pairs, and the right operand is packed: for each pair of its rows, the two elements
 * of a column are adjacent. */
#pragma once
#include "vectors.h"

#define BLOCK 6 /* rows computed at once: with four vectors each they fill 24 of the 32 registers */
#define STRIP (4 * LANES)

/* Unrolled, because otherwise the sums of a block would be spilled to memory. */
#ifdef ORBITUNE_EMULATED
#define UNROLL(i, count) for (int i = 0; i < count; i++)
#else
#define UNROLL(i, count) _Pragma("GCC unroll 8") for (int i = 0; i < count; i++)
#endif

typedef struct {
    const uint32_t *pairs; /* pairs of a row, or of a column if it was packed */
    int64_t row, pair;     /* strides between rows and between pairs */
} LeftMatrix;

/* Destination of a product, with `stride` elements between rows, and its epilogue. */
typedef struct {
    bf16 *narrow; /* destination in bf16, or NULL to write fp32 to `wide` */
    float *wide;
    int64_t stride;
    const float *start; /* initial sums, `start_stride` elements between rows, or NULL for 0 */
    int64_t start_stride;
    const bf16 *factors; /* elementwise factors of a bf16 result, `stride` elements between rows, or NULL */
    float factor;        /* common factor of a bf16 result; 0 for none */
} Output;

/* Compute `rows` rows and 16 * `vectors` columns of a product; a row of the packed operand has `columns`. */
static inline __attribute__((always_inline)) void block(const int rows, const int vectors, LeftMatrix a,
                                                        const uint32_t *b, int64_t columns, int64_t pairs,
                                                        Output out) {
    __m512 sums[BLOCK][4];
    if (out.start)
        UNROLL (r, rows)
            UNROLL (v, vectors) sums[r][v] = _mm512_loadu_ps(out.start + r * out.start_stride + v * LANES);
    else
        UNROLL (r, rows)
            UNROLL (v, vectors) sums[r][v] = _mm512_setzero_ps();
    for (int64_t p = 0; p < pairs; p++) {
        __m512bh right[4];
        UNROLL (v, vectors) right[v] = (__m512bh)_mm512_loadu_si512(b + p * columns + v * LANES);
        UNROLL (r, rows) {
            const __m512bh left = (__m512bh)_mm512_set1_epi32((int)a.pairs[r * a.row + p * a.pair]);
            UNROLL (v, vectors) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], left, right[v]);
        }
    }
    if (out.wide) {
        UNROLL (r, rows)
            UNROLL (v, vectors) _mm512_storeu_ps(out.wide + r * out.stride + v * LANES, sums[r][v]);
        return;
    }
    if (out.factors)
        UNROLL (r, rows)
            UNROLL (v, vectors)
                sums[r][v] = _mm512_mul_ps(sums[r][v], load(out.factors + r * out.stride + v * LANES, LANES));
    if (out.factor)
        UNROLL (r, rows)
            UNROLL (v, vectors) sums[r][v] = _mm512_mul_ps(sums[r][v], _mm512_set1_ps(out.factor));
    UNROLL (r, rows)
        UNROLL (v, vectors) store(out.narrow + r * out.stride + v * LANES, LANES, sums[r][v]);
}

#define ROWS(n)                                                                                                   \
    case n:                                                                                                       \
        if (vectors == 4)                                                                                         \
            block(n, 4, a, b, columns, pairs, out);                                                               \
        else if (vectors == 3)                                                                                    \
            block(n, 3, a, b, columns, pairs, out);                                                               \
        else if (vectors == 2)                                                                                    \
            block(n, 2, a, b, columns, pairs, out);                                                               \
        else                                                                                                      \
            block(n, 1, a, b, columns, pairs, out);                                                               \
        break;

/* Call `block` with the numbers of rows (up to BLOCK) and vectors (up to 4) as constants. */
#ifdef ORBITUNE_EMULATED /* one variant for all: compiling each takes a minute */
static __attribute__((noinline)) void block_of_size(int64_t rows, int64_t vectors, LeftMatrix a, const uint32_t *b,
                                                    int64_t columns, int64_t pairs, Output out) {
    block((int)rows, (int)vectors, a, b, columns, pairs, out);
}
#else
static inline __attribute__((always_inline)) void block_of_size(int64_t rows, int64_t vectors, LeftMatrix a,
                                                                const uint32_t *b, int64_t columns, int64_t pairs,
                                                                Output out) {
    switch (rows) {
        ROWS(1)
        ROWS(2)
        ROWS(3)
        ROWS(4)
        ROWS(5)
        ROWS(6)
    }
}
#endif

/* Product of a (rows, 2 pairs) and packed b (2 pairs, columns); `columns` is a multiple of 16. */
static void multiply(LeftMatrix a, const uint32_t *b, int64_t rows, int64_t columns, int64_t pairs, Output out) {
    for (int64_t c = 0; c < columns; c += STRIP)
        for (int64_t r = 0; r < rows; r += BLOCK) {
            const int64_t at = r * out.stride + c;
            Output here = out;
            here.narrow = out.narrow ? out.narrow + at : NULL;
            here.wide = out.wide ? out.wide + at : NULL;
            here.start = out.start ? out.start + r * out.start_stride + c : NULL;
            here.factors = out.factors ? out.factors + at : NULL;
            block_of_size(minimum(rows - r, BLOCK), minimum(columns - c, STRIP) / LANES,
                          (LeftMatrix){a.pairs + r * a.row, a.row, a.pair}, b + c, columns, pairs, here);
        }
}

/* Pack pairs of rows, with the two elements of a column adjacent; an odd last row is paired with zeros. */
static void pack(const bf16 *from, int64_t stride, int64_t rows, int64_t columns, uint32_t *to) {
    for (int64_t r = 0; r < rows; r += 2, to += columns)
        for (int64_t c = 0; c < columns; c += LANES) {
            const __m512i even =
                _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(from + r * stride + c)));
            __m512i odd = _mm512_setzero_si512();
            if (r + 1 < rows)
                odd = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(from + (r + 1) * stride + c)));
            _mm512_storeu_si512(to + c, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
        }
}

/* Transpose 16 vectors of 32-bit elements in three steps: by pairs, by fours and by halves. */
static inline void transpose(__m512i x[LANES]) {
    __m512i y[LANES];
    for (int i = 0; i < LANES; i += 2) {
        y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4)
        for (int j = 0; j < 2; j++) {
            x[i + 2 * j] = _mm512_unpacklo_epi64(y[i + j], y[i + j + 2]);
            x[i + 2 * j + 1] = _mm512_unpackhi_epi64(y[i + j], y[i + j + 2]);
        }
    for (int j = 0; j < 4; j++) {
        const __m512i a = _mm512_shuffle_i32x4(x[j], x[j + 4], 0x88),
                      b = _mm512_shuffle_i32x4(x[j + 8], x[j + 12], 0x88);
        const __m512i c = _mm512_shuffle_i32x4(x[j], x[j + 4], 0xdd),
                      d = _mm512_shuffle_i32x4(x[j + 8], x[j + 12], 0xdd);
        y[j] = _mm512_shuffle_i32x4(a, b, 0x88);
        y[j + 8] = _mm512_shuffle_i32x4(a, b, 0xdd);
        y[j + 4] = _mm512_shuffle_i32x4(c, d, 0x88);
        y[j + 12] = _mm512_shuffle_i32x4(c, d, 0xdd);
    }
    for (int i = 0; i < LANES; i++) x[i] = y[i];
}

/* Pack the transpose: for each pair of columns the rows, with zeros up to a multiple of 16. */
static void pack_transposed(const bf16 *from, int64_t stride, int64_t rows, int64_t columns, uint32_t *to) {
    const int64_t padded = ROUND_UP(rows), pairs = columns / 2;
    const uint32_t *const numbers = (const uint32_t *)from;
    for (int64_t first = 0; first < padded; first += LANES)
        for (int64_t p = 0; p < pairs; p += LANES) {
            __m512i square[LANES];
            for (int64_t r = 0; r < LANES; r++)
                square[r] = first + r < rows ? _mm512_maskz_loadu_epi32(first_lanes(pairs - p),
                                                                        numbers + (first + r) * (stride / 2) + p)
                                             : _mm512_setzero_si512();
            transpose(square);
            for (int64_t j = 0; j < minimum(pairs - p, LANES); j++)
                _mm512_storeu_si512(to + (p + j) * padded + first, square[j]);
        }
}
