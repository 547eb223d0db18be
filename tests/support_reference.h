/* support_reference.h - RWKV in double precision, one token at a time, straight from the formulas:
 * what the library's results are measured against. Shares no code with the library. */
#ifndef RW_SUPPORT_REFERENCE_H
#define RW_SUPPORT_REFERENCE_H

#include "support_models.h"

typedef struct reference {
    const test_model *m;
    double gn_eps; /* of the group norm; 64e-5 unless the test sets another */
    double *state; /* [n_state], layout of rwkv_session_state */
    size_t n_state;
    double *logits; /* [V] after the last token */
    double *memory; /* scratch */
    size_t used;
} reference;

/* At the beginning of a text. m must outlive it. */
reference *reference_new(const test_model *m);
void reference_free(reference *r);
void reference_reset(reference *r);
void reference_eval(reference *r, int32_t token);

/* Largest difference from the reference's logits, and Kullback-Leibler divergence of the two
 * softmaxes. */
double reference_max_abs(const reference *r, const float *logits);
double reference_kl(const reference *r, const float *logits);
/* Relative to max(1, |value|). */
double reference_state_error(const reference *r, const float *state);
int32_t reference_top(const reference *r);
/* Distance between the best two logits. */
double reference_margin(const reference *r);

#endif
