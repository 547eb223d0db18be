/* bench_machine.c - the limits of this machine: bytes per second from memory, multiply-adds per
 * second in registers. Every thread runs the same loop; no kernel of the library is used.
 */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { MAX_THREADS = 256, PASSES = 8, CHAINS = 12, STEPS = 1 << 16 };

typedef struct part {
    void (*burst)(void);  /* CHAINS * STEPS instructions */
    const uint64_t *data; /* or: read this */
    size_t n;
    uint64_t sum;
} part;

static void *work(void *arg) {
    part *p = arg;
    for (int pass = 0; p->burst && pass < 64; pass++) p->burst();
    for (int pass = 0; p->data && pass < PASSES; pass++) {
        uint64_t s[16] = {0};
        for (size_t i = 0; i + 16 <= p->n; i += 16)
            for (size_t k = 0; k < 16; k++) s[k] ^= p->data[i + k];
        for (size_t k = 0; k < 16; k++) p->sum += s[k];
        __asm__ volatile("" : : "r"(p->sum) : "memory"); /* every pass reads again */
    }
    return NULL;
}

/* Seconds until all are done; the caller is the first of them. 0 if a thread cannot be started. */
static double run_parts(part *parts, uint32_t n) {
    pthread_t threads[MAX_THREADS];
    uint32_t started = 1;
    double begin = cli_seconds();
    while (started < n && !pthread_create(&threads[started], NULL, work, &parts[started]))
        started++;
    work(&parts[0]);
    for (uint32_t i = 1; i < started; i++) pthread_join(threads[i], NULL);
    return started == n ? cli_seconds() - begin : 0;
}

/* The buffer is made by the first call and stays. */
double bench_read_bandwidth(uint32_t n_threads) {
    static uint64_t *buffer;
    part parts[MAX_THREADS] = {0};
    size_t n = n_threads < MAX_THREADS ? n_threads : MAX_THREADS;
    size_t words = BENCH_BUFFER / sizeof *buffer / n;
    if (!buffer) {
        if (!(buffer = aligned_alloc((size_t)2 << 20, BENCH_BUFFER))) return 0;
#ifdef MADV_HUGEPAGE
        madvise(buffer, BENCH_BUFFER, MADV_HUGEPAGE);
#endif
        memset(buffer, 1, BENCH_BUFFER);
    }
    for (size_t i = 0; i < n; i++) parts[i] = (part){.data = buffer + i * words, .n = words};
    double seconds = run_parts(parts, (uint32_t)n);
    return seconds > 0 ? 1e-9 * PASSES * BENCH_BUFFER / seconds : 0;
}

/* ------------------------------------------------------------------ arithmetic */

/* Independent chains of one instruction; the compiler sees neither inputs nor use. */
#define BURST(name, target, type, zero, any, step)                                                 \
    target static void name(void) {                                                                \
        type x = zero, s[CHAINS];                                                                  \
        __asm__ volatile("" : "+" any(x));                                                         \
        for (int i = 0; i < CHAINS; i++) s[i] = x;                                                 \
        for (int k = 0; k < STEPS; k++)                                                            \
            for (int i = 0; i < CHAINS; i++) s[i] = step;                                          \
        for (int i = 0; i < CHAINS; i++) __asm__ volatile("" : : any(s[i]));                       \
    }
#define FOR(features) __attribute__((target(features)))

#if defined(__x86_64__)
BURST(f32_256, FOR("avx2,fma"), __m256, _mm256_setzero_ps(), "x", _mm256_fmadd_ps(x, x, s[i]))
BURST(f32_512, FOR("avx512f"), __m512, _mm512_setzero_ps(), "v", _mm512_fmadd_ps(x, x, s[i]))
BURST(bf16_512, FOR("avx512f,avx512bf16"), __m512, _mm512_setzero_ps(), "v",
      _mm512_dpbf16_ps(s[i], (__m512bh)x, (__m512bh)x))
BURST(int8_256, FOR("avx2"), __m256i, _mm256_setzero_si256(), "x",
      _mm256_add_epi32(s[i], _mm256_madd_epi16(_mm256_maddubs_epi16(x, s[i]), x)))
BURST(int8_512, FOR("avx512f,avx512vnni"), __m512i, _mm512_setzero_si512(), "v",
      _mm512_dpbusd_epi32(s[i], x, x))
#elif defined(__aarch64__)
BURST(f32_128, , float32x4_t, vdupq_n_f32(0), "w", vfmaq_f32(s[i], x, x))
#ifdef __ARM_FEATURE_DOTPROD
BURST(int8_128, , int32x4_t, vdupq_n_s32(0), "w",
      vdotq_s32(s[i], vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(x)))
#endif
#endif

/* Best of three, in 1e9 operations per second. */
static double peak(void (*burst)(void), double operations, uint32_t n_threads) {
    part parts[MAX_THREADS] = {0};
    uint32_t n = n_threads < MAX_THREADS ? n_threads : MAX_THREADS;
    double best = 0;
    for (uint32_t i = 0; i < n; i++) parts[i].burst = burst;
    for (int again = 0; again < 3; again++) {
        double seconds = run_parts(parts, n);
        double rate = seconds > 0 ? 64e-9 * CHAINS * STEPS * operations * n / seconds : 0;
        if (rate > best) best = rate;
    }
    return best;
}

void bench_peaks(uint32_t n, limits *out) {
    (void)n, (void)peak;
#if defined(__x86_64__)
    bool wide = __builtin_cpu_supports("avx512f"), fma = __builtin_cpu_supports("fma");
    if (wide)
        out->f32_gflops = peak(f32_512, 32, n);
    else if (fma)
        out->f32_gflops = peak(f32_256, 16, n);
    if (__builtin_cpu_supports("avx512bf16")) out->bf16_gflops = peak(bf16_512, 64, n);
    if (__builtin_cpu_supports("avx512vnni"))
        out->int8_gops = peak(int8_512, 128, n);
    else if (__builtin_cpu_supports("avx2"))
        out->int8_gops = peak(int8_256, 64, n);
#elif defined(__aarch64__)
    out->f32_gflops = peak(f32_128, 8, n);
#ifdef __ARM_FEATURE_DOTPROD
    out->int8_gops = peak(int8_128, 32, n);
#endif
#endif
}
