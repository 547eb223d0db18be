/* answer.h - a question on its way through the engine: its jobs' events become chunks of a stream,
 * or one reply when all have ended. */
#ifndef RWKV_SERVER_ANSWER_H
#define RWKV_SERVER_ANSWER_H

#include "ask.h"

/* Submits one job for every choice. Takes what is needed from a; replies also if that fails. */
void answer_start(request *r, ask *a);

/* One job whose end is all that matters (embeddings, sessions that are only read): `done` is called
 * on the engine's thread with the last event, must not block, and says what to do on a worker. */
typedef struct reading {
    request *r;
    job *job;
    pthread_mutex_t lock;
    bool over;
    job_finish finish;
    bool conflict;
    store_result session_result;
    rwkv_error err;
    uint64_t n_prompt, n_cached;
    void (*done)(struct reading *w, const job_event *event); /* may be NULL */
    void (*then)(struct reading *w);                         /* on a worker: replies */
    void *data; /* of the caller, freed with the reading */
    size_t n_data;
} reading;
/* A reading that belongs to r (r->user). NULL after a reply. */
reading *reading_new(request *r);
/* Before another job of the same reading is submitted. */
void reading_again(reading *w);
void reading_event(void *user,
                   const job_event *event); /* job_request.on_event, user: the reading */
/* After engine_submit: remembers the job, watches the client; replies if it was refused. */
void reading_submitted(reading *w, submit_result result, job *made, double retry_after,
                       const rwkv_error *err);
/* Replies and returns true if the job did not end well. */
bool reading_failed(const reading *w);

#endif
