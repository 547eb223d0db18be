/* fuzz.h - shared by the targets. Every target is one LLVMFuzzerTestOneInput: clang builds it with
 * libFuzzer, other compilers with driver.c, which takes the same arguments. */
#ifndef RW_FUZZ_H
#define RW_FUZZ_H

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A file with these bytes, alone in a folder in memory; the same path each time. */
const char *fuzz_file(const uint8_t *data, size_t n);

/* What every refusal owes its reader: a code, one line without control bytes, the path where there
 * is one (NULL: none). Ends the program if not. */
void fuzz_check_error(rwkv_status st, const rwkv_error *err, const char *path);
void fuzz_require(bool truth, const char *what);

#endif
