/* test_packed.c - packed files: the bits of the file they are made of, and nothing that is not
 * right in every respect. */
#include "support_models.h"
#include "file/file.h"
#include "quant/pack.h"
#include <math.h>
#include <sys/stat.h>

/* Rows that fill neither strips nor blocks; FFN rows that come in whole tiles and that do not. */
static const test_shape shapes[] = {
    {.version = "4", .D = 256, .F = 544, .V = 300},
    {.version = "6", .D = 256, .H = 4, .N = 64, .F = 576, .V = 300, .rank = 32},
    {.version = "7", .D = 256, .H = 4, .N = 64, .F = 512, .V = 300, .rank = 32},
    {.version = "7", .n_layer = 1, .D = 96, .H = 3, .N = 32, .F = 416, .V = 270},
    {.version = "7a", .D = 256, .H = 4, .N = 64, .F = 512, .V = 300, .rank = 32},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, MAX_V = 300 };

static void convert(const char *in, const char *out, const char *format, const char *type) {
    rwkv_convert_options o = {.format = format, .type = type, .n_threads = 2};
    rwkv_error err = {0};
    if (rwkv_convert(in, out, &o, &err) != RWKV_OK) fail_msg("%s", err.message);
}

static char *keep(char out[512], const char *name) {
    snprintf(out, 512, "%s", temp_path(name));
    return out;
}

/* ---- the same bits */

enum { PROMPT = 19, SINGLE = 3, N_LOGITS = (1 + SINGLE) * MAX_V };

/* Logits after a prompt and after each of a few tokens. */
static void run(const char *path, uint32_t flags, uint32_t n_threads, float out[N_LOGITS],
                rwkv_info *info) {
    rwkv_model_options o = {.n_threads = n_threads, .flags = flags};
    rwkv_error err = {0};
    rwkv_model *m = NULL;
    rwkv_session *s = NULL;
    int32_t ids[PROMPT];
    if (rwkv_model_open(&m, path, &o, &err) || rwkv_session_new(&s, m, &err))
        fail_msg("%s", err.message);
    rwkv_model_info(m, info);
    for (int i = 0; i < PROMPT; i++) ids[i] = (i * 37 + 11) % (int32_t)info->n_vocab;
    for (int i = 0; i <= SINGLE; i++) {
        if (rwkv_session_eval(s, ids, i ? 1 : PROMPT, &err)) fail_msg("%s", err.message);
        memcpy(out + i * MAX_V, rwkv_session_logits(s), info->n_vocab * sizeof *out);
        ids[0] = i + 5;
    }
    info->path = NULL; /* it ends with the model */
    rwkv_session_free(s);
    rwkv_model_free(m);
}

static void same_bits(void **state) {
    static const char *const types[] = {"Q4_0", "Q4_1", "Q5_0", "Q5_1",
                                        "Q8_0", "Q4_K", "Q5_K", "Q6_K"};
    static const struct {
        uint32_t flags, threads;
    } ways[] = {{0, 1}, {0, 3}, {RWKV_MODEL_NO_MMAP, 2}};
    (void)state;
    for (size_t s = 0; s < N_SHAPES; s++) {
        char pth[512], rows[512], packed[512], straight[512];
        keep(pth, "model.pth");
        test_model *m = test_model_new(&shapes[s]);
        test_model_save(m, AS_PTH, RW_BF16, pth);
        test_model_free(m);
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            static float want[N_LOGITS], got[N_LOGITS];
            rwkv_info a, b;
            convert(pth, keep(rows, "rows.gguf"), "gguf", types[t]);
            convert(rows, keep(packed, "packed.gguf"), "packed", NULL);
            convert(pth, keep(straight, "straight.gguf"), "packed", types[t]);
            run(rows, 0, 1, want, &a);
            for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
                run(packed, ways[w].flags, ways[w].threads, got, &b);
                assert_memory_equal(want, got, sizeof want);
                assert_memory_equal(a.weights_hash, b.weights_hash, sizeof a.weights_hash);
                assert_memory_equal(a.fingerprint, b.fingerprint, sizeof a.fingerprint);
            }
            run(straight, 0, 2, got, &b);
            assert_memory_equal(want, got, sizeof want);
            assert_memory_equal(a.fingerprint, b.fingerprint, sizeof a.fingerprint);
        }
    }
}

/* rwkv.cpp's quantized files keep the head in float16: what is made of it in memory is in the file. */
static void a_head_of_halves(void **state) {
    static float want[N_LOGITS], got[N_LOGITS];
    char bin[512], rows[512], packed[512];
    rwkv_info a, b;
    rw_table *t = NULL;
    (void)state;
    convert(test_model_file(&shapes[0], AS_PTH, RW_F16), keep(bin, "model.bin"), "ggmf", "Q5_1");
    convert(bin, keep(rows, "rows.gguf"), "gguf", NULL);
    convert(rows, keep(packed, "packed.gguf"), "packed", NULL);
    assert_int_equal(rw_table_open(&t, rows, false, NULL), RWKV_OK);
    assert_int_equal(rw_table_find(t, "output.weight")->type, RW_F16);
    rw_table_close(t);
    assert_int_equal(rw_table_open(&t, packed, false, NULL), RWKV_OK);
    assert_int_equal(rw_table_find(t, "output.weight")->type, RW_Q8_0);
    assert_int_equal(rw_table_find(t, "output.weight")->layout, RW_STRIPS);
    rw_table_close(t);
    run(rows, 0, 1, want, &a);
    run(packed, 0, 2, got, &b);
    assert_memory_equal(want, got, sizeof want);
    assert_memory_equal(a.weights_hash, b.weights_hash, sizeof a.weights_hash);
}

/* The bytes do not depend on the number of threads. */
static void any_number_of_threads(void **state) {
    char rows[512], one[512], three[512];
    rwkv_error err = {0};
    size_t n, m;
    (void)state;
    convert(test_model_file(&shapes[2], AS_PTH, RW_F16), keep(rows, "rows.gguf"), "gguf", "Q5_1");
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        rwkv_convert_options o = {.format = "packed", .n_threads = threads};
        char *out = threads == 1 ? keep(one, "one.gguf") : keep(three, "three.gguf");
        if (rwkv_convert(rows, out, &o, &err) != RWKV_OK) fail_msg("%s", err.message);
    }
    void *a = slurp(one, &n), *b = slurp(three, &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
}

/* ---- refusals */

static void expect(rwkv_status found, rwkv_status wanted, const rwkv_error *err,
                   const char *needle) {
    if (found != wanted || !strstr(err->message, needle))
        fail_msg("status %d: %s; expected %d with '%s'", found, err->message, wanted, needle);
}

static void what_cannot_be(void **state) {
    char rows[512], packed[512], out[512];
    rwkv_convert_options to_packed = {.format = "packed"}, to_gguf = {0};
    rwkv_model_options exact = {.flags = RWKV_MODEL_EXACT, .n_threads = 1};
    rwkv_error err = {0};
    rwkv_model *m = NULL;
    rwkv_session *s = NULL;
    (void)state;
    keep(out, "out.gguf");
    const char *f16 = test_model_file(&shapes[0], AS_PTH, RW_F16);
    expect(rwkv_convert(f16, out, &to_packed, &err), RWKV_E_UNSUPPORTED, &err, "nothing to pack");
    test_shape v5 = {.version = "5.2", .D = 64, .H = 2, .N = 32, .F = 128};
    convert(test_model_file(&v5, AS_PTH, RW_F16), keep(rows, "rows.gguf"), "gguf", "Q8_0");
    expect(rwkv_convert(rows, out, &to_packed, &err), RWKV_E_UNSUPPORTED, &err, "nothing to pack");

    convert(test_model_file(&shapes[3], AS_PTH, RW_F16), keep(packed, "packed.gguf"), "packed",
            "Q8_0");
    expect(rwkv_convert(packed, out, &to_gguf, &err), RWKV_E_UNSUPPORTED, &err, "is packed");
    expect(rwkv_convert(packed, out, &to_packed, &err), RWKV_E_UNSUPPORTED, &err, "is packed");
    assert_int_equal(rwkv_model_open(&m, packed, &exact, &err), RWKV_OK);
    expect(rwkv_session_new(&s, m, &err), RWKV_E_UNSUPPORTED, &err, "exact");
    rwkv_model_free(m);
}

static uint8_t *packed_bytes(size_t *n) {
    char path[512];
    convert(test_model_file(&shapes[3], AS_PTH, RW_F16), keep(path, "packed.gguf"), "packed",
            "Q8_0");
    return slurp(path, n);
}

/* Where the text ends: the value of a key after its type, a tensor's record after its name. */
static uint8_t *after(uint8_t *data, size_t n, const char *text) {
    size_t len = strlen(text);
    for (size_t i = 0; i + len < n; i++)
        if (memcmp(data + i, text, len) == 0) return data + i + len;
    fail_msg("%s is not in the file", text);
    return NULL;
}

static rwkv_status open_bytes(const uint8_t *data, size_t n, rwkv_error *err) {
    char path[512];
    rwkv_model_options o = {.n_threads = 1, .flags = RWKV_MODEL_NO_MMAP};
    rwkv_model *m = NULL;
    rwkv_session *s = NULL;
    spill(keep(path, "hostile.gguf"), data, n);
    rwkv_status st = rwkv_model_open(&m, path, &o, err);
    if (st == RWKV_OK) st = rwkv_session_new(&s, m, err);
    if (st == RWKV_OK) st = rwkv_session_eval(s, (int32_t[]){1, 2, 3}, 3, err);
    if (st == RWKV_OK) st = rwkv_session_eval(s, (int32_t[]){4}, 1, err);
    rwkv_session_free(s);
    rwkv_model_free(m);
    return st;
}

static void wrong_headers(void **state) {
    enum {
        KIND = 4,
        DIMS = 4 + 2 * 8
    }; /* of a key's value; of a matrix's record before its type */
    static const struct {
        const char *at;
        size_t skip;
        uint8_t value;
        rwkv_status st;
        const char *needle;
    } cases[] = {
        {RW_LAYOUT_KEY, KIND, RW_LAYOUT_VERSION + 1, RWKV_E_UNSUPPORTED, "another version"},
        {RW_LAYOUT_KEY, KIND, 0, RWKV_E_UNSUPPORTED, "another version"},
        {RW_LAYOUT_KEY, 0, 6, RWKV_E_FORMAT, RW_LAYOUT_KEY},
        {"rwkv.packed.layou", 0, 'x', RWKV_E_UNSUPPORTED, "type; found"},
        {"general.alignment", KIND, 32, RWKV_E_FORMAT, "alignment"},
        {"token_embd.weight", DIMS + 1, RW_STRIPS, RWKV_E_FORMAT, "offset"},
        {"blk.0.time_mix_key.weight", DIMS + 1, RW_ROWS, RWKV_E_FORMAT, "offset"},
        {"blk.0.time_mix_key.weight", DIMS + 1, RW_COLUMNS, RWKV_E_FORMAT, "offset"},
        {"blk.0.time_mix_key.weight", DIMS + 1, RW_LAYOUT_COUNT, RWKV_E_UNSUPPORTED, "type; found"},
        {"blk.0.time_mix_key.weight", DIMS, RW_F16, RWKV_E_FORMAT, "can be packed"},
        {"blk.0.time_mix_key.weight", DIMS, RW_Q4_0, RWKV_E_FORMAT, "offset"},
        {"blk.0.time_mix_key.weight", 4, 64, RWKV_E_FORMAT, "offset"},
    };
    size_t n;
    uint8_t *data = packed_bytes(&n), *copy = malloc(n);
    rwkv_error err = {0};
    (void)state;
    assert_non_null(copy);
    assert_int_equal(open_bytes(data, n, &err), RWKV_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(copy, data, n);
        *(after(copy, n, cases[i].at) + cases[i].skip) = cases[i].value;
        expect(open_bytes(copy, n, &err), cases[i].st, &err, cases[i].needle);
    }
    for (size_t cut = 1; cut < n; cut += n / 40)
        assert_int_not_equal(open_bytes(data, n - cut, &err), RWKV_OK);
    free(copy);
    free(data);
}

/* 128 rows take as many bytes as one block and as eight strips, but a matrix has one layout. */
static void wrong_layouts(void **state) {
    enum { TYPE = 4 + 2 * 8 };
    static const struct {
        const char *name;
        rw_layout layout;
    } cases[] = {{"blk.0.channel_mix_key.weight", RW_COLUMNS},
                 {"blk.0.channel_mix_value.weight", RW_STRIPS}};
    char path[512];
    test_shape shape = {.version = "7", .D = 128, .H = 4, .N = 32, .F = 128, .V = 128};
    size_t n;
    rwkv_error err = {0};
    (void)state;
    convert(test_model_file(&shape, AS_PTH, RW_F16), keep(path, "packed.gguf"), "packed", "Q8_0");
    uint8_t *data = slurp(path, &n);
    for (size_t i = 0; i < 2; i++) {
        uint8_t *layout = after(data, n, cases[i].name) + TYPE + 1, was = *layout;
        *layout = (uint8_t)cases[i].layout;
        expect(open_bytes(data, n, &err), RWKV_E_MODEL, &err, cases[i].name);
        *layout = was;
    }
    assert_int_equal(open_bytes(data, n, &err), RWKV_OK);
    free(data);
}

/* RWKV_MODEL_CHECK and a scale that is no number, in strips and in columns. */
static void numbers_that_are_none(void **state) {
    char path[512];
    test_shape shape = {.version = "7", .D = 128, .H = 4, .N = 32, .F = 128, .V = 128};
    static const struct {
        const char *type, *tensor;
        rw_layout layout;
    } cases[] = {{"Q5_1", "blk.1.channel_mix_key.weight", RW_STRIPS},
                 {"Q5_1", "blk.1.channel_mix_value.weight", RW_COLUMNS},
                 {"Q8_0", "blk.0.channel_mix_value.weight", RW_COLUMNS}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rwkv_model_options o = {.n_threads = 1, .flags = RWKV_MODEL_CHECK};
        rwkv_error err = {0};
        rw_table *t = NULL;
        rwkv_model *m = NULL;
        size_t n;
        convert(test_model_file(&shape, AS_PTH, RW_F16), keep(path, "packed.gguf"), "packed",
                cases[i].type);
        assert_int_equal(rwkv_model_open(&m, path, &o, &err), RWKV_OK);
        rwkv_model_free(m);
        assert_int_equal(rw_table_open(&t, path, false, &err), RWKV_OK);
        const rw_tensor *w = rw_table_find(t, cases[i].tensor);
        assert_int_equal(w->layout, cases[i].layout);
        rw_pack pack = rw_pack_of(w->type);
        size_t offset = w->offset + rw_layout_rows(w->layout) * sizeof(float),
               mins = rw_pack_mins(pack);
        if (w->layout == RW_STRIPS)
            offset += mins ? rw_pack_mins_at(pack) : rw_pack_scales_at(pack);
        else
            offset += mins ? rw_slab_mins_at(pack) : rw_slab_scales_at(pack);
        rw_table_close(t);
        uint8_t *data = slurp(path, &n);
        memcpy(data + offset + 10, "\x00\x7e", 2); /* a half that is not a number */
        spill(path, data, n);
        free(data);
        expect(rwkv_model_open(&m, path, &o, &err), RWKV_E_NUMERIC, &err, cases[i].tensor);
    }
}

static void mutants_are_refused_or_work(void **state) {
    size_t n, refused = 0, begin;
    uint8_t *data = packed_bytes(&n), *copy = malloc(n);
    uint64_t rng = 17;
    (void)state;
    assert_non_null(copy);
    begin = n / 2; /* the header is small: half of the mutants are of it */
    for (int k = 0; k < 600; k++) {
        rwkv_error err = {0};
        memcpy(copy, data, n);
        for (uint64_t c = 1 + rng_u64(&rng) % 6; c > 0; c--) {
            size_t at = k % 2 ? begin + rng_u64(&rng) % (n - begin) : rng_u64(&rng) % 6000;
            copy[at] = (uint8_t)rng_u64(&rng);
        }
        rwkv_status st = open_bytes(copy, n, &err);
        refused += st != RWKV_OK;
        assert_true(st == RWKV_OK || err.message[0]);
    }
    assert_true(refused > 50);
    free(copy);
    free(data);
}

/* ---- the program */

static void program(void **state) {
    char dir[512], args[2048], path[640], *out = NULL, *err = NULL;
    struct stat st;
    (void)state;
    mkdir(keep(dir, "program"), 0700);
    snprintf(path, sizeof path, "%s/m.pth", dir);
    test_model *m = test_model_new(&shapes[2]);
    test_model_save(m, AS_PTH, RW_F16, path);
    test_model_free(m);
    snprintf(args, sizeof args, "pack '%s' --type q4_k --verify", path);
    int code = run_rwkv(args, NULL, &out, &err);
    if (code || !strstr(out, "m-Q4_K-packed.gguf") || !strstr(out, "Verified"))
        fail_msg("%d: %s%s", code, out, err);
    free(out);
    free(err);
    snprintf(path, sizeof path, "%s/m-Q4_K-packed.gguf", dir);
    assert_int_equal(stat(path, &st), 0);
    snprintf(args, sizeof args, "info '%s'", path);
    assert_int_equal(run_rwkv(args, NULL, &out, &err), 0);
    if (!strstr(out, "gguf (packed)") || !strstr(out, "Q4_K")) fail_msg("found %s", out);
    free(out);
    free(err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits),
        cmocka_unit_test(a_head_of_halves),
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(what_cannot_be),
        cmocka_unit_test(wrong_headers),
        cmocka_unit_test(wrong_layouts),
        cmocka_unit_test(numbers_that_are_none),
        cmocka_unit_test(mutants_are_refused_or_work),
        cmocka_unit_test(program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
