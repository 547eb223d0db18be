/* packing.c - which matrices of a model are rearranged for integer products (quant/pack.h), and when.
 *
 * Reserved on binding: address space of the packed form. Done by the first evaluation, all threads
 * together: from the file's rows, after which the file's pages are given back. So a model opens
 * at once, and evaluation still allocates nothing. */
#include "model.h"
#include <math.h>
#include <stdatomic.h>
#include <string.h>

/* The type whose blocks are packed for integer products: the matrix's own; Q8_0 for what a quantized model's
 * file keeps as floats, low-rank matrices and often the head; RW_TYPE_COUNT for none. */
static rw_type packed_type(const rw_weight *w, rw_type main, uint32_t cols) {
    const rw_rule *rule = w->rule;
    rw_type type = w->tensor->type;
    if (rule->kind == RW_VECTOR || rule->flags & RW_LOOKUP) return RW_TYPE_COUNT;
    if (rw_pack_of(type) != RW_NOT_PACKED) return type;
    bool is_float = type == RW_F32 || type == RW_F16 || type == RW_BF16;
    bool grouped = rule->kind == RW_LOWRANK && rule->dims[2] != RW_DIM_NONE; /* v6 takes such matrices apart */
    if (is_float && !grouped && cols % 32 == 0 && rw_pack_of(main) != RW_NOT_PACKED) return RW_Q8_0;
    return RW_TYPE_COUNT;
}

/* Halves become bfloat16 where the processor multiplies those fast; a copy beside the file's own rows
 * only if these can be given back. */
static bool as_bfloats(const struct rwkv_model *m, const rw_weight *w) {
    rw_type type = w->tensor->type;
    return m->k->matmul_bf16_strips && w->rule->kind == RW_MATRIX && !(w->rule->flags & RW_LOOKUP) &&
           (type == RW_F16 || type == RW_BF16) && w->tensor->file && w->tensor->file->mapped;
}

struct rw_packing {
    float *values;    /* [threads][widest]: rows on their way from floats to Q8_0 */
    uint8_t *blocks;  /* [threads][RW_STRIP_ROWS][bytes of the widest row as Q8_0] */
    size_t widest;    /* columns of such rows, 0: there are none */
};

typedef struct pack_job {
    const struct rw_packing *room;
    const rw_mat *mat;
    rw_type type;    /* packed_type */
    uint8_t *out;
    atomic_bool odd; /* numbers that Q8_0 cannot hold */
} pack_job;

/* A row of floats as Q8_0, divided by a power of two that keeps float16 scales out of their denormal
 * range; returns that power, 0 when the row holds numbers that are too large or none. */
static float encode_row(const rw_mat *mat, size_t row, float *values, uint8_t *blocks) {
    float max = 0;
    bool finite = true;
    rw_type_get(mat->type)->decode(mat->data + row * mat->row_bytes, values, mat->cols);
    for (size_t k = 0; k < mat->cols; k++) {
        finite &= isfinite(values[k]) != 0;
        max = fabsf(values[k]) > max ? fabsf(values[k]) : max;
    }
    if (!finite || max > 1e30f) return 0;
    float factor = max > 1e-30f ? ldexpf(1.0f, ilogbf(max)) : 1.0f;
    for (size_t k = 0; k < mat->cols; k++) values[k] /= factor;
    rw_type_get(RW_Q8_0)->encode(values, blocks, mat->cols);
    return factor;
}

/* RW_SPARSE matrices go by columns; slabs come in pairs. */
static bool columnwise(const rw_weight *w, rw_type type, uint32_t cols) {
    return (w->rule->flags & RW_SPARSE) && type == w->tensor->type && cols % RW_TILE_COLS == 0;
}

static uint64_t packed_bytes(const rw_weight *w, rw_type type, uint64_t rows, uint32_t cols) {
    rw_pack pack = rw_pack_of(type);
    if (columnwise(w, type, cols)) return (rows + RW_BLOCK_ROWS - 1) / RW_BLOCK_ROWS * rw_block_bytes(pack, cols);
    return (rows + RW_STRIP_ROWS - 1) / RW_STRIP_ROWS * rw_pack_strip_bytes(pack, cols);
}

static void pack_blocks(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const pack_job *j = ctx;
    const rw_mat *w = j->mat;
    size_t bytes = rw_block_bytes(w->pack, w->cols);
    for (size_t b = begin; b < end; b++) {
        size_t row = b * RW_BLOCK_ROWS, n = w->rows - row < RW_BLOCK_ROWS ? w->rows - row : RW_BLOCK_ROWS;
        rw_pack_block(w->type, w->data + row * w->row_bytes, w->row_bytes, n, w->cols, j->out + b * bytes);
    }
}

static void pack_bfloats(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const pack_job *j = ctx;
    const rw_mat *w = j->mat;
    for (size_t s = begin; s < end; s++) {
        size_t row = s * RW_STRIP_ROWS, n = w->rows - row < RW_STRIP_ROWS ? w->rows - row : RW_STRIP_ROWS;
        rw_pack_bf16_strip(w->type, w->data + row * w->row_bytes, w->row_bytes, n, w->cols,
                           j->out + s * rw_bf16_strip_bytes(w->cols));
    }
}

static void pack_strips(void *ctx, size_t begin, size_t end, uint32_t thread) {
    pack_job *j = ctx;
    const rw_mat *w = j->mat;
    size_t strip_bytes = rw_pack_strip_bytes(rw_pack_of(j->type), w->cols), n;
    for (size_t s = begin; s < end; s++) {
        size_t row = s * RW_STRIP_ROWS;
        n = w->rows - row < RW_STRIP_ROWS ? w->rows - row : RW_STRIP_ROWS;
        uint8_t *strip = j->out + s * strip_bytes;
        if (j->type == w->type) {
            rw_pack_strip(w->type, w->data + row * w->row_bytes, w->row_bytes, n, w->cols, strip);
            continue;
        }
        float factors[RW_STRIP_ROWS] = {0};
        size_t row_bytes = w->cols / rw_type_get(j->type)->block_elems * rw_type_get(j->type)->block_bytes;
        uint8_t *blocks = j->room->blocks + thread * RW_STRIP_ROWS * row_bytes;
        for (size_t r = 0; r < n; r++) {
            factors[r] = encode_row(w, row + r, j->room->values + thread * w->cols, blocks + r * row_bytes);
            if (factors[r] == 0) atomic_store(&j->odd, true);
        }
        rw_pack_strip(j->type, blocks, row_bytes, n, w->cols, strip);
        memcpy(strip, factors, sizeof factors);
    }
}

rwkv_status rw_packing_reserve(struct rwkv_model *m, const rw_weight *w, rw_mat *mat, rwkv_error *err) {
    rw_type type = packed_type(w, m->main_type, mat->cols);
    bool bfloats = type == RW_TYPE_COUNT && as_bfloats(m, w);
    if (m->exact || (type == RW_TYPE_COUNT && !bfloats)) return RWKV_OK;
    if (!m->packing) m->packing = rw_calloc(1, sizeof *m->packing);
    if (!m->packing) return rw_nomem(err, sizeof *m->packing);
    size_t threads = rw_pool_threads(m->pool);
    uint64_t bytes = bfloats ? (mat->rows + RW_STRIP_ROWS - 1) / RW_STRIP_ROWS * rw_bf16_strip_bytes(mat->cols)
                             : packed_bytes(w, type, mat->rows, mat->cols);
    if (!bfloats && type != mat->type && mat->cols > m->packing->widest) {
        struct rw_packing *room = m->packing;
        rw_free(room->values);
        rw_free(room->blocks);
        room->widest = mat->cols;
        room->values = rw_calloc(threads * room->widest, sizeof *room->values);
        room->blocks = rw_calloc(threads * RW_STRIP_ROWS * room->widest, 2); /* Q8_0 takes less than 2 bytes each */
        if (!room->values || !room->blocks) return rw_nomem(err, threads * RW_STRIP_ROWS * 2 * room->widest);
    }
    mat->packed = rw_arena_alloc(&m->arena, bytes, 1);
    if (!mat->packed) return rw_nomem(err, bytes);
    mat->pack = bfloats ? RW_NOT_PACKED : rw_pack_of(type);
    mat->by_columns = !bfloats && columnwise(w, type, mat->cols);
    return RWKV_OK;
}

static void pack_matrix(struct rwkv_model *m, const rw_weight *w, rw_mat *mat) {
    if (w->rule->kind == RW_VECTOR || !w->tensor || !mat->packed) return;
    pack_job job = {.room = m->packing, .mat = mat, .type = packed_type(w, m->main_type, mat->cols)};
    job.out = (uint8_t *)(uintptr_t)mat->packed; /* nobody reads it yet */
    size_t unit = mat->by_columns ? RW_BLOCK_ROWS : RW_STRIP_ROWS, n = (mat->rows + unit - 1) / unit;
    rw_pool_fn pack = mat->pack == RW_NOT_PACKED ? pack_bfloats : mat->by_columns ? pack_blocks : pack_strips;
    rw_pool_run(m->pool, n, 1, pack, &job);
    if (atomic_load(&job.odd)) mat->packed = NULL; /* exact products it is */
    else rw_file_release(w->tensor->file, w->data, w->bytes);
}

/* The field of a struct that a weight was bound to. */
static rw_mat *bound(uint8_t *base, const rw_weight *w) {
    return (rw_mat *)(void *)(base + w->rule->offset);
}

void rw_packing_run(struct rwkv_model *m) {
    const rw_checkpoint *c = m->ckpt;
    for (size_t i = 0; i < rw_n_global_rules; i++)
        pack_matrix(m, &c->globals[i], bound((uint8_t *)m, &c->globals[i]));
    for (uint32_t l = 0; l < m->n_layer; l++) {
        const rw_weight *w = rw_layer_weights(c, l, m->arch->n_rules);
        for (size_t i = 0; i < m->arch->n_rules; i++)
            pack_matrix(m, &w[i], bound(m->layers + l * m->arch->layer_size, &w[i]));
    }
    rw_packing_end(m);
}

void rw_packing_end(struct rwkv_model *m) {
    if (!m->packing) return;
    rw_free(m->packing->values);
    rw_free(m->packing->blocks);
    rw_free(m->packing);
    m->packing = NULL;
}

uint64_t rw_packing_growth(const rw_checkpoint *c, uint32_t flags) {
    rw_type main = rw_checkpoint_main_type(c);
    uint64_t more = 0;
    for (size_t i = 0; i < rw_n_global_rules + c->n_layer * c->arch->n_rules; i++) {
        const rw_weight *w = i < rw_n_global_rules ? &c->globals[i] : &c->layers[i - rw_n_global_rules];
        if (!w->tensor || w->rule->kind != RW_MATRIX) continue; /* low-rank ones become smaller */
        uint32_t cols = rw_rule_cols(c, w->rule);
        rw_type type = packed_type(w, main, cols);
        if (type == RW_TYPE_COUNT) continue;
        uint64_t packed = packed_bytes(w, type, w->n_elems / cols, cols);
        more += flags & RWKV_MODEL_NO_MMAP ? packed : packed > w->bytes ? packed - w->bytes : 0;
    }
    return more;
}

