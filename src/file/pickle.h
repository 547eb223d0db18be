/* pickle.h - the part of Python's pickle language that PyTorch checkpoints need, as data. Nothing
 * can be called: the few allowed globals are names of values that we build ourselves, every other
 * global or opcode is refused by name and position. Memory, opcodes and stack are bounded; no
 * recursion.
 *
 * Strings stay where they are, in the mapped file; all else lives as long as the rw_pickle. */
#ifndef RW_PICKLE_H
#define RW_PICKLE_H

#include "file.h"

typedef enum rw_pickle_kind {
    RW_PICKLE_UNSET = 0, /* a memo slot that nothing was put in */
    RW_PICKLE_MARK,
    RW_PICKLE_NONE,
    RW_PICKLE_BOOL,
    RW_PICKLE_INT,
    RW_PICKLE_OTHER, /* floats and integers beyond 64 bits: nothing of use here */
    RW_PICKLE_STR,
    RW_PICKLE_TUPLE,
    RW_PICKLE_LIST,
    RW_PICKLE_DICT,
    RW_PICKLE_GLOBAL,
    RW_PICKLE_STORAGE,
    RW_PICKLE_TENSOR
} rw_pickle_kind;

/* A storage of the file: a run of numbers that tensors look into. */
typedef struct rw_pickle_storage {
    const char *key;
    uint32_t key_len;
    rw_type type;
    uint64_t numel;
    const uint8_t *data; /* set by the container's reader */
    bool found;
} rw_pickle_storage;

/* Elements [first, first + count) of a storage. In zip files always the whole. */
typedef struct rw_pickle_range {
    rw_pickle_storage *storage;
    uint64_t first, count;
} rw_pickle_range;

typedef struct rw_pickle_value {
    rw_pickle_kind kind;
    uint32_t n; /* STR: bytes; TUPLE: items; BOOL: 0 or 1; GLOBAL: row of the table */
    union {
        int64_t i;
        const char *s;
        const struct rw_pickle_value *items; /* TUPLE */
        struct rw_pickle_list *list;         /* LIST; DICT: key, value, key, value... */
        const rw_pickle_range *range;        /* STORAGE */
        const struct rw_pickle_tensor *tensor;
    } u;
} rw_pickle_value;

typedef struct rw_pickle_list {
    rw_pickle_value *items;
    size_t n, cap;
} rw_pickle_list;

/* The arguments of torch._utils._rebuild_tensor_v2, of the right kinds but not checked further. */
typedef struct rw_pickle_tensor {
    const rw_pickle_range *range;
    int64_t first;               /* element, counted from the range's first */
    const rw_pickle_value *dims; /* [n_dims] INT */
    const rw_pickle_value *strides;
    uint32_t n_dims, n_strides;
    uint64_t offset; /* of the opcode in the file, for messages */
} rw_pickle_tensor;

typedef struct rw_pickle {
    rw_reader *r;
    uint64_t begin, at, frame_end;
    rw_pickle_value *stack;
    size_t n, cap, mark; /* mark: one more than the index of the topmost mark; 0: none */
    rw_pickle_value *memo;
    size_t memo_cap, n_memo;
    rw_pickle_storage **storages;
    size_t n_storages, cap_storages;
    rw_map by_key;
    rw_arena arena;
} rw_pickle;

/* Runs one pickle from r's position; r stops behind its STOP. A second run keeps the values and the
 * storages of the first. Zero-initialise; free also after failure. */
rwkv_status rw_pickle_run(rw_pickle *p, rw_reader *r, rw_pickle_value *out, rwkv_error *err);
void rw_pickle_free(rw_pickle *p);

bool rw_pickle_str_is(const rw_pickle_value *v, const char *s);
/* The last value under a string key; NULL: absent, or v is no dict. */
const rw_pickle_value *rw_pickle_get(const rw_pickle_value *v, const char *key);
const char *rw_pickle_kind_name(rw_pickle_kind kind); /* as Python calls it: "dict" */

#endif
