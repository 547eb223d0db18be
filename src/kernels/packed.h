/* packed.h - products with packed matrices, written once over vectors of LANES 32-bit lanes, one lane
 * for each row; sixteen lanes are a strip, eight are half of one. The including file defines LANES,
 * MOST_TOKENS, the vectors (vi: integers, vf: floats) and the operations on them that are used here;
 * SIGNED_BYTES: whether eight-bit elements must be multiplied as signed numbers, q - 128.
 *
 * A quad of a token's activations is one 32-bit word that all rows share; four elements of all rows
 * are one vector. Integer sums of a scale's 16 or 32 columns are exact, whatever the tile; then, as
 * in scalar.c: sum = fma(float(int), scale * d, sum), and sum = fma(min, d * sum(q), sum). */

/* P | WIDE: the tile is a wide one. */
enum { WIDE = 32 };

/* Elements of IQ4 as bytes. */
INLINE vi iq4_bytes(vi index) {
    vi v = lookup(rw_iq4_values, index);
    return SIGNED_BYTES ? v : minus_128(v);
}

/* v with the bits of quad i in a plane of `n`-bit fields, 1 or 2, above its `low` bits. */
INLINE vi with_plane(vi v, const uint8_t *plane, const int g, const int i, const int n,
                     const int low) {
    vi h = line(plane + (n == 1 ? g : 2 * g + i / 4) * RW_LINE);
    const int up = low - (n == 1 ? i : 2 * (i % 4));
    return or_masked(v, up >= 0 ? shift_left(h, up) : shift_right(h, -up), ((1 << n) - 1) << low);
}

/* Quad i of group g, as it is multiplied. */
INLINE vi quad_line(const rw_pack P, const uint8_t *tile, const int g, const int i) {
    const int low = rw_pack_low_bits(P & ~WIDE), high = rw_pack_bits(P & ~WIDE) - low;
    if (low == 8 || P & WIDE) {
        vi v = line(tile + (8 * g + i) * RW_LINE);
        return SIGNED_BYTES && rw_pack_bytes(P & ~WIDE) ? minus_128(v) : v;
    }
    vi v;
    if (low == 2) {
        v = and_bytes(shift_right(line(tile + (2 * g + i / 4) * RW_LINE), 2 * (i % 4)), 0x03);
    } else {
        v = line(tile + (4 * g + i % 4) * RW_LINE);
        v = and_bytes(i < 4 ? v : shift_right(v, 4), 0x0f);
    }
    if (P == RW_PACK_IQ4) return iq4_bytes(v);
    return high ? with_plane(v, tile + rw_pack_high_at(P), g, i, high, low) : v;
}

/* - zero * sum(q) of scale s, where the sums of its columns begin. */
INLINE int32_t first_sum(const rw_pack pack, const rw_act *x, const int s) {
    const rw_pack P = pack & ~WIDE;
    if (rw_pack_mins(P) || (SIGNED_BYTES && rw_pack_bytes(P))) return 0;
    int32_t minus_sum = rw_pack_scales(P) == 4 ? x->minus_sum16[s] : x->minus_sum[s];
    return minus_sum * (1 << rw_pack_zero_shift(P));
}

/* d * sum(q) of the columns of scale s, by which their min is multiplied. */
INLINE float min_factor(const rw_pack P, const rw_act *x, const int s) {
    return rw_pack_scales(P) == 2 ? x->dsum[s] : x->d[s / 2] * (float)-x->minus_sum16[s];
}

/* acc[t] = integer sums of the columns of scale s: n quads of group g from the first on. */
INLINE void column_sums(const rw_pack P, const int NT, const uint8_t *tile, const int s,
                        const int g, const int first, const int n, const rw_act *x, vi *acc);

#ifndef RW_PAIRED_TOKENS
INLINE void column_sums(const rw_pack P, const int NT, const uint8_t *tile, const int s,
                        const int g, const int first, const int n, const rw_act *x, vi *acc) {
    UNROLL for (int t = 0; t < NT; t++) acc[t] = all_words(first_sum(P, &x[t], s));
    UNROLL for (int j = 0; j < n; j++) {
        const int i = first + (n == 8 ? j / 2 + j % 2 * 4 : j); /* both nibbles of a line in turn */
        vi w = quad_line(P, tile, g, i);
        UNROLL for (int t = 0; t < NT; t++) acc[t] =
            dot4(P & ~WIDE, acc[t], w, x[t].q + 32 * g, i);
    }
}
#endif

/* The columns of one scale, number s of the tile: 32 or 16. tile: that of the vector's
 * first row, scales and mins begin there too. */
INLINE void packed_columns(const rw_pack P, const int NT, const uint8_t *tile,
                           const uint8_t *scales, const int s, const rw_act *x, vf *sum) {
    const rw_pack base = P & ~WIDE;
    const size_t scales_at = P & WIDE ? 16 * RW_LINE : rw_pack_scales_at(base);
    const size_t mins_at = P & WIDE ? rw_wide_mins_at(base) : rw_pack_mins_at(base);
    const int per_group = rw_pack_scales(base) / 2, g = s / per_group, n = 8 / per_group;
    vi acc[RW_PANEL];
    column_sums(P, NT, tile, s, g, s % per_group * n, n, x, acc);
    vf scale = halves(scales + scales_at + 2 * RW_STRIP_ROWS * s);
    UNROLL for (int t = 0; t < NT; t++) sum[t] =
        fused(to_float(acc[t]), times(scale, x[t].d[g]), sum[t]);
    if (!rw_pack_mins(base)) return;
    vf min = halves(scales + mins_at + 2 * RW_STRIP_ROWS * s);
    UNROLL for (int t = 0; t < NT; t++) sum[t] =
        fused(min, all_floats(min_factor(base, x + t, s)), sum[t]);
}

/* Reads that wait for arithmetic are too slow for the processor to see them as a stream. */
INLINE void fetch_ahead(const uint8_t *p, const size_t n) {
    enum { AHEAD = 8192 };
    for (size_t at = 0; at < n; at += RW_LINE) fetch(p + AHEAD + at);
}

/* All rows for NT tokens; x_stride: tokens from tile to tile. */
INLINE void packed_rows(const rw_pack P, const int NT, const uint8_t *strip, size_t cols,
                        size_t n_rows, const rw_act *x, size_t x_stride, float scale, float *y,
                        size_t y_stride) {
    size_t n_tiles = rw_pack_tiles(cols), strip_bytes = rw_pack_strip_bytes(P, cols);
    for (size_t r = 0; r < n_rows; r += LANES) {
        size_t lane = r % RW_STRIP_ROWS;
        const uint8_t *factors = strip + r / RW_STRIP_ROWS * strip_bytes;
        const uint8_t *tile = factors + RW_FACTORS;
        const rw_act *a = x;
        vf sum[RW_PANEL];
        UNROLL for (int t = 0; t < NT; t++) sum[t] = all_floats(0.0f);
        for (size_t i = 0; i < n_tiles; i++, a += x_stride, tile += rw_pack_tile_bytes(P)) {
            if (NT > 2) fetch_ahead(tile, rw_pack_tile_bytes(P));
            UNROLL for (int s = 0; s < rw_pack_scales(P); s++)
                packed_columns(P, NT, tile + 4 * lane, tile + 2 * lane, s, a, sum);
        }
        vf factor = times(floats(factors + 4 * lane), scale);
        UNROLL for (int t = 0; t < NT; t++)
            put_rows(y + (size_t)t * y_stride + r, product(factor, sum[t]), n_rows - r);
    }
}

/* At most NT tokens at a time, what the registers hold. Not every number has a function of its own:
 * compiling them would take minutes. */
INLINE void packed_tokens(const rw_pack P, const int NT, const uint8_t *strips, size_t cols,
                          size_t n_rows, const rw_act *x, size_t n_tokens, float scale, float *y,
                          size_t y_stride) {
    size_t stride = n_tokens;
#define TOKENS(N)                                                                                  \
    for (; N <= NT && n_tokens >= N; n_tokens -= N, x += N, y += N * y_stride)                     \
        packed_rows(P, N, strips, cols, n_rows, x, stride, scale, y, y_stride);
    TOKENS(12) TOKENS(8) TOKENS(6) TOKENS(4) TOKENS(3) TOKENS(2) TOKENS(1)
#undef TOKENS
}

#define PACKED(P)                                                                                  \
    static void matmul_##P(const uint8_t *strips, size_t cols, size_t n_rows, const rw_act *x,     \
                           size_t n_tokens, float scale, float *y, size_t y_stride) {              \
        packed_tokens(P, MOST_TOKENS, strips, cols, n_rows, x, n_tokens, scale, y, y_stride);      \
    }
RW_PACKS(PACKED)
