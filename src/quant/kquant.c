/* kquant.c - reading blocks of 256: a block has float16 factors, each sub-block of 16 or 32
 * elements an integer scale (and min), each element a few bits. In: blocks at any address. Out:
 * float32. */
#include "blocks.h"

_Static_assert(sizeof(rw_q2_k) == 84 && sizeof(rw_q3_k) == 110 && sizeof(rw_q4_k) == 144 &&
                   sizeof(rw_q5_k) == 176 && sizeof(rw_q6_k) == 210 && sizeof(rw_iq4_xs) == 136,
               "blocks of 256 have no padding");

/* Two bits per element: element 128 h + 32 p + l is bits 2p, 2p+1 of qs[32 h + l].
 * value = (d * scale) * q - (dmin * min) */
void rw_decode_q2_k(const void *in, float *out, size_t n) {
    const rw_q2_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++, out += 256) {
        float d = rw_half_at(b->d), dmin = rw_half_at(b->dmin);
        for (int s = 0; s < 16; s++) {
            float scale = d * (float)(b->scales[s] & 15), min = dmin * (float)(b->scales[s] >> 4);
            const uint8_t *q = b->qs + 32 * (s / 8) + 16 * (s % 2);
            int shift = 2 * (s / 2 % 4);
            for (int j = 0; j < 16; j++) out[16 * s + j] = scale * (float)(q[j] >> shift & 3) - min;
        }
    }
}

/* Low bits as Q2_K; the third is bit 4 h + p of hmask[l], and a clear bit means -4.
 * value = (d * (scale - 32)) * q */
void rw_decode_q3_k(const void *in, float *out, size_t n) {
    const rw_q3_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++, out += 256) {
        float d = rw_half_at(b->d);
        for (int s = 0; s < 16; s++) {
            int low = s < 8 ? b->scales[s] & 15 : b->scales[s - 8] >> 4;
            int high = b->scales[8 + s % 4] >> 2 * (s / 4) & 3;
            float scale = d * (float)((low | high << 4) - 32);
            const uint8_t *q = b->qs + 32 * (s / 8) + 16 * (s % 2), *h = b->hmask + 16 * (s % 2);
            int shift = 2 * (s / 2 % 4), plane = s / 2;
            for (int j = 0; j < 16; j++) {
                int third = (h[j] >> plane & 1) ? 0 : 4;
                out[16 * s + j] = scale * (float)((q[j] >> shift & 3) - third);
            }
        }
    }
}

/* Sub-blocks 2c and 2c+1 are the low and high nibbles of qs[32 c ...].
 * value = (d * scale) * q - (dmin * min) */
void rw_decode_q4_k(const void *in, float *out, size_t n) {
    const rw_q4_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++, out += 256) {
        float d = rw_half_at(b->d), dmin = rw_half_at(b->dmin);
        for (int s = 0; s < 8; s++) {
            uint8_t sc, mn;
            rw_k_scale_min(b->scales, s, &sc, &mn);
            float scale = d * (float)sc, min = dmin * (float)mn;
            const uint8_t *q = b->qs + 32 * (s / 2);
            int shift = 4 * (s % 2);
            for (int j = 0; j < 32; j++)
                out[32 * s + j] = scale * (float)(q[j] >> shift & 15) - min;
        }
    }
}

/* As Q4_K; the fifth bit of element l of sub-block s is bit s of qh[l]. */
void rw_decode_q5_k(const void *in, float *out, size_t n) {
    const rw_q5_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++, out += 256) {
        float d = rw_half_at(b->d), dmin = rw_half_at(b->dmin);
        for (int s = 0; s < 8; s++) {
            uint8_t sc, mn;
            rw_k_scale_min(b->scales, s, &sc, &mn);
            float scale = d * (float)sc, min = dmin * (float)mn;
            const uint8_t *q = b->qs + 32 * (s / 2);
            int shift = 4 * (s % 2);
            for (int j = 0; j < 32; j++) {
                int v = (q[j] >> shift & 15) | (b->qh[j] >> s & 1) << 4;
                out[32 * s + j] = scale * (float)v - min;
            }
        }
    }
}

/* Half h of 128, plane p of 32 elements l: low nibble from ql[64 h + 32 (p%2) + l] (high nibble for
 * p >= 2), upper bits 2p, 2p+1 of qh[32 h + l].  value = (d * scale[element / 16]) * (q - 32) */
void rw_decode_q6_k(const void *in, float *out, size_t n) {
    const rw_q6_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++, out += 256) {
        float d = rw_half_at(b->d);
        for (int s = 0; s < 16; s++) {
            float scale = d * (float)b->scales[s];
            int half = s / 8, plane = s / 2 % 4, at = 16 * (s % 2);
            const uint8_t *ql = b->ql + 64 * half + 32 * (plane % 2) + at;
            const uint8_t *qh = b->qh + 32 * half + at;
            int shift = 4 * (plane / 2), up = 2 * plane;
            for (int j = 0; j < 16; j++) {
                int q = (ql[j] >> shift & 15) | (qh[j] >> up & 3) << 4;
                out[16 * s + j] = scale * (float)(q - 32);
            }
        }
    }
}

/* Sub-block s of 32: nibbles of qs[16 s ...] in the order of Q4_0, a six-bit scale.
 * value = (d * (scale - 32)) * values[q] */
void rw_decode_iq4_xs(const void *in, float *out, size_t n) {
    const rw_iq4_xs *b = in;
    for (size_t i = 0; i < n / 256; i++, b++, out += 256) {
        float d = rw_half_at(b->d);
        int high = rw_u16_at(b->scales_h);
        for (int s = 0; s < 8; s++) {
            int sc = (b->scales_l[s / 2] >> 4 * (s % 2) & 15) | (high >> 2 * s & 3) << 4;
            float scale = d * (float)(sc - 32);
            const uint8_t *q = b->qs + 16 * s;
            for (int j = 0; j < 16; j++) {
                out[32 * s + j] = scale * (float)rw_iq4_values[q[j] & 15];
                out[32 * s + j + 16] = scale * (float)rw_iq4_values[q[j] >> 4];
            }
        }
    }
}
