/* workers.c - see workers.h. */
#include "workers.h"

typedef struct task {
    struct task *next;
    request *r;
    work_fn fn;
} task;

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t more;
    task *first, **last;
    bool stopping;
    size_t n;
    pthread_t threads[];
};

static void *work(void *arg) {
    workers *w = arg;
    for (;;) {
        pthread_mutex_lock(&w->lock);
        while (!w->first && !w->stopping) pthread_cond_wait(&w->more, &w->lock);
        task *t = w->first;
        if (t) {
            w->first = t->next;
            if (!w->first) w->last = &w->first;
        }
        pthread_mutex_unlock(&w->lock);
        if (!t) return NULL;
        t->fn(t->r);
        request_release(t->r);
        rw_free(t);
    }
}

rwkv_status workers_start(workers **out, size_t n, rwkv_error *err) {
    workers *w = rw_calloc(1, sizeof *w + n * sizeof *w->threads);
    if (!w) return rw_nomem(err, sizeof *w);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    w->last = &w->first;
    for (; w->n < n; w->n++) {
        if (pthread_create(&w->threads[w->n], NULL, work, w) == 0) continue;
        workers_stop(w);
        return rw_fail(err, RWKV_E_NOMEM, "the system refuses another thread");
    }
    *out = w;
    return RWKV_OK;
}

bool workers_add(workers *w, request *r, work_fn fn) {
    task *t = rw_calloc(1, sizeof *t);
    if (!t) return false;
    request_hold(r);
    t->r = r;
    t->fn = fn;
    pthread_mutex_lock(&w->lock);
    *w->last = t;
    w->last = &t->next;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
    return true;
}

void workers_stop(workers *w) {
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_broadcast(&w->more);
    pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < w->n; i++) pthread_join(w->threads[i], NULL);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    rw_free(w);
}
