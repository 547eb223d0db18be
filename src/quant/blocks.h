/* blocks.h - the layout of block types in memory, for those who code and decode them (quant.c,
 * kquant*.c, the kernels). Bytes only: blocks may lie at any address. Formulas stand at the scalar
 * decoders; nothing outside quant/ and kernels/ includes this. */
#ifndef RW_BLOCKS_H
#define RW_BLOCKS_H

#include "quant.h"

typedef struct rw_q4_0 { uint8_t d[2], qs[16]; } rw_q4_0;
typedef struct rw_q4_1 { uint8_t d[2], m[2], qs[16]; } rw_q4_1;
typedef struct rw_q5_0 { uint8_t d[2], qh[4], qs[16]; } rw_q5_0;
typedef struct rw_q5_1 { uint8_t d[2], m[2], qh[4], qs[16]; } rw_q5_1;
typedef struct rw_q8_0 { uint8_t d[2]; int8_t qs[32]; } rw_q8_0;
typedef struct rw_iq4_nl { uint8_t d[2], qs[16]; } rw_iq4_nl;

typedef struct rw_q2_k { uint8_t scales[16], qs[64], d[2], dmin[2]; } rw_q2_k;
typedef struct rw_q3_k { uint8_t hmask[32], qs[64], scales[12], d[2]; } rw_q3_k;
typedef struct rw_q4_k { uint8_t d[2], dmin[2], scales[12], qs[128]; } rw_q4_k;
typedef struct rw_q5_k { uint8_t d[2], dmin[2], scales[12], qh[32], qs[128]; } rw_q5_k;
typedef struct rw_q6_k { uint8_t ql[128], qh[64]; int8_t scales[16]; uint8_t d[2]; } rw_q6_k;
typedef struct rw_iq4_xs { uint8_t d[2], scales_h[2], scales_l[4], qs[128]; } rw_iq4_xs;

/* The sixteen values that IQ4 nibbles stand for. */
extern const int8_t rw_iq4_values[16];

/* Inline and without branches, because decoders run it for every block or element: base.h's
 * conversion, exact for all 65536 halves. Exponent and mantissa, moved in place, are 2^112 too
 * small. */
static inline uint16_t rw_u16_at(const uint8_t p[2]) {
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline float rw_half_at(const uint8_t p[2]) {
    uint32_t h = rw_u16_at(p);
    union { uint32_t u; float f; } v = {(h & 0x7fff) << 13};
    v.f *= 0x1p112f;
    v.u |= v.f >= 65536.0f ? 0x7f800000u : 0; /* infinity and NaN */
    v.u |= (h & 0x8000) << 16;
    return v.f;
}

static inline uint32_t rw_u32_at(const uint8_t p[4]) {
    return (uint32_t)rw_u16_at(p) | (uint32_t)rw_u16_at(p + 2) << 16;
}

static inline void rw_put_half(uint8_t p[2], float v) {
    uint16_t h = rw_f32_to_f16(v);
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

/* Scale and min of sub-block s of Q4_K and Q5_K: eight pairs of six bits in twelve bytes. */
static inline void rw_k_scale_min(const uint8_t p[12], int s, uint8_t *scale, uint8_t *min) {
    if (s < 4) {
        *scale = p[s] & 63;
        *min = p[s + 4] & 63;
    } else {
        *scale = (uint8_t)((p[s + 4] & 15) | ((p[s - 4] >> 6) << 4));
        *min = (uint8_t)((p[s + 4] >> 4) | ((p[s] >> 6) << 4));
    }
}

typedef void rw_decode_fn(const void *blocks, float *out, size_t n);
typedef void rw_encode_fn(const float *in, void *blocks, size_t n);

extern rw_decode_fn rw_decode_f32, rw_decode_f16, rw_decode_bf16, rw_decode_f64;
extern rw_decode_fn rw_decode_q4_0, rw_decode_q4_1, rw_decode_q5_0, rw_decode_q5_1, rw_decode_q8_0;
extern rw_decode_fn rw_decode_q2_k, rw_decode_q3_k, rw_decode_q4_k, rw_decode_q5_k, rw_decode_q6_k;
extern rw_decode_fn rw_decode_iq4_nl, rw_decode_iq4_xs;
extern rw_encode_fn rw_encode_q4_k, rw_encode_q5_k, rw_encode_q6_k;

#endif
