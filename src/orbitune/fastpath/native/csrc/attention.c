/* Attention over short sequences, one head at a time. Results do not overlap inputs. */
#include "attention.h"

/* Return a workspace for each thread. */
static Workspace *new_workspaces(Memory *m, Head h) {
    const int threads = omp_get_max_threads();
    Workspace *const spaces = reserve(m, threads * sizeof(Workspace));
    for (int t = 0; spaces && t < threads; t++) spaces[t] = new_workspace(m, h);
    return spaces;
}

/* out = softmax(factor q k^T) v for each image of a batch and each head.
 *
 * Consecutive tokens are `q_stride` and `kv_stride` elements apart; the heads of a token are contiguous.
 * `weights`, (batch, heads, queries, tokens rounded up to a multiple of LANES), are stored for the backward
 * pass. */
int attention(const element *q, const element *k, const element *v, element *restrict out,
              element *restrict weights, float factor, int64_t batch, int64_t heads, int64_t queries,
              int64_t tokens, int64_t width, int64_t q_stride, int64_t kv_stride) {
    const Head head = {queries, tokens, width, q_stride, kv_stride, heads * width, factor};
    const int64_t square = queries * ROUND_UP(tokens);
    Memory memory = {0};
    const Workspace *const spaces = new_workspaces(&memory, head);
    if (memory.failed) return release(&memory);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t b = 0; b < batch; b++)
        for (int64_t h = 0; h < heads; h++) {
            const int64_t at_q = b * queries * q_stride + h * width, at = b * tokens * kv_stride + h * width;
            attend(head, spaces[omp_get_thread_num()], q + at_q, k + at, v + at,
                   out + b * queries * head.out_stride + h * width, weights + (b * heads + h) * square);
        }
    return release(&memory);
}

/* Gradients of q, k and v, with their strides, from the gradient of `out`. */
int attention_backward(const element *grad_out, const element *q, const element *k, const element *v,
                       const element *weights, element *restrict grad_q, element *restrict grad_k,
                       element *restrict grad_v, float factor, int64_t batch, int64_t heads, int64_t queries,
                       int64_t tokens, int64_t width, int64_t q_stride, int64_t kv_stride) {
    const Head head = {queries, tokens, width, q_stride, kv_stride, heads * width, factor};
    const int64_t square = queries * ROUND_UP(tokens);
    Memory memory = {0};
    const Workspace *const spaces = new_workspaces(&memory, head);
    if (memory.failed) return release(&memory);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t b = 0; b < batch; b++)
        for (int64_t h = 0; h < heads; h++) {
            const int64_t at_q = b * queries * q_stride + h * width, at = b * tokens * kv_stride + h * width;
            attend_backward(head, spaces[omp_get_thread_num()],
                            grad_out + b * queries * head.out_stride + h * width, q + at_q, k + at, v + at,
                            weights + (b * heads + h) * square, grad_q + at_q, grad_k + at, grad_v + at);
        }
    return release(&memory);
}
