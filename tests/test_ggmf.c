/* test_ggmf.c - rwkv.cpp's .bin files: what is read, and that nothing else is (reliability.md F,
 * R1). */
#include "support_readers.h"

/* A file that a test can damage: where its parts are. */
typedef struct ggmf_file {
    rw_buf b;
    size_t records[4]; /* begin of each tensor's record */
    size_t header;     /* end of the first record's name */
} ggmf_file;

enum { HEADER = 24, N_VOCAB = 7, N_EMBED = 64, N_LAYER = 1 };

static void put_record(rw_buf *b, const char *name, uint32_t n_dims, const uint32_t *dims,
                       uint32_t type, size_t bytes, uint64_t *seed) {
    put_le(b, n_dims, 4);
    put_le(b, strlen(name), 4);
    put_le(b, type, 4);
    for (uint32_t i = 0; i < n_dims; i++) put_le(b, dims[i], 4);
    put_text(b, name);
    for (size_t i = 0; i < bytes; i++) put_le(b, rng_u64(seed), 1);
}

/* Q8_0 (7,64), F16 (64), F32 (2,3,4) and Q5_1 (2,32), the last two not aligned. */
static ggmf_file make(void) {
    static const uint32_t dims[4][3] = {{64, 7}, {64}, {4, 3, 2}, {32, 2}};
    ggmf_file g = {0};
    uint64_t seed = 11;
    static const uint32_t head[] = {0x67676d66, 101, N_VOCAB, N_EMBED, N_LAYER, 9};
    for (size_t i = 0; i < 6; i++) put_le(&g.b, head[i], 4);
    g.records[0] = g.b.len;
    put_record(&g.b, "emb.weight", 2, dims[0], 9, 7 * 2 * 34, &seed);
    g.header = g.records[0] + 20 + strlen("emb.weight");
    g.records[1] = g.b.len;
    put_record(&g.b, "ln_out.weight", 1, dims[1], 1, 128, &seed);
    g.records[2] = g.b.len;
    put_record(&g.b, "blocks.0.att.x", 3, dims[2], 0, 96, &seed);
    g.records[3] = g.b.len;
    put_record(&g.b, "blocks.0.att.y", 2, dims[3], 8, 2 * 24, &seed);
    return g;
}

static void reads_every_record(void **state) {
    (void)state;
    ggmf_file g = make();
    test_read r = read_bytes(rw_read_ggmf, g.b.data, g.b.len);
    if (!r.t) fail_msg("%s", r.err.message);
    check_table(&r);
    assert_int_equal(r.t->n_tensors, 4);
    const rw_tensor *x = rw_table_find(r.t, "blocks.0.att.x");
    assert_non_null(x);
    assert_int_equal(x->n_dims, 3);
    assert_int_equal(x->dims[0], 2);
    assert_int_equal(x->dims[1], 3);
    assert_int_equal(x->dims[2], 4);
    assert_int_equal(x->type, RW_F32);
    assert_int_equal(x->offset, g.records[2] + 24 + strlen("blocks.0.att.x"));
    assert_memory_equal(x->data, g.b.data + x->offset, 96);
    assert_int_equal(rw_table_find(r.t, "emb.weight")->type, RW_Q8_0);
    assert_int_equal(rw_table_find(r.t, "emb.weight")->bytes, 7 * 2 * 34);
    assert_int_equal(rw_table_find(r.t, "blocks.0.att.y")->type, RW_Q5_1);
    static const struct {
        const char *key;
        uint64_t value;
    } meta[] = {{"ggmf.version", 101},
                {"ggmf.n_vocab", N_VOCAB},
                {"ggmf.n_embed", N_EMBED},
                {"ggmf.n_layer", N_LAYER},
                {"ggmf.data_type", 9}};
    for (size_t i = 0; i < 5; i++) {
        uint64_t value = 0;
        assert_int_equal(rw_meta_u64(r.t, meta[i].key, &value, NULL, NULL), RWKV_OK);
        assert_int_equal(value, meta[i].value);
    }
    read_free(&r);
    rw_buf_free(&g.b);
}

static void maps_every_type(void **state) {
    (void)state;
    static const struct {
        uint32_t id;
        rw_type type;
    } known[] = {{0, RW_F32},   {1, RW_F16},   {2, RW_Q4_0},  {3, RW_Q4_1},
                 {7, RW_Q5_0},  {8, RW_Q5_1},  {9, RW_Q8_0},  {11, RW_Q2_K},
                 {12, RW_Q3_K}, {13, RW_Q4_K}, {14, RW_Q5_K}, {15, RW_Q6_K}};
    uint64_t seed = 5;
    for (uint32_t id = 0; id < 40; id++) {
        const uint32_t dims[] = {256, 2};
        rw_type type = RW_TYPE_COUNT;
        uint64_t bytes = 2048;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (known[i].id == id) type = known[i].type;
        if (type != RW_TYPE_COUNT) assert_true(rw_type_bytes(type, 512, &bytes));
        for (uint32_t version = 100; version <= 101; version++) {
            rw_buf b = {0};
            static const uint32_t tail[] = {N_VOCAB, N_EMBED, N_LAYER, 0};
            put_le(&b, 0x67676d66, 4);
            put_le(&b, version, 4);
            for (size_t i = 0; i < 4; i++) put_le(&b, tail[i], 4);
            put_record(&b, "w", 2, dims, id, (size_t)bytes, &seed);
            if (type == RW_TYPE_COUNT) {
                expect_refused(rw_read_ggmf, b.data, b.len, "data type; found", "unknown type");
            } else if (version == 100 && id > 1) {
                expect_refused(rw_read_ggmf, b.data, b.len, "retired", "version 100 quantized");
                patch_le(&b, HEADER + 8, 0, 4);
                patch_le(&b, 20, id, 4);
                expect_refused(rw_read_ggmf, b.data, b.len, "retired", "version 100 header");
            } else {
                test_read r = read_bytes(rw_read_ggmf, b.data, b.len);
                if (!r.t) fail_msg("type %u: %s", id, r.err.message);
                check_table(&r);
                assert_int_equal(r.t->tensors[0].type, type);
                read_free(&r);
            }
            rw_buf_free(&b);
        }
    }
}

/* One number of the file replaced. */
static void refuses_lies(void **state) {
    (void)state;
    static const struct {
        size_t record, at;
        uint64_t value;
        const char *needle, *label;
    } lies[] = {
        {9, 0, 0x666d6767, "magic number; found 666d6767", "other byte order"},
        {9, 0, 0, "magic number", "no magic"},
        {9, 4, 99, "found 99; expected 100 or 101", "version 99"},
        {9, 4, 102, "found 102; expected 100 or 101", "version 102"},
        {9, 4, 0x65000000, "expected 100 or 101", "version of other byte order"},
        {9, 20, 4, "header: data type; found 4", "retired type in header"},
        {9, 20, 999, "header: data type; found 999", "unknown type in header"},
        {0, 0, 0, "number of dimensions; found 0", "no dimensions"},
        {0, 0, 4, "number of dimensions; found 4", "four dimensions"},
        {0, 0, 0xffffffff, "number of dimensions", "many dimensions"},
        {0, 4, 0, "length of a tensor's name; found 0", "empty name"},
        {0, 4, 256, "length of a tensor's name; found 256", "long name"},
        {0, 4, 0x80000000, "length of a tensor's name", "name of 2 GiB"},
        {0, 4, 0xffffffff, "length of a tensor's name", "name of 4 GiB"},
        {0, 8, 999, "emb.weight: data type; found 999", "type 999"},
        {0, 8, 6, "emb.weight: data type; found 6", "retired type"},
        {0, 8, 10, "emb.weight: data type; found 10", "Q8_1"},
        {0, 8, 16, "emb.weight: data type; found 16", "Q8_K"},
        {0, 8, 0xffffffff, "data type", "type -1"},
        {0, 12, 0, "tensor emb.weight: dimension 0; found 0", "row of 0"},
        {0, 16, 0, "tensor emb.weight: dimension 1; found 0", "no rows"},
        {0, 12, 63, "row length; found 63; expected a multiple of 32", "part of a block"},
        {0, 12, 0x80000000, "tensor emb.weight", "2^31"},
        {0, 12, 0xffffffe0, "tensor emb.weight", "2^32 - 32"},
        {0, 16, 0xffffffff, "tensor emb.weight", "2^32 - 1 rows"},
        {0, 16, 50, "tensor", "too many rows"},
        {2, 12, 0xffffffff, "tensor blocks.0.att.x", "F32 row of 2^32 - 1"},
        {3, 16, 3, "tensor blocks.0.att.y: file ends", "one row more than the file has"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        ggmf_file g = make();
        patch_le(&g.b, lies[i].at + (lies[i].record < 4 ? g.records[lies[i].record] : 0),
                 lies[i].value, 4);
        expect_refused(rw_read_ggmf, g.b.data, g.b.len, lies[i].needle, lies[i].label);
        rw_buf_free(&g.b);
    }
}

/* Every dimension at values whose products wrap 64 bits in careless code. */
static void refuses_wrapping_sizes(void **state) {
    (void)state;
    static const uint32_t values[] = {0x10000, 0x80000000, 0xfffffff0, 0xffffffff, 0x55555556};
    for (size_t a = 0; a < 5; a++)
        for (size_t b = 0; b < 5; b++)
            for (size_t c = 0; c < 5; c++) {
                ggmf_file g = make();
                patch_le(&g.b, g.records[2] + 12, values[a], 4);
                patch_le(&g.b, g.records[2] + 16, values[b], 4);
                patch_le(&g.b, g.records[2] + 20, values[c], 4);
                expect_refused(rw_read_ggmf, g.b.data, g.b.len, "tensor blocks.0.att.x", "wrap");
                rw_buf_free(&g.b);
            }
}

static void refuses_bad_names(void **state) {
    (void)state;
    ggmf_file g = make();
    size_t name = g.records[1] + 16;
    g.b.data[name + 2] = 0;
    expect_refused(rw_read_ggmf, g.b.data, g.b.len, "", "NUL in a name");
    memcpy(g.b.data + name, "\x1b]0;evil\x07\x0a.x.", 13);
    test_read r = read_bytes(rw_read_ggmf, g.b.data, g.b.len);
    if (r.t) check_table(&r);
    read_free(&r);
    patch_le(&g.b, g.records[1] + 8, 999, 4);
    expect_refused(rw_read_ggmf, g.b.data, g.b.len, "\\x1b", "control bytes in a name");
    rw_buf_free(&g.b);
    g = make();
    memcpy(g.b.data + g.records[3] + 20, "blocks.0.att.x", 14);
    expect_refused(rw_read_ggmf, g.b.data, g.b.len, "blocks.0.att.x", "duplicate");
    rw_buf_free(&g.b);
}

static ggmf_file cut_file;

static bool is_whole(size_t n) {
    if (n == HEADER) return true; /* no tensors: the model says what is missing */
    for (size_t i = 1; i < 4; i++)
        if (n == cut_file.records[i]) return true;
    return false;
}

static void refuses_truncation(void **state) {
    (void)state;
    cut_file = make();
    expect_cuts_refused(rw_read_ggmf, cut_file.b.data, cut_file.b.len, cut_file.header, is_whole);
    /* and garbage behind the last record */
    put_le(&cut_file.b, 0, 1);
    expect_refused(rw_read_ggmf, cut_file.b.data, cut_file.b.len, "", "one byte more");
    put_le(&cut_file.b, 0, 7);
    put_le(&cut_file.b, 0, 8);
    expect_refused(rw_read_ggmf, cut_file.b.data, cut_file.b.len, "dimensions", "zeros behind");
    rw_buf_free(&cut_file.b);
}

static void survives_mutants(void **state) {
    (void)state;
    ggmf_file g = make();
    size_t accepted = mutate_and_read(rw_read_ggmf, g.b.data, g.b.len, 3, 6000);
    assert_true(accepted > 0 && accepted < 6000);
    rw_buf_free(&g.b);
}

static void reads_rwkv_cpp_files(void **state) {
    (void)state;
    static const struct {
        const char *path;
        uint32_t version;
        rw_type emb;
    } files[] = {
        {"golden/bin/v6-FP16.bin", 101, RW_F16},
        {"golden/bin/v6-FP32.bin", 101, RW_F32},
        {"golden/bin/v6-Q4_0.bin", 101, RW_F32},
        {"golden/bin/v6-Q4_1.bin", 101, RW_F32},
        {"golden/bin/v6-Q8_0.bin", 101, RW_F32},
        {"golden/bin/v7-Q5_0.bin", 101, RW_F32},
        {"golden/bin/v7-Q5_1.bin", 101, RW_F32},
        {"golden/bin/v7-Q8_0.bin", 101, RW_F32},
        {"golden/tiny-rwkv/tiny-rwkv-4v0-660K-FP16.bin", 100, RW_F16},
        {"golden/tiny-rwkv/tiny-rwkv-4v0-660K-FP32.bin", 100, RW_F32},
        {"golden/tiny-rwkv/tiny-rwkv-4v0-660K-Q5_0.bin", 101, RW_F32},
        {"golden/tiny-rwkv/tiny-rwkv-4v0-660K-Q5_1.bin", 101, RW_F32},
        {"golden/tiny-rwkv/tiny-rwkv-5v1-730K-FP32.bin", 101, RW_F32},
        {"golden/tiny-rwkv/tiny-rwkv-5v2-730K-FP32.bin", 101, RW_F32},
        {"golden/tiny-rwkv/tiny-rwkv-5v2-730K-Q5_1.bin", 101, RW_F32},
        {"golden/tiny-rwkv/tiny-rwkv-6v0-3m-Q5_1.bin", 101, RW_F32},
        {"golden/tiny-rwkv/tiny-rwkv-7v0-834K-FP16.bin", 101, RW_F16},
    };
    if (!shared_path(files[0].path)) skip();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t n;
        uint64_t version = 0, n_vocab = 0, n_embed = 0, total = 0;
        void *data = slurp(shared_path(files[i].path), &n);
        test_read r = read_bytes(rw_read_ggmf, data, n);
        if (!r.t) fail_msg("%s: %s", files[i].path, r.err.message);
        check_table(&r);
        assert_int_equal(rw_meta_u64(r.t, "ggmf.version", &version, NULL, NULL), RWKV_OK);
        assert_int_equal(version, files[i].version);
        assert_int_equal(rw_meta_u64(r.t, "ggmf.n_vocab", &n_vocab, NULL, NULL), RWKV_OK);
        assert_int_equal(rw_meta_u64(r.t, "ggmf.n_embed", &n_embed, NULL, NULL), RWKV_OK);
        const rw_tensor *emb = rw_table_find(r.t, "emb.weight");
        assert_non_null(emb);
        assert_int_equal(emb->n_dims, 2);
        assert_int_equal(emb->dims[0], n_vocab);
        assert_int_equal(emb->dims[1], n_embed);
        assert_int_equal(emb->type, files[i].emb);
        for (size_t k = 0; k < r.t->n_tensors; k++) {
            const rw_tensor *t = &r.t->tensors[k];
            total += 12 + 4 * t->n_dims + strlen(t->name) + t->bytes;
            float *values = tensor_floats(t);
            for (uint64_t e = 0; e < t->n_elems; e++) assert_true(values[e] - values[e] == 0);
            free(values);
        }
        assert_int_equal(total + HEADER, n);
        read_free(&r);
        free(data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_record), cmocka_unit_test(maps_every_type),
        cmocka_unit_test(refuses_lies),       cmocka_unit_test(refuses_wrapping_sizes),
        cmocka_unit_test(refuses_bad_names),  cmocka_unit_test(refuses_truncation),
        cmocka_unit_test(survives_mutants),   cmocka_unit_test(reads_rwkv_cpp_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
