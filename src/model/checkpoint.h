/* checkpoint.h - gives a file's tensors their meaning: which RWKV version, which sizes, and which tensor
 * plays which part, whatever names and orientation its format uses.
 *
 *     rw_table -> dialect (names of the format) + arch (rules of the version) -> rw_checkpoint
 *
 * Each version's rules (v4.c ... v7.c) are one table: name, shape, kind, and the names in other formats.
 * It drives validation, binding (model.c) and writing (convert.c). */
#ifndef RW_CHECKPOINT_H
#define RW_CHECKPOINT_H

#include "../file/file.h"

/* Sizes that shapes are made of. */
typedef enum rw_dim {
    RW_DIM_NONE = 0,
    RW_D,      /* n_embd */
    RW_A,      /* n_att = H * N */
    RW_F,      /* n_ffn */
    RW_V,      /* n_vocab */
    RW_H,      /* heads */
    RW_N,      /* head size */
    RW_U,      /* v5: length of decay and bonus: H or A */
    RW_RW,     /* v7 rank of w; v6: of the decay (q) */
    RW_RA,     /* v7 rank of a */
    RW_RV,     /* v7 rank of v */
    RW_RG,     /* v7 rank of g */
    RW_RM,     /* v6 rank of the mixes (r) */
    RW_RM5,    /* 5 * RW_RM */
    RW_FIVE,   /* the number 5 */
    RW_E,      /* v7a: width of a DeepEmbed row (1024) */
    RW_ES,     /* v7a: its square root (32) */
    RW_DIM_COUNT
} rw_dim;

typedef enum rw_kind {
    RW_VECTOR, /* decoded to float32 when bound; its shape in the file may be anything of that many elements */
    RW_MATRIX, /* (out, in), stays as stored */
    RW_LOWRANK /* (out, in) here; (in, out) in .pth files; small, never block-quantized */
} rw_kind;

/* How stored numbers relate to those of rules (the "raw" ones, which .pth files hold). */
typedef enum rw_form {
    RW_RAW,
    RW_NEG_EXP,     /* stored = -exp(raw) */
    RW_EXP_NEG_EXP, /* stored = exp(-exp(raw)) */
    RW_LOG          /* stored = log(raw): v5's time_first, raw is the bonus u */
} rw_form;

enum {
    RW_OPTIONAL = 1,
    RW_NOT_LAYER0 = 2,
    RW_LOOKUP = 4, /* rows are read, not multiplied */
    RW_SPARSE = 8  /* most of what it is multiplied with is zero */
};

typedef struct rw_rule {
    const char *name;    /* .pth name, after "blocks.N." in a layer's table */
    const char *gguf;    /* GGUF name after "blk.N.", without ".weight"/".bias" if the .pth name has it */
    int gguf_slot;       /* -1, or the row of a fused GGUF tensor that holds this vector */
    rw_kind kind;
    rw_dim dims[4];      /* (out, in) order, slowest first */
    uint32_t flags;
    size_t offset;       /* in the layer (or model) struct: float * for vectors, rw_mat for the rest */
    rw_form form;        /* vectors: the form that evaluation wants; writers always want RW_RAW */
} rw_rule;

/* One rule's weight in this file. */
typedef struct rw_weight {
    const rw_rule *rule;
    const rw_tensor *tensor; /* NULL: absent (optional) */
    const uint8_t *data;     /* tensor->data, or the row of a fused tensor */
    uint64_t n_elems, bytes;
    rw_form form;
    bool turned;             /* RW_LOWRANK only: stored as (in, out) */
    float scale;             /* multiply decoded values by it; 1 but for rescaled rwkv6 GGUF */
} rw_weight;

typedef enum rw_version { RW_V4, RW_V5_0, RW_V5_1, RW_V5_2, RW_V6, RW_V7, RW_V7A } rw_version;

typedef struct rw_arch rw_arch; /* model.h */

typedef struct rw_checkpoint {
    rw_table *table;
    const struct rw_dialect *dialect;
    const rw_arch *arch;
    rw_version version;
    uint32_t dim[RW_DIM_COUNT];
    uint32_t n_layer;
    float ln_eps, gn_eps;     /* gn_eps 0 for v4 */
    rw_weight *globals;       /* one per rw_global_rules entry */
    rw_weight *layers;        /* [n_layer][arch->n_rules] */
    char name[128];           /* general.name, else the file's stem */
} rw_checkpoint;

extern const rw_rule rw_global_rules[]; /* emb, ln0, ln_out, head */
extern const size_t rw_n_global_rules;

/* Opens, detects, checks every shape. Tensors that no rule claims are logged as warnings. */
rwkv_status rw_checkpoint_open(rw_checkpoint **out, const char *path, bool no_mmap, rw_log log,
                               rwkv_error *err);
void rw_checkpoint_close(rw_checkpoint *c);
const char *rw_version_name(rw_version v); /* "5.2" */
/* Of a rule: how many dimensions it has, the last one (the length of a row), and the rows of the fused
 * GGUF tensor that it is one of. */
uint32_t rw_rule_dims(const rw_rule *rule);
uint32_t rw_rule_cols(const rw_checkpoint *c, const rw_rule *rule);
uint32_t rw_rule_slots(const rw_checkpoint *c, const rw_rule *rule);
static inline const rw_weight *rw_layer_weights(const rw_checkpoint *c, uint32_t layer, size_t n_rules) {
    return c->layers + (size_t)layer * n_rules;
}
/* All values as float32 in the form wanted, rule's (out, in) orientation, scaled. out: [n_elems]. */
void rw_weight_values(const rw_weight *w, const rw_checkpoint *c, rw_form want, float *out);
/* Rows [row0, row0 + n) of a matrix in rule orientation as float32 (n_cols = last dim of the rule). */
void rw_weight_rows(const rw_weight *w, const rw_checkpoint *c, uint64_t row0, uint64_t n, float *out);
/* The number that a rule's dim stands for in this file. */
static inline uint32_t rw_dim_of(const rw_checkpoint *c, rw_dim d) { return c->dim[d]; }

/* ---- for the versions' measure(): a layer's weight by its .pth name (missing is RWKV_E_MODEL), its rows
 * or columns in (out, in) order, and the heads from a tensor that starts with that dimension. */
#define RW_MAX_DIM (1u << 24)
rwkv_status rw_checkpoint_find(const rw_checkpoint *c, const char *name, uint32_t layer, rw_weight *w,
                               rwkv_error *err);
rwkv_status rw_checkpoint_size(const rw_checkpoint *c, const char *name, uint32_t layer, bool cols,
                               uint32_t *out, rwkv_error *err);
rwkv_status rw_checkpoint_heads(rw_checkpoint *c, const char *name, rwkv_error *err);

rw_type rw_checkpoint_main_type(const rw_checkpoint *c); /* that most bytes of matrices have */

/* SHA-256 over version, sizes and the layer norms' weights as float32: the same for every format and
 * quantization of one model. */
void rw_checkpoint_fingerprint(const rw_checkpoint *c, uint8_t out[32]);
/* SHA-256 over names, types, shapes and samples of the data as stored; a packed file has it from the
 * file that it was made of, under this key: 32 bytes. */
#define RW_PACKED_HASH_KEY "rwkv.packed.weights_hash"
void rw_checkpoint_weights_hash(const rw_checkpoint *c, uint8_t out[32]);

#endif
