/* answer.c - see answer.h. Events come on the engine's thread: nothing here waits.
 *
 * Jobs may end before the last one is submitted, and the client may go at any time; `lock` guards
 * the choices. The answer lives as long as its request, which every job holds. */
#include "answer.h"

#include "params.h"
#include "split.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct choice {
    struct answer *answer;
    uint32_t index;
    size_t prompt;
    job *job;
    bool done;
    split split;
    rw_buf text, thought; /* the answer so far; of a stream what the next chunk holds */
    rw_buf logprobs;      /* JSON items, of a stream those of the next chunk */
    rw_buf lists[3];      /* completions: token_logprobs, top_logprobs, text_offset */
    size_t offset;        /* completions: bytes of text before the next token */
    job_finish finish;
    uint64_t n_prompt, n_cached, n_generated;
    uint64_t last_token; /* ns */
} choice;

typedef struct answer {
    request *r;
    pthread_mutex_t lock;
    bool chat, stream, include_usage, logprobs, return_state, begun, cancelled, failed, submitted;
    bool replied; /* the refusal of a choice was sent: what still comes is not */
    bool no_memory;
    uint32_t n_choices, n_submitted, n_done;
    int status; /* of a failure */
    const char *code, *param;
    char *message;
    char *head; /* what every chunk begins with */
    char *session;
    char **echoes; /* [n_prompts] texts that are sent first, or NULL */
    size_t n_echoes;
    void *state; /* blob for return_state */
    size_t n_state;
    choice choices[];
} answer;

static void answer_free(void *user) {
    answer *a = user;
    for (uint32_t i = 0; i < a->n_choices; i++) {
        choice *c = &a->choices[i];
        rw_buf_free(&c->text);
        rw_buf_free(&c->thought);
        rw_buf_free(&c->logprobs);
        for (size_t k = 0; k < 3; k++) rw_buf_free(&c->lists[k]);
    }
    for (size_t i = 0; i < a->n_echoes; i++) free(a->echoes[i]);
    free(a->echoes);
    free(a->head);
    free(a->session);
    free(a->state);
    free(a->message);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static void cancel_all(answer *a) {
    a->cancelled = true;
    for (uint32_t i = 0; i < a->n_choices; i++) {
        choice *c = &a->choices[i];
        if (c->job && !c->done) job_cancel(a->r->server->engine, c->job);
    }
}

static void on_gone(void *user) {
    answer *a = user;
    pthread_mutex_lock(&a->lock);
    cancel_all(a);
    pthread_mutex_unlock(&a->lock);
}

/* ------------------------------------------------------------------ pieces of JSON */

/* One token's entry of a chat's logprobs: its text, its bytes. */
static bool put_entry(rw_buf *b, const rwkv_tokenizer *t, const token_choice *c) {
    size_t n;
    const char *bytes = rwkv_token_bytes(t, c->token, &n);
    bool ok = buf_puts(b, "{\"token\":") && buf_json(b, bytes, n) &&
              buf_printf(b, ",\"logprob\":%.6g,\"bytes\":[", (double)c->logprob);
    for (size_t i = 0; i < n && ok; i++)
        ok = buf_printf(b, "%s%u", i ? "," : "", (unsigned)(unsigned char)bytes[i]);
    return ok && buf_puts(b, "]");
}

static bool put_chat_logprob(choice *c, const job_token *t) {
    const rwkv_tokenizer *tok = c->answer->r->server->tokenizer;
    rw_buf *b = &c->logprobs;
    bool ok = (!b->len || buf_puts(b, ",")) && put_entry(b, tok, &t->chosen) &&
              buf_puts(b, ",\"top_logprobs\":[");
    for (size_t i = 0; i < t->n_top && ok; i++)
        ok = (!i || buf_puts(b, ",")) && put_entry(b, tok, &t->top[i]) && buf_puts(b, "}");
    return ok && buf_puts(b, "]}");
}

/* As a key a token must be told from others: one that is no UTF-8 alone is written "bytes:\\xNN",
 * as OpenAI does. */
static bool put_key(rw_buf *b, const rwkv_tokenizer *t, int32_t token) {
    size_t n, i = 0;
    uint32_t cp;
    const char *bytes = rwkv_token_bytes(t, token, &n);
    for (int len = 1; i < n && len > 0; i += (size_t)(len > 0 ? len : 0))
        len = rw_utf8_next(bytes + i, n - i, &cp);
    if (i == n) return buf_json(b, bytes, n);
    bool ok = buf_puts(b, "\"bytes:");
    for (i = 0; i < n && ok; i++) ok = buf_printf(b, "\\\\x%02x", (unsigned char)bytes[i]);
    return ok && buf_puts(b, "\"");
}

/* Completions keep four lists side by side. */
static bool put_text_logprob(choice *c, const job_token *t) {
    const rwkv_tokenizer *tok = c->answer->r->server->tokenizer;
    const char *comma = c->logprobs.len ? "," : "";
    size_t n;
    rwkv_token_bytes(tok, t->chosen.token, &n);
    bool ok = buf_puts(&c->logprobs, comma) && put_key(&c->logprobs, tok, t->chosen.token) &&
              buf_printf(&c->lists[0], "%s%.6g", comma, (double)t->chosen.logprob) &&
              buf_printf(&c->lists[1], "%s{", comma) &&
              buf_printf(&c->lists[2], "%s%zu", comma, c->offset);
    c->offset += n;
    for (size_t i = 0; i < t->n_top && ok; i++) {
        ok = (!i || buf_puts(&c->lists[1], ",")) && put_key(&c->lists[1], tok, t->top[i].token) &&
             buf_printf(&c->lists[1], ":%.6g", (double)t->top[i].logprob);
    }
    return ok && buf_puts(&c->lists[1], "}");
}

static bool put_buf(rw_buf *to, const rw_buf *from) {
    return !from->len || rw_buf_add(to, from->data, from->len);
}

static bool put_string(rw_buf *b, const rw_buf *text) {
    return buf_json(b, text->len ? (const char *)text->data : "", text->len);
}

static bool put_logprobs(rw_buf *b, const choice *c) {
    if (!c->answer->logprobs) return buf_puts(b, ",\"logprobs\":null");
    if (c->answer->chat) {
        return buf_puts(b, ",\"logprobs\":{\"content\":[") && put_buf(b, &c->logprobs) &&
               buf_puts(b, "],\"refusal\":null}");
    }
    return buf_puts(b, ",\"logprobs\":{\"tokens\":[") && put_buf(b, &c->logprobs) &&
           buf_puts(b, "],\"token_logprobs\":[") && put_buf(b, &c->lists[0]) &&
           buf_puts(b, "],\"top_logprobs\":[") && put_buf(b, &c->lists[1]) &&
           buf_puts(b, "],\"text_offset\":[") && put_buf(b, &c->lists[2]) && buf_puts(b, "]}");
}

static void clear_logprobs(choice *c) {
    c->logprobs.len = 0;
    for (size_t i = 0; i < 3; i++) c->lists[i].len = 0;
}

static const char *finish_name(const choice *c) {
    return c->finish == JOB_LENGTH ? "length" : "stop";
}

static bool put_usage(rw_buf *b, const answer *a) {
    uint64_t read = 0, cached = 0, generated = 0;
    for (uint32_t i = 0; i < a->n_choices; i++) {
        const choice *c = &a->choices[i];
        generated += c->n_generated;
        if (i && c->prompt == a->choices[i - 1].prompt) continue; /* a prompt counts once */
        read += c->n_prompt;
        cached += c->n_cached;
    }
    request *r = a->r;
    r->n_prompt = read;
    r->n_cached = cached;
    r->n_generated = generated;
    return buf_printf(b,
                      "{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu,"
                      "\"prompt_tokens_details\":{\"cached_tokens\":%llu}}",
                      (unsigned long long)read, (unsigned long long)generated,
                      (unsigned long long)(read + generated), (unsigned long long)cached);
}

/* {"id":...,"object":"...","created":N,"model":"...","system_fingerprint":"..." */
static char *make_head(const answer *a, const char *object) {
    const server *s = a->r->server;
    rw_buf b = {0};
    char *head = NULL;
    const char *id = strncmp(a->r->id, "req_", 4) == 0 ? a->r->id + 4 : a->r->id;
    bool ok = buf_printf(&b, "{\"id\":\"%s-%s\",\"object\":\"%s\",\"created\":%lld,\"model\":",
                         a->chat ? "chatcmpl" : "cmpl", id, object, (long long)time(NULL)) &&
              buf_json(&b, s->model_name, strlen(s->model_name)) &&
              buf_printf(&b, ",\"system_fingerprint\":\"%s\"", s->fingerprint);
    if (ok) head = strndup((const char *)b.data, b.len);
    rw_buf_free(&b);
    return head;
}

/* ------------------------------------------------------------------ streams */

static void send_chunk(answer *a, const rw_buf *b, bool ok) {
    if (!ok) a->no_memory = true;
    if (!ok || !stream_write(a->r, b->data, b->len)) cancel_all(a);
}

static bool begin_chunk(rw_buf *b, const answer *a) {
    return buf_puts(b, "data: ") && buf_puts(b, a->head) && buf_puts(b, ",\"choices\":[");
}

static bool end_chunk(rw_buf *b, const answer *a) {
    return buf_puts(b, a->include_usage ? "],\"usage\":null}\n\n" : "]}\n\n");
}

/* A chunk of one choice with the given delta (chat) or text. finish NULL: more follows. */
static void send_choice(choice *c, const char *role, const char *finish) {
    answer *a = c->answer;
    rw_buf b = {0};
    bool ok = begin_chunk(&b, a) && buf_printf(&b, "{\"index\":%u,", c->index);
    if (!a->chat) {
        ok = ok && buf_puts(&b, "\"text\":") && put_string(&b, &c->text);
    } else {
        const char *comma = "";
        ok = ok && buf_puts(&b, "\"delta\":{");
        if (role) {
            ok = ok && buf_printf(&b, "\"role\":\"%s\",\"content\":\"\"", role);
        }
        if (c->thought.len) {
            ok = ok && buf_puts(&b, "\"reasoning_content\":") && put_string(&b, &c->thought);
            comma = ",";
        }
        bool empty = !role && !finish && !c->thought.len && c->logprobs.len;
        if (c->text.len || empty) {
            ok = ok && buf_printf(&b, "%s\"content\":", comma) && put_string(&b, &c->text);
        }
        ok = ok && buf_puts(&b, "}");
    }
    ok = ok && (c->logprobs.len ? put_logprobs(&b, c) : buf_puts(&b, ",\"logprobs\":null"));
    ok = ok && (finish ? buf_printf(&b, ",\"finish_reason\":\"%s\"}", finish)
                       : buf_puts(&b, ",\"finish_reason\":null}"));
    send_chunk(a, &b, ok && end_chunk(&b, a));
    rw_buf_free(&b);
    rw_buf_free(&c->text);
    rw_buf_free(&c->thought);
    clear_logprobs(c);
}

static void begin_stream(answer *a) {
    if (a->begun || a->failed || a->replied) return;
    a->begun = true;
    stream_begin(a->r);
    for (uint32_t i = 0; i < a->n_choices && a->chat; i++)
        send_choice(&a->choices[i], "assistant", NULL);
    for (uint32_t i = 0; i < a->n_choices && a->n_echoes; i++) {
        choice *c = &a->choices[i];
        const char *text = a->echoes[c->prompt];
        a->no_memory |= !buf_puts(&c->text, text);
        send_choice(c, NULL, NULL);
    }
}

/* Nothing was sent for a while: the client sees that we are alive, and we whether it is. */
static void on_quiet(void *user) {
    static const char sign[] = ": keep-alive\n\n";
    answer *a = user;
    pthread_mutex_lock(&a->lock);
    if (a->submitted && !a->cancelled) {
        begin_stream(a);
        if (!stream_write(a->r, sign, sizeof sign - 1)) cancel_all(a);
    }
    pthread_mutex_unlock(&a->lock);
}

static void end_stream(answer *a) {
    rw_buf b = {0};
    bool ok = true;
    if (a->failed) {
        ok = buf_puts(&b, "data: ") &&
             buf_error(&b, a->status, a->param, a->code, a->message ? a->message : "") &&
             buf_puts(&b, "\n\n");
    } else {
        if (a->include_usage) {
            ok = begin_chunk(&b, a) && buf_puts(&b, "],\"usage\":") && put_usage(&b, a) &&
                 buf_puts(&b, "}\n\n");
        }
        ok = ok && buf_puts(&b, "data: [DONE]\n\n");
    }
    if (!a->include_usage) {
        rw_buf unused = {0};
        put_usage(&unused, a); /* the log wants the numbers */
        rw_buf_free(&unused);
    }
    send_chunk(a, &b, ok);
    rw_buf_free(&b);
    stream_end(a->r);
}

/* ------------------------------------------------------------------ one reply */

static bool put_choice(rw_buf *b, const choice *c) {
    const answer *a = c->answer;
    bool ok = buf_printf(b, "%s{\"index\":%u,", c->index ? "," : "", c->index);
    if (!a->chat) {
        const char *echo = a->n_echoes ? a->echoes[c->prompt] : NULL;
        rw_buf all = {0};
        ok = ok && (!echo || buf_puts(&all, echo)) && put_buf(&all, &c->text) &&
             buf_puts(b, "\"text\":") && put_string(b, &all);
        rw_buf_free(&all);
    } else {
        ok = ok && buf_puts(b, "\"message\":{\"role\":\"assistant\",\"content\":") &&
             put_string(b, &c->text);
        if (c->thought.len) {
            ok = ok && buf_puts(b, ",\"reasoning_content\":") && put_string(b, &c->thought);
        }
        ok = ok && buf_puts(b, ",\"refusal\":null}");
    }
    return ok && put_logprobs(b, c) && buf_printf(b, ",\"finish_reason\":\"%s\"}", finish_name(c));
}

/* On a worker. */
static void send_reply(request *r) {
    answer *a = r->user;
    rw_buf b = {0};
    bool ok = buf_puts(&b, a->head) && buf_puts(&b, ",\"choices\":[");
    for (uint32_t i = 0; i < a->n_choices && ok; i++) ok = put_choice(&b, &a->choices[i]);
    ok = ok && buf_puts(&b, "],\"usage\":") && put_usage(&b, a);
    if (a->session) {
        ok = ok && buf_puts(&b, ",\"session\":") && buf_json(&b, a->session, strlen(a->session));
    }
    if (a->state) {
        size_t n = 0;
        char *state = buf_base64(a->state, a->n_state, &n);
        ok = ok && state && buf_puts(&b, ",\"state\":\"") && rw_buf_add(&b, state, n) &&
             buf_puts(&b, "\"");
        free(state);
    }
    reply_buf(r, 200, "application/json", &b, ok && buf_puts(&b, "}\n") && !a->no_memory);
}

static void send_failure(answer *a) {
    if (a->status == 503 || a->status == 429) reply_header(a->r, "Retry-After", "5");
    reply_error(a->r, a->status, a->param, a->code, "%s", a->message ? a->message : "");
}

/* All jobs have ended. With the lock held. */
static void conclude(answer *a) {
    if (a->replied) return;
    if (a->begun)
        end_stream(a);
    else if (a->failed)
        send_failure(a);
    else if (a->cancelled)
        reply_error(a->r, 503, NULL, "cancelled", "cancelled");
    else
        request_later(a->r, send_reply);
}

/* ------------------------------------------------------------------ events */

/* A job's end that is no answer, as a reply's status, code and message. */
typedef struct failure {
    int status;
    const char *code, *message;
} failure;

static failure failure_of(job_finish finish, bool conflict, store_result session,
                          const rwkv_error *err) {
    static const struct {
        rwkv_status status;
        int http;
        const char *code;
    } rows[] = {
        {RWKV_E_NOMEM, 503, "out_of_memory"}, {RWKV_E_IO, 503, "store_failed"},
        {RWKV_E_STATE, 400, "bad_state"},     {RWKV_E_ARG, 400, "invalid_value"},
        {RWKV_E_FORMAT, 400, "bad_state"},    {RWKV_E_NUMERIC, 500, "numeric_error"},
    };
    const char *message = err && err->message[0] ? err->message : "the answer failed";
    if (finish == JOB_STOPPED) {
        return (failure){503, "server_stopping", "the server is being stopped"};
    }
    if (conflict) return (failure){409, "conflict", message};
    if (session == STORE_NONE) return (failure){404, "session_not_found", message};
    if (session == STORE_FULL) return (failure){507, "store_full", message};
    if (session == STORE_FAILED) return (failure){503, "store_failed", message};
    for (size_t i = 0; err && i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].status == err->code) return (failure){rows[i].http, rows[i].code, message};
    }
    return (failure){500, "internal_error", message};
}

static void note_failure(answer *a, const job_event *e) {
    if (a->failed) return;
    failure f = failure_of(e->finish, e->conflict, e->session_result, e->error);
    a->status = f.status;
    a->code = f.code;
    a->param = f.status == 400 ? "state" : f.status == 404 || f.status == 409 ? "session" : NULL;
    a->message = strdup(f.message);
    a->failed = true;
}

static void take_text(choice *c, const job_event *e) {
    if (!split_push(&c->split, e->text, e->n_text, &c->thought, &c->text)) {
        c->answer->no_memory = true;
    }
}

static void on_token(choice *c, const job_event *e) {
    answer *a = c->answer;
    metrics *m = &a->r->server->metrics;
    uint64_t now = rw_os_now_ns();
    if (c->last_token) {
        histogram_add(&m->between_tokens, 1e-9 * (double)(now - c->last_token));
    } else {
        histogram_add(&m->first_token, 1e-9 * (double)(now - a->r->begun));
    }
    c->last_token = now;
    if (a->stream && !a->cancelled) begin_stream(a);
    bool ok =
        !a->logprobs || (a->chat ? put_chat_logprob(c, &e->token) : put_text_logprob(c, &e->token));
    if (!ok) a->no_memory = true;
    take_text(c, e);
    if (!a->stream || a->cancelled) return;
    if (c->text.len || c->thought.len || c->logprobs.len) send_choice(c, NULL, NULL);
}

static void keep_state(answer *a, const rwkv_session *s) {
    size_t n = 0;
    rwkv_error err = {0};
    rwkv_session_save(s, NULL, 0, 0, NULL, 0, &n, &err);
    a->state = malloc(n ? n : 1);
    if (!a->state || rwkv_session_save(s, NULL, 0, 0, a->state, n, &a->n_state, &err) != RWKV_OK) {
        a->no_memory = true;
    }
}

static void on_done(choice *c, const job_event *e) {
    answer *a = c->answer;
    c->finish = e->finish;
    c->n_prompt = e->n_prompt;
    c->n_cached = e->n_cached;
    c->n_generated = e->n_generated;
    c->done = true;
    a->n_done++;
    histogram_add(&a->r->server->metrics.queued, e->seconds_queued);
    if (e->finish == JOB_FAILED || e->finish == JOB_STOPPED) {
        note_failure(a, e);
        cancel_all(a);
        return;
    }
    if (e->finish == JOB_CANCELLED || a->cancelled) return;
    if (a->stream) begin_stream(a);
    take_text(c, e);
    if (!split_finish(&c->split, &c->thought)) a->no_memory = true;
    if (a->return_state && e->session) keep_state(a, e->session);
    if (!a->stream) return;
    if (c->text.len || c->thought.len || c->logprobs.len) send_choice(c, NULL, NULL);
    send_choice(c, NULL, finish_name(c));
}

static void on_event(void *user, const job_event *e) {
    choice *c = user;
    answer *a = c->answer;
    request *r = a->r;
    pthread_mutex_lock(&a->lock);
    if (e->kind == JOB_STARTED && a->stream && a->submitted) begin_stream(a);
    if (e->kind == JOB_TOKEN) on_token(c, e);
    if (e->kind == JOB_DONE) on_done(c, e);
    if (e->kind == JOB_DONE && a->submitted && a->n_done == a->n_submitted) conclude(a);
    pthread_mutex_unlock(&a->lock);
    if (e->kind == JOB_DONE) request_release(r);
}

/* ------------------------------------------------------------------ submitting */

static answer *answer_new(request *r, ask *q) {
    uint32_t n = (uint32_t)q->n_prompts * q->n;
    answer *a = calloc(1, sizeof *a + n * sizeof *a->choices);
    if (!a) return NULL;
    pthread_mutex_init(&a->lock, NULL);
    a->r = r;
    a->chat = q->chat;
    a->stream = q->stream;
    a->include_usage = q->include_usage;
    a->logprobs = q->logprobs;
    a->return_state = q->return_state;
    a->n_choices = n;
    r->user = a;
    r->free_user = answer_free;
    a->head = make_head(a, q->chat && q->stream ? "chat.completion.chunk"
                           : q->chat            ? "chat.completion"
                                                : "text_completion");
    bool ok = a->head != NULL;
    if (q->session) ok = (a->session = strdup(q->session)) != NULL && ok;
    if (q->echo) {
        a->echoes = calloc(q->n_prompts, sizeof *a->echoes);
        ok = ok && a->echoes;
        for (size_t i = 0; i < q->n_prompts && a->echoes; i++, a->n_echoes++) {
            a->echoes[i] = q->prompts[i].text;
            q->prompts[i].text = NULL;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        choice *c = &a->choices[i];
        c->answer = a;
        c->index = i;
        c->prompt = i / q->n;
        c->offset = q->echo ? q->prompts[c->prompt].n_text : 0;
        split_begin(&c->split, q->think, !q->chat);
    }
    return ok ? a : NULL;
}

static submit_result submit_choice(answer *a, choice *c, const ask *q, double *wait,
                                   rwkv_error *err) {
    const server *s = a->r->server;
    const prompt *p = &q->prompts[c->prompt];
    const char *stops[LIMIT_STOPS + 8];
    size_t n_stops = 0, n_own = 0;
    const char *const *own = rwkv_template_stops(s->template, &n_own);
    for (size_t i = 0; i < q->n_stops; i++) stops[n_stops++] = q->stops[i];
    for (size_t i = 0; i < n_own && i < 8 && q->chat; i++) stops[n_stops++] = own[i];
    job_request j = {.tenant = a->r->tenant,
                     .request_id = a->r->id,
                     .tokens = p->tokens,
                     .n_tokens = p->n,
                     .marks = p->marks,
                     .n_marks = p->n_marks,
                     .session = q->session,
                     .session_generation = q->generation,
                     .create_session = q->create_session,
                     .note = q->note,
                     .n_note = q->note ? strlen(q->note) : 0,
                     .state = q->state,
                     .n_state = q->n_state,
                     .sampling = q->how,
                     .max_tokens = q->max_tokens,
                     .stops = stops,
                     .n_stops = n_stops,
                     .ignore_end = q->ignore_end,
                     .end_is_stop = q->chat,
                     .n_top = q->n_top,
                     .logprobs = q->logprobs,
                     .no_cache = q->no_cache,
                     .on_event = on_event,
                     .user = c};
    j.sampling.seed += c->index;
    job *made = NULL;
    request_hold(a->r);
    submit_result result = engine_submit(s->engine, &j, &made, wait, err);
    if (result != SUBMIT_OK) {
        request_release(a->r);
        return result;
    }
    pthread_mutex_lock(&a->lock);
    a->n_submitted++;
    if (!c->done) c->job = made;
    if (a->cancelled && !c->done) job_cancel(s->engine, made);
    pthread_mutex_unlock(&a->lock);
    return SUBMIT_OK;
}

void answer_start(request *r, ask *q) {
    answer *a = answer_new(r, q);
    submit_result result = SUBMIT_OK;
    rwkv_error err = {0};
    double wait = 1;
    if (!a) {
        reply_error(r, 503, NULL, "out_of_memory", "out of memory");
        return;
    }
    for (uint32_t i = 0; i < a->n_choices && result == SUBMIT_OK; i++)
        result = submit_choice(a, &a->choices[i], q, &wait, &err);
    pthread_mutex_lock(&a->lock);
    a->submitted = true;
    if (result != SUBMIT_OK) {
        cancel_all(a);
        a->replied = !a->begun;
        if (a->replied)
            reply_not_submitted(r, result, wait, &err);
        else
            note_failure(a, &(job_event){.finish = JOB_FAILED, .error = &err});
    }
    if (a->n_done == a->n_submitted) conclude(a);
    pthread_mutex_unlock(&a->lock);
    if (result == SUBMIT_OK) request_watch(r, on_gone, a->stream ? on_quiet : NULL);
}

/* ------------------------------------------------------------------ readings */

static void reading_free(void *user) {
    reading *w = user;
    pthread_mutex_destroy(&w->lock);
    free(w->data);
    free(w);
}

reading *reading_new(request *r) {
    reading *w = calloc(1, sizeof *w);
    if (!w) {
        reply_error(r, 503, NULL, "out_of_memory", "out of memory");
        return NULL;
    }
    pthread_mutex_init(&w->lock, NULL);
    w->r = r;
    r->user = w;
    r->free_user = reading_free;
    reading_again(w);
    return w;
}

void reading_again(reading *w) {
    pthread_mutex_lock(&w->lock);
    w->over = false;
    w->job = NULL;
    pthread_mutex_unlock(&w->lock);
    request_hold(w->r);
}

static void run_then(request *r) {
    reading *w = r->user;
    w->then(w);
}

void reading_event(void *user, const job_event *e) {
    reading *w = user;
    if (e->kind != JOB_DONE) return;
    pthread_mutex_lock(&w->lock);
    w->over = true;
    w->finish = e->finish;
    w->conflict = e->conflict;
    w->session_result = e->session_result;
    if (e->error) w->err = *e->error;
    w->r->n_prompt = w->n_prompt = e->n_prompt;
    w->r->n_cached = w->n_cached = e->n_cached;
    if (w->done) w->done(w, e);
    pthread_mutex_unlock(&w->lock);
    request *r = w->r;
    request_later(r, run_then);
    request_release(r);
}

static void reading_gone(void *user) {
    reading *w = user;
    pthread_mutex_lock(&w->lock);
    if (w->job && !w->over) job_cancel(w->r->server->engine, w->job);
    pthread_mutex_unlock(&w->lock);
}

void reading_submitted(reading *w, submit_result result, job *made, double retry_after,
                       const rwkv_error *err) {
    request *r = w->r;
    if (result != SUBMIT_OK) {
        reply_not_submitted(r, result, retry_after, err);
        request_release(r);
        return;
    }
    pthread_mutex_lock(&w->lock);
    if (!w->over) w->job = made;
    pthread_mutex_unlock(&w->lock);
    request_watch(r, reading_gone, NULL);
}

bool reading_failed(const reading *w) {
    if (w->finish == JOB_STOP || w->finish == JOB_LENGTH) return false;
    if (w->finish == JOB_CANCELLED) {
        reply_error(w->r, 503, NULL, "cancelled", "cancelled");
        return true;
    }
    failure f = failure_of(w->finish, w->conflict, w->session_result, &w->err);
    reply_error(w->r, f.status, NULL, f.code, "%s", f.message);
    return true;
}
