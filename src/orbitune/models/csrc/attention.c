/* Attention over short sequences, a head at a time: nothing of it leaves the caches but what the gradient needs. */
#include "products.h"

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
                multiply((Left){(const uint32_t *)one_q, q_stride / 2, 1}, keys, queries, padded, width / 2,
                         (Out){.wide = scores, .stride = padded});
                for (int64_t i = 0; i < queries; i++)
                    softmax(scores + i * padded, kept + i * padded, factor, tokens);
                multiply((Left){(const uint32_t *)kept, padded / 2, 1}, values, queries, width, pairs,
                         (Out){out + b * queries * model + h * width, .stride = model});
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
                multiply((Left){(const uint32_t *)g, model / 2, 1}, values, queries, padded, width / 2,
                         (Out){.wide = slopes, .stride = padded});
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
                         (Out){for_q + at_q, .stride = q_stride, .factor = factor});
                pack(scores, padded, queries, padded, packed);
                multiply((Left){packed, 1, padded}, asked, tokens, width, q_pairs,
                         (Out){for_k + at, .stride = kv_stride, .factor = factor});
                pack(kept, padded, queries, padded, packed);
                multiply((Left){packed, 1, padded}, given, tokens, width, q_pairs,
                         (Out){for_v + at, .stride = kv_stride});
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
