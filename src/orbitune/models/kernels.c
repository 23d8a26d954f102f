/* Element-wise steps of a transformer block on bfloat16, one pass over memory each, in fp32 inside.
 *
 * On a processor that multiplies bfloat16 natively, torch's own take half of the time of a step. Built at first use by `orbitune.models.kernels`; every function works on whole arrays.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

static inline float wide(bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* Round to nearest, ties to even; a NaN as processors make it stays NaN. */
static inline bf16 narrow(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* e^x for x <= 0, to 5e-6 of its value: 2^i by the exponent's bits, 2^f by a polynomial on [-1/2, 1/2]. */
static inline float exp_negative(float x) {
    float t = (x < -87.0f ? -87.0f : x) * 1.44269504f;
    float i = rintf(t), f = t - i;
    float p = 9.59363e-3f;
    p = p * f + 5.588337e-2f;
    p = p * f + 2.4023686e-1f;
    p = p * f + 6.931265e-1f;
    p = p * f + 1.0f;
    int32_t bits = ((int32_t)i + 127) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

/* y = h Phi(h) and its derivative Phi(h) + h phi(h); Phi by 7.1.26 of Abramowitz and Stegun, to 1.5e-7. */
void gelu(const bf16 *restrict h, bf16 *restrict y, bf16 *restrict slope, int64_t n) {
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float x = wide(h[i]);
        float z = fabsf(x) * 0.707106781f;
        float e = exp_negative(-z * z);
        float t = 1.0f / (1.0f + 0.3275911f * z);
        float tail = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f
                     + t * 1.061405429f))));
        float half = 0.5f * tail * e;
        float phi = x < 0 ? half : 1.0f - half;
        y[i] = narrow(x * phi);
        slope[i] = narrow(phi + x * 0.398942280f * e);
    }
}

/* y = x where a hash of the place and the seed is at least `below`, else 0: the same call drops the gradient. */
void dropout(const bf16 *restrict x, bf16 *restrict y, uint32_t seed, uint32_t below, int64_t n) {
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        uint32_t h = ((uint32_t)i ^ seed) * 0x9e3779b1u; /* then the finaliser of MurmurHash3 */
        h ^= h >> 16;
        h *= 0x85ebca6bu;
        h ^= h >> 13;
        h *= 0xc2b2ae35u;
        h ^= h >> 16;
        y[i] = h < below ? 0 : x[i];
    }
}

/* sum = x + scale * y and out = (sum - mean) * rstd * weight + bias, by rows of `width`; mean and rstd are kept
 * for the gradient. Without y the sum is x, and without a scale it is one. */
void add_norm(const bf16 *restrict x, const bf16 *restrict y, const bf16 *restrict scale,
              const bf16 *restrict weight, const bf16 *restrict bias, bf16 *restrict sum, bf16 *restrict out,
              float *restrict mean, float *restrict rstd, float eps, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        float values[width];
        float total = 0, squares = 0;
        const int64_t at = r * width;
        if (y) {
#pragma omp simd
            for (int64_t c = 0; c < width; c++) {
                float added = wide(y[at + c]) * (scale ? wide(scale[c]) : 1.0f);
                sum[at + c] = narrow(wide(x[at + c]) + added);
            }
        }
        const bf16 *row = (y ? sum : x) + at;
#pragma omp simd reduction(+ : total)
        for (int64_t c = 0; c < width; c++) {
            values[c] = wide(row[c]);
            total += values[c];
        }
        float m = total / width;
#pragma omp simd reduction(+ : squares)
        for (int64_t c = 0; c < width; c++) squares += (values[c] - m) * (values[c] - m);
        float s = 1 / sqrtf(squares / width + eps);
#pragma omp simd
        for (int64_t c = 0; c < width; c++)
            out[at + c] = narrow((values[c] - m) * s * wide(weight[c]) + wide(bias[c]));
        mean[r] = m;
        rstd[r] = s;
    }
}

/* The gradients for x and y of `add_norm`, from those for `out` and for `sum`; y's is x's where there is no scale,
 * and is then not written. */
void add_norm_backward(const bf16 *restrict for_out, const bf16 *restrict for_sum, const bf16 *restrict sum,
                       const bf16 *restrict scale, const bf16 *restrict weight, const float *restrict mean,
                       const float *restrict rstd, bf16 *restrict for_x, bf16 *restrict for_y, int64_t rows,
                       int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = r * width;
        const float m = mean[r], s = rstd[r];
        float first = 0, second = 0;
#pragma omp simd reduction(+ : first, second)
        for (int64_t c = 0; c < width; c++) {
            float g = wide(for_out[at + c]) * wide(weight[c]);
            first += g;
            second += g * (wide(sum[at + c]) - m) * s;
        }
        first /= width;
        second /= width;
#pragma omp simd
        for (int64_t c = 0; c < width; c++) {
            float g = wide(for_out[at + c]) * wide(weight[c]);
            float through = s * (g - first - (wide(sum[at + c]) - m) * s * second);
            for_x[at + c] = narrow(through + (for_sum ? wide(for_sum[at + c]) : 0.0f));
        }
        if (scale) {
#pragma omp simd
            for (int64_t c = 0; c < width; c++) for_y[at + c] = narrow(wide(for_x[at + c]) * wide(scale[c]));
        }
    }
}

/* Rows of scores become softmax(factor * scores), in place. */
void softmax(bf16 *scores, float factor, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        bf16 *row = scores + r * width;
        float values[width];
        float top = -INFINITY, sum = 0;
#pragma omp simd reduction(max : top)
        for (int64_t c = 0; c < width; c++) {
            values[c] = wide(row[c]) * factor;
            top = values[c] > top ? values[c] : top;
        }
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < width; c++) {
            values[c] = exp_negative(values[c] - top);
            sum += values[c];
        }
        float share = 1 / sum;
#pragma omp simd
        for (int64_t c = 0; c < width; c++) row[c] = narrow(values[c] * share);
    }
}
