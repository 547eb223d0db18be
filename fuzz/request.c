/* request.c - a request's body on its way to a question: JSON, every parameter, messages, the
 * prompt and its marks, states in base64. A refusal is a reply in JSON with a status of 4xx. */
#include "ask.h"
#include "fuzz.h"
#include "params.h"

#include <stdlib.h>
#include <string.h>

static server *the_server(void) {
    static server s;
    if (s.tokenizer) return &s;
    rwkv_tokenizer *bytes = NULL;
    fuzz_require(rwkv_tokenizer_open(&bytes, NULL, NULL) == RWKV_OK, "a byte vocabulary");
    s.tokenizer = bytes;
    s.info.n_vocab = 256;
    s.model_name = "model";
    s.max_tokens = 8192;
    s.max_prompt = 4096;
    return &s;
}

static void check_refusal(const request *r) {
    json_t *o = json_loadb(r->data, r->n_data, 0, NULL);
    const json_t *error = json_object_get(o, "error");
    fuzz_require(r->ready && r->status >= 400 && r->status < 500, "refusals are 4xx");
    fuzz_require(json_string_length(json_object_get(error, "message")) > 0, "refusals say why");
    json_decref(o);
}

static void check_prompt(const prompt *p) {
    for (size_t i = 0; i < p->n_marks; i++) {
        fuzz_require(p->marks[i] > (i ? p->marks[i - 1] : 0) && p->marks[i] < p->n, "marks ascend");
    }
}

static bool read_question(request *r, const json_t *o, bool chat) {
    static ask a;
    memset(&a, 0, sizeof a);
    message_list m = {0};
    prompt p = {0};
    void *data = NULL;
    size_t n;
    uint64_t n_tokens;
    const json_t *state = json_object_get(o, "state");
    bool ok = ask_read(r, o, chat, &a) && messages_read(r, json_object_get(o, "messages"), &m) &&
              prompt_from_messages(r, &m, a.think, chat, true, &p);
    if (ok) check_prompt(&p);
    if (ok && json_is_string(state)) {
        ok = states_find(r, json_string_value(state), json_string_length(state), &data, &n,
                         &n_tokens);
    }
    free(data);
    prompt_free(&p);
    messages_free(&m);
    ask_free(&a);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const char *const templates[] = {"world", "g1", "pile", "raw"};
    char why[300] = "";
    json_t *o = params_parse(data, n, why);
    if (!o) {
        fuzz_require(strncmp(why, "JSON", 4) == 0, "a broken body is told");
        return 0;
    }
    for (int i = 0; i < 8; i++) {
        server *s = the_server();
        request r = {.server = s, .tenant = "local"};
        pthread_mutex_init(&r.lock, NULL);
        s->template = rwkv_template_find(templates[i % 4]);
        if (!read_question(&r, o, i < 4)) check_refusal(&r);
        free(r.data);
        pthread_mutex_destroy(&r.lock);
    }
    json_decref(o);
    return 0;
}
