/* api_embeddings.c - POST /v1/embeddings: one job that only reads for every input. */
#include "answer.h"
#include "embed.h"
#include "params.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { LIMIT_INPUTS = 256 };

/* The inputs are read one after the other: the engine batches what all clients ask. */
typedef struct batch {
    reading base; /* first: its address is this one's */
    prompt prompts[LIMIT_INPUTS];
    size_t n, next;
    float *vectors;   /* [n, len] */
    size_t len, kept; /* of one vector; of it what is sent */
    embed_pooling pooling;
    bool base64, no_memory;
    uint64_t n_tokens;
} batch;

static void batch_free(void *user) {
    batch *b = user;
    for (size_t i = 0; i < b->n; i++) prompt_free(&b->prompts[i]);
    free(b->vectors);
    pthread_mutex_destroy(&b->base.lock);
    free(b);
}

static void take_vector(reading *w, const job_event *e) {
    batch *b = (batch *)(void *)w;
    b->n_tokens += e->n_prompt;
    if (!e->session || !embed_session(e->session, b->pooling, b->vectors + b->next * b->len)) {
        b->no_memory = true;
    }
}

static bool put_vector(rw_buf *out, const batch *b, size_t i) {
    const float *v = b->vectors + i * b->len;
    bool ok = buf_printf(
        out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
    if (b->base64) { /* little-endian float32, as on every machine we run on */
        size_t n;
        char *text = buf_base64(v, b->kept * sizeof *v, &n);
        ok = ok && text && buf_puts(out, "\"") && rw_buf_add(out, text, n) && buf_puts(out, "\"}");
        free(text);
        return ok;
    }
    ok = ok && buf_puts(out, "[");
    for (size_t k = 0; k < b->kept && ok; k++)
        ok = buf_printf(out, "%s%.7g", k ? "," : "", (double)v[k]);
    return ok && buf_puts(out, "]}");
}

static void send_vectors(batch *b) {
    request *r = b->base.r;
    const char *model = r->server->model_name;
    rw_buf out = {0};
    bool ok = buf_puts(&out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < b->n && ok; i++) {
        if (b->kept < b->len) embed_normalise(b->vectors + i * b->len, b->kept);
        ok = put_vector(&out, b, i);
    }
    ok = ok && buf_puts(&out, "],\"model\":") && buf_json(&out, model, strlen(model)) &&
         buf_printf(&out, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}\n",
                    (unsigned long long)b->n_tokens, (unsigned long long)b->n_tokens);
    r->n_prompt = b->n_tokens;
    reply_buf(r, 200, "application/json", &out, ok);
}

static void submit_next(batch *b) {
    request *r = b->base.r;
    prompt *p = &b->prompts[b->next];
    rwkv_error err = {0};
    double wait = 1;
    job *made = NULL;
    job_request j = {.tenant = r->tenant,
                     .request_id = r->id,
                     .tokens = p->tokens,
                     .n_tokens = p->n,
                     .no_cache = true,
                     .on_event = reading_event,
                     .user = &b->base};
    rwkv_sampling_preset(&j.sampling, "greedy");
    submit_result result = engine_submit(r->server->engine, &j, &made, &wait, &err);
    reading_submitted(&b->base, result, made, wait, &err);
}

/* On a worker, after one input was read. */
static void go_on(reading *w) {
    batch *b = (batch *)(void *)w;
    if (reading_failed(w)) return;
    if (b->no_memory) {
        reply_error(w->r, 503, NULL, "out_of_memory", "out of memory");
        return;
    }
    prompt_free(&b->prompts[b->next]);
    if (++b->next == b->n) {
        send_vectors(b);
        return;
    }
    if (request_gone(w->r)) return;
    reading_again(w);
    submit_next(b);
}

static bool add_input(request *r, const json_t *v, batch *b) {
    if (b->n == LIMIT_INPUTS) {
        reply_error(r, 400, "input", "invalid_value", "input: at most %d texts", LIMIT_INPUTS);
        return false;
    }
    prompt *p = &b->prompts[b->n++];
    bool empty = json_is_string(v) ? json_string_length(v) == 0 : json_array_size(v) == 0;
    if (empty || !(json_is_string(v) || json_is_array(v))) {
        return param_wrong(r, "input", v, "texts or lists of token ids that are not empty");
    }
    return json_is_array(v) ? prompt_from_ids(r, "input", v, false, p)
                            : prompt_from_text(r, "input", json_string_value(v),
                                               json_string_length(v), false, false, p);
}

static bool read_inputs(request *r, const json_t *o, batch *b) {
    const json_t *v = param_get(o, "input"), *first = json_array_get(v, 0);
    json_t *item;
    size_t i;
    if (!first || json_is_integer(first)) return add_input(r, v, b);
    json_array_foreach(v, i, item) {
        if (!add_input(r, item, b)) return false;
    }
    return true;
}

static bool read_options(request *r, const json_t *o, batch *b) {
    const char *format = "float", *pooling = "state", *model = NULL;
    if (!param_string(r, o, "encoding_format", 16, &format) ||
        !param_string(r, o, "pooling", 16, &pooling) || !param_string(r, o, "model", 256, &model))
        return false;
    if (model && !model_is_ours(r->server, model)) {
        reply_error(r, 404, "model", "model_not_found", "this server has the model \"%s\"",
                    r->server->model_name);
        return false;
    }
    b->base64 = strcmp(format, "base64") == 0;
    if (!b->base64 && strcmp(format, "float") != 0) {
        return param_wrong(r, "encoding_format", param_get(o, "encoding_format"),
                           "\"float\" or \"base64\"");
    }
    if (!embed_pooling_find(pooling, &b->pooling)) {
        return param_wrong(r, "pooling", param_get(o, "pooling"),
                           "\"state\", \"mean\" or \"last\"");
    }
    b->len = embed_len(&r->server->info, b->pooling);
    json_int_t kept = (json_int_t)b->len;
    if (!param_integer(r, o, "dimensions", 1, kept, &kept)) return false;
    b->kept = (size_t)kept;
    return true;
}

void api_embeddings(request *r) {
    json_t *o = params_read(r);
    if (!o) return;
    batch *b = calloc(1, sizeof *b);
    if (!b) {
        reply_error(r, 503, NULL, "out_of_memory", "out of memory");
    } else {
        pthread_mutex_init(&b->base.lock, NULL);
        b->base.r = r;
        b->base.done = take_vector;
        b->base.then = go_on;
        r->user = b;
        r->free_user = batch_free;
        if (read_options(r, o, b) && read_inputs(r, o, b)) {
            b->vectors = calloc(b->n * b->len, sizeof *b->vectors);
            if (b->vectors) {
                reading_again(&b->base);
                submit_next(b);
            } else {
                reply_error(r, 503, NULL, "out_of_memory", "out of memory");
            }
        }
    }
    json_decref(o);
}
