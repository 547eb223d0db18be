/* convert.c - any checkpoint to a new file: plan the tensors, then stream them.
 *
 * In: a checkpoint whose data is mapped. Out: GGUF (convert_gguf.c) or rwkv.cpp's format
 * (convert_ggmf.c), packed or not, through the atomic writer. Matrices go row by row through
 * float32 to the new type, rows in parallel; where nothing changes the bytes stay as they are, and
 * float32 only shows whether they are finite. A row's bytes depend on that row only, so the file is
 * the same for any number of threads. Memory: one float row per thread, one output buffer, one
 * low-rank matrix; pages of the source are given back as they are used up.
 */
#include "convert.h"
#include "file/write.h"
#include "text/text.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define CHUNK (8u << 20) /* bytes of output at a time */

/* ---------------------------------------------------------------- small help for the containers */

bool rw_put_u32(rw_buf *b, uint32_t x) {
    uint8_t bytes[4] = {(uint8_t)x, (uint8_t)(x >> 8), (uint8_t)(x >> 16), (uint8_t)(x >> 24)};
    return rw_buf_add(b, bytes, sizeof bytes);
}

bool rw_put_u64(rw_buf *b, uint64_t x) {
    return rw_put_u32(b, (uint32_t)x) && rw_put_u32(b, (uint32_t)(x >> 32));
}

/* As llama.cpp's quantizer: a K type whose blocks of 256 do not fit gives way to one of about its
 * precision with blocks of 32; rows that no block fits stay F16. */
rw_type rw_type_fitting(rw_type type, uint64_t n_cols) {
    static const struct {
        rw_type from, to;
    } narrower[] = {{RW_Q4_K, RW_Q5_0}, {RW_Q5_K, RW_Q5_1}, {RW_Q6_K, RW_Q8_0}};
    if (n_cols % rw_type_get(type)->block_elems == 0) return type;
    for (size_t i = 0; i < sizeof narrower / sizeof *narrower; i++)
        if (narrower[i].from == type) type = narrower[i].to;
    return n_cols % rw_type_get(type)->block_elems == 0 ? type : RW_F16;
}

void rw_piece_shape(const rw_plan *p, const rw_weight *w, rw_piece *out) {
    out->n_dims = rw_rule_dims(w->rule);
    for (uint32_t i = 0; i < out->n_dims; i++) out->dims[i] = rw_dim_of(p->c, w->rule->dims[i]);
}

/* ---------------------------------------------------------------- plan */

/* Blocks of the source are blocks of the output, perhaps in another order. */
static bool is_copy(const rw_piece *piece, const rw_weight *w) {
    return w->tensor->type == piece->type && w->form == piece->form && !w->turned &&
           w->scale == 1.0f;
}

static rwkv_status add_piece(rw_plan *p, const rw_rule *rule, const rw_weight *w, int64_t layer,
                             rwkv_error *err) {
    rw_piece piece = {.src = {w}, .n_src = 1};
    RW_TRY(p->target->place(p, rule, w, layer, &piece, err));
    rw_piece *last = p->n ? &p->pieces[p->n - 1] : NULL;
    /* The rules of a fused tensor follow each other, in the order of its rows. */
    if (last && strcmp(last->name, piece.name) == 0) {
        last->src[last->n_src++] = w;
        return RWKV_OK;
    }
    uint64_t n = 1;
    for (uint32_t i = 0; i < piece.n_dims; i++) n *= piece.dims[i]; /* checked on opening */
    uint64_t cols = piece.dims[piece.n_dims - 1];
    bool whole = piece.layout == RW_ROWS
                     ? rw_type_bytes(piece.type, n, &piece.bytes)
                     : rw_layout_bytes(piece.layout, piece.type, n / cols, cols, &piece.bytes);
    if (!whole)
        return rw_fail(err, RWKV_E_UNSUPPORTED,
                       "tensor %s: %llu elements are no whole blocks of %s", piece.name,
                       (unsigned long long)n, rw_type_name(piece.type));
    if (!is_copy(&piece, w) && !rw_type_get(piece.type)->encode)
        return rw_fail(err, RWKV_E_UNSUPPORTED,
                       "tensor %s: %s can be read but not written; choose another type", piece.name,
                       rw_type_name(piece.type));
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 256;
        rw_piece *more = rw_realloc(p->pieces, cap, sizeof *more);
        if (!more) return rw_nomem(err, cap * sizeof *more);
        p->pieces = more;
        p->cap = cap;
    }
    p->pieces[p->n++] = piece;
    return RWKV_OK;
}

static rwkv_status add_global(rw_plan *p, size_t i, rwkv_error *err) {
    return add_piece(p, &rw_global_rules[i], &p->c->globals[i], -1, err);
}

static rwkv_status make_plan(rw_plan *p, rwkv_error *err) {
    const rw_checkpoint *c = p->c;
    size_t first_after = 3; /* emb and ln0 before the layers, ln_out and head after them */
    for (size_t i = 0; i < first_after; i++) RW_TRY(add_global(p, i, err));
    for (uint32_t l = 0; l < c->n_layer; l++) {
        const rw_weight *weights = rw_layer_weights(c, l, c->arch->n_rules);
        for (size_t i = 0; i < c->arch->n_rules; i++) {
            const rw_weight *w = &weights[i];
            if (!w->tensor && p->target->stand_in) w = p->target->stand_in(p, weights[i].rule, l);
            if (w && w->tensor) RW_TRY(add_piece(p, weights[i].rule, w, l, err));
        }
    }
    for (size_t i = first_after; i < rw_n_global_rules; i++) RW_TRY(add_global(p, i, err));
    return RWKV_OK;
}

/* What the user should know before hours of work: loss that cannot be undone, and types that had to
 * give way. */
static void warn_of_loss(const rw_plan *p) {
    const rw_piece *again = NULL, *narrower = NULL, *half = NULL;
    size_t n_narrower = 0;
    for (size_t i = 0; i < p->n; i++) {
        const rw_piece *piece = &p->pieces[i];
        const rw_weight *w = piece->src[0];
        if (!is_copy(piece, w) && rw_type_get(w->tensor->type)->block_elems > 1 &&
            w->rule->kind == RW_MATRIX)
            again = again ? again : piece;
        if (p->type == RW_TYPE_COUNT && w->tensor->type == RW_BF16 && piece->type == RW_F16)
            half = piece;
        if (p->type == RW_TYPE_COUNT || w->rule->kind != RW_MATRIX) continue;
        if (rw_type_fitting(p->type, rw_rule_cols(p->c, w->rule)) == p->type) continue;
        narrower = narrower ? narrower : piece;
        n_narrower++;
    }
    if (again)
        rw_log_line(&p->log, 1, "%s is already quantized (%s is %s): the result cannot be better",
                    p->c->table->path, again->name, rw_type_name(again->src[0]->tensor->type));
    if (narrower)
        rw_log_line(&p->log, 1,
                    "%zu tensors have rows that blocks of %s do not fit, such as %s: stored as %s",
                    n_narrower, rw_type_name(p->type), narrower->name,
                    rw_type_name(narrower->type));
    if (half)
        rw_log_line(&p->log, 1, "BF16 becomes F16, whose range is smaller: below 6e-8 all is 0");
}

/* ---------------------------------------------------------------- bytes of a piece */

typedef struct encode_job {
    const rw_checkpoint *c;
    const rw_weight *w;
    rw_type type;
    rw_layout layout;
    uint64_t row0, n_rows, cols, row_bytes;
    float limit;
    bool copy, factored;
    uint8_t *out;    /* rows, or strips or blocks of them; of copied rows nothing is put there */
    uint8_t *blocks; /* [n_threads][rows of a block][row_bytes]: on their way to a layout */
    float *rows;     /* [n_threads][cols] */
    uint64_t *bad;   /* [n_threads] first element that the type cannot hold, or UINT64_MAX */
} encode_job;

typedef struct stream {
    rw_plan *p;
    rw_writer *w;
    rw_pool *pool;
    float *values;   /* scratch: rows of all threads, or one small tensor */
    uint8_t *out;    /* encoded */
    uint8_t *blocks; /* of rows that are to be packed */
    uint64_t *bad;
    uint64_t done, total;
} stream;

/* The largest magnitude that encodes to a finite number: blocks hold halves. What is copied only
 * has to be finite. */
static float limit_of(rw_type type, bool copy) {
    if (type == RW_F32 || copy) return FLT_MAX;
    return type == RW_BF16 ? 0x1.fep127f : 65504.0f;
}

static size_t first_beyond(const float *x, size_t n, float limit) {
    size_t i = 0;
    while (i < n && fabsf(x[i]) <= limit) i++; /* false for NaN */
    return i;
}

static rwkv_status out_of_range(const rw_weight *w, uint64_t element, rw_type type, float found,
                                rwkv_error *err) {
    const rw_tensor *t = w->tensor;
    bool finite = isfinite(found);
    return rw_fail_at(
        err, RWKV_E_NUMERIC, t->file->path, t->offset,
        "tensor %s, element %llu: found %g; expected %s%s%s", t->name, (unsigned long long)element,
        (double)found, finite ? "a number within the range of " : "a finite number",
        finite ? rw_type_name(type) : "", finite ? " (BF16 and F32 reach further)" : "");
}

/* A row to `out` (NULL: it is only looked at) with a factor taken out of it, if one is wanted. */
static bool encode_row(const encode_job *j, uint64_t row, uint8_t *out, float *factor,
                       uint32_t thread) {
    float *x = j->rows + thread * j->cols;
    rw_weight_rows(j->w, j->c, row, 1, x);
    size_t wrong = first_beyond(x, j->cols, j->limit);
    if (wrong < j->cols) {
        uint64_t element = row * j->cols + wrong;
        if (element < j->bad[thread]) j->bad[thread] = element;
        return false;
    }
    if (factor) *factor = rw_pack_factor(x, j->cols);
    if (out) rw_type_get(j->type)->encode(x, out, j->cols);
    return true;
}

static void encode_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    const encode_job *j = ctx;
    for (uint64_t r = begin; r < end; r++) {
        uint8_t *out = j->copy ? NULL : j->out + r * j->row_bytes;
        if (!encode_row(j, j->row0 + r, out, NULL, thread)) return;
    }
}

/* Strips or blocks [begin, end) of the rows from row0 on. */
static void pack_rows(void *ctx, size_t begin, size_t end, uint32_t thread) {
    const encode_job *j = ctx;
    size_t unit = rw_layout_rows(j->layout),
           bytes = rw_layout_unit(j->layout, rw_pack_of(j->type), j->cols);
    uint8_t *blocks = j->blocks + thread * RW_BLOCK_ROWS * j->row_bytes;
    for (size_t u = begin; u < end; u++) {
        uint64_t row = j->row0 + u * unit, n = j->n_rows - row < unit ? j->n_rows - row : unit;
        const uint8_t *from = j->copy ? j->w->data + row * j->row_bytes : blocks;
        float factors[RW_BLOCK_ROWS];
        for (uint64_t r = 0; r < n; r++) {
            uint8_t *to = j->copy ? NULL : blocks + r * j->row_bytes;
            if (!encode_row(j, row + r, to, j->factored ? &factors[r] : NULL, thread)) return;
        }
        uint8_t *out = j->out + u * bytes;
        memset(out, 0, bytes);
        rw_pack_rows(j->layout, j->type, from, j->row_bytes, n, j->cols, out);
        if (j->factored) memcpy(out, factors, n * sizeof *factors);
    }
}

static rwkv_status tick(stream *s, uint64_t bytes, rwkv_error *err) {
    const rwkv_convert_options *o = s->p->opt;
    s->done += bytes;
    if (o->progress && !o->progress(o->progress_user, s->done, s->total))
        return rw_fail(err, RWKV_E_CANCELLED, "cancelled after %llu of %llu bytes",
                       (unsigned long long)s->done, (unsigned long long)s->total);
    return RWKV_OK;
}

static rwkv_status write_matrix(stream *s, const rw_piece *piece, const rw_weight *w,
                                rwkv_error *err) {
    uint64_t cols = rw_rule_cols(s->p->c, w->rule), n_rows = w->n_elems / cols, row_bytes = 0;
    uint64_t from_bytes = w->bytes / n_rows, unit = 1, unit_bytes;
    uint32_t n_threads = rw_pool_threads(s->pool);
    bool copy = is_copy(piece, w), packed = piece->layout != RW_ROWS;
    rw_type_bytes(piece->type, cols, &row_bytes);
    if (packed) unit = rw_layout_rows(piece->layout);
    unit_bytes = packed ? rw_layout_unit(piece->layout, rw_pack_of(piece->type), cols) : row_bytes;
    uint64_t per_chunk = (CHUNK / unit_bytes ? CHUNK / unit_bytes : 1) * unit;
    encode_job job = {
        .c = s->p->c,
        .w = w,
        .type = piece->type,
        .layout = piece->layout,
        .n_rows = n_rows,
        .cols = cols,
        .row_bytes = row_bytes,
        .factored = piece->factored,
        .limit = piece->factored ? RW_FACTOR_MAX : limit_of(piece->type, copy),
        .copy = copy,
        .out = s->out,
        .blocks = s->blocks,
        .rows = s->values,
        .bad = s->bad,
    };
    for (uint64_t row = 0; row < n_rows; row += per_chunk) {
        uint64_t n = n_rows - row < per_chunk ? n_rows - row : per_chunk, bad = UINT64_MAX;
        uint64_t units = (n + unit - 1) / unit;
        job.row0 = row;
        for (uint32_t i = 0; i < n_threads; i++) job.bad[i] = UINT64_MAX;
        rw_pool_run(s->pool, units, 1, packed ? pack_rows : encode_rows, &job);
        for (uint32_t i = 0; i < n_threads; i++)
            if (job.bad[i] < bad) bad = job.bad[i];
        if (bad != UINT64_MAX) {
            rw_weight_rows(w, s->p->c, bad / cols, 1, s->values);
            return out_of_range(w, bad, piece->type, s->values[bad % cols], err);
        }
        const uint8_t *from = w->data + row * from_bytes;
        RW_TRY(rw_writer_add(s->w, copy && !packed ? from : s->out, units * unit_bytes, err));
        rw_file_release(w->tensor->file, from, n * from_bytes);
        RW_TRY(tick(s, n * from_bytes, err));
    }
    return RWKV_OK;
}

/* Vectors and low-rank matrices: whole, because they may have to be turned or folded. */
static rwkv_status write_values(stream *s, const rw_piece *piece, const rw_weight *w,
                                rwkv_error *err) {
    uint64_t bytes = 0;
    rw_type_bytes(piece->type, w->n_elems, &bytes);
    rw_weight_values(w, s->p->c, piece->form, s->values);
    bool copy = is_copy(piece, w);
    size_t wrong = first_beyond(s->values, w->n_elems, limit_of(piece->type, copy));
    if (wrong < w->n_elems) return out_of_range(w, wrong, piece->type, s->values[wrong], err);
    if (!copy) rw_type_get(piece->type)->encode(s->values, s->out, w->n_elems);
    RW_TRY(rw_writer_add(s->w, copy ? w->data : s->out, bytes, err));
    return tick(s, w->bytes, err);
}

static rwkv_status write_piece(stream *s, const rw_piece *piece, rwkv_error *err) {
    static const uint8_t zeros[64];
    rwkv_status st = RWKV_OK;
    rw_buf head = {0};
    if (s->p->target->tensor_head) {
        if (!s->p->target->tensor_head(piece, &head)) return rw_nomem(err, sizeof *piece);
        st = rw_writer_add(s->w, head.data, head.len, err);
    }
    for (uint32_t i = 0; i < piece->n_src && st == RWKV_OK; i++) {
        const rw_weight *w = piece->src[i];
        bool rows = w->rule->kind == RW_MATRIX || piece->layout != RW_ROWS;
        st = rows ? write_matrix(s, piece, w, err) : write_values(s, piece, w, err);
    }
    uint64_t over = piece->bytes % s->p->target->alignment;
    if (st == RWKV_OK && over) st = rw_writer_add(s->w, zeros, s->p->target->alignment - over, err);
    rw_buf_free(&head);
    return st;
}

/* ---------------------------------------------------------------- all of it */

/* Buffers for the largest need among the pieces; the expected size of the file. */
static rwkv_status prepare(stream *s, size_t header, uint64_t *file_bytes, rwkv_error *err) {
    const rw_plan *p = s->p;
    uint64_t values = 0, out = CHUNK, blocks = 0, n_threads = rw_pool_threads(s->pool);
    *file_bytes = header;
    for (size_t i = 0; i < p->n; i++) {
        const rw_piece *piece = &p->pieces[i];
        uint64_t aligned = 0, need, encoded = 0;
        rw_buf head = {0};
        if (p->target->tensor_head) p->target->tensor_head(piece, &head);
        rw_align(piece->bytes, p->target->alignment, &aligned);
        *file_bytes += head.len + aligned;
        rw_buf_free(&head);
        for (uint32_t k = 0; k < piece->n_src; k++) {
            const rw_weight *w = piece->src[k];
            s->total += w->bytes;
            bool rows = w->rule->kind == RW_MATRIX || piece->layout != RW_ROWS;
            need = rows ? rw_rule_cols(p->c, w->rule) : w->n_elems;
            rw_type_bytes(piece->type, need, &encoded);
            if (piece->layout != RW_ROWS) {
                if (encoded > blocks) blocks = encoded;
                encoded = rw_layout_unit(piece->layout, rw_pack_of(piece->type), need);
            }
            if (rows) need *= n_threads;
            if (need > values) values = need;
            if (encoded > out) out = encoded;
        }
    }
    blocks *= n_threads * RW_BLOCK_ROWS;
    s->values = rw_calloc(values ? values : 1, sizeof *s->values);
    s->out = rw_alloc_aligned(out);
    s->blocks = rw_calloc(blocks ? blocks : 1, 1);
    s->bad = rw_calloc(n_threads, sizeof *s->bad);
    if (!s->values || !s->out || !s->blocks || !s->bad)
        return rw_nomem(err, values * sizeof *s->values + out + blocks);
    return RWKV_OK;
}

/* A model of several files must not be overwritten by its own conversion, whichever of them is
 * named. */
static rwkv_status begin_file(rw_writer **w, const rw_table *t, const char *out, rwkv_error *err) {
    for (size_t i = 0; i < t->n_files; i++) {
        RW_TRY(rw_writer_begin(w, out, t->files[i]->path, err));
        if (i + 1 == t->n_files) break;
        rw_writer_abort(*w);
        *w = NULL;
    }
    return RWKV_OK;
}

static rwkv_status read_options(rw_plan *p, rwkv_error *err) {
    static const rw_target *const targets[] = {&rw_target_gguf, &rw_target_packed, &rw_target_ggmf};
    const rwkv_convert_options *o = p->opt;
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        if (!o->format || strcmp(o->format, targets[i]->name) == 0) {
            p->target = targets[i];
            break;
        }
    if (!p->target)
        return rw_fail(err, RWKV_E_ARG, "format: found %s; expected gguf, packed or ggmf",
                       o->format);
    if (o->n_threads > 1024)
        return rw_fail(err, RWKV_E_ARG, "n_threads: found %u; expected at most 1024", o->n_threads);
    if (o->chat && !rwkv_template_find(o->chat)) return rw_template_unknown(o->chat, err);
    if (o->sampling && !rw_sampling_find(o->sampling, strlen(o->sampling)))
        return rw_fail(err, RWKV_E_ARG, "sampling preset: there is no '%s'", o->sampling);
    p->type = RW_TYPE_COUNT;
    if (!o->type) return RWKV_OK;
    p->type = rw_type_by_name(o->type);
    if (p->type != RW_TYPE_COUNT && rw_type_get(p->type)->encode) return RWKV_OK;
    return rw_fail(
        err, RWKV_E_ARG,
        "type: found %s; expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K",
        o->type);
}

rwkv_status rwkv_convert(const char *in, const char *out, const rwkv_convert_options *options,
                         rwkv_error *err) {
    static const rwkv_convert_options defaults;
    if (!in || !out) return rw_fail(err, RWKV_E_ARG, "rwkv_convert: in and out must be given");
    rw_plan p = {.opt = options ? options : &defaults};
    stream s = {.p = &p};
    rw_buf header = {0};
    uint64_t file_bytes = 0;
    uint32_t n_threads = p.opt->n_threads ? p.opt->n_threads : rw_os_physical_cores();
    p.log = (rw_log){p.opt->log, p.opt->log_user};
    RW_TRY(read_options(&p, err));

    rwkv_status st = RWKV_OK;
    RW_GOTO(rw_checkpoint_open(&p.c, in, false, p.log, err));
    if (p.c->table->packed)
        RW_GOTO(
            rw_fail_at(err, RWKV_E_UNSUPPORTED, in, RWKV_NO_OFFSET,
                       "the file is packed, for evaluation only; convert the one it was made of"));
    RW_GOTO(p.target->accept(&p, err));
    RW_GOTO(make_plan(&p, err));
    warn_of_loss(&p);
    RW_GOTO(p.target->header(&p, &header, err));
    RW_GOTO(rw_pool_new(&s.pool, n_threads, err));
    RW_GOTO(prepare(&s, header.len, &file_bytes, err));
    RW_GOTO(begin_file(&s.w, p.c->table, out, err));
    rw_writer_expect(s.w, file_bytes);
    RW_GOTO(tick(&s, 0, err));
    RW_GOTO(rw_writer_add(s.w, header.data, header.len, err));
    for (size_t i = 0; i < p.n; i++) RW_GOTO(write_piece(&s, &p.pieces[i], err));
    st = rw_writer_commit(s.w, err);
    s.w = NULL;
out:
    rw_writer_abort(s.w);
    rw_pool_free(s.pool);
    rw_free(s.values);
    rw_free_aligned(s.out);
    rw_free(s.blocks);
    rw_free(s.bad);
    rw_buf_free(&header);
    rw_free(p.pieces);
    rw_checkpoint_close(p.c);
    return st;
}
