/* write.c - files that appear whole or not at all.
 *
 * Order of system calls: open temporary (O_EXCL, beside the destination), write*, fsync, close, rename, open
 * folder, fsync. Whatever fails before rename leaves the destination as it was. */
#include "write.h"
#include "file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 1 << 20 };
#define TMP_MARK ".rwkv-tmp-"

struct rw_writer {
    char *path, *temp, *folder;
    int fd;
    uint64_t pos, flushed, expected;
    size_t held;
    uint8_t *buffer; /* [BUFFER] */
};

static void discard(rw_writer *w) {
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    rw_free(w->path);
    rw_free(w->temp);
    rw_free(w->folder);
    rw_free(w->buffer);
    rw_free(w);
}

void rw_writer_abort(rw_writer *w) {
    if (w && w->fd >= 0) unlink(w->temp);
    discard(w);
}

static rwkv_status refuse_bad_destination(const char *path, const char *not_this, rwkv_error *err) {
    struct stat to, from;
    if (stat(path, &to) != 0) return RWKV_OK;
    if (!S_ISREG(to.st_mode))
        return rw_fail_at(err, RWKV_E_IO, path, RWKV_NO_OFFSET, "cannot write: found %s; expected a regular file",
                          S_ISDIR(to.st_mode) ? "a folder" : "a device or pipe");
    if (not_this && stat(not_this, &from) == 0 && from.st_dev == to.st_dev && from.st_ino == to.st_ino)
        return rw_fail_at(err, RWKV_E_ARG, path, RWKV_NO_OFFSET, "input and output are the same file");
    return RWKV_OK;
}

/* Removes ".NAME.rwkv-tmp-PID-N" of processes that are gone. Best effort. */
static void clean_stale(const char *folder, const char *name) {
    char prefix[300];
    int n = snprintf(prefix, sizeof prefix, ".%s" TMP_MARK, name);
    if (n < 0 || (size_t)n >= sizeof prefix) return;
    DIR *d = opendir(folder);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, prefix, (size_t)n) != 0) continue;
        long pid = strtol(e->d_name + n, NULL, 10);
        if (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH) unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
}

static char *copy_text(const char *s, size_t len) {
    char *p = rw_calloc(len + 1, 1);
    if (p) memcpy(p, s, len);
    return p;
}

rwkv_status rw_writer_begin(rw_writer **out, const char *path, const char *not_this, rwkv_error *err) {
    RW_TRY(refuse_bad_destination(path, not_this, err));
    rwkv_status st = RWKV_OK;
    rw_writer *w = rw_calloc(1, sizeof *w);
    if (!w) return rw_nomem(err, sizeof *w);
    w->fd = -1;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t temp_cap = strlen(path) + 80;
    w->path = copy_text(path, strlen(path));
    w->folder = !slash ? copy_text(".", 1) : copy_text(path, slash == path ? 1 : (size_t)(slash - path));
    w->temp = rw_calloc(temp_cap, 1);
    w->buffer = rw_realloc(NULL, BUFFER, 1);
    if (!w->path || !w->folder || !w->temp || !w->buffer) RW_GOTO(rw_nomem(err, BUFFER));
    if (!*name) RW_GOTO(rw_fail_at(err, RWKV_E_IO, path, RWKV_NO_OFFSET, "cannot write: the name is empty"));
    clean_stale(w->folder, name);
    for (unsigned n = 0; w->fd < 0; n++) {
        snprintf(w->temp, temp_cap, "%s/.%s" TMP_MARK "%ld-%u", w->folder, name, (long)getpid(), n);
        w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (w->fd < 0 && (errno != EEXIST || n > 100))
            RW_GOTO(rw_fail_errno(err, RWKV_E_IO, path, errno, "cannot create a temporary file beside it"));
    }
    *out = w;
    return RWKV_OK;
out:
    rw_writer_abort(w);
    return st;
}

static rwkv_status write_all(rw_writer *w, const uint8_t *p, size_t n, rwkv_error *err) {
    while (n > 0) {
        ssize_t k = write(w->fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) {
            char what[96];
            snprintf(what, sizeof what, "cannot write; wrote %llu of %llu bytes", (unsigned long long)w->flushed,
                     (unsigned long long)(w->expected ? w->expected : w->pos));
            return rw_fail_errno(err, RWKV_E_IO, w->path, k < 0 ? errno : ENOSPC, what);
        }
        p += k;
        n -= (size_t)k;
        w->flushed += (uint64_t)k;
    }
    return RWKV_OK;
}

static rwkv_status flush(rw_writer *w, rwkv_error *err) {
    size_t n = w->held;
    w->held = 0;
    return write_all(w, w->buffer, n, err);
}

rwkv_status rw_writer_add(rw_writer *w, const void *data, size_t n, rwkv_error *err) {
    w->pos += n;
    if (n >= BUFFER) {
        RW_TRY(flush(w, err));
        return write_all(w, data, n, err);
    }
    if (w->held + n > BUFFER) RW_TRY(flush(w, err));
    if (n) memcpy(w->buffer + w->held, data, n);
    w->held += n;
    return RWKV_OK;
}

rwkv_status rw_writer_patch(rw_writer *w, uint64_t offset, const void *data, size_t n, rwkv_error *err) {
    RW_TRY(flush(w, err));
    const uint8_t *p = data;
    while (n > 0) {
        ssize_t k = pwrite(w->fd, p, n, (off_t)offset);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return rw_fail_errno(err, RWKV_E_IO, w->path, k < 0 ? errno : ENOSPC, "cannot write");
        p += k;
        n -= (size_t)k;
        offset += (uint64_t)k;
    }
    return RWKV_OK;
}

uint64_t rw_writer_pos(const rw_writer *w) { return w->pos; }

void rw_writer_expect(rw_writer *w, uint64_t total) { w->expected = total; }

/* The rename is durable only when the folder is. Some file systems cannot sync folders: not an error. */
static rwkv_status sync_folder(const rw_writer *w, rwkv_error *err) {
    int fd = open(w->folder, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    if (fd < 0) return RWKV_OK;
    int failed = fsync(fd), why = errno;
    close(fd);
    if (failed && why != EINVAL && why != ENOTSUP && why != EBADF)
        return rw_fail_errno(err, RWKV_E_IO, w->folder, why, "cannot sync the folder");
    return RWKV_OK;
}

rwkv_status rw_writer_commit(rw_writer *w, rwkv_error *err) {
    rwkv_status st = flush(w, err);
    if (st == RWKV_OK && fsync(w->fd) != 0)
        st = rw_fail_errno(err, RWKV_E_IO, w->path, errno, "cannot write to the disk (fsync)");
    int fd = w->fd;
    w->fd = -1;
    if (close(fd) != 0 && st == RWKV_OK) st = rw_fail_errno(err, RWKV_E_IO, w->path, errno, "cannot write (close)");
    if (st == RWKV_OK && rename(w->temp, w->path) != 0)
        st = rw_fail_errno(err, RWKV_E_IO, w->path, errno, "cannot rename the finished file to its name");
    if (st == RWKV_OK) st = sync_folder(w, err);
    else unlink(w->temp);
    discard(w);
    return st;
}

/* ---------------------------------------------------------------- whole files, for applications */

rwkv_status rwkv_file_write(const char *path, const void *data, size_t len, rwkv_error *err) {
    if (!path || (len && !data)) return rw_fail(err, RWKV_E_ARG, "rwkv_file_write: path and data must be given");
    rw_writer *w;
    RW_TRY(rw_writer_begin(&w, path, NULL, err));
    rw_writer_expect(w, len);
    rwkv_status st = rw_writer_add(w, data, len, err);
    if (st == RWKV_OK) return rw_writer_commit(w, err);
    rw_writer_abort(w);
    return st;
}

rwkv_status rwkv_file_read(const char *path, size_t max, void **data, size_t *len, rwkv_error *err) {
    if (!path || !data || !len) return rw_fail(err, RWKV_E_ARG, "rwkv_file_read: path, data and len must be given");
    rw_file *f;
    RW_TRY(rw_file_open(&f, path, true, err));
    rwkv_status st = RWKV_OK;
    if (max && f->size > max)
        st = rw_fail_at(err, RWKV_E_SPACE, path, RWKV_NO_OFFSET, "found %llu bytes; expected at most %zu",
                        (unsigned long long)f->size, max);
    if (st == RWKV_OK) {
        *data = (void *)(uintptr_t)f->data; /* read, not mapped: the buffer is ours to give */
        *len = (size_t)f->size;
        if (!f->data && !(*data = rw_calloc(1, 1))) st = rw_nomem(err, 1);
        f->data = NULL;
    }
    rw_file_close(f);
    return st;
}
