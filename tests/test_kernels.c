/* Every kernel of every instruction set this machine has: against the formulas in float64, against
 * the scalar table where bits must be equal, at odd lengths, with forbidden pages behind every
 * buffer; and the promise that no result depends on how much is computed together. */
#include "guard.h"
#include "kernels/kernels.h"
#include "quant/blocks.h"
#include <float.h>
#include <math.h>

static const rw_kernels *tables[8];
static int n_tables;

static int find_tables(void **state) {
    static const char *const names[] = {"scalar",      "avx2", "avxvnni",      "avx512",
                                        "avx512-bf16", "neon", "neon-dotprod", "neon-i8mm"};
    (void)state;
    n_tables = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (rw_kernels_get(&tables[n_tables], names[i], NULL) == RWKV_OK) n_tables++;
    }
    return n_tables ? 0 : -1;
}

static void fill(float *x, size_t n, uint64_t seed, float scale) {
    for (size_t i = 0; i < n; i++) x[i] = scale * (2.0f * rng_uniform(&seed) - 1.0f);
}

static guarded random_floats(size_t n, uint64_t seed, float scale) {
    guarded g = guard_new(n * sizeof(float));
    fill(g.p, n, seed, scale);
    return g;
}

static void same_bits(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (isnan(a[i]) && isnan(b[i])) continue;
        if (memcmp(a + i, b + i, sizeof *a)) {
            fail_msg("element %zu of %zu: %a and %a", i, n, (double)a[i], (double)b[i]);
        }
    }
}

/* ---- choosing */

static void test_choice(void **state) {
    (void)state;
    const rw_kernels *k;
    rwkv_error err;
    assert_int_equal(rw_kernels_get(&k, "scalar", &err), RWKV_OK);
    assert_ptr_equal(k, &rw_kernels_scalar);
    assert_int_equal(rw_kernels_get(&k, "sse9", &err), RWKV_E_ARG);
    assert_null(k);
    assert_non_null(strstr(err.message, "sse9"));
    assert_non_null(strstr(err.message, "scalar"));
    assert_int_equal(rw_kernels_get(&k, "sse9", NULL), RWKV_E_ARG);

    setenv("RWKV_ISA", "scalar", 1);
    assert_int_equal(rw_kernels_get(&k, NULL, &err), RWKV_OK);
    assert_ptr_equal(k, &rw_kernels_scalar);
    setenv("RWKV_ISA", "mmx", 1);
    assert_int_equal(rw_kernels_get(&k, NULL, &err), RWKV_E_ARG);
    assert_non_null(strstr(err.message, "RWKV_ISA"));
    assert_int_equal(rw_kernels_get(&k, "scalar", &err), RWKV_OK);
    setenv("RWKV_ISA", "", 1);
    assert_int_equal(rw_kernels_get(&k, NULL, &err), RWKV_OK);
    unsetenv("RWKV_ISA");
    assert_int_equal(rw_kernels_get(&k, NULL, &err), RWKV_OK);
    assert_ptr_equal(k, tables[n_tables - 1]); /* names are in rising order */
}

static void test_tables_are_complete(void **state) {
    (void)state;
    for (int i = 0; i < n_tables; i++) {
        void (*fields[(sizeof(rw_kernels) - sizeof(char *)) / sizeof(void (*)(void))])(void);
        memcpy(fields, &tables[i]->decode, sizeof fields);
        const size_t optional = offsetof(rw_kernels, round_bf16) / sizeof *fields - 1; /* and the next */
        for (size_t f = RW_TYPE_COUNT; f < sizeof fields / sizeof *fields; f++)
            if (f != optional && f != optional + 1) assert_non_null(fields[f]);
        for (uint32_t t = 0; t < RW_TYPE_COUNT; t++) {
            assert_int_equal(tables[i]->decode[t] != NULL, rw_type_is_float((rw_type)t));
        }
    }
}

/* ---- decoding */

static void test_decode(void **state) {
    (void)state;
    for (uint32_t t = 0; t < RW_TYPE_COUNT; t++) {
        const rw_type_info *info = rw_type_get(t);
        if (!info || !info->decode) continue;
        size_t max_blocks = info->block_elems == 1 ? 600 : 9;
        for (size_t n_blocks = 0; n_blocks <= max_blocks; n_blocks++) {
            size_t n = n_blocks * info->block_elems;
            uint64_t seed = t * 1000 + n_blocks;
            guarded in = guard_new(n_blocks * info->block_bytes);
            for (size_t j = 0; j < n_blocks * info->block_bytes; j++) {
                ((uint8_t *)in.p)[j] = (uint8_t)(rng_u64(&seed) >> 56);
            }
            float *want = malloc((n + 1) * sizeof *want);
            info->decode(in.p, want, n);
            for (int i = 0; i < n_tables; i++) {
                guarded out = guard_new(n * sizeof *want);
                tables[i]->decode[t](in.p, out.p, n);
                same_bits(out.p, want, n);
                guard_free(out);
            }
            free(want);
            guard_free(in);
        }
    }
}

/* Every byte value in every field: all scales, all quants, all factors. */
static void test_decode_all_bytes(void **state) {
    (void)state;
    uint8_t block[256];
    float want[256], got[256];
    for (uint32_t t = 0; t < RW_TYPE_COUNT; t++) {
        const rw_type_info *info = rw_type_get(t);
        if (!info || !info->decode) continue;
        for (int i = 1; i < n_tables; i++) {
            for (int value = 0; value < 256; value++) {
                for (uint32_t j = 0; j < info->block_bytes; j++)
                    block[j] = (uint8_t)(value + 7 * (int)j);
                info->decode(block, want, info->block_elems);
                tables[i]->decode[t](block, got, info->block_elems);
                same_bits(got, want, info->block_elems);
            }
        }
    }
}

/* ---- products */

/* Rounding of n products summed in at least eight parallel chains: each term passes through at most
 * n / 8 + 6 roundings of 2^-24. */
static void check_product(float got, const float *w, const float *x, size_t n, float scale) {
    double sum = 0, size = 0;
    for (size_t k = 0; k < n; k++) {
        sum += (double)w[k] * x[k];
        size += fabs((double)w[k] * x[k]);
    }
    double bound = fabs((double)scale) * size * ((double)n / 8 + 6) * 0x1p-24 + 1e-44;
    if (!(fabs(got - scale * sum) <= bound)) {
        fail_msg("n %zu: %.9g, exact %.9g, bound %g", n, (double)got, scale * sum, bound);
    }
}

static void check_matmul(const rw_kernels *k, size_t rows, size_t tokens, size_t n, size_t pad) {
    size_t w_stride = n + pad, x_stride = n + 2 * pad, y_stride = rows + pad;
    guarded w = random_floats(rows * w_stride - pad * (rows > 0), n * 31 + rows, 1.0f);
    guarded x = random_floats(tokens * x_stride - 2 * pad * (tokens > 0), n * 37 + tokens, 1.0f);
    guarded y = guard_new(sizeof(float) * (tokens * y_stride - pad * (tokens > 0)));
    const float *wp = w.p, *xp = x.p;
    float *yp = y.p;
    k->matmul_f32(wp, w_stride, rows, xp, x_stride, tokens, n, 0.75f, yp, y_stride);
    for (size_t t = 0; t < tokens; t++) {
        for (size_t r = 0; r < rows; r++) {
            check_product(yp[t * y_stride + r], wp + r * w_stride, xp + t * x_stride, n, 0.75f);
        }
        for (size_t p = 0; p < pad && t + 1 < tokens; p++) {
            assert_true(yp[t * y_stride + rows + p] == 0.0f);
        }
    }
    guard_free(w);
    guard_free(x);
    guard_free(y);
}

static void test_matmul(void **state) {
    (void)state;
    for (int i = 0; i < n_tables; i++) {
        for (size_t n = 0; n <= 600; n += n < 40 ? 1 : 13) {
            check_matmul(tables[i], 1 + n % 9, 1 + n % 5, n, n % 3);
        }
        for (size_t rows = 1; rows <= 33; rows += 1) {
            for (size_t tokens = 1; tokens <= 8; tokens++)
                check_matmul(tables[i], rows, tokens, 29, 1);
        }
        check_matmul(tables[i], 0, 3, 64, 0);
        check_matmul(tables[i], 3, 0, 64, 0);
        check_matmul(tables[i], 5, 7, 4096, 3);
    }
}

/* The promise of kernels.h: one element's bits depend on its own row and token only. */
static void test_matmul_tiles(void **state) {
    (void)state;
    enum { ROWS = 27, TOKENS = 14, MAX = 131 };
    static float w[ROWS * MAX], x[TOKENS * MAX], whole[TOKENS * ROWS], part[TOKENS * ROWS];
    fill(w, ROWS * MAX, 1, 3.0f);
    fill(x, TOKENS * MAX, 2, 2.0f);
    uint64_t seed = 3;
    for (int i = 0; i < n_tables; i++) {
        for (size_t n = 1; n <= MAX; n += 13) {
            tables[i]->matmul_f32(w, MAX, ROWS, x, MAX, TOKENS, n, 1.5f, whole, ROWS);
            for (int round = 0; round < 30; round++) { /* round 0: element by element */
                for (size_t r = 0, nr; r < ROWS; r += nr) {
                    nr = round ? 1 + rng_u64(&seed) % (ROWS - r) : 1;
                    for (size_t t = 0, nt; t < TOKENS; t += nt) {
                        nt = round ? 1 + rng_u64(&seed) % (TOKENS - t) : 1;
                        tables[i]->matmul_f32(w + r * MAX, MAX, nr, x + t * MAX, MAX, nt, n, 1.5f,
                                              part + t * ROWS + r, ROWS);
                    }
                }
                same_bits(part, whole, TOKENS * ROWS);
            }
        }
    }
}

/* Halves multiplied as they are, and decoded first: the same bits. */
static void test_matmul_halves(void **state) {
    (void)state;
    enum { ROWS = 19, TOKENS = 5 };
    for (int i = 0; i < n_tables; i++) {
        for (size_t n = 0; n <= 1100; n += n < 40 ? 1 : 53) {
            for (int bf = 0; bf < 2; bf++) {
                rw_type type = bf ? RW_BF16 : RW_F16;
                guarded w = guard_new(2 * ROWS * n), x = random_floats(TOKENS * n, n, 2.0f);
                float *values = malloc((ROWS * n + 1) * sizeof *values), got[TOKENS * ROWS],
                      want[TOKENS * ROWS];
                fill(values, ROWS * n, n + 7, 1.0f);
                rw_type_get(type)->encode(values, w.p, ROWS * n);
                rw_type_get(type)->decode(w.p, values, ROWS * n);
                (bf ? tables[i]->matmul_bf16 : tables[i]->matmul_f16)(w.p, n, ROWS, x.p, n, TOKENS,
                                                                      n, 0.7f, got, ROWS);
                tables[i]->matmul_f32(values, n, ROWS, x.p, n, TOKENS, n, 0.7f, want, ROWS);
                same_bits(got, want, TOKENS * ROWS);
                free(values);
                guard_free(w);
                guard_free(x);
            }
        }
    }
}

static void test_matmul_hard_values(void **state) {
    (void)state;
    float w[70], x[70], y;
    for (int i = 0; i < n_tables; i++) {
        for (size_t n = 1; n <= 70; n++) {
            for (size_t k = 0; k < n; k++) w[k] = 1e-40f, x[k] = 1.0f; /* denormals count */
            tables[i]->matmul_f32(w, n, 1, x, n, 1, n, 1.0f, &y, 1);
            assert_true(fabsf(y - 1e-40f * (float)n) <= 2e-44f * (float)n);
            for (size_t k = 0; k < n; k++) w[k] = FLT_MAX, x[k] = k % 2 ? -0.5f : 0.5f;
            tables[i]->matmul_f32(w, n, 1, x, n, 1, n, 1.0f, &y, 1);
            assert_false(isnan(y) && n < 4);
            x[n - 1] = NAN;
            tables[i]->matmul_f32(w, n, 1, x, n, 1, n, 1.0f, &y, 1);
            assert_true(isnan(y));
            x[n - 1] = 0.5f;
            w[n - 1] = INFINITY;
            tables[i]->matmul_f32(w, n, 1, x, n, 1, n, 1.0f, &y, 1);
            assert_false(isfinite(y));
        }
    }
}

/* ---- integer products */

static const rw_type packed_types[] = {RW_Q4_0, RW_Q4_1, RW_Q5_0, RW_Q5_1,   RW_Q8_0,   RW_Q2_K,
                                       RW_Q3_K, RW_Q4_K, RW_Q5_K, RW_Q6_K,   RW_IQ4_NL, RW_IQ4_XS};
enum { N_PACKED = sizeof packed_types / sizeof *packed_types };

static size_t n_acts(size_t n) {
    return rw_pack_tiles(n);
}

/* q is the nearest integer to x / d, d the largest of 32 over 127; sums are those of q. */
static void check_acts(const rw_act *acts, const float *x, size_t n) {
    for (size_t at = 0; at < n_acts(n) * 64; at += 32) {
        const rw_act *a = &acts[at / 64];
        size_t g = at / 32 % 2;
        float max = 0;
        int32_t sum[2] = {0};
        for (size_t j = 0; j < 32; j++) {
            float v = at + j < n ? x[at + j] : 0;
            max = fmaxf(max, fabsf(v));
            sum[j / 16] += a->q[32 * g + j];
            assert_true(fabs((double)a->d[g] * a->q[32 * g + j] - v) <= a->d[g] * 0.50001);
        }
        assert_true(a->d[g] == max / 127);
        assert_int_equal(a->minus_sum[g], -(sum[0] + sum[1]));
        for (size_t h = 0; h < 2; h++) assert_int_equal(a->minus_sum16[2 * g + h], -sum[h]);
        assert_true(a->dsum[g] == a->d[g] * (float)(sum[0] + sum[1]));
    }
}

static void test_quantize(void **state) {
    (void)state;
    for (size_t n = 1; n <= 300; n++) {
        guarded x = random_floats(n, n, n % 3 ? 4.0f : 1e-20f);
        for (int i = 0; i < n_tables; i++) {
            guarded out = guard_new(n_acts(n) * sizeof(rw_act));
            tables[i]->quantize(x.p, n, out.p, 1);
            check_acts(out.p, x.p, n);
            guard_free(out);
        }
        guard_free(x);
    }
}

static void test_quantize_hard_values(void **state) {
    (void)state;
    static const float values[] = {NAN,   INFINITY, -INFINITY, 1e-31f, 1e-40f,
                                   -0.0f, FLT_MAX,  -FLT_MAX,  1e-30f};
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
        for (size_t at = 0; at < 128; at += 9) {
            float x[128] = {0};
            rw_act want[2], got[2];
            x[at] = values[v];
            rw_kernels_scalar.quantize(x, 128, want, 1);
            float d = want[at / 64].d[at / 32 % 2];
            if (!isfinite(values[v]))
                assert_true(isnan(d));
            else
                assert_true(d == (fabsf(values[v]) < 1e-30f ? 0 : fabsf(values[v]) / 127));
            assert_true(want[(at / 64 + 1) % 2].d[0] == 0);
            for (int i = 1; i < n_tables; i++) {
                tables[i]->quantize(x, 128, got, 1);
                for (int t = 0; t < 2; t++) {
                    assert_memory_equal(got[t].q, want[t].q, sizeof want[t].q);
                    assert_memory_equal(got[t].minus_sum, want[t].minus_sum, 6 * sizeof(int32_t));
                    same_bits(got[t].d, want[t].d, 4);
                }
            }
        }
    }
}

typedef struct packed {
    rw_type type;
    size_t rows, cols;
    guarded blocks, strips;
    size_t row_bytes;
} packed;

/* Blocks of types that we do not write: any bytes, and float16 factors of about 0.01. */
static void random_blocks(rw_type type, uint8_t *blocks, size_t bytes, uint64_t *seed) {
    static const struct {
        rw_type type;
        int d_at, dmin_at;
    } places[] = {{RW_Q2_K, 80, 82}, {RW_Q3_K, 108, -1}, {RW_IQ4_NL, 0, -1}, {RW_IQ4_XS, 0, -1}};
    size_t i = 0;
    while (places[i].type != type) i++;
    for (size_t j = 0; j < bytes; j++) blocks[j] = (uint8_t)(rng_u64(seed) >> 56);
    for (size_t b = 0; b < bytes; b += rw_type_get(type)->block_bytes) {
        rw_put_half(blocks + b + places[i].d_at, 0.01f + 0.01f * rng_uniform(seed));
        if (places[i].dmin_at >= 0)
            rw_put_half(blocks + b + places[i].dmin_at, 0.01f + 0.01f * rng_uniform(seed));
    }
}

/* Encoded normal numbers, or, with noise, any bytes. */
static packed make_packed(rw_type type, size_t rows, size_t cols, bool noise) {
    uint64_t bytes, seed = rows * 31 + cols + type;
    assert_true(rw_type_bytes(type, cols, &bytes));
    packed p = {.type = type, .rows = rows, .cols = cols, .row_bytes = bytes};
    p.blocks = guard_new(rows * bytes);
    float *values = malloc(rows * cols * sizeof *values);
    for (size_t i = 0; i < rows * cols; i++) values[i] = 0.02f * rng_normal(&seed);
    if (rw_type_get(type)->encode)
        rw_type_get(type)->encode(values, p.blocks.p, rows * cols);
    else
        random_blocks(type, p.blocks.p, rows * bytes, &seed);
    for (size_t i = 0; noise && i < rows * bytes; i++)
        ((uint8_t *)p.blocks.p)[i] = (uint8_t)rng_u64(&seed);
    free(values);
    size_t strip = rw_pack_strip_bytes(rw_pack_of(type), cols), n = (rows + 15) / 16;
    p.strips = guard_new(n * strip);
    for (size_t s = 0; s < n; s++)
        rw_pack_strip(type, (uint8_t *)p.blocks.p + 16 * s * bytes, bytes,
                      rows - 16 * s < 16 ? rows - 16 * s : 16, cols,
                      (uint8_t *)p.strips.p + s * strip);
    return p;
}

static void free_packed(packed p) {
    guard_free(p.blocks);
    guard_free(p.strips);
}

/* x: [tokens, cols] -> interleaved */
static guarded make_acts(const rw_kernels *k, const float *x, size_t tokens, size_t cols) {
    guarded g = guard_new(tokens * n_acts(cols) * sizeof(rw_act));
    for (size_t t = 0; t < tokens; t++) k->quantize(x + t * cols, cols, (rw_act *)g.p + t, tokens);
    return g;
}

/* The scalar table against float64 on the decoded weights and the rounded activations: the scales
 * of 256-blocks are float16 here, 2^-11 off at most; the rest is the rounding of cols / 16 float
 * sums. */
static void test_packed_means_the_same(void **state) {
    (void)state;
    for (int i = 0; i < N_PACKED; i++) {
        for (size_t cols = 32; cols <= 768; cols += 32) {
            if (cols % rw_type_get(packed_types[i])->block_elems) continue;
            packed p = make_packed(packed_types[i], 21, cols, false);
            float *w = malloc(cols * sizeof *w), y[2 * 21];
            guarded x = random_floats(2 * cols, cols, 3.0f),
                    a = make_acts(&rw_kernels_scalar, x.p, 2, cols);
            rw_kernels_scalar.matmul_packed[rw_pack_of(p.type)](p.strips.p, cols, 21, a.p, 2, 0.5f,
                                                                y, 21);
            for (size_t r = 0; r < 21; r++) {
                rw_type_get(p.type)->decode((uint8_t *)p.blocks.p + r * p.row_bytes, w, cols);
                for (size_t t = 0; t < 2; t++) {
                    double sum = 0, size = 0;
                    for (size_t k = 0; k < cols; k++) {
                        const rw_act *act = (rw_act *)a.p + 2 * (k / 64) + t;
                        double v = w[k] * (double)act->d[k / 32 % 2] * act->q[k % 64];
                        sum += 0.5 * v;
                        size += 0.5 * fabs(v);
                    }
                    double most = rw_type_get(p.type)->block_elems == 256 ? 1.0 / 400 : 1e-5;
                    if (!(fabs(y[t * 21 + r] - sum) <= most * size))
                        fail_msg("%s, %zu columns: %g, exact %g", rw_type_name(p.type), cols,
                                 (double)y[t * 21 + r], sum);
                }
            }
            guard_free(x);
            guard_free(a);
            free(w);
            free_packed(p);
        }
    }
}

static void check_packed(const packed *p, size_t tokens, uint64_t seed) {
    rw_pack pack = rw_pack_of(p->type);
    size_t stride = p->rows + 3, n = tokens * stride - 3;
    guarded x = random_floats(tokens * p->cols, seed, 3.0f);
    guarded a = make_acts(&rw_kernels_scalar, x.p, tokens, p->cols),
            want = guard_new(n * sizeof(float));
    rw_kernels_scalar.matmul_packed[pack](p->strips.p, p->cols, p->rows, a.p, tokens, 0.7f, want.p,
                                          stride);
    for (int i = 1; i < n_tables; i++) {
        guarded y = guard_new(n * sizeof(float));
        tables[i]->matmul_packed[pack](p->strips.p, p->cols, p->rows, a.p, tokens, 0.7f, y.p,
                                       stride);
        same_bits(y.p, want.p, n);
        guard_free(y);
    }
    guard_free(x);
    guard_free(a);
    guard_free(want);
}

static void test_packed_tables_agree(void **state) {
    (void)state;
    for (int i = 0; i < N_PACKED; i++) {
        for (size_t rows = 1; rows <= 50; rows += rows < 18 ? 1 : 15) {
            for (size_t round = 0; round < 4; round++) {
                size_t block = rw_type_get(packed_types[i])->block_elems;
                packed p = make_packed(packed_types[i], rows, block * (1 + (rows + round) % 5),
                                       round == 3);
                for (size_t tokens = 1; tokens <= RW_PANEL; tokens++)
                    check_packed(&p, tokens, rows + tokens);
                free_packed(p);
            }
        }
    }
}

/* A token's bits do not depend on the others, nor a row's on how rows are divided. */
static void test_packed_tiles(void **state) {
    (void)state;
    enum { ROWS = 70, COLS = 512 };
    static float x[RW_PANEL * COLS], all[RW_PANEL * ROWS], one[ROWS];
    fill(x, RW_PANEL * COLS, 3, 2.0f);
    for (int i = 0; i < N_PACKED; i++) {
        packed p = make_packed(packed_types[i], ROWS, COLS, false);
        rw_pack pack = rw_pack_of(p.type);
        for (int k = 0; k < n_tables; k++) {
            guarded a = make_acts(tables[k], x, RW_PANEL, COLS);
            tables[k]->matmul_packed[pack](p.strips.p, COLS, ROWS, a.p, RW_PANEL, 1.0f, all, ROWS);
            for (size_t t = 0; t < RW_PANEL; t++) {
                guarded single = make_acts(tables[k], x + t * COLS, 1, COLS);
                for (size_t r = 0; r < ROWS; r += 32)
                    tables[k]->matmul_packed[pack](
                        (uint8_t *)p.strips.p + r / 16 * rw_pack_strip_bytes(pack, COLS), COLS,
                        ROWS - r < 32 ? ROWS - r : 32, single.p, 1, 1.0f, one + r, ROWS);
                same_bits(one, all + t * ROWS, ROWS);
                guard_free(single);
            }
            guard_free(a);
        }
        free_packed(p);
    }
}

/* ---- by columns, and wide: the bits of matmul_packed */

/* About `zeros` of 100 activations are zero, some groups are all zero, one holds NaN now and then. */
static guarded sparse_floats(size_t n, uint64_t seed, uint64_t zeros) {
    guarded g = random_floats(n, seed, 3.0f);
    float *x = g.p;
    for (size_t i = 0; i < n; i++)
        if (rng_u64(&seed) % 100 < zeros || i / 32 % 5 == seed % 7) x[i] = 0.0f;
    if (seed % 16 == 0) x[seed % n] = NAN;
    return g;
}

static guarded make_blocks(const packed *p) {
    size_t bytes = rw_block_bytes(rw_pack_of(p->type), p->cols), n = (p->rows + 127) / 128;
    guarded g = guard_new(n * bytes);
    for (size_t b = 0; b < n; b++)
        rw_pack_block(p->type, (uint8_t *)p->blocks.p + 128 * b * p->row_bytes, p->row_bytes,
                      p->rows - 128 * b < 128 ? p->rows - 128 * b : 128, p->cols,
                      (uint8_t *)g.p + b * bytes);
    return g;
}

static void check_columns(const packed *p, size_t tokens, uint64_t seed, uint64_t zeros) {
    rw_pack pack = rw_pack_of(p->type);
    size_t stride = p->rows + 3, n = tokens * stride - 3;
    guarded x = sparse_floats(tokens * p->cols, seed, zeros), blocks = make_blocks(p);
    guarded a = make_acts(&rw_kernels_scalar, x.p, tokens, p->cols);
    guarded want = guard_new(n * sizeof(float));
    rw_kernels_scalar.matmul_packed[pack](p->strips.p, p->cols, p->rows, a.p, tokens, 0.7f, want.p,
                                          stride);
    for (int i = 0; i < n_tables; i++) {
        for (int all = 0; all < 2; all++) {
            guarded y = guard_new(n * sizeof(float));
            guarded c = guard_new(p->cols / 64 * (size_t)rw_pack_scales(pack) * sizeof(rw_chosen));
            rw_choose_columns(pack, a.p, tokens, p->cols, all, c.p);
            tables[i]->matmul_columns[pack](blocks.p, p->cols, p->rows, a.p, c.p, tokens, 0.7f, y.p,
                                            stride);
            guard_free(c);
            same_bits(y.p, want.p, n);
            guard_free(y);
        }
    }
    guard_free(x);
    guard_free(a);
    guard_free(want);
    guard_free(blocks);
}

static void test_columns_skip_zeros(void **state) {
    (void)state;
    static const uint64_t zeros[] = {0, 50, 87, 97};
    for (int i = 0; i < N_PACKED; i++) {
        size_t block = rw_type_get(packed_types[i])->block_elems;
        for (size_t round = 0; round < 12; round++) {
            packed p = make_packed(packed_types[i], round < 9 ? 1 + 17 * round : 257,
                                   (block < 64 ? 64 : block) * (1 + round % 5), false);
            for (size_t tokens = 1; tokens <= RW_FEW; tokens++)
                check_columns(&p, tokens, 100 * round + tokens, zeros[(round + tokens) % 4]);
            free_packed(p);
        }
    }
}

/* The tiles of strip `s` of a matrix, one by one, widened by k from its strips or its blocks. */
static guarded wide_strip(const rw_kernels *k, const packed *p, size_t s, const guarded *blocks) {
    rw_pack pack = rw_pack_of(p->type);
    size_t tiles = rw_pack_tiles(p->cols), stride = tiles * rw_wide_bytes(pack);
    guarded one = guard_new(stride), eight = guard_new(8 * stride);
    if (blocks) {
        k->widen_block[pack]((uint8_t *)blocks->p + s / 8 * rw_block_bytes(pack, p->cols) + 512,
                             tiles, eight.p, stride);
        memcpy(one.p, (uint8_t *)eight.p + s % 8 * stride, stride);
    } else {
        k->widen[pack]((uint8_t *)p->strips.p + s * rw_pack_strip_bytes(pack, p->cols) + RW_FACTORS,
                       tiles, one.p);
    }
    guard_free(eight);
    return one;
}

static void check_wide(const rw_kernels *k, const packed *p, size_t tokens, const float *x) {
    rw_pack pack = rw_pack_of(p->type);
    size_t tiles = rw_pack_tiles(p->cols), first = tokens % tiles;
    guarded a = make_acts(&rw_kernels_scalar, x, tokens, p->cols), blocks = make_blocks(p);
    guarded want = guard_new(tokens * p->rows * sizeof(float));
    rw_kernels_scalar.matmul_packed[pack](p->strips.p, p->cols, p->rows, a.p, tokens, 0.7f, want.p,
                                          p->rows);
    for (size_t s = 0; s < (p->rows + 15) / 16; s++) {
        guarded wide = wide_strip(k, p, s, NULL), other = wide_strip(k, p, s, &blocks);
        assert_memory_equal(wide.p, other.p, tiles * rw_wide_bytes(pack));
        guarded sums = guard_new(tokens * 16 * sizeof(float)); /* in two steps */
        k->matmul_wide[pack](wide.p, first, a.p, tokens, sums.p);
        k->matmul_wide[pack]((uint8_t *)wide.p + first * rw_wide_bytes(pack), tiles - first,
                             (rw_act *)a.p + first * tokens, tokens, sums.p);
        const float *factor = (float *)(void *)((uint8_t *)p->strips.p +
                                                s * rw_pack_strip_bytes(pack, p->cols));
        for (size_t t = 0; t < tokens; t++) {
            for (size_t r = 0; r < 16 && 16 * s + r < p->rows; r++) {
                float y = factor[r] * 0.7f * ((float *)sums.p)[16 * t + r];
                same_bits(&y, (float *)want.p + t * p->rows + 16 * s + r, 1);
            }
        }
        guard_free(wide);
        guard_free(other);
        guard_free(sums);
    }
    guard_free(a);
    guard_free(blocks);
    guard_free(want);
}

static void test_wide_strips(void **state) {
    (void)state;
    for (int i = 0; i < N_PACKED; i++) {
        size_t block = rw_type_get(packed_types[i])->block_elems;
        for (size_t tokens = 1; tokens <= RW_PANEL; tokens++) {
            packed p = make_packed(packed_types[i], 7 + 12 * tokens,
                                   (block < 64 ? 64 : block) * (1 + tokens % 4), false);
            guarded x = sparse_floats(tokens * p.cols, tokens, 40);
            for (int k = 0; k < n_tables; k++) check_wide(tables[k], &p, tokens, x.p);
            guard_free(x);
            free_packed(p);
        }
    }
}

/* ---- blocks of bfloat16 */

static float as_bfloat(float v) {
    return rw_bf16_to_f32(rw_f32_to_bf16(v));
}

/* The instruction's own order: of every two columns the second, then the first. */
static float bfloat_product(const float *w, const float *x, size_t n, float scale) {
    float sum = 0;
    for (size_t k = 0; k < n; k += 2) {
        if (k + 1 < n) sum += as_bfloat(w[k + 1]) * as_bfloat(x[k + 1]);
        sum += as_bfloat(w[k]) * as_bfloat(x[k]);
    }
    return sum * scale;
}

/* zeros: of sixteen inputs, the same ones for all tokens. */
static void check_bf16_blocks(const rw_kernels *k, size_t rows, size_t cols, size_t tokens, size_t zeros) {
    size_t stride = rows + 3, block = rw_bf16_block_bytes(cols), tiles = rw_pack_tiles(cols);
    size_t n_blocks = (rows + RW_BF16_ROWS - 1) / RW_BF16_ROWS;
    guarded w = random_floats(rows * cols, rows + cols, 1.0f),
            x = random_floats(tokens * cols, cols + tokens, 2.0f);
    guarded blocks = guard_new(n_blocks * block), pairs = guard_new(tokens * tiles * sizeof(rw_pairs)),
            y = guard_new((tokens * stride - 3) * sizeof(float));
    const float *wp = w.p, *yp = y.p;
    float *xp = x.p;
    for (size_t i = 0; i < tokens * cols; i++)
        if (i % cols * 7 % 16 < zeros) xp[i] = 0;
    for (size_t b = 0; b < n_blocks; b++) {
        size_t row = b * RW_BF16_ROWS, n = rows - row < RW_BF16_ROWS ? rows - row : RW_BF16_ROWS;
        rw_pack_bf16_block(RW_F32, (const uint8_t *)(wp + row * cols), cols * sizeof *wp, n, cols,
                           (uint8_t *)blocks.p + b * block);
    }
    for (size_t t = 0; t < tokens; t++) {
        size_t panel = t - t % RW_PANEL, width = tokens - panel < RW_PANEL ? tokens - panel : RW_PANEL;
        k->round_bf16(xp + t * cols, cols, (rw_pairs *)pairs.p + panel * tiles + t % RW_PANEL, width);
    }
    for (int sparse = 0; sparse < 2; sparse++) {
        memset(y.p, 0, (tokens * stride - 3) * sizeof(float));
        k->matmul_bf16_blocks(blocks.p, cols, rows, pairs.p, tokens, sparse, 0.7f, y.p, stride);
        for (size_t t = 0; t < tokens; t++) {
            for (size_t r = 0; r < rows; r++) {
                float want = bfloat_product(wp + r * cols, xp + t * cols, cols, 0.7f);
                same_bits(&yp[t * stride + r], &want, 1);
            }
            for (size_t i = 0; i < 3 && t + 1 < tokens; i++) assert_true(yp[t * stride + rows + i] == 0);
        }
    }
    guarded all[] = {w, x, blocks, pairs, y};
    for (int g = 0; g < 5; g++) guard_free(all[g]);
}

static void test_bf16_blocks(void **state) {
    (void)state;
    for (int i = 0; i < n_tables; i++) {
        if (!tables[i]->matmul_bf16_blocks) continue;
        for (size_t cols = 1; cols <= 70; cols++)
            check_bf16_blocks(tables[i], 1 + cols % 40, cols, 1 + cols % 13, cols % 17);
        for (size_t tokens = 1; tokens <= 27; tokens++)
            check_bf16_blocks(tables[i], 11 * tokens, 96, tokens, tokens % 17);
        check_bf16_blocks(tables[i], 83, 1024, 5, 12);
        for (size_t zeros = 0; zeros <= 16; zeros += 4) /* several pieces of a row */
            check_bf16_blocks(tables[i], 135, 2500, 1 + zeros / 4, zeros);
    }
}

/* ---- norms and mixes */

static void test_layer_norm(void **state) {
    (void)state;
    for (int i = 0; i < n_tables; i++) {
        for (size_t n = 1; n <= 600; n++) {
            guarded x = random_floats(n, n, 4.0f), w = random_floats(n, n + 1, 2.0f);
            guarded b = random_floats(n, n + 2, 1.0f), out = guard_new(n * sizeof(float));
            const float *xp = x.p, *wp = w.p, *bp = b.p;
            float *op = out.p;
            for (size_t j = 0; j < n; j++) ((float *)x.p)[j] += 5.0f;
            double mean = 0, var = 0;
            for (size_t j = 0; j < n; j++) mean += xp[j];
            mean /= (double)n;
            for (size_t j = 0; j < n; j++) var += (xp[j] - mean) * (xp[j] - mean);
            var /= (double)n;
            tables[i]->layer_norm(xp, wp, bp, 1e-5f, op, n);
            for (size_t j = 0; j < n && n > 1; j++) {
                double want = (xp[j] - mean) / sqrt(var + 1e-5) * wp[j] + bp[j];
                assert_true(fabs(op[j] - want) <= 2e-5 * (1 + fabs(want)));
            }
            if (n == 1) assert_true(op[0] == bp[0]);
            tables[i]->layer_norm(xp, wp, bp, 1e-5f, x.p, n); /* in place */
            same_bits(x.p, op, n);
            guard_free(x);
            guard_free(w);
            guard_free(b);
            guard_free(out);
        }
    }
}

static void test_mixes(void **state) {
    (void)state;
    for (int i = 0; i < n_tables; i++) {
        for (size_t n = 0; n <= 600; n += n < 70 ? 1 : 53) {
            guarded x = random_floats(n, n, 2.0f), p = random_floats(n, n + 1, 2.0f);
            guarded m = random_floats(n, n + 2, 1.0f), out = guard_new(n * sizeof(float));
            const float *xp = x.p, *pp = p.p, *mp = m.p;
            const float *op = out.p;
            tables[i]->mix_current(xp, pp, mp, out.p, n);
            for (size_t j = 0; j < n; j++) {
                assert_true(fabs(op[j] - ((double)xp[j] * mp[j] + pp[j] * (1.0 - mp[j]))) <= 1e-6);
            }
            tables[i]->mix_previous(xp, pp, mp, out.p, n);
            for (size_t j = 0; j < n; j++) {
                assert_true(fabs(op[j] - (xp[j] + ((double)pp[j] - xp[j]) * mp[j])) <= 1e-6);
            }
            guard_free(x);
            guard_free(p);
            guard_free(m);
            guard_free(out);
        }
    }
}

/* ---- functions of one number */

static double exact_sigmoid(double x) {
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}
static double exact_silu(double x) {
    return x * exact_sigmoid(x);
}
static double exact_relu2(double x) {
    return x < 0 ? 0 : x * x;
}

typedef struct function {
    const char *name;
    size_t offset; /* of the pointer in rw_kernels */
    double (*exact)(double);
    double ulps;
} function;

static const function functions[] = {
    {"relu2", offsetof(rw_kernels, relu2), exact_relu2, 0.51},
    {"sigmoid", offsetof(rw_kernels, sigmoid), exact_sigmoid, 3.0},
    {"tanh", offsetof(rw_kernels, tanh), tanh, 3.0},
    {"silu", offsetof(rw_kernels, silu), exact_silu, 3.0},
};
enum { N_FUNCTIONS = sizeof functions / sizeof *functions };

static void apply(const rw_kernels *k, const function *f, float *x, size_t n) {
    void (*fn)(float *, size_t);
    memcpy(&fn, (const char *)k + f->offset, sizeof fn);
    fn(x, n);
}

/* Distance in units of the last place of `want` as a float, beyond 105 * 2^-149: silu multiplies a
 * sigmoid that may be denormal by up to 104. */
static double ulps_between(float got, double want) {
    int e;
    frexp(want, &e);
    double unit = ldexp(1.0, (e < -125 ? -125 : e) - 24);
    return (fabs(got - want) - 105 * 0x1p-149) / unit;
}

static void test_function_accuracy(void **state) {
    (void)state;
    enum { N = 4096 };
    static float in[N], out[N];
    for (int i = 0; i < n_tables; i++) {
        for (int f = 0; f < N_FUNCTIONS; f++) {
            uint64_t seed = 11;
            for (int block = 0; block < 60; block++) {
                /* all magnitudes, and the range that matters densely */
                for (int j = 0; j < N; j++) {
                    float u = 2.0f * rng_uniform(&seed) - 1.0f;
                    in[j] = block % 3 == 0 ? ldexpf(u, (int)(rng_u64(&seed) % 40) - 32)
                                           : u * (block % 3 == 1 ? 6.0f : 110.0f);
                }
                memcpy(out, in, sizeof in);
                apply(tables[i], &functions[f], out, N);
                for (int j = 0; j < N; j++) {
                    double u = ulps_between(out[j], functions[f].exact(in[j]));
                    if (u > functions[f].ulps) {
                        fail_msg("%s %s(%a) = %a: %.2f ulp", tables[i]->name, functions[f].name,
                                 (double)in[j], (double)out[j], u);
                    }
                }
            }
        }
    }
}

/* Same bits wherever in a vector a number stands, and nothing beyond the end is touched. */
static void test_function_positions(void **state) {
    (void)state;
    static float in[600], whole[600];
    fill(in, 600, 21, 20.0f);
    for (int i = 0; i < n_tables; i++) {
        for (int f = 0; f < N_FUNCTIONS; f++) {
            memcpy(whole, in, sizeof in);
            apply(tables[i], &functions[f], whole, 600);
            for (size_t n = 0; n <= 600; n += n < 40 ? 1 : 37) {
                size_t from = (n * 7) % (601 - n);
                guarded g = guard_copy(in + from, n * sizeof *in);
                apply(tables[i], &functions[f], g.p, n);
                same_bits(g.p, whole + from, n);
                guard_free(g);
            }
        }
    }
}

static void test_function_limits(void **state) {
    (void)state;
    static const struct {
        float in, sigmoid, tanh, relu2;
    } rows[] = {
        {0.0f, 0.5f, 0.0f, 0.0f},       {1e30f, 1.0f, 1.0f, INFINITY},
        {-1e30f, 0.0f, -1.0f, 0.0f},    {INFINITY, 1.0f, 1.0f, INFINITY},
        {-INFINITY, 0.0f, -1.0f, 0.0f}, {FLT_MAX, 1.0f, 1.0f, INFINITY},
        {1e-45f, 0.5f, 1e-45f, 0.0f},   {-1e-45f, 0.5f, -1e-45f, 0.0f},
    };
    for (int i = 0; i < n_tables; i++) {
        for (size_t j = 0; j < sizeof rows / sizeof *rows; j++) {
            float x = rows[j].in;
            tables[i]->sigmoid(&x, 1);
            assert_true(x == rows[j].sigmoid);
            x = rows[j].in;
            tables[i]->tanh(&x, 1);
            assert_true(x == rows[j].tanh);
            x = rows[j].in;
            tables[i]->relu2(&x, 1);
            assert_true(x == rows[j].relu2);
        }
        for (int f = 0; f < N_FUNCTIONS; f++) {
            float x[9] = {1, 2, 3, NAN, 5, 6, 7, 8, NAN};
            apply(tables[i], &functions[f], x, 9);
            for (int j = 0; j < 9; j++) assert_int_equal(isnan(x[j]) != 0, j == 3 || j == 8);
        }
    }
}

static void test_all_finite(void **state) {
    (void)state;
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (int i = 0; i < n_tables; i++) {
        for (size_t n = 0; n <= 70; n++) {
            guarded g = random_floats(n, n, 1.0f);
            float *x = g.p;
            if (n) x[0] = FLT_MAX;
            assert_true(tables[i]->all_finite(x, n));
            for (size_t j = 0; j < n; j++) {
                float before = x[j];
                x[j] = bad[(n + j) % 4];
                assert_false(tables[i]->all_finite(x, n));
                x[j] = before;
            }
            guard_free(g);
        }
    }
}

/* ---- recurrences, against the formulas in float64 */

enum { TOKENS = 5, MAX_N = 96 };

static void test_wkv4(void **state) {
    (void)state;
    for (int i = 0; i < n_tables; i++) {
        for (size_t n = 1; n <= MAX_N; n += n < 20 ? 1 : 11) {
            size_t stride = n + 3, len = (TOKENS - 1) * stride + n;
            guarded k = random_floats(len, 1, 4.0f), v = random_floats(len, 2, 2.0f),
                    y = guard_new(4 * len);
            guarded u = random_floats(n, 3, 2.0f), w = random_floats(n, 4, 2.0f);
            guarded s = guard_new(3 * n * sizeof(float)), s1 = guard_new(3 * n * sizeof(float));
            float *kp = k.p, *vp = v.p, *yp = y.p, *up = u.p, *wp = w.p, *sp = s.p, *s1p = s1.p;
            double aa[MAX_N] = {0}, bb[MAX_N] = {0}, pp[MAX_N];
            for (size_t j = 0; j < n; j++) {
                wp[j] = -expf(wp[j]);
                sp[2 * n + j] = s1p[2 * n + j] = -1e30f;
                pp[j] = -1e30;
            }
            tables[i]->wkv4(kp, vp, stride, up, wp, sp, sp + n, sp + 2 * n, yp, TOKENS, n);
            for (size_t t = 0; t < TOKENS; t++) {
                float one[MAX_N];
                tables[i]->wkv4(kp + t * stride, vp + t * stride, stride, up, wp, s1p, s1p + n,
                                s1p + 2 * n, one, 1, n);
                same_bits(one, yp + t * stride, n);
                for (size_t j = 0; j < n; j++) {
                    double kt = kp[t * stride + j], vt = vp[t * stride + j];
                    double q = fmax(pp[j], up[j] + kt);
                    double e1 = exp(pp[j] - q), e2 = exp(up[j] + kt - q);
                    double want = (e1 * aa[j] + e2 * vt) / (e1 * bb[j] + e2);
                    assert_true(fabs(yp[t * stride + j] - want) <= 5e-6);
                    q = fmax(pp[j] + wp[j], kt);
                    e1 = exp(pp[j] + wp[j] - q);
                    e2 = exp(kt - q);
                    aa[j] = e1 * aa[j] + e2 * vt;
                    bb[j] = e1 * bb[j] + e2;
                    pp[j] = q;
                }
            }
            same_bits(sp, s1p, 3 * n);
            for (size_t j = 0; j < n; j++) {
                assert_true(fabs(sp[j] - aa[j]) <= 1e-5 && fabs(sp[n + j] - bb[j]) <= 1e-5);
                assert_true(fabs(sp[2 * n + j] - pp[j]) <= 1e-5);
            }
            guarded all[] = {k, v, y, u, w, s, s1};
            for (int g = 0; g < 7; g++) guard_free(all[g]);
        }
    }
}

static void check_wkv6(const rw_kernels *kernels, size_t n, bool same_decay) {
    size_t stride = n + 5, len = (TOKENS - 1) * stride + n, w_stride = same_decay ? 0 : stride;
    guarded r = random_floats(len, 1, 1.0f), k = random_floats(len, 2, 1.0f),
            v = random_floats(len, 3, 1.0f);
    guarded u = random_floats(n, 4, 1.0f), w = random_floats(same_decay ? n : len, 5, 0.4f);
    guarded S = random_floats(n * n, 6, 1.0f), S1 = guard_copy(S.p, n * n * sizeof(float));
    guarded y = guard_new(len * sizeof(float));
    float *rp = r.p, *kp = k.p, *vp = v.p, *up = u.p, *wp = w.p, *Sp = S.p, *yp = y.p;
    static double exact[MAX_N * MAX_N];
    for (size_t j = 0; j < n * n; j++) exact[j] = Sp[j];
    for (size_t j = 0; j < (same_decay ? n : len); j++) wp[j] += 0.6f;
    kernels->wkv6(rp, kp, vp, stride, up, wp, w_stride, Sp, yp, TOKENS, n);
    for (size_t t = 0; t < TOKENS; t++, rp += stride, kp += stride, vp += stride, wp += w_stride) {
        float one[MAX_N];
        kernels->wkv6(rp, kp, vp, stride, up, wp, w_stride, S1.p, one, 1, n);
        same_bits(one, yp + t * stride, n);
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t m = 0; m < n; m++) {
                double a = (double)kp[m] * vp[j];
                sum += rp[m] * (exact[m * n + j] + up[m] * a);
                exact[m * n + j] = wp[m] * exact[m * n + j] + a;
            }
            assert_true(fabs(one[j] - sum) <= 2e-5);
        }
    }
    same_bits(Sp, S1.p, n * n);
    for (size_t j = 0; j < n * n; j++) assert_true(fabs(Sp[j] - exact[j]) <= 1e-5);
    guarded all[] = {r, k, v, u, w, S, S1, y};
    for (int g = 0; g < 8; g++) guard_free(all[g]);
}

static void check_wkv7(const rw_kernels *kernels, size_t n) {
    size_t stride = n + 5, len = (TOKENS - 1) * stride + n;
    guarded r = random_floats(len, 1, 1.0f), w = random_floats(len, 2, 0.22f),
            k = random_floats(len, 3, 1.0f);
    guarded v = random_floats(len, 4, 1.0f), c = random_floats(len, 5, 1.0f),
            a = random_floats(len, 6, 0.5f);
    guarded S = random_floats(n * n, 7, 1.0f), S1 = guard_copy(S.p, n * n * sizeof(float));
    guarded y = guard_new(len * sizeof(float));
    float *rp = r.p, *wp = w.p, *kp = k.p, *vp = v.p, *cp = c.p, *ap = a.p, *Sp = S.p, *yp = y.p;
    static double exact[MAX_N * MAX_N];
    for (size_t j = 0; j < n * n; j++) exact[j] = Sp[j];
    for (size_t j = 0; j < len; j++) {
        wp[j] += 0.77f;
        ap[j] += 0.5f;
        cp[j] /= sqrtf((float)n);
    }
    kernels->wkv7(rp, wp, kp, vp, cp, ap, stride, Sp, yp, TOKENS, n);
    for (size_t t = 0; t < TOKENS; t++) {
        float one[MAX_N];
        size_t o = t * stride;
        kernels->wkv7(rp + o, wp + o, kp + o, vp + o, cp + o, ap + o, stride, S1.p, one, 1, n);
        same_bits(one, yp + o, n);
        for (size_t i = 0; i < n; i++) {
            double s = 0, sum = 0, *row = exact + i * n;
            for (size_t j = 0; j < n; j++) s += row[j] * cp[o + j];
            for (size_t j = 0; j < n; j++) {
                row[j] =
                    row[j] * wp[o + j] - s * cp[o + j] * ap[o + j] + (double)vp[o + i] * kp[o + j];
                sum += row[j] * rp[o + j];
            }
            assert_true(fabs(one[i] - sum) <= 3e-5);
        }
    }
    same_bits(Sp, S1.p, n * n);
    for (size_t j = 0; j < n * n; j++) assert_true(fabs(Sp[j] - exact[j]) <= 1e-5);
    guarded all[] = {r, w, k, v, c, a, S, S1, y};
    for (int g = 0; g < 9; g++) guard_free(all[g]);
}

static void test_decay6(void **state) {
    (void)state;
    for (int i = 0; i < n_tables; i++) {
        for (size_t n = 0; n <= MAX_N; n++) {
            guarded a = random_floats(n, n, 12.0f), d = random_floats(n, n + 1, n % 2 ? 5.0f : 120.0f);
            guarded got = guard_copy(d.p, n * sizeof(float));
            tables[i]->decay6(a.p, got.p, n);
            for (size_t j = 0; j < n; j++) {
                double e = exp((double)(((float *)a.p)[j] + ((float *)d.p)[j])), want = exp(-e);
                if (!(fabs(((float *)got.p)[j] - want) <= 2e-7 * (1 + fmin(e, 1e9)) * want + 1e-40))
                    fail_msg("%s: %g, exact %g", tables[i]->name, (double)((float *)got.p)[j], want);
            }
            guard_free(a);
            guard_free(d);
            guard_free(got);
        }
    }
}

enum { W0, A0, V0, K_K, K_A, R_K, LN_W, LN_B, FIRST, N_IN, R = N_IN, K, V, G, D, A, VL, KAPPA, Y, N_HEAD };

/* Against the formulas in scalar.c, in float64. near: relative to the size of the numbers. */
static void check_head7(const rw_kernels *k, size_t n, bool first_layer) {
    guarded g[N_HEAD];
    double x[N_HEAD][MAX_N], norm = 0, bonus = 0, mean = 0, var = 0;
    float *p[N_HEAD];
    for (size_t i = 0; i < N_HEAD; i++) {
        g[i] = random_floats(n, 10 * n + i, i == D || i == A ? 4.0f : 1.0f);
        p[i] = g[i].p;
        for (size_t j = 0; j < n; j++) x[i][j] = p[i][j];
    }
    rw_head7 h = {p[W0], p[A0], p[V0], p[K_K], p[K_A], p[R_K], p[LN_W], p[LN_B], p[R], p[K], p[V], p[G],
                  p[D], p[A], first_layer ? NULL : p[VL], p[FIRST], p[KAPPA], p[Y], 1e-3f};
    k->prepare7(&h, n);
    k->finish7(&h, n);
    for (size_t j = 0; j < n; j++) {
        x[KAPPA][j] = x[K][j] * x[K_K][j];
        norm += x[KAPPA][j] * x[KAPPA][j];
        x[D][j] = exp(-0.6065306597126334 * exact_sigmoid(x[W0][j] + x[D][j]));
        x[A][j] = exact_sigmoid(x[A0][j] + x[A][j]);
        x[K][j] *= 1 + (x[A][j] - 1) * x[K_A][j];
        if (!first_layer) x[V][j] += (x[FIRST][j] - x[V][j]) * exact_sigmoid(x[V0][j] + x[VL][j]);
        bonus += x[R][j] * x[K][j] * x[R_K][j];
        mean += x[Y][j] / (double)n;
    }
    for (size_t j = 0; j < n; j++) var += (x[Y][j] - mean) * (x[Y][j] - mean) / (double)n;
    for (size_t j = 0; j < n; j++) {
        double y = (x[Y][j] - mean) / sqrt(var + 1e-3) * x[LN_W][j] + x[LN_B][j];
        assert_true(fabs(p[D][j] - x[D][j]) <= 3e-7);
        assert_true(fabs(p[A][j] - x[A][j]) <= 3e-7);
        assert_true(fabs(p[KAPPA][j] - x[KAPPA][j] / sqrt(norm)) <= 1e-6);
        assert_true(fabs(p[K][j] - x[K][j]) <= 1e-6 && fabs(p[V][j] - x[V][j]) <= 1e-6);
        assert_true(n == 1 || fabs(p[Y][j] - (y + bonus * x[V][j]) * x[G][j]) <= 2e-5);
    }
    for (size_t i = 0; i < N_HEAD; i++) guard_free(g[i]);
}

static void test_head7(void **state) {
    (void)state;
    for (int i = 0; i < n_tables; i++) {
        for (size_t n = 1; n <= MAX_N; n++) check_head7(tables[i], n, n % 4 == 0);
    }
}

static void test_wkv6_and_wkv7(void **state) {
    (void)state;
    for (int i = 0; i < n_tables; i++) {
        for (size_t n = 1; n <= MAX_N; n += n < 18 ? 1 : 2) {
            check_wkv6(tables[i], n, n % 3 == 0);
            check_wkv6(tables[i], n, n % 3 != 0);
            check_wkv7(tables[i], n);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_tables_are_complete),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_decode_all_bytes),
        cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_matmul_tiles),
        cmocka_unit_test(test_matmul_hard_values),
        cmocka_unit_test(test_matmul_halves),
        cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_quantize_hard_values),
        cmocka_unit_test(test_packed_means_the_same),
        cmocka_unit_test(test_packed_tables_agree),
        cmocka_unit_test(test_packed_tiles),
        cmocka_unit_test(test_columns_skip_zeros),
        cmocka_unit_test(test_wide_strips),
        cmocka_unit_test(test_bf16_blocks),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_mixes),
        cmocka_unit_test(test_function_accuracy),
        cmocka_unit_test(test_function_positions),
        cmocka_unit_test(test_function_limits),
        cmocka_unit_test(test_all_finite),
        cmocka_unit_test(test_wkv4),
        cmocka_unit_test(test_decay6),
        cmocka_unit_test(test_head7),
        cmocka_unit_test(test_wkv6_and_wkv7),
    };
    return cmocka_run_group_tests(tests, find_tables, NULL);
}
