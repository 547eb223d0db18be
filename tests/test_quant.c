/* Element types: decoding bit for bit, encoding byte for byte or within the published error, and no
 * surprise from any input. */
#include "guard.h"
#include "quant/quant.h"
#include <float.h>
#include <math.h>

/* What the types must be. `factors` are the offsets of half-precision fields, which random blocks
 * keep finite. `decoded` and `encoded` are CRC-32 sums over fixed random data, taken when the same
 * code was equal to ggml's on golden/quant. `rmse` is ggml's error there; `relative` bounds the
 * error on normal data as a share of its root mean square. */
static const struct {
    rw_type type;
    uint32_t elems, bytes;
    int factors[2];
    uint32_t decoded, encoded;
    double rmse, relative;
} expected[] = {
    {RW_F32, 1, 4, {-1, -1}, 0xe8d3ba3e, 0x0beb0edd, 1e-12, 0},
    {RW_F16, 1, 2, {-1, -1}, 0x28d625a1, 0xb7d128b7, 2e-5, 3e-4},
    {RW_BF16, 1, 2, {-1, -1}, 0x4f002fdc, 0x78197cfa, 2e-4, 2.3e-3},
    {RW_F64, 1, 8, {-1, -1}, 0xd4894f9c, 0, 0, 0},
    {RW_Q4_0, 32, 18, {0, -1}, 0x16d805e8, 0x9a6bf188, 0.00760160, 0.09},
    {RW_Q4_1, 32, 20, {0, 2}, 0xf393a167, 0xeac18119, 0.00600001, 0.08},
    {RW_Q5_0, 32, 22, {0, -1}, 0x6c27a5da, 0xe491ca8e, 0.00374728, 0.045},
    {RW_Q5_1, 32, 24, {0, 2}, 0x379ffd78, 0x78d6b283, 0.00292968, 0.04},
    {RW_Q8_0, 32, 34, {0, -1}, 0xf43a2381, 0x5b41c745, 0.00047286, 0.006},
    {RW_Q2_K, 256, 84, {80, 82}, 0x628d6280, 0, 0, 0},
    {RW_Q3_K, 256, 110, {108, -1}, 0xe4212383, 0, 0, 0},
    {RW_Q4_K, 256, 144, {0, 2}, 0xc9a736f2, 0x5caea1e2, 0.00550808, 0.075},
    {RW_Q5_K, 256, 176, {0, 2}, 0x4d52b420, 0xb1096a0e, 0.00276917, 0.037},
    {RW_Q6_K, 256, 210, {208, -1}, 0xdf479b22, 0x23c6bc24, 0.00147478, 0.02},
    {RW_IQ4_NL, 32, 18, {0, -1}, 0x17d56d16, 0, 0, 0},
    {RW_IQ4_XS, 256, 136, {0, -1}, 0x0766d97d, 0, 0, 0},
};
enum { N_TYPES = sizeof expected / sizeof *expected, ELEMS = 4096 };

/* Bell-shaped, exact on every machine (no libm). */
static void fill_bell(float *x, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i++) {
        float s = 0.0f;
        for (int j = 0; j < 4; j++) s += (float)(rng_u64(&seed) >> 40) * 0x1p-24f;
        x[i] = (s - 2.0f) * 0.125f;
    }
}

static void fill_blocks(int i, uint8_t *blocks, size_t n_blocks, uint64_t seed) {
    for (size_t b = 0; b < n_blocks; b++, blocks += expected[i].bytes) {
        for (uint32_t j = 0; j < expected[i].bytes; j++)
            blocks[j] = (uint8_t)(rng_u64(&seed) >> 56);
        for (int f = 0; f < 2; f++) {
            if (expected[i].factors[f] >= 0)
                blocks[expected[i].factors[f] + 1] &= 0xbf; /* |d| < 2 */
        }
        if (expected[i].elems == 1) blocks[expected[i].bytes - 1] &= 0xbf; /* finite floats */
    }
}

static void *golden(const char *name, size_t *len) {
    char relative[96];
    snprintf(relative, sizeof relative, "golden/quant/%s", name);
    const char *path = shared_path(relative);
    return path ? slurp(path, len) : NULL;
}

static void test_golden_decode(void **state) {
    (void)state;
    if (!shared_path("golden/quant")) skip();
    for (int i = 0; i < N_TYPES; i++) {
        const rw_type_info *info = rw_type_get(expected[i].type);
        char name[64];
        size_t n_bytes, n_want;
        snprintf(name, sizeof name, "%s.blocks.bin", info->name);
        uint8_t *blocks = golden(name, &n_bytes);
        if (!blocks && expected[i].type == RW_F64) continue;
        assert_non_null(blocks);
        snprintf(name, sizeof name, "%s.f32", info->name);
        float *want = golden(name, &n_want);
        size_t n = n_bytes / info->block_bytes * info->block_elems;
        assert_int_equal(n * sizeof *want, n_want);
        float *got = malloc(n_want);
        info->decode(blocks, got, n);
        assert_memory_equal(got, want, n_want);
        free(got);
        free(want);
        free(blocks);
    }
}

static double rmse(const float *a, const float *b, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(s / (double)n);
}

/* Encodes and decodes; returns the blocks. */
static uint8_t *round_trip(const rw_type_info *info, const float *x, float *back, size_t n) {
    size_t bytes = n / info->block_elems * info->block_bytes;
    uint8_t *blocks = malloc(bytes);
    info->encode(x, blocks, n);
    info->decode(blocks, back, n);
    return blocks;
}

static void test_golden_encode(void **state) {
    (void)state;
    size_t len, n;
    float *source = golden("source.f32", &len);
    if (!source) skip();
    n = len / sizeof *source;
    float *back = malloc(len);
    for (int i = 0; i < N_TYPES; i++) {
        const rw_type_info *info = rw_type_get(expected[i].type);
        if (!info->encode) continue;
        uint8_t *blocks = round_trip(info, source, back, n);
        assert_true(rmse(source, back, n) <= expected[i].rmse);
        char name[64];
        snprintf(name, sizeof name, "source.%s.bin", info->name);
        uint8_t *want = golden(name, &len);
        if (want) assert_memory_equal(blocks, want, len);
        assert_true(want || (expected[i].elems != 32));
        free(want);
        free(blocks);
    }
    free(back);
    free(source);
}

static void test_known_decode(void **state) {
    (void)state;
    static float out[ELEMS];
    for (int i = 0; i < N_TYPES; i++) {
        const rw_type_info *info = rw_type_get(expected[i].type);
        size_t n_blocks = ELEMS / info->block_elems;
        uint8_t *blocks = malloc(n_blocks * info->block_bytes);
        fill_blocks(i, blocks, n_blocks, 1 + (uint64_t)i);
        info->decode(blocks, out, ELEMS);
        uint32_t sum = rw_crc32(0, out, sizeof out);
        if (sum != expected[i].decoded) print_message("%s decodes to %08x\n", info->name, sum);
        assert_int_equal(sum, expected[i].decoded);
        free(blocks);
    }
}

static void test_known_encode(void **state) {
    (void)state;
    static float x[ELEMS], back[ELEMS];
    fill_bell(x, ELEMS, 7);
    double scale = 0;
    for (size_t i = 0; i < ELEMS; i++) scale += (double)x[i] * x[i];
    scale = sqrt(scale / ELEMS);
    for (int i = 0; i < N_TYPES; i++) {
        const rw_type_info *info = rw_type_get(expected[i].type);
        if (!info->encode) continue;
        uint8_t *blocks = round_trip(info, x, back, ELEMS);
        uint32_t sum = rw_crc32(0, blocks, ELEMS / info->block_elems * info->block_bytes);
        double relative = rmse(x, back, ELEMS) / scale;
        if (sum != expected[i].encoded) {
            print_message("%s encodes to %08x, error %.5f\n", info->name, sum, relative);
        }
        assert_true(relative <= expected[i].relative);
        assert_int_equal(sum, expected[i].encoded);
        free(blocks);
    }
}

/* A block's bytes depend on its own elements only, and addresses do not matter. */
static void test_blocks_are_independent(void **state) {
    (void)state;
    float x[512];
    for (int i = 0; i < N_TYPES; i++) {
        const rw_type_info *info = rw_type_get(expected[i].type);
        size_t step = info->block_elems, bytes = 512 / step * info->block_bytes;
        if (!info->encode) continue;
        fill_bell(x, 512, 99);
        guarded in = guard_copy(x, sizeof x), out = guard_new(bytes);
        info->encode(in.p, out.p, 512);
        for (size_t b = 0; b < 512 / step; b++) {
            uint8_t one[257];
            float back[257], want[256];
            const uint8_t *whole = (const uint8_t *)out.p + b * info->block_bytes;
            info->encode(x + b * step, one + 1, step);
            assert_memory_equal(one + 1, whole, info->block_bytes);
            info->decode(whole, want, step);
            guarded block = guard_copy(whole, info->block_bytes);
            info->decode(block.p, back, step);
            assert_memory_equal(back, want, step * sizeof *want);
            guard_free(block);
        }
        guard_free(in);
        guard_free(out);
    }
}

/* Zeros stay zeros; equal values stay near; tiny, huge and non-finite values do no harm. */
static void test_hard_values(void **state) {
    (void)state;
    static const float values[] = {
        0.0f,   -0.0f, 1.0f,   -1.0f,    FLT_MIN,  -FLT_MIN,  1e-45f, -1e-45f, FLT_MAX, -FLT_MAX,
        1e-38f, 1e30f, -1e30f, 65504.0f, INFINITY, -INFINITY, NAN,    1e-7f,   -6e-8f,  0.5f};
    enum { N = sizeof values / sizeof *values };
    float x[256], back[256];
    for (int i = 0; i < N_TYPES; i++) {
        const rw_type_info *info = rw_type_get(expected[i].type);
        if (!info->encode) continue;
        uint8_t *blocks;
        for (int v = 0; v < N; v++) {
            for (int j = 0; j < 256; j++) x[j] = values[v];
            blocks = round_trip(info, x, back, 256);
            for (int j = 0; fabsf(values[v]) <= 1.0f && j < 256; j++) {
                /* 2^-25: half a step of half-precision denormals, times the largest scale and q */
                float bound = 0.002f * fabsf(values[v]) + 0x1p-25f * 63 * 31;
                if (fabsf(back[j] - values[v]) > bound) {
                    fail_msg("%s: %g became %g", info->name, (double)values[v], (double)back[j]);
                }
            }
            free(blocks);
            /* one such value among ordinary ones, at every place */
            for (int at = 0; at < 256; at += 5) {
                fill_bell(x, 256, 3);
                x[at] = values[v];
                blocks = round_trip(info, x, back, 256);
                free(blocks);
            }
        }
        uint64_t seed = 5;
        for (int round = 0; round < 50; round++) {
            for (int j = 0; j < 256; j++) x[j] = values[rng_u64(&seed) % N];
            blocks = round_trip(info, x, back, 256);
            free(blocks);
        }
    }
}

static void test_halves_survive(void **state) {
    (void)state;
    static const rw_type halves[] = {RW_F16, RW_BF16};
    for (int i = 0; i < 2; i++) {
        const rw_type_info *info = rw_type_get(halves[i]);
        for (uint32_t h = 0; h < 65536; h++) {
            uint8_t in[2] = {(uint8_t)h, (uint8_t)(h >> 8)}, out[2];
            float f;
            info->decode(in, &f, 1);
            float want = i ? rw_bf16_to_f32((uint16_t)h) : rw_f16_to_f32((uint16_t)h);
            assert_memory_equal(&f, &want, sizeof f);
            if (isnan(f)) continue;
            info->encode(&f, out, 1);
            assert_memory_equal(in, out, 2);
        }
    }
}

static void test_f64(void **state) {
    (void)state;
    double in[4] = {1.0 / 3, -2.5, 1e300, 1e-60};
    float out[4];
    rw_type_get(RW_F64)->decode(in, out, 4);
    assert_true(out[0] == (float)(1.0 / 3) && out[1] == -2.5f && isinf(out[2]) && out[3] == 0.0f);
}

static void test_table(void **state) {
    (void)state;
    for (int i = 0; i < N_TYPES; i++) {
        rw_type type = expected[i].type;
        const rw_type_info *info = rw_type_get((uint32_t)type);
        assert_int_equal(info->block_elems, expected[i].elems);
        assert_int_equal(info->block_bytes, expected[i].bytes);
        assert_true(rw_type_is_float(type));
        assert_int_equal(rw_type_by_name(info->name), type);
        uint64_t bytes = 0;
        assert_true(rw_type_bytes(type, 512, &bytes));
        assert_int_equal(bytes, 512 / expected[i].elems * expected[i].bytes);
        assert_true(rw_type_bytes(type, 0, &bytes) && bytes == 0);
        if (expected[i].elems > 1) assert_false(rw_type_bytes(type, 511, &bytes));
    }
    static const struct {
        const char *name;
        rw_type type;
    } names[] = {{"fp16", RW_F16},       {"FP32", RW_F32},      {"q4_k", RW_Q4_K},
                 {"iq4_Nl", RW_IQ4_NL},  {"bf16", RW_BF16},     {"u8", RW_U8},
                 {"", RW_TYPE_COUNT},    {"Q4", RW_TYPE_COUNT}, {"q4_00", RW_TYPE_COUNT},
                 {"Q8_1", RW_TYPE_COUNT}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(rw_type_by_name(names[i].name), names[i].type);
    }
    static const uint32_t unknown[] = {4, 5, 9, 15, 16, 19, 29, 32, 33, 1000, UINT32_MAX};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_null(rw_type_get(unknown[i]));
        assert_false(rw_type_is_float((rw_type)unknown[i]));
        assert_string_equal(rw_type_name((rw_type)unknown[i]), "?");
    }
    static const rw_type integers[] = {RW_I8, RW_I16, RW_I32, RW_I64, RW_U8};
    static const uint32_t sizes[] = {1, 2, 4, 8, 1};
    for (int i = 0; i < 5; i++) {
        assert_false(rw_type_is_float(integers[i]));
        assert_int_equal(rw_type_get(integers[i])->block_bytes, sizes[i]);
    }
    uint64_t bytes;
    assert_false(rw_type_bytes(RW_F32, UINT64_MAX / 4 + 1, &bytes));
    assert_true(rw_type_bytes(RW_F32, UINT64_MAX / 4, &bytes));
    assert_false(rw_type_bytes(RW_TYPE_COUNT, 1, &bytes));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),         cmocka_unit_test(test_golden_decode),
        cmocka_unit_test(test_golden_encode), cmocka_unit_test(test_known_decode),
        cmocka_unit_test(test_known_encode),  cmocka_unit_test(test_blocks_are_independent),
        cmocka_unit_test(test_hard_values),   cmocka_unit_test(test_halves_survive),
        cmocka_unit_test(test_f64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
