/* avxvnni.c - the kernels of avx2.c for processors that have VNNI without AVX-512: one instruction
 * multiplies a quad of each of eight rows and adds it up. */
#define RW_AVXVNNI
#include "avx2.c"
