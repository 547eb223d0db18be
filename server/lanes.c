/* lanes.c - the loop. In every step the answering lanes choose a token each, and one batch
 * evaluates these and a slice of the prompts that are being read.
 *
 *     READING    text -> session, up to n_target; then the answer begins, or ends (its tail)
 *     ANSWERING  logits -> sampler -> token -> text shown (JOB_TOKEN) -> fed with the next batch
 *
 * The end of an answer. The session that is kept is that of the prompt and the visible text,
 * nothing more: before a token that may begin a stop string is fed, the session is copied; when the
 * stop is found the copy takes its place, and what was visible after it is read again. The last
 * token is not evaluated but left pending, which costs nothing and continues to the same bits. */
#include "engine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ events */

static void tell(lane *l, job_event event) {
    event.n_prompt = l->n_prompt;
    event.n_cached = l->n_cached;
    event.n_read = l->n_fed < l->n_prompt ? l->n_fed : l->n_prompt;
    event.n_generated = l->n_generated;
    event.n_visible = l->n_visible;
    event.seconds_queued = (double)(l->started_ns - l->job->queued_ns) / 1e9;
    const uint64_t now = engine_now();
    event.seconds_prompt = (double)((l->answer_ns ? l->answer_ns : now) - l->started_ns) / 1e9;
    event.seconds_answer = l->answer_ns ? (double)(now - l->answer_ns) / 1e9 : 0;
    l->job->on_event(l->job->user, &event);
}

void lane_finish(engine *e, lane *l) {
    const bool failed = l->finish == JOB_FAILED;
    job_event event = {.kind = JOB_DONE,
                       .finish = l->finish,
                       .stop = failed ? NULL : rwkv_stream_stop(l->job->stream),
                       .error = failed ? &l->err : NULL,
                       .session = l->session,
                       .session_result = l->stored,
                       .conflict = failed && l->stored == STORE_CONFLICT,
                       .session_generation = l->record.generation};
    if (!failed) rwkv_stream_finish(l->job->stream, &event.text, &event.n_text);
    tell(l, event);
    engine_release(e, l);
}

void lane_abort(engine *e, lane *l, job_finish how) {
    if (l->phase == LANE_WAITING) return; /* asked again when its task has run */
    l->finish = how;
    lane_finish(e, l);
}

void lane_fail(engine *e, lane *l, const rwkv_error *err) {
    if (err) l->err = *err;
    l->finish = JOB_FAILED;
    lane_finish(e, l);
}

static void fail_nomem(engine *e, lane *l) {
    engine_refuse(&l->err, RWKV_E_NOMEM, "out of memory");
    lane_fail(e, l, NULL);
}

/* ------------------------------------------------------------------ the end of an answer */

/* The session is at the end of the text but for one token at most, which is left pending. */
static void settle(engine *e, lane *l) {
    const transcript *text = l->job->text;
    if (l->n_fed < text->n &&
        rwkv_session_pend(l->session, text->ids[l->n_fed++], &l->err) != RWKV_OK)
        lane_fail(e, l, NULL);
    else
        lane_save(e, l);
}

static void end_answer(engine *e, lane *l, job_finish how) {
    l->finish = how;
    l->finishing = true;
    l->n_target = l->job->text->n;
    if (l->n_target > l->n_fed + 1)
        l->phase = LANE_READING;
    else
        settle(e, l);
}

/* What a stop string claims, and all behind it, leaves the text; the session goes back to the copy
 * if it has seen any of that. Of a token that holds the last visible bytes and the first
 * of the stop, the visible bytes are tokenized again. */
static rwkv_status cut_at_stop(engine *e, lane *l, rwkv_error *err) {
    transcript *text = l->job->text;
    size_t claimed = rwkv_stream_matched(l->job->stream), len = 0;
    const char *bytes = "";
    while (claimed > 0) {
        bytes = rwkv_token_bytes(e->tokenizer, text->ids[--text->n], &len);
        l->n_visible -= len <= claimed;
        if (len > claimed) break;
        claimed -= len;
    }
    if (l->n_fed > text->n) {
        rwkv_session *s = l->session;
        l->session = l->kept;
        l->kept = s;
        l->n_fed = l->n_kept;
    }
    if (!claimed) return RWKV_OK;
    const size_t visible = len - claimed;
    size_t n;
    int32_t *ids = malloc(3 * visible * sizeof *ids);
    rwkv_status st = ids ? rwkv_encode(e->tokenizer, bytes, visible, 0, ids, 3 * visible, &n, err)
                         : RWKV_E_NOMEM;
    if (st == RWKV_OK && !transcript_add(&l->job->text, ids, n)) st = RWKV_E_NOMEM;
    free(ids);
    return st;
}

/* ------------------------------------------------------------------ one token of an answer */

/* Before the token just chosen is fed: is the session worth a copy, because with this token a stop
 * may begin? A match that goes on for long moves on (of "\n\n\n..." only the last two may be the
 * stop's). */
static rwkv_status keep_before_stop(lane *l, size_t token_len, rwkv_error *err) {
    enum { FAR = 8 };
    const size_t matched = rwkv_stream_matched(l->job->stream);
    if (!matched) l->n_kept = SIZE_MAX;
    if (!matched || (l->n_kept != SIZE_MAX && (matched > token_len || l->n_fed < l->n_kept + FAR)))
        return RWKV_OK;
    rwkv_status st =
        l->kept ? RWKV_OK : rwkv_session_new(&l->kept, rwkv_session_model(l->session), err);
    if (st == RWKV_OK) st = rwkv_session_copy(l->kept, l->session, err);
    if (st == RWKV_OK) l->n_kept = l->n_fed;
    return st;
}

/* log softmax of the raw logits: of the token chosen and of the n likeliest. */
static void describe(const float *logits, size_t n_vocab, int32_t id, size_t n, token_choice *top,
                     job_token *out) {
    float max = logits[0];
    double sum = 0;
    size_t found = 0;
    for (size_t i = 1; i < n_vocab; i++) max = logits[i] > max ? logits[i] : max;
    for (size_t i = 0; i < n_vocab; i++) sum += exp((double)(logits[i] - max));
    const double norm = (double)max + log(sum);
    for (size_t i = 0; i < n_vocab && n; i++) {
        if (found == n && logits[i] <= logits[top[n - 1].token]) continue;
        size_t at = found < n ? found++ : n - 1;
        for (; at > 0 && logits[top[at - 1].token] < logits[i]; at--) top[at] = top[at - 1];
        top[at].token = (int32_t)i;
    }
    for (size_t i = 0; i < found; i++)
        top[i].logprob = (float)((double)logits[top[i].token] - norm);
    *out = (job_token){{id, (float)((double)logits[id] - norm)}, top, found};
}

static void answer(engine *e, lane *l, const rwkv_draw *drawn) {
    job *j = l->job;
    job_event event = {.kind = JOB_TOKEN};
    token_choice top[MAX_TOP];
    const int32_t id = drawn->token;
    size_t len;
    if (drawn->status != RWKV_OK) {
        lane_fail(e, l, NULL);
        return;
    }
    l->n_generated++;
    e->n_generated++;
    if (id == e->end && !j->ignore_end) {
        rwkv_status st = j->end_is_stop ? cut_at_stop(e, l, &l->err) : RWKV_OK;
        if (j->end_is_stop) rwkv_stream_reset(j->stream); /* nothing of it is text */
        if (st == RWKV_E_NOMEM)
            fail_nomem(e, l);
        else if (st != RWKV_OK)
            lane_fail(e, l, NULL);
        else
            end_answer(e, l, JOB_STOP);
        return;
    }
    if (!transcript_add(&j->text, &id, 1)) {
        fail_nomem(e, l);
        return;
    }
    l->n_visible++;
    if (j->logprobs) describe(drawn->logits, e->info.n_vocab, id, j->n_top, top, &event.token);
    const char *bytes = rwkv_token_bytes(e->tokenizer, id, &len);
    const bool stopped = rwkv_stream_push(j->stream, bytes, len, &event.text, &event.n_text);
    rwkv_status st = stopped ? cut_at_stop(e, l, &l->err) : keep_before_stop(l, len, &l->err);
    tell(l, event);
    if (st == RWKV_E_NOMEM)
        fail_nomem(e, l);
    else if (st != RWKV_OK)
        lane_fail(e, l, NULL);
    else if (stopped)
        end_answer(e, l, JOB_STOP);
    else if (l->n_generated == j->max_tokens)
        end_answer(e, l, JOB_LENGTH);
}

/* All lanes whose text is fed draw a token. */
static void answer_all(engine *e) {
    size_t n = 0;
    for (size_t i = 0; i < e->options.max_lanes; i++) {
        lane *l = &e->lanes[i];
        if (l->phase != LANE_ANSWERING || l->n_fed != l->job->text->n) continue;
        e->draws[n] = (rwkv_draw){
            .sampler = l->job->sampler, .logits = rwkv_session_logits(l->session), .err = &l->err};
        e->batched[n++] = l;
    }
    rwkv_draw_batch(e->model, e->draws, n);
    for (size_t i = 0; i < n; i++) answer(e, e->batched[i], &e->draws[i]);
}

/* ------------------------------------------------------------------ reading */

/* Tokens that the next batch may take of a lane that reads. */
static size_t unread(const engine *e, lane *l) {
    const size_t left = lane_next_stop(e, l) - l->n_fed, pend = l->finishing;
    return l->n_fed + left == l->n_target ? (left > pend ? left - pend : 0) : left;
}

/* After a part was read, or nothing had to be. */
static void go_on_reading(engine *e, lane *l) {
    if (l->n_fed + l->finishing < l->n_target) return;
    if (l->finishing) {
        settle(e, l);
        return;
    }
    if (rwkv_session_pending(l->session) >= 0) return; /* one more batch */
    if (!rwkv_session_logits(l->session)) {
        engine_refuse(&l->err, RWKV_E_ARG,
                      "nothing to answer: the prompt adds no token to a state without logits");
        lane_fail(e, l, NULL);
        return;
    }
    l->phase = LANE_ANSWERING;
    l->answer_ns = engine_now();
    if (!l->job->max_tokens) end_answer(e, l, JOB_LENGTH);
}

/* ------------------------------------------------------------------ beginning */

void lane_begin(engine *e, lane *l, job *j) {
    *l = (lane){.phase = LANE_READING,
                .e = e,
                .job = j,
                .n_kept = SIZE_MAX,
                .n_prompt = j->text->n,
                .n_target = j->text->n,
                .started_ns = engine_now()};
    if (job_make_rules(e, j, &l->err) == RWKV_OK)
        lane_recall(e, l);
    else
        lane_fail(e, l, NULL);
}

void lane_read(engine *e, lane *l) {
    l->phase = LANE_READING;
    l->n_cached = l->last_stop = l->n_written = l->n_fed;
    e->n_tokens_cached += l->n_cached;
    tell(l, (job_event){.kind = JOB_STARTED});
    go_on_reading(e, l);
}

/* ------------------------------------------------------------------ one step */

static void add_item(engine *e, size_t *n, lane *l, size_t n_tokens) {
    e->items[*n] = (rwkv_batch_item){l->session, l->job->text->ids + l->n_fed, n_tokens};
    e->batched[(*n)++] = l;
}

/* Shares `rows` among the lanes that read: equal parts, what is left over goes in turn. Returns
 * rows used. */
static size_t add_readers(engine *e, size_t *n, size_t rows) {
    const size_t n_lanes = e->options.max_lanes, first = e->first_reader++;
    size_t n_readers = 0, left = rows;
    for (size_t i = 0; i < n_lanes; i++) n_readers += e->lanes[i].phase == LANE_READING;
    if (!n_readers || !rows) return 0;
    const size_t part = rows / n_readers;
    for (size_t i = 0; i < n_lanes; i++) {
        if (e->lanes[i].phase != LANE_READING) continue;
        const size_t want = unread(e, &e->lanes[i]);
        left -= want < part ? want : part;
    }
    for (size_t i = 0; i < n_lanes; i++) {
        lane *l = &e->lanes[(first + i) % n_lanes];
        if (l->phase != LANE_READING) continue;
        size_t want = unread(e, l), take = want < part ? want : part;
        size_t extra = want - take < left ? want - take : left;
        left -= extra;
        take += extra;
        if (take || rwkv_session_pending(l->session) >= 0) add_item(e, n, l, take);
    }
    return rows - left;
}

static void after_batch(engine *e, size_t n, rwkv_status st, const rwkv_error *err) {
    for (size_t i = 0; i < n; i++) {
        lane *l = e->batched[i];
        if (st != RWKV_OK && (st != RWKV_E_NUMERIC || !rwkv_session_logits(l->session))) {
            lane_fail(e, l, err);
            continue;
        }
        l->n_fed += e->items[i].n_tokens;
        if (l->phase != LANE_READING) continue;
        if (l->n_fed <= l->n_prompt) tell(l, (job_event){.kind = JOB_PROGRESS});
        lane_at_stop(e, l);
        go_on_reading(e, l);
    }
}

bool lanes_step(engine *e) {
    size_t n = 0;
    answer_all(e);
    for (size_t i = 0; i < e->options.max_lanes; i++)
        if (e->lanes[i].phase == LANE_ANSWERING) add_item(e, &n, &e->lanes[i], 1);
    const size_t n_answers = n, slice = e->options.prompt_slice;
    const size_t n_rows =
        add_readers(e, &n, slice && n_answers ? slice : pace_rows(&e->pace, n_answers));
    if (!n) return false;
    rwkv_error err = {0};
    const uint64_t begun = engine_now();
    rwkv_status st = rwkv_eval_batch(e->items, n, &err);
    const double seconds = engine_since(begun);
    pace_learn(&e->pace, n_answers, n_rows ? n_rows : n - n_answers, seconds);
    pthread_mutex_lock(&e->lock);
    e->stats.steps++;
    e->stats.tokens_read += n_rows;
    e->stats.seconds_busy += seconds;
    pthread_mutex_unlock(&e->lock);
    after_batch(e, n, st, &err);
    return true;
}
