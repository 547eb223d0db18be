/* checkpoint.c - from a table of tensors to a checked RWKV checkpoint.
 *
 * In: rw_table (names as in the file). Out: rw_checkpoint (one rw_weight per rule and layer).
 * A dialect is how one format spells a rule's name and orients its matrices; detection first chooses the
 * dialect, then the version by its telltale tensors, then each version measures its sizes, then every
 * rule is looked up and its shape compared. Nothing is computed here from weights. */
#include "checkpoint.h"
#include "model.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GLOBAL INT64_C(-1) /* in place of a layer number */

#define MODEL_AT(field) offsetof(struct rwkv_model, field)
const rw_rule rw_global_rules[] = {
    {"emb.weight", "token_embd", -1, RW_MATRIX, {RW_V, RW_D}, RW_LOOKUP, MODEL_AT(emb), RW_RAW},
    {"blocks.0.ln0.weight", "token_embd_norm", -1, RW_VECTOR, {RW_D}, 0, MODEL_AT(ln0_w), RW_RAW},
    {"blocks.0.ln0.bias", "token_embd_norm", -1, RW_VECTOR, {RW_D}, 0, MODEL_AT(ln0_b), RW_RAW},
    {"ln_out.weight", "output_norm", -1, RW_VECTOR, {RW_D}, 0, MODEL_AT(ln_out_w), RW_RAW},
    {"ln_out.bias", "output_norm", -1, RW_VECTOR, {RW_D}, 0, MODEL_AT(ln_out_b), RW_RAW},
    {"head.weight", "output", -1, RW_MATRIX, {RW_V, RW_D}, 0, MODEL_AT(head), RW_RAW},
};
const size_t rw_n_global_rules = sizeof rw_global_rules / sizeof *rw_global_rules;

/* ---------------------------------------------------------------- dialects */

/* Writes the name that this format gives a rule's tensor. variant counts alternatives from 0; false ends
 * them. *slot >= 0 when the rule is one row of a fused tensor. */
typedef bool spell_fn(const rw_checkpoint *c, const rw_rule *rule, int64_t layer, int variant, char *out,
                      size_t cap, int *slot);

struct rw_dialect {
    const char *name;
    const char *layer_prefix; /* before the layer's number */
    bool turned;              /* low-rank matrices are stored (out, in) */
    spell_fn *spell;
};

static bool ends_with(const char *s, const char *tail) {
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && memcmp(s + n - m, tail, m) == 0;
}

static bool put(char *out, size_t cap, const char *prefix, int64_t layer, const char *name) {
    int n = layer == GLOBAL ? snprintf(out, cap, "%s", name)
                            : snprintf(out, cap, "%s%lld.%s", prefix, (long long)layer, name);
    return n > 0 && (size_t)n < cap;
}

/* The author's names. v5 has two for the bonus. */
static bool spell_pth(const rw_checkpoint *c, const rw_rule *rule, int64_t layer, int variant, char *out,
                      size_t cap, int *slot) {
    (void)c;
    (void)slot;
    const char *name = rule->name;
    if (variant == 1 && strcmp(name, "att.time_faaaa") == 0) name = "att.time_first";
    else if (variant > 0) return false;
    return put(out, cap, "blocks.", layer, name);
}

/* rwkv.cpp: the author's names, v7's six mixes in one tensor. */
static bool spell_ggmf(const rw_checkpoint *c, const rw_rule *rule, int64_t layer, int variant, char *out,
                       size_t cap, int *slot) {
    if (rule->gguf_slot >= 0 && strncmp(rule->name, "att.x_", 6) == 0) {
        *slot = rule->gguf_slot;
        return variant == 0 && put(out, cap, "blocks.", layer, "att.x_rwkvag");
    }
    return spell_pth(c, rule, layer, variant, out, cap, slot);
}

static bool spell_gguf(const rw_checkpoint *c, const rw_rule *rule, int64_t layer, int variant, char *out,
                       size_t cap, int *slot) {
    (void)c;
    if (!rule->gguf || variant > 1) return false;
    char name[96];
    if (rule->gguf_slot >= 0 && variant == 1) { /* before fusing: time_mix_lerp_w, ... */
        snprintf(name, sizeof name, "time_mix_lerp_%c.weight", rule->name[strlen(rule->name) - 1]);
        return put(out, cap, "blk.", layer, name);
    }
    if (variant > 0) return false;
    *slot = rule->gguf_slot;
    snprintf(name, sizeof name, "%s.%s", rule->gguf, ends_with(rule->name, ".bias") ? "bias" : "weight");
    return put(out, cap, "blk.", layer, name);
}

/* web-rwkv: time_faaaa is time_first (the bonus itself), time_maa is time_mix. */
static bool spell_web(const rw_checkpoint *c, const rw_rule *rule, int64_t layer, int variant, char *out,
                      size_t cap, int *slot) {
    (void)c;
    (void)slot;
    if (variant > 0) return false;
    char name[96];
    const char *maa = strstr(rule->name, "time_maa");
    if (strcmp(rule->name, "att.time_faaaa") == 0) snprintf(name, sizeof name, "att.time_first");
    else if (maa)
        snprintf(name, sizeof name, "%.*stime_mix%s", (int)(maa - rule->name), rule->name,
                 maa + strlen("time_maa"));
    else snprintf(name, sizeof name, "%s", rule->name);
    return put(out, cap, "blocks.", layer, name);
}

typedef struct rename_pair {
    const char *from, *to;
} rename_pair;

static const char *renamed(const rename_pair *pairs, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(pairs[i].from, name) == 0) return pairs[i].to;
    return NULL;
}

/* flash-linear-attention's RWKV-7 */
static bool spell_fla(const rw_checkpoint *c, const rw_rule *rule, int64_t layer, int variant, char *out,
                      size_t cap, int *slot) {
    (void)c;
    static const rename_pair names[] = {
        {"emb.weight", "model.embeddings.weight"},
        {"head.weight", "lm_head.weight"},
        {"ln_out.weight", "model.norm.weight"},
        {"ln_out.bias", "model.norm.bias"},
        {"blocks.0.ln0.weight", "model.layers.0.pre_norm.weight"},
        {"blocks.0.ln0.bias", "model.layers.0.pre_norm.bias"},
        {"ln1.weight", "attn_norm.weight"},
        {"ln1.bias", "attn_norm.bias"},
        {"ln2.weight", "ffn_norm.weight"},
        {"ln2.bias", "ffn_norm.bias"},
        {"att.w1", "attn.w_lora.lora.0.weight"},
        {"att.w2", "attn.w_lora.lora.2.weight"},
        {"att.w0", "attn.w_lora.lora.2.bias"},
        {"att.a1", "attn.a_lora.lora.0.weight"},
        {"att.a2", "attn.a_lora.lora.2.weight"},
        {"att.a0", "attn.a_lora.lora.2.bias"},
        {"att.v1", "attn.v_lora.lora.0.weight"},
        {"att.v2", "attn.v_lora.lora.2.weight"},
        {"att.v0", "attn.v_lora.lora.2.bias"},
        {"att.g1", "attn.g_lora.lora.0.weight"},
        {"att.g2", "attn.g_lora.lora.2.weight"},
        {"att.receptance.weight", "attn.r_proj.weight"},
        {"att.key.weight", "attn.k_proj.weight"},
        {"att.value.weight", "attn.v_proj.weight"},
        {"att.output.weight", "attn.o_proj.weight"},
        {"att.ln_x.weight", "attn.g_norm.weight"},
        {"att.ln_x.bias", "attn.g_norm.bias"},
    };
    if (variant == 1 && rule->gguf_slot >= 0) { /* old files fuse the six mixes */
        *slot = rule->gguf_slot;
        return put(out, cap, "model.layers.", layer, "attn.x_x");
    }
    if (variant > 0) return false;
    char same[96];
    const char *name = renamed(names, sizeof names / sizeof *names, rule->name);
    if (!name) {
        if (strncmp(rule->name, "att.", 4) == 0) snprintf(same, sizeof same, "attn.%s", rule->name + 4);
        else snprintf(same, sizeof same, "%s", rule->name);
        name = same;
    }
    return put(out, cap, "model.layers.", layer, name);
}

/* Hugging Face RWKV-5/6 code: "attention" and "feed_forward" written out. */
static bool spell_hf(const rw_checkpoint *c, const rw_rule *rule, int64_t layer, int variant, char *out,
                     size_t cap, int *slot) {
    (void)c;
    (void)slot;
    static const rename_pair names[] = {
        {"emb.weight", "rwkv.embeddings.weight"},
        {"ln_out.weight", "rwkv.ln_out.weight"},
        {"ln_out.bias", "rwkv.ln_out.bias"},
        {"blocks.0.ln0.weight", "rwkv.blocks.0.pre_ln.weight"},
        {"blocks.0.ln0.bias", "rwkv.blocks.0.pre_ln.bias"},
        {"head.weight", "head.weight"},
    };
    if (variant > 0) return false;
    char longer[96];
    const char *name = renamed(names, sizeof names / sizeof *names, rule->name);
    if (!name) {
        if (strncmp(rule->name, "att.", 4) == 0)
            snprintf(longer, sizeof longer, "attention.%s", rule->name + 4);
        else if (strncmp(rule->name, "ffn.", 4) == 0)
            snprintf(longer, sizeof longer, "feed_forward.%s", rule->name + 4);
        else snprintf(longer, sizeof longer, "%s", rule->name);
        name = longer;
    }
    return put(out, cap, "rwkv.blocks.", layer, name);
}

static const struct rw_dialect dialect_pth = {"pth", "blocks.", false, spell_pth};
static const struct rw_dialect dialect_ggmf = {"ggmf", "blocks.", true, spell_ggmf};
static const struct rw_dialect dialect_gguf = {"gguf", "blk.", true, spell_gguf};
static const struct rw_dialect dialect_web = {"web-rwkv", "blocks.", true, spell_web};
static const struct rw_dialect dialect_fla = {"fla", "model.layers.", true, spell_fla};
static const struct rw_dialect dialect_hf = {"hf", "rwkv.blocks.", false, spell_hf};

static const struct rw_dialect *choose_dialect(const rw_table *t) {
    if (t->container == RW_GGUF) return &dialect_gguf;
    if (t->container == RW_GGMF) return &dialect_ggmf;
    if (rw_table_find(t, "model.embeddings.weight")) return &dialect_fla;
    if (rw_table_find(t, "rwkv.embeddings.weight")) return &dialect_hf;
    const rw_tensor *emb = rw_table_find(t, "emb.weight");
    const rw_tensor *w1 = rw_table_find(t, "blocks.0.att.w1");
    const rw_tensor *first = rw_table_find(t, "blocks.0.att.time_first");
    if (rw_table_find(t, "blocks.0.att.time_mix_w1")) return &dialect_web;
    if (emb && w1 && w1->n_dims == 2 && emb->n_dims == 2 && w1->dims[0] != emb->dims[1] &&
        w1->dims[1] == emb->dims[1])
        return &dialect_web;
    /* v5: web-rwkv spreads the bonus over (heads, head size); the author's time_first is one per head */
    if (first && first->n_dims == 2 && first->dims[1] > 1 &&
        rw_table_find(t, "blocks.0.att.ln_x.weight"))
        return &dialect_web;
    return &dialect_pth;
}

/* ---------------------------------------------------------------- looking a rule up */

uint32_t rw_rule_slots(const rw_checkpoint *c, const rw_rule *rule) {
    uint32_t n = 0;
    for (size_t i = 0; i < c->arch->n_rules; i++)
        n += c->arch->rules[i].gguf_slot >= 0 && strcmp(c->arch->rules[i].gguf, rule->gguf) == 0;
    return n;
}

static rw_form form_of(const rw_checkpoint *c, const rw_rule *rule, int variant) {
    if (strcmp(rule->name, "att.time_decay") == 0 && c->dialect == &dialect_ggmf) {
        if (c->version == RW_V4) return RW_NEG_EXP;
        return c->version == RW_V6 ? RW_RAW : RW_EXP_NEG_EXP;
    }
    if (strcmp(rule->name, "att.time_faaaa") == 0 && variant == 1 && c->dialect != &dialect_ggmf)
        return RW_LOG;
    return RW_RAW;
}

/* Finds a rule's tensor in the file. w->tensor stays NULL when it is absent. */
static rwkv_status look_up(const rw_checkpoint *c, const rw_rule *rule, int64_t layer, rw_weight *w,
                           rwkv_error *err) {
    *w = (rw_weight){.rule = rule, .scale = 1.0f};
    char name[256];
    for (int variant = 0;; variant++) {
        int slot = -1;
        if (!c->dialect->spell(c, rule, layer, variant, name, sizeof name, &slot)) {
            if (variant < 2) continue;
            return RWKV_OK;
        }
        const rw_tensor *t = rw_table_find(c->table, name);
        if (!t) continue;
        w->tensor = t;
        w->data = t->data;
        w->n_elems = t->n_elems;
        w->bytes = t->bytes;
        w->form = form_of(c, rule, variant);
        w->turned = rule->kind == RW_LOWRANK && !c->dialect->turned;
        if (slot < 0) return RWKV_OK;
        uint32_t n = rw_rule_slots(c, rule);
        if (rw_type_get(t->type)->block_elems != 1 || t->n_elems % n)
            return rw_fail_at(err, RWKV_E_MODEL, t->file->path, t->offset,
                              "tensor %s holds %u mixes; found %llu elements of %s; expected %u rows of "
                              "plain numbers",
                              name, n, (unsigned long long)t->n_elems, rw_type_name(t->type), n);
        w->n_elems = t->n_elems / n;
        w->bytes = t->bytes / n;
        w->data = t->data + (size_t)slot * w->bytes;
        return RWKV_OK;
    }
}

static bool has(const rw_checkpoint *c, const char *pth_name) {
    char name[256];
    int slot = -1;
    rw_rule probe = {.name = pth_name, .gguf_slot = -1};
    return c->dialect->spell(c, &probe, 0, 0, name, sizeof name, &slot) &&
           rw_table_find(c->table, name);
}

static const rw_rule *rule_named(const rw_checkpoint *c, const char *name) {
    for (size_t i = 0; i < rw_n_global_rules; i++)
        if (strcmp(rw_global_rules[i].name, name) == 0) return &rw_global_rules[i];
    for (size_t i = 0; i < c->arch->n_rules; i++)
        if (strcmp(c->arch->rules[i].name, name) == 0) return &c->arch->rules[i];
    return NULL;
}

rwkv_status rw_checkpoint_find(const rw_checkpoint *c, const char *name, uint32_t layer, rw_weight *w,
                               rwkv_error *err) {
    const rw_rule *rule = rule_named(c, name);
    bool global = rule >= rw_global_rules && rule < rw_global_rules + rw_n_global_rules;
    RW_TRY(look_up(c, rule, global ? GLOBAL : (int64_t)layer, w, err));
    if (w->tensor) return RWKV_OK;
    char spelled[256] = "";
    int slot = -1;
    c->dialect->spell(c, rule, global ? GLOBAL : (int64_t)layer, 0, spelled, sizeof spelled, &slot);
    return rw_fail_at(err, RWKV_E_MODEL, c->table->path, RWKV_NO_OFFSET,
                      "tensor %s is missing; an RWKV v%s model (%s names) must have it", spelled,
                      rw_version_name(c->version), c->dialect->name);
}

rwkv_status rw_checkpoint_size(const rw_checkpoint *c, const char *name, uint32_t layer, bool cols,
                               uint32_t *out, rwkv_error *err) {
    rw_weight w;
    RW_TRY(rw_checkpoint_find(c, name, layer, &w, err));
    const rw_tensor *t = w.tensor;
    if (t->n_dims < 2)
        return rw_fail_at(err, RWKV_E_MODEL, t->file->path, t->offset,
                          "tensor %s: found %u dimensions; expected 2", t->name, t->n_dims);
    uint64_t n = t->dims[t->n_dims - (cols != w.turned ? 1 : 2)];
    if (n == 0 || n > RW_MAX_DIM)
        return rw_fail_at(err, RWKV_E_MODEL, t->file->path, t->offset,
                          "tensor %s: found a dimension of %llu; expected 1..%u", t->name,
                          (unsigned long long)n, RW_MAX_DIM);
    *out = (uint32_t)n;
    return RWKV_OK;
}

/* ---------------------------------------------------------------- version and sizes */

static const char *const version_names[] = {"4", "5.0", "5.1", "5.2", "6", "7", "7a"};

const char *rw_version_name(rw_version v) { return version_names[v]; }

static const rw_arch *arch_of(rw_version v) {
    switch (v) {
    case RW_V4: return &rw_arch_v4;
    case RW_V5_0:
    case RW_V5_1:
    case RW_V5_2: return &rw_arch_v5;
    case RW_V6: return &rw_arch_v6;
    case RW_V7: return &rw_arch_v7;
    case RW_V7A: return &rw_arch_v7a;
    }
    return NULL;
}

/* Elements of a layer-0 vector by its .pth name; 0 if absent. */
static uint64_t elems(const rw_checkpoint *c, const char *pth_name) {
    char name[256];
    int slot = -1;
    rw_rule probe = {.name = pth_name, .gguf_slot = -1};
    if (!c->dialect->spell(c, &probe, 0, 0, name, sizeof name, &slot)) return 0;
    const rw_tensor *t = rw_table_find(c->table, name);
    return t ? t->n_elems : 0;
}

static rwkv_status gguf_version(rw_checkpoint *c, rwkv_error *err) {
    const char *s;
    size_t n;
    RW_TRY(rw_meta_str(c->table, "general.architecture", &s, &n, NULL, err));
    static const struct {
        const char *arch;
        rw_version version;
    } known[] = {{"rwkv4", RW_V4}, {"rwkv6", RW_V6}, {"rwkv7", RW_V7}, {"rwkv7a", RW_V7A}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (n == strlen(known[i].arch) && memcmp(s, known[i].arch, n) == 0) {
            c->version = known[i].version;
            return RWKV_OK;
        }
    if (n == 5 && memcmp(s, "rwkv5", 5) == 0) {
        const rw_tensor *key = rw_table_find(c->table, "blk.0.time_mix_key.weight");
        const rw_tensor *decay = rw_table_find(c->table, "blk.0.time_mix_decay.weight");
        bool gate = rw_table_find(c->table, "blk.0.time_mix_gate.weight") != NULL;
        bool wide = key && decay && decay->n_elems == key->dims[0];
        c->version = !gate ? RW_V5_0 : wide ? RW_V5_2 : RW_V5_1;
        return RWKV_OK;
    }
    return rw_fail_at(err, RWKV_E_UNSUPPORTED, c->table->path, RWKV_NO_OFFSET,
                      "general.architecture: found %.*s; expected rwkv4, rwkv5, rwkv6, rwkv7 or rwkv7a",
                      (int)(n < 40 ? n : 40), s);
}

static rwkv_status find_version(rw_checkpoint *c, rwkv_error *err) {
    if (c->dialect == &dialect_gguf) return gguf_version(c, err);
    if (c->dialect == &dialect_fla) {
        c->version = RW_V7;
        return RWKV_OK;
    }
    char key[256];
    int slot = -1;
    rw_rule probe = {.name = "att.key.weight", .gguf_slot = -1};
    c->dialect->spell(c, &probe, 0, 0, key, sizeof key, &slot);
    const rw_tensor *k = rw_table_find(c->table, key);
    if (has(c, "att.r_k")) c->version = has(c, "ffn.s_emb.weight") ? RW_V7A : RW_V7;
    else if (has(c, "att.time_maa_x")) c->version = RW_V6;
    else if (has(c, "att.ln_x.weight") && !has(c, "att.gate.weight") && !has(c, "att.time_mix_g"))
        c->version = RW_V5_0;
    else if (has(c, "att.ln_x.weight"))
        c->version = k && elems(c, "att.time_decay") == k->dims[0] ? RW_V5_2 : RW_V5_1;
    else if (has(c, "att.time_mix_k")) c->version = RW_V4;
    else if (has(c, "att.time_state") || (c->table->n_tensors && strstr(c->table->tensors[0].name, "time_state")))
        return rw_fail_at(err, RWKV_E_MODEL, c->table->path, RWKV_NO_OFFSET,
                          "this is a state-tuned file (time_state only), not a model");
    else if (c->table->n_tensors && strstr(c->table->tensors[0].name, ".lora_"))
        return rw_fail_at(err, RWKV_E_MODEL, c->table->path, RWKV_NO_OFFSET,
                          "this is a LoRA file (%s), not a model", c->table->tensors[0].name);
    else
        return rw_fail_at(err, RWKV_E_MODEL, c->table->path, RWKV_NO_OFFSET,
                          "no RWKV model: found %zu tensors (first: %s); expected the tensors of RWKV v4 "
                          "to v7 such as %s",
                          c->table->n_tensors, c->table->n_tensors ? c->table->tensors[0].name : "none",
                          key);
    if (has(c, "qkv.qq.weight"))
        return rw_fail_at(err, RWKV_E_UNSUPPORTED, c->table->path, RWKV_NO_OFFSET,
                          "an RWKV v7b model (attention branch qkv); supported are v4 to v7a");
    return RWKV_OK;
}

static rwkv_status count_layers(rw_checkpoint *c, rwkv_error *err) {
    const rw_table *t = c->table;
    uint64_t n = 0;
    if (c->dialect == &dialect_gguf || c->dialect == &dialect_ggmf) {
        char key[64];
        snprintf(key, sizeof key, "%s.block_count", c->arch->gguf_arch);
        RW_TRY(rw_meta_u64(t, c->dialect == &dialect_gguf ? key : "ggmf.n_layer", &n, NULL, err));
    } else {
        size_t len = strlen(c->dialect->layer_prefix);
        for (size_t i = 0; i < t->n_tensors; i++) {
            const char *name = t->tensors[i].name;
            if (strncmp(name, c->dialect->layer_prefix, len) != 0) continue;
            char *end;
            uint64_t layer = strtoull(name + len, &end, 10);
            if (*end == '.' && layer + 1 > n) n = layer + 1;
        }
    }
    if (n == 0 || n > t->n_tensors)
        return rw_fail_at(err, RWKV_E_MODEL, t->path, RWKV_NO_OFFSET,
                          "number of layers: found %llu with %zu tensors; expected at least one tensor "
                          "per layer",
                          (unsigned long long)n, t->n_tensors);
    c->n_layer = (uint32_t)n;
    return RWKV_OK;
}

/* Sizes that the header states must be those of the tensors. */
static rwkv_status check_stated_sizes(const rw_checkpoint *c, rwkv_error *err) {
    static const struct {
        const struct rw_dialect *dialect;
        const char *key; /* GGUF: after the architecture */
        rw_dim dim;
    } stated[] = {{&dialect_ggmf, "ggmf.n_vocab", RW_V},
                  {&dialect_ggmf, "ggmf.n_embed", RW_D},
                  {&dialect_gguf, "embedding_length", RW_D},
                  {&dialect_gguf, "feed_forward_length", RW_F}};
    for (size_t i = 0; i < sizeof stated / sizeof *stated; i++) {
        if (c->dialect != stated[i].dialect) continue;
        char key[80];
        uint64_t n = 0;
        bool found;
        if (c->dialect == &dialect_gguf) snprintf(key, sizeof key, "%s.%s", c->arch->gguf_arch, stated[i].key);
        else snprintf(key, sizeof key, "%s", stated[i].key);
        RW_TRY(rw_meta_u64(c->table, key, &n, &found, err));
        if (found && n != c->dim[stated[i].dim])
            return rw_fail_at(err, RWKV_E_MODEL, c->table->path, rw_meta_find(c->table, key)->offset,
                              "%s: found %llu; expected %u, as the tensors have it", key, (unsigned long long)n,
                              c->dim[stated[i].dim]);
    }
    return RWKV_OK;
}

/* What all versions share; then the version's own sizes; then relations that must hold. */
static rwkv_status measure(rw_checkpoint *c, rwkv_error *err) {
    RW_TRY(rw_checkpoint_size(c, "emb.weight", 0, false, &c->dim[RW_V], err));
    RW_TRY(rw_checkpoint_size(c, "emb.weight", 0, true, &c->dim[RW_D], err));
    RW_TRY(rw_checkpoint_size(c, "att.key.weight", 0, false, &c->dim[RW_A], err));
    RW_TRY(rw_checkpoint_size(c, "ffn.key.weight", 0, false, &c->dim[RW_F], err));
    c->dim[RW_FIVE] = 5;
    RW_TRY(check_stated_sizes(c, err));
    RW_TRY(c->arch->measure(c, err));
    uint64_t H = c->dim[RW_H], N = c->dim[RW_N];
    if (c->version != RW_V4 && (H == 0 || N == 0 || H * N != c->dim[RW_A]))
        return rw_fail_at(err, RWKV_E_MODEL, c->table->path, RWKV_NO_OFFSET,
                          "heads: found %llu heads of size %llu; expected a product of %u (rows of "
                          "att.key.weight)",
                          (unsigned long long)H, (unsigned long long)N, c->dim[RW_A]);
    return RWKV_OK;
}

rwkv_status rw_checkpoint_heads(rw_checkpoint *c, const char *name, rwkv_error *err) {
    rw_weight w;
    RW_TRY(rw_checkpoint_find(c, name, 0, &w, err));
    const rw_tensor *t = w.tensor;
    uint64_t n = 0;
    bool found = false;
    if (c->dialect == &dialect_gguf) {
        char key[64];
        snprintf(key, sizeof key, "%s.wkv.head_size", c->arch->gguf_arch);
        RW_TRY(rw_meta_u64(c->table, key, &n, &found, err));
        if (found && (n == 0 || c->dim[RW_A] % n))
            return rw_fail_at(err, RWKV_E_MODEL, c->table->path, rw_meta_find(c->table, key)->offset,
                              "%s: found %llu; expected a divisor of %u (n_att)", key,
                              (unsigned long long)n, c->dim[RW_A]);
        if (found) n = c->dim[RW_A] / n;
    }
    /* (H, N), (H), (H, 1, 1), (H, N, 1); rwkv.cpp squeezes a single head away: (N, 1), (N) */
    bool squeezed = c->dialect == &dialect_ggmf && strncmp(name, "att.time_", 9) == 0 && t->n_dims < 3;
    if (!found) n = squeezed ? 1 : t->n_dims > 0 ? t->dims[0] : 1;
    if (n == 0 || n > c->dim[RW_A] || c->dim[RW_A] % n)
        return rw_fail_at(err, RWKV_E_MODEL, t->file->path, t->offset,
                          "tensor %s: found %llu heads; expected a divisor of %u (n_att)", t->name,
                          (unsigned long long)n, c->dim[RW_A]);
    c->dim[RW_H] = (uint32_t)n;
    c->dim[RW_N] = c->dim[RW_A] / (uint32_t)n;
    return RWKV_OK;
}

/* ---------------------------------------------------------------- every rule */

static void print_dims(const uint64_t *dims, size_t n, char *out, size_t cap) {
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < n && used + 24 < cap; i++)
        used += (size_t)snprintf(out + used, cap - used, "%s%llu", i ? "," : "",
                                 (unsigned long long)dims[i]);
}

static size_t without_ones(const uint64_t *dims, size_t n, uint64_t *out) {
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (dims[i] != 1) out[m++] = dims[i];
    return m;
}

static rwkv_status check_shape(const rw_checkpoint *c, const rw_weight *w, rwkv_error *err) {
    const rw_tensor *t = w->tensor;
    if (!rw_type_is_float(t->type))
        return rw_fail_at(err, RWKV_E_MODEL, t->file->path, t->offset,
                          "v%s: tensor %s: found elements of type %s; expected a float or quantized type",
                          rw_version_name(c->version), t->name, rw_type_name(t->type));
    if (t->layout != RW_ROWS && w->rule->kind == RW_VECTOR)
        return rw_fail_at(err, RWKV_E_MODEL, t->file->path, t->offset,
                          "v%s: tensor %s: found it packed; expected a vector",
                          rw_version_name(c->version), t->name);
    uint64_t want[4], found[RW_MAX_DIMS], a[4], b[RW_MAX_DIMS], n = 1;
    size_t n_want = 0;
    for (; n_want < 4 && w->rule->dims[n_want]; n_want++) {
        want[n_want] = c->dim[w->rule->dims[n_want]];
        n *= want[n_want]; /* each <= RW_MAX_DIM, at most 3 of them large: fits */
    }
    const rw_type_info *type = rw_type_get(t->type);
    uint32_t block = type->block_elems;
    if (w->rule->kind != RW_VECTOR && (want[n_want - 1] % block || (w->turned && block > 1)))
        return rw_fail_at(err, RWKV_E_MODEL, t->file->path, t->offset,
                          "v%s: tensor %s: found rows of type %s; expected a type whose blocks fit rows of "
                          "%llu",
                          rw_version_name(c->version), t->name, type->name,
                          (unsigned long long)want[n_want - 1]);
    if (w->turned) {
        uint64_t last = want[n_want - 1];
        want[n_want - 1] = want[n_want - 2];
        want[n_want - 2] = last;
    }
    memcpy(found, t->dims, sizeof found);
    bool ok = w->n_elems == n;
    if (ok && w->rule->kind != RW_VECTOR) {
        size_t na = without_ones(want, n_want, a), nb = without_ones(found, t->n_dims, b);
        ok = na == nb && memcmp(a, b, na * sizeof *a) == 0;
    }
    if (ok) return RWKV_OK;
    char f[128], x[128];
    print_dims(found, t->n_dims, f, sizeof f);
    print_dims(want, n_want, x, sizeof x);
    return rw_fail_at(err, RWKV_E_MODEL, t->file->path, t->offset,
                      "v%s: tensor %s: found [%s]; expected [%s]", rw_version_name(c->version), t->name, f, x);
}

static rwkv_status claim(rw_checkpoint *c, const rw_rule *rule, int64_t layer, rw_weight *w, uint8_t *claimed,
                         rwkv_error *err) {
    RW_TRY(look_up(c, rule, layer, w, err));
    if (w->tensor) claimed[w->tensor - c->table->tensors] = 1;
    if ((rule->flags & RW_NOT_LAYER0) && layer == 0) { /* unused */
        w->tensor = NULL;
        return RWKV_OK;
    }
    if (!w->tensor) {
        if (rule->flags & RW_OPTIONAL) return RWKV_OK;
        rw_weight missing;
        return rw_checkpoint_find(c, rule->name, (uint32_t)layer, &missing, err);
    }
    return check_shape(c, w, err);
}

static rwkv_status bind_rules(rw_checkpoint *c, rw_log log, rwkv_error *err) {
    rwkv_status st = RWKV_OK;
    rw_table *t = c->table;
    size_t n_rules = c->arch->n_rules;
    uint8_t *claimed = rw_calloc(t->n_tensors, 1);
    c->globals = rw_arena_alloc(&t->arena, rw_n_global_rules, sizeof *c->globals);
    c->layers = rw_arena_alloc(&t->arena, (size_t)c->n_layer * n_rules, sizeof *c->layers);
    if (!claimed || !c->globals || !c->layers) {
        st = rw_nomem(err, (size_t)c->n_layer * n_rules * sizeof *c->layers);
        goto out;
    }
    for (size_t i = 0; i < rw_n_global_rules; i++)
        RW_GOTO(claim(c, &rw_global_rules[i], GLOBAL, &c->globals[i], claimed, err));
    for (uint32_t l = 0; l < c->n_layer; l++)
        for (size_t i = 0; i < n_rules; i++)
            RW_GOTO(claim(c, &c->arch->rules[i], l, &c->layers[l * n_rules + i], claimed, err));
    size_t extra = 0;
    for (size_t i = 0; i < t->n_tensors; i++)
        if (!claimed[i] && extra++ < 8)
            rw_log_line(&log, 1, "%s:%llu: tensor %s has no part in an RWKV v%s model and is ignored",
                        t->path, (unsigned long long)t->tensors[i].offset, t->tensors[i].name,
                        rw_version_name(c->version));
    if (extra > 8) rw_log_line(&log, 1, "%s: %zu more tensors are ignored", t->path, extra - 8);
out:
    rw_free(claimed);
    return st;
}

/* ---------------------------------------------------------------- settings */

static rwkv_status read_settings(rw_checkpoint *c, rwkv_error *err) {
    const rw_table *t = c->table;
    double x;
    bool found;
    c->ln_eps = 1e-5f;
    c->gn_eps = c->version == RW_V4 ? 0 : 64e-5f;
    if (c->dialect == &dialect_ggmf && c->arch == &rw_arch_v5) c->gn_eps = 1e-5f;
    if (c->dialect == &dialect_gguf) {
        char key[80];
        uint64_t every = 0;
        snprintf(key, sizeof key, "%s.attention.layer_norm_epsilon", c->arch->gguf_arch);
        RW_TRY(rw_meta_f64(t, key, &x, &found, err));
        if (found) c->ln_eps = (float)x;
        snprintf(key, sizeof key, "%s.attention.group_norm_epsilon", c->arch->gguf_arch);
        RW_TRY(rw_meta_f64(t, key, &x, &found, err));
        if (found) c->gn_eps = (float)x;
        snprintf(key, sizeof key, "%s.rescale_every_n_layers", c->arch->gguf_arch);
        RW_TRY(rw_meta_u64(t, key, &every, &found, err));
        /* The file holds output and value divided by 2^(layer / every). */
        for (uint32_t l = 0; found && every > 0 && l < c->n_layer; l++)
            for (size_t i = 0; i < c->arch->n_rules; i++) {
                rw_weight *w = &c->layers[l * c->arch->n_rules + i];
                if (strcmp(w->rule->name, "att.output.weight") == 0 ||
                    strcmp(w->rule->name, "ffn.value.weight") == 0)
                    w->scale = ldexpf(1.0f, (int)(l / every));
            }
    }
    if (c->dialect == &dialect_fla) {
        RW_TRY(rw_meta_f64(t, "config.norm_eps", &x, &found, err));
        if (found) {
            c->ln_eps = (float)x;
            c->gn_eps = (float)(x * c->dim[RW_N]);
        }
    }
    if (c->dialect == &dialect_hf) {
        RW_TRY(rw_meta_f64(t, "config.layer_norm_epsilon", &x, &found, err));
        if (found) c->ln_eps = (float)x;
    }
    if (!(c->ln_eps > 0 && c->ln_eps < 1) || !(c->gn_eps >= 0 && c->gn_eps < 1))
        return rw_fail_at(err, RWKV_E_MODEL, t->path, RWKV_NO_OFFSET,
                          "norm epsilon: found %g and %g; expected between 0 and 1", (double)c->ln_eps,
                          (double)c->gn_eps);
    return RWKV_OK;
}

static rwkv_status name_model(rw_checkpoint *c, rwkv_error *err) {
    const char *s = NULL;
    size_t n = 0;
    bool found = false;
    if (c->dialect == &dialect_gguf) RW_TRY(rw_meta_str(c->table, "general.name", &s, &n, &found, err));
    if (!found) {
        const char *path = c->table->path, *slash = strrchr(path, '/'), *dot;
        s = slash && slash[1] ? slash + 1 : path;
        dot = strrchr(s, '.');
        n = dot && dot > s ? (size_t)(dot - s) : strlen(s);
    }
    if (n >= sizeof c->name) n = sizeof c->name - 1;
    memcpy(c->name, s, n);
    for (size_t i = 0; i < n; i++) /* a name is shown to people: no control bytes */
        if ((unsigned char)c->name[i] < 0x20 || c->name[i] == 0x7f) c->name[i] = '_';
    return RWKV_OK;
}

rwkv_status rw_checkpoint_open(rw_checkpoint **out, const char *path, bool no_mmap, rw_log log,
                               rwkv_error *err) {
    rwkv_status st = RWKV_OK;
    rw_checkpoint *c = rw_calloc(1, sizeof *c);
    if (!c) return rw_nomem(err, sizeof *c);
    RW_GOTO(rw_table_open(&c->table, path, no_mmap, err));
    c->dialect = choose_dialect(c->table);
    RW_GOTO(find_version(c, err));
    c->arch = arch_of(c->version);
    RW_GOTO(count_layers(c, err));
    RW_GOTO(measure(c, err));
    RW_GOTO(bind_rules(c, log, err));
    RW_GOTO(read_settings(c, err));
    RW_GOTO(name_model(c, err));
    *out = c;
    return RWKV_OK;
out:
    rw_checkpoint_close(c);
    return st;
}

void rw_checkpoint_close(rw_checkpoint *c) {
    if (!c) return;
    rw_table_close(c->table);
    rw_free(c);
}

/* ---------------------------------------------------------------- values */

/* Between any two forms by way of the raw number; a value already in the wanted form is not touched. */
static double to_raw(double x, rw_form form) {
    switch (form) {
    case RW_NEG_EXP: return log(-x);
    case RW_EXP_NEG_EXP: return log(-log(x));
    case RW_LOG: return exp(x);
    default: return x;
    }
}

static double from_raw(double x, rw_form form) {
    switch (form) {
    case RW_NEG_EXP: return -exp(x);
    case RW_EXP_NEG_EXP: return exp(-exp(x));
    case RW_LOG: return log(x);
    default: return x;
    }
}

uint32_t rw_rule_dims(const rw_rule *rule) {
    uint32_t n = 1;
    while (n < 4 && rule->dims[n]) n++;
    return n;
}

uint32_t rw_rule_cols(const rw_checkpoint *c, const rw_rule *rule) {
    return rw_dim_of(c, rule->dims[rw_rule_dims(rule) - 1]);
}

rw_type rw_checkpoint_main_type(const rw_checkpoint *c) {
    uint64_t bytes[RW_TYPE_COUNT] = {0};
    rw_type best = RW_F32;
    for (size_t i = 0; i < c->n_layer * c->arch->n_rules; i++) {
        const rw_weight *w = &c->layers[i];
        if (w->tensor && w->rule->kind == RW_MATRIX) bytes[w->tensor->type] += w->bytes;
    }
    for (int t = 0; t < RW_TYPE_COUNT; t++)
        if (bytes[t] > bytes[best]) best = (rw_type)t;
    return best;
}

void rw_weight_rows(const rw_weight *w, const rw_checkpoint *c, uint64_t row0, uint64_t n, float *out) {
    const rw_type_info *type = rw_type_get(w->tensor->type);
    uint64_t cols = rw_rule_cols(c, w->rule);
    if (!w->turned) {
        /* A quantized row is a whole number of blocks: the reader checked that. */
        uint64_t row_bytes = cols / type->block_elems * type->block_bytes;
        type->decode(w->data + row0 * row_bytes, out, n * cols);
    } else {
        /* Stored (.., cols, rows): gather. Turned matrices are small and of plain types. */
        uint64_t rows = c->dim[w->rule->dims[rw_rule_dims(w->rule) - 2]];
        for (uint64_t r = 0; r < n; r++) {
            uint64_t group = (row0 + r) / rows, row = (row0 + r) % rows;
            for (uint64_t j = 0; j < cols; j++)
                type->decode(w->data + ((group * cols + j) * rows + row) * type->block_bytes,
                             out + r * cols + j, 1);
        }
    }
    if (w->scale != 1.0f)
        for (uint64_t i = 0; i < n * cols; i++) out[i] *= w->scale;
}

void rw_weight_values(const rw_weight *w, const rw_checkpoint *c, rw_form want, float *out) {
    if (w->rule->kind == RW_VECTOR) rw_type_get(w->tensor->type)->decode(w->data, out, w->n_elems);
    else rw_weight_rows(w, c, 0, w->n_elems / rw_rule_cols(c, w->rule), out);
    if (w->form != want)
        for (uint64_t i = 0; i < w->n_elems; i++) out[i] = (float)from_raw(to_raw(out[i], w->form), want);
}

/* ---------------------------------------------------------------- identity */

static void hash_u32(rw_sha256 *s, uint32_t x) {
    uint8_t b[4] = {(uint8_t)x, (uint8_t)(x >> 8), (uint8_t)(x >> 16), (uint8_t)(x >> 24)};
    rw_sha256_add(s, b, sizeof b);
}

/* Layer norm weights are bfloat16 numbers of ordinary size: every float format holds them exactly. */
void rw_checkpoint_fingerprint(const rw_checkpoint *c, uint8_t out[32]) {
    rw_sha256 s;
    rw_sha256_init(&s);
    rw_sha256_add(&s, rw_version_name(c->version), strlen(rw_version_name(c->version)));
    hash_u32(&s, c->n_layer);
    static const rw_dim sizes[] = {RW_D, RW_A, RW_F, RW_V, RW_H, RW_N};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) hash_u32(&s, c->dim[sizes[i]]);
    for (uint32_t l = 0; l < c->n_layer; l++)
        for (size_t i = 0; i < c->arch->n_rules; i++) {
            const rw_weight *w = &c->layers[l * c->arch->n_rules + i];
            if (strcmp(w->rule->name, "ln1.weight") && strcmp(w->rule->name, "ln2.weight")) continue;
            const rw_type_info *type = rw_type_get(w->tensor->type);
            float x[256];
            for (uint64_t at = 0; at < w->n_elems; at += 256) {
                uint64_t n = w->n_elems - at < 256 ? w->n_elems - at : 256;
                type->decode(w->data + at / type->block_elems * type->block_bytes, x, n);
                rw_sha256_add(&s, x, n * sizeof *x);
            }
        }
    rw_sha256_end(&s, out);
}

void rw_checkpoint_weights_hash(const rw_checkpoint *c, uint8_t out[32]) {
    enum { SAMPLE = 512, GGUF_U8 = 0 };
    const rw_meta *of_rows = rw_meta_find(c->table, RW_PACKED_HASH_KEY);
    if (of_rows && of_rows->kind == RW_META_NUMBERS && of_rows->v.nums.gguf_type == GGUF_U8 &&
        of_rows->v.nums.n == 32) {
        memcpy(out, of_rows->v.nums.data, 32);
        return;
    }
    rw_sha256 s;
    rw_sha256_init(&s);
    for (size_t i = 0; i < c->table->n_tensors; i++) {
        const rw_tensor *t = &c->table->tensors[i];
        rw_sha256_add(&s, t->name, strlen(t->name));
        hash_u32(&s, (uint32_t)t->type);
        for (uint32_t d = 0; d < t->n_dims; d++) hash_u32(&s, (uint32_t)t->dims[d]);
        uint64_t n = t->bytes < SAMPLE ? t->bytes : SAMPLE;
        rw_sha256_add(&s, t->data, n);
        rw_sha256_add(&s, t->data + (t->bytes - n) / 2, n);
        rw_sha256_add(&s, t->data + (t->bytes - n), n);
    }
    rw_sha256_end(&s, out);
}
