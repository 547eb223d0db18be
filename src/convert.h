/* convert.h - what the conversion engine (convert.c) and its two containers share.
 *
 *     rw_checkpoint -> plan: one rw_piece per tensor of the output -> header, then each piece's
 * bytes
 *
 * A container says how a weight is called, shaped and typed in it, and what stands around the data.
 * The engine decodes, encodes, copies and writes. */
#ifndef RW_CONVERT_H
#define RW_CONVERT_H

#include "model/model.h"

#define RW_MAX_FUSED 6u /* v7's mixes */

typedef struct rw_piece {
    char name[128];
    rw_type type;
    rw_layout layout;
    bool factored; /* packed from floats: a power of two is taken out of each row */
    rw_form form;
    uint32_t n_dims;
    uint64_t dims[4];                   /* slowest first */
    const rw_weight *src[RW_MAX_FUSED]; /* one, or the rows of a fused tensor */
    uint32_t n_src;
    uint64_t bytes;
} rw_piece;

typedef struct rw_plan {
    rw_checkpoint *c;
    const rwkv_convert_options *opt;
    const struct rw_target *target;
    rw_log log;
    rw_type type;     /* of matrices; RW_TYPE_COUNT keeps those of the source */
    uint32_t rescale; /* rwkv6 GGUF to GGUF: rescale_every_n_layers of the source, kept */
    rw_piece *pieces;
    size_t n, cap;
} rw_plan;

typedef struct rw_target {
    const char *name;
    uint32_t alignment; /* zeros follow each tensor up to a multiple of it */
    /* Refuses what the container cannot hold, before anything else is done. */
    rwkv_status (*accept)(rw_plan *p, rwkv_error *err);
    /* The weight to store for a rule that this layer lacks; NULL: none. May be NULL. */
    const rw_weight *(*stand_in)(const rw_plan *p, const rw_rule *rule, uint32_t layer);
    /* Fills name, type, form and shape. Weights that get the same name are one fused tensor; its
     * shape is that of the whole. layer is -1 for globals. */
    rwkv_status (*place)(rw_plan *p, const rw_rule *rule, const rw_weight *w, int64_t layer,
                         rw_piece *out, rwkv_error *err);
    rwkv_status (*header)(rw_plan *p, rw_buf *out, rwkv_error *err);
    bool (*tensor_head)(const rw_piece *piece, rw_buf *out); /* may be NULL */
} rw_target;

extern const rw_target rw_target_gguf, rw_target_packed, rw_target_ggmf;

/* ---- for the containers */
/* The type wanted for a matrix with rows of n_cols, or the nearest whose blocks fit such rows. */
rw_type rw_type_fitting(rw_type type, uint64_t n_cols);
/* The rule's own dimensions. */
void rw_piece_shape(const rw_plan *p, const rw_weight *w, rw_piece *out);
bool rw_put_u32(rw_buf *b, uint32_t x);
bool rw_put_u64(rw_buf *b, uint64_t x);

#endif
