/* v7.c - RWKV-7 "Goose": the state learns in context by a generalised delta rule; and 7a, which adds
 * DeepEmbed, a token-dependent gate in the channel mix.
 *
 * Formulas: Peng et al. 2025 (arXiv 2503.14456), section 4; DeepEmbed as in the author's package. State per
 * layer: ffn_x [D], att_x [D], S [H][value][key]. */
#include "model.h"
#include <stddef.h>
#include <string.h>

enum { R, W, K, V, A_, G, N_MIX }; /* the order of the fused mixes in files */

typedef struct layer_v7 {
    float *ln1_w, *ln1_b, *ln2_w, *ln2_b; /* [D] */
    float *mix[N_MIX];                    /* [D] shares of the previous token */
    float *w0, *a0, *v0;                  /* [A]; v0 from layer 1 on */
    rw_mat w1, w2, a1, a2, v1, v2, g1, g2; /* x1: (rank, D), x2: (A, rank) */
    float *k_k, *k_a, *r_k;               /* [A] */
    rw_mat att_r, att_k, att_v, att_o;    /* (A, D) x 3, (D, A) */
    float *lnx_w, *lnx_b;                 /* [A] */
    float *ffn_mk;                        /* [D] */
    rw_mat ffn_k, ffn_v;                  /* (F, D), (D, F) */
    rw_mat s_emb, s_emb_x;                /* 7a: (V, E), (E, D) with E = ES * ES */
    rw_mat s1, s2;                        /* 7a: (ES, D), (F, ES) */
    float *s0;                            /* 7a: [F] */
} layer_v7;

#define AT(field) offsetof(layer_v7, field)
static const rw_rule rules[] = {
    {"ln1.weight", "attn_norm", -1, RW_VECTOR, {RW_D}, 0, AT(ln1_w), RW_RAW},
    {"ln1.bias", "attn_norm", -1, RW_VECTOR, {RW_D}, 0, AT(ln1_b), RW_RAW},
    {"ln2.weight", "attn_norm_2", -1, RW_VECTOR, {RW_D}, 0, AT(ln2_w), RW_RAW},
    {"ln2.bias", "attn_norm_2", -1, RW_VECTOR, {RW_D}, 0, AT(ln2_b), RW_RAW},
    {"att.x_r", "time_mix_lerp_fused", R, RW_VECTOR, {RW_D}, 0, AT(mix[R]), RW_RAW},
    {"att.x_w", "time_mix_lerp_fused", W, RW_VECTOR, {RW_D}, 0, AT(mix[W]), RW_RAW},
    {"att.x_k", "time_mix_lerp_fused", K, RW_VECTOR, {RW_D}, 0, AT(mix[K]), RW_RAW},
    {"att.x_v", "time_mix_lerp_fused", V, RW_VECTOR, {RW_D}, 0, AT(mix[V]), RW_RAW},
    {"att.x_a", "time_mix_lerp_fused", A_, RW_VECTOR, {RW_D}, 0, AT(mix[A_]), RW_RAW},
    {"att.x_g", "time_mix_lerp_fused", G, RW_VECTOR, {RW_D}, 0, AT(mix[G]), RW_RAW},
    {"att.w0", "time_mix_w0", -1, RW_VECTOR, {RW_A}, 0, AT(w0), RW_RAW},
    {"att.w1", "time_mix_w1", -1, RW_LOWRANK, {RW_RW, RW_D}, 0, AT(w1), RW_RAW},
    {"att.w2", "time_mix_w2", -1, RW_LOWRANK, {RW_A, RW_RW}, 0, AT(w2), RW_RAW},
    {"att.a0", "time_mix_a0", -1, RW_VECTOR, {RW_A}, 0, AT(a0), RW_RAW},
    {"att.a1", "time_mix_a1", -1, RW_LOWRANK, {RW_RA, RW_D}, 0, AT(a1), RW_RAW},
    {"att.a2", "time_mix_a2", -1, RW_LOWRANK, {RW_A, RW_RA}, 0, AT(a2), RW_RAW},
    {"att.v0", "time_mix_v0", -1, RW_VECTOR, {RW_A}, RW_NOT_LAYER0, AT(v0), RW_RAW},
    {"att.v1", "time_mix_v1", -1, RW_LOWRANK, {RW_RV, RW_D}, RW_NOT_LAYER0, AT(v1), RW_RAW},
    {"att.v2", "time_mix_v2", -1, RW_LOWRANK, {RW_A, RW_RV}, RW_NOT_LAYER0, AT(v2), RW_RAW},
    {"att.g1", "time_mix_g1", -1, RW_LOWRANK, {RW_RG, RW_D}, 0, AT(g1), RW_RAW},
    {"att.g2", "time_mix_g2", -1, RW_LOWRANK, {RW_A, RW_RG}, 0, AT(g2), RW_RAW},
    {"att.k_k", "time_mix_k_k", -1, RW_VECTOR, {RW_A}, 0, AT(k_k), RW_RAW},
    {"att.k_a", "time_mix_k_a", -1, RW_VECTOR, {RW_A}, 0, AT(k_a), RW_RAW},
    {"att.r_k", "time_mix_r_k", -1, RW_VECTOR, {RW_A}, 0, AT(r_k), RW_RAW},
    {"att.receptance.weight", "time_mix_receptance", -1, RW_MATRIX, {RW_A, RW_D}, 0, AT(att_r), RW_RAW},
    {"att.key.weight", "time_mix_key", -1, RW_MATRIX, {RW_A, RW_D}, 0, AT(att_k), RW_RAW},
    {"att.value.weight", "time_mix_value", -1, RW_MATRIX, {RW_A, RW_D}, 0, AT(att_v), RW_RAW},
    {"att.output.weight", "time_mix_output", -1, RW_MATRIX, {RW_D, RW_A}, 0, AT(att_o), RW_RAW},
    {"att.ln_x.weight", "time_mix_ln", -1, RW_VECTOR, {RW_A}, 0, AT(lnx_w), RW_RAW},
    {"att.ln_x.bias", "time_mix_ln", -1, RW_VECTOR, {RW_A}, 0, AT(lnx_b), RW_RAW},
    {"ffn.x_k", "channel_mix_lerp_k", -1, RW_VECTOR, {RW_D}, 0, AT(ffn_mk), RW_RAW},
    {"ffn.key.weight", "channel_mix_key", -1, RW_MATRIX, {RW_F, RW_D}, 0, AT(ffn_k), RW_RAW},
    {"ffn.value.weight", "channel_mix_value", -1, RW_MATRIX, {RW_D, RW_F}, RW_SPARSE, AT(ffn_v), RW_RAW},
    /* 7a only, and last */
    {"ffn.s_emb.weight", "channel_mix_s_emb", -1, RW_MATRIX, {RW_V, RW_E}, RW_LOOKUP, AT(s_emb), RW_RAW},
    {"ffn.s_emb_x.weight", "channel_mix_s_emb_x", -1, RW_MATRIX, {RW_E, RW_D}, 0, AT(s_emb_x), RW_RAW},
    {"ffn.s1", "channel_mix_s1", -1, RW_LOWRANK, {RW_ES, RW_D}, 0, AT(s1), RW_RAW},
    {"ffn.s2", "channel_mix_s2", -1, RW_LOWRANK, {RW_F, RW_ES}, 0, AT(s2), RW_RAW},
    {"ffn.s0", "channel_mix_s0", -1, RW_VECTOR, {RW_F}, 0, AT(s0), RW_RAW},
};
enum { N_RULES_7A = sizeof rules / sizeof *rules, N_RULES_7 = N_RULES_7A - 5 };

static rwkv_status measure(rw_checkpoint *c, rwkv_error *err) {
    RW_TRY(rw_checkpoint_heads(c, "att.r_k", err));
    RW_TRY(rw_checkpoint_size(c, "att.w1", 0, false, &c->dim[RW_RW], err));
    RW_TRY(rw_checkpoint_size(c, "att.a1", 0, false, &c->dim[RW_RA], err));
    RW_TRY(rw_checkpoint_size(c, "att.g1", 0, false, &c->dim[RW_RG], err));
    if (c->n_layer > 1) RW_TRY(rw_checkpoint_size(c, "att.v1", 1, false, &c->dim[RW_RV], err));
    if (c->version != RW_V7A) return RWKV_OK;
    RW_TRY(rw_checkpoint_size(c, "ffn.s_emb.weight", 0, true, &c->dim[RW_E], err));
    RW_TRY(rw_checkpoint_size(c, "ffn.s1", 0, false, &c->dim[RW_ES], err));
    if ((uint64_t)c->dim[RW_ES] * c->dim[RW_ES] != c->dim[RW_E])
        return rw_fail_at(err, RWKV_E_MODEL, c->table->path, RWKV_NO_OFFSET,
                          "v7a: ffn.s1 has %u columns and ffn.s_emb.weight %u; expected the square",
                          c->dim[RW_ES], c->dim[RW_E]);
    return RWKV_OK;
}

static size_t state_len(const rw_checkpoint *c) {
    return 2 * (size_t)c->dim[RW_D] + (size_t)c->dim[RW_A] * c->dim[RW_N];
}

static size_t scratch_len(const rw_checkpoint *c) {
    const uint32_t *d = c->dim;
    size_t time = (2 + N_MIX) * (size_t)d[RW_D] + 9 * (size_t)d[RW_A] + d[RW_RW] + d[RW_RA] + d[RW_RG] + d[RW_RV];
    size_t channel = 3 * (size_t)d[RW_D] + d[RW_F];
    if (c->version == RW_V7A) channel += (size_t)d[RW_E] + 2 * (size_t)d[RW_ES] + d[RW_F];
    return time > channel ? time : channel;
}

typedef struct wkv_job {
    rw_eval *e;
    const layer_v7 *w;
    uint32_t layer;
    float *r, *k, *v, *g;       /* [n_rows, A] */
    float *d, *a, *vl;          /* low-rank outputs of decay, rate and value mix; vl NULL in layer 0 */
    float *kappa, *y;
} wkv_job;

/* One head of one row; c: its first channel. */
static rw_head7 head_of(const wkv_job *j, size_t row, size_t c) {
    const struct rwkv_model *m = j->e->m;
    const layer_v7 *w = j->w;
    size_t at = row * m->A + c;
    return (rw_head7){
        .w0 = w->w0 + c, .a0 = w->a0 + c, .k_k = w->k_k + c, .k_a = w->k_a + c, .r_k = w->r_k + c,
        .v0 = j->vl ? w->v0 + c : NULL, .ln_w = w->lnx_w + c, .ln_b = w->lnx_b + c,
        .r = j->r + at, .k = j->k + at, .v = j->v + at, .g = j->g + at, .d = j->d + at, .a = j->a + at,
        .vl = j->vl ? j->vl + at : NULL, .v_first = j->e->v_first + at, .kappa = j->kappa + at,
        .y = j->y + at, .eps = m->gn_eps,
    };
}

static void wkv_heads(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    wkv_job *j = ctx;
    const struct rwkv_model *m = j->e->m;
    size_t A = m->A, N = m->N;
    for (size_t h = begin; h < end; h++) {
        size_t c = h * N;
        for (size_t row = 0; row < j->e->n_rows; row++) {
            rw_head7 head = head_of(j, row, c);
            m->k->prepare7(&head, N);
        }
        for (size_t s = 0; s < j->e->n_segs; s++) {
            const rw_segment *seg = &j->e->segs[s];
            float *S = seg->state + rw_att_state(j->e, j->layer) + h * N * N;
            size_t at = seg->row * A + c;
            m->k->wkv7(j->r + at, j->d + at, j->k + at, j->v + at, j->kappa + at, j->a + at, A, S, j->y + at,
                       seg->n, N);
        }
        for (size_t row = 0; row < j->e->n_rows; row++) {
            rw_head7 head = head_of(j, row, c);
            m->k->finish7(&head, N);
        }
    }
}

/* A low-rank branch is act(x x1) x2. Two rounds of products: all that read mixes, then all x2. */
static void time_mix(rw_eval *e, uint32_t l) {
    const layer_v7 *w = rw_layer(e, l);
    const struct rwkv_model *m = e->m;
    size_t D = m->D, A = m->A, T = e->n_rows;
    float *x = rw_take(e, T * D), *mixes = rw_take(e, N_MIX * T * D), *mixed[N_MIX];
    float *r = rw_take(e, T * A), *k = rw_take(e, T * A), *g = rw_take(e, T * A);
    float *v = l > 0 ? rw_take(e, T * A) : e->v_first; /* of the same token, not state */
    float *d = rw_take(e, T * A), *a = rw_take(e, T * A), *vl = l > 0 ? rw_take(e, T * A) : NULL;
    float *kappa = rw_take(e, T * A), *y = rw_take(e, T * A), *out = rw_take(e, T * D);
    float *d1 = rw_take(e, T * w->w1.rows), *a1 = rw_take(e, T * w->a1.rows);
    float *g1 = rw_take(e, T * w->g1.rows), *v1 = l > 0 ? rw_take(e, T * w->v1.rows) : NULL;
    for (size_t i = 0; i < N_MIX; i++) mixed[i] = mixes + i * T * D;

    rw_shift_mix(e, w->ln1_w, w->ln1_b, rw_att_shift(e, l), m->k->mix_previous, w->mix, N_MIX, x, mixes);
    rw_keep_shift(e, x, rw_att_shift(e, l));
    const rw_product down[] = {
        {.w = &w->att_r, .x = mixed[R], .y = r},
        {.w = &w->att_k, .x = mixed[K], .y = k},
        {.w = &w->att_v, .x = mixed[V], .y = v},
        {.w = &w->w1, .x = mixed[W], .y = d1, .apply = m->k->tanh},
        {.w = &w->a1, .x = mixed[A_], .y = a1},
        {.w = &w->g1, .x = mixed[G], .y = g1, .apply = m->k->sigmoid},
        {.w = &w->v1, .x = mixed[V], .y = v1}, /* from layer 1 on */
    };
    const rw_product up[] = {
        {.w = &w->w2, .x = d1, .y = d},
        {.w = &w->a2, .x = a1, .y = a},
        {.w = &w->g2, .x = g1, .y = g},
        {.w = &w->v2, .x = v1, .y = vl},
    };
    rw_products(m, down, l > 0 ? 7 : 6, T);
    rw_products(m, up, l > 0 ? 4 : 3, T);
    wkv_job job = {e, w, l, r, k, v, g, d, a, vl, kappa, y};
    rw_split(e, m->H, 1, wkv_heads, &job);
    rw_products(m, &(rw_product){.w = &w->att_o, .x = y, .y = out, .add_to = e->x}, 1, T);
}

typedef struct deep_job {
    rw_eval *e;
    const layer_v7 *w;
    const float *left; /* [n_rows, ES] x s1 */
    float *table;      /* [n_rows, E] in: s_emb_x LN(emb); out: + the token's row */
    float *out;        /* [n_rows, ES] */
} deep_job;

/* out = (x s1) M, M the token's row as an ES x ES matrix, row-major */
static void deep_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    const deep_job *j = ctx;
    const struct rwkv_model *m = j->e->m;
    const rw_mat *emb = &j->w->s_emb;
    size_t E = emb->cols, ES = j->w->s1.rows;
    float *row_values = m->panel + thread * m->panel_len;
    for (size_t row = begin; row < end; row++) {
        const float *left = j->left + row * ES;
        float *M = j->table + row * E, *out = j->out + row * ES;
        m->k->decode[emb->type](emb->data + (size_t)j->e->tokens[row] * emb->row_bytes, row_values, E);
        for (size_t i = 0; i < E; i++) M[i] += row_values[i];
        memset(out, 0, ES * sizeof *out);
        for (size_t i = 0; i < ES; i++)
            for (size_t c = 0; c < ES; c++) out[c] += left[i] * M[i * ES + c];
    }
}

typedef struct gate_job {
    size_t n;
    const float *s0, *gate; /* [F], [n_rows, F] */
    float *k;               /* [n_rows, F] k *= gate + s0 */
} gate_job;

static void gate_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const gate_job *j = ctx;
    for (size_t row = begin; row < end; row++)
        for (size_t i = 0; i < j->n; i++) j->k[row * j->n + i] *= j->gate[row * j->n + i] + j->s0[i];
}

/* 7a: k = k * (((x s1) M) s2 + s0), x the normalised input without shift, M of the token */
static void deep_embed(rw_eval *e, const layer_v7 *w, const float *x, float *k) {
    const struct rwkv_model *m = e->m;
    size_t T = e->n_rows, E = w->s_emb.cols, ES = w->s1.rows;
    float *left = rw_take(e, T * ES), *mid = rw_take(e, T * ES), *table = rw_take(e, T * E);
    float *gate = rw_take(e, T * m->F);
    const rw_product in[] = {{.w = &w->s1, .x = x, .y = left}, {.w = &w->s_emb_x, .x = e->x0, .y = table}};
    rw_products(m, in, 2, T);
    deep_job deep = {e, w, left, table, mid};
    rw_split(e, T, 1, deep_rows, &deep);
    rw_products(m, &(rw_product){.w = &w->s2, .x = mid, .y = gate}, 1, T);
    gate_job job = {m->F, w->s0, gate, k};
    rw_split(e, T, 1, gate_rows, &job);
}

/* out = Wv relu(Wk (x + (p - x) x_k))^2 */
static void channel_mix(rw_eval *e, uint32_t l) {
    const layer_v7 *w = rw_layer(e, l);
    const struct rwkv_model *m = e->m;
    size_t D = m->D, F = m->F, T = e->n_rows;
    float *x = rw_take(e, T * D), *mixed = rw_take(e, T * D), *out = rw_take(e, T * D);
    float *k = rw_take(e, T * F);
    rw_shift_mix(e, w->ln2_w, w->ln2_b, rw_ffn_shift(e, l), m->k->mix_previous, &w->ffn_mk, 1, x, mixed);
    rw_keep_shift(e, x, rw_ffn_shift(e, l));
    rw_products(m, &(rw_product){.w = &w->ffn_k, .x = mixed, .y = k, .apply = m->k->relu2}, 1, T);
    if (w->s_emb.data) deep_embed(e, w, x, k);
    rw_products(m, &(rw_product){.w = &w->ffn_v, .x = k, .y = out, .add_to = e->x}, 1, T);
}

static void layer(rw_eval *e, uint32_t l) {
    float *mark = e->scratch;
    time_mix(e, l);
    e->scratch = mark;
    channel_mix(e, l);
    e->scratch = mark;
}

const rw_arch rw_arch_v7 = {
    .rules = rules,
    .n_rules = N_RULES_7,
    .layer_size = sizeof(layer_v7),
    .gguf_arch = "rwkv7",
    .measure = measure,
    .state_len = state_len,
    .scratch_len = scratch_len,
    .layer = layer,
};

const rw_arch rw_arch_v7a = {
    .rules = rules,
    .n_rules = N_RULES_7A,
    .layer_size = sizeof(layer_v7),
    .gguf_arch = "rwkv7a",
    .measure = measure,
    .state_len = state_len,
    .scratch_len = scratch_len,
    .layer = layer,
};
