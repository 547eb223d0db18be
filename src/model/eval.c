/* eval.c - one evaluation: tokens and states in, advanced states and logits out; and the building blocks
 * that the versions' layers are written with.
 *
 * Rows go through each layer together, so every weight is read once for all of them. All buffers are the
 * model's; nothing is allocated. Sums have an order that does not depend on how many rows there are. */
#include "model.h"
#include <string.h>

float *rw_take(rw_eval *e, size_t floats) {
    float *p = e->scratch;
    e->scratch += (floats + 15) & ~(size_t)15;
    return p;
}

void rw_split(rw_eval *e, size_t n, size_t grain, rw_pool_fn fn, void *ctx) {
    if (n <= grain) fn(ctx, 0, n, 0);
    else rw_pool_run(e->m->pool, n, grain, fn, ctx);
}

/* ---------------------------------------------------------------- matrix product */

typedef struct matmul_job {
    const struct rwkv_model *m;
    const rw_mat *w;
    const float *x;
    float *y;
    size_t x_stride, y_stride, n_tokens;
} matmul_job;

/* Tokens [begin, end) of the input as eight-bit integers; begin is a multiple of RW_PANEL. */
static void quantize_tokens(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const matmul_job *j = ctx;
    size_t n = j->w->cols, tiles = rw_pack_tiles(n);
    for (size_t t = begin; t < end; t++) {
        size_t panel = t / RW_PANEL * RW_PANEL;
        size_t width = j->n_tokens - panel < RW_PANEL ? j->n_tokens - panel : RW_PANEL;
        j->m->k->quantize(j->x + t * j->x_stride, n, j->m->acts + panel * tiles + (t - panel), width);
    }
}

/* Weight rows [begin, end), begin a multiple of a strip's: as many strips as the second-level cache
 * keeps, with all tokens, a panel at a time. */
static void packed_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    enum { CACHED = 256 * 1024 };
    const matmul_job *j = ctx;
    const rw_mat *w = j->w;
    rw_pack pack = w->pack;
    size_t n = w->cols, tiles = rw_pack_tiles(n), strip_bytes = rw_pack_strip_bytes(pack, n);
    size_t step = (CACHED / strip_bytes + 1) * RW_STRIP_ROWS;
    for (size_t r = begin; r < end; r += step) {
        const uint8_t *strips = w->packed + r / RW_STRIP_ROWS * strip_bytes;
        size_t rows = end - r < step ? end - r : step;
        for (size_t t = 0; t < j->n_tokens; t += RW_PANEL) {
            size_t width = j->n_tokens - t < RW_PANEL ? j->n_tokens - t : RW_PANEL;
            j->m->k->matmul_packed[pack](strips, n, rows, j->m->acts + t * tiles, width, w->scale,
                                         j->y + t * j->y_stride + r, j->y_stride);
        }
    }
}

/* Few tokens and halves: not worth decoding to memory. Gives the bits of matmul_rows. */
static void matmul_halves(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const matmul_job *j = ctx;
    const rw_mat *w = j->w;
    const rw_kernels *k = j->m->k;
    (w->type == RW_F16 ? k->matmul_f16 : k->matmul_bf16)(w->data + begin * w->row_bytes, w->cols, end - begin, j->x,
                                                        j->x_stride, j->n_tokens, w->cols, w->scale,
                                                        j->y + begin, j->y_stride);
}

/* Weight rows [begin, end): decoded a panel at a time, then one product with all tokens. */
static void matmul_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    const matmul_job *j = ctx;
    const rw_mat *w = j->w;
    size_t n = w->cols, panel_rows = j->m->panel_len / n;
    bool direct = w->type == RW_F32 && (uintptr_t)w->data % sizeof(float) == 0;
    if (direct) panel_rows = end - begin;
    for (size_t r = begin; r < end; r += panel_rows) {
        size_t rows = end - r < panel_rows ? end - r : panel_rows;
        const float *panel;
        if (direct) {
            panel = (const float *)(const void *)(w->data + r * w->row_bytes);
        } else {
            float *decoded = j->m->panel + thread * j->m->panel_len;
            for (size_t i = 0; i < rows; i++)
                j->m->k->decode[w->type](w->data + (r + i) * w->row_bytes, decoded + i * n, n);
            panel = decoded;
        }
        j->m->k->matmul_f32(panel, n, rows, j->x, j->x_stride, j->n_tokens, n, w->scale, j->y + r, j->y_stride);
    }
}

static void matmul(const struct rwkv_model *m, const rw_mat *w, const float *x, size_t x_stride, size_t n_tokens,
                   float *y, size_t y_stride) {
    matmul_job job = {m, w, x, y, x_stride, y_stride, n_tokens};
    if (w->packed) {
        if (n_tokens <= RW_PANEL) quantize_tokens(&job, 0, n_tokens, 0);
        else rw_pool_run(m->pool, n_tokens, RW_PANEL, quantize_tokens, &job);
        if ((size_t)w->rows * w->cols * n_tokens < 131072) packed_rows(&job, 0, w->rows, 0);
        else rw_pool_run(m->pool, w->rows, RW_STRIP_ROWS, packed_rows, &job);
        return;
    }
    bool halves = (w->type == RW_F16 || w->type == RW_BF16) && n_tokens <= 6;
    rw_pool_fn rows = halves ? matmul_halves : matmul_rows;
    if ((size_t)w->rows * w->cols * n_tokens < 32768) rows(&job, 0, w->rows, 0); /* not worth waking */
    else rw_pool_run(m->pool, w->rows, 16, rows, &job);
}

void rw_matmul(rw_eval *e, const rw_mat *w, const float *x, size_t x_stride, float *y, size_t y_stride) {
    matmul(e->m, w, x, x_stride, e->n_rows, y, y_stride);
}

/* ---------------------------------------------------------------- work on rows */

typedef struct rows_job {
    rw_eval *e;
    size_t n;
    const float *x, *a, *b;
    float *out;
    rw_mix_fn *mix;
    void (*apply)(float *x, size_t n);
} rows_job;

static void norm_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const rows_job *j = ctx;
    const struct rwkv_model *m = j->e->m;
    for (size_t row = begin; row < end; row++)
        m->k->layer_norm(j->x + row * j->n, j->a, j->b, m->ln_eps, j->out + row * j->n, j->n);
}

void rw_norm(rw_eval *e, const float *x, const float *weight, const float *bias, float *out) {
    rows_job job = {.e = e, .n = e->m->D, .x = x, .a = weight, .b = bias, .out = out};
    rw_split(e, e->n_rows, 1, norm_rows, &job);
}

static void mix_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const rows_job *j = ctx;
    for (size_t row = begin; row < end; row++)
        j->mix(j->x + row * j->n, j->a + row * j->n, j->b, j->out + row * j->n, j->n);
}

void rw_mix(rw_eval *e, rw_mix_fn *fn, const float *x, const float *prev, const float *m, float *out) {
    rows_job job = {.e = e, .n = e->m->D, .x = x, .a = prev, .b = m, .out = out, .mix = fn};
    rw_split(e, e->n_rows, 1, mix_rows, &job);
}

static void apply_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const rows_job *j = ctx;
    for (size_t row = begin; row < end; row++) j->apply(j->out + row * j->n, j->n);
}

void rw_apply(rw_eval *e, void (*fn)(float *x, size_t n), float *x, size_t n) {
    rows_job job = {.e = e, .n = n, .out = x, .apply = fn};
    rw_split(e, e->n_rows, 1, apply_rows, &job);
}

static void add_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const rows_job *j = ctx;
    for (size_t i = begin * j->n; i < end * j->n; i++) j->out[i] += j->x[i];
}

void rw_add_rows(rw_eval *e, const float *y) {
    rows_job job = {.e = e, .n = e->m->D, .x = y, .out = e->x};
    rw_split(e, e->n_rows, 1, add_rows, &job);
}

static void add_gated_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const rows_job *j = ctx;
    for (size_t i = begin * j->n; i < end * j->n; i++) j->out[i] += j->a[i] * j->x[i];
}

void rw_add_gated(rw_eval *e, const float *gate, const float *y) {
    rows_job job = {.e = e, .n = e->m->D, .x = y, .a = gate, .out = e->x};
    rw_split(e, e->n_rows, 1, add_gated_rows, &job);
}

void rw_token_shift(rw_eval *e, const float *x, float *prev, size_t state_offset) {
    size_t D = e->m->D;
    for (size_t s = 0; s < e->n_segs; s++) {
        const rw_segment *seg = &e->segs[s];
        float *shift = seg->state + state_offset;
        memcpy(prev + seg->row * D, shift, D * sizeof *prev);
        memcpy(prev + (seg->row + 1) * D, x + seg->row * D, (seg->n - 1) * D * sizeof *prev);
        memcpy(shift, x + (seg->row + seg->n - 1) * D, D * sizeof *prev);
    }
}

/* ---------------------------------------------------------------- the whole model */

/* x0 = LN(emb[token]; ln0), in float32 from the stored row */
static void embed_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const rows_job *j = ctx;
    const struct rwkv_model *m = j->e->m;
    for (size_t row = begin; row < end; row++) {
        float *out = j->out + row * m->D;
        m->k->decode[m->emb.type](m->emb.data + (size_t)j->e->tokens[row] * m->emb.row_bytes, out, m->D);
        m->k->layer_norm(out, m->ln0_w, m->ln0_b, m->ln_eps, out, m->D);
    }
}

/* Logits of the rows listed: LN(x; ln_out) and head, RW_LOGIT_ROWS rows for each pass over the head. */
static void segment_logits(rw_eval *e) {
    const struct rwkv_model *m = e->m;
    size_t D = m->D, V = m->V, n = 0;
    float *target[RW_LOGIT_ROWS], *normed = rw_take(e, RW_LOGIT_ROWS * D);
    for (size_t s = 0; s < e->n_segs; s++) {
        const rw_segment *seg = &e->segs[s];
        if (seg->logits) {
            m->k->layer_norm(e->x + (seg->row + seg->n - 1) * D, m->ln_out_w, m->ln_out_b, m->ln_eps,
                             normed + n * D, D);
            target[n++] = seg->logits;
        }
        if (n == 0 || (n < RW_LOGIT_ROWS && s + 1 < e->n_segs)) continue;
        if (n == 1) {
            matmul(m, &m->head, normed, D, 1, target[0], V);
        } else {
            matmul(m, &m->head, normed, D, n, m->logits, V);
            for (size_t i = 0; i < n; i++) memcpy(target[i], m->logits + i * V, V * sizeof(float));
        }
        n = 0;
    }
}

/* Rows are independent, so numbers that are lost in one segment cost only that one: its rows become zeros
 * and the others go on. True if a segment broke that had been whole. */
static bool find_broken(rw_eval *e, rw_segment *segs) {
    bool found = false;
    for (size_t i = 0; i < e->n_segs; i++) {
        float *rows = e->x + segs[i].row * e->m->D;
        size_t n = segs[i].n * e->m->D;
        if (e->m->k->all_finite(rows, n)) continue;
        memset(rows, 0, n * sizeof *rows);
        found |= !segs[i].broken;
        segs[i].broken = true;
    }
    return found;
}

rwkv_status rw_model_eval(struct rwkv_model *m, const int32_t *tokens, size_t n_rows, rw_segment *segs,
                          size_t n_segs, float *all, rwkv_error *err) {
    rwkv_status st = RWKV_OK;
    pthread_mutex_lock(&m->lock);
    if (m->packing) rw_packing_run(m);
    rw_eval e = {.m = m, .tokens = tokens, .n_rows = n_rows, .segs = segs, .n_segs = n_segs,
                 .scratch = m->work};
    e.x = rw_take(&e, n_rows * m->D);
    float *x0 = rw_take(&e, n_rows * m->D);
    e.v_first = rw_take(&e, n_rows * m->A);
    e.x0 = x0;
    rows_job embed = {.e = &e, .out = x0};
    rw_split(&e, n_rows, 1, embed_rows, &embed);
    memcpy(e.x, x0, n_rows * m->D * sizeof *x0);
    for (uint32_t l = 0; l < m->n_layer; l++) {
        m->arch->layer(&e, l);
        if (m->k->all_finite(e.x, n_rows * m->D) || !find_broken(&e, segs) || st != RWKV_OK) continue;
        st = rw_fail(err, RWKV_E_NUMERIC,
                     "%s: layer %u produced NaN or infinity; the file may be damaged (rwkv info --check)",
                     m->ckpt->table->path, l);
    }
    if (all) {
        float *normed = rw_take(&e, n_rows * m->D);
        rw_norm(&e, e.x, m->ln_out_w, m->ln_out_b, normed);
        matmul(m, &m->head, normed, m->D, n_rows, all, m->V);
    } else {
        segment_logits(&e);
    }
    pthread_mutex_unlock(&m->lock);
    return st;
}
