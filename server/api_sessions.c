/* api_sessions.c - /v1/sessions: named timelines of a tenant. A session that is unknown and one of
 * another tenant look the same. */
#include "answer.h"
#include "params.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h> /* macOS */
#include <unistd.h>

static json_t *describe(const session_info *i) {
    json_t *o =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "id", i->name, "object", "session",
                  "generation", (json_int_t)i->generation, "tokens", (json_int_t)i->n_tokens,
                  "turns", (json_int_t)i->n_turns, "bytes", (json_int_t)i->n_bytes, "created",
                  (json_int_t)i->created, "used", (json_int_t)i->used);
    json_t *note = i->n_note ? json_loadb(i->note, i->n_note, 0, NULL) : NULL;
    json_t *title = json_object_get(note, "title"), *kind = json_object_get(note, "kind");
    json_object_set(o, "title", title ? title : json_null());
    if (kind) json_object_set(o, "kind", kind);
    json_decref(note);
    return o;
}

static bool check_name(request *r, const char *name, const char *param) {
    if (is_name(name)) return true;
    reply_error(r, 400, param, "invalid_value", "%s: expected 1 to 64 of A-Z a-z 0-9 . _ -", param);
    return false;
}

static void reply_session(request *r, int status, const char *name) {
    session_info i = {0};
    rwkv_error err = {0};
    store_result found = session_get(r->server->engine, r->tenant, name, &i, &err);
    if (found != STORE_OK) {
        reply_store_error(r, found, &err, "session");
        return;
    }
    reply_json(r, status, describe(&i));
    session_info_free(&i);
}

/* ------------------------------------------------------------------ list, get, change */

static bool add_session(void *user, const session_info *i) {
    return json_array_append_new(user, describe(i)) == 0;
}

void api_sessions(request *r) {
    json_t *list = json_array();
    rwkv_error err = {0};
    store_result found = session_list(r->server->engine, r->tenant, add_session, list, &err);
    if (found != STORE_OK) {
        json_decref(list);
        reply_store_error(r, found, &err, "sessions");
        return;
    }
    reply_json(r, 200, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

void api_session(request *r) {
    if (check_name(r, r->name, "name")) reply_session(r, 200, r->name);
}

/* A copy of the note with another title. */
static char *retitled(const session_info *i, const char *title) {
    json_t *note = i->n_note ? json_loadb(i->note, i->n_note, 0, NULL) : NULL;
    if (!json_is_object(note)) {
        json_decref(note);
        note = json_object();
    }
    json_object_set_new(note, "title", json_string(title));
    char *text = json_dumps(note, JSON_COMPACT);
    json_decref(note);
    return text;
}

static store_result set_title(request *r, const char *title, rwkv_error *err) {
    session_info i = {0};
    engine *e = r->server->engine;
    store_result done = session_get(e, r->tenant, r->name, &i, err);
    if (done != STORE_OK) return done;
    char *note = retitled(&i, title);
    uint64_t generation;
    done = note ? session_set_note(e, r->tenant, r->name, i.generation, note, strlen(note),
                                   &generation, err)
                : STORE_FAILED;
    free(note);
    session_info_free(&i);
    return done;
}

/* {"title": ..., "name": new name} */
void api_session_change(request *r) {
    json_t *o = params_read(r);
    const char *title = NULL, *name = NULL;
    rwkv_error err = {0};
    store_result done = STORE_OK;
    if (o && check_name(r, r->name, "name") && param_string(r, o, "title", 200, &title) &&
        param_string(r, o, "name", 64, &name) && (!name || check_name(r, name, "name"))) {
        if (title) done = set_title(r, title, &err);
        if (done == STORE_OK && name && strcmp(name, r->name) != 0) {
            done = session_rename(r->server->engine, r->tenant, r->name, name, &err);
        }
        if (done == STORE_OK)
            reply_session(r, 200, name ? name : r->name);
        else
            reply_store_error(r, done, &err, "session");
    }
    json_decref(o);
}

void api_session_delete(request *r) {
    rwkv_error err = {0};
    if (!check_name(r, r->name, "name")) return;
    store_result done = session_delete(r->server->engine, r->tenant, r->name, &err);
    if (done != STORE_OK) {
        reply_store_error(r, done, &err, "session");
        return;
    }
    reply_json(
        r, 200,
        json_pack("{s:s, s:s, s:b}", "id", r->name, "object", "session.deleted", "deleted", 1));
}

/* {"name": of the copy} */
void api_session_fork(request *r) {
    json_t *o = params_read(r);
    const char *to = NULL;
    rwkv_error err = {0};
    if (o && check_name(r, r->name, "name") && param_string(r, o, "name", 64, &to)) {
        if (!to) {
            param_wrong(r, "name", NULL, "the name of the copy");
        } else if (check_name(r, to, "name")) {
            store_result done = session_fork(r->server->engine, r->tenant, r->name, to, &err);
            if (done == STORE_OK)
                reply_session(r, 201, to);
            else
                reply_store_error(r, done, &err, "session");
        }
    }
    json_decref(o);
}

/* ------------------------------------------------------------------ rewind, create: jobs */

static void reply_read(reading *w) {
    if (!reading_failed(w)) reply_session(w->r, w->n_data ? 201 : 200, w->data);
}

/* {"turns": how many stay} */
void api_session_rewind(request *r) {
    json_t *o = params_read(r);
    json_int_t turns = -1;
    rwkv_error err = {0};
    if (o && check_name(r, r->name, "name") && param_integer(r, o, "turns", 0, INT32_MAX, &turns)) {
        reading *w = turns < 0 ? NULL : reading_new(r);
        if (turns < 0) param_wrong(r, "turns", NULL, "the number of turns that stay");
        if (w) {
            w->then = reply_read;
            w->data = strdup(r->name);
            submit_result result = session_rewind(r->server->engine, r->tenant, r->name,
                                                  (uint64_t)turns, reading_event, w, &err);
            reading_submitted(w, result, NULL, 1, &err);
        }
    }
    json_decref(o);
}

static char *new_name(void) {
    uint8_t random[16];
    char *name = malloc(2 * sizeof random + 3);
    if (!name || getentropy(random, sizeof random) != 0) {
        free(name);
        return NULL;
    }
    memcpy(name, "s-", 2);
    for (size_t i = 0; i < sizeof random; i++) snprintf(name + 2 + 2 * i, 3, "%02x", random[i]);
    return name;
}

static bool read_beginning(request *r, const json_t *o, bool after_text, ask *a) {
    const json_t *v = param_get(o, "messages"), *text = param_get(o, "prompt");
    message_list m = {0};
    bool ok = true;
    a->n_prompts = 1;
    if (v) {
        ok = messages_read(r, v, &m) && prompt_of_history(r, &m, after_text, &a->prompts[0]);
    } else if (json_is_string(text)) {
        ok = prompt_from_text(r, "prompt", json_string_value(text), json_string_length(text),
                              !a->state, false, &a->prompts[0]);
    } else if (!a->state) {
        ok = param_wrong(r, "messages", NULL, "messages, a prompt or a state to begin with");
    }
    messages_free(&m);
    return ok;
}

/* {"name", "title", and one of "messages", "prompt", "state"}: read, not answered. */
void api_session_create(request *r) {
    json_t *o = params_read(r), *named = NULL;
    ask *a = o ? calloc(1, sizeof *a) : NULL;
    const char *name = NULL, *title = "";
    char *random = NULL;
    bool after_text = false;
    rwkv_error err = {0};
    double wait = 1;
    if (!a || !param_string(r, o, "name", 64, &name) || !param_string(r, o, "title", 200, &title))
        goto out;
    if (!name) name = random = new_name();
    if (!name || !check_name(r, name, "name")) goto out;
    named = json_copy(o);
    json_object_set_new(named, "session", json_string(name));
    a->n = 1;
    if (!ask_timeline(r, named, a, &after_text)) goto out;
    if (!a->create_session) {
        reply_error(r, 409, "name", "conflict", "there is a session named \"%s\"", name);
        goto out;
    }
    if (!read_beginning(r, o, after_text, a)) goto out;
    json_t *note = json_pack("{s:s, s:s}", "kind", "chat", "title", title);
    a->note = note ? json_dumps(note, JSON_COMPACT) : NULL;
    json_decref(note);
    rwkv_sampling_preset(&a->how, "greedy");
    reading *w = reading_new(r);
    if (!w) goto out;
    w->then = reply_read;
    w->data = strdup(name);
    w->n_data = strlen(name);
    job *made = NULL;
    job_request j = {.tenant = r->tenant,
                     .request_id = r->id,
                     .tokens = a->prompts[0].tokens,
                     .n_tokens = a->prompts[0].n,
                     .marks = a->prompts[0].marks,
                     .n_marks = a->prompts[0].n_marks,
                     .session = name,
                     .create_session = true,
                     .note = a->note,
                     .n_note = a->note ? strlen(a->note) : 0,
                     .state = a->state,
                     .n_state = a->n_state,
                     .sampling = a->how,
                     .on_event = reading_event,
                     .user = w};
    submit_result result = engine_submit(r->server->engine, &j, &made, &wait, &err);
    reading_submitted(w, result, made, wait, &err);
out:
    if (o && !r->ready && !r->user) reply_error(r, 503, NULL, "out_of_memory", "out of memory");
    if (a) ask_free(a);
    free(a);
    free(random);
    json_decref(named);
    json_decref(o);
}

/* ------------------------------------------------------------------ files */

void api_session_export(request *r) {
    void *data = NULL;
    size_t n = 0;
    rwkv_error err = {0};
    if (!check_name(r, r->name, "name")) return;
    store_result done = session_export(r->server->engine, r->tenant, r->name, &data, &n, &err);
    if (done == STORE_OK)
        reply(r, 200, "application/octet-stream", data, n);
    else
        reply_store_error(r, done, &err, "session");
}

void api_session_import(request *r) {
    rwkv_error err = {0};
    if (!check_name(r, r->name, "name")) return;
    store_result done =
        session_import(r->server->engine, r->tenant, r->name, r->body.data, r->body.len, &err);
    if (done == STORE_OK)
        reply_session(r, 201, r->name);
    else
        reply_store_error(r, done, &err, "session");
}
