/* pool.c - persistent threads that run one function over a range, again and again (dozens of times per
 * token). A run is published by raising `generation`; workers spin on it briefly, then sleep. The
 * caller works too, then waits for `pending` to reach zero the same way.
 *
 * Sleeping loses no wake-up: a sleeper counts itself, then looks at the number again under the lock; the
 * other side changes the number, then looks for sleepers. Both orders are sequentially consistent, so
 * one of the two sees the other. */
#include "cpu.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

typedef struct worker {
    struct rw_pool *pool;
    pthread_t thread;
    uint32_t index;
} worker;

struct rw_pool {
    /* the job: written before generation is raised, read after */
    rw_pool_fn fn;
    void *ctx;
    size_t n_items, grain;
    bool stop;

    _Alignas(64) atomic_uint generation;
    _Alignas(64) atomic_uint pending; /* workers that have not finished this generation */
    atomic_uint sleepers;             /* workers asleep, or about to be */
    atomic_bool caller_sleeps;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    uint32_t n_threads;               /* caller included */
    uint32_t spins;
    worker workers[];                 /* [n_threads - 1] */
};

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Thread `index`'s share of the job. Shares differ by at most one grain. */
static void work(const rw_pool *p, uint32_t index) {
    size_t chunks = p->n_items / p->grain + (p->n_items % p->grain != 0);
    size_t each = chunks / p->n_threads, extra = chunks % p->n_threads;
    size_t first = each * index + (index < extra ? index : extra);
    size_t count = each + (index < extra);
    if (count == 0) return;
    size_t begin = first * p->grain;
    size_t end = first + count == chunks ? p->n_items : begin + count * p->grain;
    p->fn(p->ctx, begin, end, index);
}

static void await_generation(rw_pool *p, unsigned seen) {
    for (uint32_t i = 0; i < p->spins; i++) {
        if (atomic_load_explicit(&p->generation, memory_order_acquire) != seen) return;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->generation) == seen) pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void publish(rw_pool *p) {
    atomic_store_explicit(&p->pending, p->n_threads - 1, memory_order_relaxed);
    atomic_fetch_add(&p->generation, 1);
    if (atomic_load(&p->sleepers) == 0) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

static void finish(rw_pool *p) {
    if (atomic_fetch_sub(&p->pending, 1) != 1 || !atomic_load(&p->caller_sleeps)) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}

static void await_pending(rw_pool *p) {
    for (uint32_t i = 0; i < p->spins; i++) {
        if (atomic_load_explicit(&p->pending, memory_order_acquire) == 0) return;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (atomic_load(&p->pending) != 0) pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg) {
    const worker *w = arg;
    rw_pool *p = w->pool;
    for (unsigned seen = 0;; seen++) {
        await_generation(p, seen);
        if (p->stop) return NULL;
        work(p, w->index);
        finish(p);
    }
}

/* Workers take no signals: Ctrl-C belongs to the program's own threads. */
static void start_workers(rw_pool *p, uint32_t wanted) {
    sigset_t all, before;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before)) return;
    for (uint32_t i = 0; i < wanted; i++) {
        worker *w = &p->workers[i];
        *w = (worker){.pool = p, .index = i + 1};
        if (pthread_create(&w->thread, NULL, worker_main, w)) break;
        p->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

rwkv_status rw_pool_new(rw_pool **out, uint32_t n_threads, rwkv_error *err) {
    *out = NULL;
    if (n_threads == 0) return rw_fail(err, RWKV_E_ARG, "thread pool: found 0 threads; expected 1 or more");
    size_t bytes = sizeof(rw_pool) + (size_t)(n_threads - 1) * sizeof(worker);
    rw_pool *p = rw_alloc_aligned(bytes);
    if (!p) return rw_nomem(err, bytes);
    p->n_threads = 1;
    /* With more threads than cores the one that is waited for needs the core. */
    uint32_t cores = rw_os_physical_cores();
    p->spins = n_threads <= cores ? 4000 : 50;
    if (pthread_mutex_init(&p->lock, NULL)) goto no_lock;
    if (pthread_cond_init(&p->wake, NULL)) goto no_wake;
    if (pthread_cond_init(&p->done, NULL)) goto no_done;
    start_workers(p, n_threads - 1);
    *out = p;
    return RWKV_OK;
no_done:
    pthread_cond_destroy(&p->wake);
no_wake:
    pthread_mutex_destroy(&p->lock);
no_lock:
    rw_free_aligned(p);
    return rw_fail(err, RWKV_E_NOMEM, "thread pool: the system has no lock to give");
}

void rw_pool_free(rw_pool *p) {
    if (!p) return;
    p->stop = true;
    publish(p);
    for (uint32_t i = 0; i + 1 < p->n_threads; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    rw_free_aligned(p);
}

uint32_t rw_pool_threads(const rw_pool *p) {
    return p->n_threads;
}

void rw_pool_run(rw_pool *p, size_t n_items, size_t grain, rw_pool_fn fn, void *ctx) {
    if (n_items == 0) return;
    if (grain == 0) grain = 1;
    if (p->n_threads == 1 || n_items <= grain) {
        fn(ctx, 0, n_items, 0);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    p->n_items = n_items;
    p->grain = grain;
    publish(p);
    work(p, 0);
    await_pending(p);
}
