/* background.h - threads that run tasks from one list, so that the engine's never waits for a disk
 * or a network. */
#ifndef RWKV_BACKGROUND_H
#define RWKV_BACKGROUND_H

#include <rwkv.h>

typedef struct task task;
struct task {
    task *next;
    void (*run)(task *t);               /* on one of them */
    void (*done)(void *owner, task *t); /* by the owner, when it takes what has been run */
};

typedef struct background background;
/* finished: called on their threads with each task that has run. */
rwkv_status background_new(background **out, size_t n_threads,
                           void (*finished)(void *owner, task *t), void *owner, rwkv_error *err);
void background_free(background *w); /* runs what is queued first */
/* False when `most` tasks wait already (0: no limit). */
bool background_add(background *w, task *t, size_t most);

#endif
