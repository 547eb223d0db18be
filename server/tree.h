/* tree.h - snapshots of states by what was read to make them, so that no text is read twice.
 *
 *     tokens of a prompt -> tree_find -> longest beginning with a snapshot, in RAM or in the store
 *     session at a token -> tree_keep -> RAM, a budget of bytes -> (used longest ago) -> store
 *
 * A snapshot belongs to a tenant, a model, its weights and its tokens: all of them are compared on
 * every hit, in RAM and in what the store returns. Hashes only find candidates. One thread owns the
 * tree (the engine's); snapshot_write and snapshot_read touch nothing but their snapshot, which
 * does not change while it is pinned, and may run on another. */
#ifndef RWKV_TREE_H
#define RWKV_TREE_H

#include "../store/store.h"
#include "transcript.h"

typedef struct tree tree;

typedef struct snapshot {
    char *tenant;
    size_t n;              /* tokens */
    uint64_t hash;         /* of tenant, model, weights and tokens */
    transcript *text;      /* its first n tokens; NULL: only in the store */
    rwkv_session *session; /* after them; NULL: only in the store */
    bool stored;
    uint32_t pins;                  /* in use by someone else: neither freed nor changed */
    struct snapshot *next;          /* of the same bucket */
    struct snapshot *newer, *older; /* by last use, of those in RAM */
} snapshot;

typedef struct tree_options {
    rwkv_model *model;
    store *st;          /* NULL: RAM only */
    uint64_t ram, disk; /* bytes */
    uint64_t hash_mask; /* bits of the hash that are used; 0: all. Tests make everything collide */
    /* Hands a pinned snapshot to whoever runs snapshot_write and then has tree_written called.
     * False: not now. */
    bool (*write)(void *user, snapshot *s);
    void *user;
} tree_options;

rwkv_status tree_new(tree **out, const tree_options *options, rwkv_error *err);
void tree_free(tree *t); /* nothing may be pinned */

/* A place in a text and the hash up to there. Begins as tree_start. */
typedef struct prefix {
    uint64_t hash;
    size_t n;
} prefix;
prefix tree_start(const tree *t, const char *tenant);
void tree_extend(const tree *t, prefix *p, const int32_t *ids, size_t n); /* to ids[0, n) */

/* The longest snapshot of at most n tokens, or NULL. It counts as used. With `stored` also those
 * that only the store has: such a one is a candidate, and preferred only where it saves many
 * tokens. */
snapshot *tree_find(tree *t, const char *tenant, const int32_t *ids, size_t n, bool stored);
/* Whether RAM has exactly this one; it counts as used. */
bool tree_has(tree *t, const char *tenant, const prefix *p, const int32_t *ids);
/* Takes the session over, which is after the first p->n tokens of text. write_now: it took long to
 * make, the store gets it at once; others when RAM has no room for them. */
void tree_keep(tree *t, const char *tenant, const prefix *p, transcript *text,
               rwkv_session *session, bool write_now);
/* A candidate that the store did not have. */
void tree_forget(tree *t, snapshot *s);
/* Bytes of RAM that others use of the budget. */
void tree_reserve(tree *t, uint64_t bytes);
void tree_pin(snapshot *s);
void tree_unpin(tree *t, snapshot *s);
void tree_written(tree *t, snapshot *s, bool ok); /* unpins */

typedef struct tree_stats {
    uint64_t n_ram, bytes_ram, n_stored;
} tree_stats;
tree_stats tree_get_stats(const tree *t);

/* ------------------------------------------------------------------ the store; any thread */

/* Writes it, and deletes what then exceeds the budget. *bytes: of all snapshots stored. */
bool snapshot_write(const tree *t, const snapshot *s, uint64_t *bytes);
/* Into a session, if the record is of these tokens, tenant, model and weights. */
bool snapshot_read(const tree *t, const snapshot *s, const int32_t *ids, rwkv_session *into);

/* What the store has of this model: other servers write there too. */
typedef struct tree_listing {
    struct listed {
        char *tenant;
        uint64_t n, hash;
    } * items;
    size_t n, cap;
    uint64_t bytes;
} tree_listing;
bool snapshot_list(const tree *t, tree_listing *out);
void tree_merge(tree *t, tree_listing *listing); /* empties it */

/* Writes what only RAM has, last used first, for at most this long. */
void tree_flush(tree *t, double seconds);

#endif
