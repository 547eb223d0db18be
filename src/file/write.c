/* write.c - files that appear whole or not at all.
 *
 * Order of system calls: create the temporary file (O_EXCL, in the destination's folder), write*,
 * fsync, close, rename, fsync of the folder. Whatever fails before the rename leaves the
 * destination as it was. All names are relative to the open folder, so that a folder that moves
 * takes both along.
 *
 * A writer holds a lock on its temporary file. One that nobody locks was left by a process that
 * died; unlike a process number, a lock is never taken over by somebody else. */
#include "write.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 1 << 20 };
enum { NAME_KEPT = 200 }; /* bytes of a long name, so that the temporary one fits 255 */
#define TMP_MARK ".rwkv-tmp-"

struct rw_writer {
    char *path;
    const char *name; /* last part of path */
    char temp[256];   /* "": no temporary file */
    int folder, fd;
    uint64_t pos, flushed, expected;
    bool failed; /* bytes are missing: commit must refuse */
    size_t held;
    uint8_t *buffer; /* [BUFFER] */
};

/* What may be left of a writer at any stage; the temporary file goes too. */
void rw_writer_abort(rw_writer *w) {
    if (!w) return;
    if (w->temp[0]) unlinkat(w->folder, w->temp, 0);
    if (w->fd >= 0) close(w->fd);
    if (w->folder >= 0) close(w->folder);
    rw_free(w->path);
    rw_free(w->buffer);
    rw_free(w);
}

static rwkv_status fail(const rw_writer *w, const char *what, rwkv_error *err) {
    return rw_fail_errno(err, RWKV_E_IO, w->path, errno, what);
}

/* An existing destination must be a regular file; *mode becomes its permissions, which are kept. */
static rwkv_status check_destination(const char *path, const char *not_this, mode_t *mode,
                                     rwkv_error *err) {
    struct stat to, from;
    if (stat(path, &to) != 0) return RWKV_OK;
    if (!S_ISREG(to.st_mode))
        return rw_fail_at(err, RWKV_E_IO, path, RWKV_NO_OFFSET,
                          "cannot write; found %s; expected a regular file",
                          S_ISDIR(to.st_mode) ? "a folder" : "a device or pipe");
    if (not_this && stat(not_this, &from) == 0 && from.st_dev == to.st_dev &&
        from.st_ino == to.st_ino)
        return rw_fail_at(err, RWKV_E_ARG, path, RWKV_NO_OFFSET,
                          "input and output are the same file");
    *mode = to.st_mode & 0777;
    return RWKV_OK;
}

static rwkv_status open_folder(rw_writer *w, rwkv_error *err) {
    char *slash = strrchr(w->path, '/');
    w->name = slash ? slash + 1 : w->path;
    if (!*w->name)
        return rw_fail_at(err, RWKV_E_IO, w->path, RWKV_NO_OFFSET,
                          "cannot write; the name is empty");
    const char *folder = !slash ? "." : slash == w->path ? "/" : w->path;
    if (slash) *slash = 0; /* for the call only */
    w->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int why = errno;
    if (slash) *slash = '/';
    if (w->folder < 0)
        return rw_fail_errno(err, RWKV_E_IO, w->path, why, "cannot write into this folder");
    return RWKV_OK;
}

/* The prefix, and behind it "PID-N" in digits. */
static bool is_temp_name(const char *name, const char *prefix) {
    static const char digits[] = "0123456789";
    size_t n = strlen(prefix);
    if (strncmp(name, prefix, n) != 0) return false;
    const char *pid = name + n, *dash = pid + strspn(pid, digits);
    return dash > pid && *dash == '-' && dash[1] && !dash[1 + strspn(dash + 1, digits)];
}

/* Removes what dead writers left for this destination. Best effort. */
static void clean_stale(const rw_writer *w, const char *prefix) {
    int fd = openat(w->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0) close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        if (!is_temp_name(e->d_name, prefix)) continue;
        int left = openat(w->folder, e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (left < 0) continue;
        if (flock(left, LOCK_EX | LOCK_NB) == 0) unlinkat(w->folder, e->d_name, 0);
        close(left);
    }
    closedir(d);
}

/* Creates and locks the temporary file. Between the two, another writer may have taken it for a
 * dead one's: then it has no link any more, and the next number is tried. */
static rwkv_status create_temp(rw_writer *w, mode_t mode, rwkv_error *err) {
    char prefix[NAME_KEPT + sizeof TMP_MARK + 1];
    snprintf(prefix, sizeof prefix, ".%.*s" TMP_MARK, NAME_KEPT, w->name);
    clean_stale(w, prefix);
    for (unsigned n = 0; n < 1000; n++) {
        struct stat sb;
        snprintf(w->temp, sizeof w->temp, "%s%ld-%u", prefix, (long)getpid(), n);
        w->fd =
            openat(w->folder, w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode ? mode : 0644);
        if (w->fd < 0) {
            w->temp[0] = 0;
            if (errno != EEXIST) break;
            continue;
        }
        if (flock(w->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            close(w->fd);
            continue;
        }
        if (fstat(w->fd, &sb) == 0 && sb.st_nlink > 0) {
            if (!mode || fchmod(w->fd, mode) == 0) return RWKV_OK;
            return fail(w, "cannot set the permissions", err);
        }
        close(w->fd);
    }
    w->fd = -1;
    return fail(w, "cannot create a temporary file beside it", err);
}

rwkv_status rw_writer_begin(rw_writer **out, const char *path, const char *not_this,
                            rwkv_error *err) {
    mode_t mode = 0; /* none: a new file */
    RW_TRY(check_destination(path, not_this, &mode, err));
    rwkv_status st = RWKV_OK;
    size_t len = strlen(path) + 1;
    rw_writer *w = rw_calloc(1, sizeof *w);
    if (!w) return rw_nomem(err, sizeof *w);
    w->folder = w->fd = -1;
    w->path = rw_calloc(len, 1);
    w->buffer = rw_realloc(NULL, BUFFER, 1);
    if (!w->path || !w->buffer) RW_GOTO(rw_nomem(err, len + BUFFER));
    memcpy(w->path, path, len);
    RW_GOTO(open_folder(w, err));
    RW_GOTO(create_temp(w, mode, err));
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
            if (k == 0) errno = ENOSPC;
            w->failed = true;
            snprintf(what, sizeof what, "cannot write; wrote %llu of %llu bytes",
                     (unsigned long long)w->flushed,
                     (unsigned long long)(w->expected ? w->expected : w->pos));
            return fail(w, what, err);
        }
        p += k;
        n -= (size_t)k;
        w->flushed += (uint64_t)k;
    }
    return RWKV_OK;
}

static rwkv_status flush(rw_writer *w, rwkv_error *err) {
    if (w->failed)
        return rw_fail_at(err, RWKV_E_IO, w->path, RWKV_NO_OFFSET,
                          "cannot write; an earlier write failed");
    size_t n = w->held;
    w->held = 0;
    return write_all(w, w->buffer, n, err);
}

rwkv_status rw_writer_add(rw_writer *w, const void *data, size_t n, rwkv_error *err) {
    w->pos += n;
    if (n > BUFFER - w->held) RW_TRY(flush(w, err));
    if (n >= BUFFER) return write_all(w, data, n, err);
    if (n) memcpy(w->buffer + w->held, data, n);
    w->held += n;
    return RWKV_OK;
}

void rw_writer_expect(rw_writer *w, uint64_t total) {
    w->expected = total;
}

/* Down to the disk itself, where the system makes a difference. */
static bool sync_to_disk(int fd) {
#if defined(F_FULLFSYNC)
    if (fcntl(fd, F_FULLFSYNC) == 0) return true;
#endif
    while (fsync(fd) != 0)
        if (errno != EINTR) return false;
    return true;
}

/* After the rename the new file is there; only its survival of a power cut depends on the folder.
 * Some file systems cannot sync folders: that is no error. */
rwkv_status rw_writer_commit(rw_writer *w, rwkv_error *err) {
    rwkv_status st = flush(w, err);
    if (st != RWKV_OK) goto out;
    if (!sync_to_disk(w->fd)) RW_GOTO(fail(w, "cannot write to the disk (fsync)", err));
    int fd = w->fd;
    w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* keeps the lock until the file has its name */
    if (close(fd) != 0 && errno != EINTR) RW_GOTO(fail(w, "cannot write (close)", err));
    if (renameat(w->folder, w->temp, w->folder, w->name) != 0)
        RW_GOTO(fail(w, "cannot give the finished file its name", err));
    w->temp[0] = 0;
    if (!sync_to_disk(w->folder) && errno != EINVAL && errno != ENOTSUP && errno != EBADF)
        RW_GOTO(fail(w, "cannot write the folder to the disk (fsync)", err));
out:
    rw_writer_abort(w);
    return st;
}

/* For applications. */
rwkv_status rwkv_file_write(const char *path, const void *data, size_t len, rwkv_error *err) {
    if (!path || (len && !data))
        return rw_fail(err, RWKV_E_ARG, "rwkv_file_write: path and data must be given");
    rw_writer *w;
    RW_TRY(rw_writer_begin(&w, path, NULL, err));
    rw_writer_expect(w, len);
    rwkv_status st = rw_writer_add(w, data, len, err);
    if (st == RWKV_OK) return rw_writer_commit(w, err);
    rw_writer_abort(w);
    return st;
}
