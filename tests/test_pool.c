/* The thread pool: every item once, in the shares that cpu.h promises, for any number of threads,
 * run after run, awake or asleep. */
#include "cpu/cpu.h"
#include "support.h"
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { MAX_ITEMS = 1000, MAX_THREADS = 63, OF_EACH = 8, MAX_PIECES = OF_EACH * MAX_THREADS };

typedef struct record {
    unsigned char hits[MAX_ITEMS];
    size_t begin[MAX_PIECES], end[MAX_PIECES];
    atomic_uint calls;               /* pieces so far */
    atomic_uint_fast64_t threads;    /* one bit per thread that took one */
} record;

static void note(void *ctx, size_t begin, size_t end, uint32_t thread) {
    record *r = ctx;
    unsigned i = atomic_fetch_add(&r->calls, 1);
    atomic_fetch_or(&r->threads, (uint_fast64_t)1 << thread);
    r->begin[i] = begin;
    r->end[i] = end;
    for (size_t k = begin; k < end; k++) r->hits[k]++;
}

static rw_pool *pool_of(uint32_t n) {
    rw_pool *p;
    assert_int_equal(rw_pool_new(&p, n, NULL), RWKV_OK);
    assert_int_equal(rw_pool_threads(p), n);
    return p;
}

static void check_run(rw_pool *p, size_t n_items, size_t grain) {
    record r;
    memset(&r, 0, sizeof r);
    rw_pool_run(p, n_items, grain, note, &r);
    for (size_t i = 0; i < MAX_ITEMS; i++) assert_int_equal(r.hits[i], i < n_items);
    assert_true(atomic_load(&r.calls) <= OF_EACH * rw_pool_threads(p));
    assert_true(atomic_load(&r.threads) >> rw_pool_threads(p) == 0);
    size_t step = grain ? grain : 1;
    for (unsigned i = 0; i < atomic_load(&r.calls); i++) {
        assert_true(r.begin[i] < r.end[i]);
        assert_int_equal(r.begin[i] % step, 0);
        assert_true(r.end[i] == n_items || r.end[i] % step == 0);
    }
}

static void test_shares(void **state) {
    (void)state;
    static const uint32_t threads[] = {1, 2, 3, 4, 7, 16};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        rw_pool *p = pool_of(threads[i]);
        for (size_t n = 0; n <= 70; n++) {
            for (size_t grain = 0; grain <= 9; grain++) check_run(p, n, grain);
        }
        check_run(p, MAX_ITEMS, 64);
        check_run(p, MAX_ITEMS, MAX_ITEMS);
        check_run(p, MAX_ITEMS, SIZE_MAX);
        rw_pool_free(p);
    }
}

/* No piece is more than one grain larger than another. */
static void test_balance(void **state) {
    (void)state;
    rw_pool *p = pool_of(4);
    record r;
    memset(&r, 0, sizeof r);
    rw_pool_run(p, 997, 8, note, &r);
    assert_int_equal(atomic_load(&r.calls), 4 * OF_EACH);
    for (int i = 0; i < 4 * OF_EACH; i++) {
        size_t piece = r.end[i] - r.begin[i];
        assert_true(piece >= 21 && piece <= 32);
    }
    rw_pool_free(p);
}

static void add(void *ctx, size_t begin, size_t end, uint32_t thread) {
    uint64_t *sums = ctx;
    for (size_t i = begin; i < end; i++) sums[8 * thread] += i + 1;
}

static void check_sums(rw_pool *p, size_t runs) {
    uint64_t sums[8 * MAX_THREADS] = {0}, total = 0;
    for (size_t i = 0; i < runs; i++) rw_pool_run(p, 100, 1, add, sums);
    for (uint32_t t = 0; t < rw_pool_threads(p); t++) total += sums[8 * t];
    assert_int_equal(total, runs * 5050);
}

static void test_many_runs(void **state) {
    (void)state;
    static const uint32_t threads[] = {1, 2, 3, 8};
    for (size_t i = 0; i < 4; i++) {
        rw_pool *p = pool_of(threads[i]);
        check_sums(p, 3000);
        rw_pool_free(p);
    }
}

static void pause_ns(long ns) {
    struct timespec t = {0, ns};
    nanosleep(&t, NULL);
}

static void slow(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)begin, (void)end;
    if (thread == *(uint32_t *)ctx) pause_ns(2000000);
}

/* Pauses let the workers fall asleep; one slow thread puts the caller to sleep. */
static void test_sleep_and_wake(void **state) {
    (void)state;
    rw_pool *p = pool_of(3);
    for (uint32_t i = 0; i < 60; i++) {
        pause_ns(i % 2 ? 1500000 : 20000 * (long)i);
        check_sums(p, 3);
        uint32_t who = i % 3;
        rw_pool_run(p, 3, 1, slow, &who);
    }
    rw_pool_free(p);
}

static void test_more_threads_than_cores(void **state) {
    (void)state;
    rw_pool *p = pool_of(MAX_THREADS);
    check_run(p, MAX_ITEMS, 1);
    check_run(p, 10, 1);
    check_sums(p, 50);
    rw_pool_free(p);
}

static void test_start_and_stop(void **state) {
    (void)state;
    for (int i = 0; i < 200; i++) {
        rw_pool *p = pool_of(1 + (uint32_t)i % 5);
        if (i % 2) check_run(p, 17, 2);
        rw_pool_free(p);
    }
    rw_pool_free(NULL);
    rw_pool *p;
    rwkv_error err;
    assert_int_equal(rw_pool_new(&p, 0, &err), RWKV_E_ARG);
    assert_null(p);
}

static void *use_pool(void *arg) {
    (void)arg;
    rw_pool *p = pool_of(2);
    check_sums(p, 500);
    rw_pool_free(p);
    return NULL;
}

static void test_pools_side_by_side(void **state) {
    (void)state;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_pool, NULL), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
}

/* Slow enough that every thread gets a piece. */
static void whose(void *ctx, size_t begin, size_t end, uint32_t thread) {
    (void)begin, (void)end;
    pause_ns(20000000);
    ((pthread_t *)ctx)[thread] = pthread_self();
}

static void test_thread_zero_is_the_caller(void **state) {
    (void)state;
    pthread_t ids[2];
    rw_pool *p = pool_of(1);
    rw_pool_run(p, 2, 1, whose, ids);
    assert_true(pthread_equal(ids[0], pthread_self()));
    rw_pool_free(p);
    p = pool_of(2);
    rw_pool_run(p, 8, 1, whose, ids);
    assert_true(pthread_equal(ids[0], pthread_self()));
    assert_false(pthread_equal(ids[1], pthread_self()));
    rw_pool_free(p);
}

static void test_cpu(void **state) {
    (void)state;
    rw_cpu a = rw_cpu_detect(), b = rw_cpu_detect();
    assert_memory_equal(&a, &b, sizeof a);
#if defined(__x86_64__)
    assert_int_equal(a.avx2, __builtin_cpu_supports("avx2") != 0);
    assert_int_equal(a.fma, __builtin_cpu_supports("fma") != 0);
    assert_int_equal(a.avx512f, __builtin_cpu_supports("avx512f") != 0);
    assert_int_equal(a.avx512bw, __builtin_cpu_supports("avx512bw") != 0);
    assert_int_equal(a.avx512vl, __builtin_cpu_supports("avx512vl") != 0);
    assert_int_equal(a.avx512_vnni, __builtin_cpu_supports("avx512vnni") != 0);
    assert_false(a.neon || a.dotprod);
#elif defined(__aarch64__)
    assert_true(a.neon);
    assert_false(a.avx2 || a.avx512f);
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_balance),
        cmocka_unit_test(test_many_runs),
        cmocka_unit_test(test_sleep_and_wake),
        cmocka_unit_test(test_more_threads_than_cores),
        cmocka_unit_test(test_start_and_stop),
        cmocka_unit_test(test_pools_side_by_side),
        cmocka_unit_test(test_thread_zero_is_the_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
