/* session.c - one timeline over a model: its recurrent state, the logits after its last token, at
 * most one pending token; and evaluation of one or many of them, cut into passes of at most
 * RW_MAX_ROWS rows. */
#include "session.h"
#include <string.h>

rwkv_status rwkv_session_new(rwkv_session **out, rwkv_model *m, rwkv_error *err) {
    if (!out || !m)
        return rw_fail(err, RWKV_E_ARG, "rwkv_session_new: out and model must be given");
    if (m->exact && m->ckpt->table->packed)
        return rw_fail_at(err, RWKV_E_UNSUPPORTED, m->ckpt->table->path, RWKV_NO_OFFSET,
                          "a packed file has no exact products; use the file it was made of");
    rwkv_session *s = rw_calloc(1, sizeof *s);
    if (!s) return rw_nomem(err, sizeof *s);
    s->model = m;
    s->state = rw_alloc_aligned(m->state_len * sizeof *s->state);
    s->logits = rw_alloc_aligned(m->V * sizeof *s->logits);
    if (!s->state || !s->logits) {
        rwkv_session_free(s);
        return rw_nomem(err, (m->state_len + m->V) * sizeof(float));
    }
    rwkv_session_reset(s);
    *out = s;
    return RWKV_OK;
}

void rwkv_session_free(rwkv_session *s) {
    if (!s) return;
    if (s->state) rw_wipe(s->state, s->model->state_len * sizeof *s->state);
    if (s->logits) rw_wipe(s->logits, s->model->V * sizeof *s->logits);
    rw_free_aligned(s->state);
    rw_free_aligned(s->logits);
    rw_free(s);
}

void rwkv_session_reset(rwkv_session *s) {
    const rwkv_model *m = s->model;
    memset(s->state, 0, m->state_len * sizeof *s->state);
    if (m->arch->init_state) m->arch->init_state(m, s->state);
    s->n_tokens = 0;
    s->pending = -1;
    s->has_logits = false;
}

rwkv_status rwkv_session_copy(rwkv_session *dst, const rwkv_session *src, rwkv_error *err) {
    if (!dst || !src || dst->model != src->model)
        return rw_fail(err, RWKV_E_ARG,
                       "rwkv_session_copy: both sessions must be of the same open model");
    if (dst == src) return RWKV_OK;
    memcpy(dst->state, src->state, src->model->state_len * sizeof *src->state);
    memcpy(dst->logits, src->logits, src->model->V * sizeof *src->logits);
    dst->n_tokens = src->n_tokens;
    dst->pending = src->pending;
    dst->has_logits = src->has_logits;
    return RWKV_OK;
}

/* ---------------------------------------------------------------- evaluation */

static rwkv_status check_tokens(const rwkv_model *m, const int32_t *tokens, size_t n,
                                rwkv_error *err) {
    if (n > 0 && !tokens)
        return rw_fail(err, RWKV_E_ARG, "tokens: found NULL; expected %zu ids", n);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= m->V)
            return rw_fail(err, RWKV_E_ARG, "token %zu: found id %d; expected 0..%u", i, tokens[i],
                           m->V - 1);
    return RWKV_OK;
}

static rwkv_status check_items(const rwkv_batch_item *items, size_t n, rwkv_error *err) {
    if (n == 0 || !items) return rw_fail(err, RWKV_E_ARG, "rwkv_eval_batch: no items");
    for (size_t i = 0; i < n; i++) {
        const rwkv_session *s = items[i].session;
        if (!s || s->model != items[0].session->model)
            return rw_fail(err, RWKV_E_ARG, "item %zu: sessions of one call must be of one model",
                           i);
        if (items[i].n_tokens == 0 && s->pending < 0)
            return rw_fail(err, RWKV_E_ARG, "item %zu: no token to evaluate", i);
        RW_TRY(check_tokens(s->model, items[i].tokens, items[i].n_tokens, err));
    }
    return RWKV_OK;
}

/* Marks each session and finds one that occurs twice; leaves no mark. */
static bool all_different(const rwkv_batch_item *items, size_t n) {
    size_t i = 0;
    for (; i < n && !items[i].session->marked; i++) items[i].session->marked = true;
    for (size_t j = 0; j < i; j++) items[j].session->marked = false;
    return i == n;
}

/* One pass over the rows gathered; owners[i] is the session of segs[i]. A broken session stays broken. */
static rwkv_status run_pass(rwkv_model *m, const int32_t *tokens, size_t n_rows, rw_segment *segs,
                            rwkv_session *const *owners, size_t n_segs, rwkv_error *err) {
    rwkv_status st = rw_model_eval(m, tokens, n_rows, segs, n_segs, NULL, err);
    for (size_t i = 0; i < n_segs; i++) owners[i]->broken |= segs[i].broken;
    return st;
}

/* Counts what was fed. A session with numbers that are not finite loses its logits. */
static rwkv_status settle(const rwkv_batch_item *item, rwkv_error *err) {
    rwkv_session *s = item->session;
    const rwkv_model *m = s->model;
    s->n_tokens += item->n_tokens + (s->pending >= 0);
    s->pending = -1;
    s->has_logits = !s->broken && m->k->all_finite(s->logits, m->V);
    if (s->has_logits || s->broken) return RWKV_OK; /* a broken one has its error already */
    return rw_fail(err, RWKV_E_NUMERIC, "%s: the logits hold NaN or infinity",
                   m->ckpt->table->path);
}

rwkv_status rwkv_eval_batch(const rwkv_batch_item *items, size_t n, rwkv_error *err) {
    RW_TRY(check_items(items, n, err));
    if (!all_different(items, n))
        return rw_fail(err, RWKV_E_ARG, "rwkv_eval_batch: a session occurs twice");
    rwkv_status st = RWKV_OK;
    rwkv_model *m = items[0].session->model;
    int32_t tokens[RW_MAX_ROWS];
    rw_segment segs[RW_MAX_ROWS];
    rwkv_session *owners[RW_MAX_ROWS];
    size_t n_rows = 0, n_segs = 0;
    for (size_t i = 0; i < n; i++) items[i].session->broken = false;
    for (size_t i = 0; i < n; i++) {
        rwkv_session *s = items[i].session;
        bool pend = s->pending >= 0;
        size_t total = items[i].n_tokens + pend, done = 0;
        while (done < total) {
            size_t take = total - done < RW_MAX_ROWS - n_rows ? total - done : RW_MAX_ROWS - n_rows;
            owners[n_segs] = s;
            segs[n_segs++] = (rw_segment){.state = s->state, .row = n_rows, .n = take,
                                          .logits = done + take == total ? s->logits : NULL};
            for (size_t k = done; k < done + take; k++)
                tokens[n_rows++] = pend && k == 0 ? s->pending : items[i].tokens[k - pend];
            done += take;
            if (n_rows < RW_MAX_ROWS && !(i + 1 == n && done == total)) break;
            rwkv_status pass =
                run_pass(m, tokens, n_rows, segs, owners, n_segs, st == RWKV_OK ? err : NULL);
            if (st == RWKV_OK) st = pass;
            n_rows = n_segs = 0;
        }
    }
    for (size_t i = 0; i < n; i++) {
        rwkv_status one = settle(&items[i], st == RWKV_OK ? err : NULL);
        if (st == RWKV_OK) st = one;
    }
    return st;
}

static void draw(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)thread;
    rwkv_draw *draws = ctx;
    for (rwkv_draw *d = draws + begin; d < draws + end; d++)
        d->status = rwkv_sampler_next(d->sampler, d->logits, &d->token, d->err);
}

void rwkv_draw_batch(rwkv_model *m, rwkv_draw *draws, size_t n) {
    pthread_mutex_lock(&m->lock);
    rw_pool_run(m->pool, n, 1, draw, draws);
    pthread_mutex_unlock(&m->lock);
}

rwkv_status rwkv_session_eval(rwkv_session *s, const int32_t *tokens, size_t n, rwkv_error *err) {
    rwkv_batch_item item = {s, tokens, n};
    return rwkv_eval_batch(&item, 1, err);
}

rwkv_status rwkv_session_eval_all(rwkv_session *s, const int32_t *tokens, size_t n, float *logits,
                                  rwkv_error *err) {
    if (!s || !logits || n == 0)
        return rw_fail(err, RWKV_E_ARG, "rwkv_session_eval_all: nothing to do");
    if (s->pending >= 0)
        return rw_fail(err, RWKV_E_ARG, "rwkv_session_eval_all: a token is pending");
    RW_TRY(check_tokens(s->model, tokens, n, err));
    size_t V = s->model->V;
    for (size_t done = 0; done < n;) {
        size_t take = n - done < RW_MAX_ROWS ? n - done : RW_MAX_ROWS;
        rw_segment seg = {.state = s->state, .n = take};
        s->has_logits = false;
        RW_TRY(rw_model_eval(s->model, tokens + done, take, &seg, 1, logits + done * V, err));
        done += take;
    }
    memcpy(s->logits, logits + (n - 1) * V, V * sizeof *logits);
    s->n_tokens += n;
    s->has_logits = true;
    if (!s->model->k->all_finite(logits, n * V))
        return rw_fail(err, RWKV_E_NUMERIC, "%s: the logits hold NaN or infinity",
                       s->model->ckpt->table->path);
    return RWKV_OK;
}

rwkv_status rwkv_session_pend(rwkv_session *s, int32_t token, rwkv_error *err) {
    if (!s) return rw_fail(err, RWKV_E_ARG, "rwkv_session_pend: no session");
    RW_TRY(check_tokens(s->model, &token, 1, err));
    if (s->pending >= 0)
        return rw_fail(err, RWKV_E_ARG, "token %d is pending already; evaluate it first",
                       s->pending);
    s->pending = token;
    return RWKV_OK;
}

int32_t rwkv_session_pending(const rwkv_session *s) {
    return s->pending;
}

const float *rwkv_session_logits(const rwkv_session *s) {
    return s->has_logits ? s->logits : NULL;
}

uint64_t rwkv_session_n_tokens(const rwkv_session *s) {
    return s->n_tokens;
}

rwkv_model *rwkv_session_model(const rwkv_session *s) {
    return s->model;
}

size_t rwkv_session_state_len(const rwkv_session *s) {
    return s->model->state_len;
}

const float *rwkv_session_state(const rwkv_session *s) {
    return s->state;
}

rwkv_status rwkv_session_set_state(rwkv_session *s, const float *state, size_t len,
                                   rwkv_error *err) {
    if (!s || !state)
        return rw_fail(err, RWKV_E_ARG, "rwkv_session_set_state: session and state must be given");
    if (len != s->model->state_len)
        return rw_fail(err, RWKV_E_STATE, "state: found %zu floats; expected %zu", len,
                       s->model->state_len);
    if (!s->model->k->all_finite(state, len))
        return rw_fail(err, RWKV_E_STATE, "state: found NaN or infinity; expected finite numbers");
    memcpy(s->state, state, len * sizeof *state);
    s->pending = -1;
    s->has_logits = false;
    return RWKV_OK;
}
