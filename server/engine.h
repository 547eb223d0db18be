/* engine.h - what the HTTP side asks of the model, and nothing about HTTP.
 *
 *     routes -> engine_submit(job) -> queue -> lanes (batch of rwkv_sessions) -> events -> routes
 *                                        |-> tree.c: snapshots of states by token prefix, RAM then store
 *                                        |-> sessions.c: named timelines in the store
 *
 * One thread owns the model: it takes jobs from a bounded queue, fair between tenants, gives each a lane,
 * and in every step evaluates one token of each answering lane and a slice of the prompts still being read,
 * all in one rwkv_eval_batch. Since results do not depend on batch neighbours, an answer is bit for bit what
 * its user alone would have got.
 *
 * Before a prompt is read the longest prefix with a snapshot is looked up (tokens are compared, not only
 * hashes; a tenant sees only its own); snapshots are kept at the job's marks and every `snapshot_every`
 * tokens of a long prompt, and at the end of the answer. */
#ifndef RWKV_ENGINE_H
#define RWKV_ENGINE_H

#include "../store/store.h"

typedef struct engine engine;
typedef struct job job;

typedef struct engine_options {
    uint32_t max_lanes;      /* answers at once; 0: 32 */
    uint32_t max_queue;      /* jobs waiting; 0: 256. One tenant gets three quarters of a queue of 16 or more */
    uint32_t prompt_slice;   /* prompt tokens read between two steps of the others; 0: chosen from measured speed
                                so that a step takes less than twice what it takes without */
    uint32_t snapshot_every; /* tokens; 0: 1024 */
    uint64_t cache_ram;      /* bytes of snapshots in RAM */
    uint64_t cache_disk;     /* bytes of snapshots in the store, all tenants together; 0: none */
    uint64_t session_ttl;    /* seconds; 0: for ever */
    uint64_t session_quota;  /* bytes per tenant; 0: no limit */
    uint32_t max_sessions;   /* per tenant; 0: 1000 */
    rwkv_log_fn log;         /* never carries text of users */
    void *log_user;
} engine_options;

/* The engine uses model and store (NULL: nothing outlives the process) until engine_free. */
rwkv_status engine_new(engine **out, rwkv_model *model, store *st, const engine_options *options, rwkv_error *err);
/* No new jobs; waits until the running ones have ended, at most `seconds`, then ends them with JOB_STOPPED. */
void engine_drain(engine *e, double seconds);
void engine_free(engine *e); /* after drain */

/* ------------------------------------------------------------------ jobs */

typedef enum job_finish {
    JOB_STOP,      /* a stop string, or the end token */
    JOB_LENGTH,    /* max_tokens */
    JOB_CANCELLED, /* job_cancel */
    JOB_STOPPED,   /* the server is being stopped */
    JOB_FAILED,    /* error says why */
} job_finish;

typedef struct token_choice {
    int32_t token;
    float logprob; /* of the model's distribution at temperature 1, before any sampling rule */
} token_choice;

typedef struct job_token {
    token_choice chosen;
    const token_choice *top; /* [n_top], most likely first */
    size_t n_top;
} job_token;

typedef enum job_event_kind {
    JOB_STARTED,  /* has a lane; n_cached is known */
    JOB_PROGRESS, /* part of the prompt was read: n_prompt, n_cached, n_read */
    JOB_TOKEN,    /* text that may be shown (whole characters, may be empty) and the token; not sent for echo */
    JOB_DONE      /* always the last, exactly once; text: what was held back */
} job_event_kind;

typedef struct job_event {
    job_event_kind kind;
    const char *text; /* valid during the call */
    size_t n_text;
    job_token token;           /* JOB_TOKEN, if logprobs were asked for */
    job_finish finish;         /* JOB_DONE */
    const char *stop;          /* JOB_DONE: the stop string found, or NULL */
    const rwkv_error *error;   /* JOB_DONE with JOB_FAILED. RWKV_E_STATE with code "conflict": see `conflict` */
    bool conflict;             /* another server or request advanced the session: HTTP 409 */
    store_result session_result; /* JOB_DONE: what the store said to the session: STORE_NONE: there is none; STORE_FULL,
                                    STORE_FAILED: not read or not saved */
    uint64_t session_generation; /* JOB_DONE: after the commit */
    uint64_t n_prompt;         /* tokens of the prompt (with a session: of its whole past and the new ones) */
    uint64_t n_cached;         /* of them not read again, because a snapshot or the session had them */
    uint64_t n_read;           /* of them read so far */
    uint64_t n_generated;        /* tokens chosen, with those of the stop string and the end token */
    uint64_t n_visible;          /* of them those with text that is shown or held back; JOB_DONE: shown */
    double seconds_queued, seconds_prompt, seconds_answer;
    const rwkv_session *session; /* JOB_DONE: the state after the visible answer, for return_state and embeddings; valid
                                    during the call; NULL if it failed early */
} job_event;

/* Called on the engine's thread: must not block, and must not call the engine except job_cancel. */
typedef void (*job_event_fn)(void *user, const job_event *event);

typedef struct job_request {
    const char *tenant;      /* digest of the API key, "local" without keys */
    const char *request_id;  /* for the log */
    const int32_t *tokens;   /* [n_tokens]; copied. With `session`: what is added to it */
    size_t n_tokens;
    const size_t *marks;     /* prefixes worth a snapshot (ends of messages), ascending; copied. One that follows
                                another within 32 tokens is passed over, but for the last. None: the prompt's end */
    size_t n_marks;
    const char *session;     /* name of a session that is continued and saved, or NULL. Committed before JOB_DONE */
    uint64_t session_generation; /* expected; STORE_ANY: whatever it is now */
    bool create_session;     /* may be new */
    const void *note;        /* session: replaces its note (a JSON object that the HTTP side owns) on success */
    size_t n_note;
    const void *state;       /* initial state instead of the empty one: a blob of rwkv_session_save; copied */
    size_t n_state;
    rwkv_sampling sampling;
    uint64_t max_tokens;     /* 0: read the prompt only (embeddings, ingest): JOB_DONE with JOB_LENGTH */
    const char *const *stops; /* copied */
    size_t n_stops;
    bool ignore_end;
    bool end_is_stop; /* the end token takes along what may be the beginning of a stop: of a chat's last answer,
                         the blank line before a turn that does not come */
    uint32_t n_top;          /* alternatives per token, 0..20 */
    bool logprobs;
    bool no_cache;           /* neither look up nor keep snapshots */
    job_event_fn on_event;
    void *user;
} job_request;

typedef enum submit_result { SUBMIT_OK, SUBMIT_BUSY, SUBMIT_STOPPING, SUBMIT_REFUSED } submit_result;

/* *retry_after: seconds until there will be room, for SUBMIT_BUSY. *out may be used for job_cancel until JOB_DONE
 * was delivered (a lock of the caller's puts the two in order; on_event is called without any of the engine's).
 * Several requests with the same prompt share the reading of it (n > 1).
 *
 * The text of the state that is left, and of a session: the prompt and the visible answer, without a stop string or the
 * end token. A turn of a session is saved as a whole, when its job has ended with JOB_STOP or JOB_LENGTH; after any other
 * end the session is what it was before. Of two jobs on one session at a time the second waits, if its
 * session_generation is STORE_ANY, or else fails at once with `conflict`. */
submit_result engine_submit(engine *e, const job_request *request, job **out, double *retry_after, rwkv_error *err);
void job_cancel(engine *e, job *j); /* any thread; JOB_DONE follows within a step */

/* ------------------------------------------------------------------ sessions: named timelines of a tenant
 * Names: 1 to 64 of [A-Za-z0-9._-]. A foreign and an unknown session look the same: STORE_NONE. */

typedef struct session_info {
    char name[65];
    uint64_t generation, n_tokens, n_turns, n_bytes;
    int64_t created, used;
    void *note; /* the HTTP side's JSON (title, messages' roles and lengths ...), may be NULL */
    size_t n_note;
} session_info;
void session_info_free(session_info *i);

store_result session_get(engine *e, const char *tenant, const char *name, session_info *out, rwkv_error *err);
store_result session_list(engine *e, const char *tenant, bool (*fn)(void *user, const session_info *i), void *user,
                          rwkv_error *err);
/* A copy under another name: one blob, no evaluation. */
store_result session_fork(engine *e, const char *tenant, const char *name, const char *to, rwkv_error *err);
/* Back to the end of turn n_turns (0: its beginning). The tokens that are left are looked up in the tree and, where
 * no snapshot has them, read again; on_event as for a job. */
submit_result session_rewind(engine *e, const char *tenant, const char *name, uint64_t n_turns, job_event_fn on_event,
                             void *user, rwkv_error *err);
/* Replaces the note alone. expected: a generation, or STORE_ANY. */
store_result session_set_note(engine *e, const char *tenant, const char *name, uint64_t expected, const void *note,
                              size_t n_note, uint64_t *generation, rwkv_error *err);
store_result session_rename(engine *e, const char *tenant, const char *name, const char *to, rwkv_error *err);
store_result session_delete(engine *e, const char *tenant, const char *name, rwkv_error *err);
/* As a portable state file (rwkv_session_save; the tokens travel in its note), and back. *data: rwkv_free... free() */
store_result session_export(engine *e, const char *tenant, const char *name, void **data, size_t *n, rwkv_error *err);
store_result session_import(engine *e, const char *tenant, const char *name, const void *data, size_t n, rwkv_error *err);

/* ------------------------------------------------------------------ numbers for /metrics, /health, /props */

typedef struct engine_stats {
    uint64_t jobs_queued, jobs_running, jobs_done[5]; /* by job_finish */
    uint64_t tokens_read, tokens_cached, tokens_generated, steps;
    uint64_t snapshots_ram, bytes_ram, snapshots_stored, bytes_stored;
    uint64_t hits_ram, hits_store, misses;
    double seconds_busy;
    bool draining;
} engine_stats;
void engine_get_stats(engine *e, engine_stats *out);
rwkv_model *engine_model(engine *e);

#endif
