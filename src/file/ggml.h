/* ggml.h - what GGUF and rwkv.cpp's .bin files have in common: how they write a tensor's shape. */
#ifndef RW_GGML_H
#define RW_GGML_H

#include "file.h"

#define RW_GGML_MAX_DIMS 4

/* Fills t->dims (slowest first), n_elems and bytes from t->type, t->n_dims and the dimensions in
 * the file's order, fastest first. Refuses zero, rows of partial blocks and sizes beyond `left`
 * bytes. Errors carry the tensor's name and `offset`. */
rwkv_status rw_ggml_shape(const rw_reader *r, uint64_t offset, const char *name, size_t name_len,
                          const uint64_t *fastest_first, uint64_t left, rw_tensor *t,
                          rwkv_error *err);

#endif
