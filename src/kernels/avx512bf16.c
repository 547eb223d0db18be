/* avx512bf16.c - products with blocks of bfloat16 (quant/pack.h) for x86-64 with AVX512-BF16: one
 * instruction multiplies two columns of each of sixteen rows and adds them up.
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

/* One or two tokens go through memory once; words are fetched AHEAD if some are left out. More tokens
 * take a piece of so many tiles several times, from the second-level cache, and fetch the next one
 * meanwhile. */
enum { STRIPS = RW_BF16_ROWS / 16, WORDS = RW_TILE_COLS / 2, PIECE = 8, AHEAD = 16 };

void rw_round_bf16(const float *x, size_t n, rw_pairs *out, size_t stride) {
    for (size_t k = 0; k < n; k += 32) {
        size_t rest = n - k;
        __mmask32 mask = rest >= 32 ? 0xffffffffu : (1u << rest) - 1;
        __m512 lo = _mm512_maskz_loadu_ps((__mmask16)mask, x + k);
        __m512 hi = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), x + k + 16);
        __m512bh both = _mm512_cvtne2ps_pbh(hi, lo);
        memcpy(out[k / RW_TILE_COLS * stride].word + k / 2 % WORDS, &both, sizeof both);
    }
}

/* NS strips with NT tokens: n words of each, those chosen, or all if that is NULL. x_stride: tokens from
 * tile to tile. The sums come from y and go there, where they wait from piece to piece. */
INLINE void piece_tile(const int NS, const int NT, const uint8_t *lines, size_t n, const rw_pairs *x,
                       size_t x_stride, const uint32_t *chosen, bool first, float scale, float *y,
                       size_t y_stride, size_t n_rows) {
    __m512 acc[STRIPS][RW_PANEL];
    __mmask16 mask[STRIPS];
    UNROLL for (int s = 0; s < NS; s++) {
        size_t rest = n_rows > 16 * (size_t)s ? n_rows - 16 * (size_t)s : 0;
        mask[s] = rest >= 16 ? 0xffff : (__mmask16)((1u << rest) - 1);
        UNROLL for (int t = 0; t < NT; t++) acc[s][t] =
            first ? _mm512_setzero_ps()
                  : _mm512_maskz_loadu_ps(mask[s], y + (size_t)t * y_stride + 16 * s);
    }
    for (size_t i = 0; i < n; i++) {
        size_t k = chosen ? chosen[i] : i, next = chosen ? chosen[i + AHEAD] : i + PIECE * WORDS;
        const rw_pairs *of_tile = x + k / WORDS * x_stride;
        __m512i w[STRIPS];
        for (int s = 0; s < NS && (chosen || NT > 4); s++)
            _mm_prefetch(lines + (next * STRIPS + (size_t)s) * RW_LINE, _MM_HINT_T1);
        UNROLL for (int s = 0; s < NS; s++) w[s] =
            _mm512_loadu_si512(lines + (k * STRIPS + (size_t)s) * RW_LINE);
        UNROLL for (int t = 0; t < NT; t++) {
            __m512bh pair = (__m512bh)_mm512_set1_epi32((int)of_tile[t].word[k % WORDS]);
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

/* A piece of a block, as many strips at a time as keep the accumulators, at most 24, in registers. */
INLINE void piece_rows(const int NS, const int NT, const uint8_t *lines, size_t n, const rw_pairs *x,
                       size_t x_stride, bool first, float scale, float *y, size_t y_stride,
                       size_t n_rows) {
    for (size_t s = 0; s < STRIPS && 16 * s < n_rows; s += (size_t)NS)
        piece_tile(NS, NT, lines + s * RW_LINE, n, x, x_stride, NULL, first, scale, y + 16 * s,
                   y_stride, n_rows - 16 * s);
}

/* Piece by piece for many tokens, else all at once. */
static void dense_block(const uint8_t *block, size_t cols, size_t n_rows, const rw_pairs *x,
                        size_t n_tokens, float scale, float *y, size_t y_stride) {
    size_t n_words = (cols + 1) / 2, tiles = rw_pack_tiles(cols);
    size_t piece = n_tokens > 4 ? PIECE : tiles;
    for (size_t tile = 0; tile < tiles; tile += piece) {
        const uint8_t *lines = block + tile * WORDS * STRIPS * RW_LINE;
        size_t rest = n_words - tile * WORDS, n = tile + piece < tiles ? piece * WORDS : rest;
        float factor = tile + piece < tiles ? 1.0f : scale;
        for (size_t t = 0; t < n_tokens; t += RW_PANEL) {
            size_t width = n_tokens - t < RW_PANEL ? n_tokens - t : RW_PANEL, i = 0;
            const rw_pairs *panel = x + t * tiles + tile * width;
#define TOKENS(NS, NT)                                                                             \
    for (; width - i >= NT; i += NT)                                                               \
        piece_rows(NS, NT, lines, n, panel + i, width, tile == 0, factor, y + (t + i) * y_stride,  \
                   y_stride, n_rows);
            TOKENS(2, 12) TOKENS(2, 8) TOKENS(4, 4) TOKENS(4, 2) TOKENS(4, 1)
#undef TOKENS
        }
    }
}

/* The words that are not zero for all of n_tokens; returns how many. Sixteen at a time, as are written. */
static size_t choose_words(const rw_pairs *x, size_t n_tokens, size_t n_words, uint32_t *chosen) {
    __m512i word = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    size_t n = 0;
    for (size_t k = 0; k < n_words; k += 16, word = _mm512_add_epi32(word, _mm512_set1_epi32(16))) {
        const rw_pairs *of_tile = x + k / WORDS * n_tokens;
        __m512i any = _mm512_setzero_si512();
        for (size_t t = 0; t < n_tokens; t++)
            any = _mm512_or_si512(any, _mm512_loadu_si512(of_tile[t].word + k % WORDS));
        uint32_t mask = _mm512_test_epi32_mask(any, any);
        if (n_words - k < 16) mask &= (1u << (n_words - k)) - 1;
        _mm512_storeu_si512(chosen + n, _mm512_maskz_compress_epi32((__mmask16)mask, word));
        n += (size_t)__builtin_popcount(mask);
    }
    _mm512_storeu_si512(chosen + n, _mm512_setzero_si512());
    return n;
}

void rw_matmul_bf16_blocks(const uint8_t *blocks, size_t cols, size_t n_rows, const rw_pairs *x,
                           size_t n_tokens, bool sparse, float scale, float *y, size_t y_stride) {
    enum { MOST = 16384 }; /* words; longer rows are multiplied whole */
    uint32_t chosen[MOST + AHEAD];
    size_t n_words = (cols + 1) / 2, n = n_words;
    if (sparse && n_tokens <= 2 && n_words <= MOST) n = choose_words(x, n_tokens, n_words, chosen);
    for (size_t r = 0; r < n_rows; r += RW_BF16_ROWS, blocks += rw_bf16_block_bytes(cols)) {
        size_t rows = n_rows - r < RW_BF16_ROWS ? n_rows - r : RW_BF16_ROWS;
        if (2 * n > n_words) /* not worth it: see rw_choose_columns */
            dense_block(blocks, cols, rows, x, n_tokens, scale, y + r, y_stride);
        else if (n_tokens == 1)
            piece_tile(4, 1, blocks, n, x, 1, chosen, true, scale, y + r, y_stride, rows);
        else
            piece_tile(4, 2, blocks, n, x, 2, chosen, true, scale, y + r, y_stride, rows);
    }
}
