/* A transformer layer whose weights are frozen, with low-rank updates of q, k and v: some images at a time, whose rows
 * stay in a core's caches from the first normalisation to the last sum. */
#include "attention.h"
#include "norms.h"
#include "panels.h"

#define SLICES 8 /* of the images, whose gradients for the updates are summed apart; not by threads, as these vary */

/* Products are y = x W^T + b, weights (out, in). The biases, scales and, where `rank` is 0, down and lift may be
 * NULL. All lengths but those of images and tokens are multiples of 16. */
typedef struct {
    int64_t images, tokens, width, heads, middle, rank;
    int64_t trained; /* of the rank; the rest are zeros */
    const bf16 *norm1, *norm1_bias, *qkv, *qkv_bias, *down, *lift, *out, *out_bias, *scale1;
    const bf16 *norm2, *norm2_bias, *widen, *widen_bias, *narrow, *narrow_bias, *scale2;
    float eps1, eps2;
    uint32_t seed, below; /* of the dropout before `down`; below = 0: none */
} Layer;

/* What the gradient needs, (rows, ...), rows = images * tokens. */
typedef struct {
    bf16 *qkv, *weights, *low; /* (3 width), (heads, tokens up to a multiple of 16), (rank) */
    bf16 *sum, *slope;         /* after attention (width); of GELU (middle), may be NULL */
    float *moments;            /* of x and of the sum: mean and 1 / deviation (4, rows) */
} Saved;

/* What a thread works in: `one`, `two` and `three` are (rows, width), `wide` (rows, 3 width or middle). */
typedef struct {
    bf16 *one, *two, *three, *wide, *low;
    uint32_t *left, *right;
    Head head;
    Workspace attention;
} Space;

static int64_t images_at_once(const Layer *l) { return (PANEL + l->tokens - 1) / l->tokens; }

static Space new_space(const Layer *l) {
    const int64_t rows = images_at_once(l) * l->tokens, widest = l->middle > 3 * l->width ? l->middle : 3 * l->width;
    const int64_t head = l->width / l->heads;
    Space s = {.head = {l->tokens, l->tokens, head, 3 * l->width, 3 * l->width, l->width, 1 / sqrtf(head)}};
    s.one = malloc(rows * l->width * 2);
    s.two = malloc(rows * l->width * 2);
    s.three = malloc(rows * l->width * 2);
    s.wide = malloc(rows * widest * 2);
    s.low = malloc(rows * l->rank * 2);
    s.left = malloc((rows + 1) * l->rank * 2);
    s.right = malloc((rows + 1) * 3 * l->width * 2);
    s.attention = new_workspace(s.head);
    return s;
}

static void free_space(Space s) {
    free(s.one);
    free(s.two);
    free(s.three);
    free(s.wide);
    free(s.low);
    free(s.left);
    free(s.right);
    free_workspace(s.attention);
}

/* Rows that begin at row `top`: normalised, and with what the draw removes. */
static void dropped(const Layer *l, const bf16 *x, int64_t top, int64_t height, bf16 *y) {
    for (int64_t i = 0; i < height * l->width; i += 2 * LANES) {
        const int64_t left = at_most(height * l->width - i, 2 * LANES);
        const __mmask32 keep = kept(top * l->width + i, l->seed, (uint16_t)l->below);
        _mm512_mask_storeu_epi16(y + i, left == 2 * LANES ? 0xffffffffu : 0xffffu,
                                 _mm512_maskz_loadu_epi16(left == 2 * LANES ? keep : keep & 0xffffu, x + i));
    }
}

typedef struct {
    Right qkv, out, widen, narrow, down;
    Update update;
    float *qkv_bias, *out_bias, *widen_bias, *narrow_bias;
} Forward;

/* y is what the layer makes of `height` rows x, of which the first is row `top`. */
static void forward(const Layer *l, const Forward *f, Space s, const bf16 *x, Saved saved, int64_t top, int64_t height,
                    bf16 *y) {
    const int64_t width = l->width, rows = l->images * l->tokens, padded = ROUND_UP(l->tokens);
    const int64_t square = l->tokens * padded, head = s.head.width;
    bf16 *const qkv = saved.qkv + top * 3 * width, *const sum = saved.sum + top * width;
    float *const moments1 = saved.moments + top, *const moments2 = moments1 + 2 * rows;
    for (int64_t r = 0; r < height; r++) {
        moments(x + r * width, l->eps1, moments1 + r, moments1 + rows + r, width);
        normalise(x + r * width, moments1[r], moments1[rows + r], l->norm1, l->norm1_bias, s.one + r * width, width);
    }
    Update update = f->update;
    if (l->rank) {
        bf16 *const low = saved.low + top * l->rank;
        if (l->below) dropped(l, s.one, top, height, s.two);
        panel(l->below ? s.two : s.one, f->down, (Steps){0}, top, height, low);
        update.low = low;
    }
    panel(s.one, f->qkv, (Steps){.bias = f->qkv_bias, .update = l->rank ? &update : NULL}, top, height, qkv);
    for (int64_t i = 0; i < height / l->tokens; i++)
        for (int64_t h = 0; h < l->heads; h++) {
            const bf16 *q = qkv + i * l->tokens * 3 * width + h * head;
            attend(s.head, s.attention, q, q + width, q + 2 * width, s.one + i * l->tokens * width + h * head,
                   saved.weights + ((top / l->tokens + i) * l->heads + h) * square);
        }
    panel(s.one, f->out, (Steps){.bias = f->out_bias}, top, height, s.two);
    for (int64_t r = 0; r < height; r++) {
        add_row(x + r * width, s.two + r * width, l->scale1, sum + r * width, width);
        moments(sum + r * width, l->eps2, moments2 + r, moments2 + rows + r, width);
        normalise(sum + r * width, moments2[r], moments2[rows + r], l->norm2, l->norm2_bias, s.one + r * width, width);
    }
    bf16 *const slope = saved.slope ? saved.slope + top * l->middle : NULL;
    panel(s.one, f->widen, (Steps){.bias = f->widen_bias, .gelu = 1, .slope = slope}, top, height, s.wide);
    panel(s.wide, f->narrow, (Steps){.bias = f->narrow_bias}, top, height, s.two);
    for (int64_t r = 0; r < height; r++)
        add_row(sum + r * width, s.two + r * width, l->scale2, y + r * width, width);
}

/* y (images * tokens, width) is what the layer makes of x. */
void layer(const Layer *l, const bf16 *x, const Saved *saved, bf16 *y) {
    const int64_t width = l->width, at_once = images_at_once(l);
    const Forward f = {.qkv = new_right(width, 3 * width),
                       .out = new_right(width, width),
                       .widen = new_right(width, l->middle),
                       .narrow = new_right(l->middle, width),
                       .down = new_right(width, l->rank),
                       .update = new_update(l->rank, 3 * width, 0, 0),
                       .qkv_bias = new_bias(l->qkv_bias, 3 * width),
                       .out_bias = new_bias(l->out_bias, width),
                       .widen_bias = new_bias(l->widen_bias, l->middle),
                       .narrow_bias = new_bias(l->narrow_bias, width)};
#pragma omp parallel
    {
        const Space space = new_space(l);
        fill(f.qkv, l->qkv, 1);
        fill(f.out, l->out, 1);
        fill(f.widen, l->widen, 1);
        fill(f.narrow, l->narrow, 1);
        if (l->rank) {
            fill(f.down, l->down, 1);
            fill_lift(f.update, l->lift);
        }
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < l->images; i += at_once) {
            const int64_t top = i * l->tokens;
            forward(l, &f, space, x + top * width, *saved, top, at_most(l->images - i, at_once) * l->tokens,
                    y + top * width);
        }
        free_space(space);
    }
    Right rights[] = {f.qkv, f.out, f.widen, f.narrow, f.down};
    for (int i = 0; i < 5; i++) free(rights[i].strips);
    free_update(f.update);
    free(f.qkv_bias);
    free(f.out_bias);
    free(f.widen_bias);
    free(f.narrow_bias);
}

typedef struct {
    Right qkv, out, widen, narrow, lift;
    Update update;
} Backward;

/* The gradient for `height` rows x, of which the first is row `top`, or none if `for_x` is NULL; those for the updates,
 * down (trained, width) and then lift (trained, 3 width), are added to `part`. */
static void backward(const Layer *l, const Backward *b, Space s, const bf16 *x, Saved saved, const bf16 *for_y,
                     int64_t top, int64_t height, bf16 *for_x, float *part) {
    const int64_t width = l->width, rows = l->images * l->tokens, padded = ROUND_UP(l->tokens);
    const int64_t square = l->tokens * padded, head = s.head.width;
    const bf16 *const qkv = saved.qkv + top * 3 * width, *const sum = saved.sum + top * width;
    const float *const moments1 = saved.moments + top, *const moments2 = moments1 + 2 * rows;
    const bf16 *for_mlp = for_y;
    if (l->scale2) {
        for (int64_t r = 0; r < height; r++) scale_row(for_y + r * width, l->scale2, s.one + r * width, width);
        for_mlp = s.one;
    }
    panel(for_mlp, b->narrow, (Steps){.factor = saved.slope + top * l->middle}, top, height, s.wide);
    panel(s.wide, b->widen, (Steps){0}, top, height, s.two);
    for (int64_t r = 0; r < height; r++)
        normalise_backward(s.two + r * width, for_y + r * width, sum + r * width, moments2[r], moments2[rows + r],
                           l->scale1, l->norm2, s.three + r * width, s.one + r * width, width);
    panel(l->scale1 ? s.one : s.three, b->out, (Steps){0}, top, height, s.two);
    for (int64_t i = 0; i < height / l->tokens; i++)
        for (int64_t h = 0; h < l->heads; h++) {
            const int64_t at = i * l->tokens * 3 * width + h * head;
            const bf16 *q = qkv + at;
            bf16 *for_q = s.wide + at;
            attend_backward(s.head, s.attention, s.two + i * l->tokens * width + h * head, q, q + width, q + 2 * width,
                            saved.weights + ((top / l->tokens + i) * l->heads + h) * square, for_q, for_q + width,
                            for_q + 2 * width);
        }
    Update update = b->update;
    if (l->rank) {
        panel(s.wide, b->lift, (Steps){0}, top, height, s.low);
        update.low = s.low;
        for (int64_t r = 0; r < height; r++)
            normalise(x + r * width, moments1[r], moments1[rows + r], l->norm1, l->norm1_bias, s.one + r * width, width);
        if (l->below) dropped(l, s.one, top, height, s.one);
        add_outer(s.low, s.one, height, l->trained, l->rank, width, s.left, s.right, part);
        add_outer(saved.low + top * l->rank, s.wide, height, l->trained, l->rank, 3 * width, s.left, s.right,
                  part + l->trained * width);
    }
    if (!for_x) return;
    panel(s.wide, b->qkv, (Steps){.update = l->rank ? &update : NULL}, top, height, s.two);
    for (int64_t r = 0; r < height; r++)
        normalise_backward(s.two + r * width, s.three + r * width, x + r * width, moments1[r], moments1[rows + r], NULL,
                           l->norm1, for_x + r * width, NULL, width);
}

/* The gradient for the x of `layer`, unless `for_x` is NULL, from the one for y; and those for the updates, down
 * (trained, width) and then lift (trained, 3 width). */
void layer_backward(const Layer *l, const bf16 *x, const Saved *saved, const bf16 *for_y, bf16 *for_x,
                    float *for_updates) {
    const int64_t width = l->width, at_once = images_at_once(l), size = l->trained * 4 * width;
    const int64_t slice = (l->images + SLICES * at_once - 1) / (SLICES * at_once) * at_once;
    const Backward b = {.qkv = new_right(3 * width, width),
                        .out = new_right(width, width),
                        .widen = new_right(l->middle, width),
                        .narrow = new_right(width, l->middle),
                        .lift = new_right(3 * width, l->rank),
                        .update = new_update(l->rank, width, l->seed, l->below)};
    float *const parts = aligned_alloc(64, SLICES * size * 4);
#pragma omp parallel
    {
        const Space space = new_space(l);
        fill(b.qkv, l->qkv, 0);
        fill(b.out, l->out, 0);
        fill(b.widen, l->widen, 0);
        fill(b.narrow, l->narrow, 0);
        if (l->rank) {
            fill(b.lift, l->lift, 1);
            fill_lift(b.update, l->down);
        }
#pragma omp for schedule(dynamic)
        for (int64_t s = 0; s < SLICES; s++) {
            memset(parts + s * size, 0, size * 4);
            for (int64_t i = s * slice; i < at_most(l->images, (s + 1) * slice); i += at_once) {
                const int64_t top = i * l->tokens;
                backward(l, &b, space, x + top * width, *saved, for_y + top * width, top,
                         at_most(l->images - i, at_once) * l->tokens, for_x ? for_x + top * width : NULL,
                         parts + s * size);
            }
        }
        add_parts(parts, SLICES, size, for_updates);
        free_space(space);
    }
    Right rights[] = {b.qkv, b.out, b.widen, b.narrow, b.lift};
    for (int i = 0; i < 5; i++) free(rights[i].strips);
    free_update(b.update);
    free(parts);
}
