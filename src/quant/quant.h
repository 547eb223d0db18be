/* quant.h - element types: how a row of numbers is stored. One trait table; a new type is one enum
 * value, one row of the table and its two functions.
 *
 * A row of n elements is n / block_elems blocks of block_bytes. Ids are ggml's (docs/FORMATS.md). */
#ifndef RW_QUANT_H
#define RW_QUANT_H

#include "../base/base.h"

typedef enum rw_type {
    RW_F32 = 0,
    RW_F16 = 1,
    RW_Q4_0 = 2,
    RW_Q4_1 = 3,
    RW_Q5_0 = 6,
    RW_Q5_1 = 7,
    RW_Q8_0 = 8,
    RW_Q2_K = 10,
    RW_Q3_K = 11,
    RW_Q4_K = 12,
    RW_Q5_K = 13,
    RW_Q6_K = 14,
    RW_IQ4_NL = 20,
    RW_IQ4_XS = 23,
    RW_I8 = 24,  /* integers: known so that a file may carry them; never weights */
    RW_I16 = 25,
    RW_I32 = 26,
    RW_I64 = 27,
    RW_F64 = 28,
    RW_BF16 = 30,
    RW_U8 = 31,  /* not ggml's: PyTorch's ByteStorage and BoolStorage */
    RW_TYPE_COUNT = 32
} rw_type;

/* How the elements of a matrix are arranged: row after row, or in one of pack.h's ways. */
typedef enum rw_layout { RW_ROWS, RW_STRIPS, RW_COLUMNS, RW_LAYOUT_COUNT } rw_layout;

typedef struct rw_type_info {
    const char *name;      /* "Q4_0"; NULL: no such type */
    uint32_t block_elems;  /* 1, 32 or 256 */
    uint32_t block_bytes;
    /* Scalar truth. n is a multiple of block_elems. NULL for integers / for types we do not write. */
    void (*decode)(const void *blocks, float *out, size_t n);
    void (*encode)(const float *in, void *blocks, size_t n);
} rw_type_info;

const rw_type_info *rw_type_get(uint32_t type);     /* NULL if unknown */
/* Any case; FP16/FP32 are accepted. RW_TYPE_COUNT if unknown. */
rw_type rw_type_by_name(const char *name);
const char *rw_type_name(rw_type type);             /* "?" if unknown */
bool rw_type_is_float(rw_type type);                /* has decode */
/* Bytes of n elements; false if n is not a multiple of the block or the size overflows. */
bool rw_type_bytes(rw_type type, uint64_t n, uint64_t *bytes);

#endif
