/* Reads the inputs of kernels and writes their outputs; `test_neon.py` compares them with torch's. */
#include <stdint.h>
#include <stdio.h>
int mlp(const float *, const float *, const float *, const float *, const float *, float *, float *, int64_t,
        int64_t, int64_t);
int mlp_backward(const float *, const float *, const float *, const float *, float *, int64_t, int64_t, int64_t);
int attention(const float *, const float *, const float *, float *, float *, float, int64_t, int64_t, int64_t,
              int64_t, int64_t, int64_t, int64_t);
int attention_backward(const float *, const float *, const float *, const float *, const float *, float *, float *,
                       float *, float, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);
enum { N = 26, W = 48, H = 80 };
static float x[N * W], slope[N * W], w1[H * W], b1[H], w2[W * H], b2[W], qkv[N * 3 * W];
static float y[N * W], gelu_grad[N * H], grad_x[N * W], out[N * W], weights[2 * 3 * 13 * 16], grad_qkv[N * 3 * W];
int main(void) {
    float *inputs[] = {x, slope, w1, b1, w2, b2, qkv}, *outputs[] = {y, grad_x, out, grad_qkv};
    const size_t in[] = {N * W, N * W, H * W, H, W * H, W, N * 3 * W}, sizes[] = {N * W, N * W, N * W, N * 3 * W};
    for (int i = 0; i < 7; i++)
        if (fread(inputs[i], 4, in[i], stdin) != in[i]) return 2;
    int failed = mlp(x, w1, b1, w2, b2, y, gelu_grad, N, W, H);
    failed |= mlp_backward(slope, gelu_grad, w1, w2, grad_x, N, W, H);
    failed |= attention(qkv, qkv + W, qkv + 2 * W, out, weights, 0.25f, 2, 3, 13, 13, 16, 3 * W, 3 * W);
    failed |= attention_backward(slope, qkv, qkv + W, qkv + 2 * W, weights, grad_qkv, grad_qkv + W,
                                 grad_qkv + 2 * W, 0.25f, 2, 3, 13, 13, 16, 3 * W, 3 * W);
    for (int i = 0; i < 4; i++) fwrite(outputs[i], 4, sizes[i], stdout);
    return failed;
}
