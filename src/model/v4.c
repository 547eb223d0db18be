/* v4.c - RWKV-4: WKV with a running maximum, one number per channel.
 *
 * Formulas: Peng et al. 2023 (arXiv 2305.13048), equations 11-20; the numerically safe form below is the
 * one of the author's code. State per layer: ffn_x [D], att_x [D], aa [A], bb [A], pp [A]. */
#include "model.h"
#include <stddef.h>

typedef struct layer_v4 {
    float *ln1_w, *ln1_b, *ln2_w, *ln2_b;   /* [D] */
    float *att_mk, *att_mv, *att_mr;        /* [D] share of the current token */
    float *w, *u;                           /* [A] decay -exp(time_decay), bonus */
    rw_mat att_k, att_v, att_r, att_o;      /* (A, D) x 3, (D, A) */
    float *ffn_mk, *ffn_mr;                 /* [D] */
    rw_mat ffn_k, ffn_r, ffn_v;             /* (F, D), (D, D), (D, F) */
} layer_v4;

#define AT(field) offsetof(layer_v4, field)
static const rw_rule rules[] = {
    {"ln1.weight", "attn_norm", -1, RW_VECTOR, {RW_D}, 0, AT(ln1_w), RW_RAW},
    {"ln1.bias", "attn_norm", -1, RW_VECTOR, {RW_D}, 0, AT(ln1_b), RW_RAW},
    {"ln2.weight", "attn_norm_2", -1, RW_VECTOR, {RW_D}, 0, AT(ln2_w), RW_RAW},
    {"ln2.bias", "attn_norm_2", -1, RW_VECTOR, {RW_D}, 0, AT(ln2_b), RW_RAW},
    {"att.time_decay", "time_mix_decay", -1, RW_VECTOR, {RW_A}, 0, AT(w), RW_NEG_EXP},
    {"att.time_first", "time_mix_first", -1, RW_VECTOR, {RW_A}, 0, AT(u), RW_RAW},
    {"att.time_mix_k", "time_mix_lerp_k", -1, RW_VECTOR, {RW_D}, 0, AT(att_mk), RW_RAW},
    {"att.time_mix_v", "time_mix_lerp_v", -1, RW_VECTOR, {RW_D}, 0, AT(att_mv), RW_RAW},
    {"att.time_mix_r", "time_mix_lerp_r", -1, RW_VECTOR, {RW_D}, 0, AT(att_mr), RW_RAW},
    {"att.key.weight", "time_mix_key", -1, RW_MATRIX, {RW_A, RW_D}, 0, AT(att_k), RW_RAW},
    {"att.value.weight", "time_mix_value", -1, RW_MATRIX, {RW_A, RW_D}, 0, AT(att_v), RW_RAW},
    {"att.receptance.weight", "time_mix_receptance", -1, RW_MATRIX, {RW_A, RW_D}, 0, AT(att_r), RW_RAW},
    {"att.output.weight", "time_mix_output", -1, RW_MATRIX, {RW_D, RW_A}, 0, AT(att_o), RW_RAW},
    {"ffn.time_mix_k", "channel_mix_lerp_k", -1, RW_VECTOR, {RW_D}, 0, AT(ffn_mk), RW_RAW},
    {"ffn.time_mix_r", "channel_mix_lerp_r", -1, RW_VECTOR, {RW_D}, 0, AT(ffn_mr), RW_RAW},
    {"ffn.key.weight", "channel_mix_key", -1, RW_MATRIX, {RW_F, RW_D}, 0, AT(ffn_k), RW_RAW},
    {"ffn.receptance.weight", "channel_mix_receptance", -1, RW_MATRIX, {RW_D, RW_D}, 0, AT(ffn_r), RW_RAW},
    {"ffn.value.weight", "channel_mix_value", -1, RW_MATRIX, {RW_D, RW_F}, RW_SPARSE, AT(ffn_v), RW_RAW},
};

static rwkv_status measure(rw_checkpoint *c, rwkv_error *err) {
    (void)c;
    (void)err;
    return RWKV_OK; /* no heads */
}

static size_t state_len(const rw_checkpoint *c) {
    return 2 * (size_t)c->dim[RW_D] + 3 * (size_t)c->dim[RW_A];
}

static size_t scratch_len(const rw_checkpoint *c) {
    return 5 * (size_t)c->dim[RW_D] + 4 * (size_t)c->dim[RW_A] + c->dim[RW_F];
}

/* Zeros are not neutral: pp is a running maximum. -inf would give NaN as (-inf) - (-inf). */
static void init_state(const struct rwkv_model *m, float *state) {
    for (uint32_t l = 0; l < m->n_layer; l++) {
        float *pp = state + l * m->layer_state_len + 2 * (size_t)m->D + 2 * (size_t)m->A;
        for (uint32_t i = 0; i < m->A; i++) pp[i] = -1e30f;
    }
}

typedef struct wkv_job {
    rw_eval *e;
    const layer_v4 *w;
    uint32_t layer;
    float *k, *v, *r, *y; /* [n_rows, A]; r: its sigmoid */
} wkv_job;

/* Channels [begin, end) of every sequence: y = r * wkv(k, v) */
static void wkv_channels(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    wkv_job *j = ctx;
    const struct rwkv_model *m = j->e->m;
    size_t A = m->A, n = end - begin;
    for (size_t s = 0; s < j->e->n_segs; s++) {
        const rw_segment *seg = &j->e->segs[s];
        float *aa = seg->state + rw_att_state(j->e, j->layer) + begin, *bb = aa + A, *pp = bb + A;
        size_t at = seg->row * A + begin;
        m->k->wkv4(j->k + at, j->v + at, A, j->w->u + begin, j->w->w + begin, aa, bb, pp, j->y + at, seg->n, n);
    }
    for (size_t row = 0; row < j->e->n_rows; row++) {
        float *r = j->r + row * A + begin, *y = j->y + row * A + begin;
        for (size_t i = 0; i < n; i++) y[i] *= r[i];
    }
}

static void time_mix(rw_eval *e, uint32_t l) {
    const layer_v4 *w = rw_layer(e, l);
    const struct rwkv_model *m = e->m;
    size_t D = m->D, A = m->A, T = e->n_rows;
    float *x = rw_take(e, T * D), *mixed = rw_take(e, 3 * T * D), *out = rw_take(e, T * D);
    float *k = rw_take(e, T * A), *v = rw_take(e, T * A), *r = rw_take(e, T * A), *y = rw_take(e, T * A);

    rw_shift_mix(e, w->ln1_w, w->ln1_b, rw_att_shift(e, l), m->k->mix_current, /* xk = x mk + p (1 - mk) */
                 (float *[]){w->att_mk, w->att_mv, w->att_mr}, 3, x, mixed);
    rw_keep_shift(e, x, rw_att_shift(e, l));
    const rw_product in[] = {
        {.w = &w->att_k, .x = mixed, .y = k},
        {.w = &w->att_v, .x = mixed + T * D, .y = v},
        {.w = &w->att_r, .x = mixed + 2 * T * D, .y = r, .apply = m->k->sigmoid},
    };
    rw_products(m, in, 3, T);
    wkv_job job = {e, w, l, k, v, r, y};
    rw_split(e, A, 16, wkv_channels, &job);
    /* out = Wo (sigmoid(r) wkv) */
    rw_products(m, &(rw_product){.w = &w->att_o, .x = y, .y = out, .add_to = e->x}, 1, T);
}

/* out = sigmoid(Wr xr) * Wv relu(Wk xk)^2 */
static void channel_mix(rw_eval *e, uint32_t l) {
    const layer_v4 *w = rw_layer(e, l);
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

const rw_arch rw_arch_v4 = {
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
    .layer_size = sizeof(layer_v4),
    .gguf_arch = "rwkv4",
    .measure = measure,
    .state_len = state_len,
    .scratch_len = scratch_len,
    .init_state = init_state,
    .layer = layer,
};
