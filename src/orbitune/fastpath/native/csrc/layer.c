/* A transformer layer with frozen weights and LoRA updates of q, k and v. A few images at a time go through the
 * whole layer, so that their rows stay in a core's caches from the first LayerNorm to the last residual add. */
#include "attention.h"
#include "norms.h"
#include "panels.h"

/* A LoRA update: scaling * up (outputs, rank) down (rank, width) is added to the outputs from `first` on. */
typedef struct {
    const float *down, *up;
    float *grad_down, *grad_up; /* gradients of the two */
    int64_t rank, first, outputs;
    float scaling;
} Lora;

/* Linear layers are y = x W^T + b with weights (out, in). Biases and layer scales may be NULL. All dimensions but
 * `images` and `tokens` are multiples of 16. */
typedef struct {
    int64_t images, tokens, width, heads, hidden;
    const element *norm1, *norm1_bias, *qkv, *qkv_bias, *out, *out_bias, *scale1;
    const element *norm2, *norm2_bias, *mlp_in, *mlp_in_bias, *mlp_out, *mlp_out_bias, *scale2;
    float eps1, eps2;
    const Lora *lora; /* `updates` of them, for q, k and v */
    int64_t updates;
    int64_t rank;             /* sum of the ranks, rounded up to a multiple of LANES */
    uint32_t seed, threshold; /* dropout of the updates' input; threshold = 0: none */
    /* Of the angles that rotate q and k of the tokens behind the first `prefix`, in rows of width / heads / 2 rounded
     * up to a multiple of LANES; NULL: none. */
    const float *cosines, *sines;
    int64_t prefix;
} Layer;

/* All updates as one: down (rank, width), and up (rank, 3 width) block by block. */
typedef struct {
    element *down, *up;
    int64_t rank; /* before rounding up */
} JoinedLora;

static JoinedLora join_lora(Memory *m, const Layer *l) {
    const int64_t size = l->rank * l->width;
    JoinedLora j = {reserve(m, size * sizeof(element)), reserve(m, 3 * size * sizeof(element)), 0};
    if (m->failed) return j;
    memset(j.down, 0, size * sizeof(element));
    memset(j.up, 0, 3 * size * sizeof(element));
    for (const Lora *f = l->lora; f < l->lora + l->updates; f++)
        for (int64_t r = 0; r < f->rank; r++, j.rank++) {
            for (int64_t c = 0; c < l->width; c += LANES)
                store(j.down + j.rank * l->width + c, LANES, load_floats(f->down + r * l->width + c));
            for (int64_t o = 0; o < f->outputs; o += LANES) {
                const int64_t left = minimum(f->outputs - o, LANES);
                float column[LANES] = {0};
                for (int64_t i = 0; i < left; i++) column[i] = f->up[(o + i) * f->rank + r] * f->scaling;
                store(j.up + j.rank * 3 * l->width + f->first + o, left, load_floats(column));
            }
        }
    return j;
}

/* Split the joint gradients, down (rank, width) and then up (rank, 3 width), among the updates. */
static void split_gradients(const Layer *l, const float *downs, int64_t rank) {
    const float *up = downs + rank * l->width;
    for (const Lora *f = l->lora; f < l->lora + l->updates; f++) {
        memcpy(f->grad_down, downs, f->rank * l->width * sizeof(float));
        for (int64_t o = 0; o < f->outputs; o++)
            for (int64_t r = 0; r < f->rank; r++)
                f->grad_up[o * f->rank + r] = up[r * 3 * l->width + f->first + o] * f->scaling;
        downs += f->rank * l->width;
        up += f->rank * 3 * l->width;
    }
}

/* Stored for the backward pass, each with images * tokens rows. */
typedef struct {
    element *qkv, *weights, *reduced; /* (3 width), (heads, tokens rounded up to a multiple of LANES), (rank) */
    element *residual, *gelu_grad;    /* after attention (width); derivative of GELU (hidden), may be NULL */
    float *moments;                /* mean and 1 / standard deviation, of x and of the residual (4, rows) */
} Saved;

/* The stored rows of the images that a thread works on. */
typedef struct {
    int64_t top, rows, images; /* number of the first row; number of rows and images */
    element *qkv, *weights, *reduced, *residual, *gelu_grad;
    Norm first, second;
} ImageRange;

static ImageRange range_of(const Layer *l, const Saved *s, int64_t image, int64_t images) {
    const int64_t top = image * l->tokens, all = l->images * l->tokens;
    float *const moments = s->moments + top;
    return (ImageRange){.top = top,
                        .rows = images * l->tokens,
                        .images = images,
                        .qkv = s->qkv + top * 3 * l->width,
                        .weights = s->weights + top * l->heads * ROUND_UP(l->tokens),
                        .reduced = s->reduced + top * l->rank,
                        .residual = s->residual + top * l->width,
                        .gelu_grad = s->gelu_grad ? s->gelu_grad + top * l->hidden : NULL,
                        .first = {moments, moments + all, l->norm1, l->norm1_bias},
                        .second = {moments + 2 * all, moments + 3 * all, l->norm2, l->norm2_bias}};
}

/* Buffers of a thread: `one`, `two` and `three` are (rows, width), `wide` is (rows, 3 width or hidden). */
typedef struct {
    element *one, *two, *three, *wide, *reduced;
    OuterBuffers outer;
    Head head;
    Workspace attention;
} Buffers;

static int64_t images_at_once(const Layer *l) {
    return (PANEL + l->tokens - 1) / l->tokens;
}

static Buffers new_buffers(Memory *m, const Layer *l) {
    const int64_t rows = images_at_once(l) * l->tokens, narrow = rows * l->width,
                  widest = l->hidden > 3 * l->width ? l->hidden : 3 * l->width, head = l->width / l->heads;
    Buffers s = {.head = {l->tokens, l->tokens, head, 3 * l->width, 3 * l->width, l->width, 1 / sqrtf(head)}};
    s.one = reserve(m, narrow * sizeof(element));
    s.two = reserve(m, narrow * sizeof(element));
    s.three = reserve(m, narrow * sizeof(element));
    s.wide = reserve(m, rows * widest * sizeof(element));
    s.reduced = reserve(m, rows * l->rank * sizeof(element));
    s.outer = new_outer_buffers(m, rows, l->rank, 3 * l->width);
    s.attention = new_workspace(m, s.head);
    return s;
}

/* Return buffers for each thread. */
static Buffers *new_buffers_of_threads(Memory *m, const Layer *l) {
    const int threads = omp_get_max_threads();
    Buffers *const all = reserve(m, threads * sizeof(Buffers));
    for (int t = 0; all && t < threads; t++) all[t] = new_buffers(m, l);
    return all;
}

/* y = x with dropped elements zero. */
static void apply_dropout(const Layer *l, ImageRange p, const element *x, element *y) {
    const int64_t n = p.rows * l->width;
    for (int64_t i = 0; i < n; i += 2 * LANES)
        copy_kept(x + i, y + i, n - i, p.top * l->width + i, l->seed, l->threshold);
}

/* Rotate q and k of patches by the angles of their positions, or back (direction -1), in rows (3 width). */
static void rotate(const Layer *l, element *qkv, int64_t images, float direction) {
    const int64_t head = l->width / l->heads, half = head / 2, stride = ROUND_UP(half);
    for (int64_t row = 0; row < images * l->tokens; row++) {
        const int64_t patch = row % l->tokens - l->prefix;
        if (patch < 0) continue;
        for (int64_t h = 0; h < 2 * l->heads; h++) /* the heads of q, then those of k */
            for (int64_t c = 0; c < half; c += LANES) {
                element *const first = qkv + row * 3 * l->width + h * head + c, *const second = first + half;
                const int64_t left = minimum(half - c, LANES);
                const floats a = load(first, left), b = load(second, left),
                             cosine = load_floats(l->cosines + patch * stride + c),
                             sine = load_floats(l->sines + patch * stride + c) * direction;
                store(first, left, a * cosine - b * sine);
                store(second, left, b * cosine + a * sine);
            }
    }
}

/* The layer's weights, packed for one direction: y = x W^T forward, grad_x = grad_y W backward. */
typedef struct {
    int backward;
    PackedMatrix qkv, out, mlp_in, mlp_out, reduced; /* `reduced` projects to the rank of the updates */
    Update update;
    JoinedLora joined;
} PackedLayer;

static PackedLayer new_packed_layer(Memory *m, const Layer *l, int backward) {
    const int64_t width = l->width, in = backward ? 3 * width : width, out = 4 * width - in;
    return (PackedLayer){
        .backward = backward,
        .qkv = new_packed_matrix(m, in, out),
        .out = new_packed_matrix(m, width, width),
        .mlp_in = backward ? new_packed_matrix(m, l->hidden, width) : new_packed_matrix(m, width, l->hidden),
        .mlp_out = backward ? new_packed_matrix(m, width, l->hidden) : new_packed_matrix(m, l->hidden, width),
        .reduced = new_packed_matrix(m, in, l->rank),
        /* forward, dropout is applied to the input instead */
        .update = new_update(m, l->rank, out, l->seed, backward ? l->threshold : 0),
        .joined = join_lora(m, l)};
}

/* Called by all threads of a parallel region; ends with a barrier. */
static void pack_layer(PackedLayer p, const Layer *l) {
    pack_matrix(p.qkv, l->qkv, !p.backward);
    pack_matrix(p.out, l->out, !p.backward);
    pack_matrix(p.mlp_in, l->mlp_in, !p.backward);
    pack_matrix(p.mlp_out, l->mlp_out, !p.backward);
    if (l->rank) {
        pack_matrix(p.reduced, p.backward ? p.joined.up : p.joined.down, 1);
        pack_up(p.update, p.backward ? p.joined.down : p.joined.up);
    }
#pragma omp barrier
}

/* fp32 (out,), or NULL. */
typedef struct {
    const float *qkv, *out, *mlp_in, *mlp_out;
} Biases;

/* Output y of the layer for the rows x of some images. */
static void forward(const Layer *l, const PackedLayer *f, Biases b, Buffers s, ImageRange p, const element *x,
                    element *y) {
    const int64_t width = l->width, head = s.head.width, square = l->tokens * ROUND_UP(l->tokens);
    find_moments(p.first, x, l->eps1, p.rows, width);
    normalise(p.first, x, s.one, p.rows, width);
    Update update = f->update;
    if (l->rank) {
        if (l->threshold) apply_dropout(l, p, s.one, s.two);
        panel(l->threshold ? s.two : s.one, f->reduced, (Epilogue){0}, p.top, p.rows, p.reduced);
        update.reduced = p.reduced;
    }
    panel(s.one, f->qkv, (Epilogue){.bias = b.qkv, .update = l->rank ? &update : NULL}, p.top, p.rows, p.qkv);
    if (l->cosines) rotate(l, p.qkv, p.images, 1);
    for (int64_t i = 0; i < p.images; i++)
        for (int64_t h = 0; h < l->heads; h++) {
            const element *q = p.qkv + i * l->tokens * 3 * width + h * head;
            attend(s.head, s.attention, q, q + width, q + 2 * width, s.one + i * l->tokens * width + h * head,
                   p.weights + (i * l->heads + h) * square);
        }
    panel(s.one, f->out, (Epilogue){.bias = b.out}, p.top, p.rows, s.two);
    add_rows(x, s.two, l->scale1, p.residual, p.rows, width);
    find_moments(p.second, p.residual, l->eps2, p.rows, width);
    normalise(p.second, p.residual, s.one, p.rows, width);
    panel(s.one, f->mlp_in, (Epilogue){.bias = b.mlp_in, .gelu = 1, .gelu_grad = p.gelu_grad}, p.top, p.rows,
          s.wide);
    panel(s.wide, f->mlp_out, (Epilogue){.bias = b.mlp_out}, p.top, p.rows, s.two);
    add_rows(p.residual, s.two, l->scale2, y, p.rows, width);
}

/* Output y (images * tokens, width) of the layer for x. y may be x: rows are written after they were read. */
int layer(const Layer *l, const element *x, const Saved *saved, element *y) {
    const int64_t width = l->width, at_once = images_at_once(l);
    Memory memory = {0};
    const PackedLayer f = new_packed_layer(&memory, l, 0);
    const Biases b = {new_bias(&memory, l->qkv_bias, 3 * width), new_bias(&memory, l->out_bias, width),
                      new_bias(&memory, l->mlp_in_bias, l->hidden), new_bias(&memory, l->mlp_out_bias, width)};
    const Buffers *const spaces = new_buffers_of_threads(&memory, l);
    if (memory.failed) return release(&memory);
#pragma omp parallel
    {
        const Buffers space = spaces[omp_get_thread_num()];
        pack_layer(f, l);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < l->images; i += at_once) {
            const ImageRange part = range_of(l, saved, i, minimum(l->images - i, at_once));
            forward(l, &f, b, space, part, x + part.top * width, y + part.top * width);
        }
    }
    return release(&memory);
}

/* Gradient of the rows x, unless `grad_x` is NULL. The gradients of the updates, down (rank, width) and then up
 * (rank, 3 width), are added to `sums`. */
static void backward(const Layer *l, const PackedLayer *b, Buffers s, ImageRange p, const element *x,
                     const element *grad_y, element *grad_x, float *sums) {
    const int64_t width = l->width, head = s.head.width, square = l->tokens * ROUND_UP(l->tokens);
    if (l->scale2) scale_rows(grad_y, l->scale2, s.one, p.rows, width);
    panel(l->scale2 ? s.one : grad_y, b->mlp_out, (Epilogue){.factor = p.gelu_grad}, p.top, p.rows, s.wide);
    panel(s.wide, b->mlp_in, (Epilogue){0}, p.top, p.rows, s.two);
    normalise_backward(p.second, s.two, grad_y, p.residual, l->scale1, s.three, s.one, p.rows, width);
    panel(l->scale1 ? s.one : s.three, b->out, (Epilogue){0}, p.top, p.rows, s.two);
    for (int64_t i = 0; i < p.images; i++)
        for (int64_t h = 0; h < l->heads; h++) {
            const int64_t at = i * l->tokens * 3 * width + h * head;
            const element *q = p.qkv + at;
            element *const grad_q = s.wide + at;
            attend_backward(s.head, s.attention, s.two + i * l->tokens * width + h * head, q, q + width,
                            q + 2 * width, p.weights + (i * l->heads + h) * square, grad_q, grad_q + width,
                            grad_q + 2 * width);
        }
    if (l->cosines) rotate(l, s.wide, p.images, -1);
    Update update = b->update;
    if (l->rank) {
        panel(s.wide, b->reduced, (Epilogue){0}, p.top, p.rows, s.reduced);
        update.reduced = s.reduced;
        normalise(p.first, x, s.one, p.rows, width);
        if (l->threshold) apply_dropout(l, p, s.one, s.one);
        add_outer(s.reduced, s.one, p.rows, b->joined.rank, l->rank, width, s.outer, sums);
        add_outer(p.reduced, s.wide, p.rows, b->joined.rank, l->rank, 3 * width, s.outer,
                  sums + b->joined.rank * width);
    }
    if (!grad_x) return;
    panel(s.wide, b->qkv, (Epilogue){.update = l->rank ? &update : NULL}, p.top, p.rows, s.two);
    normalise_backward(p.first, s.two, s.three, x, NULL, grad_x, NULL, p.rows, width);
}

/* Gradients of x (unless `grad_x` is NULL) and of the updates, from the gradient of y. Results do not overlap
 * inputs. */
int layer_backward(const Layer *l, const element *restrict x, const Saved *saved, const element *restrict grad_y,
                   element *restrict grad_x) {
    Memory memory = {0};
    const PackedLayer b = new_packed_layer(&memory, l, 1);
    const int64_t width = l->width, at_once = images_at_once(l), size = b.joined.rank * 4 * width;
    const int64_t slice = (l->images + SLICES * at_once - 1) / (SLICES * at_once) * at_once;
    float *const parts = reserve(&memory, SLICES * size * sizeof(float));
    const Buffers *const spaces = new_buffers_of_threads(&memory, l);
    if (memory.failed) return release(&memory);
#pragma omp parallel
    {
        const Buffers space = spaces[omp_get_thread_num()];
        pack_layer(b, l);
#pragma omp for schedule(dynamic)
        for (int64_t s = 0; s < SLICES; s++) {
            float *const sums = parts + s * size;
            memset(sums, 0, size * sizeof(float));
            for (int64_t i = s * slice; i < minimum(l->images, (s + 1) * slice); i += at_once) {
                const ImageRange part = range_of(l, saved, i, minimum(l->images - i, at_once));
                const int64_t at = part.top * width;
                backward(l, &b, space, part, x + at, grad_y + at, grad_x ? grad_x + at : NULL, sums);
            }
        }
        add_parts(parts, SLICES, size, parts);
    }
    split_gradients(l, parts, b.joined.rank);
    return release(&memory);
}
