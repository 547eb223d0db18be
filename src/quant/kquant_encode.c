/* kquant_encode.c - writing Q4_K, Q5_K and Q6_K.
 *
 * Each sub-block is first fitted alone: a few trial grids, each followed by the least-squares scale
 * (and min) for its integers, and the best kept. Then the fits are rounded to the block's common
 * factors, and a second search around the rounded integers finds the pair that really has the
 * smallest error. The measure is the plain squared error. Sums run over eight lanes in a fixed
 * order: the same bytes with every compiler, and loops that compilers turn into SIMD. */
#include "blocks.h"
#include <string.h>

#define LANES 8

/* v within [lo, hi]; lo for NaN. */
static inline float clamp(float v, float lo, float hi) {
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

/* Nearest integer for |v| < 2^22 without a call: the addition rounds. */
static inline float nearest(float v) {
    return (v + 12582912.0f) - 12582912.0f;
}

static inline float total(const float s[LANES]) {
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

static void range(const float *x, int n, float *min, float *max) {
    *min = *max = x[0];
    for (int i = 1; i < n; i++) {
        if (x[i] < *min) *min = x[i];
        if (x[i] > *max) *max = x[i];
    }
}

/* ---- Q4_K, Q5_K: value = scale * q - min, q in 0..top, scale and min >= 0 */

typedef struct affine {
    float scale, min;
} affine;

/* Sums of q, q^2 and q x for q = round((x - lo) * inv). */
static void moments(const float x[32], float lo, float inv, float top, float *q1, float *q2,
                    float *qx) {
    float s1[LANES] = {0}, s2[LANES] = {0}, sx[LANES] = {0};
    for (int i = 0; i < 32; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            float q = nearest(clamp((x[i + l] - lo) * inv, 0.0f, top));
            s1[l] += q;
            s2[l] += q * q;
            sx[l] += q * x[i + l];
        }
    }
    *q1 = total(s1);
    *q2 = total(s2);
    *qx = total(sx);
}

/* Trial grids stretch the range of x over top + step levels; too few levels clip the extremes,
 * which often pays because most values lie near the middle. */
static affine fit_affine(const float x[32], float top) {
    float lo, hi, x1[LANES] = {0};
    range(x, 32, &lo, &hi);
    if (lo > 0.0f) lo = 0.0f; /* the min is unsigned */
    affine best = {0.0f, -lo};
    if (!(hi > lo)) return best;
    for (int i = 0; i < 32; i += LANES) {
        for (int l = 0; l < LANES; l++) x1[l] += x[i + l];
    }
    float sum = total(x1), best_gain = 0.0f;
    for (int step = -9; step <= 7; step += 2) {
        float q1, q2, qx;
        moments(x, lo, (top + 0.1f * (float)step) / (hi - lo), top, &q1, &q2, &qx);
        /* least squares for x = scale * q + offset; the squared error falls by `gain` */
        float det = 32.0f * q2 - q1 * q1, scale = qx / q2, offset = 0.0f;
        if (det > 0.0f) { /* not all q equal */
            float slope = (32.0f * qx - sum * q1) / det, at_zero = (sum - slope * q1) / 32.0f;
            if (at_zero < 0.0f) {
                scale = slope;
                offset = at_zero;
            }
        }
        float gain = scale * qx + offset * sum;
        if (gain > best_gain) {
            best_gain = gain;
            best = (affine){scale, -offset};
        }
    }
    return best;
}

static inline float inverse(float v) {
    return v != 0.0f ? 1.0f / v : 0.0f;
}

/* Squared error with a fixed scale and min. */
static float error_affine(const float x[32], float scale, float min, float top) {
    float s[LANES] = {0}, inv = inverse(scale);
    for (int i = 0; i < 32; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            float v = nearest(clamp((x[i + l] + min) * inv, 0.0f, top));
            float e = x[i + l] - (scale * v - min);
            s[l] += e * e;
        }
    }
    return total(s);
}

static int ratio(float v, float unit, int max) {
    return unit > 0.0f ? (int)nearest(clamp(v / unit, 0.0f, (float)max)) : 0;
}

/* The scale and min of a sub-block, at most one step from the rounded fit. */
static void search_affine(const float x[32], affine fit, float d, float dmin, float top, int *scale,
                          int *min) {
    int scale0 = ratio(fit.scale, d, 63), min0 = ratio(fit.min, dmin, 63);
    float best = error_affine(x, d * (float)scale0, dmin * (float)min0, top);
    *scale = scale0;
    *min = min0;
    for (int sc = scale0 - 1; sc <= scale0 + 1; sc++) {
        for (int mn = min0 - 1; mn <= min0 + 1; mn++) {
            if (sc < 0 || sc > 63 || mn < 0 || mn > 63) continue;
            float e = error_affine(x, d * (float)sc, dmin * (float)mn, top);
            if (e < best) {
                best = e;
                *scale = sc;
                *min = mn;
            }
        }
    }
}

static float max_of(const affine f[8], bool scale) {
    float m = 0.0f;
    for (int s = 0; s < 8; s++) {
        float v = scale ? f[s].scale : f[s].min;
        if (v > m) m = v;
    }
    return m;
}

/* The factor as it will be read: rounded to half. */
static float put_factor(uint8_t p[2], float v) {
    rw_put_half(p, v);
    return rw_half_at(p);
}

static void put_scale_min(uint8_t p[12], int s, int scale, int min) {
    if (s < 4) {
        p[s] = (uint8_t)(p[s] | scale);
        p[s + 4] = (uint8_t)(p[s + 4] | min);
    } else {
        p[s + 4] = (uint8_t)((scale & 15) | (min & 15) << 4);
        p[s - 4] = (uint8_t)(p[s - 4] | (scale >> 4) << 6);
        p[s] = (uint8_t)(p[s] | (min >> 4) << 6);
    }
}

/* One block: factors, packed scales, and q for all 256 elements. */
static void quantize_affine(const float x[256], float top, uint8_t d_out[2], uint8_t dmin_out[2],
                            uint8_t scales[12], uint8_t q[256]) {
    affine fit[8];
    for (int s = 0; s < 8; s++) fit[s] = fit_affine(x + 32 * s, top);
    float d = put_factor(d_out, max_of(fit, true) / 63.0f);
    float dmin = put_factor(dmin_out, max_of(fit, false) / 63.0f);
    memset(scales, 0, 12);
    for (int s = 0; s < 8; s++) {
        int scale, min;
        search_affine(x + 32 * s, fit[s], d, dmin, top, &scale, &min);
        put_scale_min(scales, s, scale, min);
        float inv = inverse(d * (float)scale), m = dmin * (float)min;
        for (int j = 32 * s; j < 32 * s + 32; j++) {
            q[j] = (uint8_t)(int)nearest(clamp((x[j] + m) * inv, 0.0f, top));
        }
    }
}

static void put_nibbles(const uint8_t q[256], uint8_t qs[128]) {
    for (int c = 0; c < 4; c++) {
        for (int j = 0; j < 32; j++) {
            qs[32 * c + j] = (uint8_t)((q[64 * c + j] & 15) | (q[64 * c + 32 + j] & 15) << 4);
        }
    }
}

void rw_encode_q4_k(const float *in, void *out, size_t n) {
    rw_q4_k *b = out;
    uint8_t q[256];
    for (size_t i = 0; i < n / 256; i++, b++, in += 256) {
        quantize_affine(in, 15.0f, b->d, b->dmin, b->scales, q);
        put_nibbles(q, b->qs);
    }
}

void rw_encode_q5_k(const float *in, void *out, size_t n) {
    rw_q5_k *b = out;
    uint8_t q[256];
    for (size_t i = 0; i < n / 256; i++, b++, in += 256) {
        quantize_affine(in, 31.0f, b->d, b->dmin, b->scales, q);
        put_nibbles(q, b->qs);
        memset(b->qh, 0, sizeof b->qh);
        for (int j = 0; j < 256; j++) b->qh[j % 32] |= (uint8_t)((q[j] >> 4) << (j / 32));
    }
}

/* ---- Q6_K: value = scale * q, q in -32..31, scale of either sign */

/* Sums of q^2 and q x for q = round(x * inv). */
static void moments16(const float x[16], float inv, float *q2, float *qx) {
    float s2[LANES] = {0}, sx[LANES] = {0};
    for (int i = 0; i < 16; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            float q = nearest(clamp(x[i + l] * inv, -32.0f, 31.0f));
            s2[l] += q * q;
            sx[l] += q * x[i + l];
        }
    }
    *q2 = total(s2);
    *qx = total(sx);
}

static float fit_linear(const float x[16]) {
    float lo, hi, best = 0.0f, best_gain = 0.0f;
    range(x, 16, &lo, &hi);
    float extreme = hi > -lo ? hi : lo; /* becomes about -32 */
    if (extreme == 0.0f) return 0.0f;
    for (int step = -9; step <= 9; step += 2) {
        float q2, qx;
        moments16(x, -(32.0f + 0.1f * (float)step) / extreme, &q2, &qx);
        if (!(q2 > 0.0f)) continue;
        float scale = qx / q2, gain = scale * qx;
        if (gain > best_gain) {
            best_gain = gain;
            best = scale;
        }
    }
    return best;
}

static float error_linear(const float x[16], float scale) {
    float s[LANES] = {0}, inv = inverse(scale);
    for (int i = 0; i < 16; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            float v = nearest(clamp(x[i + l] * inv, -32.0f, 31.0f));
            float e = x[i + l] - scale * v;
            s[l] += e * e;
        }
    }
    return total(s);
}

static void quantize_linear(const float x[256], uint8_t d_out[2], int8_t scales[16],
                            uint8_t q[256]) {
    float fit[16], extreme = 0.0f;
    for (int s = 0; s < 16; s++) {
        fit[s] = fit_linear(x + 16 * s);
        float a = fit[s] < 0.0f ? -fit[s] : fit[s];
        if (a > (extreme < 0.0f ? -extreme : extreme)) extreme = fit[s];
    }
    float d = put_factor(d_out, extreme / -128.0f);
    for (int s = 0; s < 16; s++) {
        float v = d != 0.0f ? fit[s] / d : 0.0f;
        int scale0 = (int)nearest(clamp(v, -128.0f, 127.0f)), scale = scale0;
        float best = error_linear(x + 16 * s, d * (float)scale);
        for (int sc = scale0 - 1; sc <= scale0 + 1; sc += 2) {
            if (sc < -128 || sc > 127) continue;
            float e = error_linear(x + 16 * s, d * (float)sc);
            if (e < best) {
                best = e;
                scale = sc;
            }
        }
        scales[s] = (int8_t)scale;
        float inv = inverse(d * (float)scale);
        for (int j = 16 * s; j < 16 * s + 16; j++) {
            q[j] = (uint8_t)(int)(nearest(clamp(x[j] * inv, -32.0f, 31.0f)) + 32.0f);
        }
    }
}

void rw_encode_q6_k(const float *in, void *out, size_t n) {
    rw_q6_k *b = out;
    uint8_t q[256];
    for (size_t i = 0; i < n / 256; i++, b++, in += 256) {
        quantize_linear(in, b->d, b->scales, q);
        for (int half = 0; half < 2; half++) {
            const uint8_t *p = q + 128 * half;
            for (int l = 0; l < 64; l++) {
                b->ql[64 * half + l] = (uint8_t)((p[l] & 15) | (p[l + 64] & 15) << 4);
            }
            for (int l = 0; l < 32; l++) {
                b->qh[32 * half + l] = (uint8_t)((p[l] >> 4) | (p[l + 32] >> 4) << 2 |
                                                 (p[l + 64] >> 4) << 4 | (p[l + 96] >> 4) << 6);
            }
        }
    }
}
