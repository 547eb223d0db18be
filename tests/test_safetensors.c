/* test_safetensors.c - .safetensors files: golden ones as they are, and everything that is not
 * exactly one is refused (reliability.md F, S1 to S4). */
#include "support_readers.h"
#include <time.h>

/* A file of this header and so many bytes of data behind. */
static rw_buf st_file(const char *header, size_t header_len, size_t data) {
    rw_buf b = {0};
    put_le(&b, header_len, 8);
    put_bytes(&b, header, header_len);
    for (size_t i = 0; i < data; i++) put_le(&b, i, 1);
    return b;
}

static test_read read_header(const char *header, size_t data) {
    rw_buf b = st_file(header, strlen(header), data);
    test_read r = read_bytes(rw_read_safetensors, b.data, b.len);
    rw_buf_free(&b);
    return r;
}

static void refused(const char *header, size_t header_len, size_t data, const char *needle) {
    rw_buf b = st_file(header, header_len, data);
    expect_refused(rw_read_safetensors, b.data, b.len, needle, header);
    rw_buf_free(&b);
}

/* Every type, the fields in any order, odd offsets, blanks, escapes, an empty tensor and a number.
 */
static const char sample[] =
    "{\"__metadata__\":{\"format\":\"pt\",\"a\\u00e9\":\"\\n\"},\n"
    "\"w\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[5,17]},\n"
    "\"bl\\u006fck.\xe4\xbd\xa0\":{\"data_offsets\":[1,5],\"shape\":[1],\"dtype\":\"F32\"},\n"
    "\"number\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},\n"
    "\"empty\":{\"dtype\":\"F16\",\"shape\":[3,0,2],\"data_offsets\":[5,5]},\n"
    "\"nothing\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[17,17]},\n"
    "\"deep\":{\"dtype\":\"I8\",\"shape\":[1,1,2,1,1],\"data_offsets\":[17,19]}}  ";
enum { SAMPLE_DATA = 19, SAMPLE_TENSORS = 6 };

static void reads_what_is_there(void **unused) {
    (void)unused;
    test_read r = read_header(sample, SAMPLE_DATA);
    if (!r.t) fail_msg("%s", r.err.message);
    check_table(&r);
    assert_int_equal(r.t->n_tensors, SAMPLE_TENSORS);
    const rw_tensor *w = rw_table_find(r.t, "w"), *block = rw_table_find(r.t, "block.\xe4\xbd\xa0");
    assert_non_null(w);
    assert_non_null(block);
    assert_int_equal(w->type, RW_BF16);
    assert_int_equal(w->n_dims, 2);
    assert_int_equal(w->dims[0], 2);
    assert_int_equal(w->dims[1], 3);
    assert_int_equal(w->bytes, 12);
    assert_int_equal(w->offset, 8 + strlen(sample) + 5);
    assert_int_equal(w->data[0], 5); /* the data counts up */
    assert_int_equal(block->data[0], 1);
    assert_int_equal(block->type, RW_F32);
    const rw_tensor *number = rw_table_find(r.t, "number"), *empty = rw_table_find(r.t, "empty");
    assert_int_equal(number->n_dims, 0);
    assert_int_equal(number->n_elems, 1);
    assert_int_equal(number->data[0], 0);
    assert_int_equal(empty->n_elems, 0);
    assert_int_equal(empty->n_dims, 3);
    assert_int_equal(rw_table_find(r.t, "deep")->n_dims, 5);
    const char *s;
    size_t n;
    assert_int_equal(rw_meta_str(r.t, "meta.format", &s, &n, NULL, NULL), RWKV_OK);
    assert_int_equal(n, 2);
    assert_memory_equal(s, "pt", 2);
    assert_int_equal(rw_meta_str(r.t, "meta.a\xc3\xa9", &s, &n, NULL, NULL), RWKV_OK);
    assert_memory_equal(s, "\n", 1);
    read_free(&r);
    static const char *const bare[] = {"{}", "{ }   ", "{\"__metadata__\":{}}"};
    for (size_t i = 0; i < 3; i++) {
        r = read_header(bare[i], 0);
        assert_non_null(r.t);
        assert_int_equal(r.t->n_tensors, 0);
        read_free(&r);
    }
}

static void every_dtype(void **unused) {
    (void)unused;
    static const struct {
        const char *name;
        rw_type type;
        unsigned bytes;
    } known[] = {{"F64", RW_F64, 8}, {"F32", RW_F32, 4}, {"F16", RW_F16, 2}, {"BF16", RW_BF16, 2},
                 {"I64", RW_I64, 8}, {"I32", RW_I32, 4}, {"I16", RW_I16, 2}, {"I8", RW_I8, 1},
                 {"U8", RW_U8, 1},   {"BOOL", RW_U8, 1}};
    char header[200];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        snprintf(header, sizeof header,
                 "{\"x\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%u]}}", known[i].name,
                 3 * known[i].bytes);
        test_read r = read_header(header, 3 * known[i].bytes);
        if (!r.t) fail_msg("%s", r.err.message);
        assert_int_equal(r.t->tensors[0].type, known[i].type);
        read_free(&r);
        snprintf(header, sizeof header,
                 "{\"x\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%u]}}", known[i].name,
                 3 * known[i].bytes + 1);
        refused(header, strlen(header), 3 * known[i].bytes + 1,
                "tensor x: found data_offsets [0, ");
    }
    static const char *const unknown[] = {"F8_E4M3", "f32", "", "BF16 ", "C64", "F\\u00332x"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        snprintf(header, sizeof header,
                 "{\"x\":{\"dtype\":\"%s\",\"shape\":[4],\"data_offsets\":[0,4]}}", unknown[i]);
        refused(header, strlen(header), 4,
                "expected F32, F16, BF16, F64, I8, I16, I32, I64, U8 or BOOL");
    }
}

/* S1 */
static void refuses_header_lengths(void **unused) {
    (void)unused;
    static const uint64_t lengths[] = {
        0,        1,          3,          99999999,       100000000,      100000001, 0x7fffffff,
        1u << 31, 0xffffffff, 1ull << 63, UINT64_MAX - 8, UINT64_MAX - 7, UINT64_MAX};
    rw_buf b = st_file("{}", 2, 0);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        patch_le(&b, 0, lengths[i], 8);
        const char *needle =
            lengths[i] < 2 || lengths[i] > 100000000 ? "header length: found" : "the file ends";
        expect_refused(rw_read_safetensors, b.data, b.len, needle, "header length");
    }
    for (size_t n = 0; n < 8; n++)
        expect_refused(rw_read_safetensors, b.data, n, "header length", "no length");
    rw_buf_free(&b);
    b = st_file("{}", 2, 1);
    expect_refused(rw_read_safetensors, b.data, b.len, "1 bytes follow", "trailing byte");
    rw_buf_free(&b);
}

/* F1: at every byte of the header, and in the data. */
static void refuses_cut_files(void **unused) {
    (void)unused;
    rw_buf b = st_file(sample, strlen(sample), SAMPLE_DATA);
    expect_cuts_refused(rw_read_safetensors, b.data, b.len, b.len - SAMPLE_DATA, NULL);
    for (size_t n = b.len - SAMPLE_DATA; n < b.len; n++)
        expect_refused(rw_read_safetensors, b.data, n, "", "cut data");
    rw_buf_free(&b);
}

/* S2, F3, F5: shape and place of a tensor. */
static void refuses_lies_about_data(void **unused) {
    (void)unused;
    static const struct {
        const char *tensor; /* what stands behind "a": */
        size_t data;
        const char *needle;
    } lies[] = {
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[-16,0]}", 16, "expected an unsigned"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16.0]}", 16, "expected an unsigned"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,1.6e1]}", 16,
         "expected an unsigned"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,\"16\"]}", 16,
         "expected an unsigned"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,1e300]}", 16,
         "expected an unsigned"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,18446744073709551616]}", 16,
         "64-bit"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,18446744073709551615]}", 16,
         "tensor a: found data_offsets"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[18446744073709551600,0]}", 16,
         "tensor a: found data_offsets"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}", 16,
         "tensor a: found data_offsets"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,15]}", 16,
         "tensor a: found data_offsets"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}", 15, "within 15 bytes"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[4,20]}", 20, "no hole"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}", 17, "1 bytes follow"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[]}", 16, "expected two numbers"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0]}", 16, "expected two numbers"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16,16]}", 16,
         "expected two numbers"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":{}}", 16, "expected an array"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[[0,16]]}", 16, "expected an unsigned"},
        {"{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,16]}", 16, "expected an array"},
        {"{\"dtype\":\"F32\",\"shape\":[-4],\"data_offsets\":[0,16]}", 16, "expected an unsigned"},
        {"{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,4],\"data_offsets\":[0,16]}", 16,
         "at most 5 dimensions"},
        {"{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}", 0,
         "tensor a: the product"},
        {"{\"dtype\":\"F32\",\"shape\":[4294967296,4294967297],\"data_offsets\":[0,16]}", 16,
         "tensor a: the product"},
        {"{\"dtype\":\"F32\",\"shape\":[4611686018427387908],\"data_offsets\":[0,16]}", 16,
         "tensor a: found"},
        {"{\"dtype\":\"F64\",\"shape\":[2305843009213693954],\"data_offsets\":[0,16]}", 16,
         "tensor a: found"},
        {"{\"dtype\":\"U8\",\"shape\":[18446744073709551615],\"data_offsets\":[0,16]}", 16,
         "tensor a: found"},
        {"{\"dtype\":\"U8\",\"shape\":[18446744073709551615,0,2],\"data_offsets\":[0,16]}", 16,
         "tensor a: found"},
        {"{\"dtype\":7,\"shape\":[4],\"data_offsets\":[0,16]}", 16, "dtype: found number 7"},
        {"{\"dtype\":\"F32\",\"shape\":[4]}", 16,
         "tensor a: dtype, shape or data_offsets is missing"},
        {"{\"dtype\":\"F32\",\"data_offsets\":[0,16]}", 16,
         "tensor a: dtype, shape or data_offsets is missing"},
        {"{\"shape\":[4],\"data_offsets\":[0,16]}", 16,
         "tensor a: dtype, shape or data_offsets is missing"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],\"shape\":[4]}", 16,
         "once each"},
        {"{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}", 16,
         "once each"},
        {"{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],\"x\":1}", 16, "once each"},
        {"[]", 16, "expected an object"},
        {"null", 16, "expected an object"},
    };
    char header[400];
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        snprintf(header, sizeof header, "{\"a\":%s}", lies[i].tensor);
        refused(header, strlen(header), lies[i].data, lies[i].needle);
    }
}

/* Two tensors of 16 bytes: begin and end of each, size of the data. */
static void refuses_holes_and_overlaps(void **unused) {
    (void)unused;
    static const struct {
        unsigned a, b, data;
        const char *needle; /* NULL: fine */
    } places[] = {
        {0, 16, 32, NULL},
        {16, 0, 32, NULL},
        {0, 0, 16, "no overlap"},
        {0, 0, 32, "no overlap"},
        {0, 15, 31, "no overlap"},
        {15, 0, 31, "no overlap"},
        {0, 17, 33, "no hole"},
        {1, 17, 33, "no hole"},
        {0, 16, 33, "1 bytes follow"},
        {16, 0, 40, "8 bytes follow"},
        {16, 32, 48, "no hole"},
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char header[300];
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[%u,%u]},"
                 "\"b\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[%u,%u]}}",
                 places[i].a, places[i].a + 16, places[i].b, places[i].b + 16);
        if (places[i].needle) {
            refused(header, strlen(header), places[i].data, places[i].needle);
            continue;
        }
        test_read r = read_header(header, places[i].data);
        assert_non_null(r.t);
        check_table(&r);
        read_free(&r);
    }
}

/* S3 */
static void refuses_other_json(void **unused) {
    (void)unused;
#define T(offsets) "{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":" offsets "}"
#define LIE(s, needle)                                                                             \
    { s, sizeof s - 1, needle }
    static const struct {
        const char *header;
        size_t len;
        const char *needle;
    } lies[] = {
        LIE("{\"a\":" T("[0,1]") ",\"a\":" T("[1,2]") "}", "occurs twice; the first is at 113"),
        LIE("{\"a\":" T("[0,1]") ",\"\\u0061\":" T("[1,2]") "}", "occurs twice"),
        LIE("{\"a\":" T("[0,1]") ",\"b\":" T("[1,2]") ",}", "expected a key"),
        LIE("{\"a\":" T("[0,1]") ",\"b\":" T("[1,2]") "", "found the end"),
        LIE("{\"a\":" T("[0,1]") ",\"b\":" T("[1,2]") "}x", "expected the end"),
        LIE("{\"a\":" T("[0,1]") ",\"b\":" T("[1,2]") "}\0", "expected the end"),
        LIE(" {\"a\":" T("[0,2]") "}", "found byte 0x20; expected '{'"),
        LIE("\xef\xbb\xbf{\"a\":" T("[0,2]") "}", "found byte 0xef"),
        LIE("[]", "expected '{'"),
        LIE("\"{}\"", "expected '{'"),
        LIE("{/**/}", "expected a key"),
        LIE("{\"\":" T("[0,2]") "}", "data_offsets"),
        LIE("{\"\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
            "tensor name: found 0 bytes"),
        LIE("{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", "zero byte"),
        LIE("{\"\xff\":" T("[0,2]") "}", "invalid UTF-8"),
        LIE("{\"\xc0\xaf\":" T("[0,2]") "}", "invalid UTF-8"),
        LIE("{\"\\ud800\":" T("[0,2]") "}", "lone surrogate"),
        LIE("{\"\x1b[31m\":" T("[0,2]") "}", "control byte"),
        LIE("{\"\\u001b[31m\":" T("[0,2]") "}", "\\x1b[31m"),
        LIE("{\"__metadata__\":[]}", "__metadata__: found an array; expected an object"),
        LIE("{\"__metadata__\":{\"a\":1}}", "__metadata__: found number 1; expected a string"),
        LIE("{\"__metadata__\":{\"a\":null}}", "expected a string"),
        LIE("{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", "expected a string"),
        LIE("{\"__metadata__\":{\"a\":\"1\",\"a\":\"1\"}}", "key meta.a occurs twice"),
        LIE("{\"__metadata__\":{},\"__metadata__\":{}}", "__metadata__ once"),
        LIE("{\"__metadata__\":\"x\"}", "expected an object"),
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++)
        refused(lies[i].header, lies[i].len, 2, lies[i].needle);
#undef LIE
    /* nesting, and names that are too long */
    enum { DEEP = 1000000 };
    char *header = malloc(DEEP);
    assert_non_null(header);
    memcpy(header, "{\"a\":", 5);
    memset(header + 5, '[', DEEP - 5);
    refused(header, DEEP, 0, "expected an object");
    for (int i = 0; i + 5 <= DEEP; i += 5) memcpy(header + i, "{\"a\":", 5);
    refused(header, DEEP / 5 * 5, 0, "expected dtype, shape and data_offsets");
    for (size_t n = 254; n <= 256; n++) {
        size_t len = (size_t)snprintf(header, DEEP, "{\"%0*d\":%s}", (int)n, 0, T("[0,1]"));
        if (n > 255) {
            refused(header, len, 1, "tensor name");
            continue;
        }
        test_read r = read_header(header, 1);
        assert_non_null(r.t);
        assert_int_equal(strlen(r.t->tensors[0].name), n);
        read_free(&r);
        len = (size_t)snprintf(header, DEEP, "{\"__metadata__\":{\"%0*d\":\"\"}}", (int)n, 0);
        refused(header, len, 0, "keys of at most 250 bytes");
    }
    free(header);
}

/* As many tensors as are allowed are read in linear time; more are refused without more ado. */
static void a_million_keys(void **unused) {
    (void)unused;
    static const size_t counts[] = {RW_MAX_TENSORS, RW_MAX_TENSORS + 1, 1000000};
    for (size_t c = 0; c < 3; c++) {
        rw_buf h = {0};
        put_text(&h, "{");
        for (size_t i = 0; i < counts[c]; i++) {
            char row[128];
            snprintf(row, sizeof row,
                     "%s\"tensor.%zu\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}",
                     i ? "," : "", i, counts[c] - 1 - i, counts[c] - i); /* backwards */
            put_text(&h, row);
        }
        put_text(&h, "}");
        rw_buf b = st_file((char *)h.data, h.len, counts[c]);
        clock_t begin = clock();
        test_read r = read_bytes(rw_read_safetensors, b.data, b.len);
        assert_true(clock() - begin < 5 * CLOCKS_PER_SEC);
        if (c == 0) {
            if (!r.t) fail_msg("%s", r.err.message);
            assert_int_equal(r.t->n_tensors, counts[c]);
            assert_int_equal(r.t->tensors[0].data[0], (counts[c] - 1) & 255);
        } else {
            assert_null(r.t);
            assert_non_null(strstr(r.err.message, "more than 65536 tensors"));
        }
        read_free(&r);
        rw_buf_free(&b);
        rw_buf_free(&h);
    }
}

/* S4: a second meaning behind or between the tensors has no place. */
static void refuses_polyglots(void **unused) {
    (void)unused;
    static const char zip_end[] = "PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    rw_buf b = st_file(sample, strlen(sample), SAMPLE_DATA);
    put_bytes(&b, zip_end, sizeof zip_end);
    expect_refused(rw_read_safetensors, b.data, b.len, "22 bytes follow", "zip behind");
    rw_buf_free(&b);
}

static void mutants(void **unused) {
    (void)unused;
    rw_buf b = st_file(sample, strlen(sample), SAMPLE_DATA);
    size_t accepted = mutate_and_read(rw_read_safetensors, b.data, b.len, 7, 20000);
    assert_in_range(accepted, 1, 10000); /* names, metadata and data may change */
    rw_buf_free(&b);
}

/* ---- files of others (../shared) */

static void golden_files(void **unused) {
    (void)unused;
    static const struct {
        const char *path, *tensor;
        size_t n_tensors;
        rw_type type;
        uint64_t dims[2], offset;
        const char *sha256;
    } golden[] = {
        {"v7-blink.safetensors",
         "blocks.1.att.w1",
         72,
         RW_BF16,
         {64, 32},
         185384,
         "dfb851d797758ef01736c2361c2459b37188657ec9fb103406556e13ca8ebaa1"},
        {"v7-web-rwkv.st",
         "blocks.1.att.w1",
         72,
         RW_F16,
         {32, 64},
         185312,
         "c0387b308a31dcd0fbfce7230b2263b3a509835eefb68a0de7a4b407cf4db79c"},
        {"hf-rwkv7/model.safetensors",
         "model.layers.1.attn.w_lora.lora.0.weight",
         69,
         RW_BF16,
         {32, 64},
         177632,
         "e3877519b0984bd20a47c5d373a6cb55db3cbc1b42347e55c57b098c56e999bb"},
        {"hf-rwkv6/model.safetensors",
         "rwkv.blocks.1.attention.time_maa_w1",
         62,
         RW_BF16,
         {64, 160},
         209424,
         "bd76545d618502eb9dbca9c378d7871ad6469bc4574b420b0ffd62e3e8aa0677"},
        {"v6-web-rwkv.st",
         "head.weight",
         62,
         RW_F16,
         {280, 64},
         373592,
         "7cd1833705c0ca3e6c19ef1073d69d56ef93ac220b61eec6bab61e0f953dcb1c"},
    };
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        char path[300];
        snprintf(path, sizeof path, "golden/safetensors/%s", golden[i].path);
        const char *found = shared_path(path);
        if (!found) skip();
        size_t n;
        uint8_t *data = slurp(found, &n);
        test_read r = read_bytes(rw_read_safetensors, data, n);
        if (!r.t) fail_msg("%s", r.err.message);
        check_table(&r);
        assert_int_equal(r.t->n_tensors, golden[i].n_tensors);
        const rw_tensor *t = rw_table_find(r.t, golden[i].tensor);
        assert_non_null(t);
        assert_int_equal(t->type, golden[i].type);
        assert_int_equal(t->dims[0], golden[i].dims[0]);
        assert_int_equal(t->dims[1], golden[i].dims[1]);
        assert_int_equal(t->offset, golden[i].offset);
        rw_sha256 s;
        uint8_t hash[32];
        char hex[65];
        rw_sha256_init(&s);
        rw_sha256_add(&s, t->data, t->bytes);
        rw_sha256_end(&s, hash);
        for (int k = 0; k < 32; k++) snprintf(hex + 2 * k, 3, "%02x", hash[k]);
        assert_string_equal(hex, golden[i].sha256);
        size_t header = 8 + (size_t)rw_le64(data);
        read_free(&r);
        expect_cuts_refused(rw_read_safetensors, data, n, header, NULL);
        assert_in_range(mutate_and_read(rw_read_safetensors, data, n, i, 300), 0, 300);
        free(data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_is_there),
        cmocka_unit_test(every_dtype),
        cmocka_unit_test(refuses_header_lengths),
        cmocka_unit_test(refuses_cut_files),
        cmocka_unit_test(refuses_lies_about_data),
        cmocka_unit_test(refuses_holes_and_overlaps),
        cmocka_unit_test(refuses_other_json),
        cmocka_unit_test(a_million_keys),
        cmocka_unit_test(refuses_polyglots),
        cmocka_unit_test(mutants),
        cmocka_unit_test(golden_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
