/* scalar.c - the arithmetic in plain C: complete, the truth that the other tables are tested
 * against, and what unknown processors run. Compilers turn most of the loops into SIMD.
 *
 * Sums: sixteen partial sums, element k into number k mod 16, then a fixed tree. The order depends
 * on the length alone. No contraction into fused multiply-adds (-ffp-contract=off).
 *
 * Formulas of the recurrences: RWKV-4 arXiv 2305.13048 (appendix on numerical stability), RWKV-5/6
 * arXiv 2404.05892, RWKV-7 arXiv 2503.14456. */
#include "../quant/blocks.h"
#include "kernels.h"
#include <math.h>
#include <string.h>

#define LANES 16

static float tree(const float s[LANES]) {
    float a[LANES / 2];
    for (int l = 0; l < 8; l++) a[l] = s[l] + s[l + 8];
    for (int l = 0; l < 4; l++) a[l] += a[l + 4];
    return (a[0] + a[2]) + (a[1] + a[3]);
}

static float dot(const float *a, const float *b, size_t n) {
    float s[LANES] = {0};
    size_t k = 0;
    for (; k + LANES <= n; k += LANES) {
        for (size_t l = 0; l < LANES; l++) s[l] += a[k + l] * b[k + l];
    }
    for (size_t l = 0; k + l < n; l++) s[l] += a[k + l] * b[k + l];
    return tree(s);
}

static void matmul_f32(const float *w, size_t w_stride, size_t n_rows, const float *x,
                       size_t x_stride, size_t n_tokens, size_t n, float scale, float *y,
                       size_t y_stride) {
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t t = 0; t < n_tokens; t++) {
            y[t * y_stride + r] = scale * dot(w + r * w_stride, x + t * x_stride, n);
        }
    }
}

/* Row by row through a buffer of whole steps of LANES: the partial sums go on from piece to piece.
 */
static float dot_halves(const uint8_t *w, rw_decode_fn *decode, const float *x, size_t n) {
    enum { PIECE = 32 * LANES };
    float s[LANES] = {0}, row[PIECE];
    for (size_t k = 0; k < n; k += PIECE) {
        size_t rest = n - k < PIECE ? n - k : PIECE;
        decode(w + 2 * k, row, rest);
        for (size_t i = 0; i < rest; i++) s[i % LANES] += row[i] * x[k + i];
    }
    return tree(s);
}

static void matmul_f16(const void *w, size_t w_stride, size_t n_rows, const float *x,
                       size_t x_stride, size_t n_tokens, size_t n, float scale, float *y,
                       size_t y_stride) {
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t r = 0; r < n_rows; r++)
            y[t * y_stride + r] = scale * dot_halves((const uint8_t *)w + 2 * r * w_stride,
                                                     rw_decode_f16, x + t * x_stride, n);
}

static void matmul_bf16(const void *w, size_t w_stride, size_t n_rows, const float *x,
                        size_t x_stride, size_t n_tokens, size_t n, float scale, float *y,
                        size_t y_stride) {
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t r = 0; r < n_rows; r++)
            y[t * y_stride + r] = scale * dot_halves((const uint8_t *)w + 2 * r * w_stride,
                                                     rw_decode_bf16, x + t * x_stride, n);
}

/* ---- integer products */

static void quantize_group(const float *x, size_t n, rw_act *out, size_t g) {
    float max = 0;
    bool finite = true;
    for (size_t j = 0; j < n; j++) {
        max = fabsf(x[j]) > max ? fabsf(x[j]) : max;
        finite &= isfinite(x[j]) != 0;
    }
    out->d[g] = !finite ? NAN : max < 1e-30f ? 0.0f : max / 127.0f;
    float inverse = finite && max >= 1e-30f ? 127.0f / max : 0.0f;
    int32_t sum[2] = {0};
    for (size_t j = 0; j < 32; j++) {
        int8_t q = finite && j < n ? (int8_t)nearbyintf(x[j] * inverse) : 0;
        out->q[32 * g + j] = q;
        sum[j / 16] += q;
    }
    out->minus_sum16[2 * g] = -sum[0];
    out->minus_sum16[2 * g + 1] = -sum[1];
    out->minus_sum[g] = -(sum[0] + sum[1]);
    out->dsum[g] = out->d[g] * (float)(sum[0] + sum[1]);
}

static void quantize(const float *x, size_t n, rw_act *out, size_t stride) {
    for (size_t at = 0; at < n; at += RW_TILE_COLS, out += stride) {
        for (size_t g = 0; g < 2; g++) {
            size_t from = at + 32 * g, rest = from < n ? n - from : 0;
            quantize_group(x + (rest ? from : 0), rest < 32 ? rest : 32, out, g);
        }
    }
}

/* Bits of a plane of two-bit (one-bit) fields that belong to quad i of group g. */
static int two_bits(const uint8_t *plane, size_t g, size_t i, size_t byte) {
    return plane[(2 * g + i / 4) * RW_LINE + byte] >> 2 * (i % 4) & 3;
}

static int one_bit(const uint8_t *plane, size_t g, size_t i, size_t byte) {
    return plane[g * RW_LINE + byte] >> i & 1;
}

/* Element k of row r of a tile, without its zero point. */
static int packed_element(rw_pack p, const uint8_t *tile, size_t r, size_t k) {
    size_t g = k / 32, i = k / 4 % 8, byte = 4 * r + k % 4;
    const uint8_t *high = tile + rw_pack_high_at(p);
    int low = rw_pack_low_bits(p), q;
    if (low == 8) return tile[(8 * g + i) * RW_LINE + byte];
    q = low == 2 ? two_bits(tile, g, i, byte)
                 : tile[(4 * g + i % 4) * RW_LINE + byte] >> (i < 4 ? 0 : 4) & 15;
    if (p == RW_PACK_IQ4) return rw_iq4_values[q] + 128;
    if (rw_pack_bits(p) - low == 1) q |= one_bit(high, g, i, byte) << low;
    if (rw_pack_bits(p) - low == 2) q |= two_bits(high, g, i, byte) << low;
    return q;
}

/* d * sum(q) of the columns of scale s, by which their min is multiplied. */
static float min_factor(rw_pack p, const rw_act *x, size_t s) {
    if (rw_pack_scales(p) == 2) return x->dsum[s];
    return x->d[s / 2] * (float)-x->minus_sum16[s];
}

/* sum + (what 64 columns of row r add). One integer sum for each scale. */
static float packed_tile(rw_pack p, const uint8_t *tile, size_t r, const rw_act *x, float sum) {
    size_t n_scales = (size_t)rw_pack_scales(p), n = RW_TILE_COLS / n_scales;
    int zero = rw_pack_mins(p) ? 0 : 1 << rw_pack_zero_shift(p);
    for (size_t s = 0; s < n_scales; s++) {
        size_t g = s * n / 32;
        int32_t dot_product = 0;
        for (size_t k = s * n; k < s * n + n; k++)
            dot_product += (packed_element(p, tile, r, k) - zero) * x->q[k];
        float scale = rw_half_at(tile + rw_pack_scales_at(p) + 2 * (RW_STRIP_ROWS * s + r));
        sum = fmaf((float)dot_product, scale * x->d[g], sum);
        if (rw_pack_mins(p))
            sum = fmaf(rw_half_at(tile + rw_pack_mins_at(p) + 2 * (RW_STRIP_ROWS * s + r)),
                       min_factor(p, x, s), sum);
    }
    return sum;
}

static inline void matmul_packed(rw_pack p, const uint8_t *strips, size_t cols, size_t n_rows,
                                 const rw_act *x, size_t n_tokens, float scale, float *y,
                                 size_t y_stride) {
    for (size_t row = 0; row < n_rows; row++) {
        const uint8_t *strip = strips + row / RW_STRIP_ROWS * rw_pack_strip_bytes(p, cols);
        size_t r = row % RW_STRIP_ROWS;
        float factor;
        memcpy(&factor, strip + 4 * r, sizeof factor);
        for (size_t t = 0; t < n_tokens; t++) {
            float sum = 0;
            for (size_t i = 0; i < rw_pack_tiles(cols); i++)
                sum = packed_tile(p, strip + RW_FACTORS + i * rw_pack_tile_bytes(p), r,
                                  &x[i * n_tokens + t], sum);
            y[t * y_stride + row] = factor * scale * sum;
        }
    }
}

/* Column c of row r of a slab, without its zero point. */
static int slab_element(rw_pack p, const uint8_t *slab, size_t r, size_t c) {
    size_t half = r / 64, at = 16 * (r / 4 % 4) + 4 * (r / 16 % 4) + r % 4;
    if (p == RW_PACK_8) return slab[(2 * c + half) * RW_LINE + at];
    const uint8_t *plane = slab + rw_slab_planes_at(p) + (2 * (c / 8) + half) * RW_LINE + at;
    int q = slab[c * RW_LINE + at] >> 4 * half & 15;
    if (p == RW_PACK_IQ4) return rw_iq4_values[q] + 128;
    for (int b = 4; b < rw_pack_bits(p); b++, plane += 8 * RW_LINE) q |= (*plane >> c % 8 & 1) << b;
    return q;
}

/* n_tiles tiles as wide ones. */
static inline void widen(rw_pack p, const uint8_t *tile, size_t n_tiles, uint8_t *out) {
    size_t scales = rw_pack_tile_bytes(p) - rw_pack_scales_at(p);
    for (; n_tiles > 0; n_tiles--, tile += rw_pack_tile_bytes(p), out += rw_wide_bytes(p)) {
        for (size_t k = 0; k < RW_TILE_COLS; k++) {
            for (size_t r = 0; r < RW_STRIP_ROWS; r++)
                out[k / 4 * RW_LINE + 4 * r + k % 4] = (uint8_t)packed_element(p, tile, r, k);
        }
        memcpy(out + 16 * RW_LINE, tile + rw_pack_scales_at(p), scales);
    }
}

static inline void widen_block(rw_pack p, const uint8_t *slab, size_t n_tiles, uint8_t *out,
                               size_t out_stride) {
    size_t n_scales = (size_t)rw_pack_scales(p) / 2;
    for (size_t i = 0; i < 2 * n_tiles; i++, slab += rw_slab_bytes(p)) {
        for (size_t r = 0; r < RW_BLOCK_ROWS; r++) {
            uint8_t *tile = out + r / 16 * out_stride + i / 2 * rw_wide_bytes(p);
            size_t g = i % 2, row = r % 16;
            for (size_t c = 0; c < RW_SLAB_COLS; c++)
                tile[(8 * g + c / 4) * RW_LINE + 4 * row + c % 4] =
                    (uint8_t)slab_element(p, slab, r, c);
            for (size_t s = 0; s < n_scales; s++) {
                size_t to = 32 * (n_scales * g + s) + 2 * row, from = 2 * (RW_BLOCK_ROWS * s + r);
                memcpy(tile + 16 * RW_LINE + to, slab + rw_slab_scales_at(p) + from, 2);
                if (rw_pack_mins(p))
                    memcpy(tile + rw_wide_mins_at(p) + to, slab + rw_slab_mins_at(p) + from, 2);
            }
        }
    }
}

/* sum + (what 64 columns of row r of a wide tile add): packed_tile's order. */
static float wide_tile(rw_pack p, const uint8_t *tile, size_t r, const rw_act *x, float sum) {
    size_t n_scales = (size_t)rw_pack_scales(p), n = RW_TILE_COLS / n_scales;
    int zero = rw_pack_mins(p) ? 0 : 1 << rw_pack_zero_shift(p);
    for (size_t s = 0; s < n_scales; s++) {
        size_t g = s * n / 32;
        int32_t dot_product = 0;
        for (size_t k = s * n; k < s * n + n; k++)
            dot_product += (tile[k / 4 * RW_LINE + 4 * r + k % 4] - zero) * x->q[k];
        float scale = rw_half_at(tile + 16 * RW_LINE + 2 * (RW_STRIP_ROWS * s + r));
        sum = fmaf((float)dot_product, scale * x->d[g], sum);
        if (rw_pack_mins(p))
            sum = fmaf(rw_half_at(tile + rw_wide_mins_at(p) + 2 * (RW_STRIP_ROWS * s + r)),
                       min_factor(p, x, s), sum);
    }
    return sum;
}

static inline void matmul_wide(rw_pack p, const uint8_t *tiles, size_t n_tiles, const rw_act *x,
                               size_t n_tokens, float *sums) {
    for (size_t i = 0; i < n_tiles; i++, tiles += rw_wide_bytes(p), x += n_tokens) {
        for (size_t t = 0; t < n_tokens; t++) {
            for (size_t r = 0; r < RW_STRIP_ROWS; r++)
                sums[16 * t + r] = wide_tile(p, tiles, r, x + t, sums[16 * t + r]);
        }
    }
}

/* sum + (what the chosen columns of scale s of a slab, group g of its tile, add to row r). */
static float slab_row(rw_pack p, const uint8_t *slab, size_t r, const rw_act *x,
                      const rw_chosen *chosen, size_t stride, size_t t, size_t g, size_t s, float sum) {
    int zero = rw_pack_mins(p) ? 0 : 1 << rw_pack_zero_shift(p);
    int32_t dot_product = 0;
    for (size_t i = 0; i < 4 * (size_t)chosen->n; i++)
        dot_product += (slab_element(p, slab, r, chosen->column[i]) - zero) *
                       chosen->quad[(i / 4 * stride + t) * 4 + i % 4];
    float scale = rw_half_at(slab + rw_slab_scales_at(p) + 2 * (RW_BLOCK_ROWS * s + r));
    sum = fmaf((float)dot_product, scale * x->d[g], sum);
    if (!rw_pack_mins(p)) return sum;
    return fmaf(rw_half_at(slab + rw_slab_mins_at(p) + 2 * (RW_BLOCK_ROWS * s + r)),
                min_factor(p, x, g * (size_t)rw_pack_scales(p) / 2 + s), sum);
}

static inline void matmul_columns(rw_pack p, const uint8_t *blocks, size_t cols, size_t n_rows,
                                  const rw_act *x, const rw_chosen *chosen, size_t n_tokens,
                                  float scale, float *y, size_t y_stride) {
    size_t n_scales = (size_t)rw_pack_scales(p) / 2;
    for (size_t row = 0; row < n_rows; row++) {
        const uint8_t *block = blocks + row / RW_BLOCK_ROWS * rw_block_bytes(p, cols);
        size_t r = row % RW_BLOCK_ROWS;
        float factor;
        memcpy(&factor, block + 4 * r, sizeof factor);
        for (size_t t = 0; t < n_tokens; t++) {
            float sum = 0;
            for (size_t i = 0; i < cols / RW_SLAB_COLS * n_scales; i++) {
                const uint8_t *slab = block + 4 * RW_BLOCK_ROWS + i / n_scales * rw_slab_bytes(p);
                size_t group = i / n_scales;
                if (chosen[i].zero) continue;
                sum = slab_row(p, slab, r, &x[group / 2 * n_tokens + t], &chosen[i], n_tokens, t,
                               group % 2, i % n_scales, sum);
            }
            y[t * y_stride + row] = factor * scale * sum;
        }
    }
}

#define PACKED(P)                                                                                  \
    static void matmul_##P(const uint8_t *strips, size_t cols, size_t n_rows, const rw_act *x,     \
                           size_t n_tokens, float scale, float *y, size_t y_stride) {              \
        matmul_packed(P, strips, cols, n_rows, x, n_tokens, scale, y, y_stride);                   \
    }                                                                                              \
    static void columns_##P(const uint8_t *blocks, size_t cols, size_t n_rows, const rw_act *x,    \
                            const rw_chosen *chosen, size_t n_tokens, float scale, float *y,       \
                            size_t y_stride) {                                                     \
        matmul_columns(P, blocks, cols, n_rows, x, chosen, n_tokens, scale, y, y_stride);          \
    }                                                                                              \
    static void widen_##P(const uint8_t *tiles, size_t n_tiles, uint8_t *out) {                    \
        widen(P, tiles, n_tiles, out);                                                             \
    }                                                                                              \
    static void widen_block_##P(const uint8_t *slabs, size_t n_tiles, uint8_t *out,                \
                                size_t out_stride) {                                               \
        widen_block(P, slabs, n_tiles, out, out_stride);                                           \
    }                                                                                              \
    static void wide_##P(const uint8_t *tiles, size_t n_tiles, const rw_act *x, size_t n_tokens,   \
                         float *sums) {                                                            \
        matmul_wide(P, tiles, n_tiles, x, n_tokens, sums);                                         \
    }
RW_PACKS(PACKED)

#define MATMUL_PACKED(P) [P] = matmul_##P,
#define MATMUL_COLUMNS(P) [P] = columns_##P,
#define WIDEN(P) [P] = widen_##P,
#define WIDEN_BLOCK(P) [P] = widen_block_##P,
#define MATMUL_WIDE(P) [P] = wide_##P,

/* ---- norms, mixes, functions */

static float mean_of(const float *x, size_t n) {
    float s[LANES] = {0};
    for (size_t k = 0; k < n; k++) s[k % LANES] += x[k];
    return tree(s) / (float)n;
}

static float variance_of(const float *x, size_t n, float mean) {
    float s[LANES] = {0};
    for (size_t k = 0; k < n; k++) s[k % LANES] += (x[k] - mean) * (x[k] - mean);
    return tree(s) / (float)n;
}

/* out may be x. */
static void layer_norm(const float *x, const float *weight, const float *bias, float eps,
                       float *out, size_t n) {
    float mean = mean_of(x, n), scale = 1.0f / sqrtf(variance_of(x, n, mean) + eps);
    for (size_t i = 0; i < n; i++) out[i] = (x[i] - mean) * scale * weight[i] + bias[i];
}

static void mix_current(const float *x, const float *p, const float *m, float *out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = x[i] * m[i] + p[i] * (1.0f - m[i]);
}

static void mix_previous(const float *x, const float *p, const float *m, float *out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = x[i] + (p[i] - x[i]) * m[i];
}

static void relu2(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float v = x[i] < 0.0f ? 0.0f : x[i]; /* NaN stays */
        x[i] = v * v;
    }
}

/* exp of a number <= 0 only: no overflow, and full precision for large negative x. */
static float logistic(float x) {
    float e = expf(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

static void sigmoid(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = logistic(x[i]);
}

static void hyperbolic_tangent(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = tanhf(x[i]);
}

static void silu(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] *= logistic(x[i]);
}

static bool all_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return false;
    }
    return true;
}

static float larger(float a, float b) {
    return a > b ? a : b;
}

/* With q = max(pp, u + k), e1 = exp(pp - q), e2 = exp(u + k - q):
 *     y = (e1 aa + e2 v) / (e1 bb + e2)
 * With q = max(pp + w, k), e1 = exp(pp + w - q), e2 = exp(k - q):
 *     aa' = e1 aa + e2 v,  bb' = e1 bb + e2,  pp' = q
 * The true numerator is aa exp(pp): no exponent is ever positive. */
static void wkv4(const float *k, const float *v, size_t stride, const float *u, const float *w,
                 float *aa, float *bb, float *pp, float *y, size_t n_tokens, size_t n) {
    for (size_t t = 0; t < n_tokens; t++, k += stride, v += stride, y += stride) {
        for (size_t i = 0; i < n; i++) {
            float uk = u[i] + k[i], q = larger(pp[i], uk);
            float e1 = expf(pp[i] - q), e2 = expf(uk - q);
            y[i] = (e1 * aa[i] + e2 * v[i]) / (e1 * bb[i] + e2);
            float wp = pp[i] + w[i];
            q = larger(wp, k[i]);
            e1 = expf(wp - q);
            e2 = expf(k[i] - q);
            aa[i] = e1 * aa[i] + e2 * v[i];
            bb[i] = e1 * bb[i] + e2;
            pp[i] = q;
        }
    }
}

/* y_j = sum_i r_i (S_ij + u_i k_i v_j) = sum_i r_i S_ij + (sum_i r_i u_i k_i) v_j
 * S_ij' = w_i S_ij + k_i v_j            i: key channel (rows of S), j: value channel */
static void wkv6(const float *r, const float *k, const float *v, size_t stride, const float *u,
                 const float *w, size_t w_stride, float *S, float *y, size_t n_tokens, size_t n) {
    for (size_t t = 0; t < n_tokens; t++, r += stride, k += stride, v += stride, y += stride) {
        float bonus = 0.0f;
        for (size_t i = 0; i < n; i++) bonus += r[i] * u[i] * k[i];
        memset(y, 0, n * sizeof *y);
        for (size_t i = 0; i < n; i++) {
            float *row = S + i * n;
            for (size_t j = 0; j < n; j++) {
                y[j] += r[i] * row[j];
                row[j] = w[i] * row[j] + k[i] * v[j];
            }
        }
        for (size_t j = 0; j < n; j++) y[j] += bonus * v[j];
        w += w_stride;
    }
}

static void decay6(const float *decay, float *d, size_t n) {
    for (size_t i = 0; i < n; i++) d[i] = expf(-expf(decay[i] + d[i]));
}

/* d = exp(-exp(-1/2) sigmoid(w0 + d)), a = sigmoid(a0 + a), kappa = k k_k / max(|k k_k|, 1e-12) with k
 * before its change, k = k (1 + (a - 1) k_a), v = v + (v_first - v) sigmoid(v0 + vl) */
static void prepare7(const rw_head7 *h, size_t n) {
    float squares[LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        h->d[i] = expf(-0.60653066f * logistic(h->w0[i] + h->d[i]));
        h->a[i] = logistic(h->a0[i] + h->a[i]);
        h->kappa[i] = h->k[i] * h->k_k[i];
        squares[i % LANES] += h->kappa[i] * h->kappa[i];
        h->k[i] *= 1.0f + (h->a[i] - 1.0f) * h->k_a[i];
    }
    float scale = 1.0f / larger(sqrtf(tree(squares)), 1e-12f);
    for (size_t i = 0; i < n; i++) h->kappa[i] *= scale;
    for (size_t i = 0; h->vl && i < n; i++)
        h->v[i] += (h->v_first[i] - h->v[i]) * logistic(h->v0[i] + h->vl[i]);
}

static void finish7(const rw_head7 *h, size_t n) {
    float products[LANES] = {0};
    layer_norm(h->y, h->ln_w, h->ln_b, h->eps, h->y, n);
    for (size_t i = 0; i < n; i++) products[i % LANES] += h->r[i] * h->k[i] * h->r_k[i];
    float bonus = tree(products);
    for (size_t i = 0; i < n; i++) h->y[i] = (h->y[i] + bonus * h->v[i]) * h->g[i];
}

/* s_i = sum_j S_ij kappa_j
 * S_ij' = S_ij w_j - s_i kappa_j a_j + v_i k_j
 * y_i = sum_j S_ij' r_j                 i: value channel (rows of S), j: key channel */
static void wkv7(const float *r, const float *w, const float *k, const float *v, const float *kappa,
                 const float *a, size_t stride, float *S, float *y, size_t n_tokens, size_t n) {
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t i = 0; i < n; i++) {
            float *row = S + i * n, s = dot(row, kappa, n);
            for (size_t j = 0; j < n; j++)
                row[j] = row[j] * w[j] - s * (kappa[j] * a[j]) + v[i] * k[j];
            y[i] = dot(row, r, n);
        }
        r += stride, w += stride, k += stride, v += stride;
        kappa += stride, a += stride, y += stride;
    }
}

const rw_kernels rw_kernels_scalar = {
    .name = "scalar",
    .decode = {[RW_F32] = rw_decode_f32,
               [RW_F16] = rw_decode_f16,
               [RW_BF16] = rw_decode_bf16,
               [RW_F64] = rw_decode_f64,
               [RW_Q4_0] = rw_decode_q4_0,
               [RW_Q4_1] = rw_decode_q4_1,
               [RW_Q5_0] = rw_decode_q5_0,
               [RW_Q5_1] = rw_decode_q5_1,
               [RW_Q8_0] = rw_decode_q8_0,
               [RW_Q2_K] = rw_decode_q2_k,
               [RW_Q3_K] = rw_decode_q3_k,
               [RW_Q4_K] = rw_decode_q4_k,
               [RW_Q5_K] = rw_decode_q5_k,
               [RW_Q6_K] = rw_decode_q6_k,
               [RW_IQ4_NL] = rw_decode_iq4_nl,
               [RW_IQ4_XS] = rw_decode_iq4_xs},
    .matmul_f32 = matmul_f32,
    .matmul_f16 = matmul_f16,
    .matmul_bf16 = matmul_bf16,
    .quantize = quantize,
    .matmul_packed = {RW_PACKS(MATMUL_PACKED)},
    .matmul_columns = {RW_PACKS(MATMUL_COLUMNS)},
    .widen = {RW_PACKS(WIDEN)},
    .widen_block = {RW_PACKS(WIDEN_BLOCK)},
    .matmul_wide = {RW_PACKS(MATMUL_WIDE)},
    .layer_norm = layer_norm,
    .mix_current = mix_current,
    .mix_previous = mix_previous,
    .relu2 = relu2,
    .sigmoid = sigmoid,
    .tanh = hyperbolic_tangent,
    .silu = silu,
    .all_finite = all_finite,
    .wkv4 = wkv4,
    .wkv6 = wkv6,
    .decay6 = decay6,
    .prepare7 = prepare7,
    .finish7 = finish7,
    .wkv7 = wkv7,
};
