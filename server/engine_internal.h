/* engine_internal.h - what the parts of the engine share: jobs, lanes, the engine itself.
 *
 *     engine.c   life of the engine, the queue: who gets a lane, and when
 *     lanes.c    the loop: one batch per step, from a prompt's first token to JOB_DONE
 *
 * The engine's thread owns everything that is not marked otherwise. */
#ifndef RWKV_ENGINE_INTERNAL_H
#define RWKV_ENGINE_INTERNAL_H

#include "engine.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MAX_LANES = 128, MAX_TOP = 20 };

/* ------------------------------------------------------------------ tokens of a timeline
 * Shared by a job and the snapshots taken of it, which look at a beginning that never changes. */

typedef struct transcript {
    int32_t *ids;
    size_t n, cap;
    uint32_t refs;
} transcript;

transcript *transcript_new(const int32_t *ids, size_t n, size_t room); /* NULL: out of memory */
transcript *transcript_ref(transcript *t);
void transcript_unref(transcript *t);
/* May replace *t by a larger one. False when memory is out. */
bool transcript_add(transcript **t, const int32_t *ids, size_t n);

/* ------------------------------------------------------------------ jobs */

typedef struct tenant {
    struct tenant *next;
    size_t n_jobs, n_queued, n_running;
    uint64_t served; /* turn in which it last got a lane */
    char name[];
} tenant;

struct job {
    job *next; /* in the queue */
    tenant *tenant;
    char *request_id;
    transcript *text; /* the prompt; then what was answered */
    size_t *marks, n_marks;
    void *state; /* the initial one, NULL: empty */
    size_t n_state;
    uint64_t max_tokens;
    uint32_t n_top;
    bool logprobs, ignore_end, no_cache;
    rwkv_sampler *sampler;
    rwkv_stream *stream;
    job_event_fn on_event;
    void *user;
    uint64_t queued_ns;
    atomic_bool cancelled; /* any thread */
};

void job_free(job *j);

/* ------------------------------------------------------------------ lanes */

typedef enum lane_phase {
    LANE_FREE,
    LANE_READING,   /* feeds text up to n_target */
    LANE_ANSWERING, /* has logits, or one token to feed */
} lane_phase;

typedef struct lane {
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
} lane;

/* What steps took, to choose how much of the prompts the next one may read. */
typedef struct pace {
    double decode[MAX_LANES + 1]; /* seconds of a step that only answers, by number of answers; 0: unknown */
    double per_row;               /* seconds that a row of a prompt adds to such a step */
    double per_row_alone;         /* in a step without answers */
    unsigned mixed;               /* steps since the last that only answered */
} pace;

struct engine {
    rwkv_model *model;
    const rwkv_tokenizer *tokenizer;
    rwkv_info info;
    engine_options options;
    int32_t end;

    pthread_t thread;
    lane *lanes; /* [options.max_lanes] */
    size_t n_running;
    size_t first_reader; /* whose turn it is to get the odd row */
    rwkv_batch_item *items;
    lane **batched;
    pace pace;
    uint64_t turn;

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t wake;
    bool poked, stopping, stop_now, quit;
    job *queue, **queue_end; /* in order of arrival */
    tenant *tenants;
    double job_seconds; /* how long a job has a lane, on average */
    engine_stats stats;
};

uint64_t now_ns(void); /* monotonic */
double seconds_since(uint64_t ns);
/* Wakes the engine's thread. */
void engine_poke(engine *e);
/* The lane's job is over and has been told so: both are given up. */
void engine_release(engine *e, lane *l);

/* lanes.c */
void lane_begin(engine *e, lane *l, job *j);
/* Ends a job that has a lane; JOB_DONE is delivered. */
void lane_abort(engine *e, lane *l, job_finish how);
/* One batch. False when no lane has anything to evaluate. */
bool lanes_step(engine *e);
void job_end_queued(engine *e, job *j, job_finish how, const rwkv_error *err, bool conflict);

#endif
