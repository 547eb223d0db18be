/* write.h - the only way the library writes a file: to a temporary name beside the destination,
 * then fsync, rename, fsync of the folder. Until commit the destination is untouched; abort (also
 * after any error) removes the temporary file. Names look like ".NAME.rwkv-tmp-PID-N"; begin
 * removes those that dead processes left for the same destination (a living one holds a lock). */
#ifndef RW_WRITE_H
#define RW_WRITE_H

#include "../base/base.h"

typedef struct rw_writer rw_writer;

/* Refuses a destination that is a folder or device, or the same file as `not_this` (may be NULL):
 * also through links. The permissions of an existing destination are kept. */
rwkv_status rw_writer_begin(rw_writer **out, const char *path, const char *not_this,
                            rwkv_error *err);
/* Buffered. "cannot write; wrote X of Y bytes: No space left on device"; Y is the total told by
 * expect, or what add was given so far. After a failure nothing can be committed any more. */
rwkv_status rw_writer_add(rw_writer *w, const void *data, size_t n, rwkv_error *err);
void rw_writer_expect(rw_writer *w, uint64_t total);
rwkv_status rw_writer_commit(rw_writer *w, rwkv_error *err); /* frees w, also on failure */
void rw_writer_abort(rw_writer *w);                          /* frees w; NULL is fine */

#endif
