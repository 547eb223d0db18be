/* cpu.c - which instructions may be used. An instruction set counts only when the processor has it
 * and the operating system saves its registers (XCR0 on x86-64). No state: ask once and keep the
 * answer. */
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>

static uint64_t enabled_registers(void) {
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static bool bit(uint32_t word, int n) {
    return word >> n & 1;
}

rw_cpu rw_cpu_detect(void) {
    rw_cpu cpu = {0};
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27)) return cpu; /* OSXSAVE: xgetbv exists */
    uint64_t regs = enabled_registers();
    bool ymm = (regs & 0x06) == 0x06, zmm = (regs & 0xe6) == 0xe6;
    if (!ymm || !bit(c, 28)) return cpu;
    cpu.fma = bit(c, 12);
    cpu.f16c = bit(c, 29);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return cpu;
    uint32_t subleaves = a;
    cpu.avx2 = bit(b, 5);
    cpu.avx512f = zmm && bit(b, 16);
    cpu.avx512bw = zmm && bit(b, 30);
    cpu.avx512vl = zmm && bit(b, 31);
    cpu.avx512_vnni = zmm && bit(c, 11);
    if (subleaves < 1 || !__get_cpuid_count(7, 1, &a, &b, &c, &d)) return cpu;
    cpu.avx_vnni = bit(a, 4);
    cpu.avx512_bf16 = zmm && bit(a, 5);
    return cpu;
}

#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

/* Values of the kernel's interface; older system headers lack the names. */
enum { CAP_ASIMD = 1 << 1, CAP_ASIMDDP = 1 << 20, CAP2_I8MM = 1 << 13, CAP2_BF16 = 1 << 14 };

rw_cpu rw_cpu_detect(void) {
    unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
    return (rw_cpu){.neon = cap & CAP_ASIMD,
                    .dotprod = cap & CAP_ASIMDDP,
                    .i8mm = cap2 & CAP2_I8MM,
                    .bf16 = cap2 & CAP2_BF16};
}

#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>

static bool feature(const char *name) {
    int value = 0;
    size_t len = sizeof value;
    return sysctlbyname(name, &value, &len, NULL, 0) == 0 && value;
}

rw_cpu rw_cpu_detect(void) {
    return (rw_cpu){.neon = true,
                    .dotprod = feature("hw.optional.arm.FEAT_DotProd"),
                    .i8mm = feature("hw.optional.arm.FEAT_I8MM"),
                    .bf16 = feature("hw.optional.arm.FEAT_BF16")};
}

#else

rw_cpu rw_cpu_detect(void) {
    return (rw_cpu){0};
}

#endif
