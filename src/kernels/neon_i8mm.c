/* neon_i8mm.c - the kernels of neon.c for processors with products of byte matrices (Armv8.6). */
#define RW_DOTPROD
#define RW_I8MM
#include "neon.c"
