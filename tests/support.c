/* support.c - what all tests share: paths, random numbers, whole files, running the program. */
#include "support.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROTATION = 4, PATH_CAP = 4096 };

/* ---------------------------------------------------------------- paths */

const char *shared_path(const char *relative) {
    static char paths[ROTATION][PATH_CAP];
    static unsigned next;
    char *path = paths[next++ % ROTATION];
    snprintf(path, PATH_CAP, "%s/%s", RW_SHARED_DIR, relative);
    return access(path, R_OK) == 0 ? path : NULL;
}

static char temp_root[PATH_CAP];
static pid_t temp_owner;

static int remove_one(const char *path, const struct stat *sb, int kind, struct FTW *at) {
    (void)sb, (void)kind, (void)at;
    return remove(path);
}

/* A child of fork must leave its parent's folder alone. */
static void remove_temp(void) {
    if (getpid() == temp_owner) nftw(temp_root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *temp_path(const char *name) {
    static char paths[ROTATION][PATH_CAP];
    static unsigned next;
    if (!temp_root[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(temp_root, sizeof temp_root, "%s/rwkv-test-XXXXXX", base && *base ? base : "/tmp");
        if (!mkdtemp(temp_root)) {
            perror(temp_root);
            abort();
        }
        temp_owner = getpid();
        atexit(remove_temp);
    }
    char *path = paths[next++ % ROTATION];
    if (snprintf(path, PATH_CAP, "%s/%s", temp_root, name) >= PATH_CAP) abort();
    return path;
}

/* ---------------------------------------------------------------- random numbers */

uint64_t rng_u64(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

float rng_uniform(uint64_t *state) {
    return (float)(rng_u64(state) >> 40) * 0x1p-24f;
}

/* Box and Muller; the logarithm's argument is never 0. */
float rng_normal(uint64_t *state) {
    double radius = ((double)(rng_u64(state) >> 11) + 1) * 0x1p-53;
    double angle = (double)(rng_u64(state) >> 11) * 0x1p-53 * 6.283185307179586;
    return (float)(sqrt(-2 * log(radius)) * cos(angle));
}

float max_abs_diff(const float *a, const float *b, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        float d = fabsf(a[i] - b[i]);
        if (!(d <= most)) most = d; /* also takes a NaN, and then keeps it */
        if (isnan(d)) return d;
    }
    return most;
}

/* ---------------------------------------------------------------- whole files */

void *slurp(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s: %s", path, strerror(errno));
    struct stat sb;
    assert_int_equal(fstat(fileno(f), &sb), 0);
    size_t n = (size_t)sb.st_size;
    char *data = malloc(n + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, n, f), n);
    fclose(f);
    data[n] = 0; /* text files are strings */
    if (len) *len = n;
    return data;
}

void spill(const char *path, const void *data, size_t len) {
    FILE *f = fopen(path, "wb");
    if (!f) fail_msg("%s: %s", path, strerror(errno));
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* ---------------------------------------------------------------- the program */

/* Splits like a shell: blanks separate, single quotes hold together. Words point into text. */
static size_t split(char *text, char **words, size_t cap) {
    size_t n = 0;
    char *to = text;
    for (char *from = text; *from;) {
        while (*from == ' ') from++;
        if (!*from) break;
        assert_true(n + 1 < cap);
        words[n++] = to;
        for (bool quoted = false; *from && (quoted || *from != ' '); from++) {
            if (*from == '\'')
                quoted = !quoted;
            else
                *to++ = *from;
        }
        if (*from) from++;
        *to++ = 0;
    }
    words[n] = NULL;
    return n;
}

/* In the child: stdin, stdout and stderr become these files. */
static void become(int in, int out, int err, char **argv) {
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(126);
    execv(argv[0], argv);
    _exit(127);
}

/* All three streams are files, so that no order of reading can block. */
int run_rwkv(const char *args, const char *input, char **out, char **err) {
    static unsigned runs;
    char names[3][PATH_CAP], label[32];
    int fds[3];
    for (int i = 0; i < 3; i++) {
        snprintf(label, sizeof label, "run-%d-%u.%d", (int)getpid(), runs, i);
        snprintf(names[i], PATH_CAP, "%s", temp_path(label));
    }
    runs++;
    spill(names[0], input ? input : "", input ? strlen(input) : 0);
    for (int i = 0; i < 3; i++) {
        fds[i] = open(names[i], i == 0 ? O_RDONLY | O_CLOEXEC : O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fds[i] >= 0);
    }

    size_t len = strlen(args);
    char *words[256] = {RW_PROGRAM}, *text = malloc(len + 2);
    assert_non_null(text);
    memcpy(text, args, len + 1);
    split(text, words + 1, 255);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) become(fds[0], fds[1], fds[2], words);
    int status = 0;
    while (waitpid(child, &status, 0) < 0) assert_int_equal(errno, EINTR);
    free(text);
    for (int i = 0; i < 3; i++) close(fds[i]);
    if (out) *out = slurp(names[1], NULL);
    if (err) *err = slurp(names[2], NULL);
    for (int i = 0; i < 3; i++) remove(names[i]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
