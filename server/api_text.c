/* api_text.c - /tokenize, /detokenize, /apply-template: text and ids, without any evaluation. */
#include "params.h"
#include "ask.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

/* {"content": text} or {"prompt": text} -> {"tokens":[...]}; with_pieces adds their texts. */
void api_tokenize(request *r) {
    json_t *o = params_read(r), *v = NULL;
    prompt p = {0};
    rw_buf b = {0};
    bool pieces = false;
    if (!o) return;
    v = param_get(o, "content") ? param_get(o, "content") : param_get(o, "prompt");
    if (!json_is_string(v)) {
        param_wrong(r, "content", v, "a string");
    } else if (param_bool(r, o, "with_pieces", &pieces) &&
               prompt_from_text(r, "content", json_string_value(v), json_string_length(v), false,
                                false, &p)) {
        bool ok = buf_puts(&b, "{\"tokens\":[");
        for (size_t i = 0; i < p.n && ok; i++) {
            size_t n;
            const char *bytes = rwkv_token_bytes(r->server->tokenizer, p.tokens[i], &n);
            const char *comma = i ? "," : "";
            ok = pieces ? buf_printf(&b, "%s{\"id\":%d,\"piece\":", comma, p.tokens[i]) &&
                              buf_json(&b, bytes, n) && buf_puts(&b, "}")
                        : buf_printf(&b, "%s%d", comma, p.tokens[i]);
        }
        ok = ok && buf_printf(&b, "],\"count\":%zu}\n", p.n);
        reply_buf(r, 200, "application/json", &b, ok);
    }
    prompt_free(&p);
    json_decref(o);
}

/* {"tokens":[...]} -> {"content": text} */
void api_detokenize(request *r) {
    json_t *o = params_read(r), *v;
    prompt p = {0};
    rw_buf b = {0};
    if (!o) return;
    v = param_get(o, "tokens");
    if (!json_is_array(v)) {
        param_wrong(r, "tokens", v, "a list of token ids");
    } else if (prompt_from_ids(r, "tokens", v, true, &p)) {
        bool ok =
            buf_puts(&b, "{\"content\":") && buf_json(&b, p.text, p.n_text) && buf_puts(&b, "}\n");
        reply_buf(r, 200, "application/json", &b, ok);
    }
    prompt_free(&p);
    json_decref(o);
}

/* {"messages":[...], "reasoning_effort"} -> {"prompt": text}: what the model would read. */
void api_apply_template(request *r) {
    json_t *o = params_read(r);
    message_list m = {0};
    prompt p = {0};
    rw_buf b = {0};
    ask *a = o ? calloc(1, sizeof *a) : NULL;
    if (a && ask_read(r, o, true, a) && messages_read(r, param_get(o, "messages"), &m) &&
        prompt_from_messages(r, &m, a->think, false, true, &p)) {
        bool ok =
            buf_puts(&b, "{\"prompt\":") && buf_json(&b, p.text, p.n_text) &&
            buf_printf(&b, ",\"template\":\"%s\"}\n", rwkv_template_name(r->server->template));
        reply_buf(r, 200, "application/json", &b, ok);
    } else if (o && !a) {
        reply_error(r, 503, NULL, "out_of_memory", "out of memory");
    }
    if (a) ask_free(a);
    free(a);
    prompt_free(&p);
    messages_free(&m);
    json_decref(o);
}
