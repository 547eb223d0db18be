/* transcript.c - growing arrays of token ids with several readers. */
#include "transcript.h"

#include <stdlib.h>
#include <string.h>

transcript *transcript_new(const int32_t *ids, size_t n, size_t room) {
    transcript *t = calloc(1, sizeof *t);
    size_t cap = n + room + 1;
    if (!t || cap > SIZE_MAX / sizeof *t->ids || !(t->ids = malloc(cap * sizeof *t->ids))) {
        free(t);
        return NULL;
    }
    if (n) memcpy(t->ids, ids, n * sizeof *ids);
    t->n = n;
    t->cap = cap;
    t->refs = 1;
    return t;
}

transcript *transcript_ref(transcript *t) {
    t->refs++;
    return t;
}

void transcript_unref(transcript *t) {
    if (!t || --t->refs) return;
    free(t->ids);
    free(t);
}

bool transcript_add(transcript **t, const int32_t *ids, size_t n) {
    transcript *old = *t;
    if (old->n + n > old->cap) {
        transcript *larger = transcript_new(old->ids, old->n, old->n + n);
        if (!larger) return false;
        transcript_unref(old);
        *t = larger;
    }
    memcpy((*t)->ids + (*t)->n, ids, n * sizeof *ids);
    (*t)->n += n;
    return true;
}
