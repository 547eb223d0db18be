/* sessions.c - sessions in the store: the record, and what can be done with one without evaluating
 * anything. */
#include "sessions.h"
#include "engine_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* data: magic, flags, n_tokens, n_turns, turns, tokens, state blob. note: magic, n_tokens, n_turns,
 * created, the caller's. An exported file carries a head of the first form (without blob, but with
 * the caller's note) as the note of a state blob. */
static const char magic[8] = "RWKVSES1";
enum { HEAD = 32, NAME_MAX_LEN = 64, SPACE_LEN = STORE_NAME_MAX + 1 };

/* ------------------------------------------------------------------ bytes */

static void put64(uint8_t *p, uint64_t x) {
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(x >> (8 * i));
}

static uint64_t get64(const uint8_t *p) {
    uint64_t x = 0;
    for (int i = 8; i-- > 0;) x = x << 8 | p[i];
    return x;
}

static void put_head(uint8_t *p, uint64_t a, uint64_t b, uint64_t c) {
    memcpy(p, magic, 8);
    put64(p + 8, a);
    put64(p + 16, b);
    put64(p + 24, c);
}

static store_result failed(rwkv_error *err, store_result result, rwkv_status code, const char *name,
                           const char *what) {
    if (err) {
        *err = (rwkv_error){.code = code, .offset = RWKV_NO_OFFSET};
        snprintf(err->message, sizeof err->message, "session \"%s\": %s", name, what);
    }
    return result;
}

static store_result no_memory(rwkv_error *err, const char *name) {
    return failed(err, STORE_FAILED, RWKV_E_NOMEM, name, "out of memory");
}

static store_result damaged(rwkv_error *err, const char *name) {
    return failed(err, STORE_FAILED, RWKV_E_STATE, name, "the record in the store is damaged");
}

bool session_name_ok(const char *name) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = name ? strlen(name) : 0;
    return n >= 1 && n <= NAME_MAX_LEN && strspn(name, allowed) == n;
}

static bool space_of(const char *tenant, char space[static SPACE_LEN]) {
    int n = snprintf(space, SPACE_LEN, "session/%s", tenant);
    return n > 0 && n < SPACE_LEN;
}

static store_result check_names(const char *tenant, const char *name, char space[static SPACE_LEN],
                                rwkv_error *err) {
    if (session_name_ok(name) && space_of(tenant, space)) return STORE_OK;
    return failed(err, STORE_NONE, RWKV_E_ARG, "",
                  "expected a name of 1 to 64 letters, digits, '.', '_' or '-'");
}

/* ------------------------------------------------------------------ the record */

/* Turns and tokens as both forms have them; NULL for memory. */
static size_t lists_size(const session_record *r) {
    return HEAD + r->n_turns * 8 + r->n_tokens * 4;
}

static void put_lists(uint8_t *p, const session_record *r) {
    put_head(p, r->flags, r->n_tokens, r->n_turns);
    p += HEAD;
    for (size_t i = 0; i < r->n_turns; i++, p += 8) put64(p, r->turns[i]);
    for (size_t i = 0; i < r->n_tokens; i++, p += 4)
        for (int b = 0; b < 4; b++) p[b] = (uint8_t)((uint32_t)r->tokens[i] >> (8 * b));
}

/* What put_lists wrote, from untrusted bytes; *rest is what follows it. STORE_NONE: it is something
 * else. */
static store_result get_lists(const uint8_t *p, size_t n, session_record *r, const uint8_t **rest) {
    if (n < HEAD || memcmp(p, magic, 8) != 0) return STORE_NONE;
    const uint64_t n_tokens = get64(p + 16), n_turns = get64(p + 24), room = n - HEAD;
    if (n_turns > room / 8 || n_tokens > (room - n_turns * 8) / 4) return STORE_NONE;
    r->flags = get64(p + 8);
    r->n_tokens = (size_t)n_tokens;
    r->n_turns = (size_t)n_turns;
    r->turns = malloc((r->n_turns + 1) * sizeof *r->turns);
    r->tokens = malloc((r->n_tokens + 1) * sizeof *r->tokens);
    if (!r->turns || !r->tokens) return STORE_FAILED;
    p += HEAD;
    for (size_t i = 0; i < r->n_turns; i++, p += 8) {
        r->turns[i] = get64(p);
        if (r->turns[i] > n_tokens || (i && r->turns[i] < r->turns[i - 1])) return STORE_NONE;
    }
    for (size_t i = 0; i < r->n_tokens; i++, p += 4)
        r->tokens[i] = (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                                 (uint32_t)p[3] << 24);
    *rest = p;
    return STORE_OK;
}

void session_record_drop_blob(session_record *r) {
    free(r->data);
    r->data = NULL;
    r->blob = NULL;
    r->n_blob = 0;
}

void session_record_free(session_record *r) {
    free(r->tokens);
    free(r->turns);
    free(r->note);
    free(r->data);
    *r = (session_record){0};
}

store_result session_record_get(store *st, const char *tenant, const char *name,
                                session_record *out, rwkv_error *err) {
    char space[SPACE_LEN];
    store_item item = {0};
    session_record r = {0};
    store_result result = check_names(tenant, name, space, err);
    if (result == STORE_OK) result = store_get(st, space, name, true, &item, err);
    if (result == STORE_NONE) return failed(err, result, RWKV_E_ARG, name, "there is none");
    if (result != STORE_OK) return result;
    const uint8_t *note = item.note, *blob;
    if (item.n_note < HEAD || memcmp(note, magic, 8) != 0) {
        result = damaged(err, name);
        goto out;
    }
    result = get_lists(item.data, (size_t)item.n_data, &r, &blob);
    if (result != STORE_OK) {
        result = result == STORE_NONE ? damaged(err, name) : no_memory(err, name);
        goto out;
    }
    r.generation = item.generation;
    r.created = (int64_t)get64(note + 24);
    r.n_note = item.n_note - HEAD;
    if (!(r.note = malloc(r.n_note + 1))) {
        result = no_memory(err, name);
        goto out;
    }
    memcpy(r.note, note + HEAD, r.n_note);
    r.blob = blob;
    r.n_blob = (size_t)((const uint8_t *)item.data + item.n_data - blob);
    r.data = item.data;
    item.data = NULL;
    *out = r;
    r = (session_record){0};
out:
    session_record_free(&r);
    store_item_free(&item);
    return result;
}

/* Would one more, or a larger one, be too much? */
static store_result check_limits(store *st, const session_limits *limits, const char *space,
                                 const char *name, bool is_new, uint64_t n_data, rwkv_error *err) {
    uint64_t n_items, n_bytes, old = 0;
    if (!limits->quota && !is_new) return STORE_OK;
    store_result result = store_usage(st, space, &n_items, &n_bytes, err);
    if (result != STORE_OK) return result;
    if (is_new && n_items >= limits->max_sessions)
        return failed(err, STORE_FULL, RWKV_E_SPACE, name,
                      "not saved: too many sessions; delete some");
    store_item item = {0};
    if (!is_new && store_get(st, space, name, false, &item, NULL) == STORE_OK) old = item.n_data;
    store_item_free(&item);
    if (limits->quota && n_bytes - old + n_data > limits->quota)
        return failed(err, STORE_FULL, RWKV_E_SPACE, name,
                      "not saved: the quota of bytes is used up; delete sessions");
    return STORE_OK;
}

static store_result put_bytes(store *st, const session_limits *limits, const char *tenant,
                              const char *name, session_record *r, const void *data, size_t n_data,
                              rwkv_error *err) {
    char space[SPACE_LEN];
    store_result result = check_names(tenant, name, space, err);
    if (result != STORE_OK) return result;
    if (r->n_note > STORE_NOTE_MAX - HEAD)
        return failed(err, STORE_FAILED, RWKV_E_ARG, name, "the note is too long");
    result = check_limits(st, limits, space, name, r->generation == 0, n_data, err);
    if (result != STORE_OK) return result;
    uint8_t *note = malloc(HEAD + r->n_note);
    if (!note) return no_memory(err, name);
    put_head(note, r->n_tokens, r->n_turns, (uint64_t)r->created);
    if (r->n_note) memcpy(note + HEAD, r->note, r->n_note);
    uint64_t generation = 0;
    result = store_put(st, space, name, note, HEAD + r->n_note, data, n_data, r->generation,
                       limits->ttl, &generation, err);
    free(note);
    if (result == STORE_OK) r->generation = generation;
    if (result != STORE_CONFLICT) return result;
    failed(err, result, RWKV_E_STATE, name, "");
    if (err)
        snprintf(err->message, sizeof err->message,
                 "session \"%s\": conflict: found generation %llu; expected %llu (another request "
                 "was faster)",
                 name, (unsigned long long)generation, (unsigned long long)r->generation);
    return result;
}

store_result session_record_put(store *st, const session_limits *limits, const char *tenant,
                                const char *name, session_record *r, const rwkv_session *s,
                                rwkv_error *err) {
    const size_t n_lists = lists_size(r);
    size_t n_blob = 0;
    if (rwkv_session_save(s, NULL, 0, 0, NULL, 0, &n_blob, err) != RWKV_E_SPACE)
        return STORE_FAILED;
    uint8_t *data = malloc(n_lists + n_blob);
    if (!data) return no_memory(err, name);
    put_lists(data, r);
    store_result result = STORE_FAILED;
    if (rwkv_session_save(s, NULL, 0, 0, data + n_lists, n_blob, &n_blob, err) == RWKV_OK)
        result = put_bytes(st, limits, tenant, name, r, data, n_lists + n_blob, err);
    free(data);
    return result;
}

/* ------------------------------------------------------------------ lists */

void session_info_free(session_info *i) {
    free(i->note);
    *i = (session_info){0};
}

/* *out points into the item. False: not a session. */
static bool describe(const store_item *item, session_info *out) {
    const uint8_t *note = item->note;
    if (item->n_note < HEAD || memcmp(note, magic, 8) != 0) return false;
    *out = (session_info){.generation = item->generation,
                          .n_tokens = get64(note + 8),
                          .n_turns = get64(note + 16),
                          .n_bytes = item->n_data,
                          .created = (int64_t)get64(note + 24),
                          .used = item->used,
                          .n_note = item->n_note - HEAD,
                          .note = item->n_note > HEAD ? (uint8_t *)item->note + HEAD : NULL};
    snprintf(out->name, sizeof out->name, "%s", item->name);
    return true;
}

store_result session_get(engine *e, const char *tenant, const char *name, session_info *out,
                         rwkv_error *err) {
    char space[SPACE_LEN];
    store_item item = {0};
    store_result result = check_names(tenant, name, space, err);
    if (result == STORE_OK) result = store_get(e->store, space, name, false, &item, err);
    if (result == STORE_NONE) failed(err, result, RWKV_E_ARG, name, "there is none");
    if (result != STORE_OK) return result;
    session_info info;
    if (!describe(&item, &info)) {
        result = damaged(err, name);
    } else if (info.n_note && !(info.note = malloc(info.n_note))) {
        result = no_memory(err, name);
    } else {
        if (info.n_note) memcpy(info.note, (uint8_t *)item.note + HEAD, info.n_note);
        *out = info;
    }
    store_item_free(&item);
    return result;
}

typedef struct list_job {
    bool (*fn)(void *user, const session_info *i);
    void *user;
} list_job;

static bool list_one(void *user, const store_item *item) {
    const list_job *j = user;
    session_info info;
    return !describe(item, &info) || j->fn(j->user, &info);
}

store_result session_list(engine *e, const char *tenant,
                          bool (*fn)(void *user, const session_info *i), void *user,
                          rwkv_error *err) {
    char space[SPACE_LEN];
    list_job j = {fn, user};
    if (!space_of(tenant, space)) return STORE_NONE;
    return store_list(e->store, space, list_one, &j, err);
}

/* ------------------------------------------------------------------ copies */

static session_limits limits_of(const engine *e) {
    return (session_limits){e->options.session_ttl, e->options.session_quota,
                            e->options.max_sessions};
}

static store_result copy_to(engine *e, const char *tenant, const char *name, const char *to,
                            bool keep_created, uint64_t *generation, rwkv_error *err) {
    session_record r = {0};
    session_limits limits = limits_of(e);
    if (!session_name_ok(to))
        return failed(err, STORE_FAILED, RWKV_E_ARG, "",
                      "expected a name of 1 to 64 letters, digits, '.', '_' or '-'");
    store_result result = session_record_get(e->store, tenant, name, &r, err);
    if (result != STORE_OK) return result;
    *generation = r.generation;
    r.generation = 0;
    if (!keep_created) r.created = (int64_t)time(NULL);
    const size_t n_data = lists_size(&r) + r.n_blob;
    result = put_bytes(e->store, &limits, tenant, to, &r, r.data, n_data, err);
    session_record_free(&r);
    return result;
}

store_result session_fork(engine *e, const char *tenant, const char *name, const char *to,
                          rwkv_error *err) {
    uint64_t generation;
    return copy_to(e, tenant, name, to, false, &generation, err);
}

/* The copy comes first: at no time is there none. */
store_result session_rename(engine *e, const char *tenant, const char *name, const char *to,
                            rwkv_error *err) {
    char space[SPACE_LEN];
    uint64_t generation;
    store_result result = copy_to(e, tenant, name, to, true, &generation, err);
    if (result != STORE_OK || !space_of(tenant, space)) return result;
    result = store_delete(e->store, space, name, generation, err);
    if (result == STORE_OK) return result;
    store_delete(e->store, space, to, STORE_ANY,
                 NULL); /* it went on meanwhile: nothing was renamed */
    return result;
}

store_result session_delete(engine *e, const char *tenant, const char *name, rwkv_error *err) {
    char space[SPACE_LEN];
    store_result result = check_names(tenant, name, space, err);
    if (result == STORE_OK) result = store_delete(e->store, space, name, STORE_ANY, err);
    if (result == STORE_NONE) failed(err, result, RWKV_E_ARG, name, "there is none");
    return result;
}

store_result session_set_note(engine *e, const char *tenant, const char *name, uint64_t expected,
                              const void *note, size_t n_note, uint64_t *generation,
                              rwkv_error *err) {
    char space[SPACE_LEN];
    store_item item = {0};
    uint64_t ignored;
    store_result result = check_names(tenant, name, space, err);
    if (result == STORE_OK && n_note > STORE_NOTE_MAX - HEAD)
        return failed(err, STORE_FAILED, RWKV_E_ARG, name, "the note is too long");
    if (result == STORE_OK) result = store_get(e->store, space, name, false, &item, err);
    if (result == STORE_NONE) failed(err, result, RWKV_E_ARG, name, "there is none");
    if (result != STORE_OK) return result;
    uint8_t *whole = malloc(HEAD + n_note);
    if (item.n_note < HEAD) {
        result = damaged(err, name);
    } else if (!whole) {
        result = no_memory(err, name);
    } else {
        memcpy(whole, item.note, HEAD);
        if (n_note) memcpy(whole + HEAD, note, n_note);
        result = store_put_note(e->store, space, name, whole, HEAD + n_note,
                                expected == STORE_ANY ? item.generation : expected,
                                generation ? generation : &ignored, err);
    }
    free(whole);
    store_item_free(&item);
    return result;
}

/* ------------------------------------------------------------------ files */

store_result session_export(engine *e, const char *tenant, const char *name, void **data, size_t *n,
                            rwkv_error *err) {
    session_record r = {0};
    rwkv_session *s = NULL;
    uint8_t *note = NULL;
    void *file = NULL;
    size_t len = 0;
    store_result result = session_record_get(e->store, tenant, name, &r, err);
    if (result != STORE_OK) return result;
    result = STORE_FAILED;
    const size_t n_lists = lists_size(&r), n_note = n_lists + r.n_note;
    if (rwkv_session_new(&s, e->model, err) != RWKV_OK ||
        rwkv_session_load(s, r.blob, r.n_blob, NULL, err) != RWKV_OK)
        goto out;
    if (!(note = malloc(n_note))) {
        no_memory(err, name);
        goto out;
    }
    put_lists(note, &r);
    if (r.n_note) memcpy(note + n_lists, r.note, r.n_note);
    if (rwkv_session_save(s, note, n_note, 0, NULL, 0, &len, err) != RWKV_E_SPACE) goto out;
    if (!(file = malloc(len))) {
        no_memory(err, name);
        goto out;
    }
    if (rwkv_session_save(s, note, n_note, 0, file, len, n, err) != RWKV_OK) goto out;
    *data = file;
    file = NULL;
    result = STORE_OK;
out:
    free(file);
    free(note);
    rwkv_session_free(s);
    session_record_free(&r);
    return result;
}

/* Nothing in a file is believed but the state itself: no snapshot of it is kept. A state that was
 * not exported here has no tokens; it can be continued but not rewound. */
static store_result read_file(engine *e, const char *name, const rwkv_state_info *info,
                              session_record *r, rwkv_error *err) {
    const uint8_t *rest, *note = info->note;
    store_result result = get_lists(note, info->note_len, r, &rest);
    if (result == STORE_FAILED) return no_memory(err, name);
    for (size_t i = 0; result == STORE_OK && i < r->n_tokens; i++)
        if (r->tokens[i] < 0 || (uint32_t)r->tokens[i] >= e->info.n_vocab) result = STORE_NONE;
    if (result == STORE_NONE) {
        session_record_free(r);
    } else {
        r->flags &= SESSION_ROOTED;
        r->n_note = (size_t)(note + info->note_len - rest);
        if (!(r->note = malloc(r->n_note + 1))) return no_memory(err, name);
        memcpy(r->note, rest, r->n_note);
    }
    r->created = (int64_t)time(NULL);
    return STORE_OK;
}

store_result session_import(engine *e, const char *tenant, const char *name, const void *data,
                            size_t n, rwkv_error *err) {
    session_record r = {0};
    session_limits limits = limits_of(e);
    rwkv_state_info info;
    rwkv_session *s = NULL;
    store_result result = STORE_FAILED;
    if (!session_name_ok(name))
        return failed(err, STORE_FAILED, RWKV_E_ARG, "",
                      "expected a name of 1 to 64 letters, digits, '.', '_' or '-'");
    if (rwkv_session_new(&s, e->model, err) == RWKV_OK &&
        rwkv_session_load(s, data, n, &info, err) == RWKV_OK)
        result = read_file(e, name, &info, &r, err);
    if (result == STORE_OK)
        result = session_record_put(e->store, &limits, tenant, name, &r, s, err);
    session_record_free(&r);
    rwkv_session_free(s);
    return result;
}
