/* avx2.c - the kernels for x86-64 with AVX2, FMA and F16C (its own compiler flags; called only
 * after kernels.c has asked processor and system). Formulas stand in scalar.c and quant/; same
 * order here.
 *
 * Sums: eight partial sums, element k into lane k mod 8 by fused multiply-add, a masked last step
 * for the rest, then the tree of sum8(). A product has its own accumulator in every tile shape, so
 * its bits depend on k alone. Nothing is read beyond the last element: tails are masked.
 *
 * exp: within 1 unit in the last place of the exact value; sigmoid, silu, tanh: within 3. */
#include "../quant/blocks.h"
#include "kernels.h"
#include <immintrin.h>
#include <math.h>
#include <string.h>

typedef __m256 f8;

static inline f8 set1(float v) {
    return _mm256_set1_ps(v);
}

static inline f8 load(const float *p) {
    return _mm256_loadu_ps(p);
}

static inline void store(float *p, f8 v) {
    _mm256_storeu_ps(p, v);
}

/* The first n < 8 lanes. */
static inline __m256i mask_of(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* ((0+1)+(2+3)) + ((4+5)+(6+7)) */
static inline float sum8(f8 v) {
    __m128 lo = _mm256_castps256_ps128(v), hi = _mm256_extractf128_ps(v, 1);
    __m128 pairs = _mm_hadd_ps(lo, hi);
    __m128 quads = _mm_hadd_ps(pairs, pairs);
    return _mm_cvtss_f32(_mm_add_ss(quads, _mm_movehdup_ps(quads)));
}

/* ---- decoding: the same operations as the scalar functions, hence the same bits */

static void decode_f16(const void *in, float *out, size_t n) {
    const uint8_t *p = in;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        store(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 2 * i))));
    }
    rw_decode_f16(p + 2 * i, out + i, n - i);
}

static void decode_bf16(const void *in, float *out, size_t n) {
    const uint8_t *p = in;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 2 * i)));
        store(out + i, _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)));
    }
    rw_decode_bf16(p + 2 * i, out + i, n - i);
}

static inline float half_at(const uint8_t p[2]) {
    return _cvtsh_ss(rw_u16_at(p));
}

/* Two groups of sixteen signed bytes to float. */
static inline void widen16(__m128i q, f8 *a, f8 *b) {
    *a = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
    *b = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(q, 8)));
}

static inline __m128i load16(const void *p) {
    return _mm_loadu_si128(p);
}

static inline __m128i low_nibbles(__m128i v) {
    return _mm_and_si128(v, _mm_set1_epi8(15));
}

static inline __m128i high_nibbles(__m128i v) {
    return low_nibbles(_mm_srli_epi16(v, 4));
}

/* out = d * q, and d * q + m */
static inline void put16(float *out, __m128i q, f8 d) {
    f8 a, b;
    widen16(q, &a, &b);
    store(out, _mm256_mul_ps(d, a));
    store(out + 8, _mm256_mul_ps(d, b));
}

static inline void put16_plus(float *out, __m128i q, f8 d, f8 m) {
    f8 a, b;
    widen16(q, &a, &b);
    store(out, _mm256_add_ps(_mm256_mul_ps(d, a), m));
    store(out + 8, _mm256_add_ps(_mm256_mul_ps(d, b), m));
}

/* Bits 0..15 of `bits` as bytes 16 or 0: the fifth bits of sixteen elements. */
static inline __m128i fifth_bits(uint32_t bits) {
    const __m128i spread = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m128i each = _mm_set1_epi64x((long long)0x8040201008040201);
    __m128i v = _mm_and_si128(_mm_shuffle_epi8(_mm_cvtsi32_si128((int)bits), spread), each);
    return _mm_and_si128(_mm_cmpeq_epi8(v, each), _mm_set1_epi8(16));
}

static void decode_q4_0(const void *in, float *out, size_t n) {
    const rw_q4_0 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        const __m128i zero = _mm_set1_epi8(8);
        __m128i qs = load16(b->qs);
        f8 d = set1(half_at(b->d));
        put16(out, _mm_sub_epi8(low_nibbles(qs), zero), d);
        put16(out + 16, _mm_sub_epi8(high_nibbles(qs), zero), d);
    }
}

static void decode_q4_1(const void *in, float *out, size_t n) {
    const rw_q4_1 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        __m128i qs = load16(b->qs);
        f8 d = set1(half_at(b->d)), m = set1(half_at(b->m));
        put16_plus(out, low_nibbles(qs), d, m);
        put16_plus(out + 16, high_nibbles(qs), d, m);
    }
}

static void decode_q5_0(const void *in, float *out, size_t n) {
    const rw_q5_0 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        const __m128i zero = _mm_set1_epi8(16);
        __m128i qs = load16(b->qs);
        uint32_t qh = rw_u32_at(b->qh);
        f8 d = set1(half_at(b->d));
        put16(out, _mm_sub_epi8(_mm_or_si128(low_nibbles(qs), fifth_bits(qh)), zero), d);
        put16(out + 16, _mm_sub_epi8(_mm_or_si128(high_nibbles(qs), fifth_bits(qh >> 16)), zero),
              d);
    }
}

static void decode_q5_1(const void *in, float *out, size_t n) {
    const rw_q5_1 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        __m128i qs = load16(b->qs);
        uint32_t qh = rw_u32_at(b->qh);
        f8 d = set1(half_at(b->d)), m = set1(half_at(b->m));
        put16_plus(out, _mm_or_si128(low_nibbles(qs), fifth_bits(qh)), d, m);
        put16_plus(out + 16, _mm_or_si128(high_nibbles(qs), fifth_bits(qh >> 16)), d, m);
    }
}

static void decode_q8_0(const void *in, float *out, size_t n) {
    const rw_q8_0 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        f8 d = set1(half_at(b->d));
        put16(out, load16(b->qs), d);
        put16(out + 16, load16(b->qs + 16), d);
    }
}

static inline __m128i iq4_values(__m128i nibbles) {
    return _mm_shuffle_epi8(load16(rw_iq4_values), nibbles);
}

static void decode_iq4_nl(const void *in, float *out, size_t n) {
    const rw_iq4_nl *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        __m128i qs = load16(b->qs);
        f8 d = set1(half_at(b->d));
        put16(out, iq4_values(low_nibbles(qs)), d);
        put16(out + 16, iq4_values(high_nibbles(qs)), d);
    }
}

static void decode_iq4_xs(const void *in, float *out, size_t n) {
    const rw_iq4_xs *b = in;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_at(b->d);
        int high = rw_u16_at(b->scales_h);
        for (int s = 0; s < 8; s++, out += 32) {
            int sc = (b->scales_l[s / 2] >> 4 * (s % 2) & 15) | (high >> 2 * s & 3) << 4;
            __m128i qs = load16(b->qs + 16 * s);
            f8 scale = set1(d * (float)(sc - 32));
            put16(out, iq4_values(low_nibbles(qs)), scale);
            put16(out + 16, iq4_values(high_nibbles(qs)), scale);
        }
    }
}

/* Bits 2p, 2p+1 of every byte. */
static inline __m128i two_bits(__m128i v, int p) {
    return _mm_and_si128(_mm_srli_epi16(v, 2 * p), _mm_set1_epi8(3));
}

static void decode_q2_k(const void *in, float *out, size_t n) {
    const rw_q2_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_at(b->d), dmin = half_at(b->dmin);
        for (int s = 0; s < 16; s++, out += 16) {
            __m128i q = two_bits(load16(b->qs + 32 * (s / 8) + 16 * (s % 2)), s / 2 % 4);
            float min = dmin * (float)(b->scales[s] >> 4);
            put16_plus(out, q, set1(d * (float)(b->scales[s] & 15)), set1(-min));
        }
    }
}

static void decode_q3_k(const void *in, float *out, size_t n) {
    const rw_q3_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_at(b->d);
        for (int s = 0; s < 16; s++, out += 16) {
            int low = s < 8 ? b->scales[s] & 15 : b->scales[s - 8] >> 4;
            int high = b->scales[8 + s % 4] >> 2 * (s / 4) & 3;
            __m128i q = two_bits(load16(b->qs + 32 * (s / 8) + 16 * (s % 2)), s / 2 % 4);
            __m128i h = _mm_srl_epi16(load16(b->hmask + 16 * (s % 2)), _mm_cvtsi32_si128(s / 2));
            __m128i third = _mm_andnot_si128(h, _mm_set1_epi8(1)); /* 1 where the bit is clear */
            q = _mm_sub_epi8(q, _mm_slli_epi16(third, 2));
            put16(out, q, set1(d * (float)((low | high << 4) - 32)));
        }
    }
}

/* scale * q - min for 32 elements of Q4_K and Q5_K. */
static inline void put32_minus(float *out, __m128i q0, __m128i q1, float scale, float min) {
    f8 d = set1(scale), m = set1(-min);
    put16_plus(out, q0, d, m);
    put16_plus(out + 16, q1, d, m);
}

static void decode_q4_k(const void *in, float *out, size_t n) {
    const rw_q4_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_at(b->d), dmin = half_at(b->dmin);
        for (int c = 0; c < 4; c++, out += 64) {
            __m128i q0 = load16(b->qs + 32 * c), q1 = load16(b->qs + 32 * c + 16);
            uint8_t s0, m0, s1, m1;
            rw_k_scale_min(b->scales, 2 * c, &s0, &m0);
            rw_k_scale_min(b->scales, 2 * c + 1, &s1, &m1);
            put32_minus(out, low_nibbles(q0), low_nibbles(q1), d * (float)s0, dmin * (float)m0);
            put32_minus(out + 32, high_nibbles(q0), high_nibbles(q1), d * (float)s1,
                        dmin * (float)m1);
        }
    }
}

/* Bit s of every byte, as 16 or 0. */
static inline __m128i bit_as_16(__m128i v, int s) {
    __m128i bit = _mm_set1_epi8((char)(1 << s));
    return _mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(v, bit), bit), _mm_set1_epi8(16));
}

static void decode_q5_k(const void *in, float *out, size_t n) {
    const rw_q5_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_at(b->d), dmin = half_at(b->dmin);
        __m128i h0 = load16(b->qh), h1 = load16(b->qh + 16);
        for (int s = 0; s < 8; s++, out += 32) {
            __m128i q0 = load16(b->qs + 32 * (s / 2)), q1 = load16(b->qs + 32 * (s / 2) + 16);
            uint8_t sc, mn;
            rw_k_scale_min(b->scales, s, &sc, &mn);
            q0 = s % 2 ? high_nibbles(q0) : low_nibbles(q0);
            q1 = s % 2 ? high_nibbles(q1) : low_nibbles(q1);
            put32_minus(out, _mm_or_si128(q0, bit_as_16(h0, s)), _mm_or_si128(q1, bit_as_16(h1, s)),
                        d * (float)sc, dmin * (float)mn);
        }
    }
}

/* Bits 2p, 2p+1 of every byte, moved to bits 4 and 5. */
static inline __m128i two_bits_at_4(__m128i v, int p) {
    __m128i moved = p < 2 ? _mm_slli_epi16(v, 4 - 2 * p) : _mm_srli_epi16(v, 2 * p - 4);
    return _mm_and_si128(moved, _mm_set1_epi8(0x30));
}

static void decode_q6_k(const void *in, float *out, size_t n) {
    const rw_q6_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++) {
        const __m128i zero = _mm_set1_epi8(32);
        float d = half_at(b->d);
        for (int s = 0; s < 16; s++, out += 16) {
            int half = s / 8, plane = s / 2 % 4, at = 16 * (s % 2);
            __m128i ql = load16(b->ql + 64 * half + 32 * (plane % 2) + at);
            __m128i qh = load16(b->qh + 32 * half + at);
            ql = plane < 2 ? low_nibbles(ql) : high_nibbles(ql);
            __m128i q = _mm_sub_epi8(_mm_or_si128(ql, two_bits_at_4(qh, plane)), zero);
            put16(out, q, set1(d * (float)b->scales[s]));
        }
    }
}

/* ---- matrix products. A tile is NR rows by NT tokens; both are constants where it is called, so
 * the accumulators become registers. */

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Elements [k, k + 8) of a row of floats, halves or bfloats. */
INLINE f8 weights(const rw_type W, const uint8_t *row, size_t k) {
    if (W == RW_F32) return load((const float *)(const void *)row + k);
    __m128i v = load16(row + 2 * k);
    if (W == RW_F16) return _mm256_cvtph_ps(v);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}

/* Elements [k, k + n), n < 8; the rest is zero. */
INLINE f8 last_weights(const rw_type W, const uint8_t *row, size_t k, size_t n) {
    if (W == RW_F32) return _mm256_maskload_ps((const float *)(const void *)row + k, mask_of(n));
    uint16_t rest[8] = {0};
    memcpy(rest, row + 2 * k, 2 * n);
    return weights(W, (const uint8_t *)rest, 0);
}

INLINE void tile(const rw_type W, const int NR, const int NT, const uint8_t *w, size_t row_bytes,
                 const float *x, size_t x_stride, size_t n, float scale, float *y,
                 size_t y_stride) {
    f8 acc[8][3] = {0};
    size_t k = 0;
    for (; k + 8 <= n; k += 8) {
        UNROLL for (int r = 0; r < NR; r++) {
            f8 ws = weights(W, w + (size_t)r * row_bytes, k);
            UNROLL for (int t = 0; t < NT; t++) {
                acc[r][t] = _mm256_fmadd_ps(ws, load(x + (size_t)t * x_stride + k), acc[r][t]);
            }
        }
    }
    if (k < n) {
        __m256i mask = mask_of(n - k);
        UNROLL for (int r = 0; r < NR; r++) {
            f8 ws = last_weights(W, w + (size_t)r * row_bytes, k, n - k);
            UNROLL for (int t = 0; t < NT; t++) {
                f8 xs = _mm256_maskload_ps(x + (size_t)t * x_stride + k, mask);
                acc[r][t] = _mm256_fmadd_ps(ws, xs, acc[r][t]);
            }
        }
    }
    UNROLL for (int r = 0; r < NR; r++) {
        UNROLL for (int t = 0; t < NT; t++) {
            y[(size_t)t * y_stride + (size_t)r] = scale * sum8(acc[r][t]);
        }
    }
}

/* All rows for NT tokens; NR rows at a time. */
INLINE void strip(const rw_type W, const int NR, const int NT, const uint8_t *w, size_t row_bytes,
                  size_t n_rows, const float *x, size_t x_stride, size_t n, float scale, float *y,
                  size_t y_stride) {
    size_t r = 0;
    for (; r + (size_t)NR <= n_rows; r += (size_t)NR) {
        tile(W, NR, NT, w + r * row_bytes, row_bytes, x, x_stride, n, scale, y + r, y_stride);
    }
    for (; r < n_rows; r++) {
        tile(W, 1, NT, w + r * row_bytes, row_bytes, x, x_stride, n, scale, y + r, y_stride);
    }
}

INLINE void matmul(const rw_type W, const void *w, size_t row_bytes, size_t n_rows, const float *x,
                   size_t x_stride, size_t n_tokens, size_t n, float scale, float *y,
                   size_t y_stride) {
    for (; n_tokens >= 3; n_tokens -= 3, x += 3 * x_stride, y += 3 * y_stride) {
        strip(W, 4, 3, w, row_bytes, n_rows, x, x_stride, n, scale, y, y_stride);
    }
    if (n_tokens == 2) strip(W, 4, 2, w, row_bytes, n_rows, x, x_stride, n, scale, y, y_stride);
    if (n_tokens == 1) strip(W, 8, 1, w, row_bytes, n_rows, x, x_stride, n, scale, y, y_stride);
}

static void matmul_f32(const float *w, size_t w_stride, size_t n_rows, const float *x,
                       size_t x_stride, size_t n_tokens, size_t n, float scale, float *y,
                       size_t y_stride) {
    matmul(RW_F32, w, w_stride * sizeof *w, n_rows, x, x_stride, n_tokens, n, scale, y, y_stride);
}

static void matmul_f16(const void *w, size_t w_stride, size_t n_rows, const float *x,
                       size_t x_stride, size_t n_tokens, size_t n, float scale, float *y,
                       size_t y_stride) {
    matmul(RW_F16, w, w_stride * 2, n_rows, x, x_stride, n_tokens, n, scale, y, y_stride);
}

static void matmul_bf16(const void *w, size_t w_stride, size_t n_rows, const float *x,
                        size_t x_stride, size_t n_tokens, size_t n, float scale, float *y,
                        size_t y_stride) {
    matmul(RW_BF16, w, w_stride * 2, n_rows, x, x_stride, n_tokens, n, scale, y, y_stride);
}

/* Bit j: byte j of 32 is not zero. */
INLINE uint32_t nonzero_bytes(const int8_t *q) {
    __m256i v = _mm256_loadu_si256((const __m256i *)q);
    return ~(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_setzero_si256()));
}

INLINE void fetch(const uint8_t *p) {
    _mm_prefetch((const char *)p, _MM_HINT_T0);
}

#ifndef RW_AVX512
/* ---- products with packed matrices: sixteen lanes are two registers */

typedef struct vi {
    __m256i lo, hi;
} vi;
typedef struct vf {
    __m256 lo, hi;
} vf;

INLINE vi line(const uint8_t *p) {
    return (vi){_mm256_loadu_si256((const __m256i *)p),
                _mm256_loadu_si256((const __m256i *)(p + 32))};
}

INLINE vi and_bytes(vi v, const int mask) {
    __m256i m = _mm256_set1_epi8((char)mask);
    return (vi){_mm256_and_si256(v.lo, m), _mm256_and_si256(v.hi, m)};
}

/* Bits that cross into the neighbouring byte are masked off by the caller. */
INLINE vi shift_left(vi v, const int n) {
    return (vi){_mm256_slli_epi16(v.lo, n), _mm256_slli_epi16(v.hi, n)};
}

INLINE vi shift_right(vi v, const int n) {
    return (vi){_mm256_srli_epi16(v.lo, n), _mm256_srli_epi16(v.hi, n)};
}

INLINE vi or_masked(vi v, vi bits, const int mask) {
    bits = and_bytes(bits, mask);
    return (vi){_mm256_or_si256(v.lo, bits.lo), _mm256_or_si256(v.hi, bits.hi)};
}

/* v with bits `value` set in bytes where `bits` has `bit`; v lacks them. */
INLINE __m256i or_where_half(__m256i v, __m256i bits, const int bit, const int value) {
    const __m256i mask = _mm256_set1_epi8((char)bit);
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bits, mask), mask);
    return _mm256_or_si256(v, _mm256_and_si256(set, _mm256_set1_epi8((char)value)));
}

INLINE vi or_where(vi v, vi bits, const int bit, const int value) {
    return (vi){or_where_half(v.lo, bits.lo, bit, value), or_where_half(v.hi, bits.hi, bit, value)};
}

/* Lane of 16 by lane of 16: the bytes (pairs) of the lower or upper half of a and b in turn. */
INLINE vi mix_bytes(vi a, vi b, const int upper) {
    if (upper) return (vi){_mm256_unpackhi_epi8(a.lo, b.lo), _mm256_unpackhi_epi8(a.hi, b.hi)};
    return (vi){_mm256_unpacklo_epi8(a.lo, b.lo), _mm256_unpacklo_epi8(a.hi, b.hi)};
}

INLINE vi mix_pairs(vi a, vi b, const int upper) {
    if (upper) return (vi){_mm256_unpackhi_epi16(a.lo, b.lo), _mm256_unpackhi_epi16(a.hi, b.hi)};
    return (vi){_mm256_unpacklo_epi16(a.lo, b.lo), _mm256_unpacklo_epi16(a.hi, b.hi)};
}

INLINE void put_line(uint8_t *p, vi v) {
    _mm256_storeu_si256((__m256i *)p, v.lo);
    _mm256_storeu_si256((__m256i *)(p + 32), v.hi);
}

INLINE vi zeros(void) {
    return (vi){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

INLINE vi all_words(int32_t v) {
    return (vi){_mm256_set1_epi32(v), _mm256_set1_epi32(v)};
}

INLINE vi shift_words(vi v, const int n) {
    return (vi){_mm256_slli_epi32(v.lo, n), _mm256_slli_epi32(v.hi, n)};
}

/* Sums of two products fit in 16 bits when q has at most six (63 * 127 * 2); with eight bits each
 * product (255 * 127) is widened on its own. */
INLINE __m256i dot4_half(const rw_pack P, __m256i acc, __m256i w, __m256i x) {
    const __m256i ones = _mm256_set1_epi16(1), even = _mm256_set1_epi16(0x00ff);
    if (P != RW_PACK_8)
        return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), ones));
    __m256i a = _mm256_maddubs_epi16(_mm256_and_si256(w, even), x);
    __m256i b = _mm256_maddubs_epi16(_mm256_andnot_si256(even, w), x);
    return _mm256_add_epi32(
        acc, _mm256_add_epi32(_mm256_madd_epi16(a, ones), _mm256_madd_epi16(b, ones)));
}

INLINE vi dot4(const rw_pack P, vi acc, vi w, const int8_t *quad) {
    int32_t word;
    memcpy(&word, quad, sizeof word);
    __m256i x = _mm256_set1_epi32(word);
    return (vi){dot4_half(P, acc.lo, w.lo, x), dot4_half(P, acc.hi, w.hi, x)};
}

INLINE vf to_float(vi v) {
    return (vf){_mm256_cvtepi32_ps(v.lo), _mm256_cvtepi32_ps(v.hi)};
}

INLINE vf halves(const uint8_t *p) {
    return (vf){_mm256_cvtph_ps(load16(p)), _mm256_cvtph_ps(load16(p + 16))};
}

INLINE vf floats(const uint8_t *p) {
    return (vf){load((const float *)(const void *)p), load((const float *)(const void *)(p + 32))};
}

INLINE vf all_floats(float v) {
    return (vf){set1(v), set1(v)};
}

INLINE vf product(vf a, vf b) {
    return (vf){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}

INLINE vf times(vf a, float b) {
    return product(a, all_floats(b));
}

INLINE vf fma16(vf a, vf b, vf c) {
    return (vf){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

INLINE void put_rows(float *y, vf v, size_t n) {
    if (n >= 16) {
        store(y, v.lo);
        store(y + 8, v.hi);
        return;
    }
    _mm256_maskstore_ps(y, mask_of(n), v.lo);
    if (n > 8) _mm256_maskstore_ps(y + 8, mask_of(n - 8), v.hi);
}

#include "packed_x86.h"

/* Three tokens are twelve accumulators of the sixteen registers. */
INLINE void packed_tokens(const rw_pack P, const uint8_t *strips, size_t cols, size_t n_rows,
                          const rw_act *x, size_t n_tokens, float scale, float *y,
                          size_t y_stride) {
    size_t t = 0;
    for (; t + 3 <= n_tokens; t += 3)
        packed_rows(P, 3, strips, cols, n_rows, x + t, n_tokens, scale, y + t * y_stride, y_stride);
    for (; t < n_tokens; t++)
        packed_rows(P, 1, strips, cols, n_rows, x + t, n_tokens, scale, y + t * y_stride, y_stride);
}

INLINE void wide_tokens(const rw_pack P, const uint8_t *tiles, size_t n_tiles, const rw_act *x,
                        size_t n_tokens, float *sums) {
    size_t t = 0;
    for (; t + 3 <= n_tokens; t += 3)
        wide_tiles(P, 3, tiles, n_tiles, x + t, n_tokens, sums + 16 * t);
    for (; t < n_tokens; t++) wide_tiles(P, 1, tiles, n_tiles, x + t, n_tokens, sums + 16 * t);
}

PACKED_ALL
#endif

static inline __m256i rounded(const float *x, f8 inverse) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(load(x), inverse));
}

/* Magnitudes are compared as integers: their order is the same, and NaN and infinity come last. */
static inline void quantize_group(const float *x, rw_act *out, int g) {
    const __m256i magnitude_bits = _mm256_set1_epi32(0x7fffffff);
    __m256i max = _mm256_setzero_si256(), q[4];
    for (int i = 0; i < 32; i += 8) {
        __m256i bits = _mm256_castps_si256(load(x + i));
        max = _mm256_max_epi32(max, _mm256_and_si256(bits, magnitude_bits));
    }
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(max), _mm256_extracti128_si256(max, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    bool finite = _mm_cvtsi128_si32(m) < 0x7f800000;
    float top = _mm_cvtss_f32(_mm_castsi128_ps(m));
    bool zero = !finite || top < 1e-30f;
    f8 inverse = set1(zero ? 0.0f : 127.0f / top);
    __m256i keep = _mm256_set1_epi32(finite ? -1 : 0);
    for (int i = 0; i < 4; i++) q[i] = rounded(x + 8 * i, inverse);
    __m256i pairs =
        _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    __m256i bytes = _mm256_permutevar8x32_epi32(pairs, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    bytes = _mm256_and_si256(bytes, keep);
    _mm256_storeu_si256((__m256i *)(out->q + 32 * g), bytes);

    __m256i sums = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
    sums = _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
    sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0x4e));
    sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0xb1));
    int32_t sum0 = _mm256_cvtsi256_si32(sums), sum1 = _mm256_extract_epi32(sums, 4);
    out->d[g] = !finite ? NAN : zero ? 0.0f : top / 127.0f;
    out->dsum[g] = out->d[g] * (float)(sum0 + sum1);
    out->minus_sum[g] = -(sum0 + sum1);
    out->minus_sum16[2 * g] = -sum0;
    out->minus_sum16[2 * g + 1] = -sum1;
}

static void quantize(const float *x, size_t n, rw_act *out, size_t stride) {
    for (; n >= RW_TILE_COLS; n -= RW_TILE_COLS, x += RW_TILE_COLS, out += stride) {
        quantize_group(x, out, 0);
        quantize_group(x + 32, out, 1);
    }
    if (n > 0) {
        float rest[RW_TILE_COLS] = {0};
        memcpy(rest, x, n * sizeof *x);
        quantize_group(rest, out, 0);
        quantize_group(rest + 32, out, 1);
    }
}

/* ---- elementwise. The rest of a row is loaded and stored under a mask; other lanes hold zero. */

static inline f8 load_n(const float *p, size_t n) {
    return n >= 8 ? load(p) : _mm256_maskload_ps(p, mask_of(n));
}

static inline void store_n(float *p, f8 v, size_t n) {
    if (n >= 8) {
        store(p, v);
        return;
    }
    _mm256_maskstore_ps(p, mask_of(n), v);
}

static void layer_norm(const float *x, const float *weight, const float *bias, float eps,
                       float *out, size_t n) {
    f8 sum = _mm256_setzero_ps(), squares = sum;
    size_t i = 0;
    for (; i < n; i += 8) sum = _mm256_add_ps(sum, load_n(x + i, n - i));
    f8 mean = set1(sum8(sum) / (float)n);
    for (i = 0; i + 8 <= n; i += 8) {
        f8 e = _mm256_sub_ps(load(x + i), mean);
        squares = _mm256_fmadd_ps(e, e, squares);
    }
    if (i < n) {
        f8 e = _mm256_sub_ps(load_n(x + i, n - i), mean);
        e = _mm256_and_ps(e, _mm256_castsi256_ps(mask_of(n - i)));
        squares = _mm256_fmadd_ps(e, e, squares);
    }
    f8 scale = set1(1.0f / sqrtf(sum8(squares) / (float)n + eps));
    for (i = 0; i < n; i += 8) {
        f8 e = _mm256_mul_ps(_mm256_sub_ps(load_n(x + i, n - i), mean), scale);
        f8 v = _mm256_fmadd_ps(e, load_n(weight + i, n - i), load_n(bias + i, n - i));
        store_n(out + i, v, n - i);
    }
}

static void mix_current(const float *x, const float *p, const float *m, float *out, size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        size_t rest = n - i;
        f8 share = load_n(m + i, rest), old = _mm256_sub_ps(set1(1.0f), share);
        f8 v = _mm256_fmadd_ps(load_n(x + i, rest), share, _mm256_mul_ps(load_n(p + i, rest), old));
        store_n(out + i, v, rest);
    }
}

static void mix_previous(const float *x, const float *p, const float *m, float *out, size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        size_t rest = n - i;
        f8 now = load_n(x + i, rest), d = _mm256_sub_ps(load_n(p + i, rest), now);
        store_n(out + i, _mm256_fmadd_ps(d, load_n(m + i, rest), now), rest);
    }
}

static void relu2(float *x, size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        f8 v = load_n(x + i, n - i);
        v = _mm256_max_ps(_mm256_setzero_ps(), v); /* in this order NaN stays */
        store_n(x + i, _mm256_mul_ps(v, v), n - i);
    }
}

static bool all_finite(const float *x, size_t n) {
    const __m256i exponent = _mm256_set1_epi32(0x7f800000);
    __m256i bad = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 8) {
        __m256i v = _mm256_and_si256(_mm256_castps_si256(load_n(x + i, n - i)), exponent);
        bad = _mm256_or_si256(bad, _mm256_cmpeq_epi32(v, exponent));
    }
    return _mm256_testz_si256(bad, bad);
}

/* x = k ln 2 + r with |r| <= ln(2) / 2; returns exp(r) - 1 by its series to r^7 / 7!, whose next
 * term is below 2^-26 of the result. ln 2 is taken in two parts, the first exact in few bits. */
static inline f8 expm1_reduced(f8 x, f8 *k) {
    *k = _mm256_round_ps(_mm256_mul_ps(x, set1(1.44269504f)),
                         _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    f8 r = _mm256_fnmadd_ps(*k, set1(0.693359375f), x);
    r = _mm256_fnmadd_ps(*k, set1(-2.12194440e-4f), r);
    f8 p = set1(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, set1(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, set1(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, set1(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, set1(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, set1(0.5f));
    return _mm256_fmadd_ps(_mm256_mul_ps(r, r), p, r);
}

/* 2^k for -126 <= k <= 127 */
static inline f8 exp2_int(f8 k) {
    __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}

/* exp of x <= 0. Below -104 the result is 0 in any case; 2^k is applied in two steps so that
 * results that are denormal round once. min and max keep NaN when it is their second operand. */
static inline f8 exp_negative(f8 x) {
    f8 k;
    x = _mm256_max_ps(set1(-104.0f), x);
    f8 p = expm1_reduced(x, &k);
    f8 k1 = _mm256_max_ps(k, set1(-100.0f));
    f8 s = exp2_int(k1);
    return _mm256_mul_ps(_mm256_fmadd_ps(p, s, s), exp2_int(_mm256_sub_ps(k, k1)));
}

static inline f8 magnitude(f8 x) {
    return _mm256_andnot_ps(set1(-0.0f), x);
}

static inline f8 sigmoid8(f8 x) {
    const f8 one = set1(1.0f);
    f8 e = exp_negative(_mm256_or_ps(x, set1(-0.0f)));
    return _mm256_div_ps(_mm256_blendv_ps(one, e, x), _mm256_add_ps(one, e));
}

static inline f8 silu8(f8 x) {
    return _mm256_mul_ps(x, sigmoid8(x));
}

/* With m = exp(-2|x|) - 1, tanh|x| = -m / (2 + m): no cancellation near 0. */
static inline f8 tanh8(f8 x) {
    f8 k, y = _mm256_mul_ps(magnitude(x), set1(-2.0f));
    f8 p = expm1_reduced(_mm256_max_ps(set1(-40.0f), y), &k);
    f8 s = exp2_int(k);
    f8 m = _mm256_fmadd_ps(p, s, _mm256_sub_ps(s, set1(1.0f)));
    f8 t = _mm256_div_ps(magnitude(m), _mm256_add_ps(set1(2.0f), m));
    return _mm256_or_ps(t, _mm256_and_ps(x, set1(-0.0f)));
}

INLINE void apply(float *x, size_t n, f8 (*const fn)(f8)) {
    for (size_t i = 0; i < n; i += 8) store_n(x + i, fn(load_n(x + i, n - i)), n - i);
}

static void sigmoid(float *x, size_t n) {
    apply(x, n, sigmoid8);
}

static void hyperbolic_tangent(float *x, size_t n) {
    apply(x, n, tanh8);
}

static void silu(float *x, size_t n) {
    apply(x, n, silu8);
}

/* ---- recurrences; the state of a head (16 KiB for 64 channels) stays in the first-level cache */

static void wkv4(const float *k, const float *v, size_t stride, const float *u, const float *w,
                 float *aa, float *bb, float *pp, float *y, size_t n_tokens, size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        size_t rest = n - i;
        f8 a = load_n(aa + i, rest), b = load_n(bb + i, rest), p = load_n(pp + i, rest);
        f8 bonus = load_n(u + i, rest), decay = load_n(w + i, rest);
        for (size_t t = 0; t < n_tokens; t++) {
            f8 kt = load_n(k + t * stride + i, rest), vt = load_n(v + t * stride + i, rest);
            f8 uk = _mm256_add_ps(bonus, kt), q = _mm256_max_ps(p, uk);
            f8 e1 = exp_negative(_mm256_sub_ps(p, q)), e2 = exp_negative(_mm256_sub_ps(uk, q));
            f8 up = _mm256_fmadd_ps(e1, a, _mm256_mul_ps(e2, vt));
            f8 down = _mm256_fmadd_ps(e1, b, e2);
            store_n(y + t * stride + i, _mm256_div_ps(up, down), rest);
            f8 wp = _mm256_add_ps(p, decay);
            q = _mm256_max_ps(wp, kt);
            e1 = exp_negative(_mm256_sub_ps(wp, q));
            e2 = exp_negative(_mm256_sub_ps(kt, q));
            a = _mm256_fmadd_ps(e1, a, _mm256_mul_ps(e2, vt));
            b = _mm256_fmadd_ps(e1, b, e2);
            p = q;
        }
        store_n(aa + i, a, rest);
        store_n(bb + i, b, rest);
        store_n(pp + i, p, rest);
    }
}

/* NV vectors of value channels of one token: S row by row, y in registers. */
INLINE void wkv6_columns(const int NV, const float *r, const float *k, const float *v,
                         const float *w, float bonus, float *S, float *y, size_t n) {
    f8 acc[4] = {0};
    for (size_t i = 0; i < n; i++, S += n) {
        f8 ri = set1(r[i]), ki = set1(k[i]), wi = set1(w[i]);
        UNROLL for (int c = 0; c < NV; c++) {
            f8 s = load(S + 8 * c);
            acc[c] = _mm256_fmadd_ps(ri, s, acc[c]);
            store(S + 8 * c, _mm256_fmadd_ps(wi, s, _mm256_mul_ps(ki, load(v + 8 * c))));
        }
    }
    UNROLL for (int c = 0; c < NV; c++) {
        store(y + 8 * c, _mm256_fmadd_ps(set1(bonus), load(v + 8 * c), acc[c]));
    }
}

static void wkv6(const float *r, const float *k, const float *v, size_t stride, const float *u,
                 const float *w, size_t w_stride, float *S, float *y, size_t n_tokens, size_t n) {
    if (n % 8) {
        rw_kernels_scalar.wkv6(r, k, v, stride, u, w, w_stride, S, y, n_tokens, n);
        return;
    }
    for (size_t t = 0; t < n_tokens; t++, r += stride, k += stride, v += stride, y += stride) {
        f8 sum = _mm256_setzero_ps();
        size_t j = 0;
        for (; j < n; j += 8) {
            sum = _mm256_fmadd_ps(_mm256_mul_ps(load(r + j), load(u + j)), load(k + j), sum);
        }
        float bonus = sum8(sum);
        for (j = 0; j + 32 <= n; j += 32) wkv6_columns(4, r, k, v + j, w, bonus, S + j, y + j, n);
        for (; j < n; j += 8) wkv6_columns(1, r, k, v + j, w, bonus, S + j, y + j, n);
        w += w_stride;
    }
}

/* Sums of four vectors; each lane the tree of sum8(). */
static inline __m128 sum8x4(f8 a, f8 b, f8 c, f8 d) {
    f8 quads = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1));
}

/* Four value channels of one token: one pass for s = S kappa, one that updates and reads. */
static inline void wkv7_rows(const float *r, const float *w, const float *k, const float *v,
                             const float *kappa, const float *a, float *S, float *y, size_t n) {
    f8 s[4], acc[4], vs[4];
    for (int c = 0; c < 4; c++) s[c] = acc[c] = _mm256_setzero_ps();
    for (size_t j = 0; j < n; j += 8) {
        f8 kj = load(kappa + j);
        for (int c = 0; c < 4; c++) s[c] = _mm256_fmadd_ps(load(S + (size_t)c * n + j), kj, s[c]);
    }
    float sums[4];
    _mm_storeu_ps(sums, sum8x4(s[0], s[1], s[2], s[3]));
    for (int c = 0; c < 4; c++) {
        s[c] = set1(sums[c]);
        vs[c] = set1(v[c]);
    }
    for (size_t j = 0; j < n; j += 8) {
        f8 wj = load(w + j), kj = load(k + j), rj = load(r + j);
        f8 remove = _mm256_mul_ps(load(kappa + j), load(a + j));
        for (int c = 0; c < 4; c++) {
            float *p = S + (size_t)c * n + j;
            f8 now = _mm256_fnmadd_ps(s[c], remove, _mm256_mul_ps(load(p), wj));
            now = _mm256_fmadd_ps(vs[c], kj, now);
            store(p, now);
            acc[c] = _mm256_fmadd_ps(now, rj, acc[c]);
        }
    }
    _mm_storeu_ps(y, sum8x4(acc[0], acc[1], acc[2], acc[3]));
}

static void wkv7(const float *r, const float *w, const float *k, const float *v, const float *kappa,
                 const float *a, size_t stride, float *S, float *y, size_t n_tokens, size_t n) {
    if (n % 8) {
        rw_kernels_scalar.wkv7(r, w, k, v, kappa, a, stride, S, y, n_tokens, n);
        return;
    }
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t i = 0; i < n; i += 4) wkv7_rows(r, w, k, v + i, kappa, a, S + i * n, y + i, n);
        r += stride, w += stride, k += stride, v += stride;
        kappa += stride, a += stride, y += stride;
    }
}

/* The table but its name; avx512.c has the same functions, compiled again. */
#define KERNELS                                                                                    \
    .decode = {[RW_F32] = rw_decode_f32,   [RW_F16] = decode_f16,   [RW_BF16] = decode_bf16,       \
               [RW_F64] = rw_decode_f64,   [RW_Q4_0] = decode_q4_0, [RW_Q4_1] = decode_q4_1,       \
               [RW_Q5_0] = decode_q5_0,    [RW_Q5_1] = decode_q5_1, [RW_Q8_0] = decode_q8_0,       \
               [RW_Q2_K] = decode_q2_k,    [RW_Q3_K] = decode_q3_k, [RW_Q4_K] = decode_q4_k,       \
               [RW_Q5_K] = decode_q5_k,    [RW_Q6_K] = decode_q6_k, [RW_IQ4_NL] = decode_iq4_nl,   \
               [RW_IQ4_XS] = decode_iq4_xs},                                                       \
    .matmul_f32 = matmul_f32, .matmul_f16 = matmul_f16, .matmul_bf16 = matmul_bf16,                \
    .quantize = quantize,                                                                          \
    .matmul_packed = {matmul_RW_PACK_4,  matmul_RW_PACK_4M, matmul_RW_PACK_5,                      \
                      matmul_RW_PACK_5M, matmul_RW_PACK_6,  matmul_RW_PACK_8},                     \
    .matmul_columns = {columns_RW_PACK_4,  columns_RW_PACK_4M, columns_RW_PACK_5,                  \
                       columns_RW_PACK_5M, columns_RW_PACK_6,  columns_RW_PACK_8},                 \
    .widen = {widen_RW_PACK_4, widen_RW_PACK_4M, widen_RW_PACK_5, widen_RW_PACK_5M,                \
              widen_RW_PACK_6, widen_RW_PACK_8},                                                   \
    .widen_block = {widen_block_RW_PACK_4,  widen_block_RW_PACK_4M, widen_block_RW_PACK_5,         \
                    widen_block_RW_PACK_5M, widen_block_RW_PACK_6,  widen_block_RW_PACK_8},        \
    .matmul_wide = {wide_RW_PACK_4, wide_RW_PACK_4M, wide_RW_PACK_5, wide_RW_PACK_5M,              \
                    wide_RW_PACK_6, wide_RW_PACK_8},                                               \
    .layer_norm = layer_norm, .mix_current = mix_current, .mix_previous = mix_previous,            \
    .relu2 = relu2, .sigmoid = sigmoid, .tanh = hyperbolic_tangent, .silu = silu,                  \
    .all_finite = all_finite, .wkv4 = wkv4, .wkv6 = wkv6, .wkv7 = wkv7

#ifndef RW_AVX512
const rw_kernels rw_kernels_avx2 = {.name = "avx2", KERNELS};
#endif
