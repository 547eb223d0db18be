/* engine.c - the engine's life and its queue.
 *
 * engine_submit checks a request on the caller's thread, copies what it needs and queues it; the
 * engine's thread gives lanes to queued jobs and steps through the lanes (lanes.c) until there are
 * none. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t engine_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

double engine_since(uint64_t ns) {
    return (double)(engine_now() - ns) / 1e9;
}

void engine_log(const engine *e, int level, const char *message) {
    if (e->options.log) e->options.log(e->options.log_user, level, message);
}

/* ------------------------------------------------------------------ tenants; under the lock */

static tenant_jobs *find_tenant(engine *e, const char *name) {
    tenant_jobs *t = e->tenants;
    while (t && strcmp(t->name, name) != 0) t = t->next;
    if (t) return t;
    size_t n = strlen(name) + 1;
    if (!(t = calloc(1, sizeof *t + n))) return NULL;
    memcpy(t->name, name, n);
    t->next = e->tenants;
    e->tenants = t;
    return t;
}

static void forget_job_of(engine *e, tenant_jobs *t) {
    if (--t->n_jobs) return;
    tenant_jobs **at = &e->tenants;
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
    free((void *)j->sampling.bias);
    for (size_t i = 0; i < j->n_stops; i++) free(j->stops[i]);
    free(j->stops);
    free(j->session);
    free(j->note);
    rwkv_sampler_free(j->sampler);
    rwkv_stream_free(j->stream);
    free(j);
}

void engine_refuse(rwkv_error *err, rwkv_status code, const char *what) {
    if (!err) return;
    *err = (rwkv_error){.code = code, .offset = RWKV_NO_OFFSET};
    snprintf(err->message, sizeof err->message, "%s", what);
}

static rwkv_status refuse(rwkv_error *err, rwkv_status code, const char *what) {
    engine_refuse(err, code, what);
    return code;
}

/* A copy of n bytes, NULL for none; *ok becomes false when memory is out. */
static void *copy(const void *p, size_t n, bool *ok) {
    if (!p || !n) return NULL;
    void *q = malloc(n);
    if (q)
        memcpy(q, p, n);
    else
        *ok = false;
    return q;
}

static rwkv_status check_request(const engine *e, const job_request *r, rwkv_error *err) {
    if (!r->tenant || !r->on_event || (r->n_tokens && !r->tokens) || (r->n_marks && !r->marks))
        return refuse(err, RWKV_E_ARG, "job: tenant, on_event and the arrays must be given");
    if (r->session && !session_name_ok(r->session))
        return refuse(err, RWKV_E_ARG,
                      "session: expected a name of 1 to 64 letters, digits, '.', '_' or '-'");
    if (r->n_note > STORE_NOTE_MAX - 64)
        return refuse(err, RWKV_E_ARG, "session: the note is too long");
    if (!r->n_tokens && !r->session && !r->state)
        return refuse(err, RWKV_E_ARG, "the prompt is empty: found 0 tokens; expected at least 1");
    if (r->n_top > MAX_TOP) return refuse(err, RWKV_E_ARG, "top logprobs: expected at most 20");
    for (size_t i = 0; i < r->n_tokens; i++)
        if (r->tokens[i] < 0 || (uint32_t)r->tokens[i] >= e->info.n_vocab)
            return refuse(err, RWKV_E_ARG, "the prompt holds a token that the model does not have");
    return RWKV_OK;
}

/* A job that waits has neither sampler nor stream, which take megabytes; what it asks for is tried
 * now. */
static rwkv_status check_rules(engine *e, const job_request *r, rwkv_error *err) {
    rwkv_stream *stream = NULL;
    rwkv_status st = rwkv_stream_new(&stream, r->stops, r->n_stops, err);
    rwkv_stream_free(stream);
    if (st != RWKV_OK) return st;
    pthread_mutex_lock(&e->lock);
    st = rwkv_sampler_set(e->checker, &r->sampling, err);
    pthread_mutex_unlock(&e->lock);
    return st;
}

static void copy_rules(job *j, const job_request *r, bool *ok) {
    j->sampling = r->sampling;
    j->sampling.bias = copy(r->sampling.bias, r->sampling.n_bias * sizeof *r->sampling.bias, ok);
    j->stops = r->n_stops ? calloc(r->n_stops, sizeof *j->stops) : NULL;
    if (r->n_stops && !j->stops) *ok = false;
    for (; *ok && j->n_stops < r->n_stops; j->n_stops++)
        j->stops[j->n_stops] = copy(r->stops[j->n_stops], strlen(r->stops[j->n_stops]) + 1, ok);
}

rwkv_status job_make_rules(const engine *e, job *j, rwkv_error *err) {
    rwkv_status st = rwkv_stream_new(&j->stream, (const char *const *)j->stops, j->n_stops, err);
    if (st != RWKV_OK) return st;
    return rwkv_sampler_new(&j->sampler, e->info.n_vocab, e->tokenizer, &j->sampling, err);
}

static rwkv_status make_job(engine *e, const job_request *r, job **out, rwkv_error *err) {
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
    j->session = copy(r->session, r->session ? strlen(r->session) + 1 : 0, &ok);
    j->session_generation = r->session_generation;
    j->create_session = r->create_session;
    j->note = copy(r->note, r->n_note, &ok);
    j->n_note = r->n_note;
    j->max_tokens = r->max_tokens;
    j->n_top = r->n_top;
    j->logprobs = r->logprobs;
    j->ignore_end = r->ignore_end;
    j->end_is_stop = r->end_is_stop;
    j->no_cache = r->no_cache;
    j->on_event = r->on_event;
    j->user = r->user;
    atomic_init(&j->cancelled, false);
    copy_rules(j, r, &ok);
    if (!ok || !j->text) st = refuse(err, RWKV_E_NOMEM, "out of memory");
    if (st == RWKV_OK) st = check_rules(e, r, err);
    if (st == RWKV_OK)
        *out = j;
    else
        job_free(j);
    return st;
}

/* ------------------------------------------------------------------ the queue */

/* One tenant never takes the last quarter of a queue that is long enough to be shared. */
static bool has_room(const engine *e, const tenant_jobs *t) {
    const size_t max = e->options.max_queue, reserve = max >= 16 ? max / 4 : 0;
    return e->stats.jobs_queued < max && t->n_queued < max - reserve;
}

/* Takes the job over. */
static submit_result enqueue(engine *e, job *j, const char *tenant_name, job **out,
                             double *retry_after, rwkv_error *err) {
    submit_result result = SUBMIT_OK;
    pthread_mutex_lock(&e->lock);
    tenant_jobs *t = e->stopping ? NULL : find_tenant(e, tenant_name);
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
        j->queued_ns = engine_now();
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

submit_result engine_submit(engine *e, const job_request *request, job **out, double *retry_after,
                            rwkv_error *err) {
    job *j = NULL;
    if (make_job(e, request, &j, err) != RWKV_OK) return SUBMIT_REFUSED;
    return enqueue(e, j, request->tenant, out, retry_after, err);
}

submit_result session_rewind(engine *e, const char *tenant, const char *name, uint64_t n_turns,
                             job_event_fn on_event, void *user, rwkv_error *err) {
    job *j = NULL;
    job_request request = {.tenant = tenant,
                           .session = name,
                           .session_generation = STORE_ANY,
                           .on_event = on_event,
                           .user = user};
    if (!name) return refuse(err, RWKV_E_ARG, "rewind: which session?"), SUBMIT_REFUSED;
    rwkv_sampling_preset(&request.sampling, "default");
    if (make_job(e, &request, &j, err) != RWKV_OK) return SUBMIT_REFUSED;
    j->rewind = true;
    j->n_turns = n_turns;
    return enqueue(e, j, tenant, NULL, NULL, err);
}

void job_cancel(engine *e, job *j) {
    atomic_store(&j->cancelled, true);
    pthread_mutex_lock(&e->lock);
    e->poked = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

void engine_finished(void *owner, task *t) {
    engine *e = owner;
    pthread_mutex_lock(&e->lock);
    t->next = e->finished;
    e->finished = t;
    e->poked = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
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

/* Whether a lane works on the session that the job wants. */
static bool session_busy(const engine *e, const job *j) {
    for (size_t i = 0; j->session && i < e->options.max_lanes; i++) {
        const lane *l = &e->lanes[i];
        if (l->phase != LANE_FREE && l->job->session && l->job->tenant == j->tenant &&
            strcmp(l->job->session, j->session) == 0)
            return true;
    }
    return false;
}

/* The next job: of the tenant with the fewest lanes, of those the one served longest ago, the job
 * that came first; a session has one at a time. Under the lock. */
static job **choose(engine *e) {
    job **best = NULL;
    for (job **at = &e->queue; *at; at = &(*at)->next) {
        const tenant_jobs *t = (*at)->tenant, *b = best ? (*best)->tenant : NULL;
        if (session_busy(e, *at)) continue;
        if (!b || t->n_running < b->n_running ||
            (t->n_running == b->n_running && t->served < b->served))
            best = at;
    }
    return best;
}

/* Takes one job out of the queue that is to be ended. Who names the generation of a session does
 * not wait for another to change it. */
static job *take_ended(engine *e, job_finish *how) {
    job *found = NULL;
    pthread_mutex_lock(&e->lock);
    for (job **at = &e->queue; *at && !found; at = found ? at : &(*at)->next) {
        const job *j = *at;
        if (atomic_load(&j->cancelled))
            *how = JOB_CANCELLED;
        else if (e->stop_now)
            *how = JOB_STOPPED;
        else if (j->session_generation != STORE_ANY && session_busy(e, j))
            *how = JOB_FAILED;
        else
            continue;
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

/* A job that never had a lane; if it failed, another one has its session. */
static void end_queued(engine *e, job *j, job_finish how) {
    job_event event = {
        .kind = JOB_DONE, .finish = how, .seconds_queued = engine_since(j->queued_ns)};
    rwkv_error err;
    if (how == JOB_FAILED) {
        engine_refuse(&err, RWKV_E_STATE, "session: conflict: another request is advancing it");
        event.error = &err;
        event.conflict = true;
        event.session_result = STORE_CONFLICT;
    }
    j->on_event(j->user, &event);
    pthread_mutex_lock(&e->lock);
    e->stats.jobs_done[how]++;
    forget_job_of(e, j->tenant);
    pthread_mutex_unlock(&e->lock);
    job_free(j);
}

void engine_release(engine *e, lane *l) {
    job *j = l->job;
    const double took = engine_since(l->started_ns);
    l->phase = LANE_WAITING; /* nobody's leader any more */
    lane_bequeath(e, l);
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
    session_record_free(&l->record);
    job_free(j);
    *l = (lane){.phase = LANE_FREE};
}

/* ------------------------------------------------------------------ the thread */

static void end_unwanted(engine *e) {
    job_finish how;
    for (job *j; (j = take_ended(e, &how));) end_queued(e, j, how);
    pthread_mutex_lock(&e->lock);
    bool stop = e->stop_now;
    pthread_mutex_unlock(&e->lock);
    for (size_t i = 0; i < e->options.max_lanes; i++) {
        lane *l = &e->lanes[i];
        if (l->phase == LANE_FREE) continue;
        if (atomic_load(&l->job->cancelled))
            lane_abort(e, l, JOB_CANCELLED);
        else if (stop)
            lane_abort(e, l, JOB_STOPPED);
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

/* What has run in the background goes on here. */
static void take_finished(engine *e) {
    pthread_mutex_lock(&e->lock);
    task *list = e->finished;
    e->finished = NULL;
    pthread_mutex_unlock(&e->lock);
    for (task *t = list, *next; t; t = next) {
        next = t->next;
        t->done(e, t);
    }
}

static void show_stats(engine *e) {
    size_t n_sessions = 0;
    for (size_t i = 0; i < e->options.max_lanes; i++)
        n_sessions += (e->lanes[i].session != NULL) + (e->lanes[i].kept != NULL);
    tree_reserve(e->tree, n_sessions * e->info.session_bytes);
    const tree_stats t = tree_get_stats(e->tree);
    pthread_mutex_lock(&e->lock);
    engine_stats *s = &e->stats;
    s->snapshots_ram = t.n_ram;
    s->bytes_ram = t.bytes_ram;
    s->snapshots_stored = t.n_stored;
    s->bytes_stored = e->bytes_stored;
    s->hits_ram = e->n_hits_ram;
    s->hits_store = e->n_hits_store;
    s->misses = e->n_misses;
    s->tokens_cached = e->n_tokens_cached;
    s->tokens_generated = e->n_generated;
    pthread_mutex_unlock(&e->lock);
}

/* The first evaluation puts the weights in order and brings them into memory; no user shall wait for that. */
static void warm_up(engine *e) {
    const int32_t ids[4] = {0};
    rwkv_session *s = NULL;
    if (rwkv_session_new(&s, e->model, NULL) == RWKV_OK) rwkv_session_eval(s, ids, 4, NULL);
    rwkv_session_free(s);
}

static void *engine_main(void *arg) {
    engine *e = arg;
    bool busy = false, quit = false;
    warm_up(e);
    while (!quit) {
        pthread_mutex_lock(&e->lock);
        while (!busy && !e->poked && !e->quit) pthread_cond_wait(&e->wake, &e->lock);
        e->poked = false;
        quit = e->quit;
        pthread_mutex_unlock(&e->lock);
        take_finished(e);
        end_unwanted(e);
        fill_lanes(e);
        busy = lanes_step(e);
        show_stats(e);
    }
    return NULL;
}

/* ------------------------------------------------------------------ life */

static void set_options(engine *e, const engine_options *options) {
    if (options) e->options = *options;
    engine_options *o = &e->options;
    if (!o->max_lanes) o->max_lanes = 32;
    if (o->max_lanes > MAX_LANES) o->max_lanes = MAX_LANES;
    if (!o->max_queue) o->max_queue = 256;
    if (!o->snapshot_every) o->snapshot_every = 1024;
    if (!o->max_sessions) o->max_sessions = 1000;
}

/* Frees what there is of an engine without threads. */
static void dismantle(engine *e) {
    tree_free(e->tree);
    store_close(e->own_store);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->wake);
    free(e->lanes);
    free(e->items);
    free(e->batched);
    free(e->draws);
    rwkv_sampler_free(e->checker);
    free(e);
}

static rwkv_status make_parts(engine *e, store *st, rwkv_error *err) {
    const size_t n = e->options.max_lanes;
    e->lanes = calloc(n, sizeof *e->lanes);
    e->items = calloc(n, sizeof *e->items);
    e->batched = calloc(n, sizeof *e->batched);
    e->draws = calloc(n, sizeof *e->draws);
    if (!e->lanes || !e->items || !e->batched || !e->draws)
        return refuse(err, RWKV_E_NOMEM, "out of memory");
    rwkv_sampling any = {.penalty_decay = 1};
    rwkv_status status = rwkv_sampler_new(&e->checker, e->info.n_vocab, e->tokenizer, &any, err);
    if (status == RWKV_OK && !st) status = store_open(&e->own_store, "memory:", err);
    if (status != RWKV_OK) return status;
    e->store = st ? st : e->own_store;
    if (!st) e->options.cache_disk = 0;
    const tree_options how = {.model = e->model,
                              .st = st,
                              .ram = e->options.cache_ram,
                              .disk = e->options.cache_disk,
                              .write = recall_write,
                              .user = e};
    status = tree_new(&e->tree, &how, err);
    e->listed_ns = engine_now();
    if (status != RWKV_OK || !e->options.cache_disk) return status;
    tree_listing listing;
    snapshot_list(e->tree, &listing);
    e->bytes_stored = listing.bytes;
    tree_merge(e->tree, &listing);
    return status;
}

static rwkv_status start_threads(engine *e, rwkv_error *err) {
    enum { N_URGENT = 4 }; /* sessions are hashed and written independently of each other */
    rwkv_status status = background_new(&e->urgent, N_URGENT, engine_finished, e, err);
    if (status == RWKV_OK) status = background_new(&e->lazy, 1, engine_finished, e, err);
    if (status == RWKV_OK && pthread_create(&e->thread, NULL, engine_main, e))
        status = refuse(err, RWKV_E_NOMEM, "the engine's thread cannot be started");
    if (status == RWKV_OK) return status;
    background_free(e->urgent);
    background_free(e->lazy);
    return status;
}

rwkv_status engine_new(engine **out, rwkv_model *model, store *st, const engine_options *options,
                       rwkv_error *err) {
    const rwkv_tokenizer *tokenizer = rwkv_model_tokenizer(model, err);
    if (!tokenizer) return RWKV_E_VOCAB;
    engine *e = calloc(1, sizeof *e);
    if (!e) return refuse(err, RWKV_E_NOMEM, "out of memory");
    set_options(e, options);
    e->model = model;
    e->tokenizer = tokenizer;
    e->end = rwkv_tokenizer_end(tokenizer);
    e->queue_end = &e->queue;
    rwkv_model_info(model, &e->info);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->wake, NULL);
    rwkv_status status = make_parts(e, st, err);
    if (status == RWKV_OK) status = start_threads(e, err);
    if (status == RWKV_OK)
        *out = e;
    else
        dismantle(e);
    return status;
}

/* True when no job is left. It is asked again and again only while a server stops. */
static bool wait_idle(engine *e, double seconds) {
    const uint64_t begun = engine_now();
    for (;;) {
        pthread_mutex_lock(&e->lock);
        bool idle = !e->tenants;
        pthread_mutex_unlock(&e->lock);
        if (idle || engine_since(begun) >= seconds) return idle;
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
    static const double flush_seconds = 10;
    if (!e) return;
    engine_drain(e, 0);
    pthread_mutex_lock(&e->lock);
    e->quit = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    background_free(e->urgent);
    background_free(e->lazy);
    take_finished(e);
    tree_flush(e->tree, flush_seconds);
    dismantle(e);
}

void engine_get_stats(engine *e, engine_stats *out) {
    pthread_mutex_lock(&e->lock);
    *out = e->stats;
    pthread_mutex_unlock(&e->lock);
}

rwkv_model *engine_model(engine *e) {
    return e->model;
}
