/* v5.c - RWKV-5 "Eagle" in its three forms: matrix-valued state, group norm, from 5.1 a gate.
 *
 * Formulas: Peng et al. 2024 (arXiv 2404.05892), section 4.1; 5.0 and 5.1 have one decay and one bonus per
 * head, 5.2 one per channel. State per layer: ffn_x [D], att_x [D], S [H][key][value]. */
#include "model.h"
#include <stddef.h>

typedef struct layer_v5 {
    float *ln1_w, *ln1_b, *ln2_w, *ln2_b;       /* [D] */
    float *att_mk, *att_mv, *att_mr, *att_mg;   /* [D] share of the current token; mg NULL in 5.0 */
    float *w, *u;                               /* [A] decay exp(-exp(time_decay)) and bonus, per channel */
    rw_mat att_k, att_v, att_r, att_g, att_o;   /* (A, D) x 4, (D, A); no att_g in 5.0 */
    float *lnx_w, *lnx_b;                       /* [A] group norm */
    float *ffn_mk, *ffn_mr;                     /* [D] */
    rw_mat ffn_k, ffn_r, ffn_v;                 /* (F, D), (D, D), (D, F) */
} layer_v5;

#define AT(field) offsetof(layer_v5, field)
static const rw_rule rules[] = {
    {"ln1.weight", "attn_norm", -1, RW_VECTOR, {RW_D}, 0, AT(ln1_w), RW_RAW},
    {"ln1.bias", "attn_norm", -1, RW_VECTOR, {RW_D}, 0, AT(ln1_b), RW_RAW},
    {"ln2.weight", "attn_norm_2", -1, RW_VECTOR, {RW_D}, 0, AT(ln2_w), RW_RAW},
    {"ln2.bias", "attn_norm_2", -1, RW_VECTOR, {RW_D}, 0, AT(ln2_b), RW_RAW},
    {"att.time_decay", "time_mix_decay", -1, RW_VECTOR, {RW_U}, 0, AT(w), RW_EXP_NEG_EXP},
    {"att.time_faaaa", "time_mix_first", -1, RW_VECTOR, {RW_U}, 0, AT(u), RW_RAW},
    {"att.time_mix_k", "time_mix_lerp_k", -1, RW_VECTOR, {RW_D}, 0, AT(att_mk), RW_RAW},
    {"att.time_mix_v", "time_mix_lerp_v", -1, RW_VECTOR, {RW_D}, 0, AT(att_mv), RW_RAW},
    {"att.time_mix_r", "time_mix_lerp_r", -1, RW_VECTOR, {RW_D}, 0, AT(att_mr), RW_RAW},
    {"att.time_mix_g", "time_mix_lerp_g", -1, RW_VECTOR, {RW_D}, RW_OPTIONAL, AT(att_mg), RW_RAW},
    {"att.key.weight", "time_mix_key", -1, RW_MATRIX, {RW_A, RW_D}, 0, AT(att_k), RW_RAW},
    {"att.value.weight", "time_mix_value", -1, RW_MATRIX, {RW_A, RW_D}, 0, AT(att_v), RW_RAW},
    {"att.receptance.weight", "time_mix_receptance", -1, RW_MATRIX, {RW_A, RW_D}, 0, AT(att_r), RW_RAW},
    {"att.gate.weight", "time_mix_gate", -1, RW_MATRIX, {RW_A, RW_D}, RW_OPTIONAL, AT(att_g), RW_RAW},
    {"att.output.weight", "time_mix_output", -1, RW_MATRIX, {RW_D, RW_A}, 0, AT(att_o), RW_RAW},
    {"att.ln_x.weight", "time_mix_ln", -1, RW_VECTOR, {RW_A}, 0, AT(lnx_w), RW_RAW},
    {"att.ln_x.bias", "time_mix_ln", -1, RW_VECTOR, {RW_A}, 0, AT(lnx_b), RW_RAW},
    {"ffn.time_mix_k", "channel_mix_lerp_k", -1, RW_VECTOR, {RW_D}, 0, AT(ffn_mk), RW_RAW},
    {"ffn.time_mix_r", "channel_mix_lerp_r", -1, RW_VECTOR, {RW_D}, 0, AT(ffn_mr), RW_RAW},
    {"ffn.key.weight", "channel_mix_key", -1, RW_MATRIX, {RW_F, RW_D}, 0, AT(ffn_k), RW_RAW},
    {"ffn.receptance.weight", "channel_mix_receptance", -1, RW_MATRIX, {RW_D, RW_D}, 0, AT(ffn_r), RW_RAW},
    {"ffn.value.weight", "channel_mix_value", -1, RW_MATRIX, {RW_D, RW_F}, RW_SPARSE, AT(ffn_v), RW_RAW},
};

static rwkv_status measure(rw_checkpoint *c, rwkv_error *err) {
    RW_TRY(rw_checkpoint_heads(c, "att.time_decay", err));
    rw_weight decay;
    RW_TRY(rw_checkpoint_find(c, "att.time_decay", 0, &decay, err));
    c->dim[RW_U] = decay.n_elems == c->dim[RW_A] ? c->dim[RW_A] : c->dim[RW_H];
    return RWKV_OK;
}

static size_t state_len(const rw_checkpoint *c) {
    return 2 * (size_t)c->dim[RW_D] + (size_t)c->dim[RW_A] * c->dim[RW_N];
}

static size_t scratch_len(const rw_checkpoint *c) {
    return 6 * (size_t)c->dim[RW_D] + 5 * (size_t)c->dim[RW_A] + c->dim[RW_F];
}

/* One decay or bonus per head is spread over the head's channels. */
static float *spread(struct rwkv_model *m, float *per_head) {
    float *out = rw_arena_alloc(&m->arena, m->A, sizeof *out);
    for (uint32_t i = 0; out && i < m->A; i++) out[i] = per_head[i / m->N];
    return out;
}

static rwkv_status finish(struct rwkv_model *m, uint32_t l, rwkv_error *err) {
    layer_v5 *w = (layer_v5 *)(void *)(m->layers + l * sizeof(layer_v5));
    if (m->ckpt->dim[RW_U] != m->A) {
        w->w = spread(m, w->w);
        w->u = spread(m, w->u);
        if (!w->w || !w->u) return rw_nomem(err, m->A * sizeof(float));
    }
    bool gated = m->ckpt->version != RW_V5_0;
    if ((w->att_mg != NULL) != gated || (w->att_g.data != NULL) != gated)
        return rw_fail_at(err, RWKV_E_MODEL, m->ckpt->table->path, RWKV_NO_OFFSET,
                          "v%s: blocks.%u.att.gate.weight and time_mix_g: expected %s", rw_version_name(m->ckpt->version),
                          l, gated ? "both" : "neither, as in layer 0");
    return RWKV_OK;
}

typedef struct wkv_job {
    rw_eval *e;
    const layer_v5 *w;
    uint32_t layer;
    float *r, *k, *v, *g, *y; /* [n_rows, A]; g: its silu, NULL: no gate */
} wkv_job;

/* Heads [begin, end) of every sequence: y = GN(wkv) * g */
static void wkv_heads(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    wkv_job *j = ctx;
    const struct rwkv_model *m = j->e->m;
    size_t A = m->A, N = m->N;
    for (size_t h = begin; h < end; h++) {
        size_t c = h * N;
        for (size_t s = 0; s < j->e->n_segs; s++) {
            const rw_segment *seg = &j->e->segs[s];
            float *S = seg->state + rw_att_state(j->e, j->layer) + h * N * N;
            size_t at = seg->row * A + c;
            m->k->wkv6(j->r + at, j->k + at, j->v + at, A, j->w->u + c, j->w->w + c, 0, S, j->y + at,
                       seg->n, N);
        }
        for (size_t row = 0; row < j->e->n_rows; row++) {
            float *y = j->y + row * A + c;
            m->k->layer_norm(y, j->w->lnx_w + c, j->w->lnx_b + c, m->gn_eps, y, N);
            if (!j->g) continue;
            float *g = j->g + row * A + c;
            for (size_t i = 0; i < N; i++) y[i] *= g[i];
        }
    }
}

static void time_mix(rw_eval *e, uint32_t l) {
    const layer_v5 *w = rw_layer(e, l);
    const struct rwkv_model *m = e->m;
    size_t D = m->D, A = m->A, T = e->n_rows;
    bool gated = w->att_g.data != NULL;
    float *x = rw_take(e, T * D), *mixed = rw_take(e, 4 * T * D), *out = rw_take(e, T * D);
    float *k = rw_take(e, T * A), *v = rw_take(e, T * A), *r = rw_take(e, T * A), *y = rw_take(e, T * A);
    float *g = gated ? rw_take(e, T * A) : NULL;

    rw_shift_mix(e, w->ln1_w, w->ln1_b, rw_att_shift(e, l), m->k->mix_current, /* xk = x mk + p (1 - mk) */
                 (float *[]){w->att_mk, w->att_mv, w->att_mr, w->att_mg}, gated ? 4 : 3, x, mixed);
    rw_keep_shift(e, x, rw_att_shift(e, l));
    const rw_product in[] = {
        {.w = &w->att_k, .x = mixed, .y = k},
        {.w = &w->att_v, .x = mixed + T * D, .y = v},
        {.w = &w->att_r, .x = mixed + 2 * T * D, .y = r},
        {.w = &w->att_g, .x = mixed + 3 * T * D, .y = g, .apply = m->k->silu},
    };
    rw_products(m, in, gated ? 4 : 3, T);
    wkv_job job = {e, w, l, r, k, v, g, y};
    rw_split(e, m->H, 1, wkv_heads, &job);
    rw_products(m, &(rw_product){.w = &w->att_o, .x = y, .y = out, .add_to = e->x}, 1, T);
}

/* out = sigmoid(Wr xr) * Wv relu(Wk xk)^2 */
static void channel_mix(rw_eval *e, uint32_t l) {
    const layer_v5 *w = rw_layer(e, l);
    const struct rwkv_model *m = e->m;
    size_t D = m->D, T = e->n_rows;
    float *x = rw_take(e, T * D), *mixed = rw_take(e, 2 * T * D), *out = rw_take(e, T * D);
    float *r = rw_take(e, T * D), *k = rw_take(e, T * m->F);

    rw_shift_mix(e, w->ln2_w, w->ln2_b, rw_ffn_shift(e, l), m->k->mix_current, (float *[]){w->ffn_mk, w->ffn_mr}, 2, x,
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

const rw_arch rw_arch_v5 = {
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
    .layer_size = sizeof(layer_v5),
    .gguf_arch = "rwkv5",
    .measure = measure,
    .state_len = state_len,
    .scratch_len = scratch_len,
    .finish = finish,
    .layer = layer,
};
