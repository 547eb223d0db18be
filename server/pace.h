/* pace.h - how much of the prompts a step may read, so that those who are being answered hardly
 * notice.
 *
 * A step that reads as well must not take twice as long as one that only answers. What steps take
 * is measured all the time: with n answers and nothing else, and what each row of a prompt adds. */
#ifndef RWKV_PACE_H
#define RWKV_PACE_H

#include <stddef.h>

enum { MAX_LANES = 128 };

typedef struct pace {
    double decode[MAX_LANES +
                  1]; /* seconds of a step that only answers, by number of answers; 0: unknown */
    double per_row;   /* seconds that a row of a prompt adds to such a step; 0: unknown */
    double per_row_alone; /* in a step without answers; 0: unknown */
    unsigned mixed;       /* steps since the last that only answered */
} pace;

void pace_learn(pace *p, size_t n_answers, size_t n_rows, double seconds);
/* Rows to read in a step with n answers. 0: none this time, to measure what it takes without. */
size_t pace_rows(const pace *p, size_t n_answers);

#endif
