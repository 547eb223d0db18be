/* support_models.h - tiny random RWKV checkpoints of any version and shape, with fixed seeds and
 * trained-looking statistics, and writers for every container we read.
 *
 * In memory a model is a list of float32 tensors under .pth names and orientation. Every value is
 * exact in BF16 and in F16, so that a model means the same in whatever type it is stored. A test
 * may rename, drop, reshape or damage tensors before writing. Nothing here uses the library's
 * readers. */
#ifndef RW_SUPPORT_MODELS_H
#define RW_SUPPORT_MODELS_H

#include "support.h"
#include "quant/quant.h"

/* Zero means the default in parentheses. */
typedef struct test_shape {
    const char *version; /* "4" "5.0" "5.1" "5.2" "6" "7" "7a" */
    uint32_t n_layer;    /* (2) */
    uint32_t D;          /* n_embd (32) */
    uint32_t H, N;       /* heads, head size (8; as many heads as fill D). v4: H * N is n_att (D) */
    uint32_t F, V;       /* (3 D + 5), (256) */
    uint32_t
        rank; /* v6: of the mixes, the decay has rank + 3; v7: of w; a, v, g have +1 +2 +3 (5) */
    bool layer0_v; /* v7: block 0 has the unused att.v0 v1 v2 */
    uint64_t seed;
} test_shape;

typedef struct test_tensor {
    char name[96];
    uint32_t n_dims;
    uint64_t dims[4]; /* slowest first */
    size_t n;
    float *data;
} test_tensor;

typedef struct test_model {
    test_shape shape; /* defaults filled in */
    uint32_t A;
    size_t n_tensors;
    test_tensor *tensors;
} test_model;

test_model *test_model_new(const test_shape *shape);
test_model *test_model_copy(const test_model *m);
void test_model_free(test_model *m);
test_tensor *test_model_find(const test_model *m, const char *name); /* NULL: absent */
void test_model_drop(test_model *m, const char *name);
/* Appends a tensor of zeros and returns it. */
test_tensor *test_model_add(test_model *m, const char *name, uint32_t n_dims, const uint64_t *dims);

typedef enum test_format {
    AS_PTH,         /* zip, as torch.save writes it */
    AS_PTH_LEGACY,  /* five pickles and raw data */
    AS_SAFETENSORS, /* .pth names */
    AS_FLA,         /* flash-linear-attention's names; v7 only */
    AS_WEB_RWKV,    /* web-rwkv's names and orientation; F16; v6, v7 */
    AS_GGUF,        /* as llama.cpp's converter: v6, v7 only. Vectors F32 */
    AS_GGUF_VOCAB,  /* the same with a byte vocabulary embedded: id 0 ends, id = byte + 1 */
    AS_GGMF,        /* rwkv.cpp .bin 101, with its transformations; not 5.1, 7a */
    TEST_FORMATS
} test_format;

extern const char *const test_format_names[TEST_FORMATS];
bool test_format_has(test_format f, const char *version);
/* type: RW_F32, RW_F16 or RW_BF16 (not in ggmf). The result is freed with rw_buf_free. */
rw_buf test_model_bytes(const test_model *m, test_format f, rw_type type);
/* v6 GGUF with att.output and ffn.value divided by 2^(layer / rescale). */
rw_buf test_model_gguf_rescaled(const test_model *m, rw_type type, uint32_t rescale);
/* AS_FLA also writes config.json beside it: give it a folder of its own. */
void test_model_save(const test_model *m, test_format f, rw_type type, const char *path);

/* A .pth file around these bytes as its pickle, with storages "0" to "7" of 256 bytes each. */
rw_buf test_pth_around(const void *data, size_t n);
/* The pickle of a model alone. */
rw_buf test_model_pickle(const test_model *m, rw_type type);
/* Makes the checksum of a state blob right again. */
void test_state_seal(uint8_t *blob, size_t n);

/* Shorthand: writes the model into the temporary folder and returns the path (4 in rotation). */
const char *test_model_file(const test_shape *shape, test_format f, rw_type type);

extern const test_shape test_small_shape; /* v7; files of a few KB */
/* The shapes that tests sweep: every version, odd sizes. Ends with version NULL. */
extern const test_shape test_shapes[];

#endif
