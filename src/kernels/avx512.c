/* avx512.c - the kernels for x86-64 with AVX-512 (F, BW, VL) and VNNI. The functions of avx2.c are
 * compiled again with these flags, for 32 registers; products with packed matrices are written for
 * vectors of 64 bytes: one instruction multiplies a quad of each of sixteen rows and adds it up. */
#define RW_AVX512
#include "avx2.c"

/* Twelve tokens: 24 accumulators of the 32 registers. */
enum { LANES = 16, MOST_TOKENS = 12, SIGNED_BYTES = 0 };

typedef __m512i vi;
typedef __m512 vf;

INLINE vi line(const uint8_t *p) {
    return _mm512_loadu_si512(p);
}

INLINE vi and_bytes(vi v, const int mask) {
    return _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
}

/* Bits that cross into the neighbouring byte are masked off by the caller. */
INLINE vi shift_left(vi v, const int n) {
    return _mm512_slli_epi16(v, (unsigned)n);
}

INLINE vi shift_right(vi v, const int n) {
    return _mm512_srli_epi16(v, (unsigned)n);
}

/* v | bits & mask */
INLINE vi or_masked(vi v, vi bits, const int mask) {
    return _mm512_ternarylogic_epi32(v, bits, _mm512_set1_epi8((char)mask), 0xf8);
}

/* v with bits `value` set in bytes where `bits` has `bit`; v lacks them. */
INLINE vi or_where(vi v, vi bits, const int bit, const int value) {
    return _mm512_mask_add_epi8(v, _mm512_test_epi8_mask(bits, _mm512_set1_epi8((char)bit)), v,
                                _mm512_set1_epi8((char)value));
}

/* Lane of 16 by lane of 16: the bytes (pairs) of the lower or upper half of a and b in turn. */
INLINE vi mix_bytes(vi a, vi b, const int upper) {
    return upper ? _mm512_unpackhi_epi8(a, b) : _mm512_unpacklo_epi8(a, b);
}

INLINE vi mix_pairs(vi a, vi b, const int upper) {
    return upper ? _mm512_unpackhi_epi16(a, b) : _mm512_unpacklo_epi16(a, b);
}

INLINE void put_line(uint8_t *p, vi v) {
    _mm512_storeu_si512(p, v);
}

INLINE vi lookup(const int8_t table[16], vi index) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load16(table)), index);
}

INLINE vi minus_128(vi v) {
    return _mm512_xor_si512(v, _mm512_set1_epi8(-128));
}

INLINE vi all_words(int32_t v) {
    return _mm512_set1_epi32(v);
}

/* acc + w * (quad i) */
INLINE vi dot4(const rw_pack P, vi acc, vi w, const int8_t *q, const int i) {
    (void)P;
    int32_t word;
    memcpy(&word, q + 4 * i, sizeof word);
    return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(word));
}

INLINE vf to_float(vi v) {
    return _mm512_cvtepi32_ps(v);
}

INLINE vf halves(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

INLINE vf floats(const uint8_t *p) {
    return _mm512_loadu_ps(p);
}

INLINE vf all_floats(float v) {
    return _mm512_set1_ps(v);
}

INLINE vf product(vf a, vf b) {
    return _mm512_mul_ps(a, b);
}

INLINE vf times(vf a, float b) {
    return _mm512_mul_ps(a, _mm512_set1_ps(b));
}

INLINE vf fused(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}

INLINE void put_rows(float *y, vf v, size_t n) {
    _mm512_mask_storeu_ps(y, n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1), v);
}

#include "packed.h"
#include "columns.h"

const rw_kernels rw_kernels_avx512 = {.name = "avx512", KERNELS};
const rw_kernels rw_kernels_avx512_bf16 = {.name = "avx512-bf16",
                                           KERNELS,
                                           .round_bf16 = rw_round_bf16,
                                           .matmul_bf16_blocks = rw_matmul_bf16_blocks};
