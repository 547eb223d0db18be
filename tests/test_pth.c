/* test_pth.c - PyTorch files: what is read, and that nothing else is (reliability.md F, P3, P4).
 * What is inside the pickle has a test of its own. */
#include "base/json.h"
#include "support_pth.h"

static void expect_some(const test_read *r) {
    if (!r->t) fail_msg("%s", r->err.message);
    check_table(r);
    assert_int_equal(r->t->n_tensors, N_SOME);
    float t[24];
    for (int i = 0; i < 24; i++) t[i] = ramp[i / 4 + i % 4 * 6];
    expect_floats(r, "emb.weight", ramp, 24);
    expect_floats(r, "turned", t, 24);
    expect_floats(r, "sliced", (float[]){7.5f, 9.5f, 13.5f, 15.5f, 19.5f, 21.5f}, 6);
    expect_floats(r, "last row", ramp + 18, 6);
    expect_floats(r, "empty", NULL, 0);
    expect_floats(r, "scalar", ramp + 1, 1);
    expect_floats(r, "expanded", (float[]){0.5f, 0.5f, 0.5f, 1.5f, 1.5f, 1.5f}, 6);
    assert_int_equal(rw_table_find(r->t, "scalar")->n_dims, 0);
    assert_int_equal(rw_table_find(r->t, "empty")->type, RW_BF16);
    assert_int_equal(rw_table_find(r->t, "halves")->type, RW_F16);
    assert_int_equal(rw_table_find(r->t, "halves")->dims[2], 4);
    assert_int_equal(r->t->copied_bytes, (24 + 6 + 6) * 4);
}

static void reads_archives(void **state) {
    (void)state;
    static const unsigned hows[] = {0, SIZES, NO_END64, WIDE, WIDE | SIZES, SIZES | NO_END64};
    rw_buf p = pickle_of(some, N_SOME, false);
    for (size_t i = 0; i < 6; i++) {
        zip_file z = around(p.data, p.len, hows[i]);
        test_read r = read_bytes(rw_read_pth, z.b.data, z.b.len);
        expect_some(&r);
        assert_int_equal(rw_table_find(r.t, "emb.weight")->offset, z.data[2]);
        read_free(&r);
        rw_buf_free(&z.b);
    }
    rw_buf_free(&p);
}

static void reads_legacy(void **state) {
    (void)state;
    static const int64_t view[] = {6, 12};
    rw_buf p = pickle_of(some, N_SOME, true);
    legacy_file l = legacy_of(p.data, p.len);
    test_read r = read_bytes(rw_read_pth_legacy, l.b.data, l.b.len);
    expect_some(&r);
    read_free(&r);
    rw_buf_free(&l.b);
    rw_buf_free(&p);

    desc d[N_SOME];
    memcpy(d, some, sizeof some);
    d[3] = (desc){"view", "FloatStorage", "0", 24, 2, 2, {2, 5}, NULL, view};
    p = pickle_of(d, N_SOME, true);
    l = legacy_of(p.data, p.len);
    r = read_bytes(rw_read_pth_legacy, l.b.data, l.b.len);
    if (!r.t) fail_msg("%s", r.err.message);
    check_table(&r);
    expect_floats(&r, "view", ramp + 8, 10);
    read_free(&r);
    rw_buf_free(&l.b);
    rw_buf_free(&p);

    d[3].first = 3; /* one beyond the view, though inside the storage */
    p = pickle_of(d, N_SOME, true);
    l = legacy_of(p.data, p.len);
    expect_refused(rw_read_pth_legacy, l.b.data, l.b.len, "tensor view", "beyond the view");
    rw_buf_free(&l.b);
    rw_buf_free(&p);

    d[3] = (desc){"lost", "FloatStorage", "7", 24, 0, 1, {24}, NULL, NULL};
    p = pickle_of(d, N_SOME, true);
    l = legacy_of(p.data, p.len);
    expect_refused(rw_read_pth_legacy, l.b.data, l.b.len,
                   "tensor lost: storage 7 is not in the file", "storage missing");
    rw_buf_free(&l.b);
    rw_buf_free(&p);
}

static void refuses_legacy_lies(void **state) {
    (void)state;
    rw_buf p = pickle_of(some, N_SOME, true);
    legacy_file l = legacy_of(p.data, p.len);
    size_t n = l.b.len;
    const struct {
        size_t at;
        uint64_t value;
        size_t width;
        const char *needle;
    } lies[] = {
        {14, 'x', 1, "magic"},
        {5, 0, 1, "magic"},
        {18, 1002, 2, "protocol; found int 1002; expected 1001"},
        {21 + 4 + 18, 0x89, 1, "big endian"},
        {l.storages, 15, 8, "storage 1; found 15 elements; expected 16"},
        {l.storages, UINT64_MAX, 8, "storage 1; found"},
        {l.storages, 1ull << 63, 8, "storage 1; found"},
        {l.keys + 9, 'x', 1, "storage 0 of the list; found str"},
        {l.keys + 9, '0', 1, "storage 0; found 16 elements; expected 24"},
        {l.keys + 15, '1', 1, "storage 1 of the list; found str"},
        {l.keys + 2, '}', 1, "container; found dict; expected list"},
        {l.keys + 3, '.', 1, "after the last storage"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t saved[8];
        char label[32];
        memcpy(saved, l.b.data + lies[i].at, 8);
        patch_le(&l.b, lies[i].at, lies[i].value, lies[i].width);
        snprintf(label, sizeof label, "legacy lie %zu", i);
        expect_refused(rw_read_pth_legacy, l.b.data, n, lies[i].needle, label);
        memcpy(l.b.data + lies[i].at, saved, 8);
    }
    put_le(&l.b, 0, 1);
    expect_refused(rw_read_pth_legacy, l.b.data, n + 1, "after the last storage", "trailing byte");
    expect_cuts_refused(rw_read_pth_legacy, l.b.data, n, l.storages + 8, NULL);
    rw_buf_free(&l.b);
    rw_buf_free(&p);
}

/* P6: the file's name says nothing. */
static void opens_by_content(void **state) {
    (void)state;
    static const char *const names[] = {"model.gguf", "model.safetensors", "model", "model.pth"};
    for (size_t i = 0; i < 4; i++)
        for (int legacy = 0; legacy < 2; legacy++) {
            rw_buf p = pickle_of(some, N_SOME, legacy);
            rw_buf b = legacy ? legacy_of(p.data, p.len).b : around(p.data, p.len, 0).b;
            const char *path = temp_path(names[i]);
            rw_table *t = NULL;
            rwkv_error err = {0};
            spill(path, b.data, b.len);
            if (rw_table_open(&t, path, i % 2 == 0, &err) != RWKV_OK) fail_msg("%s", err.message);
            assert_int_equal(t->container, legacy ? RW_PTH_LEGACY : RW_PTH);
            assert_int_equal(t->n_tensors, N_SOME);
            rw_table_close(t);
            rw_buf_free(&b);
            rw_buf_free(&p);
        }
}

/* ---- forms of the state dict */

static void finds_the_state_dict(void **state) {
    (void)state;
    static const struct {
        const char *key;
        bool found;
    } wrappers[] = {{"state_dict", true}, {"model", true}, {"weights", false}};
    for (size_t i = 0; i < 3; i++) {
        rw_buf b = {0};
        put_bytes(&b, LIT("\x80\x02}("));
        op_str(&b, "epoch");
        op_int(&b, 3000000000);
        op_str(&b, wrappers[i].key);
        put_bytes(&b, LIT("}("));
        op_str(&b, "w");
        op_tensor(&b, &some[0], false);
        put_bytes(&b, LIT("uu."));
        if (wrappers[i].found) {
            test_read r = read_pickle(b.data, b.len);
            if (!r.t) fail_msg("%s", r.err.message);
            expect_floats(&r, "w", ramp, 24);
            read_free(&r);
        } else {
            refuse_pickle(b.data, b.len, "no tensors", wrappers[i].key);
        }
        rw_buf_free(&b);
    }
    /* `model` that is no dict, beside tensors; an emb.weight keeps us at the top */
    rw_buf b = {0};
    put_bytes(&b, LIT("\x80\x02}("));
    op_str(&b, "model");
    op_str(&b, "rwkv");
    op_str(&b, "state_dict");
    put_bytes(&b, LIT("}"));
    op_str(&b, "emb.weight");
    op_tensor(&b, &some[0], false);
    put_bytes(&b, LIT("u."));
    test_read r = read_pickle(b.data, b.len);
    if (!r.t) fail_msg("%s", r.err.message);
    assert_int_equal(r.t->n_tensors, 1);
    read_free(&r);
    rw_buf_free(&b);
}

/* An OrderedDict with state, parameters, other values, an unused list. */
static void reads_module_state_dicts(void **state) {
    (void)state;
    rw_buf b = {0};
    put_bytes(&b, LIT("\x80\x02"));
    op_global(&b, "collections", "OrderedDict");
    put_bytes(&b, LIT(")R("));
    op_str(&b, "p");
    op_global(&b, "torch._utils", "_rebuild_parameter");
    op_tensor(&b, &some[0], false);
    put_bytes(&b, LIT("\x88"));
    op_global(&b, "collections", "OrderedDict");
    put_bytes(&b, LIT(")\x81\x87R"));
    op_str(&b, "list");
    put_bytes(&b, LIT("](K\x01K\x02"
                      "e]K\x01"
                      "a0"));
    op_str(&b, "float");
    put_bytes(&b, LIT("G\x3f\xf0\0\0\0\0\0\0"));
    op_str(&b, "none");
    put_bytes(&b, LIT("N(K\x01K\x02"
                      "1U\x05shortT\x04\0\0\0long"));
    op_int(&b, 7);
    op_str(&b, "a tensor under a number follows");
    put_bytes(&b, LIT("u"));
    op_int(&b, 12);
    op_tensor(&b, &some[0], false);
    put_bytes(&b, LIT("s}"));
    op_str(&b, "_metadata");
    put_bytes(&b, LIT("}sb."));
    test_read r = read_pickle(b.data, b.len);
    if (!r.t) fail_msg("%s", r.err.message);
    check_table(&r);
    assert_int_equal(r.t->n_tensors, 1);
    expect_floats(&r, "p", ramp, 24);
    read_free(&r);
    rw_buf_free(&b);
}

static void refuses_converted_files(void **state) {
    (void)state;
    static const char *const keys[] = {"_strategy", "_version"};
    for (size_t i = 0; i < 2; i++) {
        rw_buf b = {0};
        put_bytes(&b, LIT("\x80\x02}("));
        op_str(&b, "emb.weight");
        op_tensor(&b, &some[0], false);
        op_str(&b, keys[i]);
        op_str(&b, "cuda fp16i8");
        put_bytes(&b, LIT("u."));
        test_read r = read_pickle(b.data, b.len);
        assert_null(r.t);
        assert_int_equal(r.st, RWKV_E_UNSUPPORTED);
        assert_non_null(strstr(r.err.message, "pip package"));
        read_free(&r);
        rw_buf_free(&b);
    }
}

/* ---- P3: tensors that lie */

static void refuses_tensor_lies(void **state) {
    (void)state;
    static const int64_t huge[] = {INT64_MAX, INT64_MAX}, minus[] = {-6, 1}, zero[] = {0, 0},
                         one[] = {1, 1}, far[] = {7, 1}, wrap[] = {1ll << 62, 1};
    static const struct {
        desc d;
        const char *needle;
    } lies[] = {
        {{"x", "FloatStorage", "0", 24, 1, 2, {4, 6}, NULL, NULL},
         "tensor x: found elements 1 to 23"},
        {{"x", "FloatStorage", "0", 24, 0, 2, {5, 6}, NULL, NULL}, "tensor x: found elements"},
        {{"x", "FloatStorage", "0", 24, 24, 1, {1}, NULL, NULL}, "tensor x: found elements"},
        {{"x", "FloatStorage", "0", 24, 25, 2, {0, 3}, NULL, NULL}, "tensor x: found elements"},
        {{"x", "FloatStorage", "0", 24, -1, 2, {2, 3}, NULL, NULL}, "tensor x: found elements -1"},
        {{"x", "FloatStorage", "0", 24, INT64_MAX, 2, {2, 3}, NULL, NULL},
         "tensor x: found elements"},
        {{"x", "FloatStorage", "0", 24, INT64_MIN, 2, {2, 3}, NULL, NULL},
         "tensor x: found elements"},
        {{"x", "FloatStorage", "0", 24, 0, 2, {4, 6}, far, NULL}, "tensor x: found elements"},
        {{"x", "FloatStorage", "0", 24, 23, 2, {4, 6}, minus, NULL},
         "tensor x: found size 4, stride -6"},
        {{"x", "FloatStorage", "0", 24, 0, 2, {-4, 6}, NULL, NULL}, "tensor x: found size -4"},
        {{"x", "FloatStorage", "0", 24, 0, 2, {4, 6}, huge, NULL}, "tensor x: size"},
        {{"x", "FloatStorage", "0", 24, 0, 2, {5, 6}, wrap, NULL}, "tensor x: size 5 with stride"},
        {{"x", "FloatStorage", "0", 24, 0, 2, {1ll << 40, 1ll << 40}, zero, NULL},
         "tensor x: size"},
        {{"x", "FloatStorage", "0", 24, 0, 2, {1ll << 32, 1ll << 31}, zero, NULL},
         "tensor x: a view of"},
        {{"x", "FloatStorage", "0", 24, 0, 2, {1ll << 24, 4}, zero, NULL}, "must be copied"},
        {{"x", "FloatStorage", "0", 24, 0, 2, {1ll << 62, 2}, one, NULL}, "tensor x"},
        {{"x", "FloatStorage", "0", 24, 0, 6, {1, 1, 1, 1, 4, 6}, NULL, NULL},
         "tensor x: found 6 dim"},
        {{"x", "DoubleStorage", "0", 24, 0, 2, {4, 6}, NULL, NULL},
         "tensor x: storage 0; found 96 bytes"},
        {{"x", "HalfStorage", "0", 24, 0, 2, {4, 6}, NULL, NULL},
         "tensor x: storage 0; found 96 bytes"},
        {{"x", "ByteStorage", "0", 24, 0, 2, {4, 6}, NULL, NULL}, "expected 24 x U8"},
        {{"x", "FloatStorage", "0", 25, 0, 2, {4, 6}, NULL, NULL},
         "tensor x: storage 0; found 96 bytes"},
        {{"x", "FloatStorage", "0", INT64_MAX, 0, 2, {4, 6}, NULL, NULL}, "tensor x: storage 0"},
        {{"x", "DoubleStorage", "0", 1ll << 61, 0, 2, {4, 6}, NULL, NULL}, "tensor x: storage 0"},
        {{"x", "FloatStorage", "0", -24, 0, 2, {4, 6}, NULL, NULL}, "persistent id"},
        {{"x", "FloatStorage", "9", 24, 0, 2, {4, 6}, NULL, NULL}, "tensor x: storage 9 is not in"},
        {{"x", "FloatStorage", "", 24, 0, 2, {4, 6}, NULL, NULL}, "tensor x: storage"},
        {{"x", "FloatStorage", "../data/0", 24, 0, 2, {4, 6}, NULL, NULL}, "is not in the file"},
        {{"x", "FloatStorage", "/etc/passwd", 24, 0, 2, {4, 6}, NULL, NULL}, "is not in the file"},
        {{"", "FloatStorage", "0", 24, 0, 2, {4, 6}, NULL, NULL}, ""},
        {{"\x1b[2Jx", "FloatStorage", "9", 24, 0, 2, {4, 6}, NULL, NULL}, "tensor \\x1b[2Jx"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        char label[32];
        rw_buf p = pickle_of(&lies[i].d, 1, false);
        snprintf(label, sizeof label, "tensor lie %zu", i);
        refuse_pickle(p.data, p.len, lies[i].needle, label);
        rw_buf_free(&p);
    }
    desc two[2] = {some[0], some[0]};
    rw_buf p = pickle_of(two, 2, false);
    refuse_pickle(p.data, p.len, "emb.weight", "duplicate name");
    rw_buf_free(&p);
    two[1].name = "other";
    two[1].class = "IntStorage";
    p = pickle_of(two, 2, false);
    refuse_pickle(p.data, p.len, "storage 0; found 24 x I32; expected 24 x F32", "two classes");
    rw_buf_free(&p);
    char name[RW_MAX_NAME + 2];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    two[0].name = name;
    p = pickle_of(two, 1, false);
    refuse_pickle(p.data, p.len, "", "name of 256 bytes");
    rw_buf_free(&p);
}

/* Each view is small enough, together they are not. */
static void bounds_the_copies(void **state) {
    (void)state;
    static const int64_t zero[] = {0, 0};
    static char names[80][8];
    desc d[80];
    for (size_t i = 0; i < 80; i++) {
        snprintf(names[i], sizeof names[i], "v%zu", i);
        d[i] = (desc){names[i], "FloatStorage", "0", 24, 3, 2, {1024, 256}, zero, NULL};
    }
    rw_buf p = pickle_of(d, 64, false);
    test_read r = read_pickle(p.data, p.len);
    if (!r.t) fail_msg("%s", r.err.message);
    check_table(&r);
    assert_int_equal(r.t->copied_bytes, 64 << 20);
    read_free(&r);
    rw_buf_free(&p);
    p = pickle_of(d, 80, false);
    r = read_pickle(p.data, p.len);
    assert_null(r.t);
    assert_non_null(strstr(r.err.message, "tensor v64: a view of"));
    read_free(&r);
    rw_buf_free(&p);
}

/* ---- P4: archives that lie */

typedef enum part { LOCAL, CENTRAL, END64, LOCATOR, END } part;

static size_t part_at(const zip_file *z, part p, size_t i) {
    switch (p) {
    case LOCAL:
        return z->local[i];
    case CENTRAL:
        return z->central[i];
    case END64:
        return z->end64;
    case LOCATOR:
        return z->locator;
    default:
        return z->end;
    }
}

static void refuses_archive_lies(void **state) {
    (void)state;
    static const struct {
        unsigned how;
        part p;
        size_t i, at;
        uint64_t value;
        size_t width;
        const char *needle;
    } lies[] = {
        {0, LOCAL, 0, 0, 0x08074b50, 4, "local header; found signature 08074b50"},
        {0, LOCAL, 2, 0, 0, 4, "local header; found signature"},
        {0, LOCAL, 2, 6, 0x0800, 2, "local header"},
        {0, LOCAL, 2, 6, 0x0809, 2, "flags; found 0809"},
        {0, LOCAL, 2, 8, 8, 2, "compression method; found 8"},
        {0, LOCAL, 2, 18, 96, 4, "local header; found"},
        {0, LOCAL, 2, 22, 96, 4, "local header; found"},
        {SIZES, LOCAL, 2, 14, 0, 4, "CRC 00000000"},
        {SIZES, LOCAL, 2, 18, 95, 4, "local header; found"},
        {SIZES, LOCAL, 2, 22, 95, 4, "local header; found 95 bytes"},
        {SIZES, LOCAL, 2, 22, 0xffffffff, 4, "no zip64 extra field"},
        {0, LOCAL, 2, 26, 14, 2, "local name"},
        {0, LOCAL, 2, 26, 0xffff, 2, ""},
        {0, LOCAL, 2, 28, 0xffff, 2, ""},
        {0, LOCAL, 2, 30, 'M', 1, "local name; found My model/data/0; expected my model"},
        {0, CENTRAL, 0, 0, 0, 4, "central directory; found signature"},
        {0, CENTRAL, 2, 8, 0x0800, 2, "local header"},
        {0, CENTRAL, 2, 8, 0x0809, 2, "flags; found 0809"},
        {0, CENTRAL, 2, 8, 0x2808, 2, "flags; found 2808"},
        {0, CENTRAL, 2, 10, 8, 2, "compression method; found 8"},
        {0, CENTRAL, 2, 10, 99, 2, "compression method; found 99"},
        {0, CENTRAL, 0, 16, 0, 4, "zip entry my model/data.pkl: CRC"},
        {0, CENTRAL, 2, 20, 95, 4, "95 bytes packed"},
        {0, CENTRAL, 2, 24, 95, 4, "96 bytes packed"},
        {0, CENTRAL, 2, 24, 0xffffffff, 4, "no zip64 extra field"},
        {0, CENTRAL, 2, 42, 0xffffffff, 4, "no zip64 extra field"},
        {0, CENTRAL, 2, 28, 14, 2, ""},
        {0, CENTRAL, 2, 28, 0, 2, ""},
        {0, CENTRAL, 2, 28, 0xffff, 2, ""},
        {0, CENTRAL, 2, 30, 5, 2, ""},
        {0, CENTRAL, 2, 32, 5, 2, "comment of 5 bytes"},
        {0, CENTRAL, 2, 34, 1, 2, "disk 1"},
        {0, CENTRAL, 2, 42, 0, 4, "local header offset; found 0"},
        {0, CENTRAL, 0, 42, 64, 4, "local header offset; found 64; expected 0"},
        {0, CENTRAL, 2, 42, 0x7fffffff, 4, ""},
        {0, CENTRAL, 6, 46, '/', 1, ""},
        {0, CENTRAL, 2, 50, 0, 1, "NUL byte"},
        {WIDE, CENTRAL, 2, 46 + 15 + 6 + 2, 8, 2, "zip64 extra field"},
        {WIDE, CENTRAL, 2, 46 + 15 + 6 + 4, 95, 8, "found comment of 0 bytes"},
        {WIDE, CENTRAL, 2, 46 + 15 + 6 + 4, UINT64_MAX, 8, ""},
        {WIDE, CENTRAL, 2, 46 + 15 + 6 + 20, UINT64_MAX, 8, ""},
        {WIDE, CENTRAL, 2, 46 + 15 + 6 + 20, 1ull << 63, 8, ""},
        {WIDE, CENTRAL, 2, 46 + 15 + 2, 0xffff, 2, "zip extra field"},
        {0, END64, 0, 0, 0, 4, "zip64 end of central directory; found signature"},
        {0, END64, 0, 4, 45, 8, "zip64 record size; found 45"},
        {0, END64, 0, 4, UINT64_MAX, 8, "zip64 record size"},
        {0, END64, 0, 16, 1, 4, "disagree"},
        {0, END64, 0, 20, 1, 4, "disagree"},
        {0, END64, 0, 24, 6, 8, "disagree"},
        {0, END64, 0, 32, 6, 8, "disagree"},
        {0, END64, 0, 40, 1, 8, "disagree"},
        {0, END64, 0, 48, 1, 8, "disagree"},
        {WIDE, END64, 0, 24, 6, 8, "several parts"},
        {WIDE, END64, 0, 40, 1, 8, "central directory; found 1 bytes"},
        {WIDE, END64, 0, 48, 1, 8, "central directory; found"},
        {WIDE, END64, 0, 48, UINT64_MAX, 8, "central directory; found"},
        {WIDE, END64, 0, 40, UINT64_MAX, 8, "central directory; found"},
        {0, LOCATOR, 0, 4, 1, 4, "zip64 locator"},
        {0, LOCATOR, 0, 8, 0, 8, "zip64 locator; found record offset 0"},
        {0, LOCATOR, 0, 8, UINT64_MAX, 8, "zip64 locator"},
        {0, LOCATOR, 0, 16, 2, 4, "zip64 locator"},
        {0, LOCATOR, 0, 0, 0, 4, "central directory; found"},
        {0, END, 0, 0, 0, 4, "end of the file missing?"},
        {0, END, 0, 4, 1, 2, ""},
        {0, END, 0, 8, 6, 2, ""},
        {0, END, 0, 10, 6, 2, ""},
        {0, END, 0, 12, 1, 4, "disagree"},
        {0, END, 0, 16, 1, 4, "disagree"},
        {0, END, 0, 20, 1, 2, "comment; found length 1; expected 0"},
        {NO_END64, END, 0, 4, 1, 2, "several parts"},
        {NO_END64, END, 0, 6, 1, 2, "several parts"},
        {NO_END64, END, 0, 8, 6, 2, "several parts"},
        {NO_END64, END, 0, 12, 1, 4, "central directory; found 1 bytes"},
        {NO_END64, END, 0, 16, 0xffffffff, 4, "central directory; found"},
    };
    rw_buf p = pickle_of(some, N_SOME, false);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        zip_file z = around(p.data, p.len, lies[i].how);
        char label[32];
        size_t at = part_at(&z, lies[i].p, lies[i].i) + lies[i].at;
        if (rw_le32(z.b.data + at) == 0 && lies[i].value == 0 && lies[i].width == 4)
            fail_msg("archive lie %zu changes nothing", i);
        patch_le(&z.b, at, lies[i].value, lies[i].width);
        snprintf(label, sizeof label, "archive lie %zu", i);
        expect_refused(rw_read_pth, z.b.data, z.b.len, lies[i].needle, label);
        rw_buf_free(&z.b);
    }
    rw_buf_free(&p);
}

static void refuses_strange_archives(void **state) {
    (void)state;
    rw_buf p = pickle_of(some, N_SOME, false);
    const entry data = {"m/data.pkl", p.data, p.len}, zero = {"m/data/0", ramp, 96};
    const struct {
        entry e[4];
        size_t n;
        const char *needle, *label;
    } strange[] = {
        {{{"m/data.pk", p.data, p.len}}, 1, "no PyTorch file", "no data.pkl"},
        {{{"data.pkl", p.data, p.len}}, 1, "no PyTorch file", "data.pkl without folder"},
        {{{NULL, NULL, 0}}, 0, "", "empty archive"},
        {{data, zero, zero}, 3, "occurs twice", "entry twice"},
        {{data, data}, 2, "occurs twice", "pickle twice"},
        {{data, {"n/data.pkl", p.data, p.len}}, 2, "expected all in folder m/", "two pickles"},
        {{data, {"../x", "x", 1}}, 2, "expected all in folder m/", "path upwards"},
        {{data, {"/etc/passwd", "x", 1}}, 2, "expected all in folder m/", "absolute path"},
        {{data, {"m/byteorder", LIT("big")}}, 2, "byte order; found big", "big endian"},
        {{data, zero}, 2, "storage 1 is not in the file", "storage missing"},
    };
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        zip_file z = zip_of(strange[i].e, strange[i].n, 0);
        expect_refused(rw_read_pth, z.b.data, z.b.len, strange[i].needle, strange[i].label);
        rw_buf_free(&z.b);
    }
    /* bytes before and behind; a second end record; entries out of order */
    zip_file z = around(p.data, p.len, 0);
    rw_buf b = {0};
    put_text(&b, "PK\3\4");
    put_bytes(&b, z.b.data, z.b.len);
    expect_refused(rw_read_pth, b.data, b.len, "zip", "prepended bytes");
    b.len = 0;
    put_bytes(&b, z.b.data, z.b.len);
    put_bytes(&b, z.b.data + z.end, z.b.len - z.end);
    expect_refused(rw_read_pth, b.data, b.len, "zip", "two end records");
    b.len = 0;
    put_bytes(&b, z.b.data, z.b.len);
    put_bytes(&b, z.b.data, z.b.len);
    expect_refused(rw_read_pth, b.data, b.len, "zip", "two archives");
    b.len = 0;
    put_bytes(&b, z.b.data, z.b.len);
    put_le(&b, 0, 1);
    expect_refused(rw_read_pth, b.data, b.len, "end of central directory", "trailing byte");
    b.len = 0;
    size_t first = z.central[2] - z.central[1], second = z.central[3] - z.central[2];
    put_bytes(&b, z.b.data, z.b.len);
    memcpy(b.data + z.central[1], z.b.data + z.central[2], second);
    memcpy(b.data + z.central[1] + second, z.b.data + z.central[1], first);
    expect_refused(rw_read_pth, b.data, b.len, "local header offset", "entries out of order");
    rw_buf_free(&b);
    rw_buf_free(&z.b);
    rw_buf_free(&p);
}

/* A directory of a million entries, all of one local header. */
static void refuses_many_entries(void **state) {
    (void)state;
    for (size_t n = 1000; n <= 1000000; n *= 1000) {
        rw_buf b = {0};
        put_bytes(&b, LIT("PK\3\4\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0x"));
        size_t directory = b.len;
        for (size_t i = 0; i < n; i++) {
            put_bytes(&b, LIT("PK\1\2\0\0\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0"));
            put_bytes(&b, LIT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0x"));
        }
        size_t end = b.len;
        put_le(&b, 0x06064b50, 4);
        put_le(&b, 44, 8);
        put_le(&b, 0, 12);
        put_le(&b, n, 8);
        put_le(&b, n, 8);
        put_le(&b, end - directory, 8);
        put_le(&b, directory, 8);
        put_le(&b, 0x07064b50, 4);
        put_le(&b, 0, 4);
        put_le(&b, end, 8);
        put_le(&b, 1, 4);
        put_le(&b, 0x06054b50, 4);
        put_le(&b, 0, 4);
        put_le(&b, UINT64_MAX, 8);
        put_le(&b, UINT64_MAX, 4);
        put_le(&b, 0, 2);
        expect_refused(rw_read_pth, b.data, b.len,
                       n == 1000 ? "local header offset" : "number of entries; found 1000000",
                       "many");
        rw_buf_free(&b);
    }
}

static void refuses_truncation(void **state) {
    (void)state;
    rw_buf p = pickle_of(some, N_SOME, false);
    zip_file z = around(p.data, p.len, 0);
    expect_cuts_refused(rw_read_pth, z.b.data, z.b.len, z.b.len, NULL);
    rw_buf_free(&z.b);
    rw_buf_free(&p);
}

static void survives_mutants(void **state) {
    (void)state;
    rw_buf p = pickle_of(some, N_SOME, false);
    zip_file z = around(p.data, p.len, 0);
    size_t accepted = mutate_and_read(rw_read_pth, z.b.data, z.b.len, 5, 4000);
    assert_true(accepted < 4000);
    rw_buf_free(&z.b);
    rw_buf old = pickle_of(some, N_SOME, true);
    legacy_file l = legacy_of(old.data, old.len);
    accepted = mutate_and_read(rw_read_pth_legacy, l.b.data, l.b.len, 6, 8000);
    assert_true(accepted > 0 && accepted < 8000);
    rw_buf_free(&l.b);
    rw_buf_free(&old);
    rw_buf_free(&p);
}

/* ---- golden files */

static void hex(const uint8_t *b, size_t n, char *out) {
    for (size_t i = 0; i < n; i++) sprintf(out + 2 * i, "%02x", b[i]);
}

static test_read read_golden(const char *path) {
    size_t n;
    uint8_t *data = slurp(path, &n);
    test_read r = read_bytes(n > 2 && data[0] == 'P' ? rw_read_pth : rw_read_pth_legacy, data, n);
    free(data);
    if (!r.t) fail_msg("%s: %s", path, r.err.message);
    check_table(&r);
    return r;
}

/* One tensor of the manifest: {"shape": [...], "dtype": ..., "f32_sha256": ..., "f32_hex": ...} */
static void check_golden_tensor(rw_json *j, const test_read *r, const char *name) {
    const rw_tensor *t = rw_table_find(r->t, name);
    if (!t) fail_msg("no tensor %s", name);
    rw_json_event ev;
    float *values = tensor_floats(t);
    assert_int_equal(rw_json_next(j, &ev, NULL), RWKV_OK);
    assert_int_equal(ev.kind, RW_JSON_OBJECT);
    while (rw_json_next(j, &ev, NULL) == RWKV_OK && ev.kind == RW_JSON_KEY) {
        if (ev.len == 5 && memcmp(ev.text, "shape", 5) == 0) {
            uint32_t d = 0;
            assert_int_equal(rw_json_next(j, &ev, NULL), RWKV_OK);
            for (; rw_json_next(j, &ev, NULL) == RWKV_OK && ev.kind == RW_JSON_NUMBER; d++) {
                uint64_t dim;
                assert_int_equal(rw_json_u64(j, &ev, &dim, NULL), RWKV_OK);
                assert_true(d < t->n_dims);
                assert_int_equal(t->dims[d], dim);
            }
            assert_int_equal(t->n_dims, d);
        } else if (ev.len == 10 && memcmp(ev.text, "f32_sha256", 10) == 0) {
            rw_sha256 s;
            uint8_t digest[32];
            char text[65];
            rw_sha256_init(&s);
            rw_sha256_add(&s, values, t->n_elems * sizeof *values);
            rw_sha256_end(&s, digest);
            hex(digest, 32, text);
            assert_int_equal(rw_json_next(j, &ev, NULL), RWKV_OK);
            assert_int_equal(ev.len, 64);
            if (memcmp(ev.text, text, 64) != 0) fail_msg("values of tensor %s", name);
        } else {
            assert_int_equal(rw_json_skip(j, NULL), RWKV_OK);
        }
    }
    free(values);
}

static void reads_golden_tensors(void **state) {
    (void)state;
    if (!shared_path("golden/pth/manifest.json")) skip();
    size_t n, n_tensors = 0;
    char *text = slurp(shared_path("golden/pth/manifest.json"), &n);
    rw_json j;
    rw_json_event ev;
    rw_json_init(&j, "manifest.json", text, n, 0);
    assert_int_equal(rw_json_next(&j, &ev, NULL), RWKV_OK);
    while (rw_json_next(&j, &ev, NULL) == RWKV_OK && ev.kind == RW_JSON_KEY) {
        if (ev.len != 5 || memcmp(ev.text, "files", 5) != 0) {
            assert_int_equal(rw_json_skip(&j, NULL), RWKV_OK);
            continue;
        }
        assert_int_equal(rw_json_next(&j, &ev, NULL), RWKV_OK);
        while (rw_json_next(&j, &ev, NULL) == RWKV_OK && ev.kind == RW_JSON_KEY) {
            char path[256], name[256];
            snprintf(path, sizeof path, "golden/pth/%.*s", (int)ev.len, ev.text);
            test_read r = read_golden(shared_path(path));
            assert_int_equal(rw_json_next(&j, &ev, NULL), RWKV_OK);
            while (rw_json_next(&j, &ev, NULL) == RWKV_OK && ev.kind == RW_JSON_KEY) {
                if (ev.len == 7 && memcmp(ev.text, "entries", 7) == 0) {
                    uint64_t entries;
                    assert_int_equal(rw_json_next(&j, &ev, NULL), RWKV_OK);
                    assert_int_equal(rw_json_u64(&j, &ev, &entries, NULL), RWKV_OK);
                    assert_int_equal(r.t->n_tensors, entries);
                } else if (ev.len == 7 && memcmp(ev.text, "tensors", 7) == 0) {
                    assert_int_equal(rw_json_next(&j, &ev, NULL), RWKV_OK);
                    while (rw_json_next(&j, &ev, NULL) == RWKV_OK && ev.kind == RW_JSON_KEY) {
                        snprintf(name, sizeof name, "%.*s", (int)ev.len, ev.text);
                        check_golden_tensor(&j, &r, name);
                        n_tensors++;
                    }
                } else {
                    assert_int_equal(rw_json_skip(&j, NULL), RWKV_OK);
                }
            }
            read_free(&r);
        }
    }
    assert_int_equal(ev.kind, RW_JSON_CLOSE);
    assert_true(n_tensors > 30);
    rw_json_free(&j);
    free(text);
}

static void reads_golden_models(void **state) {
    (void)state;
    static const struct {
        const char *path, *tensor;
        uint64_t rows, columns;
        rw_type type;
    } models[] = {
        {"v4-L2-D64-legacy.pth", "emb.weight", 0, 64, RW_BF16},
        {"v4-L3-D64.pth", "emb.weight", 0, 64, RW_BF16},
        {"v5.0-L2-D128.pth", "emb.weight", 0, 128, RW_BF16},
        {"v5.1-L2-D128.pth", "emb.weight", 0, 128, RW_BF16},
        {"v5.2-L2-D128.pth", "emb.weight", 0, 128, RW_BF16},
        {"v5.2-L2-D64-fp16.pth", "emb.weight", 0, 64, RW_F16},
        {"v6-L2-D128.pth", "emb.weight", 0, 128, RW_BF16},
        {"v7-L2-D64-fp32.pth", "emb.weight", 0, 64, RW_F32},
        {"v7-L3-D128.pth", "emb.weight", 256, 128, RW_BF16},
        {"v7a-L2-D64.pth", "emb.weight", 0, 64, RW_BF16},
        {"reverse/reverse-rwkv7.pth", "emb.weight", 12, 32, RW_F32},
        {"reverse/original.pth", NULL, 0, 0, RW_F32},
        {"state/v6-base.pth", "emb.weight", 0, 0, RW_TYPE_COUNT},
        {"state/v7-base.pth", "emb.weight", 0, 0, RW_TYPE_COUNT},
        {"state/v6-state.pth", "blocks.0.att.time_state", 0, 0, RW_TYPE_COUNT},
        {"state/v7-state.pth", "blocks.0.att.time_state", 0, 0, RW_TYPE_COUNT},
        {"lora/base.pth", "emb.weight", 0, 0, RW_TYPE_COUNT},
        {"lora/lora.pth", NULL, 0, 0, RW_TYPE_COUNT},
    };
    if (!shared_path("golden/v4-L3-D64.pth")) skip();
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[256];
        snprintf(path, sizeof path, "golden/%s", models[i].path);
        test_read r = read_golden(shared_path(path));
        assert_true(r.t->n_tensors > 1);
        assert_int_equal(r.t->copied_bytes, 0);
        const rw_tensor *t = models[i].tensor ? rw_table_find(r.t, models[i].tensor) : r.t->tensors;
        if (!t) fail_msg("%s: no %s", path, models[i].tensor);
        if (models[i].rows) assert_int_equal(t->dims[0], models[i].rows);
        if (models[i].columns) assert_int_equal(t->dims[1], models[i].columns);
        if (models[i].type != RW_TYPE_COUNT) assert_int_equal(t->type, models[i].type);
        for (size_t k = 0; k < r.t->n_tensors; k++) {
            float *values = tensor_floats(&r.t->tensors[k]);
            for (uint64_t e = 0; e < r.t->tensors[k].n_elems; e++)
                assert_true(values[e] - values[e] == 0);
            free(values);
        }
        read_free(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_archives),           cmocka_unit_test(reads_legacy),
        cmocka_unit_test(opens_by_content),         cmocka_unit_test(refuses_legacy_lies),
        cmocka_unit_test(finds_the_state_dict),     cmocka_unit_test(reads_module_state_dicts),
        cmocka_unit_test(refuses_converted_files),  cmocka_unit_test(refuses_tensor_lies),
        cmocka_unit_test(bounds_the_copies),        cmocka_unit_test(refuses_archive_lies),
        cmocka_unit_test(refuses_strange_archives), cmocka_unit_test(refuses_many_entries),
        cmocka_unit_test(refuses_truncation),       cmocka_unit_test(survives_mutants),
        cmocka_unit_test(reads_golden_tensors),     cmocka_unit_test(reads_golden_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
