/* products.c - products of weights and rows of activations: y = W x for all rows, then what follows at once
 * on what was just computed. Several products that do not wait for each other share one run of the pool.
 *
 *     packed strips    the kernel reads them as they are; many rows of some types: widened, once for all rows
 *     packed blocks    few rows: columns whose inputs are zero are skipped; more: widened
 *     bfloats          blocks too; the kernel skips columns
 *     halves           few rows: multiplied as stored; else as
 *     anything else    decoded to float32, a panel of weight rows at a time
 *
 * Whatever way is taken, a number's sum has one order: see kernels/kernels.h. */
#include "model.h"
#include <string.h>

enum { MAX_PRODUCTS = 8, WIDE_TILES = 8, FEW_HALVES = 6, CACHED = 256 * 1024 };

typedef struct job {
    const struct rwkv_model *m;
    const rw_product *list;
    size_t n, n_rows;
    size_t first[MAX_PRODUCTS + 1];  /* units of weight rows before each product */
    size_t at[MAX_PRODUCTS]; /* of its inputs, rounded (rw_act or rw_pairs), panel after panel; NONE: not needed */
    struct input {
        const rw_product *of;
        size_t at;
    } own[MAX_PRODUCTS]; /* those that are not an earlier product's too */
    size_t n_own;
    bool each;       /* few: every thread rounds them for itself, rather than wait for one and read its cache */
    uint64_t number; /* unlike any other job's */
} job;

#define NONE SIZE_MAX

static size_t x_stride(const rw_product *p) { return p->x_stride ? p->x_stride : p->w->cols; }
static size_t y_stride(const rw_product *p) { return p->w->rows; }

static bool bfloats(const rw_mat *w) { return w->packed && w->pack == RW_NOT_PACKED; }

/* Weight rows that stay together. */
static size_t unit_rows(const rw_mat *w) {
    if (bfloats(w)) return RW_BF16_ROWS;
    return w->packed && w->by_columns ? RW_BLOCK_ROWS : RW_STRIP_ROWS;
}

static size_t panel_width(const job *j, size_t t) {
    return j->n_rows - t < RW_PANEL ? j->n_rows - t : RW_PANEL;
}

static uint8_t *inputs_at(const job *j, size_t at, uint32_t thread) {
    return (j->each ? j->m->desks[thread].inputs : j->m->inputs) + at;
}

static const void *inputs_of(const job *j, size_t i, uint32_t thread) {
    return inputs_at(j, j->at[i], thread);
}

/* Panels [begin, end), counted through all inputs. */
static void round_panels(void *ctx, size_t begin, size_t end, uint32_t thread) {
    const job *j = ctx;
    const rw_kernels *k = j->m->k;
    size_t panels = (j->n_rows + RW_PANEL - 1) / RW_PANEL;
    for (size_t i = begin; i < end; i++) {
        const struct input *in = &j->own[i / panels];
        size_t n = in->of->w->cols, t = i % panels * RW_PANEL, width = panel_width(j, t);
        for (size_t r = 0; r < width; r++) {
            const float *x = in->of->x + (t + r) * x_stride(in->of);
            size_t at = t * rw_pack_tiles(n) + r;
            void *out = inputs_at(j, in->at, thread);
            if (bfloats(in->of->w)) k->round_bf16(x, n, (rw_pairs *)out + at, width);
            else k->quantize(x, n, (rw_act *)out + at, width);
        }
    }
}

static bool same_input(const rw_product *a, const rw_product *b) {
    return a->x == b->x && a->w->cols == b->w->cols && bfloats(a->w) == bfloats(b->w);
}

static size_t n_panels(const job *j) {
    return j->n_own * ((j->n_rows + RW_PANEL - 1) / RW_PANEL);
}

/* Finds what is to be rounded; does so if it is much. */
static void plan_inputs(job *j) {
    size_t values = 0, free = 0;
    for (size_t i = 0; i < j->n; i++) {
        const rw_product *p = &j->list[i];
        j->at[i] = NONE;
        if (!p->w->packed) continue;
        size_t k = 0;
        while (k < i && (j->at[k] == NONE || !same_input(&j->list[k], p))) k++;
        j->at[i] = k < i ? j->at[k] : free;
        if (k < i) continue;
        j->own[j->n_own++] = (struct input){p, free};
        free += j->n_rows * rw_pack_tiles(p->w->cols) * (bfloats(p->w) ? sizeof(rw_pairs) : sizeof(rw_act));
        values += j->n_rows * p->w->cols;
    }
    j->each = j->n_rows <= RW_FEW && values < 32768;
    if (!j->each) rw_pool_run(j->m->pool, n_panels(j), 1, round_panels, j);
}

/* How many inputs of a product are zero in all rows. */
static size_t count_zeros(const job *j, const rw_product *p, const rw_act *acts) {
    size_t width = j->n_rows, cols = p->w->cols, zeros = 0;
    for (size_t k = 0; k < cols; k += RW_TILE_COLS) { /* columns come in whole tiles */
        uint8_t any[RW_TILE_COLS] = {0};
        for (size_t t = 0; t < width; t++) {
            const float *x = p->x + t * x_stride(p) + k;
            const int8_t *q = acts ? acts[k / RW_TILE_COLS * width + t].q : NULL;
            for (int c = 0; c < RW_TILE_COLS; c++) any[c] |= q ? q[c] != 0 : x[c] != 0;
        }
        for (int c = 0; c < RW_TILE_COLS; c++) zeros += any[c] == 0;
    }
    return zeros;
}

/* The columns of product i that are needed. Memory gives all lines faster than every second one: only when
 * most inputs are zero in all rows are the others left out. */
static void choose_columns(const job *j, size_t i, uint32_t thread) {
    const rw_mat *w = j->list[i].w;
    const rw_act *acts = bfloats(w) ? NULL : inputs_of(j, i, thread);
    if (!acts && thread > 0) return; /* the kernel chooses, and one thread counts */
    size_t zeros = count_zeros(j, &j->list[i], acts);
    if (thread == 0) {
        atomic_fetch_add(&j->m->counts->inputs, w->cols);
        atomic_fetch_add(&j->m->counts->zeros, zeros);
    }
    if (!acts) return;
    bool all = j->m->dense || 3 * zeros < 2 * w->cols;
    rw_choose_columns(w->pack, acts, j->n_rows, w->cols, all, j->m->desks[thread].chosen);
}

/* What a thread needs before its first product: at most one of them is by columns. */
static void prepare(void *ctx, uint32_t thread) {
    const job *j = ctx;
    if (j->m->desks[thread].number == j->number) return;
    j->m->desks[thread].number = j->number;
    if (j->each) round_panels(ctx, 0, n_panels(j), thread);
    for (size_t i = 0; i < j->n && j->n_rows <= RW_FEW; i++)
        if (j->at[i] != NONE && j->list[i].w->by_columns) choose_columns(j, i, thread);
}

/* ---- packed */

/* At most eight strips, from `row` on, with all rows of activations: a few tiles of each are widened and
 * multiplied while they are in the cache. Partial sums wait in between. */
static void wide_rows(const job *j, size_t i, size_t row, size_t n_rows, uint32_t thread) {
    const struct rwkv_model *m = j->m;
    const rw_kernels *k = m->k;
    const rw_product *p = &j->list[i];
    const rw_mat *w = p->w;
    const rw_act *acts = inputs_of(j, i, thread);
    size_t tiles = rw_pack_tiles(w->cols), strips = (n_rows + RW_STRIP_ROWS - 1) / RW_STRIP_ROWS, T = j->n_rows;
    size_t wide_bytes = rw_wide_bytes(w->pack), stride = WIDE_TILES * wide_bytes;
    size_t strip_bytes = w->by_columns ? 4 * RW_STRIP_ROWS : rw_pack_strip_bytes(w->pack, w->cols);
    const uint8_t *from = w->by_columns ? w->packed + row / RW_BLOCK_ROWS * rw_block_bytes(w->pack, w->cols)
                                        : w->packed + row / RW_STRIP_ROWS * strip_bytes;
    float *sums = m->panel + thread * m->panel_len; /* [strip][row of activations][16] */
    uint8_t *wide = (uint8_t *)(sums + strips * RW_STRIP_ROWS * T);
    memset(sums, 0, strips * RW_STRIP_ROWS * T * sizeof *sums);
    for (size_t tile = 0; tile < tiles; tile += WIDE_TILES) {
        size_t n = tiles - tile < WIDE_TILES ? tiles - tile : WIDE_TILES;
        if (w->by_columns)
            k->widen_block[w->pack](from + 4 * RW_BLOCK_ROWS + 2 * tile * rw_slab_bytes(w->pack), n, wide, stride);
        for (size_t s = 0; s < strips && !w->by_columns; s++)
            k->widen[w->pack](from + s * strip_bytes + RW_FACTORS + tile * rw_pack_tile_bytes(w->pack), n,
                              wide + s * stride);
        for (size_t t = 0; t < T; t += RW_PANEL) {
            size_t width = panel_width(j, t);
            for (size_t s = 0; s < strips; s++)
                k->matmul_wide[w->pack](wide + s * stride, n, acts + t * tiles + tile * width, width,
                                        sums + (s * T + t) * RW_STRIP_ROWS);
        }
    }
    for (size_t s = 0; s < strips; s++) {
        float factor[RW_STRIP_ROWS];
        size_t first = s * RW_STRIP_ROWS, n = n_rows - first < RW_STRIP_ROWS ? n_rows - first : RW_STRIP_ROWS;
        memcpy(factor, from + s * strip_bytes, sizeof factor);
        for (size_t r = 0; r < RW_STRIP_ROWS; r++) factor[r] *= w->scale;
        for (size_t t = 0; t < T; t++) {
            float *sum = sums + (s * T + t) * RW_STRIP_ROWS;
            for (size_t r = 0; r < RW_STRIP_ROWS; r++) sum[r] *= factor[r];
            memcpy(p->y + t * y_stride(p) + row + first, sum, n * sizeof *sum);
        }
    }
}

/* As many strips as the second-level cache keeps, with all rows of activations, a panel at a time. */
static void strip_rows(const job *j, size_t i, size_t begin, size_t end, uint32_t thread) {
    const rw_product *p = &j->list[i];
    const rw_mat *w = p->w;
    const rw_act *acts = inputs_of(j, i, thread);
    size_t tiles = rw_pack_tiles(w->cols), strip_bytes = rw_pack_strip_bytes(w->pack, w->cols);
    size_t step = (CACHED / strip_bytes + 1) * RW_STRIP_ROWS;
    for (size_t r = begin; r < end; r += step) {
        const uint8_t *strips = w->packed + r / RW_STRIP_ROWS * strip_bytes;
        size_t rows = end - r < step ? end - r : step;
        for (size_t t = 0; t < j->n_rows; t += RW_PANEL)
            j->m->k->matmul_packed[w->pack](strips, w->cols, rows, acts + t * tiles, panel_width(j, t),
                                            w->scale, p->y + t * y_stride(p) + r, y_stride(p));
    }
}

/* Types with a scale for every 16 columns are worth widening: they take longest to unpack. */
static void packed_rows(const job *j, size_t i, size_t begin, size_t end, uint32_t thread) {
    const rw_product *p = &j->list[i];
    const rw_mat *w = p->w;
    bool simple = rw_pack_scales(w->pack) == 2;
    if (w->by_columns && j->n_rows <= RW_FEW) {
        j->m->k->matmul_columns[w->pack](w->packed + begin / RW_BLOCK_ROWS * rw_block_bytes(w->pack, w->cols),
                                         w->cols, end - begin, inputs_of(j, i, thread), j->m->desks[thread].chosen,
                                         j->n_rows, w->scale, p->y + begin, y_stride(p));
    } else if (!w->by_columns && (simple || j->n_rows <= RW_PANEL)) {
        strip_rows(j, i, begin, end, thread);
    } else {
        for (size_t r = begin; r < end; r += RW_BLOCK_ROWS)
            wide_rows(j, i, r, end - r < RW_BLOCK_ROWS ? end - r : RW_BLOCK_ROWS, thread);
    }
}

static void bfloat_rows(const job *j, size_t i, size_t begin, size_t end, uint32_t thread) {
    const rw_product *p = &j->list[i];
    const rw_mat *w = p->w;
    j->m->k->matmul_bf16_blocks(w->packed + begin / RW_BF16_ROWS * rw_bf16_block_bytes(w->cols), w->cols,
                                end - begin, inputs_of(j, i, thread), j->n_rows,
                                w->by_columns && !j->m->dense, w->scale, p->y + begin, y_stride(p));
}

/* ---- exact */

static void half_rows(const job *j, const rw_product *p, size_t begin, size_t end) {
    const rw_mat *w = p->w;
    const rw_kernels *k = j->m->k;
    (w->type == RW_F16 ? k->matmul_f16 : k->matmul_bf16)(w->data + begin * w->row_bytes, w->cols, end - begin, p->x,
                                                        x_stride(p), j->n_rows, w->cols, w->scale, p->y + begin,
                                                        y_stride(p));
}

static void decoded_rows(const job *j, const rw_product *p, size_t begin, size_t end, uint32_t thread) {
    const rw_mat *w = p->w;
    size_t n = w->cols, panel_rows = j->m->panel_len / n;
    bool direct = w->type == RW_F32 && (uintptr_t)w->data % sizeof(float) == 0;
    if (direct) panel_rows = end - begin;
    for (size_t r = begin; r < end; r += panel_rows) {
        size_t rows = end - r < panel_rows ? end - r : panel_rows;
        const float *panel;
        if (direct) {
            panel = (const float *)(const void *)(w->data + r * w->row_bytes);
        } else {
            float *decoded = j->m->panel + thread * j->m->panel_len;
            for (size_t i = 0; i < rows; i++)
                j->m->k->decode[w->type](w->data + (r + i) * w->row_bytes, decoded + i * n, n);
            panel = decoded;
        }
        j->m->k->matmul_f32(panel, n, rows, p->x, x_stride(p), j->n_rows, n, w->scale, p->y + r, y_stride(p));
    }
}

/* ---- all of them */

/* What follows on rows [begin, end) of the result. */
static void follow(const job *j, const rw_product *p, size_t begin, size_t end) {
    size_t n = end - begin, rows = p->w->rows;
    for (size_t t = 0; t < j->n_rows; t++) {
        float *y = p->y + t * y_stride(p) + begin;
        if (p->apply) p->apply(y, n);
        if (!p->add_to) continue;
        float *x = p->add_to + t * rows + begin;
        const float *gate = p->gate ? p->gate + t * rows + begin : NULL;
        if (gate)
            for (size_t r = 0; r < n; r++) x[r] += gate[r] * y[r];
        else
            for (size_t r = 0; r < n; r++) x[r] += y[r];
    }
}

static void product_rows(const job *j, size_t i, size_t begin, size_t end, uint32_t thread) {
    const rw_product *p = &j->list[i];
    bool halves = (p->w->type == RW_F16 || p->w->type == RW_BF16) && j->n_rows <= FEW_HALVES;
    if (bfloats(p->w)) bfloat_rows(j, i, begin, end, thread);
    else if (p->w->packed) packed_rows(j, i, begin, end, thread);
    else if (halves) half_rows(j, p, begin, end);
    else decoded_rows(j, p, begin, end, thread);
    follow(j, p, begin, end);
}

/* Units [begin, end), counted through all products. */
static void run_units(void *ctx, size_t begin, size_t end, uint32_t thread) {
    const job *j = ctx;
    prepare(ctx, thread);
    for (size_t i = 0; i < j->n; i++) {
        if (end <= j->first[i] || begin >= j->first[i + 1]) continue;
        size_t unit = unit_rows(j->list[i].w), rows = j->list[i].w->rows;
        size_t from = begin > j->first[i] ? (begin - j->first[i]) * unit : 0;
        size_t to = end < j->first[i + 1] ? (end - j->first[i]) * unit : rows;
        product_rows(j, i, from, to, thread);
    }
}

void rw_products(const struct rwkv_model *m, const rw_product *list, size_t n, size_t n_rows) {
    job j = {.m = m, .list = list, .n = n, .n_rows = n_rows, .number = ++m->counts->products};
    size_t work = 0;
    for (size_t i = 0; i < n; i++) {
        const rw_mat *w = list[i].w;
        size_t unit = unit_rows(w);
        j.first[i + 1] = j.first[i] + (w->rows + unit - 1) / unit;
        work += (size_t)w->rows * w->cols * n_rows / (w->packed ? 4 : 1);
    }
    plan_inputs(&j);
    if (work < 32768) run_units(&j, 0, j.first[n], 0); /* not worth waking others */
    else rw_pool_run(m->pool, j.first[n], 1, run_units, &j);
}

size_t rw_products_scratch(size_t n_rows) {
    size_t widest = 0;
    for (int p = 0; p < RW_PACK_COUNT; p++)
        if (rw_wide_bytes((rw_pack)p) > widest) widest = rw_wide_bytes((rw_pack)p);
    return RW_BLOCK_ROWS * n_rows + RW_BLOCK_ROWS / RW_STRIP_ROWS * WIDE_TILES * widest / sizeof(float);
}
