/* mem.c - memory: the three functions that every allocation goes through, arenas, growing buffers,
 * the name map. Tests replace malloc and its kin at link time to make each allocation fail once. */
#include "base.h"
#include <stdlib.h>
#include <string.h>

bool rw_mul(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

bool rw_add(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

bool rw_align(uint64_t a, uint64_t alignment, uint64_t *out) {
    uint64_t rest = a % alignment;
    return rw_add(a, rest ? alignment - rest : 0, out);
}

/* Never 0, which an allocator may answer with NULL. False for what no address space holds. */
static bool size_of(size_t n, size_t size, size_t *out) {
    uint64_t bytes;
    if (!rw_mul(n, size, &bytes) || bytes > SIZE_MAX / 2) return false;
    *out = bytes ? (size_t)bytes : 1;
    return true;
}

void *rw_calloc(size_t n, size_t size) {
    size_t bytes;
    return size_of(n, size, &bytes) ? calloc(bytes, 1) : NULL;
}

void *rw_realloc(void *p, size_t n, size_t size) {
    size_t bytes;
    return size_of(n, size, &bytes) ? realloc(p, bytes) : NULL;
}

void rw_free(void *p) {
    free(p);
}

void rwkv_free(void *data) {
    free(data);
}

enum { ALIGNMENT = 64 };

/* calloc, because fresh pages of the system are zero already and need not be touched: a large buffer
 * costs nothing until it is used. What calloc gave is kept in front of the aligned address. */
void *rw_alloc_aligned(size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    uint8_t *given = calloc(bytes + ALIGNMENT + sizeof given, 1);
    if (!given) return NULL;
    uint8_t *p = given + sizeof given;
    p += (ALIGNMENT - (uintptr_t)p % ALIGNMENT) % ALIGNMENT;
    memcpy(p - sizeof given, &given, sizeof given);
    return p;
}

void rw_free_aligned(void *p) {
    if (!p) return;
    void *given;
    memcpy(&given, (uint8_t *)p - sizeof given, sizeof given);
    free(given);
}

void rw_wipe(void *p, size_t n) {
    memset(p, 0, n);
#if defined(__GNUC__)
    __asm__ __volatile__("" : : "r"(p) : "memory"); /* the bytes are observed here */
#endif
}

/* ---------------------------------------------------------------- arena */

enum { ARENA_BLOCK = 64 * 1024, ARENA_ALIGN = ALIGNMENT };

struct rw_arena_block {
    struct rw_arena_block *next;
    size_t used, cap; /* of the bytes after this header, which begins a cache line */
};

static size_t align_up(size_t n, size_t a) {
    return (n + a - 1) / a * a;
}

void *rw_arena_alloc(rw_arena *a, size_t n, size_t size) {
    uint64_t bytes;
    if (!rw_mul(n, size, &bytes) || bytes > SIZE_MAX / 4) return NULL;
    size_t want = (size_t)bytes, align = want >= ARENA_ALIGN ? ARENA_ALIGN : 16;
    size_t header = align_up(sizeof(struct rw_arena_block), ARENA_ALIGN);
    struct rw_arena_block *b = a->head;
    if (!b || align_up(b->used, align) + want > b->cap) {
        size_t cap = want > ARENA_BLOCK ? want : ARENA_BLOCK;
        b = rw_alloc_aligned(header + cap);
        if (!b) return NULL;
        b->cap = cap;
        if (a->head && want > ARENA_BLOCK) { /* keep filling the current block with small ones */
            b->next = a->head->next;
            a->head->next = b;
        } else {
            b->next = a->head;
            a->head = b;
        }
    }
    size_t at = align_up(b->used, align);
    b->used = at + want;
    a->total += want;
    return (uint8_t *)b + header + at;
}

char *rw_arena_strndup(rw_arena *a, const char *s, size_t len) {
    char *p = rw_arena_alloc(a, len + 1, 1);
    if (p) memcpy(p, s, len);
    return p;
}

void rw_arena_free(rw_arena *a) {
    while (a->head) {
        struct rw_arena_block *next = a->head->next;
        rw_free_aligned(a->head);
        a->head = next;
    }
    a->total = 0;
}

/* ---------------------------------------------------------------- buffer */

bool rw_buf_reserve(rw_buf *b, size_t extra) {
    uint64_t need;
    if (!rw_add(b->len, extra, &need) || need > SIZE_MAX / 2) return false;
    if (need <= b->cap) return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need) cap *= 2;
    uint8_t *p = rw_realloc(b->data, cap, 1);
    if (!p) return false;
    b->data = p;
    b->cap = cap;
    return true;
}

bool rw_buf_add(rw_buf *b, const void *data, size_t n) {
    if (n == 0) return true;
    if (!rw_buf_reserve(b, n)) return false;
    memcpy(b->data + b->len, data, n);
    b->len += n;
    return true;
}

void rw_buf_free(rw_buf *b) {
    rw_free(b->data);
    *b = (rw_buf){0};
}

/* ---------------------------------------------------------------- map */

struct rw_map_slot {
    const char *key; /* NULL: free */
    size_t len, value;
    uint64_t hash;
};

/* FNV-1a with a final mix, so that names of one pattern spread. */
static uint64_t hash_bytes(const char *s, size_t n) {
    uint64_t h = 14695981039346656037ull;
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)s[i]) * 1099511628211ull;
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15ull;
    return h ^ (h >> 29);
}

static struct rw_map_slot *slot_for(const rw_map *m, const char *key, size_t len, uint64_t hash) {
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct rw_map_slot *s = &m->slots[i];
        if (!s->key || (s->hash == hash && s->len == len && memcmp(s->key, key, len) == 0))
            return s;
    }
}

bool rw_map_reserve(rw_map *m, size_t n) {
    size_t cap = m->cap ? m->cap : 16;
    while (cap / 2 < n) {
        if (cap > SIZE_MAX / 4) return false;
        cap *= 2;
    }
    if (cap == m->cap) return true;
    rw_map bigger = {.slots = rw_calloc(cap, sizeof *bigger.slots), .n = m->n, .cap = cap};
    if (!bigger.slots) return false;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].key)
            *slot_for(&bigger, m->slots[i].key, m->slots[i].len, m->slots[i].hash) = m->slots[i];
    rw_free(m->slots);
    *m = bigger;
    return true;
}

bool rw_map_put(rw_map *m, const char *key, size_t len, size_t value, size_t *existing) {
    *existing = SIZE_MAX;
    if (!rw_map_reserve(m, m->n + 1)) return false;
    uint64_t hash = hash_bytes(key, len);
    struct rw_map_slot *s = slot_for(m, key, len, hash);
    if (s->key) {
        *existing = s->value;
        return true;
    }
    *s = (struct rw_map_slot){key, len, value, hash};
    m->n++;
    return true;
}

size_t rw_map_get(const rw_map *m, const char *key, size_t len) {
    if (m->cap == 0) return SIZE_MAX;
    const struct rw_map_slot *s = slot_for(m, key, len, hash_bytes(key, len));
    return s->key ? s->value : SIZE_MAX;
}

void rw_map_free(rw_map *m) {
    rw_free(m->slots);
    *m = (rw_map){0};
}
