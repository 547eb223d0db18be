/* session.h - the inside of a session, for session.c and state.c. */
#ifndef RW_SESSION_H
#define RW_SESSION_H

#include "model/model.h"

struct rwkv_session {
    rwkv_model *model;
    float *state;      /* [model->state_len] */
    float *logits;     /* [V] */
    uint64_t n_tokens; /* evaluated since the beginning */
    int32_t pending;   /* -1: none */
    bool has_logits;
    bool marked, broken; /* only inside rwkv_eval_batch */
};

#endif
