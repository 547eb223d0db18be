/* support_readers.c - see support_readers.h. */
#include "support_readers.h"
#include <time.h>

static const char *const hostile_path = "hostile.file";

test_read read_bytes(table_reader reader, const void *data, size_t n) {
    test_read r = {0};
    r.f = calloc(1, sizeof *r.f);
    uint8_t *copy = malloc(n ? n : 1); /* of n bytes, so that reading past them is seen */
    r.t = rw_calloc(1, sizeof *r.t);
    assert_true(r.f && copy && r.t);
    if (n) memcpy(copy, data, n);
    *r.f = (rw_file){.path = (char *)hostile_path, .data = copy, .size = n};
    r.t->path = hostile_path;
    r.st = reader(r.t, r.f, &r.err);
    r.arena = r.t->arena.total;
    assert_int_equal(r.st, r.st == RWKV_OK ? RWKV_OK : r.err.code);
    if (r.st != RWKV_OK) {
        rw_table_close(r.t);
        r.t = NULL;
    }
    return r;
}

void read_free(test_read *r) {
    rw_table_close(r->t);
    if (r->f) free((void *)r->f->data);
    free(r->f);
    memset(r, 0, sizeof *r);
}

static volatile uint8_t sink;

void check_table(const test_read *r) {
    const rw_table *t = r->t;
    uint64_t copied = 0;
    for (size_t i = 0; i < t->n_tensors; i++) {
        const rw_tensor *x = &t->tensors[i];
        uint64_t n = 1, bytes;
        assert_true(x->n_dims <= RW_MAX_DIMS);
        for (uint32_t d = 0; d < x->n_dims; d++) n *= x->dims[d];
        for (uint32_t d = x->n_dims; d < RW_MAX_DIMS; d++) assert_int_equal(x->dims[d], 0);
        assert_int_equal(n, x->n_elems);
        assert_true(rw_type_bytes(x->type, n, &bytes));
        assert_int_equal(bytes, x->bytes);
        assert_ptr_equal(x->file, r->f);
        assert_true(x->offset <= r->f->size);
        assert_true(strlen(x->name) >= 1 && strlen(x->name) <= RW_MAX_NAME);
        assert_ptr_equal(rw_table_find(t, x->name), x);
        bool inside = x->data >= r->f->data && x->data <= r->f->data + r->f->size;
        if (inside) assert_true(x->bytes <= (uint64_t)(r->f->data + r->f->size - x->data));
        if (!inside) copied += x->bytes;
        uint8_t sum = 0;
        for (uint64_t b = 0; b < x->bytes; b++) sum ^= x->data[b];
        sink = sum;
    }
    assert_int_equal(copied, t->copied_bytes);
    for (size_t i = 0; i < t->n_meta; i++) {
        const rw_meta *m = &t->meta[i];
        assert_true(m->kind <= RW_META_NUMBERS);
        assert_ptr_equal(rw_meta_find(t, m->key), m);
        for (size_t k = 0; m->kind == RW_META_STRING && k < m->v.str.len; k++)
            sink = (uint8_t)m->v.str.s[k];
        for (size_t k = 0; m->kind == RW_META_STRINGS && k < m->v.strs.n; k++)
            if (m->v.strs.len[k]) sink = (uint8_t)m->v.strs.s[k][m->v.strs.len[k] - 1];
    }
}

static void check_error(const test_read *r, size_t n, const char *label) {
    const rwkv_error *e = &r->err;
    bool good = (r->st == RWKV_E_FORMAT || r->st == RWKV_E_UNSUPPORTED) &&
                strncmp(e->message, hostile_path, strlen(hostile_path)) == 0 &&
                e->offset != RWKV_NO_OFFSET && e->offset <= n && r->arena <= n + (1 << 20);
    for (const char *c = e->message; *c; c++) good &= (unsigned char)*c >= 0x20 && *c != 0x7f;
    if (!good)
        fail_msg("%s: status %s, offset %llu of %zu, arena %zu, message: %s", label,
                 rwkv_status_name(r->st), (unsigned long long)e->offset, n, r->arena, e->message);
}

void expect_refused(table_reader reader, const void *data, size_t n, const char *needle,
                    const char *label) {
    clock_t begin = clock();
    test_read r = read_bytes(reader, data, n);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    if (r.t) fail_msg("%s: was accepted; expected an error with \"%s\"", label, needle);
    check_error(&r, n, label);
    if (!strstr(r.err.message, needle))
        fail_msg("%s: expected \"%s\" in: %s", label, needle, r.err.message);
    if (seconds > 5) fail_msg("%s: took %g s", label, seconds);
    read_free(&r);
}

void expect_cuts_refused(table_reader reader, const void *data, size_t n, size_t header,
                         bool (*whole)(size_t)) {
    char label[64];
    for (size_t i = 0, cut = 0; cut < n; i++) {
        cut = i < header ? i : header + (n - header) * (i - header) / 200;
        if (cut >= n) break;
        if (whole && whole(cut)) continue;
        snprintf(label, sizeof label, "cut at %zu of %zu", cut, n);
        expect_refused(reader, data, cut, "", label);
    }
}

size_t mutate_and_read(table_reader reader, const void *data, size_t n, uint64_t seed,
                       size_t rounds) {
    size_t accepted = 0;
    uint8_t *copy = malloc(2 * n);
    assert_non_null(copy);
    for (size_t round = 0; round < rounds; round++) {
        char label[64];
        size_t len = n;
        memcpy(copy, data, n);
        uint64_t kind = rng_u64(&seed) % 8;
        size_t at = rng_u64(&seed) % n, piece = 1 + rng_u64(&seed) % 64;
        if (piece > n - at) piece = n - at;
        if (kind == 0) {
            memmove(copy + at, copy + at + piece, n - at - piece);
            len -= piece;
        } else if (kind == 1) {
            memmove(copy + at + piece, copy + at, n - at);
            len += piece;
        } else {
            static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
            for (uint64_t k = 1 + rng_u64(&seed) % 16; k > 0; k--) {
                uint64_t v = rng_u64(&seed);
                at = kind < 5 ? v % n : v % (n < 512 ? n : 512);
                copy[at] = v >> 60 ? (uint8_t)(v >> 32) : values[(v >> 32) % 5];
            }
        }
        snprintf(label, sizeof label, "mutant %zu", round);
        test_read r = read_bytes(reader, copy, len);
        if (r.t) {
            check_table(&r);
            accepted++;
        } else {
            check_error(&r, len, label);
        }
        read_free(&r);
    }
    free(copy);
    return accepted;
}

void put_bytes(rw_buf *b, const void *data, size_t n) {
    assert_true(rw_buf_add(b, data, n));
}
void put_text(rw_buf *b, const char *s) {
    put_bytes(b, s, strlen(s));
}

void put_le(rw_buf *b, uint64_t v, size_t width) {
    uint8_t bytes[16];
    assert_true(width <= sizeof bytes);
    for (size_t i = 0; i < width; i++, v >>= 8) bytes[i] = (uint8_t)v;
    put_bytes(b, bytes, width);
}

void patch_le(rw_buf *b, size_t at, uint64_t v, size_t width) {
    assert_true(at + width <= b->len);
    for (size_t i = 0; i < width; i++, v >>= 8) b->data[at + i] = (uint8_t)v;
}

void pad_to(rw_buf *b, size_t alignment) {
    while (b->len % alignment) put_le(b, 0, 1);
}

float *tensor_floats(const rw_tensor *t) {
    float *out = malloc(t->n_elems ? t->n_elems * sizeof *out : 1);
    assert_non_null(out);
    const rw_type_info *info = rw_type_get(t->type);
    assert_true(info && info->decode);
    info->decode(t->data, out, t->n_elems);
    return out;
}
