/* pace.c - see pace.h. Averages forget: a machine becomes busy, and free again. */
#include "pace.h"

enum { ROWS_MAX = 512, ROWS_FIRST = 128, ROWS_LEAST = 2, PURE_EVERY = 16 };

/* A step that reads may take so many times one that does not; without answers, so many seconds: as
 * long as a new request may have to wait for a look. */
static const double slow_down = 1.6, alone_seconds = 0.2;

static void learn(double *average, double x) {
    *average += (x - *average) * (*average > 0 ? 0.2 : 1);
}

/* With n answers; measured with fewer if not with as many. 0: unknown. */
static double decode_seconds(const pace *p, size_t n) {
    while (n > 0 && p->decode[n] <= 0) n--;
    return n ? p->decode[n] : 0;
}

void pace_learn(pace *p, size_t n_answers, size_t n_rows, double seconds) {
    const double decode = decode_seconds(p, n_answers);
    p->mixed = n_answers && n_rows ? p->mixed + 1 : 0;
    if (!n_rows)
        learn(&p->decode[n_answers], seconds);
    else if (!n_answers)
        learn(&p->per_row_alone, seconds / (double)n_rows);
    else
        learn(&p->per_row, (seconds > decode ? seconds - decode : 0) / (double)n_rows);
}

size_t pace_rows(const pace *p, size_t n_answers) {
    double rows = ROWS_FIRST;
    if (n_answers) {
        const double decode = decode_seconds(p, n_answers);
        if (decode <= 0 || p->mixed >= PURE_EVERY) return 0;
        rows = p->per_row > 0 ? decode * (slow_down - 1) / p->per_row : ROWS_LEAST;
    } else if (p->per_row_alone > 0) {
        rows = alone_seconds / p->per_row_alone;
    }
    return rows < ROWS_LEAST ? ROWS_LEAST : rows > ROWS_MAX ? ROWS_MAX : (size_t)rows;
}
