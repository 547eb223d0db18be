/* packed_x86.h - products with packed matrices, written once over vectors of sixteen 32-bit lanes,
 * one lane for each row of a strip. The including file defines the vectors (vi: integers, vf:
 * floats) and the operations on them that are used here.
 *
 * A quad of a token's activations is one 32-bit word that all rows share; four elements of sixteen
 * rows are one line of the strip. Integer sums of a scale's 16 or 32 columns are exact, whatever
 * the tile; then, as in scalar.c: sum = fma(float(int), scale * d, sum), and sum = fma(min, d *
 * sum(q), sum). */

/* Quad i of group g, unsigned bytes. */
INLINE vi quad_line(const rw_pack P, const uint8_t *tile, const int g, const int i) {
    if (P == RW_PACK_8) return line(tile + (8 * g + i) * RW_LINE);
    const uint8_t *high = tile + rw_pack_high_at(P);
    vi v = line(tile + (4 * g + i % 4) * RW_LINE);
    v = i < 4 ? and_bytes(v, 0x0f) : and_bytes(shift_right(v, 4), 0x0f);
    if (P == RW_PACK_5 || P == RW_PACK_5M) {
        vi h = line(high + g * RW_LINE);
        v = or_masked(v, i < 4 ? shift_left(h, 4 - i) : shift_right(h, i - 4), 0x10);
    }
    if (P == RW_PACK_6) {
        vi h = line(high + (2 * g + i / 4) * RW_LINE);
        v = or_masked(
            v, i % 4 < 2 ? shift_left(h, 4 - 2 * (i % 4)) : shift_right(h, 2 * (i % 4) - 4), 0x30);
    }
    return v;
}

/* The columns of one scale, number s of the tile: 32, or 16 for six bits. */
INLINE void packed_columns(const rw_pack P, const int NT, const uint8_t *tile, const int s,
                           const rw_act *x, vf *sum) {
    const int per_group = rw_pack_scales(P) / 2, g = s / per_group, n = 8 / per_group,
              first = s % per_group * n;
    vi acc[RW_PANEL];
    UNROLL for (int t = 0; t < NT; t++) {
        const int32_t *start = per_group == 2 ? &x[t].minus_sum16[s] : &x[t].minus_sum[s];
        acc[t] = rw_pack_mins(P) ? zeros() : shift_words(all_words(*start), rw_pack_zero_shift(P));
    }
    UNROLL for (int j = 0; j < n; j++) {
        const int i = first + (n == 8 ? j / 2 + j % 2 * 4 : j); /* both nibbles of a line in turn */
        vi w = quad_line(P, tile, g, i);
        UNROLL for (int t = 0; t < NT; t++) acc[t] = dot4(P, acc[t], w, x[t].q + 32 * g + 4 * i);
    }
    vf scale = halves(tile + rw_pack_scales_at(P) + 2 * RW_STRIP_ROWS * s);
    UNROLL for (int t = 0; t < NT; t++) sum[t] =
        fma16(to_float(acc[t]), times(scale, x[t].d[g]), sum[t]);
    if (!rw_pack_mins(P)) return;
    vf min = halves(tile + rw_pack_mins_at(P) + 2 * RW_STRIP_ROWS * g);
    UNROLL for (int t = 0; t < NT; t++) sum[t] = fma16(min, all_floats(x[t].dsum[g]), sum[t]);
}

/* All rows for NT tokens; x_stride: tokens from tile to tile. */
INLINE void packed_rows(const rw_pack P, const int NT, const uint8_t *strip, size_t cols,
                        size_t n_rows, const rw_act *x, size_t x_stride, float scale, float *y,
                        size_t y_stride) {
    size_t n_tiles = rw_pack_tiles(cols), strip_bytes = rw_pack_strip_bytes(P, cols);
    for (size_t r = 0; r < n_rows; r += RW_STRIP_ROWS, strip += strip_bytes) {
        const uint8_t *tile = strip + RW_FACTORS;
        const rw_act *a = x;
        vf sum[RW_PANEL];
        UNROLL for (int t = 0; t < NT; t++) sum[t] = all_floats(0.0f);
        for (size_t i = 0; i < n_tiles; i++, a += x_stride, tile += rw_pack_tile_bytes(P)) {
            UNROLL for (int s = 0; s < rw_pack_scales(P); s++)
                packed_columns(P, NT, tile, s, a, sum);
        }
        vf factor = times(floats(strip), scale);
        UNROLL for (int t = 0; t < NT; t++)
            put_rows(y + (size_t)t * y_stride + r, product(factor, sum[t]), n_rows - r);
    }
}

/* A matmul_packed for tiles of at most NT tokens. */
#define PACKED(P)                                                                                  \
    static void matmul_##P(const uint8_t *strips, size_t cols, size_t n_rows, const rw_act *x,     \
                           size_t n_tokens, float scale, float *y, size_t y_stride) {              \
        packed_tokens(P, strips, cols, n_rows, x, n_tokens, scale, y, y_stride);                   \
    }
#define PACKED_ALL                                                                                 \
    PACKED(RW_PACK_4)                                                                              \
    PACKED(RW_PACK_4M)                                                                             \
    PACKED(RW_PACK_5)                                                                              \
    PACKED(RW_PACK_5M)                                                                             \
    PACKED(RW_PACK_6)                                                                              \
    PACKED(RW_PACK_8)
