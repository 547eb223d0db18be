/* api_info.c - what the server says about itself: models, health, numbers, its own description. */
#include "params.h"
#include "server.h"
#include "text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern const char server_openapi[]; /* docs/openapi.json, embedded by the build */

bool model_is_ours(const server *s, const char *name) {
    if (strcmp(name, s->model_name) == 0) return true;
    for (size_t i = 0; i < s->n_aliases; i++) {
        if (strcmp(name, s->aliases[i]) == 0) return true;
    }
    return false;
}

static json_t *describe_model(const server *s, const char *id) {
    const rwkv_info *i = &s->info;
    return json_pack("{s:s, s:s, s:I, s:s, s:{s:s, s:s, s:s, s:I, s:I, s:I}}", "id", id, "object",
                     "model", "created", (json_int_t)s->started, "owned_by", "rwkv.c", "meta",
                     "version", i->version, "type", i->type, "template",
                     rwkv_template_name(s->template), "parameters", (json_int_t)i->n_params,
                     "vocabulary", (json_int_t)i->n_vocab, "state_bytes",
                     (json_int_t)i->state_bytes);
}

void api_models(request *r) {
    const server *s = r->server;
    json_t *list = json_array();
    json_array_append_new(list, describe_model(s, s->model_name));
    for (size_t i = 0; i < s->n_aliases; i++)
        json_array_append_new(list, describe_model(s, s->aliases[i]));
    reply_json(r, 200, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

void api_model(request *r) {
    if (model_is_ours(r->server, r->name)) {
        reply_json(r, 200, describe_model(r->server, r->name));
    } else {
        reply_error(r, 404, "model", "model_not_found", "this server has the model \"%s\"",
                    r->server->model_name);
    }
}

void api_health(request *r) {
    bool draining = atomic_load(&r->server->draining);
    if (draining) reply_header(r, "Retry-After", "5");
    reply_text(r, draining ? 503 : 200, "application/json",
               draining ? "{\"status\":\"stopping\"}\n" : "{\"status\":\"ok\"}\n");
}

void api_props(request *r) {
    const server *s = r->server;
    const rwkv_info *i = &s->info;
    engine_stats st;
    size_t n_stops;
    json_t *stops = json_array();
    const char *const *list = rwkv_template_stops(s->template, &n_stops);
    engine_get_stats(s->engine, &st);
    for (size_t k = 0; k < n_stops; k++) json_array_append_new(stops, json_string(list[k]));
    json_t *limits =
        json_pack("{s:I, s:I, s:i, s:i, s:i, s:i, s:i}", "max_tokens", (json_int_t)s->max_tokens,
                  "max_prompt", (json_int_t)s->max_prompt, "body_bytes", LIMIT_BODY, "choices", 16,
                  "stops", 16, "logit_bias", 1024, "top_logprobs", 20);
    reply_json(
        r, 200,
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:i, s:I, s:o, s:o}", "build",
                  rwkv_version(), "model", s->model_name, "version", i->version, "type", i->type,
                  "tokenizer", i->tokenizer, "template", rwkv_template_name(s->template), "thinks",
                  rwkv_template_thinks(s->template), "threads", (int)i->n_threads, "state_bytes",
                  (json_int_t)i->state_bytes, "template_stops", stops, "limits", limits));
}

/* ------------------------------------------------------------------ metrics */

static uint64_t resident_bytes(void) {
    unsigned long long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r"); /* 0 where there is none */
    if (f && fscanf(f, "%llu %llu", &size, &resident) != 2) resident = 0;
    if (f) fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool put_number(rw_buf *b, const char *name, const char *type, const char *help, double v) {
    return buf_printf(b, "# HELP rwkv_%s %s\n# TYPE rwkv_%s %s\nrwkv_%s %.15g\n", name, help, name,
                      type, name, v);
}

static bool put_requests(rw_buf *b, const server *s) {
    bool ok = buf_puts(b, "# HELP rwkv_http_requests_total Requests by route and status class\n"
                          "# TYPE rwkv_http_requests_total counter\n");
    for (size_t i = 0; i < METRICS_ROUTES; i++) {
        const route *t = i + 1 < METRICS_ROUTES ? &server_routes[i] : NULL;
        if (t && !t->method) i = METRICS_ROUTES - 1; /* the last row: no route */
        if (t && !t->method) t = NULL;
        for (size_t k = 0; k < METRICS_CLASSES && ok; k++) {
            uint64_t n = atomic_load(&s->metrics.requests[i][k]);
            if (!n) continue;
            ok = buf_printf(b, "rwkv_http_requests_total{route=\"%s %s\",status=\"%zuxx\"} %llu\n",
                            t ? t->method : "-", t ? t->path : "-", k, (unsigned long long)n);
        }
    }
    return ok;
}

void server_count(server *s, const request *r, int status, double seconds) {
    size_t i = METRICS_ROUTES - 1, k = (size_t)status / 100;
    histogram_add(&s->metrics.request, seconds);
    if (r->route >= server_routes && r->route < server_routes + METRICS_ROUTES - 1) {
        i = (size_t)(r->route - server_routes);
    }
    atomic_fetch_add(&s->metrics.requests[i][k < METRICS_CLASSES ? k : 0], 1);
}

void api_metrics(request *r) {
    server *s = r->server;
    engine_stats st;
    rw_buf b = {0};
    engine_get_stats(s->engine, &st);
    static const char *const ends[] = {"stop", "length", "cancelled", "stopped", "failed"};
    const struct {
        const char *name, *type, *help;
        double value;
    } rows[] = {
        {"jobs_queued", "gauge", "Jobs that wait for a lane", (double)st.jobs_queued},
        {"jobs_running", "gauge", "Jobs that have a lane", (double)st.jobs_running},
        {"prompt_tokens_total", "counter", "Prompt tokens evaluated", (double)st.tokens_read},
        {"cached_tokens_total", "counter", "Prompt tokens that a snapshot spared",
         (double)st.tokens_cached},
        {"generated_tokens_total", "counter", "Tokens generated", (double)st.tokens_generated},
        {"steps_total", "counter", "Batches evaluated", (double)st.steps},
        {"busy_seconds_total", "counter", "Seconds spent evaluating", st.seconds_busy},
        {"snapshots_ram", "gauge", "Snapshots of states in memory", (double)st.snapshots_ram},
        {"snapshot_ram_bytes", "gauge", "Bytes of them", (double)st.bytes_ram},
        {"snapshots_stored", "gauge", "Snapshots of states in the store",
         (double)st.snapshots_stored},
        {"snapshot_stored_bytes", "gauge", "Bytes of them", (double)st.bytes_stored},
        {"cache_hits_ram_total", "counter", "Prompts begun from a snapshot in memory",
         (double)st.hits_ram},
        {"cache_hits_store_total", "counter", "Prompts begun from a snapshot in the store",
         (double)st.hits_store},
        {"cache_misses_total", "counter", "Prompts read from their beginning", (double)st.misses},
        {"state_bytes", "gauge", "Bytes of one state", (double)s->info.state_bytes},
        {"connections", "gauge", "Open connections", (double)http_connections(r->owner)},
        {"resident_bytes", "gauge", "Resident memory of the process", (double)resident_bytes()},
    };
    bool ok = true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && ok; i++)
        ok = put_number(&b, rows[i].name, rows[i].type, rows[i].help, rows[i].value);
    ok = ok && buf_puts(&b, "# HELP rwkv_jobs_total Jobs ended\n# TYPE rwkv_jobs_total counter\n");
    for (size_t i = 0; i < 5 && ok; i++)
        ok = buf_printf(&b, "rwkv_jobs_total{finish=\"%s\"} %llu\n", ends[i],
                        (unsigned long long)st.jobs_done[i]);
    metrics *m = &s->metrics;
    ok = ok && put_requests(&b, s) &&
         histogram_write(&m->request, "rwkv_request_seconds", "From a request's head to its end",
                         &b) &&
         histogram_write(&m->first_token, "rwkv_first_token_seconds",
                         "From a request's head to its first token", &b) &&
         histogram_write(&m->between_tokens, "rwkv_between_tokens_seconds",
                         "Between two tokens of an answer", &b) &&
         histogram_write(&m->queued, "rwkv_queue_seconds", "Waiting for a lane", &b);
    reply_buf(r, 200, "text/plain; version=0.0.4; charset=utf-8", &b, ok);
}

/* ------------------------------------------------------------------ description */

void api_openapi(request *r) {
    reply_text(r, 200, "application/json", server_openapi);
}

void api_page(request *r) {
    reply_text(r, 200, "text/html; charset=utf-8",
               "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>rwkv</title>"
               "<h1>rwkv serve</h1><p>This is an OpenAI-compatible server for an RWKV language "
               "model. Point any OpenAI client at <code>/v1</code>.</p>"
               "<p><a href=\"/openapi.json\">/openapi.json</a> describes all paths; "
               "<a href=\"/health\">/health</a> says whether it is well.</p></html>\n");
}
