/* pack.h - quantized matrices rearranged for integer dot products: one layout for all processors.
 *
 * A strip is 16 rows. It begins with 16 floats, one factor per row; then one tile for every 64
 * columns. A tile is lines of 64 bytes, 4 consecutive elements ("a quad") of each of the 16 rows:
 *
 *     low     8 lines: line 4 g + i holds quad i of group g in the low nibbles, quad i + 4 in
 *             the high ones (a group is 32 columns, quads 0 to 7). Eight bits: 16 lines, line
 *             8 g + quad
 *     high    five bits: line g, bit i of a byte belongs to quad i
 *             six bits: line 2 g + h, bits 2 i and 2 i + 1 of a byte to quad 4 h + i
 *     scales  float16, 16 rows for each scale: one per group, or one per 16 columns for six bits
 *     mins    float16, 16 rows for each group, if the type has them
 *
 *     element = factor * (scale * (q - zero) + min)
 *
 * q is unsigned. Rows and columns that the matrix lacks have scale and min 0. */
#ifndef RW_PACK_H
#define RW_PACK_H

#include "quant.h"

typedef enum rw_pack { /* bits of q; M: with mins */
                       RW_PACK_4,
                       RW_PACK_4M,
                       RW_PACK_5,
                       RW_PACK_5M,
                       RW_PACK_6,
                       RW_PACK_8,
                       RW_PACK_COUNT,
                       RW_NOT_PACKED = RW_PACK_COUNT
} rw_pack;

enum { RW_STRIP_ROWS = 16, RW_TILE_COLS = 64, RW_LINE = 64, RW_FACTORS = 64 };

/* Offsets in a tile, in bytes. Constant expressions, so that kernels are specialised by them. */
static inline int rw_pack_bits(rw_pack p) {
    return p == RW_PACK_8 ? 8 : p == RW_PACK_6 ? 6 : p >= RW_PACK_5 ? 5 : 4;
}
static inline bool rw_pack_mins(rw_pack p) {
    return p == RW_PACK_4M || p == RW_PACK_5M;
}
static inline int rw_pack_scales(rw_pack p) {
    return p == RW_PACK_6 ? 4 : 2;
} /* per row and tile */
/* zero = 1 << this */
static inline int rw_pack_zero_shift(rw_pack p) {
    return rw_pack_bits(p) - 1;
}
static inline size_t rw_pack_high_at(rw_pack p) {
    return p == RW_PACK_8 ? 16 * RW_LINE : 8 * RW_LINE;
}
static inline size_t rw_pack_scales_at(rw_pack p) {
    int bits = rw_pack_bits(p);
    return rw_pack_high_at(p) + (bits == 5 ? 2 * RW_LINE : bits == 6 ? 4 * RW_LINE : 0);
}
static inline size_t rw_pack_mins_at(rw_pack p) {
    return rw_pack_scales_at(p) + (size_t)rw_pack_scales(p) * 2 * RW_STRIP_ROWS;
}
static inline size_t rw_pack_tile_bytes(rw_pack p) {
    return rw_pack_mins_at(p) + (rw_pack_mins(p) ? RW_LINE : 0);
}
static inline size_t rw_pack_tiles(size_t cols) {
    return (cols + RW_TILE_COLS - 1) / RW_TILE_COLS;
}
static inline size_t rw_pack_strip_bytes(rw_pack p, size_t cols) {
    return RW_FACTORS + rw_pack_tiles(cols) * rw_pack_tile_bytes(p);
}

/* RW_NOT_PACKED for types that have no packed form. */
rw_pack rw_pack_of(rw_type type);
/* n_rows <= 16 rows of `cols` elements, row_bytes apart, as one strip. out: zeroed, 64-byte
 * aligned. */
void rw_pack_strip(rw_type type, const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t cols,
                   uint8_t *out);

#endif
