/* kernels.c - what each kernel does on one core with weights in the second-level cache: GMAC/s for
 * several widths and, for one token, GB/s of weights. `bench_kernels [ISA...]`; docs/PERF.md. F16 is
 * multiplied as stored, BF16 in blocks where there is an instruction for that. */
#include "kernels/kernels.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 128, COLS = 2048, ROUNDS = 7 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct product {
    const rw_kernels *k;
    rw_type type;
    bool bfloats;
    const uint8_t *weights; /* rows as they are, or strips */
    size_t bytes;
    const float *x;
    rw_act *acts;
    rw_pairs *pairs;
    float *y;
} product;

static void multiply(const product *p, size_t tokens) {
    const rw_kernels *k = p->k;
    rw_pack pack = rw_pack_of(p->type);
    if (pack != RW_NOT_PACKED)
        k->matmul_packed[pack](p->weights, COLS, ROWS, p->acts, tokens, 1, p->y, ROWS);
    else if (p->bfloats)
        k->matmul_bf16_blocks(p->weights, COLS, ROWS, p->pairs, tokens, false, 1, p->y, ROWS);
    else if (p->type == RW_F32)
        k->matmul_f32((const float *)(const void *)p->weights, COLS, ROWS, p->x, COLS, tokens, COLS,
                      1, p->y, ROWS);
    else
        (p->type == RW_F16 ? k->matmul_f16 : k->matmul_bf16)(p->weights, COLS, ROWS, p->x, COLS,
                                                             tokens, COLS, 1, p->y, ROWS);
}

/* Seconds of one product, the best of some rounds. */
static double time_of(const product *p, size_t tokens) {
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        int n = 0;
        double start = now(), spent;
        do {
            for (int i = 0; i < 20; i++, n++) multiply(p, tokens);
            spent = now() - start;
        } while (spent < 0.01);
        if (spent / n < best) best = spent / n;
    }
    return best;
}

static void measure(const rw_kernels *k, rw_type type) {
    static const size_t widths[] = {1, 2, 4, 8, 12};
    rw_pack pack = rw_pack_of(type);
    uint64_t row_bytes;
    if (!rw_type_bytes(type, COLS, &row_bytes)) return;
    product p = {.k = k, .type = type, .bfloats = type == RW_BF16 && k->matmul_bf16_blocks};
    p.bytes = pack == RW_NOT_PACKED ? ROWS * row_bytes
                                    : ROWS / RW_STRIP_ROWS * rw_pack_strip_bytes(pack, COLS);
    uint8_t *rows = rw_alloc_aligned(ROWS * row_bytes), *strips = rw_alloc_aligned(p.bytes);
    float *x = rw_alloc_aligned(RW_PANEL * COLS * sizeof *x);
    p.acts = rw_alloc_aligned(RW_PANEL * rw_pack_tiles(COLS) * sizeof *p.acts);
    p.pairs = rw_alloc_aligned(RW_PANEL * rw_pack_tiles(COLS) * sizeof *p.pairs);
    p.y = rw_alloc_aligned(RW_PANEL * ROWS * sizeof *p.y);
    if (!rows || !strips || !x || !p.acts || !p.pairs || !p.y) exit(1);
    for (size_t i = 0; i < RW_PANEL * COLS; i++) x[i] = sinf((float)i);
    for (size_t i = 0; i < ROWS * row_bytes; i++) rows[i] = type <= RW_F16 ? 0 : (uint8_t)(i * 37 % 60);
    p.weights = p.bfloats ? strips : rows; /* all zero: as fast as any */
    p.x = x;
    if (pack != RW_NOT_PACKED) {
        for (size_t s = 0; s < ROWS / RW_STRIP_ROWS; s++)
            rw_pack_strip(type, rows + s * RW_STRIP_ROWS * row_bytes, row_bytes, RW_STRIP_ROWS, COLS,
                          strips + s * rw_pack_strip_bytes(pack, COLS));
        p.weights = strips;
    }
    printf("%-13s %-7s", k->name, rw_type_name(type));
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        for (size_t t = 0; t < widths[i]; t++) k->quantize(x + t * COLS, COLS, p.acts + t, widths[i]);
        for (size_t t = 0; t < widths[i] && p.bfloats; t++)
            k->round_bf16(x + t * COLS, COLS, p.pairs + t, widths[i]);
        double s = time_of(&p, widths[i]);
        if (i == 0) printf(" %6.1f GB/s ", (double)p.bytes / s * 1e-9);
        printf(" x%zu %6.1f", widths[i], (double)(ROWS * COLS * widths[i]) / s * 1e-9);
    }
    printf(" GMAC/s\n");
    rw_free_aligned(rows);
    rw_free_aligned(strips);
    rw_free_aligned(x);
    rw_free_aligned(p.acts);
    rw_free_aligned(p.pairs);
    rw_free_aligned(p.y);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc || i == 1; i++) {
        const rw_kernels *k;
        rwkv_error err;
        if (rw_kernels_get(&k, argc > 1 ? argv[i] : NULL, &err) != RWKV_OK) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        for (uint32_t t = 0; t < RW_TYPE_COUNT; t++) {
            if (t != RW_F64 && rw_type_is_float((rw_type)t)) measure(k, (rw_type)t);
        }
    }
    return 0;
}
