/* kernels.h - the arithmetic, behind one struct of function pointers. The scalar table is complete, is
 * the truth, and is the port to unknown CPUs; each other ISA is one file with its own compiler flags.
 *
 * Order of sums: y[t][r] = sum over k of W[r][k] * X[t][k] is formed in an order that depends on the
 * ISA and on k only, never on how many rows or tokens are computed together. That is why results do
 * not depend on threads, chunking or batch neighbours. */
#ifndef RW_KERNELS_H
#define RW_KERNELS_H

#include "../base/base.h"
#include "../quant/pack.h"

/* 64 activations of one token, as eight-bit integers: x = d[j / 32] * q[j]. */
typedef struct rw_act {
    float d[2], dsum[2];                  /* dsum = d * sum of q */
    int32_t minus_sum[2], minus_sum16[4]; /* -(sum of q) of 32, and of 16 */
    int8_t q[RW_TILE_COLS];
} rw_act;

/* 64 activations of one token, two by two, as bfloat16. */
typedef struct rw_pairs {
    uint32_t word[RW_TILE_COLS / 2];
} rw_pairs;

enum {
    RW_PANEL = 12, /* tokens that matmul_packed and matmul_wide take at once, at most */
    RW_FEW = 4     /* and matmul_columns */
};

/* Of the columns of one scale (32, or 16 for six bits): those that n_tokens <= RW_FEW rows of activations
 * need, four by four. quad[(i * n_tokens + t) * 4]: the activations of token t for quad i; the last
 * quad is completed with zeros. A kernel may read 16 bytes from any quad. */
typedef struct rw_chosen {
    bool zero;                       /* of all tokens: adds nothing */
    uint8_t n;                       /* quads */
    uint8_t column[RW_SLAB_COLS];    /* in the slab */
    int8_t quad[RW_SLAB_COLS * RW_FEW + 12];
} rw_chosen;

/* v7: what one head of one token is made of, n numbers each. */
typedef struct rw_head7 {
    const float *w0, *a0, *v0, *k_k, *k_a, *r_k, *ln_w, *ln_b; /* of the layer */
    float *r, *k, *v, *g;                                      /* products */
    float *d, *a, *vl; /* low-rank outputs of decay, rate and value mix; vl NULL in layer 0 */
    const float *v_first;
    float *kappa, *y;
    float eps;
} rw_head7;

typedef struct rw_kernels {
    const char *name; /* "scalar", "avx2", ... */

    /* One row of blocks to float32, bit-exact with rw_type_info.decode. Index: rw_type. */
    void (*decode[RW_TYPE_COUNT])(const void *blocks, float *out, size_t n);

    /* y[t * y_stride + r] = scale * sum_k w[r * w_stride + k] * x[t * x_stride + k]
     * for r in [0, n_rows), t in [0, n_tokens). Any sizes. */
    void (*matmul_f32)(const float *w, size_t w_stride, size_t n_rows, const float *x, size_t x_stride,
                       size_t n_tokens, size_t n, float scale, float *y, size_t y_stride);
    /* The same with float16 and bfloat16 rows at any address: the bits that decoding them first
     * gives. */
    void (*matmul_f16)(const void *w, size_t w_stride, size_t n_rows, const float *x,
                       size_t x_stride, size_t n_tokens, size_t n, float scale, float *y,
                       size_t y_stride);
    void (*matmul_bf16)(const void *w, size_t w_stride, size_t n_rows, const float *x,
                        size_t x_stride, size_t n_tokens, size_t n, float scale, float *y,
                        size_t y_stride);

    /* Activations for matmul_bf16_blocks, rounded to nearest even, stride rw_pairs from one 64 to the next.
     * An odd last one gets a zero. NULL, as the next, where the processor has no instruction for it. */
    void (*round_bf16)(const float *x, size_t n, rw_pairs *out, size_t stride);
    /* As matmul_f32 with blocks of bfloat16 (pack.h). x: panel after panel of RW_PANEL rows of activations (the
     * last may have fewer), interleaved in each as for matmul_packed. Sums are float32 in one order. sparse:
     * columns whose inputs are zero in all rows may be left out, which gives the same bits. */
    void (*matmul_bf16_blocks)(const uint8_t *blocks, size_t cols, size_t n_rows, const rw_pairs *x,
                               size_t n_tokens, bool sparse, float scale, float *y, size_t y_stride);

    /* Activations for matmul_packed, stride rw_acts from one 64 to the next; n is rounded up with
     * zeros. d = max|x| / 127 of 32, q = x / d rounded to nearest even. A group that holds NaN or
     * infinity gets d = NaN, one that is all below 1e-30 gets zeros. */
    void (*quantize)(const float *x, size_t n, rw_act *out, size_t stride);
    /* As matmul_f32 with strips (pack.h) and n_tokens <= RW_PANEL interleaved rows of activations:
     * x[64-tile * n_tokens + t]. The same bits in every table. */
    void (*matmul_packed[RW_PACK_COUNT])(const uint8_t *strips, size_t cols, size_t n_rows,
                                         const rw_act *x, size_t n_tokens, float scale, float *y,
                                         size_t y_stride);
    /* The same bits from blocks: n_tokens <= RW_FEW, chosen: of every scale of a row. Other columns
     * are not read. */
    void (*matmul_columns[RW_PACK_COUNT])(const uint8_t *blocks, size_t cols, size_t n_rows,
                                          const rw_act *x, const rw_chosen *chosen, size_t n_tokens,
                                          float scale, float *y, size_t y_stride);
    /* n_tiles tiles of a strip, or 2 n_tiles slabs of a block, as wide tiles; those of a block's
     * eight strips are out_stride bytes apart. */
    void (*widen[RW_PACK_COUNT])(const uint8_t *tiles, size_t n_tiles, uint8_t *out);
    void (*widen_block[RW_PACK_COUNT])(const uint8_t *slabs, size_t n_tiles, uint8_t *out,
                                       size_t out_stride);
    /* sums[t * 16 + r] goes on with n_tiles wide tiles of one strip: the sum that matmul_packed
     * forms before it multiplies by factor * scale. */
    void (*matmul_wide[RW_PACK_COUNT])(const uint8_t *tiles, size_t n_tiles, const rw_act *x,
                                       size_t n_tokens, float *sums);

    /* out = (x - mean) / sqrt(var + eps) * weight + bias, population variance */
    void (*layer_norm)(const float *x, const float *weight, const float *bias, float eps, float *out,
                       size_t n);
    /* Token shift, both ways of writing it: out = x*m + p*(1-m)  |  out = x + (p-x)*m */
    void (*mix_current)(const float *x, const float *p, const float *m, float *out, size_t n);
    void (*mix_previous)(const float *x, const float *p, const float *m, float *out, size_t n);
    void (*relu2)(float *x, size_t n);      /* max(x,0)^2 in place */
    void (*sigmoid)(float *x, size_t n);    /* in place */
    void (*tanh)(float *x, size_t n);
    void (*silu)(float *x, size_t n);
    bool (*all_finite)(const float *x, size_t n);

    /* Recurrences for n_tokens consecutive tokens of one sequence; *_stride is the distance between
     * tokens. Formulas: docs in kernels/scalar.c and rwkv paper sections named there.
     * v4: channels [0, n); k, v: in; y: out; state aa, bb, pp [n]; u, w [n] (w = -exp(decay)). */
    void (*wkv4)(const float *k, const float *v, size_t stride, const float *u, const float *w, float *aa,
                 float *bb, float *pp, float *y, size_t n_tokens, size_t n);
    /* v5, v6: one head of size n. S [key][value]; r, k, v, y at stride; u [n]; w [n] at w_stride
     * (0: the same decay for every token). y is read before the update. */
    void (*wkv6)(const float *r, const float *k, const float *v, size_t stride, const float *u,
                 const float *w, size_t w_stride, float *S, float *y, size_t n_tokens, size_t n);
    /* v6: d = exp(-exp(decay + d)) */
    void (*decay6)(const float *decay, float *d, size_t n);
    /* v7, before the recurrence: d becomes the decay, a the rate, kappa the removal key; k and v change.
     * After it: y = (group norm of y + bonus of the token) * gate. Formulas: scalar.c. */
    void (*prepare7)(const rw_head7 *h, size_t n);
    void (*finish7)(const rw_head7 *h, size_t n);
    /* v7: one head of size n. S [value][key]; kappa: normalised removal key, a: in-context rate.
     * y is read after the update. */
    void (*wkv7)(const float *r, const float *w, const float *k, const float *v, const float *kappa,
                 const float *a, size_t stride, float *S, float *y, size_t n_tokens, size_t n);
} rw_kernels;

/* The columns that are not zero for all of n_tokens interleaved rows of activations, as matmul_packed takes
 * them; with `all` every column. out: one for each scale of a row of `cols` columns. */
void rw_choose_columns(rw_pack pack, const rw_act *x, size_t n_tokens, size_t cols, bool all,
                       rw_chosen *out);

/* isa NULL: $RWKV_ISA, else the best that CPU and system support. An unknown or unsupported name is
 * RWKV_E_ARG and the message lists the usable ones. */
rwkv_status rw_kernels_get(const rw_kernels **out, const char *isa, rwkv_error *err);

extern const rw_kernels rw_kernels_scalar;
void rw_round_bf16(const float *x, size_t n, rw_pairs *out, size_t stride); /* avx512bf16.c, and this: */
void rw_matmul_bf16_blocks(const uint8_t *blocks, size_t cols, size_t n_rows, const rw_pairs *x,
                           size_t n_tokens, bool sparse, float scale, float *y, size_t y_stride);
extern const rw_kernels rw_kernels_avx512_bf16;
extern const rw_kernels rw_kernels_avx2, rw_kernels_avxvnni, rw_kernels_avx512; /* x86-64 */
extern const rw_kernels rw_kernels_neon, rw_kernels_neon_dotprod, rw_kernels_neon_i8mm; /* arm64 */

#endif
