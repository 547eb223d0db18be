/* test_store.c - one suite over every backend of store/, then what each of them may meet: races,
 * kill -9, full disks, damaged and foreign files. A Redis is started on a socket when the machine
 * has one. */
#include "support.h"

#include <store.h>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ok(call)                                                                                   \
    do {                                                                                           \
        rwkv_error e_ = {0};                                                                       \
        int r_ = (int)(call);                                                                      \
        if (r_) fail_msg("%s: result %d: %s", #call, r_, e_.message);                              \
    } while (0)

static void sleep_ms(int ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

/* ------------------------------------------------------------------ the backends */

static pid_t redis_pid;
static char redis_socket[512];

static bool redis_answers(void) {
    store *s = NULL;
    char url[600];
    snprintf(url, sizeof url, "unix:%s", redis_socket);
    if (store_open(&s, url, NULL)) return false;
    store_close(s);
    return true;
}

/* A private Redis on a socket in the test's folder; password NULL: none. 0: this machine has no
 * Redis. */
static pid_t start_redis(const char *sock, const char *password) {
    char conf[600];
    snprintf(conf, sizeof conf, "%s.conf", sock);
    FILE *f = fopen(conf, "w");
    assert_non_null(f);
    fprintf(f, "port 0\nunixsocket %s\nunixsocketperm 700\nsave \"\"\nappendonly no\n", sock);
    fprintf(f, "maxmemory 64mb\nmaxmemory-policy noeviction\nlogfile %s.log\n", sock);
    if (password) fprintf(f, "requirepass %s\n", password);
    fclose(f);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int nowhere = open("/dev/null", O_RDWR);
        dup2(nowhere, 0), dup2(nowhere, 1), dup2(nowhere, 2);
#ifdef __linux__
        prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
        execlp("redis-server", "redis-server", conf, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 100; i++) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid) return 0;
        if (access(sock, F_OK) == 0) return pid;
        sleep_ms(50);
    }
    fail_msg("redis-server made no socket in 5 s");
    return 0;
}

static void stop(pid_t pid) {
    if (pid <= 0) return;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static int begin_all(void **state) {
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    snprintf(redis_socket, sizeof redis_socket, "%s", temp_path("redis.sock"));
    redis_pid = start_redis(redis_socket, NULL);
    for (int i = 0; redis_pid && i < 100 && !redis_answers(); i++) sleep_ms(50);
    if (!redis_pid) print_message("redis-server is not installed: Redis is not tested\n");
    return 0;
}

static int end_all(void **state) {
    (void)state;
    stop(redis_pid);
    return 0;
}

enum backend { MEMORY, SQLITE, REDIS, N_BACKENDS };

/* NULL: this machine lacks it. fresh: a file of its own; Redis is shared, so tests use spaces of
 * their own. */
static const char *backend_url(int b, const char *fresh) {
    static char url[600];
    if (b == MEMORY) return "memory:";
    if (b == REDIS && !redis_pid) return NULL;
    if (b == REDIS)
        snprintf(url, sizeof url, "unix:%s", redis_socket);
    else
        snprintf(url, sizeof url, "sqlite:%s", temp_path(fresh));
    return url;
}

static store *open_store(const char *url) {
    store *s = NULL;
    ok(store_open(&s, url, &e_));
    return s;
}

#define for_each_backend(s, fresh)                                                                 \
    for (int b_ = 0; b_ < N_BACKENDS; b_++)                                                        \
        for (store *s = backend_url(b_, fresh) ? open_store(backend_url(b_, fresh)) : NULL; s;     \
             store_close(s), s = NULL)

/* ------------------------------------------------------------------ the suite */

static void test_put_get(void **state) {
    (void)state;
    for_each_backend(s, "put.db") {
        store_item item;
        uint64_t g = 99, g2 = 0;
        uint8_t bytes[256];
        for (int i = 0; i < 256; i++) bytes[i] = (uint8_t)i;
        assert_int_equal(store_get(s, "pg", "a", true, &item, NULL), STORE_NONE);
        assert_null(item.data);
        ok(store_put(s, "pg", "a", "note", 4, bytes, 256, 0, 0, &g, &e_));
        assert_true(g > 0 && g < 99);
        ok(store_get(s, "pg", "a", true, &item, &e_));
        assert_string_equal(item.name, "a");
        assert_true(item.generation == g && item.n_data == 256 && item.n_note == 4);
        assert_memory_equal(item.data, bytes, 256);
        assert_memory_equal(item.note, "note", 4);
        assert_true(llabs((long long)item.used - (long long)time(NULL)) < 60);
        store_item_free(&item);
        /* a wrong generation changes nothing and learns the right one */
        assert_int_equal(store_put(s, "pg", "a", "x", 1, "x", 1, 0, 0, &g2, NULL), STORE_CONFLICT);
        assert_true(g2 == g);
        assert_int_equal(store_put(s, "pg", "a", "x", 1, "x", 1, g + 1, 0, &g2, NULL),
                         STORE_CONFLICT);
        assert_true(g2 == g);
        assert_int_equal(store_put(s, "pg", "none", "x", 1, "x", 1, 7, 0, &g2, NULL),
                         STORE_CONFLICT);
        assert_true(g2 == 0);
        ok(store_put(s, "pg", "a", NULL, 0, NULL, 0, g, 0, &g2, &e_)); /* nothing is something */
        assert_true(g2 > g);
        ok(store_get(s, "pg", "a", true, &item, &e_));
        assert_true(item.n_data == 0 && item.n_note == 0 && item.data && item.note);
        store_item_free(&item);
        /* the note alone */
        ok(store_put(s, "pg", "a", "n", 1, "data", 4, STORE_ANY, 0, &g, &e_));
        ok(store_put_note(s, "pg", "a", "another", 7, g, &g2, &e_));
        assert_int_equal(store_put_note(s, "pg", "a", "x", 1, g, &g, NULL), STORE_CONFLICT);
        assert_true(g == g2);
        assert_int_equal(store_put_note(s, "pg", "none", "x", 1, STORE_ANY, &g, NULL), STORE_NONE);
        ok(store_get(s, "pg", "a", false, &item, &e_));
        assert_true(item.n_data == 4 && item.data == NULL && item.n_note == 7);
        assert_memory_equal(item.note, "another", 7);
        store_item_free(&item);
        /* spaces are apart; a deleted name never sees an old generation again */
        assert_int_equal(store_get(s, "pg2", "a", true, &item, NULL), STORE_NONE);
        assert_int_equal(store_delete(s, "pg", "a", g + 5, NULL), STORE_CONFLICT);
        ok(store_delete(s, "pg", "a", g, &e_));
        assert_int_equal(store_delete(s, "pg", "a", STORE_ANY, NULL), STORE_NONE);
        assert_int_equal(store_touch(s, "pg", "a", NULL), STORE_NONE);
        ok(store_put(s, "pg", "a", NULL, 0, "new", 3, 0, 0, &g2, &e_));
        assert_true(g2 > g);
        ok(store_touch(s, "pg", "a", &e_));
        ok(store_delete(s, "pg", "a", STORE_ANY, &e_));
    }
}

static void test_names(void **state) {
    char longest[STORE_NAME_MAX + 2];
    static char big[STORE_NOTE_MAX + 1];
    (void)state;
    memset(longest, 'n', sizeof longest);
    longest[STORE_NAME_MAX + 1] = 0;
    for_each_backend(s, "names.db") {
        static const char *const wrong[] = {"", "a b", "a\nb", "a{b", "a}b", "\x7f", "\xc3\xa9"};
        rwkv_error err;
        store_item item;
        uint64_t g;
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            assert_int_equal(store_get(s, "nm", wrong[i], true, &item, &err), STORE_FAILED);
            assert_int_equal(err.code, RWKV_E_ARG);
            assert_int_equal(store_put(s, wrong[i], "a", NULL, 0, NULL, 0, 0, 0, &g, &err),
                             STORE_FAILED);
        }
        assert_int_equal(store_delete(s, "nm", longest, STORE_ANY, &err), STORE_FAILED);
        longest[STORE_NAME_MAX] = 0;
        ok(store_put(s, longest, longest, big, STORE_NOTE_MAX, "x", 1, 0, 0, &g, &e_));
        ok(store_get(s, longest, longest, true, &item, &e_));
        assert_string_equal(item.name, longest);
        assert_true(item.n_note == STORE_NOTE_MAX);
        store_item_free(&item);
        assert_int_equal(store_put(s, "nm", "a", big, STORE_NOTE_MAX + 1, "x", 1, 0, 0, &g, &err),
                         STORE_FAILED);
        ok(store_delete(s, longest, longest, STORE_ANY, &e_));
        longest[STORE_NAME_MAX] = 'n';
    }
}

typedef struct seen {
    char names[32][32];
    size_t n, stop_at;
    store *s;
} seen;

static bool see(void *user, const store_item *item) {
    seen *l = user;
    store_item again;
    assert_null(item->data);
    if (l->n < 32) snprintf(l->names[l->n], 32, "%s", item->name);
    l->n++;
    if (l->stop_at) { /* no lock is held meanwhile */
        assert_int_equal(store_get(l->s, "ls", item->name, false, &again, NULL), STORE_OK);
        assert_true(again.generation == item->generation && again.n_data == item->n_data);
        store_item_free(&again);
    }
    return l->n != l->stop_at;
}

static void test_list_trim(void **state) {
    (void)state;
    for_each_backend(s, "list.db") {
        uint64_t g, n_items, n_bytes;
        char name[8], data[100] = "";
        for (int i = 0; i < 10; i++) {
            snprintf(name, sizeof name, "i%d", i);
            ok(store_put(s, "ls", name, "12345", 5, data, 95, 0, 0, &g, &e_));
        }
        ok(store_put(s, "ls2", "other", NULL, 0, data, 100, 0, 0, &g, &e_));
        ok(store_put(s, "ls", "i3", "12345", 5, data, 45, STORE_ANY, 0, &g,
                     &e_)); /* now the newest */
        ok(store_usage(s, "ls", &n_items, &n_bytes, &e_));
        assert_true(n_items == 10 && n_bytes == 950);
        ok(store_put_note(s, "ls", "i4", "1234567890", 10, STORE_ANY, &g, &e_));
        ok(store_usage(s, "ls", &n_items, &n_bytes, &e_));
        assert_true(n_items == 10 && n_bytes == 955);
        seen all = {.s = s}, some = {.s = s, .stop_at = 3};
        ok(store_list(s, "ls", see, &all, &e_));
        assert_int_equal(all.n, 10);
        assert_string_equal(all.names[0], "i4");
        assert_string_equal(all.names[1], "i3");
        assert_string_equal(all.names[2], "i9");
        assert_string_equal(all.names[9], "i0");
        ok(store_trim(s, "ls", 400, &e_)); /* i4: 105, i3: 50, i9, i8: 100 each */
        ok(store_usage(s, "ls", &n_items, &n_bytes, &e_));
        assert_true(n_items == 4 && n_bytes == 355);
        ok(store_trim(s, NULL, 0, &e_)); /* nothing has expired */
        ok(store_usage(s, "ls", &n_items, &n_bytes, &e_));
        assert_true(n_items == 4);
        ok(store_list(s, "ls", see, &some, &e_));
        assert_int_equal(some.n, 3);
        ok(store_trim(s, "ls", 0, &e_));
        ok(store_usage(s, "ls", &n_items, &n_bytes, &e_));
        assert_true(n_items == 0 && n_bytes == 0);
        ok(store_usage(s, "ls2", &n_items, &n_bytes, &e_));
        assert_true(n_items == 1 && n_bytes == 100);
        ok(store_trim(s, "ls2", 0, &e_));
        ok(store_usage(s, "never", &n_items, &n_bytes, &e_));
        assert_true(n_items == 0 && n_bytes == 0);
    }
}

/* More items than any backend takes in one go. */
static void test_many(void **state) {
    (void)state;
    for_each_backend(s, "many.db") {
        seen all = {.s = s};
        uint64_t g, n_items, n_bytes;
        char name[16];
        for (int i = 0; i < 300; i++) {
            snprintf(name, sizeof name, "m%d", i);
            ok(store_put(s, "ls", name, NULL, 0, "0123456789", 10, 0, 0, &g, &e_));
        }
        ok(store_list(s, "ls", see, &all, &e_));
        assert_int_equal(all.n, 300);
        assert_string_equal(all.names[0], "m299");
        ok(store_trim(s, "ls", 55, &e_));
        ok(store_usage(s, "ls", &n_items, &n_bytes, &e_));
        assert_true(n_items == 5 && n_bytes == 50);
        ok(store_trim(s, "ls", 0, &e_));
    }
}

static void test_expiry(void **state) {
    (void)state;
    for_each_backend(s, "expiry.db") {
        store_item item;
        seen all = {.s = s};
        uint64_t g, g2, n_items, n_bytes;
        ok(store_put(s, "ls", "short", NULL, 0, "x", 1, 0, 1, &g, &e_));
        ok(store_put(s, "ls", "other", NULL, 0, "x", 1, 0, 1, &g, &e_));
        ok(store_put(s, "ls", "long", NULL, 0, "x", 1, 0, 1000, &g2, &e_));
        ok(store_get(s, "ls", "short", true, &item, &e_));
        store_item_free(&item);
        sleep_ms(600);
        ok(store_touch(s, "ls", "short", &e_)); /* being used, it lives on */
        sleep_ms(600);
        ok(store_get(s, "ls", "short", true, &item, &e_));
        store_item_free(&item);
        assert_int_equal(store_get(s, "ls", "other", true, &item, NULL), STORE_NONE);
        sleep_ms(1100);
        assert_int_equal(store_get(s, "ls", "short", true, &item, NULL), STORE_NONE);
        assert_int_equal(store_touch(s, "ls", "short", NULL), STORE_NONE);
        assert_int_equal(store_delete(s, "ls", "short", STORE_ANY, NULL), STORE_NONE);
        ok(store_list(s, "ls", see, &all, &e_));
        assert_int_equal(all.n, 1);
        ok(store_put(s, "ls", "short", NULL, 0, "new", 3, 0, 0, &g2,
                     &e_)); /* as if there were none */
        assert_true(g2 > g);
        ok(store_trim(s, NULL, 0, &e_));
        ok(store_usage(s, "ls", &n_items, &n_bytes, &e_));
        assert_true(n_items == 2 && n_bytes == 4);
        ok(store_trim(s, "ls", 0, &e_));
    }
}

static void test_large(void **state) {
    size_t n = 12 * 1024 * 1024 + 7;
    uint8_t *data = malloc(n);
    uint64_t rng = 5, g;
    (void)state;
    for (size_t i = 0; i < n; i++) data[i] = (uint8_t)(rng_u64(&rng) >> 56);
    for_each_backend(s, "large.db") {
        store_item item;
        for (int i = 0; i < 3; i++) {
            data[0] = (uint8_t)i;
            ok(store_put(s, "lg", "a", NULL, 0, data, n - (size_t)i, STORE_ANY, 0, &g, &e_));
        }
        ok(store_get(s, "lg", "a", true, &item, &e_));
        assert_true(item.n_data == n - 2);
        assert_memory_equal(item.data, data, n - 2);
        store_item_free(&item);
        ok(store_delete(s, "lg", "a", g, &e_));
    }
    free(data);
}

/* ------------------------------------------------------------------ races */

enum { RACERS = 8, ROUNDS = 40 };

typedef struct racer {
    store *s;
    pthread_t thread;
    int wins;
} racer;

/* Adds one to the number that the item holds, as often as it takes. */
static void *race(void *arg) {
    racer *r = arg;
    while (r->wins < ROUNDS) {
        store_item item;
        uint64_t g;
        char number[32];
        store_result got = store_get(r->s, "race", "n", true, &item, NULL);
        if (got) return NULL;
        snprintf(number, sizeof number, "%ld", strtol(item.data, NULL, 10) + 1);
        got = store_put(r->s, "race", "n", NULL, 0, number, strlen(number), item.generation, 0, &g,
                        NULL);
        store_item_free(&item);
        if (got == STORE_OK)
            r->wins++;
        else if (got != STORE_CONFLICT)
            return NULL;
    }
    return NULL;
}

static void test_race(void **state) {
    (void)state;
    for_each_backend(s, "race.db") {
        racer racers[RACERS] = {{0}};
        store *second =
            b_ == MEMORY ? s : open_store(backend_url(b_, "race.db")); /* as another server */
        store_item item;
        uint64_t g;
        ok(store_put(s, "race", "n", NULL, 0, "0", 1, 0, 0, &g, &e_));
        for (int i = 0; i < RACERS; i++) {
            racers[i].s = i % 2 ? s : second;
            assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
        }
        for (int i = 0; i < RACERS; i++) {
            pthread_join(racers[i].thread, NULL);
            assert_int_equal(racers[i].wins, ROUNDS);
        }
        ok(store_get(s, "race", "n", true, &item, &e_));
        assert_int_equal(strtol(item.data, NULL, 10), RACERS * ROUNDS);
        store_item_free(&item);
        ok(store_delete(s, "race", "n", STORE_ANY, &e_));
        if (second != s) store_close(second);
    }
}

/* ------------------------------------------------------------------ SQLite: what may happen to a
 * file */

/* Runs fn in a child of its own; its exit status. */
static int in_child(void (*fn)(const char *path, int fd), const char *path, int *fd,
                    int kill_after_ms) {
    int pipes[2], status;
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(pipes[0]);
        fn(path, pipes[1]);
        _exit(0);
    }
    close(pipes[1]);
    if (kill_after_ms >= 0) {
        sleep_ms(kill_after_ms);
        kill(pid, SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    *fd = pipes[0];
    return status;
}

/* Writes items whose bytes follow from their number; reports each number once its put has returned.
 */
static void write_for_ever(const char *path, int fd) {
    static uint8_t data[200000];
    store *s = NULL;
    uint64_t g;
    if (store_open(&s, path, NULL)) _exit(3);
    for (uint32_t i = 1;; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%u", i % 7);
        memset(data, (int)(i & 255), sizeof data);
        if (store_put(s, "kill", name, &i, sizeof i, data, sizeof data - i % 1000, STORE_ANY, 0, &g,
                      NULL))
            _exit(4);
        if (write(fd, &i, sizeof i) != sizeof i) _exit(5);
    }
}

static void test_kill(void **state) {
    char path[512];
    uint64_t rng = 77;
    (void)state;
    snprintf(path, sizeof path, "%s", temp_path("kill.db"));
    for (int round = 0; round < 25; round++) {
        uint32_t last[7] = {0}, i;
        int fd, status = in_child(write_for_ever, path, &fd, 2 + (int)(rng_u64(&rng) % 60));
        if (WIFEXITED(status)) fail_msg("the writer ended with %d", WEXITSTATUS(status));
        while (read(fd, &i, sizeof i) == sizeof i) last[i % 7] = i;
        close(fd);
        store *s = open_store(path); /* whenever it was killed, it opens */
        for (int k = 0; k < 7; k++) {
            store_item item;
            char name[16];
            snprintf(name, sizeof name, "k%d", k);
            store_result r = store_get(s, "kill", name, true, &item, NULL);
            if (r == STORE_NONE) {
                assert_int_equal(last[k], 0);
                continue;
            }
            assert_int_equal(r, STORE_OK);
            memcpy(&i, item.note,
                   sizeof i); /* what was acknowledged, or the one begun after it; whole */
            if (round == 0) assert_true(i >= last[k]);
            assert_true(item.n_data == 200000 - i % 1000);
            for (size_t b = 0; b < item.n_data; b++) {
                if (((uint8_t *)item.data)[b] != (i & 255)) fail_msg("byte %zu of item %u", b, i);
            }
            if (last[k]) assert_true(i == last[k] || i == last[k] + 7);
            store_item_free(&item);
        }
        ok(store_trim(s, "kill", 0, &e_));
        store_close(s);
    }
}

static void fill_disk(const char *path, int fd) {
    static uint8_t data[100000];
    struct rlimit limit = {3000000, 3000000};
    store *s = NULL;
    store_item item;
    rwkv_error err;
    uint64_t g = 0, g2;
    store_result r = STORE_OK;
    char name[16];
    int i;
    (void)fd;
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) || store_open(&s, path, &err)) _exit(10);
    for (i = 0; i < 100 && !r; i++) {
        snprintf(name, sizeof name, "f%d", i);
        memset(data, i, sizeof data);
        r = store_put(s, "full", name, NULL, 0, data, sizeof data, 0, 0, &g, &err);
    }
    if (r != STORE_FULL || !strstr(err.message, path)) {
        fprintf(stderr, "%d: %s\n", r, err.message);
        _exit(11);
    }
    if (store_get(s, "full", name, true, &item, NULL) != STORE_NONE) _exit(12); /* nothing of it */
    if (store_get(s, "full", "f0", true, &item, NULL) != STORE_OK || item.n_data != sizeof data)
        _exit(13);
    if (store_put(s, "full", "f0", NULL, 0, data, sizeof data, item.generation, 0, &g2, NULL) ==
            STORE_OK &&
        g2 <= item.generation)
        _exit(14);
    store_item_free(&item);
    store_close(s);
    _exit(i > 3 ? 100 : 15);
}

static void test_full(void **state) {
    char path[512];
    int fd, status;
    (void)state;
    snprintf(path, sizeof path, "%s", temp_path("full.db"));
    status = in_child(fill_disk, path, &fd, -1);
    close(fd);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 100);
    /* with room again everything goes on */
    store *s = open_store(path);
    store_item item;
    uint64_t g;
    ok(store_get(s, "full", "f1", true, &item, &e_));
    assert_true(item.n_data == 100000 && ((uint8_t *)item.data)[99999] == 1);
    store_item_free(&item);
    ok(store_put(s, "full", "more", NULL, 0, "x", 1, 0, 0, &g, &e_));
    store_close(s);
}

static void expect_refusal(const char *path, rwkv_status code, const char *word) {
    rwkv_error err = {0};
    store *s = NULL;
    if (store_open(&s, path, &err) != code || s || !strstr(err.message, word) ||
        !strstr(err.message, path))
        fail_msg("%s: code %d: %s", path, err.code, err.message);
}

/* What is not ours is named, refused and left as it was. */
static void test_foreign(void **state) {
    char path[512],
        text[] = "Dear diary, today I was nearly taken for a database. It was a long day, and "
                 "this line makes the file longer than a header.";
    size_t n, m;
    uint64_t g;
    (void)state;
    snprintf(path, sizeof path, "%s", temp_path("diary.txt"));
    spill(path, text, sizeof text);
    expect_refusal(path, RWKV_E_FORMAT, "no SQLite database");
    char *after = slurp(path, &n);
    assert_memory_equal(after, text, sizeof text);
    free(after);
    spill(path, text, 5);
    expect_refusal(path, RWKV_E_FORMAT, "no SQLite database");
    expect_refusal("/dev/null", RWKV_E_IO, "not a regular file");
    expect_refusal("/dev/zero/x", RWKV_E_IO, "");
    mkdir(temp_path("folder.db"), 0700);
    expect_refusal(temp_path("folder.db"), RWKV_E_IO, "folder.db");

    snprintf(path, sizeof path, "%s", temp_path("other.db"));
    store *s = open_store(path);
    ok(store_put(s, "a", "a", NULL, 0, "x", 1, 0, 0, &g, &e_));
    store_close(s);
    uint8_t *file = slurp(path, &n);
    file[71] ^= 1;
    spill(path, file, n);
    expect_refusal(path, RWKV_E_FORMAT, "another program");
    uint8_t *same = slurp(path, &m);
    assert_true(m == n);
    assert_memory_equal(same, file, n);
    free(same);
    file[71] ^= 1;
    file[63] = 9;
    spill(path, file, n);
    expect_refusal(path, RWKV_E_UNSUPPORTED, "version 9");
    file[63] = 1;
    spill(path, file, n);
    store_close(open_store(path));
    free(file);
    expect_refusal("postgres://h/x", RWKV_E_ARG, "unknown store");
    expect_refusal("memory:x", RWKV_E_ARG, "memory:");
}

/* Bytes are changed all over a file: it is refused, or an item is reported as unreadable, or what
 * is read is right except for the bytes that were changed. Never a crash, never an empty store. */
static void test_damaged(void **state) {
    static uint8_t data[50000];
    char path[512];
    size_t n, refused = 0, unreadable = 0;
    uint64_t rng = 3, g;
    (void)state;
    snprintf(path, sizeof path, "%s", temp_path("damaged.db"));
    store *s = open_store(path);
    for (int i = 0; i < 20; i++) {
        char name[8];
        snprintf(name, sizeof name, "d%d", i);
        ok(store_put(s, "dm", name, name, 2, data, sizeof data, 0, 0, &g, &e_));
    }
    store_close(s);
    uint8_t *file = slurp(path, &n), *bad = malloc(n);
    for (int round = 0; round < 150; round++) {
        rwkv_error err = {0};
        memcpy(bad, file, n);
        size_t at =
            round < 100 ? rng_u64(&rng) % 8 * 16384 + rng_u64(&rng) % 200 : rng_u64(&rng) % n;
        if (round % 10 == 9)
            memset(bad + at, 0, n - at < 5000 ? n - at : 5000);
        else
            for (size_t k = 0; k < 4 && at + k < n; k++) bad[at + k] = (uint8_t)rng_u64(&rng);
        unlink(temp_path("damaged.db-wal"));
        unlink(temp_path("damaged.db-shm"));
        spill(path, bad, round % 25 == 24 ? n / 16384 / 2 * 16384 : n);
        if (store_open(&s, path, &err)) {
            if (!strstr(err.message, path)) fail_msg("no path: %s", err.message);
            refused++;
            continue;
        }
        size_t found = 0;
        for (int i = 0; i < 20; i++) {
            store_item item;
            char name[8];
            snprintf(name, sizeof name, "d%d", i);
            store_result r = store_get(s, "dm", name, true, &item, &err);
            if (r == STORE_OK && item.n_data == sizeof data) found++;
            unreadable += r == STORE_FAILED;
            store_item_free(&item);
        }
        store_put(s, "dm", "more", NULL, 0, data, 1000, STORE_ANY, 0, &g, NULL);
        store_trim(s, "dm", 0, NULL);
        store_close(s);
        if (round >= 100 && round % 10 != 9 && round % 25 != 24) assert_true(found >= 18);
    }
    if (refused < 20 || unreadable < 5)
        fail_msg("%zu refused, %zu unreadable", refused, unreadable);
    free(file);
    free(bad);
}

static bool in_file(const char *path, const char *needle) {
    size_t n;
    if (access(path, F_OK)) return false;
    char *all = slurp(path, &n);
    bool found = memmem(all, n, needle, strlen(needle)) != NULL;
    free(all);
    return found;
}

static void test_private(void **state) {
    char path[512], wal[520], shm[520], secret[] = "the-launch-code-is-0000-";
    static char data[300000];
    struct stat st;
    uint64_t g;
    (void)state;
    umask(0);
    snprintf(path, sizeof path, "%s/deep/er/private.db", temp_path("new"));
    snprintf(wal, sizeof wal, "%s-wal", path);
    snprintf(shm, sizeof shm, "%s-shm", path);
    store *s = open_store(path);
    for (size_t i = 0; i + sizeof secret < sizeof data; i += sizeof secret - 1)
        memcpy(data + i, secret, sizeof secret);
    for (int i = 0; i < 3; i++)
        ok(store_put(s, "pr",
                     i == 0   ? "a"
                     : i == 1 ? "b"
                              : "c",
                     secret, sizeof secret, data, sizeof data, 0, 0, &g, &e_));
    ok(store_put(s, "pr", "stays", "innocent", 8, "innocent", 8, 0, 0, &g, &e_));
    assert_true(in_file(path, secret) || in_file(wal, secret));
    const char *files[] = {path, wal, shm};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stat(files[i], &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    assert_int_equal(stat(temp_path("new/deep/er"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    ok(store_put(s, "pr", "b", "short", 5, "short", 5, STORE_ANY, 0, &g, &e_)); /* overwritten */
    ok(store_delete(s, "pr", "a", STORE_ANY, &e_));
    assert_true(in_file(path, secret) || in_file(wal, secret)); /* c is there */
    ok(store_put(s, "pr", "stays", "innocent", 8, "innocent", 8, STORE_ANY, 0, &g, &e_));
    ok(store_trim(s, "pr", 16 + 10, &e_));
    assert_false(in_file(path, secret) || in_file(wal, secret));
    store_item item;
    ok(store_get(s, "pr", "stays", true, &item, &e_));
    store_item_free(&item);
    store_close(s);
    assert_false(in_file(path, secret));
}

static void open_read_only(const char *path, int fd) {
    store *s = NULL;
    rwkv_error err = {0};
    (void)fd;
    if (getuid() == 0 && setuid(65534)) _exit(9);
    if (store_open(&s, path, &err) != RWKV_E_IO || !strstr(err.message, path)) _exit(1);
    _exit(42);
}

static void test_read_only(void **state) {
    char path[512];
    int fd, status;
    (void)state;
    snprintf(path, sizeof path, "%s", temp_path("readonly.db"));
    store_close(open_store(path));
    chmod(path, 0444);
    chmod(temp_path(""), 0755);
    status = in_child(open_read_only, path, &fd, -1);
    close(fd);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    chmod(path, 0600);
}

static void hold_lock(const char *path, int fd) {
    char command[700];
    snprintf(command, sizeof command,
             "python3 -c \"import sqlite3,sys,time; d=sqlite3.connect('%s',isolation_level=None);"
             "d.execute('BEGIN EXCLUSIVE'); sys.stdout.write('x'); sys.stdout.flush(); "
             "time.sleep(4)\" >&%d",
             path, fd);
    _exit(system(command) ? 1 : 0);
}

/* Another program that holds the file is waited for, within bounds, and named. */
static void test_locked(void **state) {
    char path[512], c;
    int pipes[2], status;
    rwkv_error err = {0};
    uint64_t g;
    (void)state;
    if (system("python3 -c 'import sqlite3' 2>/dev/null") != 0) skip();
    snprintf(path, sizeof path, "%s", temp_path("locked.db"));
    store *s = open_store(path);
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) hold_lock(path, pipes[1]);
    close(pipes[1]);
    assert_int_equal(read(pipes[0], &c, 1), 1);
    assert_int_equal(store_put(s, "lk", "a", NULL, 0, "x", 1, 0, 0, &g, &err), STORE_FAILED);
    if (!strstr(err.message, "locked") || !strstr(err.message, path))
        fail_msg("found %s", err.message);
    waitpid(pid, &status, 0);
    close(pipes[0]);
    ok(store_put(s, "lk", "a", NULL, 0, "x", 1, 0, 0, &g, &e_));
    store_close(s);
}

/* ------------------------------------------------------------------ Redis: what may happen on the
 * way */

/* Stands between store and Redis on a socket of its own; counts the bytes of replies and does one
 * mischief. */
typedef struct proxy {
    char path[512];
    int listener;
    pthread_t thread;
    pthread_mutex_t lock;
    long countdown;   /* bytes of replies until the mischief; below 0: none */
    int delay_ms;     /* then wait; 0: close */
    bool cut_request; /* close instead of passing the next request on */
    bool stop;
    int n_open;
    long passed; /* bytes of replies so far */
} proxy;

static int socket_at(const char *path, bool listening) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (fd < 0 || (listening ? bind(fd, (void *)&a, sizeof a) || listen(fd, 16)
                             : connect(fd, (void *)&a, sizeof a)))
        fail_msg("%s: cannot %s", path, listening ? "listen" : "connect");
    return fd;
}

typedef struct pair {
    proxy *p;
    int client, server;
} pair;

/* False: the connection is to be closed. */
static bool pass_reply(proxy *p, int client, const char *bytes, ssize_t n) {
    pthread_mutex_lock(&p->lock);
    bool now = p->countdown >= 0 && p->countdown < n;
    ssize_t part = now ? (ssize_t)p->countdown : n;
    p->countdown = now ? -1 : p->countdown < 0 ? -1 : p->countdown - n;
    p->passed += n;
    int delay = p->delay_ms;
    pthread_mutex_unlock(&p->lock);
    if (write(client, bytes, (size_t)part) != part) return false;
    if (!now) return true;
    if (!delay) return false;
    sleep_ms(delay);
    return write(client, bytes + part, (size_t)(n - part)) == n - part;
}

static void *pass(void *arg) {
    pair *c = arg;
    char bytes[4096];
    for (bool open = true; open;) {
        struct pollfd fds[2] = {{c->client, POLLIN, 0}, {c->server, POLLIN, 0}};
        if (poll(fds, 2, 100) < 0) break;
        if (c->p->stop) break;
        for (int i = 0; i < 2 && open; i++) {
            if (!fds[i].revents) continue;
            ssize_t n = read(fds[i].fd, bytes, sizeof bytes);
            if (n <= 0)
                open = false;
            else if (i == 1)
                open = pass_reply(c->p, c->client, bytes, n);
            else if (c->p->cut_request)
                c->p->cut_request = open = false;
            else
                open = write(c->server, bytes, (size_t)n) == n;
        }
    }
    close(c->client);
    close(c->server);
    pthread_mutex_lock(&c->p->lock);
    c->p->n_open--;
    pthread_mutex_unlock(&c->p->lock);
    free(c);
    return NULL;
}

static void *accept_all(void *arg) {
    proxy *p = arg;
    while (!p->stop) {
        struct pollfd fd = {p->listener, POLLIN, 0};
        pthread_t t;
        if (poll(&fd, 1, 50) != 1) continue;
        pair *c = malloc(sizeof *c);
        *c = (pair){p, accept(p->listener, NULL, NULL), socket_at(redis_socket, false)};
        pthread_mutex_lock(&p->lock);
        p->n_open++;
        pthread_mutex_unlock(&p->lock);
        pthread_create(&t, NULL, pass, c);
        pthread_detach(t);
    }
    return NULL;
}

static store *open_proxy(proxy *p, const char *name) {
    char url[600];
    *p = (proxy){.countdown = -1};
    snprintf(p->path, sizeof p->path, "%s", temp_path(name));
    pthread_mutex_init(&p->lock, NULL);
    p->listener = socket_at(p->path, true);
    pthread_create(&p->thread, NULL, accept_all, p);
    snprintf(url, sizeof url, "unix:%s", p->path);
    return open_store(url);
}

static void close_proxy(proxy *p) {
    p->stop = true;
    pthread_join(p->thread, NULL);
    for (int i = 0; i < 100 && p->n_open; i++) sleep_ms(20);
    close(p->listener);
}

static void plan(proxy *p, long countdown, int delay_ms) {
    pthread_mutex_lock(&p->lock);
    p->countdown = countdown;
    p->delay_ms = delay_ms;
    p->passed = 0;
    pthread_mutex_unlock(&p->lock);
}

static void expect_owner(store *s, const char *name) {
    store_item item;
    ok(store_get(s, "px", name, true, &item, &e_));
    assert_string_equal(item.name, name);
    if (item.n_data < 1 || memcmp(item.data, name, 1) != 0)
        fail_msg("%s got the data of another", name);
    store_item_free(&item);
}

/* The reply is cut at every byte. A connection from the pool: the request is sent once more and
 * done once. A new one: the request fails. Nobody ever gets what belongs to another. */
static void test_redis_cut(void **state) {
    proxy p;
    uint64_t g = 0, before;
    store_item item;
    (void)state;
    if (!redis_pid) skip();
    store *s = open_proxy(&p, "cut.sock");
    ok(store_put(s, "px", "a", NULL, 0, "aaaaaaaaaa", 10, STORE_ANY, 0, &g, &e_));
    ok(store_put(s, "px", "b", NULL, 0, "bbbbbbbbbb", 10, STORE_ANY, 0, &g, &e_));
    plan(&p, -1, 0);
    expect_owner(s, "a");
    long n_get = p.passed;
    plan(&p, -1, 0);
    ok(store_put(s, "px", "b", NULL, 0, "bbbbbbbbbb", 10, STORE_ANY, 0, &g, &e_));
    long n_put = p.passed;
    assert_true(n_get > 50 && n_put > 30);
    for (long k = 0; k < n_get; k++) {
        plan(&p, k, 0);
        expect_owner(s, "a");
        expect_owner(s, "b");
    }
    for (long k = 0; k < n_put; k++) {
        before = g;
        plan(&p, k, 0);
        ok(store_put(s, "px", "b", NULL, 0, "bbb", 3, before, 0, &g, &e_));
        assert_true(g == before + 1); /* once */
        plan(&p, k, 0);
        ok(store_put_note(s, "px", "b", "note", 4, g, &g, &e_));
        assert_true(g == before + 2);
    }
    for (long k = 0; k < 40; k++) {
        ok(store_put(s, "px", "c", NULL, 0, "ccc", 3, 0, 0, &g, &e_));
        plan(&p, k, 0);
        ok(store_delete(s, "px", "c", g, &e_));
        assert_int_equal(store_get(s, "px", "c", true, &item, NULL), STORE_NONE);
    }
    p.cut_request = true;
    expect_owner(s, "a");
    store_close(s);
    close_proxy(&p);
}

/* An answer that comes too late is not the answer to the next question. */
static void test_redis_late(void **state) {
    proxy p;
    rwkv_error err;
    store_item item;
    uint64_t g, start;
    (void)state;
    if (!redis_pid) skip();
    store *s = open_proxy(&p, "late.sock");
    ok(store_put(s, "px", "a", NULL, 0, "aaaaaaaaaa", 10, STORE_ANY, 0, &g, &e_));
    ok(store_put(s, "px", "b", NULL, 0, "bbbbbbbbbb", 10, STORE_ANY, 0, &g, &e_));
    for (long k = 0; k < 60; k += 59) {
        plan(&p, k, 2300);
        start = rw_os_now_ns();
        assert_int_equal(store_get(s, "px", "a", true, &item, &err), STORE_FAILED);
        assert_true(rw_os_now_ns() - start < 8000000000u);
        if (!strstr(err.message, "no answer in time")) fail_msg("found %s", err.message);
        for (int i = 0; i < 5; i++) {
            expect_owner(s, "b");
            sleep_ms(120);
        }
    }
    store_close(s);
    close_proxy(&p);
}

/* Says what it is told to, to every request but the first of a connection. */
typedef struct liar {
    int listener;
    const char *says;
    bool stop;
} liar;

static void *lie(void *arg) {
    liar *l = arg;
    char bytes[65536];
    while (!l->stop) {
        struct pollfd fd = {l->listener, POLLIN, 0};
        if (poll(&fd, 1, 50) != 1) continue;
        int c = accept(l->listener, NULL, NULL);
        struct pollfd in = {c, POLLIN, 0};
        for (int i = 0; !l->stop; i++) {
            while (!l->stop && poll(&in, 1, 50) == 0) continue;
            if (read(c, bytes, sizeof bytes) <= 0) break;
            const char *says = i == 0 ? "+PONG\r\n" : l->says;
            if (write(c, says, strlen(says)) < 0) break;
        }
        close(c);
    }
    return NULL;
}

static void test_redis_lies(void **state) {
    static const char *const lies[] = {
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-READONLY You can't write against a read only replica.\r\n",
        "-ERR\r\n",
        "+OK\r\n",
        ":1\r\n",
        "$-1\r\n",
        "$2\r\nok\r\n",
        "*0\r\n",
        "*-1\r\n",
        "*-5\r\n",
        "$-7\r\n",
        "*2147483647\r\n",
        "*99999999999999999999\r\n",
        "$99999999999999999999\r\n",
        "what?\r\n",
        "\r\n",
        "*2\r\n$1\r\nx\r\n$2\r\nok\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        "$1073741824\r\nnever comes",
    };
    liar l = {0};
    char url[600], path[512];
    pthread_t t;
    (void)state;
    snprintf(path, sizeof path, "%s", temp_path("liar.sock"));
    snprintf(url, sizeof url, "unix:%s", path);
    l.listener = socket_at(path, true);
    l.says = "+OK\r\n";
    pthread_create(&t, NULL, lie, &l);
    store *s = open_store(url);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        store_item item;
        uint64_t g, bytes;
        rwkv_error err = {0};
        l.says = lies[i];
        seen none = {.s = s};
        if (store_get(s, "px", "a", true, &item, &err) != STORE_FAILED)
            fail_msg("%s was believed", lies[i]);
        if (!strstr(err.message, path)) fail_msg("%s: %s", lies[i], err.message);
        if (i == sizeof lies / sizeof *lies - 1) break; /* the slow one */
        assert_int_equal(store_put(s, "px", "a", NULL, 0, "x", 1, STORE_ANY, 0, &g, NULL),
                         STORE_FAILED);
        assert_int_equal(store_list(s, "px", see, &none, NULL), STORE_FAILED);
        assert_int_equal(store_usage(s, "px", &g, &bytes, NULL), STORE_FAILED);
        assert_int_equal(store_trim(s, "px", 0, NULL), STORE_FAILED);
    }
    store_close(s);
    l.stop = true;
    pthread_join(t, NULL);
    close(l.listener);
}

/* A password, a memory limit, a restart. */
static void test_redis_server(void **state) {
    char sock[512], url[700];
    static uint8_t data[8 << 20];
    rwkv_error err = {0};
    store_item item;
    store *s = NULL;
    uint64_t g, n, bytes;
    store_result r = STORE_OK;
    (void)state;
    if (!redis_pid) skip();
    snprintf(sock, sizeof sock, "%s", temp_path("own.sock"));
    pid_t pid = start_redis(sock, "open:ses@me");
    snprintf(url, sizeof url, "unix:%s", sock);
    assert_int_equal(store_open(&s, url, &err), RWKV_E_IO);
    if (!strstr(err.message, "NOAUTH")) fail_msg("found %s", err.message);
    snprintf(url, sizeof url, "unix::wrong@%s", sock);
    assert_int_equal(store_open(&s, url, &err), RWKV_E_IO);
    if (strstr(err.message, ":wrong")) fail_msg("the password is in: %s", err.message);
    snprintf(url, sizeof url, "unix:default:open%%3ases%%40me@%s?db=3", sock);
    ok(store_open(&s, url, &e_));
    assert_null(strstr(store_url(s), "ses"));
    int i = 0;
    for (; i < 20 && !r; i++) {
        char name[8];
        snprintf(name, sizeof name, "o%d", i);
        r = store_put(s, "own", name, NULL, 0, data, sizeof data, 0, 0, &g, &err);
    }
    assert_int_equal(r, STORE_FULL);
    ok(store_usage(s, "own", &n, &bytes, &e_));
    assert_true(n == (uint64_t)i - 1 && bytes == n * sizeof data);
    ok(store_get(s, "own", "o0", true, &item, &e_));
    store_item_free(&item);
    ok(store_trim(s, "own", 2 * sizeof data, &e_));
    ok(store_put(s, "own", "o0", NULL, 0, "small", 5, STORE_ANY, 0, &g, &e_));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(store_get(s, "own", "o0", true, &item, &err), STORE_FAILED);
    if (!strstr(err.message, sock)) fail_msg("found %s", err.message);
    unlink(sock);
    pid = start_redis(sock, "open:ses@me");
    assert_int_equal(store_get(s, "own", "o0", true, &item, &err),
                     STORE_NONE); /* it kept nothing: save "" */
    ok(store_put(s, "own", "o0", NULL, 0, "small", 5, 0, 0, &g, &e_));
    store_close(s);
    stop(pid);
    static const char *const wrong[] = {
        "redis://",       "redis://h:99999", "redis://h/x",  "redis://pass@h",
        "redis://:%zz@h", "unix:",           "redis://[::1", "unix:/x?db=y"};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++)
        assert_int_equal(store_open(&s, wrong[k], &err), RWKV_E_ARG);
    assert_int_equal(store_open(&s, "rediss://h", &err), RWKV_E_UNSUPPORTED);
    assert_int_equal(store_open(&s, "redis://:secret@127.0.0.1:1", &err), RWKV_E_IO);
    if (!strstr(err.message, "redis://127.0.0.1:1") || strstr(err.message, "secret"))
        fail_msg("found %s", err.message);
    assert_int_equal(store_open(&s, "redis://[::1]:1/2", &err), RWKV_E_IO);
}

/* An item that somebody moved to another name is not taken for it. */
static void test_redis_moved(void **state) {
    char command[700];
    store_item item;
    rwkv_error err;
    uint64_t g;
    (void)state;
    if (!redis_pid || system("command -v redis-cli >/dev/null") != 0) skip();
    store *s = open_store(backend_url(REDIS, ""));
    ok(store_put(s, "mv", "a", NULL, 0, "aaa", 3, STORE_ANY, 0, &g, &e_));
    ok(store_put(s, "mv", "b", NULL, 0, "bbb", 3, STORE_ANY, 0, &g, &e_));
    snprintf(command, sizeof command,
             "redis-cli -s %s COPY 'rwkv:{mv}:i:a' 'rwkv:{mv}:i:b' REPLACE >/dev/null",
             redis_socket);
    assert_int_equal(system(command), 0);
    assert_int_equal(store_get(s, "mv", "b", true, &item, &err), STORE_FAILED);
    if (!strstr(err.message, "holds something else")) fail_msg("found %s", err.message);
    ok(store_get(s, "mv", "a", true, &item, &e_));
    store_item_free(&item);
    store_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_get),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_list_trim),   cmocka_unit_test(test_many),
        cmocka_unit_test(test_expiry),      cmocka_unit_test(test_large),
        cmocka_unit_test(test_race),        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_full),        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_damaged),     cmocka_unit_test(test_private),
        cmocka_unit_test(test_read_only),   cmocka_unit_test(test_locked),
        cmocka_unit_test(test_redis_cut),   cmocka_unit_test(test_redis_late),
        cmocka_unit_test(test_redis_lies),  cmocka_unit_test(test_redis_server),
        cmocka_unit_test(test_redis_moved),
    };
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
