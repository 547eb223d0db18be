/* routes.c - the table of paths, and how refusals of the engine and the store are told. */
#include "server.h"

#include <stdio.h>

const route server_routes[] = {
    {"GET", "/", api_page, ROUTE_OPEN | ROUTE_QUICK},
    {"GET", "/health", api_health, ROUTE_OPEN | ROUTE_QUICK | ROUTE_ALIVE},
    {"GET", "/metrics", api_metrics, ROUTE_QUICK | ROUTE_ALIVE},
    {"GET", "/props", api_props, ROUTE_QUICK},
    {"GET", "/openapi.json", api_openapi, ROUTE_OPEN | ROUTE_QUICK},
    {"GET", "/v1/models", api_models, ROUTE_QUICK},
    {"GET", "/v1/models/{name}", api_model, ROUTE_QUICK},
    {"POST", "/v1/chat/completions", api_chat, ROUTE_JSON | ROUTE_STATE},
    {"POST", "/v1/completions", api_completions, ROUTE_JSON | ROUTE_STATE},
    {"POST", "/v1/embeddings", api_embeddings, ROUTE_JSON},
    {"GET", "/v1/sessions", api_sessions, 0},
    {"POST", "/v1/sessions", api_session_create, ROUTE_JSON | ROUTE_STATE},
    {"GET", "/v1/sessions/{name}", api_session, 0},
    {"PATCH", "/v1/sessions/{name}", api_session_change, ROUTE_JSON},
    {"DELETE", "/v1/sessions/{name}", api_session_delete, 0},
    {"POST", "/v1/sessions/{name}/fork", api_session_fork, ROUTE_JSON},
    {"POST", "/v1/sessions/{name}/rewind", api_session_rewind, ROUTE_JSON},
    {"GET", "/v1/sessions/{name}/export", api_session_export, 0},
    {"PUT", "/v1/sessions/{name}/import", api_session_import, ROUTE_BYTES | ROUTE_STATE},
    {"GET", "/v1/states", api_states, 0},
    {"GET", "/v1/states/{name}", api_state_get, 0},
    {"PUT", "/v1/states/{name}", api_state_put, ROUTE_BYTES | ROUTE_STATE},
    {"DELETE", "/v1/states/{name}", api_state_delete, 0},
    {"POST", "/tokenize", api_tokenize, ROUTE_JSON},
    {"POST", "/detokenize", api_detokenize, ROUTE_JSON},
    {"POST", "/apply-template", api_apply_template, ROUTE_JSON},
    {0},
};
_Static_assert(sizeof server_routes / sizeof *server_routes < METRICS_ROUTES, "room in metrics");

void reply_store_error(request *r, store_result result, const rwkv_error *err, const char *what) {
    switch (result) {
    case STORE_OK:
        return;
    case STORE_NONE:
        reply_error(r, 404, "name", "not_found", "%s: there is none of this name", what);
        return;
    case STORE_CONFLICT:
        reply_error(r, 409, "name", "conflict", "%s: %s", what,
                    err->message[0] ? err->message
                                    : "another request changed it, or the name is taken");
        return;
    case STORE_FULL:
        reply_error(r, 507, NULL, "store_full", "%s: %s", what,
                    err->message[0] ? err->message : "the store is full, or your quota is used up");
        return;
    case STORE_FAILED:
        break;
    }
    if (err->code == RWKV_E_ARG || err->code == RWKV_E_STATE || err->code == RWKV_E_FORMAT) {
        reply_error(r, 400, NULL, err->code == RWKV_E_ARG ? "invalid_value" : "bad_state", "%s",
                    err->message);
        return;
    }
    reply_header(r, "Retry-After", "5");
    reply_error(r, 503, NULL, "store_failed", "%s: %s", what, err->message);
}

void reply_status_error(request *r, rwkv_status code, const char *param, const char *message) {
    bool memory = code == RWKV_E_NOMEM;
    reply_error(r, memory ? 503 : 400, memory ? NULL : param,
                memory ? "out_of_memory" : "invalid_value", "%s", message);
}

void reply_not_submitted(request *r, submit_result result, double retry_after,
                         const rwkv_error *err) {
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%.0f",
             retry_after < 1     ? 1
             : retry_after > 300 ? 300
                                 : retry_after);
    if (result == SUBMIT_BUSY) {
        reply_header(r, "Retry-After", seconds);
        reply_error(r, 429, NULL, "queue_full", "too many requests are waiting; try again in %s s",
                    seconds);
    } else if (result == SUBMIT_STOPPING) {
        reply_header(r, "Retry-After", "5");
        reply_error(r, 503, NULL, "server_stopping", "the server is being stopped");
    } else {
        reply_status_error(r, err->code, NULL, err->message);
    }
}
