/* support_readers.h - what the tests of the file readers share: reading a file from memory that is
 * exactly as long as its bytes, comparing tables with what every table promises, hostile variants.
 */
#ifndef RW_SUPPORT_READERS_H
#define RW_SUPPORT_READERS_H

#include "file/file.h"
#include "support.h"

typedef rwkv_status (*table_reader)(rw_table *t, const rw_file *f, rwkv_error *err);

/* A table, the file it was read from (a copy of the bytes), and what the reader said. */
typedef struct test_read {
    rw_table *t; /* NULL when the reader failed */
    rw_file *f;
    rwkv_status st;
    rwkv_error err;
    size_t arena; /* bytes that the table's arena handed out, also after failure */
} test_read;

test_read read_bytes(table_reader reader, const void *data, size_t n);
void read_free(test_read *r);

/* Every promise of file.h about a table; touches every byte of every tensor. */
void check_table(const test_read *r);

/* The reader must fail with RWKV_E_FORMAT or RWKV_E_UNSUPPORTED, with path and a position inside
 * the file, `needle` in the message, without control bytes, quickly, and with no more than n bytes
 * + 1 MiB for the table. `label` is shown when it does not. */
void expect_refused(table_reader reader, const void *data, size_t n, const char *needle,
                    const char *label);

/* Cut at every byte up to `header` and at 200 points behind; none may be read. `whole` is called
 * with the length: true when such a prefix is itself a complete file (NULL: never). */
void expect_cuts_refused(table_reader reader, const void *data, size_t n, size_t header,
                         bool (*whole)(size_t));

/* `rounds` times: 1 to 16 bytes changed, or a piece removed or doubled. What is accepted must be a
 * consistent table, what is refused a proper error. Returns how many were accepted. */
size_t mutate_and_read(table_reader reader, const void *data, size_t n, uint64_t seed,
                       size_t rounds);

/* Little-endian numbers into a growing buffer, and over bytes of it. */
void put_bytes(rw_buf *b, const void *data, size_t n);
void put_text(rw_buf *b, const char *s);
void put_le(rw_buf *b, uint64_t v, size_t width);
void patch_le(rw_buf *b, size_t at, uint64_t v, size_t width);
void pad_to(rw_buf *b, size_t alignment);

/* The values of a tensor as float32; its type must have a decoder. Release with free. */
float *tensor_floats(const rw_tensor *t);

#endif
