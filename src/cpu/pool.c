/* pool.c - persistent threads that run one function over a range, again and again (dozens of times
 * per token). A run is cut into a few pieces per thread; whoever is free takes the next one. So a
 * thread that the system has put aside delays nobody: the others take its pieces.
 *
 * `ticket` holds the run's number (upper half) and the pieces not taken yet (lower half). Taking
 * one is a compare-and-swap; only after it may the job be read, and the job stays until
 * `unfinished` is zero, which counts that piece. Idle threads spin briefly, then sleep.
 *
 * Sleeping loses no wake-up: a sleeper counts itself, then looks at the number again under the
 * lock; the other side changes the number, then looks for sleepers. Both orders are sequentially
 * consistent, so one of the two sees the other. */
#include "cpu.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

typedef struct worker {
    struct rw_pool *pool;
    pthread_t thread;
    uint32_t index;
} worker;

enum { PIECES_PER_THREAD = 8 };

struct rw_pool {
    /* the job: written before ticket is, read after a piece was taken from it */
    rw_pool_fn fn;
    void *ctx;
    size_t n_items, grain;
    uint32_t n_pieces;

    _Alignas(64) atomic_uint_fast64_t ticket;
    _Alignas(64) atomic_uint unfinished; /* pieces of this run that are not done */
    atomic_uint sleepers;                /* workers asleep, or about to be */
    atomic_bool caller_sleeps, stop;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    uint32_t n_threads; /* caller included */
    uint32_t spins;
    worker workers[]; /* [n_threads - 1] */
};

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Runs piece `i` of the job. Pieces differ by at most one grain. */
static void run_piece(const rw_pool *p, uint32_t i, uint32_t thread) {
    size_t chunks = p->n_items / p->grain + (p->n_items % p->grain != 0);
    size_t each = chunks / p->n_pieces, extra = chunks % p->n_pieces;
    size_t first = each * i + (i < extra ? i : extra);
    size_t count = each + (i < extra);
    size_t begin = first * p->grain;
    size_t end = first + count == chunks ? p->n_items : begin + count * p->grain;
    p->fn(p->ctx, begin, end, thread);
}

static void finish_piece(rw_pool *p) {
    if (atomic_fetch_sub(&p->unfinished, 1) != 1 || !atomic_load(&p->caller_sleeps)) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}

static void take_pieces(rw_pool *p, uint32_t thread) {
    uint_fast64_t t = atomic_load(&p->ticket);
    while ((uint32_t)t != 0) {
        if (!atomic_compare_exchange_weak(&p->ticket, &t, t - 1)) continue;
        run_piece(p, p->n_pieces - (uint32_t)t, thread);
        finish_piece(p);
        t = atomic_load(&p->ticket);
    }
}

static bool idle(rw_pool *p) {
    return (uint32_t)atomic_load(&p->ticket) == 0 && !atomic_load(&p->stop);
}

static void await_work(rw_pool *p) {
    for (uint32_t i = 0; i < p->spins; i++) {
        if (!idle(p)) return;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (idle(p)) pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void wake_sleepers(rw_pool *p) {
    if (atomic_load(&p->sleepers) == 0) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

static void await_end(rw_pool *p) {
    for (uint32_t i = 0; i < p->spins; i++) {
        if (atomic_load_explicit(&p->unfinished, memory_order_acquire) == 0) return;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (atomic_load(&p->unfinished) != 0) pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg) {
    const worker *w = arg;
    rw_pool *p = w->pool;
    for (;;) {
        await_work(p);
        if (atomic_load(&p->stop)) return NULL;
        take_pieces(p, w->index);
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
    if (n_threads == 0) return rw_fail(err, RWKV_E_ARG, "found 0 threads; expected 1 or more");
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
    atomic_store(&p->stop, true);
    wake_sleepers(p);
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
    size_t chunks = n_items / grain + (n_items % grain != 0),
           most = (size_t)PIECES_PER_THREAD * p->n_threads;
    p->n_pieces = (uint32_t)(chunks < most ? chunks : most);
    atomic_store(&p->unfinished, p->n_pieces);
    uint_fast64_t run = (atomic_load_explicit(&p->ticket, memory_order_relaxed) >> 32) + 1;
    atomic_store(&p->ticket, run << 32 | p->n_pieces);
    wake_sleepers(p);
    take_pieces(p, 0);
    await_end(p);
}
