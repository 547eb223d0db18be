/* generate.c - one answer. The order matters: a token is shown before the model evaluates it, and
 * the last one of an answer is never evaluated at all but left pending in the session.
 *
 *     logits -> sampler -> id -> session (pending) -> bytes -> stream -> on_text
 */
#include "cli.h"

const char *cli_finish_name(finish f) {
    static const char *const names[] = {"stop", "end", "length", "interrupt", "error"};
    return names[f];
}

/* Feeds what pends, if anything, and draws from the logits. */
static rwkv_status next_token(generation *g, int32_t *id, rwkv_error *err) {
    if (rwkv_session_pending(g->session) >= 0) {
        rwkv_status st = rwkv_session_eval(g->session, NULL, 0, err);
        if (st != RWKV_OK) return st;
    }
    return rwkv_sampler_next(g->sampler, rwkv_session_logits(g->session), id, err);
}

static finish generate(generation *g, uint64_t *n_tokens, rwkv_error *err) {
    const int32_t end = rwkv_tokenizer_end(g->tokenizer);
    const char *text;
    size_t n;
    for (;;) {
        int32_t id;
        if (g->max_tokens && *n_tokens == g->max_tokens) return FINISH_LENGTH;
        if (cli_interrupted()) return FINISH_INTERRUPT;
        if (next_token(g, &id, err) != RWKV_OK) return FINISH_ERROR;
        ++*n_tokens;
        if (g->on_token) g->on_token(g->user, id);
        if (id == end && !g->ignore_end) return FINISH_END;
        if (rwkv_session_pend(g->session, id, err) != RWKV_OK) return FINISH_ERROR;
        const char *bytes = rwkv_token_bytes(g->tokenizer, id, &n);
        bool stopped = rwkv_stream_push(g->stream, bytes, n, &text, &n);
        if (n && !g->on_text(g->user, text, n)) return FINISH_INTERRUPT;
        if (stopped) return FINISH_STOP;
    }
}

finish cli_generate(generation *g, uint64_t *n_tokens, rwkv_error *err) {
    const char *text;
    size_t n;
    *n_tokens = 0;
    rwkv_stream_reset(g->stream);
    finish f = generate(g, n_tokens, err);
    rwkv_stream_finish(g->stream, &text, &n);
    if (n && !g->on_text(g->user, text, n) && f != FINISH_ERROR) f = FINISH_INTERRUPT;
    return f;
}
