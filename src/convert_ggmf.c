/* convert_ggmf.c - rwkv.cpp's .bin, file version 101: the author's names, some contents folded or
 * reshaped as rwkv.cpp wants them (docs/FORMATS.md has the table).
 *
 * What it cannot hold is refused: v5.1 and v7a, which rwkv.cpp does not know, and BF16 and K types.
 */
#include "convert.h"
#include <stdio.h>
#include <string.h>

enum { MAGIC = 0x67676d66, FILE_VERSION = 101 };

/* rwkv.cpp's numbers for types, which are not ggml's. -1: cannot be stored. */
static int32_t type_id(rw_type type) {
    static const struct {
        rw_type type;
        int32_t id;
    } ids[] = {{RW_F32, 0},  {RW_F16, 1},  {RW_Q4_0, 2}, {RW_Q4_1, 3},
               {RW_Q5_0, 7}, {RW_Q5_1, 8}, {RW_Q8_0, 9}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (ids[i].type == type) return ids[i].id;
    return -1;
}

static rwkv_status accept(rw_plan *p, rwkv_error *err) {
    const rw_checkpoint *c = p->c;
    if (c->version == RW_V5_1 || c->version == RW_V7A)
        return rw_fail_at(
            err, RWKV_E_UNSUPPORTED, c->table->path, RWKV_NO_OFFSET,
            "found RWKV v%s, which rwkv.cpp's format has no place for; expected v4, v5.0, v5.2, "
            "v6 or v7; write GGUF instead",
            rw_version_name(c->version));
    if (p->type != RW_TYPE_COUNT && type_id(p->type) < 0)
        return rw_fail(
            err, RWKV_E_UNSUPPORTED,
            "type: rwkv.cpp's format has no %s; expected F32, F16, Q4_0, Q4_1, Q5_0, Q5_1 or Q8_0",
            rw_type_name(p->type));
    if (c->arch == &rw_arch_v5 && c->gn_eps != 1e-5f)
        rw_log_line(&p->log, 1,
                    "rwkv.cpp's format cannot hold the group norm's epsilon: it evaluates v5 with "
                    "1e-05, this "
                    "model wants %g",
                    (double)c->gn_eps);
    return RWKV_OK;
}

/* As rwkv.cpp's tools leave them: vectors and v6's low-rank matrices FP32; embedding, head and v7's
 * low-rank matrices FP16 beside quantized ones. */
static rw_type type_of(const rw_plan *p, const rw_rule *rule, const rw_weight *w) {
    bool keep = p->type == RW_TYPE_COUNT;
    rw_type type = keep ? w->tensor->type : p->type;
    if (type == RW_F64) type = RW_F32;
    if (type == RW_BF16) type = RW_F16;
    if (rule->kind == RW_VECTOR || (rule->kind == RW_LOWRANK && p->c->version == RW_V6))
        return RW_F32;
    bool wide = rule->kind == RW_LOWRANK || strcmp(rule->name, "emb.weight") == 0 ||
                strcmp(rule->name, "head.weight") == 0;
    if (rule->kind == RW_LOWRANK || (wide && !keep)) return type == RW_F32 ? RW_F32 : RW_F16;
    return rw_type_fitting(type, rw_rule_cols(p->c, w->rule));
}

static void shape(rw_piece *out, uint32_t n, uint64_t a, uint64_t b, uint64_t c) {
    out->n_dims = n;
    out->dims[0] = a;
    out->dims[1] = b;
    out->dims[2] = c;
}

/* rwkv.cpp finds the number of heads in the third dimension of the decay, or the second of r_k. */
static void shape_of(const rw_plan *p, const rw_rule *rule, const rw_weight *w, rw_piece *out) {
    uint32_t H = p->c->dim[RW_H], N = p->c->dim[RW_N];
    rw_version v = p->c->version;
    rw_piece_shape(p, w, out);
    bool per_head =
        strcmp(rule->name, "att.time_decay") == 0 || strcmp(rule->name, "att.time_faaaa") == 0;
    if (v == RW_V5_0 && per_head)
        shape(out, 3, H, out->dims[0] / H, 1);
    else if ((v == RW_V5_2 || v == RW_V6) && per_head)
        shape(out, 3, H, N, 1);
    else if (v != RW_V7 || rule->kind != RW_VECTOR || strstr(rule->name, "ln"))
        return;
    else if (rule->gguf_slot >= 0)
        shape(out, 3, 6, 1, p->c->dim[RW_D]);
    else if (strcmp(rule->name, "att.r_k") == 0)
        shape(out, 2, H, N, 0);
    else
        shape(out, 3, 1, 1, out->dims[0]);
}

static rw_form form_of(const rw_plan *p, const rw_rule *rule) {
    if (strcmp(rule->name, "att.time_decay") != 0 || p->c->version == RW_V6) return RW_RAW;
    return p->c->version == RW_V4 ? RW_NEG_EXP : RW_EXP_NEG_EXP;
}

static rwkv_status place(rw_plan *p, const rw_rule *rule, const rw_weight *w, int64_t layer,
                         rw_piece *out, rwkv_error *err) {
    const char *name = rule->name;
    if (p->c->version == RW_V7 && rule->gguf_slot >= 0) name = "att.x_rwkvag";
    if (p->c->version == RW_V5_0 && strcmp(name, "att.time_faaaa") == 0) name = "att.time_first";
    if (layer < 0)
        snprintf(out->name, sizeof out->name, "%s", name);
    else
        snprintf(out->name, sizeof out->name, "blocks.%lld.%s", (long long)layer, name);
    out->type = type_of(p, rule, w);
    out->form = form_of(p, rule);
    shape_of(p, rule, w, out);
    if (type_id(out->type) >= 0) return RWKV_OK;
    return rw_fail(
        err, RWKV_E_UNSUPPORTED,
        "tensor %s: found %s, which rwkv.cpp's format cannot hold; choose a type (--type F16, F32, "
        "Q4_0, Q4_1, Q5_0, Q5_1 or Q8_0)",
        out->name, rw_type_name(out->type));
}

/* The type that most bytes of matrices have stands for the file. */
static rwkv_status header(rw_plan *p, rw_buf *out, rwkv_error *err) {
    uint64_t bytes[RW_TYPE_COUNT] = {0};
    rw_type most = RW_F32;
    for (size_t i = 0; i < p->n; i++) {
        const rw_rule *rule = p->pieces[i].src[0]->rule;
        if (rule->kind == RW_MATRIX && strncmp(p->pieces[i].name, "blocks.", 7) == 0)
            bytes[p->pieces[i].type] += p->pieces[i].bytes;
    }
    for (int t = 0; t < RW_TYPE_COUNT; t++)
        if (bytes[t] > bytes[most]) most = (rw_type)t;
    uint32_t fields[] = {MAGIC,           FILE_VERSION,  p->c->dim[RW_V],
                         p->c->dim[RW_D], p->c->n_layer, (uint32_t)type_id(most)};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!rw_put_u32(out, fields[i])) return rw_nomem(err, sizeof fields);
    return RWKV_OK;
}

static bool tensor_head(const rw_piece *piece, rw_buf *out) {
    size_t len = strlen(piece->name);
    bool done = rw_put_u32(out, piece->n_dims) && rw_put_u32(out, (uint32_t)len) &&
                rw_put_u32(out, (uint32_t)type_id(piece->type));
    for (uint32_t d = piece->n_dims; done && d-- > 0;)
        done = rw_put_u32(out, (uint32_t)piece->dims[d]);
    return done && rw_buf_add(out, piece->name, len);
}

const rw_target rw_target_ggmf = {
    .name = "ggmf",
    .alignment = 1,
    .accept = accept,
    .place = place,
    .header = header,
    .tensor_head = tensor_head,
};
