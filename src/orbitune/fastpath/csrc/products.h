/* Products of bfloat16 matrices, a block at a time.
 *
 * The processor's instruction multiplies pairs: for 16 columns it adds a[2p] b[2p] + a[2p + 1] b[2p + 1]. So the
 * left factor is read as pairs, and the right factor is packed: for each pair of its rows, the two numbers of each
 * column beside each other. */
#pragma once
#include "vectors.h"

#define BLOCK 6 /* rows of a product that are computed at once, with four vectors in 24 of the 32 registers */
#define WIDE (4 * LANES)

/* Written out: else the sums of a block would go to memory and come back before its end. */
#ifdef ORBITUNE_STAND_IN
#define EACH(i, count) for (int i = 0; i < count; i++)
#else
#define EACH(i, count) _Pragma("GCC unroll 8") for (int i = 0; i < count; i++)
#endif

typedef struct {
    const uint32_t *pairs; /* of the left factor: of its rows, or of its columns where it was packed first */
    int64_t row, pair;     /* steps from a row to the next, and from a pair to the next */
} Left;

/* Where a product goes, rows `stride` numbers apart, and what is done on the way. */
typedef struct {
    bf16 *narrow; /* it goes here, rounded, or into `wide` */
    float *wide;
    int64_t stride;
    const float *start; /* added to it, rows `start_stride` apart; or NULL */
    int64_t start_stride;
    const bf16 *factors; /* multiplied, if narrow, rows `stride` apart; or NULL */
    float factor;        /* likewise, one for all; zero counts as one */
} Out;

/* `rows` rows and 16 * `vectors` columns of a product, of which a row of the packed factor has `columns`. */
static inline __attribute__((always_inline)) void
block(const int rows, const int vectors, Left a, const uint32_t *b, int64_t columns, int64_t pairs, Out out) {
    __m512 sums[BLOCK][4];
    if (out.start)
        EACH(r, rows) EACH(v, vectors) sums[r][v] = _mm512_loadu_ps(out.start + r * out.start_stride + v * LANES);
    else
        EACH(r, rows) EACH(v, vectors) sums[r][v] = _mm512_setzero_ps();
    for (int64_t p = 0; p < pairs; p++) {
        __m512bh right[4];
        EACH(v, vectors) right[v] = (__m512bh)_mm512_loadu_si512(b + p * columns + v * LANES);
        EACH(r, rows) {
            const __m512bh left = (__m512bh)_mm512_set1_epi32((int)a.pairs[r * a.row + p * a.pair]);
            EACH(v, vectors) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], left, right[v]);
        }
    }
    if (out.wide) {
        EACH(r, rows) EACH(v, vectors) _mm512_storeu_ps(out.wide + r * out.stride + v * LANES, sums[r][v]);
        return;
    }
    if (out.factors)
        EACH(r, rows) EACH(v, vectors)
            sums[r][v] = _mm512_mul_ps(sums[r][v], load(out.factors + r * out.stride + v * LANES, LANES));
    if (out.factor)
        EACH(r, rows) EACH(v, vectors) sums[r][v] = _mm512_mul_ps(sums[r][v], _mm512_set1_ps(out.factor));
    EACH(r, rows) EACH(v, vectors) store(out.narrow + r * out.stride + v * LANES, LANES, sums[r][v]);
}

#define ROWS(n)                                                                                                    \
    case n:                                                                                                        \
        if (vectors == 4)                                                                                          \
            block(n, 4, a, b, columns, pairs, out);                                                                \
        else if (vectors == 3)                                                                                     \
            block(n, 3, a, b, columns, pairs, out);                                                                \
        else if (vectors == 2)                                                                                     \
            block(n, 2, a, b, columns, pairs, out);                                                                \
        else                                                                                                       \
            block(n, 1, a, b, columns, pairs, out);                                                                \
        break;

/* The same for numbers of rows (to BLOCK) and of vectors (to 4) that are known only now. */
#ifdef ORBITUNE_STAND_IN /* one piece of code for them all, or compiling it takes a minute */
static __attribute__((noinline)) void any_block(int64_t rows, int64_t vectors, Left a, const uint32_t *b,
                                                int64_t columns, int64_t pairs, Out out) {
    block((int)rows, (int)vectors, a, b, columns, pairs, out);
}
#else
static inline __attribute__((always_inline)) void
any_block(int64_t rows, int64_t vectors, Left a, const uint32_t *b, int64_t columns, int64_t pairs, Out out) {
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

/* A (rows, 2 pairs) times packed B (2 pairs, columns), of which there is a multiple of 16. */
static void multiply(Left a, const uint32_t *b, int64_t rows, int64_t columns, int64_t pairs, Out out) {
    for (int64_t c = 0; c < columns; c += WIDE)
        for (int64_t r = 0; r < rows; r += BLOCK) {
            const int64_t at = r * out.stride + c;
            Out here = out;
            here.narrow = out.narrow ? out.narrow + at : NULL;
            here.wide = out.wide ? out.wide + at : NULL;
            here.start = out.start ? out.start + r * out.start_stride + c : NULL;
            here.factors = out.factors ? out.factors + at : NULL;
            any_block(at_most(rows - r, BLOCK), at_most(columns - c, WIDE) / LANES,
                      (Left){a.pairs + r * a.row, a.row, a.pair}, b + c, columns, pairs, here);
        }
}

/* Pairs of rows, the two numbers of each column beside each other; a row that is missing is zero. */
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

/* Rows become columns: of 16 vectors of 32-bit numbers, in three steps of pairs, fours and halves. */
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

/* The transpose, packed: for each pair of columns the rows, and zeros up to a multiple of 16. */
static void pack_transposed(const bf16 *from, int64_t stride, int64_t rows, int64_t columns, uint32_t *to) {
    const int64_t padded = ROUND_UP(rows), pairs = columns / 2;
    const uint32_t *const numbers = (const uint32_t *)from;
    for (int64_t first = 0; first < padded; first += LANES)
        for (int64_t p = 0; p < pairs; p += LANES) {
            __m512i square[LANES];
            for (int64_t r = 0; r < LANES; r++)
                square[r] = first + r < rows ? _mm512_maskz_loadu_epi32(first_of(pairs - p),
                                                                        numbers + (first + r) * (stride / 2) + p)
                                             : _mm512_setzero_si512();
            transpose(square);
            for (int64_t j = 0; j < at_most(pairs - p, LANES); j++)
                _mm512_storeu_si512(to + (p + j) * padded + first, square[j]);
        }
}
