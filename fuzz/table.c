/* table.c - a checkpoint file of any container: opened, every tensor's first and last block
 * decoded. Built once per container, the seeds make the difference. FUZZ_PICKLE: the input is only
 * the pickle of a .pth file, so that mutants get past the zip's checksums. */
#include "file/file.h"
#include "fuzz.h"
#ifdef FUZZ_PICKLE
#include "support_models.h"
#endif

static void touch(const rw_tensor *t) {
    const rw_type_info *info = rw_type_get(t->type);
    float values[256];
    fuzz_require(info != NULL, "a tensor has a known type");
    if (!t->n_elems || !info->decode) return;
    info->decode(t->data, values, info->block_elems);
    info->decode(t->data + t->bytes - info->block_bytes, values, info->block_elems);
}

static void open_and_touch(const uint8_t *data, size_t n) {
    rw_table *t = NULL;
    rwkv_error err = {0};
    const char *path = fuzz_file(data, n);
    rwkv_status st = rw_table_open(&t, path, true, &err);
    if (st != RWKV_OK) {
        fuzz_require(t == NULL, "a refused file gives no table");
        fuzz_check_error(st, &err, path);
        return;
    }
    for (size_t i = 0; i < t->n_tensors; i++) {
        fuzz_require(rw_table_find(t, t->tensors[i].name) == &t->tensors[i],
                     "tensors are found by name");
        touch(&t->tensors[i]);
    }
    rw_table_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
#ifdef FUZZ_PICKLE
    rw_buf file = test_pth_around(data, n);
    open_and_touch(file.data, file.len);
    rw_buf_free(&file);
#else
    open_and_touch(data, n);
#endif
    return 0;
}
