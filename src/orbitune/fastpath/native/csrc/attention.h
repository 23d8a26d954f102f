/* Attention of one head of one image. Intermediate results stay in the caches, except what the backward pass
 * needs. */
#pragma once
#include "memory.h"
#include "products.h"

/* Dimensions of a head and strides between its tokens in elements; `width` is a multiple of 16. */
typedef struct {
    int64_t queries, tokens, width;
    int64_t q_stride, kv_stride, out_stride;
    float factor; /* scale of the scores */
} Head;

/* Buffers of a thread: packed operands, and matrices of queries by tokens. */
typedef struct {
    group *keys, *values, *packed_q, *packed_grad, *packed;
    float *scores;
    element *grad_scores;
} Workspace;

static inline Workspace new_workspace(Memory *m, Head h) {
    const int64_t padded = ROUND_UP(h.tokens), q_steps = groups_in(h.queries);
    return (Workspace){.keys = reserve(m, padded * h.width * sizeof(group)),
                       .values = reserve(m, padded * h.width * sizeof(group)),
                       .packed_q = reserve(m, q_steps * h.width * sizeof(group)),
                       .packed_grad = reserve(m, q_steps * h.width * sizeof(group)),
                       .packed = reserve(m, q_steps * padded * sizeof(group)),
                       .scores = reserve(m, h.queries * padded * sizeof(float)),
                       .grad_scores = reserve(m, h.queries * padded * sizeof(element))};
}

/* weights = softmax(factor * scores) of one row, with zeros up to a multiple of LANES. */
static inline void softmax(float *scores, element *weights, float factor, int64_t width) {
    const float scale = factor * 1.44269504f;
    floats largest = broadcast(-INFINITY), sum = {0};
    for (int64_t c = 0; c < width; c += LANES)
        largest = greater(choose(first_lanes(width - c), load_floats(scores + c), largest), largest);
    const float largest_scaled = largest_of(largest) * scale;
    for (int64_t c = 0; c < width; c += LANES) {
        const floats shifted = load_floats(scores + c) * scale - largest_scaled;
        const floats e = keep(first_lanes(width - c), power_of_two(shifted));
        store_floats(scores + c, e);
        sum += e;
    }
    const float inverse_sum = 1 / sum_of(sum);
    for (int64_t c = 0; c < width; c += LANES) store(weights + c, LANES, load_floats(scores + c) * inverse_sum);
}

/* out = softmax(factor q k^T) v; `weights`, (queries, tokens rounded up to a multiple of LANES), are stored for
 * the backward pass. */
static inline void attend(Head h, Workspace w, const element *q, const element *k, const element *v, element *out,
                          element *weights) {
    const int64_t padded = ROUND_UP(h.tokens);
    pack_transposed(k, h.kv_stride, h.tokens, h.width, w.keys);
    const RightMatrix keys = {w.keys, padded}, values = grouped(v, h.kv_stride, h.tokens, h.width, w.values);
    multiply((LeftMatrix){(const group *)q, h.q_stride / GROUP, 1}, keys, h.queries, padded, h.width / GROUP,
             (Output){.wide = w.scores, .stride = padded});
    for (int64_t i = 0; i < h.queries; i++)
        softmax(w.scores + i * padded, weights + i * padded, h.factor, h.tokens);
    multiply((LeftMatrix){(const group *)weights, padded / GROUP, 1}, values, h.queries, h.width,
             groups_in(h.tokens), (Output){out, .stride = h.out_stride});
}

/* Gradient of one row of scores, from the gradient of its weights. */
static inline void softmax_backward(const float *grad_weights, const element *weights, element *grad_row,
                                    int64_t padded) {
    floats sum = {0};
    for (int64_t j = 0; j < padded; j += LANES) sum += load(weights + j, LANES) * load_floats(grad_weights + j);
    const float mean = sum_of(sum);
    for (int64_t j = 0; j < padded; j += LANES)
        store(grad_row + j, LANES, load(weights + j, LANES) * (load_floats(grad_weights + j) - mean));
}

/* Gradients of q, k and v, with their strides, from the gradient of `out`. */
static inline void attend_backward(Head h, Workspace w, const element *grad_out, const element *q,
                                   const element *k, const element *v, const element *weights, element *grad_q,
                                   element *grad_k, element *grad_v) {
    const int64_t padded = ROUND_UP(h.tokens), q_steps = groups_in(h.queries);
    pack_transposed(v, h.kv_stride, h.tokens, h.width, w.values);
    const RightMatrix values = {w.values, padded}, keys = grouped(k, h.kv_stride, h.tokens, h.width, w.keys),
                      queries = grouped(q, h.q_stride, h.queries, h.width, w.packed_q),
                      grads = grouped(grad_out, h.out_stride, h.queries, h.width, w.packed_grad);
    multiply((LeftMatrix){(const group *)grad_out, h.out_stride / GROUP, 1}, values, h.queries, padded,
             h.width / GROUP, (Output){.wide = w.scores, .stride = padded});
    for (int64_t i = 0; i < h.queries; i++)
        softmax_backward(w.scores + i * padded, weights + i * padded, w.grad_scores + i * padded, padded);
    multiply((LeftMatrix){(const group *)w.grad_scores, padded / GROUP, 1}, keys, h.queries, h.width,
             groups_in(h.tokens), (Output){grad_q, .stride = h.q_stride, .factor = h.factor});
    multiply(transposed(grouped(w.grad_scores, padded, h.queries, padded, w.packed)), queries, h.tokens, h.width,
             q_steps, (Output){grad_k, .stride = h.kv_stride, .factor = h.factor});
    multiply(transposed(grouped(weights, padded, h.queries, padded, w.packed)), grads, h.tokens, h.width, q_steps,
             (Output){grad_v, .stride = h.kv_stride});
}
