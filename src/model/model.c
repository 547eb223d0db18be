/* model.c - opens a model: checkpoint -> bound weights, kernels, threads, workspace, tokenizer, template.
 *
 * Matrices stay where they are in the mapped file; vectors become float32 and the small low-rank matrices
 * are turned where the file has them the other way round. After this nothing changes until free. */
#include "model.h"
#include "../text/text.h"
#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------- binding */

/* to[r][k] = from[k][r]. Inlined with a constant size, each memcpy is one move. */
static inline void transpose(const uint8_t *from, uint8_t *to, size_t rows, size_t cols, size_t size) {
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < cols; k++) memcpy(to + (r * cols + k) * size, from + (k * rows + r) * size, size);
}

/* A low-rank matrix stored as (.., in, out), copied as (.., out, in). */
static const uint8_t *turn(rw_arena *arena, const rw_weight *w, uint32_t cols, uint32_t rows) {
    size_t size = rw_type_get(w->tensor->type)->block_bytes, n = (size_t)rows * cols;
    uint8_t *out = rw_arena_alloc(arena, w->n_elems, size);
    for (size_t at = 0; out && at < w->n_elems * size; at += n * size) {
        if (size == 2) transpose(w->data + at, out + at, rows, cols, 2);
        else if (size == 4) transpose(w->data + at, out + at, rows, cols, 4);
        else transpose(w->data + at, out + at, rows, cols, size);
    }
    return out;
}

static rwkv_status bind_weight(struct rwkv_model *m, const rw_weight *w, uint8_t *base, rwkv_error *err) {
    const rw_rule *rule = w->rule;
    if (!w->tensor) return RWKV_OK; /* optional: the field stays zero */
    if (rule->kind == RW_VECTOR) {
        float *values = rw_arena_alloc(&m->arena, w->n_elems, sizeof *values);
        if (!values) return rw_nomem(err, w->n_elems * sizeof *values);
        rw_weight_values(w, m->ckpt, rule->form, values);
        memcpy(base + rule->offset, &values, sizeof values);
        return RWKV_OK;
    }
    rw_mat mat = {.data = w->data, .type = w->tensor->type, .scale = w->scale};
    mat.cols = rw_rule_cols(m->ckpt, rule);
    mat.rows = (uint32_t)(w->n_elems / mat.cols); /* of all groups, for v6's five */
    uint64_t bytes = 0;
    rw_type_bytes(mat.type, mat.cols, &bytes); /* the rows were checked to be whole blocks */
    mat.row_bytes = bytes;
    if (w->turned) {
        mat.data = turn(&m->arena, w, mat.cols, rw_dim_of(m->ckpt, rule->dims[rw_rule_dims(rule) - 2]));
        if (!mat.data) return rw_nomem(err, w->bytes);
    }
    RW_TRY(rw_packing_reserve(m, w, &mat, err));
    memcpy(base + rule->offset, &mat, sizeof mat);
    return RWKV_OK;
}

static rwkv_status bind_all(struct rwkv_model *m, rwkv_error *err) {
    const rw_checkpoint *c = m->ckpt;
    m->n_layer = c->n_layer;
    m->main_type = rw_checkpoint_main_type(c);
    m->D = c->dim[RW_D], m->A = c->dim[RW_A], m->F = c->dim[RW_F];
    m->V = c->dim[RW_V], m->H = c->dim[RW_H], m->N = c->dim[RW_N];
    m->ln_eps = c->ln_eps, m->gn_eps = c->gn_eps;
    m->layer_state_len = m->arch->state_len(c);
    m->state_len = m->layer_state_len * m->n_layer;
    m->layers = rw_arena_alloc(&m->arena, m->n_layer, m->arch->layer_size);
    if (!m->layers) return rw_nomem(err, m->n_layer * m->arch->layer_size);
    for (size_t i = 0; i < rw_n_global_rules; i++)
        RW_TRY(bind_weight(m, &c->globals[i], (uint8_t *)m, err));
    for (uint32_t l = 0; l < m->n_layer; l++) {
        const rw_weight *w = rw_layer_weights(c, l, m->arch->n_rules);
        for (size_t i = 0; i < m->arch->n_rules; i++)
            RW_TRY(bind_weight(m, &w[i], m->layers + l * m->arch->layer_size, err));
        if (m->arch->finish) RW_TRY(m->arch->finish(m, l, err));
    }
    return RWKV_OK;
}

/* Of any matrix that is multiplied or looked up. */
static uint32_t longest_row(const rw_checkpoint *c) {
    uint32_t n = 0;
    static const rw_dim sizes[] = {RW_D, RW_A, RW_F, RW_E, RW_RW, RW_RA, RW_RV, RW_RG, RW_RM};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (c->dim[sizes[i]] > n) n = c->dim[sizes[i]];
    return n;
}

/* Everything an evaluation needs, for RW_MAX_ROWS rows. rw_take rounds each buffer up: 64 of them spare. */
static size_t work_floats(const rw_checkpoint *c) {
    size_t row = 3 * (size_t)c->dim[RW_D] + c->dim[RW_A] + c->arch->scratch_len(c);
    return RW_MAX_ROWS * row + RW_LOGIT_ROWS * (size_t)c->dim[RW_D] + 64 * 16;
}

/* A multiple of 16, so that every thread's panel is aligned. */
static size_t panel_floats(const rw_checkpoint *c) {
    size_t row = 4 * (size_t)longest_row(c), products = rw_products_scratch(RW_MAX_ROWS);
    return ((row > products ? row : products) + 15) & ~(size_t)15;
}

/* Bytes of the longest row, six mixes, or all low-rank products of a layer: what may be rounded together. */
static size_t n_inputs(const rw_checkpoint *c) {
    static const rw_dim ranks[] = {RW_RW, RW_RA, RW_RV, RW_RG, RW_RM5, RW_ES};
    size_t most = rw_pack_tiles(longest_row(c)), mixes = 6 * rw_pack_tiles(c->dim[RW_D]), low = 0;
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) low += rw_pack_tiles(c->dim[ranks[i]]);
    if (mixes > most) most = mixes;
    size_t tile = sizeof(rw_pairs) > sizeof(rw_act) ? sizeof(rw_pairs) : sizeof(rw_act);
    return RW_MAX_ROWS * tile * (low > most ? low : most);
}

/* At most four scales for every 64 columns of ffn.value. */
static size_t n_chosen(const rw_checkpoint *c) {
    return 4 * rw_pack_tiles(c->dim[RW_F]);
}

static size_t desk_bytes(const rw_checkpoint *c) {
    return sizeof(rw_desk) + n_inputs(c) / RW_MAX_ROWS * RW_FEW + n_chosen(c) * sizeof(rw_chosen);
}

static rwkv_status make_desks(struct rwkv_model *m, rwkv_error *err) {
    uint32_t threads = rw_pool_threads(m->pool);
    m->desks = rw_alloc_aligned(threads * sizeof *m->desks);
    if (!m->desks) return rw_nomem(err, threads * sizeof *m->desks);
    for (uint32_t t = 0; t < threads && m->packing; t++) {
        rw_desk *d = &m->desks[t];
        d->inputs = rw_alloc_aligned(n_inputs(m->ckpt) / RW_MAX_ROWS * RW_FEW);
        d->chosen = rw_alloc_aligned(n_chosen(m->ckpt) * sizeof *d->chosen);
        if (!d->inputs || !d->chosen) return rw_nomem(err, desk_bytes(m->ckpt));
    }
    return RWKV_OK;
}

static rwkv_status make_workspace(struct rwkv_model *m, rwkv_error *err) {
    m->work_len = work_floats(m->ckpt);
    m->panel_len = panel_floats(m->ckpt);
    size_t panels = m->panel_len * rw_pool_threads(m->pool), logits = RW_LOGIT_ROWS * (size_t)m->V;
    m->work = rw_alloc_aligned(m->work_len * sizeof *m->work);
    m->panel = rw_alloc_aligned(panels * sizeof *m->panel);
    m->logits = rw_alloc_aligned(logits * sizeof *m->logits);
    m->counts = rw_arena_alloc(&m->arena, 1, sizeof *m->counts);
    if (!m->counts) return rw_nomem(err, sizeof *m->counts);
    RW_TRY(make_desks(m, err));
    if (m->packing) m->inputs = rw_alloc_aligned(n_inputs(m->ckpt));
    if (!m->work || !m->panel || !m->logits || (m->packing && !m->inputs))
        return rw_nomem(err, (m->work_len + panels + logits) * sizeof(float));
    return RWKV_OK;
}

/* ---------------------------------------------------------------- checks before and after */

static void human(uint64_t bytes, char out[24]) {
    double x = (double)bytes;
    const char *unit = bytes >= 1000000000 ? "GB" : "MB";
    snprintf(out, 24, "%.2f %s", x / (bytes >= 1000000000 ? 1e9 : 1e6), unit);
}

/* Need and availability in one message, with the largest type that would fit. */
static rwkv_status check_memory(const rw_checkpoint *c, uint32_t n_threads, uint32_t flags, rwkv_error *err) {
    static const rw_type smaller[] = {RW_Q8_0, RW_Q6_K, RW_Q5_1, RW_Q5_K, RW_Q4_K};
    uint64_t have = rw_os_memory_available(), weights = 0, elems = 0;
    for (size_t i = 0; i < c->table->n_tensors; i++) {
        weights += c->table->tensors[i].bytes;
        elems += c->table->tensors[i].n_elems;
    }
    if (!(flags & RWKV_MODEL_EXACT)) weights += rw_packing_growth(c, flags);
    uint64_t state = c->arch->state_len(c) * (uint64_t)c->n_layer;
    uint64_t rest = 4 * (work_floats(c) + n_threads * panel_floats(c) + (RW_LOGIT_ROWS + 1) * (uint64_t)c->dim[RW_V] +
                         state) + n_inputs(c) + n_threads * desk_bytes(c);
    if (have == 0 || weights + rest <= have) return RWKV_OK;
    char need[24], got[24], fit[160] = "no type would fit";
    human(weights + rest, need);
    human(have, got);
    for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++) {
        const rw_type_info *t = rw_type_get(smaller[i]);
        uint64_t as = elems / t->block_elems * t->block_bytes;
        if (as >= weights || as + rest > have) continue;
        char size[24];
        human(as + rest, size);
        snprintf(fit, sizeof fit, "%s would need %s (rwkv quantize MODEL OUT.gguf %s)", t->name, size, t->name);
        break;
    }
    return rw_fail_at(err, RWKV_E_NOMEM, c->table->path, RWKV_NO_OFFSET,
                      "not enough memory: the model needs %s, %s are available; %s; --force tries anyway", need,
                      got, fit);
}

static rwkv_status check_packed(const rw_tensor *w, rwkv_error *err) {
    uint64_t cols = w->dims[w->n_dims - 1], rows = rw_layout_rows(w->layout);
    size_t bytes = rw_layout_unit(w->layout, rw_pack_of(w->type), cols);
    for (uint64_t at = 0; at < w->bytes; at += bytes)
        if (!rw_layout_finite(w->layout, w->type, w->data + at, cols))
            return rw_fail_at(err, RWKV_E_NUMERIC, w->file->path, w->offset + at,
                              "tensor %s, rows from %llu: found a scale that is not finite", w->name,
                              (unsigned long long)(at / bytes * rows));
    return RWKV_OK;
}

/* RWKV_MODEL_CHECK: every element of every tensor. */
static rwkv_status check_finite(const rw_table *t, rwkv_error *err) {
    enum { CHUNK = 8192 };
    float *x = rw_calloc(CHUNK, sizeof *x);
    if (!x) return rw_nomem(err, CHUNK * sizeof *x);
    rwkv_status st = RWKV_OK;
    for (size_t i = 0; i < t->n_tensors && st == RWKV_OK; i++) {
        const rw_tensor *w = &t->tensors[i];
        if (!rw_type_is_float(w->type)) continue;
        if (w->layout != RW_ROWS) {
            st = check_packed(w, err);
            continue;
        }
        const rw_type_info *type = rw_type_get(w->type);
        for (uint64_t at = 0; at < w->n_elems && st == RWKV_OK; at += CHUNK) {
            uint64_t n = w->n_elems - at < CHUNK ? w->n_elems - at : CHUNK;
            uint64_t byte = at / type->block_elems * type->block_bytes;
            type->decode(w->data + byte, x, n);
            for (uint64_t j = 0; j < n && st == RWKV_OK; j++)
                if (!(x[j] - x[j] == 0))
                    st = rw_fail_at(err, RWKV_E_NUMERIC, w->file->path, w->offset + byte,
                                    "tensor %s, element %llu: found %g; expected a finite number", w->name,
                                    (unsigned long long)(at + j), (double)x[j]);
        }
        rw_file_release(w->file, w->data, w->bytes);
    }
    rw_free(x);
    return st;
}

/* ---------------------------------------------------------------- text */

static rwkv_status gguf_tokenizer(struct rwkv_model *m, rwkv_error *err) {
    const rw_table *t = m->ckpt->table;
    const rw_meta *tokens = rw_meta_find(t, "tokenizer.ggml.tokens");
    const rw_meta *types = rw_meta_find(t, "tokenizer.ggml.token_type");
    const char *kind;
    size_t len;
    bool found;
    RW_TRY(rw_meta_str(t, "tokenizer.ggml.model", &kind, &len, &found, err));
    if (!found || !tokens) return rw_fail(err, RWKV_E_VOCAB, "no vocabulary in the file");
    if (len != 4 || memcmp(kind, "rwkv", 4) != 0)
        return rw_fail_at(err, RWKV_E_VOCAB, t->path, RWKV_NO_OFFSET,
                          "tokenizer.ggml.model: found %.*s; expected rwkv", (int)(len < 40 ? len : 40), kind);
    if (tokens->kind != RW_META_STRINGS || tokens->v.strs.n > m->V)
        return rw_fail_at(err, RWKV_E_VOCAB, t->path, tokens->offset,
                          "tokenizer.ggml.tokens: expected an array of at most %u strings", m->V);
    enum { GGUF_I32 = 5 };
    int32_t *list = NULL;
    if (types && types->kind == RW_META_NUMBERS && types->v.nums.gguf_type == GGUF_I32 &&
        types->v.nums.n == tokens->v.strs.n) {
        list = rw_calloc(tokens->v.strs.n, sizeof *list);
        if (!list) return rw_nomem(err, tokens->v.strs.n * sizeof *list);
        memcpy(list, types->v.nums.data, tokens->v.strs.n * sizeof *list);
    }
    rwkv_status st = rw_tokenizer_from_gguf(&m->tokenizer, t->path, tokens->v.strs.s, tokens->v.strs.len,
                                            tokens->v.strs.n, list, err);
    rw_free(list);
    return st;
}

static rwkv_status json_tokenizer(struct rwkv_model *m, const rw_meta *json, rwkv_error *err) {
    const char *path = m->ckpt->table->path;
    rwkv_tokenizer *t = NULL;
    RW_TRY(rw_tokenizer_from_text(&t, path, json->v.str.s, json->v.str.len, err));
    size_t size = rwkv_tokenizer_size(t);
    if (size <= m->V) {
        m->tokenizer = t;
        return RWKV_OK;
    }
    rwkv_tokenizer_free(t);
    return rw_fail_at(err, RWKV_E_VOCAB, path, json->offset, "%s: found %zu ids; expected at most %u", json->key,
                      size, m->V);
}

/* A model without vocabulary is still a model: the error is kept for whoever asks for the tokenizer. A
 * vocabulary that the caller names must be right. */
static rwkv_status find_text(struct rwkv_model *m, const rwkv_model_options *opt, rwkv_error *err) {
    const rw_table *t = m->ckpt->table;
    rwkv_status st = RWKV_E_VOCAB;
    rwkv_error why = {0};
    const rw_meta *json = rw_meta_find(t, "tokenizer.huggingface.json");
    if (!opt->vocab && json && json->kind == RW_META_STRING) st = json_tokenizer(m, json, &why);
    else if (!opt->vocab && rw_meta_find(t, "tokenizer.ggml.model")) st = gguf_tokenizer(m, &why);
    if (st != RWKV_OK && st != RWKV_E_NOMEM)
        st = rw_tokenizer_search(&m->tokenizer, opt->vocab, t->path, m->V, &why);
    if (st != RWKV_OK && (opt->vocab || st == RWKV_E_NOMEM)) {
        if (err) *err = why;
        return st;
    }
    if (st != RWKV_OK) m->tokenizer_error = why;

    const char *own = NULL;
    size_t own_len = 0;
    bool found = false;
    RW_TRY(rw_meta_str(t, "rwkv.chat_template", &own, &own_len, &found, err));
    if (!found) RW_TRY(rw_meta_str(t, "tokenizer.chat_template", &own, &own_len, &found, err));
    if (opt->chat) {
        m->chat = rwkv_template_find(opt->chat);
        if (!m->chat) return rw_template_unknown(opt->chat, err);
    } else {
        m->chat = rw_template_choose(found ? own : NULL, own_len, m->ckpt->name, rw_version_name(m->ckpt->version),
                                     m->V);
    }
    RW_TRY(rw_meta_str(t, "rwkv.sampling", &own, &own_len, &found, err));
    const char *preset = found ? rw_sampling_find(own, own_len) : NULL;
    m->sampling = preset ? preset : ""; /* a name of a later version is no reason to refuse a model */
    return RWKV_OK;
}

/* ---------------------------------------------------------------- public */

rwkv_status rwkv_model_open(rwkv_model **out, const char *path, const rwkv_model_options *options,
                            rwkv_error *err) {
    static const rwkv_model_options defaults;
    const rwkv_model_options *opt = options ? options : &defaults;
    if (!out || !path) return rw_fail(err, RWKV_E_ARG, "rwkv_model_open: out and path must be given");
    if (opt->n_threads > 1024)
        return rw_fail(err, RWKV_E_ARG, "n_threads: found %u; expected at most 1024", opt->n_threads);
    if (opt->group_norm_eps != 0 && !(opt->group_norm_eps > 0 && opt->group_norm_eps < 1))
        return rw_fail(err, RWKV_E_ARG, "group_norm_eps: found %g; expected between 0 and 1",
                       (double)opt->group_norm_eps);
    rwkv_status st = RWKV_OK;
    rw_log log = {opt->log, opt->log_user};
    uint32_t n_threads = opt->n_threads ? opt->n_threads : rw_os_physical_cores();
    rwkv_model *m = rw_calloc(1, sizeof *m);
    if (!m) return rw_nomem(err, sizeof *m);
    if (pthread_mutex_init(&m->lock, NULL) != 0) {
        rw_free(m);
        return rw_nomem(err, sizeof m->lock);
    }
    RW_GOTO(rw_kernels_get(&m->k, opt->isa, err));
    RW_GOTO(rw_checkpoint_open(&m->ckpt, path, (opt->flags & RWKV_MODEL_NO_MMAP) != 0, log, err));
    m->arch = m->ckpt->arch;
    /* Eight-bit activations cost v5 more than KL 1e-4 per token even with eight-bit weights. */
    uint32_t flags = opt->flags | (m->arch == &rw_arch_v5 ? RWKV_MODEL_EXACT : 0u);
    m->exact = (flags & RWKV_MODEL_EXACT) != 0;
    m->dense = (flags & RWKV_MODEL_DENSE) != 0;
    if (opt->group_norm_eps > 0 && m->arch != &rw_arch_v4) m->ckpt->gn_eps = opt->group_norm_eps;
    if (!(opt->flags & RWKV_MODEL_IGNORE_MEMORY)) RW_GOTO(check_memory(m->ckpt, n_threads, flags, err));
    if (opt->flags & RWKV_MODEL_CHECK) RW_GOTO(check_finite(m->ckpt->table, err));
    RW_GOTO(rw_pool_new(&m->pool, n_threads, err));
    rw_checkpoint_fingerprint(m->ckpt, m->fingerprint);
    rw_checkpoint_weights_hash(m->ckpt, m->weights_hash); /* before binding, which releases pages */
    RW_GOTO(bind_all(m, err));
    RW_GOTO(make_workspace(m, err));
    RW_GOTO(find_text(m, opt, err));
    *out = m;
    return RWKV_OK;
out:
    rwkv_model_free(m);
    return st;
}

void rwkv_model_free(rwkv_model *m) {
    if (!m) return;
    for (uint32_t t = 0; m->desks && t < rw_pool_threads(m->pool); t++) {
        rw_free_aligned(m->desks[t].inputs);
        rw_free_aligned(m->desks[t].chosen);
    }
    rw_free_aligned(m->desks);
    rw_pool_free(m->pool);
    rwkv_tokenizer_free(m->tokenizer);
    rw_free_aligned(m->work);
    rw_free_aligned(m->panel);
    rw_free_aligned(m->inputs);
    rw_free_aligned(m->logits);
    rw_packing_end(m);
    rw_arena_free(&m->arena);
    rw_checkpoint_close(m->ckpt);
    pthread_mutex_destroy(&m->lock);
    rw_free(m);
}

void rwkv_model_info(const rwkv_model *m, rwkv_info *out) {
    const rw_checkpoint *c = m->ckpt;
    *out = (rwkv_info){
        .path = c->table->path,
        .name = c->name,
        .format = c->table->packed ? "gguf (packed)" : rw_container_name(c->table->container),
        .version = rw_version_name(c->version),
        .type = rw_type_name(m->main_type),
        .chat = rwkv_template_name(m->chat),
        .sampling = m->sampling,
        .tokenizer = m->tokenizer ? rwkv_tokenizer_kind(m->tokenizer) : "",
        .isa = m->k->name,
        .n_layer = m->n_layer, .n_embd = m->D, .n_att = m->A, .n_ffn = m->F,
        .n_head = m->H, .head_size = m->N, .n_vocab = m->V,
        .n_threads = rw_pool_threads(m->pool),
        .group_norm_eps = m->gn_eps,
        .file_bytes = c->table->file_bytes,
        .state_bytes = m->state_len * sizeof(float),
        .session_bytes = (m->state_len + m->V) * sizeof(float),
        .ffn_inputs = atomic_load(&m->counts->inputs),
        .ffn_zeros = atomic_load(&m->counts->zeros),
    };
    for (size_t i = 0; i < c->table->n_tensors; i++) {
        out->n_params += c->table->tensors[i].n_elems;
        out->weight_bytes += c->table->tensors[i].bytes;
    }
    out->copied_bytes = c->table->copied_bytes + m->arena.total +
                        (m->work_len + m->panel_len * out->n_threads + RW_LOGIT_ROWS * (size_t)m->V) * sizeof(float) +
                        (m->inputs ? n_inputs(c) + out->n_threads * desk_bytes(c) : 0);
    memcpy(out->fingerprint, m->fingerprint, sizeof out->fingerprint);
    memcpy(out->weights_hash, m->weights_hash, sizeof out->weights_hash);
}

bool rwkv_model_tensor(const rwkv_model *m, size_t i, rwkv_tensor_info *out) {
    const rw_table *t = m->ckpt->table;
    if (i >= t->n_tensors) return false;
    const rw_tensor *w = &t->tensors[i];
    *out = (rwkv_tensor_info){.name = w->name, .type = rw_type_name(w->type), .bytes = w->bytes};
    for (uint32_t d = 0; d < w->n_dims; d++) /* singletons that fused GGUF tensors carry are left out */
        if (out->n_dims < 4 && (w->n_dims <= 4 || w->dims[d] != 1)) out->dims[out->n_dims++] = w->dims[d];
    return true;
}

const rwkv_tokenizer *rwkv_model_tokenizer(const rwkv_model *m, rwkv_error *err) {
    if (!m->tokenizer && err) *err = m->tokenizer_error;
    return m->tokenizer;
}

const rwkv_template *rwkv_model_template(const rwkv_model *m) { return m->chat; }
