/* quant.c - the table of element types, and the simple ones: floats and blocks of 32.
 *
 * In: rows as stored (any address) or rows of float32. Out: the other. Everything is float32
 * arithmetic in a fixed order, so every machine makes the same bytes and the same numbers. */
#include "blocks.h"
#include <math.h>
#include <string.h>

_Static_assert(sizeof(rw_q4_0) == 18 && sizeof(rw_q4_1) == 20 && sizeof(rw_q5_0) == 22 &&
                   sizeof(rw_q5_1) == 24 && sizeof(rw_q8_0) == 34 && sizeof(rw_iq4_nl) == 18,
               "blocks of 32 have no padding");

const int8_t rw_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

/* Truncates. Numbers outside [lo, hi] and NaN must not reach C's conversion: it is undefined. */
static int to_int(float v, int lo, int hi) {
    v = v > (float)lo ? v : (float)lo;
    return (int)(v < (float)hi ? v : (float)hi);
}

/* ---- floats */

void rw_decode_f32(const void *in, float *out, size_t n) {
    memcpy(out, in, n * sizeof *out);
}

void rw_decode_f16(const void *in, float *out, size_t n) {
    const uint8_t *p = in;
    for (size_t i = 0; i < n; i++) out[i] = rw_half_at(p + 2 * i);
}

void rw_decode_bf16(const void *in, float *out, size_t n) {
    const uint8_t *p = in;
    for (size_t i = 0; i < n; i++) out[i] = rw_bf16_to_f32(rw_u16_at(p + 2 * i));
}

void rw_decode_f64(const void *in, float *out, size_t n) {
    const uint8_t *p = in;
    for (size_t i = 0; i < n; i++) {
        double v;
        memcpy(&v, p + 8 * i, sizeof v);
        out[i] = (float)v;
    }
}

static void encode_f32(const float *in, void *out, size_t n) {
    memcpy(out, in, n * sizeof *in);
}

static void encode_f16(const float *in, void *out, size_t n) {
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++) rw_put_half(p + 2 * i, in[i]);
}

static void encode_bf16(const float *in, void *out, size_t n) {
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++) {
        uint16_t h = rw_f32_to_bf16(in[i]);
        p[2 * i] = (uint8_t)h;
        p[2 * i + 1] = (uint8_t)(h >> 8);
    }
}

/* ---- blocks of 32. Element j < 16 is the low nibble of qs[j], element j + 16 the high one; the
 * fifth bit of element j is bit j of the word qh. */

void rw_decode_q4_0(const void *in, float *out, size_t n) { /* d * (q - 8) */
    const rw_q4_0 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        float d = rw_half_at(b->d);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((b->qs[j] & 15) - 8);
            out[j + 16] = d * (float)((b->qs[j] >> 4) - 8);
        }
    }
}

void rw_decode_q4_1(const void *in, float *out, size_t n) { /* d * q + m */
    const rw_q4_1 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        float d = rw_half_at(b->d), m = rw_half_at(b->m);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(b->qs[j] & 15) + m;
            out[j + 16] = d * (float)(b->qs[j] >> 4) + m;
        }
    }
}

void rw_decode_q5_0(const void *in, float *out, size_t n) { /* d * (q - 16) */
    const rw_q5_0 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        float d = rw_half_at(b->d);
        uint32_t qh = rw_u32_at(b->qh);
        for (int j = 0; j < 16; j++) {
            int lo = (b->qs[j] & 15) | (int)(qh >> j & 1) << 4;
            int hi = (b->qs[j] >> 4) | (int)(qh >> (j + 16) & 1) << 4;
            out[j] = d * (float)(lo - 16);
            out[j + 16] = d * (float)(hi - 16);
        }
    }
}

void rw_decode_q5_1(const void *in, float *out, size_t n) { /* d * q + m */
    const rw_q5_1 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        float d = rw_half_at(b->d), m = rw_half_at(b->m);
        uint32_t qh = rw_u32_at(b->qh);
        for (int j = 0; j < 16; j++) {
            int lo = (b->qs[j] & 15) | (int)(qh >> j & 1) << 4;
            int hi = (b->qs[j] >> 4) | (int)(qh >> (j + 16) & 1) << 4;
            out[j] = d * (float)lo + m;
            out[j + 16] = d * (float)hi + m;
        }
    }
}

void rw_decode_q8_0(const void *in, float *out, size_t n) { /* d * q */
    const rw_q8_0 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        float d = rw_half_at(b->d);
        for (int j = 0; j < 32; j++) out[j] = d * (float)b->qs[j];
    }
}

void rw_decode_iq4_nl(const void *in, float *out, size_t n) { /* d * values[q] */
    const rw_iq4_nl *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        float d = rw_half_at(b->d);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)rw_iq4_values[b->qs[j] & 15];
            out[j + 16] = d * (float)rw_iq4_values[b->qs[j] >> 4];
        }
    }
}

/* The choices below are ggml's reference ones, so our files equal its files byte for byte: 1/d is
 * taken before d is rounded to half. */

static float inverse(float d) {
    return d != 0.0f ? 1.0f / d : 0.0f;
}

/* The first value of largest magnitude, with its sign. */
static float extreme(const float x[32]) {
    float best = 0.0f;
    for (int j = 0; j < 32; j++) {
        if (fabsf(x[j]) > fabsf(best)) best = x[j];
    }
    return best;
}

static void range(const float x[32], float *min, float *max) {
    *min = *max = x[0];
    for (int j = 1; j < 32; j++) {
        if (x[j] < *min) *min = x[j];
        if (x[j] > *max) *max = x[j];
    }
}

/* q = trunc((x - origin) * inv + bias), at most max. */
static void quantize32(const float x[32], float origin, float inv, float bias, int max,
                       uint8_t q[32]) {
    for (int j = 0; j < 32; j++) q[j] = (uint8_t)to_int((x[j] - origin) * inv + bias, 0, max);
}

static void put_nibbles(const uint8_t q[32], uint8_t qs[16]) {
    for (int j = 0; j < 16; j++) qs[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
}

static void put_fifth_bits(const uint8_t q[32], uint8_t qh[4]) {
    memset(qh, 0, 4);
    for (int j = 0; j < 32; j++) qh[j / 8] |= (uint8_t)((q[j] >> 4) << (j % 8));
}

static void encode_q4_0(const float *in, void *out, size_t n) {
    rw_q4_0 *b = out;
    uint8_t q[32];
    for (size_t i = 0; i < n / 32; i++, b++, in += 32) {
        float d = extreme(in) / -8.0f;
        rw_put_half(b->d, d);
        quantize32(in, 0.0f, inverse(d), 8.5f, 15, q);
        put_nibbles(q, b->qs);
    }
}

static void encode_q4_1(const float *in, void *out, size_t n) {
    rw_q4_1 *b = out;
    uint8_t q[32];
    for (size_t i = 0; i < n / 32; i++, b++, in += 32) {
        float min, max;
        range(in, &min, &max);
        float d = (max - min) / 15.0f;
        rw_put_half(b->d, d);
        rw_put_half(b->m, min);
        quantize32(in, min, inverse(d), 0.5f, 15, q);
        put_nibbles(q, b->qs);
    }
}

static void encode_q5_0(const float *in, void *out, size_t n) {
    rw_q5_0 *b = out;
    uint8_t q[32];
    for (size_t i = 0; i < n / 32; i++, b++, in += 32) {
        float d = extreme(in) / -16.0f;
        rw_put_half(b->d, d);
        quantize32(in, 0.0f, inverse(d), 16.5f, 31, q);
        put_nibbles(q, b->qs);
        put_fifth_bits(q, b->qh);
    }
}

static void encode_q5_1(const float *in, void *out, size_t n) {
    rw_q5_1 *b = out;
    uint8_t q[32];
    for (size_t i = 0; i < n / 32; i++, b++, in += 32) {
        float min, max;
        range(in, &min, &max);
        float d = (max - min) / 31.0f;
        rw_put_half(b->d, d);
        rw_put_half(b->m, min);
        quantize32(in, min, inverse(d), 0.5f, 31, q);
        put_nibbles(q, b->qs);
        put_fifth_bits(q, b->qh);
    }
}

static void encode_q8_0(const float *in, void *out, size_t n) {
    rw_q8_0 *b = out;
    for (size_t i = 0; i < n / 32; i++, b++, in += 32) {
        float d = fabsf(extreme(in)) / 127.0f, inv = inverse(d);
        rw_put_half(b->d, d);
        for (int j = 0; j < 32; j++) b->qs[j] = (int8_t)to_int(roundf(in[j] * inv), -127, 127);
    }
}

/* ---- the table */

static const rw_type_info types[RW_TYPE_COUNT] = {
    [RW_F32] = {"F32", 1, 4, rw_decode_f32, encode_f32},
    [RW_F16] = {"F16", 1, 2, rw_decode_f16, encode_f16},
    [RW_BF16] = {"BF16", 1, 2, rw_decode_bf16, encode_bf16},
    [RW_F64] = {"F64", 1, 8, rw_decode_f64, NULL},
    [RW_Q4_0] = {"Q4_0", 32, sizeof(rw_q4_0), rw_decode_q4_0, encode_q4_0},
    [RW_Q4_1] = {"Q4_1", 32, sizeof(rw_q4_1), rw_decode_q4_1, encode_q4_1},
    [RW_Q5_0] = {"Q5_0", 32, sizeof(rw_q5_0), rw_decode_q5_0, encode_q5_0},
    [RW_Q5_1] = {"Q5_1", 32, sizeof(rw_q5_1), rw_decode_q5_1, encode_q5_1},
    [RW_Q8_0] = {"Q8_0", 32, sizeof(rw_q8_0), rw_decode_q8_0, encode_q8_0},
    [RW_Q2_K] = {"Q2_K", 256, sizeof(rw_q2_k), rw_decode_q2_k, NULL},
    [RW_Q3_K] = {"Q3_K", 256, sizeof(rw_q3_k), rw_decode_q3_k, NULL},
    [RW_Q4_K] = {"Q4_K", 256, sizeof(rw_q4_k), rw_decode_q4_k, rw_encode_q4_k},
    [RW_Q5_K] = {"Q5_K", 256, sizeof(rw_q5_k), rw_decode_q5_k, rw_encode_q5_k},
    [RW_Q6_K] = {"Q6_K", 256, sizeof(rw_q6_k), rw_decode_q6_k, rw_encode_q6_k},
    [RW_IQ4_NL] = {"IQ4_NL", 32, sizeof(rw_iq4_nl), rw_decode_iq4_nl, NULL},
    [RW_IQ4_XS] = {"IQ4_XS", 256, sizeof(rw_iq4_xs), rw_decode_iq4_xs, NULL},
    [RW_I8] = {"I8", 1, 1, NULL, NULL},
    [RW_I16] = {"I16", 1, 2, NULL, NULL},
    [RW_I32] = {"I32", 1, 4, NULL, NULL},
    [RW_I64] = {"I64", 1, 8, NULL, NULL},
    [RW_U8] = {"U8", 1, 1, NULL, NULL},
};

const rw_type_info *rw_type_get(uint32_t type) {
    return type < RW_TYPE_COUNT && types[type].name ? &types[type] : NULL;
}

/* ASCII only: the program's locale must not decide what a type is called. */
static bool same_name(const char *a, const char *b) {
    for (; *a && *b; a++, b++) {
        char x = *a >= 'a' && *a <= 'z' ? (char)(*a - 'a' + 'A') : *a;
        char y = *b >= 'a' && *b <= 'z' ? (char)(*b - 'a' + 'A') : *b;
        if (x != y) return false;
    }
    return *a == *b;
}

rw_type rw_type_by_name(const char *name) {
    if (same_name(name, "FP16")) return RW_F16;
    if (same_name(name, "FP32")) return RW_F32;
    for (uint32_t i = 0; i < RW_TYPE_COUNT; i++) {
        if (types[i].name && same_name(name, types[i].name)) return (rw_type)i;
    }
    return RW_TYPE_COUNT;
}

const char *rw_type_name(rw_type type) {
    const rw_type_info *info = rw_type_get((uint32_t)type);
    return info ? info->name : "?";
}

bool rw_type_is_float(rw_type type) {
    const rw_type_info *info = rw_type_get((uint32_t)type);
    return info && info->decode;
}

bool rw_type_bytes(rw_type type, uint64_t n, uint64_t *bytes) {
    const rw_type_info *info = rw_type_get((uint32_t)type);
    if (!info || n % info->block_elems) return false;
    return rw_mul(n / info->block_elems, info->block_bytes, bytes);
}
