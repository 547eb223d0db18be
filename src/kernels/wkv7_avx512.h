/* wkv7_avx512.h - the recurrence of RWKV-7 for heads of 64 channels: four rows of the state are sixteen
 * registers, and stay there for all tokens. The operations and their order are those of floats.h: a
 * register's lower half is its even vector of eight, the upper half its odd one. */

typedef __m512 f16;

/* Four times the sum of sixteen lanes, in the order of wkv7_rows. */
INLINE __m128 sums_of(const f16 s[4]) {
    f8 v[4];
    UNROLL for (int c = 0; c < 4; c++) v[c] =
        add(_mm512_castps512_ps256(s[c]),
            _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(s[c]), 1)));
    float out[4];
    sum8x4(out, v[0], v[1], v[2], v[3]);
    return _mm_loadu_ps(out);
}

/* One token; S: rows i to i + 3. */
INLINE __m128 wkv7_token(f16 S[4][4], const float *r, const float *w, const float *k, const float *v,
                         const float *kappa, const float *a) {
    f16 s[4], acc[4];
    UNROLL for (int c = 0; c < 4; c++) s[c] = acc[c] = _mm512_setzero_ps();
    UNROLL for (int b = 0; b < 4; b++) {
        f16 kj = _mm512_loadu_ps(kappa + 16 * b);
        UNROLL for (int c = 0; c < 4; c++) s[c] = _mm512_fmadd_ps(S[c][b], kj, s[c]);
    }
    __m128 sums = sums_of(s);
    s[0] = _mm512_broadcastss_ps(sums);
    s[1] = _mm512_broadcastss_ps(_mm_shuffle_ps(sums, sums, 0x55));
    s[2] = _mm512_broadcastss_ps(_mm_shuffle_ps(sums, sums, 0xaa));
    s[3] = _mm512_broadcastss_ps(_mm_shuffle_ps(sums, sums, 0xff));
    UNROLL for (int b = 0; b < 4; b++) {
        f16 wj = _mm512_loadu_ps(w + 16 * b), kj = _mm512_loadu_ps(k + 16 * b);
        f16 rj = _mm512_loadu_ps(r + 16 * b);
        f16 remove = _mm512_mul_ps(_mm512_loadu_ps(kappa + 16 * b), _mm512_loadu_ps(a + 16 * b));
        UNROLL for (int c = 0; c < 4; c++) {
            f16 now = _mm512_fnmadd_ps(s[c], remove, _mm512_mul_ps(S[c][b], wj));
            S[c][b] = _mm512_fmadd_ps(_mm512_set1_ps(v[c]), kj, now);
            acc[c] = _mm512_fmadd_ps(S[c][b], rj, acc[c]);
        }
    }
    return sums_of(acc);
}

static void wkv7_64(const float *r, const float *w, const float *k, const float *v,
                    const float *kappa, const float *a, size_t stride, float *state, float *y,
                    size_t n_tokens) {
    for (size_t i = 0; i < 64; i += 4, state += 4 * 64) {
        f16 S[4][4];
        UNROLL for (int j = 0; j < 16; j++) S[j / 4][j % 4] = _mm512_loadu_ps(state + 16 * j);
        for (size_t t = 0, at = 0; t < n_tokens; t++, at += stride)
            _mm_storeu_ps(y + at + i, wkv7_token(S, r + at, w + at, k + at, v + at + i, kappa + at, a + at));
        UNROLL for (int j = 0; j < 16; j++) _mm512_storeu_ps(state + 16 * j, S[j / 4][j % 4]);
    }
}
