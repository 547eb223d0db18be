/* ask.c - see ask.h. One table for the numbers of sampling, one for what is refused. */
#include "ask.h"

#include "params.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void ask_free(ask *a) {
    for (size_t i = 0; i < a->n_prompts; i++) prompt_free(&a->prompts[i]);
    free(a->bias);
    free(a->state);
    free(a->note);
    a->bias = NULL;
    a->state = NULL;
    a->note = NULL;
    a->n_prompts = 0;
}

/* ------------------------------------------------------------------ what is refused */

static bool not_empty(const json_t *v) {
    return !(json_is_array(v) && json_array_size(v) == 0) &&
           !(json_is_object(v) && json_object_size(v) == 0) && !json_is_false(v);
}
static bool not_none(const json_t *v) {
    const char *s = json_string_value(v);
    return !s || (strcmp(s, "none") && strcmp(s, "auto"));
}
static bool not_text(const json_t *v) {
    const char *s = json_string_value(json_object_get(v, "type"));
    return !s || strcmp(s, "text") != 0;
}
static bool has_other_than_text(const json_t *v) {
    const char *s = json_string_value(json_array_get(v, 0));
    return json_array_size(v) != 1 || !s || strcmp(s, "text") != 0;
}

/* Fields that would change the meaning of an answer and that we do not have. */
static const struct refusal {
    const char *name;
    bool (*refused)(const json_t *v);
} refusals[] = {
    {"tools", not_empty},
    {"functions", not_empty},
    {"tool_choice", not_none},
    {"function_call", not_none},
    {"response_format", not_text},
    {"grammar", not_empty},
    {"json_schema", not_empty},
    {"modalities", has_other_than_text},
    {"audio", not_empty},
    {"images", not_empty},
    {"web_search_options", not_empty},
    {"chat_template", not_empty},
    {"chat_template_kwargs", not_empty},
    {"suffix", not_empty},
    {"lora", not_empty},
    {"post_sampling_probs", not_empty},
};

static bool check_supported(request *r, const json_t *o) {
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const json_t *v = param_get(o, refusals[i].name);
        if (!v || !refusals[i].refused(v)) continue;
        reply_error(r, 400, refusals[i].name, "unsupported_parameter",
                    "%s: unsupported by this server", refusals[i].name);
        return false;
    }
    return true;
}

/* ------------------------------------------------------------------ sampling */

static const struct number {
    const char *name;
    size_t offset;
    double min, max;
} numbers[] = {
    {"temperature", offsetof(rwkv_sampling, temperature), 0, 100},
    {"top_p", offsetof(rwkv_sampling, top_p), 0, 1},
    {"min_p", offsetof(rwkv_sampling, min_p), 0, 1},
    {"typical_p", offsetof(rwkv_sampling, typical_p), 0, 1},
    {"presence_penalty", offsetof(rwkv_sampling, presence), -100, 100},
    {"frequency_penalty", offsetof(rwkv_sampling, frequency), -100, 100},
    {"penalty_decay", offsetof(rwkv_sampling, penalty_decay), 0, 1},
    {"repeat_penalty", offsetof(rwkv_sampling, repeat_penalty), 0.01, 100},
    {"mirostat_tau", offsetof(rwkv_sampling, mirostat_tau), 0, 100},
    {"mirostat_eta", offsetof(rwkv_sampling, mirostat_eta), 0, 10},
};

static bool read_order(request *r, const json_t *o, rwkv_sampling *how) {
    const char *order = NULL;
    if (!param_string(r, o, "sampling_order", 64, &order)) return false;
    if (!order) return true;
    how->order = RWKV_ORDER_TEMPERATURE;
    if (strcmp(order, "temperature") == 0) return true;
    how->order = RWKV_ORDER_REFERENCE;
    if (strcmp(order, "reference") == 0) return true;
    return param_wrong(r, "sampling_order", param_get(o, "sampling_order"),
                       "\"reference\" or \"temperature\"");
}

static uint64_t new_seed(void) {
    static atomic_uint_fast64_t count;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return ((uint64_t)t.tv_sec << 30 ^ (uint64_t)t.tv_nsec) +
           atomic_fetch_add(&count, 1) * 0x9e3779b97f4a7c15u;
}

static bool read_bias(request *r, const json_t *o, ask *a) {
    const json_t *bias = param_get(o, "logit_bias");
    if (!bias) return true;
    size_t n = json_object_size(bias);
    if (!json_is_object(bias) || n > LIMIT_BIAS) {
        return param_wrong(r, "logit_bias", bias, "an object with at most 1024 token ids");
    }
    a->bias = malloc((n + 1) * sizeof *a->bias);
    if (!a->bias) {
        reply_error(r, 503, NULL, "out_of_memory", "out of memory");
        return false;
    }
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)bias, key, v) {
        char *end;
        errno = 0;
        unsigned long id = strtoul(key, &end, 10);
        double x = json_number_value(v);
        bool ok = *key >= '0' && *key <= '9' && !*end && !errno && id < r->server->info.n_vocab &&
                  json_is_number(v) && x >= -100 && x <= 100;
        if (!ok) {
            return param_wrong(r, "logit_bias", v,
                               "token ids with numbers from -100 to 100 (-100 bans a token)");
        }
        a->bias[a->how.n_bias++] = (rwkv_logit_bias){(int32_t)id, x <= -100 ? -INFINITY : (float)x};
    }
    a->how.bias = a->bias;
    return true;
}

static bool read_sampling(request *r, const json_t *o, ask *a) {
    const char *usual = r->server->preset, *preset = usual ? usual : a->chat ? "chat" : "default";
    json_int_t top_k = 0, mirostat = 0, seed = 0;
    if (!param_string(r, o, "preset", 32, &preset)) return false;
    if (rwkv_sampling_preset(&a->how, preset) != RWKV_OK) {
        return param_wrong(r, "preset", param_get(o, "preset"),
                           "default, creative, conservative, mechanical, chat or greedy");
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const struct number *n = &numbers[i];
        float *to = (float *)(void *)((char *)&a->how + n->offset);
        if (!param_float(r, o, n->name, n->min, n->max, to)) return false;
    }
    if (!param_integer(r, o, "top_k", 0, INT32_MAX, &top_k) ||
        !param_integer(r, o, "mirostat", 0, 2, &mirostat) ||
        !param_integer(r, o, "seed", INT64_MIN, INT64_MAX, &seed) || !read_order(r, o, &a->how)) {
        return false;
    }
    if (mirostat == 1) return param_wrong(r, "mirostat", param_get(o, "mirostat"), "0 or 2");
    a->how.top_k = (uint32_t)top_k;
    a->how.mirostat = (uint32_t)mirostat;
    a->how.seed = param_get(o, "seed") ? (uint64_t)seed : new_seed();
    return read_bias(r, o, a);
}

/* ------------------------------------------------------------------ the rest */

static bool add_stop(request *r, const json_t *v, ask *a) {
    size_t n = json_string_length(v);
    if (!json_is_string(v) || n == 0 || n > LIMIT_STOP_BYTES || strlen(json_string_value(v)) != n ||
        a->n_stops == LIMIT_STOPS) {
        reply_error(r, 400, "stop", "invalid_value",
                    "stop: expected at most %d strings of 1 to %d bytes without zero bytes",
                    LIMIT_STOPS, LIMIT_STOP_BYTES);
        return false;
    }
    memcpy(a->stops[a->n_stops++], json_string_value(v), n + 1);
    return true;
}

static bool read_stops(request *r, const json_t *o, ask *a) {
    const json_t *stop = param_get(o, "stop");
    json_t *v;
    size_t i;
    if (!stop) return true;
    if (!json_is_array(stop)) return add_stop(r, stop, a);
    json_array_foreach(stop, i, v) {
        if (!add_stop(r, v, a)) return false;
    }
    return true;
}

/* The first of the names that is given. n_predict -1: as much as the server allows. */
static bool read_max_tokens(request *r, const json_t *o, ask *a) {
    static const char *const names[] = {"max_completion_tokens", "max_tokens", "n_predict"};
    json_int_t cap = (json_int_t)r->server->max_tokens, least = a->chat ? 1 : 0;
    json_int_t n = a->chat || cap < 256 ? cap : 256;
    for (size_t i = 0; i < 3; i++) {
        if (!param_get(o, names[i])) continue;
        if (i == 2 && json_integer_value(param_get(o, names[i])) == -1) {
            n = cap;
            break;
        }
        if (!param_integer(r, o, names[i], least, cap, &n)) return false;
        break;
    }
    a->max_tokens = (uint64_t)n;
    return true;
}

/* chat: logprobs true and top_logprobs N; completions: logprobs N. */
static bool read_logprobs(request *r, const json_t *o, ask *a) {
    json_int_t top = 0;
    if (a->chat) {
        if (!param_bool(r, o, "logprobs", &a->logprobs) ||
            !param_integer(r, o, "top_logprobs", 0, LIMIT_TOP, &top)) {
            return false;
        }
        if (top && !a->logprobs) {
            reply_error(r, 400, "top_logprobs", "invalid_value",
                        "top_logprobs: needs \"logprobs\": true");
            return false;
        }
    } else if (param_get(o, "logprobs") && !json_is_false(param_get(o, "logprobs"))) {
        if (!param_integer(r, o, "logprobs", 0, LIMIT_TOP, &top)) return false;
        a->logprobs = true;
    }
    a->n_top = (uint32_t)top;
    return true;
}

static bool read_think(request *r, const json_t *o, ask *a) {
    static const struct {
        const char *name;
        rwkv_think think;
    } efforts[] = {{"none", RWKV_THINK_OFF},
                   {"minimal", RWKV_THINK_OFF},
                   {"low", RWKV_THINK_SHORT},
                   {"medium", RWKV_THINK_ON},
                   {"high", RWKV_THINK_LONG}};
    const char *effort = "none";
    bool thinks = rwkv_template_thinks(r->server->template);
    if (!param_string(r, o, "reasoning_effort", 32, &effort)) return false;
    for (size_t i = 0; i < sizeof efforts / sizeof *efforts; i++) {
        if (strcmp(effort, efforts[i].name) != 0) continue;
        a->think = thinks ? efforts[i].think : RWKV_THINK_NONE;
        if (thinks || efforts[i].think == RWKV_THINK_OFF) return true;
        reply_error(r, 400, "reasoning_effort", "unsupported_parameter",
                    "reasoning_effort: this model does not think; expected \"none\"");
        return false;
    }
    return param_wrong(r, "reasoning_effort", param_get(o, "reasoning_effort"),
                       "none, minimal, low, medium or high");
}

static bool read_model(request *r, const json_t *o) {
    const char *name = NULL;
    if (!param_string(r, o, "model", 256, &name)) return false;
    if (!name || model_is_ours(r->server, name)) return true;
    reply_error(r, 404, "model", "model_not_found",
                "this server has the model \"%s\" and no other; see GET /v1/models, --alias",
                r->server->model_name);
    return false;
}

static bool read_stream(request *r, const json_t *o, ask *a) {
    const json_t *options = param_get(o, "stream_options");
    if (!param_bool(r, o, "stream", &a->stream)) return false;
    if (!options) return true;
    if (!json_is_object(options)) {
        return param_wrong(r, "stream_options", options, "an object");
    }
    bool wanted = false;
    if (!param_bool(r, options, "include_usage", &wanted)) return false;
    a->include_usage = a->stream && wanted;
    return true;
}

static bool read_counts(request *r, const json_t *o, ask *a) {
    json_int_t n = 1, best_of = 1;
    if (!param_integer(r, o, "n", 1, LIMIT_CHOICES, &n)) return false;
    best_of = n;
    if (!param_integer(r, o, "best_of", n, n, &best_of)) return false;
    a->n = (uint32_t)n;
    return true;
}

bool ask_read(request *r, const json_t *o, bool chat, ask *a) {
    bool cache = true;
    a->chat = chat;
    if (!check_supported(r, o) || !read_model(r, o) || !read_stream(r, o, a) ||
        !read_counts(r, o, a) || !read_sampling(r, o, a) || !read_max_tokens(r, o, a) ||
        !read_stops(r, o, a) || !read_logprobs(r, o, a) || !read_think(r, o, a) ||
        !param_bool(r, o, "return_state", &a->return_state) ||
        !param_bool(r, o, "ignore_eos", &a->ignore_end) ||
        !param_bool(r, o, "cache_prompt", &cache) || !param_bool(r, o, "echo", &a->echo)) {
        return false;
    }
    a->no_cache = !cache;
    if (a->echo && (a->logprobs || chat)) {
        reply_error(r, 400, "echo", "unsupported_parameter",
                    "echo: unsupported in chats and together with logprobs");
        return false;
    }
    if (a->return_state && (a->stream || a->n > 1)) {
        reply_error(r, 400, "return_state", "unsupported_parameter",
                    "return_state: only with \"stream\": false and one choice");
        return false;
    }
    return true;
}

/* ------------------------------------------------------------------ sessions and states */

static bool find_session(request *r, ask *a, bool *after_text) {
    session_info info = {0};
    rwkv_error err = {0};
    if (!is_name(a->session)) {
        reply_error(r, 400, "session", "invalid_value",
                    "session: expected 1 to 64 of A-Z a-z 0-9 . _ -");
        return false;
    }
    if (a->n > 1) {
        reply_error(r, 400, "n", "invalid_value", "n: a session takes one answer");
        return false;
    }
    store_result found = session_get(r->server->engine, r->tenant, a->session, &info, &err);
    if (found != STORE_OK && found != STORE_NONE) {
        reply_store_error(r, found, &err, "session");
        return false;
    }
    a->create_session = found == STORE_NONE;
    a->generation = info.generation;
    *after_text = info.n_tokens > 0;
    if (info.n_note) {
        a->note = malloc(info.n_note + 1);
        if (a->note) {
            memcpy(a->note, info.note, info.n_note);
            a->note[info.n_note] = '\0';
        }
    }
    session_info_free(&info);
    return true;
}

bool ask_timeline(request *r, const json_t *o, ask *a, bool *after_text) {
    const json_t *state = param_get(o, "state");
    uint64_t n_tokens = 0;
    *after_text = false;
    if (!param_string(r, o, "session", 64, &a->session)) return false;
    if (a->session && !find_session(r, a, after_text)) return false;
    if (!state) return true;
    if (!json_is_string(state)) {
        return param_wrong(r, "state", state, "the name of a state, or a state in base64");
    }
    if (a->session && !a->create_session) {
        reply_error(r, 400, "state", "invalid_value", "state: the session \"%s\" has begun already",
                    a->session);
        return false;
    }
    if (!states_find(r, json_string_value(state), json_string_length(state), &a->state, &a->n_state,
                     &n_tokens)) {
        return false;
    }
    *after_text = n_tokens > 0;
    return true;
}
