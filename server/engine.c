/* engine.c - the engine's life and its queue.
 *
 * engine_submit checks a request on the caller's thread, copies what it needs and queues it; the engine's
 * thread gives lanes to queued jobs and steps through the lanes (lanes.c) until there are none. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

double seconds_since(uint64_t ns) {
    return (double)(now_ns() - ns) / 1e9;
}

/* ------------------------------------------------------------------ transcripts */

transcript *transcript_new(const int32_t *ids, size_t n, size_t room) {
    transcript *t = calloc(1, sizeof *t);
    size_t cap = n + room + 1;
    if (!t || cap > SIZE_MAX / sizeof *t->ids || !(t->ids = malloc(cap * sizeof *t->ids))) {
        free(t);
        return NULL;
    }
    if (n) memcpy(t->ids, ids, n * sizeof *ids);
    t->n = n;
    t->cap = cap;
    t->refs = 1;
    return t;
}

transcript *transcript_ref(transcript *t) {
    t->refs++;
    return t;
}

void transcript_unref(transcript *t) {
    if (!t || --t->refs) return;
    free(t->ids);
    free(t);
}

bool transcript_add(transcript **t, const int32_t *ids, size_t n) {
    transcript *old = *t;
    if (old->n + n > old->cap) {
        transcript *larger = transcript_new(old->ids, old->n, old->n + n);
        if (!larger) return false;
        transcript_unref(old);
        *t = larger;
    }
    memcpy((*t)->ids + (*t)->n, ids, n * sizeof *ids);
    (*t)->n += n;
    return true;
}

/* ------------------------------------------------------------------ tenants; under the lock */

static tenant *find_tenant(engine *e, const char *name) {
    tenant *t = e->tenants;
    while (t && strcmp(t->name, name) != 0) t = t->next;
    if (t) return t;
    size_t n = strlen(name) + 1;
    if (!(t = calloc(1, sizeof *t + n))) return NULL;
    memcpy(t->name, name, n);
    t->next = e->tenants;
    e->tenants = t;
    return t;
}

static void forget_job_of(engine *e, tenant *t) {
    if (--t->n_jobs) return;
    tenant **at = &e->tenants;
    while (*at != t) at = &(*at)->next;
    *at = t->next;
    free(t);
}

/* ------------------------------------------------------------------ jobs */

void job_free(job *j) {
    if (!j) return;
    free(j->request_id);
    transcript_unref(j->text);
    free(j->marks);
    free(j->state);
    rwkv_sampler_free(j->sampler);
    rwkv_stream_free(j->stream);
    free(j);
}

static rwkv_status refuse(rwkv_error *err, rwkv_status code, const char *what) {
    if (err) {
        *err = (rwkv_error){.code = code, .offset = RWKV_NO_OFFSET};
        snprintf(err->message, sizeof err->message, "%s", what);
    }
    return code;
}

/* A copy of n bytes, NULL for none; *ok becomes false when memory is out. */
static void *copy(const void *p, size_t n, bool *ok) {
    if (!p || !n) return NULL;
    void *q = malloc(n);
    if (q) memcpy(q, p, n);
    else *ok = false;
    return q;
}

static rwkv_status check_request(const engine *e, const job_request *r, rwkv_error *err) {
    if (!r->tenant || !r->on_event || (r->n_tokens && !r->tokens) || (r->n_marks && !r->marks))
        return refuse(err, RWKV_E_ARG, "job: tenant, on_event and the arrays must be given");
    if (!r->n_tokens && !r->session && !r->state)
        return refuse(err, RWKV_E_ARG, "the prompt is empty: found 0 tokens; expected at least 1");
    if (r->n_top > MAX_TOP)
        return refuse(err, RWKV_E_ARG, "top logprobs: expected at most 20");
    for (size_t i = 0; i < r->n_tokens; i++)
        if (r->tokens[i] < 0 || (uint32_t)r->tokens[i] >= e->info.n_vocab)
            return refuse(err, RWKV_E_ARG, "the prompt holds a token that the model does not have");
    return RWKV_OK;
}

static rwkv_status make_job(const engine *e, const job_request *r, job **out, rwkv_error *err) {
    rwkv_status st = check_request(e, r, err);
    if (st != RWKV_OK) return st;
    bool ok = true;
    job *j = calloc(1, sizeof *j);
    if (!j) return refuse(err, RWKV_E_NOMEM, "out of memory");
    const size_t room = r->max_tokens < 8192 ? (size_t)r->max_tokens : 8192;
    j->request_id = copy(r->request_id, r->request_id ? strlen(r->request_id) + 1 : 0, &ok);
    j->text = transcript_new(r->tokens, r->n_tokens, room);
    j->marks = copy(r->marks, r->n_marks * sizeof *r->marks, &ok);
    j->n_marks = r->n_marks;
    j->state = copy(r->state, r->n_state, &ok);
    j->n_state = r->n_state;
    j->max_tokens = r->max_tokens;
    j->n_top = r->n_top;
    j->logprobs = r->logprobs;
    j->ignore_end = r->ignore_end;
    j->no_cache = r->no_cache;
    j->on_event = r->on_event;
    j->user = r->user;
    atomic_init(&j->cancelled, false);
    if (!ok || !j->text) st = refuse(err, RWKV_E_NOMEM, "out of memory");
    if (st == RWKV_OK)
        st = rwkv_sampler_new(&j->sampler, e->info.n_vocab, e->tokenizer, &r->sampling, err);
    if (st == RWKV_OK) st = rwkv_stream_new(&j->stream, r->stops, r->n_stops, err);
    if (st == RWKV_OK) *out = j;
    else job_free(j);
    return st;
}

/* ------------------------------------------------------------------ the queue */

/* One tenant never takes the last quarter of a queue that is long enough to be shared. */
static bool has_room(const engine *e, const tenant *t) {
    const size_t max = e->options.max_queue, reserve = max >= 16 ? max / 4 : 0;
    return e->stats.jobs_queued < max && t->n_queued < max - reserve;
}

submit_result engine_submit(engine *e, const job_request *request, job **out, double *retry_after,
                            rwkv_error *err) {
    job *j = NULL;
    if (make_job(e, request, &j, err) != RWKV_OK) return SUBMIT_REFUSED;
    submit_result result = SUBMIT_OK;
    pthread_mutex_lock(&e->lock);
    tenant *t = e->stopping ? NULL : find_tenant(e, request->tenant);
    if (e->stopping) {
        result = SUBMIT_STOPPING;
    } else if (!t) {
        refuse(err, RWKV_E_NOMEM, "out of memory");
        result = SUBMIT_REFUSED;
    } else if (t->n_jobs++, !has_room(e, t)) {
        result = SUBMIT_BUSY;
        double wait = e->job_seconds * (double)(e->stats.jobs_queued + 1) / e->options.max_lanes;
        if (retry_after) *retry_after = wait < 1 ? 1 : wait;
        forget_job_of(e, t);
    } else {
        j->tenant = t;
        j->queued_ns = now_ns();
        t->n_queued++;
        e->stats.jobs_queued++;
        *e->queue_end = j;
        e->queue_end = &j->next;
        if (out) *out = j;
        e->poked = true;
        pthread_cond_signal(&e->wake);
    }
    pthread_mutex_unlock(&e->lock);
    if (result != SUBMIT_OK) job_free(j);
    return result;
}

void engine_poke(engine *e) {
    pthread_mutex_lock(&e->lock);
    e->poked = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

void job_cancel(engine *e, job *j) {
    atomic_store(&j->cancelled, true);
    engine_poke(e);
}

/* Under the lock. */
static void unlink_job(engine *e, job **at) {
    job *j = *at;
    *at = j->next;
    if (e->queue_end == &j->next) e->queue_end = at;
    j->next = NULL;
    j->tenant->n_queued--;
    e->stats.jobs_queued--;
}

/* The next job: of the tenant with the fewest lanes, of those the one served longest ago, the job that came
 * first. Under the lock. */
static job **choose(engine *e) {
    job **best = NULL;
    for (job **at = &e->queue; *at; at = &(*at)->next) {
        const tenant *t = (*at)->tenant, *b = best ? (*best)->tenant : NULL;
        if (!b || t->n_running < b->n_running || (t->n_running == b->n_running && t->served < b->served))
            best = at;
    }
    return best;
}

/* Takes one job out of the queue that is to be ended. */
static job *take_ended(engine *e, job_finish *how) {
    job *found = NULL;
    pthread_mutex_lock(&e->lock);
    for (job **at = &e->queue; *at && !found; at = found ? at : &(*at)->next) {
        bool cancelled = atomic_load(&(*at)->cancelled);
        if (!cancelled && !e->stop_now) continue;
        *how = cancelled ? JOB_CANCELLED : JOB_STOPPED;
        found = *at;
        unlink_job(e, at);
    }
    pthread_mutex_unlock(&e->lock);
    return found;
}

static job *take_job(engine *e) {
    pthread_mutex_lock(&e->lock);
    job **at = choose(e), *j = at ? *at : NULL;
    if (j) {
        unlink_job(e, at);
        j->tenant->n_running++;
        j->tenant->served = ++e->turn;
        e->stats.jobs_running++;
        e->n_running++;
    }
    pthread_mutex_unlock(&e->lock);
    return j;
}

/* A job that never had a lane. */
void job_end_queued(engine *e, job *j, job_finish how, const rwkv_error *err, bool conflict) {
    j->on_event(j->user, &(job_event){.kind = JOB_DONE,
                                      .finish = how,
                                      .error = how == JOB_FAILED ? err : NULL,
                                      .conflict = conflict,
                                      .seconds_queued = seconds_since(j->queued_ns)});
    pthread_mutex_lock(&e->lock);
    e->stats.jobs_done[how]++;
    forget_job_of(e, j->tenant);
    pthread_mutex_unlock(&e->lock);
    job_free(j);
}

void engine_release(engine *e, lane *l) {
    job *j = l->job;
    const double took = seconds_since(l->started_ns);
    pthread_mutex_lock(&e->lock);
    e->stats.jobs_done[l->finish]++;
    e->stats.jobs_running--;
    e->job_seconds += (took - e->job_seconds) * (e->job_seconds > 0 ? 0.1 : 1);
    j->tenant->n_running--;
    forget_job_of(e, j->tenant);
    e->n_running--;
    e->poked = true; /* there is a free lane */
    pthread_mutex_unlock(&e->lock);
    rwkv_session_free(l->session);
    rwkv_session_free(l->kept);
    job_free(j);
    *l = (lane){.phase = LANE_FREE};
}

/* ------------------------------------------------------------------ the thread */

static void end_unwanted(engine *e) {
    job_finish how;
    for (job *j; (j = take_ended(e, &how));) job_end_queued(e, j, how, NULL, false);
    pthread_mutex_lock(&e->lock);
    bool stop = e->stop_now;
    pthread_mutex_unlock(&e->lock);
    for (size_t i = 0; i < e->options.max_lanes; i++) {
        lane *l = &e->lanes[i];
        if (l->phase == LANE_FREE) continue;
        if (atomic_load(&l->job->cancelled)) lane_abort(e, l, JOB_CANCELLED);
        else if (stop) lane_abort(e, l, JOB_STOPPED);
    }
}

static void fill_lanes(engine *e) {
    for (size_t i = 0; i < e->options.max_lanes; i++) {
        if (e->lanes[i].phase != LANE_FREE) continue;
        job *j = take_job(e);
        if (!j) return;
        lane_begin(e, &e->lanes[i], j);
    }
}

static void *engine_main(void *arg) {
    engine *e = arg;
    bool busy = false, quit = false;
    while (!quit) {
        pthread_mutex_lock(&e->lock);
        while (!busy && !e->poked && !e->quit) pthread_cond_wait(&e->wake, &e->lock);
        e->poked = false;
        quit = e->quit;
        pthread_mutex_unlock(&e->lock);
        end_unwanted(e);
        fill_lanes(e);
        busy = lanes_step(e);
    }
    return NULL;
}

/* ------------------------------------------------------------------ life */

rwkv_status engine_new(engine **out, rwkv_model *model, store *st, const engine_options *options,
                       rwkv_error *err) {
    (void)st;
    const rwkv_tokenizer *tokenizer = rwkv_model_tokenizer(model, err);
    if (!tokenizer) return RWKV_E_VOCAB;
    engine *e = calloc(1, sizeof *e);
    if (!e) return refuse(err, RWKV_E_NOMEM, "out of memory");
    if (options) e->options = *options;
    if (!e->options.max_lanes) e->options.max_lanes = 32;
    if (e->options.max_lanes > MAX_LANES) e->options.max_lanes = MAX_LANES;
    if (!e->options.max_queue) e->options.max_queue = 256;
    if (!e->options.snapshot_every) e->options.snapshot_every = 1024;
    e->model = model;
    e->tokenizer = tokenizer;
    e->end = rwkv_tokenizer_end(tokenizer);
    e->queue_end = &e->queue;
    rwkv_model_info(model, &e->info);
    e->lanes = calloc(e->options.max_lanes, sizeof *e->lanes);
    e->items = calloc(e->options.max_lanes, sizeof *e->items);
    e->batched = calloc(e->options.max_lanes, sizeof *e->batched);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->wake, NULL);
    rwkv_status status = RWKV_OK;
    if (!e->lanes || !e->items || !e->batched) status = refuse(err, RWKV_E_NOMEM, "out of memory");
    else if (pthread_create(&e->thread, NULL, engine_main, e))
        status = refuse(err, RWKV_E_NOMEM, "the engine's thread cannot be started");
    if (status == RWKV_OK) {
        *out = e;
        return RWKV_OK;
    }
    free(e->lanes);
    free(e->items);
    free(e->batched);
    free(e);
    return status;
}

/* True when no job is left. It is asked again and again only while a server stops. */
static bool wait_idle(engine *e, double seconds) {
    const uint64_t begun = now_ns();
    for (;;) {
        pthread_mutex_lock(&e->lock);
        bool idle = !e->tenants;
        pthread_mutex_unlock(&e->lock);
        if (idle || seconds_since(begun) >= seconds) return idle;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

void engine_drain(engine *e, double seconds) {
    pthread_mutex_lock(&e->lock);
    e->stopping = e->stats.draining = true;
    pthread_mutex_unlock(&e->lock);
    if (wait_idle(e, seconds)) return;
    pthread_mutex_lock(&e->lock);
    e->stop_now = e->poked = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    wait_idle(e, INFINITY);
}

void engine_free(engine *e) {
    if (!e) return;
    engine_drain(e, 0);
    pthread_mutex_lock(&e->lock);
    e->quit = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->wake);
    free(e->lanes);
    free(e->items);
    free(e->batched);
    free(e);
}

void engine_get_stats(engine *e, engine_stats *out) {
    pthread_mutex_lock(&e->lock);
    *out = e->stats;
    pthread_mutex_unlock(&e->lock);
}

rwkv_model *engine_model(engine *e) {
    return e->model;
}
