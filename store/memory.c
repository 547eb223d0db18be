/* memory.c - the store that forgets: for tests, and for servers that shall leave nothing behind.
 * Items hang in a hash table by space and name, and in their space's list by last use. */
#include "backend.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct room room;
typedef struct entry entry;

struct entry {
    entry *next;          /* of the same slot */
    entry *newer, *older; /* of the same room */
    room *room;
    char *name;
    void *note, *data;
    size_t n_note, n_data;
    uint64_t generation, ttl, hash;
    int64_t used;
};

struct room { /* a space */
    room *next;
    char *name;
    entry *newest, *oldest;
    uint64_t n_items, n_bytes;
};

typedef struct memory {
    store base;
    pthread_mutex_t lock;
    uint64_t generation;
    room *rooms;
    entry **slots;
    size_t n_slots, n_entries;
} memory;

static uint64_t hash_of(const char *space, const char *name) { /* FNV-1a */
    uint64_t h = 14695981039346656037u;
    for (const char *p = space; *p; p++) h = (h ^ (uint8_t)*p) * 1099511628211u;
    h = (h ^ 0xff) * 1099511628211u;
    for (const char *p = name; *p; p++) h = (h ^ (uint8_t)*p) * 1099511628211u;
    return h ^ h >> 29;
}

static entry **slot_of(memory *m, uint64_t hash) {
    return &m->slots[hash & (m->n_slots - 1)];
}

static bool grow(memory *m) {
    size_t n = m->n_slots ? 2 * m->n_slots : 64;
    entry **old = m->slots, **slots = calloc(n, sizeof *slots);
    if (!slots) return m->n_slots != 0; /* fuller is slower, not wrong */
    size_t n_old = m->n_slots;
    m->slots = slots;
    m->n_slots = n;
    for (size_t i = 0; i < n_old; i++) {
        for (entry *e = old[i], *next; e; e = next) {
            next = e->next;
            entry **slot = slot_of(m, e->hash);
            e->next = *slot;
            *slot = e;
        }
    }
    free(old);
    return true;
}

static void unlink_used(entry *e) {
    *(e->newer ? &e->newer->older : &e->room->newest) = e->older;
    *(e->older ? &e->older->newer : &e->room->oldest) = e->newer;
}

static void link_used(entry *e, int64_t now) {
    e->newer = NULL;
    e->older = e->room->newest;
    *(e->older ? &e->older->newer : &e->room->oldest) = e;
    e->room->newest = e;
    e->used = now;
}

static void mark_used(entry *e, int64_t now) {
    unlink_used(e);
    link_used(e, now);
}

static void wipe(void *p, size_t n) {
    if (p) rw_wipe(p, n);
    free(p);
}

static void drop(memory *m, entry *e) {
    entry **at = slot_of(m, e->hash);
    while (*at != e) at = &(*at)->next;
    *at = e->next;
    unlink_used(e);
    e->room->n_items--;
    e->room->n_bytes -= e->n_note + e->n_data;
    m->n_entries--;
    wipe(e->note, e->n_note);
    wipe(e->data, e->n_data);
    free(e->name);
    free(e);
}

static room *find_room(memory *m, const char *space) {
    room *r = m->rooms;
    while (r && strcmp(r->name, space) != 0) r = r->next;
    return r;
}

/* NULL: none, or one that had expired, which is removed. */
static entry *find(memory *m, const char *space, const char *name) {
    uint64_t h = hash_of(space, name);
    entry *e = m->n_slots ? *slot_of(m, h) : NULL;
    while (e && (e->hash != h || strcmp(e->name, name) != 0 || strcmp(e->room->name, space) != 0))
        e = e->next;
    if (!e || !store_expired(e->used, e->ttl, store_now())) return e;
    drop(m, e);
    return NULL;
}

/* An empty item that nothing refers to yet but the tables. */
static entry *add(memory *m, const char *space, const char *name) {
    room *r = find_room(m, space);
    entry *e;
    if (m->n_entries >= m->n_slots && !grow(m)) return NULL;
    if (!r) {
        if (!(r = calloc(1, sizeof *r)) || !(r->name = strdup(space))) {
            free(r);
            return NULL;
        }
        r->next = m->rooms;
        m->rooms = r;
    }
    if (!(e = calloc(1, sizeof *e)) || !(e->name = strdup(name))) {
        free(e);
        return NULL;
    }
    e->room = r;
    e->hash = hash_of(space, name);
    e->next = *slot_of(m, e->hash);
    *slot_of(m, e->hash) = e;
    link_used(e, store_now());
    r->n_items++;
    m->n_entries++;
    return e;
}

static bool describe(const entry *e, bool data, store_item *item) {
    if (!store_item_fill(item, e->name, e->note, e->n_note, data ? e->data : NULL, e->n_data))
        return false;
    item->generation = e->generation;
    item->used = e->used / 1000000;
    item->n_data = e->n_data;
    return true;
}

static store_result memory_get(store *s, const char *space, const char *name, bool data,
                               store_item *item, rwkv_error *err) {
    memory *m = (memory *)s;
    store_result r = STORE_OK;
    pthread_mutex_lock(&m->lock);
    entry *e = find(m, space, name);
    if (!e) {
        r = STORE_NONE;
    } else {
        mark_used(e, store_now());
        if (!describe(e, data, item)) r = store_nomem(err, e->n_data);
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}

static store_result memory_put(store *s, const store_write *w, uint64_t *generation,
                               rwkv_error *err) {
    memory *m = (memory *)s;
    store_item fresh = {0};
    store_result r = STORE_OK;
    if (!store_item_fill(&fresh, NULL, w->note ? w->note : "", w->n_note,
                         w->keep_data ? NULL
                         : w->data    ? w->data
                                      : "",
                         w->n_data))
        return store_nomem(err, w->n_data);
    pthread_mutex_lock(&m->lock);
    entry *e = find(m, w->space, w->name);
    uint64_t there = e ? e->generation : 0;
    if (w->expected != STORE_ANY && w->expected != there) {
        *generation = there;
        r = STORE_CONFLICT;
    } else if (w->keep_data && !e) {
        r = STORE_NONE;
    } else if (!e && !(e = add(m, w->space, w->name))) {
        r = store_nomem(err, sizeof *e);
    } else {
        e->room->n_bytes -= e->n_note;
        wipe(e->note, e->n_note);
        e->note = fresh.note;
        e->n_note = w->n_note;
        e->room->n_bytes += e->n_note;
        fresh.note = NULL;
        if (!w->keep_data) {
            e->room->n_bytes -= e->n_data;
            wipe(e->data, e->n_data);
            e->data = fresh.data;
            e->n_data = w->n_data;
            e->ttl = w->ttl;
            e->room->n_bytes += e->n_data;
            fresh.data = NULL;
        }
        mark_used(e, store_now());
        *generation = e->generation = ++m->generation;
    }
    pthread_mutex_unlock(&m->lock);
    store_item_free(&fresh);
    return r;
}

static store_result memory_remove(store *s, const char *space, const char *name, uint64_t expected,
                                  rwkv_error *err) {
    memory *m = (memory *)s;
    store_result r = STORE_OK;
    (void)err;
    pthread_mutex_lock(&m->lock);
    entry *e = find(m, space, name);
    if (!e)
        r = STORE_NONE;
    else if (expected != STORE_ANY && expected != e->generation)
        r = STORE_CONFLICT;
    else
        drop(m, e);
    pthread_mutex_unlock(&m->lock);
    return r;
}

static store_result memory_touch(store *s, const char *space, const char *name, rwkv_error *err) {
    memory *m = (memory *)s;
    (void)err;
    pthread_mutex_lock(&m->lock);
    entry *e = find(m, space, name);
    if (e) mark_used(e, store_now());
    pthread_mutex_unlock(&m->lock);
    return e ? STORE_OK : STORE_NONE;
}

static store_result memory_list(store *s, const char *space, store_items *out, rwkv_error *err) {
    memory *m = (memory *)s;
    store_result r = STORE_OK;
    int64_t now = store_now();
    pthread_mutex_lock(&m->lock);
    room *at = find_room(m, space);
    for (entry *e = at ? at->newest : NULL; e && !r; e = e->older) {
        if (store_expired(e->used, e->ttl, now)) continue;
        store_item *item = store_items_add(out);
        if (!item || !describe(e, false, item)) r = store_nomem(err, sizeof *item);
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}

static store_result memory_usage(store *s, const char *space, uint64_t *n_items, uint64_t *n_bytes,
                                 rwkv_error *err) {
    memory *m = (memory *)s;
    (void)err;
    pthread_mutex_lock(&m->lock);
    room *at = find_room(m, space);
    if (at) *n_items = at->n_items, *n_bytes = at->n_bytes;
    pthread_mutex_unlock(&m->lock);
    return STORE_OK;
}

static store_result memory_trim(store *s, const char *space, uint64_t max_bytes, rwkv_error *err) {
    memory *m = (memory *)s;
    int64_t now = store_now();
    (void)err;
    pthread_mutex_lock(&m->lock);
    for (room *at = m->rooms; at; at = at->next) {
        for (entry *e = at->newest, *older; e; e = older) {
            older = e->older;
            if (store_expired(e->used, e->ttl, now)) drop(m, e);
        }
    }
    room *at = space ? find_room(m, space) : NULL;
    while (at && at->oldest && at->n_bytes > max_bytes) drop(m, at->oldest);
    pthread_mutex_unlock(&m->lock);
    return STORE_OK;
}

static void memory_close(store *s) {
    memory *m = (memory *)s;
    while (m->rooms) {
        room *r = m->rooms;
        while (r->oldest) drop(m, r->oldest);
        m->rooms = r->next;
        free(r->name);
        free(r);
    }
    free(m->base.url);
    free(m->slots);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

rwkv_status store_open_memory(store **out, const char *where, rwkv_error *err) {
    static const store_backend backend = {memory_close, memory_get,  memory_put,   memory_remove,
                                          memory_touch, memory_list, memory_usage, memory_trim};
    if (*where) return rw_fail(err, RWKV_E_ARG, "memory:%s: nothing may follow memory:", where);
    memory *m = calloc(1, sizeof *m);
    if (!m || pthread_mutex_init(&m->lock, NULL)) {
        free(m);
        return rw_nomem(err, sizeof *m);
    }
    m->base.backend = &backend;
    *out = &m->base;
    return RWKV_OK;
}
