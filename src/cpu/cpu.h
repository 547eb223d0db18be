/* cpu.h - what the processor can do, asked once of it and of the system; and the thread pool. */
#ifndef RW_CPU_H
#define RW_CPU_H

#include "../base/base.h"

typedef struct rw_cpu {
    bool avx2, fma, f16c, avx512f, avx512bw, avx512vl, avx512_vnni, avx512_bf16,
        avx_vnni;                   /* x86-64 */
    bool neon, dotprod, i8mm, bf16; /* arm64 */
} rw_cpu;

rw_cpu rw_cpu_detect(void);

/* ---- thread pool: n_threads - 1 workers and the caller. n_threads = 1 starts none. */
typedef struct rw_pool rw_pool;

/* If a thread cannot be started the pool is smaller (n_threads tells), not an error. */
rwkv_status rw_pool_new(rw_pool **out, uint32_t n_threads, rwkv_error *err);
void rw_pool_free(rw_pool *p);
uint32_t rw_pool_threads(const rw_pool *p);

/* Runs fn(ctx, begin, end, thread) so that [0, n_items) is covered exactly once, in contiguous
 * pieces of about equal size, each a multiple of grain (but the last). Threads take pieces as they
 * become free, so one thread may get several, one after the other. Blocks until all are done. One
 * caller at a time. thread is 0..n_threads-1, for scratch memory. */
typedef void (*rw_pool_fn)(void *ctx, size_t begin, size_t end, uint32_t thread);
void rw_pool_run(rw_pool *p, size_t n_items, size_t grain, rw_pool_fn fn, void *ctx);

#endif
