/* avx512bf16.c - products with strips of bfloat16 (quant/pack.h) for x86-64 with AVX512-BF16: one
 * instruction multiplies two columns of each of sixteen rows and adds them up. Activations are
 * rounded to bfloat16 on the way.
 *
 * Sums: one per row and token, column after column of each pair's second, then first; products of
 * bfloats are exact, sums are rounded to nearest even. Denormal numbers count as zero. */
#include "kernels.h"
#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Words (pairs of activations) of one piece of a row; the odd lines keep the rows of a panel out of
 * each other's cache sets. */
enum { PIECE = 512, STRIDE = PIECE + 16, AHEAD = 64 };

/* n floats, 2 * PIECE at most, as pairs of bfloats; an odd last one gets a zero. */
static void round_piece(const float *x, size_t n, uint32_t *out) {
    for (size_t k = 0; k < n; k += 32) {
        size_t rest = n - k;
        __mmask32 mask = rest >= 32 ? 0xffffffffu : (1u << rest) - 1;
        __m512 lo = _mm512_maskz_loadu_ps((__mmask16)mask, x + k);
        __m512 hi = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), x + k + 16);
        __m512bh both = _mm512_cvtne2ps_pbh(hi, lo);
        memcpy(out + k / 2, &both, sizeof both);
    }
}

/* NS strips with NT tokens; `n` words of each. The sums come from y and go there, where they wait
 * from piece to piece. */
INLINE void piece_tile(const int NS, const int NT, const uint8_t *strip, size_t strip_bytes,
                       size_t n, const uint32_t *x, bool first, float scale, float *y,
                       size_t y_stride, size_t n_rows) {
    __m512 acc[4][RW_PANEL];
    __mmask16 mask[4];
    UNROLL for (int s = 0; s < NS; s++) {
        size_t rest = n_rows - 16 * (size_t)s;
        mask[s] = rest >= 16 ? 0xffff : (__mmask16)((1u << rest) - 1);
        UNROLL for (int t = 0; t < NT; t++) acc[s][t] =
            first ? _mm512_setzero_ps()
                  : _mm512_maskz_loadu_ps(mask[s], y + (size_t)t * y_stride + 16 * s);
    }
    for (size_t k = 0; k < n; k++) {
        __m512i w[4];
        UNROLL for (int s = 0; s < NS && NT > 4; s++) /* as fetch_ahead of packed.h */
            _mm_prefetch(strip + (size_t)s * strip_bytes + (k + AHEAD) * RW_LINE, _MM_HINT_T1);
        UNROLL for (int s = 0; s < NS; s++) w[s] =
            _mm512_loadu_si512(strip + (size_t)s * strip_bytes + k * RW_LINE);
        UNROLL for (int t = 0; t < NT; t++) {
            __m512bh pair = (__m512bh)_mm512_set1_epi32((int)x[t * STRIDE + k]);
            UNROLL for (int s = 0; s < NS; s++) acc[s][t] =
                _mm512_dpbf16_ps(acc[s][t], (__m512bh)w[s], pair);
        }
    }
    UNROLL for (int s = 0; s < NS; s++) {
        UNROLL for (int t = 0; t < NT; t++)
            _mm512_mask_storeu_ps(y + (size_t)t * y_stride + 16 * s, mask[s],
                                  _mm512_mul_ps(acc[s][t], _mm512_set1_ps(scale)));
    }
}

/* As many strips at a time as keep the accumulators, at most 24, in registers. */
INLINE void tokens(const int NS, const int NT, const uint8_t *strips, size_t cols, size_t n_rows,
                   const float *x, size_t x_stride, float scale, float *y, size_t y_stride) {
    uint32_t words[RW_PANEL * STRIDE];
    size_t strip_bytes = rw_bf16_strip_bytes(cols);
    for (size_t k = 0; k < cols; k += 2 * PIECE) {
        size_t n = cols - k < 2 * PIECE ? cols - k : 2 * PIECE, n_words = (n + 1) / 2, r = 0;
        float factor = k + n < cols ? 1.0f : scale;
        const uint8_t *from = strips + k / 2 * RW_LINE;
        UNROLL for (int t = 0; t < NT; t++)
            round_piece(x + (size_t)t * x_stride + k, n, words + t * STRIDE);
        for (; r + 16 * (size_t)(NS - 1) < n_rows; r += 16 * (size_t)NS)
            piece_tile(NS, NT, from + r / 16 * strip_bytes, strip_bytes, n_words, words, k == 0,
                       factor, y + r, y_stride, n_rows - r);
        for (; r < n_rows; r += 16)
            piece_tile(1, NT, from + r / 16 * strip_bytes, strip_bytes, n_words, words, k == 0,
                       factor, y + r, y_stride, n_rows - r);
    }
}

void rw_matmul_bf16_strips(const uint8_t *strips, size_t cols, size_t n_rows, const float *x,
                           size_t x_stride, size_t n_tokens, float scale, float *y,
                           size_t y_stride) {
#define TOKENS(NS, NT)                                                                             \
    for (; n_tokens >= NT; n_tokens -= NT, x += NT * x_stride, y += NT * y_stride)                 \
        tokens(NS, NT, strips, cols, n_rows, x, x_stride, scale, y, y_stride);
    TOKENS(2, 12) TOKENS(2, 8) TOKENS(4, 4) TOKENS(4, 2) TOKENS(4, 1)
#undef TOKENS
}
