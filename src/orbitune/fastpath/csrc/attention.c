/* Attention over short sequences, one head at a time. */
#include "attention.h"

/* out = softmax(factor q k^T) v for each image of a batch and each head.
 *
 * Consecutive tokens are `q_stride` and `kv_stride` elements apart; the heads of a token are contiguous.
 * `weights`, (batch, heads, queries, tokens rounded up to a multiple of 16), are stored for the backward pass. */
void attention(const bf16 *q, const bf16 *k, const bf16 *v, bf16 *out, bf16 *weights, float factor, int64_t batch,
               int64_t heads, int64_t queries, int64_t tokens, int64_t width, int64_t q_stride,
               int64_t kv_stride) {
    const Head head = {queries, tokens, width, q_stride, kv_stride, heads * width, factor};
    const int64_t square = queries * ROUND_UP(tokens);
#pragma omp parallel
    {
        const Workspace space = new_workspace(head);
#pragma omp for collapse(2) schedule(static)
        for (int64_t b = 0; b < batch; b++)
            for (int64_t h = 0; h < heads; h++) {
                const int64_t at_q = b * queries * q_stride + h * width, at = b * tokens * kv_stride + h * width;
                attend(head, space, q + at_q, k + at, v + at, out + b * queries * head.out_stride + h * width,
                       weights + (b * heads + h) * square);
            }
        free_workspace(space);
    }
}

/* Gradients of q, k and v, with their strides, from the gradient of `out`. */
void attention_backward(const bf16 *grad_out, const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *weights,
                        bf16 *grad_q, bf16 *grad_k, bf16 *grad_v, float factor, int64_t batch, int64_t heads,
                        int64_t queries, int64_t tokens, int64_t width, int64_t q_stride, int64_t kv_stride) {
    const Head head = {queries, tokens, width, q_stride, kv_stride, heads * width, factor};
    const int64_t square = queries * ROUND_UP(tokens);
#pragma omp parallel
    {
        const Workspace space = new_workspace(head);
#pragma omp for collapse(2) schedule(static)
        for (int64_t b = 0; b < batch; b++)
            for (int64_t h = 0; h < heads; h++) {
                const int64_t at_q = b * queries * q_stride + h * width, at = b * tokens * kv_stride + h * width;
                attend_backward(head, space, grad_out + b * queries * head.out_stride + h * width, q + at_q,
                                k + at, v + at, weights + (b * heads + h) * square, grad_q + at_q, grad_k + at,
                                grad_v + at);
            }
        free_workspace(space);
    }
}
