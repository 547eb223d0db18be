/* test_convert.c - conversion: every version, container and type; nothing but the whole new file or
 * the whole old one, whatever goes wrong. */
#include "support_models.h"
#include "model/model.h"
#include "text/text.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const rw_log no_log;

static rwkv_status convert(const char *in, const char *out, const char *format, const char *type,
                           rwkv_error *err) {
    rwkv_convert_options o = {.format = format, .type = type, .n_threads = 2};
    return rwkv_convert(in, out, &o, err);
}

static void must_convert(const char *in, const char *out, const char *format, const char *type) {
    rwkv_error err = {0};
    if (convert(in, out, format, type, &err) != RWKV_OK) fail_msg("%s", err.message);
}

static rw_checkpoint *checkpoint(const char *path) {
    rw_checkpoint *c = NULL;
    rwkv_error err = {0};
    if (rw_checkpoint_open(&c, path, false, no_log, &err) != RWKV_OK) fail_msg("%s", err.message);
    return c;
}

/* ---- comparing weights */

static float *values(const rw_checkpoint *c, const rw_weight *w) {
    float *x = calloc(w->n_elems, sizeof *x);
    assert_non_null(x);
    rw_weight_values(w, c, RW_RAW, x);
    return x;
}

/* Root of the mean squared difference, relative to that of the values. */
static double relative_error(const float *a, const float *b, size_t n) {
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        s += (double)a[i] * a[i];
    }
    return d == 0 ? 0 : sqrt(d / s);
}

/* Expected of a type on numbers like those of the test models, with room of a factor two. */
static double type_error(rw_type type) {
    switch (type) {
    case RW_F32:
    case RW_F16:
    case RW_BF16:
        return 0; /* the models' values are exact in all three */
    case RW_Q8_0:
        return 0.012;
    case RW_Q6_K:
        return 0.03;
    case RW_Q5_0:
    case RW_Q5_1:
    case RW_Q5_K:
        return 0.07;
    default:
        return 0.15;
    }
}

typedef void (*weight_fn)(const rw_checkpoint *a, const rw_weight *x, const rw_checkpoint *b,
                          const rw_weight *y, void *user);

static void each_weight(const rw_checkpoint *a, const rw_checkpoint *b, weight_fn fn, void *user) {
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->n_layer, b->n_layer);
    assert_memory_equal(a->dim, b->dim, sizeof a->dim);
    size_t n = a->n_layer * a->arch->n_rules;
    for (size_t i = 0; i < rw_n_global_rules; i++) fn(a, &a->globals[i], b, &b->globals[i], user);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(!a->layers[i].tensor, !b->layers[i].tensor);
        if (a->layers[i].tensor) fn(a, &a->layers[i], b, &b->layers[i], user);
    }
}

static void check_error(const rw_checkpoint *a, const rw_weight *x, const rw_checkpoint *b,
                        const rw_weight *y, void *folded) {
    float *u = values(a, x), *v = values(b, y);
    const char *name = x->rule->name;
    double bound = type_error(y->tensor->type), error = relative_error(u, v, x->n_elems);
    /* exp(-exp(decay)) in float32 keeps fewer digits than the decay had */
    if (*(bool *)folded && a->version < RW_V6 && strstr(name, "time_decay")) bound = 1e-4;
    if (!(error <= bound))
        fail_msg("%s as %s: error %g; expected at most %g", x->tensor->name,
                 rw_type_name(y->tensor->type), error, bound);
    free(u);
    free(v);
}

static void check_same_model(const char *a, const char *b, bool folded) {
    rw_checkpoint *x = checkpoint(a), *y = checkpoint(b);
    uint8_t p[32], q[32];
    each_weight(x, y, check_error, &folded);
    rw_checkpoint_fingerprint(x, p);
    rw_checkpoint_fingerprint(y, q);
    assert_memory_equal(p, q, sizeof p);
    rw_checkpoint_close(x);
    rw_checkpoint_close(y);
}

/* ---- comparing logits */

enum { N_TOKENS = 24 };

static float *logits_of(const char *path, uint32_t *n_vocab) {
    rwkv_model_options o = {.n_threads = 1, .flags = RWKV_MODEL_EXACT, .isa = "scalar"};
    rwkv_error err = {0};
    rwkv_model *m = NULL;
    rwkv_session *s = NULL;
    rwkv_info info;
    int32_t ids[N_TOKENS];
    uint64_t seed = 99;
    if (rwkv_model_open(&m, path, &o, &err) || rwkv_session_new(&s, m, &err))
        fail_msg("%s", err.message);
    rwkv_model_info(m, &info);
    *n_vocab = info.n_vocab;
    for (int i = 0; i < N_TOKENS; i++) ids[i] = (int32_t)(rng_u64(&seed) % info.n_vocab);
    float *out = calloc((size_t)N_TOKENS * info.n_vocab, sizeof *out);
    assert_non_null(out);
    if (rwkv_session_eval_all(s, ids, N_TOKENS, out, &err)) fail_msg("%s", err.message);
    rwkv_session_free(s);
    rwkv_model_free(m);
    return out;
}

static double log_sum_exp(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp(x[i]);
    return log(sum);
}

static double mean_kl(const float *p, const float *q, size_t n_vocab) {
    double kl = 0;
    for (size_t t = 0; t < N_TOKENS; t++, p += n_vocab, q += n_vocab) {
        double zp = log_sum_exp(p, n_vocab), zq = log_sum_exp(q, n_vocab);
        for (size_t i = 0; i < n_vocab; i++)
            kl += exp(p[i] - zp) * ((p[i] - zp) - (q[i] - zq)) / N_TOKENS;
    }
    return kl;
}

static void check_logits(const char *a, const char *b, double max_abs, double max_kl) {
    uint32_t n, m;
    float *x = logits_of(a, &n), *y = logits_of(b, &m);
    assert_int_equal(n, m);
    float diff = max_abs_diff(x, y, (size_t)n * N_TOKENS);
    double kl = mean_kl(x, y, n);
    if (!(diff <= max_abs && kl <= max_kl))
        fail_msg("%s: logits differ by %g, KL %g; expected at most %g, %g", b, (double)diff, kl,
                 max_abs, max_kl);
    free(x);
    free(y);
}

/* ---- files */

static void check_same_bytes(const char *a, const char *b) {
    size_t n, m;
    void *x = slurp(a, &n), *y = slurp(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

/* A folder of its own, so that what is left in it can be counted. */
static char *fresh_folder(char out[512], const char *name) {
    snprintf(out, 512, "%s", temp_path(name));
    assert_true(mkdir(out, 0700) == 0 || errno == EEXIST);
    return out;
}

static size_t count_files(const char *dir) {
    size_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

static char *path_in(char out[512], const char *dir, const char *name) {
    snprintf(out, 512, "%.400s/%.100s", dir, name);
    return out;
}

/* ---------------------------------------------------------------- every version and type */

static void every_version_and_type(void **state) {
    (void)state;
    static const struct {
        const char *type;
        double max_kl;
    } types[] = {{"F32", 0},      {"FP16", 0},    {"bf16", 0},    {"Q8_0", 0.003},
                 {"Q6_K", 0.004}, {"Q5_1", 0.12}, {"Q5_0", 0.15}, {"q5_k", 0.12},
                 {"Q4_1", 0.5},   {"Q4_0", 0.6},  {"Q4_K", 0.15}, {NULL, 0}};
    for (const test_shape *s = test_shapes; s->version; s++) {
        char in[512], out[512];
        snprintf(in, sizeof in, "%s", test_model_file(s, AS_PTH, RW_BF16));
        snprintf(out, sizeof out, "%s", temp_path("typed.gguf"));
        for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
            must_convert(in, out, "gguf", types[i].type);
            check_same_model(in, out, false);
            check_logits(in, out, types[i].max_kl == 0 ? 1e-5 : 1e9, types[i].max_kl + 1e-9);
        }
    }
}

/* All containers that hold a version lead to the same GGUF tensors. */
static void every_container(void **state) {
    (void)state;
    for (const test_shape *s = test_shapes; s->version; s++) {
        char first[512], out[512];
        snprintf(first, sizeof first, "%s", temp_path("first.gguf"));
        snprintf(out, sizeof out, "%s", temp_path("other.gguf"));
        must_convert(test_model_file(s, AS_PTH, RW_F16), first, NULL, "F32");
        for (int f = AS_PTH_LEGACY; f < TEST_FORMATS; f++) {
            if (f == AS_FLA || !test_format_has((test_format)f, s->version)) continue;
            must_convert(test_model_file(s, (test_format)f, RW_F16), out, NULL, "F32");
            check_same_model(first, out, f == AS_GGMF);
        }
    }
}

static bool has_ggmf(const test_shape *s) {
    return strcmp(s->version, "5.1") && strcmp(s->version, "7a");
}

/* .pth -> GGUF -> .bin -> GGUF: the same tensors, and the same bytes where nothing is folded (Q6).
 */
static void round_trip(void **state) {
    (void)state;
    for (const test_shape *s = test_shapes; s->version; s++) {
        if (!has_ggmf(s)) continue;
        char in[512], a[512], b[512], c[512], d[512];
        snprintf(in, sizeof in, "%s", test_model_file(s, AS_PTH, RW_F16));
        char dir[512];
        fresh_folder(dir, "trip");
        path_in(a, dir, "model.gguf");
        path_in(b, dir, "model.bin");
        path_in(c, dir, "back.gguf");
        path_in(d, dir, "back.bin");
        must_convert(in, a, "gguf", NULL);
        must_convert(a, b, "ggmf", NULL);
        must_convert(b, c, "gguf", NULL);
        must_convert(c, d, "ggmf", NULL);
        check_same_model(in, b, true);
        check_same_model(a, c, true);
        rw_checkpoint *x = checkpoint(a), *y = checkpoint(c);
        bool folded = s->version[0] == '4' || s->version[0] == '5';
        for (size_t i = 0; i < x->table->n_tensors; i++) {
            const rw_tensor *t = &x->table->tensors[i], *u = rw_table_find(y->table, t->name);
            assert_non_null(u);
            assert_int_equal(t->type, u->type);
            assert_int_equal(t->bytes, u->bytes);
            if (!folded || !strstr(t->name, "decay"))
                assert_memory_equal(t->data, u->data, t->bytes);
        }
        rw_checkpoint_close(x);
        rw_checkpoint_close(y);
        if (!folded)
            check_same_bytes(b, d);
        else
            check_logits(b, d, 1e-3, 1e-6);
    }
}

/* A GGUF converted to its own types is the same file, also with a vocabulary and with blocks. */
static void same_types_same_file(void **state) {
    (void)state;
    static const char *const types[] = {"F16", "Q4_0", "Q5_1", "Q8_0", "Q4_K", "Q6_K"};
    test_shape wide = {
        .version = "7", .n_layer = 2, .D = 256, .N = 64, .F = 512, .V = 260, .seed = 21};
    char a[512], b[512];
    char dir[512];
    fresh_folder(dir, "same");
    path_in(a, dir, "model.gguf");
    path_in(b, dir, "copy.gguf");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        must_convert(test_model_file(&wide, AS_GGUF_VOCAB, RW_F32), a, NULL, types[i]);
        must_convert(a, b, NULL, NULL);
        check_same_bytes(a, b);
        must_convert(a, b, NULL, types[i]);
        check_same_bytes(a, b);
    }
}

/* llama.cpp's rescaled v6: the numbers and R go over together; another container gets the true
 * ones. */
static void rescaled_gguf(void **state) {
    (void)state;
    test_shape s = {.version = "6", .n_layer = 5, .D = 32, .seed = 31};
    test_model *m = test_model_new(&s);
    rw_buf plain = test_model_bytes(m, AS_GGUF, RW_F32),
           scaled = test_model_gguf_rescaled(m, RW_F32, 2);
    char a[512], b[512], out[512];
    char dir[512];
    fresh_folder(dir, "rescaled");
    spill(path_in(a, dir, "plain.gguf"), plain.data, plain.len);
    spill(path_in(b, dir, "scaled.gguf"), scaled.data, scaled.len);
    must_convert(b, path_in(out, dir, "out.bin"), "ggmf", "F32");
    check_same_model(a, out, false);
    must_convert(b, path_in(out, dir, "out.gguf"), NULL, NULL);
    check_same_model(a, out, false);
    rw_checkpoint *c = checkpoint(out);
    uint64_t every = 0;
    assert_int_equal(rw_meta_u64(c->table, "rwkv6.rescale_every_n_layers", &every, NULL, NULL),
                     RWKV_OK);
    assert_int_equal(every, 2);
    rw_checkpoint_close(c);
    rw_buf_free(&plain);
    rw_buf_free(&scaled);
    test_model_free(m);
}

static void any_number_of_threads(void **state) {
    (void)state;
    static const char *const types[] = {"Q4_K", "Q8_0", "F16"};
    test_shape s = {
        .version = "6", .n_layer = 2, .D = 256, .N = 64, .F = 512, .V = 300, .seed = 41};
    char in[512], a[512], b[512];
    snprintf(in, sizeof in, "%s", test_model_file(&s, AS_PTH, RW_BF16));
    char dir[512];
    fresh_folder(dir, "threads");
    path_in(a, dir, "one.gguf");
    path_in(b, dir, "many.gguf");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        rwkv_convert_options o = {.type = types[i], .n_threads = 1};
        assert_int_equal(rwkv_convert(in, a, &o, NULL), RWKV_OK);
        for (o.n_threads = 2; o.n_threads <= 7; o.n_threads += 1 + o.n_threads / 3) {
            assert_int_equal(rwkv_convert(in, b, &o, NULL), RWKV_OK);
            check_same_bytes(a, b);
        }
    }
}

/* ---------------------------------------------------------------- types of single tensors */

static rw_type type_in(const char *path, const char *name) {
    rw_checkpoint *c = checkpoint(path);
    const rw_tensor *t = rw_table_find(c->table, name);
    if (!t) fail_msg("%s is missing", name);
    rw_type type = t->type;
    rw_checkpoint_close(c);
    return type;
}

static void types_of_tensors(void **state) {
    (void)state;
    static const struct {
        uint32_t D, F;
        const char *type;
        rw_type key, ffn_value, emb, head; /* rows of D, F, D, D */
    } cases[] = {
        {256, 512, "Q4_K", RW_Q4_K, RW_Q4_K, RW_Q4_K, RW_Q6_K},
        {256, 512, "Q4_0", RW_Q4_0, RW_Q4_0, RW_Q4_0, RW_Q6_K},
        {256, 512, "Q8_0", RW_Q8_0, RW_Q8_0, RW_Q8_0, RW_Q8_0},
        {256, 96, "Q5_K", RW_Q5_K, RW_Q5_1, RW_Q5_K, RW_Q6_K},
        {64, 96, "Q4_K", RW_Q5_0, RW_Q5_0, RW_Q5_0, RW_Q8_0},
        {64, 96, "Q6_K", RW_Q8_0, RW_Q8_0, RW_Q8_0, RW_Q8_0},
        {64, 40, "Q5_1", RW_Q5_1, RW_F16, RW_Q5_1, RW_Q8_0},
        {40, 40, "Q8_0", RW_F16, RW_F16, RW_F16, RW_F16},
        {64, 96, "BF16", RW_BF16, RW_BF16, RW_BF16, RW_BF16},
    };
    char out[512];
    snprintf(out, sizeof out, "%s", temp_path("types.gguf"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_shape s = {.version = "7", .D = cases[i].D, .F = cases[i].F, .seed = 51};
        must_convert(test_model_file(&s, AS_PTH, RW_F32), out, NULL, cases[i].type);
        rw_type low = strcmp(cases[i].type, "BF16") ? RW_F16 : RW_BF16;
        assert_int_equal(type_in(out, "blk.1.time_mix_key.weight"), cases[i].key);
        assert_int_equal(type_in(out, "blk.0.channel_mix_value.weight"), cases[i].ffn_value);
        assert_int_equal(type_in(out, "token_embd.weight"), cases[i].emb);
        assert_int_equal(type_in(out, "output.weight"), cases[i].head);
        assert_int_equal(type_in(out, "blk.1.time_mix_a1.weight"), low);
        assert_int_equal(type_in(out, "blk.1.time_mix_g2.weight"), low);
        assert_int_equal(type_in(out, "blk.0.time_mix_v1.weight"), low); /* llama.cpp demands it */
        assert_int_equal(type_in(out, "blk.1.time_mix_w1.weight"), RW_F32);
        assert_int_equal(type_in(out, "blk.0.time_mix_lerp_fused.weight"), RW_F32);
        assert_int_equal(type_in(out, "blk.0.time_mix_k_k.weight"), RW_F32);
    }
    test_shape six = {.version = "6", .D = 64, .F = 96, .seed = 52};
    must_convert(test_model_file(&six, AS_PTH, RW_BF16), out, NULL, NULL);
    assert_int_equal(type_in(out, "blk.1.time_mix_key.weight"), RW_BF16);
    assert_int_equal(type_in(out, "blk.1.time_mix_w1.weight"), RW_F32);
    assert_int_equal(type_in(out, "blk.1.time_mix_decay_w2.weight"), RW_F32);
    assert_int_equal(type_in(out, "blk.1.time_mix_first.weight"), RW_F32);
}

/* Shapes that other programs demand, slowest dimension first. */
static void check_shape(const char *path, const char *name, uint32_t n, const uint64_t *dims) {
    rw_checkpoint *c = checkpoint(path);
    const rw_tensor *t = rw_table_find(c->table, name);
    if (!t) fail_msg("%s: %s is missing", path, name);
    assert_int_equal(t->n_dims, n);
    assert_memory_equal(t->dims, dims, n * sizeof *dims);
    rw_checkpoint_close(c);
}
#define SHAPE(path, name, ...)                                                                     \
    check_shape(path, name, sizeof((uint64_t[]){__VA_ARGS__}) / 8, (uint64_t[]){__VA_ARGS__})

static void shapes_for_other_programs(void **state) {
    (void)state;
    char out[512];
    snprintf(out, sizeof out, "%s", temp_path("shapes"));
    test_shape seven = {
        .version = "7", .D = 32, .H = 2, .N = 16, .rank = 4, .layer0_v = true, .seed = 61};
    must_convert(test_model_file(&seven, AS_PTH, RW_F32), out, "gguf", NULL);
    SHAPE(out, "blk.1.time_mix_lerp_fused.weight", 6, 1, 1, 32);
    SHAPE(out, "blk.0.time_mix_r_k.weight", 32);
    SHAPE(out, "blk.0.time_mix_v1.weight", 5, 32); /* the rank of a */
    SHAPE(out, "blk.1.time_mix_v1.weight", 6, 32);
    SHAPE(out, "blk.1.time_mix_w2.weight", 32, 4);
    must_convert(test_model_file(&seven, AS_PTH, RW_F32), out, "ggmf", NULL);
    SHAPE(out, "blocks.1.att.x_rwkvag", 6, 1, 32);
    SHAPE(out, "blocks.1.att.r_k", 2, 16);
    SHAPE(out, "blocks.1.att.w0", 1, 1, 32);
    SHAPE(out, "blocks.1.ffn.x_k", 1, 1, 32);
    SHAPE(out, "blocks.1.att.g1", 7, 32);
    rw_checkpoint *c = checkpoint(out);
    assert_null(rw_table_find(c->table, "blocks.0.att.v0")); /* rwkv.cpp aborts on it */
    assert_null(rw_table_find(c->table, "blocks.0.att.v1"));
    assert_null(rw_table_find(c->table, "blocks.0.att.x_r"));
    rw_checkpoint_close(c);

    test_shape six = {
        .version = "6", .D = 32, .H = 1, .N = 32, .rank = 4, .seed = 62}; /* one head */
    must_convert(test_model_file(&six, AS_PTH, RW_F32), out, "gguf", NULL);
    SHAPE(out, "blk.1.time_mix_first.weight", 1, 32);
    SHAPE(out, "blk.1.time_mix_w1.weight", 20, 32);
    SHAPE(out, "blk.1.time_mix_w2.weight", 5, 32, 4);
    SHAPE(out, "blk.1.time_mix_lerp_fused.weight", 5, 1, 1, 32);
    must_convert(test_model_file(&six, AS_PTH, RW_F32), out, "ggmf", NULL);
    SHAPE(out, "blocks.1.att.time_faaaa", 1, 32, 1); /* never 2-d: its quantizer would take it */
    SHAPE(out, "blocks.1.att.time_decay", 1, 32, 1);
    SHAPE(out, "blocks.1.att.time_maa_w2", 5, 32, 4);
    SHAPE(out, "blocks.1.att.time_maa_x", 32);

    test_shape five = {.version = "5.0", .D = 32, .H = 4, .N = 8, .seed = 63};
    must_convert(test_model_file(&five, AS_PTH, RW_F32), out, "ggmf", NULL);
    SHAPE(out, "blocks.1.att.time_first", 4, 1, 1);
    SHAPE(out, "blocks.1.att.time_decay", 4, 1, 1);
    SHAPE(out, "blocks.1.att.time_mix_k", 32);
}

/* ---------------------------------------------------------------- text */

static void vocabulary_and_chat(void **state) {
    (void)state;
    char in[512], out[512], again[512], vocab[512];
    char dir[512];
    fresh_folder(dir, "text");
    test_shape s = {.version = "7", .V = 40, .seed = 71};
    test_model *m = test_model_new(&s);
    test_model_save(m, AS_PTH, RW_F32, path_in(in, dir, "model.pth"));
    test_model_free(m);
    static const char lines[] =
        "1 'a' 1\n2 'b' 1\n3 'ab' 2\n4 '\\n\\n' 2\n5 b'\\xe4\\xb8' 2\n6 \"'\" 1\n7 '\\\\' 1\n";
    spill(path_in(vocab, dir, "v.txt"), lines, strlen(lines));
    path_in(out, dir, "out.gguf");
    path_in(again, dir, "again.gguf");

    rwkv_convert_options o = {
        .vocab = vocab, .chat = "raven", .sampling = "greedy", .n_threads = 1};
    assert_int_equal(rwkv_convert(in, out, &o, NULL), RWKV_OK);
    must_convert(out, again, NULL, "F16"); /* both go over to the next file */
    const char *paths[] = {out, again};
    for (int i = 0; i < 2; i++) {
        rwkv_model *model = NULL;
        rwkv_error err = {0};
        size_t n;
        int32_t ids[8];
        if (rwkv_model_open(&model, paths[i], NULL, &err)) fail_msg("%s", err.message);
        const rwkv_tokenizer *t = rwkv_model_tokenizer(model, &err);
        assert_non_null(t);
        assert_int_equal(rwkv_encode(t, "ab\n\n'\\\xe4\xb8", 8, 0, ids, 8, &n, &err), RWKV_OK);
        assert_int_equal(n, 5);
        assert_memory_equal(ids, ((int32_t[]){3, 4, 6, 7, 5}), 5 * sizeof *ids);
        assert_int_equal(rwkv_tokenizer_end(t), 0);
        assert_string_equal(rwkv_template_name(rwkv_model_template(model)), "raven");
        rwkv_info info;
        rwkv_model_info(model, &info);
        assert_string_equal(info.sampling, "greedy");
        rwkv_model_free(model);
    }
    rw_checkpoint *c = checkpoint(out);
    const rw_meta *tokens = rw_meta_find(c->table, "tokenizer.ggml.tokens");
    assert_non_null(tokens);
    assert_int_equal(tokens->v.strs.n, 40); /* as many as rows of the embedding */
    assert_null(rw_meta_find(c->table, "tokenizer.ggml.eot_token_id"));
    rw_checkpoint_close(c);

    /* another preset takes the place of the source's; one that does not exist is refused */
    o = (rwkv_convert_options){.sampling = "chat", .n_threads = 1};
    assert_int_equal(rwkv_convert(out, again, &o, NULL), RWKV_OK);
    rwkv_model *model = NULL;
    rwkv_info info;
    assert_int_equal(rwkv_model_open(&model, again, NULL, NULL), RWKV_OK);
    rwkv_model_info(model, &info);
    assert_string_equal(info.sampling, "chat");
    rwkv_model_free(model);
    o.sampling = "chatty";
    assert_int_equal(rwkv_convert(out, again, &o, NULL), RWKV_E_ARG);

    /* without a vocabulary: a warning, not a failure; with a wrong one: a failure */
    o = (rwkv_convert_options){.n_threads = 1};
    assert_int_equal(rwkv_convert(in, again, &o, NULL), RWKV_OK);
    c = checkpoint(again);
    assert_null(rw_meta_find(c->table, "tokenizer.ggml.tokens"));
    rw_checkpoint_close(c);
    spill(vocab, "999 'a' 1\n", 10);
    o.vocab = vocab;
    assert_int_equal(rwkv_convert(in, again, &o, NULL), RWKV_E_VOCAB);
    o.vocab = in;
    assert_int_equal(rwkv_convert(in, again, &o, NULL), RWKV_E_VOCAB);
}

/* A GPT-NeoX vocabulary travels as the whole tokenizer.json, into the next file too. */
static void vocabulary_with_merges(void **state) {
    (void)state;
    static const char json[] =
        "{\"added_tokens\":[{\"id\":0,\"special\":true,\"content\":\"<|endoftext|>\","
        "\"normalized\":false}],"
        "\"normalizer\":{\"type\":\"NFC\"},"
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"<|endoftext|>\":0,\"a\":1,\"b\":2,\"ab\":3},"
        "\"merges\":[\"a b\"]}}";
    char in[512], out[512], again[512], vocab[512], dir[512];
    fresh_folder(dir, "merges");
    test_shape s = {.version = "4", .V = 8, .seed = 72};
    test_model *m = test_model_new(&s);
    test_model_save(m, AS_PTH, RW_F32, path_in(in, dir, "model.pth"));
    test_model_free(m);
    spill(path_in(vocab, dir, "v.json"), json, strlen(json));
    rwkv_convert_options o = {.vocab = vocab, .n_threads = 1};
    assert_int_equal(rwkv_convert(in, path_in(out, dir, "out.gguf"), &o, NULL), RWKV_OK);
    must_convert(out, path_in(again, dir, "again.gguf"), NULL, "F16");
    const char *paths[] = {out, again};
    for (int i = 0; i < 2; i++) {
        rwkv_model *model = NULL;
        rwkv_error err = {0};
        size_t n;
        int32_t ids[8];
        if (rwkv_model_open(&model, paths[i], NULL, &err)) fail_msg("%s", err.message);
        const rwkv_tokenizer *t = rwkv_model_tokenizer(model, &err);
        assert_non_null(t);
        assert_string_equal(rwkv_tokenizer_kind(t), "20B");
        assert_int_equal(rwkv_encode(t, "abba", 4, 0, ids, 8, &n, &err), RWKV_OK);
        assert_int_equal(n, 3);
        assert_memory_equal(ids, ((int32_t[]){3, 2, 1}), 3 * sizeof *ids);
        rwkv_model_free(model);
    }
    /* With an id that the model has no row for, the file has no vocabulary. */
    size_t n, at = 0;
    char *bytes = slurp(out, &n);
    while (at + 6 < n && memcmp(bytes + at, "\"ab\":3", 6) != 0) at++;
    assert_true(at + 6 < n);
    bytes[at + 5] = '9';
    spill(again, bytes, n);
    free(bytes);
    rwkv_model *model = NULL;
    rwkv_error err = {0};
    assert_int_equal(rwkv_model_open(&model, again, NULL, NULL), RWKV_OK);
    assert_null(rwkv_model_tokenizer(model, &err));
    assert_int_equal(err.code, RWKV_E_VOCAB);
    rwkv_model_free(model);
}

/* ---------------------------------------------------------------- refusals */

static void count_warnings(void *user, int level, const char *message) {
    (void)message;
    *(int *)user += level >= 1;
}

static void refusals(void **state) {
    (void)state;
    char in[512], five1[512], sevena[512], bf16[512], out[512], link_path[512];
    char dir[512];
    fresh_folder(dir, "refusals");
    test_shape s = {.version = "7", .D = 64, .seed = 81};
    snprintf(in, sizeof in, "%s", test_model_file(&s, AS_PTH, RW_F32));
    snprintf(bf16, sizeof bf16, "%s", test_model_file(&s, AS_PTH, RW_BF16));
    s.version = "5.1";
    snprintf(five1, sizeof five1, "%s", test_model_file(&s, AS_PTH, RW_F32));
    s.version = "7a";
    snprintf(sevena, sizeof sevena, "%s", test_model_file(&s, AS_PTH, RW_F32));
    path_in(out, dir, "out");

    assert_int_equal(convert(five1, out, "ggmf", "F16", NULL), RWKV_E_UNSUPPORTED);
    assert_int_equal(convert(sevena, out, "ggmf", "F16", NULL), RWKV_E_UNSUPPORTED);
    assert_int_equal(convert(in, out, "ggmf", "BF16", NULL), RWKV_E_UNSUPPORTED);
    assert_int_equal(convert(in, out, "ggmf", "Q4_K", NULL), RWKV_E_UNSUPPORTED);
    assert_int_equal(convert(in, out, "gguf", "Q4_2", NULL), RWKV_E_ARG);
    assert_int_equal(convert(in, out, "gguf", "I32", NULL), RWKV_E_ARG);
    assert_int_equal(convert(in, out, "gguf", "", NULL), RWKV_E_ARG);
    assert_int_equal(convert(in, out, "onnx", NULL, NULL), RWKV_E_ARG);
    assert_int_equal(convert("/nonexistent/file", out, NULL, NULL, NULL), RWKV_E_IO);
    assert_int_equal(convert(in, "/nonexistent/file", NULL, NULL, NULL), RWKV_E_IO);
    assert_int_equal(convert(in, dir, NULL, NULL, NULL), RWKV_E_IO);
    assert_int_equal(convert(NULL, out, NULL, NULL, NULL), RWKV_E_ARG);
    assert_int_equal(convert(in, NULL, NULL, NULL, NULL), RWKV_E_ARG);
    rwkv_convert_options o = {.chat = "no such template"};
    assert_int_equal(rwkv_convert(in, out, &o, NULL), RWKV_E_ARG);
    assert_int_equal(count_files(dir), 0);

    /* K types cannot become a .bin unless a type is chosen */
    test_shape wide = {.version = "7", .D = 256, .F = 256, .seed = 82};
    must_convert(test_model_file(&wide, AS_PTH, RW_F32), path_in(link_path, dir, "k.gguf"), NULL,
                 "Q4_K");
    rwkv_error err = {0};
    assert_int_equal(convert(link_path, out, "ggmf", NULL, &err), RWKV_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "Q4_K"));
    assert_non_null(strstr(err.message, "--type"));
    must_convert(link_path, out, "ggmf", "Q8_0");
    check_logits(link_path, out, 1e9, 0.002);

    /* loss is announced */
    int warnings = 0;
    o = (rwkv_convert_options){.type = "Q4_0", .log = count_warnings, .log_user = &warnings};
    assert_int_equal(rwkv_convert(link_path, out, &o, NULL), RWKV_OK);
    assert_true(warnings > 0);
    warnings = 0;
    o = (rwkv_convert_options){.format = "ggmf", .log = count_warnings, .log_user = &warnings};
    assert_int_equal(rwkv_convert(bf16, out, &o, NULL), RWKV_OK);
    assert_int_equal(warnings, 1);
    assert_int_equal(type_in(out, "blocks.1.att.key.weight"), RW_F16);
}

/* The same file under any of its names; the input stays as it was (Q4). */
static void output_is_input(void **state) {
    (void)state;
    char in[512], hard[512], soft[512], copy[512];
    char dir[512];
    fresh_folder(dir, "same-file");
    test_shape s = {.version = "7", .seed = 91};
    test_model *m = test_model_new(&s);
    test_model_save(m, AS_PTH, RW_F32, path_in(in, dir, "model.pth"));
    test_model_save(m, AS_PTH, RW_F32, path_in(copy, dir, "copy.pth"));
    test_model_free(m);
    assert_int_equal(link(in, path_in(hard, dir, "hard")), 0);
    assert_int_equal(symlink("model.pth", path_in(soft, dir, "soft")), 0);
    assert_int_equal(convert(in, in, NULL, NULL, NULL), RWKV_E_ARG);
    assert_int_equal(convert(in, hard, NULL, NULL, NULL), RWKV_E_ARG);
    assert_int_equal(convert(in, soft, NULL, NULL, NULL), RWKV_E_ARG);
    assert_int_equal(convert(soft, in, NULL, NULL, NULL), RWKV_E_ARG);
    check_same_bytes(in, copy);
    assert_int_equal(count_files(dir), 4);
}

static void numbers_out_of_range(void **state) {
    (void)state;
    static const char *const tensors[] = {"blocks.1.att.key.weight", "blocks.0.att.a1",
                                          "head.weight"};
    static const struct {
        const char *type;
        float value;
        rwkv_status expected;
    } cases[] = {{"F16", 70000.0f, RWKV_E_NUMERIC},   {"Q8_0", 70000.0f, RWKV_E_NUMERIC},
                 {"Q4_K", -70000.0f, RWKV_E_NUMERIC}, {"F16", 65000.0f, RWKV_OK},
                 {"BF16", 70000.0f, RWKV_OK},         {"F32", 70000.0f, RWKV_OK},
                 {"F16", NAN, RWKV_E_NUMERIC},        {"BF16", INFINITY, RWKV_E_NUMERIC},
                 {"BF16", 3.4e38f, RWKV_E_NUMERIC}};
    char in[512], out[512];
    char dir[512];
    fresh_folder(dir, "range");
    path_in(in, dir, "in.pth");
    path_in(out, dir, "out.gguf");
    for (size_t t = 0; t < sizeof tensors / sizeof *tensors; t++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            test_shape s = {.version = "7", .D = 256, .N = 64, .F = 256, .V = 20, .seed = 101};
            test_model *m = test_model_new(&s);
            test_tensor *x = test_model_find(m, tensors[t]);
            x->data[x->n - 3] = cases[i].value;
            test_model_save(m, AS_PTH, RW_F32, in);
            rwkv_error err = {0};
            if (convert(in, out, NULL, cases[i].type, &err) != cases[i].expected)
                fail_msg("%s %g as %s: %s", tensors[t], (double)cases[i].value, cases[i].type,
                         err.message);
            if (cases[i].expected) assert_non_null(strstr(err.message, tensors[t]));
            assert_int_equal(count_files(dir), cases[i].expected ? 1 : 2);
            unlink(out);
            test_model_free(m);
        }
}

/* What is copied byte by byte is looked at too: a damaged file must not become a fresh one. */
static void copies_are_finite(void **state) {
    (void)state;
    static const char *const tensors[] = {"blocks.1.att.key.weight", "blocks.0.att.a1",
                                          "blocks.1.ln1.weight"};
    static const struct {
        const char *type, *format;
        rw_type stored;
        float value;
        rwkv_status expected;
    } cases[] = {{"F32", "ggmf", RW_F32, NAN, RWKV_E_NUMERIC},
                 {NULL, NULL, RW_F32, INFINITY, RWKV_E_NUMERIC},
                 {NULL, NULL, RW_BF16, -INFINITY, RWKV_E_NUMERIC},
                 {NULL, NULL, RW_BF16, 3e38f, RWKV_OK}};
    char in[512], out[512], dir[512];
    fresh_folder(dir, "copies");
    path_in(in, dir, "in.pth");
    path_in(out, dir, "out");
    for (size_t t = 0; t < sizeof tensors / sizeof *tensors; t++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            test_shape s = {.version = "7", .V = 20, .seed = 101};
            test_model *m = test_model_new(&s);
            test_tensor *x = test_model_find(m, tensors[t]);
            x->data[x->n - 3] = cases[i].value;
            test_model_save(m, AS_PTH, cases[i].stored, in);
            rwkv_error err = {0};
            if (convert(in, out, cases[i].format, cases[i].type, &err) != cases[i].expected)
                fail_msg("%s %g: %s", tensors[t], (double)cases[i].value, err.message);
            if (cases[i].expected) assert_non_null(strstr(err.message, tensors[t]));
            assert_int_equal(count_files(dir), cases[i].expected ? 1 : 2);
            unlink(out);
            test_model_free(m);
        }
}

/* ---------------------------------------------------------------- interruptions */

typedef struct watch {
    size_t calls, stop_at;
    uint64_t last, total;
} watch;

static bool count_down(void *user, uint64_t done, uint64_t total) {
    watch *w = user;
    assert_true(done >= w->last && done <= total);
    w->last = done;
    w->total = total;
    return ++w->calls != w->stop_at;
}

static void cancel_anywhere(void **state) {
    (void)state;
    char in[512], out[512];
    test_shape s = {.version = "7", .n_layer = 1, .seed = 111};
    snprintf(in, sizeof in, "%s", test_model_file(&s, AS_PTH, RW_BF16));
    char dir[512];
    fresh_folder(dir, "cancel");
    spill(path_in(out, dir, "out.gguf"), "old", 3);
    watch w = {0};
    for (size_t k = 1;; k++) {
        w = (watch){.stop_at = k};
        rwkv_convert_options o = {
            .type = "F16", .progress = count_down, .progress_user = &w, .n_threads = 2};
        rwkv_status st = rwkv_convert(in, out, &o, NULL);
        assert_int_equal(count_files(dir), 1);
        if (st == RWKV_OK) break;
        size_t n;
        char *old = slurp(out, &n);
        assert_int_equal(st, RWKV_E_CANCELLED);
        assert_int_equal(n, 3);
        assert_memory_equal(old, "old", 3);
        free(old);
    }
    assert_true(w.calls > 20);
    assert_int_equal(w.last, w.total);
    assert_int_equal(w.total > 0, 1);
}

/* A file that may not grow beyond a limit stands for a full disk (Q1, Q5). */
static void disk_full(void **state) {
    (void)state;
    char in[512], out[512];
    test_shape s = {.version = "6", .D = 96, .F = 512, .n_layer = 3, .seed = 121};
    snprintf(in, sizeof in, "%s", test_model_file(&s, AS_PTH, RW_F32));
    char dir[512];
    fresh_folder(dir, "full");
    path_in(out, dir, "out.gguf");
    must_convert(in, out, NULL, "F32");
    size_t size, n;
    char *whole = slurp(out, &size);
    struct rlimit before;
    void (*old_signal)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (size_t i = 0; i <= 16; i++) {
        struct rlimit limit = {.rlim_cur = (rlim_t)(size * i / 16), .rlim_max = before.rlim_max};
        spill(out, "old", 3);
        rwkv_error err = {0};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        rwkv_status st = convert(in, out, NULL, "F32", &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(count_files(dir), 1);
        char *now = slurp(out, &n);
        if (i < 16) {
            assert_int_equal(st, RWKV_E_IO);
            assert_non_null(strstr(err.message, "wrote"));
            assert_int_equal(n, 3);
            assert_memory_equal(now, "old", 3);
        } else {
            assert_int_equal(st, RWKV_OK);
            assert_int_equal(n, size);
            assert_memory_equal(now, whole, size);
        }
        free(now);
    }
    signal(SIGXFSZ, old_signal);
    free(whole);
}

#ifdef __linux__
/* The linker puts these around what writers call and around every allocation: call number fail_at
 * of the counted kind fails. */
static struct {
    bool calls, heap; /* which kind is counted */
    uint64_t n, fail_at;
} faults;

static bool fails(bool counted) {
    if (!counted || ++faults.n != faults.fail_at) return false;
    errno = ENOSPC;
    return true;
}

#define WRAP(kind, type, name, params, args, failed)                                               \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params {                                                                    \
        return fails(faults.kind) ? failed : __real_##name args;                                   \
    }
WRAP(calls, ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n), -1)
WRAP(calls, int, fsync, (int fd), (fd), -1)
WRAP(calls, int, renameat, (int a, const char *p, int b, const char *q), (a, p, b, q), -1)
WRAP(heap, void *, malloc, (size_t n), (n), NULL)
WRAP(heap, void *, calloc, (size_t n, size_t m), (n, m), NULL)
WRAP(heap, void *, realloc, (void *p, size_t n), (p, n), NULL)
WRAP(heap, int, posix_memalign, (void **p, size_t a, size_t n), (p, a, n), ENOMEM)

/* Whatever fails, once: the old file or, if only making it durable failed, the whole new one;
 * nothing beside it. */
static void every_failure(void **state) {
    (void)state;
    static const char *const formats[] = {"gguf", "ggmf"};
    char in[512], out[512], dir[512];
    test_shape s = {.version = "7", .n_layer = 1, .D = 32, .V = 256, .seed = 151};
    snprintf(in, sizeof in, "%s", test_model_file(&s, AS_PTH, RW_F32));
    fresh_folder(dir, "faults");
    path_in(out, dir, "out");
    for (int kind = 0; kind < 4; kind++) {
        rwkv_convert_options o = {.format = formats[kind / 2], .type = "Q8_0", .n_threads = 1};
        size_t size, n;
        assert_int_equal(rwkv_convert(in, out, &o, NULL), RWKV_OK);
        char *whole = slurp(out, &size);
        for (uint64_t k = 1;; k++) {
            rwkv_error err = {0};
            spill(out, "old", 3);
            faults.n = 0;
            faults.fail_at = k;
            faults.calls = kind % 2 == 0;
            faults.heap = !faults.calls;
            rwkv_status st = rwkv_convert(in, out, &o, &err);
            faults.calls = faults.heap = false;
            bool reached = faults.n >= k;
            assert_int_equal(count_files(dir), 1);
            char *now = slurp(out, &n);
            bool old = n == 3 && memcmp(now, "old", 3) == 0;
            bool new = n == size &&memcmp(now, whole, size) == 0;
            free(now);
            if (!reached) {
                assert_int_equal(st, RWKV_OK);
                assert_true(new &&k > 4);
                break;
            }
            if (st == RWKV_OK)
                assert_true(new);
            else
                assert_true(err.code == st && err.message[0] && (old || new));
            if (kind % 2 == 0) assert_int_equal(st, RWKV_E_IO);
        }
        free(whole);
    }
}
#endif

/* Files cut anywhere give an error and no output (F1, F5). */
static void damaged_input(void **state) {
    (void)state;
    test_shape s = {.version = "7", .n_layer = 1, .D = 16, .V = 20, .seed = 131};
    char dir[512];
    fresh_folder(dir, "damaged");
    char in[512], out[512];
    path_in(in, dir, "in");
    path_in(out, dir, "out");
    for (int f = AS_PTH; f < TEST_FORMATS; f++) {
        if (f == AS_FLA || !test_format_has((test_format)f, "7")) continue;
        test_model *m = test_model_new(&s);
        rw_buf bytes = test_model_bytes(m, (test_format)f, RW_F16);
        for (size_t i = 0; i < 40; i++) {
            size_t cut = bytes.len * i / 40 + (i > 0 && f != AS_GGMF ? i % 3 : 0);
            rwkv_error err = {0};
            spill(in, bytes.data, cut);
            assert_int_not_equal(convert(in, out, NULL, "Q8_0", &err), RWKV_OK);
            assert_true(err.message[0] != 0);
            assert_int_equal(count_files(dir), 1);
        }
        rw_buf_free(&bytes);
        test_model_free(m);
    }
}

/* ---------------------------------------------------------------- the program */

static void program(void **state) {
    (void)state;
    char dir[512], in[512], args[2048], path[512], *out = NULL, *err = NULL;
    fresh_folder(dir, "program");
    test_shape s = {.version = "7", .D = 64, .seed = 141};
    test_model *m = test_model_new(&s);
    test_model_save(m, AS_PTH, RW_BF16, path_in(in, dir, "model.pth"));
    test_model_free(m);

    snprintf(args, sizeof args, "convert '%s' --type q8_0 --verify -t 2", in);
    assert_int_equal(run_rwkv(args, NULL, &out, &err), 0);
    assert_non_null(strstr(out, "model-Q8_0.gguf"));
    assert_non_null(strstr(out, "Verified on 256 tokens"));
    assert_int_equal(type_in(path_in(path, dir, "model-Q8_0.gguf"), "blk.0.time_mix_key.weight"),
                     RW_Q8_0);
    free(out);
    free(err);
    assert_int_equal(run_rwkv(args, NULL, NULL, &err), 1); /* it exists now */
    assert_non_null(strstr(err, "--force"));
    free(err);
    snprintf(args, sizeof args, "convert '%s' --type q8_0 --force", in);
    assert_int_equal(run_rwkv(args, NULL, NULL, NULL), 0);

    snprintf(args, sizeof args, "convert '%s' '%s' --type FP16", in, path_in(path, dir, "m.bin"));
    assert_int_equal(run_rwkv(args, NULL, NULL, NULL), 0); /* .bin: rwkv.cpp's format */
    assert_int_equal(type_in(path, "blocks.0.att.key.weight"), RW_F16);
    char *small = NULL;
    snprintf(args, sizeof args, "quantize '%s' '%s/q.bin'", path, dir);
    assert_int_equal(run_rwkv(args, NULL, &small, NULL), 0);
    free(small);
    assert_int_equal(type_in(path_in(path, dir, "q.bin"), "blocks.0.att.key.weight"), RW_Q5_1);
    assert_int_equal(type_in(path, "head.weight"), RW_F16);
    snprintf(args, sizeof args, "quantize '%s' '%s/q.gguf' Q4_0", in, dir);
    assert_int_equal(run_rwkv(args, NULL, NULL, NULL), 0);
    assert_int_equal(type_in(path_in(path, dir, "q.gguf"), "blk.0.time_mix_key.weight"), RW_Q4_0);

    snprintf(args, sizeof args, "convert '%s' '%s/x.gguf' --type Q3", in, dir);
    assert_int_equal(run_rwkv(args, NULL, NULL, NULL), 1);
    snprintf(args, sizeof args, "convert '%s/missing' '%s/x.gguf'", dir, dir);
    assert_int_equal(run_rwkv(args, NULL, NULL, NULL), 2);
    snprintf(args, sizeof args, "convert '%s' '%s'", in, in);
    assert_int_equal(run_rwkv(args, NULL, NULL, NULL), 1);
    assert_int_equal(run_rwkv("convert", NULL, NULL, NULL), 1);
    assert_int_equal(run_rwkv("quantize x", NULL, NULL, NULL), 1);
    assert_int_equal(count_files(dir), 5);
}

/* Files of other programs: decoding, renaming and turning change nothing. */
static void shared_models(void **state) {
    (void)state;
    static const char *const files[] = {"golden/v4-L3-D64.pth",
                                        "golden/v4-L2-D64-legacy.pth",
                                        "golden/v5.0-L2-D128.pth",
                                        "golden/v5.1-L2-D128.pth",
                                        "golden/v5.2-L2-D128.pth",
                                        "golden/v5.2-L2-D64-fp16.pth",
                                        "golden/v6-L2-D128.pth",
                                        "golden/v7-L3-D128.pth",
                                        "golden/v7-L2-D64-fp32.pth",
                                        "golden/v7a-L2-D64.pth",
                                        "golden/reverse/reverse-rwkv7.pth",
                                        "golden/gguf/v6-F16.gguf",
                                        "golden/gguf/v6-Q8_0.gguf",
                                        "golden/gguf/v7-BF16.gguf",
                                        "golden/gguf/v7-D256-IQ4_XS.gguf",
                                        "golden/gguf/v7-D256-Q4_K_M.gguf",
                                        "golden/bin/v6-Q4_1.bin",
                                        "golden/bin/v7-Q5_0.bin",
                                        "golden/tiny-rwkv/tiny-rwkv-4v0-660K-Q5_1.bin",
                                        "golden/tiny-rwkv/tiny-rwkv-5v1-730K-FP32.bin",
                                        "golden/tiny-rwkv/tiny-rwkv-5v2-730K-Q5_1.bin",
                                        "golden/tiny-rwkv/tiny-rwkv-6v0-3m-Q5_1.bin",
                                        "golden/tiny-rwkv/tiny-rwkv-7v0-834K-FP16.bin"};
    if (!shared_path(files[0])) skip();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char in[512], out[512];
        snprintf(in, sizeof in, "%s", shared_path(files[i]));
        snprintf(out, sizeof out, "%s", temp_path("shared.gguf"));
        must_convert(in, out, NULL, NULL);
        check_logits(in, out, 1e-4, 1e-7);
        must_convert(in, out, NULL, "F32");
        check_logits(in, out, 1e-4, 1e-7);
        must_convert(in, out, NULL, "Q8_0");
        check_logits(in, out, 1e9, 0.3);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_version_and_type),
        cmocka_unit_test(every_container),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(same_types_same_file),
        cmocka_unit_test(rescaled_gguf),
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(types_of_tensors),
        cmocka_unit_test(shapes_for_other_programs),
        cmocka_unit_test(vocabulary_and_chat),
        cmocka_unit_test(vocabulary_with_merges),
        cmocka_unit_test(refusals),
        cmocka_unit_test(output_is_input),
        cmocka_unit_test(numbers_out_of_range),
        cmocka_unit_test(copies_are_finite),
        cmocka_unit_test(cancel_anywhere),
        cmocka_unit_test(disk_full),
#ifdef __linux__
        cmocka_unit_test(every_failure),
#endif
        cmocka_unit_test(damaged_input),
        cmocka_unit_test(program),
        cmocka_unit_test(shared_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
