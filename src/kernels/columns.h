/* columns.h - the other two arrangements of quant/pack.h, over the vectors of packed.h: blocks, whose
 * columns are skipped where activations are zero, and wide strips. The bits are those of packed.h: the
 * integer sum of a scale's columns is exact whatever is left out, and the float sums go in one order. */

enum { PARTS = RW_STRIP_ROWS / LANES, PART_BYTES = 4 * LANES };

/* ---- wide strips */

/* Wide tiles hold unsigned bytes. */
INLINE void put_wide(const rw_pack P, uint8_t *p, vi v) {
    put_line(p, SIGNED_BYTES && rw_pack_bytes(P) ? minus_128(v) : v);
}

INLINE void widen(const rw_pack P, const uint8_t *tile, size_t n_tiles, uint8_t *out) {
    const size_t scales = rw_pack_tile_bytes(P) - rw_pack_scales_at(P);
    for (size_t k = 0; k < n_tiles; k++, tile += rw_pack_tile_bytes(P), out += rw_wide_bytes(P)) {
        fetch_ahead(tile, rw_pack_tile_bytes(P));
        if (P == RW_PACK_8) memcpy(out, tile, 16 * RW_LINE);
        UNROLL for (int i = 0; i < 16 && P != RW_PACK_8; i++) {
            UNROLL for (int part = 0; part < PARTS; part++)
                put_wide(P, out + i * RW_LINE + part * PART_BYTES,
                         quad_line(P, tile + part * PART_BYTES, i / 8, i % 8));
        }
        memcpy(out + 16 * RW_LINE, tile + rw_pack_scales_at(P), scales);
    }
}

/* The sums of one strip for NT tokens go on. */
INLINE void wide_tiles(const rw_pack P, const int NT, const uint8_t *tiles, size_t n_tiles,
                       const rw_act *x, size_t x_stride, float *sums) {
    for (size_t lane = 0; lane < RW_STRIP_ROWS; lane += LANES) {
        const uint8_t *tile = tiles;
        const rw_act *a = x;
        vf sum[RW_PANEL];
        UNROLL for (int t = 0; t < NT; t++) sum[t] = floats((const uint8_t *)(sums + 16 * t + lane));
        for (size_t k = 0; k < n_tiles; k++, a += x_stride, tile += rw_wide_bytes(P)) {
            UNROLL for (int s = 0; s < rw_pack_scales(P); s++)
                packed_columns(P | WIDE, NT, tile + 4 * lane, tile + 2 * lane, s, a, sum);
        }
        UNROLL for (int t = 0; t < NT; t++) put_rows(sums + 16 * t + lane, sum[t], LANES);
    }
}

INLINE void wide_tokens(const rw_pack P, const int NT, const uint8_t *tiles, size_t n_tiles,
                        const rw_act *x, size_t n_tokens, float *sums) {
    size_t stride = n_tokens;
#define TOKENS(N)                                                                                  \
    for (; N <= NT && n_tokens >= N; n_tokens -= N, x += N, sums += 16 * N)                        \
        wide_tiles(P, N, tiles, n_tiles, x, stride, sums);
    TOKENS(12) TOKENS(8) TOKENS(6) TOKENS(4) TOKENS(3) TOKENS(2) TOKENS(1)
#undef TOKENS
}

/* ---- blocks. A vector holds a part of a column of 64 rows: half 0 or 1 of the block. */

INLINE vi column_part(const rw_pack P, const uint8_t *slab, size_t c, const int half,
                      const int part) {
    if (P == RW_PACK_8) {
        vi v = line(slab + (2 * c + (size_t)half) * RW_LINE + part * PART_BYTES);
        return SIGNED_BYTES ? minus_128(v) : v;
    }
    vi v = line(slab + c * RW_LINE + part * PART_BYTES);
    v = half ? and_bytes(shift_right(v, 4), 0x0f) : and_bytes(v, 0x0f);
    if (P == RW_PACK_IQ4) return iq4_bytes(v);
    const uint8_t *plane =
        slab + rw_slab_planes_at(P) + (2 * (c / 8) + (size_t)half) * RW_LINE + part * PART_BYTES;
    UNROLL for (int b = 4; b < rw_pack_bits(P); b++, plane += 8 * RW_LINE)
        v = or_where(v, line(plane), 1 << c % 8, 1 << b);
    return v;
}

/* Four columns as the quads of four strips. */
INLINE void column_quads(const rw_pack P, const uint8_t *slab, const uint8_t *c, const int half,
                         const int part, vi out[4]) {
    vi c0 = column_part(P, slab, c[0], half, part), c1 = column_part(P, slab, c[1], half, part);
    vi c2 = column_part(P, slab, c[2], half, part), c3 = column_part(P, slab, c[3], half, part);
    vi low = mix_bytes(c0, c1, 0), low2 = mix_bytes(c2, c3, 0);
    vi high = mix_bytes(c0, c1, 1), high2 = mix_bytes(c2, c3, 1);
    out[0] = mix_pairs(low, low2, 0);
    out[1] = mix_pairs(low, low2, 1);
    out[2] = mix_pairs(high, high2, 0);
    out[3] = mix_pairs(high, high2, 1);
}

/* What the chosen columns of scale s, of a slab that is group g of its tile, add to half of the rows. */
INLINE void half_sums(const rw_pack P, const int NT, const uint8_t *slab, const rw_chosen *c,
                      const rw_act *x, const size_t g, const int s, const int half,
                      vf sum[][RW_FEW]) {
    const int scale_of_tile = (int)g * rw_pack_scales(P) / 2 + s;
    UNROLL for (int part = 0; part < PARTS; part++) {
        vi acc[4][RW_FEW], w[4];
        UNROLL for (int t = 0; t < NT; t++) {
            vi first = all_words(first_sum(P, x + t, scale_of_tile));
            UNROLL for (int j = 0; j < 4; j++) acc[j][t] = first;
        }
        for (size_t i = 0; i < c->n; i++) {
            column_quads(P, slab, c->column + 4 * i, half, part, w);
            UNROLL for (int t = 0; t < NT; t++) {
                const int8_t *quad = c->quad + 4 * (i * (size_t)NT + (size_t)t);
                UNROLL for (int j = 0; j < 4; j++) acc[j][t] = dot4(P, acc[j][t], w[j], quad, 0);
            }
        }
        const uint8_t *scales = slab + rw_slab_scales_at(P) +
                                2 * (RW_BLOCK_ROWS * s + RW_BLOCK_ROWS / 2 * half + LANES * part);
        UNROLL for (int j = 0; j < 4; j++) {
            vf scale = halves(scales + 2 * RW_STRIP_ROWS * j);
            const int at = (4 * half + j) * PARTS + part;
            UNROLL for (int t = 0; t < NT; t++) sum[at][t] =
                fused(to_float(acc[j][t]), times(scale, x[t].d[g]), sum[at][t]);
        }
    }
}

/* What a slab, group g of its tile, adds to the sums of a block's rows. */
INLINE void slab_sums(const rw_pack P, const int NT, const uint8_t *slab, const rw_act *x,
                      const rw_chosen *c, const size_t g, vf sum[][RW_FEW]) {
    UNROLL for (int s = 0; s < rw_pack_scales(P) / 2; s++) {
        UNROLL for (int half = 0; half < 2; half++)
            half_sums(P, NT, slab, c + s, x, g, s, half, sum);
        if (!rw_pack_mins(P)) continue;
        const int of_tile = (int)g * rw_pack_scales(P) / 2 + s;
        UNROLL for (int i = 0; i < 8 * PARTS; i++) {
            vf min = halves(slab + rw_slab_mins_at(P) + 2 * RW_BLOCK_ROWS * s + 2 * LANES * i);
            UNROLL for (int t = 0; t < NT; t++) sum[i][t] =
                fused(min, all_floats(min_factor(P, x + t, of_tile)), sum[i][t]);
        }
    }
}

/* The lines of a slab that the chosen columns need. */
INLINE void fetch_slab(const rw_pack P, const uint8_t *slab, const rw_chosen *c) {
    if (c->zero) return;
    for (size_t at = rw_slab_planes_at(P); at < rw_slab_bytes(P); at += RW_LINE) fetch(slab + at);
    for (int s = 0; s < rw_pack_scales(P) / 2; s++, c++) {
        for (size_t i = 0; i < 4 * (size_t)c->n; i++) {
            fetch(slab + c->column[i] * (P == RW_PACK_8 ? 2 : 1) * RW_LINE);
            if (P == RW_PACK_8) fetch(slab + (2 * c->column[i] + 1) * RW_LINE);
        }
    }
}

/* Slabs are fetched a few slabs before they are used. */
INLINE void block_rows(const rw_pack P, const int NT, const uint8_t *block, size_t cols,
                       size_t n_rows, const rw_act *x, const rw_chosen *chosen, float scale,
                       float *y, size_t y_stride) {
    enum { AHEAD = 8, VECTORS = 8 * PARTS };
    const size_t n_scales = (size_t)rw_pack_scales(P) / 2, n_slabs = cols / RW_SLAB_COLS;
    for (size_t r = 0; r < n_rows; r += RW_BLOCK_ROWS, block += rw_block_bytes(P, cols)) {
        const uint8_t *slab = block + 4 * RW_BLOCK_ROWS;
        const rw_chosen *c = chosen;
        vf sum[VECTORS][RW_FEW];
        UNROLL for (int i = 0; i < VECTORS; i++) {
            UNROLL for (int t = 0; t < NT; t++) sum[i][t] = all_floats(0.0f);
        }
        for (size_t i = 0; i < n_slabs; i++, slab += rw_slab_bytes(P), c += n_scales) {
            if (i + AHEAD < n_slabs)
                fetch_slab(P, slab + AHEAD * rw_slab_bytes(P), c + AHEAD * n_scales);
            if (!c->zero) slab_sums(P, NT, slab, x + i / 2 * (size_t)NT, c, i % 2, sum);
        }
        UNROLL for (size_t i = 0; i < VECTORS; i++) {
            size_t row = r + LANES * i;
            if (row >= n_rows) break;
            vf factor = times(floats(block + 4 * LANES * i), scale);
            UNROLL for (int t = 0; t < NT; t++)
                put_rows(y + (size_t)t * y_stride + row, product(factor, sum[i][t]), n_rows - row);
        }
    }
}

/* The wide tiles of all strips of a block. */
INLINE void widen_block(const rw_pack P, const uint8_t *slab, size_t n_tiles, uint8_t *out,
                        size_t out_stride) {
    const size_t n_scales = (size_t)rw_pack_scales(P) / 2;
    for (size_t k = 0; k < 2 * n_tiles; k++, slab += rw_slab_bytes(P)) {
        fetch_ahead(slab, rw_slab_bytes(P));
        uint8_t *tile = out + k / 2 * rw_wide_bytes(P), *lines = tile + 8 * (k % 2) * RW_LINE;
        for (uint8_t i = 0; i < 32; i += 4, lines += RW_LINE) {
            const uint8_t c[4] = {i, (uint8_t)(i + 1), (uint8_t)(i + 2), (uint8_t)(i + 3)};
            UNROLL for (int part = 0; part < 2 * PARTS; part++) {
                vi w[4];
                column_quads(P, slab, c, part / PARTS, part % PARTS, w);
                uint8_t *to = lines + part / PARTS * 4 * out_stride + part % PARTS * PART_BYTES;
                UNROLL for (size_t j = 0; j < 4; j++)
                    put_wide(P, to + j * out_stride, w[j]);
            }
        }
        for (size_t i = 0; i < 8; i++) {
            uint8_t *to = tile + i * out_stride;
            for (size_t s = 0; s < n_scales; s++) {
                size_t at = 32 * (n_scales * (k % 2) + s), from = 2 * RW_BLOCK_ROWS * s + 32 * i;
                memcpy(to + 16 * RW_LINE + at, slab + rw_slab_scales_at(P) + from, 32);
                if (rw_pack_mins(P))
                    memcpy(to + rw_wide_mins_at(P) + at, slab + rw_slab_mins_at(P) + from, 32);
            }
        }
    }
}

/* ---- entries of the table */

#define COLUMNS(P)                                                                                 \
    static void columns_##P(const uint8_t *blocks, size_t cols, size_t n_rows, const rw_act *x,    \
                            const rw_chosen *chosen, size_t n_tokens, float scale, float *y,       \
                            size_t y_stride) {                                                     \
        if (n_tokens == 1) block_rows(P, 1, blocks, cols, n_rows, x, chosen, scale, y, y_stride);  \
        if (n_tokens == 2) block_rows(P, 2, blocks, cols, n_rows, x, chosen, scale, y, y_stride);  \
        if (n_tokens == 3) block_rows(P, 3, blocks, cols, n_rows, x, chosen, scale, y, y_stride);  \
        if (n_tokens == 4) block_rows(P, 4, blocks, cols, n_rows, x, chosen, scale, y, y_stride);  \
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
        wide_tokens(P, MOST_TOKENS, tiles, n_tiles, x, n_tokens, sums);                            \
    }
RW_PACKS(COLUMNS)
