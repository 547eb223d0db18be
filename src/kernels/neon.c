/* neon.c - the kernels for arm64: the vectors and their operations, the rounding of activations, and
 * the table; what is done with them: decode.h, floats.h, packed.h, columns.h. Compiled three times:
 * as it is, for every arm64 processor; by neon_dotprod.c with instructions that multiply four bytes
 * at once (RW_DOTPROD); by neon_i8mm.c with those that multiply 2 x 8 by 8 x 2 bytes (RW_I8MM).
 *
 * Eight floats are two registers, which gives the sums of avx2.c their order and their bits. */
#include "../quant/blocks.h"
#include "kernels.h"
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* ---- eight floats */

typedef struct f8 {
    float32x4_t lo, hi;
} f8;

INLINE f8 set1(float v) {
    return (f8){vdupq_n_f32(v), vdupq_n_f32(v)};
}

INLINE f8 load(const float *p) {
    return (f8){vld1q_f32(p), vld1q_f32(p + 4)};
}

INLINE void store(float *p, f8 v) {
    vst1q_f32(p, v.lo);
    vst1q_f32(p + 4, v.hi);
}

/* Halves and bfloats may lie at any address. */
INLINE uint16x8_t load_words(const void *p) {
    return vreinterpretq_u16_u8(vld1q_u8(p));
}

INLINE f8 load_halves(const void *p) {
    float16x8_t h = vreinterpretq_f16_u16(load_words(p));
    return (f8){vcvt_f32_f16(vget_low_f16(h)), vcvt_high_f32_f16(h)};
}

INLINE f8 load_bfloats(const void *p) {
    uint16x8_t h = load_words(p);
    return (f8){vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16)),
                vreinterpretq_f32_u32(vshll_high_n_u16(h, 16))};
}

INLINE f8 first_lanes(f8 v, size_t n) {
    static const uint32_t numbers[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    uint32x4_t count = vdupq_n_u32((uint32_t)n);
    uint32x4_t lo = vcltq_u32(vld1q_u32(numbers), count);
    uint32x4_t hi = vcltq_u32(vld1q_u32(numbers + 4), count);
    return (f8){vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v.lo), lo)),
                vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v.hi), hi))};
}

/* n < 8; the other lanes are zero. */
INLINE f8 load_part(const float *p, size_t n) {
    float part[8] = {0};
    memcpy(part, p, n * sizeof *p);
    return load(part);
}

INLINE f8 load_n(const float *p, size_t n) {
    return n >= 8 ? load(p) : load_part(p, n);
}

INLINE void store_n(float *p, f8 v, size_t n) {
    if (n >= 8) {
        store(p, v);
        return;
    }
    float part[8];
    store(part, v);
    memcpy(p, part, n * sizeof *p);
}

INLINE f8 add(f8 a, f8 b) {
    return (f8){vaddq_f32(a.lo, b.lo), vaddq_f32(a.hi, b.hi)};
}

INLINE f8 sub(f8 a, f8 b) {
    return (f8){vsubq_f32(a.lo, b.lo), vsubq_f32(a.hi, b.hi)};
}

INLINE f8 mul(f8 a, f8 b) {
    return (f8){vmulq_f32(a.lo, b.lo), vmulq_f32(a.hi, b.hi)};
}

INLINE f8 quotient(f8 a, f8 b) {
    return (f8){vdivq_f32(a.lo, b.lo), vdivq_f32(a.hi, b.hi)};
}

/* c + a b, c - a b, rounded once */
INLINE f8 fma8(f8 a, f8 b, f8 c) {
    return (f8){vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)};
}

INLINE f8 fnma8(f8 a, f8 b, f8 c) {
    return (f8){vfmsq_f32(c.lo, a.lo, b.lo), vfmsq_f32(c.hi, a.hi, b.hi)};
}

/* NaN stays. */
INLINE f8 larger(f8 a, f8 b) {
    return (f8){vmaxq_f32(a.lo, b.lo), vmaxq_f32(a.hi, b.hi)};
}

INLINE f8 nearest(f8 v) {
    return (f8){vrndnq_f32(v.lo), vrndnq_f32(v.hi)};
}

INLINE float32x4_t power2_half(float32x4_t k) {
    int32x4_t e = vaddq_s32(vcvtq_s32_f32(k), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(e, 23));
}

/* 2^k for integers -126 <= k <= 127 */
INLINE f8 power2(f8 k) {
    return (f8){power2_half(k.lo), power2_half(k.hi)};
}

INLINE f8 minus_magnitude(f8 v) {
    return (f8){vnegq_f32(vabsq_f32(v.lo)), vnegq_f32(vabsq_f32(v.hi))};
}

/* |v| with the sign of s */
INLINE f8 with_sign(f8 v, f8 s) {
    const uint32x4_t sign = vdupq_n_u32(0x80000000);
    return (f8){vbslq_f32(sign, s.lo, v.lo), vbslq_f32(sign, s.hi, v.hi)};
}

INLINE float32x4_t if_negative_half(float32x4_t v, float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcltzq_s32(vreinterpretq_s32_f32(v)), a, b);
}

/* a where v has a minus sign, else b */
INLINE f8 if_negative(f8 v, f8 a, f8 b) {
    return (f8){if_negative_half(v.lo, a.lo, b.lo), if_negative_half(v.hi, a.hi, b.hi)};
}

INLINE float sum8(f8 v) {
    return vaddvq_f32(v.lo) + vaddvq_f32(v.hi); /* neighbours first, as everywhere */
}

/* Four times sum8. */
INLINE void sum8x4(float out[4], f8 a, f8 b, f8 c, f8 d) {
    float32x4_t lo = vpaddq_f32(vpaddq_f32(a.lo, b.lo), vpaddq_f32(c.lo, d.lo));
    float32x4_t hi = vpaddq_f32(vpaddq_f32(a.hi, b.hi), vpaddq_f32(c.hi, d.hi));
    vst1q_f32(out, vaddq_f32(lo, hi));
}

/* ---- sixteen bytes */

typedef uint8x16_t b16;

INLINE float half_at(const uint8_t p[2]) {
    return rw_half_at(p);
}

INLINE b16 load16(const void *p) {
    return vld1q_u8(p);
}

INLINE b16 and16(b16 v, int mask) {
    return vandq_u8(v, vdupq_n_u8((uint8_t)mask));
}

INLINE b16 shift16(b16 v, int up) {
    return vshlq_u8(v, vdupq_n_s8((int8_t)up));
}

INLINE b16 or16(b16 a, b16 b) {
    return vorrq_u8(a, b);
}

INLINE b16 minus16(b16 v, int n) {
    return vsubq_u8(v, vdupq_n_u8((uint8_t)n));
}

INLINE b16 lookup16(const int8_t table[16], b16 index) {
    return vqtbl1q_u8(load16(table), index);
}

/* Bits 0..15 of `bits` as bytes 16 or 0: the fifth bits of sixteen elements. */
INLINE b16 fifth_bits(uint32_t bits) {
    const uint8x8_t each = vcreate_u8(0x8040201008040201);
    uint8x8_t lo = vtst_u8(vdup_n_u8((uint8_t)bits), each);
    uint8x8_t hi = vtst_u8(vdup_n_u8((uint8_t)(bits >> 8)), each);
    return and16(vcombine_u8(lo, hi), 16);
}

INLINE f8 widen8(int8x8_t q) {
    int16x8_t words = vmovl_s8(q);
    return (f8){vcvtq_f32_s32(vmovl_s16(vget_low_s16(words))),
                vcvtq_f32_s32(vmovl_high_s16(words))};
}

/* Signed bytes to floats. */
INLINE void widen16(b16 q, f8 *a, f8 *b) {
    int8x16_t v = vreinterpretq_s8_u8(q);
    *a = widen8(vget_low_s8(v));
    *b = widen8(vget_high_s8(v));
}

#include "floats.h"
#include "decode.h"

/* ---- products with packed matrices: eight rows are two registers. Four tokens take eight
 * accumulators and eight sums of the 32 registers. */

enum { LANES = 8, MOST_TOKENS = 4, SIGNED_BYTES = 1 };

typedef struct vi {
    int32x4_t lo, hi;
} vi;
typedef f8 vf;

INLINE vi line(const uint8_t *p) {
    return (vi){vreinterpretq_s32_u8(vld1q_u8(p)), vreinterpretq_s32_u8(vld1q_u8(p + 16))};
}

INLINE uint8x16_t bytes_of(int32x4_t v) {
    return vreinterpretq_u8_s32(v);
}

INLINE vi words_of(uint8x16_t lo, uint8x16_t hi) {
    return (vi){vreinterpretq_s32_u8(lo), vreinterpretq_s32_u8(hi)};
}

INLINE vi and_bytes(vi v, const int mask) {
    return words_of(and16(bytes_of(v.lo), mask), and16(bytes_of(v.hi), mask));
}

INLINE vi shift_left(vi v, const int n) {
    return words_of(shift16(bytes_of(v.lo), n), shift16(bytes_of(v.hi), n));
}

INLINE vi shift_right(vi v, const int n) {
    return shift_left(v, -n);
}

INLINE vi or_masked(vi v, vi bits, const int mask) {
    bits = and_bytes(bits, mask);
    return (vi){vorrq_s32(v.lo, bits.lo), vorrq_s32(v.hi, bits.hi)};
}

/* v with bits `value` set in bytes where `bits` has `bit`; v lacks them. */
INLINE int32x4_t or_where_half(int32x4_t v, int32x4_t bits, const int bit, const int value) {
    uint8x16_t set = vtstq_u8(bytes_of(bits), vdupq_n_u8((uint8_t)bit));
    return vreinterpretq_s32_u8(vorrq_u8(bytes_of(v), and16(set, value)));
}

INLINE vi or_where(vi v, vi bits, const int bit, const int value) {
    return (vi){or_where_half(v.lo, bits.lo, bit, value), or_where_half(v.hi, bits.hi, bit, value)};
}

/* Register by register: the bytes (pairs) of the lower or upper half of a and b in turn. */
INLINE vi mix_bytes(vi a, vi b, const int upper) {
    uint8x16_t alo = bytes_of(a.lo), ahi = bytes_of(a.hi), blo = bytes_of(b.lo),
               bhi = bytes_of(b.hi);
    return upper ? words_of(vzip2q_u8(alo, blo), vzip2q_u8(ahi, bhi))
                 : words_of(vzip1q_u8(alo, blo), vzip1q_u8(ahi, bhi));
}

INLINE int32x4_t mix_pairs_half(int32x4_t a, int32x4_t b, const int upper) {
    int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
    return vreinterpretq_s32_s16(upper ? vzip2q_s16(x, y) : vzip1q_s16(x, y));
}

INLINE vi mix_pairs(vi a, vi b, const int upper) {
    return (vi){mix_pairs_half(a.lo, b.lo, upper), mix_pairs_half(a.hi, b.hi, upper)};
}

INLINE void put_line(uint8_t *p, vi v) {
    vst1q_u8(p, bytes_of(v.lo));
    vst1q_u8(p + 16, bytes_of(v.hi));
}

INLINE void fetch(const void *p) {
    __builtin_prefetch(p);
}

INLINE vi lookup(const int8_t table[16], vi index) {
    return words_of(lookup16(table, bytes_of(index.lo)), lookup16(table, bytes_of(index.hi)));
}

INLINE vi minus_128(vi v) {
    const uint8x16_t top = vdupq_n_u8(0x80);
    return words_of(veorq_u8(bytes_of(v.lo), top), veorq_u8(bytes_of(v.hi), top));
}

INLINE vi all_words(int32_t v) {
    return (vi){vdupq_n_s32(v), vdupq_n_s32(v)};
}

#ifdef RW_DOTPROD
/* The lane of the instruction must be a constant in every compiler's eyes. */
INLINE int32x4_t dot4_half(int32x4_t acc, int32x4_t w, const int8_t *q, const int i) {
    int8x16_t a = vreinterpretq_s8_s32(w), x = vld1q_s8(q + i / 4 * 16);
    switch (i % 4) {
    case 0: return vdotq_laneq_s32(acc, a, x, 0);
    case 1: return vdotq_laneq_s32(acc, a, x, 1);
    case 2: return vdotq_laneq_s32(acc, a, x, 2);
    default: return vdotq_laneq_s32(acc, a, x, 3);
    }
}
#else
/* A product of two bytes is at most 128 * 127 here: two of them fit in 16 bits. */
INLINE int32x4_t dot4_half(int32x4_t acc, int32x4_t w, const int8_t *q, const int i) {
    int32_t word;
    memcpy(&word, q + 4 * i, sizeof word);
    int8x16_t a = vreinterpretq_s8_s32(w), x = vreinterpretq_s8_s32(vdupq_n_s32(word));
    int16x8_t lo = vmull_s8(vget_low_s8(a), vget_low_s8(x)), hi = vmull_high_s8(a, x);
    return vpadalq_s16(acc, vpaddq_s16(lo, hi));
}
#endif

/* acc + w * (quad i) */
INLINE vi dot4(const rw_pack P, vi acc, vi w, const int8_t *q, const int i) {
    (void)P;
    return (vi){dot4_half(acc.lo, w.lo, q, i), dot4_half(acc.hi, w.hi, q, i)};
}

INLINE vf to_float(vi v) {
    return (vf){vcvtq_f32_s32(v.lo), vcvtq_f32_s32(v.hi)};
}

INLINE vf halves(const uint8_t *p) {
    return load_halves(p);
}

INLINE vf floats(const uint8_t *p) {
    return load((const float *)(const void *)p);
}

INLINE vf all_floats(float v) {
    return set1(v);
}

INLINE vf product(vf a, vf b) {
    return mul(a, b);
}

INLINE vf times(vf a, float b) {
    return (vf){vmulq_n_f32(a.lo, b), vmulq_n_f32(a.hi, b)};
}

INLINE vf fused(vf a, vf b, vf c) {
    return fma8(a, b, c);
}

INLINE void put_rows(float *y, vf v, size_t n) {
    store_n(y, v, n);
}

#ifdef RW_I8MM
#define RW_PAIRED_TOKENS
#endif
#include "packed.h"

#ifdef RW_I8MM
/* Two neighbouring quads of two rows are 2 x 8 bytes, of two tokens 8 x 2: sums of four products of
 * eight bytes at once, [row][token]. A last token without a partner is its own. */
INLINE void column_sums(const rw_pack P, const int NT, const uint8_t *tile, const int s,
                        const int g, const int first, const int n, const rw_act *x, vi *acc) {
    int32x4_t sums[RW_PANEL / 2][4];
    UNROLL for (int t = 0; t < NT; t += 2) {
        UNROLL for (int r = 0; r < 4; r++) sums[t / 2][r] = vdupq_n_s32(0);
    }
    UNROLL for (int j = 0; j < n; j += 2) {
        /* both nibbles of two lines in turn */
        const int i = first + (n == 8 ? j / 4 * 2 + j / 2 % 2 * 4 : j);
        vi w0 = quad_line(P, tile, g, i), w1 = quad_line(P, tile, g, i + 1);
        int8x16_t w[4] = {vreinterpretq_s8_s32(vzip1q_s32(w0.lo, w1.lo)),
                          vreinterpretq_s8_s32(vzip2q_s32(w0.lo, w1.lo)),
                          vreinterpretq_s8_s32(vzip1q_s32(w0.hi, w1.hi)),
                          vreinterpretq_s8_s32(vzip2q_s32(w0.hi, w1.hi))};
        UNROLL for (int t = 0; t < NT; t += 2) {
            const int8_t *a = x[t].q + 32 * g + 4 * i, *b = x[t + 1 < NT ? t + 1 : t].q + 32 * g + 4 * i;
            int8x16_t tokens = vcombine_s8(vld1_s8(a), vld1_s8(b));
            UNROLL for (int r = 0; r < 4; r++) sums[t / 2][r] =
                vmmlaq_s32(sums[t / 2][r], w[r], tokens);
        }
    }
    UNROLL for (int t = 0; t < NT; t++) {
        int32x4_t *p = sums[t / 2], start = vdupq_n_s32(first_sum(P, &x[t], s));
        vi rows = t % 2 ? (vi){vuzp2q_s32(p[0], p[1]), vuzp2q_s32(p[2], p[3])}
                        : (vi){vuzp1q_s32(p[0], p[1]), vuzp1q_s32(p[2], p[3])};
        acc[t] = (vi){vaddq_s32(rows.lo, start), vaddq_s32(rows.hi, start)};
    }
}
#endif

#include "columns.h"

/* ---- activations */

/* Magnitudes are compared as integers: their order is the same, and NaN and infinity come last. */
static inline void quantize_group(const float *x, rw_act *out, int g) {
    const uint32x4_t magnitude_bits = vdupq_n_u32(0x7fffffff);
    uint32x4_t max = vdupq_n_u32(0);
    for (int i = 0; i < 32; i += 4)
        max = vmaxq_u32(max, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), magnitude_bits));
    union { uint32_t u; float f; } top = {vmaxvq_u32(max)};
    bool finite = top.u < 0x7f800000, zero = !finite || top.f < 1e-30f;
    float inverse = zero ? 0.0f : 127.0f / top.f;
    int32_t sums[2] = {0};
    for (int h = 0; h < 2; h++) {
        int16x8_t words[2];
        for (int i = 0; i < 2; i++) {
            const float *from = x + 16 * h + 8 * i;
            int32x4_t lo = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(from), inverse));
            int32x4_t hi = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(from + 4), inverse));
            words[i] = vqmovn_high_s32(vqmovn_s32(lo), hi);
        }
        int8x16_t bytes = vqmovn_high_s16(vqmovn_s16(words[0]), words[1]);
        if (!finite) bytes = vdupq_n_s8(0);
        vst1q_s8(out->q + 32 * g + 16 * h, bytes);
        sums[h] = vaddlvq_s8(bytes);
        out->minus_sum16[2 * g + h] = -sums[h];
    }
    out->d[g] = !finite ? NAN : zero ? 0.0f : top.f / 127.0f;
    out->dsum[g] = out->d[g] * (float)(sums[0] + sums[1]);
    out->minus_sum[g] = -(sums[0] + sums[1]);
}

#include "table.h"

#if defined(RW_I8MM)
const rw_kernels rw_kernels_neon_i8mm = {.name = "neon-i8mm", KERNELS};
#elif defined(RW_DOTPROD)
const rw_kernels rw_kernels_neon_dotprod = {.name = "neon-dotprod", KERNELS};
#else
const rw_kernels rw_kernels_neon = {.name = "neon", KERNELS};
#endif
