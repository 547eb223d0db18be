/* metrics.h - counters for /metrics (Prometheus). Lock-free; nothing of what users write. */
#ifndef RWKV_SERVER_METRICS_H
#define RWKV_SERVER_METRICS_H

#include "base/base.h"

#include <stdatomic.h>

enum { METRICS_ROUTES = 48, METRICS_CLASSES = 6, METRICS_BUCKETS = 13 };

typedef struct histogram {
    atomic_uint_fast64_t counts[METRICS_BUCKETS + 1], nanoseconds;
} histogram;

typedef struct metrics {
    atomic_uint_fast64_t requests[METRICS_ROUTES][METRICS_CLASSES]; /* by status / 100 */
    histogram request, first_token, between_tokens, queued;
} metrics;

void histogram_add(histogram *h, double seconds);
bool histogram_write(const histogram *h, const char *name, const char *help, rw_buf *b);

#endif
