/* kernels.c - chooses the table of kernels, once per model: by name, else the best that processor
 * and operating system support. */
#include "kernels.h"
#include "../cpu/cpu.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool any_cpu(const rw_cpu *cpu) {
    (void)cpu;
    return true;
}

#if defined(__x86_64__)
static bool has_avx2(const rw_cpu *cpu) {
    return cpu->avx2 && cpu->fma && cpu->f16c;
}

static bool has_avxvnni(const rw_cpu *cpu) {
    return has_avx2(cpu) && cpu->avx_vnni;
}

static bool has_avx512(const rw_cpu *cpu) {
    return has_avx2(cpu) && cpu->avx512f && cpu->avx512bw && cpu->avx512vl && cpu->avx512_vnni;
}

static bool has_avx512_bf16(const rw_cpu *cpu) {
    return has_avx512(cpu) && cpu->avx512_bf16;
}
#endif

#if defined(__aarch64__)
static bool has_neon(const rw_cpu *cpu) {
    return cpu->neon;
}

static bool has_dotprod(const rw_cpu *cpu) {
    return cpu->neon && cpu->dotprod;
}

static bool has_i8mm(const rw_cpu *cpu) {
    return has_dotprod(cpu) && cpu->i8mm;
}
#endif

static const struct {
    const rw_kernels *kernels;
    bool (*usable)(const rw_cpu *cpu);
} tables[] = {
    /* best first */
#if defined(__x86_64__)
    {&rw_kernels_avx512_bf16, has_avx512_bf16},
    {&rw_kernels_avx512, has_avx512},
    {&rw_kernels_avxvnni, has_avxvnni},
    {&rw_kernels_avx2, has_avx2},
#endif
#if defined(__aarch64__)
    {&rw_kernels_neon_i8mm, has_i8mm},
    {&rw_kernels_neon_dotprod, has_dotprod},
    {&rw_kernels_neon, has_neon},
#endif
    {&rw_kernels_scalar, any_cpu},
};

enum { N_TABLES = sizeof tables / sizeof *tables };

/* Appends column c of `first` and on to the list. */
static void choose(const rw_act *x, size_t n_tokens, size_t at, uint8_t c, size_t n, rw_chosen *out) {
    out->column[n] = c;
    for (size_t t = 0; t < n_tokens; t++)
        out->quad[(n / 4 * n_tokens + t) * 4 + n % 4] = x[t].q[at + c];
}

/* Bytes of eight columns at a time: most are zero. */
void rw_choose_columns(rw_pack pack, const rw_act *x, size_t n_tokens, size_t cols, bool all,
                       rw_chosen *out) {
    size_t span = 2 * RW_SLAB_COLS / (size_t)rw_pack_scales(pack);
    for (size_t k = 0; k < cols; k += span, out++) {
        const rw_act *a = x + k / RW_TILE_COLS * n_tokens;
        size_t at = k % RW_TILE_COLS / RW_SLAB_COLS * RW_SLAB_COLS, first = k % RW_SLAB_COLS, n = 0;
        out->zero = !all;
        for (size_t t = 0; t < n_tokens; t++) out->zero &= a[t].d[at / RW_SLAB_COLS] == 0.0f;
        for (size_t c = first; c < first + span; c += 8) {
            uint64_t any = all ? UINT64_MAX : 0, word;
            for (size_t t = 0; t < n_tokens; t++) {
                memcpy(&word, a[t].q + at + c, sizeof word);
                any |= word;
            }
            while (any != 0) {
                size_t i = (size_t)__builtin_ctzll(any) / 8;
                any &= ~((uint64_t)0xff << 8 * i);
                choose(a, n_tokens, at, (uint8_t)(c + i), n++, out);
            }
        }
        out->n = (uint8_t)((n + 3) / 4);
        for (; n % 4; n++) {
            out->column[n] = out->column[n - 1];
            for (size_t t = 0; t < n_tokens; t++) out->quad[(n / 4 * n_tokens + t) * 4 + n % 4] = 0;
        }
    }
}

rwkv_status rw_kernels_get(const rw_kernels **out, const char *isa, rwkv_error *err) {
    rw_cpu cpu = rw_cpu_detect();
    char usable[128] = "";
    size_t len = 0;
    const char *who = "kernels";
    if (!isa) {
        isa = getenv("RWKV_ISA");
        who = "RWKV_ISA";
    }
    *out = NULL;
    for (int i = 0; i < N_TABLES; i++) {
        const char *name = tables[i].kernels->name;
        if (!tables[i].usable(&cpu)) continue;
        if (!isa || !*isa || strcmp(isa, name) == 0) {
            *out = tables[i].kernels;
            return RWKV_OK;
        }
        len += (size_t)snprintf(usable + len, sizeof usable - len, "%s%s", len ? ", " : "", name);
    }
    return rw_fail(err, RWKV_E_ARG,
                   "%s: not an instruction set of this machine; found %s; expected one of %s",
                   who, isa, usable);
}
