/* test_model.c - the numbers. Every version and every container against the double-precision
 * reference, with each kernel set; the same bits for every way of cutting a text, any number of
 * threads and any company in a batch; and the golden checkpoints where they are at hand. */
#include "base/json.h"
#include "model/model.h"
#include "support_reference.h"
#include <math.h>

enum { N_TOKENS = 150 }; /* more than one pass of RW_MAX_ROWS */

static const char *const isas[] = {"scalar",      "avx2", "avxvnni",      "avx512",
                                   "avx512-bf16", "neon", "neon-dotprod", "neon-i8mm"};

/* NULL when this machine lacks the kernel set; scalar must be there. */
static rwkv_model *open_with(const char *path, const char *isa, uint32_t threads, uint32_t flags) {
    rwkv_model *m = NULL;
    rwkv_error err = {0};
    rwkv_model_options options = {.isa = isa, .n_threads = threads, .flags = flags};
    rwkv_status st = rwkv_model_open(&m, path, &options, &err);
    if (st == RWKV_E_ARG && isa && strcmp(isa, "scalar")) return NULL;
    if (st) fail_msg("%s: %s", path, err.message);
    return m;
}

static rwkv_model *open_model(const char *path, const char *isa, uint32_t threads) {
    return open_with(path, isa, threads, RWKV_MODEL_EXACT);
}

static rwkv_session *new_session(rwkv_model *m) {
    rwkv_session *s = NULL;
    assert_int_equal(rwkv_session_new(&s, m, NULL), RWKV_OK);
    return s;
}

static void feed(rwkv_session *s, const int32_t *tokens, size_t n) {
    rwkv_error err = {0};
    if (rwkv_session_eval(s, tokens, n, &err)) fail_msg("%s", err.message);
}

static void random_tokens(int32_t *tokens, size_t n, uint32_t n_vocab, uint64_t seed) {
    for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)(rng_u64(&seed) % n_vocab);
}

static float *floats(size_t n) {
    float *p = malloc(n * sizeof *p);
    assert_non_null(p);
    return p;
}

/* ---- against the reference */

/* Residual error of float32 arithmetic on these models is about 1e-5. */
static void check_logits(const reference *ref, const float *logits, const char *what,
                         size_t token) {
    double off = reference_max_abs(ref, logits), kl = reference_kl(ref, logits);
    if (!(off < 2e-4) || !(fabs(kl) < 1e-7))
        fail_msg("%s: token %zu: logits are off by %g, KL %g", what, token, off, kl);
    int32_t top = reference_top(ref);
    for (uint32_t i = 0; i < ref->m->shape.V && reference_margin(ref) > 4e-4; i++)
        if (logits[i] > logits[top]) fail_msg("%s: token %zu: other top logit", what, token);
}

static void check_state(const reference *ref, const rwkv_session *s, const char *what) {
    assert_int_equal(rwkv_session_state_len(s), ref->n_state);
    double off = reference_state_error(ref, rwkv_session_state(s));
    if (!(off < 1e-4)) fail_msg("%s: the state is off by %g", what, off);
}

static void check_tokens(rwkv_model *m, reference *ref, size_t n, const char *what) {
    int32_t tokens[N_TOKENS];
    rwkv_session *s = new_session(m);
    random_tokens(tokens, n, ref->m->shape.V, ref->m->shape.seed);
    reference_reset(ref);
    for (size_t i = 0; i < n; i++) {
        feed(s, &tokens[i], 1);
        reference_eval(ref, tokens[i]);
        check_logits(ref, rwkv_session_logits(s), what, i);
    }
    check_state(ref, s, what);
    rwkv_session_free(s);
}

static void every_version_meets_the_reference(void **unused) {
    (void)unused;
    for (const test_shape *shape = test_shapes; shape->version; shape++) {
        test_model *t = test_model_new(shape);
        reference *ref = reference_new(t);
        const char *path = test_model_file(shape, AS_PTH, RW_F32);
        for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
            char what[64];
            snprintf(what, sizeof what, "v%s D %u, %s", shape->version, t->shape.D, isas[i]);
            rwkv_model *m = open_model(path, isas[i], 1);
            if (!m) continue;
            check_tokens(m, ref, N_TOKENS, what);
            rwkv_model_free(m);
        }
        reference_free(ref);
        test_model_free(t);
    }
}

/* The group norm's epsilon that a format means (spec: rwkv.cpp v5; fla). */
static double format_eps(test_format f, const test_model *t) {
    if (f == AS_GGMF && t->shape.version[0] == '5') return 1e-5;
    return f == AS_FLA ? 1e-5 * t->shape.N : 64e-5;
}

static void every_container_means_the_same(void **unused) {
    (void)unused;
    static const rw_type types[] = {RW_F32, RW_F16, RW_BF16};
    for (const test_shape *shape = test_shapes; shape->version; shape++) {
        test_model *t = test_model_new(shape);
        reference *ref = reference_new(t);
        uint8_t fingerprint[32], weights[32] = {0};
        for (test_format f = 0; f < TEST_FORMATS; f++) {
            if (!test_format_has(f, shape->version)) continue;
            for (int type = 0; type < (f == AS_GGMF ? 2 : 3); type++) {
                char what[96];
                rwkv_info info;
                snprintf(what, sizeof what, "v%s D %u as %s %s", shape->version, t->shape.D,
                         test_format_names[f], rw_type_name(types[type]));
                rwkv_model *m = open_model(test_model_file(shape, f, types[type]), NULL, 1);
                rwkv_model_info(m, &info);
                ref->gn_eps = format_eps(f, t);
                check_tokens(m, ref, 20, what);
                if (f == 0 && type == 0) memcpy(fingerprint, info.fingerprint, 32);
                assert_memory_equal(fingerprint, info.fingerprint, 32);
                if (f == AS_PTH) assert_memory_not_equal(weights, info.weights_hash, 32);
                memcpy(weights, info.weights_hash, 32);
                rwkv_model_free(m);
            }
        }
        reference_free(ref);
        test_model_free(t);
    }
}

static void rescaled_gguf_is_undone(void **unused) {
    (void)unused;
    test_shape shape = {.version = "6", .n_layer = 5, .seed = 21};
    test_model *t = test_model_new(&shape);
    reference *ref = reference_new(t);
    for (uint32_t every = 1; every < 4; every++) {
        rw_buf b = test_model_gguf_rescaled(t, RW_F16, every);
        spill(temp_path("rescaled.gguf"), b.data, b.len);
        rw_buf_free(&b);
        rwkv_model *m = open_model(temp_path("rescaled.gguf"), NULL, 1);
        check_tokens(m, ref, 20, "rescaled v6");
        rwkv_model_free(m);
    }
    reference_free(ref);
    test_model_free(t);
}

static void group_norm_eps_can_be_chosen(void **unused) {
    (void)unused;
    test_shape shape = {.version = "5.2", .seed = 22};
    test_model *t = test_model_new(&shape);
    reference *ref = reference_new(t);
    rwkv_model *m = NULL;
    rwkv_info info;
    rwkv_model_options options = {.group_norm_eps = 0.01f, .flags = RWKV_MODEL_EXACT};
    assert_int_equal(rwkv_model_open(&m, test_model_file(&shape, AS_PTH, RW_F32), &options, NULL),
                     0);
    rwkv_model_info(m, &info);
    assert_true(info.group_norm_eps == 0.01f);
    ref->gn_eps = (double)0.01f;
    check_tokens(m, ref, 10, "eps 0.01");
    rwkv_model_free(m);
    reference_free(ref);
    test_model_free(t);
}

static void info_tells_the_sizes(void **unused) {
    (void)unused;
    for (const test_shape *shape = test_shapes; shape->version; shape++) {
        test_model *t = test_model_new(shape);
        rwkv_model *m = open_model(test_model_file(shape, AS_PTH, RW_BF16), NULL, 2);
        rwkv_info info;
        rwkv_tensor_info tensor;
        uint64_t n_params = 0, n = 0;
        bool v4 = shape->version[0] == '4';
        rwkv_model_info(m, &info);
        assert_string_equal(info.version, shape->version);
        assert_string_equal(info.format, "pth");
        assert_string_equal(info.type, "BF16");
        assert_int_equal(info.n_layer, t->shape.n_layer);
        assert_int_equal(info.n_embd, t->shape.D);
        assert_int_equal(info.n_att, t->A);
        assert_int_equal(info.n_ffn, t->shape.F);
        assert_int_equal(info.n_vocab, t->shape.V);
        assert_int_equal(info.n_head, v4 ? 0 : t->shape.H);
        assert_int_equal(info.head_size, v4 ? 0 : t->shape.N);
        assert_int_equal(info.n_threads, 2);
        for (size_t i = 0; i < t->n_tensors; i++) n_params += t->tensors[i].n;
        assert_int_equal(info.n_params, n_params);
        assert_int_equal(info.weight_bytes, 2 * n_params);
        assert_true(info.file_bytes > info.weight_bytes);
        for (; rwkv_model_tensor(m, n, &tensor); n++) {
            const test_tensor *same = test_model_find(t, tensor.name);
            assert_non_null(same);
            assert_string_equal(tensor.type, "BF16");
            assert_int_equal(tensor.bytes, 2 * same->n);
            assert_int_equal(tensor.n_dims, same->n_dims);
            assert_memory_equal(tensor.dims, same->dims, same->n_dims * sizeof *same->dims);
        }
        assert_int_equal(n, t->n_tensors);
        rwkv_session *s = new_session(m);
        assert_int_equal(info.state_bytes, rwkv_session_state_len(s) * sizeof(float));
        rwkv_session_free(s);
        rwkv_model_free(m);
        test_model_free(t);
    }
}

static void fingerprints_tell_models_apart(void **unused) {
    (void)unused;
    test_shape a = {.version = "7", .seed = 1}, b = {.version = "7", .seed = 2};
    rwkv_info info_a, info_b;
    rwkv_model *m = open_model(test_model_file(&a, AS_PTH, RW_F32), NULL, 1);
    rwkv_model *n = open_model(test_model_file(&b, AS_PTH, RW_F32), NULL, 1);
    rwkv_model_info(m, &info_a);
    rwkv_model_info(n, &info_b);
    assert_memory_not_equal(info_a.fingerprint, info_b.fingerprint, 32);
    assert_memory_not_equal(info_a.weights_hash, info_b.weights_hash, 32);
    rwkv_model_free(m);
    rwkv_model_free(n);
}

/* ---- the same bits however it is asked */

typedef struct truth {
    int32_t tokens[N_TOKENS];
    float *rows;  /* [N_TOKENS, V], one token at a time on one thread */
    float *state; /* after the last */
    size_t V, n_state;
} truth;

static truth make_truth(rwkv_model *m, uint64_t seed) {
    truth t;
    rwkv_info info;
    rwkv_model_info(m, &info);
    rwkv_session *s = new_session(m);
    t.V = info.n_vocab;
    t.n_state = rwkv_session_state_len(s);
    t.rows = floats(N_TOKENS * t.V);
    t.state = floats(t.n_state);
    random_tokens(t.tokens, N_TOKENS, info.n_vocab, seed);
    for (size_t i = 0; i < N_TOKENS; i++) {
        feed(s, &t.tokens[i], 1);
        memcpy(t.rows + i * t.V, rwkv_session_logits(s), t.V * sizeof(float));
    }
    memcpy(t.state, rwkv_session_state(s), t.n_state * sizeof(float));
    rwkv_session_free(s);
    return t;
}

static void free_truth(truth *t) {
    free(t->rows);
    free(t->state);
}

static void same_bits(const truth *t, const rwkv_session *s, size_t last, const char *what) {
    if (memcmp(rwkv_session_logits(s), t->rows + last * t->V, t->V * sizeof(float)))
        fail_msg("%s: other logits after token %zu", what, last);
    if (last == N_TOKENS - 1 && memcmp(rwkv_session_state(s), t->state, t->n_state * sizeof(float)))
        fail_msg("%s: another state", what);
}

static void check_cuts(rwkv_model *m, const truth *t, const char *what) {
    static const size_t cuts[][8] = {
        {150}, {1, 149}, {7, 128, 15}, {129, 21}, {3, 5, 11, 13, 17, 19, 82}};
    rwkv_session *s = new_session(m);
    for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
        rwkv_session_reset(s);
        for (size_t i = 0, at = 0; i < 8 && cuts[c][i]; at += cuts[c][i++]) {
            feed(s, t->tokens + at, cuts[c][i]);
            same_bits(t, s, at + cuts[c][i] - 1, what);
        }
    }
    float *all = floats(N_TOKENS * t->V);
    rwkv_session_reset(s);
    assert_int_equal(rwkv_session_eval_all(s, t->tokens, N_TOKENS, all, NULL), RWKV_OK);
    same_bits(t, s, N_TOKENS - 1, what);
    if (memcmp(all, t->rows, N_TOKENS * t->V * sizeof(float)))
        fail_msg("%s: eval_all differs", what);
    free(all);
    rwkv_session_free(s);
}

/* Sessions at different places of the text move on together, by different lengths. */
static void check_company(rwkv_model *m, const truth *t, const char *what) {
    static const size_t from[] = {0, 3, 20, 0, 70, 149, 5, 128},
                        count[] = {1, 17, 130, 150, 3, 1, 64, 22};
    enum { N = sizeof from / sizeof *from };
    rwkv_session *s[N];
    rwkv_batch_item items[N];
    for (int reversed = 0; reversed < 2; reversed++) {
        size_t n = reversed ? 5 : N;
        for (size_t i = 0; i < n; i++) {
            s[i] = new_session(m);
            if (from[i]) feed(s[i], t->tokens, from[i]);
            items[reversed ? n - 1 - i : i] =
                (rwkv_batch_item){s[i], t->tokens + from[i], count[i]};
        }
        assert_int_equal(rwkv_eval_batch(items, n, NULL), RWKV_OK);
        for (size_t i = 0; i < n; i++) {
            same_bits(t, s[i], from[i] + count[i] - 1, what);
            assert_int_equal(rwkv_session_n_tokens(s[i]), from[i] + count[i]);
            rwkv_session_free(s[i]);
        }
    }
}

static void same_bits_for_any_cut_threads_and_company(void **unused) {
    (void)unused;
    for (const test_shape *shape = test_shapes; shape->version; shape++) {
        const char *path = test_model_file(shape, AS_PTH, shape->seed % 2 ? RW_F32 : RW_BF16);
        for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
            rwkv_model *one = open_model(path, isas[i], 1);
            if (!one) continue;
            truth t = make_truth(one, shape->seed);
            rwkv_model_free(one);
            for (uint32_t threads = 1; threads <= 3; threads++) {
                char what[80];
                snprintf(what, sizeof what, "v%s seed %d, %s, %u threads", shape->version,
                         (int)shape->seed, isas[i], threads);
                rwkv_model *m = open_model(path, isas[i], threads);
                check_cuts(m, &t, what);
                check_company(m, &t, what);
                rwkv_model_free(m);
            }
            free_truth(&t);
        }
    }
}

/* Wide enough that every product is split among the threads. */
static void same_bits_when_the_work_is_split(void **unused) {
    (void)unused;
    static const char *const versions[] = {"4", "5.2", "6", "7"};
    for (size_t v = 0; v < sizeof versions / sizeof *versions; v++) {
        test_shape shape = {.version = versions[v], .n_layer = 1, .D = 192, .seed = 30 + v};
        if (versions[v][0] != '4') shape.H = 3, shape.N = 64;
        const char *path = test_model_file(&shape, AS_PTH, RW_F16);
        rwkv_model *one = open_model(path, NULL, 1);
        truth t = make_truth(one, 5);
        rwkv_model_free(one);
        for (uint32_t threads = 2; threads <= 7; threads += 5) {
            rwkv_model *m = open_model(path, NULL, threads);
            check_cuts(m, &t, versions[v]);
            check_company(m, &t, versions[v]);
            rwkv_model_free(m);
        }
        free_truth(&t);
    }
}

/* Rows of low-rank matrices may be longer than all others, and than what is decoded at a time. */
static void ranks_may_exceed_every_other_size(void **unused) {
    (void)unused;
    static const char *const versions[] = {"6", "7"};
    for (size_t v = 0; v < sizeof versions / sizeof *versions; v++) {
        test_shape shape = {.version = versions[v], .D = 8, .F = 9, .V = 11, .rank = 16400};
        test_model *t = test_model_new(&shape);
        reference *ref = reference_new(t);
        rwkv_model *m = open_model(test_model_file(&shape, AS_PTH, RW_F16), NULL, 2);
        check_tokens(m, ref, 3, versions[v]);
        rwkv_model_free(m);
        reference_free(ref);
        test_model_free(t);
    }
    /* beside quantized matrices, as many rows as fit a pass */
    test_shape shape = {.version = "7", .D = 32, .F = 64, .V = 16, .rank = 16416};
    int32_t tokens[RW_MAX_ROWS] = {0};
    rwkv_convert_options options = {.type = "Q8_0", .n_threads = 2};
    rwkv_error err = {0};
    if (rwkv_convert(test_model_file(&shape, AS_PTH, RW_F16), temp_path("ranks.gguf"), &options,
                     &err))
        fail_msg("%s", err.message);
    rwkv_model *m = open_model(temp_path("ranks.gguf"), NULL, 2);
    rwkv_session *s = new_session(m);
    feed(s, tokens, RW_MAX_ROWS);
    rwkv_session_free(s);
    rwkv_model_free(m);
}

/* The largest pass, alone and in company: nothing is written behind the workspace. */
static void the_workspace_is_large_enough(void **unused) {
    (void)unused;
    enum { GUARD = 1 << 16 };
    for (const test_shape *shape = test_shapes; shape->version; shape++) {
        rwkv_model *m = open_model(test_model_file(shape, AS_PTH, RW_F16), NULL, 2);
        float *own = m->work, *all = floats(RW_MAX_ROWS * m->V), mark = -12345.678f;
        size_t n = m->work_len;
        int32_t tokens[RW_MAX_ROWS];
        rwkv_batch_item items[RW_MAX_ROWS];
        random_tokens(tokens, RW_MAX_ROWS, m->V, 1);
        m->work = floats(n + GUARD);
        for (size_t i = 0; i < n + GUARD; i++) m->work[i] = mark;
        for (size_t i = 0; i < RW_MAX_ROWS; i++)
            items[i] = (rwkv_batch_item){new_session(m), &tokens[i], 1};
        assert_int_equal(rwkv_eval_batch(items, RW_MAX_ROWS, NULL), RWKV_OK);
        assert_int_equal(rwkv_session_eval_all(items[0].session, tokens, RW_MAX_ROWS, all, NULL),
                         RWKV_OK);
        for (size_t i = n; i < n + GUARD; i++)
            if (m->work[i] != mark) fail_msg("v%s: float %zu of %zu", shape->version, i, n);
        for (size_t i = 0; i < RW_MAX_ROWS; i++) rwkv_session_free(items[i].session);
        free(m->work);
        free(all);
        m->work = own;
        rwkv_model_free(m);
    }
}

/* Whatever sessions pend, sit out or feed, each is where its twin, fed token by token, is. */
static void batches_at_random(void **unused) {
    (void)unused;
    static const char *const versions[] = {"4", "5.2", "6", "7"};
    enum { SESSIONS = 9, ROUNDS = 25, LONGEST = 290 };
    for (size_t v = 0; v < sizeof versions / sizeof *versions; v++) {
        test_shape shape = {.version = versions[v], .D = 16, .F = 20, .V = 40, .seed = v};
        rwkv_model *m = open_model(test_model_file(&shape, AS_PTH, RW_F32), NULL, 2);
        rwkv_session *s[SESSIONS], *twin[SESSIONS];
        int32_t tokens[SESSIONS][LONGEST];
        rwkv_batch_item items[SESSIONS];
        uint64_t rng = 77 + v, fed[SESSIONS] = {0};
        for (size_t i = 0; i < SESSIONS; i++) s[i] = new_session(m), twin[i] = new_session(m);
        for (int round = 0; round < ROUNDS; round++) {
            size_t n = 0, first = rng_u64(&rng) % SESSIONS;
            for (size_t k = 0; k < SESSIONS; k++) {
                size_t i = (first + k) % SESSIONS;
                size_t len = rng_u64(&rng) % (rng_u64(&rng) % 4 ? 5 : LONGEST + 1);
                random_tokens(tokens[i], LONGEST, 40, rng_u64(&rng));
                if (rng_u64(&rng) % 2 && rwkv_session_pending(s[i]) < 0)
                    assert_int_equal(rwkv_session_pend(s[i], tokens[i][LONGEST - 1], NULL), 0);
                int32_t pending = rwkv_session_pending(s[i]);
                if (rng_u64(&rng) % 4 == 0 || (len == 0 && pending < 0)) continue;
                if (pending >= 0) feed(twin[i], &pending, 1);
                for (size_t t = 0; t < len; t++) feed(twin[i], &tokens[i][t], 1);
                fed[i] += len + (pending >= 0);
                items[n++] = (rwkv_batch_item){s[i], len ? tokens[i] : NULL, len};
            }
            if (n) assert_int_equal(rwkv_eval_batch(items, n, NULL), RWKV_OK);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(rwkv_session_pending(items[i].session), -1);
            for (size_t i = 0; i < SESSIONS; i++) {
                size_t state = rwkv_session_state_len(s[i]) * sizeof(float);
                assert_int_equal(rwkv_session_n_tokens(s[i]), fed[i]);
                assert_memory_equal(rwkv_session_state(s[i]), rwkv_session_state(twin[i]), state);
                if (!fed[i]) continue;
                assert_memory_equal(rwkv_session_logits(s[i]), rwkv_session_logits(twin[i]), 160);
            }
        }
        for (size_t i = 0; i < SESSIONS; i++) rwkv_session_free(s[i]), rwkv_session_free(twin[i]);
        rwkv_model_free(m);
    }
}

/* A session whose numbers are lost takes none of its company along, wherever its rows are. */
static void a_broken_session_breaks_alone(void **unused) {
    (void)unused;
    static const char *const versions[] = {"4", "5.2", "6", "7"};
    enum { SESSIONS = 4, N = 100 };
    for (size_t v = 0; v < sizeof versions / sizeof *versions; v++) {
        test_shape shape = {.version = versions[v], .D = 16, .F = 20, .V = 40, .seed = v};
        rwkv_model *m = open_model(test_model_file(&shape, AS_PTH, RW_F32), NULL, 2);
        int32_t tokens[N];
        random_tokens(tokens, N, 40, 5);
        for (size_t bad = 0; bad < SESSIONS; bad++) {
            rwkv_session *s[SESSIONS], *alone = new_session(m);
            rwkv_batch_item items[SESSIONS];
            rwkv_error err = {0};
            for (size_t i = 0; i < SESSIONS; i++) {
                s[i] = new_session(m);
                feed(s[i], tokens, 3);
                items[i] = (rwkv_batch_item){s[i], tokens + i, N - SESSIONS};
            }
            size_t len = rwkv_session_state_len(s[bad]);
            float *state = floats(len);
            for (size_t i = 0; i < len; i++) state[i] = i % 2 ? 3e38f : -3e38f;
            assert_int_equal(rwkv_session_set_state(s[bad], state, len, NULL), RWKV_OK);
            assert_int_equal(rwkv_eval_batch(items, SESSIONS, &err), RWKV_E_NUMERIC);
            assert_true(err.message[0] != 0);
            assert_null(rwkv_session_logits(s[bad]));
            for (size_t i = 0; i < SESSIONS; i++) {
                if (i == bad) continue;
                rwkv_session_reset(alone);
                feed(alone, tokens, 3);
                feed(alone, tokens + i, N - SESSIONS);
                assert_int_equal(rwkv_session_n_tokens(s[i]), rwkv_session_n_tokens(alone));
                assert_memory_equal(rwkv_session_state(s[i]), rwkv_session_state(alone),
                                    len * sizeof(float));
                assert_memory_equal(rwkv_session_logits(s[i]), rwkv_session_logits(alone), 160);
            }
            for (size_t i = 0; i < SESSIONS; i++) rwkv_session_free(s[i]);
            rwkv_session_free(alone);
            free(state);
        }
        rwkv_model_free(m);
    }
}

/* Rounded activations: as reproducible, equal in all tables but scalar, whose other sums go in another
 * order, and near the exact result. Halves are rounded where there is an instruction for bfloat16. */
static void same_bits_with_rounded_activations(void **unused) {
    (void)unused;
    static const struct {
        const char *version, *type;
    } cases[] = {{"4", "Q4_0"}, {"4", "Q6_K"},  {"5.2", "Q5_1"}, {"6", "Q8_0"},
                 {"7", "Q4_K"}, {"7a", "Q5_0"}, {"7", "Q5_K"},  {"4", "BF16"}, {"7", "F16"}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        test_shape shape = {
            .version = cases[c].version, .n_layer = 2, .D = 256, .F = 512, .seed = 50 + c};
        if (cases[c].version[0] != '4') shape.H = 4, shape.N = 64;
        char path[512], what[64];
        snprintf(path, sizeof path, "%s", temp_path("packed.gguf"));
        snprintf(what, sizeof what, "v%s %s", cases[c].version, cases[c].type);
        rwkv_convert_options options = {.type = cases[c].type};
        rwkv_error err = {0};
        if (rwkv_convert(test_model_file(&shape, AS_PTH, RW_F32), path, &options, &err))
            fail_msg("%s", err.message);
        bool halves = strstr(cases[c].type, "F16") != NULL;
        truth other = {0};
        for (size_t i = 0, vectors = 0; i < sizeof isas / sizeof *isas; i++) {
            if (halves && strcmp(isas[i], "avx512-bf16")) continue;
            rwkv_model *m = open_with(path, isas[i], 1, 0);
            if (!m) continue;
            truth t = make_truth(m, c);
            rwkv_model_free(m);
            m = open_with(path, isas[i], 2, 0);
            check_cuts(m, &t, what);
            if (i) check_company(m, &t, what);
            rwkv_model_free(m);
            m = open_model(path, isas[i], 1);
            truth exact = make_truth(m, c);
            rwkv_model_free(m);
            double off = 0, size = 0;
            for (size_t k = 0; k < N_TOKENS * t.V; k++) {
                off += (t.rows[k] - (double)exact.rows[k]) * (t.rows[k] - (double)exact.rows[k]);
                size += (double)exact.rows[k] * exact.rows[k];
            }
            bool always_exact = cases[c].version[0] == '5';
            if ((off > 0) == always_exact || !(off < 0.03 * 0.03 * size))
                fail_msg("%s: off by %g", what, sqrt(off / size));
            if (i && vectors++)
                assert_memory_equal(other.rows, t.rows, N_TOKENS * t.V * sizeof(float));
            free_truth(&exact);
            free_truth(&other);
            other = t;
        }
        free_truth(&other);
    }
}

/* ---- golden checkpoints */

typedef struct golden {
    char file[128], logits[128], state[128], expected[128], arch[8];
    bool derived; /* state-tuned or LoRA: of another issue */
    int32_t tokens[256];
    size_t positions[128]; /* or, of the digit reverser, the ids expected */
    size_t n_tokens, n_positions;
    double tolerance, peer_off;
} golden;

/* keys[1] is the model's field; a nested object's field is keys[2]. */
static void golden_value(golden *g, char keys[][64], const rw_json_event *ev) {
    const char *key = keys[1], *sub = keys[2];
    char *text = !strcmp(key, "file")                             ? g->file
                 : !strcmp(key, "expected")                       ? g->expected
                 : !strcmp(key, "arch")                           ? g->arch
                 : !strcmp(key, "logits") && !strcmp(sub, "file") ? g->logits
                 : !strcmp(key, "state") && !strcmp(sub, "file")  ? g->state
                                                                  : NULL;
    if (ev->kind == RW_JSON_STRING && text)
        snprintf(text, text == g->arch ? sizeof g->arch : sizeof g->file, "%.*s", (int)ev->len,
                 ev->text);
    if (!strcmp(key, "base")) g->derived = true;
    if (ev->kind != RW_JSON_NUMBER) return;
    char number[64];
    snprintf(number, sizeof number, "%.*s", (int)ev->len, ev->text);
    double value = strtod(number, NULL);
    if (!strcmp(key, "tokens") && g->n_tokens < 256) g->tokens[g->n_tokens++] = (int32_t)value;
    bool output = !strcmp(key, "positions") || !strcmp(key, "expect_tokens");
    if (output && g->n_positions < 128) g->positions[g->n_positions++] = (size_t)value;
    if (!strcmp(sub, "fp32_logits_abs")) g->tolerance = value;
    if (!strcmp(key, "ref64_max_abs")) g->peer_off = value;
}

/* Calls fn for each entry of the top-level array `list` of a manifest. Numbers of a top-level
 * "tokens" are given to every entry. */
static size_t each_golden(const char *folder, const char *list,
                          void (*fn)(const char *, golden *)) {
    char path[512], keys[8][64] = {""};
    size_t len, n = 0, depth = 0;
    snprintf(path, sizeof path, "%s/manifest.json", folder);
    uint8_t *text = slurp(path, &len);
    rw_json j;
    rw_json_event ev;
    golden shared = {0}, g = {0};
    bool array[8] = {false};
    rw_json_init(&j, path, text, len, 0);
    for (;;) {
        assert_int_equal(rw_json_next(&j, &ev, NULL), RWKV_OK);
        if (ev.kind == RW_JSON_END) break;
        /* depth 1: the top object, 2: the list, 3: an entry, 4 and 5: inside it. */
        if (ev.kind == RW_JSON_OBJECT || ev.kind == RW_JSON_ARRAY) {
            assert_true(depth < 7);
            if (depth == 2 && ev.kind == RW_JSON_OBJECT && !strcmp(keys[0], list)) g = shared;
            array[depth++] = ev.kind == RW_JSON_ARRAY;
            keys[depth][0] = 0;
        } else if (ev.kind == RW_JSON_CLOSE) {
            depth--;
            if (depth == 2 && !array[2] && !strcmp(keys[0], list)) fn(folder, &g), n++;
        } else if (ev.kind == RW_JSON_KEY) {
            size_t level = depth == 1 ? 0 : depth - 2;
            snprintf(keys[level], sizeof keys[level], "%.*s", (int)ev.len, ev.text);
            if (level < 7) keys[level + 1][0] = 0;
        } else if (depth >= 3 && !strcmp(keys[0], list)) {
            golden_value(&g, keys, &ev);
        } else if (depth == 2 && !strcmp(keys[0], "tokens")) {
            snprintf(keys[1], sizeof keys[1], "tokens");
            golden_value(&shared, keys, &ev);
            keys[1][0] = 0;
        }
    }
    rw_json_free(&j);
    free(text);
    return n;
}

static const float *golden_floats(const char *folder, const char *file, size_t *n) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    float *data = slurp(path, n);
    *n /= sizeof(float);
    return data;
}

static void check_golden(const char *folder, golden *g) {
    if (g->derived) return;
    char path[512];
    size_t n;
    snprintf(path, sizeof path, "%s/%s", folder, g->file);
    const float *want = golden_floats(folder, g->logits, &n);
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        rwkv_model *m = open_model(path, isas[i], 2);
        if (!m) continue;
        rwkv_info info;
        rwkv_model_info(m, &info);
        assert_string_equal(info.version, g->arch);
        assert_int_equal(n, g->n_positions * info.n_vocab);
        rwkv_session *s = new_session(m);
        float *all = floats(g->n_tokens * info.n_vocab);
        assert_int_equal(rwkv_session_eval_all(s, g->tokens, g->n_tokens, all, NULL), RWKV_OK);
        for (size_t p = 0; p < g->n_positions; p++) {
            const float *row = all + g->positions[p] * info.n_vocab,
                        *right = want + p * info.n_vocab;
            float off = max_abs_diff(row, right, info.n_vocab);
            if (!((double)off <= g->tolerance))
                fail_msg("%s, %s: off by %g", path, isas[i], (double)off);
            size_t top = 0;
            for (size_t v = 1; v < info.n_vocab; v++)
                if (right[v] > right[top]) top = v;
            for (size_t v = 0; v < info.n_vocab; v++)
                if (row[v] > row[top]) fail_msg("%s, %s: other arg-max", path, isas[i]);
        }
        size_t n_state = 0;
        const float *state = g->state[0] ? golden_floats(folder, g->state, &n_state) : NULL;
        for (size_t k = 0; k < n_state; k++) {
            float off = fabsf(state[k] - rwkv_session_state(s)[k]) / fmaxf(1, fabsf(state[k]));
            if (!(off <= 1e-4f))
                fail_msg("%s, %s: state %zu off by %g", path, isas[i], k, (double)off);
        }
        free((void *)(uintptr_t)state);
        free(all);
        rwkv_session_free(s);
        rwkv_model_free(m);
    }
    free((void *)(uintptr_t)want);
}

static void golden_checkpoints(void **unused) {
    (void)unused;
    static const char *const folders[] = {"golden", "golden/bin", "golden/gguf",
                                          "golden/safetensors", "golden/state"};
    size_t n = 0;
    if (!shared_path("golden")) skip();
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        n += each_golden(shared_path(folders[i]), "models", check_golden);
    assert_true(n >= 25);
}

/* rwkv.cpp's test models. ref64_max_abs is what exact arithmetic on the stored weights is off by.
 */
static void check_tiny(const char *folder, golden *g) {
    char path[512];
    size_t n;
    snprintf(path, sizeof path, "%s/%s", folder, g->file);
    const float *want = golden_floats(folder, g->expected, &n);
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        rwkv_model *m = open_model(path, isas[i], 1);
        if (!m) continue;
        rwkv_info info;
        rwkv_model_info(m, &info);
        assert_string_equal(info.version, g->arch);
        assert_string_equal(info.format, "ggmf");
        assert_int_equal(n, info.n_vocab);
        rwkv_session *s = new_session(m);
        feed(s, g->tokens, g->n_tokens);
        double off = (double)max_abs_diff(rwkv_session_logits(s), want, n);
        if (!(off <= g->peer_off * 1.01 + 2e-5)) fail_msg("%s, %s: off by %g", path, isas[i], off);
        rwkv_session_free(s);
        rwkv_model_free(m);
    }
    free((void *)(uintptr_t)want);
}

static void tiny_trained_models(void **unused) {
    (void)unused;
    if (!shared_path("golden/tiny-rwkv")) skip();
    assert_int_equal(each_golden(shared_path("golden/tiny-rwkv"), "models", check_tiny), 9);
}

/* ---- the trained digit reverser */

static rwkv_model *reverser;

static void check_reverse(const char *folder, golden *g) {
    (void)folder;
    rwkv_session *s = new_session(reverser);
    feed(s, g->tokens, g->n_tokens);
    for (size_t i = 0; i < g->n_positions; i++) {
        const float *logits = rwkv_session_logits(s);
        int32_t top = 0;
        for (int32_t v = 1; v < 12; v++)
            if (logits[v] > logits[top]) top = v;
        assert_int_equal(top, g->positions[i]);
        feed(s, &top, 1);
    }
    rwkv_session_free(s);
}

static void digits_are_reversed(void **unused) {
    (void)unused;
    if (!shared_path("golden/reverse")) skip();
    reverser = open_model(shared_path("golden/reverse/reverse-rwkv7.pth"), NULL, 1);
    assert_int_equal(each_golden(shared_path("golden/reverse"), "cases", check_reverse), 29);
    rwkv_model_free(reverser);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_version_meets_the_reference),
        cmocka_unit_test(every_container_means_the_same),
        cmocka_unit_test(rescaled_gguf_is_undone),
        cmocka_unit_test(group_norm_eps_can_be_chosen),
        cmocka_unit_test(info_tells_the_sizes),
        cmocka_unit_test(fingerprints_tell_models_apart),
        cmocka_unit_test(same_bits_for_any_cut_threads_and_company),
        cmocka_unit_test(same_bits_when_the_work_is_split),
        cmocka_unit_test(ranks_may_exceed_every_other_size),
        cmocka_unit_test(the_workspace_is_large_enough),
        cmocka_unit_test(batches_at_random),
        cmocka_unit_test(a_broken_session_breaks_alone),
        cmocka_unit_test(same_bits_with_rounded_activations),
        cmocka_unit_test(golden_checkpoints),
        cmocka_unit_test(tiny_trained_models),
        cmocka_unit_test(digits_are_reversed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
