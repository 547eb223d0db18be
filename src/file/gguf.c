/* gguf.c - reads GGUF, version 2 or 3. In: the mapped file. Out: metadata and tensors of the table.
 *
 *     "GGUF" version n_tensors n_meta
 *     n_meta times key type value; n_tensors times name n_dims dims type offset; data
 *
 * As strict as llama.cpp: alignment is a power of two, and each tensor begins where the one before
 * ends, rounded up. So no two tensors can share bytes and there is nothing between them. */
#include "ggml.h"
#include "../quant/pack.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    GGUF_META_MIN = 8 + 4 + 1, /* bytes of the shortest metadata field */
    GGUF_TENSOR_MIN = 8 + 4 + 8 + 4 + 8,
    GGUF_ALIGN_DEFAULT = 32,
    GGUF_ALIGN_MIN = 8,
    GGUF_ALIGN_MAX = 65536,
    GGUF_MAX_STRINGS = 1 << 22, /* in all arrays together */
    GGUF_BOOL = 7,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9
};

static const struct value_type {
    const char *name;
    uint32_t size; /* 0: not fixed */
    rw_meta_kind kind;
} value_types[] = {
    {"u8", 1, RW_META_U64},        {"i8", 1, RW_META_I64},    {"u16", 2, RW_META_U64},
    {"i16", 2, RW_META_I64},       {"u32", 4, RW_META_U64},   {"i32", 4, RW_META_I64},
    {"f32", 4, RW_META_F64},       {"bool", 1, RW_META_BOOL}, {"string", 0, RW_META_STRING},
    {"array", 0, RW_META_STRINGS}, {"u64", 8, RW_META_U64},   {"i64", 8, RW_META_I64},
    {"f64", 8, RW_META_F64},
};
#define N_VALUE_TYPES (sizeof value_types / sizeof *value_types)

typedef struct gguf {
    rw_table *t;
    const rw_file *f;
    rw_reader r;
    uint64_t n_tensors, n_meta;
    uint64_t strings_left;
} gguf;

static int short_len(uint64_t len) {
    return len < RW_MAX_NAME ? (int)len : (int)RW_MAX_NAME;
}

static rwkv_status read_string(rw_reader *r, const char **s, uint64_t *len, const char *what,
                               rwkv_error *err) {
    const uint8_t *bytes;
    RW_TRY(rw_read_u64(r, len, what, err));
    RW_TRY(rw_read_bytes(r, *len, &bytes, what, err));
    *s = (const char *)bytes;
    return RWKV_OK;
}

static rwkv_status read_header(gguf *g, rwkv_error *err) {
    rw_reader *r = &g->r;
    const uint8_t *magic;
    uint32_t version;
    RW_TRY(rw_read_bytes(r, 4, &magic, "GGUF magic", err));
    if (memcmp(magic, "GGUF", 4) != 0) return rw_read_fail(r, 0, err, "no GGUF magic");
    RW_TRY(rw_read_u32(r, &version, "GGUF version", err));
    if (version != 0 && (version & 0xFFFF) == 0)
        return rw_fail_at(err, RWKV_E_UNSUPPORTED, r->path, 4,
                          "byte order of GGUF; found big endian, "
                          "version %" PRIu32 "; expected little endian",
                          version >> 24 | (version >> 8 & 0xFF00));
    if (version != 2 && version != 3)
        return rw_fail_at(err, RWKV_E_UNSUPPORTED, r->path, 4,
                          "GGUF version; found %" PRIu32 "; expected 2 or 3", version);
    RW_TRY(rw_read_u64(r, &g->n_tensors, "number of tensors", err));
    RW_TRY(rw_read_u64(r, &g->n_meta, "number of metadata fields", err));
    uint64_t left = rw_reader_left(r);
    if (g->n_tensors > RW_MAX_TENSORS || g->n_tensors > left / GGUF_TENSOR_MIN)
        return rw_read_fail(r, 8, err,
                            "number of tensors; found %" PRIu64 "; expected at most %u, and "
                            "no more than %" PRIu64 " bytes can hold",
                            g->n_tensors, RW_MAX_TENSORS, left);
    if (g->n_meta > RW_MAX_META || g->n_meta > left / GGUF_META_MIN)
        return rw_read_fail(r, 16, err,
                            "number of metadata fields; found %" PRIu64 "; expected at "
                            "most %u, and no more than %" PRIu64 " bytes can hold",
                            g->n_meta, RW_MAX_META, left);
    return RWKV_OK;
}

/* ---- metadata */

static rwkv_status check_bools(const rw_reader *r, const uint8_t *b, uint64_t n, const char *key,
                               int key_len, rwkv_error *err) {
    for (uint64_t i = 0; i < n; i++)
        if (b[i] > 1)
            return rw_read_fail(r, (uint64_t)(b + i - r->data), err,
                                "key %.*s: bool; found %u; expected 0 or 1", key_len, key, b[i]);
    return RWKV_OK;
}

static void decode_scalar(const uint8_t *b, uint32_t type, rw_meta *m) {
    union {
        uint32_t u;
        float f;
    } narrow;
    union {
        uint64_t u;
        double f;
    } wide;
    switch (type) {
    case 0:
    case GGUF_BOOL:
        m->v.u = b[0];
        break;
    case 1:
        m->v.i = (int8_t)b[0];
        break;
    case 2:
        m->v.u = rw_le16(b);
        break;
    case 3:
        m->v.i = (int16_t)rw_le16(b);
        break;
    case 4:
        m->v.u = rw_le32(b);
        break;
    case 5:
        m->v.i = (int32_t)rw_le32(b);
        break;
    case 6:
        narrow.u = rw_le32(b);
        m->v.f = (double)narrow.f;
        break;
    case 10:
        m->v.u = rw_le64(b);
        break;
    case 11:
        m->v.i = (int64_t)rw_le64(b);
        break;
    default:
        wide.u = rw_le64(b);
        m->v.f = wide.f;
        break;
    }
}

static rwkv_status read_strings(gguf *g, uint64_t n, rw_meta *m, const char *key, int key_len,
                                rwkv_error *err) {
    rw_reader *r = &g->r;
    if (n > rw_reader_left(r) / 8 || n > g->strings_left)
        return rw_read_fail(r, m->offset, err,
                            "key %.*s: array of %" PRIu64 " strings; expected at "
                            "most %" PRIu64 " in %" PRIu64 " bytes",
                            key_len, key, n, g->strings_left, rw_reader_left(r));
    g->strings_left -= n;
    const char **s = rw_arena_alloc(&g->t->arena, (size_t)n, sizeof *s);
    uint32_t *lens = rw_arena_alloc(&g->t->arena, (size_t)n, sizeof *lens);
    if (n && (!s || !lens)) return rw_nomem(err, (size_t)n * (sizeof *s + sizeof *lens));
    for (uint64_t i = 0; i < n; i++) {
        uint64_t len, at = r->pos;
        RW_TRY(read_string(r, &s[i], &len, "string in an array", err));
        if (len > UINT32_MAX)
            return rw_read_fail(r, at, err, "key %.*s: string of %" PRIu64 " bytes", key_len, key,
                                len);
        lens[i] = (uint32_t)len;
    }
    m->kind = RW_META_STRINGS;
    m->v.strs.s = s;
    m->v.strs.len = lens;
    m->v.strs.n = (size_t)n;
    return RWKV_OK;
}

static rwkv_status read_array(gguf *g, rw_meta *m, const char *key, int key_len, rwkv_error *err) {
    rw_reader *r = &g->r;
    uint32_t type;
    uint64_t n, bytes;
    const uint8_t *data;
    RW_TRY(rw_read_u32(r, &type, "type of array elements", err));
    RW_TRY(rw_read_u64(r, &n, "length of an array", err));
    if (type >= N_VALUE_TYPES || type == GGUF_ARRAY)
        return rw_read_fail(r, m->offset, err,
                            "key %.*s: type of array elements; found %" PRIu32
                            "%s; expected 0 to 12 without 9",
                            key_len, key, type, type == GGUF_ARRAY ? " (array)" : "");
    if (type == GGUF_STRING) return read_strings(g, n, m, key, key_len, err);
    if (!rw_mul(n, value_types[type].size, &bytes) || bytes > rw_reader_left(r))
        return rw_read_fail(r, m->offset, err,
                            "key %.*s: array of %" PRIu64 " x %s; expected no more "
                            "than %" PRIu64 " bytes hold",
                            key_len, key, n, value_types[type].name, rw_reader_left(r));
    RW_TRY(rw_read_bytes(r, bytes, &data, "array", err));
    if (type == GGUF_BOOL) RW_TRY(check_bools(r, data, n, key, key_len, err));
    m->kind = RW_META_NUMBERS;
    m->v.nums.data = data;
    m->v.nums.gguf_type = type;
    m->v.nums.n = (size_t)n;
    return RWKV_OK;
}

static rwkv_status read_meta(gguf *g, rwkv_error *err) {
    rw_reader *r = &g->r;
    rw_meta m = {0};
    uint64_t key_len, len, at;
    uint32_t type;
    const uint8_t *b;
    RW_TRY(read_string(r, &m.key, &key_len, "metadata key", err));
    int shown = short_len(key_len);
    at = r->pos;
    RW_TRY(rw_read_u32(r, &type, "type of a metadata value", err));
    if (type >= N_VALUE_TYPES)
        return rw_read_fail(r, at, err, "key %.*s: type; found %" PRIu32 "; expected 0 to 12",
                            shown, m.key, type);
    m.offset = r->pos;
    m.kind = value_types[type].kind;
    if (type == GGUF_ARRAY) {
        RW_TRY(read_array(g, &m, m.key, shown, err));
    } else if (type == GGUF_STRING) {
        RW_TRY(read_string(r, &m.v.str.s, &len, "metadata string", err));
        m.v.str.len = (size_t)len;
    } else {
        RW_TRY(rw_read_bytes(r, value_types[type].size, &b, "metadata value", err));
        if (type == GGUF_BOOL) RW_TRY(check_bools(r, b, 1, m.key, shown, err));
        decode_scalar(b, type, &m);
    }
    return rw_table_add_meta(g->t, &m, (size_t)key_len, err);
}

static rwkv_status find_alignment(const gguf *g, uint64_t *out, rwkv_error *err) {
    const char *key = "general.alignment";
    bool found;
    *out = GGUF_ALIGN_DEFAULT;
    RW_TRY(rw_meta_u64(g->t, key, out, &found, err));
    if (found && (*out < GGUF_ALIGN_MIN || *out > GGUF_ALIGN_MAX || (*out & (*out - 1)) != 0))
        return rw_read_fail(&g->r, rw_meta_find(g->t, key)->offset, err,
                            "%s; found %" PRIu64 "; expected a power of two, %d to %d", key, *out,
                            GGUF_ALIGN_MIN, GGUF_ALIGN_MAX);
    return RWKV_OK;
}

/* Files of ours whose matrices are packed say so, and how: others' types are not touched. */
static rwkv_status find_packed(const gguf *g, uint64_t alignment, rwkv_error *err) {
    const char *key = RW_LAYOUT_KEY;
    uint64_t version;
    RW_TRY(rw_meta_u64(g->t, key, &version, &g->t->packed, err));
    if (!g->t->packed) return RWKV_OK;
    uint64_t at = rw_meta_find(g->t, key)->offset;
    if (version != RW_LAYOUT_VERSION)
        return rw_fail_at(err, RWKV_E_UNSUPPORTED, g->r.path, at,
                          "packed for another version of this program; %s: found %" PRIu64
                          "; expected %d; pack the original file again",
                          key, version, RW_LAYOUT_VERSION);
    if (alignment % RW_LINE)
        return rw_read_fail(&g->r, at, err,
                            "alignment of packed data; found %" PRIu64
                            "; expected a multiple of %d",
                            alignment, RW_LINE);
    return RWKV_OK;
}

/* ---- tensors */

/* RW_U8 is a number of ours, not of ggml. */
static rwkv_status check_type(const rw_reader *r, uint64_t at, uint32_t type, const char *name,
                              int name_len, rwkv_error *err) {
    if (rw_type_get(type) && type != RW_U8) return RWKV_OK;
    char known[256];
    size_t n = 0;
    for (uint32_t i = 0; i < RW_TYPE_COUNT; i++)
        if (rw_type_is_float((rw_type)i) && n < sizeof known)
            n += (size_t)snprintf(known + n, sizeof known - n, " %s", rw_type_name((rw_type)i));
    return rw_fail_at(err, RWKV_E_UNSUPPORTED, r->path, at,
                      "tensor %.*s: type; found %" PRIu32 "; expected one of%s", name_len, name,
                      type, known);
}

/* t->bytes of a matrix that is not stored row by row. */
static rwkv_status packed_size(const gguf *g, uint64_t at, rw_tensor *t, int name_len,
                               rwkv_error *err) {
    uint64_t cols = t->dims[t->n_dims - 1];
    if (rw_layout_bytes(t->layout, t->type, t->n_elems / cols, cols, &t->bytes) &&
        t->bytes <= g->f->size)
        return RWKV_OK;
    return rw_read_fail(
        &g->r, at, err,
        "tensor %.*s: found %" PRIu64 " x %" PRIu64 " elements of packed %s; "
        "expected a type that can be packed, rows of whole blocks, and no more than "
        "%" PRIu64 " bytes hold",
        name_len, t->name, t->n_elems / cols, cols, rw_type_name(t->type), g->f->size);
}

/* Reads one record; t->offset still counts from the beginning of the data. */
static rwkv_status read_tensor(gguf *g, rw_tensor *t, uint64_t *name_len, rwkv_error *err) {
    rw_reader *r = &g->r;
    uint64_t dims[RW_GGML_MAX_DIMS], at;
    uint32_t type;
    RW_TRY(read_string(r, &t->name, name_len, "tensor name", err));
    int shown = short_len(*name_len);
    at = r->pos;
    RW_TRY(rw_read_u32(r, &t->n_dims, "number of dimensions", err));
    if (t->n_dims < 1 || t->n_dims > RW_GGML_MAX_DIMS)
        return rw_read_fail(
            r, at, err, "tensor %.*s: number of dimensions; found %" PRIu32 "; expected 1 to %d",
            shown, t->name, t->n_dims, RW_GGML_MAX_DIMS);
    at = r->pos;
    for (uint32_t i = 0; i < t->n_dims; i++) RW_TRY(rw_read_u64(r, &dims[i], "dimension", err));
    uint64_t type_at = r->pos;
    RW_TRY(rw_read_u32(r, &type, "tensor type", err));
    if (g->t->packed && type < RW_LAYOUT_COUNT * RW_LAYOUT_ID) {
        t->layout = (rw_layout)(type / RW_LAYOUT_ID);
        type %= RW_LAYOUT_ID;
    }
    RW_TRY(check_type(r, type_at, type, t->name, shown, err));
    t->type = (rw_type)type;
    RW_TRY(rw_ggml_shape(r, at, t->name, (size_t)*name_len, dims, g->f->size, t, err));
    if (t->layout != RW_ROWS) RW_TRY(packed_size(g, type_at, t, shown, err));
    t->file = g->f;
    return rw_read_u64(r, &t->offset, "tensor offset", err);
}

/* Turns relative offsets into data, each where the tensor before it ends. */
static rwkv_status place(const gguf *g, rw_tensor *t, uint64_t begin, uint64_t alignment,
                         uint64_t *expected, int name_len, rwkv_error *err) {
    uint64_t left = g->f->size - begin;
    if (t->offset != *expected)
        return rw_read_fail(&g->r, begin, err,
                            "tensor %.*s: offset; found %" PRIu64 "; expected %" PRIu64, name_len,
                            t->name, t->offset, *expected);
    if (t->offset > left || t->bytes > left - t->offset)
        return rw_read_fail(&g->r, g->f->size, err,
                            "tensor %.*s: file ends; found %" PRIu64
                            " bytes of data; expected %" PRIu64 " at %" PRIu64,
                            name_len, t->name, left, t->bytes, t->offset);
    if (!rw_align(t->offset + t->bytes, alignment, expected))
        return rw_read_fail(&g->r, begin, err, "tensor %.*s: too large", name_len, t->name);
    t->offset += begin;
    t->data = g->f->data + t->offset;
    return RWKV_OK;
}

static rwkv_status read_tensors(gguf *g, rwkv_error *err) {
    rwkv_status st = RWKV_OK;
    uint64_t alignment, begin, expected = 0;
    uint64_t *name_len = rw_calloc((size_t)g->n_tensors, sizeof *name_len);
    rw_tensor *t = rw_calloc((size_t)g->n_tensors, sizeof *t);
    if (g->n_tensors && (!t || !name_len)) {
        st = rw_nomem(err, (size_t)g->n_tensors * (sizeof *t + sizeof *name_len));
        goto out;
    }
    RW_GOTO(find_alignment(g, &alignment, err));
    RW_GOTO(find_packed(g, alignment, err));
    for (uint64_t i = 0; i < g->n_tensors; i++) RW_GOTO(read_tensor(g, &t[i], &name_len[i], err));
    if (!rw_align(g->r.pos, alignment, &begin) || (begin > g->f->size && g->n_tensors)) {
        st = rw_read_fail(&g->r, g->f->size, err, "file ends before the tensor data");
        goto out;
    }
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        RW_GOTO(place(g, &t[i], begin, alignment, &expected, short_len(name_len[i]), err));
        RW_GOTO(rw_table_add(g->t, &t[i], (size_t)name_len[i], err));
    }
out:
    rw_free(t);
    rw_free(name_len);
    return st;
}

rwkv_status rw_read_gguf(rw_table *t, const rw_file *f, rwkv_error *err) {
    gguf g = {.t = t, .f = f, .r = rw_reader_at(f, 0, f->size), .strings_left = GGUF_MAX_STRINGS};
    RW_TRY(read_header(&g, err));
    for (uint64_t i = 0; i < g.n_meta; i++) RW_TRY(read_meta(&g, err));
    return read_tensors(&g, err);
}

/* ---- shared with ggmf.c */

rwkv_status rw_ggml_shape(const rw_reader *r, uint64_t offset, const char *name, size_t name_len,
                          const uint64_t *fastest_first, uint64_t left, rw_tensor *t,
                          rwkv_error *err) {
    int shown = short_len(name_len);
    t->n_elems = 1;
    for (uint32_t d = 0; d < t->n_dims; d++) {
        uint64_t dim = fastest_first[d];
        if (dim == 0 || !rw_mul(t->n_elems, dim, &t->n_elems))
            return rw_read_fail(
                r, offset, err,
                "tensor %.*s: dimension %" PRIu32 "; found %" PRIu64 "; expected %s", shown, name,
                d, dim, dim == 0 ? "at least 1" : "a product below 2^64");
        t->dims[t->n_dims - 1 - d] = dim;
    }
    const rw_type_info *type = rw_type_get(t->type);
    if (fastest_first[0] % type->block_elems != 0)
        return rw_read_fail(r, offset, err,
                            "tensor %.*s: row length; found %" PRIu64
                            "; expected a multiple of %" PRIu32 " for %s",
                            shown, name, fastest_first[0], type->block_elems, type->name);
    if (!rw_type_bytes(t->type, t->n_elems, &t->bytes) || t->bytes > left)
        return rw_read_fail(r, offset, err,
                            "tensor %.*s: found %" PRIu64 " elements of %s; expected no "
                            "more than %" PRIu64 " bytes hold",
                            shown, name, t->n_elems, type->name, left);
    return RWKV_OK;
}
