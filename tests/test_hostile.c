/* test_hostile.c - files that are damaged or are not what they should be, through rwkv_model_open,
 * in every container: each is refused in time, by a message that names the file and, where one is
 * to blame, the tensor; what is only odd is let in with a warning. The readers' own tests go deeper
 * into each format. */
#include "support_models.h"
#include <math.h>

static const char *const versions[] = {"4", "5.0", "5.1", "5.2", "6", "7", "7a"};
enum { N_VERSIONS = sizeof versions / sizeof *versions };

static char path[512];      /* of the file under test */
static rwkv_error error;    /* of the last open */
static char warnings[4096]; /* of the last open, joined */

static void note_warning(void *user, int level, const char *message) {
    (void)user;
    size_t n = strlen(warnings);
    if (level > 0) snprintf(warnings + n, sizeof warnings - n, "%s\n", message);
}

static rwkv_status open_path(uint32_t flags, rwkv_model **out) {
    rwkv_model *m = NULL;
    rwkv_model_options options = {.n_threads = 1, .flags = flags, .log = note_warning};
    memset(&error, 0, sizeof error);
    warnings[0] = 0;
    rwkv_status st = rwkv_model_open(&m, path, &options, &error);
    assert_int_equal(st == RWKV_OK, m != NULL);
    if (out)
        *out = m;
    else
        rwkv_model_free(m);
    return st;
}

static rwkv_status open_bytes(const void *data, size_t n) {
    spill(path, data, n);
    return open_path(RWKV_MODEL_NO_MMAP, NULL);
}

static void use_name(test_format f) {
    static const char *const names[TEST_FORMATS] = {
        "a.pth", "b.pth", "a.safetensors", "b.safetensors", "a.st", "a.gguf", "b.gguf", "a.bin"};
    snprintf(path, sizeof path, "%s", temp_path(names[f]));
}

static rwkv_status open_model(const test_model *m, test_format f, rw_type type) {
    use_name(f);
    rw_buf b = test_model_bytes(m, f, type);
    rwkv_status st = open_bytes(b.data, b.len);
    rw_buf_free(&b);
    return st;
}

/* A refusal of a file: its code, the path, no control bytes, and the words given (may be NULL). */
static void assert_names(rwkv_status st, const char *word, const char *what) {
    bool file_code = st == RWKV_E_FORMAT || st == RWKV_E_MODEL || st == RWKV_E_UNSUPPORTED;
    if (!file_code)
        fail_msg("%s: found %s; expected a refusal of the file", what, rwkv_status_name(st));
    assert_int_equal(error.code, st);
    if (!strstr(error.message, path)) fail_msg("%s: no path in \"%s\"", what, error.message);
    if (word && !strstr(error.message, word))
        fail_msg("%s: no %s in \"%s\"", what, word, error.message);
    for (const char *s = error.message; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7F)
            fail_msg("%s: a control byte in the message", what);
}

static test_model *new_model(const char *version) {
    test_shape shape = {
        .version = version, .n_layer = 2, .D = 16, .F = 20, .V = 24, .rank = 3, .seed = 80};
    return test_model_new(&shape);
}

/* F1, F5: every byte of the beginning and of the end, and 200 places between. */
static void truncated_files(void **unused) {
    (void)unused;
    test_model *m = test_model_new(&test_small_shape);
    for (test_format f = 0; f < TEST_FORMATS; f++) {
        use_name(f);
        rw_buf b = test_model_bytes(m, f, RW_F32);
        assert_int_equal(open_bytes(b.data, b.len), RWKV_OK);
        size_t step = b.len / 200 + 1;
        for (size_t n = 0; n < b.len; n += n < 400 || n + 100 > b.len ? 1 : step) {
            char what[64];
            snprintf(what, sizeof what, "%s cut at %zu of %zu", test_format_names[f], n, b.len);
            assert_names(open_bytes(b.data, n), NULL, what);
        }
        rw_buf_free(&b);
    }
    test_model_free(m);
}

/* F3, F5: a header that lies about one tensor's shape; the data stays. */
static void lying_shapes(void **unused) {
    (void)unused;
    static const uint64_t lies[][2] = {
        {0, 16},
        {20, 0},
        {0, 0},
        {1, 1},
        {21, 16},
        {19, 16},
        {20, 17},
        {20, 15},
        {1, 320},
        {320, 1},
        {1ull << 31, 16},
        {0xFFFFFFFF, 16},
        {(1ull << 63) - 1, 16},
        {UINT64_MAX, 16},
        {20, UINT64_MAX},
        {(1ull << 60) + 20, 16}, /* elements wrap to the right number */
        {(1ull << 58) + 20, 16}, /* bytes wrap to the right number */
        {1ull << 32, 1ull << 32},
        {1ull << 63, 2}};
    test_model *m = new_model("7");
    test_tensor *t = test_model_find(m, "blocks.1.ffn.key.weight");
    for (test_format f = 0; f < TEST_FORMATS; f++)
        for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
            char what[96];
            snprintf(what, sizeof what, "%s, shape %zu", test_format_names[f], i);
            if (f == AS_GGMF && (lies[i][0] | lies[i][1]) > UINT32_MAX) continue;
            t->dims[0] = lies[i][0], t->dims[1] = lies[i][1];
            /* A pickled integer beyond 64 bits is refused before its tensor has a name; in GGUF the
             * next tensor is blamed; in rwkv.cpp files everything behind it is shifted. */
            bool nameless =
                f == AS_GGMF || (f <= AS_PTH_LEGACY && (lies[i][0] | lies[i][1]) > INT64_MAX);
            const char *word =
                f == AS_GGUF || f == AS_GGUF_VOCAB ? "blk.1.channel_mix" : "key.weight";
            assert_names(open_model(m, f, RW_F32), nameless ? NULL : word, what);
        }
    t->dims[0] = 20, t->dims[1] = 16;
    test_tensor *last = test_model_find(m, "head.weight");
    last->dims[0]++;
    for (test_format f = 0; f < TEST_FORMATS; f++)
        assert_names(open_model(m, f, RW_F32), NULL, test_format_names[f]);
    test_model_free(m);
}

/* F7. Formats that join or copy tensors cannot be written without them. */
static bool can_be_missing(test_format f, const char *name) {
    if (f == AS_GGUF || f == AS_GGUF_VOCAB || f == AS_GGMF)
        if (strstr(name, "att.x_") || strstr(name, "att.time_maa_")) return false;
    return !((f == AS_GGUF || f == AS_GGUF_VOCAB) && strstr(name, "blocks.0.att.a"));
}

/* Without it the rest is another version's model: then what is left over must be told. */
static bool is_telltale(const char *version, const char *name) {
    if (!strcmp(version, "7a")) return !strcmp(name, "blocks.0.ffn.s_emb.weight");
    if (version[0] == '6')
        return !strcmp(name, "blocks.0.att.time_maa_x"); /* web-rwkv's v5 and v6 */
    return version[0] == '5' && !strcmp(name, "blocks.0.att.gate.weight");
}

static void missing_tensors(void **unused) {
    (void)unused;
    for (int v = 0; v < N_VERSIONS; v++) {
        test_model *whole = new_model(versions[v]);
        for (test_format f = 0; f < TEST_FORMATS; f++) {
            if (!test_format_has(f, versions[v])) continue;
            for (size_t i = 0; i < whole->n_tensors; i++) {
                const char *name = whole->tensors[i].name;
                char what[160];
                if (!can_be_missing(f, name)) continue;
                test_model *m = test_model_copy(whole);
                test_model_drop(m, name);
                snprintf(what, sizeof what, "v%s as %s without %s", versions[v],
                         test_format_names[f], name);
                rwkv_status st = open_model(m, f, RW_F32);
                if (st == RWKV_OK && is_telltale(versions[v], name) && warnings[0])
                    st = RWKV_E_MODEL;
                else
                    assert_names(st, NULL, what);
                if (st == RWKV_OK) fail_msg("%s: opened", what);
                test_model_free(m);
            }
        }
        test_model_free(whole);
    }
}

static void a_missing_tensor_is_named(void **unused) {
    (void)unused;
    static const struct {
        test_format format;
        const char *drop, *word;
    } list[] = {
        {AS_PTH, "blocks.1.att.w1", "blocks.1.att.w1"},
        {AS_SAFETENSORS, "blocks.1.ffn.value.weight", "blocks.1.ffn.value.weight"},
        {AS_FLA, "blocks.1.att.key.weight", "model.layers.1.attn.k_proj.weight"},
        {AS_WEB_RWKV, "ln_out.bias", "ln_out.bias"},
        {AS_GGUF, "blocks.1.att.w1", "blk.1.time_mix_w1.weight"},
        {AS_GGUF, "emb.weight", "token_embd.weight"},
        {AS_GGMF, "blocks.1.att.k_k", "blocks.1.att.k_k"},
        {AS_PTH_LEGACY, "blocks.0.ln0.weight", "blocks.0.ln0.weight"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        test_model *m = new_model("7");
        test_model_drop(m, list[i].drop);
        assert_names(open_model(m, list[i].format, RW_F32), list[i].word, list[i].drop);
        assert_int_equal(error.code, RWKV_E_MODEL);
        test_model_free(m);
    }
}

static void extra_tensors_are_told(void **unused) {
    (void)unused;
    test_model *m = new_model("7");
    test_model_add(m, "blocks.0.att.surplus", 1, (uint64_t[]){16});
    for (test_format f = 0; f < TEST_FORMATS; f++) {
        assert_int_equal(open_model(m, f, RW_F32), RWKV_OK);
        if (!strstr(warnings, "surplus"))
            fail_msg("%s: not told: %s", test_format_names[f], warnings);
    }
    test_model_free(m);
    m = new_model("7");
    for (test_format f = 0; f < TEST_FORMATS; f++) {
        assert_int_equal(open_model(m, f, RW_F32), RWKV_OK);
        assert_string_equal(warnings, "");
    }
    test_model_free(m);
}

/* F7: rows and columns changed places, in every matrix that is not square. A transposed (heads,
 * head size) is another number of heads and cannot be seen. */
static void transposed_tensors(void **unused) {
    (void)unused;
    for (int v = 0; v < N_VERSIONS; v++) {
        test_model *m = new_model(versions[v]);
        for (size_t i = 0; i < m->n_tensors; i++) {
            test_tensor *t = &m->tensors[i];
            if (t->n_dims < 2 || t->dims[0] == t->dims[1] || t->dims[0] == 1) continue;
            if (t->dims[0] == m->shape.H && t->dims[1] == m->shape.N) continue;
            uint64_t rows = t->dims[t->n_dims - 2], cols = t->dims[t->n_dims - 1];
            t->dims[t->n_dims - 2] = cols, t->dims[t->n_dims - 1] = rows;
            for (test_format f = AS_PTH; f <= AS_SAFETENSORS; f++)
                assert_names(open_model(m, f, RW_F32), NULL, t->name);
            t->dims[t->n_dims - 2] = rows, t->dims[t->n_dims - 1] = cols;
        }
        test_model_free(m);
    }
}

static void a_wrong_shape_is_named_with_both_shapes(void **unused) {
    (void)unused;
    test_model *m = new_model("7");
    test_tensor *t = test_model_find(m, "blocks.1.ffn.key.weight");
    t->dims[0] = 16, t->dims[1] = 20;
    for (test_format f = 0; f < TEST_FORMATS; f++) {
        assert_names(open_model(m, f, RW_F32), "key.weight", test_format_names[f]);
        assert_int_equal(error.code, RWKV_E_MODEL);
        if (!strstr(error.message, "[16,20]") || !strstr(error.message, "[20,16]"))
            fail_msg("%s: the shapes are not in \"%s\"", test_format_names[f], error.message);
        assert_true(error.offset != RWKV_NO_OFFSET);
    }
    test_model_free(m);
}

static void layers_have_no_gaps(void **unused) {
    (void)unused;
    static const test_format formats[] = {AS_PTH, AS_PTH_LEGACY, AS_SAFETENSORS};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        test_model *m = new_model("7");
        for (size_t k = 0; k < m->n_tensors; k++)
            if (!strncmp(m->tensors[k].name, "blocks.1.", 9)) m->tensors[k].name[7] = '2';
        assert_names(open_model(m, formats[i], RW_F32), "blocks.1.", "a gap");
        test_model_free(m);
        m = new_model("7");
        test_model_add(m, "blocks.1000000.ln1.weight", 1, (uint64_t[]){16});
        assert_names(open_model(m, formats[i], RW_F32), "1000001", "a million layers");
        test_model_free(m);
        m = new_model("7");
        test_model_add(m, "blocks.18446744073709551615.ln1.weight", 1, (uint64_t[]){16});
        rwkv_status st = open_model(m, formats[i], RW_F32);
        if (st || !strstr(warnings, "18446744073709551615")) assert_names(st, NULL, "2^64 layers");
        test_model_free(m);
    }
}

/* Writes the number behind a GGUF key of type u32. */
static void patch_gguf(rw_buf *b, const char *key, uint32_t value) {
    uint8_t *at = memmem(b->data, b->len, key, strlen(key));
    assert_non_null(at);
    memcpy(at + strlen(key) + 4, &value, 4);
}

static void wrong_headers(void **unused) {
    (void)unused;
    static const uint32_t layers[] = {0, 1, 3, 1000000, 0xFFFFFFFF},
                          heads[] = {0, 3, 17, 1u << 31, 0xFFFFFFFF};
    char what[64];
    test_model *m = new_model("7");
    use_name(AS_GGUF);
    rw_buf b = test_model_bytes(m, AS_GGUF, RW_F32);
    for (size_t i = 0; i < 5; i++) {
        snprintf(what, sizeof what, "block_count %u", layers[i]);
        patch_gguf(&b, "rwkv7.block_count", layers[i]);
        rwkv_status st = open_bytes(b.data, b.len);
        /* One layer fewer is a whole model with tensors left over. */
        if (layers[i] != 1)
            assert_names(st, NULL, what);
        else
            assert_true(st != RWKV_OK || strstr(warnings, "blk.1."));
    }
    patch_gguf(&b, "rwkv7.block_count", 2);
    for (size_t i = 0; i < 5; i++) {
        patch_gguf(&b, "rwkv7.wkv.head_size", heads[i]);
        assert_names(open_bytes(b.data, b.len), "head_size", "head size");
    }
    rw_buf_free(&b);
    use_name(AS_GGMF);
    b = test_model_bytes(m, AS_GGMF, RW_F32);
    for (size_t at = 8; at <= 16; at += 4) { /* n_vocab, n_embed, n_layer */
        uint32_t right;
        memcpy(&right, b.data + at, 4);
        for (size_t i = 0; i < 5; i++) {
            if (at == 16 && layers[i] == 1) continue;
            memcpy(b.data + at, &layers[i], 4);
            snprintf(what, sizeof what, "ggmf header, %u at %zu", layers[i], at);
            assert_names(open_bytes(b.data, b.len), NULL, what);
        }
        memcpy(b.data + at, &right, 4);
    }
    assert_int_equal(open_bytes(b.data, b.len), RWKV_OK);
    rw_buf_free(&b);
    test_model_free(m);
}

static void vocabulary_and_head_must_agree(void **unused) {
    (void)unused;
    for (int v = 0; v < N_VERSIONS; v++) {
        test_model *m = new_model(versions[v]);
        test_tensor *t = test_model_find(m, "head.weight");
        t->dims[0]--, t->n -= t->dims[1];
        for (test_format f = 0; f < TEST_FORMATS; f++)
            if (test_format_has(f, versions[v]))
                assert_names(open_model(m, f, RW_F32),
                             f >= AS_GGUF && f < AS_GGMF ? "output.weight" : "head.weight",
                             test_format_names[f]);
        t->n += t->dims[1]; /* free looks at nothing, but keep it true */
        test_model_free(m);
    }
}

static void heads_must_fill_the_width(void **unused) {
    (void)unused;
    static const struct {
        const char *version, *name;
    } list[] = {{"5.2", "blocks.0.att.time_decay"}, {"6", "blocks.0.att.time_faaaa"},
                {"7", "blocks.0.att.r_k"},          {"5.0", "blocks.0.att.time_decay"},
                {"7", "blocks.1.att.r_k"},          {"7", "blocks.1.att.ln_x.weight"}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        test_model *m = new_model(list[i].version);
        test_tensor *t = test_model_find(m, list[i].name);
        size_t row = t->n / t->dims[0], n = t->n;
        t->data = realloc(t->data, (n + row) * sizeof(float));
        assert_non_null(t->data);
        memcpy(t->data + n, t->data, row * sizeof(float));
        t->dims[0]++;
        t->n += row;
        assert_names(open_model(m, AS_PTH, RW_F32), NULL, list[i].name);
        assert_names(open_model(m, AS_SAFETENSORS, RW_BF16), NULL, list[i].name);
        test_model_free(m);
    }
}

/* F6, F10 */
static void duplicate_and_odd_names(void **unused) {
    (void)unused;
    static const test_format formats[] = {AS_PTH, AS_SAFETENSORS, AS_GGMF, AS_GGUF};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        test_model *m = new_model("7");
        test_model_add(m, "ln_out.bias", 1, (uint64_t[]){16});
        rwkv_status st = open_model(m, formats[i], RW_F32);
        /* A Python dict keeps the last of two equal keys; so may a reader of one. */
        if (formats[i] != AS_PTH || st) assert_names(st, NULL, "twice the same name");
        test_model_free(m);
        m = new_model("7");
        test_model_add(m, "evil\x1b[2Jname\n", 1, (uint64_t[]){16});
        st = open_model(m, formats[i], RW_F32);
        if (st)
            assert_names(st, NULL, "control bytes in a name");
        else
            assert_null(strchr(warnings, 0x1b));
        test_model_free(m);
    }
}

/* F11 */
static void numbers_that_are_none(void **unused) {
    (void)unused;
    static const float wrong[] = {NAN, INFINITY, -INFINITY};
    static const rw_type types[] = {RW_F32, RW_F16, RW_BF16};
    for (test_format f = 0; f < TEST_FORMATS; f++)
        for (int k = 0; k < 3; k++) {
            if (f == AS_GGMF && types[k] == RW_BF16) continue;
            test_model *m = new_model("7");
            test_model_find(m, "blocks.1.ffn.value.weight")->data[37] = wrong[k];
            use_name(f);
            rw_buf b = test_model_bytes(m, f, types[k]);
            spill(path, b.data, b.len);
            rw_buf_free(&b);
            assert_int_equal(open_path(RWKV_MODEL_CHECK, NULL), RWKV_E_NUMERIC);
            assert_non_null(strstr(error.message, path));
            assert_non_null(strstr(error.message, "value.weight"));
            assert_non_null(strstr(error.message, "37"));

            /* Without the check it opens, and the first token says so. */
            rwkv_model *model = NULL;
            rwkv_session *s = NULL;
            assert_int_equal(open_path(0, &model), RWKV_OK);
            assert_int_equal(rwkv_session_new(&s, model, NULL), RWKV_OK);
            assert_int_equal(rwkv_session_eval(s, (int32_t[]){3}, 1, &error), RWKV_E_NUMERIC);
            assert_non_null(strstr(error.message, "layer 1"));
            rwkv_session_free(s);
            rwkv_model_free(model);
            test_model_free(m);
        }
}

static void one_bad_row_harms_only_its_token(void **unused) {
    (void)unused;
    for (int v = 0; v < N_VERSIONS; v++) {
        test_model *m = new_model(versions[v]);
        rwkv_model *model = NULL;
        rwkv_session *s = NULL, *clean = NULL;
        test_model_find(m, "emb.weight")->data[5 * 16 + 2] = NAN;
        use_name(AS_PTH);
        test_model_save(m, AS_PTH, RW_F32, path);
        assert_int_equal(open_path(RWKV_MODEL_CHECK, NULL), RWKV_E_NUMERIC);
        assert_non_null(strstr(error.message, "emb.weight"));
        assert_int_equal(open_path(0, &model), RWKV_OK);
        assert_int_equal(rwkv_session_new(&s, model, NULL), RWKV_OK);
        assert_int_equal(rwkv_session_new(&clean, model, NULL), RWKV_OK);
        assert_int_equal(rwkv_session_eval(clean, (int32_t[]){1, 2}, 2, NULL), RWKV_OK);
        assert_int_equal(rwkv_session_eval(s, (int32_t[]){1, 5, 2}, 3, &error), RWKV_E_NUMERIC);
        rwkv_session_reset(s);
        assert_int_equal(rwkv_session_eval(s, (int32_t[]){1, 2}, 2, NULL), RWKV_OK);
        assert_memory_equal(rwkv_session_logits(s), rwkv_session_logits(clean), 24 * sizeof(float));
        rwkv_session_free(clean);
        rwkv_session_free(s);
        rwkv_model_free(model);
        test_model_free(m);
    }
}

static void foreign_files(void **unused) {
    (void)unused;
    static const struct {
        const char *data;
        size_t n;
    } list[] = {{"", 0},
                {"x", 1},
                {"\x89PNG\r\n\x1a\n, a picture", 20},
                {"{\"a\": 1}", 8},
                {"%PDF-1.7 and so on", 18},
                {"GGUF", 4},
                {"fmgg", 4},
                {"PK\3\4", 4},
                {"\x80\x02\x8a\x0a", 4},
                {"\x80\x02}q\0.", 6}};
    snprintf(path, sizeof path, "%s", temp_path("foreign"));
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        assert_names(open_bytes(list[i].data, list[i].n), NULL, list[i].data);
}

/* What the fuzz targets do without end, a little of it each time. */
static void mutants_are_refused_or_work(void **unused) {
    (void)unused;
    test_model *m = test_model_new(&test_small_shape);
    uint64_t rng = 90;
    for (test_format f = 0; f < TEST_FORMATS; f++) {
        use_name(f);
        rw_buf b = test_model_bytes(m, f, RW_F32);
        uint8_t *copy = malloc(b.len);
        assert_non_null(copy);
        size_t refused = 0,
               end = f == AS_PTH ? b.len : 2000; /* the zip's directory is at its end */
        for (int k = 0; k < 500; k++) {
            memcpy(copy, b.data, b.len);
            for (uint64_t c = 1 + rng_u64(&rng) % 6; c > 0; c--)
                copy[rng_u64(&rng) % (end < b.len ? end : b.len)] = (uint8_t)rng_u64(&rng);
            spill(path, copy, b.len);
            rwkv_status st = open_path(RWKV_MODEL_NO_MMAP | RWKV_MODEL_CHECK, NULL);
            refused += st != RWKV_OK;
            if (st && st != RWKV_E_NUMERIC) assert_names(st, NULL, test_format_names[f]);
        }
        assert_true(refused > 50);
        free(copy);
        rw_buf_free(&b);
    }
    test_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truncated_files),
        cmocka_unit_test(lying_shapes),
        cmocka_unit_test(missing_tensors),
        cmocka_unit_test(a_missing_tensor_is_named),
        cmocka_unit_test(extra_tensors_are_told),
        cmocka_unit_test(transposed_tensors),
        cmocka_unit_test(a_wrong_shape_is_named_with_both_shapes),
        cmocka_unit_test(layers_have_no_gaps),
        cmocka_unit_test(wrong_headers),
        cmocka_unit_test(vocabulary_and_head_must_agree),
        cmocka_unit_test(heads_must_fill_the_width),
        cmocka_unit_test(duplicate_and_odd_names),
        cmocka_unit_test(numbers_that_are_none),
        cmocka_unit_test(one_bad_row_harms_only_its_token),
        cmocka_unit_test(foreign_files),
        cmocka_unit_test(mutants_are_refused_or_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
