/* api_states.c - initial states by name: documents read beforehand, tuned states. Those of the
 * command line are everybody's and fixed; others belong to the tenant that put them.
 *
 *     --state NAME=FILE | PUT /v1/states/NAME -> "state": "NAME" in a request */
#include "params.h"
#include "server.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

/* The space of a tenant's states in the store. */
static void space_of(const request *r, char space[64]) {
    snprintf(space, 64, "state/%s", r->tenant);
}

static const named_state *find_fixed(const server *s, const char *name) {
    for (size_t i = 0; i < s->n_states; i++) {
        if (strcmp(s->states[i].name, name) == 0) return &s->states[i];
    }
    return NULL;
}

static bool no_state(request *r, const char *name) {
    reply_error(r, 404, "state", "state_not_found", "there is no state named \"%s\"", name);
    return false;
}

static bool keep_copy(request *r, const void *data, size_t n, void **out, size_t *n_out) {
    *out = malloc(n);
    if (!*out) {
        reply_error(r, 503, NULL, "out_of_memory", "out of memory");
        return false;
    }
    memcpy(*out, data, n);
    *n_out = n;
    return true;
}

/* A blob that this model can load. */
static bool check_blob(request *r, const void *data, size_t n, uint64_t *n_tokens) {
    rwkv_state_info info;
    rwkv_error err = {0};
    const server *s = r->server;
    if (rwkv_state_inspect(data, n, &info, &err) != RWKV_OK) {
        reply_error(r, 400, "state", "bad_state", "%s", err.message);
        return false;
    }
    if (memcmp(info.fingerprint, s->info.fingerprint, sizeof info.fingerprint) != 0) {
        reply_error(r, 400, "state", "bad_state",
                    "state: it is of another model (fingerprint %02x%02x%02x%02x; this model has "
                    "%02x%02x%02x%02x)",
                    info.fingerprint[0], info.fingerprint[1], info.fingerprint[2],
                    info.fingerprint[3], s->info.fingerprint[0], s->info.fingerprint[1],
                    s->info.fingerprint[2], s->info.fingerprint[3]);
        return false;
    }
    *n_tokens = info.n_tokens;
    return true;
}

static bool find_stored(request *r, const char *name, void **data, size_t *n) {
    char space[64];
    store_item item = {0};
    rwkv_error err = {0};
    space_of(r, space);
    if (!r->server->store) return no_state(r, name);
    store_result found = store_get(r->server->store, space, name, true, &item, &err);
    if (found == STORE_NONE) return no_state(r, name);
    if (found != STORE_OK) {
        reply_store_error(r, found, &err, "state");
        return false;
    }
    bool ok = keep_copy(r, item.data, item.n_data, data, n);
    store_item_free(&item);
    return ok;
}

bool states_find(request *r, const char *value, size_t len, void **data, size_t *n,
                 uint64_t *n_tokens) {
    if (len <= 64) {
        if (!is_name(value) || strlen(value) != len) return no_state(r, "");
        const named_state *fixed = find_fixed(r->server, value);
        if (fixed ? !keep_copy(r, fixed->data, fixed->n, data, n)
                  : !find_stored(r, value, data, n)) {
            return false;
        }
    } else {
        *data = buf_from_base64(value, len, n);
        if (!*data) {
            reply_error(r, 400, "state", "bad_state", "state: this is no base64");
            return false;
        }
    }
    return check_blob(r, *data, *n, n_tokens);
}

/* ------------------------------------------------------------------ routes */

static json_t *describe(const char *name, const char *source, uint64_t n_tokens, size_t n) {
    return json_pack("{s:s, s:s, s:s, s:I, s:I}", "id", name, "object", "state", "source", source,
                     "tokens", (json_int_t)n_tokens, "bytes", (json_int_t)n);
}

static json_t *describe_item(const store_item *item) {
    char digits[24] = "0";
    size_t n = item->n_note < sizeof digits - 1 ? item->n_note : sizeof digits - 1;
    if (n) memcpy(digits, item->note, n); /* the note is the number of tokens */
    digits[n ? n : 1] = '\0';
    return describe(item->name, "put", strtoull(digits, NULL, 10), (size_t)item->n_data);
}

static bool list_item(void *user, const store_item *item) {
    return json_array_append_new(user, describe_item(item)) == 0;
}

void api_states(request *r) {
    const server *s = r->server;
    json_t *list = json_array();
    char space[64];
    rwkv_error err = {0};
    store_result found = STORE_OK;
    for (size_t i = 0; i < s->n_states; i++) {
        const named_state *st = &s->states[i];
        json_array_append_new(list, describe(st->name, "file", st->info.n_tokens, st->n));
    }
    space_of(r, space);
    if (s->store) found = store_list(s->store, space, list_item, list, &err);
    if (found != STORE_OK) {
        json_decref(list);
        reply_store_error(r, found, &err, "states");
        return;
    }
    reply_json(r, 200, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

static bool check_name(request *r, bool writing) {
    if (!is_name(r->name)) {
        reply_error(r, 400, "name", "invalid_value", "name: expected 1 to 64 of A-Z a-z 0-9 . _ -");
        return false;
    }
    if (writing && find_fixed(r->server, r->name)) {
        reply_error(r, 409, "name", "conflict", "this state was given on the command line");
        return false;
    }
    if (writing && !r->server->store) {
        reply_error(r, 400, NULL, "unsupported", "this server keeps no states");
        return false;
    }
    return true;
}

void api_state_put(request *r) {
    char space[64], note[24];
    uint64_t n_tokens = 0, n_items = 0, n_bytes = 0, generation;
    rwkv_error err = {0};
    if (!check_name(r, true) || !check_blob(r, r->body.data, r->body.len, &n_tokens)) return;
    space_of(r, space);
    store_result done = store_usage(r->server->store, space, &n_items, &n_bytes, &err);
    if (done == STORE_OK && n_items >= 1000) {
        reply_error(r, 400, NULL, "too_many_states", "the limit is 1000 states");
        return;
    }
    snprintf(note, sizeof note, "%llu", (unsigned long long)n_tokens);
    if (done == STORE_OK) {
        done = store_put(r->server->store, space, r->name, note, strlen(note), r->body.data,
                         r->body.len, STORE_ANY, 0, &generation, &err);
    }
    if (done == STORE_OK)
        reply_json(r, 200, describe(r->name, "put", n_tokens, r->body.len));
    else
        reply_store_error(r, done, &err, "state");
}

void api_state_get(request *r) {
    void *data = NULL;
    size_t n = 0;
    if (!check_name(r, false)) return;
    const named_state *fixed = find_fixed(r->server, r->name);
    bool ok =
        fixed ? keep_copy(r, fixed->data, fixed->n, &data, &n) : find_stored(r, r->name, &data, &n);
    if (ok) reply(r, 200, "application/octet-stream", data, n);
}

void api_state_delete(request *r) {
    char space[64];
    rwkv_error err = {0};
    if (!check_name(r, true)) return;
    space_of(r, space);
    store_result done = store_delete(r->server->store, space, r->name, STORE_ANY, &err);
    if (done == STORE_OK) {
        reply_json(r, 200, json_pack("{s:s, s:b}", "id", r->name, "deleted", 1));
    } else {
        reply_store_error(r, done, &err, "state");
    }
}
