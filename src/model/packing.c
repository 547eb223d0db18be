/* packing.c - which matrices of a model are rearranged for integer products (quant/pack.h), and when.
 *
 * Matrices of a packed file are bound as they are. For others, reserved on binding: address space of the
 * packed form. Done by the first evaluation, all threads together: from the file's rows, after which the
 * file's pages are given back. So a model opens at once, and evaluation still allocates nothing. */
#include "model.h"
#include <stdatomic.h>
#include <string.h>

/* The matrix's own type; Q8_0 for what a quantized model's file keeps as floats: low-rank matrices and often
 * the head. Slabs come in pairs. */
rw_layout rw_packing_layout(const rw_rule *rule, rw_type main, uint32_t cols, rw_type *type) {
    bool is_float = *type == RW_F32 || *type == RW_F16 || *type == RW_BF16;
    bool grouped = rule->kind == RW_LOWRANK && rule->dims[2] != RW_DIM_NONE; /* v6 takes such matrices apart */
    if (rule->kind == RW_VECTOR || rule->flags & RW_LOOKUP || grouped) return RW_ROWS;
    if (is_float && cols % 32 == 0 && rw_pack_of(main) != RW_NOT_PACKED) *type = RW_Q8_0;
    if (rw_pack_of(*type) == RW_NOT_PACKED) return RW_ROWS;
    return rule->flags & RW_SPARSE && cols % RW_TILE_COLS == 0 ? RW_COLUMNS : RW_STRIPS;
}

static rw_layout layout_of(const rw_weight *w, rw_type main, uint32_t cols, rw_type *type) {
    *type = w->tensor->type;
    return rw_packing_layout(w->rule, main, cols, type);
}

/* Halves become bfloat16 where the processor multiplies those fast, in a copy of the file's rows, which are
 * given back. */
static bool as_bfloats(const rw_kernels *k, const rw_weight *w) {
    rw_type type = w->tensor->type;
    return k->matmul_bf16_blocks && w->rule->kind == RW_MATRIX && !(w->rule->flags & RW_LOOKUP) &&
           w->tensor->layout == RW_ROWS && (type == RW_F16 || type == RW_BF16) && w->tensor->file &&
           w->tensor->file->mapped;
}

struct rw_packing {
    uint8_t *room;       /* for packed matrices: what is not given away yet */
    float *values;       /* [threads][widest]: rows on their way from floats to Q8_0 */
    uint8_t *blocks;     /* [threads][RW_BLOCK_ROWS][bytes of the widest row as Q8_0] */
    size_t widest;       /* columns of such rows, 0: there are none */
};

typedef struct pack_job {
    const struct rw_packing *room;
    const rw_mat *mat;
    rw_layout layout;
    rw_type type;    /* of the packed matrix */
    uint8_t *out;
    atomic_bool odd; /* numbers that Q8_0 cannot hold */
} pack_job;

/* A row of floats as Q8_0; returns rw_pack_factor of it. */
static float encode_row(const rw_mat *mat, size_t row, float *values, uint8_t *blocks) {
    rw_type_get(mat->type)->decode(mat->data + row * mat->row_bytes, values, mat->cols);
    float factor = rw_pack_factor(values, mat->cols);
    if (factor > 0) rw_type_get(RW_Q8_0)->encode(values, blocks, mat->cols);
    return factor;
}

static void pack_bfloats(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    const pack_job *j = ctx;
    const rw_mat *w = j->mat;
    for (size_t s = begin; s < end; s++) {
        size_t row = s * RW_BF16_ROWS, n = w->rows - row < RW_BF16_ROWS ? w->rows - row : RW_BF16_ROWS;
        rw_pack_bf16_block(w->type, w->data + row * w->row_bytes, w->row_bytes, n, w->cols,
                           j->out + s * rw_bf16_block_bytes(w->cols));
    }
}

/* Strips or blocks [begin, end). */
static void pack_units(void *ctx, size_t begin, size_t end, uint32_t thread) {
    pack_job *j = ctx;
    const rw_mat *w = j->mat;
    const rw_type_info *type = rw_type_get(j->type);
    size_t unit = rw_layout_rows(j->layout), bytes = rw_layout_unit(j->layout, w->pack, w->cols);
    size_t row_bytes = w->cols / type->block_elems * type->block_bytes;
    uint8_t *blocks = j->room->blocks + thread * RW_BLOCK_ROWS * row_bytes;
    float factors[RW_BLOCK_ROWS];
    for (size_t u = begin; u < end; u++) {
        size_t row = u * unit, n = w->rows - row < unit ? w->rows - row : unit;
        uint8_t *out = j->out + u * bytes;
        if (j->type == w->type) {
            rw_pack_rows(j->layout, j->type, w->data + row * row_bytes, row_bytes, n, w->cols, out);
            continue;
        }
        for (size_t r = 0; r < n; r++) {
            factors[r] = encode_row(w, row + r, j->room->values + thread * w->cols, blocks + r * row_bytes);
            if (factors[r] == 0) atomic_store(&j->odd, true);
        }
        rw_pack_rows(j->layout, j->type, blocks, row_bytes, n, w->cols, out);
        memcpy(out, factors, n * sizeof *factors);
    }
}

/* Bytes that a matrix takes here, in lines; 0: it is not packed, or is in the file. k: NULL if bfloats,
 * which take no more than the file's rows rounded up to blocks, do not count. */
static uint64_t packed_bytes(const rw_checkpoint *c, const rw_weight *w, rw_type main, const rw_kernels *k) {
    if (!w->tensor || w->rule->kind == RW_VECTOR || w->tensor->layout != RW_ROWS) return 0;
    uint32_t cols = rw_rule_cols(c, w->rule);
    rw_type type;
    rw_layout layout = layout_of(w, main, cols, &type);
    uint64_t bytes = 0;
    if (layout == RW_ROWS && k && as_bfloats(k, w))
        return (w->n_elems / cols + RW_BF16_ROWS - 1) / RW_BF16_ROWS * rw_bf16_block_bytes(cols);
    if (layout == RW_ROWS || !rw_layout_bytes(layout, type, w->n_elems / cols, cols, &bytes)) return 0;
    return (bytes + RW_LINE - 1) / RW_LINE * RW_LINE;
}

static const rw_weight *weight_at(const rw_checkpoint *c, size_t i) {
    return i < rw_n_global_rules ? &c->globals[i] : &c->layers[i - rw_n_global_rules];
}

static size_t n_weights(const rw_checkpoint *c) {
    return rw_n_global_rules + c->n_layer * c->arch->n_rules;
}

/* One piece of memory for all, so that it can be of huge pages: fewer walks through page tables. */
static rwkv_status make_room(struct rwkv_model *m, rwkv_error *err) {
    enum { HUGE_PAGE = 2 << 20 };
    uint64_t bytes = 0;
    for (size_t i = 0; i < n_weights(m->ckpt); i++)
        bytes += packed_bytes(m->ckpt, weight_at(m->ckpt, i), m->main_type, m->k);
    m->packing = rw_calloc(1, sizeof *m->packing);
    if (!m->packing) return rw_nomem(err, sizeof *m->packing);
    if (bytes == 0) return RWKV_OK;
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : RW_LINE;
    uint8_t *room = rw_arena_alloc(&m->arena, bytes + align, 1);
    if (!room) return rw_nomem(err, bytes + align);
    m->packing->room = room + (align - (uintptr_t)room % align) % align;
    if (bytes >= HUGE_PAGE) rw_os_huge_pages(m->packing->room, bytes);
    return RWKV_OK;
}

rwkv_status rw_packing_reserve(struct rwkv_model *m, const rw_weight *w, rw_mat *mat, rwkv_error *err) {
    rw_type type;
    rw_layout layout = layout_of(w, m->main_type, mat->cols, &type);
    if (w->tensor->layout != RW_ROWS && w->tensor->layout != layout)
        return rw_fail_at(err, RWKV_E_MODEL, w->tensor->file->path, w->tensor->offset,
                          "tensor %s: found it packed in layout %d; expected %d", w->tensor->name,
                          (int)w->tensor->layout, (int)layout);
    bool bfloats = layout == RW_ROWS && as_bfloats(m->k, w);
    if (m->exact || (layout == RW_ROWS && !bfloats)) return RWKV_OK;
    if (!m->packing) RW_TRY(make_room(m, err));
    mat->pack = bfloats ? RW_NOT_PACKED : rw_pack_of(type);
    mat->by_columns = layout == RW_COLUMNS ||
                      (bfloats && w->rule->flags & RW_SPARSE && mat->cols % RW_TILE_COLS == 0);
    if (w->tensor->layout != RW_ROWS) { /* by whoever wrote the file */
        mat->packed = w->data;
        return RWKV_OK;
    }
    size_t threads = rw_pool_threads(m->pool);
    uint64_t bytes = packed_bytes(m->ckpt, w, m->main_type, m->k);
    if (type != mat->type && mat->cols > m->packing->widest) {
        struct rw_packing *room = m->packing;
        rw_free(room->values);
        rw_free(room->blocks);
        room->widest = mat->cols;
        room->values = rw_calloc(threads * room->widest, sizeof *room->values);
        room->blocks = rw_calloc(threads * RW_BLOCK_ROWS * room->widest, 2); /* Q8_0 takes less than 2 bytes each */
        if (!room->values || !room->blocks) return rw_nomem(err, threads * RW_BLOCK_ROWS * 2 * room->widest);
    }
    mat->packed = m->packing->room;
    m->packing->room += bytes;
    return RWKV_OK;
}

static void pack_matrix(struct rwkv_model *m, const rw_weight *w, rw_mat *mat) {
    if (w->rule->kind == RW_VECTOR || !w->tensor || w->tensor->layout != RW_ROWS || !mat->packed) return;
    pack_job job = {.room = m->packing, .mat = mat};
    job.layout = layout_of(w, m->main_type, mat->cols, &job.type);
    job.out = (uint8_t *)(uintptr_t)mat->packed; /* nobody reads it yet */
    size_t unit = mat->pack == RW_NOT_PACKED ? RW_BF16_ROWS : rw_layout_rows(job.layout);
    rw_pool_run(m->pool, (mat->rows + unit - 1) / unit, 1,
                mat->pack == RW_NOT_PACKED ? pack_bfloats : pack_units, &job);
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
    for (size_t i = 0; i < n_weights(c); i++) {
        const rw_weight *w = weight_at(c, i);
        if (w->rule->kind != RW_MATRIX) continue; /* low-rank ones become smaller */
        uint64_t packed = packed_bytes(c, w, main, NULL);
        more += flags & RWKV_MODEL_NO_MMAP ? packed : packed > w->bytes ? packed - w->bytes : 0;
    }
    return more;
}
