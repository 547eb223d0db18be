/* engine_internal.h - what the parts of the engine share: jobs, lanes, the engine itself.
 *
 *     engine.c   life of the engine, the queue: who gets a lane, and when
 *     recall.c   where a lane's state comes from (session, snapshot, a neighbour), where it is kept
 *     pace.c     how much a step reads
 *     lanes.c    the loop: one batch per step, from a prompt's first token to JOB_DONE
 *
 * The engine's thread owns everything that is not marked otherwise. */
#ifndef RWKV_ENGINE_INTERNAL_H
#define RWKV_ENGINE_INTERNAL_H

#include "background.h"
#include "engine.h"
#include "pace.h"
#include "sessions.h"
#include "tree.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MAX_TOP = 20 };

/* ------------------------------------------------------------------ jobs */

typedef struct tenant_jobs {
    struct tenant_jobs *next;
    size_t n_jobs, n_queued, n_running;
    uint64_t served; /* turn in which it last got a lane */
    char name[];
} tenant_jobs;

struct job {
    job *next; /* in the queue */
    tenant_jobs *tenant;
    char *request_id;
    transcript *text; /* the prompt; then what was answered */
    size_t *marks, n_marks;
    void *state; /* the initial one, NULL: empty */
    size_t n_state;
    char *session; /* name; NULL: none */
    uint64_t session_generation;
    bool create_session, rewind;
    uint64_t n_turns; /* to rewind to */
    void *note;       /* NULL: stays */
    size_t n_note;
    uint64_t max_tokens;
    uint32_t n_top;
    bool logprobs, ignore_end, end_is_stop, no_cache;
    rwkv_sampling sampling; /* its bias and the stops are the job's */
    char **stops;
    size_t n_stops;
    rwkv_sampler *sampler; /* these two from the lane on */
    rwkv_stream *stream;
    job_event_fn on_event;
    void *user;
    uint64_t queued_ns;
    atomic_bool cancelled; /* any thread */
};

void job_free(job *j);
rwkv_status job_make_rules(const engine *e, job *j, rwkv_error *err);

/* ------------------------------------------------------------------ lanes */

typedef enum lane_phase {
    LANE_FREE,
    LANE_WAITING,   /* for its task, on a background thread */
    LANE_FOLLOWING, /* for its leader, which reads the same prompt */
    LANE_READING,   /* feeds text up to n_target */
    LANE_ANSWERING, /* has logits, or one token to feed */
} lane_phase;

typedef struct lane {
    task task; /* first: a task is its lane */
    struct engine *e;
    lane_phase phase;
    job *job;
    rwkv_session *session;
    rwkv_session *kept; /* as it was before the text that may be a stop string; NULL: no room yet */
    size_t n_kept;      /* tokens of text in it; SIZE_MAX: holds nothing */
    size_t n_fed;       /* tokens of text in the session (one of them perhaps pending) */
    size_t n_target;
    size_t n_prompt, n_cached;
    uint64_t n_generated, n_visible;
    bool finishing; /* the answer has ended: what is being read is its tail */
    job_finish finish;
    rwkv_error err;
    uint64_t started_ns, answer_ns;

    /* recall.c */
    bool cached; /* snapshots may be used and kept: the session is what its text makes of an empty
                    one */
    prefix at;   /* how far the text has been hashed */
    size_t mark; /* the next of the job's */
    size_t last_stop; /* where the last snapshot was taken, or reading began */
    size_t n_written; /* where the last one was that the store was given */
    struct lane *leader;
    size_t follow_to;
    snapshot *wanted; /* that the task reads; pinned */
    bool read;        /* and it was there */
    unsigned n_lost;  /* those that were not */
    session_record record;
    store_result stored; /* what the store said to the session's record */
} lane;

struct engine {
    rwkv_model *model;
    store *store, *own_store; /* the same if nothing is to outlive the process */
    const rwkv_tokenizer *tokenizer;
    rwkv_info info;
    engine_options options;
    int32_t end;

    pthread_t thread;
    lane *lanes; /* [options.max_lanes] */
    size_t n_running;
    size_t first_reader; /* whose turn it is to get the odd row */
    rwkv_batch_item *items; /* of a step, with their lanes; [max_lanes] */
    rwkv_draw *draws;
    lane **batched;
    pace pace;
    uint64_t turn;
    tree *tree;
    background *urgent, *lazy; /* what a lane waits for; snapshots on their way to the store */
    uint64_t listed_ns;        /* when the store was last asked what it has */
    bool write_fails;
    uint64_t n_hits_ram, n_hits_store, n_misses, n_tokens_cached, n_generated, bytes_stored;

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t wake;
    bool poked, stopping, stop_now, quit;
    rwkv_sampler *checker;   /* draws nothing: tells whether a job's sampling is right */
    task *finished;          /* tasks that have run */
    job *queue, **queue_end; /* in order of arrival */
    tenant_jobs *tenants;
    double job_seconds; /* how long a job has a lane, on average */
    engine_stats stats;
};

uint64_t engine_now(void); /* nanoseconds, monotonic */
double engine_since(uint64_t ns);
/* A background task has run (on its thread). */
void engine_finished(void *e, task *t);
/* The lane's job is over and has been told so: both are given up. */
void engine_release(engine *e, lane *l);
void engine_log(const engine *e, int level, const char *message);
void engine_refuse(rwkv_error *err, rwkv_status code, const char *what);

/* lanes.c */
void lane_begin(engine *e, lane *l, job *j);
/* Has its state: reads on from there. */
void lane_read(engine *e, lane *l);
/* Ends a job that has a lane, unless it is being saved; JOB_DONE is delivered. */
void lane_abort(engine *e, lane *l, job_finish how);
void lane_fail(engine *e, lane *l, const rwkv_error *err);
void lane_finish(engine *e, lane *l);
/* One batch. False when no lane has anything to evaluate. */
bool lanes_step(engine *e);

/* recall.c */
/* Gives a lane the state it begins with; lane_read follows, now or later. */
void lane_recall(engine *e, lane *l);
/* Where reading has to pause next: for a snapshot, for a follower, at the end. */
size_t lane_next_stop(const engine *e, lane *l);
void lane_at_stop(engine *e, lane *l);
/* The answer is over and the session at its end: to the store if it has a name; lane_finish
 * follows. */
void lane_save(engine *e, lane *l);
/* After JOB_DONE: the tree gets the session, followers find another leader. */
void lane_bequeath(engine *e, lane *l);
bool recall_write(void *e, snapshot *s); /* tree_options.write */

#endif
