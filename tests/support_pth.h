/* support_pth.h - writes PyTorch files byte by byte, so that every number in them can be made a
 * lie: pickles, zip archives, the legacy container. */
#ifndef RW_SUPPORT_PTH_H
#define RW_SUPPORT_PTH_H

#include "support_readers.h"

#define LIT(s) (s), sizeof(s) - 1

/* ---- pickles: one function per piece */
void op(rw_buf *b, int code);
void op_str(rw_buf *b, const char *s);
void op_int(rw_buf *b, int64_t v);                   /* the shortest opcode that holds it */
void op_ints(rw_buf *b, size_t n, const int64_t *v); /* a tuple */
void op_global(rw_buf *b, const char *module, const char *name);

/* A tensor as a test describes it: strides NULL is row-major. */
typedef struct desc {
    const char *name, *class, *key;
    int64_t numel, first;
    size_t n_dims;
    int64_t dims[6];
    const int64_t *strides;
    const int64_t *view; /* legacy: first and count of a view of the storage */
} desc;

void op_tensor(rw_buf *b, const desc *d, bool legacy);
rw_buf pickle_of(const desc *d, size_t n, bool legacy); /* a dict of these tensors */

/* Tensors over the storages that `around` and `legacy_of` write: plain, turned, sliced, expanded...
 */
enum { N_SOME = 8 };
extern const desc some[N_SOME];

/* ---- archives */
enum { MAX_ENTRIES = 16 };

typedef struct entry {
    const char *name;
    const void *data;
    size_t n;
} entry;

typedef struct zip_file {
    rw_buf b;
    size_t local[MAX_ENTRIES], data[MAX_ENTRIES], central[MAX_ENTRIES];
    size_t directory, end64, locator, end;
} zip_file;

enum {
    WIDE = 1,    /* sizes and offsets in zip64 fields, as in archives above 4 GiB */
    SIZES = 2,   /* local headers with sizes, no data descriptors */
    NO_END64 = 4 /* only the classic end record */
};

/* As torch.save: data at multiples of 64, descriptors behind, both end records. */
zip_file zip_of(const entry *e, size_t n, unsigned how);

extern const float ramp[24]; /* 0.5, 1.5, ...: the numbers of every storage */
/* Around a pickle: storages "0" (24 floats), "1" (16 halves), "2" (empty), "3" (2 floats). */
zip_file around(const void *pickle, size_t n, unsigned how);
/* Inside such an archive. */
test_read read_pickle(const void *pickle, size_t n);
void refuse_pickle(const void *pickle, size_t n, const char *needle, const char *label);
void expect_floats(const test_read *r, const char *name, const float *values, size_t n);

/* ---- the legacy container, with the same storages */
typedef struct legacy_file {
    rw_buf b;
    size_t object, keys, storages;
} legacy_file;

legacy_file legacy_of(const void *pickle, size_t n);

#endif
