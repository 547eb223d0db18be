/* chat_settings.c - /set, /show and the part of a saved conversation that says how answers are
 * drawn: one table of the sampling parameters for all three. */
#include "chat.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { REAL, WHOLE, SEED } kind;

/* Names are those of the options. */
static const struct parameter {
    const char *name;
    kind kind;
    size_t at;
    const char *also; /* as HTTP clients spell it */
} parameters[] = {
    {"temp", REAL, offsetof(rwkv_sampling, temperature), "temperature"},
    {"top-p", REAL, offsetof(rwkv_sampling, top_p), NULL},
    {"top-k", WHOLE, offsetof(rwkv_sampling, top_k), NULL},
    {"min-p", REAL, offsetof(rwkv_sampling, min_p), NULL},
    {"typical", REAL, offsetof(rwkv_sampling, typical_p), "typical-p"},
    {"presence", REAL, offsetof(rwkv_sampling, presence), "presence-penalty"},
    {"frequency", REAL, offsetof(rwkv_sampling, frequency), "frequency-penalty"},
    {"decay", REAL, offsetof(rwkv_sampling, penalty_decay), "penalty-decay"},
    {"repeat-penalty", REAL, offsetof(rwkv_sampling, repeat_penalty), NULL},
    {"mirostat", WHOLE, offsetof(rwkv_sampling, mirostat), NULL},
    {"tau", REAL, offsetof(rwkv_sampling, mirostat_tau), "mirostat-tau"},
    {"eta", REAL, offsetof(rwkv_sampling, mirostat_eta), "mirostat-eta"},
    {"seed", SEED, offsetof(rwkv_sampling, seed), NULL},
};
enum { N_PARAMETERS = sizeof parameters / sizeof *parameters };

static const char *const others[] = {"preset", "order", "tokens", "thoughts", "stats"};
enum { N_OTHERS = sizeof others / sizeof *others };

static void *field(rwkv_sampling *how, const struct parameter *p) {
    return (char *)how + p->at;
}

static bool read_real(const char *s, float *out) {
    char *end;
    float v = strtof(s, &end);
    if (end == s || *end || !isfinite(v)) return false;
    *out = v;
    return true;
}

static bool read_whole(const char *s, uint64_t max, uint64_t *out) {
    char *end;
    errno = 0;
    uint64_t v = strtoull(s, &end, 10);
    if (*s < '0' || *s > '9' || *end || errno || v > max) return false;
    *out = v;
    return true;
}

static bool read_parameter(rwkv_sampling *how, const struct parameter *p, const char *value) {
    uint64_t whole;
    if (p->kind == REAL) return read_real(value, field(how, p));
    if (!read_whole(value, p->kind == WHOLE ? UINT32_MAX : UINT64_MAX, &whole)) return false;
    if (p->kind == WHOLE)
        *(uint32_t *)field(how, p) = (uint32_t)whole;
    else
        *(uint64_t *)field(how, p) = whole;
    return true;
}

/* The shortest digits that read back as the same float. */
static void print_real(float x, char out[32]) {
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(out, 32, "%.*g", digits, (double)x);
        if (strtof(out, NULL) == x) return;
    }
}

static void print_parameter(const rwkv_sampling *how, const struct parameter *p, char out[32]) {
    const void *v = (const char *)how + p->at;
    if (p->kind == REAL)
        print_real(*(const float *)v, out);
    else if (p->kind == WHOLE)
        snprintf(out, 32, "%u", *(const uint32_t *)v);
    else
        snprintf(out, 32, "%llu", (unsigned long long)*(const uint64_t *)v);
}

/* The sampler knows the ranges. */
static int accept(chat *c, const rwkv_sampling *how) {
    rwkv_error err = {0};
    rwkv_sampler *probe = NULL;
    if (rwkv_sampler_new(&probe, c->info.n_vocab, c->tokenizer, how, &err) != RWKV_OK) {
        return chat_fail(c, EXIT_USAGE, "%s", err.message);
    }
    rwkv_sampler_free(probe);
    c->sampling = *how;
    return EXIT_OK;
}

static int bad_value(chat *c, const char *key, const char *value, const char *expected) {
    return chat_fail(c, EXIT_USAGE,
                     T("/set %s: found '%s'; expected %s", "/set %s：得到 '%s'；应为 %s"), key,
                     value, expected);
}

static int unknown_key(chat *c, const char *key) {
    nearest n = {0};
    for (size_t i = 0; i < N_PARAMETERS; i++) cli_nearest(&n, key, parameters[i].name);
    for (size_t i = 0; i < N_OTHERS; i++) cli_nearest(&n, key, others[i]);
    if (n.best) {
        return chat_fail(
            c, EXIT_USAGE,
            T("/set: unknown key '%s'; did you mean %s?", "/set：未知的键 '%s'；是否想用 %s？"),
            key, n.best);
    }
    return chat_fail(
        c, EXIT_USAGE,
        T("/set: unknown key '%s'; /show lists them", "/set：未知的键 '%s'；/show 列出所有键"),
        key);
}

/* Keeps what the user chose that no preset knows: seed and biases. */
static int set_preset(chat *c, const char *name) {
    rwkv_sampling how;
    if (rwkv_sampling_preset(&how, name) != RWKV_OK) {
        text names = {0};
        for (size_t i = 0; rwkv_sampling_preset_name(i); i++) {
            text_puts(&names, i ? " " : "");
            text_puts(&names, rwkv_sampling_preset_name(i));
        }
        int code = bad_value(c, "preset", name, names.s);
        free(names.s);
        return code;
    }
    how.seed = c->sampling.seed;
    how.bias = c->sampling.bias;
    how.n_bias = c->sampling.n_bias;
    return accept(c, &how);
}

/* One of two words. */
static int choose(chat *c, const char *key, const char *value, const char *no, const char *yes,
                  bool *out) {
    bool is_yes = strcmp(value, yes) == 0;
    if (!is_yes && strcmp(value, no)) {
        char expected[64];
        snprintf(expected, sizeof expected, "%s, %s", yes, no);
        return bad_value(c, key, value, expected);
    }
    *out = is_yes;
    return EXIT_OK;
}

int chat_set(chat *c, const char *key, const char *value) {
    rwkv_sampling how = c->sampling;
    char name[32];
    size_t n = 0;
    for (; key[n] && n + 1 < sizeof name; n++) name[n] = key[n] == '_' ? '-' : key[n];
    name[n] = '\0';
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        const char *also = parameters[i].also;
        if (strcmp(name, parameters[i].name) && (!also || strcmp(name, also))) continue;
        if (read_parameter(&how, &parameters[i], value)) return accept(c, &how);
        return bad_value(c, name, value,
                         parameters[i].kind == REAL ? T("a number", "数")
                                                    : T("a whole number", "整数"));
    }
    if (strcmp(name, "preset") == 0) return set_preset(c, value);
    if (strcmp(name, "thoughts") == 0) {
        return choose(c, name, value, "drop", "keep", &chat_now(c)->keep_thoughts);
    }
    if (strcmp(name, "stats") == 0) return choose(c, name, value, "off", "on", &c->stats);
    if (strcmp(name, "order") == 0) {
        bool temperature = false;
        int code = choose(c, name, value, "reference", "temperature", &temperature);
        if (code == EXIT_OK)
            c->sampling.order = temperature ? RWKV_ORDER_TEMPERATURE : RWKV_ORDER_REFERENCE;
        return code;
    }
    if (strcmp(name, "tokens") == 0) {
        if (!read_whole(value, UINT64_MAX, &c->max_tokens))
            return bad_value(c, name, value, T("a whole number", "整数"));
        c->free_tokens = c->max_tokens;
        return EXIT_OK;
    }
    return unknown_key(c, name);
}

static const char *order_name(const chat *c) {
    return c->sampling.order == RWKV_ORDER_TEMPERATURE ? "temperature" : "reference";
}

void chat_show_settings(const chat *c) {
    char value[32];
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        print_parameter(&c->sampling, &parameters[i], value);
        printf("%-15s %s\n", parameters[i].name, value);
    }
    printf("%-15s %s\n", "order", order_name(c));
    printf("%-15s %llu\n", "tokens", (unsigned long long)c->max_tokens);
    printf("%-15s %s\n", "thoughts", c->branches[c->current].talk->keep_thoughts ? "keep" : "drop");
    printf("%-15s %s\n", "stats", c->stats ? "on" : "off");
}

/* ------------------------------------------------------------------ saved conversations */

/* Numbers as text: a float is the same again, and a seed needs 64 bits. */
json_t *chat_settings_json(const chat *c) {
    json_t *o = json_object();
    char value[32];
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        print_parameter(&c->sampling, &parameters[i], value);
        json_object_set_new(o, parameters[i].name, json_string(value));
    }
    json_object_set_new(o, "order", json_string(order_name(c)));
    snprintf(value, sizeof value, "%llu", (unsigned long long)c->max_tokens);
    json_object_set_new(o, "tokens", json_string(value));
    json_object_set_new(o, "biases", json_array());
    for (size_t i = 0; i < c->sampling.n_bias; i++) {
        const rwkv_logit_bias *b = &c->sampling.bias[i];
        print_real(b->bias, value);
        json_array_append_new(json_object_get(o, "biases"), json_pack("[i, s]", b->token, value));
    }
    return o;
}

static void biases_from_json(chat *c, const json_t *list) {
    size_t i;
    json_t *item;
    c->sampling.n_bias = 0;
    c->sampling.bias = c->biases;
    json_array_foreach(list, i, item) {
        json_int_t id = json_integer_value(json_array_get(item, 0));
        const char *value = json_string_value(json_array_get(item, 1));
        float bias = value ? strtof(value, NULL) : NAN;
        if (i == sizeof c->biases / sizeof *c->biases) break;
        if (id < 0 || id >= c->info.n_vocab || isnan(bias) || bias == INFINITY) continue;
        c->biases[c->sampling.n_bias++] = (rwkv_logit_bias){(int32_t)id, bias};
    }
}

/* What is missing or makes no sense stays as it is. */
void chat_settings_from_json(chat *c, const json_t *o) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)o, key, value) {
        if (json_is_string(value)) chat_set(c, key, json_string_value(value));
        if (strcmp(key, "biases") == 0) biases_from_json(c, value);
    }
}

static bool was_given(const sampling_args *args, const rwkv_sampling *raw,
                      const struct parameter *p) {
    const void *v = (const char *)raw + p->at;
    if (p->kind == SEED) return args->seed != NULL;
    if (args->preset) return true;
    return p->kind == REAL ? !isnan(*(const float *)v) : *(const uint32_t *)v != UINT32_MAX;
}

void chat_settings_again(chat *c, const sampling_args *args, const rwkv_sampling *raw) {
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        const struct parameter *p = &parameters[i];
        size_t size = p->kind == SEED ? sizeof(uint64_t) : sizeof(float);
        const char *from = (const char *)&args->how + p->at;
        if (was_given(args, raw, p)) memcpy(field(&c->sampling, p), from, size);
    }
    if (args->order) c->sampling.order = args->how.order;
    if (args->how.n_bias) {
        c->sampling.bias = args->how.bias;
        c->sampling.n_bias = args->how.n_bias;
    }
}
