/* neon_dotprod.c - the kernels of neon.c for processors with dot products of bytes (Armv8.2 to 8.4). */
#define RW_DOTPROD
#include "neon.c"
