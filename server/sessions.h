/* sessions.h - a session as it lies in the store, for the engine's parts; the public side is in
 * engine.h.
 *
 * One item of the space "session/<tenant>": its note is what lists show, its data are the turns,
 * the tokens and the state after them. Turn and state are written as one, and only over the
 * generation that was read. */
#ifndef RWKV_SESSIONS_H
#define RWKV_SESSIONS_H

#include "engine.h"

enum {
    SESSION_ROOTED = 1, /* the tokens tell all: it began empty, so any part can be read again */
    SESSION_OURS = 2    /* the state is what these weights made of them, not what a file says */
};

typedef struct session_record {
    uint64_t generation; /* 0: not in the store */
    int64_t created;
    uint64_t flags;
    int32_t *tokens;
    uint64_t *turns; /* tokens at the end of each */
    size_t n_tokens, n_turns;
    void *note;
    size_t n_note;
    const void *blob; /* inside data */
    size_t n_blob;
    void *data;
} session_record;

typedef struct session_limits {
    uint64_t ttl, quota;
    uint32_t max_sessions;
} session_limits;

bool session_name_ok(const char *name);
store_result session_record_get(store *st, const char *tenant, const char *name,
                                session_record *out, rwkv_error *err);
/* Over the generation r->generation; on success that becomes the new one. */
store_result session_record_put(store *st, const session_limits *limits, const char *tenant,
                                const char *name, session_record *r, const rwkv_session *s,
                                rwkv_error *err);
void session_record_drop_blob(session_record *r); /* the state is in a session now */
void session_record_free(session_record *r);

#endif
