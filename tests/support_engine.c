/* support_engine.c - see support_engine.h. */
#include "support_engine.h"

#include <stdatomic.h>

const test_shape engine_shape = {
    .version = "7", .n_layer = 2, .D = 32, .N = 8, .V = 257, .seed = 11};

rwkv_model *engine_test_model(uint64_t seed) {
    rwkv_model *m = NULL;
    rwkv_error err = {0};
    rwkv_model_options options = {.n_threads = 2};
    test_shape shape = engine_shape;
    shape.seed = seed;
    if (rwkv_model_open(&m, test_model_file(&shape, AS_GGUF_VOCAB, RW_F32), &options, &err))
        fail_msg("%s", err.message);
    return m;
}

static atomic_size_t n_started;

/* Beginnings of tokens and text are written down, all of both are counted. */
static void write_down(seen *s, const job_event *event) {
    if (event->kind == JOB_TOKEN && s->n_tokens < MAX_ANSWER) {
        s->tokens[s->n_tokens] = event->token.chosen.token;
        s->logprobs[s->n_tokens] = event->token.chosen.logprob;
    }
    s->n_tokens += event->kind == JOB_TOKEN;
    if (event->n_text && s->n_text + event->n_text <= MAX_TEXT)
        memcpy(s->text + s->n_text, event->text, event->n_text);
    s->n_text += event->n_text;
}

static void write_end(seen *s, const job_event *event) {
    s->done = true;
    if (event->stop) snprintf(s->stop, sizeof s->stop, "%s", event->stop);
    if (event->error) {
        s->status = event->error->code;
        snprintf(s->message, sizeof s->message, "%s", event->error->message);
    }
    if (!event->session) return;
    size_t n = rwkv_session_state_len(event->session) * sizeof(float);
    if ((s->state = malloc(n))) memcpy(s->state, rwkv_session_state(event->session), n);
    s->pending = rwkv_session_pending(event->session);
}

void seen_event(void *user, const job_event *event) {
    seen *s = user;
    if (event->kind == JOB_STARTED && s->gate) {
        pthread_mutex_lock(s->gate);
        pthread_mutex_unlock(s->gate);
    }
    pthread_mutex_lock(&s->lock);
    assert_false(s->done);
    assert_true(event->kind != JOB_TOKEN || s->started);
    if (event->kind == JOB_STARTED) s->order = atomic_fetch_add(&n_started, 1);
    s->started |= event->kind == JOB_STARTED;
    s->n_progress += event->kind == JOB_PROGRESS;
    write_down(s, event);
    s->last = *event;
    if (event->kind == JOB_DONE)
        write_end(s, event);
    else if (s->cancel_after && s->n_tokens >= s->cancel_after)
        job_cancel(s->e, s->j);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

seen *seen_new(engine *e) {
    seen *s = calloc(1, sizeof *s);
    s->e = e;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    return s;
}

void seen_free(seen *s) {
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s->state);
    free(s);
}

void wait_done(seen *s) {
    pthread_mutex_lock(&s->lock);
    while (!s->done) pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void wait_tokens(seen *s, size_t n) {
    pthread_mutex_lock(&s->lock);
    while (!s->done && s->n_tokens < n) pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

int32_t *some_tokens(uint64_t seed, size_t n) {
    static int32_t ids[8][1 << 15];
    static size_t turn;
    int32_t *out = ids[turn++ % 8];
    for (size_t i = 0; i < n; i++) out[i] = 1 + (int32_t)(rng_u64(&seed) % 256);
    return out;
}

job_request request_of(const char *tenant, const int32_t *tokens, size_t n, uint64_t max_tokens,
                       uint64_t seed) {
    job_request r = {.tenant = tenant,
                     .tokens = tokens,
                     .n_tokens = n,
                     .max_tokens = max_tokens,
                     .ignore_end = true,
                     .logprobs = true,
                     .n_top = 5,
                     .on_event = seen_event};
    assert_int_equal(rwkv_sampling_preset(&r.sampling, "default"), RWKV_OK);
    r.sampling.seed = seed;
    return r;
}

static seen *submit_with(engine *e, job_request r, uint64_t cancel_after, pthread_mutex_t *gate) {
    seen *s = seen_new(e);
    rwkv_error err = {0};
    s->cancel_after = cancel_after;
    s->gate = gate;
    r.user = s;
    pthread_mutex_lock(&s->lock);
    submit_result result = engine_submit(e, &r, &s->j, NULL, &err);
    pthread_mutex_unlock(&s->lock);
    if (result != SUBMIT_OK) fail_msg("%d %s", (int)result, err.message);
    return s;
}

seen *submit(engine *e, job_request r) {
    return submit_with(e, r, 0, NULL);
}

seen *submit_and_cancel(engine *e, job_request r, uint64_t after) {
    return submit_with(e, r, after, NULL);
}

seen *submit_gated(engine *e, job_request r, pthread_mutex_t *gate) {
    return submit_with(e, r, 0, gate);
}

seen *run_job(engine *e, job_request r) {
    seen *s = submit(e, r);
    wait_done(s);
    return s;
}

void cancel_job(seen *s) {
    pthread_mutex_lock(&s->lock);
    if (!s->done) job_cancel(s->e, s->j);
    pthread_mutex_unlock(&s->lock);
}

void expect_same_answer(const seen *a, const seen *b) {
    assert_int_equal(a->last.finish, b->last.finish);
    assert_int_equal(a->n_tokens, b->n_tokens);
    assert_true(a->n_tokens <= MAX_ANSWER && a->n_text <= MAX_TEXT);
    assert_memory_equal(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens);
    assert_memory_equal(a->logprobs, b->logprobs, a->n_tokens * sizeof *a->logprobs);
    assert_int_equal(a->n_text, b->n_text);
    assert_memory_equal(a->text, b->text, a->n_text);
    assert_string_equal(a->stop, b->stop);
}
