/* number.c - numbers as bytes: little-endian loads, half and bfloat conversion, UTF-8. */
#include "base.h"
#include <string.h>

uint16_t rw_le16(const void *p) {
    uint16_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

uint32_t rw_le32(const void *p) {
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

uint64_t rw_le64(const void *p) {
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t to_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

float rw_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 31u, mantissa = h & 0x3ffu;
    if (exponent == 31) return from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent) return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float f = (float)mantissa * 0x1p-24f; /* subnormal or zero */
    return sign ? -f : f;
}

uint16_t rw_f32_to_f16(float f) {
    uint32_t u = to_bits(f), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);  /* NaN */
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds to 65536 or more */
    if (a < 0x38800000u) { /* subnormal: let the adder round to the grid of 2^-24 */
        float scaled = from_bits(a) + 0.5f;
        return (uint16_t)(sign | (to_bits(scaled) - 0x3f000000u));
    }
    a += 0xfffu + ((a >> 13) & 1u);
    return (uint16_t)(sign | ((a - 0x38000000u) >> 13));
}

uint16_t rw_f32_to_bf16(float f) {
    uint32_t u = to_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

int rw_utf8_next(const char *s, size_t n, uint32_t *cp) {
    if (n == 0) return -1;
    const unsigned char *p = (const unsigned char *)s;
    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }
    int len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4) return 0;
    uint32_t c = p[0] & (0xffu >> (len + 1));
    for (int i = 1; i < len; i++) {
        if ((size_t)i == n) return -1;
        /* of the second byte: no overlong forms, no surrogates, nothing above U+10FFFF */
        unsigned low = 0x80, high = 0xbf;
        if (i == 1 && p[0] == 0xe0) low = 0xa0;
        if (i == 1 && p[0] == 0xed) high = 0x9f;
        if (i == 1 && p[0] == 0xf0) low = 0x90;
        if (i == 1 && p[0] == 0xf4) high = 0x8f;
        if (p[i] < low || p[i] > high) return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    *cp = c;
    return len;
}

size_t rw_utf8_put(uint32_t cp, char out[4]) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80u | (cp & 0x3fu));
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead[n] | cp);
    return n;
}
