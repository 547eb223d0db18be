/* backend.h - what a backend gives store.c, and the rules that all of them share.
 *
 *     store.h -> store.c checks arguments -> store_backend -> memory.c | sqlite.c | redis.c
 *
 * Generations come from one counter of the whole store (Redis: of the space), so one is never used
 * twice, also not after an item was deleted and made again. `used` is kept in microseconds; a get
 * or touch moves it only when it is older than store_grain, so that reading does not write every
 * time. An item that has expired is as good as gone from that moment, whoever removes it. */
#ifndef RWKV_STORE_BACKEND_H
#define RWKV_STORE_BACKEND_H

#include "base/base.h"
#include "store.h"

typedef struct store_write {
    const char *space, *name;
    const void *note, *data;
    size_t n_note, n_data;
    bool keep_data; /* the note only; ttl stays too */
    uint64_t expected, ttl;
} store_write;

typedef struct store_items { /* what a list collects; zero-initialise */
    store_item *items;
    size_t n, cap;
} store_items;

typedef struct store_backend {
    void (*close)(store *s);
    store_result (*get)(store *s, const char *space, const char *name, bool data, store_item *item,
                        rwkv_error *err);
    store_result (*put)(store *s, const store_write *w, uint64_t *generation, rwkv_error *err);
    store_result (*remove)(store *s, const char *space, const char *name, uint64_t expected,
                           rwkv_error *err);
    store_result (*touch)(store *s, const char *space, const char *name, rwkv_error *err);
    store_result (*list)(store *s, const char *space, store_items *out, rwkv_error *err);
    store_result (*usage)(store *s, const char *space, uint64_t *n_items, uint64_t *n_bytes,
                          rwkv_error *err);
    store_result (*trim)(store *s, const char *space, uint64_t max_bytes, rwkv_error *err);
} store_backend;

struct store { /* first member of every backend's own struct */
    const store_backend *backend;
    char *url; /* without a password; a backend that sets none gets the one it was opened with */
};

/* where: what follows the scheme. They fill *out. */
rwkv_status store_open_memory(store **out, const char *where, rwkv_error *err);
rwkv_status store_open_sqlite(store **out, const char *where, rwkv_error *err);
rwkv_status store_open_redis(store **out, const char *url, rwkv_error *err);

int64_t store_now(void);           /* microseconds since 1970 */
int64_t store_grain(uint64_t ttl); /* microseconds; `used` may lag this far behind */
bool store_expired(int64_t used, uint64_t ttl, int64_t now);
store_result store_nomem(rwkv_error *err, size_t bytes); /* STORE_FAILED */
/* Copies into item what is not NULL. False when memory is out; then item holds nothing. */
bool store_item_fill(store_item *item, const char *name, const void *note, size_t n_note,
                     const void *data, size_t n_data);
/* A new zeroed last item, NULL when memory is out. */
store_item *store_items_add(store_items *l);
void store_items_free(store_items *l);

#endif
