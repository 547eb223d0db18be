/* chat_conversation.c - messages and the ids they became.
 *
 *     messages -> rendered prompt -> the part that was not read yet -> ids, with marks at the seams
 *
 * The prompt of every question is rendered anew from all messages. As far as the bytes of the ids
 * read before are its beginning they stay; the rest is tokenized apart. Parting is allowed at marks
 * only: after a turn's blank line, at the end of an open prompt, at the end of an answer. So an
 * answer that ended with its stop string goes on inside it, one that the template changes
 * (thoughts, blank lines, a text cut by Ctrl-C) is read again in its clean form, and so is
 * everything after /system or /edit.
 *
 * The seams: tokenizing two parts is not tokenizing the whole (World is greedy). After a blank line
 * no token of the vocabularies crosses; after an answer the model itself chose the cut. */
#include "chat.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ growing arrays */

void *chat_resize(void *p, size_t n, size_t size) {
    void *q = n <= SIZE_MAX / size ? realloc(p, n * size) : NULL;
    if (q) return q;
    fputs(T("rwkv: out of memory\n", "rwkv：内存不足\n"), stderr);
    exit(EXIT_SYSTEM);
}

static size_t capacity(size_t cap, size_t need) {
    while (cap < need) cap = cap ? cap * 2 : 32;
    return cap;
}

char *chat_strdup(const char *s) {
    size_t n = s ? strlen(s) + 1 : 0;
    return s ? memcpy(chat_resize(NULL, n, 1), s, n) : NULL;
}

void text_add(text *t, const char *s, size_t n) {
    if (t->n + n + 1 > t->cap) t->s = chat_resize(t->s, t->cap = capacity(t->cap, t->n + n + 1), 1);
    if (n) memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = '\0';
}

void text_puts(text *t, const char *s) {
    text_add(t, s, strlen(s));
}

void ids_add(id_list *l, const int32_t *v, size_t n) {
    if (l->n + n > l->cap) l->v = chat_resize(l->v, l->cap = capacity(l->cap, l->n + n), sizeof *v);
    if (n) memcpy(l->v + l->n, v, n * sizeof *v);
    l->n += n;
}

static bool blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

const char *chat_trim(const char *s, size_t *n) {
    while (*n && blank(s[*n - 1])) --*n;
    while (*n && blank(*s)) {
        s++;
        --*n;
    }
    return s;
}

/* ------------------------------------------------------------------ the object */

conversation *conversation_new(const rwkv_template *t) {
    conversation *c = chat_resize(NULL, 1, sizeof *c);
    *c = (conversation){.template = t};
    return c;
}

void speakers_free(speakers *s) {
    if (!s) return;
    free(s->user);
    free(s->bot);
    free(s->separator);
    free(s->prompt);
    free(s);
}

static speakers *speakers_copy(const speakers *s) {
    if (!s) return NULL;
    speakers *out = chat_resize(NULL, 1, sizeof *out);
    *out = (speakers){chat_strdup(s->user), chat_strdup(s->bot), chat_strdup(s->separator),
                      chat_strdup(s->prompt)};
    return out;
}

conversation *conversation_copy(const conversation *c) {
    conversation *out = chat_resize(NULL, 1, sizeof *out);
    *out = *c;
    out->speakers = speakers_copy(c->speakers);
    out->system = chat_strdup(c->system);
    out->messages = chat_resize(NULL, c->n + 1, sizeof *c->messages);
    for (size_t i = 0; i < c->n; i++) {
        out->messages[i] = c->messages[i];
        out->messages[i].text = (text){0};
        text_add(&out->messages[i].text, c->messages[i].text.s, c->messages[i].text.n);
    }
    out->ids = (id_list){0};
    ids_add(&out->ids, c->ids.v, c->ids.n);
    out->text = (text){0};
    text_add(&out->text, c->text.s, c->text.n);
    out->marks = chat_resize(NULL, c->n_marks + 1, sizeof *c->marks);
    if (c->n_marks) memcpy(out->marks, c->marks, c->n_marks * sizeof *c->marks);
    out->older = NULL;
    return out;
}

/* What one version owns, without what is older. */
static void release(conversation *c) {
    for (size_t i = 0; i < c->n; i++) free(c->messages[i].text.s);
    free(c->messages);
    free(c->ids.v);
    free(c->text.s);
    free(c->marks);
    free(c->system);
    speakers_free(c->speakers);
}

void conversation_free(conversation *c) {
    while (c) {
        conversation *older = c->older;
        release(c);
        free(c);
        c = older;
    }
}

void conversation_checkpoint(conversation *c) {
    enum { MAX_UNDO = 32 };
    conversation *copy = conversation_copy(c), *last = copy;
    copy->older = c->older;
    c->older = copy;
    for (size_t i = 1; last->older && i < MAX_UNDO; i++) last = last->older;
    conversation_free(last->older);
    last->older = NULL;
}

bool conversation_undo(conversation *c) {
    conversation *older = c->older;
    if (!older) return false;
    release(c);
    *c = *older;
    free(older);
    return true;
}

void conversation_add(conversation *c, rwkv_role role, const char *s, size_t n) {
    c->messages = chat_resize(c->messages, c->n + 1, sizeof *c->messages);
    c->messages[c->n] = (message){.role = role};
    text_add(&c->messages[c->n++].text, s, n);
}

/* Ids end at the last mark. */
static void forget_after_marks(conversation *c) {
    const mark last = c->n_marks ? c->marks[c->n_marks - 1] : (mark){0};
    c->ids.n = last.ids;
    c->text.n = last.text;
}

void conversation_truncate(conversation *c, size_t n) {
    while (c->n > n) free(c->messages[--c->n].text.s);
    while (c->n_marks && c->marks[c->n_marks - 1].messages > n) c->n_marks--;
    forget_after_marks(c);
}

void conversation_read(conversation *c, const rwkv_tokenizer *tok, const int32_t *ids, size_t n) {
    ids_add(&c->ids, ids, n);
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *bytes = rwkv_token_bytes(tok, ids[i], &len);
        text_add(&c->text, bytes, len);
    }
}

void conversation_mark(conversation *c, size_t n_messages) {
    c->marks = chat_resize(c->marks, c->n_marks + 1, sizeof *c->marks);
    c->marks[c->n_marks++] = (mark){c->ids.n, c->text.n, n_messages};
}

/* ------------------------------------------------------------------ answers */

static const char *find(const char *s, size_t n, const char *what) {
    size_t len = strlen(what);
    for (; n >= len; s++, n--) {
        if (memcmp(s, what, len) == 0) return s;
    }
    return NULL;
}

/* The tag may lack its last ">": in fast mode the prompt opens "<think></think" and leaves the
 * rest. */
const char *answer_visible(const char *s, size_t *n, const char **thoughts, size_t *n_thoughts) {
    static const char open[] = "<think", close[] = "</think";
    const char *end = s + *n;
    s = chat_trim(s, n);
    if (thoughts) {
        *thoughts = s;
        *n_thoughts = 0;
    }
    if (*n < sizeof open - 1 || memcmp(s, open, sizeof open - 1)) return s;
    const char *closing = find(s, *n, close), *from = closing ? closing + sizeof close - 1 : end;
    if (from < end && *from == '>') from++;
    if (thoughts) {
        const char *inner = s + sizeof open - 1, *stop = closing ? closing : end;
        if (inner < stop && *inner == '>') inner++;
        *n_thoughts = (size_t)(stop - inner);
        *thoughts = chat_trim(inner, n_thoughts);
    }
    *n = (size_t)(end - from);
    return chat_trim(from, n);
}

bool conversation_is_raw(const conversation *c) {
    return !c->speakers && strcmp(rwkv_template_name(c->template), "raw") == 0;
}

const char *const *conversation_stops(const conversation *c, size_t *n) {
    static const char *const blank_line[] = {"\n\n"};
    *n = 1;
    return c->speakers ? blank_line : rwkv_template_stops(c->template, n);
}

/* ------------------------------------------------------------------ prompt */

/* As ChatRWKV reads it: the prompt, then "User: text", a blank line, "Bot:". */
static void render_speakers(const conversation *c, size_t n, bool open, text *out) {
    const speakers *s = c->speakers;
    text_puts(out, s->prompt);
    for (size_t i = 0; i < n; i++) {
        const message *m = &c->messages[i];
        text_puts(out, m->role == RWKV_USER ? s->user : s->bot);
        text_puts(out, s->separator);
        text_puts(out, " ");
        size_t len = m->text.n;
        const char *trimmed = chat_trim(m->text.s, &len);
        text_add(out, trimmed, len);
        text_puts(out, "\n\n");
    }
    if (!open) return;
    text_puts(out, s->bot);
    text_puts(out, s->separator);
}

static rwkv_status render_list(const conversation *c, const rwkv_message *list, size_t n,
                               rwkv_think think, bool open, text *out, rwkv_error *err) {
    size_t len = 0;
    rwkv_status st = rwkv_template_render(c->template, list, n, think, open, NULL, 0, &len, err);
    if (st != RWKV_OK) return st;
    char *buf = chat_resize(NULL, len + 1, 1);
    st = rwkv_template_render(c->template, list, n, think, open, buf, len, &len, err);
    if (st == RWKV_OK) text_add(out, buf, len);
    free(buf);
    return st;
}

/* Templates drop thoughts. To keep them this takes the frame of an answer and fills it with the
 * text as the model wrote it; turn by turn, which is the same as all at once. */
static rwkv_status render_thoughts(const conversation *c, const rwkv_message *list, size_t n,
                                   rwkv_think think, bool open, text *out, rwkv_error *err) {
    rwkv_status st = RWKV_OK;
    for (size_t i = 0; st == RWKV_OK && i < n; i++) {
        bool last = i + 1 == n && open;
        if (list[i].role != RWKV_ASSISTANT) {
            st = render_list(c, &list[i], 1, last ? think : RWKV_THINK_NONE, last, out, err);
            continue;
        }
        size_t len = list[i].len;
        const char *trimmed = chat_trim(list[i].text, &len);
        st = render_list(c, &(rwkv_message){RWKV_ASSISTANT, ".", 1}, 1, RWKV_THINK_NONE, false, out,
                         err);
        if (st != RWKV_OK) break;
        out->n -= sizeof ".\n\n" - 1;
        text_add(out, trimmed, len);
        text_puts(out, "\n\n");
    }
    return st;
}

static rwkv_status render_template(const conversation *c, size_t n, rwkv_think think, bool open,
                                   text *out, rwkv_error *err) {
    bool thoughts = c->keep_thoughts && rwkv_template_thinks(c->template);
    bool as_is = thoughts || conversation_is_raw(c);
    rwkv_message *list = chat_resize(NULL, n + 1, sizeof *list);
    size_t k = 0;
    if (c->system) list[k++] = (rwkv_message){RWKV_SYSTEM, c->system, strlen(c->system)};
    for (size_t i = 0; i < n; i++) {
        const message *m = &c->messages[i];
        rwkv_message *r = &list[k++];
        *r = (rwkv_message){m->role, m->text.s, m->text.n};
        if (m->role == RWKV_ASSISTANT && !as_is)
            r->text = answer_visible(r->text, &r->len, NULL, NULL);
    }
    rwkv_status st = thoughts ? render_thoughts(c, list, k, think, open, out, err)
                              : render_list(c, list, k, think, open, out, err);
    free(list);
    return st;
}

/* The first n messages. */
static rwkv_status render(const conversation *c, size_t n, rwkv_think think, bool open, text *out,
                          rwkv_error *err) {
    out->n = 0;
    text_puts(out, c->after_text ? "\n\n" : "");
    if (!c->speakers) return render_template(c, n, think, open, out, err);
    render_speakers(c, n, open, out);
    return RWKV_OK;
}

static rwkv_status encode(const rwkv_tokenizer *tok, const char *s, size_t n, id_list *out,
                          rwkv_error *err) {
    size_t count = 0;
    rwkv_status st = rwkv_encode(tok, s, n, RWKV_ENCODE_PROMPT, NULL, 0, &count, err);
    if (st != RWKV_OK && st != RWKV_E_SPACE) return st;
    out->v = chat_resize(NULL, count + 1, sizeof *out->v);
    out->cap = count + 1;
    return rwkv_encode(tok, s, n, RWKV_ENCODE_PROMPT, out->v, count, &out->n, err);
}

rwkv_status chat_normal_text(const rwkv_tokenizer *tok, const char *s, size_t n, text *out,
                             rwkv_error *err) {
    id_list ids = {0};
    conversation spelled = {0};
    size_t len;
    char *valid = cli_valid_utf8(s, n, &len);
    rwkv_status st = valid ? encode(tok, valid, len, &ids, err) : RWKV_E_NOMEM;
    if (st == RWKV_OK) {
        conversation_read(&spelled, tok, ids.v, ids.n);
        text_add(out, spelled.text.s, spelled.text.n);
    }
    free(valid);
    free(ids.v);
    release(&spelled);
    return st;
}

/* Reads bytes *at to `end` of the prompt, and marks that point. The ids may spell other bytes (20B
 * normalises), hence *at. */
static rwkv_status extend(conversation *c, const rwkv_tokenizer *tok, const text *whole, size_t *at,
                          size_t end, size_t n_messages, rwkv_error *err) {
    id_list ids = {0};
    rwkv_status st = encode(tok, whole->s + *at, end - *at, &ids, err);
    if (st == RWKV_OK) {
        conversation_read(c, tok, ids.v, ids.n);
        conversation_mark(c, n_messages);
        *at = end;
    }
    free(ids.v);
    return st;
}

static bool is_beginning(const char *s, size_t n, const text *of) {
    return n <= of->n && (n == 0 || memcmp(s, of->s, n) == 0);
}

rwkv_status conversation_prompt(conversation *c, const rwkv_tokenizer *tok, rwkv_error *err) {
    text whole = {0}, part = {0};
    rwkv_status st = render(c, c->n, c->think, true, &whole, err);
    while (c->n_marks && !is_beginning(c->text.s, c->marks[c->n_marks - 1].text, &whole))
        c->n_marks--;
    forget_after_marks(c);
    size_t at = c->text.n, first = c->n_marks ? c->marks[c->n_marks - 1].messages : 0;
    /* A seam after the opening and each turn, so that a later prompt that changes one need not read
     * the others again. Past the blank line: before it tokens would cross. */
    for (size_t i = first; st == RWKV_OK && i <= c->n; i++) {
        st = render(c, i, RWKV_THINK_NONE, false, &part, err);
        if (st == RWKV_OK && part.n > at && is_beginning(part.s, part.n, &whole)) {
            st = extend(c, tok, &whole, &at, part.n, i, err);
        }
    }
    if (st == RWKV_OK && at < whole.n) st = extend(c, tok, &whole, &at, whole.n, c->n, err);
    free(whole.s);
    free(part.s);
    return st;
}

const char *conversation_opener(const conversation *c, size_t *n) {
    size_t from = c->text.n;
    while (from && c->text.s[from - 1] != '\n') from--;
    const char *tag =
        c->think == RWKV_THINK_NONE ? NULL : find(c->text.s + from, c->text.n - from, "<think");
    *n = tag ? c->text.n - (size_t)(tag - c->text.s) : 0;
    return tag ? tag : "";
}
