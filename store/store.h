/* store.h - named byte blobs that outlive the process: sessions, snapshots, pre-read documents.
 *
 *     engine, sessions -> store_put / store_get -> memory.c | sqlite.c | redis.c
 *
 * An item lives in a space ("session/<tenant>") under a name and has a small note (what lists show),
 * its data, and a generation that grows with every write: writers say which one they read, so of two
 * servers that continue one session one is told STORE_CONFLICT and nothing is half written. A put that
 * returned STORE_OK survives kill -9 (SQLite: WAL with synchronous=FULL; Redis: as it is configured).
 *
 * Any thread may call at any time; calls may block for as long as the store's time-out (Redis: 2 s).
 * After any error on a Redis connection that connection is closed, and each value carries its own key,
 * which is verified: a reply can never reach another's request. */
#ifndef RWKV_STORE_H
#define RWKV_STORE_H

#include <rwkv.h>

typedef struct store store;

typedef enum store_result {
    STORE_OK = 0,
    STORE_NONE,     /* no such item (or it has expired) */
    STORE_CONFLICT, /* the generation is not the one expected */
    STORE_FULL,     /* disk full, quota, or a Redis at its memory limit: nothing was changed */
    STORE_FAILED,   /* unreachable, damaged, refused: err says what. Nothing was changed, or (a time-out while
                       writing to Redis) unknown: read the generation again */
} store_result;

/* "memory:", "sqlite:PATH" or a path, "redis://[[user]:password@]host[:port][/db]", "unix:..." for Redis
 * on a socket. SQLite files are created 0600, their folder too if missing (0700). An unusable, damaged or
 * foreign file is an error that names it; nothing is ever silently begun anew. */
rwkv_status store_open(store **out, const char *url, rwkv_error *err);
void store_close(store *s);
const char *store_url(const store *s); /* for messages; without a password */

typedef struct store_item {
    char *name; /* NUL-terminated */
    uint64_t generation;
    int64_t used;    /* seconds since 1970 of the last put, get or touch; to about a minute */
    uint64_t n_data; /* bytes of data */
    void *note, *data;
    size_t n_note;
} store_item;
void store_item_free(store_item *item); /* its fields; zeroes them */

enum { STORE_NAME_MAX = 200, STORE_NOTE_MAX = 64 * 1024 };
#define STORE_ANY UINT64_MAX /* whatever generation is there, or none */

/* Reads an item. With data false item->data stays NULL. */
store_result store_get(store *s, const char *space, const char *name, bool data, store_item *item, rwkv_error *err);
/* Writes note and data as one. expected: the generation read before; 0: there must be none; STORE_ANY.
 * ttl: seconds of not being used until the item may vanish; 0: never. *generation: the new one, or on
 * STORE_CONFLICT the one that is there (0: none). */
store_result store_put(store *s, const char *space, const char *name, const void *note, size_t n_note,
                       const void *data, size_t n_data, uint64_t expected, uint64_t ttl, uint64_t *generation,
                       rwkv_error *err);
/* Replaces the note only. */
store_result store_put_note(store *s, const char *space, const char *name, const void *note, size_t n_note,
                            uint64_t expected, uint64_t *generation, rwkv_error *err);
/* The bytes are overwritten (SQLite: secure_delete). */
store_result store_delete(store *s, const char *space, const char *name, uint64_t expected, rwkv_error *err);
/* Marks as used now. */
store_result store_touch(store *s, const char *space, const char *name, rwkv_error *err);
/* All items of a space without data, most recently used first; fn returns false to end. */
typedef bool (*store_list_fn)(void *user, const store_item *item);
store_result store_list(store *s, const char *space, store_list_fn fn, void *user, rwkv_error *err);
/* Items and bytes of a space. */
store_result store_usage(store *s, const char *space, uint64_t *n_items, uint64_t *n_bytes, rwkv_error *err);
/* Deletes what has expired, and of `space` (NULL: none) the items used longest ago until at most max_bytes
 * are left. */
store_result store_trim(store *s, const char *space, uint64_t max_bytes, rwkv_error *err);

#endif
