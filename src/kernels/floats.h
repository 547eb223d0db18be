/* floats.h - the float kernels, written once over vectors of eight floats. The including file defines
 * f8 and the operations on it that are used here; formulas stand in scalar.c, in the same order.
 *
 * Sums: eight partial sums, element k into lane k mod 8 by fused multiply-add, a last step whose
 * missing lanes are zero, then the tree ((0+1)+(2+3)) + ((4+5)+(6+7)). A product has its own
 * accumulator in every tile shape, so its bits depend on k alone; they are the same in every table
 * that is made from this file. Nothing is read beyond the last element.
 *
 * exp: within 1 unit in the last place of the exact value; sigmoid, silu, tanh: within 3. */

/* ---- matrix products. A tile is NR rows by NT tokens; both are constants where it is called, so
 * the accumulators become registers. */

/* Elements [k, k + 8) of a row of floats, halves or bfloats. */
INLINE f8 weights(const rw_type W, const uint8_t *row, size_t k) {
    if (W == RW_F32) return load((const float *)(const void *)row + k);
    return W == RW_F16 ? load_halves(row + 2 * k) : load_bfloats(row + 2 * k);
}

/* Elements [k, k + n), n < 8; the rest is zero. */
INLINE f8 last_weights(const rw_type W, const uint8_t *row, size_t k, size_t n) {
    if (W == RW_F32) return load_part((const float *)(const void *)row + k, n);
    uint16_t rest[8] = {0};
    memcpy(rest, row + 2 * k, 2 * n);
    return weights(W, (const uint8_t *)rest, 0);
}

INLINE void tile(const rw_type W, const int NR, const int NT, const uint8_t *w, size_t row_bytes,
                 const float *x, size_t x_stride, size_t n, float scale, float *y,
                 size_t y_stride) {
    f8 acc[8][3];
    UNROLL for (int r = 0; r < NR; r++) {
        UNROLL for (int t = 0; t < NT; t++) acc[r][t] = set1(0.0f);
    }
    size_t k = 0;
    for (; k + 8 <= n; k += 8) {
        UNROLL for (int r = 0; r < NR; r++) {
            f8 ws = weights(W, w + (size_t)r * row_bytes, k);
            UNROLL for (int t = 0; t < NT; t++) {
                acc[r][t] = fma8(ws, load(x + (size_t)t * x_stride + k), acc[r][t]);
            }
        }
    }
    if (k < n) {
        UNROLL for (int r = 0; r < NR; r++) {
            f8 ws = last_weights(W, w + (size_t)r * row_bytes, k, n - k);
            UNROLL for (int t = 0; t < NT; t++) {
                acc[r][t] = fma8(ws, load_part(x + (size_t)t * x_stride + k, n - k), acc[r][t]);
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

static void decode_f16(const void *in, float *out, size_t n) {
    const uint8_t *p = in;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) store(out + i, load_halves(p + 2 * i));
    rw_decode_f16(p + 2 * i, out + i, n - i);
}

static void decode_bf16(const void *in, float *out, size_t n) {
    const uint8_t *p = in;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) store(out + i, load_bfloats(p + 2 * i));
    rw_decode_bf16(p + 2 * i, out + i, n - i);
}

/* ---- elementwise. Of the end of a row the missing lanes are zero and are not stored. */

static void layer_norm(const float *x, const float *weight, const float *bias, float eps,
                       float *out, size_t n) {
    f8 sum = set1(0.0f), squares = sum;
    size_t i = 0;
    for (; i < n; i += 8) sum = add(sum, load_n(x + i, n - i));
    f8 mean = set1(sum8(sum) / (float)n);
    for (i = 0; i < n; i += 8) {
        f8 e = sub(load_n(x + i, n - i), mean);
        if (n - i < 8) e = first_lanes(e, n - i);
        squares = fma8(e, e, squares);
    }
    f8 scale = set1(1.0f / sqrtf(sum8(squares) / (float)n + eps));
    for (i = 0; i < n; i += 8) {
        f8 e = mul(sub(load_n(x + i, n - i), mean), scale);
        store_n(out + i, fma8(e, load_n(weight + i, n - i), load_n(bias + i, n - i)), n - i);
    }
}

static void mix_current(const float *x, const float *p, const float *m, float *out, size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        size_t rest = n - i;
        f8 share = load_n(m + i, rest), old = sub(set1(1.0f), share);
        f8 v = fma8(load_n(x + i, rest), share, mul(load_n(p + i, rest), old));
        store_n(out + i, v, rest);
    }
}

static void mix_previous(const float *x, const float *p, const float *m, float *out, size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        size_t rest = n - i;
        f8 now = load_n(x + i, rest), d = sub(load_n(p + i, rest), now);
        store_n(out + i, fma8(d, load_n(m + i, rest), now), rest);
    }
}

static void relu2(float *x, size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        f8 v = larger(set1(0.0f), load_n(x + i, n - i)); /* in this order NaN stays */
        store_n(x + i, mul(v, v), n - i);
    }
}

/* 0 * x is NaN for NaN and infinity, and so is a sum that has one. */
static bool all_finite(const float *x, size_t n) {
    f8 zeros = set1(0.0f), sum = zeros;
    for (size_t i = 0; i < n; i += 8) sum = fma8(zeros, load_n(x + i, n - i), sum);
    return sum8(sum) == 0.0f;
}

/* x = k ln 2 + r with |r| <= ln(2) / 2; returns exp(r) - 1 by its series to r^7 / 7!, whose next
 * term is below 2^-26 of the result. ln 2 is taken in two parts, the first exact in few bits. */
static inline f8 expm1_reduced(f8 x, f8 *k) {
    *k = nearest(mul(x, set1(1.44269504f)));
    f8 r = fnma8(*k, set1(0.693359375f), x);
    r = fnma8(*k, set1(-2.12194440e-4f), r);
    f8 p = set1(1.0f / 5040);
    p = fma8(p, r, set1(1.0f / 720));
    p = fma8(p, r, set1(1.0f / 120));
    p = fma8(p, r, set1(1.0f / 24));
    p = fma8(p, r, set1(1.0f / 6));
    p = fma8(p, r, set1(0.5f));
    return fma8(mul(r, r), p, r);
}

/* exp of x <= 0. Below -104 the result is 0 in any case; 2^k is applied in two steps so that
 * results that are denormal round once. */
static inline f8 exp_negative(f8 x) {
    f8 k;
    x = larger(set1(-104.0f), x);
    f8 p = expm1_reduced(x, &k);
    f8 k1 = larger(k, set1(-100.0f));
    f8 s = power2(k1);
    return mul(fma8(p, s, s), power2(sub(k, k1)));
}

/* exp of any x: infinite above 88.8. The second step takes what power2 cannot. */
static inline f8 exp8(f8 x) {
    const f8 zero = set1(0.0f), most = set1(-90.0f);
    f8 k;
    x = sub(zero, larger(most, sub(zero, larger(set1(-104.0f), x))));
    f8 p = expm1_reduced(x, &k);
    f8 k1 = sub(zero, larger(set1(-100.0f), sub(zero, larger(set1(-100.0f), k))));
    f8 s = power2(k1);
    return mul(fma8(p, s, s), power2(sub(k, k1)));
}

static inline f8 sigmoid8(f8 x) {
    const f8 one = set1(1.0f);
    f8 e = exp_negative(minus_magnitude(x));
    return quotient(if_negative(x, e, one), add(one, e));
}

static inline f8 silu8(f8 x) {
    return mul(x, sigmoid8(x));
}

/* With m = exp(-2|x|) - 1, tanh|x| = -m / (2 + m): no cancellation near 0. */
static inline f8 tanh8(f8 x) {
    f8 k, y = mul(minus_magnitude(x), set1(2.0f));
    f8 p = expm1_reduced(larger(set1(-40.0f), y), &k);
    f8 s = power2(k);
    f8 m = fma8(p, s, sub(s, set1(1.0f)));
    return with_sign(quotient(m, add(set1(2.0f), m)), x);
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
            f8 uk = add(bonus, kt), q = larger(p, uk);
            f8 e1 = exp_negative(sub(p, q)), e2 = exp_negative(sub(uk, q));
            f8 up = fma8(e1, a, mul(e2, vt)), down = fma8(e1, b, e2);
            store_n(y + t * stride + i, quotient(up, down), rest);
            f8 wp = add(p, decay);
            q = larger(wp, kt);
            e1 = exp_negative(sub(wp, q));
            e2 = exp_negative(sub(kt, q));
            a = fma8(e1, a, mul(e2, vt));
            b = fma8(e1, b, e2);
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
    f8 acc[4];
    UNROLL for (int c = 0; c < NV; c++) acc[c] = set1(0.0f);
    for (size_t i = 0; i < n; i++, S += n) {
        f8 ri = set1(r[i]), ki = set1(k[i]), wi = set1(w[i]);
        UNROLL for (int c = 0; c < NV; c++) {
            f8 s = load(S + 8 * c);
            acc[c] = fma8(ri, s, acc[c]);
            store(S + 8 * c, fma8(wi, s, mul(ki, load(v + 8 * c))));
        }
    }
    UNROLL for (int c = 0; c < NV; c++) {
        store(y + 8 * c, fma8(set1(bonus), load(v + 8 * c), acc[c]));
    }
}

static void wkv6(const float *r, const float *k, const float *v, size_t stride, const float *u,
                 const float *w, size_t w_stride, float *S, float *y, size_t n_tokens, size_t n) {
    if (n % 8) {
        rw_kernels_scalar.wkv6(r, k, v, stride, u, w, w_stride, S, y, n_tokens, n);
        return;
    }
    for (size_t t = 0; t < n_tokens; t++, r += stride, k += stride, v += stride, y += stride) {
        f8 sum = set1(0.0f);
        size_t j = 0;
        for (; j < n; j += 8) sum = fma8(mul(load(r + j), load(u + j)), load(k + j), sum);
        float bonus = sum8(sum);
        for (j = 0; j + 32 <= n; j += 32) wkv6_columns(4, r, k, v + j, w, bonus, S + j, y + j, n);
        for (; j < n; j += 8) wkv6_columns(1, r, k, v + j, w, bonus, S + j, y + j, n);
        w += w_stride;
    }
}

static void decay6(const float *decay, float *d, size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        f8 e = exp8(add(load_n(decay + i, n - i), load_n(d + i, n - i)));
        store_n(d + i, exp_negative(sub(set1(0.0f), e)), n - i);
    }
}

static void prepare7(const rw_head7 *h, size_t n) {
    const f8 one = set1(1.0f);
    f8 squares = set1(0.0f);
    for (size_t i = 0; i < n; i += 8) {
        size_t rest = n - i;
        f8 d = sigmoid8(add(load_n(h->w0 + i, rest), load_n(h->d + i, rest)));
        store_n(h->d + i, exp_negative(mul(set1(-0.60653066f), d)), rest);
        f8 a = sigmoid8(add(load_n(h->a0 + i, rest), load_n(h->a + i, rest)));
        store_n(h->a + i, a, rest);
        f8 k = load_n(h->k + i, rest), kappa = mul(k, load_n(h->k_k + i, rest));
        store_n(h->kappa + i, kappa, rest);
        squares = fma8(kappa, kappa, squares); /* lanes beyond n hold zero */
        store_n(h->k + i, mul(k, fma8(sub(a, one), load_n(h->k_a + i, rest), one)), rest);
    }
    float length = sqrtf(sum8(squares));
    f8 scale = set1(1.0f / (length < 1e-12f ? 1e-12f : length));
    for (size_t i = 0; i < n; i += 8)
        store_n(h->kappa + i, mul(load_n(h->kappa + i, n - i), scale), n - i);
    for (size_t i = 0; h->vl && i < n; i += 8) {
        size_t rest = n - i;
        f8 mix = sigmoid8(add(load_n(h->v0 + i, rest), load_n(h->vl + i, rest)));
        f8 v = load_n(h->v + i, rest);
        store_n(h->v + i, fma8(sub(load_n(h->v_first + i, rest), v), mix, v), rest);
    }
}

static void finish7(const rw_head7 *h, size_t n) {
    f8 sum = set1(0.0f);
    layer_norm(h->y, h->ln_w, h->ln_b, h->eps, h->y, n);
    for (size_t i = 0; i < n; i += 8) {
        f8 rk = mul(load_n(h->r + i, n - i), load_n(h->k + i, n - i));
        sum = fma8(rk, load_n(h->r_k + i, n - i), sum);
    }
    f8 bonus = set1(sum8(sum));
    for (size_t i = 0; i < n; i += 8) {
        f8 y = fma8(bonus, load_n(h->v + i, n - i), load_n(h->y + i, n - i));
        store_n(h->y + i, mul(y, load_n(h->g + i, n - i)), n - i);
    }
}

/* Four value channels of one token: one pass for s = S kappa, one that updates and reads. Sums: sixteen
 * partial ones, element j into number j mod 16. */
static inline void wkv7_rows(const float *r, const float *w, const float *k, const float *v,
                             const float *kappa, const float *a, float *S, float *y, size_t n) {
    f8 s[4][2], acc[4][2], vs[4];
    for (int c = 0; c < 4; c++) s[c][0] = s[c][1] = acc[c][0] = acc[c][1] = set1(0.0f);
    for (size_t j = 0; j < n; j += 16) {
        for (size_t h = 0; h < 2 && j + 8 * h < n; h++) {
            f8 kj = load(kappa + j + 8 * h);
            for (size_t c = 0; c < 4; c++) s[c][h] = fma8(load(S + c * n + j + 8 * h), kj, s[c][h]);
        }
    }
    float sums[4];
    sum8x4(sums, add(s[0][0], s[0][1]), add(s[1][0], s[1][1]), add(s[2][0], s[2][1]),
           add(s[3][0], s[3][1]));
    for (int c = 0; c < 4; c++) {
        s[c][0] = set1(sums[c]);
        vs[c] = set1(v[c]);
    }
    for (size_t j = 0; j < n; j += 16) {
        for (size_t h = 0; h < 2 && j + 8 * h < n; h++) {
            size_t at = j + 8 * h;
            f8 wj = load(w + at), kj = load(k + at), rj = load(r + at);
            f8 remove = mul(load(kappa + at), load(a + at));
            for (size_t c = 0; c < 4; c++) {
                float *p = S + c * n + at;
                f8 now = fma8(vs[c], kj, fnma8(s[c][0], remove, mul(load(p), wj)));
                store(p, now);
                acc[c][h] = fma8(now, rj, acc[c][h]);
            }
        }
    }
    sum8x4(y, add(acc[0][0], acc[0][1]), add(acc[1][0], acc[1][1]), add(acc[2][0], acc[2][1]),
           add(acc[3][0], acc[3][1]));
}

static void wkv7(const float *r, const float *w, const float *k, const float *v, const float *kappa,
                 const float *a, size_t stride, float *S, float *y, size_t n_tokens, size_t n) {
    if (n % 8) {
        rw_kernels_scalar.wkv7(r, w, k, v, kappa, a, stride, S, y, n_tokens, n);
        return;
    }
#ifdef RW_AVX512
    if (n == 64) {
        wkv7_64(r, w, k, v, kappa, a, stride, S, y, n_tokens);
        return;
    }
#endif
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t i = 0; i < n; i += 4) wkv7_rows(r, w, k, v + i, kappa, a, S + i * n, y + i, n);
        r += stride, w += stride, k += stride, v += stride;
        kappa += stride, a += stride, y += stride;
    }
}

/* ---- activations as eight-bit integers */

/* 32 of them, group g of out: of the including file. */
static inline void quantize_group(const float *x, rw_act *out, int g);

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
