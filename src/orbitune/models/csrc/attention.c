/* Attention over short sequences, a head at a time: nothing of it leaves the caches but what the gradient needs. */
#include "vectors.h"

/* Products.
 *
 * The processor's instruction multiplies pairs: for 16 columns it adds a[2p] b[2p] + a[2p + 1] b[2p + 1]. So the
 * left factor is read as pairs, and the right factor is packed: for each pair of its rows, the two numbers of each
 * column beside each other. */

#define BLOCK 6 /* rows of a product that are computed at once, with four vectors in 24 of the 32 registers */

typedef struct {
    const uint32_t *pairs; /* of the left factor: of its rows, or of its columns where it was packed first */
    int64_t row, pair;     /* steps from a row to the next, and from a pair to the next */
} Left;

/* `rows` rows and 16 * `vectors` columns of a product; written as bf16 times a factor, or as fp32. */
static inline __attribute__((always_inline)) void block(const int rows, const int vectors, Left a,
                                                        const uint32_t *b, int64_t columns, int64_t pairs,
                                                        bf16 *narrow, float *wide, int64_t stride, float factor) {
    __m512 sums[BLOCK][4];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sums[r][v] = _mm512_setzero_ps();
    for (int64_t p = 0; p < pairs; p++) {
        __m512bh right[4];
        for (int v = 0; v < vectors; v++) right[v] = (__m512bh)_mm512_loadu_si512(b + p * columns + v * LANES);
        for (int r = 0; r < rows; r++) {
            const __m512bh left = (__m512bh)_mm512_set1_epi32((int)a.pairs[r * a.row + p * a.pair]);
            for (int v = 0; v < vectors; v++) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], left, right[v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) {
            if (wide)
                _mm512_storeu_ps(wide + r * stride + v * LANES, sums[r][v]);
            else
                store(narrow + r * stride + v * LANES, LANES, _mm512_mul_ps(sums[r][v], _mm512_set1_ps(factor)));
        }
}

#define ROWS(n)                                                                                                 \
    case n:                                                                                                     \
        if (vectors == 4)                                                                                       \
            block(n, 4, a, b, columns, pairs, narrow, wide, stride, factor);                                    \
        else if (vectors == 3)                                                                                  \
            block(n, 3, a, b, columns, pairs, narrow, wide, stride, factor);                                    \
        else if (vectors == 2)                                                                                  \
            block(n, 2, a, b, columns, pairs, narrow, wide, stride, factor);                                    \
        else                                                                                                    \
            block(n, 1, a, b, columns, pairs, narrow, wide, stride, factor);                                    \
        break;

/* A (rows, 2 pairs) times packed B (2 pairs, columns), of which there is a multiple of 16. */
static void multiply(Left a, const uint32_t *b, int64_t rows, int64_t columns, int64_t pairs, bf16 *narrow,
                     float *wide, int64_t stride, float factor) {
    const Left whole = a;
    bf16 *const narrow_start = narrow;
    float *const wide_start = wide;
    for (int64_t c = 0; c < columns; c += 4 * LANES, b += 4 * LANES) {
        const int64_t left = columns - c, vectors = left < 4 * LANES ? left / LANES : 4;
        a = whole;
        for (int64_t r = 0; r < rows; r += BLOCK, a.pairs += BLOCK * a.row) {
            narrow = narrow_start ? narrow_start + r * stride + c : NULL;
            wide = wide_start ? wide_start + r * stride + c : NULL;
            switch (rows - r < BLOCK ? rows - r : BLOCK) {
                ROWS(1)
                ROWS(2)
                ROWS(3)
                ROWS(4)
                ROWS(5)
                ROWS(6)
            }
        }
    }
}

/* Pairs of rows, the two numbers of each column beside each other; a row that is missing is zero. */
static void pack(const bf16 *from, int64_t stride, int64_t rows, int64_t columns, uint32_t *to) {
    for (int64_t r = 0; r < rows; r += 2, to += columns)
        for (int64_t c = 0; c < columns; c += LANES) {
            const __m512i even = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(from + r * stride + c)));
            __m512i odd = _mm512_setzero_si512();
            if (r + 1 < rows)
                odd = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(from + (r + 1) * stride + c)));
            _mm512_storeu_si512(to + c, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
        }
}

/* The transpose, packed: for each pair of columns the rows, and zeros up to a multiple of 16. */
static void pack_transposed(const bf16 *from, int64_t stride, int64_t rows, int64_t columns, uint32_t *to) {
    const int64_t padded = ROUND_UP(rows), pairs = columns / 2;
    for (int64_t r = 0; r < rows; r++) {
        const uint32_t *row = (const uint32_t *)(from + r * stride);
        for (int64_t p = 0; p < pairs; p++) to[p * padded + r] = row[p];
    }
    for (int64_t p = 0; p < pairs; p++)
        for (int64_t r = rows; r < padded; r++) to[p * padded + r] = 0;
}

/* A row of scores becomes bf16 weights softmax(factor * scores), and zeros up to a multiple of 16. */
static void softmax(float *scores, bf16 *weights, float factor, int64_t width) {
    const __m512 scale = _mm512_set1_ps(factor * 1.44269504f);
    __m512 top = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (int64_t c = 0; c < width; c += LANES)
        top = _mm512_mask_max_ps(top, first_of(width - c), top, _mm512_loadu_ps(scores + c));
    const __m512 highest = _mm512_mul_ps(_mm512_set1_ps(_mm512_reduce_max_ps(top)), scale);
    for (int64_t c = 0; c < width; c += LANES) {
        const __m512 below = _mm512_fmsub_ps(_mm512_loadu_ps(scores + c), scale, highest);
        const __m512 e = _mm512_maskz_mov_ps(first_of(width - c), power_of_two(below));
        _mm512_storeu_ps(scores + c, e);
        sum = _mm512_add_ps(sum, e);
    }
    const __m512 share = _mm512_set1_ps(1 / _mm512_reduce_add_ps(sum));
    for (int64_t c = 0; c < width; c += LANES)
        store(weights + c, LANES, _mm512_mul_ps(_mm512_loadu_ps(scores + c), share));
}

/* out = softmax(factor q k^T) v for each of `batch` images and each head.
 *
 * Tokens lie `q_stride` and `kv_stride` numbers apart, heads beside each other in them. `weights` (batch, heads,
 * queries, tokens up to a multiple of 16) are kept for the gradient. The width of a head is a multiple of 16. */
void attention(const bf16 *q, const bf16 *k, const bf16 *v, bf16 *out, bf16 *weights, float factor, int64_t batch,
               int64_t heads, int64_t queries, int64_t tokens, int64_t width, int64_t q_stride,
               int64_t kv_stride) {
    const int64_t padded = ROUND_UP(tokens), pairs = (tokens + 1) / 2, model = heads * width;
#pragma omp parallel
    {
        uint32_t *keys = malloc(width / 2 * padded * 4), *values = malloc(pairs * width * 4);
        float *scores = malloc(queries * padded * 4);
#pragma omp for collapse(2) schedule(static)
        for (int64_t b = 0; b < batch; b++)
            for (int64_t h = 0; h < heads; h++) {
                const bf16 *one_q = q + b * queries * q_stride + h * width;
                const int64_t at = b * tokens * kv_stride + h * width;
                bf16 *kept = weights + (b * heads + h) * queries * padded;
                pack_transposed(k + at, kv_stride, tokens, width, keys);
                pack(v + at, kv_stride, tokens, width, values);
                multiply((Left){(const uint32_t *)one_q, q_stride / 2, 1}, keys, queries, padded, width / 2, NULL,
                         scores, padded, 1);
                for (int64_t i = 0; i < queries; i++)
                    softmax(scores + i * padded, kept + i * padded, factor, tokens);
                multiply((Left){(const uint32_t *)kept, padded / 2, 1}, values, queries, width, pairs,
                         out + b * queries * model + h * width, NULL, model, 1);
            }
        free(keys);
        free(values);
        free(scores);
    }
}

/* The gradients for q, k and v, laid out as these are, from the one for `out`. */
void attention_backward(const bf16 *for_out, const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *weights,
                        bf16 *for_q, bf16 *for_k, bf16 *for_v, float factor, int64_t batch, int64_t heads,
                        int64_t queries, int64_t tokens, int64_t width, int64_t q_stride, int64_t kv_stride) {
    const int64_t padded = ROUND_UP(tokens), model = heads * width;
    const int64_t pairs = (tokens + 1) / 2, q_pairs = (queries + 1) / 2;
#pragma omp parallel
    {
        uint32_t *keys = malloc(pairs * width * 4), *values = malloc(width / 2 * padded * 4);
        uint32_t *asked = malloc(q_pairs * width * 4), *given = malloc(q_pairs * width * 4);
        uint32_t *packed = malloc(q_pairs * padded * 4);
        float *slopes = malloc(queries * padded * 4);
        bf16 *scores = malloc(queries * padded * 2);
#pragma omp for collapse(2) schedule(static)
        for (int64_t b = 0; b < batch; b++)
            for (int64_t h = 0; h < heads; h++) {
                const int64_t at_q = b * queries * q_stride + h * width, at = b * tokens * kv_stride + h * width;
                const bf16 *g = for_out + b * queries * model + h * width;
                const bf16 *kept = weights + (b * heads + h) * queries * padded;
                pack(k + at, kv_stride, tokens, width, keys);
                pack_transposed(v + at, kv_stride, tokens, width, values);
                pack(q + at_q, q_stride, queries, width, asked);
                pack(g, model, queries, width, given);
                multiply((Left){(const uint32_t *)g, model / 2, 1}, values, queries, padded, width / 2, NULL,
                         slopes, padded, 1);
                for (int64_t i = 0; i < queries; i++) { /* through the softmax */
                    __m512 sum = _mm512_setzero_ps();
                    for (int64_t j = i * padded; j < (i + 1) * padded; j += LANES)
                        sum = _mm512_fmadd_ps(load(kept + j, LANES), _mm512_loadu_ps(slopes + j), sum);
                    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum));
                    for (int64_t j = i * padded; j < (i + 1) * padded; j += LANES)
                        store(scores + j, LANES,
                              _mm512_mul_ps(load(kept + j, LANES),
                                            _mm512_sub_ps(_mm512_loadu_ps(slopes + j), mean)));
                }
                multiply((Left){(const uint32_t *)scores, padded / 2, 1}, keys, queries, width, pairs,
                         for_q + at_q, NULL, q_stride, factor);
                pack(scores, padded, queries, padded, packed);
                multiply((Left){packed, 1, padded}, asked, tokens, width, q_pairs, for_k + at, NULL, kv_stride,
                         factor);
                pack(kept, padded, queries, padded, packed);
                multiply((Left){packed, 1, padded}, given, tokens, width, q_pairs, for_v + at, NULL, kv_stride, 1);
            }
        free(keys);
        free(values);
        free(asked);
        free(given);
        free(packed);
        free(slopes);
        free(scores);
    }
}
