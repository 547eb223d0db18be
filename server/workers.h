/* workers.h - a few threads that take requests from a list: parsing, tokenizing and stores may take
 * longer than the thread that serves all sockets can wait. */
#ifndef RWKV_SERVER_WORKERS_H
#define RWKV_SERVER_WORKERS_H

#include "http.h"

typedef struct workers workers;
typedef void (*work_fn)(request *r);

rwkv_status workers_start(workers **out, size_t n, rwkv_error *err);
/* The request is held until fn has returned. False: out of memory, nothing was done. */
bool workers_add(workers *w, request *r, work_fn fn);
void workers_stop(workers *w); /* does what is on the list first */

#endif
