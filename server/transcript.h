/* transcript.h - the token ids of a timeline, shared by a job and the snapshots taken of it.
 * Snapshots look at beginnings, which never change; the job alone adds. Counted by the engine's
 * thread. */
#ifndef RWKV_TRANSCRIPT_H
#define RWKV_TRANSCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct transcript {
    int32_t *ids;
    size_t n, cap;
    uint32_t refs, n_snapshots;
} transcript;

transcript *transcript_new(const int32_t *ids, size_t n, size_t room); /* NULL: out of memory */
transcript *transcript_ref(transcript *t);
void transcript_unref(transcript *t);
/* May replace *t by a larger one: what others hold stays where it is. False when memory is out. */
bool transcript_add(transcript **t, const int32_t *ids, size_t n);

#endif
