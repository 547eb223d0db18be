/* chat_timeline.c - the state after any text, as quickly as what was read before allows.
 *
 *     ids -> longest snapshot (or the session itself) that has read a beginning of them -> feed the
 * rest
 *
 * Evaluation does not depend on how a text is cut, so a dropped snapshot costs time, never
 * exactness. */
#include "chat.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SNAPSHOTS = 256 };

rwkv_status timeline_open(timeline *t, rwkv_model *model, uint64_t budget, rwkv_error *err) {
    *t = (timeline){.model = model, .budget = budget};
    t->snapshots = chat_resize(NULL, MAX_SNAPSHOTS, sizeof *t->snapshots);
    return rwkv_session_new(&t->session, model, err);
}

static void drop(timeline *t, size_t i) {
    rwkv_session_free(t->snapshots[i].session);
    free(t->snapshots[i].read.v);
    t->snapshots[i] = t->snapshots[--t->n_snapshots];
}

void timeline_close(timeline *t) {
    while (t->n_snapshots) drop(t, 0);
    free(t->snapshots);
    free(t->read.v);
    rwkv_session_free(t->base);
    rwkv_session_free(t->session);
    *t = (timeline){0};
}

static bool begins(const int32_t *ids, size_t n, const id_list *with) {
    return with->n <= n && (with->n == 0 || memcmp(ids, with->v, with->n * sizeof *ids) == 0);
}

/* The longest snapshot shorter than `below` that is a beginning of ids; NULL: none. */
static snapshot *longest(const timeline *t, const int32_t *ids, size_t n, size_t below) {
    snapshot *best = NULL;
    for (size_t i = 0; i < t->n_snapshots; i++) {
        snapshot *s = &t->snapshots[i];
        if (s->read.n < below && (!best || s->read.n > best->read.n) && begins(ids, n, &s->read))
            best = s;
    }
    return best;
}

size_t timeline_known(const timeline *t, const int32_t *ids, size_t n) {
    const snapshot *s = longest(t, ids, n, n + 1);
    size_t here = begins(ids, n, &t->read) ? t->read.n : 0;
    return s && s->read.n > here ? s->read.n : here;
}

static rwkv_status go_back(timeline *t, const int32_t *ids, size_t n, rwkv_error *err) {
    snapshot *s = longest(t, ids, n, n + 1);
    if (s) s->used = ++t->clock;
    if (begins(ids, n, &t->read) && (!s || s->read.n <= t->read.n)) return RWKV_OK;
    timeline_forget(t);
    if (!s) return RWKV_OK;
    rwkv_status st = rwkv_session_copy(t->session, s->session, err);
    if (st == RWKV_OK) ids_add(&t->read, s->read.v, s->read.n);
    return st;
}

rwkv_status timeline_seek(timeline *t, const int32_t *ids, size_t n, rwkv_error *err) {
    rwkv_status st = go_back(t, ids, n, err);
    if (st != RWKV_OK || t->read.n == n) return st;
    if (rwkv_session_pending(t->session) >= 0 && (st = rwkv_session_eval(t->session, NULL, 0, err)))
        return st;
    uint64_t before = rwkv_session_n_tokens(t->session);
    st = cli_feed(t->session, ids + t->read.n, n - t->read.n, err);
    size_t fed = (size_t)(rwkv_session_n_tokens(t->session) - before);
    ids_add(&t->read, ids + t->read.n, fed);
    t->n_fed += fed;
    return st == RWKV_OK && t->read.n < n ? RWKV_E_CANCELLED : st;
}

static uint64_t bytes_of(const timeline *t, size_t n_ids) {
    rwkv_info info;
    rwkv_model_info(t->model, &info);
    return info.session_bytes + n_ids * sizeof(int32_t);
}

uint64_t timeline_bytes(const timeline *t) {
    uint64_t sum = 0;
    for (size_t i = 0; i < t->n_snapshots; i++) sum += bytes_of(t, t->snapshots[i].read.n);
    return sum;
}

/* Of the snapshots, the one that is missed least: what it saves reading, over how long it was idle.
 */
static size_t least(const timeline *t) {
    double lowest = 0;
    size_t at = 0;
    for (size_t i = 0; i < t->n_snapshots; i++) {
        const snapshot *s = &t->snapshots[i], *before = longest(t, s->read.v, s->read.n, s->read.n);
        double worth =
            (double)(s->read.n - (before ? before->read.n : 0)) / (double)(t->clock - s->used + 1);
        if (i == 0 || worth < lowest) {
            lowest = worth;
            at = i;
        }
    }
    return at;
}

void timeline_keep(timeline *t) {
    snapshot *same = longest(t, t->read.v, t->read.n, t->read.n + 1);
    if (same && same->read.n == t->read.n) {
        same->used = ++t->clock;
        return;
    }
    uint64_t need = bytes_of(t, t->read.n);
    if (need > t->budget) return;
    while (t->n_snapshots &&
           (t->n_snapshots == MAX_SNAPSHOTS || timeline_bytes(t) + need > t->budget)) {
        drop(t, least(t));
    }
    snapshot s = {.used = ++t->clock};
    if (rwkv_session_new(&s.session, t->model, NULL) != RWKV_OK) return;
    if (rwkv_session_copy(s.session, t->session, NULL) != RWKV_OK) {
        rwkv_session_free(s.session);
        return;
    }
    ids_add(&s.read, t->read.v, t->read.n);
    t->snapshots[t->n_snapshots++] = s;
}

void timeline_adopt(timeline *t, const int32_t *ids, size_t n) {
    t->read.n = 0;
    ids_add(&t->read, ids, n);
    timeline_keep(t);
}

rwkv_status timeline_rebase(timeline *t, rwkv_error *err) {
    rwkv_status st = t->base ? RWKV_OK : rwkv_session_new(&t->base, t->model, err);
    if (st == RWKV_OK) st = rwkv_session_copy(t->base, t->session, err);
    while (t->n_snapshots) drop(t, 0);
    t->read.n = 0;
    return st;
}

void timeline_forget(timeline *t) {
    t->read.n = 0;
    if (t->base)
        rwkv_session_copy(t->session, t->base, NULL); /* of one model: cannot fail */
    else
        rwkv_session_reset(t->session);
}
