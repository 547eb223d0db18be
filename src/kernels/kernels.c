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

static bool has_avx512(const rw_cpu *cpu) {
    return has_avx2(cpu) && cpu->avx512f && cpu->avx512bw && cpu->avx512vl && cpu->avx512_vnni;
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
    {&rw_kernels_avx512, has_avx512},
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
