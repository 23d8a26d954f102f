/* A transformer layer whose weights are frozen, with low-rank updates of q, k and v: some images at a time, whose
 * rows stay in a core's caches from the first normalisation to the last sum. */
#include "attention.h"
#include "norms.h"
#include "panels.h"

/* A low-rank update: scaling * up (outputs, rank) down (rank, width) adds to the outputs from `first` on. */
typedef struct {
    const float *down, *up;
    float *for_down, *for_up; /* their gradients */
    int64_t rank, first, outputs;
    float scaling;
} Factors;

/* Products are y = x W^T + b, weights (out, in). Biases and scales may be NULL. All lengths but those of images and
 * tokens are multiples of 16. */
typedef struct {
    int64_t images, tokens, width, heads, middle;
    const bf16 *norm1, *norm1_bias, *qkv, *qkv_bias, *out, *out_bias, *scale1;
    const bf16 *norm2, *norm2_bias, *widen, *widen_bias, *narrow, *narrow_bias, *scale2;
    float eps1, eps2;
    const Factors *factors; /* of so many updates of qkv */
    int64_t updates;
    int64_t rank;         /* of all updates together, rounded up to a multiple of 16 */
    uint32_t seed, below; /* of the dropout before them; below = 0: none */
} Layer;

/* All updates as one product down (rank, width) and, block by block, one up (rank, 3 width). */
typedef struct {
    bf16 *down, *lift;
    int64_t rank; /* without what it was rounded up by */
} Joined;

static Joined join(const Layer *l) {
    Joined j = {calloc(l->rank * l->width, 2), calloc(l->rank * l->width, 6), 0};
    for (const Factors *f = l->factors; f < l->factors + l->updates; f++)
        for (int64_t r = 0; r < f->rank; r++, j.rank++) {
            for (int64_t c = 0; c < l->width; c += LANES)
                store(j.down + j.rank * l->width + c, LANES, _mm512_loadu_ps(f->down + r * l->width + c));
            bf16 *const lift = j.lift + j.rank * 3 * l->width + f->first;
            const __m512i places = _mm512_mullo_epi32(_mm512_set1_epi32((int)f->rank), LANE_NUMBERS);
            for (int64_t o = 0; o < f->outputs; o += LANES) {
                const float *const from = f->up + o * f->rank + r;
                const __m512 up =
                    _mm512_mask_i32gather_ps(_mm512_setzero_ps(), first_of(f->outputs - o), places, from, 4);
                store(lift + o, f->outputs - o, _mm512_mul_ps(up, _mm512_set1_ps(f->scaling)));
            }
        }
    return j;
}

static void free_joined(Joined j) {
    free(j.down);
    free(j.lift);
}

/* Give each update its gradients, out of those for all together: down (rank, width), then lift (rank, 3 width). */
static void share_out(const Layer *l, const float *downs, int64_t rank) {
    const float *lift = downs + rank * l->width;
    for (const Factors *f = l->factors; f < l->factors + l->updates; f++) {
        memcpy(f->for_down, downs, f->rank * l->width * 4);
        for (int64_t o = 0; o < f->outputs; o++)
            for (int64_t r = 0; r < f->rank; r++)
                f->for_up[o * f->rank + r] = lift[r * 3 * l->width + f->first + o] * f->scaling;
        downs += f->rank * l->width;
        lift += f->rank * 3 * l->width;
    }
}

/* What the gradient needs, (rows, ...), rows = images * tokens. */
typedef struct {
    bf16 *qkv, *weights, *low; /* (3 width), (heads, tokens up to a multiple of 16), (rank) */
    bf16 *sum, *slope;         /* after attention (width); of GELU (middle), may be NULL */
    float *moments;            /* of x and of the sum: mean and 1 / deviation (4, rows) */
} Saved;

/* Some rows of it: those of the images that a thread works on. */
typedef struct {
    int64_t top, rows, images; /* the number of the first row, and how many rows and images there are */
    bf16 *qkv, *weights, *low, *sum, *slope;
    Norm first, second;
} Part;

static Part part_of(const Layer *l, const Saved *s, int64_t image, int64_t images) {
    const int64_t top = image * l->tokens, all = l->images * l->tokens;
    float *const moments = s->moments + top;
    return (Part){.top = top,
                  .rows = images * l->tokens,
                  .images = images,
                  .qkv = s->qkv + top * 3 * l->width,
                  .weights = s->weights + top * l->heads * ROUND_UP(l->tokens),
                  .low = s->low + top * l->rank,
                  .sum = s->sum + top * l->width,
                  .slope = s->slope ? s->slope + top * l->middle : NULL,
                  .first = {moments, moments + all, l->norm1, l->norm1_bias},
                  .second = {moments + 2 * all, moments + 3 * all, l->norm2, l->norm2_bias}};
}

/* What a thread works in: `one`, `two` and `three` are (rows, width), `wide` (rows, 3 width or middle). */
typedef struct {
    bf16 *one, *two, *three, *wide, *low;
    uint32_t *left, *right;
    Head head;
    Workspace attention;
} Space;

static int64_t images_at_once(const Layer *l) {
    return (PANEL + l->tokens - 1) / l->tokens;
}

static Space new_space(const Layer *l) {
    const int64_t rows = images_at_once(l) * l->tokens,
                  widest = l->middle > 3 * l->width ? l->middle : 3 * l->width;
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

/* y = x less what the draw removes. */
static void dropped(const Layer *l, Part p, const bf16 *x, bf16 *y) {
    const int64_t n = p.rows * l->width;
    for (int64_t i = 0; i < n; i += 2 * LANES)
        store_kept(x + i, y + i, n - i, kept(p.top * l->width + i, l->seed, (uint16_t)l->below));
}

/* The layer's right factors, packed for one direction: those of y = x W^T, or of the gradients y = x W. */
typedef struct {
    int backward;
    Right qkv, out, widen, narrow, low; /* the last makes the low-rank input of the update */
    Update update;
    Joined joined;
} Packed;

static Packed new_packed(const Layer *l, int backward) {
    const int64_t width = l->width, in = backward ? 3 * width : width, out = 4 * width - in;
    return (Packed){.backward = backward,
                    .qkv = new_right(in, out),
                    .out = new_right(width, width),
                    .widen = backward ? new_right(l->middle, width) : new_right(width, l->middle),
                    .narrow = backward ? new_right(width, l->middle) : new_right(l->middle, width),
                    .low = new_right(in, l->rank),
                    /* forward, what is dropped is dropped before */
                    .update = new_update(l->rank, out, l->seed, backward ? l->below : 0),
                    .joined = join(l)};
}

/* By all threads of a region, which meet at its end. */
static void fill_packed(Packed p, const Layer *l) {
    fill(p.qkv, l->qkv, !p.backward);
    fill(p.out, l->out, !p.backward);
    fill(p.widen, l->widen, !p.backward);
    fill(p.narrow, l->narrow, !p.backward);
    if (l->rank) {
        fill(p.low, p.backward ? p.joined.lift : p.joined.down, 1);
        fill_lift(p.update, p.backward ? p.joined.down : p.joined.lift);
    }
#pragma omp barrier
}

static void free_packed(Packed p) {
    const Right rights[] = {p.qkv, p.out, p.widen, p.narrow, p.low};
    for (int i = 0; i < 5; i++) free(rights[i].strips);
    free_update(p.update);
    free_joined(p.joined);
}

/* In fp32, or NULL. */
typedef struct {
    float *qkv, *out, *widen, *narrow;
} Biases;

/* y is what the layer makes of some rows x. */
static void forward(const Layer *l, const Packed *f, Biases b, Space s, Part p, const bf16 *x, bf16 *y) {
    const int64_t width = l->width, head = s.head.width, square = l->tokens * ROUND_UP(l->tokens);
    find_moments(p.first, x, l->eps1, p.rows, width);
    normalise(p.first, x, s.one, p.rows, width);
    Update update = f->update;
    if (l->rank) {
        if (l->below) dropped(l, p, s.one, s.two);
        panel(l->below ? s.two : s.one, f->low, (Steps){0}, p.top, p.rows, p.low);
        update.low = p.low;
    }
    panel(s.one, f->qkv, (Steps){.bias = b.qkv, .update = l->rank ? &update : NULL}, p.top, p.rows, p.qkv);
    for (int64_t i = 0; i < p.images; i++)
        for (int64_t h = 0; h < l->heads; h++) {
            const bf16 *q = p.qkv + i * l->tokens * 3 * width + h * head;
            attend(s.head, s.attention, q, q + width, q + 2 * width, s.one + i * l->tokens * width + h * head,
                   p.weights + (i * l->heads + h) * square);
        }
    panel(s.one, f->out, (Steps){.bias = b.out}, p.top, p.rows, s.two);
    add_rows(x, s.two, l->scale1, p.sum, p.rows, width);
    find_moments(p.second, p.sum, l->eps2, p.rows, width);
    normalise(p.second, p.sum, s.one, p.rows, width);
    panel(s.one, f->widen, (Steps){.bias = b.widen, .gelu = 1, .slope = p.slope}, p.top, p.rows, s.wide);
    panel(s.wide, f->narrow, (Steps){.bias = b.narrow}, p.top, p.rows, s.two);
    add_rows(p.sum, s.two, l->scale2, y, p.rows, width);
}

/* y (images * tokens, width) is what the layer makes of x. */
void layer(const Layer *l, const bf16 *x, const Saved *saved, bf16 *y) {
    const int64_t width = l->width, at_once = images_at_once(l);
    const Packed f = new_packed(l, 0);
    const Biases b = {new_bias(l->qkv_bias, 3 * width), new_bias(l->out_bias, width),
                      new_bias(l->widen_bias, l->middle), new_bias(l->narrow_bias, width)};
#pragma omp parallel
    {
        const Space space = new_space(l);
        fill_packed(f, l);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < l->images; i += at_once) {
            const Part part = part_of(l, saved, i, at_most(l->images - i, at_once));
            forward(l, &f, b, space, part, x + part.top * width, y + part.top * width);
        }
        free_space(space);
    }
    free_packed(f);
    free(b.qkv);
    free(b.out);
    free(b.widen);
    free(b.narrow);
}

/* The gradient for some rows x, or none if `for_x` is NULL; those for the updates, down (rank, width) and then lift
 * (rank, 3 width), are added to `sums`. */
static void backward(const Layer *l, const Packed *b, Space s, Part p, const bf16 *x, const bf16 *for_y,
                     bf16 *for_x, float *sums) {
    const int64_t width = l->width, head = s.head.width, square = l->tokens * ROUND_UP(l->tokens);
    if (l->scale2) scale_rows(for_y, l->scale2, s.one, p.rows, width);
    panel(l->scale2 ? s.one : for_y, b->narrow, (Steps){.factor = p.slope}, p.top, p.rows, s.wide);
    panel(s.wide, b->widen, (Steps){0}, p.top, p.rows, s.two);
    normalise_backward(p.second, s.two, for_y, p.sum, l->scale1, s.three, s.one, p.rows, width);
    panel(l->scale1 ? s.one : s.three, b->out, (Steps){0}, p.top, p.rows, s.two);
    for (int64_t i = 0; i < p.images; i++)
        for (int64_t h = 0; h < l->heads; h++) {
            const int64_t at = i * l->tokens * 3 * width + h * head;
            const bf16 *q = p.qkv + at;
            bf16 *const for_q = s.wide + at;
            attend_backward(s.head, s.attention, s.two + i * l->tokens * width + h * head, q, q + width,
                            q + 2 * width, p.weights + (i * l->heads + h) * square, for_q, for_q + width,
                            for_q + 2 * width);
        }
    Update update = b->update;
    if (l->rank) {
        panel(s.wide, b->low, (Steps){0}, p.top, p.rows, s.low);
        update.low = s.low;
        normalise(p.first, x, s.one, p.rows, width);
        if (l->below) dropped(l, p, s.one, s.one);
        add_outer(s.low, s.one, p.rows, b->joined.rank, l->rank, width, s.left, s.right, sums);
        add_outer(p.low, s.wide, p.rows, b->joined.rank, l->rank, 3 * width, s.left, s.right,
                  sums + b->joined.rank * width);
    }
    if (!for_x) return;
    panel(s.wide, b->qkv, (Steps){.update = l->rank ? &update : NULL}, p.top, p.rows, s.two);
    normalise_backward(p.first, s.two, s.three, x, NULL, for_x, NULL, p.rows, width);
}

/* The gradient for the x of `layer`, unless `for_x` is NULL, from the one for y; and those for the updates. */
void layer_backward(const Layer *l, const bf16 *x, const Saved *saved, const bf16 *for_y, bf16 *for_x) {
    const Packed b = new_packed(l, 1);
    const int64_t width = l->width, at_once = images_at_once(l), size = b.joined.rank * 4 * width;
    const int64_t slice = (l->images + SLICES * at_once - 1) / (SLICES * at_once) * at_once;
    float *const parts = aligned_alloc(64, SLICES * size * 4);
#pragma omp parallel
    {
        const Space space = new_space(l);
        fill_packed(b, l);
#pragma omp for schedule(dynamic)
        for (int64_t s = 0; s < SLICES; s++) {
            float *const sums = parts + s * size;
            memset(sums, 0, size * 4);
            for (int64_t i = s * slice; i < at_most(l->images, (s + 1) * slice); i += at_once) {
                const Part part = part_of(l, saved, i, at_most(l->images - i, at_once));
                const int64_t at = part.top * width;
                backward(l, &b, space, part, x + at, for_y + at, for_x ? for_x + at : NULL, sums);
            }
        }
        add_parts(parts, SLICES, size, parts);
        free_space(space);
    }
    share_out(l, parts, b.joined.rank);
    free_packed(b);
    free(parts);
}
