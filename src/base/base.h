/* base.h - what every module needs and nothing of RWKV: errors, checked arithmetic, memory, growing
 * buffers, a name map, hashes, the few services of the operating system.
 *
 * Error convention: a fallible function returns rwkv_status and fills err (may be NULL). One exit
 * per function that owns something (`goto out`). RW_TRY propagates. */
#ifndef RW_BASE_H
#define RW_BASE_H

#include <rwkv.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define RW_PRINTF(a, b) __attribute__((format(printf, a, b)))
#define RW_UNUSED __attribute__((unused))
#else
#define RW_PRINTF(a, b)
#define RW_UNUSED
#endif

#define RW_TRY(expr)                                                                               \
    do {                                                                                           \
        rwkv_status rw_try_ = (expr);                                                              \
        if (rw_try_ != RWKV_OK) return rw_try_;                                                    \
    } while (0)

/* For functions with a local `rwkv_status st` and a label `out`. */
#define RW_GOTO(expr)                                                                              \
    do {                                                                                           \
        st = (expr);                                                                               \
        if (st != RWKV_OK) goto out;                                                               \
    } while (0)

/* ---- errors: always return `code`. Control bytes in the text are escaped as \xNN. */
rwkv_status rw_fail(rwkv_error *err, rwkv_status code, const char *fmt, ...) RW_PRINTF(3, 4);
/* "path:offset: text"; offset RWKV_NO_OFFSET gives "path: text". */
rwkv_status rw_fail_at(rwkv_error *err, rwkv_status code, const char *path, uint64_t offset,
                       const char *fmt, ...) RW_PRINTF(5, 6);
/* Appends ": strerror(errno_value)". */
rwkv_status rw_fail_errno(rwkv_error *err, rwkv_status code, const char *path, int errno_value,
                          const char *what);
rwkv_status rw_nomem(rwkv_error *err, size_t bytes);

/* Callers see the constant: so the compiler knows that a failed function did not set its outputs. */
static inline rwkv_status rw_constant(rwkv_status same, rwkv_status code) {
    (void)same;
    return code;
}
#define rw_fail(err, code, ...) rw_constant(rw_fail(err, code, __VA_ARGS__), code)
#define rw_fail_at(err, code, ...) rw_constant(rw_fail_at(err, code, __VA_ARGS__), code)
#define rw_fail_errno(err, code, ...) rw_constant(rw_fail_errno(err, code, __VA_ARGS__), code)
#define rw_nomem(err, bytes) rw_constant(rw_nomem(err, bytes), RWKV_E_NOMEM)

typedef struct rw_log {
    rwkv_log_fn fn;
    void *user;
} rw_log;
void rw_log_line(const rw_log *log, int level, const char *fmt, ...) RW_PRINTF(3, 4);

/* ---- checked arithmetic for numbers that come from a file: false on overflow. */
bool rw_mul(uint64_t a, uint64_t b, uint64_t *out);
bool rw_add(uint64_t a, uint64_t b, uint64_t *out);
bool rw_align(uint64_t a, uint64_t alignment, uint64_t *out); /* any alignment > 0, rounds up */

/* ---- memory. All of the library's allocations go through these three. Zeroed; NULL on failure or
 * overflow of n * size. rw_realloc does not zero the new part. */
void *rw_calloc(size_t n, size_t size);
void *rw_realloc(void *p, size_t n, size_t size); /* p unchanged on failure */
void rw_free(void *p);
void *rw_alloc_aligned(size_t bytes); /* 64-byte aligned, zeroed; release with rw_free_aligned */
void rw_free_aligned(void *p);
void rw_wipe(void *p, size_t n);      /* clears, also when the compiler thinks it is useless */

/* Arena: many small allocations with one lifetime. Zeroed, 16-byte aligned (64 for >= 64 bytes). */
typedef struct rw_arena {
    struct rw_arena_block *head;
    size_t total; /* bytes handed out */
} rw_arena;
void *rw_arena_alloc(rw_arena *a, size_t n, size_t size);
char *rw_arena_strndup(rw_arena *a, const char *s, size_t len);
void rw_arena_free(rw_arena *a);

/* Growing byte buffer; zero-initialise. False when memory is out (contents unchanged). */
typedef struct rw_buf {
    uint8_t *data;
    size_t len, cap;
} rw_buf;
bool rw_buf_add(rw_buf *b, const void *data, size_t n);
bool rw_buf_reserve(rw_buf *b, size_t extra);
void rw_buf_free(rw_buf *b);

/* Name -> index. Open addressing over keys that the caller keeps alive. Zero-initialise. */
typedef struct rw_map {
    struct rw_map_slot *slots;
    size_t n, cap;
} rw_map;
bool rw_map_reserve(rw_map *m, size_t n);
/* False when memory is out. If the key exists *existing gets its value and nothing changes,
 * else *existing = SIZE_MAX. */
bool rw_map_put(rw_map *m, const char *key, size_t len, size_t value, size_t *existing);
size_t rw_map_get(const rw_map *m, const char *key, size_t len); /* SIZE_MAX: absent */
void rw_map_free(rw_map *m);

/* ---- hashes */
typedef struct rw_sha256 {
    uint32_t h[8];
    uint64_t n;
    uint8_t block[64];
} rw_sha256;
void rw_sha256_init(rw_sha256 *s);
void rw_sha256_add(rw_sha256 *s, const void *data, size_t n);
void rw_sha256_end(rw_sha256 *s, uint8_t out[32]);
uint32_t rw_crc32(uint32_t crc, const void *data, size_t n); /* zip's; start with 0 */

/* ---- half and bfloat: exact widening, rounding to nearest even */
float rw_f16_to_f32(uint16_t h);
uint16_t rw_f32_to_f16(float f);
static inline float rw_bf16_to_f32(uint16_t h) {
    union { uint32_t u; float f; } v = {(uint32_t)h << 16};
    return v.f;
}
uint16_t rw_f32_to_bf16(float f);

/* ---- UTF-8: length 1..4 of the character at s, its code point in *cp; 0 when the bytes are no
 * character; -1 when they are the beginning of one that the n bytes cut off. */
int rw_utf8_next(const char *s, size_t n, uint32_t *cp);
size_t rw_utf8_put(uint32_t cp, char out[4]);

/* ---- little-endian loads from unaligned memory */
uint16_t rw_le16(const void *p);
uint32_t rw_le32(const void *p);
uint64_t rw_le64(const void *p);

/* ---- operating system (os.c is the only file of base that differs between systems) */
uint64_t rw_os_memory_available(void); /* bytes, honouring cgroup limits; 0: unknown */
uint32_t rw_os_physical_cores(void);
uint64_t rw_os_now_ns(void);           /* monotonic */
void rw_os_huge_pages(void *p, size_t bytes); /* asks for them; memory must not have been touched yet */

#endif
