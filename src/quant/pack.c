/* pack.c - from rows of blocks, as files hold them, to the strips and blocks of pack.h. Nothing is
 * lost but that the scales of 256-blocks (product of a float16 and an integer) are rounded to
 * float16, after a power of two per row has been taken out of them so that none falls into
 * float16's denormal range. */
#include "pack.h"
#include "blocks.h"
#include <math.h>
#include <string.h>

/* 32 columns of a row: unsigned elements, scales and mins of both halves. */
typedef struct group {
    uint8_t q[32];
    float scale[2], min[2];
} group;

/* ---- blocks of 32 */

static void nibbles(const uint8_t qs[16], uint8_t q[32]) {
    for (int j = 0; j < 16; j++) q[j] = qs[j] & 15, q[j + 16] = qs[j] >> 4;
}

static void fifth_bits(const uint8_t qh[4], uint8_t q[32]) {
    uint32_t h = rw_u32_at(qh);
    for (int j = 0; j < 32; j++) q[j] |= (uint8_t)((h >> j & 1) << 4);
}

static void set_scales(group *out, float scale, float min) {
    out->scale[0] = out->scale[1] = scale;
    out->min[0] = out->min[1] = min;
}

static void group_q4_0(const uint8_t *row, size_t g, group *out) {
    const rw_q4_0 *b = (const rw_q4_0 *)row + g;
    nibbles(b->qs, out->q);
    set_scales(out, rw_half_at(b->d), 0);
}

static void group_q4_1(const uint8_t *row, size_t g, group *out) {
    const rw_q4_1 *b = (const rw_q4_1 *)row + g;
    nibbles(b->qs, out->q);
    set_scales(out, rw_half_at(b->d), rw_half_at(b->m));
}

static void group_q5_0(const uint8_t *row, size_t g, group *out) {
    const rw_q5_0 *b = (const rw_q5_0 *)row + g;
    nibbles(b->qs, out->q);
    fifth_bits(b->qh, out->q);
    set_scales(out, rw_half_at(b->d), 0);
}

static void group_q5_1(const uint8_t *row, size_t g, group *out) {
    const rw_q5_1 *b = (const rw_q5_1 *)row + g;
    nibbles(b->qs, out->q);
    fifth_bits(b->qh, out->q);
    set_scales(out, rw_half_at(b->d), rw_half_at(b->m));
}

static void group_iq4_nl(const uint8_t *row, size_t g, group *out) {
    const rw_iq4_nl *b = (const rw_iq4_nl *)row + g;
    nibbles(b->qs, out->q);
    set_scales(out, rw_half_at(b->d), 0);
}

static void group_q8_0(const uint8_t *row, size_t g, group *out) {
    const rw_q8_0 *b = (const rw_q8_0 *)row + g;
    for (int j = 0; j < 32; j++) out->q[j] = (uint8_t)(b->qs[j] + 128);
    set_scales(out, rw_half_at(b->d), 0);
}

/* ---- blocks of 256: group g is sub-block g % 8 (or two of sixteen); see kquant.c */

static void group_q2_k(const uint8_t *row, size_t g, group *out) {
    const rw_q2_k *b = (const rw_q2_k *)row + g / 8;
    int s = (int)(g % 8);
    for (int j = 0; j < 32; j++) out->q[j] = b->qs[32 * (s / 4) + j] >> 2 * (s % 4) & 3;
    for (int h = 0; h < 2; h++) {
        uint8_t sc = b->scales[2 * s + h];
        out->scale[h] = rw_half_at(b->d) * (float)(sc & 15);
        out->min[h] = -(rw_half_at(b->dmin) * (float)(sc >> 4));
    }
}

static void group_q3_k(const uint8_t *row, size_t g, group *out) {
    const rw_q3_k *b = (const rw_q3_k *)row + g / 8;
    int s = (int)(g % 8);
    for (int j = 0; j < 32; j++)
        out->q[j] = (uint8_t)((b->qs[32 * (s / 4) + j] >> 2 * (s % 4) & 3) |
                              (b->hmask[j] >> s & 1) << 2);
    for (int h = 0; h < 2; h++) {
        int i = 2 * s + h, low = i < 8 ? b->scales[i] & 15 : b->scales[i - 8] >> 4;
        int high = b->scales[8 + i % 4] >> 2 * (i / 4) & 3;
        out->scale[h] = rw_half_at(b->d) * (float)((low | high << 4) - 32);
    }
}

static void group_q4_k(const uint8_t *row, size_t g, group *out) {
    const rw_q4_k *b = (const rw_q4_k *)row + g / 8;
    int s = (int)(g % 8), shift = 4 * (s % 2);
    uint8_t sc, mn;
    rw_k_scale_min(b->scales, s, &sc, &mn);
    for (int j = 0; j < 32; j++) out->q[j] = b->qs[32 * (s / 2) + j] >> shift & 15;
    set_scales(out, rw_half_at(b->d) * (float)sc, -(rw_half_at(b->dmin) * (float)mn));
}

static void group_q5_k(const uint8_t *row, size_t g, group *out) {
    const rw_q5_k *b = (const rw_q5_k *)row + g / 8;
    int s = (int)(g % 8), shift = 4 * (s % 2);
    uint8_t sc, mn;
    rw_k_scale_min(b->scales, s, &sc, &mn);
    for (int j = 0; j < 32; j++)
        out->q[j] = (uint8_t)((b->qs[32 * (s / 2) + j] >> shift & 15) | (b->qh[j] >> s & 1) << 4);
    set_scales(out, rw_half_at(b->d) * (float)sc, -(rw_half_at(b->dmin) * (float)mn));
}

static void group_q6_k(const uint8_t *row, size_t g, group *out) {
    const rw_q6_k *b = (const rw_q6_k *)row + g / 8;
    int s = (int)(g % 8), half = s / 4, plane = s % 4, shift = 4 * (plane / 2), up = 2 * plane;
    const uint8_t *ql = b->ql + 64 * half + 32 * (plane % 2), *qh = b->qh + 32 * half;
    for (int j = 0; j < 32; j++)
        out->q[j] = (uint8_t)((ql[j] >> shift & 15) | (qh[j] >> up & 3) << 4);
    for (int h = 0; h < 2; h++) out->scale[h] = rw_half_at(b->d) * (float)b->scales[2 * s + h];
}

static void group_iq4_xs(const uint8_t *row, size_t g, group *out) {
    const rw_iq4_xs *b = (const rw_iq4_xs *)row + g / 8;
    int s = (int)(g % 8), high = rw_u16_at(b->scales_h) >> 2 * s & 3;
    int sc = (b->scales_l[s / 2] >> 4 * (s % 2) & 15) | high << 4;
    nibbles(b->qs + 16 * s, out->q);
    set_scales(out, rw_half_at(b->d) * (float)(sc - 32), 0);
}

/* Where a 256-block's float16 factors stand; a negative place: there is none. */
static const struct form {
    rw_pack pack;
    void (*group)(const uint8_t *row, size_t g, group *out);
    int d_at, dmin_at;
} forms[RW_TYPE_COUNT] = {
    [RW_Q4_0] = {RW_PACK_4, group_q4_0, -1, -1},
    [RW_Q4_1] = {RW_PACK_4M, group_q4_1, -1, -1},
    [RW_Q5_0] = {RW_PACK_5, group_q5_0, -1, -1},
    [RW_Q5_1] = {RW_PACK_5M, group_q5_1, -1, -1},
    [RW_Q8_0] = {RW_PACK_8, group_q8_0, -1, -1},
    [RW_IQ4_NL] = {RW_PACK_IQ4, group_iq4_nl, -1, -1},
    [RW_Q2_K] = {RW_PACK_2M, group_q2_k, 80, 82},
    [RW_Q3_K] = {RW_PACK_3, group_q3_k, 108, -1},
    [RW_Q4_K] = {RW_PACK_4M, group_q4_k, 0, 2},
    [RW_Q5_K] = {RW_PACK_5M, group_q5_k, 0, 2},
    [RW_Q6_K] = {RW_PACK_6, group_q6_k, 208, -1},
    [RW_IQ4_XS] = {RW_PACK_IQ4, group_iq4_xs, 0, -1},
};

rw_pack rw_pack_of(rw_type type) {
    return forms[type].group ? forms[type].pack : RW_NOT_PACKED;
}

/* The power of two that is taken out of a row's scales: they become at most 128 times a number
 * below 2, and integers times the largest factor keep all of float16's bits down to 2^-14 of it. */
static float row_factor(const struct form *form, rw_type type, const uint8_t *row, size_t cols) {
    if (form->d_at < 0) return 1.0f;
    const rw_type_info *info = rw_type_get(type);
    float max = 0;
    for (size_t b = 0; b < cols / info->block_elems; b++, row += info->block_bytes) {
        float d = fabsf(rw_half_at(row + form->d_at));
        float m = form->dmin_at < 0 ? 0 : fabsf(rw_half_at(row + form->dmin_at));
        if (d > max) max = d;
        if (m > max) max = m;
    }
    return max > 0 && isfinite(max) ? ldexpf(1.0f, ilogbf(max)) : 1.0f;
}

/* One word of a plane of two-bit (one-bit) fields: bits `from` and `from` + 1 of four quads (bit `from`
 * of eight). */
static uint32_t two_bits(const uint32_t quad[4], int from) {
    uint32_t word = 0;
    for (int i = 0; i < 4; i++) word |= (quad[i] >> from & 0x03030303) << 2 * i;
    return word;
}

static uint32_t one_bit(const uint32_t quad[8], int from) {
    uint32_t word = 0;
    for (int i = 0; i < 8; i++) word |= (quad[i] >> from & 0x01010101) << i;
    return word;
}

/* One group of row r into its tile. A line seen as sixteen words holds one quad per word. */
static void put_group(rw_pack pack, const group *in, float inverse, size_t g, size_t r,
                      uint8_t *tile) {
    int low = rw_pack_low_bits(pack), high = rw_pack_bits(pack) - low;
    uint32_t quad[8], words[8];
    memcpy(quad, in->q, sizeof quad);
    for (size_t i = 0; i < (size_t)low; i++) {
        words[i] = low == 8   ? quad[i]
                   : low == 4 ? (quad[i] & 0x0f0f0f0f) | (quad[i + 4] & 0x0f0f0f0f) << 4
                              : two_bits(quad + 4 * i, 0);
        memcpy(tile + ((size_t)low * g + i) * RW_LINE + 4 * r, &words[i], 4);
    }
    for (size_t i = 0; i < (size_t)high; i++) {
        words[i] = high == 1 ? one_bit(quad, low) : two_bits(quad + 4 * i, low);
        memcpy(tile + rw_pack_high_at(pack) + ((size_t)high * g + i) * RW_LINE + 4 * r, &words[i], 4);
    }
    size_t per_group = (size_t)rw_pack_scales(pack) / 2;
    for (size_t h = 0; h < per_group; h++) {
        size_t at = 2 * (RW_STRIP_ROWS * (per_group * g + h) + r);
        rw_put_half(tile + rw_pack_scales_at(pack) + at, in->scale[h] * inverse);
        if (rw_pack_mins(pack)) rw_put_half(tile + rw_pack_mins_at(pack) + at, in->min[h] * inverse);
    }
}

/* One group of row r into its slab. */
static void put_columns(rw_pack pack, const group *in, float inverse, size_t r, uint8_t *slab) {
    size_t half = r / 64, at = 16 * (r / 4 % 4) + 4 * (r / 16 % 4) + r % 4; /* of a line's bytes */
    int bits = rw_pack_bits(pack);
    for (size_t c = 0; c < RW_SLAB_COLS; c++) {
        uint8_t q = in->q[c];
        if (bits == 8) {
            slab[(2 * c + half) * RW_LINE + at] = q;
            continue;
        }
        slab[c * RW_LINE + at] |= (uint8_t)((q & 15) << 4 * half);
        uint8_t *plane = slab + rw_slab_planes_at(pack) + (2 * (c / 8) + half) * RW_LINE + at;
        for (int b = 4; b < bits; b++, plane += 8 * RW_LINE)
            *plane |= (uint8_t)((q >> b & 1) << c % 8);
    }
    for (size_t h = 0; h < (size_t)rw_pack_scales(pack) / 2; h++) {
        size_t to = 2 * (RW_BLOCK_ROWS * h + r);
        rw_put_half(slab + rw_slab_scales_at(pack) + to, in->scale[h] * inverse);
        if (rw_pack_mins(pack)) rw_put_half(slab + rw_slab_mins_at(pack) + to, in->min[h] * inverse);
    }
}

void rw_pack_block(rw_type type, const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t cols,
                   uint8_t *out) {
    const struct form *form = &forms[type];
    for (size_t r = 0; r < n_rows; r++, rows += row_bytes) {
        float factor = row_factor(form, type, rows, cols);
        memcpy(out + 4 * r, &factor, sizeof factor);
        uint8_t *slab = out + 4 * RW_BLOCK_ROWS;
        for (size_t g = 0; g < cols / 32; g++, slab += rw_slab_bytes(form->pack)) {
            group values;
            form->group(rows, g, &values);
            put_columns(form->pack, &values, 1.0f / factor, r, slab);
        }
    }
}

void rw_pack_strip(rw_type type, const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t cols,
                   uint8_t *out) {
    const struct form *form = &forms[type];
    size_t tile_bytes = rw_pack_tile_bytes(form->pack);
    for (size_t r = 0; r < n_rows; r++, rows += row_bytes) {
        float factor = row_factor(form, type, rows, cols);
        memcpy(out + 4 * r, &factor, sizeof factor);
        for (size_t g = 0; g < cols / 32; g++) {
            group values;
            form->group(rows, g, &values);
            put_group(form->pack, &values, 1.0f / factor, g % 2, r,
                      out + RW_FACTORS + g / 2 * tile_bytes);
        }
    }
}

void rw_pack_bf16_block(rw_type type, const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t cols,
                        uint8_t *out) {
    enum { PIECE = 64 };
    const rw_type_info *info = rw_type_get(type);
    float values[PIECE];
    for (size_t r = 0; r < n_rows; r++, rows += row_bytes) {
        for (size_t k = 0; k < cols; k += PIECE) {
            size_t n = cols - k < PIECE ? cols - k : PIECE;
            info->decode(rows + k * info->block_bytes, values, n);
            for (size_t i = k; i < k + n; i++) {
                uint16_t h = rw_f32_to_bf16(values[i - k]);
                memcpy(out + 4 * (i / 2 * RW_BF16_ROWS + r) + 2 * (i % 2), &h, sizeof h);
            }
        }
    }
}

void rw_pack_rows(rw_layout layout, rw_type type, const uint8_t *rows, size_t row_bytes,
                  size_t n_rows, size_t cols, uint8_t *out) {
    (layout == RW_COLUMNS ? rw_pack_block : rw_pack_strip)(type, rows, row_bytes, n_rows, cols,
                                                           out);
}

float rw_pack_factor(float *x, size_t n) {
    float max = 0;
    bool finite = true;
    for (size_t k = 0; k < n; k++) {
        finite &= isfinite(x[k]) != 0;
        max = fabsf(x[k]) > max ? fabsf(x[k]) : max;
    }
    if (!finite || max > RW_FACTOR_MAX) return 0;
    float factor = max > 1e-30f ? ldexpf(1.0f, ilogbf(max)) : 1.0f;
    for (size_t k = 0; k < n; k++) x[k] /= factor;
    return factor;
}

bool rw_layout_bytes(rw_layout layout, rw_type type, uint64_t rows, uint64_t cols,
                     uint64_t *bytes) {
    rw_pack pack = rw_pack_of(type);
    if (pack == RW_NOT_PACKED || cols == 0 || cols > UINT32_MAX || rows > UINT64_MAX - 128 ||
        cols % rw_type_get(type)->block_elems)
        return false;
    uint64_t unit_rows = rw_layout_rows(layout);
    return rw_mul((rows + unit_rows - 1) / unit_rows, rw_layout_unit(layout, pack, cols), bytes);
}

static bool halves_finite(const uint8_t *halves, size_t n) {
    bool finite = true;
    for (size_t i = 0; i < n; i++) finite &= (halves[2 * i + 1] & 0x7c) != 0x7c;
    return finite;
}

bool rw_layout_finite(rw_layout layout, rw_type type, const uint8_t *unit, size_t cols) {
    rw_pack p = rw_pack_of(type);
    bool columns = layout == RW_COLUMNS, finite = true;
    size_t rows = rw_layout_rows(layout), groups = columns ? 1 : 2; /* of 32 columns in a tile */
    size_t n = columns ? cols / RW_SLAB_COLS : rw_pack_tiles(cols);
    size_t bytes = columns ? rw_slab_bytes(p) : rw_pack_tile_bytes(p);
    size_t scales = columns ? rw_slab_scales_at(p) : rw_pack_scales_at(p);
    size_t mins = columns ? rw_slab_mins_at(p) : rw_pack_mins_at(p);
    for (size_t r = 0; r < rows; r++) {
        float factor;
        memcpy(&factor, unit + r * sizeof factor, sizeof factor);
        finite &= isfinite(factor) != 0;
    }
    unit += rows * sizeof(float);
    for (size_t i = 0; i < n; i++, unit += bytes) {
        finite &= halves_finite(unit + scales, groups * rows * (size_t)rw_pack_scales(p) / 2);
        finite &= halves_finite(unit + mins, groups * rows * (size_t)rw_pack_mins(p) / 2);
    }
    return finite;
}
