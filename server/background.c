/* background.c - one list, a few threads. */
#include "background.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct background {
    pthread_mutex_t lock; /* what follows */
    pthread_cond_t wake;
    task *queue, **end;
    size_t n;
    bool quit;
    void (*finished)(void *owner, task *t);
    void *owner;
    size_t n_threads;
    pthread_t threads[];
};

static void *background_main(void *arg) {
    background *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        task *t = w->queue;
        if (!t && w->quit) break;
        if (!t) {
            pthread_cond_wait(&w->wake, &w->lock);
            continue;
        }
        w->queue = t->next;
        if (!w->queue) w->end = &w->queue;
        w->n--;
        pthread_mutex_unlock(&w->lock);
        t->run(t);
        w->finished(w->owner, t);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

rwkv_status background_new(background **out, size_t n_threads,
                           void (*finished)(void *owner, task *t), void *owner, rwkv_error *err) {
    background *w = calloc(1, sizeof *w + n_threads * sizeof *w->threads);
    if (w) {
        w->end = &w->queue;
        w->finished = finished;
        w->owner = owner;
        pthread_mutex_init(&w->lock, NULL);
        pthread_cond_init(&w->wake, NULL);
        while (w->n_threads < n_threads &&
               !pthread_create(&w->threads[w->n_threads], NULL, background_main, w))
            w->n_threads++;
        if (w->n_threads == n_threads) {
            *out = w;
            return RWKV_OK;
        }
        background_free(w);
    }
    if (err)
        *err = (rwkv_error){RWKV_E_NOMEM, RWKV_NO_OFFSET, "",
                            "a thread of the server cannot be started"};
    return RWKV_E_NOMEM;
}

void background_free(background *w) {
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < w->n_threads; i++) pthread_join(w->threads[i], NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
    free(w);
}

bool background_add(background *w, task *t, size_t most) {
    pthread_mutex_lock(&w->lock);
    bool room = !most || w->n < most;
    if (room) {
        t->next = NULL;
        *w->end = t;
        w->end = &t->next;
        w->n++;
        pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&w->lock);
    return room;
}
