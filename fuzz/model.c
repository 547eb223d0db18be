/* model.c - any bytes as a model: opened, a few tokens read, text encoded. */
#include "fuzz.h"
#include <string.h>

static void talk(rwkv_model *m) {
    static const char text[] = "hello \xe4\xbd\xa0\n\n";
    rwkv_error err = {0};
    rwkv_info info;
    rwkv_session *s = NULL;
    int32_t ids[sizeof text];
    size_t n = 0;
    rwkv_model_info(m, &info);
    const rwkv_tokenizer *tok = rwkv_model_tokenizer(m, &err);
    if (tok && rwkv_encode(tok, text, strlen(text), 0, ids, sizeof ids / sizeof *ids, &n, &err))
        n = 0;
    for (size_t i = 0; i < n; i++)
        fuzz_require(ids[i] >= 0 && (uint32_t)ids[i] < info.n_vocab,
                     "ids of a text are rows of the model");
    if (!n) ids[n++] = 0;
    ids[n - 1] = (int32_t)info.n_vocab - 1;
    rwkv_status st = rwkv_session_new(&s, m, &err);
    if (st == RWKV_OK) st = rwkv_session_eval(s, ids, n, &err);
    if (st == RWKV_OK)
        fuzz_require(rwkv_session_logits(s) != NULL, "there are logits after a token");
    else
        fuzz_check_error(st, &err, NULL);
    rwkv_session_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    rwkv_model *m = NULL;
    rwkv_error err = {0};
    rwkv_model_options options = {.n_threads = 1, .flags = RWKV_MODEL_NO_MMAP | RWKV_MODEL_CHECK};
    const char *path = fuzz_file(data, n);
    rwkv_status st = rwkv_model_open(&m, path, &options, &err);
    if (st == RWKV_OK)
        talk(m);
    else
        fuzz_check_error(st, &err, path);
    rwkv_model_free(m);
    return 0;
}
