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

/* Quad i of group g of a wide tile. */
INLINE vi wide_line(const uint8_t *tile, const int g, const int i) {
    return line(tile + (8 * g + i) * RW_LINE);
}

/* What integer sums of scale s begin with: the zero point's share. */
INLINE vi first_sum(const rw_pack P, const rw_act *x, const int s) {
    if (rw_pack_mins(P)) return zeros();
    const int32_t *start = rw_pack_scales(P) == 4 ? &x->minus_sum16[s] : &x->minus_sum[s];
    return shift_words(all_words(*start), rw_pack_zero_shift(P));
}

/* The columns of one scale, number s of a tile, wide or not: 32, or 16 for six bits. */
INLINE void packed_columns(const rw_pack P, const bool wide, const int NT, const uint8_t *tile,
                           const int s, const rw_act *x, vf *sum) {
    const int per_group = rw_pack_scales(P) / 2, g = s / per_group, n = 8 / per_group,
              first = s % per_group * n;
    const uint8_t *scales = tile + (wide ? 16 * RW_LINE : rw_pack_scales_at(P));
    vi acc[RW_PANEL];
    UNROLL for (int t = 0; t < NT; t++) acc[t] = first_sum(P, x + t, s);
    UNROLL for (int j = 0; j < n; j++) {
        const int i = first + (n == 8 ? j / 2 + j % 2 * 4 : j); /* both nibbles of a line in turn */
        vi w = wide ? wide_line(tile, g, i) : quad_line(P, tile, g, i);
        UNROLL for (int t = 0; t < NT; t++) acc[t] = dot4(P, acc[t], w, x[t].q + 32 * g + 4 * i);
    }
    vf scale = halves(scales + 2 * RW_STRIP_ROWS * s);
    UNROLL for (int t = 0; t < NT; t++) sum[t] =
        fma16(to_float(acc[t]), times(scale, x[t].d[g]), sum[t]);
    if (!rw_pack_mins(P)) return;
    vf min = halves(tile + (wide ? rw_wide_mins_at(P) : rw_pack_mins_at(P)) +
                    2 * RW_STRIP_ROWS * g);
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
                packed_columns(P, false, NT, tile, s, a, sum);
        }
        vf factor = times(floats(strip), scale);
        UNROLL for (int t = 0; t < NT; t++)
            put_rows(y + (size_t)t * y_stride + r, product(factor, sum[t]), n_rows - r);
    }
}

/* ---- wide strips */

INLINE void widen(const rw_pack P, const uint8_t *tile, size_t n_tiles, uint8_t *out) {
    const size_t scales = rw_pack_tile_bytes(P) - rw_pack_scales_at(P);
    for (size_t k = 0; k < n_tiles; k++, tile += rw_pack_tile_bytes(P), out += rw_wide_bytes(P)) {
        UNROLL for (int i = 0; i < 16; i++)
            put_line(out + i * RW_LINE, quad_line(P, tile, i / 8, i % 8));
        memcpy(out + 16 * RW_LINE, tile + rw_pack_scales_at(P), scales);
    }
}

/* Sums of one strip go on. */
INLINE void wide_tiles(const rw_pack P, const int NT, const uint8_t *tile, size_t n_tiles,
                       const rw_act *x, size_t x_stride, float *sums) {
    vf sum[RW_PANEL];
    UNROLL for (int t = 0; t < NT; t++) sum[t] = floats((const uint8_t *)(sums + 16 * t));
    for (size_t k = 0; k < n_tiles; k++, x += x_stride, tile += rw_wide_bytes(P)) {
        UNROLL for (int s = 0; s < rw_pack_scales(P); s++)
            packed_columns(P, true, NT, tile, s, x, sum);
    }
    UNROLL for (int t = 0; t < NT; t++) put_rows(sums + 16 * t, sum[t], RW_STRIP_ROWS);
}

/* ---- blocks */

/* Column c of 64 rows, unsigned bytes. */
INLINE vi column_line(const rw_pack P, const uint8_t *slab, size_t c, const int half) {
    if (P == RW_PACK_8) return line(slab + (2 * c + (size_t)half) * RW_LINE);
    vi v = line(slab + c * RW_LINE);
    v = half ? and_bytes(shift_right(v, 4), 0x0f) : and_bytes(v, 0x0f);
    const uint8_t *plane = slab + rw_slab_planes_at(P) + (2 * (c / 8) + (size_t)half) * RW_LINE;
    UNROLL for (int b = 4; b < rw_pack_bits(P); b++, plane += 8 * RW_LINE)
        v = or_where(v, line(plane), 1 << c % 8, 1 << b);
    return v;
}

/* Four columns of 64 rows as the quads of four strips. */
INLINE void column_quads(const rw_pack P, const uint8_t *slab, const uint8_t *c, const int half,
                         vi out[4]) {
    vi a = column_line(P, slab, c[0], half), b = column_line(P, slab, c[1], half);
    vi d = column_line(P, slab, c[2], half), e = column_line(P, slab, c[3], half);
    vi low = mix_bytes(a, b, 0), low2 = mix_bytes(d, e, 0);
    vi high = mix_bytes(a, b, 1), high2 = mix_bytes(d, e, 1);
    out[0] = mix_pairs(low, low2, 0);
    out[1] = mix_pairs(low, low2, 1);
    out[2] = mix_pairs(high, high2, 0);
    out[3] = mix_pairs(high, high2, 1);
}

/* Columns of group g that some token's activations need. */
INLINE uint32_t active_columns(const int NT, const rw_act *x, size_t g) {
    uint32_t mask = 0;
    UNROLL for (int t = 0; t < NT; t++) mask |= nonzero_bytes(x[t].q + 32 * g);
    return mask;
}

/* The columns in `mask` of one scale, number s of the slab: their quads' activations, and zeros to
 * complete the last. Returns the number of quads. */
INLINE size_t gather_quads(const int NT, uint32_t mask, const rw_act *x, size_t g,
                           uint8_t column[RW_SLAB_COLS], int8_t quad[8][RW_FEW][4]) {
    size_t n = 0;
    for (; mask; mask &= mask - 1, n++) {
        size_t c = (size_t)__builtin_ctz(mask);
        column[n] = (uint8_t)c;
        UNROLL for (int t = 0; t < NT; t++) quad[n / 4][t][n % 4] = x[t].q[32 * g + c];
    }
    for (; n % 4; n++) {
        column[n] = column[n - 1];
        UNROLL for (int t = 0; t < NT; t++) quad[n / 4][t][n % 4] = 0;
    }
    return n / 4;
}

/* What a slab, group g of its tile, adds to the sums of a block's eight strips. */
INLINE void slab_sums(const rw_pack P, const int NT, const uint8_t *slab, const rw_act *x,
                      const size_t g, uint32_t mask, vf sum[8][RW_FEW]) {
    const int n_scales = rw_pack_scales(P) / 2;
    uint8_t column[RW_SLAB_COLS];
    int8_t quad[8][RW_FEW][4];
    UNROLL for (int s = 0; s < n_scales; s++) {
        const uint32_t of_scale = n_scales == 1 ? ~0u : 0xffffu << 16 * s;
        size_t n = gather_quads(NT, mask & of_scale, x, g, column, quad);
        UNROLL for (int half = 0; half < 2; half++) {
            vi acc[4][RW_FEW], w[4];
            UNROLL for (int t = 0; t < NT; t++) {
                UNROLL for (int j = 0; j < 4; j++)
                    acc[j][t] = first_sum(P, x + t, (int)g * n_scales + s);
            }
            for (size_t i = 0; i < n; i++) {
                column_quads(P, slab, column + 4 * i, half, w);
                UNROLL for (int t = 0; t < NT; t++) {
                    UNROLL for (int j = 0; j < 4; j++)
                        acc[j][t] = dot4(P, acc[j][t], w[j], quad[i][t]);
                }
            }
            UNROLL for (int j = 0; j < 4; j++) {
                const int strip = 4 * half + j;
                vf scale = halves(slab + rw_slab_scales_at(P) +
                                  2 * (RW_BLOCK_ROWS * s + RW_STRIP_ROWS * strip));
                UNROLL for (int t = 0; t < NT; t++) sum[strip][t] =
                    fma16(to_float(acc[j][t]), times(scale, x[t].d[g]), sum[strip][t]);
            }
        }
    }
    if (!rw_pack_mins(P)) return;
    UNROLL for (int strip = 0; strip < 8; strip++) {
        vf min = halves(slab + rw_slab_mins_at(P) + 2 * RW_STRIP_ROWS * strip);
        UNROLL for (int t = 0; t < NT; t++) sum[strip][t] =
            fma16(min, all_floats(x[t].dsum[g]), sum[strip][t]);
    }
}

/* A slab is fetched this many slabs before it is used. */
enum { AHEAD = 4 };

/* The lines of a slab that its columns in `mask` need. */
INLINE void fetch_slab(const rw_pack P, const uint8_t *slab, uint32_t mask) {
    if (!mask) return;
    for (size_t at = rw_slab_planes_at(P); at < rw_slab_bytes(P); at += RW_LINE) fetch(slab + at);
    for (; mask; mask &= mask - 1) {
        size_t c = (size_t)__builtin_ctz(mask);
        fetch(slab + c * (P == RW_PACK_8 ? 2 : 1) * RW_LINE);
        if (P == RW_PACK_8) fetch(slab + (2 * c + 1) * RW_LINE);
    }
}

INLINE void block_rows(const rw_pack P, const int NT, const uint8_t *block, size_t cols,
                       size_t n_rows, const rw_act *x, bool all, float scale, float *y,
                       size_t y_stride) {
    size_t n_slabs = cols / RW_SLAB_COLS;
    for (size_t r = 0; r < n_rows; r += RW_BLOCK_ROWS, block += rw_block_bytes(P, cols)) {
        const uint8_t *slab = block + 4 * RW_BLOCK_ROWS;
        vf sum[8][RW_FEW];
        UNROLL for (int i = 0; i < 8; i++) {
            UNROLL for (int t = 0; t < NT; t++) sum[i][t] = all_floats(0.0f);
        }
        for (size_t i = 0; i < n_slabs; i++, slab += rw_slab_bytes(P)) {
            const rw_act *a = x + i / 2 * (size_t)NT;
            bool zero = !all;
            if (!all && i + AHEAD < n_slabs)
                fetch_slab(P, slab + AHEAD * rw_slab_bytes(P),
                           active_columns(NT, x + (i + AHEAD) / 2 * (size_t)NT, (i + AHEAD) % 2));
            UNROLL for (int t = 0; t < NT; t++) zero &= a[t].d[i % 2] == 0.0f;
            if (zero) continue;
            slab_sums(P, NT, slab, a, i % 2, all ? ~0u : active_columns(NT, a, i % 2), sum);
        }
        UNROLL for (size_t i = 0; i < 8; i++) {
            size_t row = r + RW_STRIP_ROWS * i;
            if (row >= n_rows) break;
            vf factor = times(floats(block + 4 * RW_STRIP_ROWS * i), scale);
            UNROLL for (int t = 0; t < NT; t++)
                put_rows(y + (size_t)t * y_stride + row, product(factor, sum[i][t]), n_rows - row);
        }
    }
}

INLINE void block_tokens(const rw_pack P, const uint8_t *blocks, size_t cols, size_t n_rows,
                         const rw_act *x, size_t n_tokens, bool all, float scale, float *y,
                         size_t y_stride) {
    switch (n_tokens) {
    case 1: block_rows(P, 1, blocks, cols, n_rows, x, all, scale, y, y_stride); break;
    case 2: block_rows(P, 2, blocks, cols, n_rows, x, all, scale, y, y_stride); break;
    case 3: block_rows(P, 3, blocks, cols, n_rows, x, all, scale, y, y_stride); break;
    case 4: block_rows(P, 4, blocks, cols, n_rows, x, all, scale, y, y_stride); break;
    }
}

INLINE void widen_block(const rw_pack P, const uint8_t *slab, size_t n_tiles, uint8_t *out,
                        size_t out_stride) {
    const size_t n_scales = (size_t)rw_pack_scales(P) / 2;
    for (size_t k = 0; k < 2 * n_tiles; k++, slab += rw_slab_bytes(P)) {
        uint8_t *tile = out + k / 2 * rw_wide_bytes(P);
        for (size_t i = 0; i < 8; i++) {
            const uint8_t c[4] = {(uint8_t)(4 * i), (uint8_t)(4 * i + 1), (uint8_t)(4 * i + 2),
                                  (uint8_t)(4 * i + 3)};
            UNROLL for (int half = 0; half < 2; half++) {
                vi w[4];
                column_quads(P, slab, c, half, w);
                UNROLL for (size_t j = 0; j < 4; j++)
                    put_line(tile + (4 * (size_t)half + j) * out_stride + (8 * (k % 2) + i) * RW_LINE,
                             w[j]);
            }
        }
        for (size_t i = 0; i < 8; i++) {
            uint8_t *to = tile + i * out_stride;
            for (size_t s = 0; s < n_scales; s++)
                memcpy(to + 16 * RW_LINE + 32 * (n_scales * (k % 2) + s),
                       slab + rw_slab_scales_at(P) + 2 * RW_BLOCK_ROWS * s + 32 * i, 32);
            if (rw_pack_mins(P))
                memcpy(to + rw_wide_mins_at(P) + 32 * (k % 2), slab + rw_slab_mins_at(P) + 32 * i,
                       32);
        }
    }
}

/* The table's entries for one kind of packing; the including file chooses the tiles. */
#define PACKED(P)                                                                                  \
    static void matmul_##P(const uint8_t *strips, size_t cols, size_t n_rows, const rw_act *x,     \
                           size_t n_tokens, float scale, float *y, size_t y_stride) {              \
        packed_tokens(P, strips, cols, n_rows, x, n_tokens, scale, y, y_stride);                   \
    }                                                                                              \
    static void columns_##P(const uint8_t *blocks, size_t cols, size_t n_rows, const rw_act *x,    \
                            size_t n_tokens, bool all, float scale, float *y, size_t y_stride) {   \
        block_tokens(P, blocks, cols, n_rows, x, n_tokens, all, scale, y, y_stride);               \
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
        wide_tokens(P, tiles, n_tiles, x, n_tokens, sums);                                         \
    }
#define PACKED_ALL                                                                                 \
    PACKED(RW_PACK_4)                                                                              \
    PACKED(RW_PACK_4M)                                                                             \
    PACKED(RW_PACK_5)                                                                              \
    PACKED(RW_PACK_5M)                                                                             \
    PACKED(RW_PACK_6)                                                                              \
    PACKED(RW_PACK_8)
