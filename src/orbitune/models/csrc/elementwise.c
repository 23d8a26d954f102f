/* Element-wise steps of a transformer block, one pass over memory each. */
#include "vectors.h"

/* y = h Phi(h) and its derivative. */
void gelu(const bf16 *at, bf16 *y, bf16 *slope, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += LANES) {
        __m512 derivative;
        store(y + i, n - i, gelu_of(load(at + i, n - i), &derivative));
        store(slope + i, n - i, derivative);
    }
}

/* y = x where it is kept, else 0; the same call drops the gradient. */
void dropout(const bf16 *x, bf16 *y, uint32_t seed, uint32_t below, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += 2 * LANES) {
        const __mmask32 inside = n - i >= 2 * LANES ? 0xffffffffu : (1u << (n - i)) - 1;
        const __mmask32 keep = kept(i, seed, (uint16_t)below);
        const __m512i out = _mm512_maskz_mov_epi16(keep, _mm512_maskz_loadu_epi16(inside, x + i));
        if (inside == 0xffffffffu)
            _mm512_storeu_si512(y + i, out);
        else
            _mm512_mask_storeu_epi16(y + i, inside, out);
    }
}

/* y += x where it is kept. */
void dropout_add(const bf16 *x, bf16 *y, uint32_t seed, uint32_t below, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += 2 * LANES) {
        const __mmask32 keep = kept(i, seed, (uint16_t)below);
        for (int half = 0; half < 2 && i + half * LANES < n; half++) {
            const int64_t at = i + half * LANES;
            const __mmask16 here = (__mmask16)(keep >> half * LANES);
            const __m512 sum = load(y + at, n - at);
            store(y + at, n - at, _mm512_mask_add_ps(sum, here, sum, load(x + at, n - at)));
        }
    }
}

/* sum = x + scale * y and out = (sum - mean) * rstd * weight + bias, by rows of `width`; mean and rstd are kept
 * for the gradient. Without y the sum is x, and without a scale it is one. */
void add_norm(const bf16 *x, const bf16 *y, const bf16 *scale, const bf16 *weight, const bf16 *bias, bf16 *sum,
              bf16 *out, float *mean, float *rstd, float eps, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        float values[ROUND_UP(width)];
        const int64_t at = r * width;
        __m512 total = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
        for (int64_t c = 0; c < width; c += LANES) {
            const int64_t left = width - c;
            __m512 value = load(x + at + c, left);
            if (y) {
                const __m512 added = load(y + at + c, left);
                value = scale ? _mm512_fmadd_ps(added, load(scale + c, left), value) : _mm512_add_ps(added, value);
                const __m256i narrow = (__m256i)_mm512_cvtneps_pbh(value);
                value = widened(narrow); /* what is normalised is what is stored */
                store(sum + at + c, left, value);
            }
            _mm512_storeu_ps(values + c, value);
            total = _mm512_add_ps(total, value);
        }
        const float m = _mm512_reduce_add_ps(total) / width;
        const __m512 middle = _mm512_set1_ps(m);
        for (int64_t c = 0; c < width; c += LANES) {
            const __m512 away = _mm512_maskz_sub_ps(first_of(width - c), _mm512_loadu_ps(values + c), middle);
            squares = _mm512_fmadd_ps(away, away, squares);
        }
        const float s = 1 / sqrtf(_mm512_reduce_add_ps(squares) / width + eps);
        for (int64_t c = 0; c < width; c += LANES) {
            const int64_t left = width - c;
            const __m512 away = _mm512_sub_ps(_mm512_loadu_ps(values + c), middle);
            const __m512 normal = _mm512_mul_ps(away, _mm512_set1_ps(s));
            store(out + at + c, left, _mm512_fmadd_ps(normal, load(weight + c, left), load(bias + c, left)));
        }
        mean[r] = m;
        rstd[r] = s;
    }
}

/* The gradients for x and y of `add_norm`, from those for `out` and for `sum`; y's is x's where there is no scale,
 * and is then not written. */
void add_norm_backward(const bf16 *for_out, const bf16 *for_sum, const bf16 *sum, const bf16 *scale,
                       const bf16 *weight, const float *mean, const float *rstd, bf16 *for_x, bf16 *for_y,
                       int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        float slopes[ROUND_UP(width)], normals[ROUND_UP(width)];
        const int64_t at = r * width;
        const __m512 m = _mm512_set1_ps(mean[r]), s = _mm512_set1_ps(rstd[r]);
        __m512 first = _mm512_setzero_ps(), second = _mm512_setzero_ps();
        for (int64_t c = 0; c < width; c += LANES) {
            const int64_t left = width - c;
            const __m512 g = _mm512_mul_ps(load(for_out + at + c, left), load(weight + c, left));
            const __m512 normal = _mm512_mul_ps(_mm512_sub_ps(load(sum + at + c, left), m), s);
            first = _mm512_add_ps(first, g);
            second = _mm512_fmadd_ps(g, normal, second);
            _mm512_storeu_ps(slopes + c, g);
            _mm512_storeu_ps(normals + c, normal);
        }
        const __m512 one = _mm512_set1_ps(_mm512_reduce_add_ps(first) / width);
        const __m512 two = _mm512_set1_ps(_mm512_reduce_add_ps(second) / width);
        for (int64_t c = 0; c < width; c += LANES) {
            const int64_t left = width - c;
            const __m512 centred = _mm512_sub_ps(_mm512_loadu_ps(slopes + c), one);
            __m512 g = _mm512_mul_ps(s, _mm512_fnmadd_ps(_mm512_loadu_ps(normals + c), two, centred));
            if (for_sum) g = _mm512_add_ps(g, load(for_sum + at + c, left));
            store(for_x + at + c, left, g);
            if (scale) store(for_y + at + c, left, _mm512_mul_ps(g, load(scale + c, left)));
        }
    }
}
