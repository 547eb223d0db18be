/* test_api.c - the promises of rwkv.h: wrong arguments are refused and change nothing, what a
 * pending token means, copies, threads that share a model, no allocation per token, and every
 * failing allocation handled (on Linux the linker puts the wrappers below around malloc and its
 * kin). */
#include "support_models.h"
#include <math.h>
#include <pthread.h>

/* ---- allocations, counted and made to fail */

static struct {
    pthread_mutex_t lock;
    uint64_t count;   /* allocations since the last reset */
    uint64_t fail_at; /* this one fails; 0: none */
    bool for_ever;    /* and all after it */
    bool failed;
} heap = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void heap_reset(uint64_t fail_at, bool for_ever) {
    pthread_mutex_lock(&heap.lock);
    heap.count = 0;
    heap.fail_at = fail_at;
    heap.for_ever = for_ever;
    heap.failed = false;
    pthread_mutex_unlock(&heap.lock);
}

#ifdef __linux__
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
int __real_posix_memalign(void **out, size_t alignment, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
int __wrap_posix_memalign(void **out, size_t alignment, size_t n);

static bool allocation_fails(void) {
    pthread_mutex_lock(&heap.lock);
    heap.count++;
    bool fails =
        heap.fail_at && (heap.for_ever ? heap.count >= heap.fail_at : heap.count == heap.fail_at);
    heap.failed |= fails;
    pthread_mutex_unlock(&heap.lock);
    return fails;
}

void *__wrap_malloc(size_t n) {
    return allocation_fails() ? NULL : __real_malloc(n);
}
void *__wrap_calloc(size_t n, size_t size) {
    return allocation_fails() ? NULL : __real_calloc(n, size);
}
void *__wrap_realloc(void *p, size_t n) {
    return allocation_fails() ? NULL : __real_realloc(p, n);
}
void *__wrap_aligned_alloc(size_t alignment, size_t n) {
    return allocation_fails() ? NULL : __real_aligned_alloc(alignment, n);
}
int __wrap_posix_memalign(void **out, size_t alignment, size_t n) {
    return allocation_fails() ? 12 : __real_posix_memalign(out, alignment, n);
}
static const bool heap_is_wrapped = true;
#else
static const bool heap_is_wrapped = false;
#endif

/* ---- a model to talk to */

static const test_shape shape = {.version = "7", .D = 32, .H = 4, .N = 8, .seed = 40};
static rwkv_model *model, *other;
static rwkv_session *session;
enum { V = 256 };

static rwkv_model *open_model(const char *path, uint32_t threads) {
    rwkv_model *m = NULL;
    rwkv_error err = {0};
    rwkv_model_options options = {.n_threads = threads};
    if (rwkv_model_open(&m, path, &options, &err)) fail_msg("%s", err.message);
    return m;
}

static int set_up(void **unused) {
    (void)unused;
    test_shape second = shape;
    second.seed = 41;
    model = open_model(test_model_file(&shape, AS_GGUF, RW_F16), 1);
    other = open_model(test_model_file(&second, AS_PTH, RW_F32), 1);
    return rwkv_session_new(&session, model, NULL);
}

static int tear_down(void **unused) {
    (void)unused;
    rwkv_session_free(session);
    rwkv_model_free(model);
    rwkv_model_free(other);
    return 0;
}

static void feed(rwkv_session *s, const int32_t *tokens, size_t n) {
    assert_int_equal(rwkv_session_eval(s, tokens, n, NULL), RWKV_OK);
}

static rwkv_session *new_session(rwkv_model *m) {
    rwkv_session *s = NULL;
    assert_int_equal(rwkv_session_new(&s, m, NULL), RWKV_OK);
    return s;
}

typedef struct snapshot {
    float *state, logits[V];
    bool has_logits;
    uint64_t n_tokens;
    int32_t pending;
} snapshot;

static snapshot take(const rwkv_session *s) {
    snapshot c = {.n_tokens = rwkv_session_n_tokens(s), .pending = rwkv_session_pending(s)};
    size_t n = rwkv_session_state_len(s);
    c.state = malloc(n * sizeof(float));
    assert_non_null(c.state);
    memcpy(c.state, rwkv_session_state(s), n * sizeof(float));
    c.has_logits = rwkv_session_logits(s) != NULL;
    if (c.has_logits) memcpy(c.logits, rwkv_session_logits(s), sizeof c.logits);
    return c;
}

static void assert_unchanged(const rwkv_session *s, const snapshot *c) {
    assert_int_equal(rwkv_session_n_tokens(s), c->n_tokens);
    assert_int_equal(rwkv_session_pending(s), c->pending);
    assert_int_equal(rwkv_session_logits(s) != NULL, c->has_logits);
    assert_memory_equal(rwkv_session_state(s), c->state, rwkv_session_state_len(s) * sizeof(float));
    if (c->has_logits) assert_memory_equal(rwkv_session_logits(s), c->logits, sizeof c->logits);
}

static void assert_same(const rwkv_session *a, const rwkv_session *b) {
    snapshot c = take(b);
    assert_unchanged(a, &c);
    free(c.state);
}

static rwkv_error why;

/* The call must fail with this code, say why, and leave the session alone. */
#define REFUSED(code_, call)                                                                       \
    do {                                                                                           \
        why = (rwkv_error){0};                                                                     \
        snapshot before = take(session);                                                           \
        assert_int_equal(call, code_);                                                             \
        assert_int_equal(why.code, code_);                                                         \
        assert_true(why.message[0] != 0);                                                          \
        assert_unchanged(session, &before);                                                        \
        free(before.state);                                                                        \
    } while (0)

static void names_and_numbers(void **unused) {
    (void)unused;
    static const char *const names[] = {"RWKV_OK",         "RWKV_E_ARG",     "RWKV_E_NOMEM",
                                        "RWKV_E_IO",       "RWKV_E_FORMAT",  "RWKV_E_UNSUPPORTED",
                                        "RWKV_E_MODEL",    "RWKV_E_VOCAB",   "RWKV_E_TEXT",
                                        "RWKV_E_STATE",    "RWKV_E_NUMERIC", "RWKV_E_SPACE",
                                        "RWKV_E_CANCELLED"};
    assert_string_equal(rwkv_version(), RWKV_VERSION);
    for (int i = 0; i < 13; i++) assert_string_equal(rwkv_status_name((rwkv_status)i), names[i]);
    assert_non_null(rwkv_status_name((rwkv_status)999));
}

static void free_accepts_null(void **unused) {
    (void)unused;
    rwkv_model_free(NULL);
    rwkv_session_free(NULL);
    rwkv_tokenizer_free(NULL);
    rwkv_sampler_free(NULL);
    rwkv_stream_free(NULL);
    rwkv_free(NULL);
}

static rwkv_status try_open(rwkv_error *err, const rwkv_model_options *options, const char *path) {
    rwkv_model *m = NULL;
    rwkv_status st = rwkv_model_open(&m, path, options, err);
    assert_null(m);
    return st;
}

static void wrong_options_are_refused(void **unused) {
    (void)unused;
    const char *path = test_model_file(&shape, AS_PTH, RW_F32);
    rwkv_model_options isa = {.isa = "vax"}, threads = {.n_threads = 5000},
                       eps = {.group_norm_eps = 2}, eps_nan = {.group_norm_eps = NAN},
                       chat = {.chat = "nobody"}, vocab = {.vocab = "/none"};
    rwkv_error err = {0};
    REFUSED(RWKV_E_ARG, rwkv_model_open(NULL, path, NULL, &why));
    REFUSED(RWKV_E_ARG, try_open(&why, NULL, NULL));
    REFUSED(RWKV_E_ARG, try_open(&why, &threads, path));
    REFUSED(RWKV_E_ARG, try_open(&why, &eps, path));
    REFUSED(RWKV_E_ARG, try_open(&why, &eps_nan, path));
    REFUSED(RWKV_E_ARG, try_open(&why, &chat, path));
    REFUSED(RWKV_E_IO, try_open(&why, NULL, temp_path("absent.pth")));
    assert_int_equal(try_open(&err, &isa, path), RWKV_E_ARG);
    assert_non_null(strstr(err.message, "vax"));
    assert_non_null(strstr(err.message, "scalar"));
    assert_int_not_equal(try_open(&err, &vocab, path), RWKV_OK);
    assert_non_null(strstr(err.message, "/none"));
    assert_int_equal(try_open(NULL, &isa, path), RWKV_E_ARG); /* err may be NULL */
}

static void a_model_without_vocabulary_is_still_a_model(void **unused) {
    (void)unused;
    test_shape odd = shape;
    odd.V = 77; /* no tokenizer has 77 tokens */
    rwkv_model *m = open_model(test_model_file(&odd, AS_PTH, RW_F32), 1);
    rwkv_error err = {0};
    rwkv_info info;
    assert_null(rwkv_model_tokenizer(m, &err));
    assert_int_equal(err.code, RWKV_E_VOCAB);
    assert_true(err.message[0] != 0);
    rwkv_model_info(m, &info);
    assert_string_equal(info.tokenizer, "");
    assert_non_null(rwkv_model_template(m));
    rwkv_model_free(m);
}

static void a_new_session_is_at_the_beginning(void **unused) {
    (void)unused;
    rwkv_session *s = new_session(model);
    assert_null(rwkv_session_logits(s));
    assert_int_equal(rwkv_session_n_tokens(s), 0);
    assert_int_equal(rwkv_session_pending(s), -1);
    assert_ptr_equal(rwkv_session_model(s), model);
    feed(s, (int32_t[]){1, 2, 3}, 3);
    assert_non_null(rwkv_session_logits(s));
    assert_int_equal(rwkv_session_n_tokens(s), 3);
    rwkv_session *fresh = new_session(model);
    rwkv_session_reset(s);
    assert_same(s, fresh);
    rwkv_session_free(fresh);
    rwkv_session_free(s);
}

static void wrong_tokens_change_nothing(void **unused) {
    (void)unused;
    static const int32_t bad[] = {-1, V, V + 1, INT32_MIN, INT32_MAX};
    static float logits[8 * V];
    feed(session, (int32_t[]){5, 6}, 2);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int32_t tokens[] = {1, bad[i], 2};
        rwkv_batch_item item = {session, tokens, 3};
        REFUSED(RWKV_E_ARG, rwkv_session_eval(session, tokens, 3, &why));
        REFUSED(RWKV_E_ARG, rwkv_session_eval_all(session, tokens, 3, logits, &why));
        REFUSED(RWKV_E_ARG, rwkv_eval_batch(&item, 1, &why));
        REFUSED(RWKV_E_ARG, rwkv_session_pend(session, bad[i], &why));
    }
    REFUSED(RWKV_E_ARG, rwkv_session_eval(session, NULL, 0, &why)); /* nothing pends */
    REFUSED(RWKV_E_ARG, rwkv_session_eval(session, NULL, 3, &why));
    REFUSED(RWKV_E_ARG, rwkv_session_eval(NULL, &(int32_t){1}, 1, &why));
    REFUSED(RWKV_E_ARG, rwkv_session_eval_all(session, &(int32_t){1}, 1, NULL, &why));
    REFUSED(RWKV_E_ARG, rwkv_session_eval_all(session, &(int32_t){1}, 0, logits, &why));
    REFUSED(RWKV_E_ARG, rwkv_session_new(NULL, model, &why));
    REFUSED(RWKV_E_ARG, rwkv_session_new(&(rwkv_session *){NULL}, NULL, &why));
}

static void a_pending_token_comes_first(void **unused) {
    (void)unused;
    rwkv_session *a = new_session(model), *b = new_session(model);
    float logits[V];
    int32_t text[] = {10, 20, 30, 40};
    feed(a, text, 4);
    feed(b, text, 1);
    assert_int_equal(rwkv_session_pend(b, 20, NULL), RWKV_OK);
    assert_int_equal(rwkv_session_pending(b), 20);
    assert_int_equal(rwkv_session_n_tokens(b), 1);
    assert_int_equal(rwkv_session_pend(b, 21, NULL), RWKV_E_ARG); /* one at most */
    assert_int_equal(rwkv_session_eval_all(b, text, 1, logits, NULL), RWKV_E_ARG);
    assert_int_equal(rwkv_session_pending(b), 20);
    feed(b, text + 2, 2);
    assert_same(a, b);

    feed(a, (int32_t[]){50, 60}, 2);
    feed(b, (int32_t[]){50}, 1);
    assert_int_equal(rwkv_session_pend(b, 60, NULL), RWKV_OK);
    feed(b, NULL, 0); /* only the pending one */
    assert_same(a, b);

    feed(a, (int32_t[]){70, 80}, 2);
    assert_int_equal(rwkv_session_pend(b, 70, NULL), RWKV_OK);
    assert_int_equal(rwkv_eval_batch(&(rwkv_batch_item){b, (int32_t[]){80}, 1}, 1, NULL), RWKV_OK);
    assert_same(a, b);

    assert_int_equal(rwkv_session_pend(b, 90, NULL), RWKV_OK);
    rwkv_session_reset(b);
    assert_int_equal(rwkv_session_pending(b), -1);
    rwkv_session_free(a);
    rwkv_session_free(b);
}

static void copies_go_their_own_way(void **unused) {
    (void)unused;
    rwkv_session *a = new_session(model), *b = new_session(model), *c = new_session(other);
    feed(a, (int32_t[]){1, 2, 3}, 3);
    assert_int_equal(rwkv_session_pend(a, 9, NULL), RWKV_OK);
    assert_int_equal(rwkv_session_copy(b, a, NULL), RWKV_OK);
    assert_same(a, b);
    snapshot before = take(a);
    feed(b, (int32_t[]){4, 5}, 2);
    assert_unchanged(a, &before);
    free(before.state);
    feed(a, (int32_t[]){4, 5}, 2);
    assert_same(a, b);
    assert_int_equal(rwkv_session_copy(a, a, NULL), RWKV_OK);
    assert_same(a, b);
    assert_int_equal(rwkv_session_copy(c, a, NULL), RWKV_E_ARG);
    assert_int_equal(rwkv_session_copy(NULL, a, NULL), RWKV_E_ARG);
    assert_int_equal(rwkv_session_copy(a, NULL, NULL), RWKV_E_ARG);
    rwkv_session_free(a);
    rwkv_session_free(b);
    rwkv_session_free(c);
}

static void the_raw_state_can_be_set(void **unused) {
    (void)unused;
    rwkv_session *a = new_session(model), *b = new_session(model);
    size_t n = rwkv_session_state_len(a);
    feed(a, (int32_t[]){1, 2, 3}, 3);
    assert_int_equal(rwkv_session_set_state(b, rwkv_session_state(a), n, NULL), RWKV_OK);
    assert_null(rwkv_session_logits(b)); /* a state alone has none */
    feed(a, (int32_t[]){4}, 1);
    feed(b, (int32_t[]){4}, 1);
    assert_memory_equal(rwkv_session_logits(a), rwkv_session_logits(b), V * sizeof(float));
    assert_memory_equal(rwkv_session_state(a), rwkv_session_state(b), n * sizeof(float));

    float *bad = malloc(n * sizeof *bad);
    assert_non_null(bad);
    memcpy(bad, rwkv_session_state(a), n * sizeof *bad);
    REFUSED(RWKV_E_STATE, rwkv_session_set_state(session, bad, n - 1, &why));
    REFUSED(RWKV_E_ARG, rwkv_session_set_state(session, NULL, n, &why));
    static const float wrong[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        bad[n - 1 - i * (n / 3)] = wrong[i];
        REFUSED(RWKV_E_STATE, rwkv_session_set_state(session, bad, n, &why));
        memcpy(bad, rwkv_session_state(a), n * sizeof *bad);
    }
    free(bad);
    rwkv_session_free(a);
    rwkv_session_free(b);
}

static void batches_are_checked_first(void **unused) {
    (void)unused;
    rwkv_session *b = new_session(model), *c = new_session(other);
    int32_t one = 1, bad = -1;
    rwkv_batch_item twice[] = {{session, &one, 1}, {b, &one, 1}, {session, &one, 1}};
    rwkv_batch_item mixed[] = {{session, &one, 1}, {c, &one, 1}};
    rwkv_batch_item empty[] = {{session, &one, 1}, {b, NULL, 0}};
    rwkv_batch_item wrong[] = {{session, &one, 1}, {b, &bad, 1}};
    rwkv_batch_item none[] = {{session, &one, 1}, {NULL, &one, 1}};
    REFUSED(RWKV_E_ARG, rwkv_eval_batch(twice, 3, &why));
    REFUSED(RWKV_E_ARG, rwkv_eval_batch(mixed, 2, &why));
    REFUSED(RWKV_E_ARG, rwkv_eval_batch(empty, 2, &why));
    REFUSED(RWKV_E_ARG, rwkv_eval_batch(wrong, 2, &why));
    REFUSED(RWKV_E_ARG, rwkv_eval_batch(none, 2, &why));
    REFUSED(RWKV_E_ARG, rwkv_eval_batch(twice, 0, &why));
    REFUSED(RWKV_E_ARG, rwkv_eval_batch(NULL, 1, &why));
    assert_int_equal(rwkv_eval_batch(twice, 2, NULL), RWKV_OK); /* a refusal leaves no mark */
    assert_int_equal(rwkv_session_n_tokens(b), 1);
    rwkv_session_free(b);
    rwkv_session_free(c);
}

/* As each sampler would draw alone; a draw that fails is its own affair. */
static void draws_are_shared_out(void **unused) {
    (void)unused;
    enum { N = 5, BAD = 3 };
    static float logits[N][V];
    rwkv_sampler *alone[N], *together[N];
    rwkv_draw draws[N];
    rwkv_error errors[N] = {0};
    for (int i = 0; i < N; i++) {
        rwkv_sampling how;
        assert_int_equal(rwkv_sampling_preset(&how, "creative"), RWKV_OK);
        how.seed = 7 + (uint64_t)i;
        assert_int_equal(rwkv_sampler_new(&alone[i], V, NULL, &how, NULL), RWKV_OK);
        assert_int_equal(rwkv_sampler_new(&together[i], V, NULL, &how, NULL), RWKV_OK);
        for (int k = 0; k < V; k++) logits[i][k] = (float)((k * 31 + i * 17) % 23) / 4;
        draws[i] = (rwkv_draw){together[i], logits[i], &errors[i], -1, RWKV_OK};
    }
    logits[BAD][2] = NAN;
    for (int round = 0; round < 20; round++) {
        rwkv_draw_batch(model, draws, N);
        for (int i = 0; i < N; i++) {
            int32_t id;
            rwkv_status st = rwkv_sampler_next(alone[i], logits[i], &id, NULL);
            assert_int_equal(st, i == BAD ? RWKV_E_NUMERIC : RWKV_OK);
            assert_int_equal(draws[i].status, st);
            if (st == RWKV_OK) assert_int_equal(draws[i].token, id);
            assert_int_equal(errors[i].message[0] != '\0', i == BAD);
        }
    }
    rwkv_draw_batch(model, draws, 0);
    for (int i = 0; i < N; i++) rwkv_sampler_free(alone[i]), rwkv_sampler_free(together[i]);
}

static void files_are_written_whole(void **unused) {
    (void)unused;
    char text[] = "not\0a string", path[512];
    void *data = NULL;
    size_t n = 0;
    snprintf(path, sizeof path, "%s", temp_path("written"));
    assert_int_equal(rwkv_file_write(path, text, sizeof text, NULL), RWKV_OK);
    assert_int_equal(rwkv_file_read(path, 0, &data, &n, NULL), RWKV_OK);
    assert_int_equal(n, sizeof text);
    assert_memory_equal(data, text, n);
    rwkv_free(data);
    data = NULL;
    assert_int_not_equal(rwkv_file_read(path, sizeof text - 1, &data, &n, NULL), RWKV_OK);
    assert_null(data);
    assert_int_equal(rwkv_file_read(path, sizeof text, &data, &n, NULL), RWKV_OK);
    rwkv_free(data);
    assert_int_equal(rwkv_file_read(temp_path("absent"), 0, &data, &n, NULL), RWKV_E_IO);
    assert_int_equal(rwkv_file_write(temp_path("absent/file"), text, 1, NULL), RWKV_E_IO);
}

/* ---- threads share a model */

typedef struct worker {
    rwkv_model *model;
    float logits[V];
} worker;

static void *work(void *arg) {
    worker *w = arg;
    rwkv_session *s = NULL;
    if (rwkv_session_new(&s, w->model, NULL)) return NULL;
    for (int32_t t = 0; t < 60; t++)
        if (rwkv_session_eval(s, &(int32_t){t * 7 % V}, 1, NULL)) break;
    memcpy(w->logits, rwkv_session_logits(s), sizeof w->logits);
    rwkv_session_free(s);
    return w;
}

static void threads_share_a_model(void **unused) {
    (void)unused;
    enum { N = 4 };
    rwkv_model *m = open_model(test_model_file(&shape, AS_GGUF, RW_F16), 2);
    worker w[N + 1];
    pthread_t thread[N];
    for (int i = 0; i <= N; i++) w[i].model = m;
    for (int i = 0; i < N; i++) assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    for (int i = 0; i < N; i++) {
        void *done = NULL;
        pthread_join(thread[i], &done);
        assert_ptr_equal(done, &w[i]);
    }
    assert_ptr_equal(work(&w[N]), &w[N]);
    for (int i = 0; i < N; i++) assert_memory_equal(w[i].logits, w[N].logits, sizeof w[N].logits);
    rwkv_model_free(m);
}

/* ---- memory */

static void a_token_allocates_nothing(void **unused) {
    (void)unused;
    if (!heap_is_wrapped) skip();
    static const char *const versions[] = {"4", "5.0", "5.2", "6", "7", "7a"};
    static float logits[200 * V];
    int32_t tokens[200];
    for (int i = 0; i < 200; i++) tokens[i] = i * 37 % V;
    for (size_t v = 0; v < sizeof versions / sizeof *versions; v++) {
        test_shape sh = {.version = versions[v], .seed = 50};
        rwkv_model *m = open_model(test_model_file(&sh, AS_PTH, RW_BF16), 2);
        rwkv_session *a = new_session(m), *b = new_session(m);
        rwkv_sampler *sampler = NULL;
        rwkv_sampling how;
        const rwkv_tokenizer *tok = rwkv_model_tokenizer(m, NULL);
        assert_non_null(tok);
        assert_int_equal(rwkv_sampling_preset(&how, "default"), RWKV_OK);
        assert_int_equal(rwkv_sampler_new(&sampler, V, tok, &how, NULL), RWKV_OK);
        heap_reset(0, false);
        feed(a, tokens, 200);
        rwkv_session_eval_all(b, tokens, 200, logits, NULL);
        rwkv_eval_batch((rwkv_batch_item[]){{a, tokens, 3}, {b, tokens, 2}}, 2, NULL);
        for (int i = 0; i < 100; i++) {
            int32_t id;
            size_t len;
            assert_int_equal(rwkv_sampler_next(sampler, rwkv_session_logits(a), &id, NULL),
                             RWKV_OK);
            rwkv_token_bytes(tok, id, &len);
            rwkv_session_pend(a, id, NULL);
            feed(a, NULL, 0);
        }
        assert_int_equal(heap.count, 0);
        rwkv_sampler_free(sampler);
        rwkv_session_free(a);
        rwkv_session_free(b);
        rwkv_model_free(m);
    }
}

/* Everything that allocates, in one go. */
static rwkv_status use_everything(const char *path) {
    rwkv_status st;
    rwkv_model *m = NULL;
    rwkv_session *s = NULL;
    rwkv_sampler *sampler = NULL, *second = NULL;
    rwkv_stream *stream = NULL;
    rwkv_sampling how;
    rwkv_error err = {0};
    rwkv_model_options options = {.n_threads = 2};
    static const char *const stops[] = {"\n\nUser", "end"};
    static uint8_t blob[1 << 17];
    int32_t ids[64], id;
    const char *text;
    size_t n, len;
    rwkv_logit_bias bias[] = {{3, 1.5f}, {4, -INFINITY}};
    if ((st = rwkv_model_open(&m, path, &options, &err))) goto out;
    const rwkv_tokenizer *tok = rwkv_model_tokenizer(m, &err);
    if (!tok) {
        st = err.code;
        goto out;
    }
    if ((st = rwkv_session_new(&s, m, &err))) goto out;
    if ((st = rwkv_sampling_preset(&how, "creative"))) goto out;
    how.bias = bias;
    how.n_bias = 2;
    if ((st = rwkv_sampler_new(&sampler, V, tok, &how, &err))) goto out;
    if ((st = rwkv_sampler_new(&second, V, tok, &how, &err))) goto out;
    if ((st = rwkv_sampler_copy(second, sampler, &err))) goto out;
    if ((st = rwkv_sampler_set(second, &how, &err))) goto out;
    if ((st = rwkv_stream_new(&stream, stops, 2, &err))) goto out;
    if ((st = rwkv_encode(tok, "User: hi", 8, 0, ids, 64, &n, &err))) goto out;
    if ((st = rwkv_session_eval(s, ids, n, &err))) goto out;
    if ((st = rwkv_sampler_next(sampler, rwkv_session_logits(s), &id, &err))) goto out;
    text = rwkv_token_bytes(tok, id, &len);
    rwkv_stream_push(stream, text, len, &text, &n);
    if ((st = rwkv_session_save(s, "note", 4, 0, blob, sizeof blob, &n, &err))) goto out;
    st = rwkv_session_load(s, blob, n, NULL, &err);
out:
    if (st) assert_int_equal(err.code, st);
    rwkv_stream_free(stream);
    rwkv_sampler_free(second);
    rwkv_sampler_free(sampler);
    rwkv_session_free(s);
    rwkv_model_free(m);
    return st;
}

static void every_allocation_may_fail(void **unused) {
    (void)unused;
    if (!heap_is_wrapped) skip();
    test_shape sh = {.version = "7", .D = 16, .F = 20, .n_layer = 1, .seed = 60};
    for (test_format f = 0; f < TEST_FORMATS; f++) {
        char path[512];
        snprintf(path, sizeof path, "%s", test_model_file(&sh, f, RW_F16));
        for (int for_ever = 0; for_ever < 2; for_ever++) {
            heap_reset(0, false);
            if (use_everything(path)) fail_msg("%s: does not run at all", test_format_names[f]);
            uint64_t n = heap.count;
            assert_true(n > 10 && n < 100000);
            for (uint64_t k = 1; k <= n; k++) {
                heap_reset(k, for_ever);
                rwkv_status st = use_everything(path);
                bool failed = heap.failed;
                heap_reset(0, false);
                if (failed && st != RWKV_E_NOMEM)
                    fail_msg("%s: allocation %d of %d failed; found %s", test_format_names[f],
                             (int)k, (int)n, rwkv_status_name(st));
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_numbers),
        cmocka_unit_test(free_accepts_null),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(a_model_without_vocabulary_is_still_a_model),
        cmocka_unit_test(a_new_session_is_at_the_beginning),
        cmocka_unit_test(wrong_tokens_change_nothing),
        cmocka_unit_test(a_pending_token_comes_first),
        cmocka_unit_test(copies_go_their_own_way),
        cmocka_unit_test(the_raw_state_can_be_set),
        cmocka_unit_test(batches_are_checked_first),
        cmocka_unit_test(draws_are_shared_out),
        cmocka_unit_test(files_are_written_whole),
        cmocka_unit_test(threads_share_a_model),
        cmocka_unit_test(a_token_allocates_nothing),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
