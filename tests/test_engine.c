/* test_engine.c - many users on one model: each gets, bit for bit, what a lone user would have got.
 */
#include "../server/pace.h"
#include "support_engine.h"

#include <math.h>
#include <time.h>

enum { PROMPT = 48 };

static rwkv_model *model;
static const rwkv_tokenizer *tokenizer;

static int set_up(void **unused) {
    (void)unused;
    model = engine_test_model(11);
    tokenizer = rwkv_model_tokenizer(model, NULL);
    assert_non_null(tokenizer);
    return 0;
}

static int tear_down(void **unused) {
    (void)unused;
    rwkv_model_free(model);
    return 0;
}

static engine *start_with(store *st, const engine_options *options) {
    engine *e = NULL;
    rwkv_error err = {0};
    if (engine_new(&e, model, st, options, &err)) fail_msg("%s", err.message);
    return e;
}

static engine *start(const engine_options *options) {
    return start_with(NULL, options);
}

static engine_stats stats_of(engine *e) {
    engine_stats s;
    engine_get_stats(e, &s);
    return s;
}

/* ------------------------------------------------------------------ alone, by the library only */

static void alone(const job_request *r, int32_t *tokens, rwkv_session **out) {
    rwkv_session *s = NULL;
    rwkv_sampler *p = NULL;
    assert_int_equal(rwkv_session_new(&s, model, NULL), RWKV_OK);
    assert_int_equal(rwkv_sampler_new(&p, engine_shape.V, tokenizer, &r->sampling, NULL), RWKV_OK);
    assert_int_equal(rwkv_session_eval(s, r->tokens, r->n_tokens, NULL), RWKV_OK);
    for (uint64_t i = 0; i < r->max_tokens; i++) {
        if (i) assert_int_equal(rwkv_session_eval(s, &tokens[i - 1], 1, NULL), RWKV_OK);
        assert_int_equal(rwkv_sampler_next(p, rwkv_session_logits(s), &tokens[i], NULL), RWKV_OK);
    }
    rwkv_sampler_free(p);
    *out = s;
}

static void check_state(const seen *s, const rwkv_session *expected) {
    assert_non_null(s->state);
    assert_memory_equal(s->state, rwkv_session_state(expected),
                        rwkv_session_state_len(expected) * sizeof(float));
}

/* ------------------------------------------------------------------ tests */

static void answers_as_the_library_does(void **unused) {
    (void)unused;
    engine *e = start(NULL);
    job_request r = request_of("local", some_tokens(1, PROMPT), PROMPT, 30, 7);
    seen *s = run_job(e, r);
    int32_t tokens[30];
    rwkv_session *expected;
    alone(&r, tokens, &expected);
    assert_int_equal(s->last.finish, JOB_LENGTH);
    assert_int_equal(s->n_tokens, 30);
    assert_memory_equal(s->tokens, tokens, sizeof tokens);
    assert_true(s->n_progress >= 1);
    assert_int_equal(s->last.n_prompt, PROMPT);
    assert_int_equal(s->last.n_read, PROMPT);
    assert_int_equal(s->last.n_generated, 30);
    assert_int_equal(s->last.n_visible, 30);
    check_state(s, expected);
    assert_int_equal(s->pending, tokens[29]);
    for (size_t i = 0; i < s->n_tokens; i++) assert_true(s->logprobs[i] <= 0);
    rwkv_session_free(expected);
    seen_free(s);
    engine_free(e);
}

/* The state after an answer that a stop string ended is that of the prompt and the visible text. */
static void nothing_of_a_stop_string_is_kept(void **unused) {
    (void)unused;
    engine *e = start(NULL);
    size_t stopped = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        job_request r = request_of("local", some_tokens(seed, PROMPT), PROMPT, 100, seed);
        int32_t tokens[100];
        rwkv_session *expected;
        alone(&r, tokens, &expected);
        /* A stop that occurs: three bytes of the answer as it would go on; one that begins like it.
         */
        size_t at = 5 + seed, len;
        char stop[4] = {0}, other[4] = {0};
        for (size_t i = 0; i < 3; i++) stop[i] = *rwkv_token_bytes(tokenizer, tokens[at + i], &len);
        if (strlen(stop) < 3) {
            rwkv_session_free(expected);
            continue;
        }
        memcpy(other, stop, 3);
        other[2] ^= 1;
        const char *stops[] = {stop, other[2] ? other : "\x01\x02\x03"};
        r.stops = stops;
        r.n_stops = 2;
        seen *s = run_job(e, r);
        assert_int_equal(s->last.finish, JOB_STOP);
        assert_true(s->last.n_generated <= at + 3);
        assert_int_equal(s->last.n_visible + 3, s->last.n_generated);
        rwkv_session_reset(expected);
        assert_int_equal(rwkv_session_eval(expected, r.tokens, PROMPT, NULL), RWKV_OK);
        size_t visible = s->last.n_visible, evaluated = visible - (s->pending >= 0);
        if (evaluated)
            assert_int_equal(rwkv_session_eval(expected, tokens, evaluated, NULL), RWKV_OK);
        check_state(s, expected);
        stopped++;
        rwkv_session_free(expected);
        seen_free(s);
    }
    assert_true(stopped > 20);
    engine_free(e);
}

static void a_full_queue_says_when(void **unused) {
    (void)unused;
    engine *e = start(&(engine_options){.max_lanes = 1, .max_queue = 2});
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    job_request r = request_of("local", some_tokens(1, PROMPT), PROMPT, 3, 7);
    double retry = 0;
    pthread_mutex_lock(&gate);
    seen *s[4] = {submit_gated(e, r, &gate)};
    while (stats_of(e).jobs_running == 0) nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    s[1] = submit(e, r);
    s[2] = submit(e, r);
    r.user = s[3] = seen_new(e);
    assert_int_equal(engine_submit(e, &r, NULL, &retry, NULL), SUBMIT_BUSY);
    assert_true(retry >= 1);
    assert_int_equal(stats_of(e).jobs_queued, 2);
    pthread_mutex_unlock(&gate);
    for (size_t i = 0; i < 3; i++) {
        wait_done(s[i]);
        assert_int_equal(s[i]->last.finish, JOB_LENGTH);
    }
    for (size_t i = 0; i < 4; i++) seen_free(s[i]);
    engine_free(e);
}

/* Who sent many waits behind who sent one; within a tenant first come, first served. */
static void tenants_take_turns(void **unused) {
    (void)unused;
    enum { N = 6 };
    static const char *const tenants[N] = {"a", "a", "a", "b", "c", "b"};
    static const size_t turn[N] = {0, 3, 5, 1, 2, 4};
    engine *e = start(&(engine_options){.max_lanes = 1});
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    seen *s[N];
    pthread_mutex_lock(&gate);
    for (size_t i = 0; i < N; i++) {
        job_request r = request_of(tenants[i], some_tokens(i, PROMPT), PROMPT, 3, 7);
        s[i] = i ? submit(e, r) : submit_gated(e, r, &gate);
    }
    pthread_mutex_unlock(&gate);
    for (size_t i = 0; i < N; i++) wait_done(s[i]);
    for (size_t i = 0; i < N; i++) assert_int_equal(s[i]->order, s[0]->order + turn[i]);
    for (size_t i = 0; i < N; i++) seen_free(s[i]);
    engine_free(e);
}

static void bad_requests_are_refused(void **unused) {
    (void)unused;
    engine *e = start(NULL);
    seen *s = seen_new(e);
    job *j;
    rwkv_error err = {0};
    const int32_t bad[] = {1, 300};
    const char *empty[] = {""};
    job_request r = request_of("local", bad, 2, 3, 0), none = request_of("local", bad, 0, 3, 0);
    job_request stops = request_of("local", bad, 1, 3, 0), hot = request_of("local", bad, 1, 3, 0);
    stops.stops = empty;
    stops.n_stops = 1;
    hot.sampling.temperature = -1;
    job_request *all[] = {&r, &none, &stops, &hot};
    for (size_t i = 0; i < 4; i++) {
        all[i]->user = s;
        err.message[0] = 0;
        assert_int_equal(engine_submit(e, all[i], &j, NULL, &err), SUBMIT_REFUSED);
        assert_true(err.message[0] != 0);
    }
    engine_free(e);
    seen_free(s);
}

static void cancelled_and_stopped_jobs_end(void **unused) {
    (void)unused;
    engine *e = start(&(engine_options){.max_lanes = 2});
    job_request r = request_of("local", some_tokens(3, PROMPT), PROMPT, UINT64_MAX, 7);
    seen *a = submit_and_cancel(e, r, 5);
    wait_done(a);
    assert_int_equal(a->last.finish, JOB_CANCELLED);
    assert_int_equal(a->n_tokens, 5);
    seen *b[5];
    job_request big = request_of("local", some_tokens(4, PROMPT), PROMPT, UINT64_MAX, 7);
    for (size_t i = 0; i < 5; i++) b[i] = submit(e, big);
    wait_tokens(b[0], 1);
    engine_drain(e, 0);
    size_t stopped = 0;
    for (size_t i = 0; i < 5; i++) {
        assert_true(b[i]->done);
        stopped += b[i]->last.finish == JOB_STOPPED;
        seen_free(b[i]);
    }
    assert_int_equal(stopped, 5);
    big.user = a;
    job *j;
    assert_int_equal(engine_submit(e, &big, &j, NULL, NULL), SUBMIT_STOPPING);
    engine_stats stats;
    engine_get_stats(e, &stats);
    assert_int_equal(stats.jobs_queued + stats.jobs_running, 0);
    assert_true(stats.draining);
    seen_free(a);
    engine_free(e);
}

/* Twenty users of four tenants, prompts from 1 to 700 tokens, in five lanes: as if each had been
 * alone. */
static void company_changes_nothing(void **unused) {
    (void)unused;
    enum { USERS = 20 };
    static const char *const tenants[] = {"a", "b", "c", "d"};
    engine *e = start(&(engine_options){.max_lanes = 5}),
           *solo = start(&(engine_options){.max_lanes = 1});
    job_request r[USERS];
    seen *s[USERS];
    int32_t *prompts[USERS];
    for (size_t i = 0; i < USERS; i++) {
        size_t n = 1 + i * i * 2 % 700;
        prompts[i] = malloc(n * sizeof(int32_t));
        memcpy(prompts[i], some_tokens(100 + i, n), n * sizeof(int32_t));
        r[i] = request_of(tenants[i % 4], prompts[i], n, 20 + i * 7 % 40, i);
    }
    for (size_t i = 0; i < USERS; i++) {
        s[i] = submit(e, r[i]);
        if (i % 6 == 5) wait_tokens(s[i / 2], 3);
    }
    for (size_t i = 0; i < USERS; i++) {
        wait_done(s[i]);
        seen *lone = run_job(solo, r[i]);
        assert_int_equal(s[i]->last.finish, JOB_LENGTH);
        expect_same_answer(s[i], lone);
        seen_free(s[i]);
        seen_free(lone);
        free(prompts[i]);
    }
    engine_free(e);
    engine_free(solo);
}

/* On machines of many kinds, each with its own time for a step of n answers and r rows. */
static void reading_hardly_slows_answers(void **unused) {
    (void)unused;
    uint64_t rng = 8;
    for (int machine = 0; machine < 200; machine++) {
        const double pass = 1e-3 * pow(10, 2 * rng_uniform(&rng)),
                     row = pass * pow(10, -2.5 * rng_uniform(&rng));
        pace p = {0};
        double worst = 0, seconds = 0, mixed_rows = 0;
        size_t n_pure = 0;
        for (int step = 0; step < 400; step++) {
            const size_t n = step < 200 ? 7 : 3, rows = pace_rows(&p, n);
            const double pure = pass + row * (double)n, noise = 0.95 + 0.1 * rng_uniform(&rng);
            seconds = (pure + row * (double)rows) * noise;
            pace_learn(&p, n, rows, seconds);
            n_pure += rows == 0;
            if (step % 200 > 50 && seconds / pure > worst && rows > 2) worst = seconds / pure;
            if (step % 200 > 50) mixed_rows += (double)rows * row / pure;
        }
        assert_true(worst < 2);
        assert_true(n_pure < 60);
        /* And what may be used is used: about half of a pure step for reading. */
        if (row * 512 > pass && row * 4 < pass) assert_true(mixed_rows / 300 > 0.3);
        /* With nobody to be slowed a step reads as much as a fifth of a second allows. */
        for (int step = 0; step < 50; step++) {
            const size_t rows = pace_rows(&p, 0);
            assert_true(rows >= 2 && rows <= 512);
            pace_learn(&p, 0, rows, (double)rows * row);
        }
        const double alone = (double)pace_rows(&p, 0) * row;
        assert_true(alone < 0.21 || pace_rows(&p, 0) == 2);
    }
}

/* ------------------------------------------------------------------ what was read before */

static const engine_options cache = {.cache_ram = 1 << 26};

static void a_second_question_reads_only_itself(void **unused) {
    (void)unused;
    enum { DOCUMENT = 5000, QUESTION = 20, N = DOCUMENT + QUESTION };
    engine *e = start(&cache), *solo = start(NULL);
    int32_t first[N], second[N];
    memcpy(first, some_tokens(1, N), sizeof first);
    memcpy(second, first, sizeof second);
    memcpy(second + DOCUMENT, some_tokens(2, QUESTION), QUESTION * sizeof *second);
    const size_t marks[] = {DOCUMENT, N - 2};
    job_request r = request_of("a", first, N, 10, 1), again = request_of("a", second, N, 10, 2);
    r.marks = again.marks = marks;
    r.n_marks = again.n_marks = 2;
    seen *s = run_job(e, r);
    assert_int_equal(s->last.n_cached, 0);
    seen_free(s);
    s = run_job(e, again);
    assert_int_equal(s->last.n_cached, DOCUMENT);
    seen *lone = run_job(solo, again);
    expect_same_answer(s, lone);
    seen_free(s);
    seen_free(lone);

    s = run_job(e, r); /* the very same: from the last mark */
    assert_int_equal(s->last.n_cached, N - 2);
    /* The conversation goes on from the end of the answer. */
    int32_t next[N + 30];
    memcpy(next, first, sizeof first);
    memcpy(next + N, s->tokens, 10 * sizeof *next);
    memcpy(next + N + 10, some_tokens(3, 20), 20 * sizeof *next);
    seen_free(s);
    r = request_of("a", next, N + 30, 5, 3);
    s = run_job(e, r);
    lone = run_job(solo, r);
    assert_int_equal(s->last.n_cached, N + 10);
    expect_same_answer(s, lone);
    seen_free(s);
    seen_free(lone);

    /* Another tenant gains nothing, nor who does not want to. */
    again.tenant = "b";
    s = run_job(e, again);
    assert_int_equal(s->last.n_cached, 0);
    seen_free(s);
    again.tenant = "a";
    again.no_cache = true;
    s = run_job(e, again);
    assert_int_equal(s->last.n_cached, 0);
    seen_free(s);
    engine_free(e);
    engine_free(solo);
}

/* Ten messages of forty tokens; after an edit of the third the first two are not read again. */
static void an_edit_reads_from_the_edited_message(void **unused) {
    (void)unused;
    enum { MESSAGE = 40, N = 10 * MESSAGE };
    engine *e = start(&cache);
    size_t marks[10];
    int32_t ids[N];
    memcpy(ids, some_tokens(5, N), sizeof ids);
    for (size_t i = 0; i < 10; i++) marks[i] = (i + 1) * MESSAGE;
    job_request r = request_of("a", ids, N, 3, 1);
    r.marks = marks;
    r.n_marks = 10;
    seen_free(run_job(e, r));
    ids[2 * MESSAGE + 5] ^= 1;
    seen *s = run_job(e, r);
    assert_int_equal(s->last.n_cached, 2 * MESSAGE);
    seen_free(s);
    engine_free(e);
}

/* Without marks the end of the prompt is one. */
static void the_same_prompt_again_reads_nothing(void **unused) {
    (void)unused;
    engine *e = start(&cache);
    job_request r = request_of("a", some_tokens(5, 300), 300, 5, 1);
    seen *s = run_job(e, r), *again = run_job(e, r);
    assert_int_equal(again->last.n_cached, 300);
    expect_same_answer(again, s);
    seen_free(s);
    seen_free(again);
    engine_free(e);
}

static void snapshots_survive_a_restart(void **unused) {
    (void)unused;
    enum { N = 4000 };
    char url[600];
    snprintf(url, sizeof url, "sqlite:%s", temp_path("engine.db"));
    engine_options o = {.cache_ram = 1 << 26, .cache_disk = 1 << 26};
    job_request r = request_of("a", some_tokens(9, N), N, 10, 1);
    const size_t marks[] = {N - 3};
    r.marks = marks;
    r.n_marks = 1;
    seen *before = NULL;
    for (int round = 0; round < 3; round++) {
        store *st = NULL;
        assert_int_equal(store_open(&st, url, NULL), RWKV_OK);
        engine *e = start_with(st, &o);
        seen *s = run_job(e, r);
        assert_int_equal(s->last.n_cached, round ? N - 3 : 0);
        if (round) {
            expect_same_answer(s, before);
            assert_int_equal(stats_of(e).hits_store, 1);
        }
        if (before) seen_free(before);
        before = s;
        r.tenant = "b";
        s = run_job(e, r);
        assert_int_equal(s->last.n_cached, round ? N - 3 : 0); /* b has asked before, too */
        seen_free(s);
        r.tenant = "a";
        engine_free(e);
        store_close(st);
    }
    seen_free(before);
}

/* n > 1: the prompt is read once, also when the one that reads it gives up. */
static void equal_prompts_are_read_once(void **unused) {
    (void)unused;
    enum { USERS = 8, N = 3000 };
    engine *solo = start(&(engine_options){.max_lanes = 1});
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    for (int cancel = 0; cancel < 2; cancel++) {
        engine *e = start(&(engine_options){.max_lanes = USERS, .cache_ram = cancel ? 1 << 26 : 0});
        seen *s[USERS];
        job_request r = request_of("a", some_tokens(9, N), N, 20, 0);
        pthread_mutex_lock(&gate);
        for (size_t i = 0; i < USERS; i++) {
            r.sampling.seed = i;
            s[i] = i ? submit(e, r) : submit_gated(e, r, &gate);
        }
        pthread_mutex_unlock(&gate);
        if (cancel) {
            while (stats_of(e).tokens_read == 0)
                nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
            cancel_job(s[0]);
        }
        for (size_t i = 0; i < USERS; i++) {
            wait_done(s[i]);
            if (i == 0 && cancel) {
                seen_free(s[i]);
                continue;
            }
            r.sampling.seed = i;
            seen *lone = run_job(solo, r);
            expect_same_answer(s[i], lone);
            seen_free(lone);
            seen_free(s[i]);
        }
        assert_int_equal(stats_of(e).tokens_read, N);
        engine_free(e);
    }
    engine_free(solo);
}

static void a_broken_state_breaks_alone(void **unused) {
    (void)unused;
    engine *e = start(NULL), *solo = start(NULL);
    rwkv_session *bad = NULL;
    assert_int_equal(rwkv_session_new(&bad, model, NULL), RWKV_OK);
    size_t n = rwkv_session_state_len(bad), len;
    float *state = malloc(n * sizeof *state);
    for (size_t i = 0; i < n; i++) state[i] = i % 2 ? 3e38f : -3e38f;
    assert_int_equal(rwkv_session_set_state(bad, state, n, NULL), RWKV_OK);
    rwkv_session_save(bad, NULL, 0, 0, NULL, 0, &len, NULL);
    void *blob = malloc(len);
    assert_int_equal(rwkv_session_save(bad, NULL, 0, 0, blob, len, &len, NULL), RWKV_OK);
    job_request good = request_of("a", some_tokens(1, PROMPT), PROMPT, 200, 1);
    job_request broken = request_of("b", some_tokens(2, PROMPT), PROMPT, 200, 1), damaged = broken;
    broken.state = blob;
    broken.n_state = len;
    seen *s = submit(e, good);
    for (int i = 0; i < 5; i++) {
        wait_tokens(s, 20 * (size_t)i);
        seen *b = run_job(e, broken);
        assert_int_equal(b->last.finish, JOB_FAILED);
        assert_int_equal(b->status, RWKV_E_NUMERIC);
        seen_free(b);
    }
    damaged.state = blob;
    damaged.n_state = len - 1;
    seen *d = run_job(e, damaged);
    assert_int_equal(d->last.finish, JOB_FAILED);
    assert_int_equal(d->status, RWKV_E_STATE);
    seen_free(d);
    wait_done(s);
    seen *lone = run_job(solo, good);
    expect_same_answer(s, lone);
    seen_free(s);
    seen_free(lone);
    free(blob);
    free(state);
    rwkv_session_free(bad);
    engine_free(e);
    engine_free(solo);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_as_the_library_does),
        cmocka_unit_test(nothing_of_a_stop_string_is_kept),
        cmocka_unit_test(a_full_queue_says_when),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(tenants_take_turns),
        cmocka_unit_test(cancelled_and_stopped_jobs_end),
        cmocka_unit_test(company_changes_nothing),
        cmocka_unit_test(reading_hardly_slows_answers),
        cmocka_unit_test(a_second_question_reads_only_itself),
        cmocka_unit_test(an_edit_reads_from_the_edited_message),
        cmocka_unit_test(the_same_prompt_again_reads_nothing),
        cmocka_unit_test(snapshots_survive_a_restart),
        cmocka_unit_test(equal_prompts_are_read_once),
        cmocka_unit_test(a_broken_state_breaks_alone),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
