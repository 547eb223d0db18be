/* ask.h - what a client asks for, read from JSON and checked: how to sample, when to stop, what to
 * send back. Shared by chat and plain completions. */
#ifndef RWKV_SERVER_ASK_H
#define RWKV_SERVER_ASK_H

#include "prompt.h"

enum {
    LIMIT_CHOICES = 16,
    LIMIT_STOPS = 16,
    LIMIT_STOP_BYTES = 256,
    LIMIT_BIAS = 1024,
    LIMIT_TOP = 20,
    LIMIT_PROMPTS = 16,
};

typedef struct ask {
    bool chat, stream, include_usage, echo, logprobs, return_state, no_cache, ignore_end;
    uint32_t n, n_top;
    uint64_t max_tokens;
    rwkv_sampling how;
    rwkv_logit_bias *bias;
    char stops[LIMIT_STOPS][LIMIT_STOP_BYTES + 1];
    size_t n_stops;
    rwkv_think think;
    prompt prompts[LIMIT_PROMPTS];
    size_t n_prompts;
    const char *session; /* points into the JSON */
    bool create_session;
    uint64_t generation;
    char *note;  /* of the session, malloc'd JSON */
    void *state; /* initial one, malloc'd blob */
    size_t n_state;
} ask;

/* Everything but the prompt. False after a reply; ask_free in any case. */
bool ask_read(request *r, const json_t *o, bool chat, ask *out);
/* Looks up the session that `session` names, if any; *after_text: text stands before the prompt. */
bool ask_timeline(request *r, const json_t *o, ask *a, bool *after_text);
void ask_free(ask *a);

#endif
