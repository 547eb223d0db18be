/* v6.c - RWKV-6 "Finch": the mixes and the decay depend on the input through low-rank matrices.
 *
 * Formulas: Peng et al. 2024 (arXiv 2404.05892), section 4.2. The five mixes come in the order w, k, v, r,
 * g. State per layer: ffn_x [D], att_x [D], S [H][key][value]. */
#include "model.h"
#include <math.h>
#include <stddef.h>

enum { W, K, V, R, G, N_MIX };

typedef struct layer_v6 {
    float *ln1_w, *ln1_b, *ln2_w, *ln2_b;     /* [D] */
    float *maa_x;                             /* [D] shares of the previous token */
    float *maa[N_MIX];                        /* [D] each */
    rw_mat maa_w1, maa_w2;                    /* (5r, D); five times (D, r) */
    float *decay, *u;                         /* [A] as stored; bonus [A] */
    rw_mat decay_w1, decay_w2;                /* (q, D), (A, q) */
    rw_mat att_r, att_k, att_v, att_g, att_o; /* (A, D) x 4, (D, A) */
    float *lnx_w, *lnx_b;                     /* [A] */
    float *ffn_mk, *ffn_mr;                   /* [D] */
    rw_mat ffn_k, ffn_r, ffn_v;               /* (F, D), (D, D), (D, F) */
} layer_v6;

#define AT(field) offsetof(layer_v6, field)
static const rw_rule rules[] = {
    {"ln1.weight", "attn_norm", -1, RW_VECTOR, {RW_D}, 0, AT(ln1_w), RW_RAW},
    {"ln1.bias", "attn_norm", -1, RW_VECTOR, {RW_D}, 0, AT(ln1_b), RW_RAW},
    {"ln2.weight", "attn_norm_2", -1, RW_VECTOR, {RW_D}, 0, AT(ln2_w), RW_RAW},
    {"ln2.bias", "attn_norm_2", -1, RW_VECTOR, {RW_D}, 0, AT(ln2_b), RW_RAW},
    {"att.time_maa_x", "time_mix_lerp_x", -1, RW_VECTOR, {RW_D}, 0, AT(maa_x), RW_RAW},
    {"att.time_maa_w", "time_mix_lerp_fused", W, RW_VECTOR, {RW_D}, 0, AT(maa[W]), RW_RAW},
    {"att.time_maa_k", "time_mix_lerp_fused", K, RW_VECTOR, {RW_D}, 0, AT(maa[K]), RW_RAW},
    {"att.time_maa_v", "time_mix_lerp_fused", V, RW_VECTOR, {RW_D}, 0, AT(maa[V]), RW_RAW},
    {"att.time_maa_r", "time_mix_lerp_fused", R, RW_VECTOR, {RW_D}, 0, AT(maa[R]), RW_RAW},
    {"att.time_maa_g", "time_mix_lerp_fused", G, RW_VECTOR, {RW_D}, 0, AT(maa[G]), RW_RAW},
    {"att.time_maa_w1", "time_mix_w1", -1, RW_LOWRANK, {RW_RM5, RW_D}, 0, AT(maa_w1), RW_RAW},
    {"att.time_maa_w2", "time_mix_w2", -1, RW_LOWRANK, {RW_FIVE, RW_D, RW_RM}, 0, AT(maa_w2), RW_RAW},
    {"att.time_decay", "time_mix_decay", -1, RW_VECTOR, {RW_A}, 0, AT(decay), RW_RAW},
    {"att.time_decay_w1", "time_mix_decay_w1", -1, RW_LOWRANK, {RW_RW, RW_D}, 0, AT(decay_w1), RW_RAW},
    {"att.time_decay_w2", "time_mix_decay_w2", -1, RW_LOWRANK, {RW_A, RW_RW}, 0, AT(decay_w2), RW_RAW},
    {"att.time_faaaa", "time_mix_first", -1, RW_VECTOR, {RW_A}, 0, AT(u), RW_RAW},
    {"att.receptance.weight", "time_mix_receptance", -1, RW_MATRIX, {RW_A, RW_D}, 0, AT(att_r), RW_RAW},
    {"att.key.weight", "time_mix_key", -1, RW_MATRIX, {RW_A, RW_D}, 0, AT(att_k), RW_RAW},
    {"att.value.weight", "time_mix_value", -1, RW_MATRIX, {RW_A, RW_D}, 0, AT(att_v), RW_RAW},
    {"att.gate.weight", "time_mix_gate", -1, RW_MATRIX, {RW_A, RW_D}, 0, AT(att_g), RW_RAW},
    {"att.output.weight", "time_mix_output", -1, RW_MATRIX, {RW_D, RW_A}, 0, AT(att_o), RW_RAW},
    {"att.ln_x.weight", "time_mix_ln", -1, RW_VECTOR, {RW_A}, 0, AT(lnx_w), RW_RAW},
    {"att.ln_x.bias", "time_mix_ln", -1, RW_VECTOR, {RW_A}, 0, AT(lnx_b), RW_RAW},
    {"ffn.time_maa_k", "channel_mix_lerp_k", -1, RW_VECTOR, {RW_D}, 0, AT(ffn_mk), RW_RAW},
    {"ffn.time_maa_r", "channel_mix_lerp_r", -1, RW_VECTOR, {RW_D}, 0, AT(ffn_mr), RW_RAW},
    {"ffn.key.weight", "channel_mix_key", -1, RW_MATRIX, {RW_F, RW_D}, 0, AT(ffn_k), RW_RAW},
    {"ffn.receptance.weight", "channel_mix_receptance", -1, RW_MATRIX, {RW_D, RW_D}, 0, AT(ffn_r), RW_RAW},
    {"ffn.value.weight", "channel_mix_value", -1, RW_MATRIX, {RW_D, RW_F}, 0, AT(ffn_v), RW_RAW},
};

static rwkv_status measure(rw_checkpoint *c, rwkv_error *err) {
    RW_TRY(rw_checkpoint_heads(c, "att.time_faaaa", err));
    RW_TRY(rw_checkpoint_size(c, "att.time_maa_w2", 0, true, &c->dim[RW_RM], err));
    RW_TRY(rw_checkpoint_size(c, "att.time_decay_w1", 0, false, &c->dim[RW_RW], err));
    c->dim[RW_RM5] = 5 * c->dim[RW_RM];
    return RWKV_OK;
}

static size_t state_len(const rw_checkpoint *c) {
    return 2 * (size_t)c->dim[RW_D] + (size_t)c->dim[RW_A] * c->dim[RW_N];
}

static size_t scratch_len(const rw_checkpoint *c) {
    size_t time = 4 * (size_t)c->dim[RW_D] + 6 * (size_t)c->dim[RW_A] + c->dim[RW_RM5] + c->dim[RW_RW];
    size_t channel = 4 * (size_t)c->dim[RW_D] + c->dim[RW_F];
    return time > channel ? time : channel;
}

typedef struct mix_job {
    rw_eval *e;
    const float *x, *prev, *maa;
    float *m; /* in: what the input adds to the mix; out: x + (p - x)(maa + m). [n_rows, D] */
} mix_job;

static void mix_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    mix_job *j = ctx;
    size_t D = j->e->m->D;
    for (size_t row = begin; row < end; row++) {
        const float *x = j->x + row * D, *p = j->prev + row * D;
        float *m = j->m + row * D;
        for (size_t i = 0; i < D; i++) m[i] = x[i] + (p[i] - x[i]) * (j->maa[i] + m[i]);
    }
}

typedef struct wkv_job {
    rw_eval *e;
    const layer_v6 *w;
    uint32_t layer;
    float *r, *k, *v, *g, *d, *y; /* [n_rows, A]; d: what the input adds to the decay */
} wkv_job;

/* Heads [begin, end) of every sequence: y = GN(wkv) * silu(g) */
static void wkv_heads(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    wkv_job *j = ctx;
    const struct rwkv_model *m = j->e->m;
    size_t A = m->A, N = m->N;
    for (size_t h = begin; h < end; h++) {
        size_t c = h * N;
        for (size_t row = 0; row < j->e->n_rows; row++) { /* w = exp(-exp(decay + d)) */
            float *d = j->d + row * A + c;
            for (size_t i = 0; i < N; i++) d[i] = expf(-expf(j->w->decay[c + i] + d[i]));
        }
        for (size_t s = 0; s < j->e->n_segs; s++) {
            const rw_segment *seg = &j->e->segs[s];
            float *S = seg->state + rw_att_state(j->e, j->layer) + h * N * N;
            size_t at = seg->row * A + c;
            m->k->wkv6(j->r + at, j->k + at, j->v + at, A, j->w->u + c, j->d + at, A, S, j->y + at, seg->n,
                       N);
        }
        for (size_t row = 0; row < j->e->n_rows; row++) {
            float *y = j->y + row * A + c, *g = j->g + row * A + c;
            m->k->layer_norm(y, j->w->lnx_w + c, j->w->lnx_b + c, m->gn_eps, y, N);
            m->k->silu(g, N);
            for (size_t i = 0; i < N; i++) y[i] *= g[i];
        }
    }
}

static void time_mix(rw_eval *e, uint32_t l) {
    const layer_v6 *w = rw_layer(e, l);
    const struct rwkv_model *m = e->m;
    size_t D = m->D, A = m->A, T = e->n_rows, r5 = w->maa_w1.rows, rank = w->maa_w2.cols;
    float *x = rw_take(e, T * D), *prev = rw_take(e, T * D), *mixed = rw_take(e, T * D);
    float *z = rw_take(e, T * r5), *q = rw_take(e, T * w->decay_w1.rows);
    float *out[N_MIX]; /* W: d, then k, v, r, g. [n_rows, A] */

    rw_norm(e, e->x, w->ln1_w, w->ln1_b, x);
    rw_token_shift(e, x, prev, rw_att_shift(e, l));
    rw_mix(e, m->k->mix_previous, x, prev, w->maa_x, mixed);
    rw_matmul(e, &w->maa_w1, mixed, D, z, r5); /* z = tanh((x + dx maa_x) w1) */
    rw_apply(e, m->k->tanh, z, r5);
    const rw_mat *target[N_MIX] = {NULL, &w->att_k, &w->att_v, &w->att_r, &w->att_g};
    for (int c = 0; c < N_MIX; c++) { /* x_c = x + dx (maa_c + z_c w2_c) */
        rw_mat w2 = w->maa_w2;
        w2.rows = m->D;
        w2.data += (size_t)c * m->D * w2.row_bytes;
        rw_matmul(e, &w2, z + (size_t)c * rank, r5, mixed, D);
        mix_job mix = {e, x, prev, w->maa[c], mixed};
        rw_split(e, T, 1, mix_rows, &mix);
        out[c] = rw_take(e, T * A);
        if (c == W) { /* d = tanh(x_w decay_w1) decay_w2 */
            rw_matmul(e, &w->decay_w1, mixed, D, q, w->decay_w1.rows);
            rw_apply(e, m->k->tanh, q, w->decay_w1.rows);
            rw_matmul(e, &w->decay_w2, q, w->decay_w1.rows, out[W], A);
        } else {
            rw_matmul(e, target[c], mixed, D, out[c], A);
        }
    }
    float *y = rw_take(e, T * A);
    wkv_job job = {e, w, l, out[R], out[K], out[V], out[G], out[W], y};
    rw_split(e, m->H, 1, wkv_heads, &job);
    rw_matmul(e, &w->att_o, y, A, mixed, D);
    rw_add_rows(e, mixed);
}

/* out = sigmoid(Wr xr) * Wv relu(Wk xk)^2 */
static void channel_mix(rw_eval *e, uint32_t l) {
    const layer_v6 *w = rw_layer(e, l);
    const struct rwkv_model *m = e->m;
    size_t D = m->D, F = m->F, T = e->n_rows;
    float *x = rw_take(e, T * D), *prev = rw_take(e, T * D), *mixed = rw_take(e, T * D);
    float *r = rw_take(e, T * D), *k = rw_take(e, T * F);

    rw_norm(e, e->x, w->ln2_w, w->ln2_b, x);
    rw_token_shift(e, x, prev, rw_ffn_shift(e, l));
    rw_mix(e, m->k->mix_previous, x, prev, w->ffn_mr, mixed);
    rw_matmul(e, &w->ffn_r, mixed, D, r, D);
    rw_apply(e, m->k->sigmoid, r, D);
    rw_mix(e, m->k->mix_previous, x, prev, w->ffn_mk, mixed);
    rw_matmul(e, &w->ffn_k, mixed, D, k, F);
    rw_apply(e, m->k->relu2, k, F);
    rw_matmul(e, &w->ffn_v, k, F, mixed, D);
    rw_add_gated(e, r, mixed);
}

static void layer(rw_eval *e, uint32_t l) {
    float *mark = e->scratch;
    time_mix(e, l);
    e->scratch = mark;
    channel_mix(e, l);
    e->scratch = mark;
}

const rw_arch rw_arch_v6 = {
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
    .layer_size = sizeof(layer_v6),
    .gguf_arch = "rwkv6",
    .measure = measure,
    .state_len = state_len,
    .scratch_len = scratch_len,
    .layer = layer,
};
