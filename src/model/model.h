/* model.h - a bound model, one evaluation, and what each version file provides.
 *
 * Evaluation works on rows: all tokens of all sequences of a call, at most RW_MAX_ROWS at a time. A
 * segment is a run of consecutive rows of one sequence with its state. One token, a long prompt and a
 * batch of sessions are the same code. */
#ifndef RW_MODEL_H
#define RW_MODEL_H

#include "../cpu/cpu.h"
#include "../kernels/kernels.h"
#include "checkpoint.h"
#include <pthread.h>
#include <stdatomic.h>

#define RW_MAX_ROWS 128u
#define RW_LOGIT_ROWS 32u

/* A matrix as stored; y = scale * W x. If it is also packed its products are made with eight-bit
 * activations, or with bfloat16 ones. */
typedef struct rw_mat {
    const uint8_t *data;
    const uint8_t *packed;      /* as in quant/pack.h; NULL: exact products from data */
    rw_pack pack;               /* RW_NOT_PACKED: packed as blocks of bfloat16 */
    bool by_columns;            /* so packed that columns can be left out: integers in blocks, else in strips */
    rw_type type;
    uint32_t rows, cols;
    size_t row_bytes;
    float scale;
} rw_mat;

typedef struct rw_segment {
    float *state;  /* of the sequence, all layers */
    size_t row;    /* first row */
    size_t n;      /* rows */
    float *logits; /* of the segment's last row, [V]; NULL: not wanted */
    bool broken;   /* set by rw_model_eval: its rows became NaN or infinite */
} rw_segment;

/* Everything forward() works with. x enters as LN(emb; ln0) and leaves as the residual after the last
 * layer. Scratch buffers are taken with rw_take (a bump allocator reset for each call). */
typedef struct rw_eval {
    const struct rwkv_model *m;
    const int32_t *tokens;      /* [n_rows] */
    size_t n_rows;
    const rw_segment *segs;
    size_t n_segs;
    float *x;                   /* [n_rows, D] residual */
    float *x0;                  /* [n_rows, D] LN(emb; ln0), for v7a */
    float *v_first;             /* [n_rows, A] values of layer 0, for v7 */
    const float **prev;         /* [n_rows] of rw_shift_mix: what comes before each row */
    float *scratch;             /* the first float that is free */
} rw_eval;

/* y = W x for all rows; then apply(y), then add_to += y, or += gate * y. Rows of x are x_stride floats
 * apart (0: cols), those of y, gate and add_to follow each other. */
typedef struct rw_product {
    const rw_mat *w;
    const float *x;
    float *y;
    void (*apply)(float *x, size_t n); /* of numbers one by one; or NULL */
    float *add_to;
    const float *gate;
    size_t x_stride;
} rw_product;

struct rw_arch {
    const rw_rule *rules;       /* of one layer */
    size_t n_rules;
    size_t layer_size;          /* bytes of the layer struct that rules' offsets point into */
    const char *gguf_arch;      /* general.architecture */
    /* Fills c->dim from the tensors of layer 0 (and 1). */
    rwkv_status (*measure)(rw_checkpoint *c, rwkv_error *err);
    /* Floats of one layer's state; floats of scratch per row. */
    size_t (*state_len)(const rw_checkpoint *c);
    size_t (*scratch_len)(const rw_checkpoint *c);
    void (*init_state)(const struct rwkv_model *m, float *state); /* NULL: zeros */
    /* After binding: per-layer values derived once (folded decays). May be NULL. */
    rwkv_status (*finish)(struct rwkv_model *m, uint32_t layer, rwkv_error *err);
    /* One layer for all rows: e->x in, e->x out, the segments' states advanced. */
    void (*layer)(rw_eval *e, uint32_t layer);
};

/* Counted by products.c: calls; inputs of RW_SPARSE matrices in passes of few rows, and those that were zero in
 * all rows of the pass. */
typedef struct rw_counts {
    uint64_t products;
    atomic_uint_least64_t inputs, zeros;
} rw_counts;

/* What a thread rounds and chooses for itself, for products of few rows. */
typedef struct rw_desk {
    _Alignas(64) uint64_t number; /* of the product that it is for */
    uint8_t *inputs;              /* [n_inputs / RW_MAX_ROWS * RW_FEW] */
    rw_chosen *chosen;            /* [n_chosen] columns of ffn.value that are needed */
} rw_desk;

extern const rw_arch rw_arch_v4, rw_arch_v5, rw_arch_v6, rw_arch_v7, rw_arch_v7a;

struct rwkv_model {
    rw_checkpoint *ckpt;
    const rw_arch *arch;
    const rw_kernels *k;
    rw_pool *pool;
    rw_arena arena;             /* vectors, turned matrices, layer structs */
    /* sizes, copied from ckpt->dim for short names in forward code */
    uint32_t n_layer, D, A, F, V, H, N;
    float ln_eps, gn_eps;
    bool exact;                 /* no eight-bit activations */
    bool dense;                 /* zero activations are multiplied too */
    struct rw_packing *packing; /* what is still to be packed, until the first evaluation; NULL: nothing */
    rw_type main_type;          /* that most bytes of matrices have */
    rw_mat emb, head;           /* [V, D] */
    float *ln0_w, *ln0_b, *ln_out_w, *ln_out_b; /* [D] */
    uint8_t *layers;            /* [n_layer][arch->layer_size] */
    size_t state_len;           /* floats, all layers */
    size_t layer_state_len;
    /* one evaluation at a time: the workspace is shared */
    pthread_mutex_t lock;
    float *work;                /* x, x0, v_first and scratch for RW_MAX_ROWS rows */
    size_t work_len;            /* floats */
    float *panel;               /* [n_threads][panel_len] decoded weight rows */
    size_t panel_len;           /* floats per thread */
    rw_counts *counts;
    uint8_t *inputs;            /* [n_inputs] bytes: inputs of products, rounded; NULL: nothing is packed */
    rw_desk *desks;             /* [n_threads] */
    float *logits;              /* [RW_LOGIT_ROWS, V] when several sequences want theirs */
    rwkv_tokenizer *tokenizer;
    rwkv_error tokenizer_error; /* why there is none */
    const rwkv_template *chat;
    const char *sampling; /* name of a preset, or "" */
    uint8_t fingerprint[32], weights_hash[32];
};

/* All layers for n_rows <= RW_MAX_ROWS rows in n_segs segments that cover them in order, then the logits
 * wanted: of each segment's last row, or, if all is not NULL, of every row, [n_rows, V]. Takes the model's
 * lock. RWKV_E_NUMERIC names the layer; the states of the segments marked `broken` are then undefined, the
 * others have been evaluated as if those were not there. */
rwkv_status rw_model_eval(struct rwkv_model *m, const int32_t *tokens, size_t n_rows, rw_segment *segs,
                          size_t n_segs, float *all, rwkv_error *err);

/* ---- packing.c: quantized matrices rearranged for integer products. Room is reserved when a matrix is
 * bound, untouched; the work is done by the first evaluation, so that opening a model stays instant. */
rwkv_status rw_packing_reserve(struct rwkv_model *m, const rw_weight *w, rw_mat *mat, rwkv_error *err);
void rw_packing_run(struct rwkv_model *m); /* all that was reserved; then the file's own pages are released */
void rw_packing_end(struct rwkv_model *m); /* forgets what is still to be packed */
/* How a matrix with rows of `cols` elements of *type is packed, and as which type, in a model most of whose
 * matrices are of type `main`. RW_ROWS: not. */
rw_layout rw_packing_layout(const rw_rule *rule, rw_type main, uint32_t cols, rw_type *type);
/* Bytes that packing adds to those of the file's matrices. flags: RWKV_MODEL_*. */
uint64_t rw_packing_growth(const rw_checkpoint *c, uint32_t flags);

/* ---- products.c. At most 8 products that do not use each other's results, one of them by columns. */
void rw_products(const struct rwkv_model *m, const rw_product *list, size_t n, size_t n_rows);
size_t rw_products_scratch(size_t n_rows); /* floats per thread */

/* ---- building blocks of a layer. Rows run in parallel. */
float *rw_take(rw_eval *e, size_t floats);
/* Splits [0, n) among the threads; runs on the calling thread alone when that is all it takes. */
void rw_split(rw_eval *e, size_t n, size_t grain, rw_pool_fn fn, void *ctx);
/* x = LN(e->x), p = x of the previous row of the same sequence, or the shift vector in its state at
 * `state_offset`. out[i] = fn(x, p, m[i]) for n mixes: out is [n][n_rows][D], x [n_rows][D]. p stays in
 * e->prev until rw_keep_shift, to be called when it is no longer needed, which keeps each sequence's last row
 * in its state. */
typedef void rw_mix_fn(const float *x, const float *p, const float *m, float *out, size_t n);
void rw_shift_mix(rw_eval *e, const float *ln_w, const float *ln_b, size_t state_offset, rw_mix_fn *fn,
                  float *const *m, size_t n, float *x, float *out);
void rw_keep_shift(rw_eval *e, const float *x, size_t state_offset);
/* Where layer i's part of a state begins. Its order: ffn_x [D], att_x [D], then the version's own. */
static inline size_t rw_ffn_shift(const rw_eval *e, uint32_t i) { return i * e->m->layer_state_len; }
static inline size_t rw_att_shift(const rw_eval *e, uint32_t i) {
    return i * e->m->layer_state_len + e->m->D;
}
static inline size_t rw_att_state(const rw_eval *e, uint32_t i) {
    return i * e->m->layer_state_len + 2 * (size_t)e->m->D;
}
static inline const void *rw_layer(const rw_eval *e, uint32_t i) {
    return e->m->layers + (size_t)i * e->m->arch->layer_size;
}


#endif
