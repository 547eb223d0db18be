/* support_engine.h - a client of the engine that writes down everything it is told. */
#ifndef RW_SUPPORT_ENGINE_H
#define RW_SUPPORT_ENGINE_H

#include "../server/engine.h"
#include "support_models.h"

#include <pthread.h>

enum { MAX_ANSWER = 400, MAX_TEXT = 4096 };

/* A v7 model with the byte vocabulary: id 0 ends, id = byte + 1. */
extern const test_shape engine_shape;
rwkv_model *engine_test_model(uint64_t seed);

typedef struct seen {
    engine *e;
    job *j;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done, started;
    uint64_t cancel_after; /* tokens; 0: never */
    pthread_mutex_t *gate; /* the engine's thread passes it when the job has started; NULL: none */
    size_t n_tokens, n_text, n_progress;
    size_t order; /* in which jobs of this process started */
    int32_t tokens[MAX_ANSWER];
    float logprobs[MAX_ANSWER];
    char text[MAX_TEXT];
    job_event last; /* its pointers are not valid any more */
    char stop[64], message[768];
    rwkv_status status;
    float *state; /* at the end; NULL: none */
    int32_t pending;
} seen;

seen *seen_new(engine *e);
void seen_free(seen *s);
void seen_event(void *user, const job_event *event); /* job_event_fn */
void wait_done(seen *s);
void wait_tokens(seen *s, size_t n); /* or the end */

/* n tokens from a seed; 8 buffers in rotation, at most 32768 */
int32_t *some_tokens(uint64_t seed, size_t n);
/* Answers of any kind of token, with log-probabilities and five alternatives. */
job_request request_of(const char *tenant, const int32_t *tokens, size_t n, uint64_t max_tokens,
                       uint64_t seed);
seen *submit(engine *e, job_request r);                            /* must be accepted */
seen *submit_and_cancel(engine *e, job_request r, uint64_t after); /* so many tokens */
/* While the test holds the gate the engine does nothing more once this job has started. */
seen *submit_gated(engine *e, job_request r, pthread_mutex_t *gate);
seen *run_job(engine *e, job_request r); /* and waits */
void cancel_job(seen *s);                /* unless it is done */
void expect_same_answer(const seen *a, const seen *b);

#endif
