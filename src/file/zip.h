/* zip.h - the directory of a zip archive as PyTorch writes it: stored entries only, one folder.
 * Nothing is ever unpacked: an entry is a range of the mapped file. */
#ifndef RW_ZIP_H
#define RW_ZIP_H

#include "file.h"

typedef struct rw_zip_entry {
    const char *name; /* in the mapped file, not NUL-terminated */
    size_t name_len;
    uint64_t offset; /* of its bytes in the file */
    uint64_t size;
    uint32_t crc; /* as the directory says; see rw_zip_check */
} rw_zip_entry;

typedef struct rw_zip {
    rw_zip_entry *entries; /* in the order of the file */
    size_t n_entries;
    rw_map by_name;
} rw_zip;

/* Reads the central directory and compares it with every local header. Close also after failure. */
rwkv_status rw_zip_open(rw_zip *z, const rw_file *f, rwkv_error *err);
void rw_zip_close(rw_zip *z);
const rw_zip_entry *rw_zip_find(const rw_zip *z, const char *name, size_t len); /* NULL: absent */
/* Compares the bytes with their CRC-32. Reads all of them: meant for the small entries. */
rwkv_status rw_zip_check(const rw_zip_entry *e, const rw_file *f, rwkv_error *err);

#endif
