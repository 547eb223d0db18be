/* decode.h - rows of blocks to float32, written once over vectors of sixteen bytes: the same operations
 * as the scalar functions of quant/, hence the same bits. The including file defines b16 and what is
 * used of it here: load16, shift16 (every byte up, or down when negative; bits of neighbours may
 * enter), and16, or16, minus16, lookup16, fifth_bits, widen16; half_at; and f8 as for floats.h. */

/* Bits of every byte that stand under the mask once moved. */
static inline b16 bits(b16 v, int up, int mask) {
    return and16(shift16(v, up), mask);
}

static inline b16 low_nibbles(b16 v) {
    return and16(v, 15);
}

static inline b16 high_nibbles(b16 v) {
    return bits(v, -4, 15);
}

static inline b16 iq4_values(b16 nibbles) {
    return lookup16(rw_iq4_values, nibbles);
}

/* out = d * q, and d * q + m */
static inline void put16(float *out, b16 q, f8 d) {
    f8 a, b;
    widen16(q, &a, &b);
    store(out, mul(d, a));
    store(out + 8, mul(d, b));
}

static inline void put16_plus(float *out, b16 q, f8 d, f8 m) {
    f8 a, b;
    widen16(q, &a, &b);
    store(out, add(mul(d, a), m));
    store(out + 8, add(mul(d, b), m));
}

static void decode_q4_0(const void *in, float *out, size_t n) {
    const rw_q4_0 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        b16 qs = load16(b->qs);
        f8 d = set1(half_at(b->d));
        put16(out, minus16(low_nibbles(qs), 8), d);
        put16(out + 16, minus16(high_nibbles(qs), 8), d);
    }
}

static void decode_q4_1(const void *in, float *out, size_t n) {
    const rw_q4_1 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        b16 qs = load16(b->qs);
        f8 d = set1(half_at(b->d)), m = set1(half_at(b->m));
        put16_plus(out, low_nibbles(qs), d, m);
        put16_plus(out + 16, high_nibbles(qs), d, m);
    }
}

static void decode_q5_0(const void *in, float *out, size_t n) {
    const rw_q5_0 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        b16 qs = load16(b->qs);
        uint32_t qh = rw_u32_at(b->qh);
        f8 d = set1(half_at(b->d));
        put16(out, minus16(or16(low_nibbles(qs), fifth_bits(qh)), 16), d);
        put16(out + 16, minus16(or16(high_nibbles(qs), fifth_bits(qh >> 16)), 16), d);
    }
}

static void decode_q5_1(const void *in, float *out, size_t n) {
    const rw_q5_1 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        b16 qs = load16(b->qs);
        uint32_t qh = rw_u32_at(b->qh);
        f8 d = set1(half_at(b->d)), m = set1(half_at(b->m));
        put16_plus(out, or16(low_nibbles(qs), fifth_bits(qh)), d, m);
        put16_plus(out + 16, or16(high_nibbles(qs), fifth_bits(qh >> 16)), d, m);
    }
}

static void decode_q8_0(const void *in, float *out, size_t n) {
    const rw_q8_0 *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        f8 d = set1(half_at(b->d));
        put16(out, load16(b->qs), d);
        put16(out + 16, load16(b->qs + 16), d);
    }
}

static void decode_iq4_nl(const void *in, float *out, size_t n) {
    const rw_iq4_nl *b = in;
    for (size_t i = 0; i < n / 32; i++, b++, out += 32) {
        b16 qs = load16(b->qs);
        f8 d = set1(half_at(b->d));
        put16(out, iq4_values(low_nibbles(qs)), d);
        put16(out + 16, iq4_values(high_nibbles(qs)), d);
    }
}

static void decode_iq4_xs(const void *in, float *out, size_t n) {
    const rw_iq4_xs *b = in;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_at(b->d);
        int high = rw_u16_at(b->scales_h);
        for (int s = 0; s < 8; s++, out += 32) {
            int sc = (b->scales_l[s / 2] >> 4 * (s % 2) & 15) | (high >> 2 * s & 3) << 4;
            b16 qs = load16(b->qs + 16 * s);
            f8 scale = set1(d * (float)(sc - 32));
            put16(out, iq4_values(low_nibbles(qs)), scale);
            put16(out + 16, iq4_values(high_nibbles(qs)), scale);
        }
    }
}

static void decode_q2_k(const void *in, float *out, size_t n) {
    const rw_q2_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_at(b->d), dmin = half_at(b->dmin);
        for (int s = 0; s < 16; s++, out += 16) {
            b16 q = bits(load16(b->qs + 32 * (s / 8) + 16 * (s % 2)), -2 * (s / 2 % 4), 3);
            float min = dmin * (float)(b->scales[s] >> 4);
            put16_plus(out, q, set1(d * (float)(b->scales[s] & 15)), set1(-min));
        }
    }
}

static void decode_q3_k(const void *in, float *out, size_t n) {
    const rw_q3_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_at(b->d);
        for (int s = 0; s < 16; s++, out += 16) {
            int low = s < 8 ? b->scales[s] & 15 : b->scales[s - 8] >> 4;
            int high = b->scales[8 + s % 4] >> 2 * (s / 4) & 3;
            b16 q = bits(load16(b->qs + 32 * (s / 8) + 16 * (s % 2)), -2 * (s / 2 % 4), 3);
            q = or16(q, bits(load16(b->hmask + 16 * (s % 2)), 2 - s / 2, 4));
            put16(out, minus16(q, 4), set1(d * (float)((low | high << 4) - 32)));
        }
    }
}

/* scale * q - min for 32 elements of Q4_K and Q5_K. */
static inline void put32_minus(float *out, b16 q0, b16 q1, float scale, float min) {
    f8 d = set1(scale), m = set1(-min);
    put16_plus(out, q0, d, m);
    put16_plus(out + 16, q1, d, m);
}

static void decode_q4_k(const void *in, float *out, size_t n) {
    const rw_q4_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_at(b->d), dmin = half_at(b->dmin);
        for (int c = 0; c < 4; c++, out += 64) {
            b16 q0 = load16(b->qs + 32 * c), q1 = load16(b->qs + 32 * c + 16);
            uint8_t s0, m0, s1, m1;
            rw_k_scale_min(b->scales, 2 * c, &s0, &m0);
            rw_k_scale_min(b->scales, 2 * c + 1, &s1, &m1);
            put32_minus(out, low_nibbles(q0), low_nibbles(q1), d * (float)s0, dmin * (float)m0);
            put32_minus(out + 32, high_nibbles(q0), high_nibbles(q1), d * (float)s1,
                        dmin * (float)m1);
        }
    }
}

static void decode_q5_k(const void *in, float *out, size_t n) {
    const rw_q5_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_at(b->d), dmin = half_at(b->dmin);
        b16 h0 = load16(b->qh), h1 = load16(b->qh + 16);
        for (int s = 0; s < 8; s++, out += 32) {
            b16 q0 = load16(b->qs + 32 * (s / 2)), q1 = load16(b->qs + 32 * (s / 2) + 16);
            uint8_t sc, mn;
            rw_k_scale_min(b->scales, s, &sc, &mn);
            q0 = s % 2 ? high_nibbles(q0) : low_nibbles(q0);
            q1 = s % 2 ? high_nibbles(q1) : low_nibbles(q1);
            put32_minus(out, or16(q0, bits(h0, 4 - s, 16)), or16(q1, bits(h1, 4 - s, 16)),
                        d * (float)sc, dmin * (float)mn);
        }
    }
}

static void decode_q6_k(const void *in, float *out, size_t n) {
    const rw_q6_k *b = in;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_at(b->d);
        for (int s = 0; s < 16; s++, out += 16) {
            int half = s / 8, plane = s / 2 % 4, at = 16 * (s % 2);
            b16 ql = load16(b->ql + 64 * half + 32 * (plane % 2) + at);
            b16 qh = load16(b->qh + 32 * half + at);
            ql = plane < 2 ? low_nibbles(ql) : high_nibbles(ql);
            b16 q = minus16(or16(ql, bits(qh, 4 - 2 * plane, 0x30)), 32);
            put16(out, q, set1(d * (float)b->scales[s]));
        }
    }
}
