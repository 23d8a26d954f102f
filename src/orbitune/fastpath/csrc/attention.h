/* Attention of one head of one image: nothing of it leaves the caches but what the gradient needs. */
#pragma once
#include "products.h"

/* The lengths of a head, and how many numbers lie between its tokens; its width is a multiple of 16. */
typedef struct {
    int64_t queries, tokens, width;
    int64_t q_stride, kv_stride, out_stride;
    float factor; /* of the scores */
} Head;

/* What a thread works in: packed factors of products, and squares of queries by tokens. */
typedef struct {
    uint32_t *keys, *values, *asked, *given, *packed;
    float *scores;
    bf16 *slopes;
} Workspace;

static inline Workspace new_workspace(Head h) {
    const int64_t padded = ROUND_UP(h.tokens), pairs = padded / 2, q_pairs = (h.queries + 1) / 2;
    return (Workspace){.keys = malloc(pairs * h.width * 4),
                       .values = malloc(pairs * h.width * 4),
                       .asked = malloc(q_pairs * h.width * 4),
                       .given = malloc(q_pairs * h.width * 4),
                       .packed = malloc(q_pairs * padded * 4),
                       .scores = malloc(h.queries * padded * 4),
                       .slopes = malloc(h.queries * padded * 2)};
}

static inline void free_workspace(Workspace w) {
    free(w.keys);
    free(w.values);
    free(w.asked);
    free(w.given);
    free(w.packed);
    free(w.scores);
    free(w.slopes);
}

/* A row of scores becomes bf16 weights softmax(factor * scores), and zeros up to a multiple of 16. */
static inline void softmax(float *scores, bf16 *weights, float factor, int64_t width) {
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

/* out = softmax(factor q k^T) v; `weights` (queries, tokens up to a multiple of 16) are kept for the gradient. */
static inline void attend(Head h, Workspace w, const bf16 *q, const bf16 *k, const bf16 *v, bf16 *out,
                          bf16 *weights) {
    const int64_t padded = ROUND_UP(h.tokens), pairs = (h.tokens + 1) / 2;
    pack_transposed(k, h.kv_stride, h.tokens, h.width, w.keys);
    pack(v, h.kv_stride, h.tokens, h.width, w.values);
    multiply((Left){(const uint32_t *)q, h.q_stride / 2, 1}, w.keys, h.queries, padded, h.width / 2,
             (Out){.wide = w.scores, .stride = padded});
    for (int64_t i = 0; i < h.queries; i++)
        softmax(w.scores + i * padded, weights + i * padded, h.factor, h.tokens);
    multiply((Left){(const uint32_t *)weights, padded / 2, 1}, w.values, h.queries, h.width, pairs,
             (Out){out, .stride = h.out_stride});
}

/* Through a row of the softmax: the gradient for the scores, from the one for the weights. */
static inline void softmax_backward(const float *for_weights, const bf16 *weights, bf16 *for_scores,
                                    int64_t padded) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < padded; j += LANES)
        sum = _mm512_fmadd_ps(load(weights + j, LANES), _mm512_loadu_ps(for_weights + j), sum);
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum));
    for (int64_t j = 0; j < padded; j += LANES) {
        const __m512 away = _mm512_sub_ps(_mm512_loadu_ps(for_weights + j), mean);
        store(for_scores + j, LANES, _mm512_mul_ps(load(weights + j, LANES), away));
    }
}

/* The gradients for q, k and v, whose tokens lie as theirs, from the one for `out`. */
static inline void attend_backward(Head h, Workspace w, const bf16 *for_out, const bf16 *q, const bf16 *k,
                                   const bf16 *v, const bf16 *weights, bf16 *for_q, bf16 *for_k, bf16 *for_v) {
    const int64_t padded = ROUND_UP(h.tokens), pairs = (h.tokens + 1) / 2, q_pairs = (h.queries + 1) / 2;
    pack(k, h.kv_stride, h.tokens, h.width, w.keys);
    pack_transposed(v, h.kv_stride, h.tokens, h.width, w.values);
    pack(q, h.q_stride, h.queries, h.width, w.asked);
    pack(for_out, h.out_stride, h.queries, h.width, w.given);
    multiply((Left){(const uint32_t *)for_out, h.out_stride / 2, 1}, w.values, h.queries, padded, h.width / 2,
             (Out){.wide = w.scores, .stride = padded});
    for (int64_t i = 0; i < h.queries; i++)
        softmax_backward(w.scores + i * padded, weights + i * padded, w.slopes + i * padded, padded);
    multiply((Left){(const uint32_t *)w.slopes, padded / 2, 1}, w.keys, h.queries, h.width, pairs,
             (Out){for_q, .stride = h.q_stride, .factor = h.factor});
    pack(w.slopes, padded, h.queries, padded, w.packed);
    multiply((Left){w.packed, 1, padded}, w.asked, h.tokens, h.width, q_pairs,
             (Out){for_k, .stride = h.kv_stride, .factor = h.factor});
    pack(weights, padded, h.queries, padded, w.packed);
    multiply((Left){w.packed, 1, padded}, w.given, h.tokens, h.width, q_pairs, (Out){for_v, .stride = h.kv_stride});
}
