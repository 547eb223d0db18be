/* convert_gguf.c - GGUF version 3: names, types and metadata as llama.cpp's converter writes them
 * for rwkv6 and rwkv7, so that such files load there; rwkv4, rwkv5 and rwkv7a in the same manner.
 *
 * docs/FORMATS.md lists the keys. Decays are stored raw, low-rank matrices (out, in). A packed file
 * is the same with matrices as quant/pack.h arranges them, for this program alone. */
#include "convert.h"
#include "text/text.h"
#include <stdio.h>
#include <string.h>

enum { ALIGNMENT = 32, PACKED_ALIGNMENT = 64, DEFAULT_CONTEXT = 1048576, WORLD_BLANK_LINE = 261 };

/* ---------------------------------------------------------------- metadata */

enum {
    T_U8 = 0,
    T_U32 = 4,
    T_I32 = 5,
    T_F32 = 6,
    T_BOOL = 7,
    T_STRING = 8,
    T_ARRAY = 9,
    T_U64 = 10,
    T_I64 = 11
};

/* Keys and values, counted. `full` stays set once memory was out. */
typedef struct meta_out {
    rw_buf b;
    uint64_t n;
    bool full;
} meta_out;

static void put(meta_out *m, bool done) {
    m->full |= !done;
}

static void put_string(meta_out *m, const char *s, size_t n) {
    put(m, rw_put_u64(&m->b, n) && rw_buf_add(&m->b, s, n));
}

static void put_key(meta_out *m, const char *key, uint32_t type) {
    put_string(m, key, strlen(key));
    put(m, rw_put_u32(&m->b, type));
    m->n++;
}

static void put_array(meta_out *m, const char *key, uint32_t element, uint64_t n) {
    put_key(m, key, T_ARRAY);
    put(m, rw_put_u32(&m->b, element) && rw_put_u64(&m->b, n));
}

static void put_text(meta_out *m, const char *key, const char *s, size_t n) {
    put_key(m, key, T_STRING);
    put_string(m, s, n);
}

static void put_name(meta_out *m, const char *key, const char *s) {
    put_text(m, key, s, strlen(s));
}

static void put_number(meta_out *m, const char *key, uint32_t x) {
    put_key(m, key, T_U32);
    put(m, rw_put_u32(&m->b, x));
}

static void put_float(meta_out *m, const char *key, float x) {
    put_key(m, key, T_F32);
    put(m, rw_buf_add(&m->b, &x, sizeof x));
}

/* A value of a source GGUF, in the type it had; whole numbers in 32 bits where they fit. */
static void put_meta(meta_out *m, const rw_meta *v) {
    switch (v->kind) {
    case RW_META_U64:
        if (v->v.u <= UINT32_MAX) {
            put_number(m, v->key, (uint32_t)v->v.u);
            return;
        }
        put_key(m, v->key, T_U64);
        put(m, rw_put_u64(&m->b, v->v.u));
        return;
    case RW_META_I64:
        put_key(m, v->key, v->v.i >= INT32_MIN && v->v.i <= INT32_MAX ? T_I32 : T_I64);
        put(m, v->v.i >= INT32_MIN && v->v.i <= INT32_MAX ? rw_put_u32(&m->b, (uint32_t)v->v.i)
                                                          : rw_put_u64(&m->b, (uint64_t)v->v.i));
        return;
    case RW_META_F64:
        put_float(m, v->key, (float)v->v.f);
        return;
    case RW_META_BOOL: {
        uint8_t b = v->v.u != 0;
        put_key(m, v->key, T_BOOL);
        put(m, rw_buf_add(&m->b, &b, 1));
        return;
    }
    case RW_META_STRING:
        put_text(m, v->key, v->v.str.s, v->v.str.len);
        return;
    case RW_META_STRINGS:
        put_array(m, v->key, T_STRING, v->v.strs.n);
        for (size_t i = 0; i < v->v.strs.n; i++) put_string(m, v->v.strs.s[i], v->v.strs.len[i]);
        return;
    case RW_META_NUMBERS: {
        static const uint8_t size[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
        put_array(m, v->key, v->v.nums.gguf_type, v->v.nums.n);
        put(m, rw_buf_add(&m->b, v->v.nums.data, v->v.nums.n * size[v->v.nums.gguf_type]));
        return;
    }
    }
}

/* ---------------------------------------------------------------- hyperparameters */

/* llama.cpp's number for the mix of types in a file. */
static uint32_t file_type(const rw_plan *p) {
    static const struct {
        rw_type type;
        uint32_t id;
    } known[] = {{RW_F32, 0},   {RW_F16, 1},   {RW_Q4_0, 2},    {RW_Q4_1, 3},    {RW_Q8_0, 7},
                 {RW_Q5_0, 8},  {RW_Q5_1, 9},  {RW_Q2_K, 10},   {RW_Q3_K, 12},   {RW_Q4_K, 15},
                 {RW_Q5_K, 17}, {RW_Q6_K, 18}, {RW_IQ4_NL, 25}, {RW_IQ4_XS, 30}, {RW_BF16, 32}};
    uint64_t bytes[RW_TYPE_COUNT] = {0};
    rw_type most = RW_F32;
    for (size_t i = 0; i < p->n; i++)
        if (p->pieces[i].src[0]->rule->kind == RW_MATRIX)
            bytes[p->pieces[i].type] += p->pieces[i].bytes;
    for (int t = 0; t < RW_TYPE_COUNT; t++)
        if (bytes[t] > bytes[most]) most = (rw_type)t;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].type == most) return known[i].id;
    return 0;
}

/* "A.key", A the architecture. */
static void arch_number(meta_out *m, const rw_plan *p, const char *key, uint32_t x) {
    char full[96];
    snprintf(full, sizeof full, "%s.%s", p->c->arch->gguf_arch, key);
    put_number(m, full, x);
}

static void arch_float(meta_out *m, const rw_plan *p, const char *key, float x) {
    char full[96];
    snprintf(full, sizeof full, "%s.%s", p->c->arch->gguf_arch, key);
    put_float(m, full, x);
}

static void put_hyperparameters(meta_out *m, const rw_plan *p) {
    const rw_checkpoint *c = p->c;
    const uint32_t *dim = c->dim;
    arch_number(m, p, "context_length", DEFAULT_CONTEXT);
    arch_number(m, p, "embedding_length", dim[RW_D]);
    arch_number(m, p, "block_count", c->n_layer);
    arch_number(m, p, "feed_forward_length", dim[RW_F]);
    arch_number(m, p, "attention.head_count", 0);
    arch_float(m, p, "attention.layer_norm_epsilon", c->ln_eps);
    if (c->version == RW_V4) return;
    arch_number(m, p, "wkv.head_size", dim[RW_N]);
    arch_float(m, p, "attention.group_norm_epsilon", c->gn_eps);
    if (c->version == RW_V6) {
        arch_number(m, p, "rescale_every_n_layers", p->rescale);
        arch_number(m, p, "time_mix_extra_dim", dim[RW_RM]);
        arch_number(m, p, "time_decay_extra_dim", dim[RW_RW]);
    }
    if (c->version == RW_V7 || c->version == RW_V7A) {
        arch_number(m, p, "attention.decay_lora_rank", dim[RW_RW]);
        arch_number(m, p, "attention.iclr_lora_rank", dim[RW_RA]);
        arch_number(m, p, "attention.value_residual_mix_lora_rank", dim[RW_RV]);
        arch_number(m, p, "attention.gate_lora_rank", dim[RW_RG]);
    }
}

/* ---------------------------------------------------------------- vocabulary and chat */

/* What llama.cpp's chat modes read; older versions look for the word rwkv-world, newer ones run it.
 */
static const char world_template[] =
    "{#- rwkv-world -#}\n"
    "{%- for m in messages -%}\n"
    "{%- if m['role'] == 'system' -%}{{- 'System: ' + m['content']|trim + '\\n\\n' -}}\n"
    "{%- elif m['role'] == 'user' -%}{{- 'User: ' + m['content']|trim + '\\n\\n' -}}\n"
    "{%- elif m['role'] == 'assistant' -%}{{- 'Assistant: ' + m['content']|trim + '\\n\\n' -}}\n"
    "{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}";

static bool begins(const char *s, const char *head) {
    return strncmp(s, head, strlen(head)) == 0;
}

static bool is_chat_key(const char *key) {
    return strcmp(key, "tokenizer.chat_template") == 0 || strcmp(key, "rwkv.chat_template") == 0;
}

/* The source's own vocabulary and descriptions go over as they are, but for what is written anew.
 */
static void put_source_meta(meta_out *m, const rw_plan *p, bool vocab, bool chat) {
    static const char *const anew[] = {"general.architecture", "general.type",
                                       "general.name",         "general.alignment",
                                       "general.file_type",    "general.quantization_version"};
    for (size_t i = 0; i < p->c->table->n_meta; i++) {
        const rw_meta *v = &p->c->table->meta[i];
        bool copied = is_chat_key(v->key)                     ? chat
                      : strcmp(v->key, "rwkv.sampling") == 0 ? !p->opt->sampling
                      : begins(v->key, "tokenizer.")          ? vocab
                                                              : begins(v->key, "general.");
        for (size_t k = 0; k < sizeof anew / sizeof *anew; k++)
            copied &= strcmp(v->key, anew[k]) != 0;
        if (copied) put_meta(m, v);
    }
}

static rwkv_status put_vocabulary(meta_out *m, const rw_plan *p, const rwkv_tokenizer *t,
                                  rwkv_error *err) {
    uint32_t n_vocab = p->c->dim[RW_V];
    rwkv_status st = RWKV_OK;
    rw_buf entry = {0}, types = {0};
    put_name(m, "tokenizer.ggml.model", "rwkv");
    put_array(m, "tokenizer.ggml.tokens", T_STRING, n_vocab);
    for (uint32_t id = 0; id < n_vocab; id++) {
        int32_t type = 0;
        st = rw_tokenizer_gguf_entry(t, (int32_t)id, &entry, &type);
        if (st != RWKV_OK) {
            rw_nomem(err, entry.len);
            goto out;
        }
        put_string(m, (const char *)entry.data, entry.len);
        put(m, rw_put_u32(&types, (uint32_t)type));
    }
    put_array(m, "tokenizer.ggml.token_type", T_I32, n_vocab);
    put(m, rw_buf_add(&m->b, types.data, types.len));
    if (rwkv_tokenizer_end(t) >= 0) {
        put_number(m, "tokenizer.ggml.bos_token_id", (uint32_t)rwkv_tokenizer_end(t));
        put_number(m, "tokenizer.ggml.eos_token_id", (uint32_t)rwkv_tokenizer_end(t));
    }
    size_t len;
    const char *blank = rwkv_token_bytes(t, WORLD_BLANK_LINE, &len);
    if (len == 2 && memcmp(blank, "\n\n", 2) == 0) /* llama.cpp's way to end an answer */
        put_number(m, "tokenizer.ggml.eot_token_id", WORLD_BLANK_LINE);
out:
    rw_buf_free(&entry);
    rw_buf_free(&types);
    return st;
}

/* A model without vocabulary is still a model, unless the caller named one. */
static rwkv_status find_vocabulary(meta_out *m, const rw_plan *p, rwkv_error *err) {
    rwkv_tokenizer *t = NULL;
    rwkv_error why = {0};
    const char *named = p->opt->vocab;
    rwkv_status st =
        rw_tokenizer_search(&t, named, p->c->table->path, p->c->dim[RW_V], named ? err : &why);
    if (st == RWKV_E_NOMEM || (st != RWKV_OK && named)) {
        if (!named && err) *err = why;
        return st;
    }
    if (st != RWKV_OK) {
        rw_log_line(&p->log, 1, "no vocabulary is embedded: %s", why.message);
        return RWKV_OK;
    }
    size_t len;
    const char *json = rw_tokenizer_json(t, &len);
    if (json) /* 20B: the whole file, under the key that GGUF's specification has for it */
        put_text(m, "tokenizer.huggingface.json", json, len);
    else
        st = put_vocabulary(m, p, t, err);
    rwkv_tokenizer_free(t);
    return st;
}

static rwkv_status put_text_meta(meta_out *m, const rw_plan *p, rwkv_error *err) {
    const rw_checkpoint *c = p->c;
    bool gguf = c->table->container == RW_GGUF;
    bool vocab = gguf && !p->opt->vocab &&
                 (rw_meta_find(c->table, "tokenizer.ggml.tokens") ||
                  rw_meta_find(c->table, "tokenizer.huggingface.json"));
    bool chat = gguf && !p->opt->chat &&
                (rw_meta_find(c->table, "rwkv.chat_template") ||
                 rw_meta_find(c->table, "tokenizer.chat_template"));
    if (gguf) put_source_meta(m, p, vocab, chat);
    if (!vocab) RW_TRY(find_vocabulary(m, p, err));
    if (p->opt->sampling) put_name(m, "rwkv.sampling", p->opt->sampling);
    if (chat) return RWKV_OK;
    const rwkv_template *t =
        p->opt->chat
            ? rwkv_template_find(p->opt->chat)
            : rw_template_choose(NULL, 0, c->name, rw_version_name(c->version), c->dim[RW_V]);
    const char *name = rwkv_template_name(t);
    put_name(m, "rwkv.chat_template", name);
    if (strcmp(name, "world") == 0 || strcmp(name, "g1") == 0)
        put_name(m, "tokenizer.chat_template", world_template);
    return RWKV_OK;
}

/* ---------------------------------------------------------------- tensors */

/* A file whose matrices are divided by 2^(layer / R) keeps both numbers and R: blocks need no new
 * encoding, and llama.cpp sees what it saw before. */
static rwkv_status accept(rw_plan *p, rwkv_error *err) {
    rw_checkpoint *c = p->c;
    uint64_t every = 0;
    bool found = false;
    if (c->table->container != RW_GGUF || c->version != RW_V6) return RWKV_OK;
    RW_TRY(rw_meta_u64(c->table, "rwkv6.rescale_every_n_layers", &every, &found, err));
    if (!found || every == 0 || every > UINT32_MAX) return RWKV_OK;
    for (size_t i = 0; i < c->n_layer * c->arch->n_rules; i++) c->layers[i].scale = 1.0f;
    p->rescale = (uint32_t)every;
    return RWKV_OK;
}

/* llama.cpp demands v0, v1, v2 in layer 0 of rwkv7 and never uses them; its converter puts a0, a1,
 * a2 there. */
static const rw_weight *stand_in(const rw_plan *p, const rw_rule *rule, uint32_t layer) {
    if (p->c->version != RW_V7 || layer != 0 || !begins(rule->name, "att.v")) return NULL;
    const rw_weight *w = rw_layer_weights(p->c, 0, p->c->arch->n_rules);
    for (size_t i = 0; i < p->c->arch->n_rules; i++)
        if (begins(w[i].rule->name, "att.a") && strcmp(w[i].rule->name + 5, rule->name + 5) == 0)
            return &w[i];
    return NULL;
}

static rw_type plain(rw_type type) {
    return type == RW_F32 || type == RW_F64 ? RW_F32 : type == RW_BF16 ? RW_BF16 : RW_F16;
}

/* The head decides every logit, so K types and the 32-wide ones below Q8_0 keep it at 6 bits or
 * more, as llama.cpp does. The embedding is one row a token and passes a norm at once: it takes the
 * type. */
static rw_type head_type(rw_type type, uint64_t n_cols) {
    bool smaller = rw_type_get(type)->block_elems > 1 && type != RW_Q8_0;
    return smaller ? rw_type_fitting(RW_Q6_K, n_cols) : type;
}

/* v6's low-rank matrices and v7's w1, w2 feed the decay: F32 there, also in llama.cpp. */
static rw_type type_of(const rw_plan *p, const rw_rule *rule, const rw_weight *w) {
    bool keep = p->type == RW_TYPE_COUNT;
    rw_type from = w->tensor->type, type = keep ? from : p->type;
    if (rule->kind == RW_VECTOR) return RW_F32;
    if (rule->kind == RW_LOWRANK) {
        bool decay = strcmp(rule->name, "att.w1") == 0 || strcmp(rule->name, "att.w2") == 0;
        return p->c->version == RW_V6 || decay ? RW_F32 : plain(type);
    }
    if (keep) return type == RW_F64 ? RW_F32 : type;
    uint64_t n_cols = rw_rule_cols(p->c, w->rule);
    if (strcmp(rule->name, "head.weight") == 0) type = head_type(type, n_cols);
    return rw_type_fitting(type, n_cols);
}

static rwkv_status place(rw_plan *p, const rw_rule *rule, const rw_weight *w, int64_t layer,
                         rw_piece *out, rwkv_error *err) {
    (void)err;
    size_t len = strlen(rule->name);
    const char *ending = len > 5 && strcmp(rule->name + len - 5, ".bias") == 0 ? "bias" : "weight";
    if (layer < 0)
        snprintf(out->name, sizeof out->name, "%s.%s", rule->gguf, ending);
    else
        snprintf(out->name, sizeof out->name, "blk.%lld.%s.%s", (long long)layer, rule->gguf,
                 ending);
    out->type = type_of(p, rule, w);
    out->form = RW_RAW;
    rw_piece_shape(p, w, out);
    uint32_t H = p->c->dim[RW_H], N = p->c->dim[RW_N];
    if (rule->gguf_slot >= 0) {
        out->n_dims = 4;
        out->dims[3] = p->c->dim[RW_D];
        out->dims[2] = out->dims[1] = 1;
        out->dims[0] = rw_rule_slots(p->c, rule);
    } else if (strcmp(rule->gguf, "time_mix_first") == 0 && H && out->dims[0] == (uint64_t)H * N) {
        out->n_dims = 2;
        out->dims[0] = H;
        out->dims[1] = N;
    }
    return RWKV_OK;
}

/* ---------------------------------------------------------------- header */

static bool put_tensors(const rw_plan *p, rw_buf *b) {
    uint64_t offset = 0;
    for (size_t i = 0; i < p->n; i++) {
        const rw_piece *piece = &p->pieces[i];
        size_t len = strlen(piece->name);
        if (!rw_put_u64(b, len) || !rw_buf_add(b, piece->name, len) ||
            !rw_put_u32(b, piece->n_dims))
            return false;
        for (uint32_t d = piece->n_dims; d-- > 0;)
            if (!rw_put_u64(b, piece->dims[d])) return false;
        uint32_t type = (uint32_t)piece->type + RW_LAYOUT_ID * (uint32_t)piece->layout;
        if (!rw_put_u32(b, type) || !rw_put_u64(b, offset)) return false;
        offset += piece->bytes;
        if (!rw_align(offset, p->target->alignment, &offset)) return false;
    }
    return true;
}

/* The hash is of the rows that were packed: states go from one file to the other. */
static void put_packed(meta_out *m, const rw_plan *p) {
    uint8_t hash[32];
    put_number(m, "general.alignment", PACKED_ALIGNMENT);
    put_number(m, RW_LAYOUT_KEY, RW_LAYOUT_VERSION);
    if (p->type != RW_TYPE_COUNT) return;
    rw_checkpoint_weights_hash(p->c, hash);
    put_array(m, RW_PACKED_HASH_KEY, T_U8, sizeof hash);
    put(m, rw_buf_add(&m->b, hash, sizeof hash));
}

static rwkv_status header(rw_plan *p, rw_buf *out, rwkv_error *err) {
    static const uint8_t zeros[PACKED_ALIGNMENT];
    meta_out m = {0};
    rwkv_status st = RWKV_OK;
    put_name(&m, "general.architecture", p->c->arch->gguf_arch);
    put_name(&m, "general.type", "model");
    put_name(&m, "general.name", p->c->name);
    put_number(&m, "general.file_type", file_type(p));
    put_number(&m, "general.quantization_version", 2);
    put_hyperparameters(&m, p);
    if (p->target == &rw_target_packed) put_packed(&m, p);
    RW_GOTO(put_text_meta(&m, p, err));
    bool done = !m.full && rw_buf_add(out, "GGUF", 4) && rw_put_u32(out, 3) &&
                rw_put_u64(out, p->n) && rw_put_u64(out, m.n) &&
                rw_buf_add(out, m.b.data, m.b.len) && put_tensors(p, out);
    size_t over = out->len % p->target->alignment;
    if (done && over) done = rw_buf_add(out, zeros, p->target->alignment - over);
    if (!done) st = rw_nomem(err, m.b.len);
out:
    rw_buf_free(&m.b);
    return st;
}

const rw_target rw_target_gguf = {
    .name = "gguf",
    .alignment = ALIGNMENT,
    .accept = accept,
    .stand_in = stand_in,
    .place = place,
    .header = header,
};

/* ---------------------------------------------------------------- packed */

static rwkv_status accept_packed(rw_plan *p, rwkv_error *err) {
    rw_type main = p->type == RW_TYPE_COUNT ? rw_checkpoint_main_type(p->c) : p->type;
    if (p->c->arch == &rw_arch_v5 || rw_pack_of(main) == RW_NOT_PACKED)
        return rw_fail_at(
            err, RWKV_E_UNSUPPORTED, p->c->table->path, RWKV_NO_OFFSET,
            "matrices of v%s and type %s are used as they are: there is nothing to pack",
            rw_version_name(p->c->version), rw_type_name(main));
    return accept(p, err);
}

static rwkv_status place_packed(rw_plan *p, const rw_rule *rule, const rw_weight *w, int64_t layer,
                                rw_piece *out, rwkv_error *err) {
    RW_TRY(place(p, rule, w, layer, out, err));
    rw_type main = p->type == RW_TYPE_COUNT ? rw_checkpoint_main_type(p->c) : p->type;
    rw_type rows = out->type;
    out->layout = rw_packing_layout(w->rule, main, rw_rule_cols(p->c, w->rule), &out->type);
    out->factored = out->type != rows;
    return RWKV_OK;
}

const rw_target rw_target_packed = {
    .name = "packed",
    .alignment = PACKED_ALIGNMENT,
    .accept = accept_packed,
    .stand_in = stand_in,
    .place = place_packed,
    .header = header,
};
