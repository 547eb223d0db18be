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

/* ---------------------------------------------------------------- work on rows */

typedef struct rows_job {
    rw_eval *e;
    const float *weight, *bias;
    float *x; /* normalised rows */
    rw_mix_fn *fn;
    float *const *m;
    size_t n;
    float *out;
} rows_job;

static void norm_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const rows_job *j = ctx;
    const struct rwkv_model *m = j->e->m;
    for (size_t row = begin; row < end; row++)
        m->k->layer_norm(j->e->x + row * m->D, j->weight, j->bias, m->ln_eps, j->x + row * m->D, m->D);
}

static void mix_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const rows_job *j = ctx;
    size_t D = j->e->m->D, T = j->e->n_rows;
    for (size_t row = begin; row < end; row++)
        for (size_t i = 0; i < j->n; i++)
            j->fn(j->x + row * D, j->e->prev[row], j->m[i], j->out + (i * T + row) * D, D);
}

void rw_shift_mix(rw_eval *e, const float *ln_w, const float *ln_b, size_t state_offset, rw_mix_fn *fn,
                  float *const *m, size_t n, float *x, float *out) {
    size_t D = e->m->D;
    rows_job job = {.e = e, .weight = ln_w, .bias = ln_b, .x = x, .fn = fn, .m = m, .n = n, .out = out};
    rw_split(e, e->n_rows, 1, norm_rows, &job);
    for (size_t s = 0; s < e->n_segs; s++) {
        const rw_segment *seg = &e->segs[s];
        e->prev[seg->row] = seg->state + state_offset;
        for (size_t i = 1; i < seg->n; i++) e->prev[seg->row + i] = x + (seg->row + i - 1) * D;
    }
    rw_split(e, e->n_rows, 1, mix_rows, &job);
}

void rw_keep_shift(rw_eval *e, const float *x, size_t state_offset) {
    size_t D = e->m->D;
    for (size_t s = 0; s < e->n_segs; s++) {
        const rw_segment *seg = &e->segs[s];
        memcpy(seg->state + state_offset, x + (seg->row + seg->n - 1) * D, D * sizeof *x);
    }
}

/* ---------------------------------------------------------------- the whole model */

/* x0 = LN(emb[token]; ln0), in float32 from the stored row */
static void embed_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const rw_eval *e = ctx;
    const struct rwkv_model *m = e->m;
    for (size_t row = begin; row < end; row++) {
        float *out = e->x0 + row * m->D;
        m->k->decode[m->emb.type](m->emb.data + (size_t)e->tokens[row] * m->emb.row_bytes, out, m->D);
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
        rw_product head = {.w = &m->head, .x = normed, .y = n == 1 ? target[0] : m->logits};
        rw_products(m, &head, 1, n);
        for (size_t i = 0; n > 1 && i < n; i++) memcpy(target[i], m->logits + i * V, V * sizeof(float));
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
    const float *prev[RW_MAX_ROWS];
    rw_eval e = {.m = m, .tokens = tokens, .n_rows = n_rows, .segs = segs, .n_segs = n_segs,
                 .prev = prev, .scratch = m->work};
    e.x = rw_take(&e, n_rows * m->D);
    e.x0 = rw_take(&e, n_rows * m->D);
    e.v_first = rw_take(&e, n_rows * m->A);
    rw_split(&e, n_rows, 1, embed_rows, &e);
    memcpy(e.x, e.x0, n_rows * m->D * sizeof *e.x);
    for (uint32_t l = 0; l < m->n_layer; l++) {
        m->arch->layer(&e, l);
        if (m->k->all_finite(e.x, n_rows * m->D) || !find_broken(&e, segs) || st != RWKV_OK) continue;
        st = rw_fail(err, RWKV_E_NUMERIC,
                     "%s: layer %u produced NaN or infinity; the file may be damaged (rwkv info --check)",
                     m->ckpt->table->path, l);
    }
    if (all) {
        rows_job norm = {.e = &e, .weight = m->ln_out_w, .bias = m->ln_out_b};
        norm.x = rw_take(&e, n_rows * m->D);
        rw_split(&e, n_rows, 1, norm_rows, &norm);
        rw_product head = {.w = &m->head, .x = norm.x, .y = all};
        rw_products(m, &head, 1, n_rows);
    } else {
        segment_logits(&e);
    }
    pthread_mutex_unlock(&m->lock);
    return st;
}
