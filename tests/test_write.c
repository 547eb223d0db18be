/* test_write.c - files appear whole or not at all: every system call and every allocation of the
 * writer fails once, processes are killed in the middle, and the destination is the old or the new
 * file, never something between; no temporary file stays (reliability.md Q1 to Q5).
 *
 * On Linux the linker puts the wrappers below around the calls (tests/CMakeLists.txt). */
#include "file/file.h"
#include "file/write.h"
#include "support.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BUFFER = 1 << 20 };

/* ---- faults: what the wrappers do and note */

static struct {
    int countdown; /* the call at which it becomes 0 fails; -1: none */
    int error;     /* its errno; 0: write returns 0 */
    bool heap;     /* count allocations instead of system calls */
    bool injected;
    size_t at_most; /* bytes one write takes; 0: all */
    char log[64];   /* one letter a call */
    size_t logged;
} fault = {.countdown = -1};

static RW_UNUSED bool fails(char letter, bool heap) {
    if (fault.logged < sizeof fault.log - 1 && letter &&
        (fault.logged == 0 || fault.log[fault.logged - 1] != letter || letter != 'w'))
        fault.log[fault.logged++] = letter;
    if (fault.heap != heap || fault.countdown < 0 || fault.countdown-- > 0) return false;
    fault.injected = true;
    errno = heap ? ENOMEM : fault.error ? fault.error : ENOSPC;
    return true;
}

static void arm(int countdown, int error, bool heap) {
    memset(&fault, 0, sizeof fault);
    fault.countdown = countdown;
    fault.error = error;
    fault.heap = heap;
}

#ifdef __linux__
static const bool wrapped = true;
#define WRAP(type, name, params, args, failed, letter, heap)                                       \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params {                                                                    \
        return fails(letter, heap) ? failed : __real_##name args;                                  \
    }

static size_t taken(size_t n) {
    return fault.at_most && n > fault.at_most ? fault.at_most : n;
}

WRAP(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, taken(n)), fault.error ? -1 : 0,
     'w', false)
WRAP(int, fsync, (int fd), (fd), -1, 's', false)
WRAP(int, close, (int fd), (fd), -1, 'c', false)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), -1, 'm', false)
WRAP(int, renameat, (int a, const char *b, int c, const char *d), (a, b, c, d), -1, 'r', false)
WRAP(void *, malloc, (size_t n), (n), NULL, 0, true)
WRAP(void *, calloc, (size_t n, size_t size), (n, size), NULL, 0, true)
WRAP(void *, realloc, (void *p, size_t n), (p, n), NULL, 0, true)
#else
static const bool wrapped = false;
#endif

/* ---- helpers */

static char folder[512], destination[600];

/* An empty folder of its own for each test, with or without an old file at the destination. */
static void fresh(const char *old) {
    static unsigned n;
    char name[32];
    snprintf(name, sizeof name, "folder-%u", n++);
    snprintf(folder, sizeof folder, "%s", temp_path(name));
    assert_int_equal(mkdir(folder, 0700), 0);
    snprintf(destination, sizeof destination, "%s/out.bin", folder);
    if (old) spill(destination, old, strlen(old));
}

static const char *in_folder(const char *name) {
    static char path[4][900];
    static unsigned next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static size_t files_in_folder(void) {
    size_t n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n - 2; /* . and .. */
}

static void expect_content(const char *path, const void *data, size_t n) {
    size_t got;
    void *found = slurp(path, &got);
    assert_int_equal(got, n);
    assert_memory_equal(found, data, n);
    free(found);
}

static uint8_t *random_bytes(size_t n, uint64_t seed) {
    uint8_t *p = malloc(n + 8);
    assert_non_null(p);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t x = rng_u64(&seed);
        memcpy(p + i, &x, 8);
    }
    return p;
}

/* ---- what it does */

static void writes_any_size_in_any_pieces(void **unused) {
    (void)unused;
    static const size_t sizes[] = {0, 1, 4095, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 7};
    uint64_t seed = 5;
    fresh(NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t piece = 1 << 12; piece <= 1 << 22; piece <<= 5) {
            uint8_t *data = random_bytes(sizes[i], i);
            rw_writer *w = NULL;
            rwkv_error err;
            assert_int_equal(rw_writer_begin(&w, destination, NULL, &err), RWKV_OK);
            for (size_t at = 0, n; at < sizes[i]; at += n) {
                n = rng_u64(&seed) % piece;
                if (n > sizes[i] - at) n = sizes[i] - at;
                assert_int_equal(rw_writer_add(w, data + at, n, &err), RWKV_OK);
            }
            assert_int_equal(rw_writer_commit(w, &err), RWKV_OK);
            expect_content(destination, data, sizes[i]);
            assert_int_equal(files_in_folder(), 1);
            free(data);
        }
}

static void destination_is_untouched_until_commit(void **unused) {
    (void)unused;
    rw_writer *w = NULL;
    rwkv_error err;
    fresh("old");
    uint8_t *data = random_bytes(2 * BUFFER, 1);
    assert_int_equal(rw_writer_begin(&w, destination, NULL, &err), RWKV_OK);
    assert_int_equal(rw_writer_add(w, data, 2 * BUFFER, &err), RWKV_OK);
    expect_content(destination, "old", 3);
    assert_int_equal(files_in_folder(), 2);
    rw_writer_abort(w);
    expect_content(destination, "old", 3);
    assert_int_equal(files_in_folder(), 1);
    rw_writer_abort(NULL);
    free(data);
}

static void expect_begin_fails(const char *path, const char *input, rwkv_status st,
                               const char *needle) {
    rw_writer *w = NULL;
    rwkv_error err = {0};
    rwkv_status got = rw_writer_begin(&w, path, input, &err);
    if (got != st || !strstr(err.message, needle) || w)
        fail_msg("%s: got %s \"%s\"; expected \"%s\"", path, rwkv_status_name(got), err.message,
                 needle);
    assert_int_equal(err.code, st);
}

static void refuses_what_is_no_file_of_its_own(void **unused) {
    (void)unused;
    fresh("old");
    spill(in_folder("input"), "input", 5);
    assert_int_equal(mkdir(in_folder("sub"), 0700), 0);
    assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
    assert_int_equal(symlink("input", in_folder("symlink")), 0);
    assert_int_equal(symlink("symlink", in_folder("symlink2")), 0);
    assert_int_equal(symlink("loop", in_folder("loop")), 0);
    assert_int_equal(link(in_folder("input"), in_folder("hardlink")), 0);
    size_t files = files_in_folder();
    expect_begin_fails(in_folder("sub"), NULL, RWKV_E_IO, "found a folder");
    expect_begin_fails(in_folder("sub/"), NULL, RWKV_E_IO, "found a folder");
    expect_begin_fails(in_folder("sub/."), NULL, RWKV_E_IO, "found a folder");
    expect_begin_fails(in_folder("fifo"), NULL, RWKV_E_IO, "found a device or pipe");
    expect_begin_fails("/dev/null", NULL, RWKV_E_IO, "found a device or pipe");
    expect_begin_fails("", NULL, RWKV_E_IO, "the name is empty");
    expect_begin_fails(in_folder("absent/"), NULL, RWKV_E_IO, "the name is empty");
    expect_begin_fails(in_folder("absent/file"), NULL, RWKV_E_IO,
                       "cannot write into this folder: No such file");
    expect_begin_fails(in_folder("input/file"), NULL, RWKV_E_IO,
                       "cannot write into this folder: Not a directory");
    static const char *const same[] = {"input", "symlink", "symlink2", "hardlink", "sub/../input"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        expect_begin_fails(in_folder(same[i]), in_folder("input"), RWKV_E_ARG, "the same file");
        expect_begin_fails(in_folder("input"), in_folder(same[i]), RWKV_E_ARG, "the same file");
    }
    assert_int_equal(files_in_folder(), files);
    expect_content(in_folder("input"), "input", 5);
    assert_int_equal(rwkv_file_write(in_folder("loop"), "x", 1, NULL),
                     RWKV_OK); /* the link is replaced */
    assert_int_equal(rwkv_file_write(in_folder("symlink"), "new", 3, NULL), RWKV_OK);
    expect_content(in_folder("input"), "input", 5);
    expect_content(in_folder("symlink2"), "new", 3);
    assert_int_equal(rwkv_file_write(NULL, "x", 1, NULL), RWKV_E_ARG);
    assert_int_equal(rwkv_file_write(destination, NULL, 1, NULL), RWKV_E_ARG);
    assert_int_equal(rwkv_file_write(destination, NULL, 0, NULL), RWKV_OK);
    expect_content(destination, "", 0);
}

static void keeps_permissions(void **unused) {
    (void)unused;
    struct stat sb;
    mode_t mask = umask(027);
    fresh("old");
    assert_int_equal(chmod(destination, 0606), 0);
    assert_int_equal(rwkv_file_write(destination, "new", 3, NULL), RWKV_OK);
    assert_int_equal(stat(destination, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0606);
    assert_int_equal(rwkv_file_write(in_folder("fresh"), "new", 3, NULL), RWKV_OK);
    assert_int_equal(stat(in_folder("fresh"), &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0640);
    umask(mask);
}

static void long_names(void **unused) {
    (void)unused;
    char name[300] = {0};
    fresh(NULL);
    memset(name, 'n', 255);
    assert_int_equal(rwkv_file_write(in_folder(name), "x", 1, NULL), RWKV_OK);
    expect_content(in_folder(name), "x", 1);
    memset(name, 'n', 256);
    assert_int_equal(rwkv_file_write(in_folder(name), "x", 1, NULL), RWKV_E_IO);
    assert_int_equal(files_in_folder(), 1);
}

/* Relative names, the folder being the current one. */
static void relative_names(void **unused) {
    (void)unused;
    int here = open(".", O_RDONLY | O_DIRECTORY);
    assert_true(here >= 0);
    fresh(NULL);
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(rwkv_file_write("plain", "x", 1, NULL), RWKV_OK);
    assert_int_equal(rwkv_file_write("./dotted", "x", 1, NULL), RWKV_OK);
    assert_int_equal(fchdir(here), 0);
    close(here);
    expect_content(in_folder("plain"), "x", 1);
    expect_content(in_folder("dotted"), "x", 1);
    assert_int_equal(files_in_folder(), 2);
}

/* ---- what others left */

static void cleans_only_what_the_dead_left(void **unused) {
    (void)unused;
    static const char *const stale[] = {".out.bin.rwkv-tmp-1-0", ".out.bin.rwkv-tmp-999999999-17"};
    static const char *const kept[] = {".other.bin.rwkv-tmp-1-0", ".out.bin.rwkv-tmp-1-0x",
                                       ".out.bin.rwkv-tmp-1",     ".out.bin.rwkv-tmp--1",
                                       "out.bin.rwkv-tmp-1-0",    ".out.bin.rwkv-tmp-1-",
                                       ".out.bin2.rwkv-tmp-1-0"};
    enum { KEPT = sizeof kept / sizeof *kept };
    fresh("old");
    for (size_t i = 0; i < 2; i++) spill(in_folder(stale[i]), "x", 1);
    for (size_t i = 0; i < KEPT; i++) spill(in_folder(kept[i]), "x", 1);
    rw_writer *first = NULL, *second = NULL;
    assert_int_equal(rw_writer_begin(&first, destination, NULL, NULL), RWKV_OK);
    for (size_t i = 0; i < KEPT; i++) expect_content(in_folder(kept[i]), "x", 1);
    assert_int_equal(files_in_folder(), KEPT + 2);
    assert_int_equal(rw_writer_begin(&second, destination, NULL, NULL), RWKV_OK); /* first lives */
    assert_int_equal(files_in_folder(), KEPT + 3);
    assert_int_equal(rw_writer_add(first, "first", 5, NULL), RWKV_OK);
    assert_int_equal(rw_writer_add(second, "second", 6, NULL), RWKV_OK);
    assert_int_equal(rw_writer_commit(second, NULL), RWKV_OK);
    expect_content(destination, "second", 6);
    assert_int_equal(rw_writer_commit(first, NULL), RWKV_OK);
    expect_content(destination, "first", 5);
    assert_int_equal(files_in_folder(), KEPT + 1);
}

/* Children write old-or-new files over and over and are killed at a random time. */
static void killed_in_the_middle(void **unused) {
    (void)unused;
    enum { N = 3 * BUFFER / 2, ROUNDS = 40 };
    uint8_t *data[2] = {random_bytes(N, 1), random_bytes(N, 2)};
    uint64_t seed = 9;
    fresh(NULL);
    assert_int_equal(rwkv_file_write(destination, data[0], N, NULL), RWKV_OK);
    for (int round = 0; round < ROUNDS; round++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            for (unsigned i = 1;; i++)
                if (rwkv_file_write(destination, data[i % 2], N, NULL)) _exit(1);
        usleep((useconds_t)(rng_u64(&seed) % 12000));
        assert_int_equal(kill(child, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        size_t n;
        uint8_t *found = slurp(destination, &n);
        assert_int_equal(n, N);
        assert_true(memcmp(found, data[0], N) == 0 || memcmp(found, data[1], N) == 0);
        free(found);
        assert_true(files_in_folder() <= 2); /* the next round cleans up after this one */
    }
    assert_int_equal(rwkv_file_write(destination, "end", 3, NULL), RWKV_OK);
    assert_int_equal(files_in_folder(), 1);
    free(data[0]);
    free(data[1]);
}

/* ---- faults */

/* A file of three buffers and a rest, in as many writes as pieces. */
static rwkv_status write_new(const uint8_t *data, size_t n, rwkv_error *err) {
    rw_writer *w = NULL;
    RW_TRY(rw_writer_begin(&w, destination, NULL, err));
    rw_writer_expect(w, n);
    rwkv_status st = RWKV_OK;
    for (size_t i = 0; i < 3 && st == RWKV_OK; i++)
        st = rw_writer_add(w, data + i * (n / 3), i < 2 ? n / 3 : n - 2 * (n / 3), err);
    if (st == RWKV_OK) return rw_writer_commit(w, err);
    rw_writer_abort(w);
    return st;
}

enum { NEW_SIZE = 3 * BUFFER + 123 };

/* Fails call after call until a run is untouched. */
static void fail_every_call(int error, bool heap) {
    uint8_t *data = random_bytes(NEW_SIZE, 4);
    int k = 0;
    for (bool injected = true; injected; k++) {
        rwkv_error err = {0};
        fresh("old");
        arm(k, error, heap);
        rwkv_status st = write_new(data, NEW_SIZE, &err);
        bool renamed = strchr(fault.log, 'r') && strchr(strchr(fault.log, 'r'), 's');
        injected = fault.injected;
        arm(-1, 0, false);
        if (!injected) assert_int_equal(st, RWKV_OK);
        if (st != RWKV_OK) {
            assert_int_equal(st, heap ? RWKV_E_NOMEM : RWKV_E_IO);
            assert_int_equal(err.code, st);
            if (!heap) assert_non_null(strstr(err.message, strerror(error ? error : ENOSPC)));
        }
        if (st == RWKV_OK || renamed)
            expect_content(destination, data, NEW_SIZE);
        else
            expect_content(destination, "old", 3);
        assert_int_equal(files_in_folder(), 1);
    }
    assert_true(k > (heap ? 3 : 8));
    free(data);
}

static void every_system_call_fails_once(void **unused) {
    (void)unused;
    if (!wrapped) skip();
    static const int errors[] = {ENOSPC, EIO, EDQUOT, 0};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) fail_every_call(errors[i], false);
}

static void every_allocation_fails_once(void **unused) {
    (void)unused;
    if (!wrapped) skip();
    fail_every_call(ENOMEM, true);
}

static void interrupted_and_short_writes_go_on(void **unused) {
    (void)unused;
    if (!wrapped) skip();
    uint8_t *data = random_bytes(NEW_SIZE, 4);
    for (int k = 1; k < 6; k++) { /* three writes, fsync, close */
        fresh("old");
        arm(k, EINTR, false);
        assert_int_equal(write_new(data, NEW_SIZE, NULL), RWKV_OK);
        assert_true(fault.injected);
        expect_content(destination, data, NEW_SIZE);
    }
    fresh("old");
    arm(-1, 0, false);
    fault.at_most = 4093;
    assert_int_equal(write_new(data, NEW_SIZE, NULL), RWKV_OK);
    arm(-1, 0, false);
    expect_content(destination, data, NEW_SIZE);
    free(data);
}

/* Power may fail at any time: the bytes are on the disk before the name, the name before success.
 */
static void calls_in_the_right_order(void **unused) {
    (void)unused;
    if (!wrapped) skip();
    fresh(NULL);
    uint8_t *data = random_bytes(NEW_SIZE, 4);
    arm(-1, 0, false);
    assert_int_equal(rwkv_file_write(destination, data, NEW_SIZE, NULL), RWKV_OK);
    const char *from = strchr(fault.log, 'w');
    assert_non_null(from);
    assert_int_equal(strncmp(from, "wscrs", 5),
                     0); /* write, fsync, close, rename, fsync of the folder */
    free(data);
}

static void nothing_can_be_committed_after_a_failure(void **unused) {
    (void)unused;
    if (!wrapped) skip();
    rw_writer *w = NULL;
    rwkv_error err;
    fresh("old");
    uint8_t *data = random_bytes(2 * BUFFER, 1);
    assert_int_equal(rw_writer_begin(&w, destination, NULL, &err), RWKV_OK);
    rw_writer_expect(w, 5 * BUFFER);
    arm(0, ENOSPC, false);
    assert_int_equal(rw_writer_add(w, data, 2 * BUFFER, &err), RWKV_E_IO);
    assert_non_null(strstr(err.message, "wrote 0 of 5242880 bytes: No space left on device"));
    assert_int_equal(rw_writer_commit(w, &err), RWKV_E_IO);
    expect_content(destination, "old", 3);
    assert_int_equal(files_in_folder(), 1);
    free(data);
}

/* The system's own refusals. */
static void stops_at_the_size_limit(void **unused) {
    (void)unused;
    rwkv_error err;
    struct rlimit old, low;
    fresh("old");
    uint8_t *data = random_bytes(NEW_SIZE, 4);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = BUFFER + 1000;
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    rwkv_status st = rwkv_file_write(destination, data, NEW_SIZE, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, before);
    assert_int_equal(st, RWKV_E_IO);
    assert_non_null(strstr(err.message, "wrote 1049576 of 3145851 bytes: File too large"));
    expect_content(destination, "old", 3);
    assert_int_equal(files_in_folder(), 1);
    free(data);
}

static void reads_whole_files(void **unused) {
    (void)unused;
    void *data = NULL;
    size_t n = 77;
    fresh("");
    assert_int_equal(rwkv_file_read(destination, 0, &data, &n, NULL), RWKV_OK);
    assert_int_equal(n, 0);
    assert_non_null(data);
    rwkv_free(data);
    data = NULL;
    n = 77;
    rwkv_error err;
    spill(destination, "12345", 5);
    assert_int_equal(rwkv_file_read(destination, 4, &data, &n, &err), RWKV_E_SPACE);
    assert_non_null(strstr(err.message, "found 5 bytes; expected at most 4"));
    assert_int_equal(truncate(destination, (off_t)1 << 38), 0); /* refused before it is read */
    assert_int_equal(rwkv_file_read(destination, 1 << 20, &data, &n, &err), RWKV_E_SPACE);
    assert_int_equal(rwkv_file_read(folder, 0, &data, &n, &err), RWKV_E_IO);
    assert_int_equal(rwkv_file_read(NULL, 0, &data, &n, &err), RWKV_E_ARG);
    assert_null(data);
    assert_int_equal(n, 77);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_any_size_in_any_pieces),
        cmocka_unit_test(destination_is_untouched_until_commit),
        cmocka_unit_test(refuses_what_is_no_file_of_its_own),
        cmocka_unit_test(keeps_permissions),
        cmocka_unit_test(long_names),
        cmocka_unit_test(relative_names),
        cmocka_unit_test(cleans_only_what_the_dead_left),
        cmocka_unit_test(killed_in_the_middle),
        cmocka_unit_test(every_system_call_fails_once),
        cmocka_unit_test(every_allocation_fails_once),
        cmocka_unit_test(interrupted_and_short_writes_go_on),
        cmocka_unit_test(calls_in_the_right_order),
        cmocka_unit_test(nothing_can_be_committed_after_a_failure),
        cmocka_unit_test(stops_at_the_size_limit),
        cmocka_unit_test(reads_whole_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
