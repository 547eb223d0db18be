/* pack.h - quantized matrices rearranged for integer dot products: layouts that all processors
 * share. Strips serve every product. Blocks hold the same numbers column by column, for products
 * whose inputs are mostly zero: whole columns are skipped. Wide strips are what many tokens are
 * multiplied with, made from either of them on the way.
 *
 * A strip is 16 rows. It begins with 16 floats, one factor per row; then one tile for every 64
 * columns. A tile is lines of 64 bytes, 4 consecutive elements ("a quad") of each of the 16 rows:
 *
 *     low     line 4 g + i holds quad i of group g in the low nibbles, quad i + 4 in the high ones
 *             (a group is 32 columns, quads 0 to 7). Eight bits: line 8 g + quad. Two and three bits:
 *             line 2 g + h, bits 2 i and 2 i + 1 of a byte belong to quad 4 h + i
 *     high    five and three bits: line g, bit i of a byte belongs to quad i
 *             six bits: as two bits
 *     scales  float16, 16 rows for each scale: one per group, or one per 16 columns for six, three
 *             and two bits
 *     mins    float16, 16 rows for each min, as many as scales, if the type has them
 *
 *     element = factor * (scale * (q - zero) + min)
 *
 * q is unsigned; nibbles of IQ4 are numbers of a table's values, which gives q = value + 128. Rows
 * and columns that the matrix lacks have scale and min 0.
 *
 * A block is 128 rows. It begins with 128 factors; then one slab for every 32 columns:
 *
 *     low     32 lines, one per column: rows 0 to 63 in the low nibbles, 64 to 127 in the high
 *             ones, fewer than four bits too. Eight bits: 64 lines, two per column
 *     planes  one for each bit above the fourth: 8 lines, line 2 c + h for rows 64 h and on; bit i
 *             of a byte belongs to column 8 c + i
 *     scales  float16, 128 rows for each scale: one, or one per 16 columns
 *     mins    float16, 128 rows for each min
 *
 * Byte p of a line belongs to row 16 (p / 4 % 4) + 4 (p / 16) + p % 4 of its 64, so that
 * interleaving the bytes of four lines, lane of 16 by lane of 16, gives the quads of 16 rows in
 * order.
 *
 * A block of bfloat16 is 64 rows without factors: four lines for every two columns, line i both
 * columns of rows 16 i and on.
 *
 * A wide strip is a strip without factors whose tiles hold whole bytes, as for eight bits: 16 lines,
 * scales, mins. */
#ifndef RW_PACK_H
#define RW_PACK_H

#include "quant.h"

/* All of them: bits of q; M: with mins. */
#define RW_PACKS(X)                                                                                \
    X(RW_PACK_2M)                                                                                  \
    X(RW_PACK_3)                                                                                   \
    X(RW_PACK_4)                                                                                   \
    X(RW_PACK_4M)                                                                                  \
    X(RW_PACK_IQ4)                                                                                 \
    X(RW_PACK_5)                                                                                   \
    X(RW_PACK_5M)                                                                                  \
    X(RW_PACK_6)                                                                                   \
    X(RW_PACK_8)

#define RW_PACK_NAME(P) P,
typedef enum rw_pack {
    RW_PACKS(RW_PACK_NAME) RW_PACK_COUNT,
    RW_NOT_PACKED = RW_PACK_COUNT
} rw_pack;
#undef RW_PACK_NAME

enum { RW_STRIP_ROWS = 16, RW_TILE_COLS = 64, RW_LINE = 64, RW_FACTORS = 64 };
enum { RW_BLOCK_ROWS = 128, RW_SLAB_COLS = 32, RW_BF16_ROWS = 64 };

/* Offsets in a tile, in bytes. Constant expressions, so that kernels are specialised by them. */
static inline int rw_pack_bits(rw_pack p) {
    return p == RW_PACK_8 ? 8 : p == RW_PACK_6 ? 6 : p >= RW_PACK_5 ? 5 : p >= RW_PACK_4 ? 4 : p == RW_PACK_3 ? 3 : 2;
}
/* zero = 1 << this. IQ4 is multiplied as bytes. */
static inline int rw_pack_zero_shift(rw_pack p) {
    return p == RW_PACK_IQ4 ? 7 : rw_pack_bits(p) - 1;
}
static inline bool rw_pack_bytes(rw_pack p) {
    return rw_pack_zero_shift(p) == 7;
}
/* Per row and tile. */
static inline int rw_pack_scales(rw_pack p) {
    return p == RW_PACK_6 || p <= RW_PACK_3 ? 4 : 2;
}
static inline int rw_pack_mins(rw_pack p) {
    return p == RW_PACK_4M || p == RW_PACK_5M || p == RW_PACK_2M ? rw_pack_scales(p) : 0;
}
/* Bits of the low part; those above stand in the high one. */
static inline int rw_pack_low_bits(rw_pack p) {
    int bits = rw_pack_bits(p);
    return bits == 8 ? 8 : bits < 4 ? 2 : 4;
}
static inline size_t rw_pack_high_at(rw_pack p) {
    return (size_t)rw_pack_low_bits(p) * 2 * RW_LINE;
}
static inline size_t rw_pack_scales_at(rw_pack p) {
    return (size_t)rw_pack_bits(p) * 2 * RW_LINE;
}
static inline size_t rw_pack_mins_at(rw_pack p) {
    return rw_pack_scales_at(p) + (size_t)rw_pack_scales(p) * 2 * RW_STRIP_ROWS;
}
static inline size_t rw_pack_tile_bytes(rw_pack p) {
    return rw_pack_mins_at(p) + (size_t)rw_pack_mins(p) * 2 * RW_STRIP_ROWS;
}
static inline size_t rw_pack_tiles(size_t cols) {
    return (cols + RW_TILE_COLS - 1) / RW_TILE_COLS;
}
static inline size_t rw_pack_strip_bytes(rw_pack p, size_t cols) {
    return RW_FACTORS + rw_pack_tiles(cols) * rw_pack_tile_bytes(p);
}

/* The same of a slab and a block. */
static inline size_t rw_slab_planes_at(rw_pack p) {
    return (p == RW_PACK_8 ? 64 : 32) * RW_LINE;
}
static inline size_t rw_slab_scales_at(rw_pack p) {
    int planes = rw_pack_bits(p) == 5 ? 1 : rw_pack_bits(p) == 6 ? 2 : 0;
    return rw_slab_planes_at(p) + (size_t)planes * 8 * RW_LINE;
}
static inline size_t rw_slab_mins_at(rw_pack p) {
    return rw_slab_scales_at(p) + (size_t)rw_pack_scales(p) * RW_BLOCK_ROWS;
}
static inline size_t rw_slab_bytes(rw_pack p) {
    return rw_slab_mins_at(p) + (size_t)rw_pack_mins(p) * RW_BLOCK_ROWS;
}
static inline size_t rw_block_bytes(rw_pack p, size_t cols) {
    return 4 * RW_BLOCK_ROWS + cols / RW_SLAB_COLS * rw_slab_bytes(p);
}
/* And of a wide tile. */
static inline size_t rw_wide_mins_at(rw_pack p) {
    return 16 * RW_LINE + (size_t)rw_pack_scales(p) * 2 * RW_STRIP_ROWS;
}
static inline size_t rw_wide_bytes(rw_pack p) {
    return rw_wide_mins_at(p) + (size_t)rw_pack_mins(p) * 2 * RW_STRIP_ROWS;
}

static inline size_t rw_bf16_block_bytes(size_t cols) {
    return (cols + 1) / 2 * 4 * RW_BF16_ROWS;
}

/* RW_NOT_PACKED for types that have no packed form. */
rw_pack rw_pack_of(rw_type type);
/* n_rows <= 16 rows of `cols` elements, row_bytes apart, as one strip. out: zeroed, 64-byte
 * aligned. */
void rw_pack_strip(rw_type type, const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t cols,
                   uint8_t *out);
/* n_rows <= 128 rows as one block; cols is a multiple of 32. out: zeroed, 64-byte aligned. */
void rw_pack_block(rw_type type, const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t cols,
                   uint8_t *out);

/* n_rows <= 64 rows of any floats as a block of bfloat16, rounded to nearest even. out: zeroed. */
void rw_pack_bf16_block(rw_type type, const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t cols,
                        uint8_t *out);

/* ---- whole matrices, of rw_layout RW_STRIPS or RW_COLUMNS (blocks) */
/* A file that holds such matrices has this key with this number, which changes whenever anything
 * above does; the type of a tensor is then its rw_type + RW_LAYOUT_ID * its layout. */
#define RW_LAYOUT_KEY "rwkv.packed.layout"
enum { RW_LAYOUT_VERSION = 1, RW_LAYOUT_ID = 256 };
static inline size_t rw_layout_rows(rw_layout layout) { /* of a strip or block */
    return layout == RW_COLUMNS ? RW_BLOCK_ROWS : RW_STRIP_ROWS;
}
static inline size_t rw_layout_unit(rw_layout layout, rw_pack p, size_t cols) { /* its bytes */
    return layout == RW_COLUMNS ? rw_block_bytes(p, cols) : rw_pack_strip_bytes(p, cols);
}
/* As rw_pack_strip or rw_pack_block. */
void rw_pack_rows(rw_layout layout, rw_type type, const uint8_t *rows, size_t row_bytes,
                  size_t n_rows, size_t cols, uint8_t *out);
/* Divides a row by a power of two, which it returns, so that its float16 scales as Q8_0 stay out of
 * the denormal range. 0: some are beyond RW_FACTOR_MAX or no numbers. */
#define RW_FACTOR_MAX 1e30f
float rw_pack_factor(float *x, size_t n);
/* Whether all factors, scales and mins of a strip or block are finite, and so its elements. */
bool rw_layout_finite(rw_layout layout, rw_type type, const uint8_t *unit, size_t cols);
/* False if such rows cannot be packed or the size overflows. */
bool rw_layout_bytes(rw_layout layout, rw_type type, uint64_t rows, uint64_t cols, uint64_t *bytes);

#endif
