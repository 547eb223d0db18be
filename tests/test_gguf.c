/* test_gguf.c - GGUF files: what is read, and that nothing else is (reliability.md F, G1-G5). */
#include "support_readers.h"

enum { N_META = 24, N_TENSORS = 4 };

/* A file that a test can damage: where its parts are. */
typedef struct gguf_file {
    rw_buf b;
    size_t meta[N_META];    /* begin of each field */
    size_t info[N_TENSORS]; /* begin of each tensor's record */
    size_t data;            /* begin of the data */
} gguf_file;

/* What a test may ask of make. */
typedef struct gguf_wish {
    uint32_t version;      /* 0: 3 */
    uint32_t alignment;    /* 0: no such key */
    const char *extra_key; /* one more field... */
    const void *extra;     /* ...type and value */
    size_t extra_len;
} gguf_wish;

static void put_string(rw_buf *b, const char *s) {
    put_le(b, strlen(s), 8);
    put_text(b, s);
}

static void put_key(rw_buf *b, const char *key, uint32_t type) {
    put_string(b, key);
    put_le(b, type, 4);
}

static uint32_t float_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static uint64_t double_bits(double f) {
    uint64_t u;
    memcpy(&u, &f, 8);
    return u;
}

/* One field of each type, arrays of each kind. Returns their number. */
static size_t put_fields(gguf_file *g) {
    static const struct {
        const char *key;
        uint32_t type;
        uint64_t value;
        size_t width;
    } scalars[] = {
        {"u8", 0, 200, 1},     {"i8", 1, 0xf0, 1},         {"u16", 2, 60000, 2},
        {"i16", 3, 0xfffe, 2}, {"u32", 4, 4000000000, 4},  {"i32", 5, 0xfffffffd, 4},
        {"bool", 7, 1, 1},     {"u64", 10, UINT64_MAX, 8}, {"i64", 11, UINT64_MAX - 4, 8}};
    size_t n = 0;
    g->meta[n++] = g->b.len;
    put_key(&g->b, "general.architecture", 8);
    put_string(&g->b, "rwkv7");
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++) {
        g->meta[n++] = g->b.len;
        put_key(&g->b, scalars[i].key, scalars[i].type);
        put_le(&g->b, scalars[i].value, scalars[i].width);
    }
    g->meta[n++] = g->b.len;
    put_key(&g->b, "f32", 6);
    put_le(&g->b, float_bits(1e-5f), 4);
    g->meta[n++] = g->b.len;
    put_key(&g->b, "f64", 12);
    put_le(&g->b, double_bits(-2.5), 8);
    g->meta[n++] = g->b.len;
    put_key(&g->b, "strings", 9);
    put_le(&g->b, 8, 4);
    put_le(&g->b, 3, 8);
    put_string(&g->b, "<s>");
    put_string(&g->b, "");
    put_string(&g->b, "abc");
    g->meta[n++] = g->b.len;
    put_key(&g->b, "numbers", 9);
    put_le(&g->b, 5, 4);
    put_le(&g->b, 3, 8);
    for (uint32_t i = 1; i <= 3; i++) put_le(&g->b, i, 4);
    g->meta[n++] = g->b.len;
    put_key(&g->b, "bools", 9);
    put_le(&g->b, 7, 4);
    put_le(&g->b, 2, 8);
    put_le(&g->b, 0x0100, 2);
    g->meta[n++] = g->b.len;
    put_key(&g->b, "empty", 9);
    put_le(&g->b, 8, 4);
    put_le(&g->b, 0, 8);
    return n;
}

/* F32 (3), Q8_0 (2,64), F16 (5,1,1,32), Q6_K (256): each ends off the alignment. */
static gguf_file make(const gguf_wish *wish) {
    static const struct {
        const char *name;
        uint32_t n_dims;
        uint64_t dims[4];
        uint32_t type;
        size_t bytes;
    } tensors[N_TENSORS] = {{"output_norm.weight", 1, {3}, RW_F32, 12},
                            {"token_embd.weight", 2, {64, 2}, RW_Q8_0, 136},
                            {"blk.0.time_mix_lerp_fused.weight", 4, {32, 1, 1, 5}, RW_F16, 320},
                            {"output.weight", 1, {256}, RW_Q6_K, 210}};
    gguf_wish none = {0};
    gguf_file g = {0};
    uint64_t seed = 1, offset = 0;
    if (!wish) wish = &none;
    put_text(&g.b, "GGUF");
    put_le(&g.b, wish->version ? wish->version : 3, 4);
    put_le(&g.b, N_TENSORS, 8);
    put_le(&g.b, 0, 8);
    size_t n = put_fields(&g);
    if (wish->alignment) {
        g.meta[n++] = g.b.len;
        put_key(&g.b, "general.alignment", 4);
        put_le(&g.b, wish->alignment, 4);
    }
    if (wish->extra_key) {
        g.meta[n++] = g.b.len;
        put_string(&g.b, wish->extra_key);
        put_bytes(&g.b, wish->extra, wish->extra_len);
    }
    patch_le(&g.b, 16, n, 8);
    size_t alignment = wish->alignment ? wish->alignment : 32;
    for (size_t i = 0; i < N_TENSORS; i++) {
        g.info[i] = g.b.len;
        put_string(&g.b, tensors[i].name);
        put_le(&g.b, tensors[i].n_dims, 4);
        for (size_t d = 0; d < tensors[i].n_dims; d++) put_le(&g.b, tensors[i].dims[d], 8);
        put_le(&g.b, tensors[i].type, 4);
        put_le(&g.b, offset, 8);
        offset = (offset + tensors[i].bytes + alignment - 1) / alignment * alignment;
    }
    pad_to(&g.b, alignment);
    g.data = g.b.len;
    for (size_t i = 0; i < N_TENSORS; i++) {
        for (size_t k = 0; k < tensors[i].bytes; k++) put_le(&g.b, rng_u64(&seed), 1);
        if (i + 1 < N_TENSORS) pad_to(&g.b, alignment);
    }
    return g;
}

static void reads_metadata(void **state) {
    (void)state;
    gguf_file g = make(NULL);
    test_read r = read_bytes(rw_read_gguf, g.b.data, g.b.len);
    if (!r.t) fail_msg("%s", r.err.message);
    check_table(&r);
    static const struct {
        const char *key;
        rw_meta_kind kind;
        int64_t value;
    } expected[] = {
        {"u8", RW_META_U64, 200},  {"i8", RW_META_I64, -16},         {"u16", RW_META_U64, 60000},
        {"i16", RW_META_I64, -2},  {"u32", RW_META_U64, 4000000000}, {"i32", RW_META_I64, -3},
        {"bool", RW_META_BOOL, 1}, {"u64", RW_META_U64, -1},         {"i64", RW_META_I64, -5}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const rw_meta *m = rw_meta_find(r.t, expected[i].key);
        assert_non_null(m);
        assert_int_equal(m->kind, expected[i].kind);
        assert_int_equal(m->v.i, expected[i].value);
    }
    assert_true(rw_meta_find(r.t, "f32")->v.f == (double)1e-5f);
    assert_true(rw_meta_find(r.t, "f64")->v.f == -2.5);
    const rw_meta *m = rw_meta_find(r.t, "strings");
    assert_int_equal(m->kind, RW_META_STRINGS);
    assert_int_equal(m->v.strs.n, 3);
    assert_int_equal(m->v.strs.len[1], 0);
    assert_int_equal(m->v.strs.len[2], 3);
    assert_memory_equal(m->v.strs.s[2], "abc", 3);
    m = rw_meta_find(r.t, "numbers");
    assert_int_equal(m->kind, RW_META_NUMBERS);
    assert_int_equal(m->v.nums.gguf_type, 5);
    assert_int_equal(m->v.nums.n, 3);
    assert_int_equal(rw_le32(m->v.nums.data + 8), 3);
    m = rw_meta_find(r.t, "general.architecture");
    assert_int_equal(m->v.str.len, 5);
    assert_memory_equal(m->v.str.s, "rwkv7", 5);
    assert_int_equal(rw_meta_find(r.t, "empty")->v.strs.n, 0);
    assert_null(rw_meta_find(r.t, "absent"));
    read_free(&r);
    rw_buf_free(&g.b);
}

static void reads_tensors(void **state) {
    (void)state;
    static const uint32_t alignments[] = {0, 8, 16, 64, 4096, 65536};
    for (size_t a = 0; a < sizeof alignments / sizeof *alignments; a++)
        for (uint32_t version = 2; version <= 3; version++) {
            gguf_file g = make(&(gguf_wish){.version = version, .alignment = alignments[a]});
            test_read r = read_bytes(rw_read_gguf, g.b.data, g.b.len);
            if (!r.t) fail_msg("%s", r.err.message);
            check_table(&r);
            assert_int_equal(r.t->n_tensors, N_TENSORS);
            const rw_tensor *t = rw_table_find(r.t, "blk.0.time_mix_lerp_fused.weight");
            assert_non_null(t);
            assert_int_equal(t->n_dims, 4);
            assert_int_equal(t->dims[0], 5);
            assert_int_equal(t->dims[1], 1);
            assert_int_equal(t->dims[3], 32);
            t = rw_table_find(r.t, "output_norm.weight");
            assert_int_equal(t->offset, g.data);
            assert_memory_equal(t->data, g.b.data + g.data, 12);
            t = rw_table_find(r.t, "output.weight");
            assert_int_equal(t->offset + t->bytes, g.b.len);
            read_free(&r);
            put_text(&g.b, "padding of the last tensor");
            r = read_bytes(rw_read_gguf, g.b.data, g.b.len);
            assert_non_null(r.t);
            read_free(&r);
            rw_buf_free(&g.b);
        }
}

/* The classes of llama.cpp's test of its reader: one number of the file replaced. What is counted
 * from: W the file, M(i) the type of field i, K(i) its key, I(i) the end of the name of tensor i.
 */
typedef enum where { W, K, M, N, I } where;

static void refuses_lies(void **state) {
    (void)state;
    static const struct {
        where from;
        size_t i, at;
        uint64_t value;
        size_t width;
        const char *needle;
    } lies[] = {
        {W, 0, 0, 0x46554746, 4, "magic"},
        {W, 0, 0, 0x47475546, 4, "magic"},
        {W, 0, 4, 0, 4, "GGUF version; found 0; expected 2 or 3"},
        {W, 0, 4, 1, 4, "GGUF version; found 1; expected 2 or 3"},
        {W, 0, 4, 4, 4, "GGUF version; found 4; expected 2 or 3"},
        {W, 0, 4, 99, 4, "GGUF version; found 99; expected 2 or 3"},
        {W, 0, 4, 0x03000000, 4, "big endian, version 3"},
        {W, 0, 4, 0x02000000, 4, "big endian, version 2"},
        {W, 0, 8, 5, 8, ""},
        {W, 0, 8, 65537, 8, "number of tensors; found 65537"},
        {W, 0, 8, UINT64_MAX, 8, "number of tensors"},
        {W, 0, 8, 1ull << 63, 8, "number of tensors"},
        {W, 0, 8, 0xffffffff, 8, "number of tensors; found 4294967295"},
        {W, 0, 16, 65537, 8, "number of metadata fields; found 65537"},
        {W, 0, 16, 0xffffffff, 8, "number of metadata fields"},
        {W, 0, 16, UINT64_MAX, 8, "number of metadata fields"},
        {W, 0, 16, 1ull << 61, 8, "number of metadata fields"},
        {K, 0, 0, 0, 8, ""},
        {K, 0, 0, UINT64_MAX, 8, "metadata key"},
        {K, 0, 0, 1ull << 63, 8, "metadata key"},
        {K, 0, 0, 0xffffffff, 8, "metadata key"},
        {K, 1, 8, 'i', 1, "i8"}, /* u8 renamed: i8 twice */
        {K, 3, 9, 0, 1, ""},     /* NUL in a key */
        {M, 0, 0, 13, 4, "key general.architecture: type; found 13"},
        {M, 0, 0, 0xffffffff, 4, "type; found 4294967295"},
        {M, 0, 4, UINT64_MAX, 8, "metadata string"},
        {M, 0, 4, 1ull << 32, 8, "metadata string"},
        {M, 7, 4, 2, 1, "key bool: bool; found 2; expected 0 or 1"},
        {M, 7, 4, 255, 1, "key bool: bool; found 255"},
        {M, 12, 4, 13, 4, "key strings: type of array elements; found 13"},
        {M, 12, 4, 9, 4, "key strings: type of array elements; found 9 (array)"},
        {M, 12, 8, 0xffffffff, 8, "key strings: array of 4294967295 strings"},
        {M, 12, 8, UINT64_MAX, 8, "key strings: array"},
        {M, 12, 8, 1ull << 61, 8, "key strings: array"},
        {M, 12, 8, 4, 8, ""},
        {M, 12, 16, UINT64_MAX, 8, "string in an array"},
        {M, 13, 8, 0xffffffff, 8, "key numbers: array of 4294967295 x i32"},
        {M, 13, 8, 1ull << 62, 8, "key numbers: array"},
        {M, 13, 8, (1ull << 62) + 1, 8, "key numbers: array"},
        {M, 13, 8, UINT64_MAX, 8, "key numbers: array"},
        {M, 14, 16, 7, 1, "key bools: bool; found 7"},
        {N, 0, 0, 0, 8, ""},
        {N, 0, 0, 256, 8, ""},
        {N, 0, 0, UINT64_MAX, 8, "tensor name"},
        {N, 0, 0, 1ull << 63, 8, "tensor name"},
        {N, 0, 9, 0, 1, ""}, /* NUL in a name */
        {I, 0, 0, 0, 4, "output_norm.weight: number of dimensions; found 0"},
        {I, 0, 0, 5, 4, "number of dimensions; found 5; expected 1 to 4"},
        {I, 0, 0, 0xffffffff, 4, "number of dimensions; found 4294967295"},
        {I, 0, 4, 0, 8, "output_norm.weight: dimension 0; found 0"},
        {I, 2, 12, 0, 8, "blk.0.time_mix_lerp_fused.weight: dimension 1; found 0"},
        {I, 0, 4, UINT64_MAX, 8, "output_norm.weight"},
        {I, 0, 4, 1ull << 63, 8, "output_norm.weight"},
        {I, 0, 4, 1ull << 62, 8, "output_norm.weight"},
        {I, 0, 4, (1ull << 62) + 3, 8, "output_norm.weight"}, /* x 4 wraps to 12 */
        {I, 0, 4, 1ull << 31, 8, "output_norm.weight"},
        {I, 1, 12, 1ull << 58, 8, "token_embd.weight"},
        {I, 1, 12, (1ull << 58) + 2, 8, "token_embd.weight"},
        {I, 1, 4, 63, 8, "token_embd.weight: row length; found 63; expected a multiple of 32"},
        {I, 3, 4, 255, 8, "output.weight: row length; found 255; expected a multiple of 256"},
        {I, 1, 12, 3, 8, "blk.0.time_mix_lerp_fused.weight: offset"},
        {I, 3, 4, 512, 8, "output.weight: file ends"},
        {I, 0, 12, 4, 4, "output_norm.weight: type; found 4; expected one of F32 F16 Q4_0"},
        {I, 0, 12, 5, 4, "type; found 5"},
        {I, 0, 12, 9, 4, "type; found 9"},
        {I, 0, 12, 31, 4, "type; found 31"},
        {I, 0, 12, 32, 4, "type; found 32"},
        {I, 0, 12, 39, 4, "type; found 39"},
        {I, 0, 12, 0xffffffff, 4, "type; found 4294967295"},
        {I, 0, 16, 1, 8, "output_norm.weight: offset; found 1; expected 0"},
        {I, 0, 16, 32, 8, "output_norm.weight: offset; found 32; expected 0"},
        {I, 1, 24, 0, 8, "token_embd.weight: offset; found 0; expected 32"},
        {I, 1, 24, 12, 8, "token_embd.weight: offset; found 12; expected 32"},
        {I, 1, 24, 33, 8, "token_embd.weight: offset; found 33"},
        {I, 1, 24, 64, 8, "token_embd.weight: offset; found 64"},
        {I, 1, 24, UINT64_MAX, 8, "token_embd.weight: offset"},
        {I, 3, 16, 1ull << 63, 8, "output.weight: offset"},
        {I, 3, 16, UINT64_MAX - 31, 8, "output.weight: offset"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        gguf_file g = make(NULL);
        char label[32];
        size_t at = lies[i].at;
        if (lies[i].from == K || lies[i].from == M) at += g.meta[lies[i].i];
        if (lies[i].from == N || lies[i].from == I) at += g.info[lies[i].i];
        if (lies[i].from == M) at += 8 + (size_t)rw_le64(g.b.data + g.meta[lies[i].i]);
        if (lies[i].from == I) at += 8 + (size_t)rw_le64(g.b.data + g.info[lies[i].i]);
        patch_le(&g.b, at, lies[i].value, lies[i].width);
        snprintf(label, sizeof label, "lie %zu", i);
        expect_refused(rw_read_gguf, g.b.data, g.b.len, lies[i].needle, label);
        rw_buf_free(&g.b);
    }
}

static void refuses_duplicate_tensors(void **state) {
    (void)state;
    gguf_file g = make(NULL);
    /* "output.weight" becomes a second "token_embd.weight": 4 bytes longer, so the names are
     * rewritten */
    rw_buf b = {0};
    put_bytes(&b, g.b.data, g.info[3]);
    put_string(&b, "token_embd.weight");
    put_bytes(&b, g.b.data + g.info[3] + 8 + strlen("output.weight"), 24);
    pad_to(&b, 32);
    put_bytes(&b, g.b.data + g.data, g.b.len - g.data);
    expect_refused(rw_read_gguf, b.data, b.len, "token_embd.weight", "duplicate tensor");
    rw_buf_free(&b);
    rw_buf_free(&g.b);
}

static void refuses_bad_alignment(void **state) {
    (void)state;
    static const uint32_t values[] = {0,  1,  2,  3,       4,          12,
                                      31, 33, 48, 0x20000, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        gguf_file g = make(&(gguf_wish){.alignment = 32});
        patch_le(&g.b, g.meta[16] + 8 + strlen("general.alignment") + 4, values[i], 4);
        expect_refused(rw_read_gguf, g.b.data, g.b.len, "general.alignment; found", "alignment");
        rw_buf_free(&g.b);
    }
    /* consistent with itself, but not with the offsets */
    gguf_file g = make(&(gguf_wish){.alignment = 32});
    patch_le(&g.b, g.meta[16] + 8 + strlen("general.alignment") + 4, 64, 4);
    expect_refused(rw_read_gguf, g.b.data, g.b.len, "offset", "another alignment");
    rw_buf_free(&g.b);
    static const struct {
        const char *bytes;
        size_t len;
    } wrong[] = {
        {"\x08\0\0\0\x02\0\0\0\0\0\0\0"
         "32",
         14},                                                     /* string */
        {"\x06\0\0\0\0\0\0\x42", 8},                              /* f32 32.0 */
        {"\x07\0\0\0\x01", 5},                                    /* bool */
        {"\x09\0\0\0\x04\0\0\0\x01\0\0\0\0\0\0\0\x20\0\0\0", 20}, /* array of u32 */
    };
    for (size_t i = 0; i < 4; i++) {
        g = make(&(gguf_wish){
            .extra_key = "general.alignment", .extra = wrong[i].bytes, .extra_len = wrong[i].len});
        expect_refused(rw_read_gguf, g.b.data, g.b.len, "general.alignment", "type of alignment");
        rw_buf_free(&g.b);
    }
}

/* Every type under one key, asked for as each of the three that the getters know. */
static void getters_check_types(void **state) {
    (void)state;
    gguf_file g = make(NULL);
    test_read r = read_bytes(rw_read_gguf, g.b.data, g.b.len);
    assert_non_null(r.t);
    static const struct {
        const char *key;
        bool u64, f64, str;
    } answers[] = {{"u8", 1, 0, 0},
                   {"u16", 1, 0, 0},
                   {"u32", 1, 0, 0},
                   {"u64", 1, 0, 0},
                   {"i8", 0, 0, 0},
                   {"bool", 0, 0, 0},
                   {"f32", 0, 1, 0},
                   {"f64", 0, 1, 0},
                   {"empty", 0, 0, 0},
                   {"strings", 0, 0, 0},
                   {"numbers", 0, 0, 0},
                   {"bools", 0, 0, 0},
                   {"general.architecture", 0, 0, 1}};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        rwkv_error err = {0};
        uint64_t u;
        double f;
        const char *s;
        size_t len;
        bool found;
        const char *key = answers[i].key;
        bool integer = rw_meta_find(r.t, key)->kind == RW_META_U64;
        rwkv_status st = rw_meta_u64(r.t, key, &u, &found, &err);
        assert_int_equal(st, answers[i].u64 ? RWKV_OK : RWKV_E_FORMAT);
        if (st) assert_non_null(strstr(err.message, key));
        if (!integer && rw_meta_find(r.t, key)->kind != RW_META_I64) {
            st = rw_meta_f64(r.t, key, &f, &found, &err);
            assert_int_equal(st, answers[i].f64 ? RWKV_OK : RWKV_E_FORMAT);
        }
        st = rw_meta_str(r.t, key, &s, &len, &found, &err);
        assert_int_equal(st, answers[i].str ? RWKV_OK : RWKV_E_FORMAT);
        if (st) assert_non_null(strstr(err.message, key));
    }
    read_free(&r);
    rw_buf_free(&g.b);
}

/* Arrays in arrays, as deep as one likes: refused at the second. */
static void refuses_nested_arrays(void **state) {
    (void)state;
    rw_buf nest = {0};
    for (size_t i = 0; i < 100000; i++) {
        put_le(&nest, 9, 4);
        if (i) put_le(&nest, 1, 8);
    }
    gguf_file g =
        make(&(gguf_wish){.extra_key = "deep", .extra = nest.data, .extra_len = nest.len});
    expect_refused(rw_read_gguf, g.b.data, g.b.len,
                   "key deep: type of array elements; found 9 (array)", "deep");
    rw_buf_free(&g.b);
    rw_buf_free(&nest);
}

static void refuses_truncation(void **state) {
    (void)state;
    gguf_file g = make(NULL);
    expect_cuts_refused(rw_read_gguf, g.b.data, g.b.len, g.data, NULL);
    rw_buf_free(&g.b);
}

static void survives_mutants(void **state) {
    (void)state;
    gguf_file g = make(&(gguf_wish){.alignment = 32});
    size_t accepted = mutate_and_read(rw_read_gguf, g.b.data, g.b.len, 4, 6000);
    assert_true(accepted > 0 && accepted < 6000);
    rw_buf_free(&g.b);
}

/* 65536 strings take no time to speak of, 65536 tensors neither. */
static void reads_many(void **state) {
    (void)state;
    rw_buf b = {0};
    char name[32];
    put_text(&b, "GGUF");
    put_le(&b, 3, 4);
    put_le(&b, RW_MAX_TENSORS, 8);
    put_le(&b, 1, 8);
    put_key(&b, "tokenizer.ggml.tokens", 9);
    put_le(&b, 8, 4);
    put_le(&b, 65536, 8);
    for (size_t i = 0; i < 65536; i++) {
        snprintf(name, sizeof name, "token %zu", i);
        put_string(&b, name);
    }
    for (size_t i = 0; i < RW_MAX_TENSORS; i++) {
        snprintf(name, sizeof name, "tensor.%zu", i);
        put_string(&b, name);
        put_le(&b, 1, 4);
        put_le(&b, 1, 8);
        put_le(&b, RW_F32, 4);
        put_le(&b, 32 * i, 8);
    }
    pad_to(&b, 32);
    size_t data = b.len;
    assert_true(rw_buf_reserve(&b, 32 * RW_MAX_TENSORS));
    memset(b.data + data, 0, 32 * RW_MAX_TENSORS);
    b.len += 32 * RW_MAX_TENSORS;
    test_read r = read_bytes(rw_read_gguf, b.data, b.len);
    if (!r.t) fail_msg("%s", r.err.message);
    check_table(&r);
    assert_int_equal(r.t->n_tensors, RW_MAX_TENSORS);
    assert_int_equal(rw_meta_find(r.t, "tokenizer.ggml.tokens")->v.strs.n, 65536);
    read_free(&r);
    rw_buf_free(&b);
}

static void reads_llama_cpp_files(void **state) {
    (void)state;
    static const struct {
        const char *path, *arch;
        rw_type emb;
        size_t n_dims;
    } files[] = {
        {"golden/gguf/v6-F16.gguf", "rwkv6", RW_F16, 4},
        {"golden/gguf/v6-Q8_0.gguf", "rwkv6", RW_Q8_0, 4},
        {"golden/gguf/v7-BF16.gguf", "rwkv7", RW_BF16, 4},
        {"golden/gguf/v7-F16.gguf", "rwkv7", RW_F16, 4},
        {"golden/gguf/v7-D256-IQ4_XS.gguf", "rwkv7", RW_TYPE_COUNT, 4},
        {"golden/gguf/v7-D256-Q4_K_M.gguf", "rwkv7", RW_TYPE_COUNT, 4},
    };
    if (!shared_path(files[0].path)) skip();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t n, len;
        const char *arch;
        void *data = slurp(shared_path(files[i].path), &n);
        test_read r = read_bytes(rw_read_gguf, data, n);
        if (!r.t) fail_msg("%s: %s", files[i].path, r.err.message);
        check_table(&r);
        assert_int_equal(rw_meta_str(r.t, "general.architecture", &arch, &len, NULL, NULL),
                         RWKV_OK);
        assert_int_equal(len, strlen(files[i].arch));
        assert_memory_equal(arch, files[i].arch, len);
        const rw_tensor *t = rw_table_find(r.t, "token_embd.weight");
        assert_int_equal(t->dims[0], rw_meta_find(r.t, "tokenizer.ggml.tokens")->v.strs.n);
        if (files[i].emb != RW_TYPE_COUNT) assert_int_equal(t->type, files[i].emb);
        t = rw_table_find(r.t, "blk.0.time_mix_lerp_fused.weight");
        assert_int_equal(t->n_dims, files[i].n_dims);
        for (size_t k = 0; k < r.t->n_tensors; k++) {
            float *values = tensor_floats(&r.t->tensors[k]);
            for (uint64_t e = 0; e < r.t->tensors[k].n_elems; e++)
                assert_true(values[e] - values[e] == 0);
            free(values);
        }
        read_free(&r);
        free(data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_metadata),        cmocka_unit_test(reads_tensors),
        cmocka_unit_test(refuses_lies),          cmocka_unit_test(refuses_duplicate_tensors),
        cmocka_unit_test(refuses_bad_alignment), cmocka_unit_test(getters_check_types),
        cmocka_unit_test(refuses_nested_arrays), cmocka_unit_test(refuses_truncation),
        cmocka_unit_test(survives_mutants),      cmocka_unit_test(reads_many),
        cmocka_unit_test(reads_llama_cpp_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
