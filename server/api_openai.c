/* api_openai.c - POST /v1/chat/completions and /v1/completions. */
#include "answer.h"
#include "params.h"

#include <stdlib.h>
#include <string.h>

/* What lists of sessions show, of a new one: its first question's beginning. */
static void make_note(ask *a, const char *text, size_t n) {
    if (!a->session || !a->create_session) return;
    size_t keep = n < 80 ? n : 80;
    while (keep < n && keep > 0 && ((unsigned char)text[keep] & 0xc0) == 0x80) keep--;
    json_t *o = json_pack("{s:s}", "kind", a->chat ? "chat" : "completion");
    json_t *title = json_stringn(text, keep); /* NULL if that is no UTF-8 */
    if (o && title) json_object_set(o, "title", title);
    a->note = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(title);
    json_decref(o);
}

static void note_of_messages(ask *a, const message_list *m) {
    for (size_t i = 0; i < m->n; i++) {
        if (m->items[i].role != RWKV_USER) continue;
        make_note(a, m->items[i].text, m->items[i].len);
        return;
    }
    make_note(a, "", 0);
}

void api_chat(request *r) {
    json_t *o = params_read(r);
    ask *a = o ? calloc(1, sizeof *a) : NULL;
    message_list m = {0};
    bool after_text;
    if (a && ask_read(r, o, true, a) && messages_read(r, param_get(o, "messages"), &m) &&
        ask_timeline(r, o, a, &after_text)) {
        a->n_prompts = 1;
        note_of_messages(a, &m);
        if (prompt_from_messages(r, &m, a->think, after_text, false, &a->prompts[0])) {
            answer_start(r, a);
        }
    } else if (o && !a) {
        reply_error(r, 503, NULL, "out_of_memory", "out of memory");
    }
    messages_free(&m);
    if (a) ask_free(a);
    free(a);
    json_decref(o);
}

/* ------------------------------------------------------------------ completions */

static bool add_prompt(request *r, const json_t *v, bool begin, ask *a) {
    prompt *p = &a->prompts[a->n_prompts];
    if (a->n_prompts == LIMIT_PROMPTS || (a->n_prompts + 1) * a->n > LIMIT_CHOICES) {
        reply_error(r, 400, "prompt", "invalid_value",
                    "prompt: at most %d answers in one request (prompts times n)", LIMIT_CHOICES);
        return false;
    }
    a->n_prompts++;
    if (json_is_array(v)) return prompt_from_ids(r, "prompt", v, a->echo, p);
    if (!json_is_string(v)) {
        return param_wrong(r, "prompt", v, "a string, a list of token ids, or a list of these");
    }
    return prompt_from_text(r, "prompt", json_string_value(v), json_string_length(v), begin,
                            a->echo, p);
}

/* A string, ids, or a list of strings or of lists of ids. */
static bool read_prompts(request *r, const json_t *v, bool begin, ask *a) {
    const json_t *first = json_array_get(v, 0);
    if (!json_is_array(v) || json_is_integer(first)) return add_prompt(r, v, begin, a);
    size_t i;
    json_t *item;
    if (!first) return param_wrong(r, "prompt", v, "at least one prompt");
    json_array_foreach(v, i, item) {
        if (!add_prompt(r, item, begin, a)) return false;
    }
    if (a->session && a->n_prompts > 1) {
        reply_error(r, 400, "prompt", "invalid_value", "prompt: a session takes one prompt");
        return false;
    }
    if (a->return_state && a->n_prompts > 1) {
        reply_error(r, 400, "return_state", "invalid_value", "return_state: only with one prompt");
        return false;
    }
    return true;
}

void api_completions(request *r) {
    json_t *o = params_read(r);
    ask *a = o ? calloc(1, sizeof *a) : NULL;
    bool after_text;
    if (a && ask_read(r, o, false, a) && ask_timeline(r, o, a, &after_text)) {
        const json_t *v = param_get(o, "prompt");
        bool begin = !a->state && !(a->session && !a->create_session);
        if (!v) {
            param_wrong(r, "prompt", v, "a string or token ids");
        } else if (read_prompts(r, v, begin, a)) {
            make_note(a, json_is_string(v) ? json_string_value(v) : "",
                      json_is_string(v) ? json_string_length(v) : 0);
            answer_start(r, a);
        }
    } else if (o && !a) {
        reply_error(r, 503, NULL, "out_of_memory", "out of memory");
    }
    if (a) ask_free(a);
    free(a);
    json_decref(o);
}
