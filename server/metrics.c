/* metrics.c - see metrics.h. */
#include "metrics.h"

#include "text.h"

static const double bounds[METRICS_BUCKETS] = {0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                               0.5,   1,     2.5,  5,     10,   30};

void histogram_add(histogram *h, double seconds) {
    size_t i = 0;
    while (i < METRICS_BUCKETS && seconds > bounds[i]) i++;
    atomic_fetch_add_explicit(&h->counts[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->nanoseconds, (uint64_t)(seconds * 1e9), memory_order_relaxed);
}

bool histogram_write(const histogram *h, const char *name, const char *help, rw_buf *b) {
    uint64_t n = 0;
    bool ok = buf_printf(b, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
    for (size_t i = 0; i < METRICS_BUCKETS && ok; i++) {
        n += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        ok = buf_printf(b, "%s_bucket{le=\"%g\"} %llu\n", name, bounds[i], (unsigned long long)n);
    }
    n += atomic_load_explicit(&h->counts[METRICS_BUCKETS], memory_order_relaxed);
    double sum = 1e-9 * (double)atomic_load_explicit(&h->nanoseconds, memory_order_relaxed);
    return ok && buf_printf(b, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.6f\n%s_count %llu\n", name,
                            (unsigned long long)n, name, sum, name, (unsigned long long)n);
}
