/* recall.c - what lanes remember: where the state of a lane comes from, and where it is kept.
 *
 *     session   its record, read in the background; committed in the background before JOB_DONE
 *     snapshot  the longest beginning of the text that the tree knows
 *     leader    a lane of the same tenant that is reading the same text now: the reading is shared
 *     state     what the request brought
 *
 * Snapshots are taken at the marks (ends of messages; without any, the end of the prompt), at every
 * `snapshot_every` tokens (in a long text at every sixteenth of it), where a follower leaves, and
 * at the end of the answer. A pause costs a batch of its own, so marks that follow each other
 * closely are passed over, but for the last. */
#include "engine_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    MARK_GAP = 32,        /* tokens between marks that are worth a pause */
    WORTH_FOLLOWING = 16, /* tokens that are not read twice */
    WORTH_WRITING = 256,  /* tokens that it took: the end of a message is stored at once */
    MOST_WRITES = 4,      /* snapshots waiting to be written */
    MOST_LOST = 2,    /* records that a lane may miss: a store that is down costs two time-outs */
    LIST_SECONDS = 30 /* between looks at what other servers stored */
};

/* ------------------------------------------------------------------ snapshots */

typedef struct write_task {
    task task;
    engine *e;
    snapshot *s;
    bool ok;
    uint64_t bytes;
} write_task;

static void run_write(task *t) {
    write_task *w = (write_task *)t;
    w->ok = snapshot_write(w->e->tree, w->s, &w->bytes);
}

static void done_write(void *owner, task *t) {
    engine *e = owner;
    write_task *w = (write_task *)t;
    if (w->ok) e->bytes_stored = w->bytes;
    if (w->ok == e->write_fails)
        engine_log(e, !w->ok, w->ok ? "snapshots are stored again" : "a snapshot cannot be stored");
    e->write_fails = !w->ok;
    tree_written(e->tree, w->s, w->ok);
    free(w);
}

bool recall_write(void *user, snapshot *s) {
    engine *e = user;
    write_task *w = calloc(1, sizeof *w);
    if (!w) return false;
    *w = (write_task){{.run = run_write, .done = done_write}, e, s, false, 0};
    if (background_add(e->lazy, &w->task, MOST_WRITES)) return true;
    free(w);
    return false;
}

/* Whether the store should have what it took so long to read, even if the process is killed. */
static bool worth_writing(lane *l) {
    if (l->n_fed - l->n_written < WORTH_WRITING) return false;
    l->n_written = l->n_fed;
    return true;
}

/* A copy of the session as it is now. Without memory there is none. */
static void take_snapshot(engine *e, lane *l, bool passing) {
    const job *j = l->job;
    rwkv_session *copy = NULL;
    l->last_stop = l->n_fed;
    tree_extend(e->tree, &l->at, j->text->ids, l->n_fed);
    if (e->options.cache_ram < e->info.session_bytes ||
        tree_has(e->tree, j->tenant->name, &l->at, j->text->ids))
        return;
    if (rwkv_session_new(&copy, e->model, NULL) != RWKV_OK) return;
    rwkv_session_copy(copy, l->session, NULL);
    tree_keep(e->tree, j->tenant->name, &l->at, j->text, copy, !passing && worth_writing(l));
}

/* Between regular snapshots around token n: their number grows with the logarithm of the text. */
static size_t spacing(const engine *e, size_t n) {
    size_t step = e->options.snapshot_every;
    while (n / 16 >= step) step *= 2;
    return step;
}

static bool is_follower(const lane *f, const lane *l) {
    return f->phase == LANE_FOLLOWING && f->leader == l;
}

size_t lane_next_stop(const engine *e, lane *l) {
    const job *j = l->job;
    size_t stop = l->n_target;
    if (!l->cached) return stop;
    while (l->mark < j->n_marks &&
           (j->marks[l->mark] <= l->n_fed ||
            (j->marks[l->mark] < l->last_stop + MARK_GAP && l->mark + 1 < j->n_marks)))
        l->mark++;
    if (l->mark < j->n_marks && j->marks[l->mark] < stop) stop = j->marks[l->mark];
    const size_t every = spacing(e, l->n_fed), next = (l->n_fed / every + 1) * every;
    if (next < stop) stop = next;
    for (size_t i = 0; i < e->options.max_lanes; i++) {
        const lane *f = &e->lanes[i];
        if (is_follower(f, l) && f->follow_to < stop) stop = f->follow_to;
    }
    return stop;
}

static bool take_over(lane *l, const rwkv_session *from, size_t n) {
    if (rwkv_session_copy(l->session, from, &l->err) != RWKV_OK) return false;
    l->n_fed = n;
    return true;
}

void lane_at_stop(engine *e, lane *l) {
    const job *j = l->job;
    if (!l->cached) return;
    const bool passing = l->n_fed % spacing(e, l->n_fed) == 0;
    bool wanted = (l->mark < j->n_marks && l->n_fed == j->marks[l->mark]) ||
                  (!j->n_marks && l->n_fed == l->n_prompt && l->n_fed >= l->n_cached + MARK_GAP);
    for (size_t i = 0; i < e->options.max_lanes; i++) {
        lane *f = &e->lanes[i];
        if (!is_follower(f, l) || f->follow_to != l->n_fed) continue;
        wanted = true;
        f->leader = NULL;
        if (take_over(f, l->session, l->n_fed))
            lane_read(e, f);
        else
            lane_fail(e, f, NULL);
    }
    if (wanted || passing) take_snapshot(e, l, !wanted);
}

/* ------------------------------------------------------------------ what other servers stored */

typedef struct list_task {
    task task;
    engine *e;
    tree_listing listing;
} list_task;

static void run_list(task *t) {
    list_task *l = (list_task *)t;
    snapshot_list(l->e->tree, &l->listing);
}

static void done_list(void *owner, task *t) {
    engine *e = owner;
    list_task *l = (list_task *)t;
    tree_merge(e->tree, &l->listing);
    free(l);
}

/* After a miss, now and then: the next question will find it. */
static void look_around(engine *e) {
    if (!e->options.cache_disk || engine_since(e->listed_ns) < LIST_SECONDS) return;
    list_task *l = calloc(1, sizeof *l);
    if (!l) return;
    e->listed_ns = engine_now();
    *l = (list_task){.task = {.run = run_list, .done = done_list}, .e = e};
    if (!background_add(e->lazy, &l->task, MOST_WRITES)) free(l);
}

/* ------------------------------------------------------------------ finding a state */

static void look_up(engine *e, lane *l);

static void wait_for(engine *e, lane *l, void (*run)(task *), void (*done)(void *, task *)) {
    l->phase = LANE_WAITING;
    l->task.run = run;
    l->task.done = done;
    background_add(e->urgent, &l->task, 0);
}

static void run_read(task *t) {
    lane *l = (lane *)t;
    l->read = snapshot_read(l->e->tree, l->wanted, l->job->text->ids, l->session);
}

/* What was read is likely to be asked for again: RAM gets it too. */
static void done_read(void *owner, task *t) {
    engine *e = owner;
    lane *l = (lane *)t;
    snapshot *s = l->wanted;
    l->wanted = NULL;
    if (l->read) {
        l->n_fed = s->n;
        e->n_hits_store++;
        tree_unpin(e->tree, s);
        take_snapshot(e, l, true);
        lane_read(e, l);
        return;
    }
    l->n_lost++;
    tree_forget(e->tree, s);
    tree_unpin(e->tree, s);
    look_up(e, l);
}

static size_t common_prefix(const transcript *a, const transcript *b, size_t n) {
    size_t i = 0;
    while (i < n && a->ids[i] == b->ids[i]) i++;
    return i;
}

/* A lane that is about to read what this one needs beyond its first `known` tokens. */
static lane *find_leader(engine *e, const lane *l, size_t known, size_t *to) {
    lane *best = NULL;
    *to = known + WORTH_FOLLOWING - 1;
    for (size_t i = 0; i < e->options.max_lanes; i++) {
        lane *x = &e->lanes[i];
        if (x == l || x->phase != LANE_READING || x->finishing || !x->cached ||
            x->job->tenant != l->job->tenant)
            continue;
        size_t n = common_prefix(x->job->text, l->job->text,
                                 x->n_target < l->n_target ? x->n_target : l->n_target);
        if (n <= x->n_fed || n <= *to) continue;
        best = x;
        *to = n;
    }
    return best;
}

static void look_up(engine *e, lane *l) {
    const job *j = l->job;
    if (!l->cached) {
        lane_read(e, l);
        return;
    }
    snapshot *s =
        tree_find(e->tree, j->tenant->name, j->text->ids, l->n_target, l->n_lost < MOST_LOST);
    if (s && s->n <= l->n_fed) s = NULL;
    lane *leader = find_leader(e, l, s ? s->n : l->n_fed, &l->follow_to);
    if (leader) {
        l->phase = LANE_FOLLOWING;
        l->leader = leader;
    } else if (!s) {
        e->n_misses += l->n_fed == 0;
        if (l->n_fed == 0) look_around(e);
        lane_read(e, l);
    } else if (!s->session) {
        tree_pin(s);
        l->wanted = s;
        wait_for(e, l, run_read, done_read);
    } else if (take_over(l, s->session, s->n)) {
        e->n_hits_ram++;
        lane_read(e, l);
    } else {
        lane_fail(e, l, NULL);
    }
}

/* ------------------------------------------------------------------ sessions */

/* The record and its state, or the state that the request brought. */
static void run_load(task *t) {
    lane *l = (lane *)t;
    const job *j = l->job;
    session_record *r = &l->record;
    rwkv_state_info info;
    rwkv_error *err = &l->err;
    l->read = true;
    l->stored = j->session ? session_record_get(l->e->store, j->tenant->name, j->session, r, err)
                           : STORE_NONE;
    if (l->stored == STORE_OK && !j->rewind) {
        l->read = rwkv_session_load(l->session, r->blob, r->n_blob, &info, err) == RWKV_OK;
        if (l->read && info.other_weights) r->flags &= ~(uint64_t)SESSION_OURS;
        session_record_drop_blob(r);
    } else if (l->stored == STORE_NONE && j->state) {
        l->read = rwkv_session_load(l->session, j->state, j->n_state, NULL, err) == RWKV_OK;
    }
}

/* The session's past becomes the beginning of the text. */
static bool prepend(lane *l, const int32_t *ids, size_t n) {
    job *j = l->job;
    const uint64_t room = j->max_tokens < 8192 ? j->max_tokens : 8192;
    transcript *whole = transcript_new(ids, n, j->text->n + (size_t)room);
    if (!whole || !transcript_add(&whole, j->text->ids, j->text->n)) return false;
    transcript_unref(j->text);
    j->text = whole;
    for (size_t i = 0; i < j->n_marks; i++) j->marks[i] += n;
    l->n_prompt = l->n_target = whole->n;
    return true;
}

static bool refuse_session(lane *l, store_result why, rwkv_status code, const char *what) {
    l->stored = why;
    engine_refuse(&l->err, code, what);
    return false;
}

/* Checks what was found against what the job expects. False: l->err says why not. */
static bool accept_record(lane *l) {
    const job *j = l->job;
    session_record *r = &l->record;
    char what[200];
    if (l->stored == STORE_NONE && (j->create_session || !j->session)) {
        *r = (session_record){.created = (int64_t)time(NULL),
                              .flags = j->state ? 0 : SESSION_ROOTED | SESSION_OURS};
        l->stored = STORE_OK;
    } else if (l->stored == STORE_OK && j->state) {
        return refuse_session(l, STORE_CONFLICT, RWKV_E_ARG,
                              "a state can begin a new session only; this one is there");
    }
    if (l->stored != STORE_OK || !l->read) return false;
    if (j->session && j->session_generation != STORE_ANY &&
        j->session_generation != r->generation) {
        snprintf(what, sizeof what,
                 "session \"%s\": conflict: found generation %llu; expected %llu", j->session,
                 (unsigned long long)r->generation, (unsigned long long)j->session_generation);
        return refuse_session(l, STORE_CONFLICT, RWKV_E_STATE, what);
    }
    for (size_t i = 0; i < r->n_tokens; i++)
        if (r->tokens[i] < 0 || (uint32_t)r->tokens[i] >= l->e->info.n_vocab)
            return refuse_session(l, STORE_FAILED, RWKV_E_STATE,
                                  "session: the record in the store is damaged");
    return true;
}

/* The tokens of the first turns are read again from the nearest snapshot. The result is what these
 * weights make of them, wherever the state had come from. */
static bool begin_rewind(lane *l) {
    const job *j = l->job;
    session_record *r = &l->record;
    if (j->n_turns > r->n_turns)
        return refuse_session(l, STORE_NONE, RWKV_E_ARG, "rewind: the session has fewer turns");
    if (!(r->flags & SESSION_ROOTED))
        return refuse_session(l, STORE_FAILED, RWKV_E_UNSUPPORTED,
                              "rewind: the session began from a state whose text is not known");
    r->n_turns = (size_t)j->n_turns;
    r->n_tokens = r->n_turns ? (size_t)r->turns[r->n_turns - 1] : 0;
    r->flags |= SESSION_OURS;
    l->finishing = true;
    l->finish = JOB_LENGTH;
    return true;
}

static void done_load(void *owner, task *t) {
    engine *e = owner;
    lane *l = (lane *)t;
    const job *j = l->job;
    const session_record *r = &l->record;
    bool ok = accept_record(l) && (!j->rewind || begin_rewind(l));
    if (ok && !prepend(l, r->tokens, r->n_tokens))
        ok = refuse_session(l, STORE_FAILED, RWKV_E_NOMEM, "out of memory");
    if (!ok) {
        lane_fail(e, l, NULL);
        return;
    }
    l->n_fed = j->rewind ? 0 : r->n_tokens;
    l->cached = !j->no_cache && (r->flags & SESSION_ROOTED) && (r->flags & SESSION_OURS);
    look_up(e, l);
}

static void run_save(task *t) {
    lane *l = (lane *)t;
    const job *j = l->job;
    const engine_options *o = &l->e->options;
    const session_limits limits = {o->session_ttl, o->session_quota, o->max_sessions};
    l->stored = session_record_put(l->e->store, &limits, j->tenant->name, j->session, &l->record,
                                   l->session, &l->err);
}

static void done_save(void *owner, task *t) {
    engine *e = owner;
    lane *l = (lane *)t;
    if (l->stored == STORE_OK) {
        lane_finish(e, l);
        return;
    }
    char line[160];
    snprintf(line, sizeof line, "request %.64s: the session is not saved: %s",
             l->job->request_id ? l->job->request_id : "",
             l->stored == STORE_CONFLICT ? "another was faster"
             : l->stored == STORE_FULL   ? "no room"
                                         : "the store failed");
    engine_log(e, l->stored != STORE_CONFLICT, line);
    lane_fail(e, l, NULL);
}

/* The turn, as a new last row of the record. */
static bool add_turn(lane *l) {
    job *j = l->job;
    session_record *r = &l->record;
    const size_t n = j->text->n;
    int32_t *tokens = malloc((n + 1) * sizeof *tokens);
    uint64_t *turns = realloc(r->turns, (r->n_turns + 1) * sizeof *turns);
    if (turns) r->turns = turns;
    if (!tokens || !turns) {
        free(tokens);
        return false;
    }
    memcpy(tokens, j->text->ids, n * sizeof *tokens);
    free(r->tokens);
    r->tokens = tokens;
    r->n_tokens = n;
    if (!j->rewind) turns[r->n_turns++] = n;
    if (j->note) {
        free(r->note);
        r->note = j->note;
        r->n_note = j->n_note;
        j->note = NULL;
    }
    return true;
}

void lane_save(engine *e, lane *l) {
    if (!l->job->session) {
        lane_finish(e, l);
    } else if (!add_turn(l)) {
        refuse_session(l, STORE_FAILED, RWKV_E_NOMEM, "out of memory: the session is not saved");
        lane_fail(e, l, NULL);
    } else {
        wait_for(e, l, run_save, done_save);
    }
}

/* ------------------------------------------------------------------ beginning and end */

void lane_recall(engine *e, lane *l) {
    const job *j = l->job;
    l->at = tree_start(e->tree, j->tenant->name);
    if (rwkv_session_new(&l->session, e->model, &l->err) != RWKV_OK) {
        lane_fail(e, l, NULL);
    } else if (j->session || j->state) {
        wait_for(e, l, run_load, done_load);
    } else {
        l->cached = !j->no_cache;
        look_up(e, l);
    }
}

void lane_bequeath(engine *e, lane *l) {
    const job *j = l->job;
    if (l->cached && l->session && l->finish != JOB_FAILED && l->n_fed > l->n_cached) {
        tree_extend(e->tree, &l->at, j->text->ids, l->n_fed);
        tree_keep(e->tree, j->tenant->name, &l->at, j->text, l->session, worth_writing(l));
        l->session = NULL;
    }
    for (size_t i = 0; i < e->options.max_lanes; i++) {
        lane *f = &e->lanes[i];
        if (!is_follower(f, l)) continue;
        f->leader = NULL;
        look_up(e, f);
    }
}
