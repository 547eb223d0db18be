/* store.c - the common front of all stores: opens one by its URL, refuses names and sizes that no
 * backend could keep, and calls what a list found without any lock held. */
#include "backend.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

rwkv_status store_open(store **out, const char *url, rwkv_error *err) {
    static const struct {
        const char *scheme;
        rwkv_status (*open)(store **out, const char *where, rwkv_error *err);
        bool whole; /* the backend parses the scheme too */
    } schemes[] = {
        {"memory:", store_open_memory, false},
        {"sqlite:", store_open_sqlite, false},
        {"redis://", store_open_redis, true},
        {"unix:", store_open_redis, true},
        {"rediss://", NULL, true},
        {"", store_open_sqlite, false},
    };
    store *s = NULL;
    size_t i = 0, n;
    *out = NULL;
    if (!url || !*url) return rw_fail(err, RWKV_E_ARG, "the store has no name");
    while ((n = strlen(schemes[i].scheme)) && strncmp(url, schemes[i].scheme, n) != 0) i++;
    if (!schemes[i].open) {
        return rw_fail(err, RWKV_E_UNSUPPORTED,
                       "%s: TLS to Redis is not built in; a tunnel (stunnel) offers it as redis://",
                       schemes[i].scheme);
    }
    if (!n && strstr(url, "://")) {
        return rw_fail(err, RWKV_E_ARG,
                       "unknown store %s; expected memory:, sqlite:PATH, redis://HOST or unix:PATH",
                       url);
    }
    RW_TRY(schemes[i].open(&s, schemes[i].whole ? url : url + n, err));

    if (!s->url && !(s->url = strdup(url))) {
        s->backend->close(s);
        return rw_nomem(err, strlen(url));
    }
    *out = s;
    return RWKV_OK;
}

void store_close(store *s) {
    if (s) s->backend->close(s);
}

const char *store_url(const store *s) {
    return s->url;
}

void store_item_free(store_item *item) {
    free(item->name);
    free(item->note);
    free(item->data);
    *item = (store_item){0};
}

/* ------------------------------------------------------------------ for the backends */

int64_t store_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t store_grain(uint64_t ttl) {
    return ttl && ttl < 600 ? (int64_t)ttl * 100000 : 60000000;
}

bool store_expired(int64_t used, uint64_t ttl, int64_t now) {
    return ttl && (now - used) / 1000000 >= (int64_t)ttl;
}

store_result store_nomem(rwkv_error *err, size_t bytes) {
    rw_nomem(err, bytes);
    return STORE_FAILED;
}

static void *copy(const void *p, size_t n) {
    char *to = malloc(n + 1); /* also of nothing, and text is NUL-terminated */
    if (!to) return NULL;
    if (n) memcpy(to, p, n);
    to[n] = 0;
    return to;
}

bool store_item_fill(store_item *item, const char *name, const void *note, size_t n_note,
                     const void *data, size_t n_data) {
    if ((name && !(item->name = copy(name, strlen(name)))) ||
        (note && !(item->note = copy(note, n_note))) ||
        (data && !(item->data = copy(data, n_data)))) {
        store_item_free(item);
        return false;
    }
    if (note) item->n_note = n_note;
    return true;
}

store_item *store_items_add(store_items *l) {
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 32;
        store_item *more = realloc(l->items, cap * sizeof *more);
        if (!more) return NULL;
        l->items = more;
        l->cap = cap;
    }
    l->items[l->n] = (store_item){0};
    return &l->items[l->n++];
}

void store_items_free(store_items *l) {
    for (size_t i = 0; i < l->n; i++) store_item_free(&l->items[i]);
    free(l->items);
    *l = (store_items){0};
}

/* ------------------------------------------------------------------ the interface */

/* Visible ASCII without braces: Redis keys are made of it, with the space between braces. */
static store_result check_name(const char *what, const char *name, rwkv_error *err) {
    size_t n = name ? strlen(name) : 0;
    if (n == 0 || n > STORE_NAME_MAX) {
        rw_fail(err, RWKV_E_ARG, "store: %s of %zu bytes; expected 1 to %d", what, n,
                STORE_NAME_MAX);
        return STORE_FAILED;
    }
    for (const char *p = name; *p; p++) {
        if (*p > ' ' && *p <= '~' && *p != '{' && *p != '}') continue;
        rw_fail(err, RWKV_E_ARG, "store: %s '%s': byte 0x%02x is not allowed", what, name,
                (unsigned char)*p);
        return STORE_FAILED;
    }
    return STORE_OK;
}

static store_result check_names(const char *space, const char *name, rwkv_error *err) {
    store_result r = check_name("space", space, err);
    return r ? r : check_name("name", name, err);
}

store_result store_get(store *s, const char *space, const char *name, bool data, store_item *item,
                       rwkv_error *err) {
    *item = (store_item){0};
    store_result r = check_names(space, name, err);
    return r ? r : s->backend->get(s, space, name, data, item, err);
}

static store_result put(store *s, const store_write *w, uint64_t *generation, rwkv_error *err) {
    uint64_t ignored;
    store_result r = check_names(w->space, w->name, err);
    if (r) return r;
    if (w->n_note > STORE_NOTE_MAX) {
        rw_fail(err, RWKV_E_ARG, "store: note of %zu bytes; at most %d", w->n_note, STORE_NOTE_MAX);
        return STORE_FAILED;
    }
    if (w->ttl > UINT32_MAX) {
        rw_fail(err, RWKV_E_ARG, "store: time to live of %llu s; at most %u",
                (unsigned long long)w->ttl, UINT32_MAX);
        return STORE_FAILED;
    }
    return s->backend->put(s, w, generation ? generation : &ignored, err);
}

store_result store_put(store *s, const char *space, const char *name, const void *note,
                       size_t n_note, const void *data, size_t n_data, uint64_t expected,
                       uint64_t ttl, uint64_t *generation, rwkv_error *err) {
    store_write w = {space, name, note, data, n_note, n_data, false, expected, ttl};
    return put(s, &w, generation, err);
}

store_result store_put_note(store *s, const char *space, const char *name, const void *note,
                            size_t n_note, uint64_t expected, uint64_t *generation,
                            rwkv_error *err) {
    store_write w = {space, name, note, NULL, n_note, 0, true, expected, 0};
    return put(s, &w, generation, err);
}

store_result store_delete(store *s, const char *space, const char *name, uint64_t expected,
                          rwkv_error *err) {
    store_result r = check_names(space, name, err);
    return r ? r : s->backend->remove(s, space, name, expected, err);
}

store_result store_touch(store *s, const char *space, const char *name, rwkv_error *err) {
    store_result r = check_names(space, name, err);
    return r ? r : s->backend->touch(s, space, name, err);
}

store_result store_list(store *s, const char *space, store_list_fn fn, void *user,
                        rwkv_error *err) {
    store_items found = {0};
    store_result r = check_name("space", space, err);
    if (!r) r = s->backend->list(s, space, &found, err);
    for (size_t i = 0; !r && i < found.n; i++) {
        if (!fn(user, &found.items[i])) break;
    }
    store_items_free(&found);
    return r;
}

store_result store_usage(store *s, const char *space, uint64_t *n_items, uint64_t *n_bytes,
                         rwkv_error *err) {
    *n_items = *n_bytes = 0;
    store_result r = check_name("space", space, err);
    return r ? r : s->backend->usage(s, space, n_items, n_bytes, err);
}

store_result store_trim(store *s, const char *space, uint64_t max_bytes, rwkv_error *err) {
    store_result r = space ? check_name("space", space, err) : STORE_OK;
    return r ? r : s->backend->trim(s, space, max_bytes, err);
}
