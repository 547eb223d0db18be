/* file.h - from a path to one table of tensors, whatever the container.
 *
 *     path -> rw_file (mapped bytes) -> rw_reader (bounded cursor) -> a format's reader -> rw_table
 *
 * The table holds what the file says, under the file's own names; model/checkpoint.c gives it meaning.
 * Everything in it has been checked: every tensor's bytes lie inside the file and have the size
 * that type and shape demand, names are unique, NUL-free and <= 255 bytes. Data of all tensors is
 * contiguous, row-major (the .pth reader copies views that are not, within a budget).
 *
 * Every byte of a file is hostile: only rw_reader reads headers; numbers from the file go through
 * rw_mul/rw_add; a count is compared with the bytes left before anything is allocated for it. */
#ifndef RW_FILE_H
#define RW_FILE_H

#include "../base/base.h"
#include "../quant/quant.h"

/* ---- mapped file: regular files only: devices, FIFOs and folders are refused at once */
typedef struct rw_file {
    char *path;
    const uint8_t *data; /* NULL when size is 0 */
    uint64_t size;
    bool mapped;         /* else read into memory */
} rw_file;

rwkv_status rw_file_open(rw_file **out, const char *path, bool no_mmap, rwkv_error *err);
void rw_file_close(rw_file *f);
/* Tells the system that the pages of this range are not needed soon (bounds RSS when streaming). */
void rw_file_release(const rw_file *f, const void *data, uint64_t size);

/* ---- bounded cursor over [pos, end) of a file's bytes */
typedef struct rw_reader {
    const char *path;
    const uint8_t *data; /* of the whole file */
    uint64_t pos, end;
} rw_reader;

/* end is clamped to the size */
rw_reader rw_reader_at(const rw_file *f, uint64_t pos, uint64_t end);
static inline uint64_t rw_reader_left(const rw_reader *r) { return r->end - r->pos; }
/* Fail with "path:offset: <what>: file ends; found N bytes; expected M" when too few are left. */
rwkv_status rw_read_bytes(rw_reader *r, uint64_t n, const uint8_t **out, const char *what,
                          rwkv_error *err);
rwkv_status rw_read_u8(rw_reader *r, uint8_t *out, const char *what, rwkv_error *err);
rwkv_status rw_read_u16(rw_reader *r, uint16_t *out, const char *what, rwkv_error *err);
rwkv_status rw_read_u32(rw_reader *r, uint32_t *out, const char *what, rwkv_error *err);
rwkv_status rw_read_u64(rw_reader *r, uint64_t *out, const char *what, rwkv_error *err);
/* RWKV_E_FORMAT at the cursor's position (or a given one). */
rwkv_status rw_read_fail(const rw_reader *r, uint64_t offset, rwkv_error *err, const char *fmt, ...)
    RW_PRINTF(4, 5);
#define rw_read_fail(...) rw_constant(rw_read_fail(__VA_ARGS__), RWKV_E_FORMAT)

/* ---- the table */
typedef enum rw_container { RW_PTH, RW_PTH_LEGACY, RW_SAFETENSORS, RW_GGUF, RW_GGMF } rw_container;

/* v6's fused mixes in GGUF are (5,1,1,D); PyTorch files may hold more: refused. */
#define RW_MAX_DIMS 5

typedef struct rw_tensor {
    const char *name;        /* NUL-terminated, in the table's arena */
    rw_type type;
    rw_layout layout;        /* not RW_ROWS: only model/packing.c understands the data */
    uint32_t n_dims;
    uint64_t dims[RW_MAX_DIMS]; /* slowest first, as PyTorch prints them; unused are 0 */
    uint64_t n_elems;
    const uint8_t *data;     /* n_elems elements; RW_ROWS: row-major, else 64-byte aligned */
    uint64_t bytes;
    uint64_t offset;         /* of the data in its file, for messages (of the storage, for views) */
    const rw_file *file;     /* where it comes from */
} rw_tensor;

/* Metadata: GGUF keys as they are; safetensors' __metadata__ under "meta."; config.json's top-level
 * scalars under "config."; ggmf's header as "ggmf.version", "ggmf.n_vocab", "ggmf.n_embed",
 * "ggmf.n_layer", "ggmf.data_type". */
typedef enum rw_meta_kind { RW_META_U64, RW_META_I64, RW_META_F64, RW_META_BOOL, RW_META_STRING,
                            RW_META_STRINGS, RW_META_NUMBERS } rw_meta_kind;

typedef struct rw_meta {
    const char *key;
    rw_meta_kind kind;
    uint64_t offset;         /* of the value in the file */
    union {
        uint64_t u;          /* U64, BOOL */
        int64_t i;
        double f;
        struct { const char *s; size_t len; } str; /* no NUL behind; in the mapped file or arena */
        struct { const char *const *s; const uint32_t *len; size_t n; } strs;
        struct { const uint8_t *data; uint32_t gguf_type; size_t n; } nums;
    } v;
} rw_meta;

typedef struct rw_table {
    rw_container container;
    const char *path;
    rw_tensor *tensors;
    size_t n_tensors;
    rw_meta *meta;
    size_t n_meta;
    rw_file **files;         /* one, or the shards of a safetensors folder */
    size_t n_files;
    uint64_t file_bytes;     /* of all files */
    uint64_t copied_bytes;   /* tensors that had to be copied out of the file */
    bool packed;             /* some tensors are not RW_ROWS */
    rw_arena arena;
    rw_map by_name;          /* tensor name -> index */
    rw_map by_key;           /* metadata key -> index */
} rw_table;

/* Decides by content and reads. path may be a folder that holds model.safetensors or
 * model.safetensors.index.json. */
rwkv_status rw_table_open(rw_table **out, const char *path, bool no_mmap, rwkv_error *err);
void rw_table_close(rw_table *t);
const rw_tensor *rw_table_find(const rw_table *t, const char *name); /* NULL: absent */
const char *rw_container_name(rw_container c); /* "pth", "pth (legacy)", ... */

/* Typed getters. Absent: *found = false (found may be NULL: then absence is RWKV_E_FORMAT).
 * Wrong type is RWKV_E_FORMAT: "key X: found string; expected an unsigned integer". */
rwkv_status rw_meta_u64(const rw_table *t, const char *key, uint64_t *out, bool *found,
                        rwkv_error *err);
rwkv_status rw_meta_f64(const rw_table *t, const char *key, double *out, bool *found,
                        rwkv_error *err);
rwkv_status rw_meta_str(const rw_table *t, const char *key, const char **s, size_t *len,
                        bool *found, rwkv_error *err);
const rw_meta *rw_meta_find(const rw_table *t, const char *key);

/* ---- for the readers: fill the table. Both refuse duplicates and bad names. */
rwkv_status rw_table_add(rw_table *t, const rw_tensor *tensor, size_t name_len, rwkv_error *err);
rwkv_status rw_table_add_meta(rw_table *t, const rw_meta *meta, size_t key_len, rwkv_error *err);

rwkv_status rw_read_pth(rw_table *t, const rw_file *f, rwkv_error *err);
rwkv_status rw_read_pth_legacy(rw_table *t, const rw_file *f, rwkv_error *err);
rwkv_status rw_read_safetensors(rw_table *t, const rw_file *f, rwkv_error *err); /* one file */
rwkv_status rw_read_gguf(rw_table *t, const rw_file *f, rwkv_error *err);
rwkv_status rw_read_ggmf(rw_table *t, const rw_file *f, rwkv_error *err);

/* Limits; docs/FORMATS.md lists them for users. */
#define RW_MAX_TENSORS 65536u
#define RW_MAX_META 65536u
#define RW_MAX_NAME 255u
#define RW_MAX_ST_HEADER 100000000u
#define RW_MAX_PICKLE_OPS 10000000u
#define RW_MAX_ZIP_ENTRIES 100000u

#endif
