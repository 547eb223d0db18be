/* tree.c - the tree of snapshots. Its shape is not stored: a beginning of a text is found by its
 * hash, which is extended token by token, so the longest one is the last that a walk along the
 * prompt meets. */
#include "tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char space[] = "snapshot", magic[8] = "RWKVSNP1";

enum {
    NOTE_HEAD = 88,    /* magic, fingerprint, weights hash, n, hash; the tenant follows */
    WORTH_LOADING = 32 /* tokens that a record in the store must save */
};

struct tree {
    tree_options options;
    rwkv_info info;
    uint64_t seed;
    snapshot **buckets;
    size_t n_buckets, n_snapshots, n_stored, n_ram;
    snapshot *newest, *oldest;
    uint64_t bytes, reserved;
};

/* ------------------------------------------------------------------ hashes */

static uint64_t mix(uint64_t h, uint64_t x) {
    h ^= x + 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

static uint64_t mix_bytes(uint64_t h, const void *p, size_t n) {
    for (size_t i = 0; i < n; i++) h = mix(h, ((const uint8_t *)p)[i]);
    return h;
}

prefix tree_start(const tree *t, const char *tenant) {
    return (prefix){mix_bytes(t->seed, tenant, strlen(tenant)), 0};
}

void tree_extend(const tree *t, prefix *p, const int32_t *ids, size_t n) {
    (void)t;
    for (; p->n < n; p->n++) p->hash = mix(p->hash, (uint32_t)ids[p->n]);
}

static uint64_t key_of(const tree *t, const prefix *p) {
    return p->hash & t->options.hash_mask;
}

/* ------------------------------------------------------------------ the table */

static snapshot **bucket(const tree *t, uint64_t hash) {
    return &t->buckets[hash & (t->n_buckets - 1)];
}

static bool same_tokens(const snapshot *s, const int32_t *ids) {
    return memcmp(s->text->ids, ids, s->n * sizeof *ids) == 0;
}

/* The one of this key and these tokens; else one that only the store has, whose tokens are not
 * known yet. */
static snapshot *lookup(const tree *t, const char *tenant, uint64_t hash, size_t n,
                        const int32_t *ids) {
    snapshot *candidate = NULL;
    for (snapshot *s = *bucket(t, hash); s; s = s->next) {
        if (s->hash != hash || s->n != n || strcmp(s->tenant, tenant) != 0) continue;
        if (s->text && same_tokens(s, ids)) return s;
        if (!s->text) candidate = s;
    }
    return candidate;
}

static void grow(tree *t) {
    size_t n = t->n_buckets * 2;
    snapshot **old = t->buckets, **larger = calloc(n, sizeof *larger);
    if (!larger) return; /* longer chains */
    size_t n_old = t->n_buckets;
    t->buckets = larger;
    t->n_buckets = n;
    for (size_t i = 0; i < n_old; i++)
        for (snapshot *s = old[i], *next; s; s = next) {
            next = s->next;
            s->next = *bucket(t, s->hash);
            *bucket(t, s->hash) = s;
        }
    free(old);
}

static snapshot *add(tree *t, const char *tenant, uint64_t hash, size_t n) {
    snapshot *s = calloc(1, sizeof *s);
    size_t len = strlen(tenant) + 1;
    if (!s || !(s->tenant = malloc(len))) {
        free(s);
        return NULL;
    }
    memcpy(s->tenant, tenant, len);
    s->hash = hash;
    s->n = n;
    if (t->n_snapshots >= t->n_buckets) grow(t);
    s->next = *bucket(t, hash);
    *bucket(t, hash) = s;
    t->n_snapshots++;
    return s;
}

static void unlink_use(tree *t, snapshot *s) {
    *(s->newer ? &s->newer->older : &t->newest) = s->older;
    *(s->older ? &s->older->newer : &t->oldest) = s->newer;
    s->newer = s->older = NULL;
}

static void link_use(tree *t, snapshot *s) {
    s->older = t->newest;
    *(t->newest ? &t->newest->newer : &t->oldest) = s;
    t->newest = s;
}

static void use(tree *t, snapshot *s) {
    if (!s->session || t->newest == s) return;
    unlink_use(t, s);
    link_use(t, s);
}

/* Frees what it has in RAM. */
static void drop_session(tree *t, snapshot *s) {
    if (!s->session) return;
    unlink_use(t, s);
    rwkv_session_free(s->session);
    s->session = NULL;
    t->bytes -= t->info.session_bytes;
    t->n_ram--;
    if (--s->text->n_snapshots == 0) t->bytes -= s->text->cap * sizeof(int32_t);
    transcript_unref(s->text);
    s->text = NULL;
}

static void set_session(tree *t, snapshot *s, transcript *text, rwkv_session *session) {
    s->session = session;
    s->text = transcript_ref(text);
    if (text->n_snapshots++ == 0) t->bytes += text->cap * sizeof(int32_t);
    t->bytes += t->info.session_bytes;
    t->n_ram++;
    link_use(t, s);
}

static void set_stored(tree *t, snapshot *s, bool stored) {
    t->n_stored += stored;
    t->n_stored -= s->stored;
    s->stored = stored;
}

static void destroy(tree *t, snapshot *s) {
    snapshot **at = bucket(t, s->hash);
    while (*at != s) at = &(*at)->next;
    *at = s->next;
    t->n_snapshots--;
    set_stored(t, s, false);
    drop_session(t, s);
    free(s->tenant);
    free(s);
}

/* ------------------------------------------------------------------ the budget */

static bool start_writing(tree *t, snapshot *s) {
    if (!t->options.disk || !t->options.write || s->stored || s->pins) return false;
    tree_pin(s);
    if (t->options.write(t->options.user, s)) return true;
    s->pins--;
    return false;
}

/* Down to the budget, or to where it will be when what is being written has gone. What only RAM has
 * is written first, unless the writer is behind. */
static void evict(tree *t) {
    const uint64_t budget = t->options.ram > t->reserved ? t->options.ram - t->reserved : 0;
    uint64_t leaving = 0;
    for (snapshot *s = t->oldest, *newer; s && t->bytes > budget + leaving; s = newer) {
        newer = s->newer;
        if (s->pins || start_writing(t, s))
            leaving += t->info.session_bytes;
        else if (s->stored)
            drop_session(t, s);
        else
            destroy(t, s);
    }
}

void tree_reserve(tree *t, uint64_t bytes) {
    t->reserved = bytes;
    evict(t);
}

void tree_pin(snapshot *s) {
    s->pins++;
}

void tree_unpin(tree *t, snapshot *s) {
    s->pins--;
    if (!s->pins && !s->session && !s->stored)
        destroy(t, s);
    else
        evict(t);
}

void tree_written(tree *t, snapshot *s, bool ok) {
    if (ok) set_stored(t, s, true);
    tree_unpin(t, s);
}

/* ------------------------------------------------------------------ finding and keeping */

snapshot *tree_find(tree *t, const char *tenant, const int32_t *ids, size_t n, bool stored) {
    snapshot *ram = NULL, *candidate = NULL;
    if (!t->n_snapshots) return NULL;
    for (prefix p = tree_start(t, tenant); p.n < n;) {
        tree_extend(t, &p, ids, p.n + 1);
        snapshot *s = lookup(t, tenant, key_of(t, &p), p.n, ids);
        if (s && s->session)
            ram = s;
        else if (s && s->stored && stored)
            candidate = s; /* not one that others are about to give up */
    }
    if (candidate && candidate->n >= (ram ? ram->n : 0) + WORTH_LOADING) return candidate;
    if (ram) use(t, ram);
    return ram;
}

bool tree_has(tree *t, const char *tenant, const prefix *p, const int32_t *ids) {
    snapshot *s = lookup(t, tenant, key_of(t, p), p->n, ids);
    if (!s || !s->session) return false;
    use(t, s);
    return true;
}

void tree_keep(tree *t, const char *tenant, const prefix *p, transcript *text,
               rwkv_session *session, bool write_now) {
    snapshot *s = lookup(t, tenant, key_of(t, p), p->n, text->ids);
    if (s && s->session) use(t, s);
    if (!s) s = add(t, tenant, key_of(t, p), p->n);
    if (!s || s->session) {
        rwkv_session_free(session);
        return;
    }
    set_session(t, s, text, session);
    if (write_now) start_writing(t, s);
    evict(t);
}

/* While it is pinned others may still try it; it goes with the last of them. */
void tree_forget(tree *t, snapshot *s) {
    set_stored(t, s, false);
    if (!s->pins && !s->session) destroy(t, s);
}

tree_stats tree_get_stats(const tree *t) {
    return (tree_stats){t->n_ram, t->bytes, t->n_stored};
}

/* ------------------------------------------------------------------ records in the store */

static void put64(uint8_t *p, uint64_t x) {
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(x >> (8 * i));
}

static uint64_t get64(const uint8_t *p) {
    uint64_t x = 0;
    for (int i = 8; i-- > 0;) x = x << 8 | p[i];
    return x;
}

static void make_note(const tree *t, const snapshot *s, uint8_t note[static NOTE_HEAD]) {
    memcpy(note, magic, 8);
    memcpy(note + 8, t->info.fingerprint, 32);
    memcpy(note + 40, t->info.weights_hash, 32);
    put64(note + 72, s->n);
    put64(note + 80, s->hash);
}

static void make_name(const snapshot *s, char name[static 64]) {
    snprintf(name, 64, "%016llx-%zu", (unsigned long long)s->hash, s->n);
}

static void put_ids(uint8_t *p, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++, p += 4)
        for (int b = 0; b < 4; b++) p[b] = (uint8_t)((uint32_t)ids[i] >> (8 * b));
}

static bool same_ids(const uint8_t *p, const int32_t *ids, size_t n) {
    bool same = true;
    for (size_t i = 0; i < n && same; i++, p += 4)
        same = ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                (uint32_t)p[3] << 24) == (uint32_t)ids[i];
    return same;
}

bool snapshot_write(const tree *t, const snapshot *s, uint64_t *bytes) {
    const size_t n_tenant = strlen(s->tenant), n_tokens = s->n * sizeof(int32_t);
    size_t n_blob = 0;
    char name[64];
    rwkv_session_save(s->session, NULL, 0, 0, NULL, 0, &n_blob, NULL);
    if (!n_blob) return false; /* not finite */
    uint8_t *note = malloc(NOTE_HEAD + n_tenant), *data = malloc(n_tokens + n_blob);
    bool ok = false;
    if (!note || !data) goto out;
    make_name(s, name);
    make_note(t, s, note);
    memcpy(note + NOTE_HEAD, s->tenant, n_tenant);
    put_ids(data, s->text->ids, s->n);
    if (rwkv_session_save(s->session, NULL, 0, 0, data + n_tokens, n_blob, &n_blob, NULL) !=
        RWKV_OK)
        goto out;
    uint64_t n_items;
    ok = store_put(t->options.st, space, name, note, NOTE_HEAD + n_tenant, data, n_tokens + n_blob,
                   STORE_ANY, 0, NULL, NULL) == STORE_OK;
    if (ok) store_trim(t->options.st, space, t->options.disk, NULL);
    if (ok && store_usage(t->options.st, space, &n_items, bytes, NULL) != STORE_OK) *bytes = 0;
out:
    free(note);
    free(data);
    return ok;
}

bool snapshot_read(const tree *t, const snapshot *s, const int32_t *ids, rwkv_session *into) {
    const size_t n_tenant = strlen(s->tenant), n_tokens = s->n * sizeof(int32_t);
    uint8_t note[NOTE_HEAD];
    char name[64];
    store_item item = {0};
    rwkv_state_info info;
    make_name(s, name);
    make_note(t, s, note);
    if (store_get(t->options.st, space, name, true, &item, NULL) != STORE_OK) return false;
    bool ok = item.n_note == NOTE_HEAD + n_tenant && memcmp(item.note, note, NOTE_HEAD) == 0 &&
              memcmp((uint8_t *)item.note + NOTE_HEAD, s->tenant, n_tenant) == 0 &&
              item.n_data > n_tokens && same_ids(item.data, ids, s->n) &&
              rwkv_session_load(into, (uint8_t *)item.data + n_tokens,
                                (size_t)item.n_data - n_tokens, &info, NULL) == RWKV_OK &&
              !info.other_weights;
    if (!ok) rwkv_session_reset(into);
    store_item_free(&item);
    return ok;
}

/* ------------------------------------------------------------------ what the store has */

typedef struct list_job {
    const tree *t;
    tree_listing *out;
    bool ok;
} list_job;

static bool list_one(void *user, const store_item *item) {
    list_job *j = user;
    tree_listing *l = j->out;
    const uint8_t *note = item->note;
    l->bytes += item->n_data;
    if (item->n_note <= NOTE_HEAD || memcmp(note, magic, 8) != 0 ||
        memcmp(note + 8, j->t->info.fingerprint, 32) != 0 ||
        memcmp(note + 40, j->t->info.weights_hash, 32) != 0)
        return true; /* of another model */
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct listed *larger = realloc(l->items, cap * sizeof *larger);
        if (!larger) return j->ok = false;
        l->items = larger;
        l->cap = cap;
    }
    char *tenant = strndup((const char *)note + NOTE_HEAD, item->n_note - NOTE_HEAD);
    if (!tenant) return j->ok = false;
    l->items[l->n++] = (struct listed){tenant, get64(note + 72), get64(note + 80)};
    return true;
}

bool snapshot_list(const tree *t, tree_listing *out) {
    list_job j = {t, out, true};
    *out = (tree_listing){0};
    return store_list(t->options.st, space, list_one, &j, NULL) == STORE_OK && j.ok;
}

/* A record that is not listed any more is found out when it is read. */
void tree_merge(tree *t, tree_listing *listing) {
    for (size_t i = 0; i < listing->n; i++) {
        const struct listed *l = &listing->items[i];
        snapshot *s = *bucket(t, l->hash);
        while (s && (s->hash != l->hash || s->n != l->n || strcmp(s->tenant, l->tenant) != 0))
            s = s->next;
        if (!s && l->n > 0 && l->n <= SIZE_MAX / sizeof(int32_t))
            s = add(t, l->tenant, l->hash, (size_t)l->n);
        if (s && !s->stored) set_stored(t, s, true);
        free(l->tenant);
    }
    free(listing->items);
    *listing = (tree_listing){0};
}

void tree_flush(tree *t, double seconds) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double until = (double)now.tv_sec + (double)now.tv_nsec / 1e9 + seconds;
    uint64_t written = 0, bytes;
    for (snapshot *s = t->newest; s && t->options.disk && written < t->options.disk; s = s->older) {
        if (s->stored) continue;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((double)now.tv_sec + (double)now.tv_nsec / 1e9 > until || !snapshot_write(t, s, &bytes))
            return;
        set_stored(t, s, true);
        written += t->info.session_bytes;
    }
}

/* ------------------------------------------------------------------ life */

rwkv_status tree_new(tree **out, const tree_options *options, rwkv_error *err) {
    tree *t = calloc(1, sizeof *t);
    if (t) t->buckets = calloc(t->n_buckets = 256, sizeof *t->buckets);
    if (!t || !t->buckets) {
        free(t);
        if (err) *err = (rwkv_error){RWKV_E_NOMEM, RWKV_NO_OFFSET, "", "out of memory"};
        return RWKV_E_NOMEM;
    }
    t->options = *options;
    if (!t->options.hash_mask) t->options.hash_mask = UINT64_MAX;
    if (!t->options.st) t->options.disk = 0;
    rwkv_model_info(options->model, &t->info);
    t->seed = mix_bytes(mix_bytes(0, t->info.fingerprint, 32), t->info.weights_hash, 32);
    *out = t;
    return RWKV_OK;
}

void tree_free(tree *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n_buckets; i++)
        while (t->buckets[i]) destroy(t, t->buckets[i]);
    free(t->buckets);
    free(t);
}
