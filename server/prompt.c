/* prompt.c - see prompt.h. */
#include "prompt.h"

#include "params.h"

#include <stdlib.h>
#include <string.h>

void prompt_free(prompt *p) {
    free(p->tokens);
    free(p->marks);
    free(p->text);
    *p = (prompt){0};
}

void messages_free(message_list *m) {
    for (size_t i = 0; i < m->n_joined; i++) free(m->joined[i]);
    free(m->joined);
    free(m->items);
    *m = (message_list){0};
}

static bool no_memory(request *r) {
    reply_error(r, 503, NULL, "out_of_memory", "out of memory");
    return false;
}

/* ------------------------------------------------------------------ messages */

static bool wrong_message(request *r, size_t i, const char *field, const char *what) {
    char param[64];
    snprintf(param, sizeof param, "messages[%zu]%s%s", i, *field ? "." : "", field);
    reply_error(r, 400, param, "invalid_value", "%s: %s", param, what);
    return false;
}

static bool read_role(request *r, size_t i, const json_t *m, rwkv_role *out) {
    static const struct {
        const char *name;
        rwkv_role role;
    } roles[] = {{"system", RWKV_SYSTEM},
                 {"developer", RWKV_SYSTEM},
                 {"user", RWKV_USER},
                 {"assistant", RWKV_ASSISTANT}};
    const char *role = json_string_value(json_object_get(m, "role"));
    for (size_t k = 0; role && k < sizeof roles / sizeof *roles; k++) {
        if (strcmp(role, roles[k].name) != 0) continue;
        *out = roles[k].role;
        return true;
    }
    if (role && (strcmp(role, "tool") == 0 || strcmp(role, "function") == 0)) {
        return wrong_message(r, i, "role", "unsupported: this server has no tools");
    }
    return wrong_message(r, i, "role", "expected system, developer, user or assistant");
}

/* Joins the texts of parts. */
static bool read_parts(request *r, size_t i, const json_t *parts, message_list *out,
                       rwkv_message *m) {
    json_t *part;
    size_t k, n = 0;
    json_array_foreach(parts, k, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        char field[48];
        snprintf(field, sizeof field, "content[%zu]", k);
        if (!type || strcmp(type, "text") != 0) {
            return wrong_message(r, i, field, "unsupported part: expected type \"text\"");
        }
        if (!json_is_string(json_object_get(part, "text"))) {
            return wrong_message(r, i, field, "expected a string in \"text\"");
        }
        n += json_string_length(json_object_get(part, "text"));
    }
    char *text = malloc(n + 1), **joined;
    joined = realloc(out->joined, (out->n_joined + 1) * sizeof *joined);
    if (joined) out->joined = joined;
    if (!text || !joined) {
        free(text);
        return no_memory(r);
    }
    out->joined[out->n_joined++] = text;
    n = 0;
    json_array_foreach(parts, k, part) {
        const json_t *s = json_object_get(part, "text");
        memcpy(text + n, json_string_value(s), json_string_length(s));
        n += json_string_length(s);
    }
    m->text = text;
    m->len = n;
    return true;
}

static bool read_message(request *r, size_t i, const json_t *o, message_list *out) {
    rwkv_message *m = &out->items[i];
    if (!json_is_object(o)) return wrong_message(r, i, "", "expected an object");
    if (!read_role(r, i, o, &m->role)) return false;
    if (json_array_size(param_get(o, "tool_calls")) || param_get(o, "function_call")) {
        return wrong_message(r, i, "tool_calls", "unsupported: this server has no tools");
    }
    const json_t *content = param_get(o, "content");
    if (json_is_array(content)) return read_parts(r, i, content, out, m);
    if (!json_is_string(content)) {
        return wrong_message(r, i, "content", "expected a string or a list of text parts");
    }
    m->text = json_string_value(content);
    m->len = json_string_length(content);
    return true;
}

bool messages_read(request *r, const json_t *messages, message_list *out) {
    size_t n = json_array_size(messages);
    if (n == 0) {
        return param_wrong(r, "messages", messages, "a list with at least one message");
    }
    if (n > LIMIT_MESSAGES) {
        reply_error(r, 400, "messages", "too_many_messages", "messages: found %zu; the limit is %d",
                    n, LIMIT_MESSAGES);
        return false;
    }
    out->items = calloc(n, sizeof *out->items);
    if (!out->items) return no_memory(r);
    out->n = n;
    for (size_t i = 0; i < n; i++) {
        if (!read_message(r, i, json_array_get(messages, i), out)) return false;
    }
    return true;
}

/* ------------------------------------------------------------------ text -> ids */

static bool encode(request *r, const char *param, prompt *p) {
    const server *s = r->server;
    rwkv_error err = {0};
    size_t n = 0;
    rwkv_status st =
        rwkv_encode(s->tokenizer, p->text, p->n_text, RWKV_ENCODE_PROMPT, NULL, 0, &n, &err);
    if (st != RWKV_OK && st != RWKV_E_SPACE) {
        reply_status_error(r, st, param, err.message);
        return false;
    }
    if (n > s->max_prompt) {
        reply_error(r, 400, param, "context_length_exceeded",
                    "%s: found %zu tokens; the limit is %llu", param, n,
                    (unsigned long long)s->max_prompt);
        return false;
    }
    p->tokens = malloc((n + 1) * sizeof *p->tokens);
    if (!p->tokens) return no_memory(r);
    st = rwkv_encode(s->tokenizer, p->text, p->n_text, RWKV_ENCODE_PROMPT, p->tokens, n, &p->n,
                     &err);
    if (st == RWKV_OK) return true;
    reply_status_error(r, st, param, err.message);
    return false;
}

static void drop_text(prompt *p, bool keep) {
    if (keep) return;
    free(p->text);
    p->text = NULL;
}

bool prompt_from_text(request *r, const char *param, const char *text, size_t n, bool begin,
                      bool keep_text, prompt *out) {
    int32_t end = rwkv_tokenizer_end(r->server->tokenizer);
    out->text = malloc(n + 1);
    if (!out->text) return no_memory(r);
    memcpy(out->text, text, n);
    out->text[n] = '\0';
    out->n_text = n;
    if (!encode(r, param, out)) return false;
    if (out->n == 0 && begin && end >= 0) out->tokens[out->n++] = end;
    if (out->n == 0 && begin) {
        reply_error(r, 400, param, "invalid_value", "%s: the text is empty", param);
        return false;
    }
    drop_text(out, keep_text);
    return true;
}

bool prompt_from_ids(request *r, const char *param, const json_t *ids, bool keep_text,
                     prompt *out) {
    const server *s = r->server;
    size_t n = json_array_size(ids);
    if (n > s->max_prompt) {
        reply_error(r, 400, param, "context_length_exceeded",
                    "%s: found %zu tokens; the limit is %llu", param, n,
                    (unsigned long long)s->max_prompt);
        return false;
    }
    out->tokens = malloc((n + 1) * sizeof *out->tokens);
    if (!out->tokens) return no_memory(r);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(ids, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= (json_int_t)s->info.n_vocab) {
            reply_error(r, 400, param, "invalid_value",
                        "%s: item %zu is no token; expected a whole number from 0 to %u", param, i,
                        s->info.n_vocab - 1);
            return false;
        }
        out->tokens[out->n++] = (int32_t)id;
    }
    if (!keep_text) return true;
    out->text = tokens_text(s->tokenizer, out->tokens, n, &out->n_text);
    return out->text ? true : no_memory(r);
}

char *tokens_text(const rwkv_tokenizer *t, const int32_t *tokens, size_t n, size_t *len) {
    size_t total = 0, k = 0;
    for (size_t i = 0; i < n; i++, total += k) rwkv_token_bytes(t, tokens[i], &k);
    char *text = malloc(total + 1), *at = text;
    for (size_t i = 0; text && i < n; i++, at += k) {
        const char *bytes = rwkv_token_bytes(t, tokens[i], &k);
        memcpy(at, bytes, k);
    }
    if (text) *at = '\0';
    *len = total;
    return text;
}

/* ------------------------------------------------------------------ the prompt of a chat */

/* Length of some messages as text. Rendering a conversation equals rendering its parts one after
 * the other, so each message is measured alone. */
static size_t rendered(const server *s, const rwkv_message *m, size_t n, rwkv_think think,
                       bool open) {
    size_t len = 0;
    rwkv_template_render(s->template, m, n, think, open, NULL, 0, &len, NULL);
    return len;
}

/* Tokens that end at or before each of the first messages' ends: these stay the same whatever is
 * said later, because the text behind them begins with a speaker's name. Only messages up to the
 * last question count (its own end changes with the way of thinking), of these the first, which is
 * often the same for all conversations, and the latest. */
static bool find_marks(const server *s, const message_list *m, size_t start, rwkv_think think,
                       prompt *p) {
    size_t opening = rendered(s, NULL, 0, RWKV_THINK_NONE, false), end = start + opening;
    size_t last = m->n, token = 0, bytes = 0, len = 0;
    bool suffix = think > RWKV_THINK_OFF;
    for (size_t i = 0; suffix && i < m->n; i++) {
        if (m->items[i].role == RWKV_USER) last = i;
    }
    p->marks = malloc((LIMIT_MARKS + 1) * sizeof *p->marks);
    if (!p->marks) return false;
    for (size_t i = 0; i < last; i++) {
        end += rendered(s, &m->items[i], 1, RWKV_THINK_NONE, false) - opening;
        if (i > 0 && i + LIMIT_MARKS < last) continue;
        while (token < p->n) {
            rwkv_token_bytes(s->tokenizer, p->tokens[token], &len);
            if (bytes + len > end) break;
            bytes += len;
            token++;
        }
        bool more = token > (p->n_marks ? p->marks[p->n_marks - 1] : 0);
        if (more && token < p->n && p->n_marks < LIMIT_MARKS) p->marks[p->n_marks++] = token;
    }
    return true;
}

static bool from_messages(request *r, const message_list *m, rwkv_think think, bool open,
                          bool after_text, prompt *out) {
    const server *s = r->server;
    size_t start = after_text ? 2 : 0, len = rendered(s, m->items, m->n, think, open);
    rwkv_error err = {0};
    out->text = malloc(start + len + 1);
    if (!out->text) return no_memory(r);
    memcpy(out->text, "\n\n", start);
    rwkv_status st = rwkv_template_render(s->template, m->items, m->n, think, open,
                                          out->text + start, len, &len, &err);
    if (st != RWKV_OK) {
        reply_status_error(r, st, "messages", err.message);
        return false;
    }
    out->n_text = start + len;
    while (!open && out->n_text && out->text[out->n_text - 1] == '\n') out->n_text--;
    out->text[out->n_text] = '\0';
    if (!encode(r, "messages", out)) return false;
    if (out->n == 0) return wrong_message(r, 0, "content", "the prompt is empty");
    return find_marks(s, m, start, think, out) || no_memory(r);
}

bool prompt_from_messages(request *r, const message_list *m, rwkv_think think, bool after_text,
                          bool keep_text, prompt *out) {
    if (!from_messages(r, m, think, true, after_text, out)) return false;
    drop_text(out, keep_text);
    return true;
}

bool prompt_of_history(request *r, const message_list *m, bool after_text, prompt *out) {
    if (!from_messages(r, m, RWKV_THINK_NONE, false, after_text, out)) return false;
    drop_text(out, false);
    return true;
}
