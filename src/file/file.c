/* file.c - bytes of a file, and the table that readers fill.
 *
 * A file is mapped read-only (or read whole). All header bytes are taken through rw_reader, which
 * fails with the offset where they ended. The table checks names; sizes are the readers' duty. */
#include "file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---------------------------------------------------------------- files */

/* Without blocking on what is no regular file. *fd is -1 or the caller's to close, also after
 * failure. */
static rwkv_status open_regular(const char *path, int *fd, uint64_t *size, rwkv_error *err) {
    struct stat sb;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0) return rw_fail_errno(err, RWKV_E_IO, path, errno, "cannot open");
    if (fstat(*fd, &sb) != 0) return rw_fail_errno(err, RWKV_E_IO, path, errno, "cannot stat");
    if (!S_ISREG(sb.st_mode))
        return rw_fail_at(err, RWKV_E_IO, path, RWKV_NO_OFFSET, "not a regular file; found %s",
                          S_ISDIR(sb.st_mode)                          ? "a folder"
                          : S_ISFIFO(sb.st_mode)                       ? "a pipe"
                          : S_ISCHR(sb.st_mode) || S_ISBLK(sb.st_mode) ? "a device"
                                                                       : "a special file");
    *size = (uint64_t)sb.st_size;
    if (*size > SIZE_MAX / 2)
        return rw_fail_at(err, RWKV_E_IO, path, RWKV_NO_OFFSET, "the file is too large to address");
    return RWKV_OK;
}

/* A file that grows meanwhile is read up to its first size. */
static rwkv_status read_all(const char *path, int fd, uint64_t size, uint8_t *data,
                            rwkv_error *err) {
    if (!data) return rw_nomem(err, size);
    uint64_t got = 0;
    while (got < size) {
        uint64_t want = size - got < (1u << 30) ? size - got : 1u << 30;
        ssize_t n = read(fd, data + got, want);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return rw_fail_errno(err, RWKV_E_IO, path, errno, "cannot read");
        if (n == 0)
            return rw_fail_at(err, RWKV_E_IO, path, got,
                              "the file became shorter while it was read");
        got += (uint64_t)n;
    }
    return RWKV_OK;
}

rwkv_status rw_file_open(rw_file **out, const char *path, bool no_mmap, rwkv_error *err) {
    rwkv_status st = RWKV_OK;
    int fd = -1;
    rw_file *f = rw_calloc(1, sizeof *f);
    if (!f) return rw_nomem(err, sizeof *f);
    RW_GOTO(open_regular(path, &fd, &f->size, err));
    f->path = rw_calloc(strlen(path) + 1, 1);
    if (!f->path) RW_GOTO(rw_nomem(err, strlen(path) + 1));
    memcpy(f->path, path, strlen(path));
    if (f->size > 0 && !no_mmap) {
        void *p = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0);
        f->mapped = p != MAP_FAILED;
        if (f->mapped) f->data = p;
    }
    if (f->size > 0 && !f->mapped) {
        uint8_t *data = rw_alloc_aligned(f->size);
        f->data = data;
        RW_GOTO(read_all(path, fd, f->size, data, err));
    }
    *out = f;
    f = NULL;
out:
    if (fd >= 0) close(fd);
    rw_file_close(f);
    return st;
}

/* For applications. */
rwkv_status rwkv_file_read(const char *path, size_t max, void **data, size_t *len,
                           rwkv_error *err) {
    if (!path || !data || !len)
        return rw_fail(err, RWKV_E_ARG, "rwkv_file_read: path, data and len must be given");
    rwkv_status st = RWKV_OK;
    int fd = -1;
    uint64_t size;
    uint8_t *bytes = NULL;
    RW_GOTO(open_regular(path, &fd, &size, err));
    if (max && size > max)
        RW_GOTO(rw_fail_at(err, RWKV_E_SPACE, path, RWKV_NO_OFFSET,
                           "found %llu bytes; expected at most %zu", (unsigned long long)size,
                           max));
    bytes = rw_realloc(NULL, size, 1);
    RW_GOTO(read_all(path, fd, size, bytes, err));
    *data = bytes;
    bytes = NULL;
    *len = (size_t)size;
out:
    if (fd >= 0) close(fd);
    rw_free(bytes);
    return st;
}

void rw_file_close(rw_file *f) {
    if (!f) return;
    if (f->mapped)
        munmap((void *)(uintptr_t)f->data, f->size);
    else
        rw_free_aligned((void *)(uintptr_t)f->data);
    rw_free(f->path);
    rw_free(f);
}

void rw_file_release(const rw_file *f, const void *data, uint64_t size) {
    if (!f || !f->mapped) return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), base = (uintptr_t)f->data;
    uintptr_t from = (uintptr_t)data, to = from + size;
    if (from < base || to > base + f->size) return; /* a copy, not in the file */
    from = (from + page - 1) / page * page;
    to = to / page * page;
    if (from < to) madvise((void *)from, to - from, MADV_DONTNEED);
}

/* ---------------------------------------------------------------- reader */

rw_reader rw_reader_at(const rw_file *f, uint64_t pos, uint64_t end) {
    if (end > f->size) end = f->size;
    return (rw_reader){f->path, f->data, pos < end ? pos : end, end};
}

rwkv_status rw_read_bytes(rw_reader *r, uint64_t n, const uint8_t **out, const char *what,
                          rwkv_error *err) {
    if (n > rw_reader_left(r))
        return rw_fail_at(err, RWKV_E_FORMAT, r->path, r->pos,
                          "%s: the file ends; found %llu bytes; expected %llu", what,
                          (unsigned long long)rw_reader_left(r), (unsigned long long)n);
    *out = n ? r->data + r->pos : r->data;
    r->pos += n;
    return RWKV_OK;
}

rwkv_status rw_read_u8(rw_reader *r, uint8_t *out, const char *what, rwkv_error *err) {
    const uint8_t *p;
    RW_TRY(rw_read_bytes(r, 1, &p, what, err));
    *out = *p;
    return RWKV_OK;
}

rwkv_status rw_read_u16(rw_reader *r, uint16_t *out, const char *what, rwkv_error *err) {
    const uint8_t *p;
    RW_TRY(rw_read_bytes(r, 2, &p, what, err));
    *out = rw_le16(p);
    return RWKV_OK;
}

rwkv_status rw_read_u32(rw_reader *r, uint32_t *out, const char *what, rwkv_error *err) {
    const uint8_t *p;
    RW_TRY(rw_read_bytes(r, 4, &p, what, err));
    *out = rw_le32(p);
    return RWKV_OK;
}

rwkv_status rw_read_u64(rw_reader *r, uint64_t *out, const char *what, rwkv_error *err) {
    const uint8_t *p;
    RW_TRY(rw_read_bytes(r, 8, &p, what, err));
    *out = rw_le64(p);
    return RWKV_OK;
}

rwkv_status (rw_read_fail)(const rw_reader *r, uint64_t offset, rwkv_error *err, const char *fmt,
                          ...) {
    char text[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return rw_fail_at(err, RWKV_E_FORMAT, r->path, offset, "%s", text);
}

/* ---------------------------------------------------------------- table */

static rwkv_status check_name(const rw_table *t, uint64_t offset, const char *what, const char *s,
                              size_t len, rwkv_error *err) {
    if (len == 0 || len > RW_MAX_NAME)
        return rw_fail_at(err, RWKV_E_FORMAT, t->path, offset,
                          "%s: found %zu bytes; expected 1..%u", what, len, RW_MAX_NAME);
    if (memchr(s, 0, len))
        return rw_fail_at(err, RWKV_E_FORMAT, t->path, offset,
                          "%s: found a zero byte; expected text", what);
    return RWKV_OK;
}

/* The array with room for one more than n items (it doubles at powers of two); NULL: out of memory.
 */
static void *room_for_one(void *items, size_t n, size_t size) {
    if (n & (n - 1)) return items;
    return rw_realloc(items, n ? 2 * n : 1, size);
}

rwkv_status rw_table_add(rw_table *t, const rw_tensor *tensor, size_t name_len, rwkv_error *err) {
    RW_TRY(check_name(t, tensor->offset, "tensor name", tensor->name, name_len, err));
    if (t->n_tensors == RW_MAX_TENSORS)
        return rw_fail_at(err, RWKV_E_FORMAT, t->path, tensor->offset, "more than %u tensors",
                          RW_MAX_TENSORS);
    char *name = rw_arena_strndup(&t->arena, tensor->name, name_len);
    rw_tensor *tensors = room_for_one(t->tensors, t->n_tensors, sizeof *tensors);
    if (tensors) t->tensors = tensors;
    size_t existing;
    if (!name || !tensors || !rw_map_put(&t->by_name, name, name_len, t->n_tensors, &existing))
        return rw_nomem(err, sizeof *tensors);
    if (existing != SIZE_MAX)
        return rw_fail_at(err, RWKV_E_FORMAT, t->path, tensor->offset,
                          "tensor %s occurs twice; the first is at %llu", name,
                          (unsigned long long)t->tensors[existing].offset);
    t->tensors[t->n_tensors] = *tensor;
    t->tensors[t->n_tensors++].name = name;
    return RWKV_OK;
}

rwkv_status rw_table_add_meta(rw_table *t, const rw_meta *meta, size_t key_len, rwkv_error *err) {
    RW_TRY(check_name(t, meta->offset, "metadata key", meta->key, key_len, err));
    if (t->n_meta == RW_MAX_META)
        return rw_fail_at(err, RWKV_E_FORMAT, t->path, meta->offset, "more than %u metadata keys",
                          RW_MAX_META);
    char *key = rw_arena_strndup(&t->arena, meta->key, key_len);
    rw_meta *all = room_for_one(t->meta, t->n_meta, sizeof *all);
    if (all) t->meta = all;
    size_t existing;
    if (!key || !all || !rw_map_put(&t->by_key, key, key_len, t->n_meta, &existing))
        return rw_nomem(err, sizeof *all);
    if (existing != SIZE_MAX)
        return rw_fail_at(err, RWKV_E_FORMAT, t->path, meta->offset,
                          "key %s occurs twice; the first is at %llu", key,
                          (unsigned long long)t->meta[existing].offset);
    t->meta[t->n_meta] = *meta;
    t->meta[t->n_meta++].key = key;
    return RWKV_OK;
}

const rw_tensor *rw_table_find(const rw_table *t, const char *name) {
    size_t i = rw_map_get(&t->by_name, name, strlen(name));
    return i == SIZE_MAX ? NULL : &t->tensors[i];
}

const rw_meta *rw_meta_find(const rw_table *t, const char *key) {
    size_t i = rw_map_get(&t->by_key, key, strlen(key));
    return i == SIZE_MAX ? NULL : &t->meta[i];
}

/* *meta NULL: absent, which is an error unless the caller asks whether it was found. */
static rwkv_status look(const rw_table *t, const char *key, const rw_meta **meta, bool *found,
                        rwkv_error *err) {
    *meta = rw_meta_find(t, key);
    if (found) *found = *meta != NULL;
    if (*meta || found) return RWKV_OK;
    return rw_fail_at(err, RWKV_E_FORMAT, t->path, RWKV_NO_OFFSET, "key %s is missing", key);
}

static rwkv_status wrong_kind(const rw_table *t, const rw_meta *m, const char *expected,
                              rwkv_error *err) {
    static const char *const kinds[] = {
        "an unsigned integer", "a signed integer",   "a number", "a boolean", "a string",
        "an array of strings", "an array of numbers"};
    return rw_fail_at(err, RWKV_E_FORMAT, t->path, m->offset, "key %s: found %s; expected %s",
                      m->key, kinds[m->kind], expected);
}

rwkv_status rw_meta_u64(const rw_table *t, const char *key, uint64_t *out, bool *found,
                        rwkv_error *err) {
    const rw_meta *m;
    RW_TRY(look(t, key, &m, found, err));
    if (!m) return RWKV_OK;
    if (m->kind == RW_META_I64 && m->v.i >= 0)
        *out = (uint64_t)m->v.i;
    else if (m->kind == RW_META_U64)
        *out = m->v.u;
    else
        return wrong_kind(t, m, "an unsigned integer", err);
    return RWKV_OK;
}

rwkv_status rw_meta_f64(const rw_table *t, const char *key, double *out, bool *found,
                        rwkv_error *err) {
    const rw_meta *m;
    RW_TRY(look(t, key, &m, found, err));
    if (!m) return RWKV_OK;
    if (m->kind == RW_META_F64)
        *out = m->v.f;
    else if (m->kind == RW_META_U64)
        *out = (double)m->v.u;
    else if (m->kind == RW_META_I64)
        *out = (double)m->v.i;
    else
        return wrong_kind(t, m, "a number", err);
    return RWKV_OK;
}

rwkv_status rw_meta_str(const rw_table *t, const char *key, const char **s, size_t *len,
                        bool *found, rwkv_error *err) {
    const rw_meta *m;
    RW_TRY(look(t, key, &m, found, err));
    if (!m) return RWKV_OK;
    if (m->kind != RW_META_STRING) return wrong_kind(t, m, "a string", err);
    *s = m->v.str.s;
    *len = m->v.str.len;
    return RWKV_OK;
}
