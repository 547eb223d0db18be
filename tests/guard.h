/* guard.h - memory that ends at a page without access, so that one byte read or written too far
 * stops the test. */
#ifndef RW_GUARD_H
#define RW_GUARD_H

#include "support.h"
#include <sys/mman.h>
#include <unistd.h>

typedef struct guarded {
    void *p; /* zeroed; p + bytes is the forbidden page */
    void *map;
    size_t len;
} guarded;

static inline guarded guard_new(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (bytes + page - 1) / page * page;
    guarded g = {.len = body + page};
    g.map = mmap(NULL, g.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    assert_int_equal(mprotect((char *)g.map + body, page, PROT_NONE), 0);
    g.p = (char *)g.map + body - bytes;
    return g;
}

static inline guarded guard_copy(const void *data, size_t bytes) {
    guarded g = guard_new(bytes);
    memcpy(g.p, data, bytes);
    return g;
}

static inline void guard_free(guarded g) {
    munmap(g.map, g.len);
}

#endif
