/* avx2.c - the kernels for x86-64 with AVX2, FMA and F16C (its own compiler flags; called only
 * after kernels.c has asked processor and system). Here are the vectors and their operations, the
 * rounding of activations, and the table; what is done with them: decode.h, floats.h, packed.h, columns.h. */
#include "../quant/blocks.h"
#include "kernels.h"
#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* ---- eight floats */

typedef __m256 f8;

INLINE f8 set1(float v) {
    return _mm256_set1_ps(v);
}

INLINE f8 load(const float *p) {
    return _mm256_loadu_ps(p);
}

INLINE void store(float *p, f8 v) {
    _mm256_storeu_ps(p, v);
}

INLINE f8 load_halves(const void *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

INLINE f8 load_bfloats(const void *p) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}

INLINE __m256i mask_of(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE f8 first_lanes(f8 v, size_t n) {
    return _mm256_and_ps(v, _mm256_castsi256_ps(mask_of(n)));
}

/* n < 8; the other lanes are zero. */
INLINE f8 load_part(const float *p, size_t n) {
    return _mm256_maskload_ps(p, mask_of(n));
}

INLINE f8 load_n(const float *p, size_t n) {
    return n >= 8 ? load(p) : load_part(p, n);
}

INLINE void store_n(float *p, f8 v, size_t n) {
    if (n >= 8) {
        store(p, v);
        return;
    }
    _mm256_maskstore_ps(p, mask_of(n), v);
}

INLINE f8 add(f8 a, f8 b) {
    return _mm256_add_ps(a, b);
}

INLINE f8 sub(f8 a, f8 b) {
    return _mm256_sub_ps(a, b);
}

INLINE f8 mul(f8 a, f8 b) {
    return _mm256_mul_ps(a, b);
}

INLINE f8 quotient(f8 a, f8 b) {
    return _mm256_div_ps(a, b);
}

/* c + a b, c - a b, rounded once */
INLINE f8 fma8(f8 a, f8 b, f8 c) {
    return _mm256_fmadd_ps(a, b, c);
}

INLINE f8 fnma8(f8 a, f8 b, f8 c) {
    return _mm256_fnmadd_ps(a, b, c);
}

/* NaN in b stays. */
INLINE f8 larger(f8 a, f8 b) {
    return _mm256_max_ps(a, b);
}

INLINE f8 nearest(f8 v) {
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* 2^k for integers -126 <= k <= 127 */
INLINE f8 power2(f8 k) {
    __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}

INLINE f8 minus_magnitude(f8 v) {
    return _mm256_or_ps(v, set1(-0.0f));
}

/* |v| with the sign of s */
INLINE f8 with_sign(f8 v, f8 s) {
    const f8 sign = set1(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(sign, v), _mm256_and_ps(s, sign));
}

/* a where v has a minus sign, else b */
INLINE f8 if_negative(f8 v, f8 a, f8 b) {
    return _mm256_blendv_ps(b, a, v);
}

INLINE float sum8(f8 v) {
    __m128 lo = _mm256_castps256_ps128(v), hi = _mm256_extractf128_ps(v, 1);
    __m128 pairs = _mm_hadd_ps(lo, hi);
    __m128 quads = _mm_hadd_ps(pairs, pairs);
    return _mm_cvtss_f32(_mm_add_ss(quads, _mm_movehdup_ps(quads)));
}

/* Four times sum8. */
INLINE void sum8x4(float out[4], f8 a, f8 b, f8 c, f8 d) {
    f8 quads = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    __m128 sums = _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1));
    _mm_storeu_ps(out, sums);
}

/* ---- sixteen bytes */

typedef __m128i b16;

INLINE float half_at(const uint8_t p[2]) {
    return _cvtsh_ss(rw_u16_at(p));
}

INLINE b16 load16(const void *p) {
    return _mm_loadu_si128(p);
}

INLINE b16 and16(b16 v, int mask) {
    return _mm_and_si128(v, _mm_set1_epi8((char)mask));
}

INLINE b16 shift16(b16 v, int up) {
    return up >= 0 ? _mm_slli_epi16(v, up) : _mm_srli_epi16(v, -up);
}

INLINE b16 or16(b16 a, b16 b) {
    return _mm_or_si128(a, b);
}

INLINE b16 minus16(b16 v, int n) {
    return _mm_sub_epi8(v, _mm_set1_epi8((char)n));
}

INLINE b16 lookup16(const int8_t table[16], b16 index) {
    return _mm_shuffle_epi8(load16(table), index);
}

/* Bits 0..15 of `bits` as bytes 16 or 0: the fifth bits of sixteen elements. */
INLINE b16 fifth_bits(uint32_t bits) {
    const b16 spread = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const b16 each = _mm_set1_epi64x((long long)0x8040201008040201);
    b16 v = _mm_and_si128(_mm_shuffle_epi8(_mm_cvtsi32_si128((int)bits), spread), each);
    return and16(_mm_cmpeq_epi8(v, each), 16);
}

/* Signed bytes to floats. */
INLINE void widen16(b16 q, f8 *a, f8 *b) {
    *a = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
    *b = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(q, 8)));
}

#ifdef RW_AVX512
#include "wkv7_avx512.h"
#endif
#include "floats.h"
#include "decode.h"

INLINE void fetch(const uint8_t *p) {
    _mm_prefetch((const char *)p, _MM_HINT_T1);
}

#ifndef RW_AVX512
/* ---- products with packed matrices: sixteen lanes are two registers. Three tokens are twelve
 * accumulators of the sixteen registers. */

enum { LANES = 16, MOST_TOKENS = 3, SIGNED_BYTES = 0 };

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

INLINE vi lookup(const int8_t table[16], vi index) {
    __m256i t = _mm256_broadcastsi128_si256(load16(table));
    return (vi){_mm256_shuffle_epi8(t, index.lo), _mm256_shuffle_epi8(t, index.hi)};
}

INLINE vi minus_128(vi v) {
    const __m256i top = _mm256_set1_epi8(-128);
    return (vi){_mm256_xor_si256(v.lo, top), _mm256_xor_si256(v.hi, top)};
}

INLINE vi all_words(int32_t v) {
    return (vi){_mm256_set1_epi32(v), _mm256_set1_epi32(v)};
}

#ifdef RW_AVXVNNI
INLINE __m256i dot4_half(const rw_pack P, __m256i acc, __m256i w, __m256i x) {
    (void)P;
    return _mm256_dpbusd_avx_epi32(acc, w, x);
}
#else
/* Sums of two products fit in 16 bits when q has at most six (63 * 127 * 2); with eight bits each
 * product (255 * 127) is widened on its own. */
INLINE __m256i dot4_half(const rw_pack P, __m256i acc, __m256i w, __m256i x) {
    const __m256i ones = _mm256_set1_epi16(1), even = _mm256_set1_epi16(0x00ff);
    if (!rw_pack_bytes(P))
        return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), ones));
    __m256i a = _mm256_maddubs_epi16(_mm256_and_si256(w, even), x);
    __m256i b = _mm256_maddubs_epi16(_mm256_andnot_si256(even, w), x);
    return _mm256_add_epi32(
        acc, _mm256_add_epi32(_mm256_madd_epi16(a, ones), _mm256_madd_epi16(b, ones)));
}
#endif

/* acc + w * (quad i) */
INLINE vi dot4(const rw_pack P, vi acc, vi w, const int8_t *q, const int i) {
    int32_t word;
    memcpy(&word, q + 4 * i, sizeof word);
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

INLINE vf fused(vf a, vf b, vf c) {
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

#include "packed.h"
#include "columns.h"
#endif

/* ---- activations */

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

#include "table.h"

#if defined(RW_AVXVNNI)
const rw_kernels rw_kernels_avxvnni = {.name = "avxvnni", KERNELS};
#elif !defined(RW_AVX512)
const rw_kernels rw_kernels_avx2 = {.name = "avx2", KERNELS};
#endif
