/* chat_answer.c - how a question becomes an answer on screen.
 *
 *     chat_ask -> conversation_prompt -> timeline_seek -> cli_generate -> show -> stdout
 *              -> the answer's ids and text -> conversation
 */
#include "chat.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ an answer on screen */

/* Thoughts are dim on a terminal and left out of pipes; their tags are not shown, nor are blanks at
 * the ends of a thought and of an answer: those at the end wait until something follows. */
typedef struct display {
    chat *c;
    text raw;     /* the thought that the prompt opened, and all text that may be shown */
    size_t shown; /* of raw */
    enum { AT_START, IN_TAG, IN_THOUGHT, IN_ANSWER } where;
    bool any;     /* something of this part was shown */
    bool thought; /* a thought has ended */
    bool plain;   /* no chat: everything as it comes */
    id_list ids;
    rwkv_sampler *sampler;
    const rwkv_sampling *after_first; /* the sampler's parameters from the second token on */
} display;

static bool blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void put(display *d, size_t end, bool dim) {
    while (end > d->shown && blank(d->raw.s[end - 1])) end--;
    while (!d->any && d->shown < d->raw.n && blank(d->raw.s[d->shown])) d->shown++;
    if (end <= d->shown) return;
    if (!dim || d->c->terminal) {
        if (dim) fputs("\033[2m", stdout);
        cli_put_text(stdout, d->raw.s + d->shown, end - d->shown);
        if (dim) fputs("\033[0m", stdout);
    }
    d->any = true;
    d->shown = end;
}

/* Where in the text that was not shown yet the tag begins, or may begin when more comes. */
static size_t before_tag(const display *d, const char *tag, bool *whole) {
    size_t len = strlen(tag), i = d->shown;
    for (; i < d->raw.n; i++) {
        size_t k = d->raw.n - i < len ? d->raw.n - i : len;
        if (memcmp(d->raw.s + i, tag, k)) continue;
        *whole = k == len;
        return i;
    }
    *whole = false;
    return i;
}

/* One step through an answer's parts; false when it needs more text. */
static bool step(display *d) {
    static const char open[] = "<think", close[] = "</think";
    bool whole;
    size_t at;
    switch (d->where) {
    case AT_START:
        put(d, d->shown, false);
        at = before_tag(d, open, &whole);
        if (d->shown == d->raw.n || (at == d->shown && !whole)) return false;
        d->where = at == d->shown ? IN_TAG : IN_ANSWER;
        if (d->where == IN_TAG) d->shown += sizeof open - 1;
        return true;
    case IN_TAG: /* opening or, after a thought, closing: the ">" may be missing */
        if (d->shown == d->raw.n) return false;
        if (d->raw.s[d->shown] == '>') d->shown++;
        d->where = d->thought ? IN_ANSWER : IN_THOUGHT;
        return true;
    case IN_THOUGHT:
        at = before_tag(d, close, &whole);
        put(d, at, true);
        if (!whole) return false;
        if (d->any && d->c->terminal) fputs("\n\n", stdout);
        d->shown = at + sizeof close - 1;
        d->any = false;
        d->thought = true;
        d->where = IN_TAG;
        return true;
    default:
        put(d, d->raw.n, false);
        return false;
    }
}

static void show(display *d) {
    if (!d->plain) {
        while (step(d)) continue;
        return;
    }
    cli_put_text(stdout, d->raw.s + d->shown, d->raw.n - d->shown);
    d->shown = d->raw.n;
}

static bool on_text(void *user, const char *s, size_t n) {
    display *d = user;
    text_add(&d->raw, s, n);
    show(d);
    return fflush(stdout) == 0;
}

static void on_token(void *user, int32_t id) {
    display *d = user;
    if (d->after_first) {
        rwkv_sampler_set(d->sampler, d->after_first, NULL);
        d->after_first = NULL;
    }
    if (id != rwkv_tokenizer_end(d->c->tokenizer)) ids_add(&d->ids, &id, 1);
}

/* ------------------------------------------------------------------ generation */

/* An answer must not begin with a line end, by whatever name the vocabulary has for it. */
static void ban_newlines(const rwkv_tokenizer *tok, rwkv_sampling *how, rwkv_logit_bias *room,
                         size_t cap) {
    if (how->n_bias) memcpy(room, how->bias, how->n_bias * sizeof *room);
    how->bias = room;
    for (size_t len = 1; len <= 2 && how->n_bias < cap; len++) {
        int32_t id;
        size_t n;
        if (rwkv_encode(tok, "\n\n", len, 0, &id, 1, &n, NULL) == RWKV_OK && n == 1) {
            room[how->n_bias++] = (rwkv_logit_bias){id, -1e9f};
        }
    }
}

/* From the session's present point. The answer's ids are in d, also when it fails half way. */
static finish generate(chat *c, display *d, rwkv_sampling how, const char *const *stops,
                       size_t n_stops, uint64_t limit, rwkv_error *err) {
    rwkv_logit_bias room[132];
    rwkv_sampling first = how;
    generation g = {.session = c->time.session,
                    .tokenizer = c->tokenizer,
                    .max_tokens = limit,
                    .on_text = on_text,
                    .on_token = on_token,
                    .user = d};
    finish f = FINISH_ERROR;
    double begin = cli_seconds();
    if (!d->plain) {
        ban_newlines(c->tokenizer, &first, room, sizeof room / sizeof *room);
        d->after_first = &how;
    }
    c->last.tokens = 0;
    if (rwkv_sampler_new(&g.sampler, c->info.n_vocab, c->tokenizer, &first, err) == RWKV_OK &&
        rwkv_stream_new(&g.stream, stops, n_stops, err) == RWKV_OK) {
        d->sampler = g.sampler;
        if (d->raw.n) show(d);
        f = cli_generate(&g, &c->last.tokens, err);
    }
    if (d->where == AT_START && !d->plain) put(d, d->raw.n, false);
    if (f == FINISH_ERROR) {
        timeline_forget(&c->time);
    } else {
        ids_add(&c->time.read, d->ids.v, d->ids.n);
    }
    if (ferror(stdout)) c->quit = true;
    d->after_first = NULL;
    rwkv_stream_free(g.stream);
    rwkv_sampler_free(g.sampler);
    c->last.seconds = cli_seconds() - begin;
    return f;
}

static void count(chat *c) {
    c->total.prompt_tokens += c->last.prompt_tokens;
    c->total.prompt_seconds += c->last.prompt_seconds;
    c->total.tokens += c->last.tokens;
    c->total.seconds += c->last.seconds;
    if (c->stats) chat_print_rates(&c->last);
}

/* Reads up to the end of ids; what it took is in c->last. */
static rwkv_status seek(chat *c, const int32_t *ids, size_t n, rwkv_error *err) {
    double begin = cli_seconds();
    uint64_t fed = c->time.n_fed;
    rwkv_status st = timeline_seek(&c->time, ids, n, err);
    if (st != RWKV_OK && st != RWKV_E_CANCELLED) timeline_forget(&c->time);
    c->last.prompt_tokens += c->time.n_fed - fed;
    c->last.prompt_seconds += cli_seconds() - begin;
    return st;
}

/* Keeps the states that are wanted again: after the opening, at the prompt's end, and, since with
 * thoughts the next prompt parts from this one before the answer, after the last turns. */
static rwkv_status read_prompt(chat *c, rwkv_error *err) {
    conversation *talk = chat_now(c);
    c->last = (rates){0};
    rwkv_status st = conversation_prompt(talk, c->tokenizer, err);
    size_t known = timeline_known(&c->time, talk->ids.v, talk->ids.n);
    for (size_t i = 0; st == RWKV_OK && i < talk->n_marks; i++) {
        const mark *m = &talk->marks[i];
        bool last = i + 1 == talk->n_marks,
             thinks = talk->think != RWKV_THINK_NONE && i + 3 >= talk->n_marks;
        if (!last && (m->ids <= known || (!thinks && m->messages > 0))) continue;
        st = seek(c, talk->ids.v, m->ids, err);
        if (st == RWKV_OK) timeline_keep(&c->time);
    }
    return st;
}

int chat_read_opening(chat *c) {
    rwkv_error err = {0};
    conversation *alone = conversation_copy(chat_now(c));
    conversation_truncate(alone, 0);
    rwkv_status st = conversation_prompt(alone, c->tokenizer, &err);
    if (st == RWKV_OK && alone->n_marks && alone->marks[0].messages == 0) {
        st = seek(c, alone->ids.v, alone->marks[0].ids, &err);
        if (st == RWKV_OK) timeline_keep(&c->time);
    }
    conversation_free(alone);
    return st == RWKV_OK || st == RWKV_E_CANCELLED ? EXIT_OK : chat_error(c, &err);
}

/* Same seed, same turn, same attempt: same answer, whatever happened before. Penalties count the
 * tokens of this answer only, as in the reference demos. */
static rwkv_sampling sampling_for(const chat *c, uint64_t turn, uint64_t attempt,
                                  const overrides *over) {
    rwkv_sampling how = c->sampling;
    how.seed += turn + (attempt << 32);
    if (over && over->has_temperature) how.temperature = over->temperature;
    if (over && over->has_top_p) how.top_p = over->top_p;
    return how;
}

/* Answers the last message. On failure, and when interrupted before anything was said, returns
 * non-zero and has not added an answer. */
static int answer(chat *c, uint32_t attempt, const overrides *over) {
    conversation *talk = chat_now(c);
    rwkv_error err = {0};
    display d = {.c = c, .plain = conversation_is_raw(talk)};
    size_t n_stops, n_opener;
    rwkv_status st = read_prompt(c, &err);
    if (st == RWKV_E_CANCELLED)
        return chat_fail(c, EXIT_INTERRUPTED, T("Interrupted.", "已中断。"));
    if (st != RWKV_OK) return chat_error(c, &err);
    const char *const *stops = conversation_stops(talk, &n_stops);
    const char *opener = conversation_opener(talk, &n_opener);
    text_add(&d.raw, opener, n_opener);
    finish f = generate(c, &d, sampling_for(c, talk->n / 2, attempt, over), stops, n_stops,
                        c->max_tokens, &err);
    int code = EXIT_OK;
    if (f == FINISH_ERROR) {
        code = chat_error(c, &err);
    } else if (d.ids.n == 0 && f == FINISH_INTERRUPT) {
        code = chat_fail(c, EXIT_INTERRUPTED, T("Interrupted.", "已中断。"));
    } else {
        conversation_add(talk, RWKV_ASSISTANT, d.raw.s, d.raw.n);
        talk->messages[talk->n - 1].attempt = attempt;
        conversation_read(talk, c->tokenizer, d.ids.v, d.ids.n);
        conversation_mark(talk, talk->n);
        putchar('\n');
        if (f == FINISH_LENGTH) {
            chat_say(T("[cut after %llu tokens: /set tokens N allows more]",
                       "[在 %llu 个词元处截断：/set tokens N 可放宽]"),
                     (unsigned long long)c->max_tokens);
        } else if (f == FINISH_INTERRUPT && !c->quit) {
            chat_say(T("[interrupted]", "[已中断]"));
        }
        count(c);
    }
    fflush(stdout);
    free(d.raw.s);
    free(d.ids.v);
    return code;
}

int chat_ask(chat *c, const char *s, size_t n, const overrides *over) {
    rwkv_error err = {0};
    text normal = {0};
    s = chat_trim(s, &n);
    if (n == 0) return EXIT_OK;
    if (chat_normal_text(c->tokenizer, s, n, &normal, &err) != RWKV_OK) {
        free(normal.s);
        return chat_error(c, &err);
    }
    conversation_checkpoint(chat_now(c));
    conversation_add(chat_now(c), RWKV_USER, normal.s, normal.n);
    free(normal.s);
    int code = answer(c, 0, over);
    if (code) conversation_undo(chat_now(c));
    return code;
}

int chat_regenerate(chat *c, const overrides *over) {
    conversation *talk = chat_now(c);
    if (talk->n == 0 || talk->messages[talk->n - 1].role != RWKV_ASSISTANT) {
        return chat_fail(c, EXIT_USAGE, T("There is no answer yet.", "还没有回答。"));
    }
    conversation_checkpoint(talk);
    uint32_t attempt = talk->messages[talk->n - 1].attempt + 1;
    conversation_truncate(talk, talk->n - 1);
    int code = answer(c, attempt, over);
    if (code) conversation_undo(talk);
    return code;
}

int chat_continue(chat *c, const overrides *over) {
    rwkv_error err = {0};
    display d = {.c = c, .plain = true};
    c->last = (rates){0};
    rwkv_status st = seek(c, c->free_begin.v, c->free_begin.n, &err);
    if (st == RWKV_E_CANCELLED)
        return chat_fail(c, EXIT_INTERRUPTED, T("Interrupted.", "已中断。"));
    if (st != RWKV_OK) return chat_error(c, &err);
    timeline_keep(&c->time);
    finish f = generate(c, &d, sampling_for(c, c->n_free++, UINT32_MAX, over), NULL, 0,
                        c->free_tokens, &err);
    if (f != FINISH_ERROR) {
        c->free_end.n = 0;
        ids_add(&c->free_end, c->time.read.v, c->time.read.n);
        timeline_keep(&c->time);
    }
    putchar('\n');
    fflush(stdout);
    count(c);
    free(d.raw.s);
    free(d.ids.v);
    return f == FINISH_ERROR ? chat_error(c, &err) : EXIT_OK;
}
