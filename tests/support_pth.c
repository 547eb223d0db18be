/* support_pth.c - see support_pth.h. */
#include "support_pth.h"

/* ---- writing pickles */

void op(rw_buf *b, int code) {
    put_le(b, (uint64_t)code, 1);
}

void op_str(rw_buf *b, const char *s) {
    op(b, 'X');
    put_le(b, strlen(s), 4);
    put_text(b, s);
}

void op_int(rw_buf *b, int64_t v) {
    if (v >= 0 && v < 256) {
        op(b, 'K');
        put_le(b, (uint64_t)v, 1);
    } else if (v >= 0 && v < 65536) {
        op(b, 'M');
        put_le(b, (uint64_t)v, 2);
    } else if (v >= INT32_MIN && v <= INT32_MAX) {
        op(b, 'J');
        put_le(b, (uint64_t)v, 4);
    } else {
        op(b, 0x8a);
        op(b, 8);
        put_le(b, (uint64_t)v, 8);
    }
}

void op_ints(rw_buf *b, size_t n, const int64_t *v) {
    op(b, '(');
    for (size_t i = 0; i < n; i++) op_int(b, v[i]);
    op(b, 't');
}

void op_global(rw_buf *b, const char *module, const char *name) {
    op(b, 'c');
    put_text(b, module);
    op(b, '\n');
    put_text(b, name);
    op(b, '\n');
}

static void op_storage(rw_buf *b, const desc *d, bool legacy) {
    op(b, '(');
    op_str(b, "storage");
    op_global(b, "torch", d->class);
    op_str(b, d->key);
    op_str(b, "cuda:0");
    op_int(b, d->numel);
    if (legacy && d->view) {
        op(b, '(');
        op_str(b, "view key");
        op_int(b, d->view[0]);
        op_int(b, d->view[1]);
        op(b, 't');
    } else if (legacy) {
        op(b, 'N');
    }
    op(b, 't');
    op(b, 'Q');
}

void op_tensor(rw_buf *b, const desc *d, bool legacy) {
    int64_t row_major[6], step = 1;
    for (size_t i = d->strides ? 0 : d->n_dims; i-- > 0; step *= d->dims[i] ? d->dims[i] : 1)
        row_major[i] = step;
    op_global(b, "torch._utils", "_rebuild_tensor_v2");
    op(b, '(');
    op_storage(b, d, legacy);
    op_int(b, d->first);
    op_ints(b, d->n_dims, d->dims);
    op_ints(b, d->n_dims, d->strides ? d->strides : row_major);
    op(b, 0x89);
    op_global(b, "collections", "OrderedDict");
    put_bytes(b, LIT(")Rt"));
    op(b, 'R');
}

rw_buf pickle_of(const desc *d, size_t n, bool legacy) {
    rw_buf b = {0};
    put_bytes(&b, LIT("\x80\x02}("));
    for (size_t i = 0; i < n; i++) {
        op_str(&b, d[i].name);
        op_tensor(&b, &d[i], legacy);
    }
    put_bytes(&b, LIT("u."));
    return b;
}

/* ---- writing archives */

zip_file zip_of(const entry *e, size_t n, unsigned how) {
    zip_file z = {0};
    unsigned flags = how & SIZES ? 0x0800 : 0x0808;
    rw_buf central = {0};
    for (size_t i = 0; i < n; i++) {
        uint32_t crc = rw_crc32(0, e[i].data, e[i].n);
        size_t name_len = strlen(e[i].name), at = z.b.len;
        size_t pad = (64 - (at + 30 + name_len + 4) % 64) % 64 + 4;
        uint64_t size = how & SIZES ? e[i].n : 0;
        z.local[i] = at;
        put_le(&z.b, 0x04034b50, 4);
        put_le(&z.b, 0, 2);
        put_le(&z.b, flags, 2);
        put_le(&z.b, 0, 6);
        put_le(&z.b, how & SIZES ? crc : 0, 4);
        put_le(&z.b, size, 4);
        put_le(&z.b, size, 4);
        put_le(&z.b, name_len, 2);
        put_le(&z.b, pad, 2);
        put_text(&z.b, e[i].name);
        put_text(&z.b, "FB");
        put_le(&z.b, pad - 4, 2);
        for (size_t k = 4; k < pad; k++) put_text(&z.b, "Z");
        z.data[i] = z.b.len;
        put_bytes(&z.b, e[i].data, e[i].n);
        if (!(how & SIZES)) {
            put_text(&z.b, "PK\7\10");
            put_le(&z.b, crc, 4);
            put_le(&z.b, e[i].n, 4);
            put_le(&z.b, e[i].n, 4);
        }
        z.central[i] = central.len;
        put_le(&central, 0x02014b50, 4);
        put_le(&central, 0, 4);
        put_le(&central, flags, 2);
        put_le(&central, 0, 6);
        put_le(&central, crc, 4);
        put_le(&central, how & WIDE ? 0xffffffff : e[i].n, 4);
        put_le(&central, how & WIDE ? 0xffffffff : e[i].n, 4);
        put_le(&central, name_len, 2);
        put_le(&central, how & WIDE ? 28 + 6 : 0, 2);
        put_le(&central, 0, 10);
        put_le(&central, how & WIDE ? 0xffffffff : at, 4);
        put_text(&central, e[i].name);
        if (how & WIDE) {
            put_bytes(&central, LIT("FB\2\0zz\1\0\x18\0"));
            put_le(&central, e[i].n, 8);
            put_le(&central, e[i].n, 8);
            put_le(&central, at, 8);
        }
    }
    z.directory = z.b.len;
    for (size_t i = 0; i < n; i++) z.central[i] += z.directory;
    put_bytes(&z.b, central.data, central.len);
    z.end64 = z.b.len;
    if (!(how & NO_END64)) {
        put_le(&z.b, 0x06064b50, 4);
        put_le(&z.b, 44, 8);
        put_le(&z.b, 0x002d031e, 4);
        put_le(&z.b, 0, 8);
        put_le(&z.b, n, 8);
        put_le(&z.b, n, 8);
        put_le(&z.b, central.len, 8);
        put_le(&z.b, z.directory, 8);
        z.locator = z.b.len;
        put_le(&z.b, 0x07064b50, 4);
        put_le(&z.b, 0, 4);
        put_le(&z.b, z.end64, 8);
        put_le(&z.b, 1, 4);
    }
    z.end = z.b.len;
    put_le(&z.b, 0x06054b50, 4);
    put_le(&z.b, 0, 4);
    put_le(&z.b, how & WIDE ? 0xffff : n, 2);
    put_le(&z.b, how & WIDE ? 0xffff : n, 2);
    put_le(&z.b, how & WIDE ? 0xffffffff : central.len, 4);
    put_le(&z.b, how & WIDE ? 0xffffffff : z.directory, 4);
    put_le(&z.b, 0, 2);
    rw_buf_free(&central);
    return z;
}

const float ramp[24] = {0.5f,  1.5f,  2.5f,  3.5f,  4.5f,  5.5f,  6.5f,  7.5f,
                        8.5f,  9.5f,  10.5f, 11.5f, 12.5f, 13.5f, 14.5f, 15.5f,
                        16.5f, 17.5f, 18.5f, 19.5f, 20.5f, 21.5f, 22.5f, 23.5f};

zip_file around(const void *pickle, size_t n, unsigned how) {
    const entry e[] = {{"my model/data.pkl", pickle, n},  {"my model/byteorder", LIT("little")},
                       {"my model/data/0", ramp, 24 * 4}, {"my model/data/1", ramp, 32},
                       {"my model/data/2", "", 0},        {"my model/data/3", ramp, 8},
                       {"my model/version", LIT("3\n")}};
    return zip_of(e, 7, how);
}

static const int64_t turned[] = {1, 6}, sliced[] = {6, 2}, expanded[] = {1, 0}, odd[] = {77, 1};

const desc some[N_SOME] = {
    {"emb.weight", "FloatStorage", "0", 24, 0, 2, {4, 6}, NULL, NULL},
    {"turned", "FloatStorage", "0", 24, 0, 2, {6, 4}, turned, NULL},
    {"sliced", "FloatStorage", "0", 24, 7, 2, {3, 2}, sliced, NULL},
    {"last row", "FloatStorage", "0", 24, 18, 2, {1, 6}, odd, NULL},
    {"halves", "HalfStorage", "1", 16, 0, 3, {2, 2, 4}, NULL, NULL},
    {"empty", "BFloat16Storage", "2", 0, 0, 2, {0, 4}, NULL, NULL},
    {"scalar", "FloatStorage", "3", 2, 1, 0, {0}, NULL, NULL},
    {"expanded", "FloatStorage", "3", 2, 0, 2, {2, 3}, expanded, NULL},
};

test_read read_pickle(const void *pickle, size_t n) {
    zip_file z = around(pickle, n, 0);
    test_read r = read_bytes(rw_read_pth, z.b.data, z.b.len);
    rw_buf_free(&z.b);
    return r;
}

void refuse_pickle(const void *pickle, size_t n, const char *needle, const char *label) {
    zip_file z = around(pickle, n, 0);
    expect_refused(rw_read_pth, z.b.data, z.b.len, needle, label);
    rw_buf_free(&z.b);
}

void expect_floats(const test_read *r, const char *name, const float *values, size_t n) {
    const rw_tensor *t = rw_table_find(r->t, name);
    if (!t) fail_msg("no tensor %s", name);
    assert_int_equal(t->n_elems, n);
    float *found = tensor_floats(t);
    for (size_t i = 0; i < n; i++) assert_true(found[i] == values[i]);
    free(found);
}

/* ---- the legacy container */

static const char legacy_head[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
                                  "\x80\x02M\xe9\x03."
                                  "\x80\x02}(X\x0d\0\0\0little_endian\x88X\x04\0\0\0sizeK\x04u.";

static void put_storage(rw_buf *b, size_t count, size_t width) {
    put_le(b, count, 8);
    put_bytes(b, ramp, count * width);
}

legacy_file legacy_of(const void *pickle, size_t n) {
    legacy_file l = {0};
    put_bytes(&l.b, legacy_head, sizeof legacy_head - 1);
    l.object = l.b.len;
    put_bytes(&l.b, pickle, n);
    l.keys = l.b.len;
    put_bytes(&l.b, LIT("\x80\x02]("));
    static const char *const keys[] = {"1", "0", "3", "2"};
    for (size_t i = 0; i < 4; i++) op_str(&l.b, keys[i]);
    put_bytes(&l.b, LIT("e."));
    l.storages = l.b.len;
    put_storage(&l.b, 16, 2);
    put_storage(&l.b, 24, 4);
    put_storage(&l.b, 2, 4);
    put_storage(&l.b, 0, 2);
    return l;
}
