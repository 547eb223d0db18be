/* test_engine.c - many users on one model: each gets, bit for bit, what a lone user would have got. */
#include "engine.h"
#include "support_models.h"

#include <pthread.h>
#include <time.h>

enum { MAX_ANSWER = 400, MAX_TEXT = 4096, PROMPT = 48 };

static rwkv_model *model;
static const rwkv_tokenizer *tokenizer;
static const test_shape shape = {.version = "7", .n_layer = 2, .D = 32, .N = 8, .V = 257, .seed = 11};

static int set_up(void **unused) {
    (void)unused;
    rwkv_error err = {0};
    rwkv_model_options options = {.n_threads = 2};
    if (rwkv_model_open(&model, test_model_file(&shape, AS_GGUF_VOCAB, RW_F32), &options, &err)) fail_msg("%s", err.message);
    tokenizer = rwkv_model_tokenizer(model, &err);
    assert_non_null(tokenizer);
    return 0;
}

static int tear_down(void **unused) {
    (void)unused;
    rwkv_model_free(model);
    return 0;
}

/* ------------------------------------------------------------------ what a client saw */

typedef struct seen {
    engine *e;
    job *j;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done, started, conflict;
    uint64_t cancel_after; /* tokens; 0: never */
    size_t n_tokens, n_text, n_progress;
    int32_t tokens[MAX_ANSWER];
    float logprobs[MAX_ANSWER];
    char text[MAX_TEXT];
    job_event last; /* without pointers */
    char stop[64], message[768];
    rwkv_status status;
    float *state; /* at the end */
    int32_t pending;
} seen;

static void on_event(void *user, const job_event *event) {
    seen *s = user;
    pthread_mutex_lock(&s->lock);
    assert_false(s->done);
    if (event->kind == JOB_STARTED) s->started = true;
    if (event->kind == JOB_PROGRESS) s->n_progress++;
    if (event->kind == JOB_TOKEN || event->kind == JOB_DONE) {
        assert_true(s->n_text + event->n_text < MAX_TEXT);
        if (event->n_text) memcpy(s->text + s->n_text, event->text, event->n_text);
        s->n_text += event->n_text;
    }
    if (event->kind == JOB_TOKEN) {
        assert_true(s->started && s->n_tokens < MAX_ANSWER);
        s->tokens[s->n_tokens] = event->token.chosen.token;
        s->logprobs[s->n_tokens++] = event->token.chosen.logprob;
    }
    s->last = *event;
    if (event->kind == JOB_DONE) {
        s->done = true;
        s->conflict = event->conflict;
        if (event->stop) snprintf(s->stop, sizeof s->stop, "%s", event->stop);
        if (event->error) {
            s->status = event->error->code;
            snprintf(s->message, sizeof s->message, "%s", event->error->message);
        }
        if (event->session) {
            size_t n = rwkv_session_state_len(event->session) * sizeof(float);
            s->state = malloc(n);
            memcpy(s->state, rwkv_session_state(event->session), n);
            s->pending = rwkv_session_pending(event->session);
        }
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (event->kind == JOB_TOKEN && s->cancel_after && s->n_tokens >= s->cancel_after) job_cancel(s->e, s->j);
}

static seen *seen_new(engine *e) {
    seen *s = calloc(1, sizeof *s);
    s->e = e;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    return s;
}

static void seen_free(seen *s) {
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s->state);
    free(s);
}

static void wait_done(seen *s) {
    pthread_mutex_lock(&s->lock);
    while (!s->done) pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static void wait_tokens(seen *s, size_t n) {
    pthread_mutex_lock(&s->lock);
    while (!s->done && s->n_tokens < n) pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static engine *start(const engine_options *options) {
    engine *e = NULL;
    rwkv_error err = {0};
    if (engine_new(&e, model, NULL, options, &err)) fail_msg("%s", err.message);
    return e;
}

static int32_t *prompt(uint64_t seed, size_t n) {
    static int32_t ids[8][1 << 15];
    static size_t turn;
    int32_t *out = ids[turn++ % 8];
    for (size_t i = 0; i < n; i++) out[i] = 1 + (int32_t)(rng_u64(&seed) % 256);
    return out;
}

static job_request request(const char *tenant, const int32_t *tokens, size_t n, uint64_t max_tokens, uint64_t seed) {
    job_request r = {.tenant = tenant,
                     .tokens = tokens,
                     .n_tokens = n,
                     .max_tokens = max_tokens,
                     .ignore_end = true,
                     .logprobs = true,
                     .n_top = 5,
                     .on_event = on_event};
    assert_int_equal(rwkv_sampling_preset(&r.sampling, "default"), RWKV_OK);
    r.sampling.seed = seed;
    return r;
}

static seen *submit(engine *e, job_request r) {
    seen *s = seen_new(e);
    rwkv_error err = {0};
    r.user = s;
    pthread_mutex_lock(&s->lock);
    submit_result result = engine_submit(e, &r, &s->j, NULL, &err);
    pthread_mutex_unlock(&s->lock);
    if (result != SUBMIT_OK) fail_msg("%d %s", (int)result, err.message);
    return s;
}

static seen *run(engine *e, job_request r) {
    seen *s = submit(e, r);
    wait_done(s);
    return s;
}

/* ------------------------------------------------------------------ alone, by the library only */

static void alone(const job_request *r, int32_t *tokens, rwkv_session **out) {
    rwkv_session *s = NULL;
    rwkv_sampler *p = NULL;
    assert_int_equal(rwkv_session_new(&s, model, NULL), RWKV_OK);
    assert_int_equal(rwkv_sampler_new(&p, shape.V, tokenizer, &r->sampling, NULL), RWKV_OK);
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
    assert_memory_equal(s->state, rwkv_session_state(expected), rwkv_session_state_len(expected) * sizeof(float));
}

/* ------------------------------------------------------------------ tests */

static void answers_as_the_library_does(void **unused) {
    (void)unused;
    engine *e = start(NULL);
    job_request r = request("local", prompt(1, PROMPT), PROMPT, 30, 7);
    seen *s = run(e, r);
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
        job_request r = request("local", prompt(seed, PROMPT), PROMPT, 100, seed);
        int32_t tokens[100];
        rwkv_session *expected;
        alone(&r, tokens, &expected);
        /* A stop that occurs: three bytes of the answer as it would go on; one that begins like it. */
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
        seen *s = run(e, r);
        assert_int_equal(s->last.finish, JOB_STOP);
        assert_true(s->last.n_generated <= at + 3);
        assert_int_equal(s->last.n_visible + 3, s->last.n_generated);
        rwkv_session_reset(expected);
        assert_int_equal(rwkv_session_eval(expected, r.tokens, PROMPT, NULL), RWKV_OK);
        size_t visible = s->last.n_visible, evaluated = visible - (s->pending >= 0);
        if (evaluated) assert_int_equal(rwkv_session_eval(expected, tokens, evaluated, NULL), RWKV_OK);
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
    seen *s[8] = {0}, *refused = seen_new(e);
    size_t n = 0;
    job_request r = request("local", prompt(1, PROMPT), PROMPT, 300, 7);
    double retry = 0;
    for (; n < 8; n++) {
        rwkv_error err = {0};
        s[n] = seen_new(e);
        r.user = s[n];
        pthread_mutex_lock(&s[n]->lock);
        submit_result result = engine_submit(e, &r, &s[n]->j, &retry, &err);
        pthread_mutex_unlock(&s[n]->lock);
        if (result == SUBMIT_BUSY) break;
        assert_int_equal(result, SUBMIT_OK);
    }
    assert_true(n >= 2 && n < 8);
    assert_true(retry >= 1);
    seen_free(s[n]);
    for (size_t i = 0; i < n; i++) {
        wait_done(s[i]);
        assert_int_equal(s[i]->last.finish, JOB_LENGTH);
        seen_free(s[i]);
    }
    seen_free(refused);
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
    job_request r = request("local", bad, 2, 3, 0), none = request("local", bad, 0, 3, 0);
    job_request stops = request("local", bad, 1, 3, 0), hot = request("local", bad, 1, 3, 0);
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
    job_request r = request("local", prompt(3, PROMPT), PROMPT, 390, 7);
    seen *a = seen_new(e);
    a->cancel_after = 5;
    r.user = a;
    pthread_mutex_lock(&a->lock);
    assert_int_equal(engine_submit(e, &r, &a->j, NULL, NULL), SUBMIT_OK);
    pthread_mutex_unlock(&a->lock);
    wait_done(a);
    assert_int_equal(a->last.finish, JOB_CANCELLED);
    assert_true(a->n_tokens < 390);
    r.max_tokens = 1u << 30;
    r.on_event = on_event;
    r.logprobs = false;
    seen *b[5];
    job_request big = request("local", prompt(4, PROMPT), PROMPT, 0, 7);
    for (size_t i = 0; i < 5; i++) {
        big.max_tokens = 390;
        b[i] = submit(e, big);
    }
    wait_tokens(b[0], 1);
    engine_drain(e, 0);
    size_t stopped = 0;
    for (size_t i = 0; i < 5; i++) {
        assert_true(b[i]->done);
        stopped += b[i]->last.finish == JOB_STOPPED;
        seen_free(b[i]);
    }
    assert_true(stopped >= 3);
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

/* Twenty users of four tenants, prompts from 1 to 700 tokens, in five lanes: as if each had been alone. */
static void company_changes_nothing(void **unused) {
    (void)unused;
    enum { USERS = 20 };
    static const char *const tenants[] = {"a", "b", "c", "d"};
    engine *e = start(&(engine_options){.max_lanes = 5}), *solo = start(&(engine_options){.max_lanes = 1});
    job_request r[USERS];
    seen *s[USERS];
    int32_t *prompts[USERS];
    for (size_t i = 0; i < USERS; i++) {
        size_t n = 1 + i * i * 2 % 700;
        prompts[i] = malloc(n * sizeof(int32_t));
        memcpy(prompts[i], prompt(100 + i, n), n * sizeof(int32_t));
        r[i] = request(tenants[i % 4], prompts[i], n, 20 + i * 7 % 40, i);
    }
    for (size_t i = 0; i < USERS; i++) {
        s[i] = submit(e, r[i]);
        if (i % 6 == 5) wait_tokens(s[i / 2], 3);
    }
    for (size_t i = 0; i < USERS; i++) {
        wait_done(s[i]);
        seen *lone = run(solo, r[i]);
        assert_int_equal(s[i]->last.finish, JOB_LENGTH);
        assert_int_equal(s[i]->n_tokens, lone->n_tokens);
        assert_memory_equal(s[i]->tokens, lone->tokens, sizeof lone->tokens);
        assert_memory_equal(s[i]->logprobs, lone->logprobs, sizeof lone->logprobs);
        assert_int_equal(s[i]->n_text, lone->n_text);
        assert_memory_equal(s[i]->text, lone->text, lone->n_text);
        seen_free(s[i]);
        seen_free(lone);
        free(prompts[i]);
    }
    engine_free(e);
    engine_free(solo);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_as_the_library_does), cmocka_unit_test(nothing_of_a_stop_string_is_kept),
        cmocka_unit_test(a_full_queue_says_when),      cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(cancelled_and_stopped_jobs_end), cmocka_unit_test(company_changes_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
