/* test_sessions.c - named timelines: as if never stopped, whatever happens between the turns. */
#include "support_engine.h"

#include <stdatomic.h>
#include <time.h>

enum { TURNS = 6 };

/* Linked with --wrap on Linux: the fail_at-th allocation fails, on whatever thread. */
static struct {
    pthread_mutex_t lock;
    uint64_t count, fail_at; /* 0: none */
} heap = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Whether the one that was to fail has been reached. */
static bool heap_reset(uint64_t fail_at) {
    pthread_mutex_lock(&heap.lock);
    bool failed = heap.fail_at && heap.count >= heap.fail_at;
    heap.count = 0;
    heap.fail_at = fail_at;
    pthread_mutex_unlock(&heap.lock);
    return failed;
}

#ifdef __linux__
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
int __real_posix_memalign(void **out, size_t alignment, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
int __wrap_posix_memalign(void **out, size_t alignment, size_t n);

static bool allocation_fails(void) {
    pthread_mutex_lock(&heap.lock);
    bool fails = ++heap.count == heap.fail_at;
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
int __wrap_posix_memalign(void **out, size_t alignment, size_t n) {
    return allocation_fails() ? 12 : __real_posix_memalign(out, alignment, n);
}
static const bool heap_is_wrapped = true;

/* The store's writes, on whatever thread: they pass the gate, then fail as they are told. */
static struct {
    pthread_mutex_t gate;
    atomic_int result; /* of writes; STORE_OK: as the store says */
    atomic_size_t n;   /* writes begun */
} disk = {.gate = PTHREAD_MUTEX_INITIALIZER};

store_result __real_store_put(store *s, const char *space, const char *name, const void *note,
                              size_t n_note, const void *data, size_t n_data, uint64_t expected,
                              uint64_t ttl, uint64_t *generation, rwkv_error *err);
store_result __wrap_store_put(store *s, const char *space, const char *name, const void *note,
                              size_t n_note, const void *data, size_t n_data, uint64_t expected,
                              uint64_t ttl, uint64_t *generation, rwkv_error *err);

store_result __wrap_store_put(store *s, const char *space, const char *name, const void *note,
                              size_t n_note, const void *data, size_t n_data, uint64_t expected,
                              uint64_t ttl, uint64_t *generation, rwkv_error *err) {
    atomic_fetch_add(&disk.n, 1);
    pthread_mutex_lock(&disk.gate);
    pthread_mutex_unlock(&disk.gate);
    const store_result told = (store_result)atomic_load(&disk.result);
    if (told == STORE_OK)
        return __real_store_put(s, space, name, note, n_note, data, n_data, expected, ttl,
                                generation, err);
    if (err)
        *err = (rwkv_error){
            .code = RWKV_E_IO, .offset = RWKV_NO_OFFSET, .message = "the test says no"};
    return told;
}
#else
static const bool heap_is_wrapped = false;
#endif

static rwkv_model *model;
static const rwkv_tokenizer *tokenizer;

static int set_up(void **unused) {
    (void)unused;
    model = engine_test_model(11);
    tokenizer = rwkv_model_tokenizer(model, NULL);
    return 0;
}

static int tear_down(void **unused) {
    (void)unused;
    rwkv_model_free(model);
    return 0;
}

static store *open_store(const char *url) {
    store *st = NULL;
    rwkv_error err = {0};
    if (store_open(&st, url, &err)) fail_msg("%s", err.message);
    return st;
}

static engine *start(store *st, const engine_options *options) {
    engine *e = NULL;
    rwkv_error err = {0};
    if (engine_new(&e, model, st, options, &err)) fail_msg("%s", err.message);
    return e;
}

static job_request turn_of(const char *tenant, const char *name, uint64_t seed,
                           uint64_t max_tokens) {
    const size_t n = 1 + seed % 37;
    job_request r = request_of(tenant, some_tokens(1000 + seed, n), n, max_tokens, seed);
    r.session = name;
    r.session_generation = STORE_ANY;
    r.create_session = true;
    return r;
}

/* One timeline by the library alone. */
typedef struct alone {
    rwkv_session *s;
    size_t n;
} alone;

static void alone_turn(alone *a, const job_request *r, const seen *s) {
    rwkv_sampler *p = NULL;
    int32_t id = -1;
    assert_int_equal(rwkv_sampler_new(&p, engine_shape.V, tokenizer, &r->sampling, NULL), RWKV_OK);
    if (r->n_tokens)
        assert_int_equal(rwkv_session_eval(a->s, r->tokens, r->n_tokens, NULL), RWKV_OK);
    else
        assert_int_equal(rwkv_session_eval(a->s, NULL, 0, NULL), RWKV_OK);
    a->n += r->n_tokens;
    for (uint64_t i = 0; i < r->max_tokens; i++, a->n++) {
        if (i) assert_int_equal(rwkv_session_eval(a->s, &id, 1, NULL), RWKV_OK);
        assert_int_equal(rwkv_sampler_next(p, rwkv_session_logits(a->s), &id, NULL), RWKV_OK);
        assert_int_equal(id, s->tokens[i]);
    }
    assert_int_equal(rwkv_session_pend(a->s, id, NULL), RWKV_OK);
    rwkv_sampler_free(p);
    assert_int_equal(s->last.finish, JOB_LENGTH);
    assert_int_equal(s->last.n_prompt + r->max_tokens, a->n);
    assert_memory_equal(s->state, rwkv_session_state(a->s),
                        rwkv_session_state_len(a->s) * sizeof(float));
    assert_int_equal(s->pending, id);
}

static session_info info_of(engine *e, const char *tenant, const char *name) {
    session_info i = {0};
    rwkv_error err = {0};
    if (session_get(e, tenant, name, &i, &err) != STORE_OK) fail_msg("%s", err.message);
    return i;
}

/* ------------------------------------------------------------------ tests */

/* With the engine, the store and the process's memory closed between the turns. */
static void stopping_changes_nothing(void **unused) {
    (void)unused;
    char url[600];
    snprintf(url, sizeof url, "sqlite:%s", temp_path("sessions.db"));
    alone a = {0};
    uint64_t generation = 0;
    assert_int_equal(rwkv_session_new(&a.s, model, NULL), RWKV_OK);
    for (uint64_t turn = 0; turn < TURNS; turn++) {
        store *st = open_store(url);
        engine *e = start(st, NULL);
        job_request r = turn_of("t", "one", turn, 5 + turn);
        if (turn == 4) r.n_tokens = 0; /* "go on": from the token that pends */
        r.session_generation = generation;
        r.note = turn == 2 ? NULL : "{\"title\":1}";
        r.n_note = turn == 2 ? 0 : 5 + (size_t)turn;
        seen *s = run_job(e, r);
        alone_turn(&a, &r, s);
        assert_true(s->last.session_generation > generation);
        generation = s->last.session_generation;
        session_info i = info_of(e, "t", "one");
        assert_int_equal(i.n_tokens, a.n);
        assert_int_equal(i.n_turns, turn + 1);
        assert_int_equal(i.generation, generation);
        assert_int_equal(i.n_note, 5 + (turn == 2 ? 1 : turn)); /* without a new one it stays */
        assert_memory_equal(i.note, "{\"title\":1}", i.n_note);
        session_info_free(&i);
        seen_free(s);
        engine_free(e);
        store_close(st);
    }
    rwkv_session_free(a.s);
}

static void an_unknown_session_and_a_foreign_one_look_the_same(void **unused) {
    (void)unused;
    engine *e = start(NULL, NULL);
    seen_free(run_job(e, turn_of("a", "mine", 1, 3)));
    session_info i;
    rwkv_error foreign = {0}, unknown = {0};
    assert_int_equal(session_get(e, "b", "mine", &i, &foreign), STORE_NONE);
    assert_int_equal(session_get(e, "b", "else", &i, &unknown), STORE_NONE);
    assert_int_equal(strlen(foreign.message), strlen(unknown.message));
    assert_int_equal(session_delete(e, "b", "mine", NULL), STORE_NONE);
    assert_int_equal(session_fork(e, "b", "mine", "x", NULL), STORE_NONE);
    job_request r = turn_of("b", "mine", 1, 3);
    r.create_session = false;
    seen *s = run_job(e, r);
    assert_int_equal(s->last.finish, JOB_FAILED);
    assert_int_equal(s->last.session_result, STORE_NONE);
    assert_false(s->last.conflict);
    seen_free(s);
    static const char *const bad[] = {
        "",     "a/b",  "a b",
        "../x", "\xE4", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        r.session = bad[k];
        job *j;
        seen *none = seen_new(e);
        r.user = none;
        assert_int_equal(engine_submit(e, &r, &j, NULL, NULL), SUBMIT_REFUSED);
        assert_int_equal(session_get(e, "a", bad[k], &i, NULL), STORE_NONE);
        seen_free(none);
    }
    engine_free(e);
}

/* Two at once: who named the generation loses at once, who did not waits; turns never mix. */
static void one_turn_at_a_time(void **unused) {
    (void)unused;
    engine *e = start(NULL, NULL);
    alone a = {0};
    assert_int_equal(rwkv_session_new(&a.s, model, NULL), RWKV_OK);
    job_request r[4];
    for (uint64_t i = 0; i < 4; i++) r[i] = turn_of("t", "one", i, 60);
    seen *first = submit(e, r[0]);
    wait_tokens(first, 5);
    r[1].session_generation = 0;
    seen *loser = submit(e, r[1]), *second = submit(e, r[2]), *third = submit(e, r[3]);
    wait_done(loser);
    assert_int_equal(loser->last.finish, JOB_FAILED);
    assert_true(loser->last.conflict);
    wait_done(third);
    alone_turn(&a, &r[0], first);
    alone_turn(&a, &r[2], second);
    alone_turn(&a, &r[3], third);
    /* A generation that has passed. */
    r[0].session_generation = 2;
    seen *late = run_job(e, r[0]);
    assert_int_equal(late->last.finish, JOB_FAILED);
    assert_true(late->last.conflict);
    seen_free(late);
    seen_free(first);
    seen_free(loser);
    seen_free(second);
    seen_free(third);
    rwkv_session_free(a.s);
    engine_free(e);
}

static void of_two_servers_one_loses(void **unused) {
    (void)unused;
    store *st = open_store("memory:");
    engine *e[2] = {start(st, NULL), start(st, NULL)};
    seen_free(run_job(e[0], turn_of("t", "one", 0, 5)));
    job_request r = turn_of("t", "one", 1, 100);
    seen *slow = submit(e[0], r);
    wait_tokens(slow, 2);
    seen *fast = run_job(e[1], turn_of("t", "one", 2, 1));
    wait_done(slow);
    /* Whoever finishes first wins; the slow one may even have ended before the fast one began. */
    bool slow_lost = slow->last.finish == JOB_FAILED, fast_lost = fast->last.finish == JOB_FAILED;
    assert_false(slow_lost && fast_lost);
    if (slow_lost) assert_true(slow->last.conflict);
    if (fast_lost) assert_true(fast->last.conflict);
    if (!slow_lost && !fast_lost) assert_int_equal(fast->last.session_generation, 3);
    session_info i = info_of(e[0], "t", "one");
    assert_int_equal(i.n_turns, slow_lost || fast_lost ? 2 : 3);
    session_info_free(&i);
    seen_free(slow);
    seen_free(fast);
    engine_free(e[0]);
    engine_free(e[1]);
    store_close(st);
}

/* Neither a cancelled nor a failed turn leaves a trace. */
static void a_turn_is_whole_or_not_at_all(void **unused) {
    (void)unused;
    engine *e = start(NULL, NULL);
    alone a = {0};
    assert_int_equal(rwkv_session_new(&a.s, model, NULL), RWKV_OK);
    job_request r = turn_of("t", "one", 0, 5);
    seen *s = run_job(e, r);
    alone_turn(&a, &r, s);
    seen_free(s);
    r = turn_of("t", "one", 1, 300);
    s = submit_and_cancel(e, r, 3);
    wait_done(s);
    assert_int_equal(s->last.finish, JOB_CANCELLED);
    seen_free(s);
    session_info i = info_of(e, "t", "one");
    assert_int_equal(i.n_turns, 1);
    session_info_free(&i);
    r = turn_of("t", "one", 2, 7);
    s = run_job(e, r);
    alone_turn(&a, &r, s);
    seen_free(s);
    rwkv_session_free(a.s);
    engine_free(e);
}

static bool count(void *user, const session_info *i) {
    assert_true(i->n_tokens > 0 && i->n_bytes > 0 && i->name[0] && i->created > 0);
    ++*(size_t *)user;
    return true;
}

static bool rewind_to(engine *e, const char *name, uint64_t turns, seen *s) {
    rwkv_error err = {0};
    if (session_rewind(e, "t", name, turns, seen_event, s, &err) != SUBMIT_OK)
        fail_msg("%s", err.message);
    wait_done(s);
    return s->last.finish == JOB_LENGTH;
}

/* Forked, renamed, exported and imported sessions go on like the original; after rewinding like one
 * that had never gone further, with snapshots or without. */
static void copies_go_on_alike(void **unused) {
    (void)unused;
    static const engine_options with_cache = {.cache_ram = 1 << 26};
    for (int cached = 0; cached < 2; cached++) {
        engine *e = start(NULL, cached ? &with_cache : NULL);
        job_request r[TURNS];
        seen *s[TURNS];
        for (uint64_t i = 0; i < TURNS; i++) {
            r[i] = turn_of("t", "one", i, 8);
            if (i == 3) assert_int_equal(session_fork(e, "t", "one", "two", NULL), STORE_OK);
            s[i] = run_job(e, r[i]);
        }
        void *file = NULL;
        size_t n = 0, n_sessions = 0;
        assert_int_equal(session_fork(e, "t", "one", "two", NULL), STORE_CONFLICT);
        assert_int_equal(session_rename(e, "t", "two", "three", NULL), STORE_OK);
        assert_int_equal(session_export(e, "t", "three", &file, &n, NULL), STORE_OK);
        assert_int_equal(session_import(e, "t", "four", file, n, NULL), STORE_OK);
        assert_int_equal(session_import(e, "t", "four", file, n, NULL), STORE_CONFLICT);
        assert_int_equal(session_import(e, "t", "five", file, n - 1, NULL), STORE_FAILED);
        assert_int_equal(session_fork(e, "t", "one", "rewound", NULL), STORE_OK);
        seen *back = seen_new(e);
        assert_true(rewind_to(e, "rewound", 3, back));
        assert_int_equal(back->last.n_prompt, s[2]->last.n_prompt + 8);
        if (cached) assert_int_equal(back->last.n_cached, back->last.n_prompt);
        seen_free(back);
        assert_int_equal(session_list(e, "t", count, &n_sessions, NULL), STORE_OK);
        assert_int_equal(n_sessions, 4);
        static const char *const copies[] = {"three", "four", "rewound"};
        for (size_t c = 0; c < 3; c++)
            for (uint64_t i = 3; i < TURNS; i++) {
                job_request again = r[i];
                again.session = copies[c];
                again.tokens = some_tokens(1000 + i, again.n_tokens);
                seen *t = run_job(e, again);
                expect_same_answer(t, s[i]);
                assert_memory_equal(t->state, s[i]->state, 1024);
                assert_int_equal(t->last.n_prompt, s[i]->last.n_prompt);
                seen_free(t);
            }
        back = seen_new(e);
        assert_false(rewind_to(e, "four", 100, back));
        seen_free(back);
        back = seen_new(e);
        assert_true(rewind_to(e, "four", 0, back)); /* an imported one, to its beginning */
        assert_int_equal(back->last.n_prompt, 0);
        seen_free(back);
        job_request again = r[0];
        again.session = "four";
        again.tokens = some_tokens(1000, again.n_tokens);
        seen *t = run_job(e, again);
        expect_same_answer(t, s[0]);
        seen_free(t);
        assert_int_equal(session_delete(e, "t", "four", NULL), STORE_OK);
        assert_int_equal(session_delete(e, "t", "four", NULL), STORE_NONE);
        for (size_t i = 0; i < TURNS; i++) seen_free(s[i]);
        free(file);
        engine_free(e);
    }
}

/* A file may claim any text for its state: it is not believed. */
static void an_imported_state_poisons_no_snapshot(void **unused) {
    (void)unused;
    static const engine_options with_cache = {.cache_ram = 1 << 26};
    engine *e = start(NULL, &with_cache), *honest = start(NULL, NULL);
    seen_free(run_job(e, turn_of("t", "one", 1, 8)));
    void *file = NULL;
    size_t n = 0, len;
    assert_int_equal(session_export(e, "t", "one", &file, &n, NULL), STORE_OK);
    rwkv_state_info info;
    rwkv_session *s = NULL;
    assert_int_equal(rwkv_session_new(&s, model, NULL), RWKV_OK);
    assert_int_equal(rwkv_session_load(s, file, n, &info, NULL), RWKV_OK);
    float *state = calloc(rwkv_session_state_len(s), sizeof *state);
    assert_int_equal(rwkv_session_set_state(s, state, rwkv_session_state_len(s), NULL), RWKV_OK);
    void *forged = malloc(n);
    assert_int_equal(rwkv_session_save(s, info.note, info.note_len, 0, forged, n, &len, NULL),
                     RWKV_OK);
    assert_int_equal(session_import(e, "t", "forged", forged, len, NULL), STORE_OK);
    job_request r = turn_of("t", "forged", 2, 8);
    seen *lie = run_job(e, r);
    /* The same tokens as an ordinary prompt. */
    int32_t whole[200];
    size_t n_first = 1 + 1 % 37 + 8, n_whole = 0;
    engine *plain = start(NULL, NULL);
    seen *truth = run_job(plain, turn_of("t", "one", 1, 8));
    memcpy(whole, some_tokens(1001, 2), 2 * sizeof *whole);
    memcpy(whole + 2, truth->tokens, 8 * sizeof *whole);
    n_whole = n_first;
    memcpy(whole + n_whole, some_tokens(1002, r.n_tokens), r.n_tokens * sizeof *whole);
    n_whole += r.n_tokens;
    memcpy(whole + n_whole, lie->tokens, 8 * sizeof *whole);
    n_whole += 8;
    job_request prompt = request_of("t", whole, n_whole, 10, 5);
    seen *a = run_job(e, prompt), *b = run_job(honest, prompt);
    expect_same_answer(a, b);
    assert_true(a->last.n_cached <= n_first);
    seen_free(a);
    seen_free(b);
    seen_free(lie);
    seen_free(truth);
    free(file);
    free(forged);
    free(state);
    rwkv_session_free(s);
    engine_free(e);
    engine_free(honest);
    engine_free(plain);
}

static void limits_are_kept(void **unused) {
    (void)unused;
    engine *e = start(NULL, &(engine_options){.max_sessions = 3});
    char name[16];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "s%d", i);
        seen *s = run_job(e, turn_of("t", name, 1, 3));
        assert_int_equal(s->last.finish, i < 3 ? JOB_LENGTH : JOB_FAILED);
        if (i == 3) assert_int_equal(s->last.session_result, STORE_FULL);
        seen_free(s);
    }
    seen_free(run_job(e, turn_of("u", "s", 1, 3)));
    engine_free(e);
    e = start(NULL, &(engine_options){.session_quota = 10000});
    size_t saved = 0;
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "s%d", i);
        seen *s = run_job(e, turn_of("t", name, 1, 3));
        saved += s->last.finish == JOB_LENGTH;
        if (s->last.finish == JOB_FAILED) assert_int_equal(s->last.session_result, STORE_FULL);
        seen_free(s);
    }
    assert_true(saved >= 1 && saved < 6);
    engine_free(e);
}

/* Thirty-two users of four tenants, six turns each, in eight lanes with room for few snapshots,
 * some of them cancelled on the way; every timeline is that of the user alone. */
static void users_interleaved(void **unused) {
    (void)unused;
    enum { USERS = 32 };
    static const char *const tenants[] = {"a", "b", "c", "d"};
    char url[600];
    snprintf(url, sizeof url, "sqlite:%s", temp_path("users.db"));
    store *st = open_store(url);
    const engine_options o = {
        .max_lanes = 8, .cache_ram = 1 << 19, .cache_disk = 1 << 20, .snapshot_every = 16};
    engine *e = start(st, &o);
    alone a[USERS] = {0};
    uint64_t rng = 4;
    for (size_t u = 0; u < USERS; u++)
        assert_int_equal(rwkv_session_new(&a[u].s, model, NULL), RWKV_OK);
    for (uint64_t turn = 0; turn < TURNS; turn++) {
        seen *s[USERS], *noise[USERS] = {0};
        for (size_t u = 0; u < USERS; u++) {
            char name[16];
            snprintf(name, sizeof name, "u%zu", u % 8); /* the names of tenants meet */
            job_request r = turn_of(tenants[u / 8], name, turn * USERS + u, 3 + (u + turn) % 9);
            s[u] = submit(e, r);
            if (rng_u64(&rng) % 3) continue;
            noise[u] = submit(e, request_of(tenants[u % 4], some_tokens(u, 200), 200, 100, u));
            if (rng_u64(&rng) % 2) wait_tokens(s[u], 1);
            cancel_job(noise[u]);
        }
        for (size_t u = 0; u < USERS; u++) {
            wait_done(s[u]);
            job_request r = turn_of(tenants[u / 8], "", turn * USERS + u, 3 + (u + turn) % 9);
            alone_turn(&a[u], &r, s[u]);
            seen_free(s[u]);
            if (!noise[u]) continue;
            wait_done(noise[u]);
            assert_true(noise[u]->last.finish == JOB_CANCELLED ||
                        noise[u]->last.finish == JOB_LENGTH);
            seen_free(noise[u]);
        }
        if (turn % 2 == 0) continue;
        engine_free(e); /* a restart */
        e = start(st, &o);
    }
    for (size_t u = 0; u < USERS; u++) rwkv_session_free(a[u].s);
    engine_free(e);
    store_close(st);
}

/* Every allocation of a turn fails once. Then the turn fails and can be repeated, or a snapshot
 * less is kept, which nobody notices. */
static void memory_runs_out_at_any_moment(void **unused) {
    (void)unused;
    if (!heap_is_wrapped) skip();
    const engine_options o = {.cache_ram = 1 << 26, .snapshot_every = 16, .max_lanes = 2};
    const job_request first = turn_of("t", "one", 30, 4);
    job_request second = turn_of("t", "one", 31, 12);
    const char *const stops[] = {"\x01\x02", "\x03\x04"};
    second.stops = stops;
    second.n_stops = 2;
    const size_t marks[] = {20};
    second.marks = marks;
    second.n_marks = 1;
    seen *expected = NULL;
    size_t refused = 0, failed = 0, unnoticed = 0;
    bool reached = true;
    for (uint64_t k = 0; reached; k++) {
        engine *e = start(NULL, &o);
        seen_free(run_job(e, first));
        seen *s = seen_new(e);
        rwkv_error err = {0};
        job_request r = second;
        r.user = s;
        heap_reset(k);
        submit_result result = engine_submit(e, &r, &s->j, NULL, &err);
        if (result == SUBMIT_OK) wait_done(s);
        reached = heap_reset(0) || k == 0;
        if (k == 0) {
            expected = s;
            assert_int_equal(s->last.finish, JOB_LENGTH);
        } else if (result != SUBMIT_OK || s->last.finish == JOB_FAILED) {
            assert_int_equal(result == SUBMIT_OK ? s->status : err.code, RWKV_E_NOMEM);
            refused += result != SUBMIT_OK;
            failed += result == SUBMIT_OK;
            session_info i = info_of(e, "t", "one");
            assert_int_equal(i.n_turns, 1);
            session_info_free(&i);
            seen_free(s);
            s = run_job(e, second);
        } else {
            unnoticed++;
        }
        expect_same_answer(s, expected);
        if (s != expected) seen_free(s);
        engine_free(e);
    }
    assert_true(refused > 5 && failed > 5 && unnoticed > 5);
    seen_free(expected);
}

#ifdef __linux__
/* Told to the client and nothing else: the session is what it was, and goes on when the store does.
 */
static void a_store_that_fails(void **unused) {
    (void)unused;
    static const store_result results[] = {STORE_FULL, STORE_FAILED, STORE_CONFLICT};
    store *st = open_store("memory:");
    const engine_options o = {
        .cache_ram = 6000, .cache_disk = 1 << 20}; /* room for one snapshot: the rest is written */
    engine *e = start(st, &o), *other = start(NULL, NULL);
    alone a = {0};
    assert_int_equal(rwkv_session_new(&a.s, model, NULL), RWKV_OK);
    for (uint64_t turn = 0; turn < 3; turn++) {
        job_request r = turn_of("t", "one", turn, 5);
        atomic_store(&disk.result, results[turn]);
        seen *s = run_job(e, r);
        assert_int_equal(s->last.finish, JOB_FAILED);
        assert_int_equal(s->last.session_result, results[turn]);
        assert_int_equal(s->last.conflict, results[turn] == STORE_CONFLICT);
        assert_true(s->message[0] != 0);
        seen_free(s);
        /* Who has no session does not notice. */
        job_request plain = request_of("t", some_tokens(turn, 400), 400, 5, turn);
        seen *without = run_job(e, plain), *lone = run_job(other, plain);
        expect_same_answer(without, lone);
        seen_free(without);
        seen_free(lone);
        atomic_store(&disk.result, STORE_OK);
        s = run_job(e, r);
        alone_turn(&a, &r, s);
        seen_free(s);
    }
    rwkv_session_free(a.s);
    engine_free(e);
    engine_free(other);
    store_close(st);
}

/* While one turn is being written the others are answered; the last event of that turn comes after
 * the write. */
static void a_slow_store_delays_its_own_turn_only(void **unused) {
    (void)unused;
    engine *e = start(NULL, NULL);
    pthread_mutex_lock(&disk.gate);
    const size_t before = atomic_load(&disk.n);
    seen *slow = submit(e, turn_of("t", "one", 0, 5));
    while (atomic_load(&disk.n) == before) nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    for (uint64_t i = 0; i < 5; i++) {
        seen *s = run_job(e, request_of("t", some_tokens(i, 100), 100, 20, i));
        assert_int_equal(s->last.finish, JOB_LENGTH);
        seen_free(s);
    }
    cancel_job(slow); /* too late: what is being saved is saved */
    pthread_mutex_lock(&slow->lock);
    assert_int_equal(slow->n_tokens, 5);
    assert_false(slow->done);
    pthread_mutex_unlock(&slow->lock);
    pthread_mutex_unlock(&disk.gate);
    wait_done(slow);
    assert_int_equal(slow->last.finish, JOB_LENGTH);
    session_info i = info_of(e, "t", "one");
    assert_int_equal(i.generation, slow->last.session_generation);
    session_info_free(&i);
    seen_free(slow);
    engine_free(e);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopping_changes_nothing),
        cmocka_unit_test(an_unknown_session_and_a_foreign_one_look_the_same),
        cmocka_unit_test(one_turn_at_a_time),
        cmocka_unit_test(of_two_servers_one_loses),
        cmocka_unit_test(a_turn_is_whole_or_not_at_all),
        cmocka_unit_test(copies_go_on_alike),
        cmocka_unit_test(an_imported_state_poisons_no_snapshot),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(users_interleaved),
        cmocka_unit_test(memory_runs_out_at_any_moment),
#ifdef __linux__
        cmocka_unit_test(a_store_that_fails),
        cmocka_unit_test(a_slow_store_delays_its_own_turn_only),
#endif
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
