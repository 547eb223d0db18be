/* server.h - what the routes share: the model's engine, its names, the initial states, the numbers.
 *
 *     http.c -> routes.c -> api_*.c -> ask.c (JSON -> a question) -> answer.c (engine's events ->
 * JSON)
 */
#ifndef RWKV_SERVER_H
#define RWKV_SERVER_H

#include "../store/store.h"
#include "engine.h"
#include "http.h"
#include "metrics.h"

#include <jansson.h>

typedef struct named_state {
    const char *name;
    void *data; /* of rwkv_file_read */
    size_t n;
    rwkv_state_info info;
} named_state;

typedef struct server {
    engine *engine;
    rwkv_model *model;
    const rwkv_tokenizer *tokenizer;
    const rwkv_template *template;
    rwkv_info info;
    store *store; /* initial states that clients put; NULL: none */
    http *http;
    const char *model_name;
    const char *const *aliases;
    size_t n_aliases;
    char fingerprint[24]; /* of the weights, for system_fingerprint */
    const char *preset;   /* of requests that name none; NULL: chat, for plain text default */
    uint64_t max_tokens;  /* of one answer */
    uint64_t max_prompt;
    size_t max_blob; /* bytes of a state blob with the longest note we accept */
    int64_t started;
    named_state *states; /* from the command line */
    size_t n_states;
    atomic_bool draining;
    metrics metrics;
} server;

extern const route server_routes[];
void server_count(server *s, const request *r, int status, double seconds); /* http's on_end */

/* An engine's or store's refusal as a reply. */
void reply_store_error(request *r, store_result result, const rwkv_error *err, const char *what);
void reply_status_error(request *r, rwkv_status code, const char *param, const char *message);
/* For SUBMIT_BUSY and the like. */
void reply_not_submitted(request *r, submit_result result, double retry_after,
                         const rwkv_error *err);
/* The initial state that `value` (a name, or base64 of a blob) stands for: *data is malloc'd. False
 * after a reply. */
bool states_find(request *r, const char *value, size_t len, void **data, size_t *n,
                 uint64_t *n_tokens);
bool model_is_ours(const server *s, const char *name);

/* ---- handlers, one file per group */
void api_models(request *r), api_model(request *r), api_health(request *r), api_metrics(request *r),
    api_props(request *r), api_openapi(request *r), api_page(request *r);
void api_tokenize(request *r), api_detokenize(request *r), api_apply_template(request *r);
void api_chat(request *r), api_completions(request *r), api_embeddings(request *r);
void api_sessions(request *r), api_session_create(request *r), api_session(request *r),
    api_session_change(request *r), api_session_delete(request *r), api_session_fork(request *r),
    api_session_rewind(request *r), api_session_export(request *r), api_session_import(request *r);
void api_states(request *r), api_state_put(request *r), api_state_get(request *r),
    api_state_delete(request *r);

#endif
