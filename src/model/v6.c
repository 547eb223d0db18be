/* v6.c - RWKV-6 "Finch": the mixes and the decay depend on the input through low-rank matrices.
 *
 * Formulas: Peng et al. 2024 (arXiv 2404.05892), section 4.2. The five mixes come in the order w, k, v, r,
 * g. State per layer: ffn_x [D], att_x [D], S [H][key][value]. */
#include "model.h"
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
    {"ffn.value.weight", "channel_mix_value", -1, RW_MATRIX, {RW_D, RW_F}, RW_SPARSE, AT(ffn_v), RW_RAW},
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
    size_t time = (3 + N_MIX) * (size_t)c->dim[RW_D] + 6 * (size_t)c->dim[RW_A] + c->dim[RW_RM5] + c->dim[RW_RW];
    size_t channel = 5 * (size_t)c->dim[RW_D] + c->dim[RW_F];
    return time > channel ? time : channel;
}

typedef struct mix_job {
    rw_eval *e;
    const float *x;
    float *const *maa; /* [N_MIX] */
    float *m; /* in: what the input adds to a mix; out: x + (p - x)(maa + m). [N_MIX][n_rows, D] */
} mix_job;

static void mix_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    mix_job *j = ctx;
    size_t D = j->e->m->D, T = j->e->n_rows;
    for (size_t row = begin; row < end; row++) {
        const float *x = j->x + row * D, *p = j->e->prev[row];
        for (size_t c = 0; c < N_MIX; c++) {
            const float *maa = j->maa[c];
            float *m = j->m + (c * T + row) * D;
            for (size_t i = 0; i < D; i++) m[i] = x[i] + (p[i] - x[i]) * (maa[i] + m[i]);
        }
    }
}

typedef struct wkv_job {
    rw_eval *e;
    const layer_v6 *w;
    uint32_t layer;
    float *r, *k, *v, *g, *d, *y; /* [n_rows, A]; g: its silu; d: what the input adds to the decay */
} wkv_job;

/* Heads [begin, end) of every sequence: y = GN(wkv) * g */
static void wkv_heads(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    wkv_job *j = ctx;
    const struct rwkv_model *m = j->e->m;
    size_t A = m->A, N = m->N;
    for (size_t h = begin; h < end; h++) {
        size_t c = h * N;
        for (size_t row = 0; row < j->e->n_rows; row++) m->k->decay6(j->w->decay + c, j->d + row * A + c, N);
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
            for (size_t i = 0; i < N; i++) y[i] *= g[i];
        }
    }
}

static void time_mix(rw_eval *e, uint32_t l) {
    const layer_v6 *w = rw_layer(e, l);
    const struct rwkv_model *m = e->m;
    size_t D = m->D, A = m->A, T = e->n_rows, r5 = w->maa_w1.rows, rank = w->maa_w2.cols;
    float *x = rw_take(e, T * D), *mixed = rw_take(e, T * D), *out = rw_take(e, T * D);
    float *z = rw_take(e, T * r5), *q = rw_take(e, T * w->decay_w1.rows), *d = rw_take(e, T * A);
    float *mixes = rw_take(e, N_MIX * T * D), *in[N_MIX];
    float *r = rw_take(e, T * A), *k = rw_take(e, T * A), *v = rw_take(e, T * A), *g = rw_take(e, T * A);
    float *y = rw_take(e, T * A);

    rw_shift_mix(e, w->ln1_w, w->ln1_b, rw_att_shift(e, l), m->k->mix_previous, &w->maa_x, 1, x, mixed);
    rw_products(m, &(rw_product){.w = &w->maa_w1, .x = mixed, .y = z, .apply = m->k->tanh}, 1, T);
    rw_mat w2[N_MIX];
    rw_product mix[N_MIX]; /* x_c = x + dx (maa_c + z_c w2_c), z = tanh((x + dx maa_x) w1) */
    for (size_t c = 0; c < N_MIX; c++) {
        w2[c] = w->maa_w2;
        w2[c].rows = m->D;
        w2[c].data += c * m->D * w->maa_w2.row_bytes;
        in[c] = mixes + c * T * D;
        mix[c] = (rw_product){.w = &w2[c], .x = z + c * rank, .x_stride = r5, .y = in[c]};
    }
    rw_products(m, mix, N_MIX, T);
    mix_job add = {e, x, w->maa, mixes};
    rw_split(e, T, 1, mix_rows, &add);
    rw_keep_shift(e, x, rw_att_shift(e, l));
    const rw_product down[] = {
        {.w = &w->att_k, .x = in[K], .y = k},
        {.w = &w->att_v, .x = in[V], .y = v},
        {.w = &w->att_r, .x = in[R], .y = r},
        {.w = &w->att_g, .x = in[G], .y = g, .apply = m->k->silu},
        {.w = &w->decay_w1, .x = in[W], .y = q, .apply = m->k->tanh},
    };
    rw_products(m, down, 5, T);
    rw_products(m, &(rw_product){.w = &w->decay_w2, .x = q, .y = d}, 1, T); /* d = tanh(x_w decay_w1) decay_w2 */
    wkv_job job = {e, w, l, r, k, v, g, d, y};
    rw_split(e, m->H, 1, wkv_heads, &job);
    rw_products(m, &(rw_product){.w = &w->att_o, .x = y, .y = out, .add_to = e->x}, 1, T);
}

/* out = sigmoid(Wr xr) * Wv relu(Wk xk)^2 */
static void channel_mix(rw_eval *e, uint32_t l) {
    const layer_v6 *w = rw_layer(e, l);
    const struct rwkv_model *m = e->m;
    size_t D = m->D, T = e->n_rows;
    float *x = rw_take(e, T * D), *mixed = rw_take(e, 2 * T * D), *out = rw_take(e, T * D);
    float *r = rw_take(e, T * D), *k = rw_take(e, T * m->F);

    rw_shift_mix(e, w->ln2_w, w->ln2_b, rw_ffn_shift(e, l), m->k->mix_previous, (float *[]){w->ffn_mk, w->ffn_mr}, 2, x,
                 mixed);
    rw_keep_shift(e, x, rw_ffn_shift(e, l));
    const rw_product in[] = {
        {.w = &w->ffn_k, .x = mixed, .y = k, .apply = m->k->relu2},
        {.w = &w->ffn_r, .x = mixed + T * D, .y = r, .apply = m->k->sigmoid},
    };
    rw_products(m, in, 2, T);
    rw_products(m, &(rw_product){.w = &w->ffn_v, .x = k, .y = out, .add_to = e->x, .gate = r}, 1, T);
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
