/* Attention of one head of one image. Intermediate results stay in the caches, except what the backward pass
 * needs. */
#pragma once
#include "products.h"

/* Dimensions of a head and strides between its tokens in elements; `width` is a multiple of 16. */
typedef struct {
    int64_t queries, tokens, width;
    int64_t q_stride, kv_stride, out_stride;
    float factor; /* scale of the scores */
} Head;

/* Buffers of a thread: packed operands, and matrices of queries by tokens. */
typedef struct {
    uint32_t *keys, *values, *packed_q, *packed_grad, *packed;
    float *scores;
    bf16 *grad_scores;
} Workspace;

static inline Workspace new_workspace(Head h) {
    const int64_t padded = ROUND_UP(h.tokens), pairs = padded / 2, q_pairs = (h.queries + 1) / 2;
    return (Workspace){.keys = malloc(pairs * h.width * 4),
                       .values = malloc(pairs * h.width * 4),
                       .packed_q = malloc(q_pairs * h.width * 4),
                       .packed_grad = malloc(q_pairs * h.width * 4),
                       .packed = malloc(q_pairs * padded * 4),
                       .scores = malloc(h.queries * padded * 4),
                       .grad_scores = malloc(h.queries * padded * 2)};
}

static inline void free_workspace(Workspace w) {
    free(w.keys);
    free(w.values);
    free(w.packed_q);
    free(w.packed_grad);
    free(w.packed);
    free(w.scores);
    free(w.grad_scores);
}

/* weights = softmax(factor * scores) of one row in bf16, with zeros up to a multiple of 16. */
static inline void softmax(float *scores, bf16 *weights, float factor, int64_t width) {
    const __m512 scale = _mm512_set1_ps(factor * 1.44269504f);
    __m512 largest = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (int64_t c = 0; c < width; c += LANES)
        largest = _mm512_mask_max_ps(largest, first_lanes(width - c), largest, _mm512_loadu_ps(scores + c));
    const __m512 largest_scaled = _mm512_mul_ps(_mm512_set1_ps(_mm512_reduce_max_ps(largest)), scale);
    for (int64_t c = 0; c < width; c += LANES) {
        const __m512 shifted = _mm512_fmsub_ps(_mm512_loadu_ps(scores + c), scale, largest_scaled);
        const __m512 e = _mm512_maskz_mov_ps(first_lanes(width - c), power_of_two(shifted));
        _mm512_storeu_ps(scores + c, e);
        sum = _mm512_add_ps(sum, e);
    }
    const __m512 inverse_sum = _mm512_set1_ps(1 / _mm512_reduce_add_ps(sum));
    for (int64_t c = 0; c < width; c += LANES)
        store(weights + c, LANES, _mm512_mul_ps(_mm512_loadu_ps(scores + c), inverse_sum));
}

/* out = softmax(factor q k^T) v; `weights`, (queries, tokens rounded up to a multiple of 16), are stored for the
 * backward pass. */
static inline void attend(Head h, Workspace w, const bf16 *q, const bf16 *k, const bf16 *v, bf16 *out,
                          bf16 *weights) {
    const int64_t padded = ROUND_UP(h.tokens), pairs = (h.tokens + 1) / 2;
    pack_transposed(k, h.kv_stride, h.tokens, h.width, w.keys);
    pack(v, h.kv_stride, h.tokens, h.width, w.values);
    multiply((LeftMatrix){(const uint32_t *)q, h.q_stride / 2, 1}, w.keys, h.queries, padded, h.width / 2,
             (Output){.wide = w.scores, .stride = padded});
    for (int64_t i = 0; i < h.queries; i++)
        softmax(w.scores + i * padded, weights + i * padded, h.factor, h.tokens);
    multiply((LeftMatrix){(const uint32_t *)weights, padded / 2, 1}, w.values, h.queries, h.width, pairs,
             (Output){out, .stride = h.out_stride});
}

/* Gradient of one row of scores, from the gradient of its weights. */
static inline void softmax_backward(const float *grad_weights, const bf16 *weights, bf16 *grad_row,
                                    int64_t padded) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < padded; j += LANES)
        sum = _mm512_fmadd_ps(load(weights + j, LANES), _mm512_loadu_ps(grad_weights + j), sum);
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum));
    for (int64_t j = 0; j < padded; j += LANES) {
        const __m512 centred = _mm512_sub_ps(_mm512_loadu_ps(grad_weights + j), mean);
        store(grad_row + j, LANES, _mm512_mul_ps(load(weights + j, LANES), centred));
    }
}

/* Gradients of q, k and v, with their strides, from the gradient of `out`. */
static inline void attend_backward(Head h, Workspace w, const bf16 *grad_out, const bf16 *q, const bf16 *k,
                                   const bf16 *v, const bf16 *weights, bf16 *grad_q, bf16 *grad_k, bf16 *grad_v) {
    const int64_t padded = ROUND_UP(h.tokens), pairs = (h.tokens + 1) / 2, q_pairs = (h.queries + 1) / 2;
    pack(k, h.kv_stride, h.tokens, h.width, w.keys);
    pack_transposed(v, h.kv_stride, h.tokens, h.width, w.values);
    pack(q, h.q_stride, h.queries, h.width, w.packed_q);
    pack(grad_out, h.out_stride, h.queries, h.width, w.packed_grad);
    multiply((LeftMatrix){(const uint32_t *)grad_out, h.out_stride / 2, 1}, w.values, h.queries, padded,
             h.width / 2, (Output){.wide = w.scores, .stride = padded});
    for (int64_t i = 0; i < h.queries; i++)
        softmax_backward(w.scores + i * padded, weights + i * padded, w.grad_scores + i * padded, padded);
    multiply((LeftMatrix){(const uint32_t *)w.grad_scores, padded / 2, 1}, w.keys, h.queries, h.width, pairs,
             (Output){grad_q, .stride = h.q_stride, .factor = h.factor});
    pack(w.grad_scores, padded, h.queries, padded, w.packed);
    multiply((LeftMatrix){w.packed, 1, padded}, w.packed_q, h.tokens, h.width, q_pairs,
             (Output){grad_k, .stride = h.kv_stride, .factor = h.factor});
    pack(weights, padded, h.queries, padded, w.packed);
    multiply((LeftMatrix){w.packed, 1, padded}, w.packed_grad, h.tokens, h.width, q_pairs,
             (Output){grad_v, .stride = h.kv_stride});
}
