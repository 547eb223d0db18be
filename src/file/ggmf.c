/* ggmf.c - reads rwkv.cpp's .bin files, version 100 or 101. In: the mapped file. Out: tensors, and
 * the header's numbers as metadata.
 *
 *     magic version n_vocab n_embed n_layer data_type
 *     then up to the end of the file: n_dims key_length data_type dims key data
 *
 * Nothing is aligned, and nothing says how many tensors there are. */
#include "ggml.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    GGMF_MAGIC = 0x67676d66,
    GGMF_FIRST = 100, /* quantized blocks had another layout then */
    GGMF_SECOND = 101,
    GGMF_MAX_DIMS = 3
};

/* rwkv.cpp's numbers for types are not ggml's. NULL: gone, or never stored in files. */
static const struct ggmf_type {
    const char *name;
    rw_type type;
} types[] = {
    {"FP32", RW_F32},      {"FP16", RW_F16},      {"Q4_0", RW_Q4_0},     {"Q4_1", RW_Q4_1},
    {NULL, RW_TYPE_COUNT}, {NULL, RW_TYPE_COUNT}, {NULL, RW_TYPE_COUNT}, {"Q5_0", RW_Q5_0},
    {"Q5_1", RW_Q5_1},     {"Q8_0", RW_Q8_0},     {NULL, RW_TYPE_COUNT}, {"Q2_K", RW_Q2_K},
    {"Q3_K", RW_Q3_K},     {"Q4_K", RW_Q4_K},     {"Q5_K", RW_Q5_K},     {"Q6_K", RW_Q6_K},
};
#define N_TYPES (sizeof types / sizeof *types)

/* `of` names what has the type: "header", or the tensor. */
static rwkv_status map_type(const rw_reader *r, uint64_t at, uint32_t version, uint32_t id,
                            const char *of, int of_len, rw_type *out, rwkv_error *err) {
    if (id >= N_TYPES || !types[id].name) {
        char known[256];
        size_t n = 0;
        for (uint32_t i = 0; i < N_TYPES; i++)
            if (types[i].name && n < sizeof known)
                n += (size_t)snprintf(known + n, sizeof known - n, " %s (%" PRIu32 ")",
                                      types[i].name, i);
        return rw_fail_at(err, RWKV_E_UNSUPPORTED, r->path, at,
                          "%.*s: data type; found %" PRIu32 "; expected one of%s", of_len, of, id,
                          known);
    }
    if (version == GGMF_FIRST && types[id].type != RW_F32 && types[id].type != RW_F16)
        return rw_fail_at(
            err, RWKV_E_UNSUPPORTED, r->path, at,
            "%.*s: %s in a file of version 100 has a retired block layout; expected FP32 "
            "or FP16 (convert the original checkpoint again)",
            of_len, of, types[id].name);
    *out = types[id].type;
    return RWKV_OK;
}

static rwkv_status read_header(rw_table *t, rw_reader *r, uint32_t *version, rwkv_error *err) {
    static const char *const keys[] = {"ggmf.version", "ggmf.n_vocab", "ggmf.n_embed",
                                       "ggmf.n_layer", "ggmf.data_type"};
    uint32_t magic;
    rw_type ignored;
    RW_TRY(rw_read_u32(r, &magic, "magic number", err));
    if (magic != GGMF_MAGIC)
        return rw_read_fail(r, 0, err, "magic number; found %08" PRIx32 "; expected %08x", magic,
                            GGMF_MAGIC);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        rw_meta m = {.key = keys[i], .kind = RW_META_U64, .offset = r->pos};
        uint32_t value;
        RW_TRY(rw_read_u32(r, &value, "header", err));
        if (i == 0 && value != GGMF_FIRST && value != GGMF_SECOND)
            return rw_fail_at(err, RWKV_E_UNSUPPORTED, r->path, m.offset,
                              "version of the rwkv.cpp file; found %" PRIu32 "; expected %d or %d",
                              value, GGMF_FIRST, GGMF_SECOND);
        if (i == 0) *version = value;
        if (i == 4) RW_TRY(map_type(r, m.offset, *version, value, "header", 6, &ignored, err));
        m.v.u = value;
        RW_TRY(rw_table_add_meta(t, &m, strlen(m.key), err));
    }
    return RWKV_OK;
}

static rwkv_status read_tensor(rw_table *t, const rw_file *f, rw_reader *r, uint32_t version,
                               rwkv_error *err) {
    rw_tensor tensor = {.file = f};
    uint32_t key_len, id, dim;
    uint64_t dims[GGMF_MAX_DIMS], at = r->pos;
    const uint8_t *key;
    RW_TRY(rw_read_u32(r, &tensor.n_dims, "number of dimensions", err));
    RW_TRY(rw_read_u32(r, &key_len, "length of a tensor's name", err));
    RW_TRY(rw_read_u32(r, &id, "data type of a tensor", err));
    if (tensor.n_dims < 1 || tensor.n_dims > GGMF_MAX_DIMS)
        return rw_read_fail(r, at, err, "number of dimensions; found %" PRIu32 "; expected 1 to %d",
                            tensor.n_dims, GGMF_MAX_DIMS);
    if (key_len < 1 || key_len > RW_MAX_NAME)
        return rw_read_fail(r, at + 4, err,
                            "length of a tensor's name; found %" PRIu32 "; expected 1 to %u",
                            key_len, RW_MAX_NAME);
    for (uint32_t i = 0; i < tensor.n_dims; i++) {
        RW_TRY(rw_read_u32(r, &dim, "dimension", err));
        dims[i] = dim;
    }
    RW_TRY(rw_read_bytes(r, key_len, &key, "name of a tensor", err));
    tensor.name = (const char *)key;
    RW_TRY(map_type(r, at + 8, version, id, tensor.name, (int)key_len, &tensor.type, err));
    RW_TRY(rw_ggml_shape(r, at + 12, tensor.name, key_len, dims, f->size, &tensor, err));
    tensor.offset = r->pos;
    if (tensor.bytes > rw_reader_left(r))
        return rw_read_fail(r, f->size, err,
                            "tensor %.*s: file ends; found %" PRIu64
                            " bytes of data; expected %" PRIu64,
                            (int)key_len, tensor.name, rw_reader_left(r), tensor.bytes);
    RW_TRY(rw_read_bytes(r, tensor.bytes, &tensor.data, "data of a tensor", err));
    return rw_table_add(t, &tensor, key_len, err);
}

rwkv_status rw_read_ggmf(rw_table *t, const rw_file *f, rwkv_error *err) {
    rw_reader r = rw_reader_at(f, 0, f->size);
    uint32_t version = 0;
    RW_TRY(read_header(t, &r, &version, err));
    while (rw_reader_left(&r) > 0) {
        if (t->n_tensors == RW_MAX_TENSORS)
            return rw_read_fail(&r, r.pos, err, "more than %u tensors", RW_MAX_TENSORS);
        RW_TRY(read_tensor(t, f, &r, version, err));
    }
    return RWKV_OK;
}
